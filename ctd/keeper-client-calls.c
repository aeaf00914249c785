/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests to the keeper, one function each; see keeper-client.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "ctd/keeper-binary.h"
#include "ctd/keeper-client-internal.h"

/* A request that has a key and perhaps fds. */
static int call_key(struct keeper_client *client, struct keeper_call_args *args, const char *key,
        keeper_reply_fn fn, void *userdata)
{
	size_t len = strlen(key);

	if (len == 0 || len >= sizeof(args->request.key))
		return -EINVAL;

	memcpy(args->request.key, key, len + 1);
	if (!args->timeout_usec)
		args->timeout_usec = KEEPER_CALL_TIMEOUT_USEC;
	return keeper_client_call(client, args, fn, userdata);
}

static int call_failed(int r, const char *key, struct ct_error *err)
{
	return r < 0 ? ct_error_set(err, r, "keeper", "cannot send the request for \"%s\" to the keeper: %s",
	                       key, strerror(-r))
	             : 0;
}

int keeper_client_start(struct keeper_client *client, const char *key, const struct ct_spec *spec,
        keeper_reply_fn fn, void *userdata, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf packed = STRBUF_INIT;
	struct keeper_fds fds = { .n = 0 };
	struct keeper_call_args args = {
		.type = KEEPER_START,
		.spec = &packed,
		.fds = &fds,
		.timeout_usec = KEEPER_START_TIMEOUT_USEC,
	};
	int r;

	r = keeper_pack_spec(&packed, &fds, spec, err);
	return r < 0 ? r : call_failed(call_key(client, &args, key, fn, userdata), key, err);
}

int keeper_client_exec(struct keeper_client *client, const char *key, const struct ct_exec_spec *spec,
        keeper_reply_fn fn, void *userdata, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf packed = STRBUF_INIT;
	struct keeper_fds fds = { .n = 0 };
	struct keeper_call_args args = {
		.type = KEEPER_EXEC,
		.spec = &packed,
		.fds = &fds,
		.timeout_usec = KEEPER_START_TIMEOUT_USEC,
	};
	int r;

	r = keeper_pack_exec_spec(&packed, &fds, spec, err);
	return r < 0 ? r : call_failed(call_key(client, &args, key, fn, userdata), key, err);
}

int keeper_client_list(struct keeper_client *client, keeper_reply_fn fn, void *userdata)
{
	const struct keeper_call_args args = { .type = KEEPER_LIST,
		.timeout_usec = KEEPER_CALL_TIMEOUT_USEC };

	return keeper_client_call(client, &args, fn, userdata);
}

int keeper_client_signal(
        struct keeper_client *client, const char *key, int signo, keeper_reply_fn fn, void *userdata)
{
	struct keeper_call_args args = { .type = KEEPER_SIGNAL, .request.signal = signo };

	return call_key(client, &args, key, fn, userdata);
}

int keeper_client_pidfd(struct keeper_client *client, const char *key, keeper_reply_fn fn, void *userdata)
{
	struct keeper_call_args args = { .type = KEEPER_PIDFD };

	return call_key(client, &args, key, fn, userdata);
}

int keeper_client_forget(struct keeper_client *client, const char *key, keeper_reply_fn fn, void *userdata)
{
	struct keeper_call_args args = { .type = KEEPER_FORGET };

	return call_key(client, &args, key, fn, userdata);
}

int keeper_client_adopt(struct keeper_client *client, const struct keeper_adoption *adoption,
        keeper_reply_fn fn, void *userdata)
{
	const struct keeper_process *process = adoption->process;
	const struct keeper_fds fds = { .fds = { adoption->pidfd, adoption->console_fd },
		.n = adoption->console_fd >= 0 ? 2 : 1 };
	_cleanup_strbuf_ struct strbuf scrollback = STRBUF_INIT;
	struct keeper_call_args args = {
		.type = KEEPER_ADOPT,
		.request = { .pid = process->pid, .start_time = process->start_time },
		.fds = &fds,
	};

	if (adoption->scrollback_len > 0)
		(void)strbuf_add(&scrollback, adoption->scrollback,
		        adoption->scrollback_len); /* an error stays in the buffer */
	args.spec = adoption->scrollback_len > 0 ? &scrollback : NULL;
	return scrollback.error ? scrollback.error : call_key(client, &args, process->key, fn, userdata);
}

