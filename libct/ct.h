/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libct: a container out of a finished specification.
 *
 * The life of a container, as a user of this library sees it:
 *
 *   1. ct_userns_new / ct_shell_new   user namespace (owned by the base id), network namespace it owns
 *   2. ct_cgroup_*                    make the cgroup, write limits into it, attach the device program
 *   3. ct_seccomp_compile             once per profile; the program is plain bytes that may be kept
 *   4. fill a struct ct_spec          inert data and borrowed fds; ct_spec_check says what is wrong with it
 *   5. ct_start                       forks init; returns at once with a pidfd and a status fd
 *   6. ct_start_result                whenever the status fd is readable, until init has been executed or not
 *   7. ct_exec, ct_cgroup_freeze, ct_cgroup_kill, waitid(P_PIDFD) ...
 *
 * The library has no policy, does not log, keeps no state between calls, makes no thread and never exits. fds
 * that it is given are borrowed; fds that it returns are close-on-exec and the caller's. Functions return 0
 * (or a count or fd where their name says so) or a negative errno and, in *err if err is not NULL, a sentence
 * for an operator.
 *
 * Needs Linux 5.19 or newer (tested from 6.1): clone3 with CLONE_INTO_CGROUP, mount_setattr idmaps, pidfds,
 * openat2, cgroup.kill. The caller is root in the initial user namespace with CAP_SYS_ADMIN, CAP_SETUID,
 * CAP_SETGID, CAP_SETPCAP, and has one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CT_ID_COUNT 65536u

/* ---- user and network namespaces ---- */

/* One line of a uid_map and gid_map. */
struct ct_id_extent {
	uint32_t inside, outside, count;
};

/* A user namespace with the same extents for users and groups. owner_uid is the effective uid of its creator:
 * the kernel charges user.max_* budgets (inotify, namespaces, mqueues ...) to it. setgroups stays allowed.
 * Returns an nsfs fd. */
int ct_userns_new(
        uint32_t owner_uid, const struct ct_id_extent *extents, size_t n_extents, struct ct_error *err);

/* Budgets of a user namespace, the files of /proc/sys/user seen from inside (namespaces(7)): each of its
 * users may have so many. Those that the kernel does not know are passed over. Only CAP_SYS_RESOURCE inside
 * may change them afterwards. */
struct ct_user_limit {
	const char *name; /* max_inotify_watches, ... */
	int64_t value;    /* >= 0 */
};
int ct_userns_limit(int userns_fd, const struct ct_user_limit *limits, size_t n_limits, struct ct_error *err);

/* The namespace that idmapped mounts of a container's layers need: 0..65535 on disk is base_id.. outside, and
 * the mounter's own id 0 is mapped (as 65536), or overlayfs becomes read-only. Returns an nsfs fd, to be
 * given to mount_setattr. */
int ct_idmap_userns_new(uint32_t base_id, struct ct_error *err);

/* A user namespace (0 BASE 65536) and a network namespace that it owns, both owned by uid base_id: a "shell"
 * for a container, which may be made ahead of time and pooled. lo is up. */
struct ct_shell {
	uint32_t base_id;
	int userns_fd;
	int netns_fd;
};
#define CT_SHELL_INIT ((struct ct_shell){ .userns_fd = -1, .netns_fd = -1 })
int ct_shell_new(uint32_t base_id, struct ct_shell *ret, struct ct_error *err);
void ct_shell_done(struct ct_shell *shell); /* closes both; the namespaces go when nothing else holds them */

/* ---- cgroup ---- */

/* mkdir parent/name (EEXIST is an error), returns an O_DIRECTORY fd. */
int ct_cgroup_new(int parent_fd, const char *name, struct ct_error *err);
/* Gives the directory and cgroup.procs, cgroup.threads, cgroup.subtree_control to uid:gid (delegation,
 * cgroups(7)). Limits stay root's. */
int ct_cgroup_delegate(int cgroup_fd, uid_t uid, gid_t gid, struct ct_error *err);
/* cgroup.freeze and waits for "frozen 1|0" in cgroup.events; -ETIMEDOUT. */
int ct_cgroup_freeze(int cgroup_fd, bool freeze, uint64_t timeout_usec, struct ct_error *err);
int ct_cgroup_is_frozen(int cgroup_fd); /* 1, 0 or negative errno */
/* cgroup.kill (Linux 5.14): SIGKILL to all in it and below. Does not wait. */
int ct_cgroup_kill(int cgroup_fd, struct ct_error *err);
/* 1 if any process is in it or below, 0, negative errno. */
int ct_cgroup_is_populated(int cgroup_fd);
/* rmdir of the whole subtree, deepest first; -EBUSY while populated; -ENOENT is success. */
int ct_cgroup_remove(int parent_fd, const char *name, struct ct_error *err);
/* Attaches the device program (BPF_CGROUP_DEVICE): null zero full random urandom tty console ptmx pts, and
 * the extra ones. Replaces one that is there. */
