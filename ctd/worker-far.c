/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command that leads to the far end: `ctctl migrate-receive` on the other node, by ssh as a rule. Its
 * stderr is kept for the case that it ends without an answer. */
#include "ctd/worker-far.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/worker-main.h"

#define ANSWER_MAX  (1024 * 1024)
#define CHUNK       (256 * 1024)
#define COMMAND_MAX 16

void payload_done(struct payload *p)
{
	(void)fd_close(p->fd);
	(void)fd_close(p->images_fd);
}

/* The command that leads to the far end. */
struct far {
	int in_fd, out_fd, pidfd;
	int said_fd; /* its stderr */
	struct strbuf answer;
};

void far_free(struct far *f)
{
	if (!f)
		return;
	(void)fd_close(f->in_fd);
	(void)fd_close(f->out_fd);
	(void)fd_close(f->said_fd);
	(void)fd_close(f->pidfd); /* not reaped: at the end of its input it ends and cleans up */
	strbuf_done(&f->answer);
	free(f);
}

static int far_start(const json_t *command, struct far *f, struct ct_error *err)
{
	const char *argv[COMMAND_MAX + 1] = { NULL };
	_cleanup_close_ int theirs_in = -1, theirs_out = -1;
	struct process_options options = PROCESS_OPTIONS_INIT;
	int in[2], out[2];

	for (size_t i = 0; i < COMMAND_MAX && i < json_array_size(command); i++)
		argv[i] = json_string_value(json_array_get(command, i));
	f->said_fd = memfd_create("said", MFD_CLOEXEC);
	if (!argv[0] || f->said_fd < 0 || pipe2(in, O_CLOEXEC) < 0)
		return ct_error_set(err, -EINVAL, "move", "cannot start the command to the other node");
	theirs_in = in[0];
	f->in_fd = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "move", "cannot make a pipe: %s", strerror(errno));
	f->out_fd = out[0];
	theirs_out = out[1];

	options.stdin_fd = theirs_in;
	options.stdout_fd = theirs_out;
	options.stderr_fd = f->said_fd;
	f->pidfd = process_spawn(argv, &options, NULL);
	if (f->pidfd < 0)
		return ct_error_kind_set(
		        err, CT_ERROR_FAILED, -EIO, "cannot run \"%s\": %s", argv[0], strerror(-f->pidfd));
	return 0;
}

int far_open(const json_t *command, struct far **ret, struct ct_error *err)
{
	CLEANUP(far_freep) struct far *f = malloc(sizeof(*f));
	int r;

	if (!f)
		return ct_error_set(err, -ENOMEM, "move", "out of memory");
	*f = (struct far){ -1, -1, -1, -1, STRBUF_INIT };
	if (!json_array_get(command, 0))
		return ct_error_set(err, -EINVAL, "move", "command is needed");
	r = far_start(command, f, err);
	if (r >= 0)
		*ret = TAKE_PTR(f);
	return r;
}

/* It says nothing before it is told something. */
static bool far_has_ended(const struct far *f)
{
	struct pollfd p = { .fd = f->out_fd, .events = POLLIN };

	return poll(&p, 1, 0) != 0;
}

/* Why the far end is gone, in its own words: its last line, for those before tell how far it was. */
static int far_lost(struct far *f, const char *program, struct ct_error *err)
{
	int status;
	char said[160], shown[400];
	off_t end;
	ssize_t n, from;

	f->out_fd = fd_close(f->out_fd);
	f->in_fd = fd_close(f->in_fd);
	status = process_wait(f->pidfd, 5000000);
	end = lseek(f->said_fd, 0, SEEK_END);
	n = pread(f->said_fd, said, sizeof(said), end > (off_t)sizeof(said) ? end - (off_t)sizeof(said) : 0);
	n = n > 0 ? n : 0;
	while (n > 0 && (said[n - 1] == '\n' || said[n - 1] == '\r'))
		n--;
	for (from = n; from > 0 && said[from - 1] != '\n' && said[from - 1] != '\r'; from--)
		;
	(void)str_escape_to(shown, sizeof(shown), said + from, (size_t)(n - from)); /* returns shown */
	return ct_error_kind_set(err, CT_ERROR_FAILED, -EIO,
	        "the other node did not answer: \"%s\" ended with status %d%s%s", program, status,
	        *shown ? ": " : "", shown);
}

/* Waits until no more than rate is gone. */
static int keep_rate(const struct payload *p, struct ct_error *err)
{
	struct pollfd stop = { .fd = worker_stop_fd(), .events = POLLIN };
	const uint64_t due = p->begun_usec + (uint64_t)((double)p->gone * 1e6 / (double)p->rate);
	const uint64_t now = now_monotonic_usec();

	if (due > now)
		(void)poll(&stop, 1, (int)((due - now) / 1000)); /* worker_check sees why */
	return worker_check(err);
}

