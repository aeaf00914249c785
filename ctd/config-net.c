/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interfaces and published ports of a configuration.
 *
 * The same idea as config.c: one table of keys, each reader writes its whole value or names the key. Numbers
 * may be JSON numbers or what people type, rates are in bits per second.
 *
 * An interface is known by its name inside. Its links carry a number below 100 (net_port_name), which follows
 * from the name alone: that of ethN is N, others get one by a hash. So it stays the same when interfaces
 * before it come and go.
 */
#include "ctd/config-net.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/str.h"
#include "base/unit.h"
#include "ctd/config-key.h"

#define ETH_NUMBERS  50
#define NAME_NUMBERS 49

static const char *const mode_names[] = {
	[CONFIG_NET_NONE] = "none",
	[CONFIG_NET_NAT] = "nat",
	[CONFIG_NET_ROUTED] = "routed",
	[CONFIG_NET_BRIDGE] = "bridge",
	[CONFIG_NET_VLAN] = "vlan",
	[CONFIG_NET_PRIVATE] = "private",
	[CONFIG_NET_NAMED] = "network",
};

const char *config_net_mode_name(enum config_net_mode mode)
{
	return mode_names[mode];
}

int config_net_mode_read(const char *name, enum config_net_mode *ret, struct ct_error *err)
{
	for (size_t i = 0; i < CONFIG_NET_NAMED; i++)
		if (str_eq(mode_names[i], name)) {
			*ret = (enum config_net_mode)i;
			return 0;
		}
	return ct_error_field(err, "mode",
	        "\"%.40s\" is not a network mode: nat, routed, bridge, vlan, private or none", name);
}

struct net_key {
	const char *name;
	size_t offset;
	int (*read)(const struct net_key *key, const json_t *value, void *target, struct ct_error *err);
	uint64_t min, max;
};

static int read_number(const struct net_key *key, const json_t *value, uint64_t *ret, struct ct_error *err)
{
	const char *s = json_string_value(value);
	int r = -EINVAL;

	if (json_is_integer(value) && json_integer_value(value) >= 0) {
		*ret = (uint64_t)json_integer_value(value);
		r = 0;
	} else if (s) {
		r = parse_u64(s, ret);
	}
	if (r < 0 || *ret < key->min || *ret > key->max)
		return ct_error_field(err, key->name, "%s must be a number from %llu to %llu", key->name,
		        (unsigned long long)key->min, (unsigned long long)key->max);
	return 0;
}

static int read_u32(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	uint64_t n = 0;
	int r = read_number(key, value, &n, err);

	if (r >= 0)
		*(uint32_t *)target = (uint32_t)n;
	return r;
}

static int read_u16(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	uint64_t n = 0;
	int r = read_number(key, value, &n, err);

	if (r >= 0)
		*(uint16_t *)target = (uint16_t)n;
	return r;
}

static int read_rate(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	const char *s = json_string_value(value);
	uint64_t n = 0;
	int r = -EINVAL;

	if (json_is_integer(value) && json_integer_value(value) >= 0) {
		n = (uint64_t)json_integer_value(value);
		r = 0;
	} else if (s) {
		r = parse_bitrate(s, &n);
	}
	if (r < 0 || n < key->min || n > key->max)
		return ct_error_field(err, key->name,
		        "%s must be a rate in bits per second from 8k to 1T, such as 100M", key->name);
	*(uint64_t *)target = n;
	return 0;
}

static int read_burst(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	const char *s = json_string_value(value);
	uint64_t n = 0;

	if ((s ? parse_size(s, &n) : read_number(key, value, &n, NULL)) < 0 || n < key->min || n > key->max)
		return ct_error_field(err, key->name, "%s must be a size from 1514 to 1G", key->name);
	*(uint32_t *)target = (uint32_t)n;
	return 0;
}

static int read_flag(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	const char *s = json_string_value(value);

	if (json_is_boolean(value)) {
		*(bool *)target = json_is_true(value);
		return 0;
	}
	if (s && parse_bool(s, target) == 0)
		return 0;
	return ct_error_field(err, key->name, "%s must be yes or no", key->name);
}

