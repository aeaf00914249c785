/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The nearest word.
 *
 * Edit distance with neighbours exchanged counted once ("strat" is 1 from "start"), in a fixed table: words
 * longer than that are near nothing. A word is near if at most a third of it is wrong, or if one begins with
 * the other.
 */

#include <stdlib.h>

#include "base/str.h"
#include "ctctl/command.h"

#define WORD_MAX 32

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int m = a < b ? a : b;

	return m < c ? m : c;
}

static unsigned int distance(const char *a, size_t n, const char *b, size_t m)
{
	unsigned int d[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned int)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned int)j;

	for (size_t i = 1; i <= n; i++)
		for (size_t j = 1; j <= m; j++) {
			d[i][j] = min3(
			        d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			        d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}

	return d[n][m];
}

const char *suggest(const char *word, const char *(*next)(void *state), void *state)
{
	size_t n = strlen(word);
	unsigned int best = (unsigned int)(n + 2) / 3 + 1;
	const char *near = NULL, *candidate;

	if (n == 0 || n > WORD_MAX)
		return NULL;
	while ((candidate = next(state))) {
		size_t m = strlen(candidate);
		if (m > WORD_MAX)
			continue;

		unsigned int d =
		        n > 2 && str_has_prefix(candidate, word) ? 1 : distance(word, n, candidate, m);
		if (d < best) {
			best = d;
			near = candidate;
		}
	}

	return near;
}
