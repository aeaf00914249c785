/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program of the host into a tree, with all it needs to run.
 *
 * Which libraries those are is asked of the one who decides it at run time: the dynamic loader that the
 * program names (PT_INTERP), called with --list and the program's path; it maps but does not run the program
 * (ld.so(8)). The libraries are put at the paths at which it found them, which are the paths at which it will
 * look in the new root. A file without PT_INTERP (static, or not ELF at all) is copied alone. The files are
 * the host's own packages: they are trusted.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/recipe-tree.h"

#define INTERP_MAX 256

static bool pread_exactly(int fd, void *data, size_t len, uint64_t offset)
{
	return pread(fd, data, len, (off_t)offset) == (ssize_t)len;
}

/* 1 with the path; 0: it has none. */
static int interpreter(int fd, char ret[static INTERP_MAX])
{
	Elf64_Ehdr head;
	Elf64_Phdr part;

	if (!pread_exactly(fd, &head, sizeof(head), 0) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	        head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof(part))
		return 0;
	for (unsigned i = 0; i < head.e_phnum; i++) {
		if (!pread_exactly(fd, &part, sizeof(part), head.e_phoff + i * sizeof(part)))
			return -EIO;
		if (part.p_type != PT_INTERP)
			continue;
		if (part.p_filesz < 2 || part.p_filesz > INTERP_MAX ||
		        !pread_exactly(fd, ret, part.p_filesz, part.p_offset) ||
		        ret[part.p_filesz - 1] != '\0' || ret[0] != '/')
			return -ENOEXEC;
		return 1;
	}
	return 0;
}

static int copy_one(const char *host_path, int root_fd, const char *path, mode_t mode, struct ct_error *err)
{
	_cleanup_close_ int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return ct_error_set(err, -errno, "recipe",
		        "cannot read the host's \"%s\": %s; is its package installed?", host_path,
		        strerror(errno));
	return recipe_put_file(root_fd, path, fd, mode, err);
}

static bool is_there(int root_fd, const char *path)
{
	struct stat st;

	return fstatat(root_fd, path + 1, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* "\tNAME => /PATH (0xADDRESS)" or "\t/PATH (0xADDRESS)"; others (the vDSO) have no path. */
static char *path_in_line(char *line)
{
	char *path = strstr(line, "=> "), *end;

	path = path ? path + 3 : line + strspn(line, " \t");
	if (path[0] != '/')
		return NULL;
	end = strstr(path, " (0x");
	if (end)
		*end = '\0';
	return path;
}

static int copy_libraries(const char *host_path, const char *interp, int root_fd, struct ct_error *err)
{
	const char *argv[] = { interp, "--list", host_path, NULL };
	_cleanup_free_ char *list = NULL;
	char *next, *line, *path;
	int r;

	r = process_run(argv, 10 * USEC_PER_SEC, 65536, &list);
	if (r != 0)
		return ct_error_set(err, r < 0 ? r : -EIO, "recipe", "\"%s --list %s\" failed: %s", interp,
		        host_path, r < 0 ? strerror(-r) : "a library is missing");
	for (next = list, r = 0; r >= 0 && (line = strsep(&next, "\n"));) {
		path = path_in_line(line);
		if (path && !is_there(root_fd, path))
			r = copy_one(path, root_fd, path, 0755, err);
	}
	if (r >= 0 && !is_there(root_fd, interp))
		r = copy_one(interp, root_fd, interp, 0755, err);
	return r;
}

int elf_copy(const char *host_path, int root_fd, const char *path, mode_t mode, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	char interp[INTERP_MAX];
	int r;

	r = copy_one(host_path, root_fd, path, mode, err);
	if (r < 0)
		return r;
	fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	r = fd < 0 ? -errno : interpreter(fd, interp);
	if (r < 0)
		return ct_error_set(err, r, "recipe", "cannot read the ELF headers of \"%s\": %s", host_path,
		        strerror(-r));
	return r > 0 ? copy_libraries(host_path, interp, root_fd, err) : 0;
}
