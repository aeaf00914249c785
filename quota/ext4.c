/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ext4 in a file.
 *
 * What is sold is what can be stored: the file is longer by the inode tables, the journal and the few
 * megabytes that the kernel keeps back for itself (s_resv_clusters: 2 %, at most 16 MiB). How much that is
 * depends on the number of block groups, so mke2fs is run, its superblock read, and if need be it is run
 * again with a better size; it takes some 20 ms, for a sparse file needs no zeroing
 * (assume_storage_prezeroed, e2fsprogs 1.47): nor does the kernel then write inode tables in the background,
 * which would make a thin image thick.
 *
 * Tools get the file as /proc/self/fd/N: no path of the store is walked, none of a tenant's words is an
 * argument.
 */
#include "quota/ext4.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"

#define EXT4_BLOCK           4096ULL
#define EXT4_GROUP           (32768 * EXT4_BLOCK) /* bytes in a block group */
#define EXT4_INODE           256ULL
#define EXT4_BYTES_PER_INODE 16384ULL
#define EXT4_SLACK           (1ULL << 20)
#define EXT4_JOURNAL_MAX_MB  64 /* a circle that is written all over: what a thin image never gives back */
#define EXT4_TOOL_TIMEOUT    (3600 * USEC_PER_SEC)

#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS                                                                                   \
	_IOW('f', 16, uint64_t) /* in no header before linux/ext4.h of 5.19, which not all have */
#endif

/* The superblock, as far as it is wanted here; little endian, at byte 1024 of the file system. */
struct ext4_super {
	uint32_t inodes_count, blocks_count_lo, r_blocks_count_lo, free_blocks_count_lo; /* 0x00 */
	uint32_t free_inodes_count, first_data_block, log_block_size, log_cluster_size;  /* 0x10 */
	uint32_t blocks_per_group, clusters_per_group, inodes_per_group, mtime;          /* 0x20 */
	uint32_t wtime;                                                                  /* 0x30 */
	uint16_t mnt_count, max_mnt_count, magic, state;
	uint8_t other_1[0x150 - 0x3c];
	uint32_t blocks_count_hi, r_blocks_count_hi, free_blocks_count_hi; /* 0x150 */
	uint8_t other_2[0x248 - 0x15c];
	uint32_t overhead_clusters; /* 0x248 */
	uint8_t other_3[0x400 - 0x24c];
};
_Static_assert(sizeof(struct ext4_super) == 1024, "layout of the superblock");
_Static_assert(offsetof(struct ext4_super, magic) == 0x38, "layout of the superblock");
_Static_assert(offsetof(struct ext4_super, blocks_count_hi) == 0x150, "layout of the superblock");
_Static_assert(offsetof(struct ext4_super, overhead_clusters) == 0x248, "layout of the superblock");

#define EXT4_MAGIC 0xEF53

static uint64_t lo_hi(uint32_t lo, uint32_t hi)
{
	return (uint64_t)le32toh(hi) << 32 | le32toh(lo);
}

static int read_super(int fd, struct ext4_super *ret)
{
	ssize_t n = pread(fd, ret, sizeof(*ret), 1024);

	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(*ret) || le16toh(ret->magic) != EXT4_MAGIC ||
	        le32toh(ret->log_block_size) != 2)
		return -EBADMSG;

	return 0;
}

int ext4_read(int fd, struct ext4_size *ret, struct ct_error *err)
{
	struct ext4_super super;
	uint64_t blocks, overhead;
	int r;

	r = read_super(fd, &super);
	if (r < 0)
		return ct_error_set(err, r, "image", "the disk image holds no ext4 file system of ours: %s",
		        strerror(-r));

	blocks = lo_hi(super.blocks_count_lo, super.blocks_count_hi);
	overhead = le32toh(super.overhead_clusters);
	if (overhead > blocks)
		overhead = 0;

	*ret = (struct ext4_size){
		.bytes_file = blocks * EXT4_BLOCK,
		.bytes_total = (blocks - overhead) * EXT4_BLOCK,
		.bytes_free = lo_hi(super.free_blocks_count_lo, super.free_blocks_count_hi) * EXT4_BLOCK,
		.inodes_total = le32toh(super.inodes_count),
		.inodes_free = le32toh(super.free_inodes_count),
	};
	return 0;
}

/* Runs a tool on the file; output is its words, kept for the message and for *ret_output (may be NULL). The
 * exit status. */
