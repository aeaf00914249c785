/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens to a command after it was started, the console, and the log; see verbs-exec.c for the start.
 */
#include "ctd/exec.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/verbs.h"

static const char *id_of(const struct keeper_process *process)
{
	return process->key + 2;
}

void exec_exited(struct manager *m, const struct keeper_process *process)
{
	attach_exit(m->attach, id_of(process), process->exit_code < 0 ? 255 : process->exit_code);
	if (m->keeper)
		(void)keeper_client_forget(
		        m->keeper, process->key, NULL, NULL); /* found by the next LIST if it fails */
}

void exec_found(struct manager *m, const struct keeper_process *process)
{
	struct ct_error error = { 0 };

	/* It is known already if only the connection to the keeper was lost. */
	if (attach_exit_code(m->attach, id_of(process)) == -ENOENT &&
	        attach_expect(m->attach, id_of(process), &error) < 0)
		log_warning("a running command cannot be waited for: %s", error.text);
	if (process->state == KEEPER_PROCESS_EXITED)
		exec_exited(m, process);
}

static bool is_listed(const char *id, void *userdata)
{
	const struct keeper_reply *list = userdata;
	char key[40];

	exec_key(id, key);
	for (size_t i = 0; i < list->n_processes; i++)
		if (str_eq(list->processes[i].key, key))
			return true;
	return false;
}

void exec_settle(struct manager *m, const struct keeper_reply *list)
{
	attach_withdraw_unknown(m->attach, is_listed, (void *)list,
	        "ct-keeper died, and with it what was known of the command; its exit status is lost");
}

/* The id of a console names no process; its key at the keeper is found by the id's table. */
struct console {
	char id[ATTACH_ID_SIZE];
	char ctid[33];
	UT_hash_handle hh;
};

static struct console *console_find(struct manager *m, const char *id)
{
	struct console *console = NULL;

	HASH_FIND_STR(m->consoles, id, console);
	return console;
}

static void console_forget(struct manager *m, const char *id)
{
	struct console *console = console_find(m, id);

	if (!console)
		return;
	HASH_DEL(m->consoles, console);
	free(console);
}

static void on_signal(const char *id, int signo, void *userdata)
{
	struct manager *m = userdata;
	char key[40];

	exec_key(id, key);
	if (m->keeper && !console_find(m, id))
		(void)keeper_client_signal(m->keeper, key, signo, NULL,
		        NULL); /* it may have ended: then there is nothing to do */
}

static void on_resize(const char *id, uint16_t rows, uint16_t columns, void *userdata)
{
	struct manager *m = userdata;
	const struct console *console = console_find(m, id);
	char key[40];

	if (!m->keeper)
		return;
	(void)snprintf(key, sizeof(key), "%s/%s", console ? "c" : "x",
	        console ? console->ctid : id); /* 34 bytes and the end */
	(void)keeper_client_console_resize(m->keeper, key, rows, columns, NULL, NULL); /* as above */
}

/* Nobody came for it: a command that nobody reads would wait in a full pipe for ever. */
static void on_expired(const char *id, void *userdata)
{
	struct manager *m = userdata;
	char key[40];

	if (console_find(m, id)) {
		console_forget(m, id);
		return;
	}
	exec_key(id, key);
	if (m->keeper)
		(void)keeper_client_signal(m->keeper, key, SIGHUP, NULL, NULL); /* it may have ended */
}

static void on_detached(const char *id, void *userdata)
{
	console_forget(userdata, id);
}

const struct attach_ops exec_attach_ops = {
	.signal = on_signal,
	.resize = on_resize,
	.expired = on_expired,
	.detached = on_detached,
};

void exec_consoles_free(struct manager *m)
{
	struct console *console, *next;

	HASH_ITER(hh, m->consoles, console, next)
	{
		HASH_DEL(m->consoles, console);
		free(console);
	}
}

struct size {
	uint64_t rows, columns;
};

static const struct json_field size_fields[] = {
	{ "rows", JSON_KIND_U64, offsetof(struct size, rows), JSON_NO_HAS, false },
	{ "columns", JSON_KIND_U64, offsetof(struct size, columns), JSON_NO_HAS, false },
	{ NULL },
};

