/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verbs that are one POST (or DELETE) for each container that is named: stop, restart, kill, freeze,
 * thaw, suspend (checkpoint), resume (restore), destroy, rename.
 *
 * Several names are done one after the other on one connection. One that fails is told at once and the others
 * are still tried; the exit status is that of the first failure.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/signals.h"

static int call_container(struct context *ctx, const char *method, const char *name, const char *verb,
        const json_t *body, answer_fn print, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	(void)strbuf_puts(&path, "/v1/containers"); /* failures are kept in the buffer */
	(void)path_add_segment(&path, name);
	if (verb)
		(void)path_add_segment(&path, verb);
	if (path.error < 0)
		return path.error;

	uint64_t begin = now_monotonic_usec();
	int r = client_call(&ctx->client, method, path.data, body, ctx->json || print ? &answer : NULL, err);
	if (r < 0 || (!ctx->json && !print))
		return r;

	return ctx->json ? print_json(answer, err) : print(name, answer, now_monotonic_usec() - begin, err);
}

int command_each_container(struct context *ctx, const char *method, const char *verb, const json_t *body,
        answer_fn print, struct ct_error *err)
{
	int first = 0;

	for (size_t i = 0; i < ctx->n_operands; i++) {
		struct ct_error one = { 0 };

		int r = call_container(ctx, method, ctx->operands[i], verb, body, print, &one);
		if (r == 0)
			continue;
		if (one.code == 0)
			(void)ct_error_set(&one, r, NULL, "%s", strerror(-r));

		tell_error(&one);
		if (first == 0) {
			first = r;
			*err = one;
			err->text[0] = '\0';
		}
		if (ctx->client.unreachable)
			break;
	}

	return first;
}

static int run_plain(struct context *ctx, struct ct_error *err)
{
	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	return command_each_container(ctx, "POST", ctx->command->name, NULL, NULL, err);
}

#define PLAIN_COMMAND(verb, text)                                                                            \
	{                                                                                                    \
		.name = verb, .operands = "NAME...", .summary = text, .min_operands = 1,                     \
		.max_operands = OPERANDS_ANY, .completes = OPERAND_CONTAINER, .run = run_plain,              \
	}

const struct command command_freeze =
        PLAIN_COMMAND("freeze", "Stop all processes of a container where they are");
const struct command command_thaw = PLAIN_COMMAND("thaw", "Let a frozen container run on");

struct suspend_values {
	bool rounds;
};

static const struct option_row suspend_options[] = {
	{ "rounds", 0, OPTION_FLAG, NULL, "write memory while it runs, and what has changed once more",
	        offsetof(struct suspend_values, rounds) },
	{ 0 },
};

static int run_suspend(struct context *ctx, struct ct_error *err)
{
	struct suspend_values v = { 0 };
	_cleanup_json_ json_t *body = NULL;
	int r = options_parse(ctx, &v, NULL, err);

	if (r < 0)
		return r;
	body = v.rounds ? json_pack("{s:b}", "rounds", 1) : NULL;
	return v.rounds && !body ? -ENOMEM : command_each_container(ctx, "POST", "suspend", body, NULL, err);
}

const struct command command_suspend = {
	.name = "suspend",
	.operands = "NAME...",
	.summary = "Put a container's processes and memory to disk",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = suspend_options,
	.run = run_suspend,
};

struct checkpoint_values {
	bool keep_running;
};

static const struct option_row checkpoint_options[] = {
	{ "keep-running", 0, OPTION_FLAG, NULL, "its disk is copied as well, and it runs on",
	        offsetof(struct checkpoint_values, keep_running) },
	{ 0 },
};

static int run_checkpoint(struct context *ctx, struct ct_error *err)
{
	struct checkpoint_values v = { 0 };
	_cleanup_json_ json_t *body = NULL;
	int r = options_parse(ctx, &v, NULL, err);

	if (r < 0)
		return r;
	body = v.keep_running ? json_pack("{s:b}", "keep_running", 1) : NULL;
	return v.keep_running && !body ? -ENOMEM
	                               : command_each_container(ctx, "POST", "suspend", body, NULL, err);
}

const struct command command_checkpoint = {
	.name = "checkpoint",
	.operands = "NAME...",
	.summary = "Write a container's processes to disk, as suspend does",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = checkpoint_options,
	.run = run_checkpoint,
};

struct resume_values {
	bool discard;
};

static const struct option_row resume_options[] = {
	{ "discard", 0, OPTION_FLAG, NULL, "give up what was suspended: the container is stopped then",
	        offsetof(struct resume_values, discard) },
	{ 0 },
};

static int run_resume(struct context *ctx, struct ct_error *err)
{
	struct resume_values v = { 0 };
	_cleanup_json_ json_t *body = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.discard) {
		body = json_pack("{s:b}", "discard", 1);
		if (!body)
			return -ENOMEM;
	}

	return command_each_container(ctx, "POST", "resume", body, NULL, err);
}