static int tool_run(const char *const argv[], int fd, char **ret_output, struct ct_error *err)
{
	struct process_options options = PROCESS_OPTIONS_INIT;
	_cleanup_close_ int output = -1, pidfd = -1;
	_cleanup_free_ char *text = NULL;
	int r;

	output = memfd_create("output", MFD_CLOEXEC);
	if (output < 0)
		return ct_error_set(
		        err, -errno, "image", "cannot make a file in memory: %s", strerror(errno));

	options.stdout_fd = options.stderr_fd = output;
	options.keep_fds = &fd;
	options.n_keep = 1;
	options.death_signal = SIGKILL; /* nothing goes on writing to a file that was given up */
	pidfd = process_spawn(argv, &options, NULL);
	if (pidfd < 0)
		return ct_error_set(err, pidfd, "image",
		        "cannot run %s: %s; Debian has it in the package e2fsprogs", argv[0],
		        strerror(-pidfd));

	r = process_wait(pidfd, EXT4_TOOL_TIMEOUT);
	if (r < 0)
		return ct_error_set(err, r, "image", "%s did not end: %s", argv[0], strerror(-r));

	if (ret_output) {
		char path[32];
		int r2;

		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", output);
		r2 = read_file_at(AT_FDCWD, path, 1 << 20, &text, NULL);
		if (r2 < 0)
			return ct_error_set(
			        err, r2, "image", "cannot read what %s says: %s", argv[0], strerror(-r2));
		*ret_output = TAKE_PTR(text);
	}

	return r;
}

/* The last line of what a tool said, for a message. */
static const char *last_words(char *output, char *buf, size_t size)
{
	char *line;

	for (size_t len = strlen(output); len > 0 && output[len - 1] == '\n'; len--)
		output[len - 1] = '\0';
	line = strrchr(output, '\n');
	line = line ? line + 1 : output;

	return str_escape_to(buf, size, line, strlen(line));
}

static int tool_must(const char *const argv[], int fd, int highest_good_status, struct ct_error *err)
{
	_cleanup_free_ char *output = NULL;
	char words[200];
	int r;

	r = tool_run(argv, fd, &output, err);
	if (r < 0)
		return r;
	if (r > highest_good_status)
		return ct_error_set(err, -EIO, "image", "%s failed with status %d: %s", argv[0], r,
		        last_words(output, words, sizeof(words)));

	return 0;
}

/* In MiB: e2fsprogs' own choice up to 16G, and no more above. */
static unsigned int journal_size(uint64_t file_size)
{
	if (file_size < 128ULL << 20)
		return 4;
	if (file_size < 1ULL << 30)
		return 16;
	if (file_size < 2ULL << 30)
		return 32;

	return EXT4_JOURNAL_MAX_MB;
}

static int run_mke2fs(int fd, uint64_t file_size, uint64_t inodes, struct ct_error *err)
{
	char path[32], count[32], journal[32];

	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)file_size) < 0)
		return ct_error_set(
		        err, -errno, "image", "cannot set the size of the disk image: %s", strerror(errno));

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)snprintf(count, sizeof(count), "%llu",
	        (unsigned long long)(inodes > 0 ? inodes : EXT4_BYTES_PER_INODE));
	(void)snprintf(journal, sizeof(journal), "size=%u", journal_size(file_size));
	const char *const argv[] = {
		"mkfs.ext4",
		"-q",
		"-F",
		"-b",
		"4096",
		"-I",
		"256",
		"-m",
		"0",
		"-J",
		journal,
		"-E",
		"assume_storage_prezeroed=1,lazy_itable_init=1,nodiscard",
		inodes > 0 ? "-N" : "-i",
		count,
		"--",
		path,
		NULL,
	};
	return tool_must(argv, fd, 0, err);
}

/* What the kernel keeps back of free blocks for its own use. */
static uint64_t kept_back(uint64_t bytes)
{
	uint64_t two_percent = bytes / 50;

	return two_percent < 4096 * EXT4_BLOCK ? two_percent : 4096 * EXT4_BLOCK;
}

static uint64_t round_to_block(uint64_t bytes)
{
	return (bytes + EXT4_BLOCK - 1) / EXT4_BLOCK * EXT4_BLOCK;
}

