/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A manifest: a record for each object of a tree, in the order of tree_walk, in a file without a name.
 *
 * An object is what it was if it has the same inode and time of change (ctime) at the same path, and is the
 * same one's link. Of everything that a digest counts a change sets that time, to the kernel's clock, which
 * no tenant sets. What it does not show is covered by who calls: pages that are mapped for writing (a change
 * shows when they were clean before: sync first), a clock that ticks every some milliseconds and calls that
 * set the time before they write (slack; reading asks lseek(2) for data first, which waits for such a call
 * where the file system lets one writer in at a time).
 *
 * A tree that is in use may change under the reader. Nothing of that fails: what is gone is left out, what
 * changes while it is read has a new time the next time. Only of a tree at rest the digest means something.
 *
 * The records stand on the disk, so that what is in memory does not grow with the tree.
 */
#include "quota/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "quota/difference.h"
#include "quota/digest.h"

#define PATH_BYTES 4096
#define DEPTH_MAX  (PATH_BYTES / 2 + 2)

enum {
	RECORD_CHANGED = 1,
	RECORD_DIR = 2,
	RECORD_STALE = 4, /* as if its time were another */
};

struct record {
	uint64_t dev, ino;
	int64_t ctime_sec;
	uint32_t ctime_nsec;
	uint16_t flags, path_len, first_len, unused;
	unsigned char digest[DIGEST_SIZE];
};

struct reader {
	FILE *file;
	off_t at, next; /* of this record, and behind it */
	struct record record;
	char path[PATH_BYTES], first[PATH_BYTES];
	bool any; /* there is one */
};

static void reader_done(struct reader *r)
{
	if (r->file)
		(void)fclose(r->file); /* was read only */
}

static int reader_next(struct reader *r)
{
	size_t n = fread(&r->record, 1, sizeof(r->record), r->file);

	r->any = n == sizeof(r->record);
	if (!r->any)
		return n == 0 && !ferror(r->file) ? 0 : -EIO;
	if (r->record.path_len >= PATH_BYTES || r->record.first_len >= PATH_BYTES ||
	        fread(r->path, 1, r->record.path_len, r->file) != r->record.path_len ||
	        fread(r->first, 1, r->record.first_len, r->file) != r->record.first_len)
		return -EIO;
	r->path[r->record.path_len] = r->first[r->record.first_len] = '\0';
	r->at = r->next;
	r->next += (off_t)(sizeof(r->record) + r->record.path_len + r->record.first_len);
	return 0;
}

static int reader_open(int manifest_fd, struct reader *ret)
{
	_cleanup_close_ int fd = fd_dup_cloexec(manifest_fd);

	if (fd < 0)
		return fd;
	if (lseek(fd, 0, SEEK_SET) < 0 || !(ret->file = fdopen(fd, "re")))
		return -errno;
	(void)TAKE_FD(fd); /* the file's now */
	return reader_next(ret);
}

/* The order of tree_walk: what lies in a directory comes right behind it. */
static int compare_paths(const char *a, const char *b)
{
	if (str_eq(a, ".") || str_eq(b, "."))
		return str_eq(a, b) ? 0 : str_eq(a, ".") ? -1 : 1;
	while (*a && *a == *b)
		a++, b++;
	if (*a == *b)
		return 0;
	if (!*a || !*b)
		return *a ? 1 : -1;
	if (*a == '/' || *b == '/')
		return *a == '/' ? -1 : 1;
	return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
}

/* ---- paths that were left out: links to them would lead nowhere */

