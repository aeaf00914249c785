/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long the disk operations take: `meson test --benchmark quota-disk`. Each is done N times on a store of
 * its own below /var/tmp, over an empty template and over one of FILES files, since neither making nor
 * mounting a disk may depend on what the template holds. Prints a line of JSON for each. Needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "quota/disk.h"
#include "quota/probe.h"

#define ROUNDS 200
#define FILES  5000

static double samples[6][ROUNDS];

static double now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void must(int r, const struct ct_error *err)
{
	if (r >= 0)
		return;

	(void)fprintf(stderr, "bench: %s (%s)\n", err->text, strerror(-r));
	exit(1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(const char *driver, const char *template, const char *what, double *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare);
	printf("{\"driver\": \"%s\", \"template\": \"%s\", \"what\": \"%s\", \"n\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
	        driver, template, what, n, times[n / 2], times[n * 99 / 100]);
}

static void bench(
        struct disk_store *store, enum disk_driver driver, const char *digest, const char *template, size_t n)
{
	static const char *const names[] = { "create", "mount", "usage running", "unmount", "usage stopped",
		"discard" };
	_cleanup_close_ int userns = probe_userns_new(1000000);
	struct ct_error err = { 0 };
	char ctid[32];

	for (size_t i = 0; i < n; i++) {
		struct disk_spec spec = { .ctid = ctid,
			.driver = driver,
			.template_digest = digest,
			.natives = disk_natives_default,
			.bytes = driver == DISK_DRIVER_DIR ? 0 : 10ULL << 30 };
		struct disk_natives natives;
		struct disk_usage usage;
		double t[7];
		int fd;

		(void)snprintf(ctid, sizeof(ctid), "c-%zu", i);
		t[0] = now_ms();
		must(disk_create(store, &spec, &err), &err);
		t[1] = now_ms();
		must(fd = disk_mount_native(store, &spec, userns, &natives, &err), &err);
		t[2] = now_ms();
		must(disk_usage(store, &spec, &usage, &err), &err);
		t[3] = now_ms();
		disk_natives_done(&natives);
		must(close(fd), &err);
		t[4] = now_ms();
		must(disk_usage(store, &spec, &usage, &err), &err);
		t[5] = now_ms();
		must(disk_discard(store, &spec, &err), &err);
		t[6] = now_ms();
		for (size_t k = 0; k < ARRAY_SIZE(names); k++)
			samples[k][i] = t[k + 1] - t[k];
	}

	for (size_t k = 0; k < ARRAY_SIZE(names); k++)
		print(disk_driver_name(driver), template, names[k], samples[k], n);
	must(disk_store_sweep(store, NULL, NULL, &err), &err);
}

static void make_templates(struct disk_store *store)
{
	static const char *const empty[] = { "/home", "/opt", "/srv", "/tmp", "/var/mail",
		"/var/tmp" }; /* as Debian */
	_cleanup_close_ int small = mkdirs_in_root(disk_store_fd(store), "templates/00/root/etc", 0755);
	_cleanup_close_ int large = mkdirs_in_root(disk_store_fd(store), "templates/01/root/etc", 0755);
	struct ct_error err = { .text = "cannot make the templates" };
	char name[32];

	must(small, &err);
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
		_cleanup_free_ char *full = str_printf("templates/00/root%s", empty[i]);
		_cleanup_close_ int fd = full ? mkdirs_in_root(disk_store_fd(store), full, 0755) : -ENOMEM;

		must(fd, &err);
	}
	must(large, &err);
	for (unsigned int i = 0; i < FILES; i++) {
		(void)snprintf(name, sizeof(name), "file-%u", i);
		must(mknodat(large, name, S_IFREG | 0644, 0), &err);
	}
}

int main(void)
{
	struct disk_store *store = NULL;
	struct ct_error err = { .text = "cannot make a directory" };
	char dir[] = "/var/tmp/ctd-bench-XXXXXX";

	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: needs root to mount\n");
		return 77;
	}

	must(mkdtemp(dir) ? 0 : -errno, &err);
	must(disk_store_open(dir, &store, &err), &err);
	make_templates(store);
	bench(store, DISK_DRIVER_DIR, "00", "empty", ROUNDS);
	bench(store, DISK_DRIVER_DIR, "01", "5000 files", ROUNDS);
	if (access("/dev/loop-control", W_OK) == 0)
		bench(store, DISK_DRIVER_IMAGE, "00", "empty", ROUNDS / 4);

	disk_store_close(store);
	return remove_tree_at(AT_FDCWD, dir) < 0;
}
