/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver of the fuzzers: see fuzz.h. The first byte of an input often chooses a reader: it is not
 * changed. */
#include "ctd/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define INPUTS_MAX 64u

struct input {
	uint8_t data[FUZZ_INPUT_MAX];
	size_t len;
};

unsigned long accepted;
static const char *program = "fuzz";

void must(bool condition, const char *what)
{
	if (condition)
		return;
	(void)fprintf(stderr, "%s: %s\n", program, what);
	abort();
}

/* xorshift64 */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void mutate(struct input *in, const char *bytes, uint64_t *random)
{
	for (uint64_t n = next_random(random) % 5 + 1; n > 0 && in->len > 2; n--) {
		const size_t at = 1 + next_random(random) % (in->len - 1);
		size_t len = next_random(random) % (in->len - at);

		switch (next_random(random) % 6) {
		case 0: in->data[at] = (uint8_t)next_random(random); break;
		case 1: in->data[at] ^= (uint8_t)(1u << next_random(random) % 8); break;
		case 2:
			if (bytes)
				in->data[at] = (uint8_t)bytes[next_random(random) % strlen(bytes)];
			break;
		case 3: in->len -= len; break; /* cut */
		case 4:                        /* a piece less */
			memmove(in->data + at, in->data + at + len, in->len - at - len);
			in->len -= len;
			break;
		case 5: /* a piece twice */
			len = in->len + len <= FUZZ_INPUT_MAX ? len : 0;
			memmove(in->data + at + len, in->data + at, in->len - at);
			in->len += len;
			break;
		}
	}
}

static size_t read_corpus(const char *path, struct input *inputs)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct dirent *entry;
	size_t n = 0;

	must(dir, "cannot open the corpus");
	while (n < INPUTS_MAX && (entry = readdir(dir))) {
		_cleanup_free_ char *data = NULL;
		size_t len = 0;

		if (entry->d_name[0] == '.' ||
		        read_file_at(dirfd(dir), entry->d_name, FUZZ_INPUT_MAX, &data, &len) < 0)
			continue;
		memcpy(inputs[n].data, data, len);
		inputs[n++].len = len;
	}
	return n;
}

int fuzz_main(const struct fuzz *fuzz, int argc, char **argv)
{
	static struct input inputs[INPUTS_MAX], one;
	uint64_t random = fuzz->seed, rounds = 0;
	size_t n;

	program = fuzz->name;
	if (argc == 4 && str_eq(argv[1], "--mutate"))
		must(parse_u64(argv[2], &rounds) == 0, "--mutate takes a number");
	else
		must(argc == 2, "usage: [--mutate N] DIRECTORY");
	n = read_corpus(argv[argc - 1], inputs);
	must(n > 0, "the corpus is empty");

	for (size_t i = 0; i < n; i++)
		(void)LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].len); /* always 0 */
	must(accepted > 0, "nothing of the corpus was accepted");
	for (uint64_t i = 0; i < rounds; i++) {
		one = inputs[next_random(&random) % n];
		mutate(&one, fuzz->bytes, &random);
		(void)LLVMFuzzerTestOneInput(one.data, one.len); /* always 0 */
	}
	(void)printf(
	        "%zu inputs, %llu made from them, %lu accepted\n", n, (unsigned long long)rounds, accepted);
	return 0;
}
