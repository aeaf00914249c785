/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* suspend: a frozen container's processes into images, by CRIU.
 *
 * {"pid", "interfaces", "host", "nftables", "base_id", "cgroup", "images", "runtime", "key", "rlimits",
 * "rounds", "unsealed"?} to {"digest", "bytes"}; host, nftables: what criu-host.h tells; rounds: so many are
 * in the images already (worker-predump.c), or none of these. The container stays there, frozen: what ends it
 * is ctd, once the digest is in its record. A failure leaves nothing but files. unsealed: it is to run on,
 * and worker-checkpoint.c does the rest then; the result is {}. An error of the field "moment" is one that
 * may be none when it has run on for a moment; nothing has been written then.
 *
 * rlimits: [[RESOURCE, HARD], ...], HARD -1: none. CRIU may outlive us; ct-keeper has it then, under the key
 * with "r/" in place of "c/".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/criu-archive.h"
#include "ctd/criu-finish.h"
#include "ctd/criu-host.h"
#include "ctd/criu-rounds.h"
#include "ctd/criu.h"
#include "ctd/keeper-client.h"
#include "ctd/suspend.h"
#include "ctd/worker-images.h"
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

#define MOUNTS_MAX (1024 * 1024)
#define MIB        (1024 * 1024)
#define MARGIN     (64ULL * MIB) /* of the store, for all else that is in images, and for others */

static const char *const devices[] = { "null", "zero", "full", "random", "urandom", "tty" };

void suspend_add_devices(struct suspend_lists *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		(void)snprintf(l->devices[i], sizeof(l->devices[i]), "mnt[/dev/%s]:/dev/%s", devices[i],
		        devices[i]); /* fits */
		l->request->external[l->request->n_external++] = l->devices[i];
	}
}

/* What a start puts on /proc and /sys, and a resume puts there again. */
static bool is_ours(const char *root, const char *type, const char *source, const char *options)
{
	return (str_eq(type, "devtmpfs") && str_eq(root, "/null")) || str_eq(root, "/.ct-boot-id") ||
	       (str_has_prefix(type, "fuse") && str_eq(source, "ct-view")) ||
	       (str_eq(type, "tmpfs") && strstr(options, "nr_inodes=1,"));
}

static int take_mount(struct suspend_lists *l, char *line, struct ct_error *err)
{
	char *field[5] = { NULL }, *rest = line, *type, *source;

	for (size_t i = 0; i < ARRAY_SIZE(field); i++)
		field[i] = strsep(&rest, " ");
	rest = rest ? strstr(rest, " - ") : NULL;
	if (!rest)
		return ct_error_set(err, -EIO, "suspend", "cannot read its mounts");
	rest += 3;
	type = strsep(&rest, " ");
	source = strsep(&rest, " ");
	if (!(str_has_prefix(field[4], "/proc/") || str_has_prefix(field[4], "/sys/")) ||
	        str_eq(field[4], "/sys/fs/cgroup"))
		return 0;
	if (!is_ours(field[3], type, source, rest ?: ""))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBUSY,
		        "\"%.200s\" is mounted inside, which would be lost (unmount it)", field[4]);
	if (l->request->n_skip == CRIU_LIST_MAX)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -E2BIG, "it has too many mounts");
	l->request->skip[l->request->n_skip++] = field[4];
	return 0;
}

int suspend_add_mounts(struct suspend_lists *l, struct ct_error *err)
{
	char path[40], *rest, *line;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", l->request->pid);
	r = read_file_at(AT_FDCWD, path, MOUNTS_MAX, &l->text, NULL);
	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot read its mounts: %s", strerror(-r));
	rest = l->text;
	while (r >= 0 && (line = strsep(&rest, "\n")) && *line)
		r = take_mount(l, line, err);
	return r;
}

int suspend_complete(struct suspend_common *in, struct ct_error *err)
{
	const char *name = strrchr(in->cgroup, '/'), *id = strchr(in->key, '/');
	const size_t n = json_array_size(in->rlimits);

	if (!name || !id || n > SUSPEND_LIMITS_MAX)
		return ct_error_set(
		        err, -EINVAL, "parameters", "cgroup, key or rlimits are not what they must be");
	(void)snprintf(in->run_key, sizeof(in->run_key), KEEPER_RUN_PREFIX "%s", id + 1); /* as in key */
	for (size_t i = 0; i < n; i++) {
		const json_t *pair = json_array_get(in->rlimits, i);

		in->limits[i].resource = (int)json_integer_value(json_array_get(pair, 0));
		in->limits[i].hard = (uint64_t)json_integer_value(json_array_get(pair, 1));
	}
	in->want = (struct restore_want){
		.base_id = (uint32_t)in->base_id,
		.capabilities = ct_capabilities_default(),
		.rlimits = in->limits,
		.n_rlimits = n,
		.cgroup_name = name + 1,
	};
	return 0;
}

static void nothing_exited(const struct keeper_process *process, void *userdata)
{
}

