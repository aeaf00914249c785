/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RUNTIME/hosts: the addresses and names of all containers, as hosts(5) has them.
 *
 * For whoever answers names on this host: nss-ctd(8), which reads it at each question, or dnsmasq by
 * addn-hosts= (it looks at the file again on SIGHUP, and hostsdir does so by itself). Both directions follow
 * from it. It is written whole beside its place and renamed, some time after the last change, so that a
 * hundred creates write it a few times and nobody reads half of it.
 */
#include "ctd/network.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/manager.h"

#define QUIET_USEC (100 * 1000)

bool network_has_name(const struct ip_addr *a)
{
	return a->prefix == ip_full_prefix(a) || a->family == AF_INET || a->bytes[15] != 0;
}

static void print_one(struct strbuf *b, const struct container *c, const struct ip_addr *a)
{
	char text[IP_ADDR_STRLEN];
	const char *hostname = *c->config.hostname ? c->config.hostname : c->row.name;

	if (!network_has_name(a))
		return;
	(void)strbuf_printf(b, "%s %s", ip_format_addr(a, text, sizeof(text)), hostname);
	if (!str_eq(hostname, c->row.name))
		(void)strbuf_printf(b, " %s", c->row.name);
	(void)strbuf_putc(b, '\n');
}

static void print_all(struct manager *m, struct strbuf *b)
{
	struct container *c, *next;

	(void)strbuf_puts(b, "# Containers of this host, written by ctd; changes are lost.\n");
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		for (unsigned i = 0; i < c->n_leases; i++)
			print_one(b, c, &c->leases[i].address);
		for (unsigned i = 0; i < c->config.n_nets; i++)
			for (unsigned k = 0; k < c->config.nets[i].n_ips; k++)
				print_one(b, c, &c->config.nets[i].ips[k]);
	}
}

static int write_file(struct manager *m)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_close_ int dir = open(m->conf.runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	int r;

	print_all(m, &b);
	if (b.error)
		return b.error;
	if (dir < 0)
		return -errno;
	(void)unlinkat(dir, ".hosts", 0); /* of a ctd that was killed; usually it is not there */
	fd = openat(dir, ".hosts", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	r = fchmod(fd, 0644) < 0 ? -errno : write_all(fd, b.data, b.len);
	if (r >= 0 && renameat(dir, ".hosts", dir, "hosts") < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(dir, ".hosts", 0); /* the failure is told already */
	return r;
}

static int on_quiet(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	int r = write_file(m);

	if (r < 0)
		log_warning("cannot write \"%s/hosts\": %s", m->conf.runtime_dir, strerror(-r));
	network_names_tell(m);
	return 0;
}

void network_hosts_later(struct manager *m)
{
	int enabled = SD_EVENT_OFF;

	if (!m->hosts_timer) {
		if (sd_event_add_time_relative(
		            m->event, &m->hosts_timer, CLOCK_MONOTONIC, QUIET_USEC, 1000, on_quiet, m) < 0)
			log_warning("\"%s/hosts\" is not kept up to date", m->conf.runtime_dir);
		return;
	}
	if (sd_event_source_get_enabled(m->hosts_timer, &enabled) > 0)
		return; /* it will be written soon, with this change */
	(void)sd_event_source_set_time_relative(m->hosts_timer, QUIET_USEC);
	(void)sd_event_source_set_enabled(m->hosts_timer, SD_EVENT_ONESHOT);
}

void network_hosts_free(struct manager *m)
{
	m->hosts_timer = sd_event_source_disable_unref(m->hosts_timer);
}
