/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Published ports: what of the host's leads into containers.
 *
 * A forward follows from the configuration and the addresses that the container holds, so it can be said at
 * any time and needs no record of its own. The kernel's list is compared with what all running containers are
 * to have: what leads to nobody goes after a death of ctd, and fsck tells of both directions.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "ctd/manager.h"
#include "ctd/ports-private.h"

void forwards_done(struct forwards *f)
{
	free(f->list);
	*f = (struct forwards){ 0 };
}

/* Where a forward of the family leads: the first address of the container that the host routes to. */
static bool find_target(const struct container *c, int family, struct ip_addr *ret)
{
	for (unsigned i = 0; i < c->config.n_nets; i++) {
		const struct config_net *net = &c->config.nets[i];
		struct net_attach attach;

		if (!config_net_is_there(net) || network_attach(c->manager, net, &attach, NULL) < 0 ||
		        *attach.scope)
			continue;
		for (unsigned k = 0; k < c->n_leases; k++)
			if (str_eq(c->leases[k].device, net->name) && c->leases[k].address.family == family) {
				*ret = c->leases[k].address;
				return true;
			}
		for (unsigned k = 0; k < net->n_ips; k++)
			if (net->ips[k].family == family &&
			        net->ips[k].prefix == ip_full_prefix(&net->ips[k])) {
				*ret = net->ips[k];
				return true;
			}
	}
	return false;
}

int forwards_of(const struct container *c, struct forwards *ret, struct ct_error *err)
{
	struct ip_addr to[2];
	const bool has[2] = { find_target(c, AF_INET, &to[0]), find_target(c, AF_INET6, &to[1]) };

	*ret = (struct forwards){ 0 };
	if (c->config.n_publish == 0)
		return 0;
	ret->list = calloc(2 * c->config.n_publish, sizeof(*ret->list));
	if (!ret->list)
		return ct_error_set(err, -ENOMEM, "publish", "out of memory");
	for (unsigned i = 0; i < c->config.n_publish; i++) {
		const struct config_publish *p = &c->config.publish[i];
		size_t before = ret->n;

		for (unsigned f = 0; f < 2; f++)
			if (has[f] && (!p->address.family || p->address.family == (f ? AF_INET6 : AF_INET)))
				ret->list[ret->n++] = (struct net_publish){ p->protocol, p->address, p->port,
					p->to_port, p->count, to[f] };
		if (ret->n == before) {
			free(ret->list);
			*ret = (struct forwards){ 0 };
			return ct_error_field(err, "publish",
			        "port %u cannot be published: the container has no address of mode nat or routed for it",
			        p->port);
		}
	}
	return 0;
}

static bool same_forward(const struct net_publish *a, const struct net_publish *b)
{
	return a->protocol == b->protocol && ip_equal(&a->address, &b->address) && a->port == b->port &&
	       a->to_port == b->to_port && a->count == b->count && ip_equal(&a->to, &b->to);
}

static bool has_forward(const struct forwards *f, const struct net_publish *one)
{
	for (size_t i = 0; i < f->n; i++)
		if (same_forward(&f->list[i], one))
			return true;
	return false;
}

int forwards_add(struct manager *m, const struct forwards *f, struct ct_error *err)
{
	return f->n ? net_publish_add(m->net, f->list, f->n, err) : 0;
}

void forwards_remove(struct container *c)
{
	struct forwards forwards = { 0 };

	if (c->config.n_publish && forwards_of(c, &forwards, NULL) >= 0 && forwards.n)
		(void)net_publish_remove(c->manager->net, forwards.list, forwards.n, NULL);
	forwards_done(&forwards);
}

int forwards_change(
        struct container *c, const struct forwards *before, const struct forwards *now, struct ct_error *err)
{
	struct net_context *net = c->manager->net;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < before->n; i++)
		if (!has_forward(now, &before->list[i]))
			r = net_publish_remove(net, &before->list[i], 1, err);
	return r < 0 ? r : forwards_add(c->manager, now, err);
}

/* ---- of all containers ---- */

struct forward_check {
	struct net_publish *there;
	size_t n, max;
	bool *known;
};

static int collect_forward(const struct net_publish *publish, void *userdata)
{
	struct forward_check *check = userdata;

	if (check->n == check->max) {
		size_t max = check->max ? 2 * check->max : 64;
		struct net_publish *grown = reallocarray(check->there, max, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		check->there = grown;
		check->max = max;
	}
	check->there[check->n++] = *publish;
	return 0;
}

static int by_port(const void *a, const void *b)
{
	return (int)((const struct net_publish *)a)->port - (int)((const struct net_publish *)b)->port;
}

/* Marks one port of a forward as known. */
static bool mark(struct forward_check *check, const struct net_publish *f, unsigned k)
{
	size_t low = 0, high = check->n;
	uint16_t port = (uint16_t)(f->port + k);

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (check->there[middle].port < port)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < check->n && check->there[low].port == port; low++) {
		const struct net_publish *one = &check->there[low];

		if (one->protocol == f->protocol && one->address.family == f->address.family &&
		        memcmp(one->address.bytes, f->address.bytes, 16) == 0 &&
		        one->to_port == f->to_port + k && one->to.family == f->to.family &&
		        memcmp(one->to.bytes, f->to.bytes, ip_len(&f->to)) == 0) {
			check->known[low] = true;
			return true;
		}
	}
	return false;
}

static bool mark_all(struct forward_check *check, const struct forwards *f)
{
	bool all = true;

	for (size_t i = 0; i < f->n; i++)
		for (unsigned k = 0; k < f->list[i].count; k++)
			all &= mark(check, &f->list[i], k);
	return all;
}

int ports_check_publish(struct manager *m, void (*stray)(const struct net_publish *publish, void *userdata),
        void (*missing)(struct container *c, void *userdata), void *userdata, struct ct_error *err)
{
	struct forward_check check = { 0 };
	struct container *c, *next;
	int r;

	r = net_publish_dump(m->net, collect_forward, &check, err);
	if (r >= 0 && !(check.known = calloc(check.n + 1, sizeof(bool))))
		r = ct_error_set(err, -ENOMEM, "publish", "out of memory");
	if (r >= 0 && check.n)
		qsort(check.there, check.n, sizeof(*check.there), by_port);
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		struct forwards forwards = { 0 };

		if (r < 0 || !c->run.slot || !c->config.n_publish)
			continue;
		if (forwards_of(c, &forwards, NULL) >= 0 && !mark_all(&check, &forwards) && missing)
			missing(c, userdata);
		forwards_done(&forwards);
	}
	for (size_t i = 0; r >= 0 && i < check.n; i++)
		if (!check.known[i])
			stray(&check.there[i], userdata);
	free(check.there);
	free(check.known);
	return r < 0 ? r : 0;
}
