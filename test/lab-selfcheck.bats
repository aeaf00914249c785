#!/usr/bin/env bats
# lab: script
# What the machines of the lab promise to the tests.

@test "all controllers of cgroup v2 are there and enabled for children" {
	local c
	for c in cpuset cpu io memory hugetlb pids; do
		grep -qw "$c" /sys/fs/cgroup/cgroup.controllers
		grep -qw "$c" /sys/fs/cgroup/cgroup.subtree_control
	done
}

@test "the root disk enforces project quotas" {
	local dir=/var/tmp/quota-check
	mkdir -p "$dir"
	chattr -p 4242 +P "$dir"
	setquota -P 4242 0 2048 0 10 /
	# a writer with CAP_SYS_RESOURCE is above every limit
	run capsh --drop=cap_sys_resource -- -c "dd if=/dev/zero of=$dir/file bs=64k count=64"
	rm -r "$dir"
	[ "$status" -ne 0 ]
	[[ "$output" == *"quota exceeded"* ]]
}

@test "modules come from the kernel that runs" {
	modprobe 8021q
	grep -q '^8021q ' /proc/modules
}

@test "the container template and the signed archive are there" {
	tar -tf /lab/debian.tar ./sbin/init ./usr/sbin/sshd >/dev/null || tar -tf /lab/debian.tar ./usr/sbin/sshd
	[ -x /lab/debian/usr/sbin/sshd ]
	gpgv --keyring /lab/archive/key.gpg /lab/archive/dists/lab/InRelease
}
