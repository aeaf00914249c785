/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd's own memory. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

/* Before anything is allocated. */
void memory_begin(void);
/* Pages of files that are mapped, and free ones of the heap; what is used again is there again. */
void memory_let_go(void);
/* Does so when all is ready, and again and again the part that grows. begun: of the caller, as long as the
 * event loop lives. */
int memory_watch(sd_event *event, bool *begun);
