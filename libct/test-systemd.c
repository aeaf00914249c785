/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A distribution with systemd as a container, without ctd. Needs root and the distribution's tree; not part
 * of the host suite, which has none (test/lab-libct.bats runs it).
 *
 *      test-libct-systemd ROOT
 */
#include "libct/test-case.h"

#include <signal.h>
#include <string.h>

#include "base/fd.h"

#define SHELL(command) ARGV("/bin/sh", "-c", command)

/* The tree has no keys of its own for sshd; device management is the host's. */
static const char *const masks[] = { "ssh.service", "sys-kernel-tracing.mount", "systemd-udevd.service",
	"systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", NULL };

static void must_run(const char *command)
{
	int r = box_run(&fixture, &box, SHELL(command), output, sizeof(output), &err);

	if (r != 0)
		fail_msg("%s: %d %s\n%s", command, r, r < 0 ? err.text : "", output);
}

static void boot(void)
{
	spec.argv = ARGV("/sbin/init");
	spec.run_masks = masks;
	spec.console = true;
	must_start();
	(void)inside(SHELL("for i in $(seq 100); do test -S /run/systemd/private && break; sleep 0.2; done;"
	                   "systemctl is-system-running --wait"));
}

static void it_boots_without_a_failed_unit(void **state)
{
	boot();
	if (strcmp(output, "running\n") != 0)
		fail_msg("%s%s", output,
		        inside(SHELL("systemctl --failed --no-legend; journalctl -b -p err --no-pager")));
	assert_string_equal(inside(SHELL("systemctl is-enabled ssh.service")), "masked-runtime\n");

	/* What needs privilege inside, and what sandboxes itself. */
	must_run("su nobody -s /bin/sh -c id | grep -q nobody");
	must_run("ping -q -c 1 -W 5 127.0.0.1");
	must_run(
	        "systemctl restart cron && journalctl --flush && journalctl -u cron -n 1 --no-pager | grep -q .");
	must_run(
	        "systemd-run -q --wait --pipe -p PrivateTmp=yes -p ProtectSystem=strict -p PrivateDevices=yes "
	        "-p ProtectKernelTunables=yes -p ProtectControlGroups=yes -p ProtectProc=invisible -p ProcSubset=pid "
	        "-p PrivateNetwork=yes -p NoNewPrivileges=yes -p RestrictNamespaces=yes -p DynamicUser=yes true");

	must_run("systemctl poweroff || true"); /* the answer may be lost */
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGINT);
	box.init.pidfd = fd_close(box.init.pidfd);
}

/* As ctd stops it. */
static void it_halts_at_its_signal(void **state)
{
	boot();
	assert_int_equal(kill(box.init.pid, SIGRTMIN + 3), 0);
	assert_int_equal(process_join(box.init.pidfd, FIXTURE_TIMEOUT), 128 + SIGINT);
	box.init.pidfd = fd_close(box.init.pidfd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(it_boots_without_a_failed_unit),
		TEST(it_halts_at_its_signal),
	};

	return RUN(argc, argv, tests);
}
