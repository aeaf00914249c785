/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a limit that stood in the way is told, and what another node's classes of traffic get here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/meter.h"
#include "ctd/traffic.h"

/* What these parts ask of the rest of ctd. */
static uint64_t now;

uint64_t __wrap_now_monotonic_usec(void);

uint64_t __wrap_now_monotonic_usec(void)
{
	return now;
}

enum disk_driver container_disk_driver(const struct container *c)
{
	return DISK_DRIVER_DIR;
}

bool conf_class_is_name(const char *s)
{
	return *s != '\0';
}

struct traffic_counts traffic_class_totals(const struct container *c, unsigned class)
{
	return (struct traffic_counts){ 0 };
}

static unsigned n_told;
static json_int_t hits;

void manager_event(struct manager *m, const struct container *c, const char *type, json_t *detail)
{
	assert_string_equal(type, "limit.hit");
	n_told++;
	hits = json_integer_value(json_object_get(detail, "hits"));
	json_decref(detail);
}

/* One hit after so many seconds. */
static void hit_after(struct container *c, unsigned seconds)
{
	now += seconds * USEC_PER_SEC;
	c->meter->account.total.of[COUNT_MEMORY_HITS]++;
	meter_hits_tell(c);
}

static void test_pauses(void **state)
{
	struct meter meter = { .sampled = true, .hits_known = true };
	struct container c = { .meter = &meter };

	now = 1000 * USEC_PER_SEC;
	n_told = 0;
	hit_after(&c, 0);
	assert_int_equal(n_told, 1);
	hit_after(&c, 59);
	assert_int_equal(n_told, 1);
	hit_after(&c, 1);
	assert_int_equal(n_told, 2);
	assert_int_equal(hits, 2);

	/* Slow beats do not keep it at the least: of a day of them an hour's pauses are left. */
	n_told = 0;
	for (unsigned i = 0; i < 24 * 3600 / 121; i++)
		hit_after(&c, 121);
	assert_in_range(n_told, 24, 30);

	/* Told at the end of its last pause, then quiet for as long as a pause can be, and it is as at first.
	 */
	hit_after(&c, 2 * 3600 + 1);
	n_told = 0;
	hit_after(&c, 60);
	assert_int_equal(n_told, 1);
	hit_after(&c, 60);
	assert_int_equal(n_told, 1);
}

/* A node that has had so many classes, and is configured with two of them. */
static void fill(struct manager *m, struct metering *metering, unsigned n)
{
	*m = (struct manager){ .metering = metering };
	*metering = (struct metering){ .classes_written = true };
	for (unsigned i = 0; i < n; i++)
		(void)snprintf(metering->classes[i], sizeof(metering->classes[i]), "own%u", i);
	m->conf.n_classes = 2;
	metering->slots[1] = 1;
}

static json_t *totals_of(const char *const *names, unsigned n, unsigned packets)
{
	static const struct counts none;
	static const struct metering nothing;
	json_t *object = meter_totals(&nothing, &none), *classes = json_object_get(object, "classes");

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(
		        json_object_set_new(classes, names[i], json_pack("{s:i}", "in_packets", packets)), 0);
	assert_int_equal(meter_totals_check(object), 0);
	return object;
}

static void test_classes_told(void **state)
{
	struct manager m;
	struct metering metering;
	struct counts c = { 0 };

	fill(&m, &metering, 3);
	c.of[count_of_class(1, CLASS_OUT_PACKETS)] = 7;
	_cleanup_json_ json_t *object = meter_totals(&metering, &c);
	const json_t *classes = json_object_get(object, "classes");
	assert_int_equal(json_object_size(classes), 1);
	assert_int_equal(
	        json_integer_value(json_object_get(json_object_get(classes, "own1"), "out_packets")), 7);
}

static void test_classes_too_many(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
	_cleanup_json_ json_t *object = totals_of(names, CLASS_SLOTS, 1);

	assert_int_equal(json_object_set_new(json_object_get(object, "classes"), "ninth", json_object()), 0);
	assert_int_equal(meter_totals_check(object), -EBADMSG);
}

static void test_classes_taken(void **state)
{
	static const char *const names[] = { "own1", "a", "b", "c", "d", "e" };
	_cleanup_json_ json_t *empty = totals_of(names, ARRAY_SIZE(names), 0);
	_cleanup_json_ json_t *full = totals_of(names, ARRAY_SIZE(names), 5);
	struct manager m;
	struct metering metering;
	struct counts c;
	unsigned n_free = 0, n_known = 0;

	/* What has nothing takes nothing. */
	fill(&m, &metering, 3);
	meter_totals_read(&m, empty, &c);
	assert_string_equal(metering.classes[3], "");
	assert_true(metering.classes_written);

	/* Of five that are free, two are for classes that may yet be configured. */
	meter_totals_read(&m, full, &c);
	for (unsigned i = 0; i < CLASS_SLOTS; i++) {
		n_free += !*metering.classes[i];
		n_known += c.of[count_of_class(i, CLASS_IN_PACKETS)] == 5;
	}
	assert_int_equal(n_free, 2);
	assert_int_equal(n_known, 1 + 3);
	assert_int_equal(c.of[count_of_class(1, CLASS_IN_PACKETS)], 5);
	assert_false(metering.classes_written);
}

