/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor: what this host can do and what is missing, line by line, with the remedy.
 *
 * Each row of the table asks one question of what was probed (libct, netns, quota probe by doing) and answers
 * ok, warning (works, with less) or missing (something users ask for will be refused). Nothing is changed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/json.h"
#include "base/process.h"
#include "ctd/api.h"
#include "ctd/gate.h"
#include "ctd/manager.h"
#include "ctd/suspend.h"
#include "ctd/view.h"

enum outcome {
	OUTCOME_OK,
	OUTCOME_WARNING,
	OUTCOME_MISSING,
};

static const char *const outcome_names[] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_WARNING] = "warning",
	[OUTCOME_MISSING] = "missing",
};

struct host {
	struct manager *manager;
	struct utsname uts;
	struct ct_host ct;
	struct net_probe net;
	struct disk_probe disk;
};

struct finding {
	char detail[256], remedy[384];
};

#define SAY(f, ...)    (void)snprintf((f)->detail, sizeof((f)->detail), __VA_ARGS__)
#define REMEDY(f, ...) (void)snprintf((f)->remedy, sizeof((f)->remedy), __VA_ARGS__)

static enum outcome check_kernel(const struct host *h, struct finding *f)
{
	unsigned major = 0, minor = 0;

	(void)sscanf(h->uts.release, "%u.%u", &major, &minor); /* zero is too old */
	SAY(f, "Linux %s", h->uts.release);
	if (major > 6 || (major == 6 && minor >= 1))
		return OUTCOME_OK;
	REMEDY(f, "ctd is tested from Linux 6.1 (Debian 12); older kernels lack idmapped overlay layers");
	return OUTCOME_WARNING;
}

static enum outcome check_cgroup(const struct host *h, struct finding *f)
{
	SAY(f, "cgroup v2 at %s, containers in %s", *h->ct.cgroup_mount ? h->ct.cgroup_mount : "(nowhere)",
	        h->manager->cgroup.path);
	if (*h->ct.cgroup_mount && h->ct.cgroup_kill && h->ct.cgroup_freeze)
		return OUTCOME_OK;
	REMEDY(f,
	        "mount cgroup2 (mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified); cgroup.kill needs Linux 5.14");
	return OUTCOME_MISSING;
}

static enum outcome check_controllers(const struct host *h, struct finding *f)
{
	static const char *const wanted[] = { "cpu", "cpuset", "io", "memory", "pids" };
	_cleanup_strbuf_ struct strbuf missing = STRBUF_INIT;
	char padded[160], name[16];

	(void)snprintf(padded, sizeof(padded), " %s ", h->manager->cgroup.controllers);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		(void)snprintf(name, sizeof(name), " %s ", wanted[i]);
		if (!strstr(padded, name))
			(void)strbuf_printf(&missing, "%s%s", missing.len ? ", " : "", wanted[i]);
	}
	if (!missing.len) {
		SAY(f, "%s", h->manager->cgroup.controllers);
		return OUTCOME_OK;
	}
	SAY(f, "missing in cgroup v2: %s; limits that need them are refused", missing.data);
	REMEDY(f,
	        "they belong to cgroup v1 on this host: boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=all, so that cgroup v2 has them");
	return OUTCOME_MISSING;
}

static enum outcome check_disk(const struct host *h, struct finding *f)
{
	SAY(f, "%s, %llu GiB free", h->disk.filesystem, (unsigned long long)(h->disk.bytes_free >> 30));
	if (h->disk.idmapped_layers)
		return OUTCOME_OK;
	REMEDY(f, "the state directory must be on a file system with idmapped mounts: ext4, xfs or btrfs");
	return OUTCOME_MISSING;
}

static enum outcome check_quota(const struct host *h, struct finding *f)
{
	if (h->disk.project_quota) {
		SAY(f, "project quota is enforced");
		return OUTCOME_OK;
	}
	SAY(f, "no project quota: disk sizes with storage dir are refused");
	REMEDY(f, "%s", h->disk.project_quota_remedy);
	return OUTCOME_WARNING;
}

