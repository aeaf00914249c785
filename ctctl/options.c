/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options as tables.
 *
 * A command accepts three kinds of rows: the common ones, its own, and (create, set, ...) one for each key of
 * the configuration. They are laid out as one array of entries, from which the tables of getopt_long(3) are
 * made for this one call; an option's value for getopt is OPTION_BASE + its index. getopt prints nothing
 * itself (the ':' at the start of the short options), so that what is said names the nearest accepted word.
 *
 * Commands that end in another program's command line (exec) are read in order: options may stand before and
 * after the container's name, and the next word that is no option, or --, begins the program.
 *
 * glibc: optind = 0 starts a new scan, which getopt needs when the order mode changes between two calls.
 */

#include "ctctl/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/str.h"
#include "base/unit.h"
#include "ctctl/command.h"
#include "ctctl/config.h"

#define OPTION_BASE 256
#define MAX_OPTIONS 160

struct common_values {
	const char *socket;
	const char *request_id;
	bool json;
	bool help;
};

const struct option_row common_options[] = {
	{ "socket", 0, OPTION_STRING, "PATH",
	        "where the daemon listens (CTD_SOCKET, else " CTD_SOCKET_DEFAULT ")",
	        offsetof(struct common_values, socket) },
	{ "request-id", 0, OPTION_STRING, "ID", "the same id again gives the same answer and changes nothing",
	        offsetof(struct common_values, request_id) },
	{ "json", 0, OPTION_FLAG, NULL, "print the answer of the API", offsetof(struct common_values, json) },
	{ "help", 'h', OPTION_FLAG, NULL, "print what the command takes",
	        offsetof(struct common_values, help) },
	{ 0 },
};

/* What is accepted in this call: exactly one of row and config is set. */
struct entry {
	const struct option_row *row;
	const struct config_row *config;
	void *values;
	bool negated;
	char name[48];
};

struct scan {
	struct entry entries[MAX_OPTIONS];
	struct option longs[MAX_OPTIONS + 1];
	char shorts[2 * MAX_OPTIONS + 4];
	size_t n, n_shorts;
};

int string_list_add(struct string_list *l, const char *item)
{
	const char **items = reallocarray(l->items, l->n + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;

	items[l->n++] = item;
	l->items = items;
	return 0;
}

static struct entry *scan_add(struct scan *s, const char *prefix, const char *name, bool argument)
{
	if (s->n == MAX_OPTIONS)
		abort(); /* a table outgrew its room: met by the first run of any test */

	struct entry *e = &s->entries[s->n];
	(void)snprintf(e->name, sizeof(e->name), "%s%s", prefix, name); /* names are ours and short */
	s->longs[s->n] = (struct option){ e->name, argument ? required_argument : no_argument, NULL,
		OPTION_BASE + (int)s->n };
	s->n++;

	return e;
}

static void scan_add_rows(struct scan *s, const struct option_row *rows, void *values)
{
	for (const struct option_row *row = rows; row && row->name; row++) {
		struct entry *e = scan_add(s, "", row->name, row->metavar != NULL);
		e->row = row;
		e->values = values;

		if (row->letter) {
			s->shorts[s->n_shorts++] = row->letter;
			if (row->metavar)
				s->shorts[s->n_shorts++] = ':';
		}
	}
}

static void scan_add_config(struct scan *s, const struct config_row *row)
{
	for (; row->option; row++) {
		scan_add(s, "", row->option, row->metavar != NULL)->config = row;
		if (row->kind != CONFIG_BOOL)
			continue;

		struct entry *e = scan_add(s, "no-", row->option, false);
		e->config = row;
		e->negated = true;
	}
}

/* order: '+' stops at the first operand, '-' returns operands in order, 0 permutes. */
static void scan_init(struct scan *s, char order)
{
	*s = (struct scan){ 0 };
	if (order)
		s->shorts[s->n_shorts++] = order;
	s->shorts[s->n_shorts++] = ':';

	optind = 0;
	opterr = 0;
}

static const char *next_name(void *state)
{
	struct {
		const struct scan *scan;
		size_t i;
	} *walk = state;

	return walk->i < walk->scan->n ? walk->scan->entries[walk->i++].name : NULL;
}

static const struct entry *scan_find(const struct scan *s, int value)
{
	if (value >= OPTION_BASE)
		return &s->entries[value - OPTION_BASE];

	for (size_t i = 0; i < s->n; i++)
		if (s->entries[i].row && s->entries[i].row->letter == value)
			return &s->entries[i];

	return NULL;
}

static int fail_unknown_letter(const struct scan *s, int letter, struct ct_error *err)
{
	struct strbuf known = STRBUF_INIT;

	for (const char *p = s->shorts; *p; p++)
		if (*p != '+' && *p != '-' && *p != ':')
			(void)strbuf_printf(&known, "%s-%c", known.len ? ", " : "", *p); /* only a hint */

	int r = ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
	        "unknown option \"-%c\"; it takes %s and long options (--help)", letter,
	        known.data ? known.data : "no short ones");
	strbuf_done(&known);
	return r;
}