static int on_sent(uint64_t bytes, void *userdata, struct ct_error *err)
{
	struct payload *p = userdata;

	p->gone += bytes;
	worker_progress((int)(p->gone * 100 / p->bytes), "%s", p->text ?: "sending");
	return p->rate ? keep_rate(p, err) : worker_check(err);
}

/* 1: the other end has hung up. */
static int write_disk(struct far *f, struct payload *p, struct ct_error *err)
{
	_cleanup_free_ char *chunk = malloc(CHUNK);
	uint64_t left = p->bytes - p->images_bytes;
	int r = chunk ? 0 : ct_error_set(err, -ENOMEM, "move", "out of memory");

	while (r >= 0 && left > 0) {
		ssize_t n = read_all(p->fd, chunk, left < CHUNK ? (size_t)left : CHUNK);

		if (n <= 0)
			return ct_error_set(
			        err, n < 0 ? (int)n : -EIO, "move", "cannot read what is to be sent");
		if (write_all(f->in_fd, chunk, (size_t)n) < 0)
			return 1;
		left -= (uint64_t)n;
		r = on_sent((uint64_t)n, p, err);
	}
	return r;
}

static int far_write(struct far *f, const json_t *request, struct payload *p, struct ct_error *err)
{
	_cleanup_free_ char *line = json_dumps(request, JSON_COMPACT);
	int r;

	if (!line)
		return ct_error_set(err, -ENOMEM, "move", "out of memory");
	r = write_all(f->in_fd, line, strlen(line)) < 0 || write_all(f->in_fd, "\n", 1) < 0;
	if (r == 0 && p->images_fd >= 0) {
		r = images_send(p->images_fd, &p->part, f->in_fd, on_sent, p, err);
		r = r == -EPIPE ? 1 : r;
	}
	if (r == 0 && p->fd >= 0)
		r = write_disk(f, p, err);
	if (r < 0)
		return r;
	/* An end that hung up may have said why. */
	f->in_fd = fd_close(f->in_fd);
	return 0;
}

/* One line of the answer. 1: it is the last. */
static int take_line(const char *line, size_t len, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *object = NULL;
	const json_t *value;
	json_t *result;

	if (json_parse(line, len, &object, NULL) < 0 || !json_is_object(object))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EPROTO,
		        "the other node answers something else than ctctl does");
	value = json_object_get(object, "progress");
	if (value) {
		const char *text = json_string_value(json_object_get(value, "text"));

		worker_progress(-1, "there: %.120s", text ?: "");
		return 0;
	}
	value = json_object_get(object, "error");
	if (value) {
		const char *code = json_string_value(json_object_get(value, "code"));
		const char *text = json_string_value(json_object_get(value, "message"));
		const char *field = json_string_value(json_object_get(value, "field"));

		(void)ct_error_kind_set(err, code ? ct_error_kind_from_name(code) : CT_ERROR_FAILED,
		        -EREMOTEIO, "the other node: %.200s", text ?: "failed without a word");
		if (field)
			(void)str_escape_to(err->field, sizeof(err->field), field, strlen(field));
		return -EREMOTEIO;
	}
	/* An answer to commit ends the copy here: only what says that it is one counts. */
	result = json_object_get(object, "result");
	if (!json_is_object(result))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EPROTO,
		        "the other node answers something else than ctctl does");
	*ret = json_incref(result);
	return 1;
}

static int far_read(struct far *f, const char *program, json_t **ret, struct ct_error *err)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = f->out_fd, .events = POLLIN },
			{ .fd = worker_stop_fd(), .events = POLLIN } };
		char data[4096];
		const char *end;
		ssize_t n;
		int r;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return ct_error_set(err, -errno, "move", "cannot wait: %s", strerror(errno));
		r = worker_check(err);
		if (r < 0)
			return r;
		n = read(f->out_fd, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || f->answer.len > ANSWER_MAX)
			return far_lost(f, program, err);
		r = strbuf_add(&f->answer, data, (size_t)n);
		while (r >= 0 && f->answer.len > 0 && (end = memchr(f->answer.data, '\n', f->answer.len))) {
			size_t len = (size_t)(end - f->answer.data), rest = f->answer.len - len - 1;

			r = take_line(f->answer.data, len, ret, err);
			if (r != 0)
				return r;
			memmove(f->answer.data, end + 1, rest);
			f->answer.len = rest;
		}
		if (r < 0)
			return r;
	}
}

int far_say(const json_t *command, struct far *consume_ahead, const json_t *request, struct payload *p,
        json_t **ret, struct ct_error *err)
{
	CLEANUP(far_freep) struct far *far = consume_ahead;
	int r = 0;

	if (far && far_has_ended(far)) {
		far_free(far);
		far = NULL;
	}
	if (!far)
		r = far_open(command, &far, err);
	if (r < 0)
		return r;
	p->begun_usec = now_monotonic_usec();
	r = far_write(far, request, p, err);
	if (r >= 0)
		worker_progress(-1, "waiting for the other node");
	if (r >= 0)
		r = far_read(far, json_string_value(json_array_get(command, 0)) ?: "", ret, err);
	return r < 0 ? r : 0;
}
