/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The network of containers, seen from the host: links, addresses, routes, filters, counters, by rtnetlink
 * and nf_tables.
 *
 * A *port* is one interface of a container: a veth pair whose host side stays with the host. All that
 * protects others from the tenant, or counts what it sends, sits on the host side, in place before the link
 * is up. A context belongs to one instance of ctd, told apart from others on the same host by a four-letter
 * tag: it is in the name of every link (v<tag>…), in the name of the nf_tables tables (ctd-<tag>, of the
 * families netdev and inet) and in the routes' protocol number plus device, so that fsck finds what is ours.
 *
 * No policy, no logging, no state beyond sockets: what exists is what the kernel says.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"

#define NET_TAG_LEN 4

/* Of our host routes, so that BIRD or FRR can export them (rtnetlink(7), RTPROT_). */
#define NET_ROUTE_PROTOCOL 0xc7

struct net_context;

/* Opens the sockets in the current network namespace; changes nothing. */
int net_context_new(const char tag[static NET_TAG_LEN + 1], struct net_context **ret, struct ct_error *err);
void net_context_free(struct net_context *net);

enum net_mode {
	NET_MODE_NONE,   /* only lo */
	NET_MODE_NAT,    /* private addresses behind masquerade */
	NET_MODE_ROUTED, /* its own addresses, a host route each */
	NET_MODE_BRIDGE, /* a port of a bridge: with an uplink, a VLAN of one, or nothing (private) */
};

/* What is common to all ports. */
struct net_host_spec {
	/* sources to masquerade when they leave the host by another interface */
	const struct ip_addr *nat_networks;
	size_t n_nat_networks;
	bool nat_peers;    /* nat containers may reach each other; default no */
	bool routed_peers; /* routed containers may reach each other; default yes */
	struct net_service {
		uint8_t protocol;
		uint16_t port;
	} const *services; /* of the host, reachable from containers (IPPROTO_TCP/UDP) */
	size_t n_services;
	bool enable_forwarding; /* turn on ip_forward and ipv6.conf.all.forwarding where they are off */
};

/* Makes the table with its chains, sets and maps, or brings what is there to this specification, in one
 * nf_tables transaction; ports that are there keep their filters throughout. Idempotent. A port
 * whose filter somebody has deleted gets one again that passes nothing, until it is configured. */
int net_host_apply(struct net_context *net, const struct net_host_spec *spec, struct ct_error *err);
/* An administrator who reloads his own rules may well delete all tables of nf_tables, ours too (nft flush
 * ruleset); then nothing is filtered any more. A non-blocking fd that becomes readable when tables or rules
 * have changed, by us or others; owned by net. */
int net_watch_fd(struct net_context *net, struct ct_error *err);
/* Reads what has happened: 1 if a table of ours has been deleted, else 0. Then net_host_apply closes all
 * ports at once, and net_port_configure, net_port_limit and net_publish_add of what there ought to be open
 * them again. */
int net_watch_read(struct net_context *net, struct ct_error *err);
/* Removes the table and everything with our tag (no port may be in use). */
int net_host_remove(struct net_context *net, struct ct_error *err);

#define NET_TRUNK_MAX 32
struct net_port_spec {
	char host_name[IFNAMSIZ]; /* v<tag>..., from net_port_name */
	const char *guest_name;   /* eth0 */
	uint8_t mac[6];           /* of the guest side; locally administered unicast */
	enum net_mode mode;
	const struct ip_addr *addresses; /* of the container; at most NET_ADDRESSES_MAX */
	size_t n_addresses;
	struct ip_addr gateway4, gateway6; /* on the host side, link-local (169.254.1.1, fe80::1) or the first
	                                      of the range; family 0: none */
	struct ip_addr source_gateway4,
	        source_gateway6; /* the same for a port that has not the default route:
	                            only for what has one of its addresses as source
	                          */
	uint32_t mtu;            /* 0: of the uplink, at most 1500 */
	char bridge[IFNAMSIZ];   /* of NET_MODE_BRIDGE; the addresses then have the prefix of the segment */
	/* Of NET_MODE_BRIDGE, in place of a bridge: a trunk. Each frame has the tag of one of these VLANs,
	 * and goes to that one's bridge, untagged. Inside nothing is given addresses: the guest makes its
	 * sub-interfaces itself, and has these addresses on all of them. */
	struct net_trunk {
		uint16_t vlan;
		char bridge[IFNAMSIZ];
	} trunk[NET_TRUNK_MAX];
	size_t n_trunk;
	bool isolated;         /* of NET_MODE_BRIDGE: not to be seen by other isolated ports of the bridge */
	bool proxy_neighbours; /* answer ARP and NDP for the addresses on the uplink (when the segment does
	                          not route them here) */
	bool quiet;            /* nothing is led to it, answered for or announced: another node, or another
	                          daemon of this one, may have its addresses still (net_port_open) */
};
#define NET_ADDRESSES_MAX 64