/* word: as it stands in argv, with its dashes. */
static int fail_unknown_long(const struct scan *s, const char *word, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf candidates = STRBUF_INIT;
	struct {
		const struct scan *scan;
		size_t i;
	} walk = { s, 0 };
	char name[64];

	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="),
	        word + 2); /* cut short: unknown all the same */
	for (size_t i = 0; i < s->n; i++)
		if (*name && str_has_prefix(s->entries[i].name, name))
			(void)strbuf_printf(
			        &candidates, "%s--%s", candidates.len ? ", " : "", s->entries[i].name);
	if (candidates.len)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "option \"--%s\" is ambiguous: %s",
		        name, candidates.data);

	const char *near = suggest(name, next_name, &walk);
	return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
	        near ? "unknown option \"--%s\"; did you mean --%s?"
	             : "unknown option \"--%s\"; --help lists them",
	        name, near);
}

static int fail_option(const struct scan *s, int c, char *const *argv, struct ct_error *err)
{
	const struct entry *e = optopt ? scan_find(s, optopt) : NULL;

	if (e && c == ':')
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "option --%s needs a value: --%s %s",
		        e->name, e->name, e->row ? e->row->metavar : e->config->metavar);
	if (e)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "option --%s takes no value", e->name);
	if (optopt)
		return fail_unknown_letter(s, optopt, err);

	return fail_unknown_long(s, argv[optind - 1], err);
}

static int store_number(const struct option_row *row, int64_t *ret, const char *value, struct ct_error *err)
{
	uint64_t n = 0;
	int r;

	if (row->kind == OPTION_SECONDS) {
		r = parse_duration_usec(value, &n);
		n = n / 1000000 + (n % 1000000 > 0);
	} else
		r = parse_u64(value, &n);
	if (r < 0 || n > INT64_MAX)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "--%s: \"%s\" is not %s", row->name,
		        value,
		        row->kind == OPTION_SECONDS ? "a time: seconds, or a number with s, m or h"
		                                    : "a number");

	*ret = (int64_t)n;
	return 0;
}

static int store(const struct entry *e, json_t *config, const char *value, struct ct_error *err)
{
	if (e->config)
		return config_apply_option(config, e->config, value, e->negated, err);

	void *target = (char *)e->values + e->row->offset;
	switch (e->row->kind) {
	case OPTION_FLAG: *(bool *)target = true; return 0;
	case OPTION_CLEAR: *(bool *)target = false; return 0;
	case OPTION_STRING: *(const char **)target = value; return 0;
	case OPTION_INT:
	case OPTION_SECONDS: return store_number(e->row, target, value, err);
	case OPTION_LIST: return string_list_add(target, value);
	}
	return -EINVAL;
}

static void apply_common(struct context *ctx, const struct common_values *v)
{
	if (v->socket)
		ctx->client.socket_path = v->socket;
	if (v->request_id)
		ctx->client.request_id = v->request_id;
	ctx->json = ctx->json || v->json;
	ctx->help = ctx->help || v->help;
}

/* The program's words begin at argv[at]; the container's name, if it was met, is put before them. */
static void set_operands(struct context *ctx, char *name, int at)
{
	if (name)
		ctx->argv[--at] = name;
	ctx->operands = ctx->argv + at;
	ctx->n_operands = (size_t)(ctx->argc - at);
}

/* Until the options end; *ret_name is the first operand when operands are returned in order. */
static int scan_run(
        struct scan *s, struct context *ctx, json_t *config, char **ret_name, struct ct_error *err)
{
	int c;

	while ((c = getopt_long(ctx->argc, ctx->argv, s->shorts, s->longs, NULL)) != -1) {
		if (c == 1 && *ret_name)
			return optind - 1;
		if (c == 1) {
			*ret_name = optarg;
			continue;
		}
		if (c == '?' || c == ':')
			return fail_option(s, c, ctx->argv, err);

		int r = store(scan_find(s, c), config, optarg, err);
		if (r < 0)
			return r;
	}

	return optind;
}

static int check_operands(const struct context *ctx, struct ct_error *err)
{
	const struct command *c = ctx->command;

	if (ctx->n_operands < c->min_operands)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "%s: %s is missing; it takes: ctctl %s %s", c->name,
		        ctx->n_operands == 0 ? "an operand" : "something", c->name, c->operands);
	if (ctx->n_operands > c->max_operands && c->max_operands == 0)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "%s: \"%s\" is too much; it takes options only", c->name, ctx->operands[0]);
	if (ctx->n_operands > c->max_operands)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "%s: \"%s\" is too much; it takes: ctctl %s %s", c->name,
		        ctx->operands[c->max_operands], c->name, c->operands);

	return 0;
}

int options_parse(struct context *ctx, void *values, json_t *config, struct ct_error *err)
{
	struct common_values common = { 0 };
	struct scan s;
	char *name = NULL;

	scan_init(&s, ctx->command->takes_command ? '-' : 0);
	scan_add_rows(&s, common_options, &common);
	scan_add_rows(&s, ctx->command->options, values);
	if (ctx->command->takes_config || ctx->command->takes_limits)
		scan_add_config(&s, ctx->command->takes_config ? config_rows : config_limits);

	int r = scan_run(&s, ctx, config, &name, err);
	if (r < 0)
		return r;

	set_operands(ctx, name, r);
	apply_common(ctx, &common);
	if (ctx->help)
		return -ECANCELED;

	return check_operands(ctx, err);
}

int options_parse_global(struct context *ctx, int argc, char **argv, struct ct_error *err)
{
	struct common_values common = { 0 };
	struct scan s;
	char *none = NULL;

	ctx->argc = argc;
	ctx->argv = argv;
	scan_init(&s, '+');
	scan_add_rows(&s, common_options, &common);

	int r = scan_run(&s, ctx, NULL, &none, err);
	if (r < 0)
		return r;

	apply_common(ctx, &common);
	return r;
}
