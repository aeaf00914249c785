/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl migrate, and migrate-receive: the end of the pipe on the other node.
 *
 * migrate-receive knows nothing of containers. It reads one request from standard input, a line of JSON and
 * what comes behind it, gives it to the daemon of its node, and writes the answer as one line, an error too.
 * ct-migration(7) has the protocol.
 */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/unit.h"
#include "ctctl/command.h"
#include "ctctl/job.h"
#include "ctctl/spool.h"
#include "ctctl/table.h"

#define LINE_MAX_BYTES (1024 * 1024)

struct migrate_values {
	bool offline, dry_run, keep, fallback, verify;
	const char *bandwidth, *max_downtime;
};

static const struct option_row migrate_options[] = {
	{ "offline", 0, OPTION_FLAG, NULL,
	        "stop it, move it, start it there; else it goes on there where it was",
	        offsetof(struct migrate_values, offline) },
	{ "fallback", 0, OPTION_FLAG, NULL, "if it cannot go on there where it was: stop it, start it there",
	        offsetof(struct migrate_values, fallback) },
	{ "dry-run", 'n', OPTION_FLAG, NULL, "only say whether it could move; changes nothing",
	        offsetof(struct migrate_values, dry_run) },
	{ "bandwidth", 0, OPTION_STRING, "SIZE",
	        "send at most so many bytes per second while it runs (10M; suffixes K, M, G)",
	        offsetof(struct migrate_values, bandwidth) },
	{ "max-downtime", 0, OPTION_STRING, "SECONDS",
	        "give it up, before it stands still, if that would take longer",
	        offsetof(struct migrate_values, max_downtime) },
	{ "verify", 0, OPTION_FLAG, NULL, "read all of its disk on both sides in the end",
	        offsetof(struct migrate_values, verify) },
	{ "keep", 0, OPTION_FLAG, NULL,
	        "after a migration that did not end: the copy of this node is the one that counts",
	        offsetof(struct migrate_values, keep) },
	{ 0 },
};

static int print_checks(const json_t *checks, struct ct_error *err)
{
	static const char *const headings[] = { "CHECK", "RESULT", NULL };
	_cleanup_table_ struct table t = { 0 };
	const json_t *check;
	size_t i;

	table_init(&t, headings);
	json_array_foreach(checks, i, check)
	{
		const bool ok = json_is_true(json_object_get(check, "ok"));

		table_add_json(&t, json_object_get(check, "name"));
		if (ok && str_empty(json_string_value(json_object_get(check, "text"))))
			table_add(&t, "ok");
		else
			table_add_json(&t, json_object_get(check, "text"));
	}
	return table_print(&t, err);
}

static void print_warning(const json_t *result)
{
	const char *warning = json_string_value(json_object_get(result, "warning"));
	char said[300];

	if (warning)
		(void)fprintf(
		        stderr, "ctctl: %s\n", str_escape_to(said, sizeof(said), warning, strlen(warning)));
}

static double seconds(const json_t *times, const char *key)
{
	return (double)json_integer_value(json_object_get(times, key)) / 1000;
}

static void print_frozen(const json_t *times)
{
	if (times)
		(void)printf(
		        "; frozen for %.1f s: %.1f to save it, %.1f to send it, %.1f to restore it, %.1f to hand it over",
		        seconds(times, "total"), seconds(times, "save"), seconds(times, "send"),
		        seconds(times, "restore"), seconds(times, "resume"));
}

static void print_each(const json_t *rounds)
{
	const json_t *round;
	size_t i;

	json_array_foreach(rounds, i, round)
	{
		(void)printf("%s %lld bytes in %.1f s", i > 0 ? "," : "",
		        (long long)json_integer_value(json_object_get(round, "bytes")),
		        seconds(round, "msec"));
	}
}

/* What went while it ran. */
static void print_rounds(const json_t *result)
{
	const json_t *memory = json_object_get(result, "memory_rounds");

	if (json_array_size(json_object_get(result, "rounds")) == 0)
		return;
	(void)printf("copied while it ran:");
	print_each(json_object_get(result, "rounds"));
	if (json_array_size(memory) > 0)
		(void)printf("; of its memory");
	print_each(memory);
	(void)printf("; then %lld bytes; in all %.1f s\n",
	        (long long)json_integer_value(json_object_get(result, "last_bytes")),
	        seconds(result, "total_msec"));
}

