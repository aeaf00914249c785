/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a container: asked for, forced, or by itself.
 *
 * All ends go one way: the keeper says that init has exited, the run is taken down, then whoever waits is
 * told. A stop only makes that happen: the template's signal to init, and cgroup.kill when the time is over.
 * The first process of a pid namespace gets no signal that it has not asked for; one that comes before is
 * lost, not kept (pid_namespaces(7)). So when a stop follows at once on a start, the signal is sent again
 * until init is seen to listen, or has ended. (One that sits in sigtimedwait(2), as busybox's, does not look
 * like it, and gets a few signals more than it needs.)
 *
 * An end that nobody asked for is recorded as an event; if init asked for a reboot (it dies by SIGHUP of its
 * pid namespace: reboot(2)) the container is started again by a job of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/template.h"
#include "ctd/verbs.h"

#define KILL_PATIENCE_USEC (30 * USEC_PER_SEC)
#define ASK_AGAIN_USEC     (20 * USEC_PER_MSEC)
#define ASK_TIMES          250

struct stop {
	struct container *container;
	operation_fn done;
	void *userdata;
	sd_event_source *timer;
	sd_event_source *ask_timer; /* while init is not seen to listen to signo */
	unsigned asked;
	int signo;
	bool killed;
};

static void stop_free(struct stop *s)
{
	(void)sd_event_source_disable_unref(s->timer); /* always NULL, as the next */
	(void)sd_event_source_disable_unref(s->ask_timer);
	free(s);
}

static void stop_end(struct stop *s, int result, const struct ct_error *error)
{
	struct container *c = s->container;

	c->on_exit = NULL;
	c->on_exit_data = NULL;
	s->done(c, result, error, s->userdata);
	stop_free(s);
}

static void on_exit_of(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	stop_end(userdata, result, error);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata);

static int stop_arm(struct stop *s, uint64_t usec)
{
	s->timer = sd_event_source_disable_unref(s->timer);
	return sd_event_add_time_relative(
	        s->container->manager->event, &s->timer, CLOCK_MONOTONIC, usec, 1000, on_time, s);
}

static void stop_kill(struct stop *s)
{
	struct container *c = s->container;
	struct ct_error error = { 0 };
	int r;

	s->killed = true;
	s->ask_timer = sd_event_source_disable_unref(s->ask_timer);
	r = stop_arm(s, KILL_PATIENCE_USEC);
	if (r >= 0)
		r = ct_cgroup_kill(c->cgroup_fd, &error);
	if (r < 0) {
		(void)ct_error_prefix(&error, "cannot kill \"%s\"", c->row.name);
		stop_end(s, r, &error);
	}
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct stop *s = userdata;
	struct container *c = s->container;
	struct ct_error error = { 0 };

	if (!s->killed) {
		log_notice("\"%s\" did not stop in its time and is killed", c->row.name);
		stop_kill(s);
		return 0;
	}
	(void)ct_error_kind_set(&error, CT_ERROR_FAILED, -ETIMEDOUT,
	        "\"%s\" was killed but its init has not ended (waiting in the kernel, perhaps for a disk); it is taken down as soon as it does",
	        c->row.name);
	stop_end(s, -ETIMEDOUT, &error);
	return 0;
}

static int stop_signal_of(struct container *c)
{
	struct template_row row = { 0 };
	struct template_meta meta = { 0 };
	int signo = SIGTERM;

	if (store_template_get(c->manager->store, c->row.template_digest, &row, NULL) < 0)
		return signo;
	if (template_meta_from_json(row.metadata, &meta, NULL) == 0)
		signo = meta.stop_signal ?: SIGTERM;
	template_meta_done(&meta);
	template_row_done(&row);
	return signo;
}

/* The mask of signals in a line "KEY:\t0123..." of /proc/PID/status. */
static uint64_t mask_of(const char *status, const char *key)
{
	const char *line = strstr(status, key);

	return line ? strtoull(line + strlen(key), NULL, 16) : 0;
}

/* Whether init has a handler for the signal, or has blocked it to read it later. One that has gone counts as
 * listening: its exit is on the way. */
static bool init_listens(pid_t pid, int signo)
{
	_cleanup_free_ char *status = NULL;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (read_file_at(AT_FDCWD, path, 65536, &status, NULL) < 0)
		return true;
	return ((mask_of(status, "\nSigCgt:") | mask_of(status, "\nSigBlk:")) >> (signo - 1) & 1) != 0;
}

static int on_ask_time(sd_event_source *source, uint64_t usec, void *userdata);

