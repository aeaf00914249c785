/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An archive of a tmpfs, written as what differs from archives that are there already: those that went ahead
 * while the container ran on ("base"). What comes out of it again is the archive, byte for byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRIU_ARCHIVE_BASE "ct-tmpfs" /* in the first round of memory (criu-rounds.h) */
/* Of tar, for those and what is compared with them: it writes so much at once, and fills up to that. */
#define CRIU_ARCHIVE_BLOCKING "--blocking-factor=128"
/* So many bytes are written in less than it takes to look them up. */
#define CRIU_ARCHIVE_FEW (1024 * 1024)

struct criu_archive_base {
	const unsigned char *data; /* mapped */
	size_t size;
	struct criu_archive_member *members;
	size_t n_members;
};
#define CRIU_ARCHIVE_BASE_INIT ((struct criu_archive_base){ 0 })

/* Maps it, of archives one behind the other; nobody may write to the file meanwhile. */
int criu_archive_open(int fd, struct criu_archive_base *ret);
void criu_archive_done(struct criu_archive_base *base);

/* Reads an archive to its end and writes what differs; both may be pipes. */
int criu_archive_shorten(int in_fd, struct criu_archive_base *base, int out_fd);
/* The other way. -EBADMSG: it is damaged, or the base is another. */
int criu_archive_restore(int in_fd, const struct criu_archive_base *base, int out_fd);
/* What is read from there next is such a one; it stays where it is. A pipe never is. */
bool criu_archive_is_short(int fd);
