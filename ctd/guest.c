/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Editing files in a tenant's tree.
 *
 * The tree is hostile: any name may be a link, a fifo or a huge sparse file, and may change while we look. So
 * every path goes through openat2 inside the root and on the root's own mount (a mount of the tenant's may
 * never answer, and we would hang), files are opened O_NONBLOCK and must be regular and small, and a file is
 * replaced by a rename of a complete new one in the directory that was opened, never followed and never
 * truncated. While it works, the process has the file-system ids of the container's root (setfsuid(2), which
 * also takes away the capabilities that override permissions): whatever the tenant arranged, we can do no
 * more than it could itself, and new files belong to it. Only the owner and mode of a replaced file (shadow
 * is root:shadow 0640) are put back with our own ids, on the fd of the file we made.
 */
#include "ctd/guest.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#define GUEST_FILE_MAX (1024 * 1024)
#define HOSTS_ROOM     (64 * 1024) /* of /etc/hosts, for the tenant: our names leave as much free */
#define MARK_BEGIN     "# begin: keys set by the host (ctctl set --ssh-key)\n"
#define MARK_END       "# end: keys set by the host\n"
#define NAMES_BEGIN    "# begin: names set by the host, see ct-network(7)\n"
#define NAMES_END      "# end: names set by the host\n"
#define NETWORK_MARK   "# set by the host (ctctl set --net); a file without this line is left alone\n"
#define RESOLV_MARK    "# set by the host at start (ctctl set --dns); a file without this line is left alone\n"

struct guest {
	int root_fd;
	uint32_t base_id;
};

static void become(uint32_t id)
{
	/* No error is reported; both must be set from 0, where the group comes first, and back in the other
	 * order. */
	if (id) {
		(void)setfsgid(id);
		(void)setfsuid(id);
	} else {
		(void)setfsuid(0);
		(void)setfsgid(0);
	}
}

struct as_guest {
	int unused;
};

static void as_guest_end(struct as_guest *as)
{
	become(0);
}

#define AS_GUEST(g)                                                                                          \
	struct as_guest as_guest_scope __attribute__((cleanup(as_guest_end), unused)) = { 0 };               \
	become((g)->base_id)

/* The file's contents, NUL-terminated; -ENOENT if there is none; -EINVAL if it is not a small regular file.
 */
static int guest_read(const struct guest *g, const char *path, char **ret, struct stat *ret_stat)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *data = NULL;
	struct stat st;
	ssize_t n;
	AS_GUEST(g);

	fd = open_in_mount(g->root_fd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > GUEST_FILE_MAX)
		return -EINVAL;

	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	n = read_all(fd, data, (size_t)st.st_size);
	if (n < 0)
		return (int)n;
	data[n] = '\0';

	if (ret_stat)
		*ret_stat = st;
	*ret = TAKE_PTR(data);
	return 0;
}

struct target {
	const char *dir, *name;
	mode_t mode;
	bool guarded; /* replaced only while it is what was read, else -ESTALE: others write it as well */
};

/* Writes the file aside in its directory, as the guest, with O_EXCL; returns its fd. */
static int guest_write_aside(int dir_fd, const char *aside, const char *data, size_t len, mode_t mode)
{
	_cleanup_close_ int fd = -1;
	int r;

	(void)unlinkat(dir_fd, aside, 0); /* of an earlier attempt */
	fd = openat(dir_fd, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, data, len);
	if (r < 0) {
		(void)unlinkat(dir_fd, aside, 0);
		return r;
	}
	if (fchmod(fd, mode) < 0) {
		r = -errno;
		(void)unlinkat(dir_fd, aside, 0);
		return r;
	}
	return TAKE_FD(fd);
}

/* old: as it was read; NULL: it was not there. */
static bool is_as_read(int dir_fd, const char *name, const struct stat *old)
{
	struct stat now;

	if (fstatat(dir_fd, name, &now, AT_SYMLINK_NOFOLLOW) < 0)
		return !old && errno == ENOENT;
	/* Whatever changes the contents changes ctime too, and nobody can set that. */
	return old && now.st_ino == old->st_ino && now.st_size == old->st_size &&
	       now.st_ctim.tv_sec == old->st_ctim.tv_sec && now.st_ctim.tv_nsec == old->st_ctim.tv_nsec;
}

