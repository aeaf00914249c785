/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keys of a configuration that sell resources: from JSON to struct limits.
 *
 * Sizes, counts and times are JSON integers or what people type. Each row has the bounds within which a value
 * makes sense at all; whether this host can enforce it is asked elsewhere (limits-check.c), because a
 * configuration may be read on a host that only stores or forwards it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/unit.h"
#include "ctd/config-key.h"
#include "quota/disk.h"

#define MIB          (1ULL << 20)
#define SIZE_LARGEST (1ULL << 60)

static struct amount *place(const struct config_key *key, struct config *config)
{
	return (struct amount *)(void *)((char *)config + key->offset);
}

/* Text of a number, also of a JSON integer, in buf. */
static const char *number_text(const json_t *value, char buf[32])
{
	if (json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value))
		return json_string_value(value);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return "";
	(void)snprintf(buf, 32, "%llu", (unsigned long long)json_integer_value(value)); /* it fits */
	return buf;
}

static int set_amount(struct amount *target, const struct config_key *key, int r, uint64_t n)
{
	if (r < 0 || n < key->min || n > key->max)
		return -EINVAL;
	*target = (struct amount){ true, n };
	return 0;
}

static int read_count(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	char buf[32];
	uint64_t n = 0;
	int r = parse_u64(number_text(value, buf), &n);

	if (set_amount(place(key, config), key, r, n) < 0)
		return ct_error_field(err, key->name, "%s must be a number from %llu to %llu", key->name,
		        (unsigned long long)key->min, (unsigned long long)key->max);
	return 0;
}

static int read_size(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	char buf[32], min[24], max[24];
	uint64_t n = 0;
	int r = parse_size(number_text(value, buf), &n);

	if (set_amount(place(key, config), key, r, n) < 0)
		return ct_error_field(err, key->name, "%s must be a size from %s to %s, such as 512M",
		        key->name, format_size(min, sizeof(min), key->min),
		        format_size(max, sizeof(max), key->max));
	return 0;
}

/* Bytes in a second, as the kernel counts them: K and M are powers of 1024 here too. */
static int read_rate(const char *name, bool bytes, const json_t *value, struct amount *target)
{
	const struct config_key bounds = { .name = name, .min = bytes ? 4096 : 1, .max = SIZE_LARGEST };
	char buf[32];
	uint64_t n = 0;
	int r;

	r = bytes ? parse_size(number_text(value, buf), &n) : parse_u64(number_text(value, buf), &n);
	return set_amount(target, &bounds, r, n);
}

static int refuse_rate(const char *name, bool bytes, struct ct_error *err)
{
	return ct_error_field(err, name,
	        bytes ? "%s must be bytes a second, at least 4096, such as 20M"
	              : "%s must be operations a second, at least 1",
	        name);
}

static int read_bps(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	return read_rate(key->name, true, value, place(key, config)) < 0 ? refuse_rate(key->name, true, err)
	                                                                 : 0;
}

static int read_iops(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	return read_rate(key->name, false, value, place(key, config)) < 0 ? refuse_rate(key->name, false, err)
	                                                                  : 0;
}

/* 1.5, "1.5" or 2: thousandths inside. */
static int read_cpus(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	uint64_t n = 0;
	char buf[32];
	int r;

	if (json_is_real(value)) {
		double milli = json_real_value(value) * 1000, off;

		n = milli > 0 && milli < 1e9 ? (uint64_t)(milli + 0.5) : 0;
		off = milli - (double)n;
		r = off < 1e-6 && off > -1e-6 ? 0 : -EINVAL;
	} else {
		r = parse_milli(number_text(value, buf), &n);
	}
	if (set_amount(place(key, config), key, r, n) < 0)
		return ct_error_field(err, key->name,
		        "%s must be a number of CPUs from 0.01 to 1024, with at most three decimals, such as 1.5",
		        key->name);
	return 0;
}

static int read_duration(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	char buf[32];
	uint64_t n = 0;
	int r = parse_duration_usec(number_text(value, buf), &n);

	if (set_amount(place(key, config), key, r, n) < 0)
		return ct_error_field(err, key->name, "%s must be a time such as 50ms", key->name);
	return 0;
}

static int read_set(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	struct limits_set *set = (struct limits_set *)(void *)((char *)config + key->offset);
	char buf[32];
	const char *text = number_text(value, buf);

	if (str_eq(text, "auto")) {
		*set = (struct limits_set){ .given = true, .automatic = true };
		return 0;
	}
	if (cpu_list_parse(text, &set->list) < 0 || cpu_list_count(&set->list) == 0 || strchr(text, '\n'))
		return ct_error_field(err, key->name, "%s must be a list such as 0-3,8, or auto", key->name);
	set->given = true;
	return 0;
}

static int read_storage(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	enum disk_driver driver = DISK_DRIVER_DIR;
	const char *text = NULL;
	int r;

	r = config_read_string(key->name, value, &text, err);
	if (r < 0)
		return r;
	if (disk_driver_from_name(text, &driver) < 0)
		return ct_error_field(err, key->name, "storage must be dir or image");
	*place(key, config) = (struct amount){ true, driver };
	return 0;
}

static int read_action(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	enum allowance_action action = ALLOWANCE_EVENT;
	const char *text = NULL;
	int r;

	r = config_read_string(key->name, value, &text, err);
	if (r < 0)
		return r;
	if (allowance_action_parse(text, &action, &config->limits.traffic_rate) < 0)
		return ct_error_field(err, key->name,
		        "traffic_action must be event, cut, stop, or slow with a rate from 8k to 1T, such as slow:10M");
	*place(key, config) = (struct amount){ true, action };
	return 0;
}

