/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log of a daemon.
 *
 * One message is one write(2) of one line, so that lines of several processes do not mix. Messages are cut at
 * two kilobytes. When stderr is a terminal the line starts with the program's name; otherwise with the level
 * as <N>, which the journal takes off again (sd-daemon(3)). The text may hold what a tenant wrote: it is
 * escaped, so that nobody can forge a line or drive a terminal. A log that cannot be written is not a reason
 * to fail: the result of the write is ignored.
 */

#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define LOG_LINE_MAX 2048

static struct {
	char program[32];
	enum log_level max;
} log_options = { .max = LOG_LEVEL_INFO };

void log_set(const char *program, enum log_level max)
{
	str_escape_to(log_options.program, sizeof(log_options.program), program, strlen(program));
	log_options.max = max;
}

/* The head of the line into buf; its length. */
static size_t log_head(char *buf, size_t size, enum log_level level)
{
	int n;

	if (!isatty(STDERR_FILENO))
		n = snprintf(buf, size, "<%d>", (int)level);
	else if (log_options.program[0])
		n = snprintf(buf, size, "%s: ", log_options.program);
	else
		return 0;

	return n > 0 ? (size_t)n : 0;
}

void log_message(enum log_level level, const char *format, ...)
{
	char raw[LOG_LINE_MAX], line[LOG_LINE_MAX];
	int saved = errno;
	va_list ap;

	if (level > log_options.max)
		return;

	va_start(ap, format);
	if (vsnprintf(raw, sizeof(raw), format, ap) < 0)
		raw[0] = '\0';
	va_end(ap);

	size_t len = log_head(line, sizeof(line), level);
	str_escape_to(line + len, sizeof(line) - len - 1, raw, strlen(raw)); /* one byte is for the newline */
	len += strlen(line + len);
	line[len++] = '\n';

	ssize_t ignored = write(STDERR_FILENO, line, len);
	(void)ignored; /* there is nobody left to tell */
	errno = saved;
}
