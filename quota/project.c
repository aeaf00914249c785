/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Project quota: how a directory gets a size.
 *
 * A project id with PROJINHERIT on the directories above a container's writes makes each file made below
 * carry the id; the file system charges the id and refuses (EDQUOT) what goes above its hard limit, to the
 * byte. statfs below such a directory shows the limit as the size, so df inside a container tells what was
 * sold (ext4 since 4.5, xfs for ever). No soft limits: they would be what statfs shows and have a grace time
 * that nobody sold.
 *
 * quotactl_fd(2) (Linux 5.14) needs no block device path. The generic Q_SETQUOTA, Q_GETQUOTA and Q_XGETQSTATV
 * work alike on ext4 and xfs: the kernel translates. Writers with CAP_SYS_RESOURCE in the initial user
 * namespace are not held: overlayfs drops it for tenants, ctd's own workers must.
 */
#include "quota/project.h"

#include <errno.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/quota.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "quota/walk.h"

#ifndef PRJQUOTA
#define PRJQUOTA 2 /* not in glibc's header */
#endif

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define PROJECT_KIB 1024ULL

static int quotactl_fd(int fd, int command, uint32_t id, void *argument)
{
	return syscall(SYS_quotactl_fd, fd, QCMD(command, PRJQUOTA), id, argument) < 0 ? -errno : 0;
}

/* The kernel's flags of quota accounting and enforcement; 0: none of it is on. */
static unsigned int quota_flags(int fd)
{
	struct fs_quota_statv statv = { .qs_version = FS_QSTATV_VERSION1 };

	return quotactl_fd(fd, Q_XGETQSTATV, 0, &statv) < 0 ? 0 : statv.qs_flags;
}

bool project_quota_enforced(int fd)
{
	const unsigned int want = FS_QUOTA_PDQ_ACCT | FS_QUOTA_PDQ_ENFD;

	return (quota_flags(fd) & want) == want;
}

void project_quota_remedy(int fd, const char *store_path, char *buf, size_t size)
{
	struct statfs st;

	buf[0] = '\0';
	if (project_quota_enforced(fd))
		return;

	if (fstatfs(fd, &st) < 0 || (st.f_type != EXT4_SUPER_MAGIC && st.f_type != XFS_SUPER_MAGIC))
		(void)snprintf(
		        buf, size, "put the store on ext4 or xfs with project quota, or use --storage image");
	else if (st.f_type == XFS_SUPER_MAGIC)
		(void)snprintf(buf, size,
		        "mount the file system of %.80s with the option prjquota (not by remount; the root file system: kernel parameter "
		        "rootflags=prjquota), or use --storage image",
		        store_path);
	else if (quota_flags(fd) & FS_QUOTA_PDQ_ACCT)
		(void)snprintf(buf, size,
		        "mount the file system of %.80s with the option prjquota, or use --storage image",
		        store_path);
	else
		(void)snprintf(buf, size,
		        "unmount the file system of %.80s, run `tune2fs -O project,quota -Q prjquota DEVICE`, mount it with the option prjquota "
		        "(kernel module quota_v2), or use --storage image",
		        store_path);
}

int project_assign(int dirfd, uint32_t project_id, struct ct_error *err)
{
	struct fsxattr attr;

	if (ioctl(dirfd, FS_IOC_FSGETXATTR, &attr) < 0)
		return ct_error_set(err, -errno == -ENOTTY ? -EOPNOTSUPP : -errno, "quota",
		        "the file system of the store has no project ids: %s", strerror(errno));

	attr.fsx_projid = project_id;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	if (ioctl(dirfd, FS_IOC_FSSETXATTR, &attr) < 0)
		return ct_error_set(err, -errno, "quota", "cannot give the project id %u to the disk: %s",
		        (unsigned)project_id, strerror(errno));

	return 0;
}

int project_clear(int dirfd, struct ct_error *err)
{
	struct fsxattr attr;

	if (ioctl(dirfd, FS_IOC_FSGETXATTR, &attr) < 0)
		return 0; /* there are none */

	attr.fsx_projid = 0;
	attr.fsx_xflags &= ~(uint32_t)FS_XFLAG_PROJINHERIT;
	if (ioctl(dirfd, FS_IOC_FSSETXATTR, &attr) < 0)
		return ct_error_set(err, -errno, "quota", "cannot take a directory out of its project: %s",
		        strerror(errno));

	return 0;
}

uint32_t project_of(int dirfd)
{
	struct fsxattr attr;

	return ioctl(dirfd, FS_IOC_FSGETXATTR, &attr) < 0 ? 0 : attr.fsx_projid;
}

static int adopt_entry(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	const uint32_t *project_id = userdata;
	_cleanup_close_ int fd = -1;
	struct fsxattr attr;

	if (str_eq(entry->path, ".") || entry->first ||
	        !(S_ISREG(entry->st.st_mode) || S_ISDIR(entry->st.st_mode)))
		return 0;

	fd = walk_open(entry, err);
	if (fd < 0)
		return fd;

	if (S_ISDIR(entry->st.st_mode))
		return project_assign(fd, *project_id, err);

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return walk_error(entry, -errno, "read the project of", err);
	attr.fsx_projid = *project_id;
	if (ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0)
		return walk_error(entry, -errno, "set the project of", err);

	return 0;
}

int project_adopt(int dirfd, uint32_t project_id, struct ct_error *err)
{
	int r;

	r = tree_walk(dirfd, adopt_entry, &project_id, err);
	if (r < 0)
		return r;

	return project_assign(dirfd, project_id, err);
}

int project_set_limits(int fd, uint32_t project_id, const struct project_limits *limits, struct ct_error *err)
{
	struct dqblk dq = {
		.dqb_bhardlimit = (limits->bytes + PROJECT_KIB - 1) / PROJECT_KIB,
		.dqb_ihardlimit = limits->inodes,
		.dqb_valid = QIF_LIMITS,
	};
	int r;

	r = quotactl_fd(fd, Q_SETQUOTA, project_id, &dq);
	if (r < 0)
		return ct_error_set(err, r, "quota", "cannot set the quota of project %u: %s",
		        (unsigned)project_id, strerror(-r));

	return 0;
}

int project_get(int fd, uint32_t project_id, struct project_state *ret, struct ct_error *err)
{
	struct dqblk dq = { 0 };
	int r;

	*ret = (struct project_state){ 0 };
	r = quotactl_fd(fd, Q_GETQUOTA, project_id, &dq);
	if (r == -ENOENT) /* xfs: this id was never used */
		return 0;
	if (r < 0)
		return ct_error_set(err, r, "quota", "cannot read the quota of project %u: %s",
		        (unsigned)project_id, strerror(-r));

	ret->bytes_used = dq.dqb_curspace;
	ret->inodes_used = dq.dqb_curinodes;
	ret->limits.bytes = dq.dqb_bhardlimit * PROJECT_KIB;
	ret->limits.inodes = dq.dqb_ihardlimit;
	return 0;
}
