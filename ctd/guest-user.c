/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Users of a container, read from its /etc/passwd and /etc/group by a parser of our own.
 *
 * libc's lookups would load the tenant's NSS modules or follow its nsswitch.conf; here the two files are
 * plain bytes: regular, at most 1 MiB, lines that do not parse are passed over, numbers must be below 65,536.
 * "root" and "0" work even if the files are missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "ctd/guest.h"

#define FILE_MAX (1024 * 1024)

void guest_user_done(struct guest_user *user)
{
	free(user->name);
	free(user->home);
	free(user->shell);
	memset(user, 0, sizeof(*user));
}

static char *read_small(int root_fd, const char *path)
{
	_cleanup_close_ int fd = open_in_mount(root_fd, path, O_RDONLY | O_NONBLOCK, 0);
	_cleanup_free_ char *data = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return NULL;
	data = malloc((size_t)st.st_size + 1);
	n = data ? read_all(fd, data, (size_t)st.st_size) : -1;
	if (n < 0)
		return NULL;
	data[n] = '\0';
	return TAKE_PTR(data);
}

/* Splits a line at colons into at most max fields, in place; the number of them. */
static size_t split(char *line, char **fields, size_t max)
{
	size_t n = 0;

	while (n < max) {
		fields[n++] = line;
		line = strchr(line, ':');
		if (!line)
			break;
		*line++ = '\0';
	}
	return n;
}

static int parse_id(const char *s, uint32_t *ret)
{
	uint32_t id;

	if (parse_u32(s, &id) < 0 || id >= 65536)
		return -EINVAL;
	*ret = id;
	return 0;
}

static bool find_passwd(char *text, const char *name, bool by_id, uint32_t uid, struct guest_user *user)
{
	char *line, *next = text;

	while ((line = strsep(&next, "\n"))) {
		char *f[7];
		uint32_t id, gid;

		if (split(line, f, 7) != 7 || parse_id(f[2], &id) < 0 || parse_id(f[3], &gid) < 0)
			continue;
		if (by_id ? id != uid : !str_eq(f[0], name))
			continue;
		user->uid = id;
		user->gid = gid;
		user->name = strdup(f[0]);
		user->home = f[5][0] == '/' ? strdup(f[5]) : NULL;
		user->shell = f[6][0] == '/' ? strdup(f[6]) : NULL;
		return true;
	}
	return false;
}

static bool lists_member(char *members, const char *name)
{
	char *member;

	while ((member = strsep(&members, ",")))
		if (str_eq(member, name))
			return true;
	return false;
}

static void find_groups(char *text, struct guest_user *user)
{
	char *line, *next = text;

	while (text && user->name && (line = strsep(&next, "\n"))) {
		char *f[4];
		uint32_t gid;

		if (split(line, f, 4) != 4 || parse_id(f[2], &gid) < 0 || !lists_member(f[3], user->name))
			continue;
		if (user->n_groups < ARRAY_SIZE(user->groups))
			user->groups[user->n_groups++] = gid;
	}
}

static int refuse(struct ct_error *err, const char *who)
{
	char shown[80];

	return ct_error_field(err, "user",
	        "there is no user \"%s\" in the container; a number, or UID:GID, needs no entry",
	        str_escape_to(shown, sizeof(shown), who, strlen(who)));
}

int guest_find_user(int root_fd, const char *who, struct guest_user *ret, struct ct_error *err)
{
	_cleanup_free_ char *passwd = read_small(root_fd, "/etc/passwd"),
	                    *group = read_small(root_fd, "/etc/group");
	_cleanup_free_ char *copy = strdup(who);
	char *colon = copy ? strchr(copy, ':') : NULL;
	uint32_t uid = 0, gid = 0;
	bool numeric;

	memset(ret, 0, sizeof(*ret));
	if (!copy)
		return ct_error_set(err, -ENOMEM, "user", "out of memory");
	if (colon)
		*colon++ = '\0';
	numeric = parse_id(copy, &uid) == 0;
	if (colon && (!numeric || parse_id(colon, &gid) < 0))
		return refuse(err, who);

	if (passwd && find_passwd(passwd, copy, numeric, uid, ret))
		find_groups(group, ret);
	else if (!numeric && !str_eq(copy, "root"))
		return refuse(err, who);
	else
		ret->uid = uid;
	if (colon) {
		ret->gid = gid;
		ret->n_groups = 0;
	}
	return 0;
}
