/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The console in CRIU's images.
 *
 * Its master is ct-keeper's, so in the images there is a slave alone. CRIU finds out whose controlling
 * terminal it is by asking the first task that has it open, which is init, whose it is not; it then says
 * nobody's, and on restore does not know who should open it. We know: it is the session's of whoever has it
 * as his controlling terminal by /proc/PID/stat, a getty as a rule. That goes into tty-info.img: two magic
 * numbers, then records, each its length and a message of criu's tty.proto.
 *
 * Up to 3.17 at least, CRIU opens such an orphan and makes it nobody's controlling terminal: after a resume
 * the session has it open, and no signals come from it, until a getty takes it anew at the next login. So at
 * the next suspend a session counts that has it as its standard input.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"

#define IMAGE     "tty-info.img"
#define IMAGE_MAX (1024 * 1024)
#define PTS_MAJOR 136
#define DEPTH_MAX 32

enum {
	TTY_SID = 6,
	TTY_PGRP = 7,
	TTY_RDEV = 8,
};

/* The last number of a line of /proc/PID/status: as it is called in the innermost pid namespace. */
static int last_number(const char *text, const char *key)
{
	const char *line = strstr(text, key), *end, *at;

	if (!line)
		return -EIO;
	end = strchrnul(line + 1, '\n');
	for (at = end; at > line && at[-1] != '\t'; at--)
		;
	return (int)strtol(at, NULL, 10);
}

/* The process leads a session and has the terminal as the session's, 2, or only open as its input, 1; else 0.
 */
static int console_use(pid_t pid)
{
	_cleanup_free_ char *stat_text = NULL;
	const dev_t console = makedev(PTS_MAJOR, 0);
	struct stat input;
	char path[40];
	const char *at;
	int tty, sid;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (read_file_at(AT_FDCWD, path, 4096, &stat_text, NULL) < 0)
		return 0;
	at = strrchr(stat_text, ')'); /* a name may have anything in it */
	if (!at || sscanf(at + 1, " %*c %*d %*d %d %d", &sid, &tty) != 2 || sid != pid)
		return 0;
	if (tty == (int)console)
		return 2;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/0", pid);
	return stat(path, &input) == 0 && S_ISCHR(input.st_mode) && input.st_rdev == console;
}

/* As it is called inside. */
static int session_inside(pid_t pid)
{
	_cleanup_free_ char *status = NULL;
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return read_file_at(AT_FDCWD, path, 65536, &status, NULL) < 0 ? 0 : last_number(status, "\nNSsid:");
}

struct search {
	int best, session;
};

static void search_list(struct search *s, char *list)
{
	for (char *at = list; *at;) {
		pid_t pid = (pid_t)strtol(at, &at, 10);
		int use = console_use(pid), sid = use > s->best ? session_inside(pid) : 0;

		if (sid > 0) {
			s->best = use;
			s->session = sid;
		}
		at += *at == '\n';
	}
}

/* The processes of a cgroup and of all below it, where an init may have put them. */
static int search_cgroup(struct search *s, int cgroup_fd, unsigned int depth)
{
	_cleanup_free_ char *list = NULL;
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	int r;

	r = read_file_at(cgroup_fd, "cgroup.procs", IMAGE_MAX, &list, NULL);
	if (r >= 0)
		search_list(s, list);
	else if (r != -EOPNOTSUPP) /* a threaded one: whose process is, is told above */
		return r;
	dir = fdopendir(openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!dir)
		return -errno;
	if (depth == DEPTH_MAX)
		return -E2BIG;
	r = 0;
	while (r >= 0 && (e = readdir(dir))) {
		_cleanup_close_ int sub = -1;

		if (e->d_type != DT_DIR || str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		r = sub = openat(cgroup_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = r < 0 ? -errno : search_cgroup(s, sub, depth + 1);
	}
	return r;
}

int criu_console_session(int cgroup_fd, struct ct_error *err)
{
	struct search s = { 0 };
	int r = search_cgroup(&s, cgroup_fd, 0);

	if (r < 0)
		return ct_error_set(err, r, "criu", "cannot list its processes: %s", strerror(-r));
	return s.session > 0
	               ? s.session
	               : ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOTTY,
	                         "no session inside has the console as its terminal or its input, and without one CRIU cannot restore it (start a getty on /dev/console)");
}

/* One record with another session where it names none. */
static int copy_record(const unsigned char *data, size_t len, int sid, struct strbuf *out)
{
	struct criu_reader r = { data, data + len };
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT;
	uint64_t own = 0, rdev = 0;
	struct criu_field f;
	uint32_t size;
	int more;

	while ((more = criu_get_field(&r, &f)) > 0) {
		own = f.number == TTY_SID ? f.value : own;
		rdev = f.number == TTY_RDEV ? f.value : rdev;
	}
	if (more < 0)
		return more;

	r = (struct criu_reader){ data, data + len };
	while (criu_get_field(&r, &f) > 0)
		if (own == 0 && rdev == makedev(PTS_MAJOR, 0) &&
		        (f.number == TTY_SID || f.number == TTY_PGRP))
			criu_put_number(&record, f.number, (uint64_t)sid);
		else
			(void)strbuf_add(&record, f.start, (size_t)(r.at - f.start)); /* remembered in it */
	size = (uint32_t)record.len;
	(void)strbuf_add(out, &size, sizeof(size));
	(void)strbuf_add(out, record.data ?: "", record.len);
	return record.error ? record.error : out->error;
}

int criu_console_rewrite(const char *data, size_t len, int sid, struct strbuf *out)
{
	struct criu_reader image, record;
	int r = criu_image_open(data, len, &image), more = 0;

	if (r >= 0)
		r = strbuf_add(out, data, CRIU_IMAGE_HEAD);
	while (r >= 0 && (more = criu_image_next(&image, &record)) > 0)
		r = copy_record(record.at, (size_t)(record.end - record.at), sid, out);
	return r < 0 ? r : more;
}

int criu_console_patch(int images_fd, int sid, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
	_cleanup_free_ char *data = NULL;
	_cleanup_close_ int fd = -1;
	size_t len = 0;
	int r;

	r = read_file_at(images_fd, IMAGE, IMAGE_MAX, &data, &len);
	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = criu_console_rewrite(data, len, sid, &out);
	if (r >= 0)
		r = fd = openat(images_fd, IMAGE, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
	if (r >= 0)
		r = write_all(fd, out.data, out.len);
	return r < 0 ? ct_error_set(err, r, "criu", "cannot rewrite \"" IMAGE "\": %s", strerror(-r)) : 0;
}
