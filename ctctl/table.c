/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables for people, and JSON for programs.
 *
 * Cells are escaped when they are added, so nothing that goes through here can move a cursor. Widths are
 * counted in characters (UTF-8 sequences), which is right for all names that ctd accepts; a wide character in
 * a tenant's host name shifts a column, no more. JSON is printed in ASCII: control characters, C1 among them,
 * are escapes then.
 */

#include "ctctl/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "base/unit.h"
#include "ctctl/command.h"

void table_init(struct table *t, const char *const *headings)
{
	*t = (struct table){ .headings = headings };

	for (; headings[t->n_columns]; t->n_columns++)
		;
}

void table_done(struct table *t)
{
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){ 0 };
}

void table_add(struct table *t, const char *text)
{
	const char *shown = str_empty(text) ? "-" : text;
	size_t len = strlen(shown), size = 4 * len + 1;

	char **cells = reallocarray(t->cells, t->n_cells + 1, sizeof(*cells));
	if (cells)
		t->cells = cells;
	char *cell = cells ? malloc(size) : NULL;
	if (!cell) {
		t->error = -ENOMEM;
		return;
	}

	t->cells[t->n_cells++] = str_escape_to(cell, size, shown, len);
}

void table_add_format(struct table *t, const char *format, ...)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	va_list ap;

	va_start(ap, format);
	int r = strbuf_vprintf(&b, format, ap);
	va_end(ap);

	if (r < 0)
		t->error = r;
	else
		table_add(t, b.data);
}

static void add_json_text(struct strbuf *b, const json_t *value)
{
	const json_t *item;
	size_t i;

	switch (json_typeof(value)) {
	case JSON_STRING:
		(void)strbuf_puts(b, json_string_value(value));
		return; /* failures are kept in the buffer */
	case JSON_INTEGER: (void)strbuf_printf(b, "%lld", (long long)json_integer_value(value)); return;
	case JSON_REAL: (void)strbuf_printf(b, "%g", json_real_value(value)); return;
	case JSON_TRUE: (void)strbuf_puts(b, "yes"); return;
	case JSON_FALSE: (void)strbuf_puts(b, "no"); return;
	case JSON_NULL: return;
	case JSON_ARRAY:
		json_array_foreach(value, i, item)
		{
			if (i > 0)
				(void)strbuf_putc(b, ',');
			add_json_text(b, item);
		}
		return;
	case JSON_OBJECT: break;
	}

	char *text = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII);
	(void)strbuf_puts(b, text ? text : "{}");
	free(text);
}

char *json_to_text(const json_t *value)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	if (value)
		add_json_text(&b, value);
	return strbuf_take(&b);
}

void table_add_json(struct table *t, const json_t *value)
{
	_cleanup_free_ char *text = json_to_text(value);

	if (!text)
		t->error = -ENOMEM;
	else
		table_add(t, text);
}

static size_t width_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static size_t column_width(const struct table *t, size_t column)
{
	size_t width = width_of(t->headings[column]);

	for (size_t i = column; i < t->n_cells; i += t->n_columns) {
		size_t w = width_of(t->cells[i]);
		if (w > width)
			width = w;
	}

	return width;
}

static void print_row(const struct table *t, const char *const *cells, const size_t *widths)
{
	for (size_t i = 0; i < t->n_columns; i++) {
		(void)fputs(cells[i], stdout); /* finish_output looks at the stream's state */
		for (size_t w = width_of(cells[i]); i + 1 < t->n_columns && w < widths[i] + 2; w++)
			(void)putchar(' ');
	}
	(void)putchar('\n');
}

int table_print(const struct table *t, struct ct_error *err)
{
	_cleanup_free_ size_t *widths = calloc(t->n_columns, sizeof(*widths));

	if (!widths || t->error < 0)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -ENOMEM, "out of memory");
	for (size_t i = 0; i < t->n_columns; i++)
		widths[i] = column_width(t, i);

	print_row(t, t->headings, widths);
	for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns)
		print_row(t, (const char *const *)t->cells + i, widths);

	return finish_output(err);
}

char *age_of(char *buf, size_t size, const char *time_text, uint64_t now_realtime_usec)
{
	struct tm tm = { 0 };

	const char *end = time_text ? strptime(time_text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	if (!end) {
		(void)snprintf(buf, size, "-");
		return buf;
	}

	uint64_t then = (uint64_t)timegm(&tm) * 1000000;
	uint64_t age = now_realtime_usec > then ? now_realtime_usec - then : 0;
	if (age < 60 * 1000000ULL) /* whole seconds are enough */
		(void)snprintf(buf, size, "%us", (unsigned int)(age / 1000000));
	else
		(void)format_duration(buf, size, age);

	return buf;
}

int finish_output(struct ct_error *err)
{
	if (fflush(stdout) < 0 || ferror(stdout))
		return ct_error_kind_set(
		        err, CT_ERROR_FAILED, -EIO, "cannot write to standard output: %s", strerror(errno));

	return 0;
}

int print_json(const json_t *value, struct ct_error *err)
{
	size_t layout = isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT;

	if (json_dumpf(value, stdout, layout | JSON_ENSURE_ASCII | JSON_ENCODE_ANY) < 0)
		return ct_error_kind_set(
		        err, CT_ERROR_FAILED, -EIO, "cannot write to standard output: %s", strerror(errno));

	(void)putchar('\n'); /* finish_output looks at the stream's state */
	return finish_output(err);
}

int print_json_line(const json_t *value)
{
	if (json_dumpf(value, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) < 0)
		return -EIO;

	return putchar('\n') == EOF ? -EIO : 0;
}

void tell_error(const struct ct_error *err)
{
	char text[4 * sizeof(err->text)];

	(void)str_escape_to(text, sizeof(text), err->text, strlen(err->text));
	if (err->field[0] && !strstr(text, err->field))
		(void)fprintf(stderr, "ctctl: %s: %s\n", err->field,
		        text); /* there is nowhere to tell a failure of stderr */
	else
		(void)fprintf(stderr, "ctctl: %s\n", text);
}
