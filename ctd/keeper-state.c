/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keeper's state as records in a memfd, for the binary that takes its place (keeper-reexec.c).
 *
 * A record is a type, a length, and a struct that is only ever added to: a longer one is cut, a shorter one
 * padded with zeros, one of unknown type is skipped. So an older keeper may follow a newer one too. fds are
 * named by their numbers, which the exec keeps.
 *
 * The one that loads goes on past a piece that it cannot take up (a connection that it cannot watch, say),
 * because to give up would orphan all. What is malformed has been found before, by running the new binary on
 * the state without loading it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper.h"

#define STATE_MAGIC 0x6b746374u
#define STATE_MAX   (256u * 1024 * 1024)

enum record_type {
	RECORD_MAGIC = STATE_MAGIC,
	RECORD_KEEPER = 1,
	RECORD_CONNECTION,
	RECORD_PROCESS, /* struct keeper_process; begins a child */
	RECORD_CHILD,   /* what only we know of it */
	RECORD_ERROR,   /* struct ct_error of a child that is not running yet */
	RECORD_CONSOLE, /* its console */
	RECORD_RING,    /* bytes of its ring */
	RECORD_VIEWER,  /* who looks at it */
};

struct record {
	uint32_t type, length;
};

struct record_keeper {
	int32_t lock_fd, dir_fd, listener_fd;
	uint32_t n_reexecs;
	uint64_t next_connection_id, started_usec, reexec_connection_id;
	uint32_t reexec_serial;
};

struct record_connection {
	int32_t fd;
	uint32_t subscribed;
	uint64_t id;
};

struct record_child {
	int32_t pidfd, status_fd, console_fd;
	uint32_t ready;
	uint64_t deadline_usec, connection_id;
	uint32_t serial, type;
};

struct record_console {
	int32_t master_fd;
	uint32_t reserved;
	uint64_t total;
};

struct record_viewer {
	int32_t fd;
	uint32_t input_ended, input_start, input_len;
	uint64_t position, stalled_usec;
	char input[256];
};

static void put(struct strbuf *b, uint32_t type, const void *data, size_t len)
{
	const struct record record = { type, (uint32_t)len };

	(void)strbuf_add(b, &record, sizeof(record)); /* an error stays in the buffer */
	(void)strbuf_add(b, data, len);               /* likewise */
}

static void put_console(struct strbuf *b, const struct keeper_console *console)
{
	const struct record_console record = { .master_fd = console->master.fd,
		.total = keeper_ring_start(&console->ring) };
	uint64_t position = record.total;
	const char *piece;
	size_t n;

	put(b, RECORD_CONSOLE, &record, sizeof(record));
	while ((n = keeper_ring_peek(&console->ring, position, &piece)) > 0) {
		put(b, RECORD_RING, piece, n);
		position += n;
	}

	for (const struct keeper_viewer *viewer = console->viewers; viewer; viewer = viewer->next) {
		struct record_viewer there = {
			.fd = viewer->source.fd,
			.input_ended = viewer->input_ended,
			.input_start = viewer->input_start,
			.input_len = viewer->input_len,
			.position = viewer->position,
			.stalled_usec = viewer->stalled_usec,
		};

		memcpy(there.input, viewer->input, sizeof(there.input));
		put(b, RECORD_VIEWER, &there, sizeof(there));
	}
}

static void put_child(struct strbuf *b, const struct keeper_child *child)
{
	const struct record_child record = {
		.pidfd = child->pidfd.fd,
		.status_fd = child->status.fd,
		.console_fd = child->console_fd,
		.ready = child->ready,
		.deadline_usec = child->deadline_usec,
		.connection_id = child->connection_id,
		.serial = child->serial,
		.type = child->type,
	};

	put(b, RECORD_PROCESS, &child->info, sizeof(child->info));
	put(b, RECORD_CHILD, &record, sizeof(record));
	if (child->error)
		put(b, RECORD_ERROR, child->error, sizeof(*child->error));
	if (child->console)
		put_console(b, child->console);
}

