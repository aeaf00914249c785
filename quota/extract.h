/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unpacking an archive that somebody else made into a root filesystem. To be called in a worker process that
 * may be killed.
 *
 * Ids are taken from the archive and must be 0..65535. Block and character devices, sockets, absolute or
 * parent paths, hard links that leave the tree, writes through symbolic links, trusted.* and security.* (but
 * security.capability) attributes are refused or skipped as the options say; the numbers of entries and bytes
 * are bounded. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct extract_options {
	uint64_t max_bytes;   /* 0: 64 GiB */
	uint64_t max_entries; /* 0: 2,000,000 */
	bool skip_devices; /* true: leave device nodes out (mmdebstrap's archives have them); false: refuse */
	/* Into a container's own disk, which is like the one it came from but for what is in the archive. The
	 * disk's limits bound it: holes cost nothing, there is no bound of entries or attributes. What a
	 * directory has of attributes and the archive has not goes. No digest is taken. */
	bool own_disk;
	void (*progress)(uint64_t bytes, uint64_t entries, void *userdata); /* may be NULL */
	void *userdata;
};

struct extract_result {
	uint64_t bytes, entries;
	char digest[65]; /* SHA-256 over a canonical listing of the tree (type, mode, ids, path, size, link
	                    target, xattrs, content digest), hex */
};

/* Reads a tar (any compression libarchive knows) from archive_fd into the empty directory root_fd. On failure
 * the tree is partly there; the caller removes it. Nothing is synced; the time is the caller's to bound (a
 * decompressor can be kept busy by a small file). */
int extract_archive(int archive_fd, int root_fd, const struct extract_options *options,
        struct extract_result *ret, struct ct_error *err);

/* The other way: a tar (zstd) of a tree with numeric ids and xattrs, without device nodes. */
int archive_tree(int root_fd, int archive_fd, struct ct_error *err);

/* A file of text that stands before the tree in its archive, at the root of it, and is not in the tree. */
struct archive_note {
	const char *name, *text;
};
int archive_tree_noted(int root_fd, const struct archive_note *note, int archive_fd, struct ct_error *err);

/* The digest of a tree that is on disk; as in extract_result. */
int tree_digest(int root_fd, char digest[static 65], struct ct_error *err);
/* The same without what is below the directory of that name at its root, and without that. */
int tree_digest_without(int root_fd, const char *name, char digest[static 65], struct ct_error *err);
/* One that is the same for a tree and for what archive_tree and own_disk make of it: without device nodes and
 * sockets, and holes are not read. */
int tree_digest_lasting(int root_fd, char digest[static 65], struct ct_error *err);
