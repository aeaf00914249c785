/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For tests of the store: a database in a directory of the test's own, and rows to put into it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ctd/store-private.h"

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

struct fixture {
	char dir[64];
	char path[96];
	struct store *store;
};

/* For cmocka; *state is a struct fixture. */
int store_setup(void **state);
int store_teardown(void **state);
void store_reopen(struct fixture *f);

void put_template(struct store *store, const char *name, const char *digest);
const char *ctid_of(unsigned n); /* overwritten by the next call */
/* A container of the template DIGEST_A; the result of the store. */
int put_container(
        struct store *store, unsigned n, const char *name, uint32_t *ret_number, struct ct_error *err);
unsigned count_all_containers(struct store *store);
