/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host as a thing that is sold in parts.
 *
 * Admission: guarantees are memory that the kernel will not take from a container (memory.min), so their sum
 * can never be more than there is, less what the host keeps for itself. Limits may be sold more than once;
 * how often is for the node to say, and if it does not, nobody counts.
 *
 * A cgroup's memory.min protects no more than its parent's does (cgroup-v2.rst): so the sum is written to
 * each cgroup between the containers and the root.
 *
 * Placing: each CPU carries the number of containers pinned to it, weighed by what they may use; "auto" takes
 * the least loaded ones. Who runs stays where he is.
 */
#include "ctd/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/unit.h"
#include "ctd/manager.h"
#include "ctd/resources.h"

static void read_list(const char *path, struct cpu_list *ret)
{
	_cleanup_free_ char *text = NULL;

	*ret = (struct cpu_list){ 0 };
	if (read_file_at(AT_FDCWD, path, 65536, &text, NULL) == 0)
		(void)cpu_list_parse(text, ret); /* else it stays empty */
}

static void probe_store(struct node *node, int store_fd)
{
	_cleanup_close_ int sys_fd = open("/sys/dev/block", O_PATH | O_DIRECTORY | O_CLOEXEC);
	dev_t dev;
	int n;

	node->store = 0;
	node->n_leaves = 0;
	node->store_number[0] = '\0';
	if (sys_fd < 0 || block_of_fd(store_fd, &dev) < 0 || block_whole(sys_fd, dev, &node->store) < 0)
		return;
	(void)snprintf(node->store_number, sizeof(node->store_number), "%u:%u", major(node->store),
	        minor(node->store)); /* it fits */
	n = block_leaves(sys_fd, dev, node->leaves, BLOCK_LEAVES_MAX);
	node->n_leaves = n > 0 ? (unsigned)n : 0;
}

void node_probe(struct node *node, int store_fd)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

	node->memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
	read_list("/sys/devices/system/cpu/online", &node->cpus);
	read_list("/sys/devices/system/node/has_memory", &node->nodes);
	node->n_cpus = cpu_list_count(&node->cpus);
	probe_store(node, store_fd);
}

const char *node_disk_name(const struct node *node, char buf[64])
{
	_cleanup_free_ char *text = NULL;
	char path[64], *name;

	(void)snprintf(buf, 64, "DISK");
	if (node->n_leaves == 0)
		return buf;
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", major(node->leaves[0]),
	        minor(node->leaves[0]));
	if (read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return buf;
	name = strstr(text, "DEVNAME=");
	if (name)
		(void)snprintf(
		        buf, 64, "%.*s", (int)strcspn(name + 8, "\n"), name + 8); /* cut short: a name */
	return buf;
}

static bool has_bfq(dev_t dev)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/scheduler", major(dev), minor(dev));
	return read_file_at(AT_FDCWD, path, 4096, &text, NULL) == 0 && strstr(text, "[bfq]");
}

/* A line "MAJ:MIN enable=1 ..." of io.cost.qos at the root. */
static bool has_cost(const char *qos, dev_t dev)
{
	char wanted[32];
	const char *line;

	(void)snprintf(wanted, sizeof(wanted), "%u:%u enable=1", major(dev), minor(dev));
	line = qos ? strstr(qos, wanted) : NULL;
	return line && (line == qos || line[-1] == '\n');
}

enum node_weights node_weights(const struct manager *m)
{
	_cleanup_free_ char *qos = NULL, *path = str_printf("%s/io.cost.qos", m->host.cgroup_mount);
	bool cost = true, bfq = true;

	if (path && read_file_at(AT_FDCWD, path, 65536, &qos, NULL) < 0)
		qos = NULL;
	for (unsigned i = 0; i < m->node.n_leaves; i++) {
		cost = cost && has_cost(qos, m->node.leaves[i]);
		bfq = bfq && has_bfq(m->node.leaves[i]);
	}
	if (m->node.n_leaves == 0)
		return NODE_WEIGHTS_NONE;
	if (cost && faccessat(m->cgroup.fd, "io.weight", F_OK, 0) == 0)
		return NODE_WEIGHTS_COST;
	return bfq && faccessat(m->cgroup.fd, "io.bfq.weight", F_OK, 0) == 0 ? NODE_WEIGHTS_BFQ
	                                                                     : NODE_WEIGHTS_NONE;
}

