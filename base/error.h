/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ct_error: a failure with a sentence for an operator.
 *
 * A plain value of fixed size: no allocation, good after fork, crosses a socket in one write. The place that
 * fails fills it; at most one caller adds context. The negative errno that goes with it is the function's
 * return value and, so that the value can travel alone, is kept in .code as well. Every function that takes
 * one accepts NULL.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

enum ct_error_kind {
	CT_ERROR_FAILED = 0, /* it was tried and did not work */
	CT_ERROR_USAGE,      /* the request makes no sense as written */
	CT_ERROR_NOT_FOUND,  /* no such object */
	CT_ERROR_STATE,      /* wrong state, busy, or exists already */
	CT_ERROR_REFUSED,    /* a limit, admission control, or a missing host feature */
	CT_ERROR_PERMISSION, /* the caller may not */
};

struct ct_error {
	int code;                /* negative errno, 0: no error */
	enum ct_error_kind kind; /* what class of failure; decides exit status and HTTP status */
	char step[32];           /* what was being done: "mount", "cgroup", "" if not known */
	char field[48];          /* the field of the request that is at fault, "" if none */
	char text[512];          /* one sentence without a full stop; control characters escaped */
};

/* Fills *err (kind by errno: see ct_error_kind_of) and returns code, so that a caller can write
 * `return ct_error_set(err, -EINVAL, "mount", "cannot mount \"%s\"", path);`. code must be negative. */
int ct_error_set(struct ct_error *err, int code, const char *step, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
int ct_error_setv(struct ct_error *err, int code, const char *step, const char *format, va_list ap)
        __attribute__((format(printf, 4, 0)));

/* The same with an explicit kind. */
int ct_error_kind_set(struct ct_error *err, enum ct_error_kind kind, int code, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* A field of a request that was not accepted: kind USAGE, code -EINVAL, returned. */
int ct_error_field(struct ct_error *err, const char *field, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Puts `PREFIX: ` before the text that is there (nothing if no error is set); returns err's code or 0. */
int ct_error_prefix(struct ct_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The kind that an errno stands for when nobody said better: ENOENT NOT_FOUND, EEXIST/EBUSY STATE,
 * EPERM/EACCES PERMISSION, ENOSPC/EDQUOT/EOPNOTSUPP REFUSED, EINVAL USAGE, else FAILED. */
enum ct_error_kind ct_error_kind_of(int code);

/* Stable words for kinds, as the API prints them: failed usage not-found state refused permission. */
const char *ct_error_kind_name(enum ct_error_kind kind);
enum ct_error_kind ct_error_kind_from_name(const char *name);
