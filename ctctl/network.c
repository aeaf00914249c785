/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ctctl network: create, list, show, remove named networks; cut and restore a container's network.
 *
 * To cut is a key of the container's configuration (network_cut), so it lasts over restarts; the two commands
 * are a short way to set it.
 */

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"
#include "ctctl/command.h"
#include "ctctl/properties.h"
#include "ctctl/table.h"

struct create_values {
	const char *mode, *bridge, *uplink, *tenant;
	int64_t vlan, mtu;
	struct string_list ranges, gateways, resolvers;
	bool isolated;
};

static const struct option_row create_options[] = {
	{ "mode", 'm', OPTION_STRING, "MODE", "nat, routed, bridge, vlan or private",
	        offsetof(struct create_values, mode) },
	{ "range", 'r', OPTION_LIST, "NETWORK", "addresses of its containers; repeatable",
	        offsetof(struct create_values, ranges) },
	{ "gateway", 'g', OPTION_LIST, "ADDR", "router on the segment; one of each family",
	        offsetof(struct create_values, gateways) },
	{ "resolver", 0, OPTION_LIST, "ADDR", "resolver of its containers; repeatable",
	        offsetof(struct create_values, resolvers) },
	{ "bridge", 0, OPTION_STRING, "NAME", "a bridge of the host that is there",
	        offsetof(struct create_values, bridge) },
	{ "uplink", 'u', OPTION_STRING, "NAME", "link of the host to make a bridge or a VLAN on",
	        offsetof(struct create_values, uplink) },
	{ "vlan", 0, OPTION_INT, "ID", "1 to 4094", offsetof(struct create_values, vlan) },
	{ "mtu", 0, OPTION_INT, "BYTES", "of its interfaces", offsetof(struct create_values, mtu) },
	{ "tenant", 0, OPTION_STRING, "NAME", "only containers of this tenant may be on it",
	        offsetof(struct create_values, tenant) },
	{ "isolated", 0, OPTION_FLAG, NULL, "its containers do not see each other",
	        offsetof(struct create_values, isolated) },
	{ 0 },
};

static void create_values_done(struct create_values *v)
{
	string_list_done(&v->ranges);
	string_list_done(&v->gateways);
	string_list_done(&v->resolvers);
}

static int add_string(json_t *body, const char *key, const char *value, struct ct_error *err)
{
	if (value && json_object_set_new(body, key, json_string(value)) < 0)
		return ct_error_field(err, key, "--%s: the value is not UTF-8", key);
	return 0;
}

static int add_list(json_t *body, const char *key, const struct string_list *list, struct ct_error *err)
{
	json_t *array;

	if (list->n == 0)
		return 0;
	array = json_array();
	if (json_object_set_new(body, key, array) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++)
		if (json_array_append_new(array, json_string(list->items[i])) < 0)
			return ct_error_field(err, key, "\"%s\" is not UTF-8", list->items[i]);
	return 0;
}

static int add_number(json_t *body, const char *key, int64_t value)
{
	return value >= 0 && json_object_set_new(body, key, json_integer(value)) < 0 ? -ENOMEM : 0;
}

static int create_body(const char *name, const struct create_values *v, json_t *body, struct ct_error *err)
{
	int r;

	if (!v->mode)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "--mode is missing: nat, routed, bridge, vlan or private");
	if (v->ranges.n == 0)
		return ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "--range is missing, such as --range 10.1.0.0/24");
	r = add_string(body, "name", name, err);
	if (r >= 0)
		r = add_string(body, "mode", v->mode, err);
	if (r >= 0)
		r = add_list(body, "ranges", &v->ranges, err);
	if (r >= 0)
		r = add_list(body, "gateway", &v->gateways, err);
	if (r >= 0)
		r = add_list(body, "resolver", &v->resolvers, err);
	if (r >= 0)
		r = add_string(body, "bridge", v->bridge, err);
	if (r >= 0)
		r = add_string(body, "uplink", v->uplink, err);
	if (r >= 0)
		r = add_string(body, "tenant", v->tenant, err);
	if (r >= 0)
		r = add_number(body, "vlan", v->vlan);
	if (r >= 0)
		r = add_number(body, "mtu", v->mtu);
	if (r >= 0 && v->isolated && json_object_set_new(body, "isolated", json_true()) < 0)
		r = -ENOMEM;
	return r;
}

static int run_network_create(struct context *ctx, struct ct_error *err)
{
	CLEANUP(create_values_done) struct create_values v = { .vlan = -1, .mtu = -1 };
	_cleanup_json_ json_t *body = json_object(), *answer = NULL;

	if (!body)
		return -ENOMEM;
	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	r = create_body(ctx->operands[0], &v, body, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "POST", "/v1/networks", body, ctx->json ? &answer : NULL, err);
	if (r < 0 || !ctx->json)
		return r;

	return print_json(answer, err);
}

