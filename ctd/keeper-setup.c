/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making a process into a keeper: the lock, the socket, and a mount namespace of its own.
 *
 * Lock and socket are made while the host's root is still the root, so that they are the host's; later the
 * keeper could not even name them. The lock (flock(2) on RUNTIME/keeper.lock) decides who is the keeper of a
 * runtime directory, also between two that start at once, and goes with the process however it ends. The
 * socket is bound under the lock, but listens only when all is ready.
 *
 * The mount namespace: clone3(CLONE_NEWNS) copies it for every container and costs per mount, so it holds no
 * more than libct needs: a proc and a sysfs with nothing mounted on them that would hide any of it (without
 * such ones in sight the kernel refuses new ones to a user namespace: mount_too_revealing), the host's device
 * nodes, and cgroup2. All private: what is mounted on the host later does not come in, so the keeper holds no
 * disk. cgroup2 is bound from where the host has it, not mounted: a mount from the first cgroup namespace
 * sets the options of the whole hierarchy anew, and nsdelegate would be gone for everybody.
 *
 * The OOM killer's score, dumpability and handlers belong to the process and not to the namespace: see
 * keeper_setup_process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ctd/keeper.h"

#define SOCKET_NAME "keeper.sock"
#define LOCK_NAME   "keeper.lock"

/* After a keeper was killed its lock lives on in a child of it that has not executed yet, for a moment. */
#define LOCK_TRIES 200
#define LOCK_PAUSE ((struct timespec){ .tv_nsec = 10 * 1000 * 1000 })

/* Files: pidfd, console and, while it starts, a status fd for each container. */
#define FILES_MAX 65536u

static int take_lock(struct keeper *k, struct ct_error *err)
{
	k->lock_fd = openat(k->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (k->lock_fd < 0)
		return ct_error_set(
		        err, -errno, "lock", "cannot open \"" LOCK_NAME "\": %s", strerror(errno));

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(k->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return ct_error_set(
			        err, -errno, "lock", "cannot lock \"" LOCK_NAME "\": %s", strerror(errno));
		(void)nanosleep(&LOCK_PAUSE, NULL); /* shorter is fine too */
	}

	return ct_error_set(err, -EWOULDBLOCK, "lock", "another keeper holds \"" LOCK_NAME "\"");
}

/* By a relative name: sun_path is short, and a runtime directory may be deep. The working directory is
 * changed. */
static int bind_socket(struct keeper *k, struct ct_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SOCKET_NAME };
	mode_t old;
	int r;

	if (fchdir(k->dir_fd) < 0)
		return ct_error_set(
		        err, -errno, "socket", "cannot enter the runtime directory: %s", strerror(errno));
	if (unlink(SOCKET_NAME) < 0 && errno != ENOENT)
		return ct_error_set(err, -errno, "socket", "cannot remove the old \"" SOCKET_NAME "\": %s",
		        strerror(errno));

	k->listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->listener.fd < 0)
		return ct_error_set(err, -errno, "socket", "cannot make a socket: %s", strerror(errno));

	old = umask(0177);
	r = bind(k->listener.fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	(void)umask(old); /* cannot fail */
	if (r < 0)
		return ct_error_set(err, r, "socket", "cannot bind \"" SOCKET_NAME "\": %s", strerror(-r));
	return 0;
}

