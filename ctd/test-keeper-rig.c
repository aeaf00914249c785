/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of the real keeper share. The containers' root is busybox alone, over an empty directory of
 * the fixture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctd/test-keeper-rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define PATIENCE (60 * USEC_PER_SEC)
#define BUSYBOX  "/bin/busybox"

static const char *const applets[] = { "busybox", "sh", "sleep", "cat", "dd", "stty", "kill", "mkdir", "true",
	"yes", "head", "stat", "tty" };

static void on_exited(const struct keeper_process *process, void *userdata)
{
	struct rig *rig = userdata;

	if (rig->n_exits < RIG_EXITS_MAX)
		rig->exits[rig->n_exits++] = *process;
}

static void on_disconnected(int reason, void *userdata)
{
	struct rig *rig = userdata;

	rig->lost = reason;
}

static const struct keeper_client_ops ops = { .exited = on_exited, .disconnected = on_disconnected };

/* The fixture has made busybox /sbin/init; the rest is names for it, and places to mount on. */
static int name_applets(int lower_fd)
{
	static const char *const dirs[] = { "bin", "dev", "proc", "sys", "run", "tmp", "etc" };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (mkdirat(lower_fd, dirs[i], 0755) < 0)
			return -errno;

	for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "bin/%s", applets[i]);
		if (symlinkat("../sbin/init", lower_fd, path) < 0)
			return -errno;
	}
	return 0;
}

int rig_init(struct rig *rig, const char *binary)
{
	_cleanup_close_ int lower = -1;
	int r;

	*rig = (struct rig){ .binary = realpath(binary, NULL) };
	if (!rig->binary) {
		fprintf(stderr, "no \"%s\"\n", binary);
		return 1;
	}
	if (access(BUSYBOX, X_OK) < 0) {
		printf("1..0 # SKIP no static " BUSYBOX " (Debian: busybox-static)\n");
		return 77;
	}
	r = fixture_init(&rig->fixture, BUSYBOX);
	if (r != 0)
		return r;

	lower = openat(rig->fixture.dir_fd, "lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (name_applets(lower) < 0) {
		fprintf(stderr, "cannot make the containers' root\n");
		fixture_done(&rig->fixture);
		return 1;
	}

	(void)snprintf(rig->runtime, sizeof(rig->runtime), "%s/run", rig->fixture.dir);
	if (mkdir(rig->runtime, 0700) < 0 || sd_event_new(&rig->event) < 0 ||
	        rig_open(rig) != KEEPER_CLIENT_SPAWNED) {
		fprintf(stderr, "cannot start the keeper\n");
		fixture_done(&rig->fixture);
		return 1;
	}
	return 0;
}

void rig_done(struct rig *rig)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	/* What a failed test has left must not stay on the machine. */
	(void)ct_cgroup_kill(rig->fixture.cgroup_fd, NULL);
	for (int i = 0; i < 1000 && ct_cgroup_is_populated(rig->fixture.cgroup_fd) == 1; i++)
		(void)usleep(5000);
	if (rig_wait(rig, keeper_client_quit(rig->client, keeper_reply_store, &reply), &reply) < 0)
		(void)kill(keeper_client_hello(rig->client)->pid, SIGKILL);

	keeper_client_free(rig->client);
	sd_event_unref(rig->event);
	fixture_done(&rig->fixture);
	free(rig->binary);
}

int rig_open(struct rig *rig)
{
	const struct keeper_client_config config = {
		.event = rig->event,
		.runtime_dir = rig->runtime,
		.binary = rig->binary,
		.ops = &ops,
		.userdata = rig,
	};
	struct ct_error error = { 0 };
	int r;

	keeper_client_free(TAKE_PTR(rig->client));
	rig->lost = 0;
	r = keeper_client_open(&config, &rig->client, &error);
	if (r < 0)
		fprintf(stderr, "%s\n", error.text);
	return r;
}

bool rig_run_until(
        struct rig *rig, bool (*condition)(struct rig *rig, void *arg), void *arg, uint64_t timeout_usec)
{
	uint64_t end = now_monotonic_usec() + timeout_usec;

