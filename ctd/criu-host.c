/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether what CRIU has dumped on one host can be restored on another.
 *
 * A program looks once which instructions the processor has, and uses them from then on: all that were there
 * must be here. The rest of /proc/cpuinfo's flags is the kernel's business, and differs between hosts that
 * fit. An older CRIU does not read all images of a newer one, and an older kernel lacks what a newer one has
 * given to the tasks.
 */
#include "ctd/criu-host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"

#define NFTABLES     "nftables" /* how the network is held in a dump */
#define NOTE         "host.json"
#define NOTE_MAX     65536
#define CPUINFO_MAX  (16 * 1024 * 1024)
#define ASK_USEC     (5 * USEC_PER_SEC)
#define ASK_MAX      4096
#define AGAIN_USEC   (10 * USEC_PER_SEC)
#define STAT_MAX     65536
#define SHOWN_MAX    5
#define ROUNDS_DEPTH 2 /* criu-rounds.h */

/* Beginnings of the names of instructions and registers that programs use as they find them. */
static const char *const instructions[] = { "3dnow", "abm", "adx", "aes", "amx", "avx", "bmi", "cldemote",
	"clflush", "clwb", "clzero", "cmov", "cx16", "cx8", "enqcmd", "f16c", "fma", "fpu", "fsgsbase",
	"fxsr", "gfni", "hle", "lahf", "mmx", "monitorx", "movbe", "movdir", "ospke", "pclmul", "pku",
	"popcnt", "rdpid", "rdrand", "rdseed", "rdtscp", "rtm", "serialize", "sha", "sse", "ssse", "tbm",
	"vaes", "vpclmul", "waitpkg", "xop", "xsave" };

static bool find(struct stat *ret)
{
	_cleanup_free_ char *path = NULL;

	return process_path("criu", &path) >= 0 && stat(path, ret) == 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void ask(struct criu_program *ret)
{
	static const char *const version[] = { "criu", "--version", NULL };
	static const char *const lock[] = { "criu", "check", "--feature", "network_lock_nftables", NULL };
	_cleanup_free_ char *text = NULL, *ignored = NULL;
	const char *at;

	*ret = (struct criu_program){ 0 };
	(void)process_run(version, ASK_USEC, ASK_MAX, &text); /* what it says counts */
	at = text ? strstr(text, "Version: ") : NULL;
	if (at)
		(void)sscanf(at, "Version: %31[0-9.]", ret->version); /* else empty */
	ret->nftables = process_run(lock, ASK_USEC, ASK_MAX, &ignored) == 0;
}

void criu_host_program(struct criu_program *ret)
{
	static struct criu_program known;
	static struct stat file; /* that it is of; zero: of none */
	static uint64_t asked_usec;
	struct stat now;

	*ret = (struct criu_program){ 0 };
	if (!find(&now))
		return;
	/* ctd's loop stands still for it. Without an answer, as on a host that is short of something: it is
	 * asked again, in time. */
	if (!is_same(&now, &file) ||
	        ((!*known.version || !known.nftables) && now_monotonic_usec() - asked_usec >= AGAIN_USEC)) {
		ask(&known);
		file = now;
		asked_usec = now_monotonic_usec();
	}
	*ret = known;
}

/* Zero without it, as of a host without swap. */
static uint64_t number_of(int cgroup_fd, const char *file)
{
	uint64_t value = 0;

	(void)read_u64_at(cgroup_fd, file, &value);
	return value;
}

static uint64_t stat_of(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line ? strtoull(line + strlen(key), NULL, 10) : 0;
}

uint64_t criu_host_memory(int cgroup_fd)
{
	_cleanup_free_ char *text = NULL;
	uint64_t all = number_of(cgroup_fd, "memory.current"), cached = 0;

	if (read_file_at(cgroup_fd, "memory.stat", STAT_MAX, &text, NULL) >= 0)
		cached = stat_of(text, "\nfile ") - stat_of(text, "\nshmem ");
	return (cached < all ? all - cached : all) + number_of(cgroup_fd, "memory.swap.current");
}

/* depth: of the directories below that count too. */
static uint64_t size_of(int dir_fd, const char *name, unsigned int depth)
{
	_cleanup_closedir_ DIR *dir =
	        fdopendir(openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	uint64_t bytes = 0;
	struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir)))
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		else if (S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
		else if (S_ISDIR(st.st_mode) && *e->d_name != '.' && depth > 0)
			bytes += size_of(dirfd(dir), e->d_name, depth - 1);
	return bytes;
}

uint64_t criu_host_images_size(int images_fd)
{
	return size_of(images_fd, ".", ROUNDS_DEPTH);
}

static bool is_instruction(const char *flag)
{
	for (size_t i = 0; i < ARRAY_SIZE(instructions); i++)
		if (str_has_prefix(flag, instructions[i]))
			return true;
	return false;
}

