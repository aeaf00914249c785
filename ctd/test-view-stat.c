/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/stat of a container, out of the host's and what it has used; its swap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ctd/view-stat.h"
#include "ctd/view-swap.h"

static const char host[] =
        "cpu  900 1 900 900 0 0 0 0 0 0\ncpu0 900 1 900 900 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n"
        "cpu2 0 0 0 0 0 0 0 0 0 0\nintr 77 0\nctxt 5\nbtime 1000000\nprocesses 9";

static void cpus_times_and_boot_are_its_own(void **state)
{
	const struct view_cpu cpu = { .cpus = 2,
		.user_usec = 4000000,
		.system_usec = 2000000,
		.uptime_usec = 10000000,
		.boot_offset_sec = -5000 };
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

	assert_int_equal(view_stat_print(host, &cpu, 100, &text), 0);
	assert_string_equal(text.data,
	        "cpu  400 0 200 1400 0 0 0 0 0 0\ncpu0 200 0 100 700 0 0 0 0 0 0\n"
	        "cpu1 200 0 100 700 0 0 0 0 0 0\nintr 77 0\nctxt 5\nbtime 1005000\nprocesses 9\n");
}

/* The clock of use and that of uptime are not read at the same moment. */
static void idle_is_never_negative(void **state)
{
	const struct view_cpu cpu = { .cpus = 1, .user_usec = 2000000, .uptime_usec = 1000000 };
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

	assert_int_equal(view_stat_print("", &cpu, 100, &text), 0);
	assert_string_equal(text.data, "cpu  200 0 0 0 0 0 0 0 0 0\ncpu0 200 0 0 0 0 0 0 0 0 0\n");
}

static void who_is_in_no_container_sees_the_host(void **state)
{
	const struct view_cgroup cgroup = { .mount = "/sys/fs/cgroup", .path = "/there/is/none" };
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

	struct view_host kept = { 0 };

	assert_int_equal(view_stat(&cgroup, &kept, (uint32_t)getpid(), &text), 0);
	view_host_done(&kept);
	assert_memory_equal(text.data, "cpu ", 4);
	assert_non_null(strstr(text.data, "\nbtime "));
}

static void swap_is_what_it_may_have(void **state)
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

	assert_int_equal(
	        view_swap_print(
	                "MemTotal:  5 kB\nSwapCached:  1 kB\nSwapTotal:  0 kB\nSwapFree:  0 kB\nDirty:  2 kB\n",
	                2048, 48, &text),
	        0);
	assert_string_equal(text.data, "MemTotal:  5 kB\nSwapCached:  1 kB\nSwapTotal:          2048 kB\n"
	                               "SwapFree:           2000 kB\nDirty:  2 kB\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpus_times_and_boot_are_its_own),
		cmocka_unit_test(idle_is_never_negative),
		cmocka_unit_test(swap_is_what_it_may_have),
		cmocka_unit_test(who_is_in_no_container_sees_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
