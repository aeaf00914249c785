/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling a root from packages: mmdebstrap in a sandbox writes a tar to a pipe, an extractor with few
 * privileges unpacks it, and this file is in between, reading what mmdebstrap says about its progress and
 * waiting for whichever ends first.
 *
 *   worker ── sandbox: mmdebstrap (root of a user namespace, works in tmp/NAME/work)
 *     │            │ tar
 *     └── extractor ┘  ──▶ tmp/NAME/root, with ids 0..65535
 *
 * apt verifies signatures against one keyring, which is copied into the sandbox; nothing here can switch that
 * off. Of the host's apt options only those that say how to reach the network, and whether an old archive
 * will do, go along, and none of them stays in the template. A mirror on the host's disk is bound into the
 * sandbox and read by apt's copy method, because programs in the new root could not see it.
 *
 * The lists of sources are written anew at the end: with a keyring that is in the template, and without what
 * only this host can reach.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/recipe-tree.h"
#include "ctd/worker-build.h"
#include "ctd/worker-extract.h"
#include "ctd/worker-listener.h"
#include "ctd/worker-main.h"
#include "ctd/worker-sandbox.h"
#include "ctd/worker-sources.h"

#define ARGS_MAX    64
#define MIRRORS_MAX 4

struct run {
	const struct bootstrap *b;
	struct sources sources;
	char *args[ARGS_MAX];
	size_t n_args;
	int args_error;
	char *mirror_paths[MIRRORS_MAX];
	char mirror_names[MIRRORS_MAX][16];
	size_t n_mirrors;
	int work_fd;
	struct sandbox sandbox;
	struct extractor extractor;
	struct listener listener;
};

/* ---- its arguments ---- */

__attribute__((format(printf, 2, 3))) static void add_arg(struct run *run, const char *format, ...)
{
	char *arg = NULL;
	va_list ap;

	va_start(ap, format);
	if (run->n_args + 1 >= ARGS_MAX)
		run->args_error = -E2BIG;
	else if (vasprintf(&arg, format, ap) < 0)
		run->args_error = -ENOMEM;
	else
		run->args[run->n_args++] = arg;
	va_end(ap);
}

static void add_include(struct run *run)
{
	_cleanup_strbuf_ struct strbuf all = STRBUF_INIT;

	for (char **package = run->b->recipe->packages; package && *package; package++)
		(void)strbuf_printf(
		        &all, "%s%s", all.len > 0 ? "," : "", *package); /* remembered in .error */
	if (all.error)
		run->args_error = all.error;
	else if (all.len > 0)
		add_arg(run, "--include=%s", all.data);
}

/* How the host's apt reaches the network. Values come from apt's own printer, escaped as apt reads them. */
static int add_apt_options(struct run *run, struct ct_error *err)
{
	static const char *const argv[] = { "apt-config", "dump", "--no-empty", "--format", "%F \"%v\";%n",
		"Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-Valid-Until",
		"Acquire::Check-Date", "Acquire::ForceIPv4", "Acquire::ForceIPv6", NULL };
	_cleanup_free_ char *list = NULL;
	char *next, *line;
	int r;

	r = process_run(argv, 30 * USEC_PER_SEC, 65536, &list);
	if (r != 0)
		return ct_error_set(err, r < 0 ? r : -EIO, "bootstrap",
		        "cannot read the host's apt configuration: %s",
		        r < 0 ? strerror(-r) : "apt-config failed");
	for (next = list; (line = strsep(&next, "\n"));)
		if (*line && str_is_printable(line))
			add_arg(run, "--aptopt=%s", line);
	return 0;
}

/* The path in a file: URI, or NULL. */
static const char *file_path(const char *uri)
{
	if (!str_has_prefix(uri, "file:/"))
		return NULL;
	uri += strlen("file:");
	return str_has_prefix(uri, "//") ? uri + 2 : uri;
}

/* The URI as it is in the sandbox, in new memory. */
static char *inside_uri(struct run *run, const char *uri)
{
	const char *path = file_path(uri);
	size_t n = run->n_mirrors;

	if (!path)
		return strdup(uri);
	if (n >= MIRRORS_MAX)
		return NULL;
	run->mirror_paths[n] = strdup(path);
	(void)snprintf(run->mirror_names[n], sizeof(run->mirror_names[n]), "mirror%zu", n);
	run->n_mirrors++;
	return run->mirror_paths[n] ? str_printf("copy:/tmp/%s", run->mirror_names[n]) : NULL;
}

