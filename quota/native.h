/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside quota/: directories of the upper layer that can be mounted as they are. */
#pragma once

#include "quota/disk.h"

/* The name of the note in a container's directory. */
#define NATIVE_NOTE "native"

/* Makes those that are empty in the template pure in the upper layer that is being made, and notes them in
 * dirfd. What does not fit into the container's quota is left out. */
int native_make(
        int upper_fd, int template_root_fd, int dirfd, const char *const *paths, struct ct_error *err);

/* Those of the paths that are pure: their fds are the directories themselves. Anything else is passed over.
 * Nothing may be mounted over the upper layer. ret is emptied first. */
void native_find(int upper_fd, int dirfd, const char *const *paths, struct disk_natives *ret);

/* Of a copy of the upper layer, whose inodes are others: notes those that are noted of the layer. */
int native_note_copy(int from_upper_fd, int from_dirfd, int to_upper_fd, int to_dirfd, struct ct_error *err);

/* Notes which they are, before anybody writes. */
int native_note(int dirfd, const struct disk_natives *natives, struct ct_error *err);
