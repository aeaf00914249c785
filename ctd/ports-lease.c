/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses and published ports as leases in the database.
 *
 * Addresses are given by people (--ip), or taken from a range: the node's private ones for mode nat, those of
 * the named network. The address in a range follows from the container's number where it is free, so that it
 * stays the same for life. Where it is not, the leases of the range are walked in order, by one query, to the
 * first gap between them. Two containers that ask for the same meet in the database's constraints.
 */
#include "ctd/ports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ctd/ids.h"
#include "ctd/manager.h"

#define SEARCH_BITS 32 /* of a larger range, only so much is looked at */

struct lease_list {
	struct container *container;
	struct address_row *rows;
	size_t n;
	struct lease *given; /* of ranges */
	unsigned n_given;
	struct {
		char address[IP_ADDR_STRLEN], scope[96];
	} * texts;
};

static void list_done(struct lease_list *list)
{
	free(list->rows);
	free(list->texts);
	free(list->given);
}

static int list_init(struct lease_list *list, struct container *c, const struct config *config)
{
	size_t max = 0;

	for (unsigned i = 0; i < config->n_nets; i++)
		max += config->nets[i].n_ips * (config->nets[i].n_trunk ?: 1) + 2;
	*list = (struct lease_list){ .container = c };
	list->rows = calloc(max + 1, sizeof(*list->rows));
	list->texts = calloc(max + 1, sizeof(*list->texts));
	list->given = calloc(2 * config->n_nets + 1, sizeof(*list->given));
	if (list->rows && list->texts && list->given)
		return 0;
	list_done(list);
	return -ENOMEM;
}

static void list_add(struct lease_list *list, const struct ip_addr *a, const char *scope, const char *device)
{
	struct ip_addr own = *a;
	char *address = list->texts[list->n].address, *where = list->texts[list->n].scope;

	if (*scope)
		own.prefix = ip_full_prefix(&own); /* there it says how large the segment is */
	(void)snprintf(where, sizeof(list->texts[0].scope), "%s", scope); /* as long */
	list->rows[list->n++] = (struct address_row){
		.address = ip_format(&own, address, IP_ADDR_STRLEN),
		.ctid = list->container->row.ctid,
		.device = device,
		.scope = where,
	};
}

/* ---- ranges ---- */

/* What may not be given out: the network's own address and its broadcast, the gateway. */
static bool is_reserved(const struct ip_addr *range, const struct ip_addr *gateway, const struct ip_addr *a)
{
	struct ip_addr one;
	uint64_t last = range->family == AF_INET ? (1ULL << (32 - range->prefix)) - 1 : UINT64_MAX;

	if (gateway->family && ip_equal(gateway, a))
		return true;
	if (ip_nth(range, 0, &one) == 0 && ip_equal(&one, a))
		return true;
	return range->family == AF_INET && ip_nth(range, last, &one) == 0 && ip_equal(&one, a);
}

static bool is_free(const struct container *c, const char *scope, const struct ip_addr *a)
{
	char text[IP_ADDR_STRLEN], owner[33];

	return store_address_owner(c->manager->store, scope, ip_format(a, text, sizeof(text)), owner) == 0 ||
	       str_eq(owner, c->row.ctid);
}

static bool is_ours_already(const struct lease_list *list, const char *scope, const struct ip_addr *a)
{
	char text[IP_ADDR_STRLEN];

	(void)ip_format(a, text, sizeof(text));
	for (size_t i = 0; i < list->n; i++)
		if (str_eq(list->rows[i].address, text) && str_eq(list->rows[i].scope, scope))
			return true;
	return false;
}

static uint64_t size_of(const struct ip_addr *range)
{
	unsigned bits = (range->family == AF_INET ? 32U : 128U) - range->prefix;

	return 1ULL << (bits < SEARCH_BITS ? bits : SEARCH_BITS);
}

