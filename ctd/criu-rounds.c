/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where rounds of memory lie, and what vouches for them; see the header.
 *
 * A round is as large as the memory of its container and is on the disk before that is frozen, its digest
 * too: of what is done in the freeze nothing grows with it. CRIU follows "parent" from one directory to the
 * one before, as it is found in each, from within the container's user namespace, which searches directories
 * below the images and none above. rounds.json is one of the images: who can change it has changed their
 * digest.
 */
#include "ctd/criu-rounds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/str.h"
#include "quota/extract.h"

#define NOTE     "rounds.json"
#define NOTE_MAX 4096
#define LINK     "parent" /* as CRIU calls it */
#define DIR_MODE 0755     /* CRIU reads them as the base id; what is above nobody else can search */

static void name_of(unsigned int n, char ret[32])
{
	(void)snprintf(ret, 32, CRIU_ROUNDS "/%u", n); /* fits */
}

void criu_rounds_parent(unsigned int n, bool of_dump, char ret[16])
{
	(void)snprintf(ret, 16, "%s/%u", of_dump ? CRIU_ROUNDS : "..", n % 100); /* fits */
}

int criu_rounds_open(int images_fd, unsigned int n)
{
	char name[32];
	int fd;

	name_of(n, name);
	fd = openat(images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int criu_rounds_new(int images_fd, unsigned int n, struct ct_error *err)
{
	char name[32];
	int fd;

	name_of(n, name);
	if ((mkdirat(images_fd, CRIU_ROUNDS, DIR_MODE) < 0 && errno != EEXIST) ||
	        mkdirat(images_fd, name, DIR_MODE) < 0)
		return ct_error_set(
		        err, -errno, "rounds", "cannot make the directory \"%s\": %s", name, strerror(errno));
	fd = criu_rounds_open(images_fd, n);
	return fd < 0 ? ct_error_set(err, fd, "rounds", "cannot open \"%s\": %s", name, strerror(-fd)) : fd;
}

int criu_rounds_remove(int images_fd, unsigned int n)
{
	char name[32];

	name_of(n, name);
	return remove_tree_at(images_fd, name);
}

int criu_rounds_forget(int images_fd)
{
	if ((unlinkat(images_fd, NOTE, 0) < 0 && errno != ENOENT) ||
	        (unlinkat(images_fd, LINK, 0) < 0 && errno != ENOENT))
		return -errno;
	return remove_tree_at(images_fd, CRIU_ROUNDS);
}

int criu_rounds_link(int dir_fd, unsigned int n, bool of_dump, struct ct_error *err)
{
	char target[16];

	criu_rounds_parent(n, of_dump, target);
	return symlinkat(target, dir_fd, LINK) < 0
	               ? ct_error_set(
	                         err, -errno, "rounds", "cannot link to round %u: %s", n, strerror(errno))
	               : 0;
}

uint64_t criu_rounds_pages(int round_fd)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(round_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	uint64_t bytes = 0;
	struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir)))
		if (str_has_prefix(e->d_name, "pages-") &&
		        fstatat(round_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	return bytes;
}

int criu_rounds_digest_one(int images_fd, unsigned int n, char digest[static 65], struct ct_error *err)
{
	_cleanup_close_ int fd = criu_rounds_open(images_fd, n);

	if (fd < 0)
		return ct_error_set(err, fd, "rounds", "cannot open round %u: %s", n, strerror(-fd));
	return tree_digest(fd, digest, err);
}

int criu_rounds_note(int images_fd, const json_t *digests, struct ct_error *err)
{
	_cleanup_json_ json_t *note = json_pack("{s:O}", "digests", digests);
	_cleanup_free_ char *text = note ? json_dumps(note, JSON_COMPACT) : NULL;
	int r = text ? replace_file_at(images_fd, NOTE, text, strlen(text), 0600, false) : -ENOMEM;

	return r < 0 ? ct_error_set(err, r, "rounds", "cannot write \"" NOTE "\": %s", strerror(-r)) : 0;
}

/* How many there are; their digests, a new value. */
static int read_note(int images_fd, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *note = NULL;
	_cleanup_free_ char *text = NULL;
	json_t *digests;
	size_t len = 0, n;
	int r = read_file_at(images_fd, NOTE, NOTE_MAX, &text, &len);

	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = json_parse(text, len, &note, NULL);
	digests = json_object_get(note, "digests");
	n = json_array_size(digests);
	if (r < 0 || n == 0 || n > CRIU_ROUNDS_MAX)
		return ct_error_set(err, -EBADMSG, "rounds", "\"" NOTE "\" among the images cannot be read");
	*ret = json_incref(digests);
	return (int)n;
}

static int check_digest(const json_t *noted, const char *found, struct ct_error *err)
{
	const char *want = json_string_value(noted);

	if (want && found && str_eq(want, found))
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBADMSG,
	        "the images of its memory were changed since they were written");
}

int criu_rounds_read(int images_fd, bool verify, struct ct_error *err)
{
	_cleanup_json_ json_t *digests = NULL;
	const int n = read_note(images_fd, &digests, err);
	int r = 0;

	for (int i = 0; r >= 0 && verify && i < n; i++) {
		char found[65];

		r = criu_rounds_digest_one(images_fd, (unsigned int)i + 1, found, err);
		if (r >= 0)
			r = check_digest(json_array_get(digests, (size_t)i), found, err);
	}
	return r < 0 ? r : n;
}

int criu_rounds_match(int images_fd, const json_t *known, struct ct_error *err)
{
	_cleanup_json_ json_t *digests = NULL;
	const size_t n = json_array_size(known);
	int r = read_note(images_fd, &digests, err);

	if (r >= 0 && (size_t)r != n)
		r = ct_error_kind_set(err, CT_ERROR_REFUSED, -EBADMSG,
		        "its images go on from %d rounds of memory, and %zu have come", r, n);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = check_digest(
		        json_array_get(digests, i), json_string_value(json_array_get(known, i)), err);
	return r < 0 ? r : (int)n;
}

int criu_rounds_digest(int images_fd, char digest[static 65], struct ct_error *err)
{
	return tree_digest_without(images_fd, CRIU_ROUNDS, digest, err);
}
