/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names that containers know of each other: a part of /etc/hosts inside, written from outside.
 *
 * No service of the host's answers tenants for it, so there is none to be reached, flooded or taken over, and
 * nobody can ask for a name that he is not told: what stands in a container's file is what its tenant may
 * know. That are containers of the same tenant, by addresses at which it reaches them; of containers that are
 * nobody's in particular only those on the same private network, because all others may be strangers. So may
 * these: one that is called deb.debian.org inside would be that for its neighbours, and they are told the
 * names that ctd has for containers, each of which it has once, and no host names. The host knows all:
 * network-hosts.c.
 *
 * Whenever something has changed that a name or an address may follow from (network_hosts_later), each
 * running container is looked at: some at a time, since one of a tenant with a thousand changes a thousand
 * files. A change in such a round begins none of its own, or who is made last would never be reached where
 * changes come all the time: when the round is over there is another. A file is touched only if its lines are
 * others than the last ones; those of before this ctd are not known, so it is read once. What could not be
 * written is tried again in each round. One that is being started was told before, at some point of its
 * start, and is looked at when it runs.
 */
#include "ctd/network.h"

#include <errno.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/guest.h"
#include "ctd/manager.h"

#define SLICE_USEC (10 * 1000) /* of work at a time */
#define PAUSE_USEC (50 * 1000) /* for others, in between */
#define LINES_MAX  1024

/* ---- who may know whom ---- */

/* Between interfaces that the host routes. */
static bool routes(const struct manager *m, const struct net_attach *from, const struct net_attach *to)
{
	if (to->mode == CONFIG_NET_NAT)
		return from->mode == CONFIG_NET_NAT && m->conf.nat_peers;
	return from->mode == CONFIG_NET_NAT || m->conf.routed_peers;
}

static bool leads_to(const struct manager *m, const struct net_attach *from, const struct net_attach *to)
{
	if (!*from->scope || !*to->scope)
		return !*from->scope && !*to->scope && routes(m, from, to);
	return str_eq(from->scope, to->scope) && !(from->isolated && to->isolated);
}

/* What it is connected to, if names go there: of a trunk nobody knows where its addresses are. */
static bool attach(const struct container *c, const struct config_net *net, struct net_attach *ret)
{
	if (!config_net_is_there(net) || net->n_trunk)
		return false;
	if (!*c->config.tenant && !*net->network)
		return false; /* not private */
	return network_attach(c->manager, net, ret, NULL) >= 0 &&
	       (*c->config.tenant || ret->mode == CONFIG_NET_PRIVATE);
}

/* Both are of the same tenant, or of none. */
static bool knows(const struct container *c, const struct net_attach *to)
{
	struct net_attach from;

	for (unsigned i = 0; i < c->config.n_nets; i++)
		if (attach(c, &c->config.nets[i], &from) && leads_to(c->manager, &from, to))
			return true;
	return false;
}

static bool may_know_any(const struct container *c)
{
	struct net_attach unused;

	for (unsigned i = 0; i < c->config.n_nets; i++)
		if (attach(c, &c->config.nets[i], &unused))
			return true;
	return false;
}

/* ---- the lines ---- */

static const char *hostname_of(const struct container *c)
{
	return *c->config.hostname ? c->config.hostname : c->row.name;
}

/* None that this container uses for itself. */
static bool is_free(const struct container *c, const char *name)
{
	return !str_eq(name, "localhost") && !str_eq(name, c->row.name) && !str_eq(name, hostname_of(c));
}

struct names {
	const struct container *container;
	struct strbuf text;
	unsigned n;
};

static void put_address(struct names *names, const struct container *peer, const struct ip_addr *a)
{
	char text[IP_ADDR_STRLEN];
	const char *hostname = *peer->config.tenant ? hostname_of(peer) : peer->row.name;
	bool has_hostname = is_free(names->container, hostname),
	     has_name = !str_eq(hostname, peer->row.name) && is_free(names->container, peer->row.name);

	if ((!has_hostname && !has_name) || !network_has_name(a) || names->n++ >= LINES_MAX)
		return;
	(void)strbuf_printf(&names->text, "%s%s%s%s%s\n", ip_format_addr(a, text, sizeof(text)),
	        has_hostname ? " " : "", has_hostname ? hostname : "", has_name ? " " : "",
	        has_name ? peer->row.name : "");
}