/* A walk over what is taken; addresses are numbers within the range. */
struct search {
	const struct lease_list *list;
	const struct ip_addr *range, *gateway;
	const char *scope;
	uint64_t first; /* where to begin */
	uint64_t next;  /* all before it are taken, or may not be given */
	struct ip_addr found;
};

/* What may be given of a gap, before end. All but a few may be, so this is short. */
static bool search_gap(struct search *s, uint64_t end)
{
	for (; s->next < end; s->next++)
		if (ip_nth(s->range, s->next, &s->found) == 0 &&
		        !is_reserved(s->range, s->gateway, &s->found) &&
		        !is_ours_already(s->list, s->scope, &s->found))
			return true;
	return false;
}

/* The number within the range of an address as the database writes its bounds: of its low 64 bits. */
static uint64_t place_in(const struct ip_addr *range, const char *bound)
{
	size_t len = strlen(bound), low = range->family == AF_INET ? 8 : 16;
	uint64_t base = 0;

	for (size_t i = ip_len(range) - low / 2; i < ip_len(range); i++)
		base = base << 8 | range->bytes[i];
	return strtoull(bound + len - low, NULL, 16) - base;
}

static int on_taken(const char *first, const char *last, void *userdata)
{
	struct search *s = userdata;

	if (search_gap(s, place_in(s->range, first)))
		return 1;
	s->next = place_in(s->range, last) + 1;
	return 0;
}

/* From one place to before another. */
static bool search_part(struct search *s, uint64_t begin, uint64_t end)
{
	struct manager *m = s->list->container->manager;
	char from[IP_ADDR_STRLEN], to[IP_ADDR_STRLEN];
	struct ip_addr a, b;
	int r;

	if (begin >= end || ip_nth(s->range, begin, &a) < 0 || ip_nth(s->range, end - 1, &b) < 0)
		return false;
	s->next = begin;
	r = store_address_taken(m->store,
	        &(struct address_row){ .address = ip_format(&a, from, sizeof(from)),
	                .ctid = s->list->container->row.ctid,
	                .scope = s->scope },
	        ip_format(&b, to, sizeof(to)), on_taken, s);
	return r > 0 || (r == 0 && search_gap(s, end));
}

/* A free address, from the container's number on, then from the beginning. Number 1 gets the second: the
 * first looks like a gateway to people. */
static bool search(struct search *s, struct ip_addr *ret)
{
	uint64_t size = size_of(s->range), begin = (s->first + s->list->container->row.number + 1) % size;

	if (!search_part(s, begin, size) && !search_part(s, 0, begin))
		return false;
	*ret = s->found;
	return true;
}

/* What the interface has of the range already. */
static bool keep(const struct lease_list *list, const char *device, const struct ip_addr *range,
        const struct ip_addr *gateway, const char *scope, struct ip_addr *ret)
{
	const struct container *c = list->container;

	for (unsigned i = 0; i < c->n_leases; i++) {
		const struct ip_addr *a = &c->leases[i].address;

		if (!str_eq(c->leases[i].device, device) || !ip_contains(range, a) ||
		        is_reserved(range, gateway, a) || is_ours_already(list, scope, a) ||
		        !is_free(c, scope, a))
			continue;
		*ret = *a;
		return true;
	}
	return false;
}

static void give(struct lease_list *list, const struct ip_addr *a, const char *scope, const char *device)
{
	struct lease *lease = &list->given[list->n_given++];

	lease->address = *a;
	(void)snprintf(lease->device, sizeof(lease->device), "%s", device); /* as long at most */
	list_add(list, a, scope, device);
}

static int fail_full(const struct network *network, int family, struct ct_error *err)
{
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "the %s ranges of the network \"%s\" have no free address left: give one that was freed, or another network",
	        family == AF_INET ? "IPv4" : "IPv6", network->name);
}

