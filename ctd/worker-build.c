/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* template-build: {"recipe", "recipes": DIR, "store": PATH, "tmp": NAME, "base_id": N, "suite"?, "mirror"?,
 * "keyring"?} to
 * {"digest", "metadata", "bytes"}.
 *
 * All is built in tmp/NAME/root of the store, aside of what is in use; the daemon renames it into its place.
 * Whatever goes wrong, tmp/NAME is removed here; after a SIGKILL by the sweeper. The tree is synced before
 * the digest is told: once the daemon has recorded it, it must not be lost with the power.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/str.h"
#include "ctd/recipe-tree.h"
#include "ctd/template.h"
#include "ctd/worker-build.h"
#include "ctd/worker-main.h"
#include "quota/extract.h"

struct params {
	const char *recipe, *recipes, *store, *tmp;
	struct recipe_source source;
	uint64_t base_id;
};

#define STRING(name, member, required)                                                                       \
	{                                                                                                    \
		name, JSON_KIND_STRING, offsetof(struct params, member), JSON_NO_HAS, required               \
	}

static const struct json_field fields[] = {
	STRING("recipe", recipe, true),
	STRING("recipes", recipes, true),
	STRING("store", store, true),
	STRING("tmp", tmp, true),
	STRING("suite", source.suite, false),
	STRING("mirror", source.mirror, false),
	STRING("keyring", source.keyring, false),
	{ "base_id", JSON_KIND_U64, offsetof(struct params, base_id), JSON_NO_HAS, true },
	{ NULL },
};

struct build {
	struct params in;
	struct recipe recipe;
	int tmp_fd, build_fd, root_fd;
};

static int open_dirs(struct build *b, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf("%s/tmp", b->in.store);

	b->tmp_fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (b->tmp_fd < 0)
		return ct_error_set(err, path ? -errno : -ENOMEM, "build", "cannot open \"%s/tmp\": %s",
		        b->in.store, strerror(errno));
	if (mkdirat(b->tmp_fd, b->in.tmp, 0700) < 0)
		return ct_error_set(err, -errno, "build", "cannot make \"%s/tmp/%s\": %s", b->in.store,
		        b->in.tmp, strerror(errno));
	b->build_fd = openat(b->tmp_fd, b->in.tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (b->build_fd < 0 || mkdirat(b->build_fd, "root", 0755) < 0)
		return ct_error_set(err, -errno, "build", "cannot make a directory for the new root: %s",
		        strerror(errno));
	b->root_fd = openat(b->build_fd, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (b->root_fd < 0)
		return ct_error_set(err, -errno, "build", "cannot open the new root: %s", strerror(errno));
	return 0;
}

static int fill(struct build *b, struct ct_error *err)
{
	struct bootstrap bootstrap = {
		.recipe = &b->recipe,
		.source = b->in.source,
		.base_id = (uint32_t)b->in.base_id,
		.build_fd = b->build_fd,
		.root_fd = b->root_fd,
	};

	switch (b->recipe.builder) {
	case RECIPE_BUILDER_MMDEBSTRAP: return bootstrap_run(&bootstrap, err);
	case RECIPE_BUILDER_HOST: break;
	}
	if (b->in.source.suite || b->in.source.mirror || b->in.source.keyring)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "recipe \"%s\" takes no packages from an archive: it has no suite, mirror or keyring",
		        b->recipe.name);
	return 0;
}

static int apply_steps(struct build *b, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf("%s/%s/files", b->in.recipes, b->recipe.name);
	_cleanup_close_ int files = -1;

	if (!path)
		return ct_error_set(err, -ENOMEM, "build", "out of memory");
	files = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a recipe may have none */
	worker_progress(90, "adding the recipe's files");
	return recipe_apply(&b->recipe, files, b->root_fd, err);
}

/* The value of KEY="value" in os-release(5); NULL if there is none. */
static char *os_release_value(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line;
	        line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		if (strncmp(line, key, len) != 0 || line[len] != '=')
			continue;
		line += len + 1;
		line += *line == '"' || *line == '\'';
		return strndup(line, strcspn(line, "\"'\n"));
	}
	return NULL;
}

static json_t *list_json(char *const *words)
{
	json_t *array = json_array();

	for (char *const *word = words; word && *word; word++)
		(void)json_array_append_new(
		        array, json_string(*word)); /* the whole is checked by whoever reads it */
	return array;
}

