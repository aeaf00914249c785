/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feeds archives that nobody vouches for to extract_archive.
 *
 *   fuzz-extract [--mutate N] DIRECTORY
 *
 * replays every file of the directory, then N inputs made from them by a generator with a fixed seed: what
 * fails once fails again. In most of them the checksums of the tar headers are made right again, or nothing
 * but the first check would ever be tried. Meant for sanitizers; but whatever an input says, this must hold
 * without: nothing appears, changes or vanishes outside the tree, and the tree that was accepted has the
 * digest that was computed for it and goes through archive_tree. LLVMFuzzerTestOneInput is what libFuzzer
 * wants.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "quota/extract.h"

#define INPUT_MAX  (64u * 1024)
#define INPUTS_MAX 64u
#define BLOCK      512u

struct input {
	uint8_t *data;
	size_t len;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char home[64]; /* holds "outside" with one file, and "root" while an input is tried */

static void must(bool good, const char *what)
{
	if (good)
		return;

	(void)fprintf(stderr, "fuzz-extract: %s (errno %d), see %s\n", what, errno, home);
	abort();
}

static void make_home(void)
{
	_cleanup_close_ int dir = -1, fd = -1;

	(void)snprintf(home, sizeof(home), "/var/tmp/ctd-fuzz-XXXXXX");
	must(mkdtemp(home) != NULL, "cannot make a directory");
	dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir >= 0 && mkdirat(dir, "outside", 0755) == 0, "cannot make a directory");
	fd = openat(dir, "outside/secret", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	must(fd >= 0 && write_all(fd, "keep", 4) == 0, "cannot make a file");
}

static void check_outside(int dir)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;

