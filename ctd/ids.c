/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several ctds may run on one host; two containers must never share an id. So each instance claims one of six
 * ranges of 2^29 ids for itself.
 *
 * A claim is a symbolic link /run/ctd-ids/N whose target is "TAG:STATE_DIR": made in one step, atomic among
 * instances, gone after a reboot, void when the database it names is gone. The range is remembered in the
 * database, so that an instance asks for the same again. Range 0 is left alone: the host's own users and its
 * subordinate ids (subuid(5)) are there; so is the last, which holds the kernel's special ids.
 */
#include "ctd/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "ctd/store.h"

#define CLAIM_DIR  "/run/ctd-ids"
#define RANGE_LAST 6

/* 1: it is ours now; 0: another's. */
static int claim_one(int dir_fd, unsigned n, const char *claim)
{
	char name[8], target[4200], path[4300];
	const char *colon;
	ssize_t len;

	(void)snprintf(name, sizeof(name), "%u", n);
	if (symlinkat(claim, dir_fd, name) == 0)
		return 1;
	if (errno != EEXIST)
		return -errno;

	len = readlinkat(dir_fd, name, target, sizeof(target) - 1);
	if (len < 0)
		return errno == ENOENT ? 0 : -errno;
	target[len] = '\0';
	if (str_eq(target, claim))
		return 1;

	colon = strchr(target, ':');
	(void)snprintf(path, sizeof(path), "%s/ctd.db", colon ? colon + 1 : "");
	if (!colon || str_eq(colon + 1, strchr(claim, ':') + 1) ||
	        (access(path, F_OK) < 0 && errno == ENOENT)) {
		/* Void. Whoever unlinks it second takes a fresh claim away only if the names are equal, so
		 * look again after it. */
		if (unlinkat(dir_fd, name, 0) == 0 && symlinkat(claim, dir_fd, name) == 0)
			return 1;
	}
	return 0;
}

int ids_claim(struct store *store, const char *tag, const char *state_dir, uint32_t *ret_start,
        struct ct_error *err)
{
	_cleanup_free_ char *claim = str_printf("%s:%s", tag, state_dir), *before = NULL;
	_cleanup_close_ int dir_fd = -1;
	unsigned first = IDS_RANGE_FIRST, n_ranges = RANGE_LAST - IDS_RANGE_FIRST + 1;
	char number[8];

	if (!claim)
		return ct_error_set(err, -ENOMEM, "ids", "out of memory");
	dir_fd = open_or_mkdir(AT_FDCWD, CLAIM_DIR, 0755);
	if (dir_fd < 0)
		return ct_error_set(
		        err, dir_fd, "ids", "cannot make \"%s\": %s", CLAIM_DIR, strerror(-dir_fd));
	if (store_meta_get(store, "id-range", &before) == 0)
		(void)parse_u32(before, &first); /* as it was written */

	for (unsigned i = 0; i < n_ranges; i++) {
		unsigned n = IDS_RANGE_FIRST + (first - IDS_RANGE_FIRST + i) % n_ranges;
		int r = claim_one(dir_fd, n, claim);

		if (r < 0)
			return ct_error_set(err, r, "ids", "cannot claim an id range in \"%s\": %s",
			        CLAIM_DIR, strerror(-r));
		if (r == 0)
			continue;
		(void)snprintf(number, sizeof(number), "%u", n);
		*ret_start = (uint32_t)n << IDS_RANGE_SHIFT;
		return store_meta_set(store, "id-range", number, err);
	}
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "all %u id ranges of this host are claimed by other instances of ctd (see %s; id-start in ctd.conf sets one by hand)",
	        n_ranges, CLAIM_DIR);
}
