/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bridges of ours: a segment for containers, by itself, on an uplink, or on a VLAN of one.
 *
 * A VLAN is one sub-interface and one bridge, shared by all containers on it. The host takes no part: no
 * address, no link-local address, no spanning tree, and no ARP, for without rp_filter the kernel answers on
 * any link for all addresses that the host has anywhere. What the bridge carries is no matter of that. Names:
 * b<tag><number> for the bridge and w<tag><number> for the sub-interface, so that they are never taken for a
 * port.
 */
#include "netns/context.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "netns/bridge.h"

static void make_name(char out[static IFNAMSIZ], char letter, const char *tag, uint32_t number)
{
	net_port_name(out, tag, number, 0); /* v<tag><number>.0 */
	out[0] = letter;
	out[strlen(out) - 2] = '\0';
}

void net_bridge_name(char out[static IFNAMSIZ], const char *tag, uint32_t number)
{
	make_name(out, 'b', tag, number);
}

int trunk_name(char out[static IFNAMSIZ], const char *host_name, uint16_t vlan)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

	int n = snprintf(out, IFNAMSIZ, "t%s%c%c%c", host_name + 1, digits[vlan / 36 / 36 % 36],
	        digits[vlan / 36 % 36], digits[vlan % 36]);

	return n < IFNAMSIZ ? 0 : -ENAMETOOLONG;
}

static int check_spec(const struct net_bridge_spec *spec, struct ct_error *err)
{
	if (spec->vlan > 4094)
		return ct_error_field(err, "vlan", "a VLAN has an id of 1 to 4094");
	if (spec->vlan && !spec->uplink[0])
		return ct_error_field(err, "uplink", "a VLAN needs the uplink that carries it");
	if (spec->mtu != 0 && (spec->mtu < 1280 || spec->mtu > 65535))
		return ct_error_field(err, "mtu", "the MTU must be 1280 to 65535");

	return 0;
}

static int find(struct net_context *net, const char *name, struct link_info *ret, struct ct_error *err)
{
	int r;

	r = link_get(&net->route, &net->batch, name, 0, ret, err);
	if (r == -ENODEV)
		return ct_error_set(err, r, "network", "there is no link \"%s\"", name);

	return r;
}

static int run(struct net_context *net, const char *name, struct ct_error *err)
{
	return nl_transact(&net->route, &net->batch, name, err);
}

/* The link that joins the bridge to the outside: the uplink itself, or its VLAN. Made if it is not there. */
static int join_link(struct net_context *net, const struct net_bridge_spec *spec, struct link_info *ret,
        struct ct_error *err)
{
	char name[IFNAMSIZ];
	struct link_info uplink;
	int r;

	r = find(net, spec->uplink, &uplink, err);
	if (r < 0)
		return r;
	if (!spec->vlan) {
		*ret = uplink;
		return 0;
	}

	make_name(name, 'w', net->tag, spec->number);
	r = link_get(&net->route, &net->batch, name, 0, ret, err);
	if (r == 0 && (ret->peer_index != uplink.index || ret->vlan != spec->vlan))
		return ct_error_kind_set(err, CT_ERROR_STATE, -EEXIST,
		        "the link \"%s\" is there already with another VLAN or uplink", name);
	if (r != -ENODEV)
		return r;

	nl_batch_reset(&net->batch);
	link_add_vlan(&net->batch, name, uplink.index, spec->vlan, 0);
	link_make_link_local(&net->batch, name, 0, false);
	r = run(net, name, err);
	if (r == -EEXIST)
		return ct_error_kind_set(err, CT_ERROR_STATE, r,
		        "the host has an interface for VLAN %u of \"%s\" already: delete it, or use it (mode bridge, with that interface as uplink)",
		        spec->vlan, spec->uplink);
	if (r < 0)
		return r;

	return find(net, name, ret, err);
}

static int make_bridge(
        struct net_context *net, const char *name, uint32_t mtu, struct link_info *ret, struct ct_error *err)
{
	int r;

	r = link_get(&net->route, &net->batch, name, 0, ret, err);
	if (r != -ENODEV)
		return r;

	nl_batch_reset(&net->batch);
	link_add_bridge(&net->batch, name, mtu);
	link_make_link_local(&net->batch, name, 0, false);
	r = run(net, name, err);
	if (r < 0)
		return r;

	return find(net, name, ret, err);
}

int net_bridge_add(struct net_context *net, const struct net_bridge_spec *spec, struct ct_error *err)
{
	char name[IFNAMSIZ];
	struct link_info bridge, join = { 0 };
	int r;

	r = check_spec(spec, err);
	if (r < 0)
		return r;
	if (spec->uplink[0]) {
		r = join_link(net, spec, &join, err);
		if (r < 0)
			return r;
	}

	net_bridge_name(name, net->tag, spec->number);
	r = make_bridge(net, name, spec->mtu ? spec->mtu : join.mtu, &bridge, err);
	if (r < 0)
		return r;
	if (join.master && join.master != bridge.index)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EEXIST,
		        "the link \"%s\" belongs to another bridge", spec->uplink);

	nl_batch_reset(&net->batch);
	if (join.index)
		link_change(&net->batch,
		        &(struct link_change){
		                .index = join.index, .up = true, .master = join.master ? 0 : bridge.index });
	link_change(&net->batch, &(struct link_change){ .index = bridge.index, .up = true, .no_arp = true });
	return run(net, name, err);
}