static bool has_family(const struct config_net *net, int family)
{
	for (unsigned i = 0; i < net->n_ips; i++)
		if (net->ips[i].family == family)
			return true;
	return false;
}

/* An address of the family from the ranges of a named network, unless one was asked for. */
static int give_of_network(struct lease_list *list, const struct config_net *net,
        const struct net_attach *attach, int family, struct ct_error *err)
{
	const struct network *network = attach->network;
	const struct ip_addr *gateway = &attach->gateway[family == AF_INET6];
	struct search s = { .list = list, .gateway = gateway, .scope = attach->scope };
	struct ip_addr found;
	bool any = false;

	if (has_family(net, family))
		return 0;
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < network->n_ranges; i++) {
			const struct ip_addr *range = &network->ranges[i];

			if (range->family != family)
				continue;
			any = true;
			s.range = range;
			if (pass == 0 ? keep(list, net->name, range, gateway, attach->scope, &found)
			              : search(&s, &found)) {
				give(list, &found, attach->scope, net->name);
				return 0;
			}
		}
	return any ? fail_full(network, family, err) : 0;
}

/* Several instances of ctd on one host may well have the same range, and none sees what the others give. Each
 * begins at an eighth of its own, by its user ids, so that their containers do not meet: no instance has more
 * of them than there are addresses in an eighth of the default. */
static uint64_t first_private(const struct manager *m, const struct ip_addr *range)
{
	return (((uint64_t)m->conf.id_start >> IDS_RANGE_SHIFT) + 8 - IDS_RANGE_FIRST) % 8 *
	       (size_of(range) / 8);
}

/* Of the node's range for mode nat. */
static int give_private(struct lease_list *list, const struct config_net *net, const struct ip_addr *range,
        struct ct_error *err)
{
	const struct ip_addr none = { 0 };
	struct search s = { .list = list,
		.range = range,
		.gateway = &none,
		.scope = "",
		.first = first_private(list->container->manager, range) };
	char text[IP_ADDR_STRLEN];
	struct ip_addr found;

	if (range->family == 0)
		return 0;
	if (!keep(list, net->name, range, &none, "", &found) && !search(&s, &found))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "the private range %s has no free address left; a larger one can be set in ctd.conf (nat-network)",
		        ip_format(range, text, sizeof(text)));
	give(list, &found, "", net->name);
	return 0;
}

/* ---- all of a container ---- */

static int lease_net(struct lease_list *list, const struct config *config, const struct config_net *net,
        struct ct_error *err)
{
	const struct manager *m = list->container->manager;
	struct net_attach attach;
	int r;

	r = network_attach(m, net, &attach, err);
	if (r >= 0)
		r = ports_check_net(m, config, net, &attach, err);
	if (r < 0)
		return r;
	for (unsigned k = 0; k < (attach.n_trunk ?: 1); k++) {
		const struct net_attach at = attach.n_trunk ? network_attach_vlan(&attach, k) : attach;

		for (unsigned i = 0; i < net->n_ips; i++)
			list_add(list, &net->ips[i], at.scope, net->name);
	}
	if (attach.network) {
		r = give_of_network(list, net, &attach, AF_INET, err);
		return r < 0 ? r : give_of_network(list, net, &attach, AF_INET6, err);
	}
	if (attach.mode != CONFIG_NET_NAT || net->n_ips > 0)
		return 0;
	r = give_private(list, net, &m->conf.nat_network, err);
	return r < 0 ? r : give_private(list, net, &m->conf.nat_network6, err);
}