static void nothing_disconnected(int reason, void *userdata)
{
}

int suspend_reach_keeper(const char *runtime_dir, struct keeper_client **ret, struct ct_error *err)
{
	static const struct keeper_client_ops ops = { nothing_exited, nothing_disconnected };
	struct keeper_client_config config = { .ops = &ops, .runtime_dir = runtime_dir };
	sd_event *event = NULL;
	int r;

	r = sd_event_new(&event);
	if (r < 0)
		return ct_error_set(err, r, "keeper", "cannot make an event loop: %s", strerror(-r));
	config.event = event;
	r = keeper_client_connect(&config, ret, err);
	sd_event_unref(event);
	return r;
}

struct suspend_params {
	int64_t pid;
	json_t *interfaces, *host;
	uint64_t rounds;
	bool nftables, unsealed;
	struct suspend_common common;
};

static const struct json_field suspend_fields[] = {
	{ "pid", JSON_KIND_I64, offsetof(struct suspend_params, pid), JSON_NO_HAS, true },
	{ "interfaces", JSON_KIND_ARRAY, offsetof(struct suspend_params, interfaces), JSON_NO_HAS, true },
	{ "host", JSON_KIND_OBJECT, offsetof(struct suspend_params, host), JSON_NO_HAS, true },
	{ "nftables", JSON_KIND_BOOL, offsetof(struct suspend_params, nftables), JSON_NO_HAS, true },
	{ "rounds", JSON_KIND_U64, offsetof(struct suspend_params, rounds), JSON_NO_HAS, false },
	{ "unsealed", JSON_KIND_BOOL, offsetof(struct suspend_params, unsealed), JSON_NO_HAS, false },
	SUSPEND_COMMON_FIELDS(struct suspend_params, common),
	{ NULL },
};

/* What a resume would refuse is refused now. */
static int audit_before(struct suspend_params *in, int cgroup, struct ct_error *err)
{
	char path[32];
	struct stat root;

	(void)snprintf(path, sizeof(path), "/proc/%d/root", (int)in->pid); /* fits */
	if (stat(path, &root) < 0)
		return ct_error_set(err, -errno, "suspend", "cannot look at its root: %s", strerror(errno));
	in->common.want.root_dev = root.st_dev;
	return restore_audit(cgroup, (pid_t)in->pid, &in->common.want, err);
}

/* What a moment inside may mend: somebody accepts what waits to be accepted, ps has read what it wanted in
 * /proc. */
static int audit_moment(
        struct suspend_params *in, int cgroup, struct suspend_natives *natives, struct ct_error *err)
{
	int r = suspend_natives_list((pid_t)in->pid, natives, err);

	in->common.want.natives = natives->is;
	in->common.want.n_natives = natives->n;
	if (r >= 0)
		r = audit_before(in, cgroup, err);
	if (r >= 0)
		r = suspend_net_check_waiting((pid_t)in->pid, err);
	if (r < 0 && err->kind == CT_ERROR_REFUSED)
		(void)snprintf(err->field, sizeof(err->field), "%s", SUSPEND_FIELD_MOMENT);
	return r;
}

/* What CRIU will not see is noted. */
static int look_and_note(struct suspend_params *in, int cgroup, int images_fd,
        struct suspend_natives *natives, struct ct_error *err)
{
	struct restore_threads threads = { 0 };
	int r;

	in->common.want.threads = &threads;
	r = audit_moment(in, cgroup, natives, err);
	in->common.want.threads = NULL;
	if (r >= 0)
		r = suspend_privileges_save(images_fd, &threads, err);
	if (r >= 0)
		r = suspend_threads_save(images_fd, cgroup, &threads, err);
	if (r >= 0)
		r = suspend_sockets_save(images_fd, (pid_t)in->pid, &threads, err);
	free(threads.list);
	return r;
}

/* CRIU writes as root, whom no quota stops, and the store is everybody's. */
static int check_room(int cgroup, int images_fd, struct ct_error *err)
{
	const uint64_t needed = criu_host_memory(cgroup);
	struct statvfs fs;
	uint64_t room;

	if (fstatvfs(images_fd, &fs) < 0)
		return ct_error_set(
		        err, -errno, "suspend", "cannot ask how much room there is: %s", strerror(errno));
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (needed + MARGIN <= room)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "its memory takes %" PRIu64 " MiB, and the store has %" PRIu64
	        " MiB left, of which %llu must stay free (remove something from it)",
	        needed / MIB, room / MIB, MARGIN / MIB);
}

/* CRIU does not always say why it could not write; what it has written is there still. */
static int explain_room(int images_fd, int result, struct ct_error *err)
{
	struct statvfs fs;

	if (fstatvfs(images_fd, &fs) < 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= MIB)
		return result;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "criu could not dump it: no space is left in the store (remove something from it)");
}

static int dump_once(
        struct keeper_client *keeper, struct criu_request *request, int images_fd, struct ct_error *err)
{
	int r = criu_run(keeper, request, NULL, NULL, NULL, err);

