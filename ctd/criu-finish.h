/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CRIU leaves undone in a restore: ct-criu-finish.so (criu-finish.c), which it has loaded then, does it.
 */
#pragma once

#define CRIU_FINISH_MODULE "ct-criu-finish.so"
/* The notification pre-resume has this as its message, or else why not. */
#define CRIU_FINISH_DONE "all is set"
/* In CRIU_WORK: numbers inside, one a line, of the threads that shall have no_new_privs. */
#define CRIU_FINISH_NO_NEW_PRIVS "ctd-no-new-privs"
/* So many locks can be set again: the kernel looks through all that a file has for each. */
#define CRIU_FINISH_LOCKS_MAX 16384
