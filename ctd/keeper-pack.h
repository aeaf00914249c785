/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Specifications of libct as bytes and fds, so that they can cross the socket between ctd and ct-keeper. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "ctd/keeper-proto.h"
#include "libct/ct.h"

/* The fds of a message in the making; borrowed from the specification. */
struct keeper_fds {
	int fds[KEEPER_FDS_MAX];
	size_t n;
};

/* Appends the packed specification to b and its fds to fds. -E2BIG if it has more binds than a message takes
 * fds or grows beyond a message, -ENOMEM. What is missing in the specification (fd -1, NULL) arrives missing:
 * judging it is ct_spec_check's. */
int keeper_pack_spec(
        struct strbuf *b, struct keeper_fds *fds, const struct ct_spec *spec, struct ct_error *err);
int keeper_pack_exec_spec(
        struct strbuf *b, struct keeper_fds *fds, const struct ct_exec_spec *spec, struct ct_error *err);

/* The way back. The strings of *ret lie in data and its fds in fds, both borrowed, everything else in
 * *ret_memory, to be freed by the caller when *ret is no longer used. -EBADMSG names what is wrong with a
 * message that no keeper_pack made. */
int keeper_unpack_spec(const void *data, size_t len, const int *fds, size_t n_fds, struct ct_spec *ret,
        void **ret_memory, struct ct_error *err);
int keeper_unpack_exec_spec(const void *data, size_t len, const int *fds, size_t n_fds,
        struct ct_exec_spec *ret, void **ret_memory, struct ct_error *err);
