/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shells made ahead of time, and who holds which slot.
 *
 * A fork, two namespaces and a veth are made in one go, when no shell has been taken for a while and the loop
 * has nothing else to do (a timer of idle priority, one shell per turn): a start that is under way must not
 * wait for the next one's shell. Everything in the pool is kept alive by our fds alone: if ctd dies, the
 * kernel takes it all back.
 */
#include "ctd/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/resources.h"

#define QUIET_USEC  30000
#define SETTLE_USEC 200000

static bool slot_is_used(const struct pool *pool, uint32_t slot)
{
	return pool->used[slot / 8] & (1u << (slot % 8));
}

static void slot_mark(struct pool *pool, uint32_t slot, bool used)
{
	if (used)
		pool->used[slot / 8] |= (uint8_t)(1u << (slot % 8));
	else
		pool->used[slot / 8] &= (uint8_t) ~(1u << (slot % 8));
}

static uint32_t slot_take(struct pool *pool)
{
	/* From where the last one was found: an id range rests as long as possible before it is used again.
	 */
	for (uint32_t i = 0; i < CONF_NUMBERS_MAX; i++) {
		uint32_t slot = (pool->next + i) % CONF_NUMBERS_MAX + 1;

		if (!slot_is_used(pool, slot)) {
			slot_mark(pool, slot, true);
			pool->next = slot;
			return slot;
		}
	}
	return 0;
}

int pool_claim_slot(struct pool *pool, uint32_t slot)
{
	if (slot < 1 || slot > CONF_NUMBERS_MAX || slot_is_used(pool, slot))
		return -EEXIST;
	slot_mark(pool, slot, true);
	return 0;
}

uint32_t pool_lease_slot(struct pool *pool)
{
	return slot_take(pool);
}

bool pool_has_slot(const struct pool *pool, uint32_t slot)
{
	return slot >= 1 && slot <= CONF_NUMBERS_MAX && slot_is_used(pool, slot);
}

void pool_release_slot(struct pool *pool, uint32_t slot)
{
	if (slot < 1 || slot > CONF_NUMBERS_MAX)
		return;
	slot_mark(pool, slot, false);
	pool_refill_later(pool);
}

static int item_link(struct pool *pool, struct pool_item *item, struct ct_error *err)
{
	struct manager *m = pool->manager;
	int r;

	net_port_name(item->host_name, m->tag, item->slot, 0);
	r = net_port_create(m->net, item->host_name, "eth0", item->shell.netns_fd, err);
	if (r < 0)
		return r;
	item->has_link = true;
	return 0;
}

static int item_make(struct pool *pool, bool with_link, struct pool_item *ret, struct ct_error *err)
{
	struct pool_item item = POOL_ITEM_INIT;
	int r;

	item.slot = slot_take(pool);
	if (item.slot == 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "all %u id ranges of this node are in use", CONF_NUMBERS_MAX);

	r = ct_shell_new(manager_base_id(pool->manager, item.slot), &item.shell, err);
	if (r >= 0)
		r = limits_user_defaults(item.shell.userns_fd, err);
	if (r >= 0)
		r = item.idmap_fd = ct_idmap_userns_new(manager_base_id(pool->manager, item.slot), err);
	if (r >= 0 && with_link)
		r = item_link(pool, &item, err);
	if (r < 0) {
		pool_item_drop(pool, &item);
		return r;
	}

	*ret = item;
	return 0;
}

void pool_item_drop(struct pool *pool, struct pool_item *item)
{
	if (item->slot == 0)
		return;
	ct_shell_done(&item->shell);
	item->idmap_fd = fd_close(item->idmap_fd);
	pool_release_slot(pool, item->slot);
	*item = POOL_ITEM_INIT;
}

int pool_take(struct pool *pool, bool with_link, struct pool_item *ret, struct ct_error *err)
{
	if (with_link && pool->n_items > 0) {
		*ret = pool->items[--pool->n_items];
		pool_refill_later(pool);
		return 0;
	}
	return item_make(pool, with_link, ret, err);
}

static int pool_arm(struct pool *pool, uint64_t usec)
{
	int r = sd_event_source_set_time_relative(pool->refill, usec);

	return r < 0 ? r : sd_event_source_set_enabled(pool->refill, SD_EVENT_ONESHOT);
}

static int on_refill(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pool *pool = userdata;
	struct ct_error error = { 0 };

	if (pool->n_items >= pool->manager->conf.pool_size || pool->n_items >= POOL_MAX)
		return net_settle(pool->manager->net, NULL) > 0 ? pool_arm(pool, SETTLE_USEC) : 0;
	if (item_make(pool, true, &pool->items[pool->n_items], &error) < 0) {
		log_warning("cannot prepare a network namespace: %s", error.text);
		return 0; /* the next start says it to who asks, or succeeds and tries again */
	}
	pool->n_items++;
	return pool_arm(pool, 0);
}

void pool_refill_later(struct pool *pool)
{
	if (pool->refill && pool_arm(pool, QUIET_USEC) < 0)
		log_warning("cannot refill the pool of network namespaces");
}

int pool_init(struct pool *pool, struct manager *m, struct ct_error *err)
{
	int r;

	pool->manager = m;
	pool->used = calloc(1, CONF_NUMBERS_MAX / 8 + 1);
	if (!pool->used)
		return ct_error_set(err, -ENOMEM, "pool", "out of memory");

	r = sd_event_add_time_relative(m->event, &pool->refill, CLOCK_MONOTONIC, 0, 1000, on_refill, pool);
	if (r >= 0)
		r = sd_event_source_set_priority(pool->refill, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_source_set_enabled(
		        pool->refill, SD_EVENT_OFF); /* until recovery has claimed its slots */
	return r < 0 ? ct_error_set(err, r, "pool", "cannot add an event source: %s", strerror(-r)) : 0;
}

void pool_done(struct pool *pool)
{
	while (pool->n_items > 0)
		pool_item_drop(pool, &pool->items[--pool->n_items]);
	pool->refill = sd_event_source_disable_unref(pool->refill);
	free(pool->used);
	pool->used = NULL;
}
