/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Containers for tests, without ctd: overlay roots, shells, cgroups, all below one directory in /var/tmp (a
 * tmpfs cannot be idmapped before Linux 6.3) and one cgroup, both removed at the end.
 */
#include "libct/test-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "libct/sys.h"

static int skip(const char *why)
{
	(void)printf("1..0 # SKIP %s\n", why);
	return 77;
}

/* Copies the program; hard links may not cross filesystems. */
static int install_program(int dir, const char *name, const char *program)
{
	_cleanup_close_ int in = -1, out = -1;
	char buffer[65536];
	ssize_t n;

	in = open(program, O_RDONLY | O_CLOEXEC);
	out = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (in < 0 || out < 0)
		return sys_error();

	while ((n = read(in, buffer, sizeof(buffer))) > 0) {
		int r = write_all(out, buffer, (size_t)n);
		if (r < 0)
			return r;
	}
	return fchmod(out, 0755) < 0 ? sys_error() : 0;
}

/* The first lower layer holds the program; the others link to it. */
static int make_lower(struct fixture *f, const char *name, const char *program)
{
	_cleanup_close_ int dir = -1;

	if (mkdirat(f->dir_fd, name, 0755) < 0)
		return sys_error();
	dir = open_beneath(f->dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;

	int r = program ? install_program(dir, "probe", program) : 0;
	if (r == 0 && !program && linkat(f->dir_fd, "lower/probe", dir, "probe", 0) < 0)
		r = sys_error();
	if (r == 0 && (mkdirat(dir, "sbin", 0755) < 0 || linkat(dir, "probe", dir, "sbin/init", 0) < 0))
		r = sys_error();
	return r < 0 ? r : TAKE_FD(dir);
}

int fixture_add_lower(struct fixture *f, const char *name)
{
	return make_lower(f, name, NULL);
}

static int make_directory(struct fixture *f, const char *lower)
{
	struct stat st;

	(void)snprintf(f->dir, sizeof(f->dir), "/var/tmp/test-libct-XXXXXX");
	if (!mkdtemp(f->dir))
		return sys_error();
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dir_fd < 0 || fchmod(f->dir_fd, 0755) < 0 || stat(lower, &st) < 0)
		return sys_error();
	if (S_ISDIR(st.st_mode))
		return symlinkat(lower, f->dir_fd, "lower") < 0 ? sys_error() : 0;

	int fd = make_lower(f, "lower", lower);
	fd_close(fd);
	return fd < 0 ? fd : 0;
}

/* What controllers there are, for the cgroups of containers; none is needed. */
static void enable_controllers(int cgroup_fd)
{
	_cleanup_free_ char *names = NULL;
	char *rest, *name;

	if (read_file_at(cgroup_fd, "cgroup.controllers", 4096, &names, NULL) < 0)
		return;

	for (name = strtok_r(names, " \n", &rest); name; name = strtok_r(NULL, " \n", &rest))
		(void)write_file_printf_at(cgroup_fd, "cgroup.subtree_control", "+%s", name);
}

