/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CRIU 3.17 does not save of a thread, and can be given to it from outside.
 *
 * On which CPUs it may run (sched_setaffinity(2)), the order of its I/O (ioprio_set(2)), how far its timers
 * may be late (PR_SET_TIMERSLACK of prctl(2)), that its children begin with the usual policy
 * (SCHED_RESET_ON_FORK of sched_setscheduler(2); with that CRIU would not restore it at all, so it is kept
 * from seeing it: criu-finish.c), that it is not as nice as the leader of its threads (nice(2)), and of a
 * process what is in its core dump (core(5)). Noted with the images, a line for each thread that has
 * something of it:
 *
 *      NUMBER-INSIDE [cpus=0-1] [io=16388] [slack=1] [reset] [nice=0] [dump=7f]
 *
 * Nothing of it decides whether it may go on: what cannot be had here is left as it is.
 */
#include "ctd/worker-suspend-threads.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/cpu-list.h"
#include "ctd/worker-suspend-notes.h"

#define NOTE          "ctd-threads"
#define CPUS          "cpuset.cpus.effective"
#define CPUS_MAX      65536
#define DEFAULT_SLACK 50000 /* nanoseconds */
#define DEFAULT_DUMP  0x33

/* ---- in order */

static int compare(const void *a, const void *b)
{
	const struct restore_thread *x = a, *y = b;

	return (x->inside > y->inside) - (x->inside < y->inside);
}

void suspend_threads_sort(struct restore_threads *threads)
{
	if (threads->n > 0)
		qsort(threads->list, threads->n, sizeof(*threads->list), compare);
}

const struct restore_thread *suspend_threads_find(const struct restore_threads *threads, pid_t inside)
{
	const struct restore_thread key = { .inside = inside };

	return threads->n > 0 ? bsearch(&key, threads->list, threads->n, sizeof(key), compare) : NULL;
}

/* ---- what they have */

/* Those of a thread of which nobody has said anything: of the nearest cgroup that has them. */
static void usual_cpus(int cgroup_fd, struct cpu_list *ret)
{
	char path[] = "../../../../../../../../" CPUS;
	_cleanup_free_ char *text = NULL;

	*ret = (struct cpu_list){ 0 };
	for (size_t at = strlen(path) - strlen(CPUS); !text; at -= strlen("../")) {
		if (read_file_at(cgroup_fd, path + at, CPUS_MAX, &text, NULL) < 0)
			text = NULL;
		if (at == 0)
			break;
	}
	if (!text && read_file_at(AT_FDCWD, "/sys/devices/system/cpu/online", CPUS_MAX, &text, NULL) < 0)
		return;
	(void)cpu_list_parse(text, ret); /* more than we can count: then all are noted */
}

static void note_cpus(pid_t tid, const struct cpu_list *usual, struct strbuf *line)
{
	struct cpu_list is = { 0 };

	if (sched_getaffinity(tid, sizeof(is.bits), (cpu_set_t *)is.bits) < 0 ||
	        memcmp(&is, usual, sizeof(is)) == 0)
		return;
	(void)strbuf_puts(line, " cpus=");
	cpu_list_print(&is, line);
}

static void note_io(pid_t tid, struct strbuf *line)
{
	const long is = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);

	if (is >= 0 && IOPRIO_PRIO_CLASS(is) != IOPRIO_CLASS_NONE)
		(void)strbuf_printf(line, " io=%ld", is);
}

static void note_nice(const struct restore_thread *t, struct strbuf *line)
{
	int is, leads;

	errno = 0; /* -1 is a value */
	is = getpriority(PRIO_PROCESS, (id_t)t->tid);
	leads = getpriority(PRIO_PROCESS, (id_t)t->leader);
	if (errno == 0 && is != leads)
		(void)strbuf_printf(line, " nice=%d", is);
}

static void note_number(
        pid_t tid, const char *file, int base, const char *format, uint64_t usual, struct strbuf *line)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *end;
	uint64_t is;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", tid, file); /* fits */
	if (read_file_at(AT_FDCWD, path, 64, &text, NULL) < 0)
		return;
	is = strtoull(text, &end, base);
	if (end == text || is == usual)
		return;
	(void)strbuf_printf(line, format, is);
}

static void note_thread(const struct restore_thread *t, const struct cpu_list *usual, struct strbuf *line)
{
	const int policy = sched_getscheduler(t->tid);

	if (policy < 0) /* it has just died */
		return;
	note_cpus(t->tid, usual, line);
	note_io(t->tid, line);
	note_number(t->tid, "timerslack_ns", 10, " slack=%" PRIu64, DEFAULT_SLACK, line);
	if (policy & SCHED_RESET_ON_FORK)
		(void)strbuf_puts(line, " reset");
	if (t->tid == t->leader)
		note_number(t->tid, "coredump_filter", 16, " dump=%" PRIx64, DEFAULT_DUMP, line);
	else
		note_nice(t, line);
}