/* v<tag><number in base 36>.<index>; always < IFNAMSIZ. */
void net_port_name(char out[static IFNAMSIZ], const char *tag, uint32_t number, unsigned index);
/* Locally administered, of 45 bits that follow from the id: with a container's ctid the same on each node
 * that it comes to, and among 5,000 of a segment two are the same once in three million segments. */
void net_port_mac(uint8_t out[static 6], const char *id, unsigned index);

/* Makes the pair with the guest side inside netns_fd under its final name. First the host side gets a chain
 * that drops everything, then both sides come up. For the pool: what it costs is paid before a start. A link
 * of that name which was released and has not gone yet is deleted (16 ms); -EEXIST if it is configured. */
int net_port_create(struct net_context *net, const char *host_name, const char *guest_name, int netns_fd,
        struct ct_error *err);

/* The ith address of the port as the guest has it: of a block only one, in a bridge with the prefix of the
 * segment. */
struct ip_addr net_port_inside(const struct net_port_spec *spec, size_t i);
/* Of source_gateway4 and 6: the routing table inside has this number and the link's index in sum. */
#define NET_SOURCE_TABLE 51000

/* Gives a created port what it may send, then in netns_fd its MAC, addresses and default routes by the
 * gateways, then the host's routes. Again on a port that has been configured: changes what differs, without a
 * gap in the filter. */
int net_port_configure(
        struct net_context *net, const struct net_port_spec *spec, int netns_fd, struct ct_error *err);

/* Takes all elements (limits and counters too) and routes of the port out, so that it passes nothing; deletes
 * the link only if delete_link (slow, 16 ms): normally the link goes when the last reference to the network
 * namespace is dropped. No error if the port is gone already. */
int net_port_release(
        struct net_context *net, const struct net_port_spec *spec, bool delete_link, struct ct_error *err);

/* Released ports leave when the kernel has taken their namespace apart, some milliseconds later; then the
 * chains of their filters have to go. To be called now and then: how many are still to go, or a negative
 * errno. */
int net_settle(struct net_context *net, struct ct_error *err);

struct net_counters {
	uint64_t in_bytes, in_packets, out_bytes, out_packets; /* in: towards the container */
	uint64_t out_dropped;                                  /* by the filter */
};
int net_port_counters(
        struct net_context *net, const char *host_name, struct net_counters *ret, struct ct_error *err);
/* Of all configured ports, in three reads whatever their number, sorted by name; one that comes or goes
 * meanwhile, or that the kernel passes over as its tables grow, is not among them. A return other than 0
 * stops and is returned. */
int net_counters_dump(struct net_context *net,
        int (*each)(const char *host_name, const struct net_counters *counters, void *userdata),
        void *userdata, struct ct_error *err);

/* Limits of a port, apart from its addresses; 0 and false: none. They hold until they are set again or the
 * port is released. */
#define NET_COUNTED_NEW_MAX 1000 /* a second: what the kernel can count under a flood */
struct net_limits {
	uint32_t packets_out, packets_in; /* per second, a tenth of a second's worth at once */
	/* entries in the host's connection tracking, begun from either side; at most 65535 */
	uint32_t connections;
	/* per second, from either side; where connections are limited at most 1000, and 0 is 1000 and all
	 * that may be open at once */
	uint32_t new_connections;
	/* bits per second of what it sends to the host and to other containers on it */
	uint64_t internal_rate;
	bool block_mail; /* TCP to port 25 is refused; on a bridge it is dropped */
	bool cut;        /* nothing goes in or out */
};
/* Sets them all, in one transaction, whether the port is configured already or not. -EINVAL with the field.
 */
