/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* template-import: {"file", "recipes": DIR, "store": PATH, "tmp": NAME, "recipe"?} to {"digest", "metadata",
 * "bytes"}.
 *
 * The archive may have been made by anybody. It is unpacked by a child with few privileges
 * (worker-extract.c), into tmp/NAME/root, and may grow to half of what the file system has free, so that a
 * bomb leaves room for containers. Two kinds are told apart by a file at the root of the archive: one that
 * ctd exported says by it what it is, and stays as it was, so it gets the digest that it had. Any other tree
 * is treated as one that a recipe has just filled: the recipe's steps take away what two servers must not
 * share. Which recipe: the one that is asked for, else the one with the name that os-release gives.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/str.h"
#include "ctd/template.h"
#include "ctd/worker-build.h"
#include "ctd/worker-extract.h"
#include "ctd/worker-main.h"

#define META_MAX 65536

struct params {
	const char *file, *recipe, *recipes, *store, *tmp;
};

#define STRING(name, member, required)                                                                       \
	{                                                                                                    \
		name, JSON_KIND_STRING, offsetof(struct params, member), JSON_NO_HAS, required               \
	}

static const struct json_field fields[] = {
	STRING("file", file, true),
	STRING("recipe", recipe, false),
	STRING("recipes", recipes, true),
	STRING("store", store, true),
	STRING("tmp", tmp, true),
	{ NULL },
};

/* A symbolic link as the last component, a fifo or a device are somebody's trick or a mistake. */
static int open_archive(const char *path, struct ct_error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ct_error_set(err, -errno, "import", "cannot open \"%s\": %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return ct_error_kind_set(
		        err, CT_ERROR_USAGE, -EINVAL, "\"%s\" is not a regular file with an archive", path);
	return TAKE_FD(fd);
}

static int room(int root_fd, uint64_t *ret, struct ct_error *err)
{
	struct statvfs fs;

	if (fstatvfs(root_fd, &fs) < 0)
		return ct_error_set(
		        err, -errno, "import", "cannot ask how much room there is: %s", strerror(errno));
	*ret = (uint64_t)fs.f_bavail * fs.f_frsize / 2;
	if (*ret == 0)
		return ct_error_set(err, -ENOSPC, "import", "the file system of the store is full");
	return 0;
}

static int unpack(int archive_fd, int root_fd, struct ct_error *err)
{
	struct extract_options options = { 0 };
	int r;

	worker_progress(10, "unpacking");
	r = room(root_fd, &options.max_bytes, err);
	return r < 0 ? r : extractor_run(archive_fd, root_fd, &options, err);
}

/* What an exported template says about itself, taken out of the tree; NULL: nothing. */
static int take_note(int root_fd, json_t **ret, struct ct_error *err)
{
	_cleanup_close_ int fd =
	        openat(root_fd, TEMPLATE_META_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_free_ char *text = malloc(META_MAX);
	struct stat st;
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (!text || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size >= META_MAX ||
	        (n = read_all(fd, text, META_MAX)) < 0)
		return ct_error_set(err, -EINVAL, "import",
		        "\"%s\" in the archive is not a file of less than %d bytes", TEMPLATE_META_FILE,
		        META_MAX);
	if (unlinkat(root_fd, TEMPLATE_META_FILE, 0) < 0)
		return ct_error_set(err, -errno, "import", "cannot take \"%s\" out: %s", TEMPLATE_META_FILE,
		        strerror(errno));
	return json_parse(text, (size_t)n, ret, err);
}

/* The recipe that the tree is one of. */
static int find_recipe(
        const struct params *in, const struct build_dirs *dirs, struct recipe *ret, struct ct_error *err)
{
	_cleanup_free_ char *id = NULL;
	int r;

	if (in->recipe)
		return recipe_load(in->recipes, in->recipe, ret, err);

	id = build_os_release(dirs, "ID");
	r = id ? recipe_load(in->recipes, id, ret, NULL) : -ENOENT;
	if (r < 0)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL,
		        "the archive does not say what it is (its os-release says \"%.60s\"): name the recipe that it is like",
		        id ?: "");
	return 0;
}

/* A tree of somebody else's, of the kind of the recipe. What is made of the host's own programs is not done
 * again. */
static int adopt(const struct params *in, const struct build_dirs *dirs, json_t **ret, struct ct_error *err)
{
	struct recipe recipe = { 0 };
	int r;

	r = find_recipe(in, dirs, &recipe, err);
	if (r >= 0 && recipe.builder == RECIPE_BUILDER_MMDEBSTRAP)
		r = build_apply_steps(&recipe, in->recipes, dirs, err);
	if (r >= 0) {
		free(TAKE_PTR(recipe.distribution)); /* it may be a relative: os-release knows */
		free(TAKE_PTR(recipe.release));
		r = build_metadata(&recipe, dirs, ret, err);
	}
	recipe_done(&recipe);
	return r;
}

static int import(const struct params *in, struct build_dirs *dirs, json_t **ret, struct ct_error *err)
{
	_cleanup_close_ int archive = open_archive(in->file, err);
	_cleanup_json_ json_t *metadata = NULL;
	int r = archive;

	if (r >= 0)
		r = build_dirs_make(in->store, in->tmp, dirs, err);
	if (r >= 0)
		r = unpack(archive, dirs->root_fd, err);
	if (r >= 0)
		r = take_note(dirs->root_fd, &metadata, err);
	if (r >= 0 && (in->recipe || !metadata)) {
		json_decref(TAKE_PTR(metadata));
		r = adopt(in, dirs, &metadata, err);
	}
	if (r >= 0)
		r = build_finish(dirs, metadata, ret, err);
	return r;
}

int worker_template_import(const json_t *params, json_t **ret, struct ct_error *err)
{
	struct build_dirs dirs = BUILD_DIRS_INIT;
	struct params in = { 0 };
	int r;

	r = json_read(params, fields, &in, err);
	if (r < 0)
		return r;
	r = import(&in, &dirs, ret, err);
	build_dirs_done(&dirs, in.tmp, r < 0);
	return r;
}
