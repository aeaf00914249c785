/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of a guest, edited in a directory of the test's own, with the test's own ids as those of the guest's
 * root, so that no privilege is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctd/guest.h"

static char dir[64];
static int root_fd = -1;

static int setup(void **state)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/test-guest.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	root_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0 || mkdirat(root_fd, "etc", 0755) < 0 || mkdirat(root_fd, "root", 0700) < 0 ? -1
	                                                                                              : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static int teardown(void **state)
{
	root_fd = fd_close(root_fd);
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static void holds(const char *path, const char *wanted)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(read_file_at(root_fd, path, 2 << 20, &text, NULL), 0);
	assert_string_equal(text, wanted);
}

static int apply(const struct guest_edit *edit, struct ct_error *err)
{
	int r = guest_apply(root_fd, geteuid(), edit, err);

	/* Whatever happened, we are ourselves again. */
	assert_int_equal(setfsuid((uid_t)-1), geteuid());
	assert_int_equal(setfsgid((gid_t)-1), getegid());
	return r;
}

static void set_name(const char *name)
{
	struct ct_error error = { 0 };

	if (apply(&(struct guest_edit){ .hostname = name }, &error) < 0)
		fail_msg("%s", error.text);
}

static void test_hostname(void **state)
{
	set_name("web");
	holds("etc/hostname", "web\n");
	holds("etc/hosts",
	        "127.0.0.1\tlocalhost\n127.0.1.1\tweb\n::1\tlocalhost ip6-localhost ip6-loopback\n");

	put("etc/hosts", "127.0.0.1 localhost\n192.0.2.7\tweb.example\tweb # mine\n");
	set_name("web");
	holds("etc/hosts", "127.0.0.1 localhost\n192.0.2.7\tweb.example\tweb # mine\n");
	/* Part of another name is not the name: sudo would wait for a resolver. */
	set_name("host");
	holds("etc/hosts", "127.0.1.1\thost\n127.0.0.1 localhost\n192.0.2.7\tweb.example\tweb # mine\n");
	set_name("example");
	holds("etc/hosts",
	        "127.0.1.1\texample\n127.0.1.1\thost\n127.0.0.1 localhost\n192.0.2.7\tweb.example\tweb # mine\n");
}