/* A word of at most max bytes that may name something of the kernel or of ours. */
static int read_word(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	const char *s = json_string_value(value);
	size_t len = s ? strlen(s) : 0;

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("-_.:@", s[i]))
			len = 0;
	if (len == 0 || len > key->max || s[0] == '-' || s[0] == '.' || len != json_string_length(value))
		return ct_error_field(err, key->name,
		        "%s must be a name of at most %llu letters, digits, hyphens, dots and underscores",
		        key->name, (unsigned long long)key->max);
	memcpy(target, s, len + 1);
	return 0;
}

static int read_name(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	const char *s = json_string_value(value);
	int r = read_word(key, value, target, err);

	if (r >= 0 && (str_eq(s, "lo") || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(s)))
		return ct_error_field(err, key->name,
		        "\"%s\" is not a name for an interface: a-z, 0-9 and hyphens, at most 15 bytes", s);
	return r;
}

static int read_mode(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	const char *s = json_string_value(value);

	return config_net_mode_read(s ? s : "", target, err);
}

static int read_mac(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	const char *s = json_string_value(value);
	uint8_t mac[6];
	int end = 0;

	if (!s || strlen(s) != 17 ||
	        sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3],
	                &mac[4], &mac[5], &end) != 6 ||
	        end != 17 || (mac[0] & 3) != 2)
		return ct_error_field(err, key->name,
		        "mac must be a locally administered unicast address such as 02:00:5e:10:00:01");
	memcpy(target, mac, sizeof(mac));
	return 0;
}

static int read_one_address(const char *field, const json_t *value, struct ip_addr *ret, struct ct_error *err)
{
	const char *s = json_string_value(value);

	if (!s || strlen(s) != json_string_length(value) || ip_parse(s, ret) < 0 || !ip_is_unicast(ret))
		return ct_error_field(
		        err, field, "\"%.60s\" is not an IPv4 or IPv6 unicast address", s ? s : "");
	return 0;
}

static int read_ips(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	struct config_net *net = (struct config_net *)((char *)target - offsetof(struct config_net, ips));
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > CONFIG_IPS_MAX)
		return ct_error_field(
		        err, key->name, "ip must be a list of at most %d addresses", CONFIG_IPS_MAX);
	if (json_array_size(value) == 0)
		return 0;
	net->ips = calloc(json_array_size(value), sizeof(*net->ips));
	if (!net->ips)
		return -ENOMEM;
	json_array_foreach(value, i, item)
	{
		int r = read_one_address(key->name, item, &net->ips[i], err);

		if (r < 0)
			return r;
	}
	net->n_ips = (unsigned)json_array_size(value);
	return 0;
}

/* One of each family, alone or in a list. */
static int read_gateway(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	struct ip_addr *pair = target;

	for (size_t i = 0; i < (json_is_array(value) ? json_array_size(value) : 1); i++) {
		const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
		struct ip_addr a;
		int r = read_one_address(key->name, item, &a, err);

		if (r < 0)
			return r;
		if (a.prefix != ip_full_prefix(&a) || pair[a.family == AF_INET6].family)
			return ct_error_field(err, key->name,
			        "gateway must be an address of each family at most, without a prefix length");
		pair[a.family == AF_INET6] = a;
	}
	return 0;
}

#define AT(member) offsetof(struct config_net, member)
#define RATE_MIN   8000
#define RATE_MAX   1000000000000ULL

static bool read_class_rate(const char *s, uint64_t *ret)
{
	*ret = 0;
	return !*s || (parse_bitrate(s, ret) >= 0 && *ret >= RATE_MIN && *ret <= RATE_MAX);
}

/* "NAME:OUT[:IN]": which names there are is the node's business. */
static int read_class(const char *s, struct config_class *ret)
{
	char copy[96], *next = copy, *name, *out, *in;

	if (strlen(s) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, s, strlen(s) + 1);
	name = strsep(&next, ":");
	out = strsep(&next, ":");
	in = strsep(&next, ":");
	if (!*name || strlen(name) >= sizeof(ret->name) ||
	        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(name) || !out || next ||
	        !read_class_rate(out, &ret->out) || !read_class_rate(in ? in : "", &ret->in) ||
	        !(ret->out || ret->in))
		return -EINVAL;
	memcpy(ret->name, name, strlen(name) + 1);
	return 0;
}

