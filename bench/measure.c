/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Samples and their summary. Medians and ratios are what counts: absolute times depend on the machine and on
 * who else uses it. */
#include "bench/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "base/str.h"

void samples_add(struct samples *s, uint64_t usec)
{
	if (s->n < SAMPLES_MAX)
		s->usec[s->n++] = usec < UINT32_MAX ? (uint32_t)usec : UINT32_MAX;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

uint32_t samples_percentile(struct samples *s, unsigned p)
{
	size_t i;

	if (s->n == 0)
		return 0;
	qsort(s->usec, s->n, sizeof(*s->usec), by_value);
	i = s->n * p / 100;
	return s->usec[i < s->n ? i : s->n - 1];
}

int64_t measure_run(const char *const argv[])
{
	uint64_t begin = now_monotonic_usec();
	struct process_options options = PROCESS_OPTIONS_INIT;
	_cleanup_close_ int pidfd = -1;
	int status;

	options.env = (const char *const *)environ;
	pidfd = process_spawn(argv, &options, NULL);
	if (pidfd < 0)
		return pidfd;
	status = process_wait(pidfd, 60 * USEC_PER_SEC);
	if (status != 0)
		return status < 0 ? status : -EIO;
	return (int64_t)(now_monotonic_usec() - begin);
}

uint64_t measure_must(const char *const argv[])
{
	int64_t usec = measure_run(argv);

	if (usec >= 0)
		return (uint64_t)usec;
	(void)fprintf(stderr, "bench: failed:");
	for (size_t i = 0; argv[i]; i++)
		(void)fprintf(stderr, " %s", argv[i]);
	(void)fprintf(stderr, "\n");
	exit(EXIT_FAILURE);
}

void samples_print(struct samples *s, struct samples *base)
{
	uint32_t p50 = samples_percentile(s, 50), p99 = samples_percentile(s, 99);
	uint32_t floor = base ? samples_percentile(base, 50) : 0;

	(void)printf("%-10s %-28s %9.2f %9.2f %6zu", s->who, s->what, p50 / 1000.0, p99 / 1000.0, s->n);
	if (floor)
		(void)printf("  %6.2f", (double)p50 / floor);
	(void)printf("\n");
	(void)fflush(stdout);
}

void samples_json(FILE *file, struct samples *s, int first)
{
	(void)fprintf(file,
	        "%s\n  {\"who\": \"%s\", \"what\": \"%s\", \"p50_us\": %u, \"p99_us\": %u, \"n\": %zu}",
	        first ? "" : ",", s->who, s->what, samples_percentile(s, 50), samples_percentile(s, 99),
	        s->n);
}
