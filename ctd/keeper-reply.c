/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers of the keeper, out of their packets.
 *
 * The keeper may be older or newer than we are, so structs are cut or padded to our size, and what must be
 * terminated is terminated here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "ctd/keeper-client-internal.h"

void keeper_reply_done(struct keeper_reply *reply)
{
	reply->pidfd = fd_close(reply->pidfd);
	reply->console_fd = fd_close(reply->console_fd);
	free(TAKE_PTR(reply->processes));
	free(TAKE_PTR(reply->data));
}

void keeper_reply_store(struct keeper_reply *reply, void *userdata)
{
	struct keeper_reply *ret = userdata;

	*ret = *reply;
	ret->done = true;
	*reply = KEEPER_REPLY_INIT;
}

/* A struct that may be longer or shorter than ours. */
static void take_struct(void *ret, size_t size, const void *data, size_t len)
{
	memset(ret, 0, size);
	memcpy(ret, data, len < size ? len : size);
}

void keeper_reply_take_process(struct keeper_process *ret, const void *data, size_t len)
{
	take_struct(ret, sizeof(*ret), data, len);
	ret->key[sizeof(ret->key) - 1] = '\0';
}

static int take_list(struct keeper_reply *reply, const char *data, size_t len)
{
	struct keeper_list list;
	struct keeper_process *more;

	if (len < sizeof(list))
		return -EBADMSG;

	memcpy(&list, data, sizeof(list));
	data += sizeof(list);
	len -= sizeof(list);
	if (list.element_size == 0 || list.count > len / list.element_size)
		return -EBADMSG;

	more = reallocarray(reply->processes, reply->n_processes + list.count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;

	reply->processes = more;
	for (uint32_t i = 0; i < list.count; i++)
		keeper_reply_take_process(
		        &more[reply->n_processes++], data + (size_t)i * list.element_size, list.element_size);
	return 0;
}

static int take_data(struct keeper_reply *reply, const char *data, size_t len)
{
	reply->data = malloc(len + 1);
	if (!reply->data)
		return -ENOMEM;

	memcpy(reply->data, data, len);
	reply->data[len] = '\0';
	reply->data_len = len;
	return 0;
}

int keeper_reply_take_body(
        struct keeper_reply *reply, const struct keeper_body *body, struct keeper_hello *hello)
{
	switch ((enum keeper_type)body->type) {
	case KEEPER_HELLO:
	case KEEPER_REEXEC:
		take_struct(hello, sizeof(*hello), body->data, body->len);
		hello->build_id[sizeof(hello->build_id) - 1] = '\0';
		return 0;
	case KEEPER_START:
	case KEEPER_EXEC:
	case KEEPER_PIDFD:
	case KEEPER_RUN:
		if (body->n_fds > 0)
			reply->pidfd = TAKE_FD(body->fds[0]);
		if (body->n_fds > 1)
			reply->console_fd = TAKE_FD(body->fds[1]);
		keeper_reply_take_process(&reply->process, body->data, body->len);
		return 0;
	case KEEPER_ADOPT: keeper_reply_take_process(&reply->process, body->data, body->len); return 0;
	case KEEPER_LIST: return take_list(reply, body->data, body->len);
	case KEEPER_CONSOLE_READ: return take_data(reply, body->data, body->len);
	case KEEPER_SIGNAL:
	case KEEPER_FORGET:
	case KEEPER_CONSOLE_ATTACH:
	case KEEPER_CONSOLE_RESIZE:
	case KEEPER_SUBSCRIBE:
	case KEEPER_QUIT:
	case KEEPER_EXITED: return 0;
	}
	return 0;
}

void keeper_reply_take_error(struct keeper_reply *reply, int result, const char *data, size_t len)
{
	take_struct(&reply->error, sizeof(reply->error), data, len);
	reply->error.step[sizeof(reply->error.step) - 1] = '\0';
	reply->error.field[sizeof(reply->error.field) - 1] = '\0';
	reply->error.text[sizeof(reply->error.text) - 1] = '\0';
	reply->error.code = reply->result = result;
}
