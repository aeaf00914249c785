/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Published ports, named networks and counted traffic.
 *
 * A range of ports is a row for each, so that one constraint finds every overlap.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/str.h"

static int publish_clear(struct store *store, const char *ctid, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "DELETE FROM publish WHERE ctid = ?");
	query_bind_text(&q, ctid);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

static int publish_insert(
        struct store *store, const char *ctid, const struct publish_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "INSERT INTO publish (protocol, address, port, ctid) VALUES (?, ?, ?, ?)");
	query_bind_int(&q, row->protocol);
	query_bind_text(&q, row->address);
	query_bind_int(&q, row->port);
	query_bind_text(&q, ctid);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

static int publish_taken(struct store *store, const struct publish_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT c.name FROM publish p JOIN container c ON c.ctid = p.ctid"
	                           " WHERE p.protocol = ? AND p.address = ? AND p.port = ?");
	query_bind_int(&q, row->protocol);
	query_bind_text(&q, row->address);
	query_bind_int(&q, row->port);

	int r = query_next(&q, err);
	if (r < 0)
		return r;

	const char *owner = r > 0 ? query_text(&q, 0) : NULL;
	(void)ct_error_set(err, -EEXIST, "store", "the port %s%s%u/%s is published by the container \"%s\"",
	        row->address, *row->address ? " " : "", row->port,
	        row->protocol == IPPROTO_UDP ? "udp" : "tcp", owner ? owner : "?");
	if (err)
		(void)snprintf(err->field, sizeof(err->field), "publish");
	return -EEXIST;
}

/* In the caller's transaction, which is to be rolled back when this fails. */
int store_publish_set(
        struct store *store, const char *ctid, const struct publish_row *rows, size_t n, struct ct_error *err)
{
	int r = publish_clear(store, ctid, err);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = publish_insert(store, ctid, &rows[i], err);
		if (r == -EEXIST)
			return publish_taken(store, &rows[i], err);
		if (r == -ENOENT)
			return ct_error_set(err, r, "store", "there is no container %s", ctid);
	}
	return r;
}

static int network_number(struct store *store, uint32_t *ret, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT min(n) FROM (SELECT 1 AS n UNION SELECT number + 1 FROM network)"
	                           " WHERE n NOT IN (SELECT number FROM network)");

	int r = query_next(&q, err);
	if (r < 0)
		return r;
	*ret = (uint32_t)query_int(&q, 0);
	return 0;
}

int store_network_insert(struct store *store, struct network_row *row, struct ct_error *err)
{
	int r = network_number(store, &row->number, err);
	if (r < 0)
		return r;

	_cleanup_query_ struct query q =
	        query_start(store, "INSERT INTO network (name, number, config, created) VALUES (?, ?, ?, ?)");
	query_bind_text(&q, row->name);
	query_bind_int(&q, row->number);
	query_bind_text(&q, row->config);
	query_bind_int(&q, (int64_t)row->created_usec);

	r = query_run(&q, err);
	if (r == -EEXIST)
		return ct_error_kind_set(err, CT_ERROR_STATE, r,
		        "there is a network \"%s\" already: choose another name", row->name);
	return r < 0 ? r : 0;
}

int store_network_update(struct store *store, const char *name, const char *config, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "UPDATE network SET config = ? WHERE name = ?");
	query_bind_text(&q, config);
	query_bind_text(&q, name);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

int store_network_delete(struct store *store, const char *name, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store, "DELETE FROM network WHERE name = ?");
	query_bind_text(&q, name);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

int store_network_each(struct store *store, int (*each)(const struct network_row *row, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q =
	        query_start(store, "SELECT name, number, config, created FROM network ORDER BY name");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		struct network_row row = {
			.name = query_text(&q, 0),
			.number = (uint32_t)query_int(&q, 1),
			.config = query_text(&q, 2),
			.created_usec = (uint64_t)query_int(&q, 3),
		};

		r = query_check(&q, err);
		if (r < 0)
			return r;
		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}

static void bind_counts(struct query *q, const struct traffic_counts *c)
{
	query_bind_int(q, (int64_t)c->in_bytes);
	query_bind_int(q, (int64_t)c->in_packets);
	query_bind_int(q, (int64_t)c->out_bytes);
	query_bind_int(q, (int64_t)c->out_packets);
	query_bind_int(q, (int64_t)c->out_dropped);
}

static struct traffic_counts read_counts(struct query *q, int column)
{
	return (struct traffic_counts){
		.in_bytes = (uint64_t)query_int(q, column),
		.in_packets = (uint64_t)query_int(q, column + 1),
		.out_bytes = (uint64_t)query_int(q, column + 2),
		.out_packets = (uint64_t)query_int(q, column + 3),
		.out_dropped = (uint64_t)query_int(q, column + 4),
	};
}

int store_traffic_put(struct store *store, const struct traffic_row *row, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "INSERT OR REPLACE INTO traffic (ctid, device, boot_id, slot, in_bytes, in_packets, out_bytes, out_packets,"
	        " out_dropped, seen_in_bytes, seen_in_packets, seen_out_bytes, seen_out_packets, seen_out_dropped)"
	        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	query_bind_text(&q, row->ctid);
	query_bind_text(&q, row->device);
	query_bind_text(&q, row->boot_id);
	query_bind_int(&q, row->slot);
	bind_counts(&q, &row->total);
	bind_counts(&q, &row->seen);

	int r = query_run(&q, err);
	return r < 0 ? r : 0;
}

int store_traffic_each(struct store *store, int (*each)(const struct traffic_row *row, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_query_ struct query q = query_start(store,
	        "SELECT ctid, device, boot_id, slot, in_bytes, in_packets, out_bytes, out_packets, out_dropped,"
	        " seen_in_bytes, seen_in_packets, seen_out_bytes, seen_out_packets, seen_out_dropped FROM traffic");
	int r;

	while ((r = query_next(&q, err)) > 0) {
		struct traffic_row row = {
			.ctid = query_text(&q, 0),
			.device = query_text(&q, 1),
			.boot_id = query_text(&q, 2),
			.slot = (uint32_t)query_int(&q, 3),
			.total = read_counts(&q, 4),
			.seen = read_counts(&q, 9),
		};

		r = query_check(&q, err);
		if (r < 0)
			return r;
		r = each(&row, userdata);
		if (r != 0)
			return r;
	}

	return r;
}
