/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ct_error: see the header for what it is.
 *
 * Invariants: every string in it is terminated, is valid UTF-8 and has no control character, whatever the
 * arguments were: a tenant's file name may be part of the sentence, and the sentence goes to a terminal, a
 * log and JSON. Nothing here allocates, so that it can be filled when memory is short and in a child that
 * shares its parent's memory.
 */

#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

static const char *const kind_names[] = {
	[CT_ERROR_FAILED] = "failed",
	[CT_ERROR_USAGE] = "usage",
	[CT_ERROR_NOT_FOUND] = "not-found",
	[CT_ERROR_STATE] = "state",
	[CT_ERROR_REFUSED] = "refused",
	[CT_ERROR_PERMISSION] = "permission",
};

/* Twice as much is formatted as is kept: escaping only makes text longer, so what vsnprintf cuts off would
 * not have fitted. */
__attribute__((format(printf, 3, 0))) static void format_escaped(
        char *dst, size_t size, const char *format, va_list ap)
{
	char raw[2 * sizeof(((struct ct_error *)0)->text)];

	if (vsnprintf(raw, sizeof(raw), format, ap) < 0)
		raw[0] = '\0';

	str_escape_to(dst, size, raw, strlen(raw));
}

static void error_fill(struct ct_error *err, int code, enum ct_error_kind kind)
{
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->kind = kind;
}

int ct_error_setv(struct ct_error *err, int code, const char *step, const char *format, va_list ap)
{
	assert(code < 0);

	if (!err)
		return code;

	/* The arguments may point into *err: format before anything is overwritten. */
	char text[sizeof(err->text)], name[sizeof(err->step)] = "";
	format_escaped(text, sizeof(text), format, ap);
	if (step)
		str_escape_to(name, sizeof(name), step, strlen(step));

	error_fill(err, code, ct_error_kind_of(code));
	memcpy(err->text, text, sizeof(text));
	memcpy(err->step, name, sizeof(name));
	return code;
}

int ct_error_set(struct ct_error *err, int code, const char *step, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)ct_error_setv(err, code, step, format, ap); /* returns what it was given */
	va_end(ap);

	return code;
}

int ct_error_kind_set(struct ct_error *err, enum ct_error_kind kind, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)ct_error_setv(err, code, NULL, format, ap); /* returns what it was given */
	va_end(ap);

	if (err)
		err->kind = kind;
	return code;
}

int ct_error_field(struct ct_error *err, const char *field, const char *format, ...)
{
	char name[sizeof(err->field)] = "";
	va_list ap;

	if (field)
		str_escape_to(name, sizeof(name), field, strlen(field));

	va_start(ap, format);
	(void)ct_error_setv(err, -EINVAL, NULL, format, ap); /* returns what it was given */
	va_end(ap);

	if (err) {
		err->kind = CT_ERROR_USAGE;
		memcpy(err->field, name, sizeof(name));
	}
	return -EINVAL;
}

int ct_error_prefix(struct ct_error *err, const char *format, ...)
{
	char text[sizeof(err->text)];
	va_list ap;

	if (!err || err->code == 0)
		return 0;

	va_start(ap, format);
	format_escaped(text, sizeof(text), format, ap);
	va_end(ap);

	size_t len = strlen(text);
	str_escape_to(text + len, sizeof(text) - len, ": ", 2);
	len = strlen(text);
	str_escape_to(text + len, sizeof(text) - len, err->text, strnlen(err->text, sizeof(err->text)));

	memcpy(err->text, text, sizeof(text));
	return err->code;
}

enum ct_error_kind ct_error_kind_of(int code)
{
	switch (code < 0 ? -code : code) {
	case ENOENT: return CT_ERROR_NOT_FOUND;
	case EEXIST:
	case EBUSY: return CT_ERROR_STATE;
	case EPERM:
	case EACCES: return CT_ERROR_PERMISSION;
	case ENOSPC:
	case EDQUOT:
	case EOPNOTSUPP: return CT_ERROR_REFUSED;
	case EINVAL: return CT_ERROR_USAGE;
	default: return CT_ERROR_FAILED;
	}
}

const char *ct_error_kind_name(enum ct_error_kind kind)
{
	/* The value may have crossed a socket. */
	if ((unsigned int)kind >= ARRAY_SIZE(kind_names))
		return kind_names[CT_ERROR_FAILED];

	return kind_names[kind];
}

enum ct_error_kind ct_error_kind_from_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++)
		if (str_eq(name, kind_names[i]))
			return (enum ct_error_kind)i;

	return CT_ERROR_FAILED;
}
