/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of traffic in the ledger.
 *
 * ctd.conf may name others tomorrow, but what is posted stays. So a name has a slot in the ledger from the
 * day on which it is first seen, and no other name ever gets that slot: what a record has in it is that
 * class's for ever. Slots are written before any counter that is in them. With a name for which none is left
 * ctd does not start, before the host's tables count anything by it.
 *
 * Another node may have other slots, so it is told names, of those classes only in which something was
 * counted. Names that come so do not take the last slots: there is one for each class that ctd.conf may yet
 * get.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/meter.h"
#include "ctd/traffic.h"

static int load_one(unsigned slot, const char *name, void *userdata)
{
	struct metering *metering = userdata;

	if (slot >= CLASS_SLOTS || !conf_class_is_name(name))
		return -EUCLEAN;
	(void)snprintf(metering->classes[slot], sizeof(metering->classes[slot]), "%s", name); /* it fits */
	return 0;
}

int meter_classes_load(struct metering *metering, struct ct_error *err)
{
	int r;

	meter_classes_unload(metering);
	r = ledger_class_each(metering->ledger, load_one, metering, err);
	if (r == -EUCLEAN)
		return ct_error_set(err, r, "meter", "a class of traffic in the ledger has no name");
	metering->classes_written = r >= 0;
	return r;
}

void meter_classes_unload(struct metering *metering)
{
	memset(metering->classes, 0, sizeof(metering->classes));
	metering->classes_written = false;
}

/* Names, and with them what each account has seen of them: else a ctd that finds the name and no such number
 * would take all that was ever counted for news. */
static int write_names(struct manager *m, struct ct_error *err)
{
	struct metering *metering = m->metering;
	struct container *c, *next;
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < CLASS_SLOTS; i++)
		if (*metering->classes[i])
			r = ledger_class_put(metering->ledger, i, metering->classes[i], err);
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (r >= 0 && c->meter && c->meter->id)
		r = ledger_account_put(metering->ledger, &c->meter->account, err);
	return r;
}

int meter_classes_write(struct manager *m, struct ct_error *err)
{
	struct metering *metering = m->metering;
	int r;

	if (metering->classes_written)
		return 0;
	r = store_begin(metering->ledger, true, err);
	if (r < 0)
		return r;
	r = write_names(m, err);
	if (r >= 0)
		r = store_commit(metering->ledger, err);
	else
		store_rollback(metering->ledger);
	metering->classes_written = r >= 0;
	return r;
}

/* -1: there is none. */
static int find(const struct metering *metering, const char *name)
{
	for (int i = 0; i < CLASS_SLOTS; i++)
		if (str_eq(metering->classes[i], name))
			return i;
	return -1;
}

/* The slot of a name, which gets one if it has none; -1: there is none left. */
static int claim(struct metering *metering, const char *name)
{
	int slot = find(metering, name);

	if (slot >= 0)
		return slot;
	slot = find(metering, "");
	if (slot < 0)
		return -1;
	(void)snprintf(metering->classes[slot], sizeof(metering->classes[slot]), "%s", name); /* it fits */
	metering->classes_written = false;
	return slot;
}

static int refuse(const struct metering *metering, const char *name, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf names = STRBUF_INIT;

	for (unsigned i = 0; i < CLASS_SLOTS; i++)
		(void)strbuf_printf(&names, "%s%s", i ? ", " : "", metering->classes[i]);
	return ct_error_field(err, "traffic-class",
	        "the ledger has no place for the class of traffic \"%s\": it keeps the %d names that there have been (%s); take one of them in ctd.conf, or leave the class out",
	        name, CLASS_SLOTS, names.data && !names.error ? names.data : "out of memory");
}

int meter_classes_check(const struct manager *m, struct ct_error *err)
{
	_cleanup_free_ char *path = meter_ledger_path(m);
	struct metering metering = { 0 };
	int r = 0;

	if (!path)
		return ct_error_set(err, -ENOMEM, "meter", "out of memory");
	if (m->conf.n_classes == 0 || access(path, F_OK) < 0 || ledger_open(path, &metering.ledger, NULL) < 0)
		return 0;
	if (meter_classes_load(&metering, NULL) >= 0)
		for (unsigned i = 0; r >= 0 && i < m->conf.n_classes; i++)
			if (claim(&metering, m->conf.classes[i].name) < 0)
				r = refuse(&metering, m->conf.classes[i].name, err);
	store_close(metering.ledger);
	return r;
}

