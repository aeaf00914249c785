/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resume: processes out of images (worker-suspend.c), by CRIU.
 *
 * {"disk", "base_id", "cgroup", "images", "digest", "view"?, "verified"?, "runtime", "key", "rlimits"} to
 * {"device"}, of its disk: a container in the cgroup, frozen, audited, and ct-keeper has it. A failure leaves
 * processes in the cgroup, which ctd kills. The images are as they were.
 *
 * When the namespaces are there it asks for {"network": PID}: the interfaces, before any socket is restored.
 *
 * CRIU makes the user namespace as the user whose effective id it has, and it must be the container's base
 * id. As that user it may do all but write sysctls, which asks for root's id and no capability: so in a mount
 * namespace of ours lie plain files where CRIU writes hostname and IPC limits, and we write them where they
 * belong.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/criu-archive.h"
#include "ctd/criu-finish.h"
#include "ctd/criu-rounds.h"
#include "ctd/criu.h"
#include "ctd/keeper-client.h"
#include "ctd/view-files.h"
#include "ctd/worker-ahead.h"
#include "ctd/worker-main.h"
#include "ctd/worker-suspend-native.h"
#include "ctd/worker-suspend-cgroup.h"
#include "ctd/worker-suspend-console.h"
#include "ctd/worker-suspend-net.h"
#include "ctd/worker-suspend-privileges.h"
#include "ctd/worker-suspend-sockets.h"
#include "ctd/worker-suspend-threads.h"
#include "ctd/worker-suspend.h"
#include "libct/restore.h"
#include "quota/disk.h"

#define FREEZE_USEC (10 * 1000000ULL)
#define PLACE       "/tmp" /* covered in a mount namespace of ours */
#define ROOT        PLACE "/root"
#define BARE_PROC   PLACE "/proc"
#define SHADOW      PLACE "/shadow"
#define NATIVES     PLACE "/native"
#define VIEW        PLACE "/view"
#define BASE        PLACE "/base"

DEFINE_CLEANUP(struct disk_store *, disk_store_close);

struct resume_params {
	json_t *disk;
	const char *digest, *view;
	bool verified;
	struct suspend_common common;
};

static const struct json_field resume_fields[] = {
	{ "disk", JSON_KIND_OBJECT, offsetof(struct resume_params, disk), JSON_NO_HAS, true },
	{ "digest", JSON_KIND_STRING, offsetof(struct resume_params, digest), JSON_NO_HAS, true },
	{ "view", JSON_KIND_STRING, offsetof(struct resume_params, view), JSON_NO_HAS, false },
	{ "verified", JSON_KIND_BOOL, offsetof(struct resume_params, verified), JSON_NO_HAS, false },
	SUSPEND_COMMON_FIELDS(struct resume_params, common),
	{ NULL },
};

struct resume {
	struct resume_params in;
	int images, cgroup, root, console, pidfd, tools, base;
	int criu; /* a pidfd, borrowed */
	json_t *cgroups;
	char *scrollback;
	size_t scrollback_len;
	struct ct_bind binds[VIEW_FILES];
	size_t n_binds;
	struct disk_natives natives;
	struct suspend_natives wanted;
	pid_t pid; /* of init, once CRIU has told it */
	pid_t guard;
	int guard_fd;
	struct restore_threads no_new_privs; /* who shall have that */
	char finish[256];                    /* CRIU_FINISH_DONE, or why not, or "" */
};

static void resume_done(struct resume *x)
{
	(void)fd_close(x->images);
	(void)fd_close(x->cgroup);
	(void)fd_close(x->root);
	(void)fd_close(x->console);
	(void)fd_close(x->pidfd);
	(void)fd_close(x->tools);
	(void)fd_close(x->base);
	json_decref(x->cgroups);
	free(x->scrollback);
	(void)fd_close(x->guard_fd); /* still there after a failure: then it ends what there is */
	for (size_t i = 0; i < x->n_binds; i++)
		(void)fd_close(x->binds[i].source_fd);
	disk_natives_done(&x->natives);
	suspend_natives_done(&x->wanted);
	free(x->no_new_privs.list);
}