int net_port_limit(struct net_context *net, const char *host_name, const struct net_limits *limits,
        struct ct_error *err);

/* Tells the segment of the uplink (proxy_neighbours), or of the bridge, where the port's addresses are now:
 * gratuitous ARP, unsolicited neighbour advertisements; of a trunk, or without addresses, where its MAC is.
 * net_port_configure does it by itself; again after a move. */
int net_port_announce(struct net_context *net, const struct net_port_spec *spec, struct ct_error *err);
/* Has the host answer for the port's addresses on the uplink that is there now (proxy_neighbours), without a
 * look at the rest of the port. On one that was the uplink before, it goes on until they are taken away. */
int net_port_answer(struct net_context *net, const struct net_port_spec *spec, struct ct_error *err);
/* What a quiet one lacks: routes or its bridge's knowledge of its MAC, and answers for its addresses. */
int net_port_open(struct net_context *net, const struct net_port_spec *spec, struct ct_error *err);

/* A bridge of ours, for NET_MODE_BRIDGE; one that is there already by other means can be named in a port as
 * well. The host has no address on it. It lives until it is removed. */
struct net_bridge_spec {
	uint32_t number;       /* with the tag it makes the name: net_bridge_name */
	char uplink[IFNAMSIZ]; /* what it is joined to: "" nothing (a private network) */
	uint16_t vlan; /* 1 to 4094: joined to that VLAN of the uplink, by a sub-interface of ours; 0: to the
	                  uplink itself */
	uint32_t mtu;  /* 0: of the uplink, or 1500 */
};
void net_bridge_name(char out[static IFNAMSIZ], const char *tag, uint32_t number);
/* Idempotent; uplink and vlan of one that is there cannot be changed (-EEXIST). */
int net_bridge_add(struct net_context *net, const struct net_bridge_spec *spec, struct ct_error *err);
/* No error if it is not there; -EBUSY while ports are on it. */
int net_bridge_remove(struct net_context *net, uint32_t number, struct ct_error *err);

#define NET_CLASSES_MAX 4

/* Speed of a port, in bits per second, counted in Ethernet frames (without preamble and checksum); 0:
 * unlimited. */
struct net_rates {
	uint64_t in;           /* towards the container, from wherever */
	uint64_t out;          /* by the uplink; what stays on the host is net_limits.internal_rate */
	bool segment;          /* of a port of a bridge: out is all that it sends, and classes cannot be asked
	                          for. Needs links of kind ifb */
	char uplink[IFNAMSIZ]; /* of a segment: the link to which it is joined, by which what leaves the host
	                          goes, and where a part can be guaranteed; "": none, or not known */
	uint64_t out_guaranteed; /* of out, the part that no other container gets when the uplink is full; 0:
	                            all of it */
	uint32_t burst;          /* bytes at once; 0: 10 ms' worth */
	uint32_t frame;          /* the largest, which fits into a burst however small that is; 0: 1514 */
	/* What is in a class of traffic (net_classes_apply) that has a rate here has that one alone, beside
	 * in and out. */
	struct net_class_rates {
		uint64_t in, out;
	} classes[NET_CLASSES_MAX];
};
/* Again: changes the rates. -EEXIST: the uplink has a queueing discipline of the administrator's. The port
 * must have its link. */
int net_port_shape(
        struct net_context *net, const char *host_name, const struct net_rates *rates, struct ct_error *err);
/* Packets that the port's rates had no room for, both ways, since they were set: less than before when they
 * are set anew. What packets_in and packets_out drop is not among them. rates: those that were set. 1; 0:
 * they are none; -ENODEV: where they are kept is not found (now), which says nothing of what is counted
 * there. */