struct ct_device {
	char type;            /* 'c' or 'b' */
	int64_t major, minor; /* -1: any */
	const char *access;   /* of "rwm" */
};
int ct_cgroup_set_devices(int cgroup_fd, const struct ct_device *extra, size_t n_extra, struct ct_error *err);

/* ---- seccomp ---- */

enum ct_seccomp_profile {
	CT_SECCOMP_SYSTEM,  /* a full distribution; no nested namespaces, no io_uring: such containers can be
	                       checkpointed */
	CT_SECCOMP_NESTING, /* the same, but namespaces may be made inside */
};

struct ct_seccomp_program {
	void *filter; /* struct sock_filter[count] */
	uint16_t count;
};
/* Compiles the allow list of a profile for the native architecture and its 32-bit companion (about 10 ms;
 * keep the result). */
int ct_seccomp_compile(enum ct_seccomp_profile profile, struct ct_seccomp_program *ret, struct ct_error *err);
void ct_seccomp_program_done(struct ct_seccomp_program *program);

/* ---- specification ---- */

struct ct_rlimit {
	int resource;        /* RLIMIT_* */
	uint64_t soft, hard; /* UINT64_MAX: unlimited */
};

/* A file or directory of the host side bound into the container before its init starts: source is an fd of a
 * detached mount (open_tree(OPEN_TREE_CLONE); used up as root_fd is) or of an object to bind; target is a
 * path inside, resolved in the container's root. What the container finds there it can neither unmount nor
 * remount writable. At most CT_BINDS_MAX. */
#define CT_BINDS_MAX 64
struct ct_bind {
	int source_fd;
	const char *target;
	bool readonly;
	bool create; /* make the target (file or directory as the source) if it is missing */
};

struct ct_spec {
	/* What to run. argv[0] is a path inside. */
	const char *const *argv;
	const char *const *env;
	const char *hostname;

	/* The parts, all borrowed. */
	int root_fd; /* detached mount of the root filesystem; used up by ct_start on kernels before 6.15, so
	                make one for each start */
	int userns_fd;
	int netns_fd;  /* owned by the user namespace */
	int cgroup_fd; /* v2 directory; init starts in it and it becomes the root of the cgroup namespace */

	uint32_t base_id;      /* host id of the container's 0 */
	uint64_t capabilities; /* bounding, permitted and effective set of init, bit N: capability N; 0:
	                          ct_capabilities_default() */
	/* Borrowed; count 0 is refused unless unconfined is set. It is in force while /dev and the cgroup
	 * filesystem are mounted, so a program of the caller's own must allow what that takes. */
	struct ct_seccomp_program seccomp;
	bool unconfined; /* for benchmarks and tests of the library only: no seccomp filter */
	bool nesting;    /* proc and sys without masks that would keep nested containers from starting */

	const struct ct_rlimit *rlimits;
	size_t n_rlimits;
	const struct ct_bind *binds;
	size_t n_binds;
	const char *const *run_masks; /* systemd unit names linked to /dev/null in the /run/systemd/system
	                                 that is mounted for it; NULL-ended or NULL */
	uint64_t shm_bytes;           /* size of /dev/shm; 0: 64 MiB */
	uint64_t run_bytes;           /* size of the tmpfs on /run; 0: 64 MiB */
	uint32_t max_ptys;            /* of its devpts; 0: 1024 */
	int64_t boottime_offset_sec;  /* time namespace: added to CLOCK_BOOTTIME; only if set_clocks */
	int64_t monotonic_offset_sec;
	bool set_clocks; /* make a time namespace with these offsets (Linux 5.6; ignored where the kernel has
	                    none) */
	bool console; /* /dev/console and init's stdio are a new pty of its devpts, whose master is returned;
	                 else no /dev/console, stdio /dev/null */
};

/* CAP_* a full distribution needs, without those that reach the host (SYS_RESOURCE, SYS_MODULE, SYS_RAWIO,
 * SYS_TIME, ...). */
