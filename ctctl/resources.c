/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The resources of one container as a table.
 *
 * Each row names the members of the API that it shows and how they are printed; what the daemon left out,
 * because its kernel does not count it, is a dash.
 */

#include "ctctl/resources.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "base/unit.h"
#include "ctctl/table.h"

enum how {
	HOW_NUMBER,
	HOW_SIZE,
	HOW_RATE, /* bytes in a second */
	HOW_TIME,
	HOW_CPUS,
};

struct row {
	const char *title, *resource;
	enum how limit_how, used_how;
	const char *limit, *used, *peak, *hits;
};

static const struct row rows[] = {
	{ "cpu", "cpu", HOW_CPUS, HOW_TIME, "limit", "used_usec", NULL, "hits" },
	{ "memory", "memory", HOW_SIZE, HOW_SIZE, "limit", "used", "peak", "hits" },
	{ "swap", "swap", HOW_SIZE, HOW_SIZE, "limit", "used", NULL, "hits" },
	{ "bytes read", "io", HOW_RATE, HOW_SIZE, "read_bps", "read_bytes", NULL, NULL },
	{ "bytes written", "io", HOW_RATE, HOW_SIZE, "write_bps", "write_bytes", NULL, NULL },
	{ "reads", "io", HOW_NUMBER, HOW_NUMBER, "read_iops", "read_ops", NULL, NULL },
	{ "writes", "io", HOW_NUMBER, HOW_NUMBER, "write_iops", "write_ops", NULL, NULL },
	{ "processes", "processes", HOW_NUMBER, HOW_NUMBER, "limit", "used", "peak", "hits" },
	{ "disk", "disk", HOW_SIZE, HOW_SIZE, "limit", "used", NULL, NULL },
	{ "inodes", "inodes", HOW_NUMBER, HOW_NUMBER, "limit", "used", NULL, NULL },
};

static const json_t *find(const json_t *resources, const char *resource, const char *member)
{
	return member ? json_object_get(json_object_get(resources, resource), member) : NULL;
}

uint64_t resource_number(const json_t *resources, const char *resource, const char *member)
{
	json_int_t n = json_integer_value(find(resources, resource, member));

	return n > 0 ? (uint64_t)n : 0;
}

static void add(struct table *t, enum how how, const json_t *value)
{
	uint64_t n = (uint64_t)json_integer_value(value);
	char text[32];

	if (!value) {
		table_add(t, NULL);
		return;
	}
	switch (how) {
	case HOW_NUMBER: table_add_json(t, value); return;
	case HOW_CPUS: table_add_json(t, value); return;
	case HOW_SIZE: table_add(t, format_size(text, sizeof(text), n)); return;
	case HOW_RATE: table_add_format(t, "%s/s", format_size(text, sizeof(text), n)); return;
	case HOW_TIME: table_add(t, format_duration(text, sizeof(text), n)); return;
	}
}

int resources_print(const json_t *resources, struct ct_error *err)
{
	static const char *const headings[] = { "RESOURCE", "LIMIT", "USED", "PEAK", "HITS", "WAITED", NULL };
	_cleanup_table_ struct table t = { 0 };
	const char *last = "";

	table_init(&t, headings);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		const json_t *object = json_object_get(resources, r->resource);

		if (!find(resources, r->resource, r->limit) && !find(resources, r->resource, r->used))
			continue;
		table_add(&t, r->title);
		add(&t, r->limit_how, find(resources, r->resource, r->limit));
		add(&t, r->used_how, find(resources, r->resource, r->used));
		add(&t, r->used_how, find(resources, r->resource, r->peak));
		add(&t, HOW_NUMBER, find(resources, r->resource, r->hits));
		add(&t, HOW_TIME, str_eq(last, r->resource) ? NULL : json_object_get(object, "waiting_usec"));
		last = r->resource;
	}
	if (t.n_cells == 0)
		return 0;

	(void)putchar('\n'); /* finish_output looks at the stream's state */
	return table_print(&t, err);
}