static int run_network_list(struct context *ctx, struct ct_error *err)
{
	static const char *const headings[] = { "NAME", "MODE", "RANGES", "GATEWAY", "LINK", "LEASED",
		"CONTAINERS", "AGE", NULL };
	_cleanup_table_ struct table t = { 0 };
	_cleanup_json_ json_t *answer = NULL;
	const json_t *network;
	size_t i;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", "/v1/networks", NULL, &answer, err);
	if (r < 0)
		return r;
	if (ctx->json)
		return print_json(answer, err);

	table_init(&t, headings);
	json_array_foreach(json_object_get(answer, "networks"), i, network)
	{
		const json_t *bridge = json_object_get(network, "bridge");
		char age[32];

		table_add_json(&t, json_object_get(network, "name"));
		table_add_json(&t, json_object_get(network, "mode"));
		table_add_json(&t, json_object_get(network, "ranges"));
		table_add_json(&t, json_object_get(network, "gateway"));
		table_add_json(&t, bridge ? bridge : json_object_get(network, "uplink"));
		table_add_json(&t, json_object_get(network, "leased"));
		table_add_format(&t, "%zu", json_array_size(json_object_get(network, "containers")));
		table_add(&t, age_of(age, sizeof(age), json_string_value(json_object_get(network, "created")),
		                      now_realtime_usec()));
	}

	return table_print(&t, err);
}

static int network_path(const char *name, struct strbuf *path)
{
	(void)strbuf_puts(path, "/v1/networks"); /* failures are kept in the buffer */

	return path_add_segment(path, name);
}

static int run_network_show(struct context *ctx, struct ct_error *err)
{
	static const char *const order[] = { "name", "mode", "ranges", "gateway", "resolver", "bridge",
		"uplink", "vlan", "mtu", "created", "leased", "containers", NULL };
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;
	r = network_path(ctx->operands[0], &path);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "GET", path.data, NULL, &answer, err);
	if (r < 0)
		return r;

	return ctx->json ? print_json(answer, err) : properties_print(answer, order, err);
}

static int run_network_remove(struct context *ctx, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	_cleanup_json_ json_t *answer = NULL;

	int r = options_parse(ctx, NULL, NULL, err);
	if (r < 0)
		return r;
	r = network_path(ctx->operands[0], &path);
	if (r < 0)
		return r;

	r = client_call(&ctx->client, "DELETE", path.data, NULL, ctx->json ? &answer : NULL, err);
	if (r < 0 || !ctx->json)
		return r;

	return print_json(answer, err);
}

struct cut_values {
	bool network;
};

static const struct option_row cut_options[] = {
	{ "network", 'n', OPTION_FLAG, NULL, "the name is that of a network: all interfaces on it",
	        offsetof(struct cut_values, network) },
	{ 0 },
};

static int set_cut_of_network(struct context *ctx, bool cut, struct ct_error *err)
{
	_cleanup_json_ json_t *body = json_pack("{s:b}", "cut", cut);

	for (size_t i = 0; i < ctx->n_operands; i++) {
		_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
		int r = body ? network_path(ctx->operands[i], &path) : -ENOMEM;

		if (r >= 0)
			r = client_call(&ctx->client, "PATCH", path.data, body, NULL, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_cut(struct context *ctx, bool cut, struct ct_error *err)
{
	_cleanup_json_ json_t *body = NULL;
	struct cut_values v = { false };

	int r = options_parse(ctx, &v, NULL, err);
	if (r < 0)
		return r;
	if (v.network)
		return set_cut_of_network(ctx, cut, err);
	body = cut ? json_pack("{s:{s:b}}", "config", "network_cut", 1)
	           : json_pack("{s:{s:n}}", "config", "network_cut");
	if (!body)
		return -ENOMEM;

	return command_each_container(ctx, "PATCH", NULL, body, NULL, err);
}

static int run_network_cut(struct context *ctx, struct ct_error *err)
{
	return set_cut(ctx, true, err);
}

static int run_network_restore(struct context *ctx, struct ct_error *err)
{
	return set_cut(ctx, false, err);
}

const struct command command_network_create = {
	.name = "network create",
	.family = "network",
	.operands = "NAME --mode MODE --range NETWORK...",
	.summary = "Make a network that containers can be connected to",
	.min_operands = 1,
	.max_operands = 1,
	.options = create_options,
	.run = run_network_create,
};

const struct command command_network_list = {
	.name = "network list",
	.family = "network",
	.operands = "",
	.summary = "List networks",
	.run = run_network_list,
};

const struct command command_network_show = {
	.name = "network show",
	.family = "network",
	.operands = "NETWORK",
	.summary = "Show one network",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_NETWORK,
	.run = run_network_show,
};

const struct command command_network_remove = {
	.name = "network remove",
	.family = "network",
	.operands = "NETWORK",
	.summary = "Remove a network that no container uses",
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_NETWORK,
	.run = run_network_remove,
};

const struct command command_network_cut = {
	.name = "network cut",
	.family = "network",
	.operands = "NAME...",
	.summary = "Let nothing in or out of containers, until it is restored",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = cut_options,
	.run = run_network_cut,
};

const struct command command_network_restore = {
	.name = "network restore",
	.family = "network",
	.operands = "NAME...",
	.summary = "Undo a cut",
	.min_operands = 1,
	.max_operands = OPERANDS_ANY,
	.completes = OPERAND_CONTAINER,
	.options = cut_options,
	.run = run_network_restore,
};
