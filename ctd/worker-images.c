/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images on their way to another node; see the header.
 *
 * They are regular files in one directory, whose names CRIU makes, so no archive is needed, whose reader
 * would have to be kept away from root's privileges. What comes is nevertheless looked at: a name is one part
 * of a path, in a round behind the directory of that, is of the part that is to come, and is not there yet; a
 * size is no more than there is.
 * The links from each round to the one before are not sent but made here (criu-rounds.h).
 */
#include "ctd/worker-images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-rounds.h"
#include "ctd/worker-main.h"
#include "quota/project.h"

#define CHUNK          (256 * 1024)
#define NAME_MAX_BYTES 100
#define LINE_MAX_BYTES 160
#define MODE_BITS      0777
#define PREFIX_SIZE    16
#define LINK           "parent"

const struct images_part images_all = { .dump = true, .first_round = 1, .last_round = CRIU_ROUNDS_MAX };
const struct images_part images_dump = { .dump = true, .first_round = 1 };

int images_open(const char *path, bool is_new, struct ct_error *err)
{
	int fd, r;

	/* To be searched by the base id, as which CRIU opens them; the store above is root's alone. The
	 * digest has it. */
	if (is_new && mkdir(path, 0711) < 0)
		return ct_error_set(err, -errno, "images", "cannot make \"%s\": %s", path, strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return ct_error_set(err, -errno, "images", "cannot open \"%s\": %s", path, strerror(errno));
	r = is_new ? project_clear(fd, err) : 0; /* beside the disk it would be the container's */
	if (r < 0) {
		(void)fd_close(fd);
		return r;
	}
	return fd;
}

static bool is_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	const size_t len = strlen(name);

	return len > 0 && len <= NAME_MAX_BYTES && *name != '.' && strspn(name, allowed) == len;
}

/* prefix: what names are sent with. */
typedef int (*each_fn)(
        int dir_fd, const char *prefix, const char *name, void *userdata, struct ct_error *err);

static int each_in(int dir_fd, const char *prefix, each_fn each, void *userdata, struct ct_error *err)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int r = 0;

	if (!dir)
		return ct_error_set(err, -errno, "images", "cannot list the images: %s", strerror(errno));
	while (r >= 0 && (e = readdir(dir)))
		if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, "..") && !str_eq(e->d_name, LINK) &&
		        !str_eq(e->d_name, CRIU_ROUNDS))
			r = each(dir_fd, prefix, e->d_name, userdata, err);
	return r;
}

static int each_file(
        int dir_fd, const struct images_part *part, each_fn each, void *userdata, struct ct_error *err)
{
	int r = 0;

	for (unsigned int n = part->first_round; r >= 0 && n <= part->last_round && n <= CRIU_ROUNDS_MAX;
	        n++) {
		_cleanup_close_ int fd = criu_rounds_open(dir_fd, n);
		char prefix[PREFIX_SIZE];

		if (fd == -ENOENT || fd == -ENOTDIR)
			break;
		if (fd < 0)
			return ct_error_set(err, fd, "images", "cannot open round %u: %s", n, strerror(-fd));
		(void)snprintf(prefix, sizeof(prefix), CRIU_ROUNDS "/%u/", n); /* fits */
		r = each_in(fd, prefix, each, userdata, err);
	}
	return r >= 0 && part->dump ? each_in(dir_fd, "", each, userdata, err) : r;
}