/* old: whose owner and mode are kept; NULL: a new file with the target's mode and root's. */
static int guest_replace(
        const struct guest *g, const struct target *t, const char *data, const struct stat *old)
{
	static const char aside[] = ".ctd-new";
	_cleanup_close_ int dir_fd = -1, fd = -1;
	mode_t mode = old ? old->st_mode & 07777 : t->mode;
	int r = 0;

	{
		AS_GUEST(g);
		dir_fd = mkdirs_in_mount(g->root_fd, t->dir, t->mode == 0600 ? 0700 : 0755);
		if (dir_fd < 0)
			return dir_fd;
		fd = guest_write_aside(dir_fd, aside, data, strlen(data), mode);
		if (fd < 0)
			return fd;
	}

	/* As ourselves, on the inode we made: ids within the container's range only. */
	if (old && old->st_uid - g->base_id < 65536 && old->st_gid - g->base_id < 65536 &&
	        (fchown(fd, old->st_uid, old->st_gid) < 0 || fchmod(fd, mode) < 0))
		r = -errno;

	AS_GUEST(g);
	if (r >= 0 && t->guarded && !is_as_read(dir_fd, t->name, old))
		r = -ESTALE;
	if (r >= 0 && renameat(dir_fd, aside, dir_fd, t->name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(dir_fd, aside, 0);
	return r;
}

static int guest_error(struct ct_error *err, int r, const char *path)
{
	if (r == -EXDEV)
		return ct_error_set(err, r, "guest",
		        "cannot change %s in the container: something is mounted there, above it or where it leads; unmount it inside, or set this while the container is stopped",
		        path);
	if (r == -EINVAL)
		return ct_error_set(err, r, "guest",
		        "cannot change %s in the container: it is not a regular file of at most 1M", path);
	if (r == -ESTALE)
		return ct_error_set(err, r, "guest",
		        "cannot change %s in the container: it is being changed inside; try again", path);
	return ct_error_set(err, r, "guest", "cannot change %s in the container: %s", path, strerror(-r));
}

/* Puts the text there unless it stands there already. */
static int guest_put(const struct guest *g, const struct target *t, const char *data, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf("%s/%s", t->dir, t->name), *old = NULL;
	int r;

	if (!path)
		return ct_error_set(err, -ENOMEM, "guest", "out of memory");
	r = guest_read(g, path, &old, NULL);
	if (r == 0 && str_eq(old, data))
		return 0;

	/* A rename would take the mount away from under the tenant. */
	if (r != -EXDEV)
		r = guest_replace(g, t, data, NULL);
	return r < 0 ? guest_error(err, r, path) : 0;
}

/* The file without our part, from the line begin to the line end; nothing of what does not end. */
static int strip_part(const char *old, const char *begin, const char *end, struct strbuf *text)
{
	const char *from = old ? strstr(old, begin) : NULL, *to;

	if (!old)
		return 0;
	if (!from)
		return strbuf_puts(text, old);
	to = strstr(from, end);
	(void)strbuf_add(text, old, (size_t)(from - old));
	return strbuf_puts(text, to ? to + strlen(end) : "");
}

/* So that what is added begins a line. */
static void end_line(struct strbuf *text)
{
	if (text->len > 0 && text->data[text->len - 1] != '\n')
		(void)strbuf_putc(text, '\n');
}

/* Whether the name stands there by itself, not as a part of another. */
static bool has_word(const char *text, const char *word)
{
	static const char blanks[] = " \t\r\n";
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at++)
		if ((at == text || strchr(blanks, at[-1])) && strchr(blanks, at[len]))
			return true;
	return false;
}

static bool is_symlink(const struct guest *g, const char *path)
{
	_cleanup_close_ int fd = open_in_mount(g->root_fd, path, O_PATH | O_NOFOLLOW, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

/* ---- /etc/hosts: the tenant's file, with lines of ours ---- */

static const struct target hosts_file = { "/etc", "hosts", 0644, .guarded = true };

struct hosts {
	char *text; /* NULL: there is none */
	struct stat st;
};

static void hosts_done(struct hosts *hosts)
{
	free(hosts->text);
}

/* -EINVAL: it is no text file of a size that can be read; -ELOOP: a link, the tenant's own arrangement. */
static int hosts_read(const struct guest *g, struct hosts *ret)
{
	int r = is_symlink(g, "/etc/hosts") ? -ELOOP : guest_read(g, "/etc/hosts", &ret->text, &ret->st);

	if (r == -ENOENT)
		return 0;
	/* What stands behind a NUL byte would be lost. */
	return r >= 0 && strlen(ret->text) != (size_t)ret->st.st_size ? -EINVAL : r;
}

static int hosts_replace(const struct guest *g, const struct hosts *old, const char *text)
{
	if (str_eq(old->text ?: "", text))
		return 0;
	return guest_replace(g, &hosts_file, text, old->text ? &old->st : NULL);
}

/* The tenant's lines: all but those from a mark to its end. A mark without end, as somebody left it who
 * edited the file, goes by itself: what follows may be the tenant's. Each byte is looked at a few times,
 * however many marks he put there. */
static int strip_names(const char *old, struct strbuf *own)
{
	const char *at = old ?: "", *from = strstr(at, NAMES_BEGIN);

	while (from) {
		const char *body = from + strlen(NAMES_BEGIN), *next = strstr(body, NAMES_BEGIN);
		const char *end = memmem(
		        body, next ? (size_t)(next - body) : strlen(body), NAMES_END, strlen(NAMES_END));

		(void)strbuf_add(own, at, (size_t)(from - at));
		at = end ? end + strlen(NAMES_END) : body;
		from = next;
	}
	return strbuf_puts(own, at);
}

/* A line for the name is put in only where none of the tenant's has it. */
static int put_hostname(const struct guest *g, const char *hostname)
{
	CLEANUP(hosts_done) struct hosts old = { 0 };
	_cleanup_strbuf_ struct strbuf own = STRBUF_INIT;
	_cleanup_free_ char *text = NULL;
	int r = hosts_read(g, &old);

	if (r < 0)
		return r;
	if (strip_names(old.text, &own) < 0)
		return -ENOMEM;
	if (has_word(own.data, hostname))
		return 0;
	text = str_empty(old.text)
	               ? str_printf(
	                         "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n",
	                         hostname)
	               : str_printf("127.0.1.1\t%s\n%s", hostname, old.text);
	if (!text)
		return -ENOMEM;
	return strlen(text) > GUEST_FILE_MAX ? -EFBIG : hosts_replace(g, &old, text);
}

static int set_hostname(const struct guest *g, const char *hostname, struct ct_error *err)
{
	static const struct target name_file = { "/etc", "hostname", 0644 };
	_cleanup_free_ char *name = str_printf("%s\n", hostname);
	int r;

	if (!name)
		return ct_error_set(err, -ENOMEM, "guest", "out of memory");
	r = guest_put(g, &name_file, name, err);
	if (r < 0)
		return r;

	r = put_hostname(g, hostname);
	if (r == -ESTALE)
		r = put_hostname(g, hostname);
	/* Whatever else the tenant made of the file, or of the disk, must not keep the container from
	 * starting: this line is a convenience. */
	return r == -EXDEV || r == -ENOMEM ? guest_error(err, r, "/etc/hosts") : 0;
}

/* -EFBIG: the file has been left, or made, without our part. */
static int put_names(const struct guest *g, const char *lines)
{
	CLEANUP(hosts_done) struct hosts old = { 0 };
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	bool fits;
	int r = hosts_read(g, &old);

	if (r == -ELOOP)
		return 0;
	if (r < 0)
		return *lines ? r : 0;
	if (!*lines && !(old.text && strstr(old.text, NAMES_BEGIN)))
		return 0; /* nothing of it was ever ours */

	(void)strip_names(old.text, &text);
	fits = text.len + strlen(NAMES_BEGIN) + strlen(lines) + strlen(NAMES_END) <=
	       GUEST_FILE_MAX - HOSTS_ROOM;
	if (*lines && fits) {
		end_line(&text);
		(void)strbuf_printf(&text, "%s%s%s", NAMES_BEGIN, lines, NAMES_END);
	}
	if (text.error)
		return text.error;
	r = hosts_replace(g, &old, text.data);
	return r >= 0 && *lines && !fits ? -EFBIG : r;
}

int guest_set_names(int root_fd, uint32_t base_id, const char *lines, struct ct_error *err)
{
	const struct guest g = { .root_fd = root_fd, .base_id = base_id };
	int r = put_names(&g, lines);

	if (r == -ESTALE)
		r = put_names(&g, lines);
	if (r == -EFBIG)
		return ct_error_set(err, r, "guest",
		        "cannot put names into /etc/hosts in the container: with them it would be larger than %dK; make it shorter inside",
		        (GUEST_FILE_MAX - HOSTS_ROOM) / 1024);
	return r < 0 ? guest_error(err, r, "/etc/hosts") : 0;
}

static int set_resolver(const struct guest *g, const struct guest_edit *edit, struct ct_error *err)
{
	static const struct target file = { "/etc", "resolv.conf", 0644 };
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	_cleanup_free_ char *old = NULL;
	char address[IP_ADDR_STRLEN];
	int r;

	r = guest_read(g, "/etc/resolv.conf", &old, NULL);
	if (!edit->first_start &&
	        (is_symlink(g, "/etc/resolv.conf") || (r == 0 && *old && !strstr(old, RESOLV_MARK))))
		return 0; /* the tenant's own arrangement */

	(void)strbuf_puts(&text, RESOLV_MARK);
	for (unsigned i = 0; i < edit->n_dns; i++)
		(void)strbuf_printf(
		        &text, "nameserver %s\n", ip_format_addr(&edit->dns[i], address, sizeof(address)));
	if (text.error)
		return ct_error_set(err, text.error, "guest", "out of memory");
	return guest_put(g, &file, text.data, err);
}

/* Only where ifupdown is. What the distribution has put aside into interfaces.d is still asked. */
int guest_set_interfaces(
        int root_fd, uint32_t base_id, const char *interfaces, bool first_start, struct ct_error *err)
{
	static const struct target file = { "/etc/network", "interfaces", 0644 };
	const struct guest g = { .root_fd = root_fd, .base_id = base_id };
	_cleanup_free_ char *old = NULL, *text = NULL;
	_cleanup_close_ int dir_fd = -1;
	int r = 0;

	dir_fd = open_in_mount(root_fd, file.dir, O_PATH | O_DIRECTORY, 0);
	if (dir_fd >= 0)
		r = guest_read(&g, "/etc/network/interfaces", &old, NULL);
	if (dir_fd == -EXDEV || r == -EXDEV)
		return guest_error(err, -EXDEV, "/etc/network/interfaces");
	if (dir_fd < 0)
		return 0;
	if (!first_start && (is_symlink(&g, "/etc/network/interfaces") || (r < 0 && r != -ENOENT) ||
	                            (r == 0 && *old && !strstr(old, NETWORK_MARK))))
		return 0; /* the tenant's own arrangement */

	text = str_printf("%s%s%s", NETWORK_MARK, interfaces,
	        old && strstr(old, "/interfaces.d") ? "\nsource /etc/network/interfaces.d/*\n" : "");
	if (!text)
		return ct_error_set(err, -ENOMEM, "guest", "out of memory");
	return guest_put(&g, &file, text, err);
}

/* A file beside those of a service, where there is their directory. */
static int set_drop_in(const struct guest *g, const struct target *file, const char *content,
        bool first_start, struct ct_error *err)
{
	_cleanup_free_ char *old = NULL, *text = NULL, *path = str_printf("%s/%s", file->dir, file->name);
	_cleanup_close_ int dir_fd = -1;
	int r = -ENOENT;

	if (!path)
		return ct_error_set(err, -ENOMEM, "guest", "out of memory");
	dir_fd = open_in_mount(g->root_fd, file->dir, O_PATH | O_DIRECTORY, 0);
	if (dir_fd >= 0)
		r = guest_read(g, path, &old, NULL);
	if (dir_fd == -EXDEV || r == -EXDEV)
		return guest_error(err, -EXDEV, path);
	if (dir_fd < 0 || (!first_start && (r < 0 || is_symlink(g, path) || !strstr(old, NETWORK_MARK))))
		return 0; /* it is not there, or the tenant's own arrangement is */

	text = str_printf("%s%s", NETWORK_MARK, content);
	if (!text)
		return ct_error_set(err, -ENOMEM, "guest", "out of memory");
	return guest_put(g, file, text, err);
}

int guest_set_networkd(
        int root_fd, uint32_t base_id, const char *network, bool first_start, struct ct_error *err)
{
	static const struct target file = { "/etc/systemd/network", "00-ctd.network", 0644 };
	const struct guest g = { .root_fd = root_fd, .base_id = base_id };

	return set_drop_in(&g, &file, network, first_start, err);
}

int guest_set_network_manager(
        int root_fd, uint32_t base_id, const char *text, bool first_start, struct ct_error *err)
{
	static const struct target file = { "/etc/NetworkManager/conf.d", "00-ctd.conf", 0644 };
	const struct guest g = { .root_fd = root_fd, .base_id = base_id };

	return set_drop_in(&g, &file, text, first_start, err);
}

static int set_keys(const struct guest *g, const struct guest_edit *edit, struct ct_error *err)
{
	static const struct target file = { "/root/.ssh", "authorized_keys", 0600 };
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	_cleanup_free_ char *old = NULL;
	int r;

	r = guest_read(g, "/root/.ssh/authorized_keys", &old, NULL);
	if (r < 0 && r != -ENOENT)
		return guest_error(err, r, "/root/.ssh/authorized_keys");

	(void)strip_part(old, MARK_BEGIN, MARK_END, &text);
	end_line(&text);
	if (edit->n_ssh_keys > 0) {
		(void)strbuf_puts(&text, MARK_BEGIN);
		for (unsigned i = 0; i < edit->n_ssh_keys; i++)
			(void)strbuf_printf(&text, "%s\n", edit->ssh_keys[i]);
		(void)strbuf_puts(&text, MARK_END);
	}
	if (text.error)
		return ct_error_set(err, text.error, "guest", "out of memory");
	if (!old && text.len == 0)
		return 0;
	return guest_put(g, &file, text.data ?: "", err);
}

/* root's second field replaced; a line for root is added where none is. */
static int shadow_text(const char *old, const char *hash, struct strbuf *text)
{
	bool found = false;

	for (const char *line = old; line && *line;) {
		size_t len = strcspn(line, "\n");

		if (strncmp(line, "root:", 5) == 0 && !found) {
			const char *rest = memchr(line + 5, ':', len - 5);

			(void)strbuf_printf(text, "root:%s%.*s\n", hash,
			        rest ? (int)(len - (size_t)(rest - line)) : 7, rest ?: ":::::::");
			found = true;
		} else {
			(void)strbuf_add(text, line, len);
			(void)strbuf_putc(text, '\n');
		}
		line += len + (line[len] == '\n');
	}
	if (!found)
		(void)strbuf_printf(text, "root:%s:::::::\n", hash);
	return text->error;
}

static int set_password(const struct guest *g, const char *hash, struct ct_error *err)
{
	static const struct target file = { "/etc", "shadow", 0640 };
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	_cleanup_free_ char *old = NULL;
	struct stat st;
	int r;

	r = guest_read(g, "/etc/shadow", &old, &st);
	if (r < 0)
		return guest_error(err, r, "/etc/shadow");
	if (shadow_text(old, hash, &text) < 0)
		return ct_error_set(err, -ENOMEM, "guest", "out of memory");
	if (str_eq(text.data, old))
		return 0;

	r = guest_replace(g, &file, text.data, &st);
	return r < 0 ? guest_error(err, r, "/etc/shadow") : 0;
}

int guest_apply(int root_fd, uint32_t base_id, const struct guest_edit *edit, struct ct_error *err)
{
	struct guest g = { .root_fd = root_fd, .base_id = base_id };
	int r = 0;

	if (edit->hostname)
		r = set_hostname(&g, edit->hostname, err);
	if (r >= 0 && edit->n_dns > 0)
		r = set_resolver(&g, edit, err);
	if (r >= 0 && edit->set_keys)
		r = set_keys(&g, edit, err);
	if (r >= 0 && edit->password_hash)
		r = set_password(&g, edit->password_hash, err);
	return r;
}

int guest_hash_password(const char *password, char **ret, struct ct_error *err)
{
	_cleanup_free_ struct crypt_data *data = calloc(1, sizeof(*data));
	char random[16], salt[CRYPT_GENSALT_OUTPUT_SIZE];
	const char *hash;

	if (!*password || strlen(password) > 512 || !str_is_printable(password))
		return ct_error_field(
		        err, "password", "a password must be 1 to 512 bytes without control characters");
	if (!data || getrandom(random, sizeof(random), 0) != sizeof(random) ||
	        !crypt_gensalt_rn("$y$", 0, random, sizeof(random), salt, sizeof(salt)))
		return ct_error_set(err, -ENOMEM, "password", "cannot make a salt for a password");

	hash = crypt_r(password, salt, data);
	if (!hash || *hash == '*')
		return ct_error_set(err, -EINVAL, "password", "cannot hash the password");
	*ret = strdup(hash);
	return *ret ? 0 : -ENOMEM;
}
