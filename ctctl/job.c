/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl job, and the waiting for a job with its progress on stderr.
 *
 * SIGINT and SIGTERM are taken from a signalfd while an answer is awaited, so that none is lost between two
 * requests: the first cancels the job and the wait goes on until the daemon has cleaned up; a second gives up
 * waiting.
 */

#include "ctctl/job.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/properties.h"
#include "ctctl/table.h"

#define WAIT_SEC 30

static const char *const job_order[] = { "id", "verb", "object", "state", "step", "progress", "created",
	"finished", "error", "result", NULL };

static const char *text_at(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

struct progress {
	bool terminal;
	char shown[256];
};

static void progress_show(struct progress *p, const json_t *job)
{
	const json_t *progress = json_object_get(job, "progress");
	const json_t *percent = json_object_get(progress, "percent");
	const char *text = text_at(progress, "text");
	char clean[200], line[sizeof(p->shown)];

	if (str_empty(text))
		text = text_at(job, "step");
	(void)str_escape_to(clean, sizeof(clean), text, strlen(text));
	if (json_is_integer(percent) && p->terminal)
		(void)snprintf(line, sizeof(line), "%3d %%  %s", (int)json_integer_value(percent), clean);
	else
		(void)snprintf(line, sizeof(line), "%s", clean);

	if (!*clean || str_eq(line, p->shown))
		return;
	(void)memcpy(p->shown, line, sizeof(p->shown));
	/* On a terminal one line is written again and again; a log gets each text once. */
	(void)fprintf(stderr, p->terminal ? "\r\033[K%.78s" : "%s\n", line);
}

static void progress_end(struct progress *p)
{
	if (p->terminal && *p->shown)
		(void)fprintf(stderr, "\r\033[K");
	p->shown[0] = '\0';
}

static int job_path(struct strbuf *path, const char *id)
{
	(void)strbuf_puts(path, "/v1/jobs"); /* failures are kept in the buffer */

	return path_add_segment(path, id);
}

static int job_cancel(struct client *c, const char *id, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	int r = job_path(&path, id);
	if (r < 0)
		return r;

	return client_call(c, "DELETE", path.data, NULL, NULL, err);
}

/* One long poll: returns when the job is finished or its progress went on. */
static int job_poll(struct client *c, const char *id, long long seen, json_t **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	(void)job_path(&path, id); /* failures are kept in the buffer */
	(void)strbuf_printf(&path, "?wait=%d&seen=%lld", WAIT_SEC, seen);
	if (path.error < 0)
		return path.error;

	return client_call(c, "GET", path.data, NULL, ret, err);
}

static int job_result(const json_t *job, bool cancelled, struct ct_error *err)
{
	const json_t *error = json_object_get(job, "error");

	if (str_eq(text_at(job, "state"), "done"))
		return 0;

	const char *message = text_at(error, "message");
	if (cancelled && (!*message || str_has_suffix(message, "cancelled")))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EINTR, "interrupted; nothing is left of it");
	return ct_error_kind_set(err, ct_error_kind_from_name(text_at(error, "code")), -EREMOTEIO, "%s",
	        *message ? message : "the job failed and does not say why");
}

int job_submit(struct client *c, const char *name, const char *verb, const json_t *body, json_t **ret,
        struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, name);
	(void)path_add_segment(&path, verb);

	return path.error < 0 ? path.error : client_call(c, "POST", path.data, body, ret, err);
}

int job_get(struct client *c, const char *id, json_t **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	int r = job_path(&path, id);
	return r < 0 ? r : client_call(c, "GET", path.data, NULL, ret, err);
}

int job_outcome(const json_t *job, struct ct_error *err)
{
	return str_eq(text_at(job, "state"), "open") ? -EINPROGRESS : job_result(job, false, err);
}

