/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mark "_suspended", the images, and whether this host's CRIU and kernel fit together; see the header. */
#include "ctd/suspend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/container.h"
#include "ctd/criu-host.h"
#include "ctd/manager.h"
#include "ctd/ports.h"
#include "ctd/sweeper.h"
#include "quota/disk.h"

/* From 6.13 the kernel's vDSO has more parts than older CRIU knows of. */
#define KERNEL_OF_4_1 (6 * 1000 + 13)

int suspend_check(const struct container *c, const char *what, struct ct_error *err)
{
	const char *name = c->row.name;

	if (!c->config.suspended_slot)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
	        "cannot %s \"%s\": it is suspended (ctctl resume %s, or give its memory up: ctctl resume --discard %s)",
	        what, name, name, name);
}

int suspend_mark(json_t *config, uint32_t slot, const char *digest)
{
	return json_object_set_new(config, CONFIG_SUSPENDED,
	               json_pack("{s:I, s:s}", "slot", (json_int_t)slot, "digest", digest)) < 0
	               ? -ENOMEM
	               : 0;
}

json_t *suspend_images_path(const struct container *c)
{
	return json_sprintf("%s/fs/containers/%s/suspended", c->manager->conf.state_dir, c->row.ctid);
}

/* As it would be: its images are not there yet. */
static int offer_running(const struct container *c, json_t **ret, struct ct_error *err)
{
	char digest[65];
	json_t *host = NULL;
	int r = criu_host_describe(&host, err);

	if (r < 0)
		return r;
	memset(digest, '0', 64);
	digest[64] = '\0';
	*ret = json_pack("{s:s, s:I, s:o, s:o}", "digest", digest, "bytes",
	        (json_int_t)criu_host_memory(c->cgroup_fd), "host", host, "addresses", ports_leased(c));
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "suspend", "out of memory");
}

int suspend_offer(const struct container *c, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *path = suspend_images_path(c), *host = NULL;
	_cleanup_close_ int images = -1;
	int r;

	if (!c->config.suspended_slot)
		return offer_running(c, ret, err);

	if (!path)
		return ct_error_set(err, -ENOMEM, "suspend", "out of memory");
	images = open(json_string_value(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (images < 0)
		return ct_error_set(err, -errno, "suspend", "cannot open its images: %s", strerror(errno));
	r = criu_host_noted(images, &host);
	if (r < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, r,
		        "the images of \"%s\" do not say which host they are of (ctctl resume %s, and suspend it again)",
		        c->row.name, c->row.name);
	*ret = json_pack("{s:s, s:I, s:O, s:o}", "digest", c->config.suspended_digest, "bytes",
	        (json_int_t)criu_host_images_size(images), "host", host, "addresses", ports_leased(c));
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "suspend", "out of memory");
}

void suspend_print(const struct container *c, struct strbuf *b)
{
	_cleanup_close_ int images = -1;
	char path[96];

	if (!c->config.suspended_slot)
		return;
	(void)snprintf(path, sizeof(path), "containers/%s/suspended", c->row.ctid); /* fits */
	images = openat(
	        disk_store_fd(c->manager->disks), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	(void)strbuf_printf(b, ",\"suspended\":{\"digest\":\"%s\",\"bytes\":%llu}",
	        c->config.suspended_digest,
	        (unsigned long long)(images < 0 ? 0 : criu_host_images_size(images)));
}

void suspend_forget_restored(struct container *c)
{
	char key[KEEPER_KEY_MAX];

	(void)snprintf(key, sizeof(key), KEEPER_RUN_PREFIX "%s", c->row.ctid); /* fits */
	if (c->manager->keeper)
		(void)keeper_client_forget(c->manager->keeper, key, NULL, NULL); /* -ESRCH, as a rule */
}

void suspend_discard(struct container *c)
{
	char from[96];

	(void)snprintf(from, sizeof(from), "containers/%s/suspended", c->row.ctid); /* fits */
	suspend_discard_at(c, from);
}

void suspend_discard_at(struct container *c, const char *from)
{
	char to[96];
	int store = disk_store_fd(c->manager->disks);

	(void)snprintf(to, sizeof(to), "trash/%s-suspended-%llu", c->row.ctid,
	        (unsigned long long)now_realtime_usec()); /* fits */
	if (renameat(store, from, store, to) == 0)
		sweeper_kick(c->manager->sweeper);
	else if (errno != ENOENT)
		log_warning("the images of \"%s\" cannot be removed: %s", c->row.name, strerror(errno));
}

int suspend_host_check(struct ct_error *err)
{
	unsigned int major = 0, minor = 0, kernel_major = 0, kernel_minor = 0;
	struct criu_program criu;
	struct utsname uts;

	if (process_find("criu") < 0)
		return ct_error_kind_set(
		        err, CT_ERROR_REFUSED, -ENOENT, "there is no criu: install the package criu");
	criu_host_program(&criu);
	if (!criu.nftables && process_find("iptables-restore") < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOENT,
		        "there is no iptables-restore, which this criu calls: install the package iptables");
	if (uname(&uts) < 0 || sscanf(uts.release, "%u.%u", &kernel_major, &kernel_minor) != 2)
		return ct_error_set(err, -EIO, "suspend", "cannot tell the version of this kernel");
	if (kernel_major * 1000 + kernel_minor < KERNEL_OF_4_1)
		return 0;

	if (sscanf(criu.version, "%u.%u", &major, &minor) != 2)
		return ct_error_kind_set(
		        err, CT_ERROR_REFUSED, -EOPNOTSUPP, "criu does not say which version it is");
	if (major * 1000 + minor >= 4 * 1000 + 1)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
	        "criu %u.%u cannot restore on Linux %u.%u (its vDSO is unknown to it): install criu 4.1 or newer, or boot a kernel before 6.13",
	        major, minor, kernel_major, kernel_minor);
}
