# lab: script deadline=20
# For lab/selftest: takes the machine down under the tests.

@test "the machine goes off" {
	echo o >/proc/sysrq-trigger
	sleep 1000
}

@test "nobody is there to run this" {
	true
}
