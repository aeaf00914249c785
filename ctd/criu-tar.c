/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tar, as CRIU calls it for what is in a tmpfs of a container: the tar of the host, with other options.
 *
 * A container stands still meanwhile. To compress what goes to a disk, or is compressed on its way to another
 * node, takes longer than writing it, and a shell and gzip for each tmpfs longer than all of a small one. And
 * CRIU leaves out access lists and extended attributes.
 *
 * It runs in the container's user namespace, and in a mount namespace of the host's, where names are the
 * host's. An archive of an older ctd is compressed: that is seen in its first bytes.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/process.h"
#include "base/str.h"

#define EXIT_ERROR 127

static const char *const more[] = { "--acls", "--xattrs", "--xattrs-include=*" };

/* What standard input is of; where it is read from stays as it is. */
static bool is_gzip(void)
{
	const off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	unsigned char magic[2];

	return at < 0 || (pread(STDIN_FILENO, magic, sizeof(magic), at) == sizeof(magic) &&
	                         magic[0] == 0x1f && magic[1] == 0x8b);
}

int main(int argc, char **argv)
{
	const char **args = calloc((size_t)argc + ARRAY_SIZE(more) + 1, sizeof(*args));
	bool extract = false;
	char *program = NULL;
	size_t n = 0;

	if (!args || argc < 2 || process_path("tar", &program) < 0)
		return EXIT_ERROR;
	for (int i = 1; i < argc; i++)
		extract |= str_eq(argv[i], "--extract");
	args[n++] = "tar";
	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		args[n++] = more[i];
	for (int i = 1; i < argc; i++)
		if (!str_eq(argv[i], "--gzip") || (extract && is_gzip()))
			args[n++] = argv[i];
	(void)execv(program, (char *const *)args);
	return EXIT_ERROR;
}
