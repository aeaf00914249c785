/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's side of a worker process.
 *
 * The parameters go in as a sealed memory file that is the worker's standard input, so writing them cannot
 * block the event loop however long they are. What comes back are lines of JSON on a pipe, read without
 * blocking and bounded: a worker that runs wild costs one line's memory. The pidfd says when it has ended;
 * then the pipe is drained once more (what it wrote before its end is in it), its process group is killed
 * while the zombie still holds the group's number, the zombie is reaped, and done is called. A descendant
 * that keeps the pipe open therefore delays nothing.
 *
 * A spare one (verb "ahead") asks for what it is to do as any asks for something; what it is told before it
 * asks waits here for that.
 *
 * ct-worker makes itself leader of a process group first of all. Until it has, there is no such group, and a
 * signal goes to the process alone, by pidfd.
 */
#include "ctd/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"

#define LINE_MAX_BYTES   (256 * 1024)
#define CANCEL_WAIT_USEC (5 * USEC_PER_SEC)

struct worker {
	struct worker_ops ops;
	void *userdata;
	char verb[32];
	pid_t pid;
	int pidfd, out_fd;
	int answer_fd; /* what it was told, else -1 */
	sd_event_source *out_source, *exit_source, *kill_timer;
	struct strbuf line;
	json_t *result;
	struct ct_error error; /* that it reported, or that we met in what it wrote */
	bool cancelled;
	bool spare, ready; /* it has not been told what to do; it has asked for that */
	json_t *task;      /* what it will be told */
};

static void worker_signal(struct worker *worker, int signal)
{
	/* The process is not reaped before worker_free, so neither number can be another's. */
	if (kill(-worker->pid, signal) < 0)
		(void)syscall(SYS_pidfd_send_signal, worker->pidfd, signal, NULL, 0); /* ESRCH: a zombie */
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	(void)sd_event_source_disable_unref(worker->out_source); /* these return NULL */
	(void)sd_event_source_disable_unref(worker->exit_source);
	(void)sd_event_source_disable_unref(worker->kill_timer);
	if (worker->pidfd >= 0) {
		worker_signal(worker, SIGKILL);
		(void)process_wait(worker->pidfd, UINT64_MAX); /* killed: it ends */
		(void)fd_close(worker->pidfd);
	}
	(void)fd_close(worker->out_fd);
	(void)fd_close(worker->answer_fd);
	strbuf_done(&worker->line);
	json_decref(worker->result);
	json_decref(worker->task);
	free(worker);
}

/* One that cannot be told has no use. */
static void give_task(struct worker *worker)
{
	json_t *task = TAKE_PTR(worker->task);
	int r;

	worker->spare = false;
	r = worker_answer_with(worker, task);
	if (r >= 0)
		return;
	(void)ct_error_set(&worker->error, r, "worker", "cannot tell ct-worker what to do: %s", strerror(-r));
	worker_signal(worker, SIGKILL);
}

static void take_question(struct worker *worker, const json_t *question)
{
	if (worker->cancelled)
		return;
	if (worker->spare) {
		worker->ready = true;
		if (worker->task)
			give_task(worker);
	} else if (worker->ops.asked) {
		worker->ops.asked(question, worker->userdata);
	}
}

static void take_progress(struct worker *worker, const json_t *progress)
{
	const json_t *percent = json_object_get(progress, "percent");
	const char *text = json_string_value(json_object_get(progress, "text"));
	char shown[160];

	if (!worker->ops.progress || !text || worker->cancelled)
		return;
	(void)str_escape_to(shown, sizeof(shown), text, strlen(text)); /* returns shown */
	worker->ops.progress(
	        json_is_integer(percent) ? (int)json_integer_value(percent) : -1, shown, worker->userdata);
}

static void take_error(struct worker *worker, const json_t *error)
{
	const char *kind = json_string_value(json_object_get(error, "code"));
	const char *text = json_string_value(json_object_get(error, "message"));
	const char *field = json_string_value(json_object_get(error, "field"));

	(void)ct_error_kind_set(&worker->error, kind ? ct_error_kind_from_name(kind) : CT_ERROR_FAILED, -EIO,
	        "%s", text ? text : "the worker failed without a word");
	if (field)
		(void)str_escape_to(worker->error.field, sizeof(worker->error.field), field, strlen(field));
}

static void take_line(struct worker *worker, const char *line, size_t len)
{
	_cleanup_json_ json_t *object = NULL;
	json_t *value;

	if (len == 0)
		return;
	if (json_parse(line, len, &object, NULL) < 0 || !json_is_object(object)) {
		(void)ct_error_set(&worker->error, -EPROTO, "worker",
		        "ct-worker %s wrote a line that is not a JSON object", worker->verb);
	} else if ((value = json_object_get(object, "progress"))) {
		take_progress(worker, value);
	} else if ((value = json_object_get(object, "ask"))) {
		take_question(worker, value);
	} else if ((value = json_object_get(object, "error"))) {
		take_error(worker, value);
	} else if ((value = json_object_get(object, "result")) && !worker->result) {
		worker->result = json_incref(value);
	}
}