int keeper_state_save(const struct keeper *k)
{
	const struct record_keeper record = {
		.lock_fd = k->lock_fd,
		.dir_fd = k->dir_fd,
		.listener_fd = k->listener.fd,
		.n_reexecs = k->n_reexecs,
		.next_connection_id = k->next_connection_id,
		.started_usec = k->started_usec,
		.reexec_connection_id = k->reexec_connection_id,
		.reexec_serial = k->reexec_serial,
	};
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	put(&b, RECORD_MAGIC, NULL, 0);
	put(&b, RECORD_KEEPER, &record, sizeof(record));
	for (const struct keeper_connection *c = k->connections; c; c = c->next) {
		const struct record_connection there = { c->source.fd, c->subscribed, c->id };

		put(&b, RECORD_CONNECTION, &there, sizeof(there));
	}
	for (size_t i = 0; i < KEEPER_BUCKETS; i++)
		for (const struct keeper_child *child = k->children[i]; child; child = child->next)
			put_child(&b, child);

	return b.error ? b.error : memfd_sealed("ct-keeper-state", b.data, b.len);
}

/* What is being read: the child and the console that the next records belong to. */
struct loader {
	struct keeper *k; /* NULL: only look */
	bool have_magic, have_keeper, have_child, have_console;
	struct keeper_child *child;
	struct keeper_console *console;
};