/* Of the first processor; on others than x86 the line is called Features, and all of it counts. */
static int read_cpu(char **ret)
{
	_cleanup_strbuf_ struct strbuf flags = STRBUF_INIT;
	_cleanup_free_ char *text = NULL;
	char *line, *flag;
	bool all = false;
	int r = read_file_at(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &text, NULL);

	if (r < 0)
		return r;
	line = strstr(text, "\nflags");
	if (!line) {
		line = strstr(text, "\nFeatures");
		all = true;
	}
	line = line ? strchr(line, ':') : NULL;
	if (line) {
		line++;
		line[strcspn(line, "\n")] = '\0';
	}
	while (line && (flag = strsep(&line, " ")))
		if (*flag && (all || is_instruction(flag)))
			(void)strbuf_printf(&flags, "%s%s", flags.len ? " " : "", flag); /* remembered */
	(void)strbuf_puts(&flags, "");
	*ret = strbuf_take(&flags);
	return *ret ? 0 : -ENOMEM;
}

int criu_host_describe(json_t **ret, struct ct_error *err)
{
	_cleanup_free_ char *cpu = NULL;
	struct criu_program criu;
	struct utsname uts;
	int r = read_cpu(&cpu);

	if (r < 0)
		return ct_error_set(err, r, "criu", "cannot read \"/proc/cpuinfo\": %s", strerror(-r));
	(void)uname(&uts); /* cannot fail with a valid pointer */
	criu_host_program(&criu);
	*ret = json_pack("{s:s, s:s, s:s, s:s, s:s}", "machine", uts.machine, "kernel", uts.release, "criu",
	        criu.version, "cpu", cpu, "lock", criu.nftables ? NFTABLES : "iptables");
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "criu", "out of memory");
}

int criu_host_note(int images_fd, const json_t *host, struct ct_error *err)
{
	_cleanup_close_ int fd = openat(images_fd, NOTE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	_cleanup_free_ char *text = json_dumps(host, JSON_COMPACT | JSON_SORT_KEYS);
	int r;

	r = fd < 0 ? -errno : !text ? -ENOMEM : write_all(fd, text, strlen(text));
	return r < 0 ? ct_error_set(err, r, "criu", "cannot write \"" NOTE "\": %s", strerror(-r)) : 0;
}

int criu_host_noted(int images_fd, json_t **ret)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = read_file_at(images_fd, NOTE, NOTE_MAX, &text, &len);

	return r < 0 ? r : json_parse(text, len, ret, NULL);
}

static const char *text_of(const json_t *host, const char *key)
{
	return json_string_value(json_object_get(host, key)) ?: "";
}

/* Up to three numbers with dots between them; what follows is nobody's business. */
static void read_version(const char *text, unsigned int ret[3])
{
	memset(ret, 0, 3 * sizeof(*ret));
	(void)sscanf(text, "%u.%u.%u", &ret[0], &ret[1], &ret[2]); /* zero where there is none */
}

/* Of the first n numbers. */
static bool is_older(const char *a, const char *b, unsigned int n)
{
	unsigned int left[3], right[3];

	read_version(a, left);
	read_version(b, right);
	for (unsigned int i = 0; i < n; i++)
		if (left[i] != right[i])
			return left[i] < right[i];
	return false;
}

static bool has_word(const char *list, const char *word, size_t len)
{
	for (const char *at = list; *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");

		if (n == len && memcmp(at, word, len) == 0)
			return true;
		at += n;
	}
	return false;
}

static int check_cpu(const char *from, const char *to, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf missing = STRBUF_INIT;
	unsigned int n = 0;

	for (const char *at = from; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");

		if (!has_word(to, at, len) && n++ < SHOWN_MAX)
			(void)strbuf_printf(
			        &missing, " %.*s", (int)(len < 32 ? len : 32), at); /* to be shown */
		at += len;
	}
	if (n == 0)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
	        "its programs may use instructions that the processor there lacks:%s%s (move it stopped)",
	        missing.data ?: "", n > SHOWN_MAX ? " and others" : "");
}

int criu_host_fits(const json_t *from, const json_t *to, struct ct_error *err)
{
	const char *a = text_of(from, "machine"), *b = text_of(to, "machine");

	if (!str_eq(a, b))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "its processes are of a %.32s, and that node is a %.32s (move it stopped)", a, b);
	a = text_of(from, "criu");
	b = text_of(to, "criu");
	if (!*a || !*b || is_older(b, a, 3))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "its processes were saved by criu %.31s, and that node has %.31s: install the same or a newer one there",
		        *a ? a : "of an unknown version", *b ? b : "one of an unknown version");
	if (str_eq(text_of(from, "lock"), NFTABLES) && !str_eq(text_of(to, "lock"), NFTABLES))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "its network was held by nf_tables when it was saved, and the criu of that node cannot let it go (criu check --feature network_lock_nftables): install one there that is built with it");
	a = text_of(from, "kernel");
	b = text_of(to, "kernel");
	if (is_older(b, a, 2))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "its processes were saved on Linux %.64s, and that node has %.64s: boot the same or a newer one there",
		        a, b);
	return check_cpu(text_of(from, "cpu"), text_of(to, "cpu"), err);
}
