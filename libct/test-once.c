/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starts one container whose init says how it is confined, and judges that. For test/host-libct.bats, which
 * makes system calls fail below it.
 *
 *      test-libct-once PROBE
 *
 * Exit status: 0 it was started and is confined, 3 it was refused with a sentence, 4 it was started and is
 * not confined, or a refusal came without a sentence or left something.
 */
#include <stdio.h>
#include <string.h>

#include "libct/test-fixture.h"

static char output[65536];

static bool has_capabilities(const char *name)
{
	char line[64];

	(void)snprintf(
	        line, sizeof(line), "%s:\t%016llx", name, (unsigned long long)ct_capabilities_default());
	return strstr(output, line);
}

static bool is_confined(void)
{
	return has_capabilities("CapBnd") && has_capabilities("CapPrm") && has_capabilities("CapEff") &&
	       strstr(output, "CapInh:\t0000000000000000") && strstr(output, "CapAmb:\t0000000000000000") &&
	       strstr(output, "Seccomp:\t2") && has_line(output, "uid", "0 0 gid 0 0 groups 0") &&
	       has_line(output, "umount:/proc/cmdline", "EINVAL") &&
	       has_line(output, "remount-dev", "EPERM") && has_line(output, "remount-sys-rw", "EPERM") &&
	       has_line(output, "second-proc", "EPERM");
}

static int refused(const struct ct_error *err)
{
	(void)printf("refused: %s: %s\n", err->step, err->text);
	return err->text[0] && err->code < 0 ? 3 : 4;
}

static int start_once(struct fixture *f, struct box *box)
{
	struct ct_error err = { 0 };
	struct ct_spec spec;

	if (box_prepare(f, box, &spec, &err) < 0)
		return refused(&err);

	spec.argv = (const char *const[]){ "/probe", "audit", NULL };
	spec.console = true;
	if (box_start(box, &spec, &err) < 0)
		return refused(&err);

	collect_output(box->init.console_fd, output, sizeof(output));
	(void)printf("started\n");
	return is_confined() ? 0 : 4;
}

int main(int argc, char **argv)
{
	struct fixture fixture;
	struct box box = BOX_INIT;

	if (argc != 2)
		return 2;
	if (fixture_init(&fixture, argv[1]) != 0)
		return 3; /* the fault hit the fixture, which has said so */

	int r = start_once(&fixture, &box);
	box_done(&fixture, &box);
	fixture_done(&fixture);
	return r;
}
