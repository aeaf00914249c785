/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening and closing the daemon.
 *
 * Order: what could refuse (lock, database, host) comes before what acts; what finds out (recovery) before
 * what promises (the sockets). A manager that failed half-way is closed by the same manager_free; every part
 * accepts not having been opened.
 */
#include "ctd/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "ctd/autostart.h"
#include "ctd/events.h"
#include "ctd/exec.h"
#include "ctd/gate.h"
#include "ctd/idle.h"
#include "ctd/ids.h"
#include "ctd/operate.h"
#include "ctd/ports.h"
#include "ctd/recover.h"
#include "ctd/sweeper.h"
#include "ctd/traffic.h"
#include "ctd/view.h"

#define LOCK_TRIES      50
#define LOCK_PAUSE_USEC 100000

/* A ctd that was killed while it made a child is survived by it up to its exec, which closes the lock. */
static int take_lock(struct manager *m, struct ct_error *err)
{
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(m->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return ct_error_set(err, -errno, "state", "cannot lock \"%s/lock\": %s",
			        m->conf.state_dir, strerror(errno));
		(void)usleep(LOCK_PAUSE_USEC); /* the loop does not run yet; shorter is fine too */
	}
	return ct_error_kind_set(err, CT_ERROR_STATE, -EWOULDBLOCK,
	        "another ctd has the state directory \"%s\"", m->conf.state_dir);
}

static int open_dirs(struct manager *m, struct ct_error *err)
{
	_cleanup_close_ int state_fd = -1, runtime_fd = -1;

	state_fd = open_or_mkdir(AT_FDCWD, m->conf.state_dir, 0700);
	if (state_fd < 0)
		return ct_error_set(err, state_fd, "state", "cannot make the state directory \"%s\": %s",
		        m->conf.state_dir, strerror(-state_fd));
	runtime_fd = open_or_mkdir(AT_FDCWD, m->conf.runtime_dir, 0755);
	if (runtime_fd < 0)
		return ct_error_set(err, runtime_fd, "runtime",
		        "cannot make the runtime directory \"%s\": %s", m->conf.runtime_dir,
		        strerror(-runtime_fd));
	if (fchmod(state_fd, 0700) < 0)
		return ct_error_set(err, -errno, "state", "cannot close \"%s\" to others: %s",
		        m->conf.state_dir, strerror(errno));

	m->lock_fd = openat(state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->lock_fd < 0)
		return ct_error_set(err, -errno, "state", "cannot open \"%s/lock\": %s", m->conf.state_dir,
		        strerror(errno));
	return take_lock(m, err);
}

static int read_boot_id(struct manager *m, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	int r = read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL);

	if (r < 0)
		return ct_error_set(err, r, "boot", "cannot read the boot id: %s", strerror(-r));
	text[strcspn(text, "\n")] = '\0';
	(void)snprintf(m->boot_id, sizeof(m->boot_id), "%s", text); /* 36 bytes */
	return 0;
}

/* Four letters that tell this instance from others, made once. */
static int load_tag(struct manager *m, struct ct_error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
	_cleanup_free_ char *tag = NULL;
	uint8_t random[NET_TAG_LEN];

	if (store_meta_get(m->store, "tag", &tag) == 0 && strlen(tag) == NET_TAG_LEN) {
		memcpy(m->tag, tag, sizeof(m->tag));
		return 0;
	}
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return ct_error_set(err, -errno, "tag", "cannot get random bytes: %s", strerror(errno));
	for (size_t i = 0; i < NET_TAG_LEN; i++)
		m->tag[i] = letters[random[i] % 32];
	return store_meta_set(m->store, "tag", m->tag, err);
}

static int holds_ids(const struct run_row *row, void *userdata)
{
	const struct manager *m = userdata;

	return row->slot > 0 && str_eq(row->boot_id, m->boot_id) ? -EBUSY : 0;
}

/* Ids follow from the slot and where the range begins. If that moved while containers run, they would be
 * taken for the owners of other ids than they have, and those of theirs be given out again. */
static int check_id_start(struct manager *m, struct ct_error *err)
{
	_cleanup_free_ char *before = NULL;
	char now[16];
	int r;

	(void)snprintf(now, sizeof(now), "%u", m->conf.id_start);
	r = store_meta_get(m->store, "id-start", &before);
	if (r >= 0 && str_eq(before, now))
		return 0;
	if (r >= 0 && store_run_each(m->store, holds_ids, m, NULL) == -EBUSY)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "id-start cannot become %s: containers run with ids from %s; stop them all under the old id-start first",
		        now, before);
	return store_meta_set(m->store, "id-start", now, err);
}

static int open_state(struct manager *m, struct ct_error *err)
{
	_cleanup_free_ char *db = str_printf("%s/ctd.db", m->conf.state_dir),
	                    *fs = str_printf("%s/fs", m->conf.state_dir);
	int r;

	if (!db || !fs)
		return ct_error_set(err, -ENOMEM, "state", "out of memory");
	r = store_open(db, &m->store, err);
	if (r >= 0)
		r = store_request_reset(m->store, err);
	if (r >= 0)
		r = disk_store_open(fs, &m->disks, err);
	if (r >= 0)
		node_probe(&m->node, disk_store_fd(m->disks));
	if (r >= 0)
		r = load_tag(m, err);
	if (r >= 0 && m->conf.id_start == 0)
		r = ids_claim(m->store, m->tag, m->conf.state_dir, &m->conf.id_start, err);
	return r < 0 ? r : check_id_start(m, err);
}

