/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ids of the attach socket, what hangs on them, and when it ends.
 *
 * Knowing an id is the permission to attach, so ids are 128 bits of getrandom(2); a table of 256 chains is
 * indexed by two of their digits, which nobody can choose. File descriptors wait here for their client only,
 * ten seconds; then they are closed, and the command sees its input end and its output break, as if the
 * client had come and gone. Exit codes wait for a minute, so that a client whose connection broke (we were
 * restarted, or it was) can come again.
 *
 * Deadlines are looked for by one timer that runs only while something has one. Callbacks may call anything
 * of attach.h, so nothing is held over them: the sweep starts again after each.
 */

#include "ctd/attach-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define OFFER_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define EXIT_TIMEOUT_USEC  (60 * USEC_PER_SEC)
#define MAX_CLIENTS        512
#define MAX_ENTRIES        4096

int attach_id_new(char ret[ATTACH_ID_SIZE])
{
	unsigned char random[(ATTACH_ID_SIZE - 1) / 2];

	/* Up to 256 bytes come whole and without EINTR once the pool is initialised (getrandom(2)). */
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -errno;

	hex_encode(ret, random, sizeof(random));
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool id_valid(const char *id)
{
	for (size_t i = 0; i < ATTACH_ID_SIZE - 1; i++)
		if (hex_digit(id[i]) < 0)
			return false;
	return id[ATTACH_ID_SIZE - 1] == '\0';
}

static size_t bucket_of(const char *id)
{
	return (size_t)(hex_digit(id[0]) * 16 + hex_digit(id[1]));
}

struct entry *entry_find(const struct attach *a, const char *id)
{
	if (!id_valid(id))
		return NULL;

	for (struct entry *e = a->buckets[bucket_of(id)]; e; e = e->next)
		if (str_eq(e->id, id))
			return e;
	return NULL;
}

void entry_close_fds(struct entry *e)
{
	for (size_t i = 0; i < e->n_fds; i++)
		e->fds[i] = fd_close(e->fds[i]);
	e->n_fds = 0;
	e->offer_expires = 0;
}

void entry_remove(struct attach *a, struct entry *e)
{
	struct entry **at = &a->buckets[bucket_of(e->id)];

	assert(e->n_clients == 0);
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	a->n_entries--;

	entry_close_fds(e);
	free(e);
}

/* The exit code that has waited longest makes room. */
static bool entry_evict(struct attach *a)
{
	struct entry *oldest = NULL;

	for (size_t i = 0; i < ATTACH_BUCKETS; i++)
		for (struct entry *e = a->buckets[i]; e; e = e->next)
			if (e->exited && e->n_fds == 0 && (!oldest || e->exit_expires < oldest->exit_expires))
				oldest = e;

	if (oldest)
		entry_remove(a, oldest);
	return oldest != NULL;
}

static int entry_new(
        struct attach *a, const char *id, enum attach_kind kind, struct entry **ret, struct ct_error *err)
{
	if (!id_valid(id))
		return ct_error_set(err, -EINVAL, "attach", "\"%s\" is not an id to attach to", id);
	if (entry_find(a, id))
		return ct_error_set(err, -EEXIST, "attach", "the id %s is in use", id);
	if (a->n_entries >= a->max_entries && !entry_evict(a))
		return ct_error_set(err, -ENOSPC, "attach",
		        "there are %zu commands and consoles already, more are not served", a->n_entries);

	struct entry *e = calloc(1, sizeof(*e));
	if (!e)
		return ct_error_set(err, -ENOMEM, "attach", "out of memory");

	memcpy(e->id, id, ATTACH_ID_SIZE);
	e->kind = kind;
	e->next = a->buckets[bucket_of(id)];
	a->buckets[bucket_of(id)] = e;
	a->n_entries++;

	*ret = e;
	return 0;
}

static size_t fds_of(enum attach_kind kind)
{
	switch (kind) {
	case ATTACH_EXEC_TTY:
	case ATTACH_CONSOLE: return 1;
	case ATTACH_EXEC_PIPES: return 3;
	}

	return 0;
}

int attach_offer(struct attach *a, const char *id, enum attach_kind kind, const int *fds, size_t n_fds,
        struct ct_error *err)
{
	struct entry *e = NULL;
	int r;

	if (n_fds != fds_of(kind))
		r = ct_error_set(err, -EINVAL, "attach", "%zu file descriptors cannot be attached to", n_fds);
	else
		r = entry_new(a, id, kind, &e, err);
	if (r < 0) {
		for (size_t i = 0; i < n_fds; i++)
			(void)fd_close(fds[i]); /* always -1 */
		return r;
	}

	memcpy(e->fds, fds, n_fds * sizeof(*fds));
	e->n_fds = n_fds;
	e->offer_expires = now_monotonic_usec() + a->offer_timeout_usec;
	attach_sweep_later(a);
	return 0;
}

int attach_expect(struct attach *a, const char *id, struct ct_error *err)
{
	struct entry *e = NULL;

	return entry_new(a, id, ATTACH_EXEC_PIPES, &e, err);
}

/* A client of the entry; NULL: none is left. */
static struct client *client_of(const struct attach *a, const struct entry *e)
{
	struct client *c = e->n_clients > 0 ? a->clients : NULL;

	while (c && c->entry != e)
		c = c->next;
	return c;
}

void attach_exit(struct attach *a, const char *id, int code)
{
	struct entry *e = entry_find(a, id);
	struct client *c;

	if (!e || e->exited || e->kind == ATTACH_CONSOLE)
		return;

	e->exited = true;
	e->code = code;
	e->exit_expires = now_monotonic_usec() + a->exit_timeout_usec;
	while ((c = client_of(a, e)))
		client_finish(c, code);
	attach_sweep_later(a);
}

int attach_exit_code(const struct attach *a, const char *id)
{
	const struct entry *e = entry_find(a, id);

	if (!e || e->kind == ATTACH_CONSOLE)
		return -ENOENT;
	return e->exited ? e->code : -EINPROGRESS;
}

void attach_withdraw(struct attach *a, const char *id, const char *reason)
{
	struct entry *e = entry_find(a, id);
	struct client *c;

	if (!e)
		return;

	while ((c = client_of(a, e)))
		client_reject(c, reason);
	entry_remove(a, e);
}

static struct entry *find_unknown(
        struct attach *a, bool (*known)(const char *id, void *userdata), void *userdata)
{
	for (size_t i = 0; i < ATTACH_BUCKETS; i++)
		for (struct entry *e = a->buckets[i]; e; e = e->next)
			if (e->kind != ATTACH_CONSOLE && !e->exited && !known(e->id, userdata))
				return e;
	return NULL;
}

void attach_withdraw_unknown(
        struct attach *a, bool (*known)(const char *id, void *userdata), void *userdata, const char *reason)
{
	struct entry *e;

	while ((e = find_unknown(a, known, userdata))) {
		char id[ATTACH_ID_SIZE];

		memcpy(id, e->id, sizeof(id));
		attach_withdraw(a, id, reason);
	}
}

static bool offer_is_over(const struct entry *e, uint64_t now)
{
	return e->offer_expires > 0 && now >= e->offer_expires;
}

static bool exit_is_over(const struct entry *e, uint64_t now)
{
	return e->exited && e->n_fds == 0 && now >= e->exit_expires;
}

/* Deals with one entry whose time is up; false if there is none. */
static bool sweep_entry(struct attach *a, uint64_t now)
{
	for (size_t i = 0; i < ATTACH_BUCKETS; i++) {
		for (struct entry *e = a->buckets[i]; e; e = e->next) {
			char id[ATTACH_ID_SIZE];

			if (exit_is_over(e, now)) {
				entry_remove(a, e);
				return true;
			}
			if (!offer_is_over(e, now))
				continue;

			memcpy(id, e->id, sizeof(id));
			entry_close_fds(e);
			if (e->kind == ATTACH_CONSOLE)
				entry_remove(a, e);
			if (a->ops->expired)
				a->ops->expired(id, a->userdata);
			return true;
		}
	}

	return false;
}

static bool sweep_client(struct attach *a, uint64_t now)
{
	for (struct client *c = a->clients; c; c = c->next)
		if (c->expires > 0 && now >= c->expires) {
			client_reject(c, "no id was sent in time");
			return true;
		}

	return false;
}

static bool has_deadlines(const struct attach *a)
{
	for (size_t i = 0; i < ATTACH_BUCKETS; i++)
		for (const struct entry *e = a->buckets[i]; e; e = e->next)
			if (e->offer_expires > 0 || e->exited)
				return true;

	for (const struct client *c = a->clients; c; c = c->next)
		if (c->expires > 0)
			return true;
	return false;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct attach *a = userdata;
	uint64_t now = now_monotonic_usec();

	while (sweep_entry(a, now) || sweep_client(a, now))
		;

	if (a->full)
		(void)sd_event_source_set_enabled(a->io, SD_EVENT_ON); /* fails only for wrong arguments */
	a->full = false;

	a->sweeping = false;
	if (has_deadlines(a))
		attach_sweep_later(a);
	return 0;
}

/* A deadline is met within a tenth of the shorter time-out. */
void attach_sweep_later(struct attach *a)
{
	uint64_t shorter =
	        a->offer_timeout_usec < a->exit_timeout_usec ? a->offer_timeout_usec : a->exit_timeout_usec;

	if (a->sweeping)
		return;

	a->sweeping = true;
	(void)sd_event_source_set_time(
	        a->sweep, now_monotonic_usec() + shorter / 10); /* fail only for wrong arguments */
	(void)sd_event_source_set_enabled(a->sweep, SD_EVENT_ONESHOT);
}

static int add_sources(struct attach *a)
{
	int r = sd_event_add_io(a->event, &a->io, a->listener.fd, EPOLLIN, attach_on_connect, a);
	if (r >= 0)
		r = sd_event_add_time(a->event, &a->sweep, CLOCK_MONOTONIC, 0, 0, on_sweep, a);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->sweep, SD_EVENT_OFF);
	return r;
}

