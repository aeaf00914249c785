/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory below /tmp, made when a test begins and removed, whatever is in it, when it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctd/test-place.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"

#define TEMPLATE "/tmp/test-place.XXXXXX"

int place_fd = -1;
static char place[sizeof(TEMPLATE)];

int place_make(void **state)
{
	(void)snprintf(place, sizeof(place), TEMPLATE);
	if (!mkdtemp(place))
		return -1;
	place_fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return place_fd < 0 ? -1 : 0;
}

int place_remove(void **state)
{
	place_fd = fd_close(place_fd);
	return remove_tree_at(AT_FDCWD, place);
}

void place_put(const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(place_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
}