/* Where CRIU writes what only root's id may: relative to /proc/sys. */
static const char *const sysctls[] = { "kernel/hostname", "kernel/domainname", "kernel/sem", "kernel/shmall",
	"kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced", "kernel/msgmax", "kernel/msgmnb",
	"kernel/msgmni", "kernel/auto_msgmni", "kernel/msg_next_id", "kernel/sem_next_id",
	"kernel/shm_next_id", "fs/mqueue/queues_max", "fs/mqueue/msg_max", "fs/mqueue/msgsize_max",
	"fs/mqueue/msg_default", "fs/mqueue/msgsize_default" };

static void shadow_path(size_t i, char ret[32])
{
	(void)snprintf(ret, 32, SHADOW "/%zu", i); /* fits */
}

static int make_shadows(struct ct_error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(sysctls); i++) {
		_cleanup_close_ int fd = -1;
		char shadow[32], target[64];

		shadow_path(i, shadow);
		(void)snprintf(target, sizeof(target), "/proc/sys/%s", sysctls[i]); /* fits */
		if (access(target, F_OK) < 0)
			continue;
		fd = open(shadow, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || mount(shadow, target, NULL, MS_BIND, NULL) < 0)
			return ct_error_set(
			        err, -errno, "resume", "cannot cover \"%s\": %s", target, strerror(errno));
	}
	return 0;
}

