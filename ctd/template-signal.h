/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals by name, as recipes and template metadata write them. */
#pragma once

#define SIGNAL_MAX 64

/* SIGTERM, SIGRTMIN+3, SIGRTMAX-1: the number, 0 if it is none. Real-time signals are counted as the GNU C
 * library does (SIGRTMIN is 34), since what matters is what the guest's init means by it. */
int signal_from_name(const char *name);
