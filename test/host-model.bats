#!/usr/bin/env bats
# The protocol by which a container changes its node, in every state that it can be in; see test/model/handover.pml.

@test "in no state two nodes run a container, or none has it" {
	run "$BATS_TEST_DIRNAME/model/check"
	[ "$status" = 0 ]
	[[ $output == *"errors: 0"* ]]
}

@test "without any one of its precautions a state is wrong" {
	local mutant n=0
	for mutant in $(sed -n 's/^ \*\tMUTANT_\([A-Z]*\)\t.*/\1/p' "$BATS_TEST_DIRNAME/model/handover.pml"); do
		run "$BATS_TEST_DIRNAME/model/check" "$mutant"
		[ "$status" = 1 ] || { echo "$mutant: $output" && false; }
		n=$((n + 1))
	done
	[ "$n" = 10 ]
}
