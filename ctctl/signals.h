/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of signals. */
#pragma once

/* TERM, SIGTERM, sigterm, RTMIN+3, RTMAX-1, 15. 1..SIGRTMAX, or -EINVAL. */
int signal_from_text(const char *text);
