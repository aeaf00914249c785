/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Capabilities of a container's processes.
 *
 * They are capabilities in the container's user namespace only: what the kernel asks in the initial namespace
 * (load a module, set the clock, mount a block device) a tenant has not got whatever its set says. The
 * bounding set is a second line, with one member that is more: with CAP_SYS_RESOURCE in its own namespace a
 * tenant can raise the user.max_* budgets of that namespace, so it is never there.
 *
 * Raw system calls instead of libcap: this runs between fork and exec, in a process that may not allocate,
 * and in a keeper that is linked statically against libc alone.
 *
 * After execve the kernel computes root's set as bounding | inheritable (capabilities(7)), so the bounding
 * set is what counts; inheritable and ambient are emptied, or a program with file capabilities or an
 * unprivileged one would get more than it was given.
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>

#include "libct/caps.h"
#include "libct/ct.h"
#include "libct/sys.h"

#define CAP(name) (1ULL << CAP_##name)

uint64_t ct_capabilities_default(void)
{
	/* Not here, since they reach the host or other tenants: SYS_RESOURCE SYS_MODULE SYS_RAWIO SYS_TIME
	 * SYS_PACCT MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_CONTROL AUDIT_READ BPF
	 * PERFMON CHECKPOINT_RESTORE. */
	return CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(FSETID) | CAP(KILL) |
	       CAP(SETGID) | CAP(SETUID) | CAP(SETPCAP) | CAP(LINUX_IMMUTABLE) | CAP(NET_BIND_SERVICE) |
	       CAP(NET_BROADCAST) | CAP(NET_ADMIN) | CAP(NET_RAW) | CAP(IPC_LOCK) | CAP(IPC_OWNER) |
	       CAP(SYS_CHROOT) | CAP(SYS_PTRACE) | CAP(SYS_ADMIN) | CAP(SYS_BOOT) | CAP(SYS_NICE) |
	       CAP(SYS_TTY_CONFIG) | CAP(MKNOD) | CAP(LEASE) | CAP(AUDIT_WRITE) | CAP(SETFCAP);
}

int caps_become_root(struct ct_error *err)
{
	if (sys_setgroups(0, NULL) < 0 || sys_setresgid(0) < 0 || sys_setresuid(0) < 0) {
		int r = sys_error();
		if (r == -EINVAL)
			return ct_error_set(err, r, "credentials",
			        "cannot become root of the user namespace: its id maps have no id 0");
		return ct_error_set(
		        err, r, "credentials", "cannot become root of the user namespace: %s", sys_reason(r));
	}
	return 0;
}

int caps_bound(uint64_t mask, struct ct_error *err)
{
	/* The kernel says with EINVAL where its last capability was. */
	for (unsigned long cap = 0; cap < 64; cap++) {
		if (mask & (1ULL << cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break;
		int r = sys_error();
		return ct_error_set(err, r, "capabilities",
		        "cannot drop capability %lu from the bounding set: %s", cap, sys_reason(r));
	}

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	        prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 ||
	        prctl(PR_SET_SECUREBITS, SECUREBITS_DEFAULT, 0, 0, 0) < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "capabilities",
		        "cannot clear the ambient set and the secure bits: %s", sys_reason(r));
	}
	return 0;
}

int caps_limit(uint64_t mask, struct ct_error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct have[2], want[2];

	if (syscall(SYS_capget, &header, have) < 0)
		goto failed;

	for (int i = 0; i < 2; i++) {
		uint32_t part = (uint32_t)(mask >> (32 * i)) & have[i].permitted;
		want[i] = (struct __user_cap_data_struct){
			.effective = part, .permitted = part, .inheritable = 0
		};
	}

	if (syscall(SYS_capset, &header, want) < 0)
		goto failed;
	return 0;

failed:;
	int r = sys_error();
	return ct_error_set(err, r, "capabilities", "cannot limit the capabilities: %s", sys_reason(r));
}
