/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The interfaces of a container as they are configured, and what is published of it. See config.h. */
#pragma once

#include <jansson.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"
#include "ctd/conf-classes.h"
#include "netns/net.h"

#define CONFIG_NETS_MAX      8
#define CONFIG_IPS_MAX       60
#define CONFIG_PUBLISH_MAX   64
#define CONFIG_PUBLISH_PORTS 4096 /* of all entries together */

enum config_net_mode {
	CONFIG_NET_NONE,
	CONFIG_NET_NAT,
	CONFIG_NET_ROUTED,
	CONFIG_NET_BRIDGE,  /* a bridge of the administrator's, or one of ours on an uplink */
	CONFIG_NET_VLAN,    /* tagged, on an uplink */
	CONFIG_NET_PRIVATE, /* a segment that leads nowhere; only as a named network */
	CONFIG_NET_NAMED,   /* as the named network says */
};

struct config_net {
	enum config_net_mode mode;
	char name[IFNAMSIZ]; /* inside */
	unsigned index;      /* in the names of its links: follows from the name, so that it stays */
	char network[64];    /* "": none */
	char bridge[IFNAMSIZ], uplink[IFNAMSIZ];
	uint16_t vlan;
	uint16_t trunk[NET_TRUNK_MAX]; /* in place of vlan: the ids of its tags, in order */
	unsigned n_trunk;
	bool isolated;
	bool has_mac;
	uint8_t mac[6];
	uint32_t mtu;        /* 0: not given */
	struct ip_addr *ips; /* of bridge and vlan: with the prefix of the segment */
	unsigned n_ips;
	struct ip_addr gateway[2]; /* IPv4, IPv6; family 0: none */
	struct net_rates rates;
	struct net_limits limits; /* cut is not in it */
	bool has_block_mail;      /* else as the node says */
	bool has_connections;     /* else as the node says */
	struct config_class {
		char name[CONF_CLASS_NAME]; /* of ctd.conf */
		uint64_t out, in;           /* bits per second; 0: as the rest */
	} classes[NET_CLASSES_MAX];
	unsigned n_classes;
};

/* PORTS of the host, and where they lead inside. */
struct config_publish {
	uint8_t protocol;
	struct ip_addr address; /* family 0: any */
	uint16_t port, count, to_port;
};

const char *config_net_mode_name(enum config_net_mode mode);
/* -EINVAL with the field. */
int config_net_mode_read(const char *name, enum config_net_mode *ret, struct ct_error *err);

/* True for an interface that there is one of: everything but "none". */
static inline bool config_net_is_there(const struct config_net *net)
{
	return net->mode != CONFIG_NET_NONE;
}

/* "[ADDR:]PORT[-PORT]:PORT[/udp]". -EINVAL with a sentence. */
int config_publish_parse(const char *s, struct config_publish *ret, struct ct_error *err);

void config_nets_done(struct config_net *nets, unsigned n);