/* In this mount namespace they can be copied, for each that is restored. */
static int attach_view(struct resume *x)
{
	for (size_t i = 0; i < x->n_binds; i++) {
		_cleanup_close_ int target = -1;
		char path[32];

		(void)snprintf(path, sizeof(path), VIEW "/%zu", i); /* fits */
		target = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (target < 0 || move_mount(x->binds[i].source_fd, "", target, "",
		                          MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
			return -errno;
	}
	return 0;
}

/* Archives of tmpfs that went ahead, where tar finds them (criu-tar.c). */
static int attach_base(const struct resume *x)
{
	_cleanup_close_ int target = -1;

	if (x->base < 0)
		return 0;
	target = open(BASE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return target < 0 || move_mount(x->base, "", target, "",
	                             MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
	               ? -errno
	               : 0;
}

/* CRIU's mounts are made in the copy of this namespace that its child gets. The second procfs is one that
 * nothing covers: without one the kernel refuses new ones to the child. */
static int make_place(struct resume *x, struct ct_error *err)
{
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	        mount("tmpfs", PLACE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0 ||
	        mkdir(ROOT, 0755) < 0 || mkdir(BARE_PROC, 0755) < 0 || mkdir(SHADOW, 0755) < 0 ||
	        mkdir(CRIU_WORK, 0755) < 0 || mkdir(VIEW, 0755) < 0 || mkdir(NATIVES, 0755) < 0 ||
	        mkdir(CRIU_TOOLS, 0755) < 0 ||
	        move_mount(x->tools, "", AT_FDCWD, CRIU_TOOLS, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	        mount("proc", BARE_PROC, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
	        move_mount(x->root, "", AT_FDCWD, ROOT, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return ct_error_set(err, -errno, "resume", "cannot prepare the mounts: %s", strerror(errno));
	r = attach_view(x);
	if (r < 0)
		return ct_error_set(err, r, "resume", "cannot bind the view of /proc: %s", strerror(-r));
	r = attach_base(x);
	if (r < 0)
		return ct_error_set(err, r, "resume", "cannot bind what went ahead: %s", strerror(-r));
	return make_shadows(err);
}

static int mount_disk(struct resume *x, struct ct_error *err)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	_cleanup_close_ int idmap = -1;
	const char *path = json_string_value(json_object_get(x->in.disk, "store"));
	const char *driver = json_string_value(json_object_get(x->in.disk, "driver"));
	struct disk_spec spec = {
		.ctid = json_string_value(json_object_get(x->in.disk, "ctid")),
		.template_digest = json_string_value(json_object_get(x->in.disk, "template")),
		.bytes = (uint64_t)json_integer_value(json_object_get(x->in.disk, "bytes")),
		.inodes = (uint64_t)json_integer_value(json_object_get(x->in.disk, "inodes")),
		.project_id = (uint32_t)json_integer_value(json_object_get(x->in.disk, "project")),
		.natives = x->wanted.paths,
	};
	int r;

	if (!path || !driver || !spec.ctid || !spec.template_digest ||
	        disk_driver_from_name(driver, &spec.driver) < 0)
		return ct_error_set(err, -EINVAL, "resume", "the disk is not described");
	r = idmap = ct_idmap_userns_new((uint32_t)x->in.common.base_id, err);
	if (r >= 0)
		r = disk_store_open(path, &store, err);
	if (r >= 0)
		r = x->root = disk_mount_native(store, &spec, idmap, &x->natives, err);
	return r < 0 ? r : 0;
}

/* Before /tmp is covered: a daemon's directories may be there. */
static int take_view(struct resume *x)
{
	for (size_t i = 0; x->in.view && i < VIEW_FILES; i++) {
		_cleanup_free_ char *path = str_printf("%s/%s", x->in.view, view_files[i].name);
		int fd = path ? open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) : -1;

		if (fd < 0)
			return -errno;
		x->binds[x->n_binds++] =
		        (struct ct_bind){ .source_fd = fd, .target = view_files[i].target, .readonly = true };
	}
	return 0;
}

/* As the view. */
static int take_tools(struct resume *x, struct ct_error *err)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = criu_tools_open(&path, err);

	if (fd < 0)
		return fd;
	x->tools = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return x->tools < 0
	               ? ct_error_set(err, -errno, "resume", "cannot bind \"%s\": %s", path, strerror(errno))
	               : 0;
}

static int take_base(struct resume *x)
{
	_cleanup_close_ int round = criu_rounds_open(x->images, 1);

	if (round < 0)
		return round == -ENOENT || round == -ENOTDIR ? 0 : round;
	x->base = open_tree(
	        round, CRIU_ARCHIVE_BASE, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	return x->base < 0 && errno != ENOENT ? -errno : 0;
}

/* In a child: hostname and IPC limits, as CRIU wrote them into the shadows. */
static int write_sysctls(pid_t pid)
{
	_cleanup_close_ int uts = ct_process_namespace(pid, CLONE_NEWUTS);
	_cleanup_close_ int ipc = ct_process_namespace(pid, CLONE_NEWIPC);

	if (uts < 0 || ipc < 0 || setns(uts, CLONE_NEWUTS) < 0 || setns(ipc, CLONE_NEWIPC) < 0)
		return -ESRCH;
	for (size_t i = 0; i < ARRAY_SIZE(sysctls); i++) {
		_cleanup_free_ char *value = NULL;
		char shadow[32], target[80];
		int r;

		shadow_path(i, shadow);
		if (read_file_at(AT_FDCWD, shadow, 4096, &value, NULL) < 0 || str_empty(value))
			continue;
		(void)snprintf(target, sizeof(target), BARE_PROC "/sys/%s", sysctls[i]); /* fits */
		r = write_file_at(AT_FDCWD, target, value);
		if (r < 0 && i < 2)
			return r;
	}
	return 0;
}

static int restore_sysctls(pid_t pid, struct ct_error *err)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0)
		_exit(write_sysctls(pid) < 0);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0 ? 0 : ct_error_set(err, -EIO, "resume", "cannot restore hostname and IPC limits");
}

/* CRIU asks nobody again once it has restored: if we were killed between post-restore and pre-resume, it
 * would let go of tasks that are neither frozen nor looked at. So a child of ours, not of our process group,
 * ends them when its socket says so, unless we said that they are held. */
static _Noreturn void guard(int sock, int cgroup_fd, int pidfd, int criu_pidfd)
{
	char byte;

	/* Nothing else of ours: CRIU and ctd shall notice our end. */
	if (dup2(sock, 0) < 0 || dup2(cgroup_fd, 1) < 0 || dup2(pidfd, 2) < 0 || dup2(criu_pidfd, 3) < 0 ||
	        close_range(4, ~0U, 0) < 0)
		_exit(1);
	if (read_all(0, &byte, 1) == 1)
		_exit(0);
	(void)ct_cgroup_kill(1, NULL); /* nobody to tell */
	(void)syscall(SYS_pidfd_send_signal, 2, SIGKILL, NULL, 0);
	/* It traces them, and waits for their init, which waits until their tracer has reaped the others. */
	(void)syscall(SYS_pidfd_send_signal, 3, SIGKILL, NULL, 0);
	_exit(0);
}

static int start_guard(struct resume *x, struct ct_error *err)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return ct_error_set(
		        err, -errno, "resume", "cannot make a pair of sockets: %s", strerror(errno));
	x->guard = fork();
	if (x->guard == 0) {
		(void)setpgid(0, 0); /* as below */
		(void)fd_close(ends[1]);
		/* Above the four that they become. */
		guard(fcntl(ends[0], F_DUPFD_CLOEXEC, 4), fcntl(x->cgroup, F_DUPFD_CLOEXEC, 4),
		        fcntl(x->pidfd, F_DUPFD_CLOEXEC, 4), fcntl(x->criu, F_DUPFD_CLOEXEC, 4));
	}
	(void)fd_close(ends[0]);
	x->guard_fd = ends[1];
	if (x->guard < 0)
		return ct_error_set(err, -errno, "resume", "cannot start a guard: %s", strerror(errno));
	(void)setpgid(x->guard, x->guard); /* whoever is first */
	return 0;
}

static void end_guard(struct resume *x)
{
	if (x->guard_fd < 0)
		return;
	(void)send(x->guard_fd, "", 1, MSG_NOSIGNAL); /* without a guard it is frozen all the same */
	x->guard_fd = fd_close(x->guard_fd);
	while (waitpid(x->guard, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Not awaited: CRIU holds them still, and they are frozen when it lets go of them, which it does whatever we
 * answer. */
static int hold(struct resume *x, const char *finish, struct ct_error *err)
{
	int r = write_file_at(x->cgroup, "cgroup.freeze", "1");

	(void)snprintf(x->finish, sizeof(x->finish), "%s", finish); /* of criu.c: fits */
	if (r >= 0) {
		end_guard(x);
		return 0;
	}
	(void)ct_cgroup_kill(x->cgroup, NULL); /* rather dead than not looked at */
	return ct_error_set(err, r, "resume", "cannot freeze it: %s", strerror(-r));
}

/* Of all mount namespaces that it will have. */
static int finish_mounts(struct resume *x, struct ct_error *err)
{
	_cleanup_close_ int userns = ct_process_namespace(x->pid, CLONE_NEWUSER);
	struct criu_namespaces found = { 0 };
	int r = userns < 0 ? ct_error_set(err, -ESRCH, "resume", "what is restored ended meanwhile")
	                   : criu_namespaces_find(x->criu, userns, &found, err);

	if (r >= 0)
		r = restore_mounts(found.fds, found.n, userns, x->binds, x->n_binds, err);
	criu_namespaces_done(&found);
	return r;
}

static int on_notify(struct criu_notice *notice, void *userdata, struct ct_error *err)
{
	const char *script = notice->script;
	struct resume *x = userdata;
	int r = 0;

	if (str_eq(script, "setup-namespaces")) {
		x->pid = notice->pid;
		x->pidfd = (int)syscall(SYS_pidfd_open, x->pid, 0); /* criu waits for us: it is that one */
		r = suspend_net_raise(x->pid, err);
		if (r >= 0)
			r = worker_ask(json_pack("{s:i}", "network", (int)x->pid), err);
	} else if (str_eq(script, "post-setup-namespaces")) {
		r = restore_sysctls(x->pid, err);
		if (r >= 0)
			r = suspend_cgroups_enable(x->cgroups, x->cgroup, err);
		if (r >= 0)
			r = finish_mounts(x, err);
	} else if (str_eq(script, "orphan-pts-master") && x->console < 0) {
		x->console = TAKE_FD(notice->fd);
	} else if (str_eq(script, "post-restore")) {
		r = start_guard(x, err);
	} else if (str_eq(script, "pre-resume")) {
		r = hold(x, notice->message, err);
	}
	return r;
}

/* Looked at, and given what CRIU has not given them. */
static int audit_threads(struct resume *x, struct ct_error *err)
{
	struct restore_threads threads = { 0 };
	int r;

	x->in.common.want.threads = &threads;
	r = restore_audit(x->cgroup, x->pid, &x->in.common.want, err);
	x->in.common.want.threads = NULL;
	suspend_threads_sort(&threads);
	if (r >= 0)
		r = suspend_privileges_check(&x->no_new_privs, &threads, err);
	if (r >= 0)
		r = suspend_threads_set(x->images, &threads, err);
	if (r >= 0)
		r = suspend_sockets_set(x->images, &threads, err);
	free(threads.list);
	return r;
}

static int audit_after(struct resume *x, struct ct_error *err)
{
	struct stat root;

	if (!str_eq(x->finish, CRIU_FINISH_DONE))
		return ct_error_set(err, -EIO, "resume", "%s",
		        *x->finish
		                ? x->finish
		                : "criu did not load " CRIU_FINISH_MODULE
		                  ", without which locks on files are lost (is ctd installed as a whole?)");
	if (stat(ROOT, &root) < 0)
		return ct_error_set(err, -errno, "resume", "cannot look at its root: %s", strerror(errno));
	x->in.common.want.root_dev = root.st_dev;
	return audit_threads(x, err);
}

static int restore(struct resume *x, struct keeper_client *keeper, struct ct_error *err)
{
	_cleanup_close_ int work = open(CRIU_WORK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct criu_request request = {
		.verb = CRIU_RESTORE,
		.key = x->in.common.run_key,
		.images_fd = x->images,
		.work_fd = work,
		.tools_fd = x->tools,
		.tools = CRIU_TOOLS,
		.modules = CRIU_TOOLS "/" CRIU_FINISH_MODULE,
		.base = x->base < 0 ? NULL : BASE,
		.log_file = "restore.log",
		.root = ROOT,
		.pidfd = &x->criu,
		.owner_uid = (uid_t)x->in.common.base_id,
		.spare = worker_ahead_criu(),
	};
	struct suspend_lists lists = { .request = &request };
	pid_t pid = -1;
	int r;

	if (work < 0)
		return ct_error_set(
		        err, -errno, "resume", "cannot open \"" CRIU_WORK "\": %s", strerror(errno));
	suspend_add_devices(&lists);
	r = suspend_privileges_note(work, &x->no_new_privs, err);
	if (r < 0)
		return r;
	r = suspend_natives_place(NATIVES, ROOT, &x->natives, &x->wanted, &request, err);
	if (r < 0)
		return r;
	x->in.common.want.natives = x->wanted.is;
	x->in.common.want.n_natives = x->wanted.n;
	worker_progress(-1, "reading memory and state");
	r = criu_run(keeper, &request, on_notify, x, &pid, err);
	if (r < 0 && *x->finish && !str_eq(x->finish, CRIU_FINISH_DONE))
		r = ct_error_set(err, r, "resume", "%s", x->finish); /* that came first */
	if (r >= 0 && (pid <= 0 || pid != x->pid))
		r = ct_error_set(err, -EIO, "resume", "criu names another init than before");
	if (r >= 0)
		r = ct_cgroup_freeze(x->cgroup, true, FREEZE_USEC, err);
	if (r >= 0)
		r = suspend_cgroups_finish(x->cgroups, x->cgroup, x->in.common.want.base_id, err);
	/* Not before: the tasks get their capabilities from the images last of all. */
	return r < 0 ? r : audit_after(x, err);
}

static int hand_over(struct resume *x, struct keeper_client *keeper, json_t **ret, struct ct_error *err)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, x->pid, 0);
	struct keeper_process process = { .state = KEEPER_PROCESS_RUNNING, .pid = x->pid };
	const struct keeper_adoption adoption = {
		.process = &process,
		.pidfd = pidfd,
		.console_fd = x->console,
		.scrollback = x->scrollback,
		.scrollback_len = x->console < 0 ? 0 : x->scrollback_len,
	};
	int r;

	if (pidfd < 0 || process_start_time(x->pid, &process.start_time) < 0)
		return ct_error_set(err, -ESRCH, "resume", "the restored init has ended");
	(void)snprintf(process.key, sizeof(process.key), "%s", x->in.common.key); /* ctd's, it fits */
	r = keeper_client_adopt(keeper, &adoption, keeper_reply_store, &reply);
	r = r < 0 ? ct_error_set(err, r, "resume", "cannot ask ct-keeper: %s", strerror(-r))
	          : keeper_client_wait(keeper, &reply, err);
	if (r < 0)
		return r;
	*ret = json_pack("{s:I}", "device", (json_int_t)x->in.common.want.root_dev);
	return 0;
}

static int resume(struct resume *x, struct keeper_client *keeper, json_t **ret, struct ct_error *err)
{
	char digest[65];
	int r;

	x->images = open(x->in.common.images, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	x->cgroup = open(x->in.common.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->images < 0 || x->cgroup < 0)
		return ct_error_set(err, -errno, "resume", "cannot open \"%s\": %s",
		        x->images < 0 ? x->in.common.images : x->in.common.cgroup, strerror(errno));
	worker_progress(-1, "checking the images");
	r = criu_rounds_digest(x->images, digest, err);
	if (r < 0)
		return r;
	if (!str_eq(digest, x->in.digest))
		return ct_error_kind_set(
		        err, CT_ERROR_REFUSED, -EBADMSG, "its images were changed since it was suspended");
	r = criu_rounds_read(x->images, !x->in.verified, err);
	if (r < 0)
		return r;
	r = criu_files_check(x->images, err); /* both of an older build, which did not */
	if (r >= 0)
		r = criu_locks_check(x->images, err);
	if (r < 0)
		return r;
	r = suspend_console_read(x->images, &x->scrollback, &x->scrollback_len, err);
	if (r >= 0)
		r = suspend_cgroups_read(x->images, &x->cgroups, err);
	if (r >= 0)
		r = suspend_cgroups_make(x->cgroups, x->cgroup, x->in.common.want.base_id, err);
	if (r < 0)
		return r;
	r = take_view(x);
	if (r < 0)
		return ct_error_set(err, r, "resume", "cannot bind the view of /proc: %s", strerror(-r));
	r = take_base(x);
	if (r < 0)
		return ct_error_set(err, r, "resume", "cannot bind what went ahead: %s", strerror(-r));
	r = take_tools(x, err);
	if (r >= 0)
		r = suspend_natives_read(x->images, &x->wanted, err);
	if (r >= 0)
		r = mount_disk(x, err);
	if (r >= 0)
		r = suspend_privileges_read(x->images, &x->no_new_privs, err);
	if (r >= 0)
		r = make_place(x, err);
	if (r >= 0)
		r = restore(x, keeper, err);
	return r < 0 ? r : hand_over(x, keeper, ret, err);
}

int worker_resume(const json_t *params, json_t **ret, struct ct_error *err)
{
	_cleanup_keeper_client_ struct keeper_client *keeper = NULL;
	CLEANUP(resume_done)
	struct resume x = { .images = -1,
		.cgroup = -1,
		.root = -1,
		.console = -1,
		.pidfd = -1,
		.tools = -1,
		.base = -1,
		.guard_fd = -1 };
	int r;

	worker_hurry();
	r = json_read(params, resume_fields, &x.in, err);
	if (r >= 0)
		r = suspend_complete(&x.in.common, err);
	if (r >= 0)
		r = suspend_reach_keeper(x.in.common.runtime, &keeper, err);
	if (r >= 0)
		r = resume(&x, keeper, ret, err);
	/* Also what CRIU may have put into another cgroup than ctd's, which it ends; all goes with init. */
	if (r < 0 && x.pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, x.pidfd, SIGKILL, NULL, 0); /* dead is well */
	return r;
}