/* Names of the containers whose view has ended, as far as there is room; "": there is none. */
static void find_lost(const struct manager *m, char *names, size_t size)
{
	struct container *c, *next;
	size_t len = 0;

	HASH_ITER(hh_name, m->containers.by_name, c, next)
	{
		if (!view_is_lost(m, c))
			continue;
		if (len + strlen(c->row.name) + strlen(", ...") >= size - 2) {
			(void)snprintf(names + len, size - len, ", ...");
			return;
		}
		len += (size_t)snprintf(names + len, size - len, "%s%s", len ? ", " : "", c->row.name);
	}
}

static enum outcome check_view(const struct host *h, struct finding *f)
{
	const char *missing = view_missing(h->manager);
	char names[128] = "";

	find_lost(h->manager, names, sizeof(names));
	if (*names) {
		SAY(f, "the file system behind /proc/meminfo has ended, these read errors there: %s", names);
		REMEDY(f, "restart them: ctctl restart NAME");
		return OUTCOME_WARNING;
	}
	if (!missing) {
		SAY(f, "/proc inside shows the memory and CPUs that were sold");
		return OUTCOME_OK;
	}
	SAY(f, "/proc inside shows the memory and CPUs of the host; limits hold all the same");
	REMEDY(f, "%s", missing);
	return OUTCOME_WARNING;
}

static enum outcome check_image(const struct host *h, struct finding *f)
{
	SAY(f, h->disk.image ? "loop devices and mkfs.ext4 are there" : "storage image cannot be used");
	if (h->disk.image)
		return OUTCOME_OK;
	REMEDY(f, "load the loop module and install e2fsprogs");
	return OUTCOME_WARNING;
}

static enum outcome check_filter(const struct host *h, struct finding *f)
{
	SAY(f, "veth %s, nf_tables %s, netdev family %s, masquerade %s", h->net.veth ? "yes" : "no",
	        h->net.nft ? "yes" : "no", h->net.nft_netdev ? "yes" : "no",
	        h->net.nft_masquerade ? "yes" : "no");
	if (h->net.veth && h->net.nft && h->net.nft_netdev && h->net.nft_masquerade)
		return OUTCOME_OK;
	REMEDY(f, "load the modules veth, nf_tables, nft_masq (CONFIG_NF_TABLES_NETDEV=y)");
	return OUTCOME_MISSING;
}

/* Whether there is an IPv4 address to send from to a container. */
static bool has_address(void)
{
	struct ifaddrs *all = NULL;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return true; /* unknown: nothing to warn of */
	for (const struct ifaddrs *a = all; a && !found; a = a->ifa_next) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a->ifa_addr;

		found = in && in->sin_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
	}
	freeifaddrs(all);
	return found;
}

static enum outcome check_uplink(const struct host *h, struct finding *f)
{
	if (*h->net.uplink) {
		SAY(f, "default route by %s, MTU %u, IPv4 forwarding %s", h->net.uplink, h->net.uplink_mtu,
		        h->net.ip_forward ? "on" : "off");
		return OUTCOME_OK;
	}
	if (has_address()) {
		SAY(f, "no default route: containers reach this host only");
		REMEDY(f, "configure the host's network");
	} else {
		SAY(f, "this host has no address but that of lo: it cannot speak to its containers");
		REMEDY(f, "configure the host's network, or give it one: ip address add 192.0.2.1/32 dev lo");
	}
	return OUTCOME_WARNING;
}

/* Whether the C library is told to ask nss-ctd(8) for hosts. */
static bool names_are_asked_for(void)
{
	_cleanup_fclose_ FILE *file = fopen("/etc/nsswitch.conf", "re");
	char line[512];

	while (file && fgets(line, sizeof(line), file)) {
		char *rest = NULL;

		line[strcspn(line, "#")] = '\0';
		if (!str_eq(strtok_r(line, " \t\n", &rest) ?: "", "hosts:"))
			continue;
		for (const char *word; (word = strtok_r(NULL, " \t\n", &rest));)
			if (str_eq(word, "ctd"))
				return true;
	}
	return false;
}