const struct command command_resume = {
	.name = "resume",
	.operands = "NAME...",
	.summary = "Let a suspended container go on where it was",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = resume_options,
	.run = run_resume,
};

struct restore_values {
	bool discard, force;
};

static const struct option_row restore_options[] = {
	{ "discard", 0, OPTION_FLAG, NULL, "give the checkpoint up",
	        offsetof(struct restore_values, discard) },
	{ "force", 'f', OPTION_FLAG, NULL, "even if what was written since is lost",
	        offsetof(struct restore_values, force) },
	{ 0 },
};

static int run_restore(struct context *ctx, struct ct_error *err)
{
	struct restore_values v = { 0 };
	_cleanup_json_ json_t *body = NULL;
	int r = options_parse(ctx, &v, NULL, err);

	if (r < 0)
		return r;
	body = json_pack("{s:b, s:b, s:b}", "checkpoint", 1, "discard", v.discard, "force", v.force);
	return body ? command_each_container(ctx, "POST", "resume", body, NULL, err) : -ENOMEM;
}

const struct command command_restore = {
	.name = "restore",
	.operands = "NAME...",
	.summary = "Let a container go on from its checkpoint",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = restore_options,
	.run = run_restore,
};

struct stop_values {
	int64_t timeout;
};

static const struct option_row stop_options[] = {
	{ "timeout", 't', OPTION_SECONDS, "TIME",
	        "how long a clean stop may take before everything is killed; 0: at once",
	        offsetof(struct stop_values, timeout) },
	{ 0 },
};

static int run_stop(struct context *ctx, struct ct_error *err)
{
	struct stop_values v = { .timeout = -1 };
	_cleanup_json_ json_t *body = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.timeout >= 0) {
		body = json_pack("{s:I}", "timeout", (json_int_t)v.timeout);
		if (!body)
			return -ENOMEM;
	}

	return command_each_container(ctx, "POST", ctx->command->name, body, NULL, err);
}

const struct command command_stop = {
	.name = "stop",
	.operands = "NAME...",
	.summary = "Stop containers: ask, wait, then kill",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = stop_options,
	.run = run_stop,
};

const struct command command_restart = {
	.name = "restart",
	.operands = "NAME...",
	.summary = "Stop and start containers",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = stop_options,
	.run = run_stop,
};

struct kill_values {
	const char *signal;
};

static const struct option_row kill_options[] = {
	{ "signal", 's', OPTION_STRING, "SIGNAL",
	        "send this to init (name or number) instead of killing everything",
	        offsetof(struct kill_values, signal) },
	{ 0 },
};

static int run_kill(struct context *ctx, struct ct_error *err)
{
	struct kill_values v = { 0 };
	_cleanup_json_ json_t *body = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.signal) {
		int number = signal_from_text(v.signal);
		if (number < 0)
			return ct_error_field(err, "signal",
			        "--signal: \"%s\" is no signal; a name such as TERM or RTMIN+3, or a number from 1 to %d",
			        v.signal, SIGRTMAX);

		body = json_pack("{s:i}", "signal", number);
		if (!body)
			return -ENOMEM;
	}

	return command_each_container(ctx, "POST", "kill", body, NULL, err);
}

const struct command command_kill = {
	.name = "kill",
	.operands = "NAME...",
	.summary = "Kill all processes of a container, or send its init a signal",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = kill_options,
	.run = run_kill,
};

struct destroy_values {
	bool force;
};

static const struct option_row destroy_options[] = {
	{ "force", 'f', OPTION_FLAG, NULL, "even if it runs", offsetof(struct destroy_values, force) },
	{ 0 },
};

static int run_destroy(struct context *ctx, struct ct_error *err)
{
	struct destroy_values v = { 0 };
	_cleanup_json_ json_t *body = NULL;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.force) {
		body = json_pack("{s:b}", "force", 1);
		if (!body)
			return -ENOMEM;
	}

	return command_each_container(ctx, "DELETE", NULL, body, NULL, err);
}

const struct command command_destroy = {
	.name = "destroy",
	.operands = "NAME...",
	.summary = "Remove containers and all that is in them",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = destroy_options,
	.run = run_destroy,
};

static int run_rename(struct context *ctx, struct ct_error *err)
{
	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	_cleanup_json_ json_t *body = json_pack("{s:s}", "name", ctx->operands[1]);
	if (!body)
		return ct_error_field(err, "name", "\"%s\" is no name", ctx->operands[1]);

	return call_container(ctx, "POST", ctx->operands[0], "rename", body, NULL, err);
}

const struct command command_rename = {
	.name = "rename",
	.operands = "NAME NEW",
	.summary = "Give a container another name",
	.min_operands = 2,
	.max_operands = 2,
	.completes = OPERAND_CONTAINER,
	.run = run_rename,
};
