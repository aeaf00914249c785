/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What services inside that look after networks are told of interfaces.
 *
 * They are set up from outside, and stay so while nobody inside takes them down. Distributions with ifupdown
 * do when their network service is restarted, and what they set up then is what /etc/network/interfaces says:
 * in images made for machines, DHCP, which nobody answers. So it says the same as we do. All of it is there
 * already when the guest boots, and may have been changed by its root, hence "replace", and no failure: the
 * method "static" would fail because the address is there.
 *
 * busybox has ifupdown, too. Its ip(8) does not know nodad, nor routing tables as high as those of a second
 * interface. lo is not mentioned, since busybox would fail to give it the address that it has.
 *
 * systemd-networkd takes away addresses and routes that are not its own when it is told to look after a link,
 * and netplan tells it so, by files that are made at each boot. Of all files that match a link the first
 * counts, by name and from all directories; so ours is named to be that one, and says that all stays as it
 * is. It does not say "Unmanaged": services that wait for the network would wait for a link that networkd
 * never calls configured. A trunk is left to root inside, who makes VLANs on it, perhaps by networkd.
 *
 * NetworkManager is told that they are none of its own, in addition to what its other files say.
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

/* Without names the file matches nothing. */
static char *networkd_text(const struct container *c)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	bool begun = false;

	(void)strbuf_puts(&b, "# interfaces of the container, as they are set up from outside\n");
	for (unsigned i = 0; i < c->config.n_nets; i++) {
		const struct config_net *net = &c->config.nets[i];

		if (!config_net_is_there(net) || net->n_trunk)
			continue;
		(void)strbuf_printf(&b, "%s%s", begun ? " " : "[Match]\nName=", net->name);
		begun = true;
	}
	if (begun)
		(void)strbuf_puts(&b, "\n\n[Network]\nKeepConfiguration=yes\nDHCP=no\nIPv6AcceptRA=no\n");
	return strbuf_take(&b);
}

/* Trunks too: their addresses are root's, but not by DHCP without a tag. */
static char *network_manager_text(const struct container *c)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	(void)strbuf_puts(&b,
	        "# interfaces of the container, as they are set up from outside\n[keyfile]\nunmanaged-devices+=");
	for (unsigned i = 0; i < c->config.n_nets; i++)
		if (config_net_is_there(&c->config.nets[i]))
			(void)strbuf_printf(&b, "interface-name:%s;", c->config.nets[i].name);
	(void)strbuf_puts(&b, "\n");
	return strbuf_take(&b);
}

static int tell_ifupdown(const struct container *c, int root_fd, bool first_start, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = interfaces_text(c, &text, err);
	if (r < 0)
		return r;
	return guest_set_interfaces(
	        root_fd, manager_base_id(c->manager, c->run.slot), text, first_start, err);
}

static int tell_networkd(const struct container *c, int root_fd, bool first_start, struct ct_error *err)
{
	_cleanup_free_ char *text = networkd_text(c);

	if (!text)
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	return guest_set_networkd(root_fd, manager_base_id(c->manager, c->run.slot), text, first_start, err);
}

static int tell_network_manager(
        const struct container *c, int root_fd, bool first_start, struct ct_error *err)
{
	_cleanup_free_ char *text = network_manager_text(c);

	if (!text)
		return ct_error_set(err, -ENOMEM, "network", "out of memory");
	return guest_set_network_manager(
	        root_fd, manager_base_id(c->manager, c->run.slot), text, first_start, err);
}

/* On a disk that is full nothing can be written, and it starts nevertheless. */
void ports_tell_guest(const struct container *c, int root_fd, bool first_start)
{
	struct ct_error error = { 0 };

	if (tell_ifupdown(c, root_fd, first_start, &error) < 0)
		log_notice("ifupdown in \"%s\" is not told of its interfaces: %s", c->row.name, error.text);
	if (tell_networkd(c, root_fd, first_start, &error) < 0)
		log_notice("systemd-networkd in \"%s\" is not told of its interfaces: %s", c->row.name,
		        error.text);
	if (tell_network_manager(c, root_fd, first_start, &error) < 0)
		log_notice("NetworkManager in \"%s\" is not told of its interfaces: %s", c->row.name,
		        error.text);
}
