/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ifupdown inside is told of interfaces.
 *
 * They are set up from outside, and stay so while nobody inside takes them down. Distributions with ifupdown
 * do when their network service is restarted, and what they set up then is what /etc/network/interfaces says:
 * in images made for machines, DHCP, which nobody answers. So it says the same as we do. All of it is there
 * already when the guest boots, and may have been changed by its root, hence "replace", and no failure: the
 * method "static" would fail because the address is there.
 *
 * busybox has ifupdown, too. Its ip(8) does not know nodad, nor routing tables as high as those of a second
 * interface. lo is not mentioned, since busybox would fail to give it the address that it has.
 */
#include "ctd/ports.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/str.h"
#include "ctd/guest.h"
#include "ctd/manager.h"
#include "ctd/ports-private.h"

static const char *family_option(int family)
{
	return family == AF_INET6 ? "-6" : "-4";
}

static void put_address(struct strbuf *b, const char *name, const struct ip_addr *a)
{
	char address[IP_ADDR_STRLEN];

	(void)ip_format_addr(a, address, sizeof(address));
	(void)strbuf_puts(b, "\tup ");
	if (a->family == AF_INET6)
		(void)strbuf_printf(
		        b, "ip -6 addr replace %s/%u dev %s nodad 2>/dev/null || ", address, a->prefix, name);
	(void)strbuf_printf(b, "ip %s addr replace %s/%u dev %s || true\n", family_option(a->family), address,
	        a->prefix, name);
}

/* source: only for what has one of the interface's addresses as source; the rules that lead there stay when
 * the link goes down. */
static void put_gateway(struct strbuf *b, const char *name, const struct ip_addr *gateway, bool source)
{
	char address[IP_ADDR_STRLEN];

	if (gateway->family == 0)
		return;
	(void)strbuf_printf(b, "\tup ip %s route replace default via %s dev %s onlink proto static",
	        family_option(gateway->family), ip_format_addr(gateway, address, sizeof(address)), name);
	if (source)
		(void)strbuf_printf(
		        b, " table $((%d + $(cat /sys/class/net/%s/ifindex)))", NET_SOURCE_TABLE, name);
	(void)strbuf_puts(b, " || true\n");
}

static void put_interface(struct strbuf *b, const struct port *port)
{
	const char *name = port->guest_name;

	(void)strbuf_printf(b, "\nauto %s\niface %s inet manual\n\tup ip link set %s up\n", name, name, name);
	for (size_t i = 0; i < port->spec.n_addresses && !port->spec.n_trunk; i++) {
		const struct ip_addr inside = net_port_inside(&port->spec, i);

		put_address(b, name, &inside);
	}
	put_gateway(b, name, &port->spec.gateway4, false);
	put_gateway(b, name, &port->spec.gateway6, false);
	put_gateway(b, name, &port->spec.source_gateway4, true);
	put_gateway(b, name, &port->spec.source_gateway6, true);
	(void)strbuf_printf(b, "\tdown ip link set %s down || true\n", name);
}

static int interfaces_text(const struct container *c, char **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct port_iter at = { .container = c, .slot = c->run.slot };
	struct port port;
	int r;

	(void)strbuf_puts(&b, "# interfaces of the container, as they are set up from outside\n");
	while ((r = port_next(&at, &port, err)) > 0)
		put_interface(&b, &port);
	if (r < 0)
		return r;
	if (b.error)
		return ct_error_set(err, b.error, "network", "out of memory");
	*ret = TAKE_PTR(b.data);
	return 0;
}

/* On a disk that is full nothing can be written, and it starts nevertheless. */
void ports_tell_guest(const struct container *c, int root_fd, bool first_start)
{
	_cleanup_free_ char *text = NULL;
	struct ct_error error = { 0 };
	int r;

	r = interfaces_text(c, &text, &error);
	if (r >= 0)
		r = guest_set_interfaces(
		        root_fd, manager_base_id(c->manager, c->run.slot), text, first_start, &error);
	if (r < 0)
		log_notice("ifupdown in \"%s\" is not told of its interfaces: %s", c->row.name, error.text);
}