int ext4_make(int fd, uint64_t bytes, uint64_t inodes, struct ct_error *err)
{
	const uint64_t want = bytes + kept_back(bytes) + EXT4_SLACK;
	uint64_t file_size = round_to_block(
	        want + (inodes > 0 ? inodes : bytes / EXT4_BYTES_PER_INODE) * EXT4_INODE + bytes / 200);
	struct ext4_size made;
	int r;

	for (unsigned int attempt = 0; attempt < 8; attempt++) {
		r = run_mke2fs(fd, file_size, inodes, err);
		if (r < 0 || (r = ext4_read(fd, &made, err)) < 0)
			return r;

		if (made.bytes_free >= want &&
		        (attempt >= 2 || made.bytes_free - want <= want / 100 + EXT4_SLACK))
			break;
		if (made.bytes_free >= want)
			file_size = round_to_block(file_size - (made.bytes_free - want) + EXT4_SLACK / 2);
		else /* and a little for the inodes that come with it */
			file_size =
			        round_to_block(file_size + (want - made.bytes_free) * 103 / 100 + EXT4_SLACK);
	}

	if (made.bytes_free < want || made.inodes_total < inodes)
		return ct_error_set(err, -EINVAL, "image",
		        "mkfs.ext4 cannot make a file system of %llu bytes with %llu inodes",
		        (unsigned long long)bytes, (unsigned long long)inodes);

	return 0;
}

uint64_t ext4_file_size_for(const struct ext4_size *now, uint64_t bytes)
{
	const uint64_t groups = (now->bytes_file + EXT4_GROUP - 1) / EXT4_GROUP;
	/* A new group brings its share of inodes and two bitmaps; every 2^27 bytes of usable space are so
	 * much in the file. */
	const uint64_t per_group = now->inodes_total / groups * EXT4_INODE + 4 * EXT4_BLOCK;
	const uint64_t usable = EXT4_GROUP > 2 * per_group ? EXT4_GROUP - per_group : EXT4_GROUP / 2;
	const uint64_t want = bytes + kept_back(bytes) + EXT4_SLACK;
	uint64_t more;

	if (want >= now->bytes_total) {
		more = want - now->bytes_total;
		return round_to_block(now->bytes_file + more + (more + usable - 1) / usable * per_group);
	}

	more = now->bytes_total - want;
	return round_to_block(now->bytes_file - more - more / usable * per_group);
}

int ext4_grow_mounted(int dir_fd, uint64_t file_size)
{
	uint64_t blocks = file_size / EXT4_BLOCK;

	return ioctl(dir_fd, EXT4_IOC_RESIZE_FS, &blocks) < 0 ? -errno : 0;
}

int ext4_resize_file(int fd, uint64_t file_size, struct ct_error *err)
{
	const uint64_t blocks = file_size / EXT4_BLOCK;
	char path[32], count[32];
	struct stat st;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)snprintf(count, sizeof(count), "%llu", (unsigned long long)blocks);
	if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size < file_size && ftruncate(fd, (off_t)file_size) < 0))
		return ct_error_set(
		        err, -errno, "image", "cannot set the size of the disk image: %s", strerror(errno));

	/* resize2fs insists on it. Status 1: repaired. */
	r = tool_must((const char *const[]){ "e2fsck", "-f", "-p", "--", path, NULL }, fd, 1, err);
	if (r < 0)
		return r;

	r = tool_must((const char *const[]){ "resize2fs", "--", path, count, NULL }, fd, 0, err);
	if (r < 0)
		return r;

	if (ftruncate(fd, (off_t)(blocks * EXT4_BLOCK)) < 0 || fsync(fd) < 0)
		return ct_error_set(
		        err, -errno, "image", "cannot set the size of the disk image: %s", strerror(errno));

	return 0;
}

int ext4_minimum(int fd, uint64_t *ret, struct ct_error *err)
{
	_cleanup_free_ char *output = NULL;
	char path[32], words[200];
	uint64_t blocks;
	const char *colon;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = tool_run((const char *const[]){ "resize2fs", "-P", "--", path, NULL }, fd, &output, err);
	if (r < 0)
		return r;

	/* "Estimated minimum size of the filesystem: 1234" */
	(void)last_words(output, words, sizeof(words));
	colon = strrchr(words, ':');
	if (r != 0 || !colon || colon[1] != ' ' || parse_u64(colon + 2, &blocks) < 0)
		return ct_error_set(err, -EIO, "image", "resize2fs failed with status %d: %s", r, words);

	*ret = blocks * EXT4_BLOCK;
	return 0;
}