static int lease_publish(struct container *c, const struct config *config, struct ct_error *err)
{
	_cleanup_free_ struct publish_row *rows = NULL;
	_cleanup_free_ char(*texts)[IP_ADDR_STRLEN] = NULL;
	size_t total = 0, n = 0;

	for (unsigned i = 0; i < config->n_publish; i++)
		total += config->publish[i].count;
	rows = calloc(total + 1, sizeof(*rows));
	texts = calloc(config->n_publish + 1, sizeof(*texts));
	if (!rows || !texts)
		return ct_error_set(err, -ENOMEM, "publish", "out of memory");
	for (unsigned i = 0; i < config->n_publish; i++) {
		const struct config_publish *p = &config->publish[i];

		if (p->address.family)
			(void)ip_format_addr(&p->address, texts[i], sizeof(texts[i]));
		for (unsigned k = 0; k < p->count; k++)
			rows[n++] = (struct publish_row){ p->protocol, texts[i], (uint16_t)(p->port + k) };
	}
	return store_publish_set(c->manager->store, c->row.ctid, rows, n, err);
}

int ports_lease(struct container *c, const struct config *config, struct ct_error *err)
{
	struct lease_list list;
	int r = list_init(&list, c, config);

	if (r < 0)
		return ct_error_set(err, r, "network", "out of memory");
	for (unsigned i = 0; r >= 0 && i < config->n_nets; i++)
		if (config_net_is_there(&config->nets[i]))
			r = lease_net(&list, config, &config->nets[i], err);
	if (r >= 0)
		r = store_addresses_set(c->manager->store, c->row.ctid, list.rows, list.n, err);
	if (r >= 0)
		r = lease_publish(c, config, err);
	if (r >= 0) {
		free(c->leases);
		c->leases = TAKE_PTR(list.given);
		c->n_leases = list.n_given;
	}
	list_done(&list);
	return r < 0 ? r : 0;
}

json_t *ports_leased(const struct container *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < c->n_leases; i++) {
		char text[IP_ADDR_STRLEN];

		if (json_array_append_new(
		            list, json_pack("[s, s]", c->leases[i].device,
		                          ip_format(&c->leases[i].address, text, sizeof(text)))) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int read_lease(const json_t *pair, struct lease *ret)
{
	const char *device = json_string_value(json_array_get(pair, 0));
	const char *address = json_string_value(json_array_get(pair, 1));

	if (!device || strlen(device) >= sizeof(ret->device) || !address ||
	        ip_parse(address, &ret->address) < 0 ||
	        ret->address.prefix != ip_full_prefix(&ret->address)) /* one, and no range */
		return -EINVAL;
	(void)snprintf(ret->device, sizeof(ret->device), "%s", device); /* fits */
	return 0;
}

static bool has_lease(const struct container *c, const struct lease *wanted)
{
	for (unsigned i = 0; i < c->n_leases; i++)
		if (str_eq(c->leases[i].device, wanted->device) &&
		        ip_equal(&c->leases[i].address, &wanted->address))
			return true;
	return false;
}

int ports_lease_same(struct container *c, const json_t *addresses, struct ct_error *err)
{
	const size_t n = json_array_size(addresses);
	_cleanup_free_ struct lease *wanted = calloc(n + 1, sizeof(*wanted));
	int r;

	c->leases = calloc(n + 1, sizeof(*c->leases)); /* it is new, and has none */
	if (!wanted || !c->leases)
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	if (n > 2 * (size_t)c->config.n_nets) /* one of each family */
		return ct_error_field(
		        err, "addresses", "there are more addresses than its interfaces can have");
	for (size_t i = 0; i < n; i++)
		if (read_lease(json_array_get(addresses, i), &wanted[i]) < 0)
			return ct_error_field(
			        err, "addresses", "addresses must be pairs of an interface and an address");
	memcpy(c->leases, wanted, n * sizeof(*wanted));
	c->n_leases = (unsigned)n;
	r = ports_lease(c, &c->config, err);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		char text[IP_ADDR_STRLEN];

		if (!has_lease(c, &wanted[i]))
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EADDRNOTAVAIL,
			        "its address %s on %s is taken on that node, or of none of its ranges, and its processes have it (move it stopped, or give it one by ip=)",
			        ip_format_addr(&wanted[i].address, text, sizeof(text)), wanted[i].device);
	}
	return r;
}

