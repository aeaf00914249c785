/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CPUs, I/O priority, timers and the rest of threads: what is noted is set again, and what no note may say is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/test-place.h"
#include "ctd/worker-suspend-threads.h"

#define INSIDE 7

static struct restore_thread task;
static const struct restore_threads threads = { .list = &task, .n = 1 };

/* One that only is there. */
static void begin_task(void (*be)(void))
{
	int ready[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	task = (struct restore_thread){ .tid = fork(), .inside = INSIDE };
	task.leader = task.tid;
	if (task.tid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
			_exit(1);
		if (be)
			be();
		(void)write_all(ready[1], "", 1);
		for (;;)
			(void)pause();
	}
	assert_true(task.tid > 0);
	(void)close(ready[1]);
	assert_int_equal(read_all(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
}

static void end_task(void)
{
	(void)kill(task.tid, SIGKILL);
	(void)waitpid(task.tid, NULL, 0);
}

static void set(void)
{
	struct ct_error err = { 0 };

	if (suspend_threads_set(place_fd, &threads, &err) < 0)
		fail_msg("%s", err.text);
}

static uint64_t number_of(const char *file, int base)
{
	_cleanup_free_ char *path = str_printf("/proc/%d/%s", task.tid, file), *text = NULL;

	assert_int_equal(read_file_at(AT_FDCWD, path, 64, &text, NULL), 0);
	return strtoull(text, NULL, base);
}

static unsigned int cpus(cpu_set_t *ret)
{
	CPU_ZERO(ret);
	assert_int_equal(sched_getaffinity(task.tid, sizeof(*ret), ret), 0);
	return (unsigned int)CPU_COUNT(ret);
}

static cpu_set_t first_cpu;

static void be_otherwise(void)
{
	const struct sched_param none = { 0 };

	if (sched_setaffinity(0, sizeof(first_cpu), &first_cpu) < 0 ||
	        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6)) < 0 ||
	        prctl(PR_SET_TIMERSLACK, 123456UL) < 0 ||
	        sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) < 0 ||
	        write_file_at(AT_FDCWD, "/proc/self/coredump_filter", "0x7f") < 0)
		_exit(1);
}

static void test_what_is_noted_is_set(void **state)
{
	const struct sched_param none = { 0 };
	struct ct_error err = { 0 };
	cpu_set_t all, is;
	int first = 0;

	task.tid = getpid();
	(void)cpus(&all);
	while (!CPU_ISSET(first, &all))
		first++;
	CPU_ZERO(&first_cpu);
	CPU_SET(first, &first_cpu);
	begin_task(be_otherwise);
	if (suspend_threads_save(place_fd, place_fd, &threads, &err) < 0)
		fail_msg("%s", err.text);
	end_task();

	begin_task(NULL);
	assert_int_equal(sched_setscheduler(task.tid, SCHED_BATCH, &none), 0);
	set();
	assert_int_equal(cpus(&is), 1);
	assert_true(CPU_EQUAL(&is, &first_cpu));
	assert_int_equal(
	        syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, task.tid), IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6));
	assert_int_equal(number_of("timerslack_ns", 10), 123456);
	assert_int_equal(number_of("coredump_filter", 16), 0x7f);
	assert_int_equal(sched_getscheduler(task.tid), SCHED_BATCH | SCHED_RESET_ON_FORK);
	end_task();
}

static void test_of_one_as_others_nothing_is_noted(void **state)
{
	_cleanup_free_ char *note = NULL;
	cpu_set_t is;

	task.tid = getpid();
	if (cpus(&is) != (unsigned int)sysconf(_SC_NPROCESSORS_ONLN))
		skip(); /* somebody has said where the test may run */
	begin_task(NULL);
	assert_int_equal(suspend_threads_save(place_fd, place_fd, &threads, NULL), 0);
	end_task();
	assert_int_equal(read_file_at(place_fd, "ctd-threads", 4096, &note, NULL), 0);
	assert_string_equal(note, "");
}

static void test_what_cannot_be_is_refused(void **state)
{
	static const char *const bad[] = { "x cpus=0", "7 cpus=x", "7 io=x", "7 slack=-1", "7 reset=1",
		"7 nice=20", "7 nice=x", "7 dump=", "7 dump=7g", "7 other", "7  ", "7 cpus" };
	struct ct_error err = { 0 };

	begin_task(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		place_put("ctd-threads", bad[i]);
		if (suspend_threads_set(place_fd, &threads, &err) != -EBADMSG)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(err.kind, CT_ERROR_REFUSED);
	}
	end_task();
}

/* A process in place of a thread: only numbers are looked at. */
static void test_a_thread_is_as_nice_as_it_was(void **state)
{
	_cleanup_free_ char *note = NULL;

	begin_task(NULL);
	assert_int_equal(setpriority(PRIO_PROCESS, (id_t)task.tid, 5), 0);
	task.leader = getpid();
	assert_int_equal(suspend_threads_save(place_fd, place_fd, &threads, NULL), 0);
	assert_int_equal(read_file_at(place_fd, "ctd-threads", 4096, &note, NULL), 0);
	assert_non_null(strstr(note, " nice=5"));
	assert_int_equal(setpriority(PRIO_PROCESS, (id_t)task.tid, 9), 0);
	set();
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)task.tid), 5);
	end_task();
}

static void test_what_cannot_be_had_is_left(void **state)
{
	cpu_set_t all, is;
	long io;

	begin_task(NULL);
	(void)cpus(&all);
	io = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, task.tid);
	place_put("ctd-threads",
	        "7 cpus=1000-1023 io=8192\n8 cpus=0\n"); /* IOPRIO_CLASS_RT: before all others */
	set();
	(void)cpus(&is);
	assert_true(CPU_EQUAL(&is, &all));
	assert_int_equal(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, task.tid), io);
	end_task();
	assert_int_equal(unlinkat(place_fd, "ctd-threads", 0), 0);
	set(); /* of an older build */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_noted_is_set, place_make, place_remove),
		cmocka_unit_test_setup_teardown(
		        test_of_one_as_others_nothing_is_noted, place_make, place_remove),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_is_refused, place_make, place_remove),
		cmocka_unit_test_setup_teardown(test_a_thread_is_as_nice_as_it_was, place_make, place_remove),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_had_is_left, place_make, place_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