/* An fd that has come through the exec; it must not go through another one by itself. */
static int take_inherited(int fd)
{
	return fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

static int load_keeper(struct loader *l, const void *data)
{
	const struct record_keeper *r = data;
	struct keeper *k = l->k;

	k->lock_fd = take_inherited(r->lock_fd);
	k->dir_fd = take_inherited(r->dir_fd);
	k->listener.fd = take_inherited(r->listener_fd);
	k->n_reexecs = r->n_reexecs;
	k->next_connection_id = r->next_connection_id;
	k->started_usec = r->started_usec;
	k->reexec_connection_id = r->reexec_connection_id;
	k->reexec_serial = r->reexec_serial;
	return keeper_watch(k, &k->listener, EPOLLIN);
}

static int load_connection(struct loader *l, const void *data)
{
	const struct record_connection *r = data;
	int fd = take_inherited(r->fd);

	return fd < 0 ? -EBADF : keeper_connection_add(l->k, fd, r->id, r->subscribed);
}

static int load_process(struct loader *l, const void *data)
{
	const struct keeper_process *info = data;

	l->console = NULL;
	l->child = NULL;
	if (!memchr(info->key, 0, sizeof(info->key)))
		return -EBADMSG;

	l->child = keeper_child_new(l->k, info->key);
	if (!l->child)
		return -ENOMEM;

	l->child->info = *info;
	return 0;
}

static int load_child(struct loader *l, const void *data)
{
	const struct record_child *r = data;
	struct keeper_child *child = l->child;

	child->pidfd.fd = take_inherited(r->pidfd);
	child->status.fd = take_inherited(r->status_fd);
	child->console_fd = take_inherited(r->console_fd);
	child->ready = r->ready;
	child->connection_id = r->connection_id;
	child->serial = r->serial;
	child->type = r->type;
	keeper_timer_set(l->k, &child->deadline_usec, r->deadline_usec);

	if (child->status.fd >= 0)
		(void)keeper_watch(
		        l->k, &child->status, EPOLLIN); /* without it there is still the deadline */
	return child->pidfd.fd >= 0 ? keeper_watch(l->k, &child->pidfd, EPOLLIN) : 0;
}

static int load_error(struct loader *l, const void *data)
{
	l->child->error = malloc(sizeof(*l->child->error));
	if (!l->child->error)
		return -ENOMEM;

	memcpy(l->child->error, data, sizeof(*l->child->error));
	return 0;
}

static int load_console(struct loader *l, const void *data)
{
	const struct record_console *r = data;
	int result;

	result = keeper_console_new(l->k, take_inherited(r->master_fd), &l->console);
	if (result < 0)
		return result;

	l->console->ring.total = r->total;
	l->child->console = l->console;
	return 0;
}

static int load_viewer(struct loader *l, const void *data)
{
	const struct record_viewer *r = data;
	struct keeper_viewer *viewer;
	int fd = take_inherited(r->fd), result;

	if (fd < 0)
		return -EBADF;

	result = keeper_console_add_viewer(l->k, l->console, fd, false, &viewer);
	if (result < 0)
		return result;

	viewer->position = r->position <= l->console->ring.total ? r->position : l->console->ring.total;
	viewer->stalled_usec = r->stalled_usec;
	viewer->input_ended = r->input_ended;
	if (r->input_start <= sizeof(viewer->input) &&
	        r->input_len <= sizeof(viewer->input) - r->input_start) {
		viewer->input_start = (uint16_t)r->input_start;
		viewer->input_len = (uint16_t)r->input_len;
		memcpy(viewer->input, r->input, sizeof(viewer->input));
	}

	/* Edges that came in between are lost: look at everything once. */
	keeper_viewer_on_event(l->k, viewer, 0);
	return 0;
}

/* The records by what must have come before them. load is called with a whole struct of that size. */
static const struct record_kind {
	uint32_t type;
	size_t size;
	size_t needs;  /* offset of a bool in struct loader that must be set */
	size_t gives;  /* and of one that it sets */
	size_t object; /* offset of a pointer in struct loader that load needs: it may be missing where that
	                  piece failed */
	int (*load)(struct loader *l, const void *data);
} record_kinds[] = {
#define AT(member) offsetof(struct loader, member)
	{ RECORD_KEEPER, sizeof(struct record_keeper), AT(have_magic), AT(have_keeper), AT(k), load_keeper },
	{ RECORD_CONNECTION, sizeof(struct record_connection), AT(have_keeper), AT(have_keeper), AT(k),
	        load_connection },
	{ RECORD_PROCESS, sizeof(struct keeper_process), AT(have_keeper), AT(have_child), AT(k),
	        load_process },
	{ RECORD_CHILD, sizeof(struct record_child), AT(have_child), AT(have_child), AT(child), load_child },
	{ RECORD_ERROR, sizeof(struct ct_error), AT(have_child), AT(have_child), AT(child), load_error },
	{ RECORD_CONSOLE, sizeof(struct record_console), AT(have_child), AT(have_console), AT(child),
	        load_console },
	{ RECORD_VIEWER, sizeof(struct record_viewer), AT(have_console), AT(have_console), AT(console),
	        load_viewer },
#undef AT
};

static int load_record(struct loader *l, uint32_t type, const char *data, size_t len)
{
	if (type == RECORD_MAGIC) {
		l->have_magic = true;
		return 0;
	}

	if (type == RECORD_RING) {
		if (!l->have_console)
			return -EBADMSG;
		if (l->console)
			keeper_ring_add(&l->console->ring, data, len);
		return 0;
	}

	for (size_t i = 0; i < ARRAY_SIZE(record_kinds); i++) {
		const struct record_kind *kind = &record_kinds[i];
		_Alignas(16) char whole[1024] = { 0 };

		if (kind->type != type)
			continue;
		if (!*(bool *)((char *)l + kind->needs))
			return -EBADMSG;

		*(bool *)((char *)l + kind->gives) = true;
		if (!l->k || !*(void **)((char *)l + kind->object))
			return 0;

		_Static_assert(sizeof(struct ct_error) <= sizeof(whole) &&
		                       sizeof(struct record_viewer) <= sizeof(whole),
		        "room");
		memcpy(whole, data, len < kind->size ? len : kind->size);
		(void)kind->load(l, whole); /* go on without this piece: see above */
		return 0;
	}

	return 0; /* of a later version */
}

/* Where every child stood at the exec may have changed since, and consoles are edge-triggered. */
static void look_at_all(struct keeper *k)
{
	for (size_t i = 0; i < KEEPER_BUCKETS; i++)
		for (struct keeper_child *child = k->children[i]; child; child = child->next)
			if (child->console)
				keeper_console_on_event(k, child->console, EPOLLOUT);
}

int keeper_state_parse(struct keeper *k, const void *data, size_t len, struct ct_error *err)
{
	struct loader l = { .k = k };
	const char *at = data;

	while (len > 0) {
		struct record record;
		int r = -EBADMSG;

		if (len >= sizeof(record)) {
			memcpy(&record, at, sizeof(record));
			if (record.length <= len - sizeof(record))
				r = load_record(&l, record.type, at + sizeof(record), record.length);
		}
		if (r < 0)
			return ct_error_set(err, r, "state", "malformed state of the keeper before");

		at += sizeof(record) + record.length;
		len -= sizeof(record) + record.length;
	}

	if (!l.have_keeper)
		return ct_error_set(err, -EBADMSG, "state", "there is no state of a keeper");
	return 0;
}

int keeper_state_load(struct keeper *k, int state_fd, struct ct_error *err)
{
	struct stat st;
	void *data;
	int r;

	if (fstat(state_fd, &st) < 0 || st.st_size <= 0 || st.st_size > STATE_MAX)
		return ct_error_set(err, -EBADMSG, "state", "there is no state of a keeper");

	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, state_fd, 0);
	if (data == MAP_FAILED)
		return ct_error_set(err, -errno, "state", "cannot read the state: %s", strerror(errno));

	r = keeper_state_parse(k, data, (size_t)st.st_size, err);
	(void)munmap(data, (size_t)st.st_size); /* what was mapped: cannot fail */
	if (r < 0 || !k)
		return r;

	look_at_all(k);
	k->n_reexecs++;
	return 0;
}