int net_bridge_remove(struct net_context *net, uint32_t number, struct ct_error *err)
{
	char name[IFNAMSIZ], vlan[IFNAMSIZ];
	struct link_info bridge;
	unsigned n;
	int r;

	net_bridge_name(name, net->tag, number);
	make_name(vlan, 'w', net->tag, number);
	r = link_get(&net->route, &net->batch, name, 0, &bridge, err);
	if (r == 0) {
		r = link_count_ports(&net->route, &net->batch, bridge.index, net->prefix, &n, err);
		if (r < 0)
			return r;
		if (n > 0)
			return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
			        "the bridge \"%s\" has %u ports in use", name, n);
	}
	if (r < 0 && r != -ENODEV)
		return r;

	nl_batch_reset(&net->batch);
	link_delete(&net->batch, name);
	link_delete(&net->batch, vlan);
	return run(net, name, err);
}

/* The sub-interface, down if it is new: until it is on its bridge nothing may come in by it. */
static int trunk_link(struct net_context *net, const struct net_port_spec *spec,
        const struct net_trunk *trunk, int below, struct link_info *ret, struct ct_error *err)
{
	char name[IFNAMSIZ];
	int r;

	(void)trunk_name(name, spec->host_name, trunk->vlan); /* spec_check has seen to it */
	r = link_get(&net->route, &net->batch, name, 0, ret, err);
	if (r != -ENODEV)
		return r;

	nl_batch_reset(&net->batch);
	/* with the tag its frames lose the priority that the guard has set */
	link_add_vlan(&net->batch, name, below, trunk->vlan, UPLINK_REST);
	link_make_link_local(&net->batch, name, 0, false);
	r = run(net, name, err);
	return r < 0 ? r : find(net, name, ret, err);
}

/* By itself: in one message with the bridge the kernel changes the bridge first, and between the two bridges
 * what comes in by a link that is up is for the host. */
static int trunk_down(struct net_context *net, const struct link_info *link, const struct net_trunk *trunk,
        struct ct_error *err)
{
	nl_batch_reset(&net->batch);
	link_change(&net->batch, &(struct link_change){ .index = link->index });
	return run(net, trunk->bridge, err);
}

int trunk_join(struct net_context *net, const struct net_port_spec *spec, int below, struct ct_error *err)
{
	for (size_t i = 0; i < spec->n_trunk; i++) {
		const struct net_trunk *trunk = &spec->trunk[i];
		struct link_info bridge, link;
		int r;

		r = find(net, trunk->bridge, &bridge, err);
		if (r >= 0)
			r = trunk_link(net, spec, trunk, below, &link, err);
		if (r < 0)
			return r;

		if (link.up && link.master != bridge.index) {
			r = trunk_down(net, &link, trunk, err);
			if (r < 0)
				return r;
		}

		nl_batch_reset(&net->batch);
		if (link.master != bridge.index)
			link_change(&net->batch,
			        &(struct link_change){ .index = link.index, .master = bridge.index });
		link_bridge_port(&net->batch, link.index, spec->isolated, spec->quiet ? NULL : spec->mac);
		r = run(net, trunk->bridge, err);
		if (r < 0)
			return r;

		/* not before it is on its bridge: the kernel goes on after a message that it has refused, and
		 * what comes in by a link without a bridge is for the host */
		nl_batch_reset(&net->batch);
		link_change(&net->batch, &(struct link_change){ .index = link.index, .up = true });
		r = run(net, trunk->bridge, err);
		if (r < 0)
			return r;
	}

	return 0;
}

void trunk_leave(struct nl_batch *b, const char *host_name, const struct scan_keys *stale)
{
	for (size_t i = 0; i < stale->n; i++) {
		char name[IFNAMSIZ];
		uint16_t tag;

		if (stale->keys[i].set != PORT_TRUNK)
			continue;
		memcpy(&tag, stale->keys[i].bytes + IFNAMSIZ, sizeof(tag));
		if (trunk_name(name, host_name, ntohs(tag)) == 0)
			link_delete(b, name);
	}
}

/* A handful at a time. */
struct names {
	const char *tag;
	char names[64][IFNAMSIZ];
	size_t n;
};

/* Names begin with b<tag>, w<tag>, t<tag> or i<tag>. */
static int collect(const struct nlmsghdr *nlh, void *userdata)
{
	const struct nlattr *attr[IFLA_MAX + 1];
	struct names *names = userdata;
	const char *name;

	nl_parse_message(attr, IFLA_MAX, nlh, sizeof(struct ifinfomsg));
	if (!attr[IFLA_IFNAME])
		return 0;
	name = mnl_attr_get_str(attr[IFLA_IFNAME]);
	if (!strchr("bwti", name[0]) || strncmp(name + 1, names->tag, NET_TAG_LEN) != 0 ||
	        strlen(name) >= IFNAMSIZ || names->n == ARRAY_SIZE(names->names))
		return 0;

	memcpy(names->names[names->n++], name, strlen(name) + 1);
	return 0;
}

int bridge_remove_all(struct net_context *net, struct ct_error *err)
{
	struct ifinfomsg header = { .ifi_family = AF_UNSPEC };
	struct names names;
	int r;

	do {
		names = (struct names){ .tag = net->tag };
		nl_batch_reset(&net->batch);
		nl_message(&net->batch, "list links", RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
		nl_put_u32(&net->batch, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		r = nl_query(&net->route, &net->batch, collect, &names, err);
		if (r < 0)
			return r;

		nl_batch_reset(&net->batch);
		for (size_t i = 0; i < names.n; i++)
			link_delete(&net->batch, names.names[i]);
		r = run(net, NULL, err);
		if (r < 0)
			return r;
	} while (names.n == ARRAY_SIZE(names.names));

	return 0;
}