static const char *keyring_suffix(const struct run *run)
{
	return strrchr(run->sources.keyring, '.');
}

static int make_args(struct run *run, struct ct_error *err)
{
	const struct sources *s = &run->sources;
	int r;

	add_arg(run, "mmdebstrap");
	add_arg(run, "--mode=root");
	add_arg(run, "--format=tar");
	add_arg(run, "--variant=%s", run->b->recipe->variant ?: "minbase");
	add_arg(run, "--keyring=/tmp/keyring%s", keyring_suffix(run));
	add_include(run);
	r = add_apt_options(run, err);
	if (r < 0)
		return r;
	add_arg(run, "--");
	add_arg(run, "%s", s->suite);
	add_arg(run, "-");
	for (size_t i = 0; i < s->n_lines; i++) {
		_cleanup_free_ char *uri = inside_uri(run, s->lines[i].uri);

		if (!uri)
			return ct_error_set(err, -ENOMEM, "bootstrap",
			        "out of memory, or more than %d mirrors on the host's disk", MIRRORS_MAX);
		add_arg(run, "deb [signed-by=/tmp/keyring%s] %s %s %s", keyring_suffix(run), uri,
		        s->lines[i].suite, s->lines[i].components);
	}
	if (run->args_error < 0)
		return ct_error_set(err, run->args_error, "bootstrap",
		        "cannot make the arguments of mmdebstrap: %s", strerror(-run->args_error));
	return 0;
}

/* ---- the run ---- */