	if (r >= 0)
		return r;
	(void)suspend_net_let_go(request->pid); /* it has, unless it was killed */
	return explain_room(images_fd, r, err);
}

/* What is neither in a round nor noted as written to cannot be left to the rounds: then without them. */
static int run_dump(
        struct keeper_client *keeper, struct criu_request *request, int images_fd, struct ct_error *err)
{
	struct ct_error why = { 0 };
	int r;

	worker_progress(-1, "writing memory and state");
	r = dump_once(keeper, request, images_fd, request->parent ? &why : err);
	if (r >= 0 || !request->parent)
		return r;
	r = worker_check(err);
	if (r < 0)
		return r;
	worker_progress(-1, "writing all memory again: %.200s", why.text);
	r = criu_rounds_forget(images_fd);
	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot remove the rounds: %s", strerror(-r));
	request->parent = NULL;
	request->base = NULL;
	request->track = false;
	return dump_once(keeper, request, images_fd, err);
}

static int dump(struct suspend_params *in, int images_fd, struct ct_error *err)
{
	_cleanup_keeper_client_ struct keeper_client *keeper = NULL;
	_cleanup_close_ int cgroup = open(in->common.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *directory = NULL;
	_cleanup_close_ int tools = criu_tools_open(&directory, err);
	_cleanup_free_ char *module = tools < 0 ? NULL : str_printf("%s/" CRIU_FINISH_MODULE, directory);
	struct criu_request request = {
		.verb = CRIU_DUMP,
		.key = in->common.run_key,
		.images_fd = images_fd,
		.work_fd = images_fd,
		.tools_fd = tools,
		.tools = directory,
		.modules = module,
		.pid = (pid_t)in->pid,
		.leave_running = true,
		.log_file = "dump.log",
		.freezer = in->common.cgroup,
		.lock_by_nftables = in->nftables,
	};
	CLEANUP(suspend_natives_done) struct suspend_natives natives = { 0 };
	struct suspend_lists lists = { .request = &request };
	char parent[16];
	int sid = 0, r;

	if (in->rounds > 0) {
		criu_rounds_parent((unsigned int)in->rounds, true, parent);
		request.parent = parent;
		request.base = CRIU_ROUNDS "/1/" CRIU_ARCHIVE_BASE;
		request.track = true;
	}
	if (tools < 0)
		return tools;
	if (cgroup < 0)
		return ct_error_set(err, -errno, "suspend", "cannot open its cgroup: %s", strerror(errno));
	r = look_and_note(in, cgroup, images_fd, &natives, err);
	if (r >= 0)
		r = check_room(cgroup, images_fd, err);
	if (r >= 0)
		r = suspend_cgroups_check(cgroup, in->common.want.base_id, err);
	if (r >= 0)
		r = suspend_net_check((pid_t)in->pid, in->interfaces, err);
	if (r >= 0)
		r = sid = criu_console_session(cgroup, err);
	if (r >= 0)
		r = suspend_add_mounts(&lists, err);
	if (r >= 0)
		r = suspend_natives_dump(images_fd, &natives, &request, err);
	if (r >= 0)
		r = suspend_reach_keeper(in->common.runtime, &keeper, err);
	if (r >= 0)
		r = suspend_console_save(keeper, in->common.key, images_fd, err);
	suspend_add_devices(&lists);
	if (r >= 0)
		r = run_dump(keeper, &request, images_fd, err);
	if (r >= 0)
		r = suspend_cgroups_note(cgroup, in->common.want.base_id, images_fd, err);
	if (r >= 0)
		r = criu_files_check(images_fd, err);
	if (r >= 0)
		r = criu_locks_check(images_fd, err);
	if (r >= 0)
		r = criu_mounts_uncover(images_fd, natives.is, natives.n, err);
	if (r >= 0)
		r = criu_console_patch(images_fd, sid, err);
	free(lists.text);
	return r;
}

int worker_suspend(const json_t *params, json_t **ret, struct ct_error *err)
{
	_cleanup_close_ int images = -1;
	struct suspend_params in = { 0 };
	char digest[65];
	int r;

	worker_hurry();
	r = json_read(params, suspend_fields, &in, err);
	if (r >= 0)
		r = suspend_complete(&in.common, err);
	if (r < 0)
		return r;
	r = images = images_open(in.common.images, in.rounds == 0, err);
	if (r >= 0)
		r = dump(&in, images, err);
	if (r >= 0)
		r = criu_host_note(images, in.host, err);
	if (r < 0 || in.unsealed)
		return r;
	worker_progress(-1, "syncing");
	r = suspend_write_through((pid_t)in.pid, images, err);
	if (r >= 0)
		r = criu_rounds_digest(images, digest, err);
	if (r < 0)
		return r;
	*ret = json_pack("{s:s, s:I}", "digest", digest, "bytes", (json_int_t)criu_host_images_size(images));
	return 0;
}