static int make_metadata(struct build *b, json_t **ret, struct ct_error *err)
{
	_cleanup_free_ char *os_release = NULL, *id = NULL, *version = NULL, *text = NULL;
	_cleanup_close_ int fd = open_in_root(b->root_fd, "/etc/os-release", O_RDONLY | O_NONBLOCK, 0);
	const struct recipe *recipe = &b->recipe;
	struct template_meta meta = { 0 };
	_cleanup_json_ json_t *object = NULL;
	char data[4096];
	ssize_t n = fd < 0 ? 0 : read_all(fd, data, sizeof(data) - 1);
	int r;

	os_release = strndup(data, n > 0 ? (size_t)n : 0);
	id = recipe->distribution || !os_release ? NULL : os_release_value(os_release, "ID");
	version = recipe->release || !os_release ? NULL : os_release_value(os_release, "VERSION_ID");
	object = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s}", "recipe", recipe->name, "distribution", recipe->distribution ?: id ?: "",
		"release", recipe->release ?: version ?: "", "init", list_json(recipe->init), "env", list_json(recipe->env), "run_masks",
		list_json(recipe->run_masks), "stop_signal", recipe->stop_signal);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	if (!text)
		return ct_error_set(err, -EINVAL, "build",
		        "cannot make the metadata: /etc/os-release of the new root is not UTF-8");

	r = template_meta_from_json(text, &meta, err);
	template_meta_done(&meta);
	if (r >= 0)
		*ret = json_incref(object);
	return r;
}

/* Where there is no init, no container will start: say so now. */
static int check_init(struct build *b, struct ct_error *err)
{
	_cleanup_close_ int fd = open_in_root(b->root_fd, b->recipe.init[0], O_PATH, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return ct_error_set(err, -ENOENT, "build",
		        "the new root has no program \"%s\", which the recipe names as init",
		        b->recipe.init[0]);
	return 0;
}

struct usage {
	uint64_t bytes;
};

static int add_usage(int dir_fd, struct usage *usage, unsigned depth)
{
	_cleanup_closedir_ DIR *dir = fdopendir(dir_fd);
	struct dirent *entry;
	struct stat st;
	int fd, r = 0;

	if (!dir)
		return -errno;
	while (r >= 0 && (entry = readdir(dir))) {
		if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		usage->bytes += (uint64_t)st.st_blocks * 512 / (S_ISDIR(st.st_mode) ? 1 : st.st_nlink);
		if (!S_ISDIR(st.st_mode))
			continue;
		fd = depth < 128 ? openat(dirfd(dir), entry->d_name,
		                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
		                 : -ELOOP;
		r = fd < 0 ? (fd == -ELOOP ? fd : -errno) : add_usage(fd, usage, depth + 1);
	}
	return r;
}

static int finish(struct build *b, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *metadata = NULL;
	struct usage usage = { 0 };
	char digest[65];
	int r, fd;

	r = check_init(b, err);
	if (r >= 0)
		r = make_metadata(b, &metadata, err);
	if (r < 0)
		return r;

	worker_progress(95, "syncing and computing the digest");
	if (syncfs(b->root_fd) < 0)
		return ct_error_set(err, -errno, "build", "cannot sync the new root: %s", strerror(errno));
	r = tree_digest(b->root_fd, digest, err);
	if (r >= 0)
		r = worker_check(err);
	if (r < 0)
		return r;
	fd = openat(b->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : add_usage(fd, &usage, 0);
	if (r < 0)
		return ct_error_set(err, r, "build", "cannot measure the new root: %s", strerror(-r));

	*ret = json_pack(
	        "{s:s, s:O, s:I}", "digest", digest, "metadata", metadata, "bytes", (json_int_t)usage.bytes);
	return 0;
}

static int build(struct build *b, json_t **ret, struct ct_error *err)
{
	int r;

	r = recipe_load(b->in.recipes, b->in.recipe, &b->recipe, err);
	if (r >= 0)
		r = recipe_source_check(&b->in.source, err);
	if (r >= 0)
		r = open_dirs(b, err);
	if (r >= 0)
		r = fill(b, err);
	if (r >= 0)
		r = worker_check(err);
	if (r >= 0)
		r = apply_steps(b, err);
	if (r >= 0)
		r = finish(b, ret, err);
	return r;
}

int worker_template_build(const json_t *params, json_t **ret, struct ct_error *err)
{
	struct build b = { .tmp_fd = -1, .build_fd = -1, .root_fd = -1 };
	int r;

	r = json_read(params, fields, &b.in, err);
	if (r < 0)
		return r;
	if (recipe_check_name(b.in.tmp, NULL) < 0) /* the same characters: a single plain component */
		return ct_error_field(err, "tmp", "tmp must be a plain name");
	r = build(&b, ret, err);
	if (r < 0 && b.build_fd >= 0)
		(void)remove_tree_at(b.tmp_fd, b.in.tmp); /* else the sweeper does */

	recipe_done(&b.recipe);
	(void)fd_close(b.root_fd);
	(void)fd_close(b.build_fd);
	(void)fd_close(b.tmp_fd);
	return r;
}
