/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feeds what criu might answer, and images of terminals that a tenant has had a hand in, to their readers.
 *
 *   fuzz-criu [--mutate N] DIRECTORY
 *
 * replays every file of the directory, then N inputs that a generator with a fixed seed makes from them. The
 * first byte of an input chooses the reader: a an answer, f the open files, t an image. What comes of it must
 * keep what criu.h promises; LLVMFuzzerTestOneInput is what libFuzzer wants.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"

#define INPUT_MAX  4096u
#define INPUTS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	uint8_t data[INPUT_MAX];
	size_t len;
};

static unsigned long accepted;

static void must(bool condition, const char *what)
{
	if (condition)
		return;
	(void)fprintf(stderr, "fuzz-criu: %s\n", what);
	abort();
}

static int on_notify(const char *script, pid_t pid, int *fd, void *userdata, struct ct_error *err)
{
	must(str_is_printable(script), "a notification with a name that cannot be shown");
	return 0;
}

/* It comes from a socket that criu has closed behind it. */
static void try_answer(const uint8_t *data, size_t size)
{
	const struct criu_request request = { .verb = CRIU_RESTORE };
	struct ct_error error = { 0 };
	int pair[2], r;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "no sockets");
	must(send_fds(pair[1], data, size, NULL, 0) == 0 && shutdown(pair[1], SHUT_WR) == 0, "no packet");
	r = criu_talk(pair[0], &request, on_notify, NULL, NULL, &error);
	must(r == 0 || (error.code < 0 && str_is_printable(error.text)), "a failure without a reason");
	accepted += r == 0;
	(void)fd_close(pair[0]);
	(void)fd_close(pair[1]);
}

static void try_image(const uint8_t *data, size_t size)
{
	_cleanup_strbuf_ struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
	int r = criu_console_rewrite((const char *)data, size, 77, &once);

	must(r == 0 || r == -EBADMSG, "an error of another kind");
	if (r < 0)
		return;
	accepted++;
	must(criu_console_rewrite(once.data, once.len, 78, &twice) == 0, "what was written does not read");
}

static void try_files(const uint8_t *data, size_t size)
{
	char name[64];
	int r = criu_files_find_bare((const char *)data, size, name, sizeof(name));

	must(r == 0 || r == 1 || r == -EBADMSG, "an error of another kind");
	must(r != 1 || str_is_printable(name), "a name that cannot be shown");
	accepted += r >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] == 'a')
		try_answer(data + 1, size - 1);
	else if (data[0] == 'f')
		try_files(data + 1, size - 1);
	else
		try_image(data + 1, size - 1);
	return 0;
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
	for (uint64_t n = next_random(random) % 4 + 1; n > 0 && in->len > 2; n--) {
		const size_t at = 1 + next_random(random) % (in->len - 1);
		const size_t len = next_random(random) % (in->len - at);

		switch (next_random(random) % 4) {
		case 0: in->data[at] = (uint8_t)next_random(random); break;
		case 1: in->data[at] ^= (uint8_t)(1u << next_random(random) % 8); break;
		case 2: in->len -= len; break; /* cut */
		case 3:                        /* a piece less */
			memmove(in->data + at, in->data + at + len, in->len - at - len);
			in->len -= len;
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
		        read_file_at(dirfd(dir), entry->d_name, INPUT_MAX, &data, &len) < 0)
			continue;
		memcpy(inputs[n].data, data, len);
		inputs[n++].len = len;
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct input inputs[INPUTS_MAX], one;
	uint64_t random = 0xc4151, rounds = 0;
	size_t n;

	if (argc == 4 && str_eq(argv[1], "--mutate"))
		must(parse_u64(argv[2], &rounds) == 0, "--mutate takes a number");
	else
		must(argc == 2, "usage: fuzz-criu [--mutate N] DIRECTORY");
	n = read_corpus(argv[argc - 1], inputs);
	must(n > 0, "the corpus is empty");

	for (size_t i = 0; i < n; i++)
		(void)LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].len); /* always 0 */
	must(accepted > 0, "nothing of the corpus was accepted");
	for (uint64_t i = 0; i < rounds; i++) {
		one = inputs[next_random(&random) % n];
		mutate(&one, &random);
		(void)LLVMFuzzerTestOneInput(one.data, one.len); /* always 0 */
	}
	(void)printf(
	        "%zu inputs, %llu made from them, %lu accepted\n", n, (unsigned long long)rounds, accepted);
	return 0;
}
