/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's side of workers, with workers that behave well and badly: this program itself, called with a
 * verb. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/worker.h"

/* ---- the fake worker ---- */

static void say(const char *text)
{
	(void)write_all(STDOUT_FILENO, text, strlen(text)); /* the test sees what is missing */
}

static int echo(void)
{
	_cleanup_free_ char *data = malloc(4 << 20);
	ssize_t n = data ? read_all(STDIN_FILENO, data, 4 << 20) : -1;
	char text[80];

	(void)snprintf(text, sizeof(text), "{\"result\":{\"bytes\":%zd,\"group\":%s}}\n", n,
	        getpgid(0) == getpid() ? "true" : "false");
	say(text);
	return 0;
}

/* A child that would outlive us holds the pipe and writes its pid into a file named by the parameters. */
static int leave_child(void)
{
	char path[512];
	ssize_t n = read_all(STDIN_FILENO, path, sizeof(path) - 1);
	pid_t child;

	(void)setpgid(0, 0); /* as ct-worker does */
	path[n > 0 ? n : 0] = '\0';
	child = fork();
	if (child == 0)
		for (;;)
			(void)pause(); /* until killed */
	say("{\"progress\":{\"text\":\"child\",\"percent\":");
	(void)snprintf(path, sizeof(path), "%d", (int)child);
	say(path);
	say("}}\n{\"result\":{}}\n");
	return 0;
}

/* As ct-worker does: what it is told is its result. Of what the test sets the daemon's side hands on
 * http_proxy. */
static int ahead(void)
{
	const char *how = getenv("http_proxy") ?: "";
	char path[64], text[1024];
	siginfo_t info;
	sigset_t set;
	ssize_t n;
	int fd;

	(void)sigemptyset(&set); /* cannot fail, as the next two */
	(void)sigaddset(&set, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)setpgid(0, 0); /* as ct-worker does */
	if (str_eq(how, "crash"))
		(void)raise(SIGKILL);
	say("{\"ask\":{\"task\":true}}\n");
	if (str_eq(how, "late"))
		(void)raise(SIGKILL);
	while (sigwaitinfo(&set, &info) < 0)
		; /* EINTR */
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", getppid(), info.si_value.sival_int);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read_all(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	say("{\"result\":");
	say(text);
	say("}\n");
	return 0;
}

static int fake(const char *verb)
{
	static char big[300 * 1024];

	if (str_eq(verb, "echo"))
		return setpgid(0, 0) < 0 ? 1 : echo();
	if (str_eq(verb, "ahead"))
		return ahead();
	if (str_eq(verb, "progress")) {
		say("{\"progress\":{\"text\":\"one\"}}\n{\"progress\":{\"text\":\"t\\u001bwo\",");
		(void)usleep(20000); /* a line in two pieces */
		say("\"percent\":50}}\n{\"result\":{\"x\":1}}\n");
		return 0;
	}
	if (str_eq(verb, "error"))
		say("{\"error\":{\"code\":\"refused\",\"message\":\"no \\u0007 room\",\"field\":\"disk\"}}\n");
	else if (str_eq(verb, "garbage"))
		say("what?\n{\"result\":{}}\n");
	else if (str_eq(verb, "long")) {
		memset(big, 'x', sizeof(big));
		(void)write_all(STDOUT_FILENO, big, sizeof(big)); /* SIGPIPE is fine as well */
		say("\n{\"result\":{}}\n");
	} else if (str_eq(verb, "crash"))
		(void)raise(SIGKILL);
	else if (str_eq(verb, "status"))
		return 3;
	else if (str_eq(verb, "child"))
		return leave_child();
	else if (str_eq(verb, "hang")) {
		(void)signal(SIGTERM, SIG_IGN);
		say("{\"progress\":{\"text\":\"deaf\"}}\n");
		for (;;)
			(void)pause();
	} else if (str_eq(verb, "wait"))
		(void)pause(); /* SIGTERM ends it */
	return 0;
}

/* ---- the test's side ---- */

struct seen {
	sd_event *event;
	unsigned n_done, n_progress;
	int percent;
	char text[160];
	json_t *result;
	struct ct_error error;
};

static void on_progress(int percent, const char *text, void *userdata)
{
	struct seen *seen = userdata;

	seen->n_progress++;
	seen->percent = percent;
	(void)snprintf(seen->text, sizeof(seen->text), "%s", text);
}