static int compare_strings(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int set_add(void **set, const char *path)
{
	char *copy = strdup(path);
	char **slot = copy ? tsearch(copy, set, compare_strings) : NULL;

	if (!slot || *slot != copy)
		free(copy);
	return slot ? 0 : -ENOMEM;
}

static bool set_has(void *const *set, const char *path)
{
	return path && tfind(path, set, compare_strings);
}

static struct walk_live tree_of(const struct manifest_round *round)
{
	return (struct walk_live){ round->root_fd, round->grafts, round->n_grafts };
}

/* ---- making one */

struct making {
	const struct manifest_round *round;
	struct reader old;
	FILE *out;
	struct digest *digest;
	struct difference base; /* without an old one */
	struct manifest_result *result;
	void *left_out;
	size_t last_removed; /* where it begins in removed */
	bool any_removed;
};

static void making_done(struct making *m)
{
	reader_done(&m->old);
	if (m->out)
		(void)fclose(m->out); /* was flushed */
	digest_free(m->digest);
	free(m->base.chunks);
	tdestroy(m->left_out, free);
}

static int note_removed(struct making *m, const char *path)
{
	struct strbuf *removed = m->round->removed;
	const char *last = m->any_removed ? removed->data + m->last_removed : NULL;

	if (!removed || (last && str_has_prefix(path, last) && path[strlen(last)] == '/'))
		return 0;
	m->last_removed = removed->len;
	m->any_removed = true;
	return strbuf_add(removed, path, strlen(path) + 1);
}

/* What the old one has before this path is gone. 1: it has the path. */
static int advance(struct making *m, const char *path)
{
	int r = 0, order = 1;

	while (r >= 0 && m->old.any && (order = compare_paths(m->old.path, path)) < 0) {
		r = note_removed(m, m->old.path);
		if (r >= 0)
			r = reader_next(&m->old);
	}
	return r < 0 ? r : m->old.any && order == 0;
}

static uint64_t change_usec(const struct record *r)
{
	return (uint64_t)r->ctime_sec * 1000000 + r->ctime_nsec / 1000;
}

static bool is_same(const struct making *m, const struct record *now, const char *first)
{
	const struct record *old = &m->old.record;

	return !(old->flags & RECORD_STALE) && (m->round->any_dev || old->dev == now->dev) &&
	       old->ino == now->ino && old->ctime_sec == now->ctime_sec &&
	       old->ctime_nsec == now->ctime_nsec && str_eq(m->old.first, first) &&
	       change_usec(now) + m->round->slack_usec < m->round->old->start_usec;
}

static int put_record(struct making *m, struct record *r, const struct walk_entry *entry)
{
	const char *first = entry->first ?: "";

	r->path_len = (uint16_t)strlen(entry->path);
	r->first_len = (uint16_t)strlen(first);
	m->result->n_objects++;
	m->result->n_changed += (r->flags & RECORD_CHANGED) != 0;
	digest_add(m->digest, r->digest);
	if (fwrite(r, sizeof(*r), 1, m->out) != 1 ||
	        fwrite(entry->path, 1, r->path_len, m->out) != r->path_len ||
	        fwrite(first, 1, r->first_len, m->out) != r->first_len)
		return errno > 0 ? -errno : -EIO;
	return 0;
}

/* Reads it: its digest, and whether it is new. same: it should be as it was. */
static int read_object(
        struct making *m, const struct walk_entry *entry, bool same, struct record *r, struct ct_error *err)
{
	int result = 0, is_new = 1;

	if (!m->round->layer)
		result = digest_record(m->digest, entry, r->digest, err);
	if (result >= 0 && !m->round->old && m->round->base_fd >= 0)
		result = is_new = difference_is_new(entry, &m->base, err);
	else if (same && !m->round->layer)
		is_new = memcmp(r->digest, m->old.record.digest, sizeof(r->digest)) != 0;
	if (result >= 0 && is_new)
		r->flags |= RECORD_CHANGED;
	return result < 0 ? result : 0;
}

static int make_one(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	struct making *m = userdata;
	struct record r = { .dev = entry->st.st_dev,
		.ino = entry->st.st_ino,
		.ctime_sec = entry->st.st_ctim.tv_sec,
		.ctime_nsec = (uint32_t)entry->st.st_ctim.tv_nsec,
		.flags = S_ISDIR(entry->st.st_mode) ? RECORD_DIR : 0 };
	struct ct_error error = { 0 };
	int result, found;
	bool same;

	if (!walk_lasts(entry) && !m->round->layer)
		return 0; /* an old one of that path is gone */
	found = m->round->old ? advance(m, entry->path) : 0;
	if (found < 0)
		return walk_error(entry, found, "compare", err);
	same = found == 1 && is_same(m, &r, entry->first ?: "");
	if (same && !m->round->verify) {
		memcpy(r.digest, m->old.record.digest, sizeof(r.digest));
		result = 0;
	} else {
		result = m->round->live && set_has(&m->left_out, entry->first)
		                 ? -ENOENT
		                 : read_object(m, entry, same, &r, &error);
		if (result < 0 && m->round->live && (walk_is_gone(result) || result == -EINVAL))
			return S_ISDIR(entry->st.st_mode) ? 0 : set_add(&m->left_out, entry->path);
		if (result < 0 && err)
			*err = error;
	}
	if (result >= 0 && found == 1 && (m->old.record.flags ^ r.flags) & RECORD_DIR)
		result = note_removed(m, entry->path);
	if (result >= 0)
		result = put_record(m, &r, entry);
	if (result >= 0 && found == 1)
		result = reader_next(&m->old);
	return result < 0 && (!err || err->code >= 0) ? walk_error(entry, result, "note", err) : result;
}

static int making_init(struct making *m, int fd)
{
	const struct manifest_round *round = m->round;
	_cleanup_close_ int copy = fd_dup_cloexec(fd);
	int r = 0;

	if (copy < 0 || ftruncate(copy, 0) < 0 || lseek(copy, 0, SEEK_SET) < 0 ||
	        !(m->out = fdopen(copy, "we")))
		return copy < 0 ? copy : -errno;
	(void)TAKE_FD(copy); /* the file's now */
	if (round->old)
		r = reader_open(round->old->fd, &m->old);
	m->base = (struct difference){ .base_fd = round->base_fd, .chunks = malloc(DIFFERENCE_CHUNKS) };
	return r < 0 ? r : m->base.chunks ? 0 : -ENOMEM;
}

int manifest_make(const struct manifest_round *round, struct manifest *new, struct manifest_result *ret,
        struct ct_error *err)
{
	CLEANUP(making_done) struct making m = { .round = round, .result = ret };
	const struct walk_live live = tree_of(round);
	int r = making_init(&m, new->fd);

	*ret = (struct manifest_result){ 0 };
	if (r < 0)
		return ct_error_set(err, r, "manifest", "cannot note what is on the disk: %s", strerror(-r));
	r = digest_new(&m.digest, err);
	if (r >= 0 && !round->old && round->base_fd >= 0 && round->removed)
		r = difference_removed(round->root_fd, round->base_fd, round->removed, err);
	if (r >= 0)
		r = round->live ? tree_walk_live(&live, make_one, &m, err)
		                : tree_walk(round->root_fd, make_one, &m, err);
	while (r >= 0 && m.old.any) {
		r = note_removed(&m, m.old.path);
		if (r >= 0)
			r = reader_next(&m.old);
	}
	if (r >= 0 && fflush(m.out) != 0)
		r = -errno;
	if (r < 0 && (!err || err->code >= 0))
		return ct_error_set(err, r, "manifest", "cannot note what is on the disk: %s", strerror(-r));
	digest_total(m.digest, ret->digest);
	return r < 0 ? r : 0;
}

/* ---- an archive of what is changed */

struct listing {
	const struct manifest_round *round;
	struct walk_live tree;
	int fd;
	struct reader in;
	int parent_fd;
	char parent[PATH_BYTES]; /* whose fd that is */
	bool pending;            /* in has a record that was not told yet */
	void *left_out;
	bool sent[DEPTH_MAX]; /* of the directories on the way to the record */
};

static void listing_done(struct listing *l)
{
	reader_done(&l->in);
	(void)fd_close(l->parent_fd);
	tdestroy(l->left_out, free);
}

static size_t depth_of(const char *path)
{
	size_t n = str_eq(path, ".") ? 0 : 1;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

/* Of the directory that the path is in. */
static int open_parent(struct listing *l, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 1;
	int fd;

	if (l->parent_fd >= 0 && strlen(l->parent) == len && strncmp(l->parent, slash ? path : ".", len) == 0)
		return 0;
	l->parent_fd = fd_close(l->parent_fd);
	memcpy(l->parent, slash ? path : ".", len);
	l->parent[len] = '\0';
	fd = walk_live_open(&l->tree, l->parent);
	if (fd < 0)
		return fd;
	l->parent_fd = fd;
	return 0;
}

/* As if its time were another: the next round has it again. */
static int set_stale(struct listing *l, const char *path)
{
	uint16_t flags = l->in.record.flags | RECORD_STALE;

	if (pwrite(l->fd, &flags, sizeof(flags), l->in.at + (off_t)offsetof(struct record, flags)) !=
	        sizeof(flags))
		return -EIO;
	return set_add(&l->left_out, path);
}

/* The directory that the record is in: what is made in it again there sets its time. */
static int tell_parent(struct listing *l, struct walk_entry *ret)
{
	*ret = (struct walk_entry){ .path = l->parent, .dirfd = l->parent_fd, .name = "." };
	return fstat(l->parent_fd, &ret->st) < 0 ? -errno : 1;
}

/* 0: it is not there any more. */
static int tell(struct listing *l, struct walk_entry *ret)
{
	const struct record *r = &l->in.record;
	const char *path = l->in.path;
	const size_t depth = depth_of(path);
	int result = open_parent(l, path);

	if (result >= 0 && !(r->flags & RECORD_DIR) && depth > 0 && !l->sent[depth - 1]) {
		l->sent[depth - 1] = l->pending = true;
		return tell_parent(l, ret);
	}
	*ret = (struct walk_entry){ .path = path, .first = l->in.first[0] ? l->in.first : NULL };
	walk_live_place(&l->tree, l->parent_fd, ret);
	if (result >= 0)
		result = walk_stat(ret);
	if (result >= 0 &&
	        (ret->st.st_ino != r->ino || ret->st.st_dev != r->dev || set_has(&l->left_out, ret->first)))
		result = -ESTALE;
	return result < 0 ? result : 1;
}

static int next_changed(struct walk_entry *ret, void *userdata, struct ct_error *err)
{
	struct listing *l = userdata;
	int r = 0;

	for (;; l->pending = false) {
		const struct record *record = &l->in.record;

		if (!l->pending) {
			r = l->in.next == 0 || l->in.any ? reader_next(&l->in) : 0;
			if (r < 0 || !l->in.any)
				break;
		}
		l->pending = false;
		if ((record->flags & RECORD_DIR) && depth_of(l->in.path) < DEPTH_MAX)
			l->sent[depth_of(l->in.path)] = record->flags & RECORD_CHANGED;
		if (!(record->flags & RECORD_CHANGED))
			continue;
		r = tell(l, ret);
		if (r > 0)
			return r;
		if (!l->round->live || !walk_is_gone(r))
			break;
		r = set_stale(l, l->in.path);
		if (r < 0)
			break;
	}
	return r < 0 ? ct_error_set(err, r, "manifest", "cannot read \"%.100s\" again: %s", l->in.path,
	                       strerror(-r))
	             : 0;
}

static int on_gone(const struct walk_entry *entry, void *userdata)
{
	return set_stale(userdata, entry->path);
}

static int listing_open(struct listing *l, struct ct_error *err)
{
	_cleanup_close_ int fd = fd_dup_cloexec(l->fd);

	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0 || !(l->in.file = fdopen(fd, "re")))
		return ct_error_set(
		        err, -errno, "manifest", "cannot read what was noted: %s", strerror(errno));
	(void)TAKE_FD(fd); /* the file's now */
	return 0;
}

int manifest_archive(
        const struct manifest_round *round, struct manifest *new, int archive_fd, struct ct_error *err)
{
	CLEANUP(listing_done)
	struct listing l = { .round = round, .tree = tree_of(round), .fd = new->fd, .parent_fd = -1 };
	const struct archive_list list = {
		.next = next_changed, .gone = round->live ? on_gone : NULL, .userdata = &l
	};
	int r = listing_open(&l, err);

	return r < 0 ? r : archive_listed(&list, archive_fd, err);
}

int manifest_each(const struct manifest_round *round, struct manifest *new,
        int (*each)(const struct walk_entry *entry, void *userdata, struct ct_error *err), void *userdata,
        struct ct_error *err)
{
	CLEANUP(listing_done)
	struct listing l = { .round = round, .tree = tree_of(round), .fd = new->fd, .parent_fd = -1 };
	struct walk_entry entry;
	int r = listing_open(&l, err);

	while (r >= 0 && (r = next_changed(&entry, &l, err)) > 0) {
		struct ct_error error = { 0 };

		r = each(&entry, userdata, &error);
		if (r < 0 && round->live && (walk_is_gone(r) || r == -EINVAL))
			r = set_stale(&l, entry.path);
		else if (r < 0 && err)
			*err = error;
		if (r < 0 && (!err || err->code >= 0))
			return ct_error_set(
			        err, r, "manifest", "cannot note \"%.100s\": %s", entry.path, strerror(-r));
	}
	return r;
}