int fixture_init(struct fixture *f, const char *lower)
{
	struct ct_host host;
	struct ct_error err = { 0 };

	*f = (struct fixture){ .dir_fd = -1, .cgroup_parent_fd = -1, .cgroup_fd = -1, .lower = "lower" };
	if (geteuid() != 0)
		return skip("not root");
	if (ct_host_probe(&host, &err) < 0 || !host.cgroup_v2 || !host.clone_into_cgroup ||
	        !host.idmapped_overlay)
		return skip("this host has no cgroup v2, CLONE_INTO_CGROUP or idmapped overlays");

	int r = make_directory(f, lower);
	if (r < 0) {
		fixture_done(f);
		return skip(sys_reason(r));
	}

	f->cgroup_parent_fd = open(host.cgroup_mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(f->cgroup_name, sizeof(f->cgroup_name), "test-libct-%d", (int)getpid());
	f->cgroup_fd = ct_cgroup_new(f->cgroup_parent_fd, f->cgroup_name, &err);
	if (f->cgroup_fd < 0 || ct_seccomp_compile(CT_SECCOMP_SYSTEM, &f->seccomp, &err) < 0) {
		fixture_done(f);
		return skip(err.text);
	}

	enable_controllers(f->cgroup_fd);
	return 0;
}

void fixture_done(struct fixture *f)
{
	if (f->cgroup_fd >= 0 && ct_cgroup_remove(f->cgroup_parent_fd, f->cgroup_name, NULL) < 0)
		(void)fprintf(stderr, "the test's cgroup is left over\n");
	if (f->dir_fd >= 0)
		(void)remove_tree_at(AT_FDCWD, f->dir);
	fd_close(f->dir_fd);
	fd_close(f->cgroup_fd);
	fd_close(f->cgroup_parent_fd);
	ct_seccomp_program_done(&f->seccomp);
}

struct root_job {
	struct fixture *f;
	unsigned int n;
	int userns_fd, result_fd;
};

/* Layers are named by path, so their idmapped mount has to be somewhere: on /tmp, in a mount namespace that
 * ends with the helper. */
static int root_helper(void *arg)
{
	struct root_job *job = arg;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)job->userns_fd };
	char upper[64], work[64];

	/* Cloned before the mount namespace changes: a mount of another one cannot be. */
	_cleanup_close_ int low =
	        open_tree(job->f->dir_fd, job->f->lower, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	_cleanup_close_ int top =
	        open_tree(job->f->dir_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return sys_error();
	if (low < 0 || top < 0 || mount_setattr(low, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
	        mount_setattr(top, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return sys_error();
	if (mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0 || mkdir("/tmp/l", 0755) < 0 ||
	        mkdir("/tmp/t", 0755) < 0 ||
	        move_mount(low, "", AT_FDCWD, "/tmp/l", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	        move_mount(top, "", AT_FDCWD, "/tmp/t", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return sys_error();

	(void)snprintf(upper, sizeof(upper), "/tmp/t/upper%u", job->n);
	(void)snprintf(work, sizeof(work), "/tmp/t/work%u", job->n);
	_cleanup_close_ int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", "/tmp/l", 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", upper, 0) < 0 ||
	        fsconfig(fs, FSCONFIG_SET_STRING, "workdir", work, 0) < 0 ||
	        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return sys_error();

	job->result_fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return job->result_fd < 0 ? sys_error() : 0;
}

int fixture_root(struct fixture *f, uint32_t base_id)
{
	struct root_job job = { .f = f, .n = f->count++, .result_fd = -1 };
	char name[32];

	_cleanup_close_ int userns = ct_idmap_userns_new(base_id, NULL);
	if (userns < 0)
		return userns;

	job.userns_fd = userns;
	for (int i = 0; i < 2; i++) {
		(void)snprintf(name, sizeof(name), "%s%u", i ? "work" : "upper", job.n);
		if (mkdirat(f->dir_fd, name, 0755) < 0)
			return sys_error();
	}

	int r = helper_run(root_helper, &job, NULL);
	return r < 0 ? r : job.result_fd;
}

int box_prepare(struct fixture *f, struct box *box, struct ct_spec *spec, struct ct_error *err)
{
	static const char *const argv[] = { "/sbin/init", NULL };
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=ctd",
		"TERM=linux", NULL
	};
	uint32_t base_id = FIXTURE_BASE_ID + (f->count % 64) * CT_ID_COUNT;

	*box = BOX_INIT;
	(void)snprintf(box->name, sizeof(box->name), "box%u", f->count);

	int r = ct_shell_new(base_id, &box->shell, err);
	if (r < 0)
		return r;

	box->cgroup_fd = ct_cgroup_new(f->cgroup_fd, box->name, err);
	if (box->cgroup_fd < 0)
		return box->cgroup_fd;

	r = ct_cgroup_delegate(box->cgroup_fd, base_id, base_id, err);
	if (r < 0)
		return r;

	box->root_fd = fixture_root(f, base_id);
	if (box->root_fd < 0)
		return ct_error_set(
		        err, box->root_fd, "fixture", "cannot make an overlay: %s", sys_reason(box->root_fd));

	*spec = (struct ct_spec){
		.argv = argv,
		.env = env,
		.hostname = box->name,
		.root_fd = box->root_fd,
		.userns_fd = box->shell.userns_fd,
		.netns_fd = box->shell.netns_fd,
		.cgroup_fd = box->cgroup_fd,
		.base_id = base_id,
		.seccomp = f->seccomp,
	};
	return 0;
}

int process_result(struct ct_process *p, uint64_t timeout_usec, struct ct_error *err)
{
	uint64_t end = now_monotonic_usec() + timeout_usec;

	for (;;) {
		int r = ct_start_result(p, err);
		if (r != 0)
			return r < 0 ? r : 0;

		uint64_t now = now_monotonic_usec();
		if (now >= end)
			return ct_error_set(err, -ETIMEDOUT, "fixture", "no outcome in time");
		(void)poll(&(struct pollfd){ .fd = p->status_fd, .events = POLLIN }, 1,
		        (int)((end - now) / 1000) + 1);
	}
}

int process_join(int pidfd, uint64_t timeout_usec)
{
	return process_wait(pidfd, timeout_usec);
}

int box_start(struct box *box, const struct ct_spec *spec, struct ct_error *err)
{
	int r = ct_start(spec, &box->init, err);

	return r < 0 ? r : process_result(&box->init, FIXTURE_TIMEOUT, err);
}

void box_done(struct fixture *f, struct box *box)
{
	if (box->cgroup_fd >= 0)
		(void)ct_cgroup_kill(box->cgroup_fd, NULL);
	if (box->init.pidfd >= 0 && process_join(box->init.pidfd, FIXTURE_TIMEOUT) == -ETIMEDOUT)
		(void)fprintf(stderr, "init of %s does not die\n", box->name);

	for (int i = 0; box->cgroup_fd >= 0 && i < 1000 && ct_cgroup_is_populated(box->cgroup_fd) == 1; i++)
		(void)usleep(5000);
	if (box->cgroup_fd >= 0 && ct_cgroup_remove(f->cgroup_fd, box->name, NULL) < 0)
		(void)fprintf(stderr, "the cgroup of %s is left over\n", box->name);

	ct_process_done(&box->init);
	ct_shell_done(&box->shell);
	box->cgroup_fd = fd_close(box->cgroup_fd);
	box->root_fd = fd_close(box->root_fd);
}

void collect_output(int fd, char *output, size_t size)
{
	size_t len = 0;
	char drop[4096];

	for (;;) {
		bool full = len + 1 >= size;
		ssize_t n = read(fd, full ? drop : output + len, full ? sizeof(drop) : size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += full ? 0 : (size_t)n;
	}
	output[len] = '\0';
}

struct ct_exec_spec box_exec_spec(struct fixture *f, struct box *box, const char *const *argv)
{
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/", NULL
	};

	return (struct ct_exec_spec){
		.argv = argv,
		.env = env,
		.init_pidfd = box->init.pidfd,
		.cgroup_fd = box->cgroup_fd,
		.base_id = box->shell.base_id,
		.seccomp = f->seccomp,
		.stdio = { -1, -1, -1 },
	};
}

int box_run(struct fixture *f, struct box *box, const char *const *argv, char *output, size_t size,
        struct ct_error *err)
{
	struct ct_process p = CT_PROCESS_INIT;
	_cleanup_close_ int out = -1, in = -1;
	int pair[2];

	output[0] = '\0';
	if (pipe2(pair, O_CLOEXEC) < 0)
		return sys_error();
	out = pair[0];
	in = pair[1];

	struct ct_exec_spec spec = box_exec_spec(f, box, argv);
	spec.stdio[1] = spec.stdio[2] = in;
	int r = ct_exec(&spec, &p, err);
	in = fd_close(in);
	if (r == 0)
		r = process_result(&p, FIXTURE_TIMEOUT, err);
	if (r == 0)
		collect_output(out, output, size);
	if (p.pidfd >= 0) {
		int status = process_join(p.pidfd, FIXTURE_TIMEOUT);
		r = r < 0 ? r : status;
	}
	ct_process_done(&p);
	return r;
}

bool has_line(const char *text, const char *name, const char *value)
{
	char line[512];

	int n = snprintf(line, sizeof(line), "%s %s", name, value);
	for (const char *p = text; (p = strstr(p, line)); p++)
		if ((p == text || p[-1] == '\n') && (p[n] == '\n' || p[n] == '\r' || p[n] == '\0'))
			return true;
	return false;
}