static enum outcome check_names(const struct host *h, struct finding *f)
{
	_cleanup_free_ char *own = NULL;
	struct stat asked, written;

	if (!names_are_asked_for()) {
		SAY(f, "programs of this host do not find containers by name");
		REMEDY(f,
		        "put [!NOTFOUND=return] ctd at the end of the line hosts in /etc/nsswitch.conf, see nss-ctd(8)");
		return OUTCOME_WARNING;
	}
	if (asprintf(&own, "%s/hosts", h->manager->conf.runtime_dir) < 0)
		own = NULL;
	if (own && stat(own, &written) == 0 &&
	        (stat("/run/ctd/hosts", &asked) < 0 || asked.st_ino != written.st_ino ||
	                asked.st_dev != written.st_dev)) {
		SAY(f, "programs of this host do not find containers of this ctd by name");
		REMEDY(f, "libnss_ctd reads /run/ctd/hosts, which is not %s: make it a link to that", own);
		return OUTCOME_WARNING;
	}
	SAY(f, "programs of this host find containers by name");
	return OUTCOME_OK;
}

static enum outcome check_time(const struct host *h, struct finding *f)
{
	SAY(f, h->ct.time_namespace ? "time namespaces: uptime inside is the container's"
	                            : "no time namespaces: uptime inside is the host's");
	return h->ct.time_namespace ? OUTCOME_OK : OUTCOME_WARNING;
}

static enum outcome check_seccomp(const struct host *h, struct finding *f)
{
	SAY(f, "seccomp filters %s, device programs %s", h->ct.seccomp ? "yes" : "no",
	        h->ct.cgroup_devices ? "yes" : "no");
	if (h->ct.seccomp && h->ct.cgroup_devices)
		return OUTCOME_OK;
	REMEDY(f,
	        "the kernel needs CONFIG_SECCOMP_FILTER and CONFIG_CGROUP_BPF; without them no container is started");
	return OUTCOME_MISSING;
}

static enum outcome check_program(const char *name, const char *what, struct finding *f)
{
	if (process_find(name) == 0) {
		SAY(f, "%s is installed", name);
		return OUTCOME_OK;
	}
	SAY(f, "%s is not installed: %s", name, what);
	REMEDY(f, "apt install %s", name);
	return OUTCOME_WARNING;
}

static enum outcome check_mmdebstrap(const struct host *h, struct finding *f)
{
	return check_program("mmdebstrap", "only the tiny template can be built", f);
}

static enum outcome check_suspend(const struct host *h, struct finding *f)
{
	struct ct_error error = { 0 };

	if (suspend_host_check(&error) >= 0) {
		SAY(f, "criu is there; containers can be suspended");
		return OUTCOME_OK;
	}
	SAY(f, "containers cannot be suspended");
	REMEDY(f, "%s", error.text);
	return OUTCOME_WARNING;
}

static enum outcome check_weights(const struct host *h, struct finding *f)
{
	char disk[64];

	switch (node_weights(h->manager)) {
	case NODE_WEIGHTS_COST: SAY(f, "io.cost weighs the disk below the store"); return OUTCOME_OK;
	case NODE_WEIGHTS_BFQ: SAY(f, "the scheduler bfq weighs the disk below the store"); return OUTCOME_OK;
	case NODE_WEIGHTS_NONE: break;
	}
	SAY(f, "nothing weighs the disk below the store: io_weight is refused");
	REMEDY(f,
	        "modprobe bfq; echo bfq > /sys/block/%s/queue/scheduler; or enable io.cost, see ct-limits(7)",
	        node_disk_name(&h->manager->node, disk));
	return OUTCOME_WARNING;
}