static int bind_cgroup2(struct ct_error *err)
{
	static const char *const places[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	struct statfs fs;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (statfs(places[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
			if (mount(places[i], "sys/fs/cgroup", NULL, MS_BIND, NULL) < 0)
				return ct_error_set(err, -errno, "mount", "cannot bind \"%s\": %s", places[i],
				        strerror(errno));
			return 0;
		}

	return ct_error_set(err, -EOPNOTSUPP, "mount",
	        "no cgroup v2 at /sys/fs/cgroup or /sys/fs/cgroup/unified: mount one (mount -t cgroup2 none /sys/fs/cgroup/unified)");
}

/* A tmpfs on the working directory, which becomes that tmpfs. */
static int enter_tmpfs(struct ct_error *err)
{
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), root = -1;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return ct_error_set(err, -errno, "mount", "cannot make a tmpfs: %s", strerror(errno));

	root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (root < 0 || move_mount(root, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(root) < 0)
		return ct_error_set(err, -errno, "mount", "cannot mount a tmpfs: %s", strerror(errno));
	return 0;
}

static int fill_root(struct ct_error *err)
{
	static const struct {
		const char *source, *target, *type;
		unsigned long flags;
	} mounts[] = {
		{ "proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "/dev", "dev", NULL, MS_BIND },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		if (mkdir(mounts[i].target, 0755) < 0)
			return ct_error_set(err, -errno, "mount", "cannot make \"/%s\": %s", mounts[i].target,
			        strerror(errno));
		if (mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags, NULL) < 0)
			return ct_error_set(err, -errno, "mount", "cannot mount \"/%s\": %s",
			        mounts[i].target, strerror(errno));
	}

	return bind_cgroup2(err);
}

/* The working directory is where the new root is mounted for a moment; the host does not see it. */
static int leave_host_tree(struct ct_error *err)
{
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return ct_error_set(
		        err, -errno, "mount", "cannot make a mount namespace: %s", strerror(errno));
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return ct_error_set(
		        err, -errno, "mount", "cannot make the mounts private: %s", strerror(errno));

	r = enter_tmpfs(err);
	if (r >= 0)
		r = fill_root(err);
	if (r < 0)
		return r;

	/* Old and new root are stacked at "/", with no directory needed for the old one; then the old one,
	 * which is on top, goes. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return ct_error_set(err, -errno, "mount", "cannot leave the host's root: %s%s",
		        strerror(errno),
		        errno == EINVAL ? " (it cannot be left where it is the initial ramfs)" : "");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return ct_error_set(
		        err, -errno, "mount", "cannot detach the host's root: %s", strerror(errno));
	return 0;
}

void keeper_setup_process(void)
{
	struct rlimit files;

	(void)prctl(PR_SET_DUMPABLE, 0); /* cannot fail with 0 */
	(void)umask(022);                /* likewise */
	(void)signal(SIGPIPE, SIG_IGN);  /* likewise; libct gives its children the defaults */

	/* The last to go when memory ends; libct gives its children 0 again. Without CAP_SYS_RESOURCE it
	 * stays as it is. */
	(void)write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "-999");

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_MAX) {
		files.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* within the hard limit: cannot fail */
	}
}

int keeper_setup(struct keeper *k, const char *runtime_dir, struct ct_error *err)
{
	int r;

	k->dir_fd = open(runtime_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (k->dir_fd < 0)
		return ct_error_set(err, -errno, "runtime", "cannot open the runtime directory \"%s\": %s",
		        runtime_dir, strerror(errno));

	r = take_lock(k, err);
	if (r >= 0)
		r = bind_socket(k, err);
	if (r >= 0)
		r = leave_host_tree(err);
	if (r < 0)
		return r;

	keeper_setup_process();

	if (listen(k->listener.fd, SOMAXCONN) < 0)
		return ct_error_set(err, -errno, "socket", "cannot listen: %s", strerror(errno));
	r = keeper_watch(k, &k->listener, EPOLLIN);
	if (r < 0)
		return ct_error_set(err, r, "socket", "cannot watch the socket: %s", strerror(-r));
	return 0;
}

void keeper_unlink_socket(struct keeper *k)
{
	(void)unlinkat(k->dir_fd, SOCKET_NAME, 0); /* the next keeper removes it if this fails */
}

bool keeper_has_socket(const struct keeper *k)
{
	return faccessat(k->dir_fd, SOCKET_NAME, F_OK, 0) == 0 || errno != ENOENT;
}
