/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of fuzzers that run without libFuzzer: NAME [--mutate N] DIRECTORY replays every file of the
 * directory, then N inputs that a generator with a fixed seed makes from them: what fails once fails again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_INPUT_MAX 8192u

/* What libFuzzer calls, and the driver; by the program. 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	const char *name;
	uint64_t seed; /* not 0 */
	const char *
	        bytes; /* that say something to the reader: changes are often to one of them; NULL: none do */
};
/* For main. */
int fuzz_main(const struct fuzz *fuzz, int argc, char **argv);

/* Ends the program, and says what promise was broken, if the condition is not so. */
void must(bool condition, const char *what);
/* Of the inputs so far; with none of the corpus accepted nothing is tested, and the driver says so. */
extern unsigned long accepted;
