/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl top: what all running containers use, again and again.
 *
 * Two answers of /v1/stats make a line: the daemon gives counters and its clock, the rates are made here.
 * One call a round, whatever the number of containers. On a terminal each round is drawn over the last one,
 * and a key changes the order; else tables are printed one after the other. The terminal does not echo while
 * it runs; ^C is a key like q, so it is always put back.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/unit.h"
#include "ctctl/command.h"
#include "ctctl/resources.h"
#include "ctctl/table.h"
#include "ctctl/terminal.h"

struct top_values {
	int64_t interval, count;
	const char *sort;
};

static const struct option_row top_options[] = {
	{ "interval", 'd', OPTION_SECONDS, "TIME", "time between two rounds (default 2s)",
	        offsetof(struct top_values, interval) },
	{ "count", 'n', OPTION_INT, "N", "end after so many rounds (default: 1 unless on a terminal)",
	        offsetof(struct top_values, count) },
	{ "sort", 's', OPTION_STRING, "COLUMN", "cpu, memory, io, processes, wait or name",
	        offsetof(struct top_values, sort) },
	{ 0 },
};

struct line {
	const json_t *container; /* borrowed from the round's answer */
	const char *name;
	double cpu, io, wait; /* CPUs, bytes a second, share of the time */
	double read_rate, write_rate;
	uint64_t memory, processes;
};

struct sorting {
	const char *name;
	char key;
	int (*compare)(const void *a, const void *b);
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->name, ((const struct line *)b)->name);
}

#define SORT_DOWN(field)                                                                                     \
	static int by_##field(const void *a, const void *b)                                                  \
	{                                                                                                    \
		const struct line *x = a, *y = b;                                                            \
		return x->field < y->field ? 1 : x->field > y->field ? -1 : by_name(a, b);                   \
	}

SORT_DOWN(cpu)
SORT_DOWN(memory)
SORT_DOWN(io)
SORT_DOWN(processes)
SORT_DOWN(wait)

static const struct sorting sortings[] = {
	{ "cpu", 'c', by_cpu },
	{ "memory", 'm', by_memory },
	{ "io", 'i', by_io },
	{ "processes", 'p', by_processes },
	{ "wait", 'w', by_wait },
	{ "name", 'n', by_name },
};

static const struct sorting *find_sorting(const char *name, char key)
{
	for (size_t i = 0; i < ARRAY_SIZE(sortings); i++)
		if (name ? str_eq(sortings[i].name, name) : sortings[i].key == key)
			return &sortings[i];
	return NULL;
}

/* The same container in the answer before; NULL: it is new. Containers come in the same order mostly, so the
 * search begins where the last one ended. */
static const json_t *find_before(const json_t *before, const json_t *container, size_t *hint)
{
	const json_t *list = json_object_get(before, "containers");
	const char *ctid = json_string_value(json_object_get(container, "ctid"));
	size_t n = json_array_size(list);

	for (size_t i = 0; i < n; i++) {
		const json_t *other = json_array_get(list, (*hint + i) % n);

		if (str_eq(json_string_value(json_object_get(other, "ctid")), ctid)) {
			*hint = (*hint + i + 1) % n;
			return other;
		}
	}
	return NULL;
}

static double rate(
        const json_t *new, const json_t *old, const char *resource, const char *member, double usec)
{
	uint64_t a = resource_number(json_object_get(new, "resources"), resource, member);
	uint64_t b = resource_number(json_object_get(old, "resources"), resource, member);

	return old && a > b && usec > 0 ? (double)(a - b) * 1e6 / usec : 0;
}

static struct line line_of(const json_t *new, const json_t *old, double usec)
{
	const json_t *resources = json_object_get(new, "resources");
	struct line l = {
		.container = new,
		.name = json_string_value(json_object_get(new, "name")) ?: "",
		.cpu = rate(new, old, "cpu", "used_usec", usec) / 1e6,
		.read_rate = rate(new, old, "io", "read_bytes", usec),
		.write_rate = rate(new, old, "io", "write_bytes", usec),
		.memory = resource_number(resources, "memory", "used"),
		.processes = resource_number(resources, "processes", "used"),
	};

	l.io = l.read_rate + l.write_rate;
	l.wait = (rate(new, old, "cpu", "waiting_usec", usec) +
	                 rate(new, old, "memory", "waiting_usec", usec) +
	                 rate(new, old, "io", "waiting_usec", usec)) /
	         1e6;
	return l;
}

static void add_size(struct table *t, uint64_t bytes)
{
	char text[32];

	table_add(t, bytes ? format_size(text, sizeof(text), bytes) : NULL);
}

static void add_line(struct table *t, const struct line *l)
{
	const json_t *resources = json_object_get(l->container, "resources");

	table_add(t, l->name);
	table_add_format(t, "%.1f", l->cpu * 100);
	table_add_json(t, json_object_get(json_object_get(resources, "cpu"), "limit"));
	add_size(t, l->memory);
	add_size(t, resource_number(resources, "memory", "limit"));
	add_size(t, resource_number(resources, "swap", "used"));
	add_size(t, (uint64_t)l->read_rate);
	add_size(t, (uint64_t)l->write_rate);
	table_add_format(t, "%" PRIu64, l->processes);
	table_add_format(t, "%.1f", l->wait * 100);
	table_add_format(t, "%" PRIu64, resource_number(resources, "memory", "oom_kills"));
}