static void test_unchanged_is_not_written(void **state)
{
	struct stat before, after;

	set_name("web");
	assert_int_equal(fstatat(root_fd, "etc/hostname", &before, 0), 0);
	set_name("web");
	assert_int_equal(fstatat(root_fd, "etc/hostname", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(faccessat(root_fd, "etc/.ctd-new", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void set_dns(const char *address, bool first_start)
{
	struct ct_error error = { 0 };
	struct ip_addr dns;

	assert_int_equal(ip_parse(address, &dns), 0);
	if (apply(&(struct guest_edit){ .dns = &dns, .n_dns = 1, .first_start = first_start }, &error) < 0)
		fail_msg("%s", error.text);
}

#define MARK "# set by the host at start (ctctl set --dns); a file without this line is left alone\n"

static void test_resolver(void **state)
{
	put("etc/resolv.conf", "nameserver 198.51.100.9\n");
	set_dns("192.0.2.1", true);
	holds("etc/resolv.conf", MARK "nameserver 192.0.2.1\n");
	set_dns("192.0.2.2", false);
	holds("etc/resolv.conf", MARK "nameserver 192.0.2.2\n");

	put("etc/resolv.conf", "nameserver 198.51.100.9\n");
	set_dns("192.0.2.3", false);
	holds("etc/resolv.conf", "nameserver 198.51.100.9\n");

	assert_int_equal(unlinkat(root_fd, "etc/resolv.conf", 0), 0);
	assert_int_equal(symlinkat("/run/nowhere", root_fd, "etc/resolv.conf"), 0);
	set_dns("192.0.2.4", false);
	assert_int_equal(faccessat(root_fd, "run/nowhere", F_OK, 0), -1);
	set_dns("192.0.2.4", true);
	holds("etc/resolv.conf", MARK "nameserver 192.0.2.4\n");
}

static void set_interfaces(const char *text, bool first_start)
{
	struct ct_error error = { 0 };

	if (guest_set_interfaces(root_fd, geteuid(), text, first_start, &error) < 0)
		fail_msg("%s", error.text);
	assert_int_equal(setfsuid((uid_t)-1), geteuid());
}

#define NETWORK_MARK "# set by the host (ctctl set --net); a file without this line is left alone\n"

static void test_interfaces(void **state)
{
	/* Without ifupdown, nothing. */
	set_interfaces("auto eth0\n", true);
	assert_int_equal(faccessat(root_fd, "etc/network", F_OK, 0), -1);

	assert_int_equal(mkdirat(root_fd, "etc/network", 0755), 0);
	set_interfaces("auto eth0\n", false);
	holds("etc/network/interfaces", NETWORK_MARK "auto eth0\n");
	set_interfaces("auto eth1\n", false);
	holds("etc/network/interfaces", NETWORK_MARK "auto eth1\n");

	put("etc/network/interfaces",
	        "source /etc/network/interfaces.d/*\nauto eth0\niface eth0 inet dhcp\n");
	set_interfaces("auto eth0\n", false);
	holds("etc/network/interfaces",
	        "source /etc/network/interfaces.d/*\nauto eth0\niface eth0 inet dhcp\n");
	for (unsigned i = 0; i < 2; i++) {
		set_interfaces("auto eth0\n", i == 0);
		holds("etc/network/interfaces",
		        NETWORK_MARK "auto eth0\n\nsource /etc/network/interfaces.d/*\n");
	}

	/* What is no file is the tenant's; a link at the first start is replaced, not followed. */
	assert_int_equal(unlinkat(root_fd, "etc/network/interfaces", 0), 0);
	assert_int_equal(mkfifoat(root_fd, "etc/network/interfaces", 0644), 0);
	set_interfaces("auto eth0\n", false);
	assert_int_equal(unlinkat(root_fd, "etc/network/interfaces", 0), 0);
	put("etc/other", "keep");
	assert_int_equal(symlinkat("../other", root_fd, "etc/network/interfaces"), 0);
	set_interfaces("auto eth0\n", false);
	set_interfaces("auto eth0\n", true);
	holds("etc/other", "keep");
	holds("etc/network/interfaces", NETWORK_MARK "auto eth0\n");
}

#define NETWORKD "etc/systemd/network/00-ctd.network"

static void set_networkd(const char *text, bool first_start)
{
	struct ct_error error = { 0 };

	if (guest_set_networkd(root_fd, geteuid(), text, first_start, &error) < 0)
		fail_msg("%s", error.text);
	assert_int_equal(setfsuid((uid_t)-1), geteuid());
}

static void test_networkd(void **state)
{
	/* Without its directory, nothing. */
	set_networkd("[Match]\n", true);
	assert_int_equal(faccessat(root_fd, "etc/systemd", F_OK, 0), -1);

	/* Of a guest from before, nothing either: its own files go on. */
	assert_int_equal(mkdirat(root_fd, "etc/systemd", 0755), 0);
	assert_int_equal(mkdirat(root_fd, "etc/systemd/network", 0755), 0);
	set_networkd("[Match]\n", false);
	assert_int_equal(faccessat(root_fd, NETWORKD, F_OK, 0), -1);

	set_networkd("[Match]\n", true);
	holds(NETWORKD, NETWORK_MARK "[Match]\n");
	set_networkd("[Match]\nName=eth0\n", false);
	holds(NETWORKD, NETWORK_MARK "[Match]\nName=eth0\n");

	/* What the tenant has put in its place stays, and so does its absence. */
	put(NETWORKD, "[Match]\nName=mine\n");
	set_networkd("[Match]\n", false);
	holds(NETWORKD, "[Match]\nName=mine\n");
	assert_int_equal(unlinkat(root_fd, NETWORKD, 0), 0);
	set_networkd("[Match]\n", false);
	assert_int_equal(faccessat(root_fd, NETWORKD, F_OK, 0), -1);
	put("etc/other", NETWORK_MARK);
	assert_int_equal(symlinkat("../../other", root_fd, NETWORKD), 0);
	set_networkd("[Match]\n", false);
	holds("etc/other", NETWORK_MARK);
}

#define MANAGER "etc/NetworkManager/conf.d/00-ctd.conf"

static void set_network_manager(const char *text, bool first_start)
{
	struct ct_error error = { 0 };

	if (guest_set_network_manager(root_fd, geteuid(), text, first_start, &error) < 0)
		fail_msg("%s", error.text);
}

static void test_network_manager(void **state)
{
	set_network_manager("a\n", true);
	assert_int_equal(faccessat(root_fd, "etc/NetworkManager", F_OK, 0), -1);

	assert_int_equal(mkdirat(root_fd, "etc/NetworkManager", 0755), 0);
	assert_int_equal(mkdirat(root_fd, "etc/NetworkManager/conf.d", 0755), 0);
	set_network_manager("a\n", false);
	assert_int_equal(faccessat(root_fd, MANAGER, F_OK, 0), -1);
	set_network_manager("a\n", true);
	holds(MANAGER, NETWORK_MARK "a\n");
	set_network_manager("b\n", false);
	holds(MANAGER, NETWORK_MARK "b\n");
	put(MANAGER, "mine\n");
	set_network_manager("a\n", false);
	holds(MANAGER, "mine\n");
}

#define NAMES_BEGIN "# begin: names set by the host, see ct-network(7)\n"
#define NAMES_END   "# end: names set by the host\n"

static void set_names(const char *lines)
{
	struct ct_error error = { 0 };

	if (guest_set_names(root_fd, geteuid(), lines, &error) < 0)
		fail_msg("%s", error.text);
	assert_int_equal(setfsuid((uid_t)-1), geteuid());
}

static void test_names(void **state)
{
	struct stat before, after;

	set_names("");
	assert_int_equal(faccessat(root_fd, "etc/hosts", F_OK, 0), -1);
	put("etc/hosts", "127.0.0.1 localhost");
	assert_int_equal(fchmodat(root_fd, "etc/hosts", 0600, 0), 0);
	set_names("");
	holds("etc/hosts", "127.0.0.1 localhost");

	set_names("10.1.0.2 db\n");
	holds("etc/hosts", "127.0.0.1 localhost\n" NAMES_BEGIN "10.1.0.2 db\n" NAMES_END);
	assert_int_equal(fstatat(root_fd, "etc/hosts", &before, 0), 0);
	assert_int_equal(before.st_mode & 07777, 0600);
	set_names("10.1.0.2 db\n");
	assert_int_equal(fstatat(root_fd, "etc/hosts", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);

	/* What stands around it stays. */
	put("etc/hosts", "127.0.0.1 localhost\n" NAMES_BEGIN "10.1.0.9 old\n" NAMES_END "192.0.2.1 mine\n");
	set_names("10.1.0.3 db\n");
	holds("etc/hosts", "127.0.0.1 localhost\n192.0.2.1 mine\n" NAMES_BEGIN "10.1.0.3 db\n" NAMES_END);

	/* A name of another is not this one's own. */
	set_name("db");
	holds("etc/hosts",
	        "127.0.1.1\tdb\n127.0.0.1 localhost\n192.0.2.1 mine\n" NAMES_BEGIN "10.1.0.3 db\n" NAMES_END);
	set_names("");
	holds("etc/hosts", "127.0.1.1\tdb\n127.0.0.1 localhost\n192.0.2.1 mine\n");
}

static void test_names_of_hostile_files(void **state)
{
	struct ct_error error = { 0 };

	put("etc/other", "keep");
	assert_int_equal(symlinkat("other", root_fd, "etc/hosts"), 0);
	set_names("10.1.0.2 db\n");
	holds("etc/other", "keep");
	assert_int_equal(unlinkat(root_fd, "etc/hosts", 0), 0);

	assert_int_equal(mkfifoat(root_fd, "etc/hosts", 0644), 0);
	set_names("");
	assert_int_equal(guest_set_names(root_fd, geteuid(), "10.1.0.2 db\n", &error), -EINVAL);
	assert_non_null(strstr(error.text, "/etc/hosts"));
}

static void test_names_marks(void **state)
{
	/* A mark without end takes nothing of the tenant's with it. */
	put("etc/hosts", "127.0.0.1 localhost\n" NAMES_BEGIN "192.0.2.1 mine\n");
	set_names("10.1.0.2 db\n");
	holds("etc/hosts", "127.0.0.1 localhost\n192.0.2.1 mine\n" NAMES_BEGIN "10.1.0.2 db\n" NAMES_END);
	put("etc/hosts",
	        NAMES_BEGIN "192.0.2.1 mine\n" NAMES_BEGIN "10.1.0.2 db\n" NAMES_END "192.0.2.2 too\n");
	set_name("too");
	set_names("");
	holds("etc/hosts", "192.0.2.1 mine\n192.0.2.2 too\n");

	/* Two parts, as after a copy: both are ours. */
	put("etc/hosts",
	        "one\n" NAMES_BEGIN "old\n" NAMES_END "two\n" NAMES_BEGIN NAMES_END "three\n" NAMES_END);
	set_names("");
	holds("etc/hosts", "one\ntwo\nthree\n" NAMES_END);
}

static void fill(const char *path, size_t size, const char *end)
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

	while (text.len + strlen("192.0.2.1 mine\n") + strlen(end) <= size)
		assert_int_equal(strbuf_puts(&text, "192.0.2.1 mine\n"), 0);
	assert_int_equal(strbuf_puts(&text, end), 0);
	put(path, text.data);
}

static off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_size;
}

static void test_names_of_a_large_file(void **state)
{
	_cleanup_strbuf_ struct strbuf lines = STRBUF_INIT;
	struct ct_error error = { 0 };
	off_t size;

	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(
		        strbuf_printf(&lines, "fd00:1111:2222:3333:4444:5555:6666:%x container-%u\n", i, i),
		        0);
	fill("etc/hosts", 950 << 10, "192.0.2.9 web\n");
	size = size_of("etc/hosts");
	assert_int_equal(guest_set_names(root_fd, geteuid(), lines.data, &error), -EFBIG);
	assert_non_null(strstr(error.text, "larger than"));
	assert_int_equal(size_of("etc/hosts"), size);
	set_name("web");
	set_name("web2");
	assert_true(size_of("etc/hosts") > size);

	/* What was ours goes, rather than keep old names. */
	fill("etc/hosts", 950 << 10, NAMES_BEGIN "10.1.0.2 old\n" NAMES_END);
	size = size_of("etc/hosts");
	assert_int_equal(guest_set_names(root_fd, geteuid(), lines.data, &error), -EFBIG);
	assert_int_equal(size_of("etc/hosts"), size - (off_t)strlen(NAMES_BEGIN "10.1.0.2 old\n" NAMES_END));
	set_names("10.1.0.2 db\n");
	assert_int_equal(size_of("etc/hosts"), size - 1);

	/* A line for the own name does not make it so large that it cannot be read. */
	fill("etc/hosts", 1 << 20, "");
	size = size_of("etc/hosts");
	set_name("a-name-that-is-longer-than-what-is-left");
	assert_int_equal(size_of("etc/hosts"), size);
}

static void test_names_with_nul(void **state)
{
	struct ct_error error = { 0 };
	_cleanup_close_ int fd = openat(root_fd, "etc/hosts", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, "one\0two\n", 8), 0);
	assert_int_equal(guest_set_names(root_fd, geteuid(), "10.1.0.2 db\n", &error), -EINVAL);
	set_names("");
	set_name("web");
	assert_int_equal(size_of("etc/hosts"), 8);
}

/* Called as a file has been written aside, before it is put in place: in the place of the C library's. */
static int writes_in_between;

int fchown(int fd, uid_t owner, gid_t group)
{
	if (writes_in_between > 0) {
		_cleanup_close_ int hosts = openat(root_fd, "etc/hosts", O_WRONLY | O_APPEND | O_CLOEXEC);

		writes_in_between--;
		assert_true(hosts >= 0);
		assert_int_equal(write_all(hosts, "192.0.2.1 mine\n", 15), 0);
	}
	return (int)syscall(SYS_fchown, fd, owner, group);
}

static void test_names_beside_others(void **state)
{
	struct ct_error error = { 0 };

	put("etc/hosts", "127.0.0.1 localhost\n");
	writes_in_between = 1;
	set_names("10.1.0.2 db\n");
	assert_int_equal(writes_in_between, 0);
	holds("etc/hosts", "127.0.0.1 localhost\n192.0.2.1 mine\n" NAMES_BEGIN "10.1.0.2 db\n" NAMES_END);

	/* Who writes all the time is not waited for. */
	put("etc/hosts", "127.0.0.1 localhost\n");
	writes_in_between = 2;
	assert_int_equal(guest_set_names(root_fd, geteuid(), "10.1.0.2 db\n", &error), -ESTALE);
	holds("etc/hosts", "127.0.0.1 localhost\n192.0.2.1 mine\n192.0.2.1 mine\n");
	assert_int_equal(faccessat(root_fd, "etc/.ctd-new", F_OK, AT_SYMLINK_NOFOLLOW), -1);

	put("etc/hosts", "127.0.0.1 localhost\n");
	put("etc/hostname", "web\n");
	writes_in_between = 1;
	set_name("web");
	assert_int_equal(writes_in_between, 0);
	holds("etc/hosts", "127.0.1.1\tweb\n127.0.0.1 localhost\n192.0.2.1 mine\n");
}

static void set_keys(char *const *keys, unsigned n)
{
	struct ct_error error = { 0 };

	if (apply(&(struct guest_edit){ .set_keys = true, .ssh_keys = keys, .n_ssh_keys = n }, &error) < 0)
		fail_msg("%s", error.text);
}

static void test_keys(void **state)
{
	static char one[] = "ssh-ed25519 AAAA1", two[] = "ssh-ed25519 AAAA2";
	char *const keys[] = { one, two };
	struct stat st;

	set_keys(NULL, 0);
	assert_int_equal(faccessat(root_fd, "root/.ssh/authorized_keys", F_OK, 0), -1);
	set_keys(keys, 1);
	assert_int_equal(fstatat(root_fd, "root/.ssh/authorized_keys", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fstatat(root_fd, "root/.ssh", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);

	put("root/.ssh/authorized_keys",
	        "mine\n# begin: keys set by the host (ctctl set --ssh-key)\nold\n# end: keys set by the host\nmine too");
	set_keys(keys, 2);
	holds("root/.ssh/authorized_keys",
	        "mine\nmine too\n# begin: keys set by the host (ctctl set --ssh-key)\nssh-ed25519 AAAA1\nssh-ed25519 AAAA2\n# end: keys set by the host\n");
	set_keys(NULL, 0);
	holds("root/.ssh/authorized_keys", "mine\nmine too\n");
	put("root/.ssh/authorized_keys",
	        "mine\n# begin: keys set by the host (ctctl set --ssh-key)\ncut off");
	set_keys(NULL, 0);
	holds("root/.ssh/authorized_keys", "mine\n");
}

static int set_password(const char *hash, struct ct_error *err)
{
	return apply(&(struct guest_edit){ .password_hash = hash }, err);
}

static void test_password(void **state)
{
	struct ct_error error = { 0 };
	struct stat st;

	assert_true(set_password("$y$x", &error) < 0);
	assert_non_null(strstr(error.text, "/etc/shadow"));
	put("etc/shadow", "daemon:*:1::::::\nroot:*:19000:0:99999:7:::\nroot:second:\nrooty:!:::::::\n");
	assert_int_equal(fchmodat(root_fd, "etc/shadow", 0640, 0), 0);
	assert_int_equal(set_password("$y$x", NULL), 0);
	holds("etc/shadow", "daemon:*:1::::::\nroot:$y$x:19000:0:99999:7:::\nroot:second:\nrooty:!:::::::\n");
	assert_int_equal(fstatat(root_fd, "etc/shadow", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	put("etc/shadow", "root:");
	assert_int_equal(set_password("$y$x", NULL), 0);
	holds("etc/shadow", "root:$y$x:::::::\n");
	put("etc/shadow", "");
	assert_int_equal(set_password("$y$x", NULL), 0);
	holds("etc/shadow", "root:$y$x:::::::\n");
}

/* What a tenant may have put where we write. */
static void test_hostile_files(void **state)
{
	struct ct_error error = { 0 };
	const struct guest_edit edit = { .hostname = "web" };
	struct stat st;
	char path[96];

	/* None of it keeps a container from starting. */
	assert_int_equal(mkfifoat(root_fd, "etc/hosts", 0644), 0);
	set_name("web");
	assert_int_equal(unlinkat(root_fd, "etc/hosts", 0), 0);

	put("etc/hosts", "");
	(void)snprintf(path, sizeof(path), "%s/etc/hosts", dir);
	assert_int_equal(truncate(path, 1LL << 40), 0);
	set_name("web");
	assert_int_equal(unlinkat(root_fd, "etc/hosts", 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(symlinkat(i == 0 ? "hosts" : "other", root_fd, "etc/hosts"), 0);
		put("etc/other", "keep");
		set_name("web");
		holds("etc/other", "keep");
		assert_int_equal(unlinkat(root_fd, "etc/hosts", 0), 0);
	}
	assert_int_equal(mkdirat(root_fd, "etc/hosts", 0), 0);
	set_name("web");
	assert_int_equal(unlinkat(root_fd, "etc/hosts", AT_REMOVEDIR), 0);

	/* A link to the outside ends inside, and is replaced, not followed. */
	assert_int_equal(unlinkat(root_fd, "etc/hostname", 0), 0);
	assert_int_equal(symlinkat("/../../../../../../tmp/test-guest-outside", root_fd, "etc/hostname"), 0);
	assert_int_equal(apply(&edit, &error), 0);
	assert_int_equal(access("/tmp/test-guest-outside", F_OK), -1);
	assert_int_equal(fstatat(root_fd, "etc/hostname", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));

	/* So is what lies where the new file is written first. */
	put("etc/other", "keep");
	assert_int_equal(symlinkat("other", root_fd, "etc/.ctd-new"), 0);
	set_name("next");
	holds("etc/hostname", "next\n");
	holds("etc/other", "keep");
	assert_int_equal(mkdirat(root_fd, "etc/.ctd-new", 0755), 0);
	assert_true(apply(&edit, &error) < 0);
	holds("etc/hostname", "next\n");
}

static void test_directory_is_a_link(void **state)
{
	struct ct_error error = { 0 };

	assert_int_equal(unlinkat(root_fd, "etc", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("/../../../../../../../../../../tmp", root_fd, "etc"), 0);
	(void)apply(
	        &(struct guest_edit){ .hostname = "test-guest-never" }, &error); /* refused or made inside */
	assert_int_equal(access("/tmp/hostname", F_OK), -1);
}

static void finds(const char *who, uint32_t uid, uint32_t gid, size_t n_groups)
{
	CLEANUP(guest_user_done) struct guest_user user = { 0 };
	struct ct_error error = { 0 };

	if (guest_find_user(root_fd, who, &user, &error) < 0)
		fail_msg("%s: %s", who, error.text);
	assert_int_equal(user.uid, uid);
	assert_int_equal(user.gid, gid);
	assert_int_equal(user.n_groups, n_groups);
}

static void does_not_find(const char *who)
{
	CLEANUP(guest_user_done) struct guest_user user = { 0 };
	struct ct_error error = { 0 };

	assert_int_equal(guest_find_user(root_fd, who, &user, &error), -EINVAL);
	assert_string_equal(error.field, "user");
}

static void test_users(void **state)
{
	_cleanup_strbuf_ struct strbuf groups = STRBUF_INIT;

	finds("root", 0, 0, 0);
	finds("0", 0, 0, 0);
	does_not_find("www");

	put("etc/passwd", "short:x:1\nroot:x:0:0:root:/root:/bin/sh\nwww:x:33:34:web:/var/www:relative\n"
	                  "big:x:65536:0::/:/bin/sh\nneg:x:-1:0::/:/bin/sh\nmore:x:40:41:a:/:/bin/sh:rest");
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(strbuf_printf(&groups, "g%u:x:%u:nobody,www,root\n", i, 100 + i), 0);
	put("etc/group", groups.data);
	finds("www", 33, 34, 32);
	finds("33", 33, 34, 32);
	finds("33:7", 33, 7, 0);
	finds("4000", 4000, 0, 0);
	does_not_find("www:7");
	does_not_find("big");
	does_not_find("neg");
	does_not_find("65536");
	does_not_find("1:65536");
	does_not_find("");
	does_not_find("short");
}

static void test_hash(void **state)
{
	_cleanup_free_ char *one = NULL, *two = NULL, *none = NULL;
	struct ct_error error = { 0 };
	char long_one[600];

	assert_int_equal(guest_hash_password("secret", &one, &error), 0);
	assert_int_equal(guest_hash_password("secret", &two, &error), 0);
	assert_true(str_has_prefix(one, "$y$"));
	assert_string_not_equal(one, two);
	assert_null(strpbrk(one, ":\n"));
	memset(long_one, 'a', sizeof(long_one));
	long_one[sizeof(long_one) - 1] = '\0';
	assert_int_equal(guest_hash_password("", &none, &error), -EINVAL);
	assert_int_equal(guest_hash_password("a\nb", &none, &error), -EINVAL);
	assert_int_equal(guest_hash_password(long_one, &none, &error), -EINVAL);
	assert_string_equal(error.field, "password");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hostname, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unchanged_is_not_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resolver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interfaces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_networkd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_network_manager, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_of_hostile_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_marks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_of_a_large_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_with_nul, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_beside_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_password, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_is_a_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_users, setup, teardown),
		cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
