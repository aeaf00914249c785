/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For the tests: a store in a directory of its own below /var/tmp, and a template in it. */
#pragma once

#include "quota/disk.h"

#define TEST_DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct test_store {
	char dir[64];
	char path[80];
	struct disk_store *store;
};

/* cmocka fixtures: *state becomes a struct test_store with an empty template TEST_DIGEST. */
int test_store_setup(void **state);
int test_store_teardown(void **state);

/* Makes dir/path (directories above it as well) with the text below dirfd. */
void test_write(int dirfd, const char *path, const char *text, unsigned int mode);