static void on_done(const json_t *result, const struct ct_error *error, void *userdata)
{
	struct seen *seen = userdata;

	seen->n_done++;
	seen->result = result ? json_deep_copy(result) : NULL;
	seen->error = *error;
	(void)sd_event_exit(seen->event, 0);
}

static const struct worker_ops ops = { .progress = on_progress, .done = on_done };

static void begin(struct seen *seen, const char *verb, json_t *params, struct worker **ret)
{
	struct ct_error error = { 0 };

	*seen = (struct seen){ .percent = -2 };
	assert_int_equal(sd_event_new(&seen->event), 0);
	if (worker_start(seen->event, "/proc/self/exe", verb, params, &ops, seen, ret, &error) < 0)
		fail_msg("%s", error.text);
}

static void await(struct seen *seen)
{
	assert_true(sd_event_loop(seen->event) >= 0);
	assert_int_equal(seen->n_done, 1);
}

static void dispose(struct seen *seen)
{
	(void)sd_event_unref(seen->event); /* always NULL */
	json_decref(seen->result);
	/* Reaped: no child is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void finish(struct seen *seen)
{
	await(seen);
	dispose(seen);
}

static void run(struct seen *seen, const char *verb)
{
	struct worker *worker = NULL;

	begin(seen, verb, json_object(), &worker);
	finish(seen);
}

static void test_echo(void **state)
{
	char *filler = calloc(1, 1000001);
	struct worker *worker = NULL;
	struct seen seen;

	assert_non_null(filler);
	memset(filler, 'y', 1000000);
	begin(&seen, "echo", json_pack("{s:s}", "f", filler), &worker);
	free(filler);
	await(&seen);
	assert_non_null(seen.result);
	assert_int_equal(json_integer_value(json_object_get(seen.result, "bytes")),
	        1000000 + (int)strlen("{\"f\":\"\"}"));
	assert_true(json_is_true(json_object_get(seen.result, "group")));
	dispose(&seen);
}

static void test_progress(void **state)
{
	struct seen seen;

	run(&seen, "progress");
	assert_int_equal(seen.n_progress, 2);
	assert_int_equal(seen.percent, 50);
	assert_null(strchr(seen.text, '\033'));
	assert_int_equal(seen.error.code, 0);
}

static void test_failures(void **state)
{
	static const struct {
		const char *verb, *text;
	} cases[] = {
		{ "garbage", "not a JSON object" },
		{ "long", "more than" },
		{ "crash", "signal 9" },
		{ "status", "status 3" },
		{ "nothing", "no result" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct seen seen;

		run(&seen, cases[i].verb);
		assert_true(seen.error.code < 0);
		if (!strstr(seen.error.text, cases[i].text))
			fail_msg("%s: %s", cases[i].verb, seen.error.text);
	}
}

static void test_error(void **state)
{
	struct seen seen;

	run(&seen, "error");
	assert_int_equal(seen.error.kind, CT_ERROR_REFUSED);
	assert_string_equal(seen.error.field, "disk");
	assert_null(strchr(seen.error.text, '\a'));
}

static void test_child_is_ended(void **state)
{
	uint64_t end = now_monotonic_usec() + 30 * USEC_PER_SEC;
	struct seen seen;

	run(&seen, "child"); /* ends at once although the child holds the pipe */
	assert_int_equal(seen.error.code, 0);
	assert_true(seen.percent > 1);
	while (kill(seen.percent, 0) == 0 && now_monotonic_usec() < end) {
		_cleanup_free_ char *text = NULL;
		char path[40];

		(void)snprintf(path, sizeof(path), "/proc/%d/stat", seen.percent);
		if (read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0 || strstr(text, ") Z "))
			return;
		(void)usleep(10000);
	}
	assert_true(kill(seen.percent, 0) < 0);
}

static void test_cancel(void **state)
{
	struct worker *worker = NULL;
	struct seen seen;

	begin(&seen, "wait", json_object(), &worker);
	worker_cancel(worker);
	worker_cancel(worker);
	finish(&seen);
	assert_int_equal(seen.error.code, -ECANCELED);
}

/* Who does not hear SIGTERM is killed, after 5 s. */
static void test_cancel_hard(void **state)
{
	uint64_t begin_usec = now_monotonic_usec();
	struct worker *worker = NULL;
	struct seen seen;

	begin(&seen, "hang", json_object(), &worker);
	while (seen.n_progress == 0) /* until it ignores the signal */
		assert_true(sd_event_run(seen.event, UINT64_MAX) >= 0);
	worker_cancel(worker);
	finish(&seen);
	assert_int_equal(seen.error.code, -ECANCELED);
	assert_true(now_monotonic_usec() - begin_usec > 4 * USEC_PER_SEC);
}

