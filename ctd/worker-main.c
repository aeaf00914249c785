/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ct-worker VERB: long or dangerous work for ctd, in a process that may be killed (ctd/worker.h has the
 * protocol).
 *
 * First of all it becomes the leader of a process group, so that ctd ends it and what it started together.
 * SIGTERM and SIGINT are blocked and read from a signalfd: a verb notices them where it waits and gives up in
 * order, by the same way as at any failure, so there is one way of cleaning up. After SIGKILL nothing is left
 * but files in the store's tmp/, and processes that have asked to die with their parent.
 *
 * It works at low priority: nobody's container shall notice that a template is built. Not so where one stands
 * still for it.
 */
#include "ctd/worker-main.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/worker-ahead.h"

#define PARAMS_MAX (4 * 1024 * 1024)

#define IOPRIO_WHO_PROCESS_SELF 1 /* linux/ioprio.h is not in every libc-dev */
#define IOPRIO_BEST_EFFORT_LAST (2 << 13 | 7)

static const struct worker_verb verbs[] = {
	{ "checkpoint", worker_checkpoint },
	{ "disk-create", worker_disk_create },
	{ "disk-resize", worker_disk_resize },
	{ "migrate-apply", worker_migrate_apply },
	{ "migrate-send", worker_migrate_send },
	{ "predump", worker_predump },
	{ "resume", worker_resume },
	{ "store-sweep", worker_store_sweep },
	{ "suspend", worker_suspend },
	{ "template-build", worker_template_build },
	{ "template-export", worker_template_export },
	{ "template-import", worker_template_import },
};

/* The signalfd is the one thing that all of the program shares. */
static int stop_fd = -1;

int worker_stop_fd(void)
{
	return stop_fd;
}

int worker_check(struct ct_error *err)
{
	struct pollfd p = { .fd = stop_fd, .events = POLLIN };

	if (poll(&p, 1, 0) > 0)
		return ct_error_kind_set(err, CT_ERROR_STATE, -ECANCELED, "interrupted");
	return 0;
}

void worker_hurry(void)
{
	(void)setpriority(PRIO_PROCESS, 0, 0);                        /* a wish */
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS_SELF, 0, 0); /* a wish */
}

/* One line in one write, so that a reader never sees halves of two. A reader that is gone means that nobody
 * wants the answer: the death signal is on its way. */
static void put_line(json_t *line)
{
	_cleanup_free_ char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (text) {
		text[len] = '\n'; /* in the place of the NUL */
		(void)write_all(STDOUT_FILENO, text, len + 1);
	}
	json_decref(line);
}

void worker_progress(int percent, const char *format, ...)
{
	static char last[256];
	char text[256], shown[256];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap); /* cut short is fine */
	va_end(ap);
	(void)str_escape_to(shown, sizeof(shown), text, strlen(text)); /* returns shown */
	(void)snprintf(text, sizeof(text), "%d", percent);
	if (str_has_prefix(last, shown) && str_eq(last + strlen(shown), text))
		return;
	(void)snprintf(last, sizeof(last), "%.240s%s", shown, text);
	if (percent >= 0)
		put_line(json_pack("{s:{s:s, s:i}}", "progress", "text", shown, "percent", percent));
	else
		put_line(json_pack("{s:{s:s}}", "progress", "text", shown));
}

/* The fd of ctd's that the answer is in, 0 if there is none. */
static int await_answer(int *ret_fd, struct ct_error *err)
{
	struct pollfd p = { .fd = stop_fd, .events = POLLIN };
	struct signalfd_siginfo info = { 0 };

	while (read(stop_fd, &info, sizeof(info)) != sizeof(info))
		(void)poll(&p, 1, -1);
	*ret_fd = info.ssi_code == SI_QUEUE ? info.ssi_int : 0;
	return info.ssi_signo == SIGUSR1 ? 0
	                                 : ct_error_kind_set(err, CT_ERROR_STATE, -ECANCELED, "interrupted");
}

void worker_ask_begin(json_t *question)
{
	put_line(json_pack("{s:o}", "ask", question));
}

int worker_ask_end(struct ct_error *err)
{
	int fd;

	return await_answer(&fd, err);
}

int worker_ask(json_t *question, struct ct_error *err)
{
	worker_ask_begin(question);
	return worker_ask_end(err);
}

