/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another binary in the keeper's place.
 *
 * execve(2) keeps the process, so children stay children, and fds that are not CLOEXEC stay open; all else
 * goes through a memfd (keeper-state.c). There is no way back after execve has succeeded. Therefore the new
 * binary is first run beside us with
 * --check-state-fd, to see that it runs at all here, in our empty mount namespace, and that it makes sense of
 * the state; only then it takes our place.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/keeper-binary.h"
#include "ctd/keeper.h"

#define CHECK_TIMEOUT_USEC (5 * USEC_PER_SEC)

static void set_inherited(int fd, bool inherited)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC); /* an open fd: cannot fail */
}

/* Everything that the records name. */
static void set_all_inherited(const struct keeper *k, bool inherited)
{
	set_inherited(k->lock_fd, inherited);
	set_inherited(k->dir_fd, inherited);
	set_inherited(k->listener.fd, inherited);
	for (const struct keeper_connection *c = k->connections; c; c = c->next)
		set_inherited(c->source.fd, inherited);

	for (size_t i = 0; i < KEEPER_BUCKETS; i++)
		for (const struct keeper_child *child = k->children[i]; child; child = child->next) {
			set_inherited(child->pidfd.fd, inherited);
			set_inherited(child->status.fd, inherited);
			set_inherited(child->console_fd, inherited);
			if (!child->console)
				continue;

			set_inherited(child->console->master.fd, inherited);
			for (const struct keeper_viewer *viewer = child->console->viewers; viewer;
			        viewer = viewer->next)
				set_inherited(viewer->source.fd, inherited);
		}
}

/* Runs the new binary beside us on the state. */
static int check(int binary_fd, int state_fd, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf("/proc/self/fd/%d", binary_fd);
	_cleanup_free_ char *number = str_printf("%d", state_fd);
	const char *const argv[] = { path, "--check-state-fd", number, NULL };
	const int keep[] = { binary_fd, state_fd };
	struct process_options options = PROCESS_OPTIONS_INIT;
	_cleanup_close_ int pidfd = -1;
	int r;

	if (!path || !number)
		return ct_error_set(err, -ENOMEM, "reexec", "out of memory");

	options.env = (const char *const[]){ NULL };
	options.keep_fds = keep;
	options.n_keep = ARRAY_SIZE(keep);
	pidfd = process_spawn(argv, &options, NULL);
	if (pidfd < 0)
		return ct_error_set(
		        err, pidfd, "reexec", "cannot execute the new keeper: %s", strerror(-pidfd));

	r = process_wait(pidfd, CHECK_TIMEOUT_USEC);
	if (r == -ETIMEDOUT) {
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); /* our child */
		(void)process_wait(pidfd, UINT64_MAX);                         /* it is dead */
	}
	if (r != KEEPER_EXIT_SOUND)
		return ct_error_set(err, r < 0 ? r : -ENOEXEC, "reexec",
		        "the new keeper cannot take over from this one (its check ended with %d)", r);
	return 0;
}

int keeper_handle_reexec(
        struct keeper *k, struct keeper_connection *c, struct keeper_message *m, struct ct_error *err)
{
	_cleanup_close_ int state_fd = -1;
	char number[16];
	char *argv[] = { (char *)"ct-keeper", (char *)"--runtime", k->runtime_dir, (char *)"--state-fd",
		number, NULL };
	char *env[] = { NULL };
	int r;

	if (m->n_fds < 1 || !keeper_binary_is_sealed(m->fds[0]))
		return ct_error_set(err, -EBADMSG, "reexec", "no sealed binary came with the request");

	k->reexec_connection_id = c->id;
	k->reexec_serial = m->header.serial;
	state_fd = keeper_state_save(k);
	if (state_fd < 0)
		return ct_error_set(
		        err, state_fd, "reexec", "cannot write down the state: %s", strerror(-state_fd));

	r = check(m->fds[0], state_fd, err);
	if (r < 0)
		return r;

	(void)snprintf(number, sizeof(number), "%d", state_fd); /* an int fits */
	set_all_inherited(k, true);
	set_inherited(state_fd, true);
	(void)execveat(m->fds[0], "", argv, env, AT_EMPTY_PATH); /* returns only on failure */
	r = -errno;
	set_all_inherited(k, false);
	return ct_error_set(err, r, "reexec", "cannot execute the new keeper: %s", strerror(-r));
}

void keeper_reexec_answer(struct keeper *k)
{
	struct keeper_connection *c = keeper_connection_find(k, k->reexec_connection_id);
	struct keeper_hello hello;
	const struct keeper_answer answer = {
		.type = KEEPER_REEXEC,
		.serial = k->reexec_serial,
		.body = &hello,
		.len = sizeof(hello),
	};

	keeper_hello_fill(k, &hello);
	if (c)
		keeper_send(c, &answer);
}