static void take_data(struct worker *worker, const char *data, size_t len)
{
	const char *end;

	while (len > 0 && worker->error.code >= 0) { /* after an error nothing counts any more */
		end = memchr(data, '\n', len);
		if (worker->line.len + len > LINE_MAX_BYTES &&
		        (!end || worker->line.len + (size_t)(end - data) > LINE_MAX_BYTES)) {
			(void)ct_error_set(&worker->error, -EPROTO, "worker",
			        "ct-worker %s wrote a line of more than %d bytes", worker->verb,
			        LINE_MAX_BYTES);
			strbuf_reset(&worker->line);
			return;
		}
		(void)strbuf_add(
		        &worker->line, data, end ? (size_t)(end - data) : len); /* remembered in .error */
		if (!end)
			return;
		if (worker->line.error)
			(void)ct_error_set(&worker->error, worker->line.error, "worker", "out of memory");
		else
			take_line(worker, worker->line.data ?: "", worker->line.len);
		strbuf_reset(&worker->line);
		len -= (size_t)(end + 1 - data);
		data = end + 1;
	}
}

/* What is there now; at most so much that others get their turn. True at the end of the stream. */
static bool read_some(struct worker *worker)
{
	char data[8192];

	for (unsigned i = 0; i < 16; i++) {
		ssize_t n = read(worker->out_fd, data, sizeof(data));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno != EAGAIN;
		if (n == 0)
			return true;
		take_data(worker, data, (size_t)n);
	}
	return false;
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct worker *worker = userdata;

	if (read_some(worker))
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* the exit is to come */
	return 0;
}

static void explain_exit(struct worker *worker, int status)
{
	if (worker->cancelled)
		(void)ct_error_kind_set(
		        &worker->error, CT_ERROR_STATE, -ECANCELED, "%s was cancelled", worker->verb);
	else if (worker->error.code < 0)
		return;
	else if (status > 128)
		(void)ct_error_set(&worker->error, -EIO, "worker", "ct-worker %s was ended by signal %d (%s)",
		        worker->verb, status - 128, strsignal(status - 128));
	else if (status != 0 || !worker->result)
		(void)ct_error_set(&worker->error, -EIO, "worker",
		        "ct-worker %s ended with status %d and no result", worker->verb, status);
}

/* A pidfd is readable when the process is a zombie. */
static int on_end(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct worker *worker = userdata;
	int status;

	(void)read_some(worker); /* what it wrote last; a pipe holds less than read_some takes */
	worker_signal(worker, SIGKILL);
	status = process_wait(worker->pidfd, UINT64_MAX);
	worker->exit_source = sd_event_source_disable_unref(worker->exit_source); /* before its fd goes */
	worker->pidfd = fd_close(worker->pidfd);
	explain_exit(worker, status);
	worker->ops.done(worker->error.code < 0 ? NULL : worker->result, &worker->error, worker->userdata);
	worker_free(worker);
	return 0;
}

static int on_kill_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	worker_signal(userdata, SIGKILL);
	return 0;
}

void worker_cancel(struct worker *worker)
{
	if (worker->cancelled)
		return;
	worker->cancelled = true;
	worker_signal(worker, SIGTERM);
	if (sd_event_add_time_relative(sd_event_source_get_event(worker->exit_source), &worker->kill_timer,
	            CLOCK_MONOTONIC, CANCEL_WAIT_USEC, 0, on_kill_time, worker) < 0)
		worker_signal(worker, SIGKILL); /* without a timer: at once */
}

void worker_answer(struct worker *worker)
{
	(void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGUSR1, NULL, 0); /* ESRCH: it will be seen */
}

static int params_fd(const json_t *params)
{
	_cleanup_free_ char *text = params ? json_dumps(params, JSON_COMPACT) : NULL;

	return text ? memfd_sealed("worker-params", text, strlen(text)) : -ENOMEM;
}

int worker_answer_with(struct worker *worker, json_t *answer)
{
	_cleanup_json_ json_t *consumed = answer;
	siginfo_t info = { .si_signo = SIGUSR1, .si_code = SI_QUEUE };
	int fd = params_fd(consumed);

	if (fd < 0)
		return fd;
	(void)fd_close(worker->answer_fd); /* of an earlier one, which has been read */
	worker->answer_fd = info.si_value.sival_int = fd;
	(void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGUSR1, &info, 0); /* ESRCH: it will be seen */
	return 0;
}