static int make_work_dir(struct run *run, struct ct_error *err)
{
	const struct bootstrap *b = run->b;
	_cleanup_free_ char *name = str_printf("keyring%s", keyring_suffix(run)), *data = NULL;
	size_t len = 0;
	int r;

	if (!name)
		return ct_error_set(err, -ENOMEM, "bootstrap", "out of memory");
	if (mkdirat(b->build_fd, "work", 0755) < 0)
		return ct_error_set(
		        err, -errno, "bootstrap", "cannot make a directory to work in: %s", strerror(errno));
	run->work_fd = openat(b->build_fd, "work", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (run->work_fd < 0)
		return ct_error_set(err, -errno, "bootstrap", "cannot open the directory to work in: %s",
		        strerror(errno));
	r = read_file_at(AT_FDCWD, run->sources.keyring, 4 << 20, &data, &len);
	if (r >= 0)
		r = replace_file_at(run->work_fd, name, data, len, 0644, false);
	if (r < 0)
		return ct_error_set(err, r, "bootstrap", "cannot copy the keyring \"%s\": %s",
		        run->sources.keyring, strerror(-r));
	for (size_t i = 0; i < run->n_mirrors; i++)
		if (mkdirat(run->work_fd, run->mirror_names[i], 0755) < 0)
			return ct_error_set(
			        err, -errno, "bootstrap", "cannot make a mount point: %s", strerror(errno));
	if (fchown(run->work_fd, b->base_id, b->base_id) < 0)
		return ct_error_set(err, -errno, "bootstrap", "cannot give the directory to id %u: %s",
		        b->base_id, strerror(errno));
	return 0;
}

static int check_mirrors(const struct run *run, struct ct_error *err)
{
	struct stat st;

	for (size_t i = 0; i < run->n_mirrors; i++)
		if (stat(run->mirror_paths[i], &st) < 0 || !S_ISDIR(st.st_mode))
			return ct_error_field(err, "mirror", "the mirror \"%s\" is no directory of this host",
			        run->mirror_paths[i]);
	return 0;
}

/* "NAME=VALUE" of our own environment, which the daemon has reduced to what names proxies. */
static const char *own_env(const char *name)
{
	size_t len = strlen(name);

	for (char **entry = environ; *entry; entry++)
		if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=')
			return *entry;
	return NULL;
}

#define ENV_MAX 8

static void make_env(const char *env[static ENV_MAX])
{
	static const char *const passed[] = { "http_proxy", "https_proxy", "no_proxy" };
	size_t n = 0;

	env[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	env[n++] = "LC_ALL=C.UTF-8";
	env[n++] = "HOME=/tmp";
	env[n++] = "TMPDIR=/tmp";
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		if (own_env(passed[i]))
			env[n++] = own_env(passed[i]);
	env[n] = NULL;
}

static int make_pipe(int *ret_read, int *ret_write, struct ct_error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "bootstrap", "cannot make a pipe: %s", strerror(errno));
	*ret_read = fds[0];
	*ret_write = fds[1];
	return 0;
}

static int start(struct run *run, int *ret_said_fd, struct ct_error *err)
{
	_cleanup_close_ int tar_read = -1, tar_write = -1, said_read = -1, said_write = -1;
	struct sandbox_bind binds[MIRRORS_MAX];
	const char *env[ENV_MAX];
	struct sandbox_spec spec = {
		.argv = (const char *const *)run->args,
		.env = env,
		.base_id = run->b->base_id,
		.tmp_fd = run->work_fd,
		.binds = binds,
		.n_binds = run->n_mirrors,
	};
	int r;

	make_env(env);
	for (size_t i = 0; i < run->n_mirrors; i++)
		binds[i] =
		        (struct sandbox_bind){ .source = run->mirror_paths[i], .name = run->mirror_names[i] };
	r = make_pipe(&tar_read, &tar_write, err);
	if (r >= 0)
		r = make_pipe(&said_read, &said_write, err);
	if (r >= 0)
		r = fd_set_nonblock(said_read, true);
	if (r >= 0)
		r = extractor_start(
		        tar_read, run->b->root_fd, &(struct extract_options){ 0 }, &run->extractor, err);
	if (r < 0)
		return r;
	spec.stdout_fd = tar_write;
	spec.stderr_fd = said_write;
	r = sandbox_start(&spec, &run->sandbox, err);
	if (r >= 0)
		*ret_said_fd = TAKE_FD(said_read);
	return r;
}

static void listen_now(struct run *run, int said_fd)
{
	char data[4096];
	ssize_t n;

	while ((n = read(said_fd, data, sizeof(data))) > 0)
		listener_hear(&run->listener, data, (size_t)n);
}

#define LAST_WORDS_MSEC 3000

/* Until the sandbox has ended, with what it ended. The extractor may end first: well, when it has seen the
 * archive's end, or not. If there was no archive because mmdebstrap has failed, that one is about to end as
 * well, and has more to say; else it waits for somebody to read, and is not waited for. */
static int attend(struct run *run, int said_fd, int *ret_status, struct ct_error *err)
{
	struct extract_result extracted;
	struct ct_error failure = { 0 };
	struct pollfd fds[] = {
		{ .fd = run->sandbox.pidfd, .events = POLLIN },
		{ .fd = worker_stop_fd(), .events = POLLIN },
		{ .fd = said_fd, .events = POLLIN },
		{ .fd = run->extractor.pidfd, .events = POLLIN },
	};
	int r, extract_result = 0;

	while (!fds[0].revents) {
		r = poll(fds, ARRAY_SIZE(fds), extract_result < 0 ? LAST_WORDS_MSEC : -1);
		if (r < 0 && errno != EINTR)
			return ct_error_set(
			        err, -errno, "bootstrap", "cannot wait for mmdebstrap: %s", strerror(errno));
		if (r == 0)
			break;
		if (fds[2].revents)
			listen_now(run, said_fd);
		if (fds[2].revents & (POLLHUP | POLLERR))
			fds[2].fd = -1;
		r = worker_check(err);
		if (r < 0)
			return r;
		if (fds[3].revents) {
			extract_result = extractor_wait(&run->extractor, &extracted, &failure);
			fds[3].fd = -1;
			fds[3].revents = 0;
		}
	}
	listen_now(run, said_fd);
	*ret_status = fds[0].revents ? sandbox_wait(&run->sandbox) : 0;
	if (extract_result < 0 && *ret_status == 0) {
		if (err)
			*err = failure;
		return extract_result;
	}
	return 0;
}

static int run_mmdebstrap(struct run *run, struct ct_error *err)
{
	struct extract_result extracted;
	_cleanup_close_ int said_fd = -1;
	int r, status = 0;

	r = start(run, &said_fd, err);
	if (r >= 0)
		r = attend(run, said_fd, &status, err);
	if (r < 0)
		return r;
	if (status != 0)
		return listener_explain(&run->listener, status, run->sources.keyring, err);
	return run->extractor.pidfd >= 0 ? extractor_wait(&run->extractor, &extracted, err) : 0;
}

/* ---- what the template keeps ---- */

static bool in_root(int root_fd, const char *path)
{
	_cleanup_close_ int fd = open_in_root(root_fd, path, O_PATH, 0);

	return fd >= 0;
}

/* Where the template has the keyring: at the host's path if its own packages put one there, else a copy. */
static int keep_keyring(struct run *run, char **ret, struct ct_error *err)
{
	const char *keyring = run->sources.keyring;
	_cleanup_close_ int source = -1;
	int r;

	*ret = in_root(run->b->root_fd, keyring) ? strdup(keyring)
	                                         : str_printf("/etc/apt/keyrings%s", strrchr(keyring, '/'));
	if (!*ret)
		return ct_error_set(err, -ENOMEM, "bootstrap", "out of memory");
	if (str_eq(*ret, keyring))
		return 0;
	source = open(keyring, O_RDONLY | O_CLOEXEC);
	if (source < 0)
		return ct_error_set(err, -errno, "bootstrap", "cannot read the keyring \"%s\": %s", keyring,
		        strerror(errno));
	r = recipe_put_file(run->b->root_fd, *ret, source, 0644, err);
	return r;
}

static int write_sources(struct run *run, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	_cleanup_free_ char *keyring = NULL;
	int r;

	r = keep_keyring(run, &keyring, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < run->sources.n_lines; i++) {
		const struct source_line *line = &run->sources.lines[i];

		(void)strbuf_printf(&text, "%sdeb [signed-by=%s] %s %s %s\n",
		        file_path(line->uri) ? "# on the host that built this template: " : "", keyring,
		        line->uri, line->suite, line->components); /* remembered in .error */
	}
	if (text.error)
		return ct_error_set(err, text.error, "bootstrap", "out of memory");
	return recipe_put_text(run->b->root_fd, "/etc/apt/sources.list", text.data ?: "", 0644, err);
}

static int clean_apt(struct run *run, struct ct_error *err)
{
	static const char *const names[] = { "99mmdebstrap" };
	_cleanup_close_ int dir =
	        open_in_root(run->b->root_fd, "/etc/apt/apt.conf.d", O_RDONLY | O_DIRECTORY, 0);

	for (size_t i = 0; dir >= 0 && i < ARRAY_SIZE(names); i++)
		if (unlinkat(dir, names[i], 0) < 0 && errno != ENOENT)
			return ct_error_set(err, -errno, "bootstrap",
			        "cannot remove \"%s\" from the new root: %s", names[i], strerror(errno));
	return 0;
}

static int bootstrap(struct run *run, struct ct_error *err)
{
	int r;

	r = sources_find(run->b->recipe, &run->b->source, &run->sources, err);
	if (r >= 0)
		r = make_args(run, err);
	if (r >= 0)
		r = check_mirrors(run, err);
	if (r >= 0)
		r = make_work_dir(run, err);
	if (r >= 0)
		r = run_mmdebstrap(run, err);
	if (r >= 0)
		r = clean_apt(run, err);
	if (r >= 0)
		r = write_sources(run, err);
	return r;
}

int bootstrap_run(const struct bootstrap *b, struct ct_error *err)
{
	struct run run = { .b = b, .work_fd = -1, .sandbox = SANDBOX_INIT, .extractor = EXTRACTOR_INIT };
	int r;

	if (process_find("mmdebstrap") < 0)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOENT,
		        "recipe \"%s\" needs mmdebstrap: apt-get install mmdebstrap", b->recipe->name);
	worker_progress(1, "starting mmdebstrap");
	r = bootstrap(&run, err);
	sandbox_done(&run.sandbox);
	extractor_done(&run.extractor);
	if (r >= 0)
		r = remove_tree_at(b->build_fd, "work"); /* else with the rest */
	if (r < 0 && err && err->code == 0)
		(void)ct_error_set(err, r, "bootstrap", "cannot remove the work directory: %s", strerror(-r));

	for (size_t i = 0; i < run.n_args; i++)
		free(run.args[i]);
	for (size_t i = 0; i < run.n_mirrors; i++)
		free(run.mirror_paths[i]);
	sources_done(&run.sources);
	(void)fd_close(run.work_fd);
	return r;
}
