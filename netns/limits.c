/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits: what one tenant may use up of what all share. An element each in the sets of sets.h, found by the
 * rules of guard.c and host.c.
 *
 * Connections are counted by the kernel in a list per port (nf_conncount). For a new connection it walks the
 * list, once per tick at most, and throws out at most eight dead entries; one that is refused is put into the
 * list all the same. So a flood makes the list longer than it can be cleaned, without end, and each packet
 * costs more: at two thousand packets a second a processor is busy with nothing else. Therefore a count never
 * stands alone: new connections are limited as well, before they are counted, to what the kernel can clean
 * up. Unless that was asked for, it begins with a bucket as large as the count, so that nobody who keeps to
 * the count for long notices it; the list is then never longer than twice the count.
 *
 * A limit in bytes has a bucket of one second, which nf_tables does not let us choose.
 */
#include "netns/limits.h"

#include <errno.h>
#include <string.h>

#include "netns/port.h"
#include "netns/spec.h"

#define CONNECTIONS_MAX 65535

int limits_find(struct net_context *net, const char *host_name, struct scan_keys *ret, struct ct_error *err)
{
	for (enum port_set set = PORT_FIRST_OPTIONAL; set < PORT_LIMITS_END; set++) {
		struct scan_key key = set_key_of_name(set, host_name);
		int r;

		r = set_has(net, &key, err);
		if (r > 0)
			r = set_keys_push(ret, &key);
		if (r < 0)
			return r;
	}

	return 0;
}

static uint32_t burst_of(uint32_t per_second)
{
	return per_second / 10 > 16 ? per_second / 10 : 16;
}

static void put_packets(
        struct nft_place *p, struct nft_elements *e, const struct scan_key *key, uint32_t limit, bool cut)
{
	size_t len = port_sets[key->set].key_len;

	if (cut)
		nft_element(p, e, key->bytes, len);
	else
		nft_element_over(p, e, key->bytes, len, &(struct nft_limit){ limit, burst_of(limit), false });
}

static bool is_wanted(enum port_set set, const struct net_limits *limits)
{
	switch (set) {
	case PORT_PACKETS_OUT: return limits->packets_out || limits->cut;
	case PORT_PACKETS_IN: return limits->packets_in || limits->cut;
	case PORT_CONNECTIONS: return limits->connections;
	case PORT_NEW_CONNECTIONS: return limits->new_connections || limits->connections;
	case PORT_SEGMENT_NO_MAIL:
	case PORT_NO_MAIL: return limits->block_mail;
	case PORT_INTERNAL: return limits->internal_rate;
	default: return false; /* not a limit */
	}
}

/* New connections; where they are counted and nothing else is said, what the kernel can clean up. */
static struct nft_limit new_connections_of(const struct net_limits *limits)
{
	uint32_t rate = limits->new_connections ? limits->new_connections : NET_COUNTED_NEW_MAX;
	uint32_t burst = burst_of(rate);

	if (!limits->new_connections && limits->connections > burst)
		burst = limits->connections;
	return (struct nft_limit){ rate, burst, false };
}

static void put_limit(
        struct net_context *net, enum port_set set, const char *host_name, const struct net_limits *limits)
{
	struct scan_key key = set_key_of_name(set, host_name);
	struct nft_place p = set_place(net, set);
	size_t len = port_sets[set].key_len;
	struct nft_limit new = new_connections_of(limits);
	struct nft_elements e;

	if (!is_wanted(set, limits))
		return;

	e = nft_elements_begin(&p, NFT_MSG_NEWSETELEM, port_sets[set].name);
	if (set == PORT_PACKETS_OUT)
		put_packets(&p, &e, &key, limits->packets_out, limits->cut);
	else if (set == PORT_PACKETS_IN)
		put_packets(&p, &e, &key, limits->packets_in, limits->cut);
	else if (set == PORT_CONNECTIONS)
		nft_element_connections(&p, &e, key.bytes, len, limits->connections);
	else if (set == PORT_NEW_CONNECTIONS)
		nft_element_over(&p, &e, key.bytes, len, &new);
	else if (set == PORT_INTERNAL)
		nft_element_over(
		        &p, &e, key.bytes, len, &(struct nft_limit){ limits->internal_rate / 8, 0, true });
	else
		nft_element(&p, &e, key.bytes, len);
	nft_elements_end(&p, &e);
}

int net_port_limit(
        struct net_context *net, const char *host_name, const struct net_limits *limits, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys have = { 0 };
	int r;

	r = spec_check_name(net, host_name, err);
	if (r < 0)
		return r;
	if (limits->connections > CONNECTIONS_MAX)
		return ct_error_field(err, "connections", "a port may be limited to at most %d connections",
		        CONNECTIONS_MAX);
	if (limits->connections && limits->new_connections > NET_COUNTED_NEW_MAX)
		return ct_error_field(err, "new_connections",
		        "where connections are limited, at most %d new ones a second can be allowed",
		        NET_COUNTED_NEW_MAX);
	if (limits->internal_rate && limits->internal_rate < 8000)
		return ct_error_field(err, "internal_rate", "the rate must be at least 8000 bits per second");

	r = limits_find(net, host_name, &have, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	set_keys_put(net, NFT_MSG_DELSETELEM, &have);
	for (enum port_set set = PORT_FIRST_OPTIONAL; set < PORT_LIMITS_END; set++)
		put_limit(net, set, host_name, limits);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}