/* Of our own environment only what tells programs how to reach the network. */
static int make_env(const char **env, size_t n_env, char **owned)
{
	static const char *const names[] = { "http_proxy", "https_proxy", "no_proxy" };
	size_t n = 0, n_owned = 0;

	env[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	env[n++] = "LANG=C.UTF-8";
	for (size_t i = 0; i < ARRAY_SIZE(names) && n + 1 < n_env; i++) {
		const char *value = getenv(names[i]);

		if (!value)
			continue;
		owned[n_owned] = str_printf("%s=%s", names[i], value);
		if (!owned[n_owned])
			return -ENOMEM;
		env[n++] = owned[n_owned++];
	}
	env[n] = NULL;
	return 0;
}

static int spawn(struct worker *worker, const char *program, const json_t *params)
{
	const char *argv[] = { program, worker->verb, NULL }, *env[8];
	char *owned[4] = { NULL };
	_cleanup_close_ int in = -1, to = -1;
	int fds[2], r;

	in = params_fd(params);
	if (in < 0)
		return in;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	worker->out_fd = fds[0];
	to = fds[1];
	r = fd_set_nonblock(worker->out_fd, true);
	if (r >= 0)
		r = make_env(env, ARRAY_SIZE(env), owned);
	if (r >= 0) {
		struct process_options options = PROCESS_OPTIONS_INIT;

		options.env = env;
		options.stdin_fd = in;
		options.stdout_fd = to;
		options.stderr_fd = STDERR_FILENO;
		options.death_signal = SIGKILL;
		r = worker->pidfd = process_spawn(argv, &options, &worker->pid);
	}
	for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
		free(owned[i]);
	return r < 0 ? r : 0;
}

static int watch(struct worker *worker, sd_event *event)
{
	int r;

	r = sd_event_add_io(event, &worker->out_source, worker->out_fd, EPOLLIN, on_output, worker);
	if (r >= 0)
		r = sd_event_add_io(event, &worker->exit_source, worker->pidfd, EPOLLIN, on_end, worker);
	if (r >= 0)
		r = sd_event_source_set_priority(
		        worker->exit_source, SD_EVENT_PRIORITY_NORMAL + 1); /* after its output */
	return r;
}

int worker_start(sd_event *event, const char *program, const char *verb, json_t *params,
        const struct worker_ops *ops, void *userdata, struct worker **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *consumed = params;
	CLEANUP(worker_freep) struct worker *worker = calloc(1, sizeof(*worker));
	int r;

	if (!worker)
		return ct_error_set(err, -ENOMEM, "worker", "out of memory");
	worker->ops = *ops;
	worker->userdata = userdata;
	worker->pidfd = worker->out_fd = worker->answer_fd = -1;
	(void)str_escape_to(worker->verb, sizeof(worker->verb), verb, strlen(verb)); /* returns its target */

	r = spawn(worker, program, consumed);
	if (r < 0)
		return ct_error_set(err, r, "worker", "cannot start \"%s\": %s", program, strerror(-r));
	r = watch(worker, event);
	if (r < 0)
		return ct_error_set(err, r, "worker", "cannot watch \"%s\": %s", program, strerror(-r));

	*ret = TAKE_PTR(worker);
	return 0;
}

/* ---- ahead */

static void spare_ended(const json_t *result, const struct ct_error *error, void *userdata)
{
	((struct worker_spare *)userdata)->worker = NULL; /* it frees itself */
}

void worker_spare_start(struct worker_spare *spare, sd_event *event, const char *program, json_t *ahead)
{
	static const struct worker_ops ops = { .done = spare_ended };
	_cleanup_json_ json_t *params = ahead ?: json_object();
	struct ct_error ignored = { 0 };

	if (!spare->worker && worker_start(event, program, "ahead", TAKE_PTR(params), &ops, spare,
	                              &spare->worker, &ignored) >= 0)
		spare->worker->spare = true;
}

void worker_spare_move(struct worker_spare *to, struct worker_spare *from)
{
	if (!from || !from->worker)
		return;
	to->worker = TAKE_PTR(from->worker);
	to->worker->userdata = to;
}

void worker_spare_done(struct worker_spare *spare)
{
	worker_free(TAKE_PTR(spare->worker));
}

static bool has_ended(const struct worker *worker)
{
	struct pollfd p = { .fd = worker->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) != 0;
}

int worker_start_spare(struct worker_spare *spare, sd_event *event, const char *program, const char *verb,
        json_t *params, const struct worker_ops *ops, void *userdata, struct worker **ret,
        struct ct_error *err)
{
	struct worker *worker = spare ? TAKE_PTR(spare->worker) : NULL;

	if (worker && has_ended(worker)) {
		worker_free(worker);
		worker = NULL;
	}
	if (!worker)
		return worker_start(event, program, verb, params, ops, userdata, ret, err);
	worker->task = json_pack("{s:s, s:o}", "verb", verb, "params", params);
	if (!worker->task) {
		worker_free(worker);
		return ct_error_set(err, -ENOMEM, "worker", "out of memory");
	}
	worker->ops = *ops;
	worker->userdata = userdata;
	(void)str_escape_to(worker->verb, sizeof(worker->verb), verb, strlen(verb)); /* returns its target */
	if (worker->ready)
		give_task(worker);
	*ret = worker;
	return 0;
}
