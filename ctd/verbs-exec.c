/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* exec, console and log: a person's or a program's way into a container.
 *
 * ctd is not in the data path. For a command it makes the pipes (or gets the pty's master back from the
 * keeper) and offers their ends to the client through the attach socket; the client relays. For the console
 * it makes a socket pair: one end goes to the keeper, who relays, the other to the client. The id is the key
 * to all that and cannot be guessed. A command lives apart from ctd: its exit status is kept by the keeper
 * until ctd has told it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/api.h"
#include "ctd/exec.h"
#include "ctd/guest.h"
#include "ctd/manager.h"
#include "ctd/resources.h"
#include "ctd/verbs.h"

#define ARGS_MAX 1024

struct request {
	json_t *argv, *env;
	const char *cwd, *user;
	bool tty;
	uint64_t rows, columns;
};

static const struct json_field request_fields[] = {
	{ "argv", JSON_KIND_ARRAY, offsetof(struct request, argv), JSON_NO_HAS, true },
	{ "env", JSON_KIND_OBJECT, offsetof(struct request, env), JSON_NO_HAS, false },
	{ "cwd", JSON_KIND_STRING, offsetof(struct request, cwd), JSON_NO_HAS, false },
	{ "user", JSON_KIND_STRING, offsetof(struct request, user), JSON_NO_HAS, false },
	{ "tty", JSON_KIND_BOOL, offsetof(struct request, tty), JSON_NO_HAS, false },
	{ "rows", JSON_KIND_U64, offsetof(struct request, rows), JSON_NO_HAS, false },
	{ "columns", JSON_KIND_U64, offsetof(struct request, columns), JSON_NO_HAS, false },
	{ NULL },
};

/* One command on its way from the call to the offer. */
struct exec_start {
	struct manager *manager;
	struct call *call;
	char id[ATTACH_ID_SIZE];
	bool tty;
	int ours[3]; /* our ends of stdin, stdout, stderr */
};

static void exec_start_free(struct exec_start *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < 3; i++)
		(void)fd_close(x->ours[i]);
	free(x);
}
DEFINE_CLEANUP(struct exec_start *, exec_start_free);

void exec_key(const char *id, char ret[40])
{
	(void)snprintf(ret, 40, "x/%s", id); /* 34 bytes and the end */
}

static int fail_start(struct exec_start *x, const struct ct_error *error)
{
	call_reply_error(x->call, error);
	exec_start_free(x);
	return 0;
}

/* Nobody can reach it. It may have ended. */
static void kill_start(const struct exec_start *x)
{
	char key[40];

	exec_key(x->id, key);
	(void)keeper_client_signal(x->manager->keeper, key, SIGKILL, NULL, NULL);
}

static void on_exec_started(struct keeper_reply *reply, void *userdata)
{
	struct exec_start *x = userdata;
	struct ct_error error = { 0 };
	int fds[3] = { -1, -1, -1 };
	int r;

	if (reply->result < 0) {
		error = reply->error;
		if (reply->result == -ETIMEDOUT)
			kill_start(x); /* it may come to run after all */
		/* What cannot be executed is the request's own fault: clients tell it from a missing
		 * container. */
		if (str_eq(error.step, "exec"))
			(void)snprintf(error.field, sizeof(error.field), "argv");
		(void)fail_start(x, &error);
		return;
	}

	if (x->tty)
		fds[0] = TAKE_FD(reply->console_fd);
	else
		for (size_t i = 0; i < 3; i++)
			fds[i] = TAKE_FD(x->ours[i]);
	r = attach_offer(x->manager->attach, x->id, x->tty ? ATTACH_EXEC_TTY : ATTACH_EXEC_PIPES, fds,
	        x->tty ? 1 : 3, &error);
	if (r < 0) {
		kill_start(x);
		(void)fail_start(x, &error);
		return;
	}
	call_reply(x->call, 201, json_pack("{s:s}", "id", x->id));
	exec_start_free(x);
}

/* A pipe for each of the three; theirs[] are the command's ends. */
static int make_pipes(struct exec_start *x, int theirs[3], struct ct_error *err)
{
	for (size_t i = 0; i < 3; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0)
			return ct_error_set(err, -errno, "exec", "cannot make a pipe: %s", strerror(errno));
		theirs[i] = p[i == 0 ? 0 : 1];
		x->ours[i] = p[i == 0 ? 1 : 0];
	}
	return 0;
}

struct vectors {
	const char **argv, **env;
	struct strbuf text; /* "NAME=VALUE" strings, one after the other */
};

static void vectors_done(struct vectors *v)
{
	free(v->argv);
	free(v->env);
	strbuf_done(&v->text);
}

static int string_item(const json_t *value, const char *field, const char **ret, struct ct_error *err)
{
	const char *s = json_string_value(value);

	if (!s || strlen(s) != json_string_length(value))
		return ct_error_field(err, field, "%s must hold strings without NUL", field);
	*ret = s;
	return 0;
}

static int read_argv(const json_t *list, struct vectors *v, struct ct_error *err)
{
	size_t n = json_array_size(list);

	if (n < 1 || n > ARGS_MAX)
		return ct_error_field(err, "argv", "argv must hold 1 to %d strings", ARGS_MAX);
	v->argv = calloc(n + 1, sizeof(*v->argv));
	if (!v->argv)
		return ct_error_set(err, -ENOMEM, "exec", "out of memory");
	for (size_t i = 0; i < n; i++) {
		int r = string_item(json_array_get(list, i), "argv", &v->argv[i], err);

		if (r < 0)
			return r;
	}
	if (!*v->argv[0])
		return ct_error_field(err, "argv", "argv must begin with the name of a program");
	return 0;
}