static int print_lines(const struct line *lines, size_t n, struct ct_error *err)
{
	static const char *const headings[] = { "NAME", "CPU%", "CPUS", "MEMORY", "OF", "SWAP", "READ/S",
		"WRITE/S", "PROCS", "WAIT%", "OOM", NULL };
	_cleanup_table_ struct table t = { 0 };

	table_init(&t, headings);
	for (size_t i = 0; i < n; i++)
		add_line(&t, &lines[i]);
	return table_print(&t, err);
}

static int print_round(const json_t *now, const json_t *before, const struct sorting *sorting, bool screen,
        struct ct_error *err)
{
	const json_t *list = json_object_get(now, "containers"), *c;
	size_t n = json_array_size(list), hint = 0, i, shown = n;
	_cleanup_free_ struct line *lines = calloc(n + 1, sizeof(*lines));
	double usec = (double)(json_integer_value(json_object_get(now, "time_usec")) -
	                       json_integer_value(json_object_get(before, "time_usec")));
	unsigned short rows = 0, columns = 0;
	double cpu = 0;
	uint64_t memory = 0;

	if (!lines)
		return -ENOMEM;
	json_array_foreach(list, i, c)
	{
		lines[i] = line_of(c, find_before(before, c, &hint), usec);
		cpu += lines[i].cpu;
		memory += lines[i].memory;
	}
	qsort(lines, n, sizeof(*lines), sorting->compare);

	if (screen) {
		char used[32], all[32];

		if (terminal_size(STDOUT_FILENO, &rows, &columns) && rows > 4 && n > (size_t)rows - 4)
			shown = (size_t)rows - 4;
		(void)printf(
		        "\033[H\033[J%zu running, %.1f of %lld CPUs, %s of %s; order by %s (keys: c m i p w n, q ends)\n\n",
		        n, cpu, (long long)json_integer_value(json_object_get(now, "cpus")),
		        format_size(used, sizeof(used), memory),
		        format_size(all, sizeof(all),
		                (uint64_t)json_integer_value(json_object_get(now, "memory"))),
		        sorting->name); /* table_print looks at the stream's state */
	}
	return print_lines(lines, shown, err);
}

/* Waits for the next round; 1: a key ends it. */
static int pause_for(int64_t seconds, const struct terminal *terminal, const struct sorting **sorting)
{
	struct pollfd p = { .fd = terminal->raw ? STDIN_FILENO : -1, .events = POLLIN };
	uint64_t end = now_monotonic_usec() + (uint64_t)seconds * USEC_PER_SEC;
	char key;

	for (;;) {
		uint64_t now = now_monotonic_usec();
		const struct sorting *chosen;

		if (now >= end)
			return 0;
		if (poll(&p, 1, (int)((end - now) / USEC_PER_MSEC) + 1) <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 3) /* 3: ^C */
			return 1;
		chosen = find_sorting(NULL, key);
		if (chosen) {
			*sorting = chosen;
			return 0;
		}
	}
}

static int follow(struct context *ctx, const struct top_values *v, const struct sorting *sorting,
        struct terminal *terminal, struct ct_error *err)
{
	_cleanup_json_ json_t *before = NULL;
	int64_t rounds = v->count;
	int r;

	r = client_call(&ctx->client, "GET", "/v1/stats", NULL, &before, err);
	while (r >= 0) {
		_cleanup_json_ json_t *now = NULL;

		if (pause_for(v->interval, terminal, &sorting) > 0)
			return 0;
		r = client_call(&ctx->client, "GET", "/v1/stats", NULL, &now, err);
		if (r < 0)
			return r;
		r = ctx->json ? print_json(now, err) : print_round(now, before, sorting, terminal->raw, err);
		json_decref(before);
		before = json_incref(now);
		if (rounds > 0 && --rounds == 0)
			break;
	}
	return r;
}

static int run_top(struct context *ctx, struct ct_error *err)
{
	struct top_values v = { .interval = 2, .count = -1 };
	_cleanup_terminal_ struct terminal terminal = TERMINAL_INIT;
	const struct sorting *sorting;

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	sorting = find_sorting(v.sort ? v.sort : "cpu", 0);
	if (!sorting)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "--sort: \"%s\" is no column; there are: cpu, memory, io, processes, wait, name",
		        v.sort);
	if (v.interval < 1)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "--interval must be at least 1s");

	if (isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && !ctx->json) {
		struct termios mode;

		r = terminal_make_raw(&terminal, STDIN_FILENO);
		if (r == 0 && tcgetattr(STDIN_FILENO, &mode) == 0) {
			mode.c_oflag |= OPOST;                           /* lines end as usual */
			(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &mode); /* else they are a staircase */
		}
	} else if (v.count < 0) {
		v.count = 1;
	}
	return follow(ctx, &v, sorting, &terminal, err);
}

const struct command command_top = {
	.name = "top",
	.operands = "",
	.summary = "Show what all running containers use, again and again",
	.options = top_options,
	.run = run_top,
};
