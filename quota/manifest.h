/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a tree was when it was copied, so that the next copy reads and sends only what is otherwise since. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "quota/walk.h"

struct manifest {
	int fd;              /* -1: there is none */
	uint64_t start_usec; /* when its making began (CLOCK_REALTIME) */
};
#define MANIFEST_INIT ((struct manifest){ .fd = -1 })

struct manifest_round {
	int root_fd;
	int base_fd;                /* without an old one: what the other side has; -1: nothing */
	const struct manifest *old; /* NULL: there is none */
	/* What was changed so long before the old one was begun counts as changed since: a call that writes
	 * may have begun before it set the time. */
	uint64_t slack_usec;
	bool live;                       /* the tree is in use */
	const struct walk_graft *grafts; /* and has these (walk.h) */
	size_t n_grafts;
	bool any_dev; /* the tree was mounted anew since */
	bool verify;  /* what is as it was is read all the same */
	bool layer;   /* an overlay's upper layer: its marks and sockets count as well, and nothing is
	                 read, so that a digest is of nothing */
	struct strbuf *removed; /* as difference_removed; NULL: is not wanted */
};

struct manifest_result {
	char digest[65]; /* tree_digest_lasting, if the tree was at rest; live: of nothing in particular */
	uint64_t n_objects, n_changed;
};

/* Writes the manifest into new, whose fd is of an empty file. In use, the tree is to be synced between
 * start_usec and this: what is written through a mapping shows as a new time only then. */
int manifest_make(const struct manifest_round *round, struct manifest *new, struct manifest_result *ret,
        struct ct_error *err);
/* Tells what is changed, each directory again before what is changed in it. In use, an each that says that
 * what it was told is not there (any more) is no failure: that is noted as below. */
int manifest_each(const struct manifest_round *round, struct manifest *new,
        int (*each)(const struct walk_entry *entry, void *userdata, struct ct_error *err), void *userdata,
        struct ct_error *err);
/* An archive (archive_tree) of what is changed; what is gone since is noted in the manifest, to be changed
 * the next time. */
int manifest_archive(
        const struct manifest_round *round, struct manifest *new, int archive_fd, struct ct_error *err);