static int print_moved(const json_t *result, struct ct_error *err)
{
	const json_t *bytes = json_object_get(result, "bytes");
	const char *to = json_string_value(json_object_get(result, "to"));
	const char *name = json_string_value(json_object_get(result, "name"));
	const char *fallback = json_string_value(json_object_get(result, "fallback"));
	char shown[300];

	print_rounds(result);
	(void)printf("%s is on %s now%s (%lld bytes sent", name ? name : "",
	        str_escape_to(shown, sizeof(shown), to ? to : "", to ? strlen(to) : 0),
	        json_is_true(json_object_get(result, "suspended")) ? ", suspended" : "",
	        (long long)json_integer_value(bytes));
	print_frozen(json_object_get(result, "frozen_msec"));
	(void)puts(")");
	if (fallback)
		(void)printf("it was stopped and started there, for it could not go on: %s\n",
		        str_escape_to(shown, sizeof(shown), fallback, strlen(fallback)));
	print_warning(result);
	return finish_output(err);
}

/* A job on a container, to its end. */
static int run_job(struct context *ctx, const char *name, const char *verb, const json_t *body,
        json_t **ret_finished, struct ct_error *err)
{
	_cleanup_json_ json_t *job = NULL;

	int r = job_submit(&ctx->client, name, verb, body, &job, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *id = json_to_text(json_object_get(job, "id"));
	if (str_empty(id))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EBADMSG, "the daemon's answer has no job id");
	return job_wait(&ctx->client, id, ret_finished, err);
}

static int resolve(struct context *ctx, const char *name, struct ct_error *err)
{
	_cleanup_json_ json_t *finished = NULL;
	const json_t *result;
	bool here;
	int r;

	r = run_job(ctx, name, "resolve", NULL, &finished, err);
	if (r < 0)
		return r;
	result = json_object_get(finished, "result");
	if (ctx->json)
		return print_json(result, err);
	here = str_eq(json_string_value(json_object_get(result, "owner")), "here");
	(void)printf(
	        here ? "%s is this node's\n" : "%s is the other node's; it is not here any more\n", name);
	print_warning(result);
	return finish_output(err);
}

/* How fast, and how long it may stand still. */
static int add_figures(const struct migrate_values *v, json_t *body, struct ct_error *err)
{
	uint64_t bytes = 0, usec = 0;

	if (v->bandwidth && (parse_size(v->bandwidth, &bytes) < 0 || bytes == 0))
		return ct_error_field(err, "bandwidth",
		        "--bandwidth is bytes per second, as 500K, 10M or 1G, not \"%s\"", v->bandwidth);
	if (v->max_downtime && (parse_duration_usec(v->max_downtime, &usec) < 0 || usec < 1000))
		return ct_error_field(err, "max_downtime_msec",
		        "--max-downtime is seconds, or as 500ms or 2m, not \"%s\"", v->max_downtime);
	if ((v->bandwidth && json_object_set_new(body, "bandwidth", json_integer((json_int_t)bytes)) < 0) ||
	        (v->max_downtime && json_object_set_new(body, "max_downtime_msec",
	                                    json_integer((json_int_t)usec / 1000)) < 0))
		return -ENOMEM;
	return 0;
}

static int move(struct context *ctx, const struct migrate_values *v, struct ct_error *err)
{
	_cleanup_json_ json_t *body = json_pack("{s:s, s:b, s:b, s:b, s:b}", "to", ctx->operands[1],
	        "offline", v->offline, "dry_run", v->dry_run, "fallback", v->fallback, "verify", v->verify);
	_cleanup_json_ json_t *finished = NULL;
	const json_t *result, *check;
	size_t i;

	if (!body)
		return ct_error_field(err, "to", "\"%s\" is no host", ctx->operands[1]);
	int r = add_figures(v, body, err);
	if (r < 0)
		return r;
	r = run_job(ctx, ctx->operands[0], "migrate", body, &finished, err);
	if (r < 0)
		return r;

	result = json_object_get(finished, "result");
	json_array_foreach(json_object_get(result, "checks"), i, check)
	{
		if (!json_is_true(json_object_get(check, "ok")))
			ctx->exit_status = 1;
	}
	if (ctx->json)
		return print_json(result, err);
	return v->dry_run ? print_checks(json_object_get(result, "checks"), err) : print_moved(result, err);
}

static int run_migrate(struct context *ctx, struct ct_error *err)
{
	struct migrate_values v = { 0 };

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.keep) {
		if (ctx->n_operands != 1 || v.offline || v.dry_run || v.fallback || v.verify || v.bandwidth ||
		        v.max_downtime)
			return ct_error_field(err, "keep", "--keep stands alone: ctctl migrate NAME --keep");
		return command_each_container(ctx, "POST", "keep", NULL, NULL, err);
	}
	if (v.offline && v.fallback)
		return ct_error_field(err, "fallback", "--offline and --fallback exclude each other");
	if (ctx->n_operands == 2 && str_eq(ctx->operands[0], "resolve") && !v.offline && !v.dry_run &&
	        !v.fallback)
		return resolve(ctx, ctx->operands[1], err);
	if (ctx->n_operands != 2)
		return ct_error_field(err, "to", "where to? ctctl migrate NAME [USER@]HOST");
	return move(ctx, &v, err);
}

