/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sealed copies and build ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ctd/keeper-binary.h"

static void test_seal(void **state)
{
	_cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int sealed = keeper_binary_seal(self, NULL);
	_cleanup_close_ int again = -1;
	char path[32];
	struct stat a, b;

	assert_true(sealed >= 0);
	assert_true(keeper_binary_is_sealed(sealed));
	assert_false(keeper_binary_is_sealed(self));

	assert_int_equal(fstat(self, &a), 0);
	assert_int_equal(fstat(sealed, &b), 0);
	assert_int_equal(a.st_size, b.st_size);

	/* Not even through a new file description, as through /proc/PID/exe. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", sealed);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again >= 0)
		assert_int_equal(pwrite(again, "x", 1, 0), -1);
	assert_int_equal(ftruncate(sealed, 0), -1);
}

static void test_sealed_copy_runs(void **state)
{
	_cleanup_close_ int program = open("/bin/true", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int sealed = keeper_binary_seal(program, NULL);
	char *argv[] = { (char *)"true", NULL };
	int status;
	pid_t pid;

	assert_true(sealed >= 0);
	pid = fork();
	if (pid == 0) {
		(void)execveat(sealed, "", argv, argv + 1, AT_EMPTY_PATH);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_seal_refuses(void **state)
{
	_cleanup_close_ int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct ct_error error = { 0 };

	assert_int_equal(keeper_binary_seal(dir, &error), -ENOEXEC);
	assert_true(error.text[0]);
}

/* A file of ELF and program header and one segment of notes: one of another kind, then the build id. */
struct image {
	ElfW(Ehdr) header;
	ElfW(Phdr) segment;
	struct {
		ElfW(Nhdr) note;
		char name[8];
		char description[4];
	} other;
	struct {
		ElfW(Nhdr) note;
		char name[4];
		unsigned char description[20];
	} id;
};

static struct image sound_image(void)
{
	struct image i = {
		.header = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3 },
			.e_phoff = offsetof(struct image, segment),
			.e_phentsize = sizeof(ElfW(Phdr)),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_NOTE,
			.p_offset = offsetof(struct image, other),
			.p_filesz = sizeof(struct image) - offsetof(struct image, other),
		},
		.other = { .note = { .n_namesz = 6, .n_descsz = 3, .n_type = 1 }, .name = "Other" },
		.id = { .note = { .n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID }, .name = "GNU" },
	};

	for (size_t n = 0; n < sizeof(i.id.description); n++)
		i.id.description[n] = (unsigned char)(n * 13);
	return i;
}

static int build_id_of(const struct image *image, size_t len, char *ret, size_t size)
{
	_cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);

	assert_int_equal(write_all(fd, image, len), 0);
	return keeper_binary_build_id(fd, ret, size);
}

static void test_build_id(void **state)
{
	struct image image = sound_image();
	char id[KEEPER_BUILD_ID_SIZE], small[5];

	assert_int_equal(build_id_of(&image, sizeof(image), id, sizeof(id)), 0);
	assert_string_equal(id, "000d1a2734414e5b6875828f9ca9b6c3d0ddeaf7");
	assert_int_equal(build_id_of(&image, sizeof(image), small, sizeof(small)), 0);
	assert_string_equal(small, "000d");

	image.id.note.n_type = 1;
	assert_int_equal(build_id_of(&image, sizeof(image), id, sizeof(id)), -ENODATA);
}

static void test_damaged(void **state)
{
	const struct image sound = sound_image();
	char id[KEEPER_BUILD_ID_SIZE];
	struct image image;

	for (size_t len = 1; len < sizeof(sound); len++)
		assert_true(build_id_of(&sound, len, id, sizeof(id)) < 0);

	image = sound;
	image.other.note.n_namesz = UINT32_MAX;
	assert_int_equal(build_id_of(&image, sizeof(image), id, sizeof(id)), -ENODATA);
	image = sound;
	image.other.note.n_descsz = UINT32_MAX - 2;
	assert_int_equal(build_id_of(&image, sizeof(image), id, sizeof(id)), -ENODATA);
	image = sound;
	image.id.note.n_descsz = 200;
	assert_int_equal(build_id_of(&image, sizeof(image), id, sizeof(id)), -ENODATA);
	image = sound;
	image.header.e_ident[0] = '#';
	assert_int_equal(build_id_of(&image, sizeof(image), id, sizeof(id)), -ENOEXEC);
	image = sound;
	image.segment.p_offset = UINT64_MAX;
	assert_true(build_id_of(&image, sizeof(image), id, sizeof(id)) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seal),
		cmocka_unit_test(test_sealed_copy_runs),
		cmocka_unit_test(test_seal_refuses),
		cmocka_unit_test(test_build_id),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