static int read_classes(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	struct config_net *net = (struct config_net *)((char *)target - offsetof(struct config_net, classes));
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > NET_CLASSES_MAX)
		return ct_error_field(err, key->name, "class must be a list of at most %d classes of traffic",
		        NET_CLASSES_MAX);
	json_array_foreach(value, i, item)
	{
		const char *s = json_string_value(item);

		if (!s || strlen(s) != json_string_length(item) || read_class(s, &net->classes[i]) < 0)
			return ct_error_field(err, key->name,
			        "a class of traffic is NAME:OUT[:IN] with rates from 8k to 1T, such as international:10M:20M or domestic::1G");
		for (size_t k = 0; k < i; k++)
			if (str_eq(net->classes[k].name, net->classes[i].name))
				return ct_error_field(err, key->name, "the class \"%s\" is given twice",
				        net->classes[i].name);
	}
	net->n_classes = (unsigned)json_array_size(value);
	return 0;
}

/* "ID" or "ID-ID". */
static int read_ids(const char *s, uint64_t *first, uint64_t *last)
{
	char copy[16], *dash;

	if (!s || strlen(s) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, s, strlen(s) + 1);
	dash = strchr(copy, '-');
	if (dash)
		*dash++ = '\0';
	if (parse_u64(copy, first) < 0 || parse_u64(dash ? dash : copy, last) < 0 || *first < 1 ||
	        *last > 4094 || *last < *first)
		return -EINVAL;
	return 0;
}

static int add_id(const struct net_key *key, struct config_net *net, uint16_t id, struct ct_error *err)
{
	unsigned at = net->n_trunk;

	if (net->n_trunk == NET_TRUNK_MAX)
		return ct_error_field(err, key->name, "a trunk has at most %d VLANs", NET_TRUNK_MAX);
	while (at > 0 && net->trunk[at - 1] > id)
		at--;
	if (at > 0 && net->trunk[at - 1] == id)
		return ct_error_field(err, key->name, "the VLAN %u is in the trunk twice", id);
	memmove(&net->trunk[at + 1], &net->trunk[at], (net->n_trunk++ - at) * sizeof(id));
	net->trunk[at] = id;
	return 0;
}

