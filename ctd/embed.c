/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * embed NAME FILE: writes C that defines `const char NAME[]` and `const size_t NAME_len` with the file's
 * bytes and a NUL behind them.
 *
 * Runs on the build machine, so that the schema and the API's document are one file each in the tree and part
 * of the program in the end. Bytes instead of a string literal: ISO C only promises literals of 4095
 * characters.
 */

#include <stdio.h>

#include "base/cleanup.h"

int main(int argc, char **argv)
{
	unsigned long len = 0;
	int c;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: embed NAME FILE\n");
		return 2;
	}

	_cleanup_fclose_ FILE *file = fopen(argv[2], "re");
	if (!file) {
		perror(argv[2]);
		return 1;
	}

	(void)printf("#include <stddef.h>\nextern const char %s[];\nextern const size_t %s_len;\n", argv[1],
	        argv[1]);
	(void)printf("const char %s[] = {", argv[1]);
	while ((c = getc(file)) != EOF)
		(void)printf("%s'\\x%02x',", len++ % 16 == 0 ? "\n" : "", (unsigned)c);
	(void)printf("\n'\\0'};\nconst size_t %s_len = %lu;\n", argv[1], len);

	if (ferror(file) || ferror(stdout) || fflush(stdout) != 0) {
		(void)fprintf(stderr, "embed: cannot copy %s\n", argv[2]);
		return 1;
	}

	return 0;
}