int node_device_number(const char *path, char ret[24])
{
	_cleanup_close_ int sys_fd = open("/sys/dev/block", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	dev_t whole;
	int r;

	if (sys_fd < 0)
		return -errno;
	if (stat(path, &st) < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	r = block_whole(sys_fd, st.st_rdev, &whole);
	if (r < 0)
		return r;
	(void)snprintf(ret, 24, "%u:%u", major(whole), minor(whole)); /* it fits */
	return 0;
}

static bool counts(const struct container *other, const struct container *c)
{
	return other != c && other->run.slot && !other->teardown;
}

/* ---- placing ---- */

/* Load of each CPU or memory node: thousandths of CPUs that pinned containers may use there. */
static void load_of(struct manager *m, const struct container *self, size_t offset, uint64_t *load)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		const struct cpu_list *list;
		uint64_t milli = c->config.limits.cpus_milli.given ? c->config.limits.cpus_milli.value : 1000;
		unsigned n;

		if (!c->resources || !counts(c, self))
			continue;
		list = (const struct cpu_list *)(const void *)((const char *)&c->resources->placement +
		                                               offset);
		n = cpu_list_count(list);
		for (unsigned i = 0; n > 0 && i < CPU_LIST_MAX; i++)
			if (cpu_list_has(list, i))
				load[i] += milli / n;
	}
}

static void take_least(const struct cpu_list *from, const uint64_t *load, unsigned n, struct cpu_list *ret)
{
	*ret = (struct cpu_list){ 0 };
	for (; n > 0; n--) {
		int best = -1;

		for (unsigned i = 0; i < CPU_LIST_MAX; i++)
			if (cpu_list_has(from, i) && !cpu_list_has(ret, i) &&
			        (best < 0 || load[i] < load[best]))
				best = (int)i;
		if (best < 0)
			return;
		cpu_list_add(ret, (unsigned)best);
	}
}

static void cpus_of_nodes(const struct cpu_list *nodes, struct cpu_list *ret)
{
	*ret = (struct cpu_list){ 0 };
	for (unsigned i = 0; i < CPU_LIST_MAX; i++) {
		struct cpu_list cpus;
		char path[64];

		if (!cpu_list_has(nodes, i))
			continue;
		(void)snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist", i);
		read_list(path, &cpus);
		for (size_t k = 0; k < CPU_LIST_MAX / 64; k++)
			ret->bits[k] |= cpus.bits[k];
	}
}

void node_place(struct manager *m, const struct container *c, const struct limits *l, struct placement *ret)
{
	uint64_t load[CPU_LIST_MAX] = { 0 };
	struct cpu_list from = m->node.cpus;
	unsigned wanted = l->cpus_milli.given ? limits_visible_cpus(l->cpus_milli.value) : 1;

	*ret = (struct placement){ 0 };
	if (l->numa.automatic) {
		load_of(m, c, offsetof(struct placement, nodes), load);
		take_least(&m->node.nodes, load, 1, &ret->nodes);
	} else if (l->numa.given) {
		ret->nodes = l->numa.list;
	}
	if (l->numa.given) {
		cpus_of_nodes(&ret->nodes, &from);
		ret->cpus = from;
	}

	if (l->cpuset.automatic) {
		memset(load, 0, sizeof(load));
		load_of(m, c, offsetof(struct placement, cpus), load);
		take_least(&from, load, wanted, &ret->cpus);
	} else if (l->cpuset.given) {
		ret->cpus = l->cpuset.list;
	}
}

/* ---- admission ---- */

struct sums {
	uint64_t guarantees, memory, cpus_milli;
};

static void sum_up(struct manager *m, const struct container *self, struct sums *ret)
{
	struct container *c, *next;

	*ret = (struct sums){ 0 };
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		const struct limits *l = &c->config.limits;

		if (!counts(c, self))
			continue;
		ret->guarantees += l->memory_guarantee.value; /* zero if it is not given */
		ret->memory += l->memory.value;
		ret->cpus_milli += l->cpus_milli.value;
	}
}