static int read_trunk(const struct net_key *key, const json_t *value, void *target, struct ct_error *err)
{
	struct config_net *net = (struct config_net *)((char *)target - offsetof(struct config_net, trunk));
	const json_t *item;
	size_t i;
	int r = 0;

	if (!json_is_array(value))
		return ct_error_field(err, key->name, "trunk must be a list of VLANs");
	json_array_foreach(value, i, item)
	{
		const char *s = json_string_value(item);
		uint64_t first = 0, last = 0;

		if (s ? strlen(s) != json_string_length(item) || read_ids(s, &first, &last) < 0
		      : !json_is_integer(item) || json_integer_value(item) < 1 ||
		                        json_integer_value(item) > 4094)
			return ct_error_field(err, key->name,
			        "a VLAN of a trunk is ID or ID-ID, 1 to 4094, such as 120-127");
		if (!s)
			first = last = (uint64_t)json_integer_value(item);
		for (uint64_t id = first; r >= 0 && id <= last; id++)
			r = add_id(key, net, (uint16_t)id, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct net_key keys[] = {
	{ "mode", AT(mode), read_mode, 0, 0 },
	{ "name", AT(name), read_name, 0, IFNAMSIZ - 1 },
	{ "network", AT(network), read_word, 0, 63 },
	{ "ip", AT(ips), read_ips, 0, 0 },
	{ "gateway", AT(gateway), read_gateway, 0, 0 },
	{ "bridge", AT(bridge), read_word, 0, IFNAMSIZ - 1 },
	{ "uplink", AT(uplink), read_word, 0, IFNAMSIZ - 1 },
	{ "vlan", AT(vlan), read_u16, 1, 4094 },
	{ "trunk", AT(trunk), read_trunk, 0, 0 },
	{ "isolated", AT(isolated), read_flag, 0, 0 },
	{ "mtu", AT(mtu), read_u32, 1280, 65535 },
	{ "mac", AT(mac), read_mac, 0, 0 },
	{ "rate_out", AT(rates.out), read_rate, RATE_MIN, RATE_MAX },
	{ "rate_in", AT(rates.in), read_rate, RATE_MIN, RATE_MAX },
	{ "guaranteed", AT(rates.out_guaranteed), read_rate, RATE_MIN, RATE_MAX },
	{ "burst", AT(rates.burst), read_burst, 1514, 1 << 30 },
	{ "internal_rate", AT(limits.internal_rate), read_rate, RATE_MIN, RATE_MAX },
	{ "class", AT(classes), read_classes, 0, 0 },
	{ "pps_out", AT(limits.packets_out), read_u32, 10, 100000000 },
	{ "pps_in", AT(limits.packets_in), read_u32, 10, 100000000 },
	{ "connections", AT(limits.connections), read_u32, 0, 65535 },
	{ "new_connections", AT(limits.new_connections), read_u32, 1, 1000000 },
	{ "block_mail", AT(limits.block_mail), read_flag, 0, 0 },
};

static const struct net_key *key_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (str_eq(keys[i].name, name))
			return &keys[i];
	return NULL;
}

static bool is_segment(enum config_net_mode mode)
{
	return mode == CONFIG_NET_BRIDGE || mode == CONFIG_NET_VLAN || mode == CONFIG_NET_PRIVATE;
}

/* What follows from the named network when there is one is checked where that is known: network.c. */
static int check_segment(const struct config_net *net, struct ct_error *err)
{
	if (net->mode == CONFIG_NET_BRIDGE && !*net->bridge == !*net->uplink)
		return ct_error_field(err, "bridge",
		        "an interface of mode bridge needs either a bridge that is there (bridge=NAME) or a link to make one on (uplink=NAME)");
	if (net->mode == CONFIG_NET_VLAN && (!net->vlan == !net->n_trunk || !*net->uplink))
		return ct_error_field(err, "vlan",
		        "an interface of mode vlan needs uplink=NAME and either vlan=ID (inside without a tag) or trunk=ID (with tags)");
	if (net->mode == CONFIG_NET_BRIDGE && net->n_trunk)
		return ct_error_field(err, "trunk", "a trunk is of mode vlan");
	if (net->n_trunk && (net->gateway[0].family || net->gateway[1].family))
		return ct_error_field(err, "gateway",
		        "a trunk has no gateway: routes inside are made on the VLANs' own interfaces");
	if (net->mode == CONFIG_NET_PRIVATE)
		return ct_error_field(err, "network",
		        "an interface of mode private needs the network that it belongs to (ctctl network create --mode private)");
	if (net->n_ips == 0)
		return ct_error_field(err, "ip",
		        "an interface of mode %s needs its address with the prefix length of the segment: ip=ADDRESS/N",
		        config_net_mode_name(net->mode));
	return 0;
}

static int check_addresses(const struct config_net *net, struct ct_error *err)
{
	char text[IP_ADDR_STRLEN];

	for (unsigned i = 0; i < net->n_ips; i++) {
		const struct ip_addr *a = &net->ips[i];
		bool single = a->prefix == ip_full_prefix(a);

		if (net->mode == CONFIG_NET_NAT && !single)
			return ct_error_field(
			        err, "ip", "an address of mode nat is given without a prefix length");
		if (net->mode == CONFIG_NET_ROUTED && !single) {
			struct ip_addr network;

			if (ip_parse_network(ip_format(a, text, sizeof(text)), &network) < 0)
				return ct_error_field(err, "ip",
				        "the block %s has bits behind its prefix; a block begins with its first address",
				        text);
			if (a->family == AF_INET ? a->prefix < 24
			                         : a->prefix != 64 && a->prefix != 56 && a->prefix != 48)
				return ct_error_field(err, "ip",
				        "a block is an IPv4 network of /24 to /31 or an IPv6 network of /64, /56 or /48, not %s",
				        text);
		}
	}
	return 0;
}

static int check_net(const struct config_net *net, struct ct_error *err)
{
	bool link = *net->bridge || *net->uplink || net->vlan || net->n_trunk;

	if (net->mode == CONFIG_NET_NONE && (net->n_ips || *net->network))
		return ct_error_field(err, "ip", "an interface of mode none takes no address");
	if (*net->network && (link || net->gateway[0].family || net->gateway[1].family))
		return ct_error_field(
		        err, "network", "an interface of a named network takes link and gateway from it");
	if (!*net->network && net->mode == CONFIG_NET_ROUTED && net->n_ips == 0)
		return ct_error_field(err, "ip", "a routed interface needs its address: --ip ADDRESS");
	if (!*net->network && is_segment(net->mode)) {
		int r = check_segment(net, err);

		if (r < 0)
			return r;
	}
	if (!is_segment(net->mode) && net->mode != CONFIG_NET_NAMED &&
	        (link || net->gateway[0].family || net->gateway[1].family || net->isolated))
		return ct_error_field(err, "mode",
		        "bridge, vlan, trunk, uplink, gateway and isolated are for interfaces of mode bridge and vlan");
	if (net->rates.out_guaranteed && net->rates.out && net->rates.out_guaranteed > net->rates.out)
		return ct_error_field(err, "guaranteed", "guaranteed must not be more than rate_out");
	if (net->rates.out_guaranteed && !net->rates.out)
		return ct_error_field(
		        err, "guaranteed", "guaranteed is a part of rate_out, which is not given");
	if (net->limits.connections && net->limits.new_connections > NET_COUNTED_NEW_MAX)
		return ct_error_field(err, "new_connections",
		        "new_connections must be at most 1000 where connections are limited");
	return check_addresses(net, err);
}

static unsigned number_of(const char *name)
{
	unsigned h = 2166136261U;
	uint64_t n;

	if (str_has_prefix(name, "eth") && parse_u64(name + 3, &n) == 0 && n < ETH_NUMBERS &&
	        (name[3] != '0' || name[4] == '\0'))
		return (unsigned)n;
	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619U;
	return ETH_NUMBERS + h % NAME_NUMBERS;
}

static int read_net(const json_t *object, unsigned place, struct config_net *net, struct ct_error *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return ct_error_field(err, "net", "an interface must be an object with its mode");
	json_object_foreach((json_t *)object, name, value)
	{
		const struct net_key *key = key_find(name);
		int r;

		if (!key)
			return ct_error_field(err, "net", "\"%.40s\" is not a key of an interface", name);
		if (json_is_null(value))
			continue;
		r = key->read(key, value, (char *)net + key->offset, err);
		if (r < 0)
			return r;
	}
	net->has_mac = json_is_string(json_object_get(object, "mac"));
	net->has_block_mail = json_object_get(object, "block_mail") != NULL;
	net->has_connections = json_object_get(object, "connections") &&
	                       !json_is_null(json_object_get(object, "connections"));
	if (!json_is_string(json_object_get(object, "mode"))) {
		if (!*net->network)
			return ct_error_field(err, "mode", "an interface needs its mode, or a named network");
		net->mode = CONFIG_NET_NAMED;
	}
	if (!*net->name)
		(void)snprintf(net->name, sizeof(net->name), "eth%u", place); /* place < 8: fits */
	net->index = number_of(net->name);
	return check_net(net, err);
}

static int check_names(const struct config_net *nets, unsigned n, struct ct_error *err)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < i; j++) {
			if (str_eq(nets[j].name, nets[i].name))
				return ct_error_field(
				        err, "net", "two interfaces are called \"%s\"", nets[i].name);
			if (nets[j].index == nets[i].index)
				return ct_error_field(err, "net",
				        "\"%s\" and \"%s\" cannot be in one container: choose another name",
				        nets[j].name, nets[i].name);
		}
	return 0;
}

