/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. */
#include "libct/test-case.h"

#include <dirent.h>
#include <stdio.h>

struct fixture fixture;
struct box box = { .shell = { .userns_fd = -1, .netns_fd = -1 },
	.init = { .pidfd = -1, .status_fd = -1, .console_fd = -1 },
	.cgroup_fd = -1,
	.root_fd = -1 };
struct ct_spec spec;
struct ct_error err;
char output[1 << 20];

static int status;

int case_begin(int argc, char **argv)
{
	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s PROBE\n", argv[0]);
		status = 2;
	} else {
		status = fixture_init(&fixture, argv[1]);
	}
	return status;
}

int case_status(void)
{
	return status;
}

int case_end(int failed)
{
	fixture_done(&fixture);
	return failed;
}

int box_set_up(void **state)
{
	err = (struct ct_error){ 0 };
	fixture.lower = "lower";
	if (box_prepare(&fixture, &box, &spec, &err) == 0)
		return 0;

	print_error("%s: %s\n", err.step, err.text);
	box_done(&fixture, &box);
	return -1;
}

int box_set_up_running(void **state)
{
	if (box_set_up(state) < 0)
		return -1;
	if (box_start(&box, &spec, &err) == 0)
		return 0;

	print_error("%s: %s\n", err.step, err.text);
	box_done(&fixture, &box);
	return -1;
}

int box_tear_down(void **state)
{
	box_done(&fixture, &box);
	return 0;
}

void must_start(void)
{
	if (box_start(&box, &spec, &err) < 0)
		fail_msg("%s: %s", err.step, err.text);
}

const char *inside(const char *const *argv)
{
	if (box_run(&fixture, &box, argv, output, sizeof(output), &err) < 0)
		fail_msg("%s: %s", err.step, err.text);
	return output;
}

/* By its console. */
const char *as_init(const char *const *argv)
{
	spec.argv = argv;
	spec.console = true;
	must_start();
	assert_true(box.init.console_fd >= 0);
	collect_output(box.init.console_fd, output, sizeof(output));
	return output;
}

void expect(const char *text, const char *name, const char *value)
{
	if (!has_line(text, name, value))
		fail_msg("no line \"%s %s\" in:\n%s", name, value, text);
}

int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}