int attach_new(const struct attach_config *config, struct attach **ret, struct ct_error *err)
{
	_cleanup_attach_ struct attach *a = calloc(1, sizeof(*a));
	if (!a)
		return ct_error_set(err, -ENOMEM, "attach", "out of memory");

	a->event = sd_event_ref(config->event);
	a->listener = LISTENER_INIT;
	a->ops = config->ops;
	a->userdata = config->userdata;
	a->offer_timeout_usec = config->offer_timeout_usec ? config->offer_timeout_usec : OFFER_TIMEOUT_USEC;
	a->exit_timeout_usec = config->exit_timeout_usec ? config->exit_timeout_usec : EXIT_TIMEOUT_USEC;
	a->max_clients = config->max_clients ? config->max_clients : MAX_CLIENTS;
	a->max_entries = config->max_entries ? config->max_entries : MAX_ENTRIES;

	int r = listener_open(&a->listener, config->path, SOCK_SEQPACKET, config->group, err);
	if (r < 0)
		return r;

	r = add_sources(a);
	if (r < 0)
		return ct_error_set(
		        err, r, "attach", "cannot put the attach socket on the event loop: %s", strerror(-r));

	*ret = TAKE_PTR(a);
	return 0;
}

void attach_free(struct attach *a)
{
	if (!a)
		return;

	while (a->clients)
		client_free(a->clients);
	for (size_t i = 0; i < ATTACH_BUCKETS; i++)
		while (a->buckets[i])
			entry_remove(a, a->buckets[i]);

	(void)sd_event_source_disable_unref(a->io); /* NULL always */
	(void)sd_event_source_disable_unref(a->sweep);
	(void)sd_event_unref(a->event);
	listener_done(&a->listener);
	free(a);
}