/* ---- the far end */

struct received {
	struct strbuf data; /* the line, and how much was read behind it */
	size_t line_len;
	int64_t timeout; /* seconds without a byte of what was announced */
};

static int read_line(struct received *in, struct ct_error *err)
{
	char chunk[16384];
	const char *end = NULL;

	while (!end) {
		ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || in->data.len > LINE_MAX_BYTES)
			return ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO,
			        "standard input is no request; this command is for another node's ctctl migrate");
		if (strbuf_add(&in->data, chunk, (size_t)n) < 0)
			return -ENOMEM;
		end = memchr(in->data.data, '\n', in->data.len);
	}
	in->line_len = (size_t)(end - in->data.data);
	return 0;
}

static int receive_word(
        struct context *ctx, const char *word, const json_t *request, json_t **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	const char *ctid = json_string_value(json_object_get(request, "ctid"));
	_cleanup_json_ json_t *body =
	        json_pack("{s:O, s:O*, s:O*}", "epoch", json_object_get(request, "epoch"), "start",
	                json_object_get(request, "start"), "totals", json_object_get(request, "totals"));

	if (!ctid || !body)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO, "the request lacks ctid or epoch");
	(void)strbuf_puts(&path, "/v1/migrations"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, ctid);
	(void)path_add_segment(&path, word);
	return path.error < 0 ? path.error : client_call(&ctx->client, "POST", path.data, body, ret, err);
}

/* A job of the daemon, to its end; what it tells, if anything. */
static int make_it(
        struct context *ctx, const char *path, const json_t *body, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *job = NULL, *finished = NULL;
	int r = client_call(&ctx->client, "POST", path, body, &job, err);

	if (r < 0)
		return r;
	_cleanup_free_ char *id = json_to_text(json_object_get(job, "id"));
	r = id ? job_wait(&ctx->client, id, &finished, err) : -ENOMEM;
	if (r >= 0 && json_is_object(json_object_get(finished, "result")))
		*ret = json_incref(json_object_get(finished, "result"));
	return r;
}

/* Spools what follows, and waits for the job. */
static int receive_disk(struct context *ctx, const struct received *in, const json_t *request, char **spooled,
        json_t **ret, struct ct_error *err)
{
	const json_t *bytes = json_object_get(request, "bytes");
	const size_t rest = in->data.len - in->line_len - 1;
	_cleanup_json_ json_t *body = NULL;
	int r;

	if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO, "the request lacks bytes");
	r = spool_bytes(in->data.data + in->line_len + 1, rest, (uint64_t)json_integer_value(bytes),
	        in->timeout, spooled, err);
	if (r < 0)
		return r;
	body = json_pack("{s:O, s:s, s:O*, s:O, s:O*, s:O*, s:O*, s:O*, s:O*, s:O*, s:b}", "offer",
	        json_object_get(request, "offer"), "file", *spooled, "digest",
	        json_object_get(request, "digest"), "removed_bytes",
	        json_object_get(request, "removed_bytes"), "images_bytes",
	        json_object_get(request, "images_bytes"), "resume", json_object_get(request, "resume"),
	        "verify", json_object_get(request, "verify"), "round", json_object_get(request, "round"),
	        "memory", json_object_get(request, "memory"), "patience",
	        json_object_get(request, "patience"), "copy",
	        str_eq(json_string_value(json_object_get(request, "word")), "copy"));
	if (!body)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO, "the request lacks offer or digest");
	return make_it(ctx, "/v1/migrations", body, ret, err);
}

static int receive_template(struct context *ctx, const struct received *in, const json_t *request,
        char **spooled, json_t **ret, struct ct_error *err)
{
	const json_t *bytes = json_object_get(request, "bytes");
	_cleanup_json_ json_t *body = NULL;
	int r;

	if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO, "the request lacks bytes");
	r = spool_bytes(in->data.data + in->line_len + 1, in->data.len - in->line_len - 1,
	        (uint64_t)json_integer_value(bytes), in->timeout, spooled, err);
	if (r < 0)
		return r;
	body = json_pack("{s:s, s:O}", "file", *spooled, "digest", json_object_get(request, "digest"));
	return body ? make_it(ctx, "/v1/migrations/template", body, ret, err)
	            : ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO, "the request lacks digest");
}