/* What the ledger of a directory says of four classes in ctd.conf, the last of them not known to it. */
static int check_classes(const char *dir, unsigned n_known, struct ct_error *err)
{
	struct manager m = { .conf.state_dir = (char *)dir, .conf.n_classes = NET_CLASSES_MAX };
	_cleanup_free_ char *path = meter_ledger_path(&m);
	struct store *ledger = NULL;
	char name[CONF_CLASS_NAME];

	assert_int_equal(ledger_open(path, &ledger, NULL), 0);
	for (unsigned i = 0; i < n_known; i++) {
		(void)snprintf(name, sizeof(name), "own%u", i);
		assert_int_equal(ledger_class_put(ledger, i, name, NULL), 0);
	}
	store_close(ledger);
	for (unsigned i = 0; i < NET_CLASSES_MAX; i++)
		(void)snprintf(m.conf.classes[i].name, sizeof(name), "%s%u",
		        i < NET_CLASSES_MAX - 1 ? "own" : "new", i);
	return meter_classes_check(&m, err);
}

static void test_class_without_room(void **state)
{
	char dir[] = "/tmp/test-meter.XXXXXX";
	struct manager m = { .conf.state_dir = dir, .conf.n_classes = 1 };
	struct ct_error error = { 0 };

	assert_non_null(mkdtemp(dir));
	_cleanup_free_ char *path = meter_ledger_path(&m);
	assert_int_equal(meter_classes_check(&m, NULL), 0); /* there is no ledger yet, and none is made */
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(check_classes(dir, 0, &error), 0);
	assert_int_equal(check_classes(dir, CLASS_SLOTS - 1, &error), 0);
	assert_int_equal(check_classes(dir, CLASS_SLOTS, &error), -EINVAL);
	assert_string_equal(error.field, "traffic-class");
	assert_non_null(strstr(error.text, "\"new3\""));
	assert_non_null(strstr(error.text, "own0, own1, own2, own3, own4, own5, own6, own7"));

	/* One that does not read is put aside later. */
	assert_int_equal(truncate(path, 1000), 0);
	assert_int_equal(meter_classes_check(&m, NULL), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static bool has_mark(const char *dir)
{
	_cleanup_free_ char *path = str_printf("%s/metering", dir);

	return access(path, F_OK) == 0;
}

/* What the next ctd knows of the end of a boot in which one looked, and of one in which none did. */
static void test_mark(void **state)
{
	char dir[] = "/tmp/test-meter.XXXXXX";
	struct metering metering = { 0 }, next = { 0 };
	struct manager m = {
		.conf.state_dir = dir, .conf.meter_sample = 15, .boot_id = "one", .metering = &metering
	};
	struct account a = { .boot_id = "one", .time_usec = 1000 * USEC_PER_SEC },
	               later = { .boot_id = "one", .time_usec = 1009 * USEC_PER_SEC },
	               other = { .boot_id = "none", .time_usec = 5000 * USEC_PER_SEC };

	assert_non_null(mkdtemp(dir));
	meter_mark_set(&m, false);
	meter_mark_read(&m);
	meter_mark_see(&metering, &a);
	assert_int_equal(meter_mark_ended(&metering, &a), 0);
	meter_mark_set(&m, true);
	meter_mark_set(&m, true);
	assert_true(has_mark(dir));

	m.metering = &next;
	meter_mark_read(&m);
	assert_false(has_mark(dir)); /* for one that ends before it has looked */
	assert_int_equal(meter_mark_ended(&next, &a), 0);
	meter_mark_see(&next, &later);
	meter_mark_see(&next, &a);
	meter_mark_see(&next, &other);
	assert_int_equal(meter_mark_ended(&next, &a), (1009 + 35) * USEC_PER_SEC);
	assert_int_equal(meter_mark_ended(&next, &other), 0);

	/* Of an earlier boot: for the next as well, until one has looked. */
	meter_mark_set(&m, true);
	(void)snprintf(m.boot_id, sizeof(m.boot_id), "two"); /* fits */
	meter_mark_read(&m);
	assert_true(has_mark(dir));
	next.marked = false;
	meter_mark_set(&m, false);
	assert_true(has_mark(dir));
	(void)snprintf(m.boot_id, sizeof(m.boot_id), "one"); /* fits */

	/* It cannot write any more, or ends. */
	meter_mark_set(&m, true);
	assert_true(has_mark(dir));
	meter_mark_set(&m, false);
	assert_false(has_mark(dir));
	meter_mark_read(&m);
	meter_mark_see(&next, &a);
	assert_int_equal(meter_mark_ended(&next, &a), 0);

	/* What nobody wrote says nothing, and is not in the way. */
	_cleanup_free_ char *path = str_printf("%s/metering", dir);
	static const char *const texts[] = { "", "one", "one 61", "one -1", "one x" };
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		FILE *file = fopen(path, "we");

		assert_non_null(file);
		assert_true(fputs(texts[i], file) >= 0);
		assert_int_equal(fclose(file), 0);
		meter_mark_read(&m);
		meter_mark_see(&next, &a);
		assert_int_equal(meter_mark_ended(&next, &a), 0);
	}
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mark),
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_classes_told),
		cmocka_unit_test(test_classes_too_many),
		cmocka_unit_test(test_classes_taken),
		cmocka_unit_test(test_class_without_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