int worker_ask_for(json_t *question, json_t **ret, struct ct_error *err)
{
	_cleanup_free_ char *text = malloc(PARAMS_MAX);
	_cleanup_close_ int fd = -1;
	char path[48];
	ssize_t n;
	int theirs, r;

	worker_ask_begin(question);
	r = await_answer(&theirs, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", getppid(), theirs);
	fd = open(path, O_RDONLY | O_CLOEXEC); /* its offset is its own */
	n = fd < 0 ? -errno : text ? read_all(fd, text, PARAMS_MAX) : -ENOMEM;
	if (n < 0 || n == PARAMS_MAX)
		return ct_error_set(err, n < 0 ? (int)n : -E2BIG, "parameters",
		        "cannot read ctd's answer: %s", strerror(n < 0 ? (int)-n : E2BIG));
	return json_parse(text, (size_t)n, ret, err);
}

static int prepare(struct ct_error *err)
{
	sigset_t set;

	(void)setpgid(0, 0); /* fails if it leads one already, as wished */
	(void)umask(022);
	/* ctd may be protected from the OOM killer; its workers are the first to go. */
	(void)write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "500");
	(void)setpriority(PRIO_PROCESS, 0, 10);                                             /* a wish */
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS_SELF, 0, IOPRIO_BEST_EFFORT_LAST); /* a wish */
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return ct_error_set(err, -errno, "signal", "cannot ignore SIGPIPE: %s", strerror(errno));

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGUSR1); /* an answer */
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
	        (stop_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return ct_error_set(err, -errno, "signal", "cannot watch signals: %s", strerror(errno));
	return 0;
}

static int read_params(json_t **ret, struct ct_error *err)
{
	_cleanup_free_ char *text = malloc(PARAMS_MAX);
	ssize_t n;

	if (!text)
		return ct_error_set(err, -ENOMEM, "parameters", "out of memory");
	n = read_all(STDIN_FILENO, text, PARAMS_MAX);
	if (n < 0 || n == PARAMS_MAX)
		return ct_error_set(err, n < 0 ? (int)n : -E2BIG, "parameters",
		        "cannot read the parameters from standard input: %s",
		        strerror(n < 0 ? (int)-n : E2BIG));
	return json_parse(text, (size_t)n, ret, err);
}

static int unknown(const char *name, struct ct_error *err)
{
	return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
	        "ct-worker knows ahead, checkpoint, disk-create, disk-resize, migrate-apply, migrate-send, predump, resume, store-sweep, suspend, template-build, template-export and template-import, not \"%.40s\"",
	        name);
}

static const struct worker_verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (str_eq(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

/* ahead: it is told later what to do. */
static int run_later(const json_t *params, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *task = NULL;
	const struct worker_verb *verb;
	const char *name;
	int r;

	worker_ahead(params);
	r = worker_ask_for(json_pack("{s:b}", "task", 1), &task, err);
	if (r < 0)
		return r;
	name = json_string_value(json_object_get(task, "verb")) ?: "";
	verb = find_verb(name);
	return verb ? verb->run(json_object_get(task, "params"), ret, err) : unknown(name, err);
}

static int run(const char *name, json_t **ret, struct ct_error *err)
{
	const struct worker_verb *verb = find_verb(name);
	_cleanup_json_ json_t *params = NULL;
	const bool later = str_eq(name, "ahead");
	int r;

	if (!verb && !later)
		return unknown(name, err);
	r = prepare(err);
	if (r >= 0)
		r = read_params(&params, err);
	if (r < 0)
		return r;
	return later ? run_later(params, ret, err) : verb->run(params, ret, err);
}

int main(int argc, char **argv)
{
	_cleanup_json_ json_t *result = NULL;
	struct ct_error error = { 0 };
	int r;

	if (argc != 2 || str_eq(argv[1], "--help")) {
		(void)fputs(
		        "Usage: ct-worker VERB < PARAMETERS\n\nA part of ctd, which starts it. VERB: ahead, checkpoint, disk-create,\ndisk-resize, migrate-apply, migrate-send, predump, resume, store-sweep, suspend,\ntemplate-build, template-export, template-import.\n",
		        argc == 2 ? stdout : stderr);
		return argc == 2 ? EXIT_SUCCESS : 2;
	}
	r = run(argv[1], &result, &error);
	if (r < 0) {
		if (error.code == 0)
			(void)ct_error_set(&error, r, argv[1], "%s failed: %s", argv[1], strerror(-r));
		put_line(json_from_error(&error));
		return EXIT_FAILURE;
	}
	put_line(json_pack("{s:o}", "result", result ? json_incref(result) : json_object()));
	return EXIT_SUCCESS;
}