/* ---- what the database has ---- */

static bool is_configured(const struct config *config, const char *device, const struct ip_addr *a)
{
	for (unsigned i = 0; i < config->n_nets; i++)
		for (unsigned j = 0; j < config->nets[i].n_ips; j++) {
			const struct ip_addr *own = &config->nets[i].ips[j];

			if (own->family == a->family && memcmp(own->bytes, a->bytes, ip_len(a)) == 0 &&
			        str_eq(config->nets[i].name, device))
				return true;
		}
	return false;
}

static int load_one(const struct address_row *row, void *userdata)
{
	struct container *c = container_by_ctid(userdata, row->ctid);
	struct lease *grown;
	struct ip_addr a;

	if (!c || ip_parse(row->address, &a) < 0 || is_configured(&c->config, row->device, &a))
		return 0;
	grown = reallocarray(c->leases, c->n_leases + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	c->leases = grown;
	grown[c->n_leases] = (struct lease){ .address = a };
	(void)snprintf(grown[c->n_leases].device, sizeof(grown[c->n_leases].device), "%s",
	        row->device); /* as long at most */
	c->n_leases++;
	return 0;
}

int ports_load(struct manager *m, struct ct_error *err)
{
	return store_address_each(m->store, load_one, m, err);
}

static int reload_one(const struct address_row *row, void *userdata)
{
	struct container *c = userdata;

	return str_eq(row->ctid, c->row.ctid) ? load_one(row, c->manager) : 0;
}

void ports_reload(struct container *c)
{
	c->n_leases = 0;
	(void)store_address_each(c->manager->store, reload_one, c, NULL); /* fsck tells of what is missing */
}

struct lease_check {
	const struct container *container;
	size_t n, n_known;
};

static bool is_leased(const struct container *c, const char *device, const struct ip_addr *a)
{
	for (unsigned i = 0; i < c->n_leases; i++)
		if (str_eq(c->leases[i].device, device) && ip_equal(&c->leases[i].address, a))
			return true;
	return false;
}

static int check_lease(const struct address_row *row, void *userdata)
{
	struct lease_check *check = userdata;
	const struct container *c = check->container;
	struct ip_addr a;

	if (!str_eq(row->ctid, c->row.ctid) || ip_parse(row->address, &a) < 0)
		return 0;
	check->n++;
	if (is_configured(&c->config, row->device, &a) || is_leased(c, row->device, &a))
		check->n_known++;
	return 0;
}

/* How many addresses the interface must have that it did not ask for. */
static size_t wanted_of_ranges(const struct manager *m, const struct config_net *net)
{
	struct net_attach attach;
	size_t n = 0;

	if (!config_net_is_there(net) || network_attach(m, net, &attach, NULL) < 0)
		return 0;
	if (!attach.network)
		return attach.mode == CONFIG_NET_NAT && net->n_ips == 0
		               ? (m->conf.nat_network.family != 0) + (m->conf.nat_network6.family != 0)
		               : 0;
	for (unsigned f = 0; f < 2; f++) {
		int family = f ? AF_INET6 : AF_INET;

		for (unsigned i = 0; i < attach.network->n_ranges; i++)
			if (attach.network->ranges[i].family == family && !has_family(net, family)) {
				n++;
				break;
			}
	}
	return n;
}

int ports_check_leases(struct container *c, struct ct_error *err)
{
	struct lease_check check = { .container = c };
	size_t wanted = 0;
	int r;

	for (unsigned i = 0; i < c->config.n_nets; i++)
		wanted += c->config.nets[i].n_ips * (c->config.nets[i].n_trunk ?: 1) +
		          wanted_of_ranges(c->manager, &c->config.nets[i]);

	r = store_address_each(c->manager->store, check_lease, &check, err);
	return r < 0 ? r : check.n != wanted || check.n_known != wanted;
}