int config_read_nets(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > CONFIG_NETS_MAX)
		return ct_error_field(
		        err, key->name, "net must be a list of at most %d interfaces", CONFIG_NETS_MAX);
	if (json_array_size(value) == 0)
		return 0;
	config->nets = calloc(json_array_size(value), sizeof(*config->nets));
	if (!config->nets)
		return ct_error_set(err, -ENOMEM, "config", "out of memory");
	config->n_nets = (unsigned)json_array_size(value);

	json_array_foreach(value, i, item)
	{
		int r = read_net(item, (unsigned)i, &config->nets[i], err);

		if (r < 0)
			return r;
	}
	return check_names(config->nets, config->n_nets, err);
}

int config_default_net(struct config *config)
{
	config->nets = calloc(1, sizeof(*config->nets));
	if (!config->nets)
		return -ENOMEM;
	config->nets[0] = (struct config_net){ .mode = CONFIG_NET_NAT, .name = "eth0" };
	config->n_nets = 1;
	return 0;
}

void config_nets_done(struct config_net *nets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(nets[i].ips);
	free(nets);
}

/* ---- published ports ---- */

static int fail_publish(const char *s, struct ct_error *err)
{
	char shown[80];

	return ct_error_field(err, "publish",
	        "\"%s\" is not [ADDRESS:]PORT[-PORT]:PORT[/udp], such as 8080:80, 192.0.2.1:53:53/udp or [2001:db8::1]:80:80",
	        str_escape_to(shown, sizeof(shown), s, strlen(s)));
}

