/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside quota/: for the probe and the tests. */
#pragma once

#include <stdint.h>

/* A user namespace that shifts 0..65535 to base_id.. and maps our own id 0; an fd, or a negative errno. */
int probe_userns_new(uint32_t base_id);