	must(fstatat(dir, "outside/secret", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_nlink == 1 &&
	                (st.st_mode & 07777) == 0640 && st.st_uid == geteuid(),
	        "a file outside was changed");
	must(read_file_at(dir, "outside/secret", 64, &text, NULL) == 0 && str_eq(text, "keep"),
	        "a file outside was written to");
	must(fstatat(dir, "outside", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_nlink == 2 &&
	                (st.st_mode & 07777) == 0755,
	        "a directory outside was changed");
	must(unlinkat(dir, "outside", AT_REMOVEDIR) < 0 && errno == ENOTEMPTY,
	        "a directory outside was emptied");
	must(fstatat(dir, ".", &st, 0) == 0 && st.st_nlink == 4, "a directory was made outside");
}

static void check_accepted(int root, const struct extract_result *result)
{
	_cleanup_close_ int tar = memfd_create("tar", MFD_CLOEXEC);
	struct ct_error err = { 0 };
	char digest[65];

	must(tree_digest(root, digest, &err) == 0 && str_eq(digest, result->digest),
	        "the digest is not the tree's");
	must(tar >= 0 && archive_tree(root, tar, &err) == 0, "what was unpacked cannot be packed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct extract_options options = {
		.max_bytes = 1 << 20, .max_entries = 200, .skip_devices = size & 1
	};
	_cleanup_close_ int dir = -1, root = -1, archive = memfd_create("input", MFD_CLOEXEC);
	struct extract_result result;
	struct ct_error err = { 0 };
	int r;

	if (!home[0])
		make_home();
	dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	root = open_or_mkdir(dir, "root", 0700);
	must(archive >= 0 && root >= 0 && write_all(archive, data, size) == 0 &&
	                lseek(archive, 0, SEEK_SET) == 0,
	        "cannot prepare");

	r = extract_archive(archive, root, &options, &result, &err);
	must(r <= 0 && (r == 0 || (err.code == r && err.text[0])), "an error without words");
	must(str_is_printable(err.text), "an error with control characters");
	check_outside(dir);
	if (r == 0)
		check_accepted(root, &result);

	must(remove_tree_at(dir, "root") == 0, "what was unpacked cannot be removed");
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

static void mend_checksums(struct input *in)
{
	for (size_t at = 0; at + BLOCK <= in->len; at += BLOCK) {
		uint8_t *header = in->data + at;
		unsigned int sum = 0;
		char text[8];

		if (memcmp(header + 257, "ustar", 5) != 0)
			continue;
		memset(header + 148, ' ', 8);
		for (size_t i = 0; i < BLOCK; i++)
			sum += header[i];
		(void)snprintf(text, sizeof(text), "%06o", sum & 0777777);
		memcpy(header + 148, text, 7);
	}
}

/* One change, mostly of a byte in a header, where the meaning is. */
static void mutate_once(struct input *in, const struct input *other, uint64_t *state)
{
	static const char *const words[] = { "../", "/", "./", "..", "7777777", "\377\377\377\377", "0", "1",
		"2", "3", "5", "6", "7", "x", "L", "K", "S" };
	const uint64_t r = next_random(state);
	const char *word = words[(r >> 40) % ARRAY_SIZE(words)];
	size_t at = (r >> 8) % in->len;

	if (r & 0x80) /* into the first half kilobyte of some block */
		at = at / BLOCK * BLOCK + (size_t)(r >> 32) % 160;
	if (at + 16 > in->len)
		return;

	switch (r % 6) {
	case 0: in->data[at] ^= (uint8_t)(1u << (r >> 60 & 7)); break;
	case 1: in->data[at] = (uint8_t)(r >> 50); break;
	case 2: memcpy(in->data + at, word, strlen(word)); break;
	case 3: /* another type of entry */
		at = at / BLOCK * BLOCK + 156;
		if (at < in->len)
			in->data[at] = (uint8_t)("0123456gxLKS"[(r >> 20) % 12]);
		break;
	case 4: /* a block of another archive */
		at = at / BLOCK * BLOCK;
		if (at + BLOCK <= in->len && other->len >= BLOCK)
			memcpy(in->data + at, other->data + (r >> 24) % (other->len / BLOCK) * BLOCK, BLOCK);
		break;
	case 5:
		if ((r >> 20) % 8 == 0)
			in->len = at + 16;
		break;
	}
}

static void try_mutants(const struct input *inputs, size_t n, uint64_t rounds)
{
	_cleanup_free_ uint8_t *room = malloc(INPUT_MAX);
	uint64_t state = 0x9e3779b97f4a7c15;

	must(room != NULL, "out of memory");
	for (uint64_t i = 0; i < rounds; i++) {
		const struct input *from = &inputs[next_random(&state) % n];
		struct input in = { .data = room, .len = from->len };

		memcpy(room, from->data, from->len);
		for (uint64_t k = next_random(&state) % 4; k < 4 && in.len > 0; k++)
			mutate_once(&in, &inputs[next_random(&state) % n], &state);
		if (next_random(&state) % 8 != 0)
			mend_checksums(&in);
		(void)LLVMFuzzerTestOneInput(in.data, in.len); /* always 0 */
	}
}

static size_t load(const char *path, struct input inputs[static INPUTS_MAX])
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	const struct dirent *entry;
	size_t n = 0;

	must(dir != NULL, "cannot open the corpus");
	while ((entry = readdir(dir)) && n < INPUTS_MAX) {
		if (entry->d_name[0] == '.')
			continue;
		must(read_file_at(dirfd(dir), entry->d_name, INPUT_MAX, (char **)&inputs[n].data,
		             &inputs[n].len) == 0,
		        "cannot read a file of the corpus");
		n++;
	}

	return n;
}

int main(int argc, char *argv[])
{
	struct input inputs[INPUTS_MAX] = { 0 };
	uint64_t rounds = 0;
	size_t n;

	if (argc == 4 && str_eq(argv[1], "--mutate") && parse_u64(argv[2], &rounds) == 0) {
		argv += 2;
		argc -= 2;
	}
	if (argc != 2) {
		(void)fprintf(stderr, "usage: fuzz-extract [--mutate N] DIRECTORY\n");
		return 2;
	}

	n = load(argv[1], inputs);
	must(n > 0, "the corpus is empty");
	for (size_t i = 0; i < n; i++)
		(void)LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].len); /* always 0 */
	try_mutants(inputs, n, rounds);

	for (size_t i = 0; i < n; i++)
		free(inputs[i].data);
	must(remove_tree_at(AT_FDCWD, home) == 0, "cannot clean up");
	printf("%zu files, %llu mutants\n", n, (unsigned long long)rounds);
	return 0;
}
