/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store for tests. /var/tmp and not /tmp: that one may be a tmpfs, on which no idmapped overlay stands. */
#include "quota/test-store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

void test_write(int dirfd, const char *path, const char *text, unsigned int mode)
{
	_cleanup_free_ char *parent = strdup(path);
	_cleanup_close_ int fd = -1, dir = -1;
	char *slash;

	assert_non_null(parent);
	slash = strrchr(parent, '/');
	if (slash) {
		*slash = '\0';
		dir = mkdirs_in_root(dirfd, parent, 0755);
		assert_true(dir >= 0);
	}

	fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

int test_store_setup(void **state)
{
	struct test_store *t = calloc(1, sizeof(*t));
	struct ct_error err = { 0 };

	assert_non_null(t);
	(void)snprintf(t->dir, sizeof(t->dir), "/var/tmp/ctd-test-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	(void)snprintf(t->path, sizeof(t->path), "%s/store", t->dir);
	if (disk_store_open(t->path, &t->store, &err) < 0)
		fail_msg("%s", err.text);

	test_write(
	        disk_store_fd(t->store), "templates/" TEST_DIGEST "/root/etc/hostname", "template\n", 0644);
	test_write(disk_store_fd(t->store), "templates/" TEST_DIGEST "/root/etc/motd", "hello\n", 0644);
	*state = t;
	return 0;
}

int test_store_teardown(void **state)
{
	struct test_store *t = *state;

	disk_store_close(t->store);
	assert_int_equal(remove_tree_at(AT_FDCWD, t->dir), 0);
	free(t);
	return 0;
}