/* Sends the signal, and again in a moment unless init was listening. */
static int stop_signal(struct stop *s)
{
	struct container *c = s->container;
	bool again = !init_listens(c->run.pid, s->signo) && ++s->asked < ASK_TIMES;

	s->ask_timer = sd_event_source_disable_unref(s->ask_timer);
	if (pidfd_send_signal(c->pidfd, s->signo, NULL, 0) < 0)
		return errno == ESRCH ? 0 : -errno;
	return again ? sd_event_add_time_relative(c->manager->event, &s->ask_timer, CLOCK_MONOTONIC,
	                       ASK_AGAIN_USEC, 1000, on_ask_time, s)
	             : 0;
}

static int on_ask_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct stop *s = userdata;
	int r = stop_signal(s);

	if (r < 0)
		log_warning("cannot signal init of \"%s\": %s", s->container->row.name, strerror(-r));
	return 0;
}

static int stop_ask(struct stop *s, uint64_t timeout_usec, struct ct_error *err)
{
	struct container *c = s->container;
	int r;

	r = stop_arm(s, timeout_usec);
	if (r < 0)
		return ct_error_set(err, r, "stop", "cannot stop \"%s\": %s", c->row.name, strerror(-r));
	s->signo = stop_signal_of(c);
	r = stop_signal(s);
	return r < 0 ? ct_error_set(
	                       err, r, "stop", "cannot signal init of \"%s\": %s", c->row.name, strerror(-r))
	             : 0;
}

/* It does not run, but was to be started again: that too is stopped, also for a later ctd. */
static int forget_wish(struct container *c, struct ct_error *err)
{
	int r = 0;

	if (c->run.wanted) {
		c->run.wanted = false;
		r = container_save_run(c, err);
	}
	return r < 0 ? ct_error_prefix(err, "cannot stop \"%s\"", c->row.name) ?: r : 1;
}

int container_stop(struct container *c, enum stop_kind kind, uint64_t timeout_usec, operation_fn done,
        void *userdata, struct ct_error *err)
{
	struct stop *s;
	int r;

	c->restart_timer = sd_event_source_disable_unref(c->restart_timer);
	if (c->state == CONTAINER_STOPPED && !c->teardown)
		return forget_wish(c, err);
	s = calloc(1, sizeof(*s));
	if (!s)
		return ct_error_set(err, -ENOMEM, "stop", "out of memory");
	*s = (struct stop){ .container = c, .done = done, .userdata = userdata };

	c->reboot = false;
	c->run.wanted = false;
	if (c->teardown || c->cgroup_fd < 0) {
		/* It has ended already; only the rest is to go. */
		c->on_exit = on_exit_of;
		c->on_exit_data = s;
		container_teardown(c, on_exit_of, s);
		return 0;
	}

	/* A kill works on the frozen too, and one that is another node's must not run for a moment. */
	if (c->state == CONTAINER_FROZEN && kind != STOP_KILL && timeout_usec > 0)
		(void)ct_cgroup_freeze(c->cgroup_fd, false, 0, NULL); /* else it is killed in the end */
	c->on_exit = on_exit_of;
	c->on_exit_data = s;
	container_set_state(c, CONTAINER_STOPPING);
	if (kind == STOP_KILL || timeout_usec == 0) {
		stop_kill(s);
		return 0;
	}

	r = stop_ask(s, timeout_usec, err);
	if (r < 0) {
		c->on_exit = NULL;
		stop_free(s);
		container_set_state(c, CONTAINER_RUNNING);
	}
	return r;
}

/* After the take-down of a run. */
static void on_torn_down(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	bool reboot = TAKE(c->reboot, false);

	if (c->on_exit) {
		c->on_exit(c, result, error, c->on_exit_data);
		return;
	}
	if (reboot && result == 0)
		verb_reboot(c);
}

void container_exited(struct container *c, const struct keeper_process *process)
{
	struct manager *m = c->manager;
	bool asked = c->state == CONTAINER_STOPPING;

	c->run.exit_code = process->exit_code;
	c->run.exit_usec = process->exited_usec ?: now_realtime_usec();
	c->reboot = !asked && process->exit_signal == SIGHUP;
	c->run.wanted = c->reboot;
	manager_event(m, c, "container.exited",
	        json_pack(
	                "{s:i, s:b, s:b}", "code", process->exit_code, "asked", asked, "reboot", c->reboot));

	if (!asked)
		container_set_state(c, CONTAINER_STOPPING);
	container_teardown(c, on_torn_down, NULL);
}
