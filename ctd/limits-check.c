/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this host cannot enforce is refused (promise P7).
 *
 * Asked at create, set and start, so that a container that came from elsewhere meets the same answer. Each
 * sentence has the key, what is missing, and what to do about it. What is a default of ours and was not asked
 * for is applied where it can be and is no reason to refuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/unit.h"
#include "ctd/config-key.h"
#include "ctd/manager.h"
#include "ctd/resources.h"

static int refuse(struct ct_error *err, const char *key, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static int refuse(struct ct_error *err, const char *key, const char *format, ...)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	va_list ap;

	va_start(ap, format);
	(void)strbuf_vprintf(&b, format, ap); /* without memory an empty sentence */
	va_end(ap);
	(void)ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP, "%s", b.data ?: key);
	if (err)
		(void)snprintf(err->field, sizeof(err->field), "%s", key);
	return -EOPNOTSUPP;
}

/* The key that was given, where several end in one file. */
static const char *key_of(const struct limit_file *f, const struct limits *l)
{
	static const char *const rates[] = {
		[RATE_READ_BPS] = "read_bps",
		[RATE_WRITE_BPS] = "write_bps",
		[RATE_READ_IOPS] = "read_iops",
		[RATE_WRITE_IOPS] = "write_iops",
	};

	for (size_t i = 0; i < _RATE_MAX; i++)
		if (str_eq(f->key, "io") && l->rates[i].given)
			return rates[i];
	return f->key;
}

static int check_file(
        const struct manager *m, const struct limit_file *f, const struct limits *l, struct ct_error *err)
{
	if (!f->asked(l) || !f->controller)
		return 0;
	if (!limits_has_controller(m->cgroup.controllers, f->controller))
		return refuse(err, key_of(f, l),
		        "%s cannot be enforced: cgroup v2 of this host has no controller \"%s\" (ctctl doctor says how to change that)",
		        key_of(f, l), f->controller);
	if (str_eq(f->key, "io_weight"))
		return 0; /* the file depends on how weights are done */
	if (faccessat(m->cgroup.fd, f->name, F_OK, 0) < 0)
		return refuse(err, f->key,
		        "%s cannot be enforced: this kernel has no \"%s\" (a newer kernel, or one with this feature, is needed)",
		        f->key, f->name);
	return 0;
}

static int check_cpu(const struct manager *m, const struct limits *l, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf online = STRBUF_INIT;

	if (l->cpus_milli.given && m->node.n_cpus && l->cpus_milli.value > m->node.n_cpus * 1000ULL)
		return refuse(
		        err, "cpus", "cpus must be at most %u: this host has no more CPUs", m->node.n_cpus);
	if (l->cpuset.given && !cpu_list_within(&l->cpuset.list, &m->node.cpus)) {
		cpu_list_print(&m->node.cpus, &online);
		return refuse(
		        err, "cpuset", "cpuset must be among the CPUs of this host, %s", online.data ?: "");
	}
	if (l->numa.given && !cpu_list_within(&l->numa.list, &m->node.nodes)) {
		cpu_list_print(&m->node.nodes, &online);
		return refuse(err, "numa", "numa must be among the memory nodes of this host, %s",
		        online.data ?: "");
	}
	return 0;
}

static int check_memory(const struct manager *m, const struct limits *l, struct ct_error *err)
{
	const struct amount *given[] = { &l->memory, &l->memory_guarantee };
	static const char *const names[] = { "memory", "memory_guarantee" };
	char size[24];

	for (size_t i = 0; i < ARRAY_SIZE(given); i++)
		if (given[i]->given && m->node.memory && given[i]->value > m->node.memory)
			return refuse(err, names[i], "%s must be at most %s: this host has no more", names[i],
			        format_size(size, sizeof(size), m->node.memory));
	return 0;
}

static bool any_rate(const struct limits *l)
{
	for (size_t i = 0; i < _RATE_MAX; i++)
		if (l->rates[i].given)
			return true;
	return false;
}

static int check_weights(const struct manager *m, const struct limits *l, struct ct_error *err)
{
	char disk[64];
	enum node_weights how;

	if (!l->io_weight.given)
		return 0;
	how = node_weights(m);
	(void)node_disk_name(&m->node, disk);
	if (how == NODE_WEIGHTS_NONE)
		return refuse(err, "io_weight",
		        "io_weight cannot be enforced: the disk below the store has neither io.cost nor the scheduler bfq (echo bfq > /sys/block/%s/queue/scheduler, or see ct-limits(7))",
		        disk);
	if (how == NODE_WEIGHTS_BFQ && l->io_weight.value > 1000)
		return refuse(err, "io_weight",
		        "io_weight must be at most 1000 with the scheduler bfq (io.cost takes 10000, see ct-limits(7))");
	return 0;
}