static int read_port(const char *s, uint16_t *ret)
{
	uint64_t n;

	if (parse_u64(s, &n) < 0 || n < 1 || n > 65535)
		return -EINVAL;
	*ret = (uint16_t)n;
	return 0;
}

/* The part before the first port: "", "ADDR:" or "[ADDR6]:". Cuts it off and returns what follows. */
static char *cut_address(char *s, struct ip_addr *ret)
{
	char *end = *s == '[' ? strchr(s, ']') : strrchr(s, ':');

	*ret = (struct ip_addr){ 0 };
	if (!end)
		return *s == '[' ? NULL : s;
	if (*s == '[') {
		*end++ = '\0';
		s++;
	}
	if (*end != ':')
		return NULL;
	*end++ = '\0';
	if (ip_parse(s, ret) < 0 || ret->prefix != ip_full_prefix(ret) ||
	        (end[-2] == '\0') != (ret->family == AF_INET6))
		return NULL;
	return end;
}

int config_publish_parse(const char *s, struct config_publish *ret, struct ct_error *err)
{
	char copy[96], *slash, *target, *port, *dash;
	uint16_t last;

	*ret = (struct config_publish){ .protocol = IPPROTO_TCP };
	if (strlen(s) >= sizeof(copy))
		return fail_publish(s, err);
	strncpy(copy, s, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = '\0';

	slash = strchr(copy, '/');
	if (slash) {
		*slash++ = '\0';
		if (str_eq(slash, "udp"))
			ret->protocol = IPPROTO_UDP;
		else if (!str_eq(slash, "tcp"))
			return fail_publish(s, err);
	}
	target = strrchr(copy, ':');
	if (!target)
		return fail_publish(s, err);
	*target++ = '\0';
	port = cut_address(copy, &ret->address);
	if (!port)
		return fail_publish(s, err);
	dash = strchr(port, '-');
	if (dash)
		*dash++ = '\0';
	if (read_port(port, &ret->port) < 0 || read_port(target, &ret->to_port) < 0 ||
	        read_port(dash ? dash : port, &last) < 0 || last < ret->port ||
	        last - ret->port >= NET_PUBLISH_MAX || ret->to_port + (last - ret->port) > 65535)
		return fail_publish(s, err);
	ret->count = (uint16_t)(last - ret->port + 1);
	return 0;
}

static int check_publish(const struct config_publish *list, unsigned n, struct ct_error *err)
{
	unsigned ports = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct config_publish *a = &list[i];

		ports += a->count;
		for (unsigned j = 0; j < i; j++) {
			const struct config_publish *b = &list[j];

			if (a->protocol == b->protocol && ip_equal(&a->address, &b->address) &&
			        a->port < b->port + b->count && b->port < a->port + a->count)
				return ct_error_field(err, "publish", "the port %u is published twice",
				        a->port > b->port ? a->port : b->port);
		}
	}
	if (ports > CONFIG_PUBLISH_PORTS)
		return ct_error_field(err, "publish", "at most %d ports of a container can be published",
		        CONFIG_PUBLISH_PORTS);
	return 0;
}

int config_read_publish(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > CONFIG_PUBLISH_MAX)
		return ct_error_field(
		        err, key->name, "publish must be a list of at most %d entries", CONFIG_PUBLISH_MAX);
	if (json_array_size(value) == 0)
		return 0;
	config->publish = calloc(json_array_size(value), sizeof(*config->publish));
	if (!config->publish)
		return ct_error_set(err, -ENOMEM, "config", "out of memory");
	config->n_publish = (unsigned)json_array_size(value);

	json_array_foreach(value, i, item)
	{
		const char *s = NULL;
		int r = config_read_string(key->name, item, &s, err);

		if (r >= 0)
			r = config_publish_parse(s, &config->publish[i], err);
		if (r < 0)
			return r;
	}
	return check_publish(config->publish, config->n_publish, err);
}
