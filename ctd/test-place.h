/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory for each test of a program. */
#pragma once

extern int place_fd;

/* cmocka's setup and teardown. */
int place_make(void **state);
int place_remove(void **state);

/* Writes a file in it anew; fails the test otherwise. */
void place_put(const char *name, const char *text);