static int check_io(const struct manager *m, const struct limits *l, struct ct_error *err)
{
	char number[24];

	if (any_rate(l) && !*m->node.store_number)
		return refuse(err, "io",
		        "limits of bytes and operations a second cannot be enforced: the state directory is on no block device (move it to a disk, or name a device with io)");
	for (unsigned i = 0; i < l->n_devices; i++)
		if (node_device_number(l->devices[i].path, number) < 0)
			return refuse(err, "io", "there is no block device \"%s\" on this host",
			        l->devices[i].path);
	return check_weights(m, l, err);
}

/* The node's budget of a user is above what a user namespace may give. */
static int check_user(const struct limits *l, struct ct_error *err)
{
	const struct {
		const char *key, *file, *sysctl;
		const struct amount *amount;
	} rows[] = {
		{ "inotify_instances", "max_inotify_instances", "fs.inotify.max_user_instances",
		        &l->inotify_instances },
		{ "inotify_watches", "max_inotify_watches", "fs.inotify.max_user_watches",
		        &l->inotify_watches },
		{ "namespaces", "max_user_namespaces", "user.max_user_namespaces", &l->namespaces },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char path[64];
		uint64_t most = 0;

		if (!rows[i].amount->given)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/sys/user/%s", rows[i].file);
		if (read_u64_at(AT_FDCWD, path, &most) < 0)
			return refuse(err, rows[i].key, "%s cannot be enforced: this kernel has no \"%s\"",
			        rows[i].key, path);
		if (rows[i].amount->value > most)
			return refuse(err, rows[i].key,
			        "%s must be at most %llu, what this host gives to one user (sysctl -w %s=%llu)",
			        rows[i].key, (unsigned long long)most, rows[i].sysctl,
			        (unsigned long long)rows[i].amount->value);
	}
	return 0;
}

static int check_files(const struct limits *l, struct ct_error *err)
{
	struct rlimit own;
	uint64_t most = 0;

	if (!l->open_files.given)
		return 0;
	if (read_u64_at(AT_FDCWD, "/proc/sys/fs/nr_open", &most) == 0 && l->open_files.value > most)
		return refuse(err, "open_files",
		        "open_files must be at most %llu (sysctl -w fs.nr_open=%llu)",
		        (unsigned long long)most, (unsigned long long)l->open_files.value);
	if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) != 1 && getrlimit(RLIMIT_NOFILE, &own) == 0 &&
	        l->open_files.value > own.rlim_max)
		return refuse(err, "open_files",
		        "open_files must be at most %llu: ctd runs without CAP_SYS_RESOURCE and cannot give more than it has",
		        (unsigned long long)own.rlim_max);
	return 0;
}

int limits_check_disk(struct manager *m, const struct config *config, struct ct_error *err)
{
	const struct limits *l = &config->limits;
	bool image = l->storage.given && l->storage.value == DISK_DRIVER_IMAGE;
	const char *key = l->disk.given ? "disk" : l->inodes.given ? "inodes" : "storage";
	struct disk_probe probe;

	if (!l->disk.given && !l->inodes.given && !image)
		return 0;
	if (image && !l->disk.given)
		return ct_error_field(err, "disk", "storage image needs its size: disk");
	disk_probe_limits(m->disks, &probe);
	if (image && !probe.image)
		return refuse(err, "storage",
		        "storage image cannot be used: loop devices or mkfs.ext4 are missing (modprobe loop, apt install e2fsprogs)");
	if (!image && !probe.project_quota)
		return refuse(err, key,
		        "%s cannot be enforced: the %s of the store has no project quota (%s)", key,
		        probe.filesystem, probe.project_quota_remedy);
	return 0;
}

int limits_check(struct manager *m, const struct config *config, struct ct_error *err)
{
	const struct limits *l = &config->limits;
	int r = 0;

	for (const struct limit_file *f = limit_files; f->name && r >= 0; f++)
		r = check_file(m, f, l, err);
	if (r >= 0)
		r = check_cpu(m, l, err);
	if (r >= 0)
		r = check_memory(m, l, err);
	if (r >= 0)
		r = check_io(m, l, err);
	if (r >= 0)
		r = check_user(l, err);
	if (r >= 0)
		r = check_files(l, err);
	return r;
}

bool limits_in_patch(const json_t *patch)
{
	for (const struct config_key *key = config_limit_keys; key->name; key++)
		if (json_object_get(patch, key->name))
			return true;
	return false;
}