int keeper_client_run(struct keeper_client *client, const char *key, const struct keeper_program *program,
        keeper_reply_fn fn, void *userdata)
{
	const struct keeper_fds fds = { .fds = { program->program_fd, program->mntns_fd, program->third_fd },
		.n = 3 };
	_cleanup_strbuf_ struct strbuf packed = STRBUF_INIT;
	struct keeper_call_args args = { .type = KEEPER_RUN, .spec = &packed, .fds = &fds };

	for (const char *const *arg = program->argv; *arg; arg++)
		(void)strbuf_add(&packed, *arg, strlen(*arg) + 1); /* an error stays in the buffer */
	return packed.error ? packed.error : call_key(client, &args, key, fn, userdata);
}

int keeper_client_console_attach(struct keeper_client *client, const char *key, int sock, unsigned flags,
        keeper_reply_fn fn, void *userdata)
{
	const struct keeper_fds fds = { .fds = { sock }, .n = 1 };
	struct keeper_call_args args = { .type = KEEPER_CONSOLE_ATTACH, .request.flags = flags, .fds = &fds };

	return call_key(client, &args, key, fn, userdata);
}

int keeper_client_console_read(
        struct keeper_client *client, const char *key, unsigned flags, keeper_reply_fn fn, void *userdata)
{
	struct keeper_call_args args = { .type = KEEPER_CONSOLE_READ, .request.flags = flags };

	return call_key(client, &args, key, fn, userdata);
}

int keeper_client_console_resize(struct keeper_client *client, const char *key, uint16_t rows,
        uint16_t columns, keeper_reply_fn fn, void *userdata)
{
	struct keeper_call_args args = { .type = KEEPER_CONSOLE_RESIZE,
		.request = { .rows = rows, .columns = columns } };

	return call_key(client, &args, key, fn, userdata);
}

int keeper_client_reexec(struct keeper_client *client, const char *path, keeper_reply_fn fn, void *userdata,
        struct ct_error *err)
{
	_cleanup_free_ char *found = NULL;
	_cleanup_close_ int file = -1, sealed = -1;
	struct keeper_fds fds = { .n = 1 };
	const struct keeper_call_args args = {
		.type = KEEPER_REEXEC, .fds = &fds, .timeout_usec = KEEPER_START_TIMEOUT_USEC
	};
	int r;

	if (!path)
		path = client->binary;
	if (!path) {
		r = keeper_binary_find(&found);
		if (r < 0)
			return ct_error_set(err, r, "keeper",
			        "cannot find ct-keeper beside this program or in " CTD_LIBEXECDIR);
		path = found;
	}

	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return ct_error_set(err, -errno, "keeper", "cannot open \"%s\": %s", path, strerror(errno));

	sealed = keeper_binary_seal(file, err);
	if (sealed < 0)
		return sealed;

	fds.fds[0] = sealed;
	r = keeper_client_call(client, &args, fn, userdata);
	return r < 0 ? ct_error_set(
	                       err, r, "keeper", "cannot send the new binary to the keeper: %s", strerror(-r))
	             : 0;
}

int keeper_client_quit(struct keeper_client *client, keeper_reply_fn fn, void *userdata)
{
	const struct keeper_call_args args = { .type = KEEPER_QUIT,
		.timeout_usec = KEEPER_CALL_TIMEOUT_USEC };

	return keeper_client_call(client, &args, fn, userdata);
}