struct device_fields {
	const char *device;
	json_t *rates[_RATE_MAX];
};

static int read_device(const json_t *value, struct limits_device *ret, struct ct_error *err)
{
	static const struct json_field fields[] = {
		{ "device", JSON_KIND_STRING, offsetof(struct device_fields, device), JSON_NO_HAS, true },
		{ "read_bps", JSON_KIND_ANY, offsetof(struct device_fields, rates[RATE_READ_BPS]),
		        JSON_NO_HAS, false },
		{ "write_bps", JSON_KIND_ANY, offsetof(struct device_fields, rates[RATE_WRITE_BPS]),
		        JSON_NO_HAS, false },
		{ "read_iops", JSON_KIND_ANY, offsetof(struct device_fields, rates[RATE_READ_IOPS]),
		        JSON_NO_HAS, false },
		{ "write_iops", JSON_KIND_ANY, offsetof(struct device_fields, rates[RATE_WRITE_IOPS]),
		        JSON_NO_HAS, false },
		{ NULL },
	};
	struct device_fields in = { 0 };
	int r;

	r = json_read(value, fields, &in, err);
	if (r < 0)
		return r;
	if (!str_has_prefix(in.device, "/dev/") || strstr(in.device, "/..") || !str_is_printable(in.device) ||
	        strlen(in.device) >= sizeof(ret->path))
		return ct_error_field(
		        err, "io", "\"%.60s\" is not the path of a device, such as /dev/sda", in.device);

	*ret = (struct limits_device){ 0 };
	memcpy(ret->path, in.device, strlen(in.device) + 1);
	for (size_t i = 0; i < _RATE_MAX; i++) {
		bool bytes = i == RATE_READ_BPS || i == RATE_WRITE_BPS;

		if (in.rates[i] && read_rate("io", bytes, in.rates[i], &ret->rates[i]) < 0)
			return refuse_rate(fields[i + 1].name, bytes, err);
	}
	return 0;
}

static int read_devices(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	struct limits *l = &config->limits;
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > LIMITS_DEVICES_MAX)
		return ct_error_field(err, key->name,
		        "io must be a list of at most %d objects with device and read_bps, write_bps, read_iops or write_iops",
		        LIMITS_DEVICES_MAX);
	if (json_array_size(value) == 0)
		return 0;
	l->devices = calloc(json_array_size(value), sizeof(*l->devices));
	if (!l->devices)
		return ct_error_set(err, -ENOMEM, "config", "out of memory");

	json_array_foreach(value, i, item)
	{
		int r = read_device(item, &l->devices[i], err);

		if (r < 0)
			return r;
		l->n_devices++;
	}
	return 0;
}

#define AT(member) offsetof(struct config, limits.member)

const struct config_key config_limit_keys[] = {
	{ "cpus", AT(cpus_milli), 0, read_cpus, 10, 1024000, true },
	{ "cpu_weight", AT(cpu_weight), 0, read_count, 1, 10000, true },
	{ "cpu_burst", AT(cpu_burst_usec), 0, read_duration, 0, 1000 * USEC_PER_SEC, true },
	{ "cpuset", AT(cpuset), 0, read_set, 0, 0, true },
	{ "numa", AT(numa), 0, read_set, 0, 0, true },
	{ "memory", AT(memory), 0, read_size, 4 * MIB, SIZE_LARGEST, true },
	{ "swap", AT(swap), 0, read_size, 0, SIZE_LARGEST, true },
	{ "memory_guarantee", AT(memory_guarantee), 0, read_size, 0, SIZE_LARGEST, true },
	{ "oom_group", AT(oom_group), 0, config_read_bool, 0, 0, true },
	{ "io_weight", AT(io_weight), 0, read_count, 1, 10000, true },
	{ "read_bps", AT(rates[RATE_READ_BPS]), 0, read_bps, 0, 0, true },
	{ "write_bps", AT(rates[RATE_WRITE_BPS]), 0, read_bps, 0, 0, true },
	{ "read_iops", AT(rates[RATE_READ_IOPS]), 0, read_iops, 0, 0, true },
	{ "write_iops", AT(rates[RATE_WRITE_IOPS]), 0, read_iops, 0, 0, true },
	{ "io", 0, 0, read_devices, 0, 0, true },
	{ "processes", AT(processes), 0, read_count, 8, 4194304, true },
	{ "cgroups", AT(cgroups), 0, read_count, 0, 1000000, true },
	{ "cgroup_depth", AT(cgroup_depth), 0, read_count, 0, 1000, true },
	{ "ptys", AT(ptys), 0, read_count, 1, 1048576, false },
	{ "shm", AT(shm), 0, read_size, MIB, SIZE_LARGEST, false },
	{ "run", AT(run), 0, read_size, MIB, SIZE_LARGEST, false },
	{ "open_files", AT(open_files), 0, read_count, 256, 1073741816, false },
	{ "inotify_instances", AT(inotify_instances), 0, read_count, 0, INT32_MAX, true },
	{ "inotify_watches", AT(inotify_watches), 0, read_count, 0, INT32_MAX, true },
	{ "namespaces", AT(namespaces), 0, read_count, 0, 1000000, true },
	{ "disk", AT(disk), 0, read_size, MIB, SIZE_LARGEST, true },
	{ "inodes", AT(inodes), 0, read_count, 16, 1ULL << 40, true },
	{ "storage", AT(storage), 0, read_storage, 0, 0, false },
	{ "traffic_allowance", AT(traffic_allowance), 0, read_size, MIB, SIZE_LARGEST, true },
	{ "traffic_action", AT(traffic_action), 0, read_action, 0, 0, true },
	{ NULL },
};
