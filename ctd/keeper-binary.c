/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sealed copies of the keeper's binary, and its build id.
 *
 * A process that has entered a container can be made to open its own /proc/self/exe for writing, or another
 * inside can, and so replace a program of the host that root will run (CVE-2019-5736). A sealed memfd has no
 * name and cannot be written to by anybody.
 *
 * The build id is a note in the binary (ld --build-id), found through the program headers: section headers
 * may have been stripped. It is read with pread, so that a damaged file gives an error, never a fault.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "ctd/keeper-binary.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

#define SEALS     (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define NOTES_MAX 4096u

/* Linux 6.3 wants to be told that it will be executed (vm.memfd_noexec); older ones do not know the flag. */
static int make_memfd(void)
{
	int fd = memfd_create("ct-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("ct-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

static int copy_file(int from, int to)
{
	struct stat st;
	off_t at = 0;

	if (fstat(from, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;

	while (at < st.st_size) {
		ssize_t n = sendfile(to, from, &at, (size_t)(st.st_size - at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* it has become shorter */
	}
	return fchmod(to, 0500) < 0 ? -errno : 0;
}

int keeper_binary_seal(int fd, struct ct_error *err)
{
	_cleanup_close_ int copy = make_memfd();
	int r;

	if (copy < 0)
		return ct_error_set(err, copy, "seal", "cannot make a memfd: %s", strerror(-copy));

	r = copy_file(fd, copy);
	if (r < 0)
		return ct_error_set(err, r, "seal", "cannot copy the binary: %s", strerror(-r));
	if (fcntl(copy, F_ADD_SEALS, SEALS) < 0)
		return ct_error_set(err, -errno, "seal", "cannot seal the binary: %s", strerror(errno));

	return TAKE_FD(copy);
}

bool keeper_binary_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & SEALS) == SEALS;
}

static int read_at(int fd, void *data, size_t len, uint64_t offset)
{
	ssize_t n = pread(fd, data, len, (off_t)offset);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -ENOEXEC;
}

/* A segment of notes: name size, description size, type, then both, each padded to four bytes. */
static int find_build_id(const char *notes, size_t len, char *ret, size_t size)
{
	for (size_t at = 0; len - at >= sizeof(ElfW(Nhdr));) {
		ElfW(Nhdr) note;
		size_t name, description;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		if (note.n_namesz > len - name)
			break;
		description = name + (note.n_namesz + 3) / 4 * 4;
		if (description > len || note.n_descsz > len - description)
			break;

		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof(ELF_NOTE_GNU) &&
		        memcmp(notes + name, ELF_NOTE_GNU, sizeof(ELF_NOTE_GNU)) == 0 && note.n_descsz > 0) {
			size_t n = note.n_descsz < (size - 1) / 2 ? note.n_descsz : (size - 1) / 2;

			hex_encode(ret, notes + description, n);
			return 0;
		}

		at = description + (note.n_descsz + 3) / 4 * 4;
		if (at > len)
			break;
	}
	return -ENODATA;
}

int keeper_binary_build_id(int fd, char *ret, size_t size)
{
	ElfW(Ehdr) header;
	char notes[NOTES_MAX];
	int r;

	r = read_at(fd, &header, sizeof(header), 0);
	if (r < 0)
		return r;
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(ElfW(Phdr)))
		return -ENOEXEC;

	for (unsigned int i = 0; i < header.e_phnum; i++) {
		ElfW(Phdr) segment;

		r = read_at(fd, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment));
		if (r < 0)
			return r;
		if (segment.p_type != PT_NOTE || segment.p_filesz > sizeof(notes))
			continue;

		r = read_at(fd, notes, segment.p_filesz, segment.p_offset);
		if (r < 0)
			return r;
		if (find_build_id(notes, segment.p_filesz, ret, size) == 0)
			return 0;
	}
	return -ENODATA;
}