static enum outcome check_pressure(const struct host *h, struct finding *f)
{
	if (access("/proc/pressure/memory", R_OK) == 0) {
		SAY(f, "pressure is accounted");
		return OUTCOME_OK;
	}
	SAY(f, "no pressure accounting: time spent waiting is not shown, idle memory not taken back");
	REMEDY(f, "boot with psi=1");
	return OUTCOME_WARNING;
}

static enum outcome check_resource(const struct host *h, struct finding *f)
{
	if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1) {
		SAY(f, "CAP_SYS_RESOURCE is there");
		return OUTCOME_OK;
	}
	SAY(f, "ctd runs without CAP_SYS_RESOURCE: limits of open files stay at %ld", sysconf(_SC_OPEN_MAX));
	REMEDY(f, "start ctd with the full capabilities of root");
	return OUTCOME_WARNING;
}

static enum outcome check_metrics(const struct host *h, struct finding *f)
{
	const char *missing = gate_missing(h->manager), *address = h->manager->conf.metrics_listen;

	if (!missing) {
		SAY(f, address ? "served on %s" : "not served: metrics-listen is not set", address);
		return OUTCOME_OK;
	}
	SAY(f, "not served on %s", address);
	REMEDY(f, "%s", missing);
	return OUTCOME_WARNING;
}

static int name_aside(const char *name, void *userdata)
{
	struct finding *f = userdata;

	SAY(f, "usage before is only in %s, which was damaged", name);
	return 1;
}

static enum outcome check_ledger(const struct host *h, struct finding *f)
{
	const struct metering *metering = h->manager->metering;
	const char *dir = h->manager->conf.state_dir;

	if (!metering->ledger || metering->failing) {
		SAY(f, "usage cannot be recorded, and is kept in memory");
		REMEDY(f, "ctd's log says why; make room on the file system of %s", dir);
		return OUTCOME_MISSING;
	}
	if (ledger_aside_each(dir, name_aside, f) <= 0) {
		SAY(f, "usage is recorded");
		return OUTCOME_OK;
	}
	REMEDY(f,
	        "look what sqlite3's .recover finds in it, in %s, and move it elsewhere with the -wal and -shm of its name",
	        dir);
	return OUTCOME_WARNING;
}

static const struct {
	const char *name;
	enum outcome (*check)(const struct host *h, struct finding *f);
} checks[] = {
	{ "kernel", check_kernel },
	{ "cgroup", check_cgroup },
	{ "controllers", check_controllers },
	{ "seccomp", check_seccomp },
	{ "time", check_time },
	{ "capabilities", check_resource },
	{ "store", check_disk },
	{ "quota", check_quota },
	{ "image", check_image },
	{ "view", check_view },
	{ "suspend", check_suspend },
	{ "weights", check_weights },
	{ "pressure", check_pressure },
	{ "filter", check_filter },
	{ "uplink", check_uplink },
	{ "names", check_names },
	{ "mmdebstrap", check_mmdebstrap },
	{ "ledger", check_ledger },
	{ "metrics", check_metrics },
};

static int probe(struct manager *m, struct host *h, struct ct_error *err)
{
	int r;

	memset(h, 0, sizeof(*h));
	h->manager = m;
	(void)uname(&h->uts); /* cannot fail with a valid pointer */
	r = ct_host_probe(&h->ct, err);
	if (r >= 0)
		r = net_probe(m->net, &h->net, err);
	if (r >= 0)
		r = disk_probe(m->disks, &h->disk, err);
	return r;
}

int api_doctor_run(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_json_ json_t *list = json_array();
	struct host h;
	int r;

	r = probe(m, &h, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct finding f = { 0 };
		enum outcome outcome = checks[i].check(&h, &f);

		(void)json_array_append_new(list, /* a shorter list without memory */
		        json_pack("{s:s, s:s, s:s, s:s}", "name", checks[i].name, "state",
		                outcome_names[outcome], "detail", f.detail, "remedy",
		                outcome == OUTCOME_OK ? "" : f.remedy));
	}
	call_reply(call, 200, json_pack("{s:O}", "checks", list));
	return 0;
}