/* What was counted before there was a slot for it is in no row. */
static void begin_slot(struct manager *m, unsigned class, unsigned slot)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		const struct traffic_counts t = traffic_class_totals(c, class);

		if (!c->meter)
			continue;
		c->meter->account.seen.of[count_of_class(slot, CLASS_IN_BYTES)] = t.in_bytes;
		c->meter->account.seen.of[count_of_class(slot, CLASS_IN_PACKETS)] = t.in_packets;
		c->meter->account.seen.of[count_of_class(slot, CLASS_OUT_BYTES)] = t.out_bytes;
		c->meter->account.seen.of[count_of_class(slot, CLASS_OUT_PACKETS)] = t.out_packets;
	}
}

void meter_classes_begin(struct manager *m)
{
	struct metering *metering = m->metering;

	for (unsigned i = 0; i < m->conf.n_classes; i++) {
		const char *name = m->conf.classes[i].name;
		const bool is_new = find(metering, name) < 0;

		metering->slots[i] = claim(metering, name);
		if (metering->slots[i] < 0) /* the ledger could not be read when it was checked */
			log_error(
			        "the class of traffic \"%s\" is not in the ledger, which has had %d others and has no place for more",
			        name, CLASS_SLOTS);
		else if (is_new)
			begin_slot(m, i, (unsigned)metering->slots[i]);
	}
}

static bool has_any(const struct counts *c, unsigned slot)
{
	for (unsigned i = 0; i < CLASS_COUNTS; i++)
		if (c->of[count_of_class(slot, i)])
			return true;
	return false;
}

json_t *meter_totals(const struct metering *metering, const struct counts *c)
{
	json_t *object = counts_to_json(c), *classes = json_object();

	for (unsigned slot = 0; slot < CLASS_SLOTS; slot++) {
		const bool used = *metering->classes[slot] && has_any(c, slot);
		json_t *class = used ? json_object() : NULL;

		for (unsigned i = 0; class && i < CLASS_COUNTS; i++)
			(void)json_object_set_new(class, class_count_names[i],
			        json_integer((json_int_t)c->of[count_of_class(slot, i)])); /* missing: 0 */
		if (class)
			(void)json_object_set_new(classes, metering->classes[slot], class);
	}
	(void)json_object_set_new(object, "classes", classes); /* as above */
	return object;
}

int meter_totals_check(const json_t *object)
{
	const json_t *classes = json_object_get(object, "classes"), *class, *value;
	struct counts unused;
	const char *name;

	if (counts_from_json(object, &unused) < 0 || (classes && !json_is_object(classes)) ||
	        json_object_size(classes) > CLASS_SLOTS)
		return -EBADMSG;
	json_object_foreach((json_t *)classes, name, class)
	{
		if (!conf_class_is_name(name))
			return -EBADMSG;
		for (unsigned i = 0; i < CLASS_COUNTS; i++) {
			value = json_object_get(class, class_count_names[i]);
			if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
				return -EBADMSG;
		}
	}
	return 0;
}

static uint64_t class_count(const json_t *class, unsigned i)
{
	return (uint64_t)json_integer_value(json_object_get(class, class_count_names[i]));
}

static bool counts_any(const json_t *class)
{
	for (unsigned i = 0; i < CLASS_COUNTS; i++)
		if (class_count(class, i))
			return true;
	return false;
}

/* Of another node's class. -1: it has none, and what is free is for classes of this node. */
static int claim_foreign(struct manager *m, const char *name)
{
	struct metering *metering = m->metering;
	unsigned n_free = 0, reserved = NET_CLASSES_MAX;
	const int slot = find(metering, name);

	if (slot >= 0)
		return slot;
	for (unsigned i = 0; i < CLASS_SLOTS; i++)
		n_free += !*metering->classes[i];
	for (unsigned i = 0; i < m->conf.n_classes; i++)
		reserved -= metering->slots[i] >= 0;
	return n_free > reserved ? claim(metering, name) : -1;
}

void meter_totals_read(struct manager *m, const json_t *object, struct counts *ret)
{
	const json_t *class;
	const char *name;

	(void)counts_from_json(object, ret); /* was checked */
	json_object_foreach(json_object_get(object, "classes"), name, class)
	{
		int slot;

		if (!counts_any(class))
			continue;
		slot = claim_foreign(m, name);
		if (slot < 0)
			log_warning(
			        "the ledger has no place for the class of traffic \"%s\" of another node: it is in the whole alone",
			        name);
		for (unsigned i = 0; slot >= 0 && i < CLASS_COUNTS; i++)
			ret->of[count_of_class((unsigned)slot, i)] = class_count(class, i);
	}
}
