/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside ct-worker: native directories (quota/native.c) and disk of a container that is suspended and
 * resumed. */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "ctd/criu.h"
#include "libct/restore.h"
#include "quota/disk.h"

struct suspend_natives {
	char *text, *mounts;                        /* what the strings point into */
	const char *paths[DISK_NATIVES_MAX + 1];    /* inside, to NULL */
	struct restore_native is[DISK_NATIVES_MAX]; /* what is mounted there, for the audit */
	char *externals[DISK_NATIVES_MAX];
	size_t n;
};
void suspend_natives_done(struct suspend_natives *natives);

/* Those that the process has. */
int suspend_natives_list(pid_t pid, struct suspend_natives *ret, struct ct_error *err);
/* A dump: writes them to its images, and tells CRIU that they come from outside. */
int suspend_natives_dump(
        int images_fd, struct suspend_natives *natives, struct criu_request *request, struct ct_error *err);

/* Those that images want, of older ones none: paths only. */
int suspend_natives_read(int images_fd, struct suspend_natives *ret, struct ct_error *err);
/* Attaches each of paths below dir, in a mount namespace of ours: what is in natives, and the directory of
 * the root, an overlay, for what is not pure on this disk; tells CRIU where they are, and fills is. Takes the
 * natives. */
int suspend_natives_place(const char *dir, const char *root, struct disk_natives *natives,
        struct suspend_natives *want, struct criu_request *request, struct ct_error *err);

/* Its files are to be there when it goes on as its memory has them, also behind a power cut; on a disk image
 * they are of another file system than the images. To be asked of one that has been dumped: it is frozen, and
 * has no mount that CRIU does not know, so nobody inside can keep us waiting. */
int suspend_write_through(pid_t pid, int images_fd, struct ct_error *err);