static bool wants_template(const json_t *result)
{
	const json_t *check;
	size_t i;

	json_array_foreach(json_object_get(result, "checks"), i, check)
	{
		if (json_is_true(json_object_get(check, "send")))
			return true;
	}
	return false;
}

/* The daemon's checks, and ours: what is sent is kept on the disk before the daemon reads it. */
static int receive_check(struct context *ctx, const json_t *request, json_t **ret, struct ct_error *err)
{
	const json_t *offer = json_object_get(request, "offer");
	_cleanup_json_ json_t *body = json_pack("{s:O}", "offer", offer);
	const json_t *bytes = json_object_get(offer, "bytes_used");
	const json_t *images = json_object_get(json_object_get(offer, "suspended"), "bytes");
	const uint64_t template_bytes =
	        (uint64_t)json_integer_value(json_object_get(offer, "template_bytes"));
	struct ct_error room = { 0 };
	uint64_t most;
	int r;

	if (!body)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO, "the request lacks offer");
	r = client_call(&ctx->client, "POST", "/v1/migrations/check", body, ret, err);
	if (r < 0)
		return r;
	/* one after the other: a template that is to be sent, and what is the container's own */
	most = (uint64_t)json_integer_value(bytes) + (uint64_t)json_integer_value(images);
	if (wants_template(*ret) && template_bytes > most)
		most = template_bytes;
	r = spool_check_room(most, &room);
	return json_array_append_new(json_object_get(*ret, "checks"),
	               json_pack("{s:s, s:b, s:s}", "name", "room on the way", "ok", r >= 0, "text",
	                       r < 0 ? room.text : "")) < 0
	               ? -ENOMEM
	               : 0;
}

static int receive(struct context *ctx, const struct received *in, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *request = NULL;
	_cleanup_free_ char *spooled = NULL;
	const char *word;

	int r = json_parse(in->data.data, in->line_len, &request, err);
	if (r < 0)
		return r;
	if (json_integer_value(json_object_get(request, "protocol")) != 1)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EPROTO,
		        "this node's ctctl speaks version 1 of the protocol only: both nodes need the same ctd");
	word = json_string_value(json_object_get(request, "word"));
	if (str_eq(word, "commit") || str_eq(word, "withdraw"))
		return receive_word(ctx, word, request, ret, err);
	if (str_eq(word, "check"))
		return receive_check(ctx, request, ret, err);
	if (str_eq(word, "offer") || str_eq(word, "copy"))
		r = receive_disk(ctx, in, request, &spooled, ret, err);
	else if (str_eq(word, "template"))
		r = receive_template(ctx, in, request, &spooled, ret, err);
	else
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EPROTO, "unknown request");
	if (spooled)
		(void)unlink(spooled); /* it has been read, or nobody wants it */
	return r;
}

static const struct option_row receive_options[] = {
	{ "timeout", 't', OPTION_SECONDS, "TIME", "give up when nothing more comes for so long; default 5m",
	        offsetof(struct received, timeout) },
	{ 0 },
};

static int run_migrate_receive(struct context *ctx, struct ct_error *err)
{
	struct received in = { .data = STRBUF_INIT, .timeout = 300 };
	_cleanup_json_ json_t *result = NULL, *answer = NULL;
	struct ct_error failure = { 0 };

	int r = options_parse(ctx, &in, NULL, err);
	if (r < 0)
		return r;
	/* Where the other end is of this host and its process group is killed, the end of input is what ends
	 * us: there is a file to be removed. Of another host, we may lead a session already. */
	(void)setsid();
	r = read_line(&in, &failure);
	if (r >= 0)
		r = receive(ctx, &in, &result, &failure);
	strbuf_done(&in.data);
	if (r < 0 && failure.code == 0)
		(void)ct_error_set(&failure, r, NULL, "%s", strerror(-r));
	/* Not found is said of a container only. */
	if (r < 0 && ctx->client.unreachable)
		failure.kind = CT_ERROR_FAILED;
	answer = r < 0 ? json_from_error(&failure)
	               : json_pack("{s:o}", "result", result ? json_incref(result) : json_object());
	ctx->exit_status = r < 0;
	r = answer ? print_json_line(answer) : -ENOMEM;
	return r < 0 ? r : finish_output(err);
}

const struct command command_migrate = {
	.name = "migrate",
	.operands = "NAME [HOST]",
	.summary = "Move a container to another node",
	.min_operands = 1,
	.max_operands = 2,
	.completes = OPERAND_CONTAINER,
	.options = migrate_options,
	.run = run_migrate,
};

const struct command command_migrate_receive = {
	.name = "migrate-receive",
	.operands = "",
	.summary = "Take what another node's migrate sends; not for people",
	.options = receive_options,
	.run = run_migrate_receive,
};
