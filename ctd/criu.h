/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Speaking to CRIU: one request to `criu swrk`, which is started for it, and what it asks meanwhile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "ctd/criu-fields.h"
#include "libct/restore.h"

#define CRIU_LIST_MAX 64
/* Where they are in the mount namespace of a restore. */
#define CRIU_TOOLS "/tmp/tools"
#define CRIU_WORK  "/tmp/work"

enum criu_verb {
	CRIU_DUMP = 1,
	CRIU_RESTORE = 2,
	CRIU_PRE_DUMP = 4, /* of a container that runs on: the memory alone */
};

/* A request, as fields of criu's rpc.proto. Strings and fds are borrowed. */
struct criu_request {
	enum criu_verb verb;
	const char *key;        /* under which ct-keeper has criu, "r/CTID" */
	int images_fd, work_fd; /* directories; in the second there is the log */
	int tools_fd;           /* of criu_tools_open */
	const char *tools;      /* where that is in our mount namespace */
	const char *modules;    /* dump, restore: what criu has loaded (LD_PRELOAD), paths in our mount
	                           namespace; or NULL */
	const char *base; /* dump, restore: archives of tmpfs that went ahead (criu-archive.h), from the work
	                     directory; or NULL */
	pid_t pid;        /* dump: the root task */
	bool leave_running;    /* dump: the tasks stay as they were, that is, frozen */
	bool track;            /* dump: note what is written to from here on, and leave out what has not been
	                          written to since parent was dumped */
	const char *parent;    /* dump: the directory of an earlier one, from images_fd; or NULL */
	bool lock_by_nftables; /* dump: keep packets off by nf_tables and not by programs of iptables; a
	                          restore does as its dump did */
	const char *log_file;  /* a name in the work directory */
	const char *root;      /* restore */
	const char *freezer;   /* dump: absolute path of the cgroup */
	const char *skip[CRIU_LIST_MAX], *external[CRIU_LIST_MAX];
	size_t n_skip, n_external;
	int *pidfd;      /* if not NULL, criu's own is there while criu_run is at work; borrowed from it */
	uid_t owner_uid; /* restore: owner of the new user namespace, as which criu runs; else 0 */
	struct criu_spare *spare; /* restore: that does it, if there is one (criu-spare.h); or NULL */
};

/* What happened while criu is at work. */
struct criu_notice {
	const char *script;  /* pre-dump, post-dump, setup-namespaces, orphan-pts-master, ... */
	const char *message; /* or "" */
	pid_t pid;           /* of the root task, or 0 */
	int fd;              /* that came with it (-1: none); the callee may take it (-1 again) */
};
/* A negative errno makes criu give up. */
typedef int (*criu_notify_fn)(struct criu_notice *notice, void *userdata, struct ct_error *err);

/* Has ct-keeper start criu, asks, serves its notifications, waits for its end. criu is never killed: in the
 * middle of its work it may hold the tasks. ret_pid (may be NULL): of the restored root task, which is a
 * child of ct-keeper. */
struct keeper_client;
int criu_run(struct keeper_client *keeper, const struct criu_request *request, criu_notify_fn notify,
        void *userdata, pid_t *ret_pid, struct ct_error *err);
/* The conversation alone, over a socket that leads to criu. */
int criu_talk(int sock, const struct criu_request *request, criu_notify_fn notify, void *userdata,
        pid_t *ret_pid, struct ct_error *err);
/* The directory that has ct-criu and what CRIU calls, which is ct-worker's, and its path as new memory. */
int criu_tools_open(char **ret, struct ct_error *err);

/* The session (its number inside) that has the console, pts/0, as its terminal, or at least as its input;
 * -ENOTTY with the reason. */
int criu_console_session(int cgroup_fd, struct ct_error *err);
/* Writes it into the images of a dump, which do not know. */
int criu_console_patch(int images_fd, int sid, struct ct_error *err);
struct strbuf;
/* The same of what is in memory: data is such an image. -EBADMSG: it is none. */
int criu_console_rewrite(const char *data, size_t len, int sid, struct strbuf *out);

/* No directory of /proc or /sys is open in a dump: -EPERM with its name; else restored it would be one that
 * nothing covers. */
int criu_files_check(int images_fd, struct ct_error *err);
/* The same of what is in memory. 1: there is one, its name is in ret; -EBADMSG: it is no such image. */
int criu_files_find_bare(const char *data, size_t len, char *ret, size_t size);
/* The locks on files are not too many to be set again: -E2BIG. */
int criu_locks_check(int images_fd, struct ct_error *err);
/* The same of what is in memory: how many there are. -EBADMSG: it is no such image. */
int criu_locks_count(const char *data, size_t len, size_t *ret);

/* Where what is in images of another node shall be restored. */
struct criu_place {
	uint32_t base_id;
	const char *root,
	        *name; /* of its cgroup: the path of that above it, from the mount, and its own name */
};
/* Writes it into the images. -EBADMSG: they are not of a container. */
int criu_place(int images_fd, const struct criu_place *place, struct ct_error *err);
/* The same of what is in memory: the map of ids, and where that began before, which the other wants to know.
 */
int criu_place_map(const char *data, size_t len, uint32_t base, struct strbuf *out, uint32_t *ret_was);
int criu_place_cgroups(
        const char *data, size_t len, const struct criu_place *place, uint32_t was, struct strbuf *out);

/* The mount namespaces of what is being restored. */
#define CRIU_NAMESPACES_MAX 256
struct criu_namespaces {
	int fds[CRIU_NAMESPACES_MAX];
	size_t n;
};
/* Those that belong to the user namespace, each once. To be called in the notification post-setup-namespaces
 * and at no other time: it would harm. */
int criu_namespaces_find(int criu_pidfd, int userns_fd, struct criu_namespaces *ret, struct ct_error *err);
void criu_namespaces_done(struct criu_namespaces *namespaces);

/* Mounts in images. What a dump calls a native directory is this, and its path inside. */
#define CRIU_NATIVE "native"
struct criu_mount {
	uint64_t device, shared, master, deleted; /* as mnt.proto has them */
	struct criu_reader root, point;
	bool external;      /* it has a name */
	bool native, cover; /* that of a native directory: it is one, it is something else */
};
struct criu_mounts { /* { 0 }; they point into what was read */
	struct criu_mount *items;
	size_t n, room, n_covers;
};
/* Takes their names away from covers of native directories in a dump. -EBUSY: of one that would be lost. */
int criu_mounts_uncover(int images_fd, const struct restore_native *natives, size_t n, struct ct_error *err);
/* The same of what is in memory: an image is added; a cover that would be lost, or NULL; an image without
 * those names. -EBADMSG: it is no such image. */
int criu_mounts_read(struct criu_mounts *mounts, const char *data, size_t len,
        const struct restore_native *natives, size_t n);
const struct criu_mount *criu_mounts_find_lost(const struct criu_mounts *all);
int criu_mounts_rewrite(
        const char *data, size_t len, const struct restore_native *natives, size_t n, struct strbuf *out);
void criu_mounts_done(struct criu_mounts *mounts);
