#!/usr/bin/env bats
# lab: script machines=2
# Two machines on one wire.

@test "the peer is another machine, reached by both families and by ssh" {
	ping -c 1 -W 5 10.99.0.2
	ping -c 1 -W 5 fd99::2
	[ "$(ssh peer hostname)" = lab2 ]
	[ "$(ssh peer cat /proc/sys/kernel/random/boot_id)" != "$(cat /proc/sys/kernel/random/boot_id)" ]
}
