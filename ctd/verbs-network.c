/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Named networks: list, create, show, remove.
 *
 * Each is one durable transaction; what follows in the kernel (the ranges of a network of mode nat are
 * masqueraded) is brought about after it, and by any later start of ctd. A network that containers refer to
 * is not removed.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/ports.h"

static json_t *to_json(const struct manager *m, const struct network *network)
{
	json_t *object = NULL, *users = json_array();
	struct container *c, *next;
	unsigned leased = 0;
	char time[32];

	if (!users || json_parse(network->config, strlen(network->config), &object, NULL) < 0) {
		json_decref(users);
		return NULL;
	}
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		bool uses = false;

		for (unsigned i = 0; i < c->config.n_nets; i++) {
			const struct config_net *net = &c->config.nets[i];

			if (!str_eq(net->network, network->name))
				continue;
			uses = true;
			leased += net->n_ips;
			for (unsigned k = 0; k < c->n_leases; k++)
				leased += str_eq(c->leases[k].device, net->name);
		}
		if (uses)
			(void)json_array_append_new(
			        users, json_string(c->row.name)); /* shorter without memory */
	}
	(void)json_object_set_new(object, "name", json_string(network->name));
	(void)json_object_set_new(
	        object, "created", json_string(format_time_utc(time, sizeof(time), network->created_usec)));
	(void)json_object_set_new(object, "leased", json_integer(leased));
	(void)json_object_set_new(object, "containers", users);
	return object;
}

static int find(struct manager *m, struct call *call, struct network **ret, struct ct_error *err)
{
	const char *name = call_param(call, "name");
	char shown[128];

	*ret = network_by_name(m, name);
	return *ret ? 0
	            : ct_error_kind_set(err, CT_ERROR_NOT_FOUND, -ENOENT,
	                      "there is no network \"%s\" (ctctl network list shows all)",
	                      str_escape_to(shown, sizeof(shown), name, strlen(name)));
}

static int by_name(struct network *a, struct network *b)
{
	return strcmp(a->name, b->name);
}

int api_network_list(struct manager *m, struct call *call, struct ct_error *err)
{
	json_t *list = json_array();
	struct network *network, *next;

	HASH_SRT(hh, m->networks, by_name);
	HASH_ITER(hh, m->networks, network, next)
	if (json_array_append_new(list, to_json(m, network)) < 0) {
		json_decref(list);
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	}
	call_reply(call, 200, json_pack("{s:o}", "networks", list));
	return 0;
}

int api_network_show(struct manager *m, struct call *call, struct ct_error *err)
{
	struct network *network = NULL;
	int r = find(m, call, &network, err);

	if (r < 0)
		return r;
	call_reply(call, 200, to_json(m, network));
	return 0;
}

/* Ranges from which addresses of the host's own routes are given may not overlap: who has which is otherwise
 * a matter of luck. */
static int check_overlap(
        const struct manager *m, const struct network *new, const struct ip_addr *range, struct ct_error *err)
{
	const struct ip_addr *const own[] = { &m->conf.nat_network, &m->conf.nat_network6 };
	struct network *other, *next;
	char text[IP_ADDR_STRLEN];

	(void)ip_format(range, text, sizeof(text));
	if (new->mode != CONFIG_NET_NAT &&new->mode != CONFIG_NET_ROUTED)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (own[i]->family && ip_overlaps(own[i], range))
			return ct_error_field(err, "ranges",
			        "the range %s overlaps the node's private range (nat-network in ctd.conf)",
			        text);
	HASH_ITER(hh, m->networks, other, next)
	{
		if (other->mode != CONFIG_NET_NAT && other->mode != CONFIG_NET_ROUTED)
			continue;
		for (unsigned i = 0; i < other->n_ranges; i++)
			if (ip_overlaps(&other->ranges[i], range))
				return ct_error_field(err, "ranges",
				        "the range %s overlaps one of the network \"%s\"", text, other->name);
	}
	return 0;
}

static int insert(struct manager *m, struct network *network, struct ct_error *err)
{
	struct network_row row = {
		.name = network->name, .config = network->config, .created_usec = network->created_usec
	};
	int r;

	r = store_begin(m->store, true, err);
	if (r < 0)
		return r;
	r = store_network_insert(m->store, &row, err);
	if (r < 0) {
		store_rollback(m->store);
		return r;
	}
	r = store_commit(m->store, err);
	if (r < 0)
		return r;
	network->number = row.number;
	HASH_ADD_STR(m->networks, name, network);
	return 0;
}

static int delete (struct manager *m, struct network *network, struct ct_error *err)
{
	int r;

	r = store_begin(m->store, true, err);
	if (r < 0)
		return r;
	r = store_network_delete(m->store, network->name, err);
	if (r < 0) {
		store_rollback(m->store);
		return r;
	}
	r = store_commit(m->store, err);
	if (r < 0)
		return r;
	HASH_DEL(m->networks, network);
	network_free(network);
	return 0;
}

