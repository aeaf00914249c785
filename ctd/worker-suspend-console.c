/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a console has shown, among the images.
 *
 * ct-keeper has it in memory, and forgets it with the process; CRIU knows nothing of it, for the master is
 * not the container's. So it is asked for when all stand still, with what the terminal holds that nobody has
 * read (CRIU would lose that), and given back with the process that is restored, before that may run: what it
 * prints then comes behind it.
 *
 * It is whatever the tenant has printed, and after a move what another node says he has. Nobody here looks
 * into it; how long it is, is all that matters, and the digest of the images has it as all others. Images
 * without it, as of an older build, are of a console that has shown nothing.
 */
#include "ctd/worker-suspend-console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ctd/keeper-client.h"
#include "ctd/keeper-ring.h"

#define NOTE "ct-console"

static int write_note(int images_fd, const char *data, size_t len, struct ct_error *err)
{
	_cleanup_close_ int fd = openat(images_fd, NOTE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : write_all(fd, data, len);

	return r < 0 ? ct_error_set(err, r, "suspend", "cannot write \"" NOTE "\": %s", strerror(-r)) : 0;
}

int suspend_console_save(struct keeper_client *keeper, const char *key, int images_fd, struct ct_error *err)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	struct ct_error error = { 0 };
	size_t skip;
	int r = keeper_client_console_read(keeper, key, KEEPER_READ_ALL, keeper_reply_store, &reply);

	if (r >= 0)
		r = keeper_client_wait(keeper, &reply, &error);
	if (r == -ESRCH || r == -ENOTTY)
		return 0; /* the process or its console is lost to the keeper */
	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot ask ct-keeper what the console has shown: %s",
		        *error.text ? error.text : strerror(-r));
	if (reply.data_len == 0)
		return 0;
	/* A later keeper's may be longer. */
	skip = reply.data_len > KEEPER_RING_MAX ? reply.data_len - KEEPER_RING_MAX : 0;
	return write_note(images_fd, reply.data + skip, reply.data_len - skip, err);
}

int suspend_console_read(int images_fd, char **ret, size_t *ret_len, struct ct_error *err)
{
	int r = read_file_at(images_fd, NOTE, KEEPER_RING_MAX, ret, ret_len);

	if (r == -ENOENT)
		return 0;
	if (r == -E2BIG)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBADMSG,
		        "its images have more of its console than a console holds");
	return r < 0 ? ct_error_set(err, r, "resume", "cannot read \"" NOTE "\": %s", strerror(-r)) : 0;
}