static int console_target(
        struct manager *m, struct call *call, struct container **ret, struct size *size, struct ct_error *err)
{
	int r;

	r = json_read(call_body(call), size_fields, size, err);
	if (r >= 0)
		r = verb_target(m, call, ret, err);
	if (r < 0)
		return r;
	if (size->rows > UINT16_MAX || size->columns > UINT16_MAX)
		return ct_error_field(err, "rows", "rows and columns must be below 65536");
	if (!m->keeper)
		return ct_error_set(err, -ENOTCONN, "console", "there is no ct-keeper (see ctd's log)");
	return 0;
}

struct console_start {
	struct manager *manager;
	struct call *call;
	struct console *console;
	int ours;
};

static void on_console_attached(struct keeper_reply *reply, void *userdata)
{
	struct console_start *s = userdata;
	struct console *console = s->console;
	struct ct_error error = reply->error;
	int r = reply->result;

	if (r >= 0)
		r = attach_offer(s->manager->attach, console->id, ATTACH_CONSOLE, &s->ours, 1, &error);
	else
		(void)fd_close(s->ours);
	if (r >= 0) {
		HASH_ADD_STR(s->manager->consoles, id, console);
		call_reply(s->call, 201, json_pack("{s:s}", "id", console->id));
	} else {
		if (r == -ESRCH)
			(void)ct_error_kind_set(&error, CT_ERROR_STATE, r,
			        "it has not run since ct-keeper was started: there is no console");
		call_reply_error(s->call, &error);
		free(console);
	}
	free(s);
}

static int console_start(
        struct manager *m, struct call *call, const struct container *c, struct ct_error *err)
{
	struct console_start *s = calloc(1, sizeof(*s));
	struct console *console = calloc(1, sizeof(*console));
	int pair[2] = { -1, -1 }, r;
	char key[40];

	if (!s || !console) {
		r = ct_error_set(err, -ENOMEM, "console", "out of memory");
	} else if ((r = attach_id_new(console->id)) < 0 ||
	           socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		r = ct_error_set(err, r < 0 ? r : -errno, "console", "cannot make a socket pair");
	} else {
		memcpy(console->ctid, c->row.ctid, sizeof(console->ctid));
		*s = (struct console_start){
			.manager = m, .call = call, .console = console, .ours = pair[0]
		};
		container_key(c, key);
		r = keeper_client_console_attach(m->keeper, key, pair[1], 0, on_console_attached, s);
		if (r < 0)
			(void)ct_error_set(err, r, "console", "cannot ask ct-keeper: %s", strerror(-r));
	}
	(void)fd_close(pair[1]);
	if (r < 0) {
		(void)fd_close(pair[0]);
		free(s);
		free(console);
	}
	return r;
}

int api_container_console(struct manager *m, struct call *call, struct ct_error *err)
{
	struct container *c = NULL;
	struct size size = { 0 };
	char key[40];
	int r;

	r = console_target(m, call, &c, &size, err);
	if (r < 0)
		return r;
	container_key(c, key);
	if (size.rows && size.columns && container_has_init(c))
		(void)keeper_client_console_resize(m->keeper, key, (uint16_t)size.rows,
		        (uint16_t)size.columns, NULL, NULL); /* a nicety */
	return console_start(m, call, c, err);
}

int api_container_console_resize(struct manager *m, struct call *call, struct ct_error *err)
{
	struct container *c = NULL;
	struct size size = { 0 };
	char key[40];
	int r;

	r = console_target(m, call, &c, &size, err);
	if (r < 0)
		return r;
	if (!size.rows || !size.columns)
		return ct_error_field(err, "rows", "rows and columns must be at least 1");
	container_key(c, key);
	r = keeper_client_console_resize(
	        m->keeper, key, (uint16_t)size.rows, (uint16_t)size.columns, NULL, NULL);
	if (r < 0)
		return ct_error_set(err, r, "console", "cannot resize the console of \"%s\": %s", c->row.name,
		        strerror(-r));
	call_reply(call, 200, json_object());
	return 0;
}