	while (!condition(rig, arg)) {
		uint64_t now = now_monotonic_usec();

		if (now >= end)
			return false;
		assert_true(sd_event_run(rig->event, end - now) >= 0);
	}
	return true;
}

int rig_wait(struct rig *rig, int r, struct keeper_reply *reply)
{
	struct ct_error error = { 0 };

	if (r < 0)
		return r;
	r = keeper_client_wait(rig->client, reply, &error);
	if (r < 0 && getenv("RIG_VERBOSE"))
		fprintf(stderr, "%d: %s\n", r, error.text);
	return r;
}

int rig_start_argv(struct rig *rig, struct box *box, const char *key, const char *const *argv, bool console,
        struct keeper_reply *reply)
{
	_cleanup_keeper_reply_ struct keeper_reply own = KEEPER_REPLY_INIT;
	struct keeper_reply *to = reply ? reply : &own;
	struct ct_error error = { 0 };
	struct ct_spec spec;

	if (box_prepare(&rig->fixture, box, &spec, &error) < 0)
		fail_msg("%s", error.text);

	spec.argv = argv;
	spec.console = console;
	return rig_wait(
	        rig, keeper_client_start(rig->client, key, &spec, keeper_reply_store, to, &error), to);
}

int rig_start(struct rig *rig, struct box *box, const char *key, const char *script, bool console,
        struct keeper_reply *reply)
{
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };

	return rig_start_argv(rig, box, key, argv, console, reply);
}

int rig_exec(struct rig *rig, struct box *box, const char *key, const char *script, bool tty,
        const int *stdio, struct keeper_reply *reply)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	const char *const env[] = { "PATH=/bin:/sbin", NULL };
	struct ct_exec_spec spec = {
		.argv = argv,
		.env = env,
		.cgroup_fd = box->cgroup_fd,
		.base_id = box->shell.base_id,
		.seccomp = rig->fixture.seccomp,
		.tty = tty,
		.rows = 33,
		.columns = 111,
		.stdio = { stdio ? stdio[0] : -1, stdio ? stdio[1] : -1, stdio ? stdio[2] : -1 },
	};
	struct ct_error error = { 0 };

	/* box->init is what the test has put there of the START's answer. */
	spec.init_pidfd = box->init.pidfd;
	return rig_wait(
	        rig, keeper_client_exec(rig->client, key, &spec, keeper_reply_store, reply, &error), reply);
}

struct awaited {
	const char *key;
	struct keeper_process process;
};

/* Takes the event out, so that the same key may be used again. */
static bool has_exited(struct rig *rig, void *arg)
{
	struct awaited *awaited = arg;

	for (size_t i = 0; i < rig->n_exits; i++)
		if (str_eq(rig->exits[i].key, awaited->key)) {
			awaited->process = rig->exits[i];
			rig->n_exits--;
			memmove(&rig->exits[i], &rig->exits[i + 1],
			        (rig->n_exits - i) * sizeof(rig->exits[0]));
			return true;
		}
	return false;
}

struct keeper_process rig_await_exit(struct rig *rig, const char *key)
{
	struct awaited awaited = { .key = key };

	if (!rig_run_until(rig, has_exited, &awaited, PATIENCE))
		fail_msg("no exit of %s", key);
	return awaited.process;
}

/* Events that nobody has waited for must not be taken for those of the next process with that key. */
static void drop_exits(struct rig *rig, const char *key)
{
	struct awaited awaited = { .key = key };

	while (sd_event_run(rig->event, 0) > 0)
		;
	while (has_exited(rig, &awaited))
		;
}

void rig_box_done(struct rig *rig, struct box *box, const char *key)
{
	struct keeper_process process;

	if (box->cgroup_fd >= 0)
		(void)ct_cgroup_kill(box->cgroup_fd, NULL); /* empty it may be */
	if (rig_find(rig, key, &process)) {
		if (process.state != KEEPER_PROCESS_EXITED)
			(void)rig_await_exit(rig, key);
		assert_int_equal(rig_forget(rig, key), 0);
	}
	drop_exits(rig, key);
	box->init.pidfd = fd_close(box->init.pidfd);
	box_done(&rig->fixture, box);
}