/* Defaults of a login, then what was given, which may replace them. */
static int read_env(
        const json_t *given, const struct guest_user *user, struct vectors *v, struct ct_error *err)
{
	_cleanup_json_ json_t *all = json_pack("{s:s, s:s, s:s, s:s, s:s}", "PATH",
	        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME", user->home ?: "/",
	        "USER", user->name ?: "root", "LOGNAME", user->name ?: "root", "container", "ctd");
	const char *name, *text;
	json_t *value;
	size_t i = 0;

	if (!all || (given && json_object_update(all, (json_t *)given) < 0))
		return ct_error_set(err, -ENOMEM, "exec", "out of memory");
	if (json_object_size(all) > ARGS_MAX)
		return ct_error_field(err, "env", "env must hold at most %d variables", ARGS_MAX);
	v->env = calloc(json_object_size(all) + 1, sizeof(*v->env));
	if (!v->env)
		return ct_error_set(err, -ENOMEM, "exec", "out of memory");

	json_object_foreach(all, name, value)
	{
		const char *s = NULL;
		int r = string_item(value, "env", &s, err);

		if (r < 0)
			return r;
		if (!*name || strchr(name, '='))
			return ct_error_field(
			        err, "env", "a variable's name must not be empty or hold \"=\"");
		(void)strbuf_printf(&v->text, "%s=%s", name, s);
		(void)strbuf_putc(&v->text, '\0');
	}
	if (v->text.error)
		return ct_error_set(err, v->text.error, "exec", "out of memory");
	text = v->text.data;
	for (i = 0; i < json_object_size(all); i++, text += strlen(text) + 1)
		v->env[i] = text;
	return 0;
}

static int ask_keeper(struct exec_start *x, struct container *c, const struct request *in,
        const struct vectors *v, const struct guest_user *user, struct ct_error *err)
{
	struct manager *m = x->manager;
	struct ct_rlimit rlimits[LIMITS_OF_PROCESS];
	int theirs[3] = { -1, -1, -1 };
	struct ct_exec_spec spec = {
		.argv = v->argv,
		.env = v->env,
		.cwd = in->cwd ?: user->home ?: "/",
		.uid = user->uid,
		.gid = user->gid,
		.groups = user->groups,
		.n_groups = user->n_groups,
		.init_pidfd = c->pidfd,
		.cgroup_fd = c->cgroup_fd,
		.base_id = manager_base_id(m, c->run.slot),
		.seccomp = m->seccomp[c->config.nesting ? CT_SECCOMP_NESTING : CT_SECCOMP_SYSTEM],
		.tty = in->tty,
		.rows = (uint16_t)in->rows,
		.columns = (uint16_t)in->columns,
		.rlimits = rlimits,
		.n_rlimits = ARRAY_SIZE(rlimits),
	};
	char key[40];
	int r = 0;

	limits_of_process(&c->config.limits, rlimits);
	if (!in->tty)
		r = make_pipes(x, theirs, err);
	memcpy(spec.stdio, theirs, sizeof(theirs));
	exec_key(x->id, key);
	if (r >= 0)
		r = keeper_client_exec(m->keeper, key, &spec, on_exec_started, x, err);
	for (size_t i = 0; i < 3; i++)
		(void)fd_close(theirs[i]);
	return r;
}

static int prepare(struct exec_start *x, struct container *c, const struct request *in, struct ct_error *err)
{
	CLEANUP(guest_user_done) struct guest_user user = { 0 };
	CLEANUP(vectors_done) struct vectors v = { .text = STRBUF_INIT };
	_cleanup_close_ int root_fd = -1;
	int r;

	root_fd = container_open_root(c, err);
	if (root_fd < 0 && root_fd != -EXDEV) /* elsewhere: as without a passwd, numbers and root remain */
		return root_fd;
	r = guest_find_user(root_fd, in->user ?: "root", &user, err);
	if (r >= 0)
		r = read_argv(in->argv, &v, err);
	if (r >= 0)
		r = read_env(in->env, &user, &v, err);
	if (r >= 0)
		r = ask_keeper(x, c, in, &v, &user, err);
	return r;
}

static int check_running(const struct container *c, const char *verb, struct ct_error *err)
{
	if (c->state != CONTAINER_RUNNING)
		return ct_error_kind_set(err, CT_ERROR_STATE, -ESRCH, "cannot %s in \"%s\": it is %s", verb,
		        c->row.name, container_state_name(c->state));
	if (!c->manager->keeper)
		return ct_error_set(err, -ENOTCONN, verb, "there is no ct-keeper (see ctd's log)");
	return 0;
}

int api_container_exec(struct manager *m, struct call *call, struct ct_error *err)
{
	CLEANUP(exec_start_freep) struct exec_start *x = NULL;
	struct container *c = NULL;
	struct request in = { 0 };
	int r;

	r = json_read(call_body(call), request_fields, &in, err);
	if (r >= 0)
		r = verb_target(m, call, &c, err);
	if (r >= 0)
		r = check_running(c, "exec", err);
	if (r < 0)
		return r;
	if (in.rows > UINT16_MAX || in.columns > UINT16_MAX)
		return ct_error_field(err, "rows", "rows and columns must be below 65536");

	x = calloc(1, sizeof(*x));
	if (!x)
		return ct_error_set(err, -ENOMEM, "exec", "out of memory");
	*x = (struct exec_start){ .manager = m, .call = call, .tty = in.tty, .ours = { -1, -1, -1 } };
	r = attach_id_new(x->id);
	if (r < 0)
		return ct_error_set(err, r, "exec", "cannot get random bytes: %s", strerror(-r));
	r = prepare(x, c, &in, err);
	if (r < 0)
		return r;
	TAKE_PTR(x); /* the callback's now */
	return 0;
}