static void test_discard(void **state)
{
	struct worker *worker = NULL;
	struct seen seen;

	begin(&seen, "hang", json_object(), &worker);
	worker_free(worker);
	worker_free(NULL);
	assert_int_equal(seen.n_done, 0);
	(void)sd_event_unref(seen.event); /* always NULL */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_no_program(void **state)
{
	struct worker *worker = NULL;
	struct ct_error error = { 0 };
	sd_event *event = NULL;

	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(
	        worker_start(event, "/nowhere/ct-worker", "x", json_object(), &ops, NULL, &worker, &error),
	        -ENOENT);
	assert_non_null(strstr(error.text, "/nowhere/ct-worker"));
	(void)sd_event_unref(event); /* always NULL */
}

/* how: see ahead(). */
static void begin_spare(struct seen *seen, struct worker_spare *spare, const char *how)
{
	*seen = (struct seen){ .percent = -2 };
	*spare = (struct worker_spare){ NULL };
	assert_int_equal(sd_event_new(&seen->event), 0);
	(void)setenv("http_proxy", how, 1); /* no failure but of memory */
	worker_spare_start(spare, seen->event, "/proc/self/exe", NULL);
	assert_non_null(spare->worker);
	(void)unsetenv("http_proxy"); /* cannot fail with this name */
}

static void use_spare(struct seen *seen, struct worker_spare *spare, struct worker **ret)
{
	struct ct_error error = { 0 };

	if (worker_start_spare(spare, seen->event, "/proc/self/exe", "echo", json_pack("{s:i}", "x", 7), &ops,
	            seen, ret, &error) < 0)
		fail_msg("%s", error.text);
	assert_null(spare->worker);
}

static void assert_told(struct seen *seen)
{
	await(seen);
	assert_non_null(seen->result);
	assert_string_equal(json_string_value(json_object_get(seen->result, "verb")), "echo");
	assert_int_equal(
	        json_integer_value(json_object_get(json_object_get(seen->result, "params"), "x")), 7);
	dispose(seen);
}

static void test_spare(void **state)
{
	struct worker_spare spare, other = { NULL };
	struct worker *worker = NULL;
	struct seen seen;

	/* Before it has asked, whenever that is. */
	begin_spare(&seen, &spare, "");
	worker_spare_start(&spare, seen.event, "/proc/self/exe", NULL); /* there is one */
	use_spare(&seen, &spare, &worker);
	assert_told(&seen);

	/* When it has. */
	begin_spare(&seen, &spare, "");
	assert_int_equal(sd_event_run(seen.event, UINT64_MAX), 1);
	use_spare(&seen, &spare, &worker);
	assert_told(&seen);

	/* There is none. */
	begin_spare(&seen, &spare, "");
	worker_spare_done(&spare);
	worker_spare_done(&spare);
	use_spare(&seen, &spare, &worker);
	await(&seen);
	assert_int_equal(json_integer_value(json_object_get(seen.result, "bytes")), (int)strlen("{\"x\":7}"));
	dispose(&seen);

	begin_spare(&seen, &spare, "");
	worker_spare_move(&other, &spare);
	worker_spare_move(&other, &spare); /* which has none */
	assert_null(spare.worker);
	use_spare(&seen, &other, &worker);
	worker_cancel(worker);
	finish(&seen);
	assert_int_equal(seen.error.code, -ECANCELED);
}

/* Until its end nobody notices, or is told. */
static void test_spare_ends(void **state)
{
	static const char *const how[] = { "crash", "late" };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(how); i++) {
		struct worker *worker = NULL;
		struct worker_spare spare, other;
		struct seen seen;
		siginfo_t info;

		begin_spare(&seen, &other, how[i / 2]);
		spare = (struct worker_spare){ NULL };
		worker_spare_move(&spare, &other); /* which is who is told of its end */
		while (i % 2 == 0 && spare.worker)
			assert_true(sd_event_run(seen.event, UINT64_MAX) >= 0);
		if (i % 2 == 1)
			assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
		use_spare(&seen, &spare, &worker);
		await(&seen);
		assert_non_null(seen.result);
		assert_true(json_is_true(json_object_get(seen.result, "group")));
		dispose(&seen);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_child_is_ended),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_hard),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_no_program),
		cmocka_unit_test(test_spare),
		cmocka_unit_test(test_spare_ends),
	};

	if (argc == 2)
		return fake(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
