/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bridges of ours: one for each private network, each VLAN of an uplink, each uplink that is bridged.
 *
 * Nothing is recorded of them. The number in a bridge's name follows from what it is: a private network's own
 * number, or the index of the uplink's link and the VLAN; so two containers on one VLAN meet on one bridge
 * and one sub-interface, whether they name a network or not. A bridge is made when a container comes up on
 * it. To remove one is always tried for all that have our tag: the kernel's word that ports are on it
 * (-EBUSY) is what keeps it. A container's links go some time after it has ended, so that is tried again for
 * a while.
 */
#include "ctd/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "base/str.h"
#include "base/clock.h"
#include "ctd/manager.h"

#define LINKED_FIRST 1000000U /* numbers below are those of networks */
#define INDEX_MAX    ((UINT32_MAX - LINKED_FIRST) / 4096 - 1)
#define SWEEP_USEC   (200 * 1000)
#define SWEEP_TRIES  50

static int number_of(const struct net_attach *a, uint32_t *ret, struct ct_error *err)
{
	unsigned index;

	if (a->mode == CONFIG_NET_PRIVATE) {
		*ret = a->network->number;
		return 0;
	}
	index = if_nametoindex(a->uplink);
	if (index == 0 || index > INDEX_MAX)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -ENODEV,
		        "there is no link \"%s\" on this host to be the uplink", a->uplink);
	*ret = LINKED_FIRST + index * 4096 + a->vlan;
	return 0;
}

static bool is_administrators(const struct net_attach *a)
{
	return a->mode == CONFIG_NET_BRIDGE && *a->bridge;
}

int segment_name(const struct manager *m, const struct net_attach *attach, char ret[static IFNAMSIZ],
        struct ct_error *err)
{
	uint32_t number = 0;
	int r;

	if (is_administrators(attach)) {
		(void)snprintf(ret, IFNAMSIZ, "%s", attach->bridge); /* as long at most */
		return 0;
	}
	r = number_of(attach, &number, err);
	if (r >= 0)
		net_bridge_name(ret, m->tag, number);
	return r;
}

/* What a bridge of the administrator's is joined to we do not know. The frames of a trunk lose the priority
 * that would choose their class there, when their tag is taken off. */
const char *segment_uplink(const struct net_attach *a)
{
	return *a->scope && a->mode != CONFIG_NET_PRIVATE && !is_administrators(a) && !a->n_trunk ? a->uplink
	                                                                                          : "";
}

int segment_up(
        struct manager *m, const struct net_attach *attach, char ret[static IFNAMSIZ], struct ct_error *err)
{
	struct net_bridge_spec spec = { .vlan = attach->vlan, .mtu = attach->mtu };
	int r;

	r = segment_name(m, attach, ret, err);
	if (r < 0 || is_administrators(attach))
		return r;
	(void)number_of(attach, &spec.number, NULL); /* it was possible just now */
	(void)snprintf(spec.uplink, sizeof(spec.uplink), "%s", attach->uplink);
	return net_bridge_add(m->net, &spec, err);
}

/* The number in b<tag><number> or w<tag><number>; 0: the link is not ours. */
static uint32_t number_in(const struct manager *m, const char *name)
{
	char *end = NULL;
	unsigned long long n;

	if ((name[0] != 'b' && name[0] != 'w') || strncmp(name + 1, m->tag, NET_TAG_LEN) != 0)
		return 0;
	n = strtoull(name + 1 + NET_TAG_LEN, &end, 36);
	return *end || n > UINT32_MAX ? 0 : (uint32_t)n;
}

int segments_sweep(struct manager *m, struct ct_error *err)
{
	struct if_nameindex *links = if_nameindex();
	int n = 0;

	if (!links)
		return ct_error_set(err, -errno, "network", "cannot list the links: %s", strerror(errno));
	for (struct if_nameindex *link = links; link->if_index; link++) {
		uint32_t number = number_in(m, link->if_name);
		int r;

		if (number == 0)
			continue;
		r = net_bridge_remove(m->net, number, NULL);
		if (r == -EBUSY)
			continue;
		if (r < 0)
			n++;
	}
	if_freenameindex(links);
	if (net_segments_settle(m->net, NULL) < 0)
		n++;
	return n;
}

static bool any_left(const struct manager *m)
{
	struct if_nameindex *links = if_nameindex();
	bool left = false;

	for (struct if_nameindex *link = links; link && link->if_index && !left; link++)
		left = number_in(m, link->if_name) != 0;
	if_freenameindex(links);
	return left;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;

	(void)segments_sweep(m, NULL); /* tried again, and by fsck */
	if (--m->segment_tries > 0 && any_left(m)) {
		(void)sd_event_source_set_time_relative(source, SWEEP_USEC);
		(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	return 0;
}

void segments_sweep_later(struct manager *m)
{
	m->segment_tries = SWEEP_TRIES;
	if (!m->segment_sweep && sd_event_add_time_relative(m->event, &m->segment_sweep, CLOCK_MONOTONIC,
	                                 SWEEP_USEC, 1000, on_sweep, m) < 0) {
		log_warning("bridges without ports are left until ctctl fsck --repair");
		return;
	}
	(void)sd_event_source_set_time_relative(m->segment_sweep, SWEEP_USEC);
	(void)sd_event_source_set_enabled(m->segment_sweep, SD_EVENT_ONESHOT);
}

void segments_free(struct manager *m)
{
	m->segment_sweep = sd_event_source_disable_unref(m->segment_sweep);
}
