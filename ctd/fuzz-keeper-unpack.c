/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feeds bytes that nobody vouches for to the parsers of the keeper: specifications, commands, the state of
 * the keeper before.
 *
 *   fuzz-keeper-unpack [--mutate N] DIRECTORY
 *
 * replays every file of the directory and the sound messages that the packers make, then N inputs that are
 * made from them by a generator with a fixed seed: what fails once fails again. It is meant to be built with
 * sanitizers; without, it can find crashes only. LLVMFuzzerTestOneInput is what libFuzzer wants, if somebody
 * has the time.
 *
 * The first byte of an input chooses the parser, the second is the number of fds, the rest is the message.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper-pack.h"
#include "ctd/keeper.h"

#define INPUT_MAX  8192u
#define INPUTS_MAX 64u

struct input {
	uint8_t data[INPUT_MAX];
	size_t len;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that was unpacked is touched, so that a pointer that leads astray is found. */
static unsigned long sum;

static void touch(const void *data, size_t len)
{
	for (size_t i = 0; data && i < len; i++)
		sum += ((const uint8_t *)data)[i];
}

static void touch_strings(const char *const *strings)
{
	for (; strings && *strings; strings++)
		touch(*strings, strlen(*strings));
}

static void touch_string(const char *s)
{
	if (s)
		touch(s, strlen(s));
}

static void try_spec(const void *data, size_t len, const int *fds, size_t n_fds)
{
	_cleanup_free_ void *memory = NULL;
	struct ct_spec spec;

	if (keeper_unpack_spec(data, len, fds, n_fds, &spec, &memory, NULL) < 0)
		return;

	touch_strings(spec.argv);
	touch_strings(spec.env);
	touch_strings(spec.run_masks);
	touch_string(spec.hostname);
	touch(spec.seccomp.filter, spec.seccomp.count * sizeof(struct sock_filter));
	touch(spec.rlimits, spec.n_rlimits * sizeof(spec.rlimits[0]));
	for (size_t i = 0; spec.binds && i < spec.n_binds; i++)
		touch_string(spec.binds[i].target);
}

static void try_exec_spec(const void *data, size_t len, const int *fds, size_t n_fds)
{
	_cleanup_free_ void *memory = NULL;
	struct ct_exec_spec spec;

	if (keeper_unpack_exec_spec(data, len, fds, n_fds, &spec, &memory, NULL) < 0)
		return;

	touch_strings(spec.argv);
	touch_strings(spec.env);
	touch_string(spec.cwd);
	touch(spec.groups, spec.n_groups * sizeof(spec.groups[0]));
	touch(spec.seccomp.filter, spec.seccomp.count * sizeof(struct sock_filter));
	touch(spec.rlimits, spec.n_rlimits * sizeof(spec.rlimits[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[KEEPER_FDS_MAX];
	_cleanup_free_ uint8_t *copy = NULL;
	size_t n_fds, len;

	if (size < 2)
		return 0;

	n_fds = data[1] % (KEEPER_FDS_MAX + 1);
	for (size_t i = 0; i < KEEPER_FDS_MAX; i++)
		fds[i] = (int)i + 1000;

	/* Exactly as long as it is: a step beyond is seen. */
	len = size - 2;
	copy = malloc(len ? len : 1);
	if (!copy)
		return 0;
	memcpy(copy, data + 2, len);

	switch (data[0] % 3) {
	case 0: try_spec(copy, len, fds, n_fds); break;
	case 1: try_exec_spec(copy, len, fds, n_fds); break;
	case 2: (void)keeper_state_parse(NULL, copy, len, NULL); break; /* any answer will do */
	}
	return 0;
}

static void make_input(struct input *ret, uint8_t parser, size_t n_fds, const struct strbuf *b)
{
	ret->data[0] = parser;
	ret->data[1] = (uint8_t)n_fds;
	ret->len = b->len < INPUT_MAX - 2 ? b->len : INPUT_MAX - 2;
	memcpy(ret->data + 2, b->data, ret->len);
	ret->len += 2;
}

static void sound_spec(struct input *ret)
{
	struct sock_filter filter[] = { { 0x20, 0, 0, 4 }, { 0x06, 0, 0, 0x7fff0000 } };
	const struct ct_rlimit rlimits[] = { { 7, 1024, 4096 } };
	const struct ct_bind binds[] = { { .source_fd = 7, .target = "/etc/hosts" },
		{ .source_fd = 8, .target = "/x" } };
	const struct ct_spec spec = {
		.argv = (const char *const[]){ "/sbin/init", "x", NULL },
		.env = (const char *const[]){ "container=ctd", NULL },
		.run_masks = (const char *const[]){ "a.mount", NULL },
		.hostname = "h",
		.root_fd = 3,
		.userns_fd = 4,
		.netns_fd = 5,
		.cgroup_fd = 6,
		.seccomp = { filter, 2 },
		.rlimits = rlimits,
		.n_rlimits = 1,
		.binds = binds,
		.n_binds = 2,
	};
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct keeper_fds fds = { .n = 0 };

	(void)keeper_pack_spec(&b, &fds, &spec, NULL); /* what comes of it is an input in any case */
	make_input(ret, 0, fds.n, &b);
}

static void sound_exec_spec(struct input *ret)
{
	const uint32_t groups[] = { 1, 2, 3 };
	const struct ct_exec_spec spec = {
		.argv = (const char *const[]){ "ls", "-l", NULL },
		.env = (const char *const[]){ "A=B", NULL },
		.cwd = "/",
		.groups = groups,
		.n_groups = 3,
		.init_pidfd = 3,
		.cgroup_fd = 4,
		.stdio = { 5, 6, 7 },
	};
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct keeper_fds fds = { .n = 0 };

	(void)keeper_pack_exec_spec(&b, &fds, &spec, NULL); /* as above */
	make_input(ret, 1, fds.n, &b);
}

static void sound_state(struct input *ret)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	_cleanup_close_ int fd = -1;
	char text[INPUT_MAX];
	struct keeper k;
	struct keeper_child *child;
	ssize_t n;

	if (keeper_init(&k, NULL) < 0)
		return;
	child = keeper_child_new(&k, "c/1");
	if (child && keeper_console_new(&k, -1, &child->console) == 0)
		keeper_ring_add(&child->console->ring, "hello", 5);
	fd = keeper_state_save(&k);
	n = fd < 0 ? 0 : read_all(fd, text, sizeof(text));
	(void)strbuf_add(&b, text, n > 0 ? (size_t)n : 0); /* as above */
	make_input(ret, 2, 0, &b);
	keeper_done(&k);
}

/* xorshift64 */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void mutate(struct input *in, uint64_t *random)
{
	static const uint32_t words[] = { 0, 1, 2, 7, 24, 127, 128, 255, 256, 65535, 65536, INT32_MAX,
		0x80000000u, UINT32_MAX };

	for (uint64_t n = next_random(random) % 6 + 1; n > 0; n--) {
		size_t at = in->len > 3 ? 2 + next_random(random) % (in->len - 2) : 1;
		size_t word_at = at < 2 ? 2 : 2 + (at - 2) / 4 * 4; /* numbers are aligned in the message */
		uint32_t word = words[next_random(random) % ARRAY_SIZE(words)];

		switch (next_random(random) % 6) {
		case 0: in->data[at] = (uint8_t)next_random(random); break;
		case 1: in->data[at] ^= (uint8_t)(1u << next_random(random) % 8); break;
		case 2:
			if (word_at + 4 <= in->len)
				memcpy(in->data + word_at, &word, 4);
			break;
		case 3: in->len = at; break;
		case 4:
			word = (uint32_t)(next_random(random) %
			                  (in->len + 16)); /* an offset that may well be sound */
			if (word_at + 4 <= in->len)
				memcpy(in->data + word_at, &word, 4);
			break;
		case 5: in->data[1] = (uint8_t)next_random(random); break;
		}
	}
}

/* Files of the directory into inputs; how many. */
static size_t read_corpus(const char *path, struct input *inputs, size_t max)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct dirent *entry;
	size_t n = 0;

	while (dir && n < max && (entry = readdir(dir))) {
		_cleanup_close_ int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t len =
		        fd < 0 || entry->d_name[0] == '.' ? -1 : read_all(fd, inputs[n].data, INPUT_MAX);

		if (len >= 0)
			inputs[n++].len = (size_t)len;
	}
	return n;
}

int main(int argc, char **argv)
{
	_cleanup_free_ struct input *inputs = calloc(INPUTS_MAX + 1, sizeof(*inputs));
	uint64_t random = 88172645463325252u, rounds = 0;
	size_t n = 3, corpus;

	if (!inputs || argc < 2 || (argc == 4 && parse_u64(argv[2], &rounds) < 0)) {
		fprintf(stderr, "usage: fuzz-keeper-unpack [--mutate N] DIRECTORY\n");
		return 2;
	}

	sound_spec(&inputs[0]);
	sound_exec_spec(&inputs[1]);
	sound_state(&inputs[2]);
	corpus = read_corpus(argv[argc - 1], inputs + n, INPUTS_MAX - n);
	n += corpus;
	if (corpus == 0) {
		fprintf(stderr, "fuzz-keeper-unpack: no inputs in \"%s\"\n", argv[argc - 1]);
		return 1;
	}

	for (size_t i = 0; i < n; i++)
		(void)LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].len); /* always 0 */

	for (uint64_t i = 0; i < rounds; i++) {
		struct input *scratch = &inputs[INPUTS_MAX];

		*scratch = inputs[next_random(&random) % n];
		mutate(scratch, &random);
		(void)LLVMFuzzerTestOneInput(scratch->data, scratch->len); /* always 0 */
	}

	printf("%zu inputs, %llu made from them, sum %lu\n", n, (unsigned long long)rounds, sum);
	return 0;
}
