#!/usr/bin/env bats
# lab: script boots=2 cut
# A power cut keeps what was synced and loses what was not.

# bats test_tags=boot:1
@test "before the cut" {
	echo kept >/var/lib/lab-kept
	sync /var/lib/lab-kept /var/lib
	cat /proc/sys/kernel/random/boot_id >/var/lib/lab-boot
	sync /var/lib/lab-boot /var/lib
	echo lost >/var/lib/lab-lost
}

# bats test_tags=boot:2
@test "after the cut" {
	[ "$(cat /var/lib/lab-kept)" = kept ]
	[ "$(cat /var/lib/lab-boot)" != "$(cat /proc/sys/kernel/random/boot_id)" ]
	[ "$(cat /var/lib/lab-lost)" != lost ]
	[ "$LAB_BOOT" = 2 ]
}
