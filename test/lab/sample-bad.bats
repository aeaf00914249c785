# lab: script deadline=20
# For lab/selftest: tests that must not count as passed.

@test "passes" {
	true
}

@test "fails" {
	echo "the reason"
	false
}

@test "hangs" {
	sleep 1000
}