static int refuse_memory(const char *key, uint64_t others, uint64_t own, uint64_t allowed, const char *rule,
        struct ct_error *err)
{
	char a[24], b[24], c[24];

	(void)ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "%s %s is more than is left: running containers have %s of %s (%s)", key,
	        format_size(a, sizeof(a), own), format_size(b, sizeof(b), others),
	        format_size(c, sizeof(c), allowed), rule);
	if (err)
		(void)snprintf(err->field, sizeof(err->field), "%s", key);
	return -ENOSPC;
}

static int admit_memory(
        const struct manager *m, const struct limits *l, const struct sums *others, struct ct_error *err)
{
	uint64_t all =
	        m->node.memory > m->conf.memory_reserved ? m->node.memory - m->conf.memory_reserved : 0;
	uint64_t sold = all / 1000 * m->conf.memory_overcommit_milli;

	if (l->memory_guarantee.value > 0 && others->guarantees + l->memory_guarantee.value > all)
		return refuse_memory("memory_guarantee", others->guarantees, l->memory_guarantee.value, all,
		        "the host's memory less memory-reserved of ctd.conf", err);
	if (m->conf.memory_overcommit_milli == 0)
		return 0;
	if (!l->memory.given)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "memory must be given: this node counts what it sells (memory-overcommit of ctd.conf)");
	if (others->memory + l->memory.value > sold)
		return refuse_memory("memory", others->memory, l->memory.value, sold,
		        "memory-overcommit of ctd.conf", err);
	return 0;
}

int node_admit(struct manager *m, const struct container *c, const struct limits *l, struct ct_error *err)
{
	struct sums others;
	uint64_t cpus;
	int r;

	if (l->memory_guarantee.value == 0 && m->conf.memory_overcommit_milli == 0 &&
	        m->conf.cpu_overcommit_milli == 0)
		return 0; /* nothing is asked for, nothing is counted */
	sum_up(m, c, &others);
	r = admit_memory(m, l, &others, err);
	if (r < 0 || m->conf.cpu_overcommit_milli == 0)
		return r;

	cpus = (uint64_t)m->node.n_cpus * m->conf.cpu_overcommit_milli;
	if (!l->cpus_milli.given)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "cpus must be given: this node counts what it sells (cpu-overcommit of ctd.conf)");
	if (others.cpus_milli + l->cpus_milli.value > cpus)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "cpus %llu.%02llu is more than is left: running containers have %llu.%02llu of %llu.%02llu (cpu-overcommit of ctd.conf)",
		        (unsigned long long)l->cpus_milli.value / 1000,
		        (unsigned long long)l->cpus_milli.value % 1000 / 10,
		        (unsigned long long)others.cpus_milli / 1000,
		        (unsigned long long)others.cpus_milli % 1000 / 10, (unsigned long long)cpus / 1000,
		        (unsigned long long)cpus % 1000 / 10);
	return 0;
}

uint64_t node_guarantees(struct manager *m)
{
	struct sums all;

	sum_up(m, NULL, &all);
	return all.guarantees;
}

void node_guarantees_apply(struct manager *m)
{
	uint64_t sum = node_guarantees(m);
	_cleanup_close_ int fd = -1;

	if (sum == m->guarantees || !limits_has_controller(m->cgroup.controllers, "memory"))
		return;
	m->guarantees = sum;
	cgroup_root_tell_guarantee(&m->cgroup, m->event, sum);
	fd = fd_dup_cloexec(m->cgroup.fd);
	/* The root has no memory.min: there the way up ends. */
	while (fd >= 0 && faccessat(fd, "memory.min", F_OK, 0) == 0) {
		int up;

		if (write_file_printf_at(fd, "memory.min", "%llu", (unsigned long long)sum) < 0)
			log_warning("guarantees may not hold: cannot write memory.min above the containers");
		up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		(void)close(fd); /* nothing was written through it */
		fd = up;
	}
}