static int follow(struct client *c, const char *id, struct progress *p, json_t **ret, struct ct_error *err)
{
	long long seen = 0;
	bool cancelled = false;

	for (;;) {
		_cleanup_json_ json_t *job = NULL;

		int r = job_poll(c, id, seen, &job, err);
		if (r == -EINTR && !cancelled) {
			struct signalfd_siginfo info;
			(void)!read(c->interrupt_fd, &info,
			        sizeof(info)); /* empties it: the next signal counts again */
			*err = (struct ct_error){ 0 };
			cancelled = true;
			r = job_cancel(c, id, err);
			if (r < 0 && r != -EREMOTEIO)
				return r; /* EREMOTEIO: it had just finished; the next poll tells how */
			continue;
		}
		if (r < 0)
			return r;

		progress_show(p, job);
		if (!str_eq(text_at(job, "state"), "open")) {
			*ret = json_incref(job);
			return job_result(job, cancelled, err);
		}
		seen = json_integer_value(json_object_get(json_object_get(job, "progress"), "seen"));
	}
}

int job_wait(struct client *c, const char *id, json_t **ret, struct ct_error *err)
{
	struct progress progress = { .terminal = isatty(STDERR_FILENO) };
	sigset_t signals, before;

	(void)sigemptyset(&signals); /* these cannot fail with known signals */
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &signals, &before);

	_cleanup_close_ int fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -errno, "cannot watch for signals: %m");

	c->interrupt_fd = fd;
	int r = follow(c, id, &progress, ret, err);
	c->interrupt_fd = -1;
	progress_end(&progress);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);

	return r;
}

struct job_list_values {
	bool open;
};

static const struct option_row job_list_options[] = {
	{ "open", 0, OPTION_FLAG, NULL, "only those that are not finished",
	        offsetof(struct job_list_values, open) },
	{ 0 },
};

static int print_jobs(const json_t *jobs, struct ct_error *err)
{
	static const char *const headings[] = { "ID", "VERB", "OBJECT", "STATE", "AGE", "STEP", NULL };
	_cleanup_table_ struct table t = { 0 };
	const json_t *job;
	char age[32];
	size_t i;

	table_init(&t, headings);
	json_array_foreach(jobs, i, job)
	{
		table_add_json(&t, json_object_get(job, "id"));
		table_add(&t, text_at(job, "verb"));
		table_add(&t, text_at(job, "object"));
		table_add(&t, text_at(job, "state"));
		table_add(&t, age_of(age, sizeof(age), text_at(job, "created"), now_realtime_usec()));
		table_add(&t, text_at(job, "step"));
	}

	return table_print(&t, err);
}

static int run_job_list(struct context *ctx, struct ct_error *err)
{
	struct job_list_values v = { 0 };
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", v.open ? "/v1/jobs?open=1" : "/v1/jobs", NULL, &answer, err);
	if (r < 0)
		return r;

	return ctx->json ? print_json(answer, err) : print_jobs(json_object_get(answer, "jobs"), err);
}

struct job_show_values {
	bool wait;
};

static const struct option_row job_show_options[] = {
	{ "wait", 'w', OPTION_FLAG, NULL, "until it is finished, with its progress; interrupt cancels it",
	        offsetof(struct job_show_values, wait) },
	{ 0 },
};

static int run_job_show(struct context *ctx, struct ct_error *err)
{
	struct job_show_values v = { 0 };
	_cleanup_json_ json_t *job = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;

	r = v.wait ? job_wait(&ctx->client, ctx->operands[0], &job, err)
	           : job_get(&ctx->client, ctx->operands[0], &job, err);
	if (!job)
		return r;

	int printed = ctx->json ? print_json(job, err) : properties_print(job, job_order, err);
	return r < 0 ? r : printed;
}

static int run_job_cancel(struct context *ctx, struct ct_error *err)
{
	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	r = job_cancel(&ctx->client, ctx->operands[0], err);
	if (r < 0 || !ctx->json)
		return r;

	_cleanup_json_ json_t *empty = json_object();
	return empty ? print_json(empty, err) : -ENOMEM;
}

const struct command command_job_list = {
	.name = "job list",
	.family = "job",
	.operands = "",
	.summary = "List what the daemon is doing and did, newest first",
	.options = job_list_options,
	.run = run_job_list,
};

const struct command command_job_show = {
	.name = "job show",
	.family = "job",
	.operands = "ID",
	.summary = "Show one job",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_JOB,
	.options = job_show_options,
	.run = run_job_show,
};

const struct command command_job_cancel = {
	.name = "job cancel",
	.family = "job",
	.operands = "ID",
	.summary = "Cancel a template build",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_JOB,
	.run = run_job_cancel,
};