static void on_log_read(struct keeper_reply *reply, void *userdata)
{
	struct call *call = userdata;
	size_t len = reply->data_len;

	if (reply->result == -ESRCH ||
	        (reply->result >= 0 && !reply->data)) /* it has not run: an empty log */
		call_reply_data(call, 200, "text/plain; charset=utf-8", strdup(""), 0);
	else if (reply->result < 0)
		call_reply_error(call, &reply->error);
	else
		call_reply_data(call, 200, "text/plain; charset=utf-8", TAKE_PTR(reply->data), len);
}

int api_container_log(struct manager *m, struct call *call, struct ct_error *err)
{
	struct container *c = NULL;
	struct size unused = { 0 };
	char key[40];
	int r;

	r = console_target(m, call, &c, &unused, err);
	if (r < 0)
		return r;
	container_key(c, key);
	r = keeper_client_console_read(m->keeper, key, 0, on_log_read, call);
	return r < 0 ? ct_error_set(err, r, "log", "cannot ask ct-keeper: %s", strerror(-r)) : 0;
}

struct exec_call {
	struct call *call;
	char id[ATTACH_ID_SIZE];
};

static void on_exec_listed(struct keeper_reply *reply, void *userdata)
{
	struct exec_call *x = userdata;
	struct ct_error error = { 0 };
	char key[40];

	exec_key(x->id, key);
	for (size_t i = 0; i < reply->n_processes; i++) {
		const struct keeper_process *process = &reply->processes[i];

		if (!str_eq(process->key, key))
			continue;
		call_reply(x->call, 200,
		        process->state == KEEPER_PROCESS_EXITED
		                ? json_pack("{s:s, s:s, s:i}", "id", x->id, "state", "exited", "exit_code",
		                          process->exit_code)
		                : json_pack("{s:s, s:s}", "id", x->id, "state", "running"));
		free(x);
		return;
	}
	(void)ct_error_kind_set(
	        &error, CT_ERROR_NOT_FOUND, -ENOENT, "there is no running command with this id");
	call_reply_error(x->call, reply->result < 0 ? &reply->error : &error);
	free(x);
}

int api_exec_show(struct manager *m, struct call *call, struct ct_error *err)
{
	struct exec_call *x;
	int r;

	if (!m->keeper || strlen(call_param(call, "id")) != ATTACH_ID_SIZE - 1)
		return ct_error_kind_set(
		        err, CT_ERROR_NOT_FOUND, -ENOENT, "there is no command with this id");
	x = calloc(1, sizeof(*x));
	if (!x)
		return ct_error_set(err, -ENOMEM, "exec", "out of memory");
	x->call = call;
	memcpy(x->id, call_param(call, "id"), sizeof(x->id));
	r = keeper_client_list(m->keeper, on_exec_listed, x);
	if (r < 0) {
		free(x);
		return ct_error_set(err, r, "exec", "cannot ask ct-keeper: %s", strerror(-r));
	}
	return 0;
}

static void on_signalled(struct keeper_reply *reply, void *userdata)
{
	if (reply->result < 0)
		call_reply_error(userdata, &reply->error);
	else
		call_reply(userdata, 200, json_object());
}

int api_exec_signal(struct manager *m, struct call *call, struct ct_error *err)
{
	static const struct json_field fields[] = { { "signal", JSON_KIND_U64, 0, JSON_NO_HAS, true },
		{ NULL } };
	uint64_t signo = 0;
	char key[40];
	int r;

	r = json_read(call_body(call), fields, &signo, err);
	if (r < 0)
		return r;
	if (signo < 1 || signo > 64)
		return ct_error_field(err, "signal", "signal must be from 1 to 64");
	if (!m->keeper || strlen(call_param(call, "id")) != ATTACH_ID_SIZE - 1)
		return ct_error_kind_set(
		        err, CT_ERROR_NOT_FOUND, -ENOENT, "there is no command with this id");

	exec_key(call_param(call, "id"), key);
	r = keeper_client_signal(m->keeper, key, (int)signo, on_signalled, call);
	return r < 0 ? ct_error_set(err, r, "exec", "cannot ask ct-keeper: %s", strerror(-r)) : 0;
}