/* The body without the name is the configuration. */
static int make(struct manager *m, struct call *call, struct network *ret, struct ct_error *err)
{
	_cleanup_json_ json_t *config = json_copy((json_t *)call_body(call));
	const char *name = json_string_value(json_object_get(config, "name"));
	_cleanup_free_ char *copy = name ? strdup(name) : NULL;
	int r;

	if (!config || (name && !copy))
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	if (!name)
		return ct_error_field(err, "name", "a network needs a name");
	r = config_check_name("name", copy, err);
	if (r < 0)
		return r;
	if (network_by_name(m, copy))
		return ct_error_kind_set(err, CT_ERROR_STATE, -EEXIST,
		        "there is a network \"%s\" already: choose another name", copy);
	(void)json_object_del(config, "name"); /* it is there */
	r = network_read(config, copy, ret, err);
	for (unsigned i = 0; r >= 0 && i < ret->n_ranges; i++)
		r = check_overlap(m, ret, &ret->ranges[i], err);
	if (r < 0)
		return r;
	ret->created_usec = now_realtime_usec();
	ret->config = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	return ret->config ? 0 : ct_error_set(err, -ENOMEM, "network", "out of memory");
}

int api_network_create(struct manager *m, struct call *call, struct ct_error *err)
{
	struct network *network = calloc(1, sizeof(*network));
	int r;

	if (!network)
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	r = make(m, call, network, err);
	if (r >= 0)
		r = insert(m, network, err);
	if (r < 0) {
		network_free(network);
		return r;
	}
	call_set_object(call, network->name);
	if (network->mode == CONFIG_NET_NAT) {
		r = network_host_apply(m, err);
		if (r < 0) {
			(void)delete (m, network, NULL); /* nothing uses it */
			(void)network_host_apply(m, NULL);
			return r;
		}
	}
	call_reply(call, 201, to_json(m, network));
	return 0;
}

/* The configuration with another value of cut, durably. */
static int store_cut(struct manager *m, struct network *network, bool cut, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL;
	_cleanup_free_ char *text = NULL;
	int r = json_parse(network->config, strlen(network->config), &config, err);

	if (r < 0)
		return r;
	if (cut)
		(void)json_object_set_new(config, "cut", json_true()); /* looked at below */
	else
		(void)json_object_del(config, "cut"); /* it need not be there */
	text = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	if (!text || !json_object_get(config, "cut") == cut)
		return ct_error_set(err, -ENOMEM, "network", "out of memory");

	r = store_begin(m->store, true, err);
	if (r < 0)
		return r;
	r = store_network_update(m->store, network->name, text, err);
	if (r < 0) {
		store_rollback(m->store);
		return r;
	}
	r = store_commit(m->store, err);
	if (r < 0)
		return r;
	free(network->config);
	network->config = TAKE_PTR(text);
	network->cut = cut;
	return 0;
}

static bool is_on(const struct container *c, const struct network *network)
{
	for (unsigned i = 0; i < c->config.n_nets; i++)
		if (str_eq(c->config.nets[i].network, network->name))
			return true;
	return false;
}

/* Those that are being started or changed have it from the record. */
static int limit_all(struct manager *m, const struct network *network, struct ct_error *err)
{
	struct container *c, *next;
	struct ct_error one = { 0 };
	int r = 0;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (is_on(c, network) && container_has_init(c) && c->run.pid > 0 && c->run.slot &&
	        ports_limit(c, &one) < 0)
		r = ct_error_set(err, -EIO, "network", "the network of \"%s\" could not be changed: %s",
		        c->row.name, one.text);
	return r;
}

int api_network_set(struct manager *m, struct call *call, struct ct_error *err)
{
	struct {
		bool cut;
	} in = { false };
	static const struct json_field set_fields[] = {
		{ "cut", JSON_KIND_BOOL, 0, JSON_NO_HAS, true },
		{ NULL },
	};
	struct network *network = NULL;
	int r = find(m, call, &network, err);

	if (r >= 0)
		r = json_read(call_body(call), set_fields, &in, err);
	if (r >= 0 && in.cut != network->cut)
		r = store_cut(m, network, in.cut, err);
	if (r >= 0)
		r = limit_all(m, network, err);
	if (r < 0)
		return r;
	call_set_object(call, network->name);
	call_reply(call, 200, to_json(m, network));
	return 0;
}

int api_network_remove(struct manager *m, struct call *call, struct ct_error *err)
{
	struct network *network = NULL;
	const char *one = NULL;
	bool nat;
	unsigned n;
	int r;

	r = find(m, call, &network, err);
	if (r < 0)
		return r;
	n = network_count_users(m, network, &one);
	if (n > 0)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "the network \"%s\" is used by %u containers, \"%s\" among them", network->name, n,
		        one);
	nat = network->mode == CONFIG_NET_NAT;
	r = delete (m, network, err);
	if (r >= 0 && nat)
		r = network_host_apply(m, err);
	if (r < 0)
		return r;
	call_reply(call, 200, json_object());
	return 0;
}
