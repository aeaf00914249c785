/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text that Prometheus reads.
 *
 * Two forms of the same lines. OpenMetrics names the family of a counter without _total, and has an end mark,
 * so that a page that was cut short is seen. In a label's value backslash, quote and newline are escaped, in
 * a help text the same: the older format escapes no quote there, so our help texts have none. What is not
 * UTF-8 would make the reader refuse the whole page; names that we print are checked where they are entered.
 *
 * Numbers are decimal and exact: microseconds are divided by moving the point, not by a float. The page goes
 * to its file piece by piece, so that one of a thousand containers costs no megabytes of the heap.
 */
#include "ctd/metrics-text.h"

#include <inttypes.h>

#include "base/fd.h"

#define PIECE 32768

static void flush(struct metrics *m)
{
	if (m->error >= 0 && m->text.error < 0)
		m->error = m->text.error;
	if (m->fd < 0)
		return;
	if (m->error >= 0)
		m->error = write_all(m->fd, m->text.data, m->text.len);
	strbuf_reset(&m->text);
}

/* Errors of the buffer stay in it, and are looked at by flush. */
static void put(struct metrics *m, const char *text)
{
	(void)strbuf_puts(&m->text, text);
}

static void put_escaped(struct metrics *m, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '\\': put(m, "\\\\"); break;
		case '"': put(m, "\\\""); break;
		case '\n': put(m, "\\n"); break;
		default: (void)strbuf_putc(&m->text, *text);
		}
	}
}

static void put_family(struct metrics *m, const char *name, size_t len, const char *type, const char *help)
{
	(void)strbuf_printf(&m->text, "# HELP %.*s ", (int)len, name);
	put_escaped(m, help);
	(void)strbuf_printf(&m->text, "\n# TYPE %.*s %s\n", (int)len, name, type);
}

void metrics_counter(struct metrics *m, const char *name, const char *help)
{
	size_t len = strlen(name);

	if (m->format == METRICS_OPEN && str_has_suffix(name, "_total"))
		len -= strlen("_total");
	put_family(m, name, len, "counter", help);
}

void metrics_gauge(struct metrics *m, const char *name, const char *help)
{
	put_family(m, name, strlen(name), "gauge", help);
}

void metrics_histogram(struct metrics *m, const char *name, const char *help)
{
	put_family(m, name, strlen(name), "histogram", help);
}

void metrics_sample(struct metrics *m, const char *name)
{
	if (m->text.len >= PIECE)
		flush(m);
	put(m, name);
	m->labelled = false;
}

void metrics_label(struct metrics *m, const char *key, const char *value)
{
	(void)strbuf_printf(&m->text, "%s%s=\"", m->labelled ? "," : "{", key);
	put_escaped(m, value);
	(void)strbuf_putc(&m->text, '"');
	m->labelled = true;
}

void metrics_value(struct metrics *m, uint64_t value, enum metrics_scale scale)
{
	struct strbuf *b = &m->text;

	put(m, m->labelled ? "} " : " ");
	switch (scale) {
	case SCALE_ONE: (void)strbuf_printf(b, "%" PRIu64, value); break;
	case SCALE_MILLI: (void)strbuf_printf(b, "%" PRIu64 ".%03" PRIu64, value / 1000, value % 1000); break;
	case SCALE_USEC:
		(void)strbuf_printf(b, "%" PRIu64 ".%06" PRIu64, value / 1000000, value % 1000000);
		break;
	/* More than 64 bits; a power of two is exact in a float of any size. */
	case SCALE_KIB: (void)strbuf_printf(b, "%.0Lf", (long double)value * 1024); break;
	}
	(void)strbuf_putc(b, '\n');
}

int metrics_done(struct metrics *m)
{
	if (m->format == METRICS_OPEN)
		put(m, "# EOF\n");
	flush(m);
	if (m->fd >= 0)
		strbuf_done(&m->text);
	return m->error;
}
