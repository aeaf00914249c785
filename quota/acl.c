/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX ACLs out of an archive's text, as the bytes that setxattr(2) takes.
 *
 * GNU tar writes ACLs as text, which libarchive reads; libacl would be one more library for a table of eight
 * bytes a row. The kernel wants rows in the order owner, users, group, groups, mask, others, which is the
 * order of the tags' values.
 */
#include <archive.h>
#include <archive_entry.h>
#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "quota/xattr.h"

static const struct {
	int archive;
	uint16_t kernel;
	bool named;
} tags[] = {
	{ ARCHIVE_ENTRY_ACL_USER_OBJ, ACL_USER_OBJ, false },
	{ ARCHIVE_ENTRY_ACL_USER, ACL_USER, true },
	{ ARCHIVE_ENTRY_ACL_GROUP_OBJ, ACL_GROUP_OBJ, false },
	{ ARCHIVE_ENTRY_ACL_GROUP, ACL_GROUP, true },
	{ ARCHIVE_ENTRY_ACL_MASK, ACL_MASK, false },
	{ ARCHIVE_ENTRY_ACL_OTHER, ACL_OTHER, false },
};

static int row_from(int tag, int permset, int id, struct posix_acl_xattr_entry *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		if (tags[i].archive != tag)
			continue;
		if (tags[i].named && id < 0)
			return -EINVAL;

		/* Read 4, write 2, execute 1: libarchive's bits are the kernel's. */
		*ret = (struct posix_acl_xattr_entry){
			.e_tag = htole16(tags[i].kernel),
			.e_perm = htole16((uint16_t)(permset & 7)),
			.e_id = htole32(tags[i].named ? (uint32_t)id : (uint32_t)ACL_UNDEFINED_ID),
		};
		return 0;
	}

	return -EINVAL;
}

static int compare_rows(const void *a, const void *b)
{
	const struct posix_acl_xattr_entry *x = a, *y = b;

	if (x->e_tag != y->e_tag)
		return le16toh(x->e_tag) < le16toh(y->e_tag) ? -1 : 1;
	if (x->e_id != y->e_id)
		return le32toh(x->e_id) < le32toh(y->e_id) ? -1 : 1;
	return 0;
}

int xattr_from_acl(struct archive_entry *entry, int type, struct strbuf *ret)
{
	const struct posix_acl_xattr_header header = { .a_version = htole32(POSIX_ACL_XATTR_VERSION) };
	_cleanup_free_ struct posix_acl_xattr_entry *rows = NULL;
	int kind, permset, tag, id, r, n = 0, count;
	const char *name;

	count = archive_entry_acl_reset(entry, type);
	if (count <= 0)
		return 0;

	rows = calloc((size_t)count, sizeof(*rows));
	if (!rows)
		return -ENOMEM;

	while (n < count &&
	        archive_entry_acl_next(entry, type, &kind, &permset, &tag, &id, &name) == ARCHIVE_OK) {
		r = row_from(tag, permset, id, &rows[n++]);
		if (r < 0)
			return r;
	}

	qsort(rows, (size_t)n, sizeof(*rows), compare_rows);
	(void)strbuf_add(ret, &header, sizeof(header));
	return strbuf_add(ret, rows, (size_t)n * sizeof(*rows));
}