size_t rig_count(struct rig *rig)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	assert_int_equal(
	        rig_wait(rig, keeper_client_list(rig->client, keeper_reply_store, &reply), &reply), 0);
	return reply.n_processes;
}

bool rig_find(struct rig *rig, const char *key, struct keeper_process *ret)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	assert_int_equal(
	        rig_wait(rig, keeper_client_list(rig->client, keeper_reply_store, &reply), &reply), 0);
	for (size_t i = 0; i < reply.n_processes; i++)
		if (str_eq(reply.processes[i].key, key)) {
			*ret = reply.processes[i];
			return true;
		}
	return false;
}

int rig_forget(struct rig *rig, const char *key)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	return rig_wait(rig, keeper_client_forget(rig->client, key, keeper_reply_store, &reply), &reply);
}

int rig_attach(struct rig *rig, const char *key, unsigned int flags)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(rig_wait(rig,
	                         keeper_client_console_attach(
	                                 rig->client, key, pair[0], flags, keeper_reply_store, &reply),
	                         &reply),
	        0);
	close(pair[0]);
	return pair[1];
}

void rig_expect(int fd, const char *text, char **ret)
{
	_cleanup_strbuf_ struct strbuf got = STRBUF_INIT;
	uint64_t end = now_monotonic_usec() + PATIENCE;

	while (!got.data || !strstr(got.data, text)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		char chunk[4096];
		ssize_t n;

		if (now_monotonic_usec() > end || poll(&p, 1, 1000) < 0)
			fail_msg("\"%s\" did not come; \"%s\" came", text, got.data ? got.data : "");
		if (!p.revents)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			fail_msg("\"%s\" did not come before the end; \"%s\" came", text,
			        got.data ? got.data : "");
		assert_int_equal(strbuf_add(&got, chunk, (size_t)n), 0);
	}
	if (ret)
		*ret = strbuf_take(&got);
}

bool rig_expect_end(int fd, size_t *count)
{
	uint64_t end = now_monotonic_usec() + PATIENCE;

	while (now_monotonic_usec() < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		char chunk[65536];
		ssize_t n;

		if (poll(&p, 1, 1000) < 1)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			return true;
		if (count)
			*count += (size_t)n;
	}
	return false;
}

char *rig_read_console(struct rig *rig, const char *key, unsigned int flags)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;

	assert_int_equal(
	        rig_wait(rig, keeper_client_console_read(rig->client, key, flags, keeper_reply_store, &reply),
	                &reply),
	        0);
	return TAKE_PTR(reply.data);
}

char *rig_scrollback(struct rig *rig, const char *key)
{
	return rig_read_console(rig, key, 0);
}

void rig_expect_scrollback(struct rig *rig, const char *key, const char *text)
{
	for (uint64_t end = now_monotonic_usec() + PATIENCE; now_monotonic_usec() < end;) {
		_cleanup_free_ char *got = rig_scrollback(rig, key);

		if (strstr(got, text))
			return;
		(void)usleep(10000);
	}
	fail_msg("\"%s\" is not in the scrollback of %s", text, key);
}

size_t rig_count_fds(pid_t pid)
{
	_cleanup_free_ char *path = str_printf("/proc/%d/fd", (int)pid);
	_cleanup_closedir_ DIR *dir = opendir(path);
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	return n - 2;
}

unsigned long rig_pss(pid_t pid)
{
	_cleanup_free_ char *path = str_printf("/proc/%d/smaps_rollup", (int)pid);
	_cleanup_free_ char *text = NULL;
	const char *line;

	assert_int_equal(read_file_at(AT_FDCWD, path, 65536, &text, NULL), 0);
	line = strstr(text, "\nPss:");
	assert_non_null(line);
	return strtoul(line + strlen("\nPss:"), NULL, 10);
}

void rig_expect_no_growth(pid_t pid, unsigned long pss)
{
	if (pss < 2048)
		assert_true(rig_pss(pid) < pss + 256);
}