static void put_peer(struct names *names, const struct container *peer)
{
	struct net_attach to;

	for (unsigned i = 0; i < peer->config.n_nets; i++) {
		const struct config_net *net = &peer->config.nets[i];

		if (!attach(peer, net, &to) || !knows(names->container, &to))
			continue;
		for (unsigned k = 0; k < net->n_ips; k++)
			put_address(names, peer, &net->ips[k]);
		for (unsigned k = 0; k < peer->n_leases; k++)
			if (str_eq(peer->leases[k].device, net->name))
				put_address(names, peer, &peer->leases[k].address);
	}
}

/* "" if there is nothing to tell; NULL: out of memory. The caller's. ret_n: names that there are, also those
 * that are too many. */
static char *names_text(const struct container *c, unsigned *ret_n)
{
	struct names names = { .container = c, .text = STRBUF_INIT };
	struct container *peer, *next;

	*ret_n = 0;
	if (!c->manager->conf.names || !may_know_any(c))
		return strbuf_take(&names.text);
	HASH_ITER(hh_ctid, c->manager->containers.by_ctid, peer, next)
	if (peer != c && str_eq(peer->config.tenant, c->config.tenant))
		put_peer(&names, peer);
	*ret_n = names.n;
	return strbuf_take(&names.text);
}

/* ---- telling ---- */

/* FNV-1a; never 0, which is "not known". */
static uint64_t digest(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
	return hash | 1;
}

/* n: of names_text. Since each change tries again, not each failure is logged. */
static void tell(struct container *c, int root_fd, const char *text, unsigned n, bool log_failure)
{
	struct ct_error error = { 0 };
	int r = guest_set_names(root_fd, manager_base_id(c->manager, c->run.slot), text, &error);

	if (r < 0 && log_failure)
		log_notice("\"%s\" is not told the names of its peers: %s", c->row.name, error.text);
	if (r >= 0 && n > LINES_MAX)
		log_notice("\"%s\" is told the first %d of %u names", c->row.name, LINES_MAX, n);
	c->names_told = r < 0 ? 0 : digest(text);
}

void network_names_begin(struct container *c, int root_fd)
{
	unsigned n;
	_cleanup_free_ char *text = names_text(c, &n);

	c->names_generation = c->manager->names_generation;
	c->names_told = 0;
	if (text)
		tell(c, root_fd, text, n, true);
}

static void tell_running(struct container *c)
{
	unsigned n;
	_cleanup_free_ char *text = names_text(c, &n);
	_cleanup_close_ int root_fd = -1;

	if (!text || digest(text) == c->names_told)
		return;
	root_fd = container_open_root(c, NULL);
	if (root_fd < 0)
		return; /* it is about to end */
	tell(c, root_fd, text, n, c->names_told != 0);
}

static int tell_some(struct manager *m);

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	return tell_some(userdata);
}

static int tell_later(struct manager *m)
{
	int r;

	if (!m->names_timer)
		return sd_event_add_time_relative(
		        m->event, &m->names_timer, CLOCK_MONOTONIC, PAUSE_USEC, 1000, on_pause_over, m);
	r = sd_event_source_set_time_relative(m->names_timer, PAUSE_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(m->names_timer, SD_EVENT_ONESHOT);
}

static int tell_some(struct manager *m)
{
	uint64_t end = now_monotonic_usec() + SLICE_USEC;
	struct container *c, *next;
	bool starting = false;

	m->names_round = false;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (c->names_generation == m->names_generation)
			continue;
		if (c->state == CONTAINER_STARTING) {
			starting = true; /* it does not hold the round up */
			continue;
		}
		if (now_monotonic_usec() > end) {
			m->names_round = true;
			break;
		}
		c->names_generation = m->names_generation;
		if (c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN)
			tell_running(c);
	}
	if (!m->names_round && m->names_again) {
		m->names_generation++;
		m->names_round = true;
		m->names_again = false;
	}
	if ((m->names_round || starting) && tell_later(m) < 0) {
		m->names_round = false; /* the next change begins another */
		log_warning("names in containers are not kept up to date: out of memory");
	}
	return 0;
}

void network_names_tell(struct manager *m)
{
	if (m->names_round) {
		m->names_again = true;
		return;
	}
	m->names_generation++;
	(void)tell_some(m); /* always 0 */
}

void network_names_free(struct manager *m)
{
	m->names_timer = sd_event_source_disable_unref(m->names_timer);
}