/* The line that a file begins with. */
static int make_line(int fd, const char *prefix, const char *name, char line[LINE_MAX_BYTES],
        uint64_t *ret_size, struct ct_error *err)
{
	struct stat st;

	if (!is_name(name) || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return ct_error_set(err, -EBADMSG, "images", "one of the images is not a file of criu's");
	*ret_size = (uint64_t)st.st_size;
	return snprintf(line, LINE_MAX_BYTES, "%s%s %o %llu\n", prefix, name,
	        (unsigned)st.st_mode & MODE_BITS, (unsigned long long)st.st_size); /* fits */
}

static int open_image(int dir_fd, const char *name)
{
	return openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int measure_one(int dir_fd, const char *prefix, const char *name, void *userdata, struct ct_error *err)
{
	_cleanup_close_ int fd = open_image(dir_fd, name);
	uint64_t *sum = userdata, size = 0;
	char line[LINE_MAX_BYTES];
	int r = make_line(fd, prefix, name, line, &size, err);

	if (r >= 0)
		*sum += (uint64_t)r + size;
	return r;
}

int images_measure(int dir_fd, const struct images_part *part, uint64_t *ret, struct ct_error *err)
{
	int r;

	*ret = 0;
	r = each_file(dir_fd, part, measure_one, ret, err);
	return r < 0 ? r : 0;
}

struct sending {
	int out_fd;
	char *chunk;
	int (*sent)(uint64_t bytes, void *userdata, struct ct_error *err);
	void *userdata;
};

/* size bytes from one to the other, in chunks. */
static int pass_on(struct sending *s, int from_fd, int to_fd, uint64_t size, struct ct_error *err)
{
	for (uint64_t left = size; left > 0;) {
		ssize_t n = read_all(from_fd, s->chunk, left < CHUNK ? (size_t)left : CHUNK);
		int r = n <= 0 ? -EIO : write_all(to_fd, s->chunk, (size_t)n);

		if (r < 0)
			return ct_error_set(err, r, "images", "cannot %s the images: %s",
			        n <= 0 ? "read" : "write", strerror(-r));
		left -= (uint64_t)n;
		r = s->sent((uint64_t)n, s->userdata, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int send_one(int dir_fd, const char *prefix, const char *name, void *userdata, struct ct_error *err)
{
	_cleanup_close_ int fd = open_image(dir_fd, name);
	struct sending *s = userdata;
	char line[LINE_MAX_BYTES];
	uint64_t size = 0;
	int len = make_line(fd, prefix, name, line, &size, err), r;

	if (len < 0)
		return len;
	r = write_all(s->out_fd, line, (size_t)len);
	if (r < 0)
		return ct_error_set(err, r, "images", "cannot send the images: %s", strerror(-r));
	return pass_on(s, fd, s->out_fd, size, err);
}

int images_send(int dir_fd, const struct images_part *part, int out_fd,
        int (*sent)(uint64_t bytes, void *userdata, struct ct_error *err), void *userdata,
        struct ct_error *err)
{
	_cleanup_free_ char *chunk = malloc(CHUNK);
	struct sending s = { .out_fd = out_fd, .chunk = chunk, .sent = sent, .userdata = userdata };
	int r;

	if (!chunk)
		return ct_error_set(err, -ENOMEM, "images", "out of memory");
	r = each_file(dir_fd, part, send_one, &s, err);
	return r < 0 ? r : 0;
}

struct head {
	char name[NAME_MAX_BYTES + 1];
	unsigned int round; /* 0: of the dump */
	unsigned int mode;
	uint64_t size, len;
};

/* The round that a name is of, and what remains of the name. */
static unsigned int take_round(char **name)
{
	const size_t len = strlen(CRIU_ROUNDS "/");
	char *at = *name;

	if (!str_has_prefix(at, CRIU_ROUNDS "/") || at[len] < '1' || at[len] > '0' + CRIU_ROUNDS_MAX ||
	        at[len + 1] != '/')
		return 0;
	*name = at + len + 2;
	return (unsigned int)(at[len] - '0');
}

/* The line that comes next; it is passed over. */
static int read_head(int fd, uint64_t left, struct head *ret)
{
	char line[LINE_MAX_BYTES + 1] = { 0 };
	const off_t at = lseek(fd, 0, SEEK_CUR);
	ssize_t n = at < 0 ? -1 : pread(fd, line, LINE_MAX_BYTES, at);
	char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL, *rest = line, *name, *mode;

	if (!end)
		return -EBADMSG;
	*end = '\0';
	name = strsep(&rest, " ");
	mode = strsep(&rest, " ");
	ret->len = (uint64_t)(end - line) + 1;
	ret->round = take_round(&name);
	if (!rest || !is_name(name) || strlen(mode) > 3 || strspn(mode, "01234567") != strlen(mode) ||
	        parse_u64(rest, &ret->size) < 0 || ret->len > left || ret->size > left - ret->len)
		return -EBADMSG;
	ret->mode = (unsigned int)strtoul(mode, NULL, 8);
	(void)snprintf(ret->name, sizeof(ret->name), "%s", name); /* fits */
	return lseek(fd, at + (off_t)ret->len, SEEK_SET) < 0 ? -errno : 0;
}

static int nothing_sent(uint64_t bytes, void *userdata, struct ct_error *err)
{
	return worker_check(err);
}

/* A new round is linked to the one before. */
static int open_round(int images_fd, unsigned int n, struct ct_error *err)
{
	_cleanup_close_ int fd = criu_rounds_open(images_fd, n);
	int r = 0;

	if (fd == -ENOENT) {
		r = fd = criu_rounds_new(images_fd, n, err);
		if (r >= 0 && n > 1)
			r = criu_rounds_link(fd, n - 1, false, err);
	}
	return r < 0 ? r : TAKE_FD(fd);
}

static int receive_one(
        struct sending *s, int file_fd, const struct head *head, int images_fd, struct ct_error *err)
{
	_cleanup_close_ int round = head->round ? open_round(images_fd, head->round, err) : -1;
	const int dir_fd = head->round ? round : images_fd;
	_cleanup_close_ int fd =
	        openat(dir_fd, head->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (head->round && round < 0)
		return round;
	if (fd < 0 || fchmod(fd, head->mode) < 0)
		return ct_error_set(err, -errno, "images", "cannot make the image \"%s\": %s", head->name,
		        strerror(errno));
	return pass_on(s, file_fd, fd, head->size, err);
}

static bool is_of(const struct images_part *part, const struct head *head)
{
	return head->round ? head->round >= part->first_round && head->round <= part->last_round : part->dump;
}

int images_receive(
        int file_fd, uint64_t bytes, int dir_fd, const struct images_part *part, struct ct_error *err)
{
	_cleanup_free_ char *chunk = malloc(CHUNK);
	struct sending s = { .chunk = chunk, .sent = nothing_sent };
	struct head head;
	int r = chunk ? 0 : ct_error_set(err, -ENOMEM, "images", "out of memory");

	for (uint64_t left = bytes; r >= 0 && left > 0; left -= head.len + head.size) {
		r = read_head(file_fd, left, &head);
		if (r >= 0 && !is_of(part, &head))
			r = -EBADMSG;
		if (r < 0)
			return ct_error_set(
			        err, r, "images", "what was sent of its processes is no row of images");
		r = receive_one(&s, file_fd, &head, dir_fd, err);
	}
	return r;
}
