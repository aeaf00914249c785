/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is ours, object by object, and how each is removed: for fsck, and for taking everything away.
 *
 * A filter is reported when a port has a chain or an element in any set. From Linux 6.10 a chain outlives its
 * device; net_port_release cannot delete it while the link is still up (the port would be open for the rest
 * of its life), so it is remembered and taken away later.
 */
#include "netns/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "netns/link.h"
#include "netns/port.h"

static int scan_filters(struct net_context *net, struct scan_objects *ret, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys keys = { 0 };
	size_t n = 0;
	int r;

	r = scan_chains(net, ret, err);
	if (r < 0)
		return r;
	r = scan_elements(net, PORT_SETS, NULL, &keys, err);
	if (r < 0)
		return r;

	if (ret->n + keys.n > ret->max) {
		struct net_object *grown = reallocarray(ret->objects, ret->n + keys.n, sizeof(*grown));

		if (!grown)
			return ct_error_set(err, -ENOMEM, "network", "out of memory");
		ret->objects = grown;
		ret->max = ret->n + keys.n;
	}
	for (size_t i = 0; i < keys.n; i++) {
		struct net_object *object = &ret->objects[ret->n++];

		*object = (struct net_object){ .kind = NET_OBJECT_FILTER };
		memcpy(object->host_name, keys.keys[i].bytes, IFNAMSIZ - 1);
	}

	if (ret->n == 0)
		return 0;
	scan_objects_sort(ret);
	for (size_t i = 1; i < ret->n; i++) {
		if (!str_eq(ret->objects[i].host_name, ret->objects[n].host_name))
			ret->objects[++n] = ret->objects[i];
	}
	ret->n = n + 1;
	return 0;
}

/* Released, and on its way out: the kernel takes its time with namespaces. */
static bool is_lingering(const struct net_context *net, const char *host_name)
{
	for (size_t i = 0; i < net->n_lingering; i++) {
		if (str_eq(net->lingering[i], host_name))
			return true;
	}

	return false;
}

static int call_each(const struct net_context *net, const struct scan_objects *objects,
        int (*each)(const struct net_object *object, void *userdata), void *userdata)
{
	for (size_t i = 0; i < objects->n; i++) {
		int r = is_lingering(net, objects->objects[i].host_name)
		                ? 0
		                : each(&objects->objects[i], userdata);

		if (r != 0)
			return r;
	}

	return 0;
}

int net_dump(struct net_context *net, int (*each)(const struct net_object *object, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_scan_objects_ struct scan_objects objects = { 0 }, filters = { 0 };
	int r;

	r = port_sweep(net, false, err);
	if (r < 0)
		return r;
	r = scan_links(net, &objects, err);
	if (r < 0)
		return r;
	r = scan_routes(net, &objects, err);
	if (r < 0)
		return r;
	r = scan_filters(net, &filters, err);
	if (r < 0)
		return r;

	r = call_each(net, &objects, each, userdata);
	if (r != 0)
		return r;

	return call_each(net, &filters, each, userdata);
}

int net_object_remove(struct net_context *net, const struct net_object *object, struct ct_error *err)
{
	struct link_info link;
	int r;

	switch (object->kind) {
	case NET_OBJECT_LINK:
		nl_batch_reset(&net->batch);
		link_delete(&net->batch, object->host_name);
		return nl_transact(&net->route, &net->batch, object->host_name, err);

	case NET_OBJECT_ROUTE:
		r = link_get(&net->route, &net->batch, object->host_name, 0, &link, err);
		if (r == -ENODEV)
			return 0;
		if (r < 0)
			return r;
		nl_batch_reset(&net->batch);
		route_remove(&net->batch, &(struct route){ .to = &object->address,
		                                  .index = link.index,
		                                  .protocol = NET_ROUTE_PROTOCOL });
		return nl_transact(&net->route, &net->batch, object->host_name, err);

	case NET_OBJECT_FILTER: return port_remove_filter(net, object->host_name, err);
	}

	return -EINVAL;
}

int net_settle(struct net_context *net, struct ct_error *err)
{
	int r = port_sweep(net, false, err);

	return r < 0 ? r : (int)net->n_lingering;
}
