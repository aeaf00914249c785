/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a recipe, one after the other.
 *
 * The tree may come from packages, that is: from an archive that we did not make. So each path is resolved
 * below the root's fd (openat2), its parent is opened, and the last component is made new there; a link in
 * the last place is replaced, never followed. What the steps make belongs to root.
 */
#include "ctd/recipe-tree.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "base/str.h"

static int tree_error(int r, const char *what, const char *path, struct ct_error *err)
{
	return ct_error_set(
	        err, r, "recipe", "cannot %s \"%s\" in the new root: %s", what, path, strerror(-r));
}

int recipe_parent(int root_fd, const char *path, const char **ret_name, struct ct_error *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	int fd;

	if (!parent)
		return ct_error_set(err, -ENOMEM, "recipe", "out of memory");
	fd = str_eq(parent, "/") ? fd_dup_cloexec(root_fd) : mkdirs_in_root(root_fd, parent, 0755);
	if (fd < 0)
		return tree_error(fd, "make the directory", parent, err);
	*ret_name = slash + 1;
	return fd;
}

static int copy_data(int from, int to)
{
	_cleanup_free_ char *data = malloc(1 << 17);
	ssize_t n;
	int r = 0;

	if (!data)
		return -ENOMEM;
	while (r >= 0 && (n = read_all(from, data, 1 << 17)) != 0)
		r = n < 0 ? (int)n : write_all(to, data, (size_t)n);
	return r;
}

/* A new file in the parent in place of what there was. */
static int create(int parent_fd, const char *name, mode_t mode)
{
	int fd;

	if (unlinkat(parent_fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0) { /* whatever the umask */
		int r = -errno;

		(void)close(fd);
		return r;
	}
	return fd;
}

int recipe_put_file(int root_fd, const char *path, int source_fd, mode_t mode, struct ct_error *err)
{
	_cleanup_close_ int parent = -1, fd = -1;
	const char *name = NULL;
	int r;

	parent = recipe_parent(root_fd, path, &name, err);
	if (parent < 0)
		return parent;
	fd = create(parent, name, mode);
	r = fd < 0 ? fd : copy_data(source_fd, fd);
	return r < 0 ? tree_error(r, "write", path, err) : 0;
}

int recipe_put_text(int root_fd, const char *path, const char *text, mode_t mode, struct ct_error *err)
{
	_cleanup_close_ int source = memfd_sealed("text", text, strlen(text));

	return source < 0 ? tree_error(source, "write", path, err)
	                  : recipe_put_file(root_fd, path, source, mode, err);
}

static int put_directory(const struct recipe_step *step, int root_fd, struct ct_error *err)
{
	_cleanup_close_ int fd = mkdirs_in_root(root_fd, step->words[0], 0755);

	if (fd < 0)
		return tree_error(fd, "make the directory", step->words[0], err);
	return fchmod(fd, step->mode) < 0 ? tree_error(-errno, "set the mode of", step->words[0], err) : 0;
}

static int put_recipe_file(const struct recipe_step *step, int files_fd, int root_fd, struct ct_error *err)
{
	_cleanup_close_ int source = -1;

	source = files_fd < 0 ? -ENOENT : open_beneath(files_fd, step->words[0], O_RDONLY, 0);
	if (source < 0)
		return ct_error_set(err, source, "recipe", "cannot read \"files/%s\" of the recipe: %s",
		        step->words[0], strerror(-source));
	return recipe_put_file(root_fd, step->words[1], source, step->mode, err);
}

static int put_link(const char *target, const char *path, bool replace, int root_fd, struct ct_error *err)
{
	_cleanup_close_ int parent = -1;
	const char *name = NULL;

	parent = recipe_parent(root_fd, path, &name, err);
	if (parent < 0)
		return parent;
	if (replace && unlinkat(parent, name, 0) < 0 && errno != ENOENT)
		return tree_error(-errno, "replace", path, err);
	if (symlinkat(target, parent, name) < 0 && (replace || errno != EEXIST))
		return tree_error(-errno, "make the link", path, err);
	return 0;
}

/* The host's file that an earlier step copied to this path. */
static const char *source_of(const struct recipe *recipe, const char *path)
{
	for (size_t i = 0; i < recipe->n_steps; i++)
		if (recipe->steps[i].kind == RECIPE_STEP_HOST_FILE && str_eq(recipe->steps[i].words[1], path))
			return recipe->steps[i].words[0];
	return NULL;
}

/* busybox says itself where its applets belong; what is there already stays. */
static int put_applets(
        const struct recipe *recipe, const struct recipe_step *step, int root_fd, struct ct_error *err)
{
	const char *path = step->words[0], *program = source_of(recipe, path);
	const char *argv[] = { program, "--list-full", NULL };
	_cleanup_free_ char *list = NULL;
	char *next, *word, applet[256];
	int r;

	if (!program)
		return ct_error_set(err, -EINVAL, "recipe",
		        "recipe \"%s\", line %u: no host-file was put at \"%s\"", recipe->name, step->line,
		        path);
	r = process_run(argv, 10 * USEC_PER_SEC, 65536, &list);
	if (r != 0)
		return ct_error_set(err, r < 0 ? r : -EIO, "recipe", "\"%s --list-full\" failed: %s", program,
		        r < 0 ? strerror(-r) : "its exit status is not 0");
	for (next = list, r = 0; r >= 0 && (word = strsep(&next, "\n"));) {
		if (!*word || strstr(word, "..") || strlen(word) > 200)
			continue;
		(void)snprintf(applet, sizeof(applet), "/%s", word);
		r = put_link(path, applet, false, root_fd, err);
	}
	return r;
}

static int remove_matching(const char *path, int root_fd, struct ct_error *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	int fd, r;

	fd = parent ? open_in_root(root_fd, parent, O_RDONLY | O_DIRECTORY, 0) : -ENOMEM;
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0 || !(dir = fdopendir(fd)))
		return tree_error(fd < 0 ? fd : -errno, "open", parent ?: path, err);
	while ((entry = readdir(dir))) {
		if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") ||
		        fnmatch(slash + 1, entry->d_name, 0) != 0)
			continue;
		r = remove_tree_at(dirfd(dir), entry->d_name);
		if (r < 0)
			return tree_error(r, "remove", path, err);
	}
	return 0;
}

static int apply(const struct recipe *recipe, const struct recipe_step *step, int files_fd, int root_fd,
        struct ct_error *err)
{
	switch (step->kind) {
	case RECIPE_STEP_DIRECTORY: return put_directory(step, root_fd, err);
	case RECIPE_STEP_FILE: return put_recipe_file(step, files_fd, root_fd, err);
	case RECIPE_STEP_HOST_FILE: return elf_copy(step->words[0], root_fd, step->words[1], step->mode, err);
	case RECIPE_STEP_LINK: return put_link(step->words[0], step->words[1], true, root_fd, err);
	case RECIPE_STEP_APPLETS: return put_applets(recipe, step, root_fd, err);
	case RECIPE_STEP_EMPTY: return recipe_put_text(root_fd, step->words[0], "", 0644, err);
	case RECIPE_STEP_REMOVE: return remove_matching(step->words[0], root_fd, err);
	case RECIPE_N_STEP_KINDS: break;
	}
	return -EINVAL;
}

int recipe_apply(const struct recipe *recipe, int files_fd, int root_fd, struct ct_error *err)
{
	int r;

	for (size_t i = 0; i < recipe->n_steps; i++) {
		r = apply(recipe, &recipe->steps[i], files_fd, root_fd, err);
		if (r < 0)
			return r;
	}
	return 0;
}
