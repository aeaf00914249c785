/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ledger's rows of the last hour, day or month, as rates and means.
 *
 * A row says what was used from its start to its end; a point is that divided by the time, so that graphs of
 * all spans have the same units. Where there is no row nothing was used: the ledger has none then. Sums for
 * bills are not made here: see ctctl usage.
 */

#include "ctctl/history.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "base/unit.h"

#define INTERVAL_USUAL 300

const struct history_kind_info history_kinds[_HISTORY_KIND_MAX] = {
	[HISTORY_CPU] = { "cpus", "CPUs used", "CPU" },
	[HISTORY_MEMORY] = { "memory_bytes", "Memory held", "MEMORY" },
	[HISTORY_DISK] = { "disk_used_bytes", "Disk used", "DISK" },
	[HISTORY_READ] = { "read_bytes_per_second", "Read from disks", "READ" },
	[HISTORY_WRITTEN] = { "written_bytes_per_second", "Written to disks", "WRITTEN" },
	[HISTORY_IN] = { "net_in_bytes_per_second", "Network in", "IN" },
	[HISTORY_OUT] = { "net_out_bytes_per_second", "Network out", "OUT" },
};

const char *const history_spans[_HISTORY_SPAN_MAX] = {
	[HISTORY_HOUR] = "hour",
	[HISTORY_DAY] = "day",
	[HISTORY_MONTH] = "month",
};

static const struct {
	const char *by;
	int64_t step, length;
} spans[_HISTORY_SPAN_MAX] = {
	[HISTORY_HOUR] = { "interval", INTERVAL_USUAL, 3600 },
	[HISTORY_DAY] = { "hour", 3600, 24 * 3600 },
	[HISTORY_MONTH] = { "day", 86400, 30 * 86400 },
};

/* In which counters of a row a kind is, and what makes them base units. */
static const struct {
	const char *keys[2];
	double factor;
} sources[_HISTORY_KIND_MAX] = {
	[HISTORY_CPU] = { { "cpu_user_usec", "cpu_system_usec" }, 1e-6 },
	[HISTORY_MEMORY] = { { "memory_kib_seconds" }, 1024 },
	[HISTORY_DISK] = { { "disk_used_kib_seconds" }, 1024 },
	[HISTORY_READ] = { { "read_bytes" }, 1 },
	[HISTORY_WRITTEN] = { { "write_bytes" }, 1 },
	[HISTORY_IN] = { { "net_in_bytes" }, 1 },
	[HISTORY_OUT] = { { "net_out_bytes" }, 1 },
};

static int64_t time_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key)) ?: "";
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	return end ? (int64_t)timegm(&tm) : 0;
}

static void add_row(struct history *h, const json_t *row)
{
	const int64_t start = time_of(row, "start");
	const size_t at = start < h->start ? h->n : (size_t)((start - h->start) / h->step);

	if (at >= h->n)
		return;
	for (unsigned i = 0; i < _HISTORY_KIND_MAX; i++)
		for (unsigned k = 0; k < ARRAY_SIZE(sources[i].keys) && sources[i].keys[k]; k++)
			h->of[i][at] += sources[i].factor *
			                (double)json_integer_value(json_object_get(row, sources[i].keys[k]));
}

/* now: after the answer, which holds what was used up to then. */
static void divide(struct history *h, int64_t now)
{
	for (size_t at = 0; at < h->n; at++) {
		const int64_t start = h->start + (int64_t)at * h->step, end = start + h->step;
		const int64_t seconds = (end < now ? end : now) - start;

		h->seconds[at] = (double)(seconds > 0 ? seconds : 1);
		for (unsigned i = 0; i < _HISTORY_KIND_MAX; i++)
			h->of[i][at] /= h->seconds[at];
	}
}

/* The length of an interval is the daemon's to say. */
static int64_t step_of(enum history_span span, const json_t *rows)
{
	const json_t *row = json_array_get(rows, json_array_size(rows) - 1);
	const int64_t step = row ? time_of(row, "end") - time_of(row, "start") : 0;

	return span == HISTORY_HOUR && step >= 60 && step <= 3600 ? step : spans[span].step;
}

static int ask(struct client *client, const char *name, enum history_span span, int64_t from, json_t **ret,
        struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	char number[32];

	(void)snprintf(number, sizeof(number), "%" PRId64, from);
	(void)strbuf_puts(&path, "/v1/usage"); /* failures are kept in the buffer */
	(void)path_add_query(&path, "container", name);
	(void)path_add_query(&path, "by", spans[span].by);
	(void)path_add_query(&path, "from", number);
	if (path.error)
		return ct_error_set(err, -ENOMEM, "history", "out of memory");
	return client_call(client, "GET", path.data, NULL, ret, err);
}

int history_fetch(struct client *client, const char *name, enum history_span span, int64_t now,
        struct history *ret, struct ct_error *err)
{
	_cleanup_json_ json_t *answer = NULL;
	const json_t *rows, *row;
	size_t i;
	int r;

	r = ask(client, name, span, now - spans[span].length - spans[span].step, &answer, err);
	if (r < 0)
		return r;
	rows = json_object_get(json_array_get(json_object_get(answer, "containers"), 0), "rows");

	*ret = (struct history){ .step = step_of(span, rows) };
	ret->n = (size_t)(spans[span].length / ret->step);
	if (ret->n > HISTORY_POINTS_MAX)
		ret->n = HISTORY_POINTS_MAX;
	ret->start = now - now % ret->step - (int64_t)(ret->n - 1) * ret->step;
	json_array_foreach(rows, i, row) add_row(ret, row);
	divide(ret, (int64_t)(now_realtime_usec() / USEC_PER_SEC));
	return 0;
}

void history_add(struct history *a, const struct history *b)
{
	for (unsigned i = 0; i < _HISTORY_KIND_MAX; i++)
		for (size_t at = 0; at < a->n && at < b->n; at++)
			a->of[i][at] += b->of[i][at];
}

static double most_of(const struct history *h, enum history_kind kind, double seconds_min)
{
	double most = 0;

	for (size_t at = 0; at < h->n; at++)
		if (h->seconds[at] >= seconds_min)
			most = fmax(most, h->of[kind][at]);
	return most;
}

/* A second at full speed would be the peak of each new hour, so the point of the time that goes on counts
 * once a tenth of it has gone. */
double history_most(const struct history *h, enum history_kind kind)
{
	const double most = most_of(h, kind, (double)h->step / 10);

	return most > 0 ? most : most_of(h, kind, 0);
}

double history_mean(const struct history *h, enum history_kind kind)
{
	double sum = 0, seconds = 0;

	for (size_t at = 0; at < h->n; at++) {
		sum += h->of[kind][at] * h->seconds[at];
		seconds += h->seconds[at];
	}
	return seconds > 0 ? sum / seconds : 0;
}

char *history_format(char *buf, size_t size, enum history_kind kind, double value)
{
	char text[32];

	switch (kind) {
	case HISTORY_CPU: (void)snprintf(buf, size, "%.2f", value); break;
	case HISTORY_MEMORY:
	case HISTORY_DISK: return format_size(buf, size, (uint64_t)value);
	case HISTORY_READ:
	case HISTORY_WRITTEN:
	case HISTORY_IN:
	case HISTORY_OUT:
		(void)snprintf(buf, size, "%s/s", format_size(text, sizeof(text), (uint64_t)value));
		break;
	case _HISTORY_KIND_MAX: break;
	}
	return buf;
}
