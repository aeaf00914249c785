/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extended attributes.
 *
 * Values of two kinds hold ids, and a worker that runs as the host's root could write any: POSIX ACLs (an
 * entry for a host's user) and file capabilities of version 3 (root of another user namespace). Both are
 * taken apart here, so that no id outside a container's 0..65535 gets onto the store. Version 2 is what
 * images have, and what the kernel shows for root id 0; it counts for the root of whatever user namespace the
 * idmapped mount shifts id 0 to.
 */
#include "quota/xattr.h"

#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "base/str.h"

#define XATTR_ID_MAX 65535

enum xattr_verdict xattr_judge(const char *name)
{
	if (str_has_prefix(name, "user.") || str_eq(name, "security.capability") ||
	        str_eq(name, "system.posix_acl_access") || str_eq(name, "system.posix_acl_default"))
		return XATTR_KEEP;

	return str_has_prefix(name, "trusted.") ? XATTR_REFUSE : XATTR_SKIP;
}

void xattrs_done(struct xattrs *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->items[i].name);
		free(list->items[i].value);
	}
	free(list->items);
	*list = (struct xattrs){ 0 };
}

static int compare_xattrs(const void *a, const void *b)
{
	return strcmp(((const struct xattr *)a)->name, ((const struct xattr *)b)->name);
}

static int xattrs_add(struct xattrs *list, int fd, const char *name)
{
	struct xattr *items = reallocarray(list->items, list->n + 1, sizeof(*items));
	struct xattr *item;
	ssize_t n;

	if (!items)
		return -ENOMEM;
	list->items = items;

	n = fgetxattr(fd, name, NULL, 0);
	if (n < 0)
		return -errno;

	item = &items[list->n++];
	*item = (struct xattr){ .name = strdup(name), .value = malloc((size_t)n + 1) };
	if (!item->name || !item->value)
		return -ENOMEM;

	n = fgetxattr(fd, name, item->value, (size_t)n + 1);
	if (n < 0)
		return -errno;

	item->size = (size_t)n;
	return 0;
}

static int xattrs_collect(int fd, const char *names, size_t len, struct xattrs *list)
{
	int r;

	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		if (xattr_judge(name) != XATTR_KEEP)
			continue;
		r = xattrs_add(list, fd, name);
		if (r < 0)
			return r;
	}

	if (list->n > 1)
		qsort(list->items, list->n, sizeof(*list->items), compare_xattrs);
	return 0;
}

int xattrs_read(int fd, struct xattrs *ret)
{
	CLEANUP(xattrs_done) struct xattrs list = { 0 };
	_cleanup_free_ char *names = NULL;
	ssize_t n;
	int r;

	*ret = (struct xattrs){ 0 };
	n = flistxattr(fd, NULL, 0);
	if (n <= 0)
		return n == 0 || errno == EOPNOTSUPP ? 0 : -errno;

	names = malloc((size_t)n);
	if (!names)
		return -ENOMEM;

	n = flistxattr(fd, names, (size_t)n);
	if (n < 0)
		return -errno;

	r = xattrs_collect(fd, names, (size_t)n, &list);
	if (r < 0)
		return r;

	*ret = TAKE(list, (struct xattrs){ 0 });
	return 0;
}

static int check_acl(const void *value, size_t size)
{
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entry;

	if (size < sizeof(header) || (size - sizeof(header)) % sizeof(entry) != 0)
		return -EINVAL;

	for (size_t at = sizeof(header); at < size; at += sizeof(entry)) {
		memcpy(&entry, (const char *)value + at, sizeof(entry));
		if ((le16toh(entry.e_tag) == ACL_USER || le16toh(entry.e_tag) == ACL_GROUP) &&
		        le32toh(entry.e_id) > XATTR_ID_MAX)
			return -EINVAL;
	}

	return 0;
}

static int check_capability(const void *value, size_t size)
{
	struct vfs_ns_cap_data cap = { 0 };

	if (size != sizeof(struct vfs_cap_data) && size != sizeof(cap))
		return -EINVAL;

	memcpy(&cap, value, size);
	return le32toh(cap.rootid) == 0 ? 0 : -EINVAL;
}

int xattr_check_value(const char *name, const void *value, size_t size)
{
	if (str_has_prefix(name, "system.posix_acl_"))
		return check_acl(value, size);

	if (str_eq(name, "security.capability"))
		return check_capability(value, size);

	return 0;
}