static int open_network(struct manager *m, struct ct_error *err)
{
	struct ct_error error = { 0 };
	int r;

	r = net_context_new(m->tag, &m->net, err);
	if (r >= 0)
		r = net_probe(m->net, &m->net_probe, err);
	if (r >= 0)
		r = networks_load(m, err);
	if (r >= 0)
		r = network_host_apply(m, err);
	if (r >= 0)
		r = traffic_classes_apply(m, err);
	/* An uplink that is not there yet must not keep the containers down. */
	if (r >= 0 && net_uplink_shape(m->net, m->conf.uplink_rate, &error) < 0)
		log_error("uplink-rate has no effect: %s", error.text);
	return r;
}

static int open_host(struct manager *m, struct ct_error *err)
{
	int r;

	r = ct_host_probe(&m->host, err);
	if (r >= 0)
		r = open_network(m, err);
	if (r >= 0)
		r = ct_seccomp_compile(CT_SECCOMP_SYSTEM, &m->seccomp[CT_SECCOMP_SYSTEM], err);
	if (r >= 0)
		r = ct_seccomp_compile(CT_SECCOMP_NESTING, &m->seccomp[CT_SECCOMP_NESTING], err);
	return r;
}

static int open_sockets(struct manager *m, struct ct_error *err)
{
	/* Beside the API's socket, where clients look for it. */
	const char *slash = strrchr(m->conf.socket, '/');
	_cleanup_free_ char *path =
	        str_printf("%.*s/attach.sock", (int)(slash - m->conf.socket), m->conf.socket);
	struct attach_config attach = {
		.event = m->event,
		.path = path,
		.group = m->conf.group,
		.ops = &exec_attach_ops,
		.userdata = m,
	};

	if (!path)
		return ct_error_set(err, -ENOMEM, "socket", "out of memory");
	return attach_new(&attach, &m->attach, err);
}

static int open_http(struct manager *m, struct ct_error *err)
{
	struct http_config http = {
		.manager = m,
		.event = m->event,
		.store = m->store,
		.routes = api_routes,
		.path = m->conf.socket,
		.group = m->conf.group,
	};

	return http_new(&http, &m->http, err);
}

static int manager_open(struct manager *m, struct ct_error *err)
{
	int r;

	r = sd_event_default(&m->event);
	if (r < 0)
		return ct_error_set(err, r, "event", "cannot make an event loop: %s", strerror(-r));
	(void)keeper_build_id_of("/proc/self/exe", m->build_id, sizeof(m->build_id)); /* "" says so */
	r = open_dirs(m, err);
	if (r >= 0)
		r = read_boot_id(m, err);
	if (r >= 0)
		r = open_state(m, err);
	if (r >= 0)
		r = meter_classes_check(m, err);
	if (r >= 0)
		r = open_host(m, err);
	if (r >= 0)
		r = pool_init(&m->pool, m, err);
	if (r >= 0)
		r = open_sockets(m, err);
	if (r >= 0)
		r = sweeper_new(m, &m->sweeper, err);
	if (r >= 0)
		r = recover(m, err);
	if (r >= 0)
		node_guarantees_apply(m);
	if (r >= 0)
		r = ports_recover(m, err);
	if (r >= 0)
		r = network_watch(m, err);
	if (r >= 0)
		r = network_uplink_watch(m, err);
	if (r >= 0)
		r = autostart_new(m, &m->autostart, err);
	if (r >= 0)
		r = idle_new(m, &m->idle, err);
	if (r >= 0)
		r = open_http(m, err);
	if (r >= 0)
		gate_open(m);
	return r;
}

int manager_new(const struct conf *conf, struct manager **ret, struct ct_error *err)
{
	struct manager *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return ct_error_set(err, -ENOMEM, "ctd", "out of memory");
	m->conf = *conf;
	m->lock_fd = -1;
	m->cgroup = CGROUP_ROOT_INIT;
	m->guarantees = UINT64_MAX; /* what a ctd before wrote is not known */
	jobs_init(&m->jobs);

	r = manager_open(m, err);
	if (r < 0) {
		manager_free(m);
		return r;
	}
	pool_refill_later(&m->pool);
	sweeper_kick(m->sweeper);
	*ret = m;
	return 0;
}

static void free_containers(struct manager *m)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		container_teardown_cancel(c);
		container_unlink(c);
		container_free(c);
	}
}

void manager_free(struct manager *m)
{
	if (!m)
		return;
	m->closing = true;
	gate_close(m);
	jobs_abandon(m);
	events_free(m);
	autostart_free(m->autostart);
	idle_free(m->idle);
	http_free(m->http);
	attach_free(m->attach);
	exec_consoles_free(m);
	(void)sd_event_source_disable_unref(m->respawn_timer); /* always NULL */
	keeper_client_free(m->keeper);
	sweeper_free(m->sweeper);
	if (m->pool.used)
		pool_done(&m->pool);
	meter_done(m);
	traffic_done(m);
	view_close(m);
	free_containers(m);
	network_hosts_free(m);
	network_names_free(m);
	network_watch_free(m);
	network_uplink_free(m);
	network_announce_free(m);
	segments_free(m);
	networks_free(m);
	cgroup_root_done(&m->cgroup);
	ct_seccomp_program_done(&m->seccomp[CT_SECCOMP_SYSTEM]);
	ct_seccomp_program_done(&m->seccomp[CT_SECCOMP_NESTING]);
	net_context_free(m->net);
	disk_store_close(m->disks);
	store_close(m->store);
	(void)fd_close(m->lock_fd);
	(void)sd_event_unref(m->event); /* always NULL */
	free(m);
}