uint64_t ct_capabilities_default(void);
/* -EINVAL with the field named if the specification cannot work; done by ct_start too. */
int ct_spec_check(const struct ct_spec *spec, struct ct_error *err);

/* ---- processes ---- */

/* When a start of init came to what, as microseconds of CLOCK_REALTIME: a time namespace leaves that one
 * alone. 0: not yet, or a command. */
struct ct_stamps {
	uint64_t asked_usec;    /* ct_start was called */
	uint64_t cloned_usec;   /* first instruction of the child */
	uint64_t mounted_usec;  /* its mounts are made and locked */
	uint64_t ready_usec;    /* before execve */
	uint64_t executed_usec; /* the caller saw that it was executed */
	uint64_t seccomp_usec;  /* how long loading the filter took, which is between cloned and mounted */
};

struct ct_process {
	pid_t pid;
	uint64_t start_time; /* /proc/PID/stat field 22: with pid it names the process for good */
	int pidfd;
	int status_fd;  /* readable when exec has happened or failed; see ct_start_result. */
	int console_fd; /* master of the pty, -1: none */
	bool ready;     /* the library's: the child has got as far as execve */
	struct ct_stamps stamps;
};
#define CT_PROCESS_INIT ((struct ct_process){ .pid = -1, .pidfd = -1, .status_fd = -1, .console_fd = -1 })
void ct_process_done(struct ct_process *process); /* closes fds, does not kill */

/* Forks init of a container. The caller is its parent and must wait for it. On failure nothing is left. The
 * start goes on in the child, which at one point needs the caller: ct_start_result has to be called when the
 * status fd is readable. */
int ct_start(const struct ct_spec *spec, struct ct_process *ret, struct ct_error *err);

/* To be called whenever the status fd, which is non-blocking, is readable. 1: init (or the command) has been
 * executed; the status fd is closed, and the console fd is in process->console_fd if one was asked for. 0:
 * not yet. Negative errno with the step and the reason: it could not; the process is then dead or dying and
 * still to be waited for. Never waits for the child, but does a part of the work: it locks the mounts that
 * the child has made. */
int ct_start_result(struct ct_process *process, struct ct_error *err);

struct ct_exec_spec {
	const char *const *argv; /* looked up in PATH of env, inside */
	const char *const *env;
	const char *cwd;        /* inside; NULL: / */
	uint32_t uid, gid;      /* inside */
	const uint32_t *groups; /* supplementary, explicit: n_groups may be 0 */
	size_t n_groups;
	int init_pidfd; /* whose namespaces to join */
	int cgroup_fd;  /* container's cgroup; where it has become a non-leaf, the leaf ".ct-exec" below it is
	                   used */
	uint32_t base_id;
	uint64_t capabilities; /* bounding set, as in ct_spec */
	struct ct_seccomp_program seccomp;
	bool unconfined;
	bool tty; /* a new pty of the container's devpts is 0, 1, 2 and the controlling terminal; its master
	             is returned */
	uint16_t rows, columns; /* of the pty, 0: 24 x 80 */
	int stdio[3];           /* without tty; -1: /dev/null inside */
	const struct ct_rlimit *rlimits;
	size_t n_rlimits;
};

/* Runs a command in a running container, confined as its init. Only fds 0, 1, 2 reach it; it is not dumpable
 * until exec. Outcome by ct_start_result as above; -ENOENT if there is no such program. The caller must reap
 * it: until then the container's pid namespace, and so its init, cannot end. */
int ct_exec(const struct ct_exec_spec *spec, struct ct_process *ret, struct ct_error *err);

/* Namespaces of a running init as fds for configuration from outside (netlink): CLONE_NEWNET, CLONE_NEWUSER,
 * CLONE_NEWNS. */
int ct_process_namespace(pid_t pid, int clone_flag);

/* ---- what this host can do ---- */

struct ct_host {
	bool time_namespace, cgroup_v2, cgroup_kill, cgroup_freeze, clone_into_cgroup, idmapped_overlay,
	        seccomp, cgroup_devices, openat2;
	char cgroup_mount[128]; /* where cgroup2 is mounted: /sys/fs/cgroup or /sys/fs/cgroup/unified, "" if
	                           nowhere */
	char cgroup_controllers[128]; /* what its root has, space separated */
};
/* Probes by doing; nothing is left. */
int ct_host_probe(struct ct_host *ret, struct ct_error *err);

#ifdef __cplusplus
}
#endif