int net_port_rate_drops(struct net_context *net, const char *host_name, const struct net_rates *rates,
        uint64_t *ret, struct ct_error *err);
/* The link where rates of segments are kept goes, if no port has such a rate: a daemon may have been killed
 * between the one and the other. */
int net_segments_settle(struct net_context *net, struct ct_error *err);
/* The links by which the default routes of IPv4 and IPv6 lead; 0: there is none. Positive: something was done
 * since the last call while they led elsewhere than before, or this is the first one. */
int net_uplinks(struct net_context *net, int ret[2], struct ct_error *err);
/* What all containers together may send by the uplink, those without a rate among them, and those of segments
 * that are joined to it; 0: no limit. It holds
 * while no more than that is guaranteed in all. Nothing is done as long as there is no uplink. */
int net_uplink_shape(struct net_context *net, uint64_t rate, struct ct_error *err);

/* Ports of the host that lead to a container, which sees the client's own address. Containers on nat networks
 * that come by this way are seen under an address of the host. */
struct net_publish {
	uint8_t protocol;       /* IPPROTO_TCP or IPPROTO_UDP */
	struct ip_addr address; /* of the host; family 0: any that is local to it (one with an address of its
	                           own wins over it) */
	uint16_t port, to_port; /* the first */
	uint16_t count;         /* of consecutive ports, 1 to NET_PUBLISH_MAX; 0 is 1 */
	struct ip_addr to;      /* of the container */
};
#define NET_PUBLISH_MAX 1000

/* All of the list or nothing. What is there already with the same target is no error; -EEXIST says which port
 * leads elsewhere, or is listened on by the host itself. */
int net_publish_add(struct net_context *net, const struct net_publish *list, size_t n, struct ct_error *err);
/* What is not there is no error. */
int net_publish_remove(
        struct net_context *net, const struct net_publish *list, size_t n, struct ct_error *err);
/* Port by port (count 1), for fsck. A return other than 0 stops and is returned. */
int net_publish_dump(struct net_context *net, int (*each)(const struct net_publish *publish, void *userdata),
        void *userdata, struct ct_error *err);

/* Classes of traffic by the far end's address, such as domestic and other, each with counters of its own in
 * every port of mode nat or routed. What is in no class is in net_counters only. Prefixes must not overlap
 * (-EEXIST). */
struct net_class {
	const struct ip_addr *prefixes;
	size_t n_prefixes;
};
/* Replaces them all; n 0: none. The prefixes are changed in several steps when there are thousands: until it
 * returns, packets may be counted in no class. Counters go on. */
int net_classes_apply(
        struct net_context *net, const struct net_class *classes, size_t n, struct ct_error *err);
/* All ports' counters of all classes begin at zero: for other classes than there were. */
int net_classes_reset(struct net_context *net, struct ct_error *err);
/* Of one port in the class with this index; zeros as long as nothing was sent or received. out_dropped is 0.
 */
int net_class_counters(struct net_context *net, const char *host_name, unsigned class,
        struct net_counters *ret, struct ct_error *err);

/* What the kernel has with our tag, for fsck: called once per object; a positive return stops and is
 * returned. */
enum net_object_kind { NET_OBJECT_LINK, NET_OBJECT_ROUTE, NET_OBJECT_FILTER };
struct net_object {
	enum net_object_kind kind;
	char host_name[IFNAMSIZ];
	struct ip_addr address; /* of ROUTE */
	bool up;                /* of LINK */
};
int net_dump(struct net_context *net, int (*each)(const struct net_object *object, void *userdata),
        void *userdata, struct ct_error *err);
/* Removes one such object. */
int net_object_remove(struct net_context *net, const struct net_object *object, struct ct_error *err);

/* What this host can do, for doctor: nf_tables with netdev family, veth, forwarding, an uplink. */
struct net_probe {
	bool veth, nft, nft_netdev, nft_masquerade, vlan, ip_forward, ipv6;
	char uplink[IFNAMSIZ]; /* device of the default route, "" if none */
	uint32_t uplink_mtu;
};
int net_probe(struct net_context *net, struct net_probe *ret, struct ct_error *err);
