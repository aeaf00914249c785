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
	struct build_dirs dirs;
};

int build_dirs_make(const char *store, const char *name, struct build_dirs *dirs, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf("%s/tmp", store);

	if (recipe_check_name(name, NULL) < 0) /* the same characters: a single plain component */
		return ct_error_field(err, "tmp", "tmp must be a plain name");
	dirs->tmp_fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (dirs->tmp_fd < 0)
		return ct_error_set(err, path ? -errno : -ENOMEM, "build", "cannot open \"%s/tmp\": %s",
		        store, strerror(errno));
	if (mkdirat(dirs->tmp_fd, name, 0700) < 0)
		return ct_error_set(
		        err, -errno, "build", "cannot make \"%s/tmp/%s\": %s", store, name, strerror(errno));
	dirs->build_fd = openat(dirs->tmp_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dirs->build_fd < 0 || mkdirat(dirs->build_fd, "root", 0755) < 0)
		return ct_error_set(err, -errno, "build", "cannot make a directory for the new root: %s",
		        strerror(errno));
	dirs->root_fd = openat(dirs->build_fd, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dirs->root_fd < 0)
		return ct_error_set(err, -errno, "build", "cannot open the new root: %s", strerror(errno));
	return 0;
}

void build_dirs_done(struct build_dirs *dirs, const char *name, bool remove)
{
	if (remove && dirs->build_fd >= 0)
		(void)remove_tree_at(dirs->tmp_fd, name); /* else the sweeper does */
	(void)fd_close(dirs->root_fd);
	(void)fd_close(dirs->build_fd);
	(void)fd_close(dirs->tmp_fd);
	*dirs = BUILD_DIRS_INIT;
}

static int fill(struct build *b, struct ct_error *err)
{
	struct bootstrap bootstrap = {
		.recipe = &b->recipe,
		.source = b->in.source,
		.base_id = (uint32_t)b->in.base_id,
		.build_fd = b->dirs.build_fd,
		.root_fd = b->dirs.root_fd,
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

int build_apply_steps(
        const struct recipe *recipe, const char *recipes, const struct build_dirs *dirs, struct ct_error *err)
{
	_cleanup_free_ char *path = str_printf("%s/%s/files", recipes, recipe->name);
	_cleanup_close_ int files = -1;

	if (!path)
		return ct_error_set(err, -ENOMEM, "build", "out of memory");
	files = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a recipe may have none */
	worker_progress(90, "adding the recipe's files");
	return recipe_apply(recipe, files, dirs->root_fd, err);
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

char *build_os_release(const struct build_dirs *dirs, const char *key)
{
	_cleanup_close_ int fd = open_in_root(dirs->root_fd, "/etc/os-release", O_RDONLY | O_NONBLOCK, 0);
	char text[4096];
	ssize_t n = fd < 0 ? 0 : read_all(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return os_release_value(text, key);
}

static json_t *list_json(char *const *words)
{
	json_t *array = json_array();

	for (char *const *word = words; word && *word; word++)
		(void)json_array_append_new(
		        array, json_string(*word)); /* the whole is checked by whoever reads it */
	return array;
}

int build_metadata(
        const struct recipe *recipe, const struct build_dirs *dirs, json_t **ret, struct ct_error *err)
{
	_cleanup_free_ char *id = recipe->distribution ? NULL : build_os_release(dirs, "ID");
	_cleanup_free_ char *version = recipe->release ? NULL : build_os_release(dirs, "VERSION_ID");
	_cleanup_json_ json_t *object = NULL;

	object = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s}", "recipe", recipe->name, "distribution", recipe->distribution ?: id ?: "",
		"release", recipe->release ?: version ?: "", "init", list_json(recipe->init), "env", list_json(recipe->env), "run_masks",
		list_json(recipe->run_masks), "stop_signal", recipe->stop_signal);
	if (!object)
		return ct_error_set(err, -EINVAL, "build",
		        "cannot make the metadata: /etc/os-release of the new root is not UTF-8");
	*ret = json_incref(object);
	return 0;
}

/* As the daemon will read it. Where there is no init, no container will start: say so now. */
static int check_metadata(const struct build_dirs *dirs, const json_t *metadata, struct ct_error *err)
{
	_cleanup_free_ char *text = json_dumps(metadata, JSON_COMPACT);
	struct template_meta meta = { 0 };
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	r = text ? template_meta_from_json(text, &meta, err)
	         : ct_error_set(err, -ENOMEM, "build", "out of memory");
	if (r < 0)
		return r;
	fd = open_in_root(dirs->root_fd, meta.init[0], O_PATH, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		r = ct_error_set(err, -ENOENT, "build",
		        "the new root has no program \"%s\", which shall be its init", meta.init[0]);
	template_meta_done(&meta);
	return r;
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

int build_finish(const struct build_dirs *dirs, json_t *metadata, json_t **ret, struct ct_error *err)
{
	struct usage usage = { 0 };
	char digest[65];
	int r, fd;

	r = check_metadata(dirs, metadata, err);
	if (r < 0)
		return r;

	worker_progress(95, "syncing and computing the digest");
	if (syncfs(dirs->root_fd) < 0)
		return ct_error_set(err, -errno, "build", "cannot sync the new root: %s", strerror(errno));
	r = tree_digest(dirs->root_fd, digest, err);
	if (r >= 0)
		r = worker_check(err);
	if (r < 0)
		return r;
	fd = openat(dirs->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : add_usage(fd, &usage, 0);
	if (r < 0)
		return ct_error_set(err, r, "build", "cannot measure the new root: %s", strerror(-r));

	*ret = json_pack(
	        "{s:s, s:O, s:I}", "digest", digest, "metadata", metadata, "bytes", (json_int_t)usage.bytes);
	return 0;
}

static int build(struct build *b, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *metadata = NULL;
	int r;

	r = recipe_load(b->in.recipes, b->in.recipe, &b->recipe, err);
	if (r >= 0)
		r = recipe_source_check(&b->in.source, err);
	if (r >= 0)
		r = build_dirs_make(b->in.store, b->in.tmp, &b->dirs, err);
	if (r >= 0)
		r = fill(b, err);
	if (r >= 0)
		r = worker_check(err);
	if (r >= 0)
		r = build_apply_steps(&b->recipe, b->in.recipes, &b->dirs, err);
	if (r >= 0)
		r = build_metadata(&b->recipe, &b->dirs, &metadata, err);
	if (r >= 0)
		r = build_finish(&b->dirs, metadata, ret, err);
	return r;
}

int worker_template_build(const json_t *params, json_t **ret, struct ct_error *err)
{
	struct build b = { .dirs = BUILD_DIRS_INIT };
	int r;

	r = json_read(params, fields, &b.in, err);
	if (r < 0)
		return r;
	r = build(&b, ret, err);

	build_dirs_done(&b.dirs, b.in.tmp, r < 0);
	recipe_done(&b.recipe);
	return r;
}
