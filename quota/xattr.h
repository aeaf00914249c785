/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The extended attributes that a tenant's file may have, and that go into archives and digests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum xattr_verdict {
	XATTR_KEEP,   /* user.*, security.capability, system.posix_acl_* */
	XATTR_SKIP,   /* labels of the machine it came from: security.*, and what no kernel here knows */
	XATTR_REFUSE, /* trusted.*: what host root tells the kernel, such as overlayfs's own marks */
};
enum xattr_verdict xattr_judge(const char *name);

struct xattr {
	char *name;
	void *value;
	size_t size;
};

struct xattrs {
	struct xattr *items; /* sorted by name */
	size_t n;
};
void xattrs_done(struct xattrs *list);

/* Those of an open file that are kept. A file system without them has none. */
int xattrs_read(int fd, struct xattrs *ret);

/* Checks what the value says of ids: they must be 0..65535. Other names are fine. 0 or -EINVAL. */
int xattr_check_value(const char *name, const void *value, size_t size);

/* libarchive's list of entries (from SCHILY.acl.*) as the kernel's attribute; empty if there is none. type is
 * ARCHIVE_ENTRY_ACL_TYPE_ACCESS or _DEFAULT. -EINVAL for users and groups that are not given by number. */
struct archive_entry;
struct strbuf;
int xattr_from_acl(struct archive_entry *entry, int type, struct strbuf *ret);