int suspend_threads_save(
        int images_fd, int cgroup_fd, const struct restore_threads *threads, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf note = STRBUF_INIT, line = STRBUF_INIT;
	struct cpu_list usual;

	usual_cpus(cgroup_fd, &usual);
	for (size_t i = 0; i < threads->n && note.len <= SUSPEND_NOTE_MAX; i++) {
		strbuf_reset(&line);
		note_thread(&threads->list[i], &usual, &line);
		if (line.len > 0)
			(void)strbuf_printf(&note, "%d%s\n", threads->list[i].inside, line.data);
	}
	if (line.error)
		note.error = line.error;
	return suspend_note_write(images_fd, NOTE, &note, err);
}

/* ---- and get again */

static int set_cpus(const struct restore_thread *t, const char *value)
{
	struct cpu_list list;
	int r = cpu_list_parse(value, &list);

	if (r >= 0)
		(void)sched_setaffinity(t->tid, sizeof(list.bits), (const cpu_set_t *)list.bits);
	return r;
}

/* Not before all others, which a container may not have. */
static int set_io(const struct restore_thread *t, const char *value)
{
	uint32_t number;
	int r = parse_u32(value, &number);

	if (r >= 0 && (IOPRIO_PRIO_CLASS(number) == IOPRIO_CLASS_BE ||
	                      IOPRIO_PRIO_CLASS(number) == IOPRIO_CLASS_IDLE))
		(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, t->tid, (int)number);
	return r;
}

static int set_slack(const struct restore_thread *t, const char *value)
{
	uint64_t nsec;
	char path[64];
	int r = parse_u64(value, &nsec);

	(void)snprintf(path, sizeof(path), "/proc/%d/timerslack_ns", t->tid); /* fits */
	if (r >= 0 && nsec > 0)
		(void)write_file_at(AT_FDCWD, path, value);
	return r;
}

static int set_reset(const struct restore_thread *t, const char *value)
{
	const int policy = sched_getscheduler(t->tid);
	struct sched_param param;

	if (policy >= 0 && sched_getparam(t->tid, &param) == 0)
		(void)sched_setscheduler(t->tid, policy | SCHED_RESET_ON_FORK, &param);
	return *value ? -EBADMSG : 0;
}

static int set_nice(const struct restore_thread *t, const char *value)
{
	int64_t nice;
	int r = parse_i64(value, &nice);

	if (r < 0 || nice < -20 || nice > 19)
		return -EBADMSG;
	(void)setpriority(PRIO_PROCESS, (id_t)t->tid, (int)nice);
	return 0;
}

static int set_dump(const struct restore_thread *t, const char *value)
{
	char path[64];

	if (strlen(value) == 0 || strlen(value) != strspn(value, "0123456789abcdef"))
		return -EBADMSG;
	(void)snprintf(path, sizeof(path), "/proc/%d/coredump_filter", t->tid); /* fits */
	(void)write_file_printf_at(AT_FDCWD, path, "0x%.8s", value);
	return 0;
}

static int set_one(const struct restore_thread *t, const char *word)
{
	static const struct {
		const char *key;
		int (*set)(const struct restore_thread *t, const char *value);
	} all[] = {
		{ "cpus=", set_cpus },
		{ "io=", set_io },
		{ "slack=", set_slack },
		{ "reset", set_reset },
		{ "nice=", set_nice },
		{ "dump=", set_dump },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (str_has_prefix(word, all[i].key))
			return all[i].set(t, word + strlen(all[i].key)) < 0 ? -EBADMSG : 0;
	return -EBADMSG;
}

static int set_line(const struct restore_threads *threads, char *line)
{
	char *rest = line, *word = strsep(&rest, " ");
	const struct restore_thread *t;
	uint32_t inside;
	int r = 0;

	if (parse_u32(word, &inside) < 0)
		return -EBADMSG;
	t = suspend_threads_find(threads, (pid_t)inside);
	if (!t)
		return 0; /* it has died before CRIU came to it */
	while (r >= 0 && (word = strsep(&rest, " ")))
		r = set_one(t, word);
	return r;
}

int suspend_threads_set(int images_fd, const struct restore_threads *threads, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line;
	int r = suspend_note_read(images_fd, NOTE, SUSPEND_NOTE_MAX, &text, err);

	if (r < 0)
		return r;
	rest = text;
	while (r >= 0 && rest && (line = strsep(&rest, "\n")) && *line)
		r = set_line(threads, line);
	return r < 0 ? ct_error_kind_set(err, CT_ERROR_REFUSED, r,
	                       "its images say of threads what cannot be: \"" NOTE "\"")
	             : 0;
}
