#!/usr/bin/env bats
# The judge of all results must itself be beyond doubt: what did not run did not pass.
load lib

judge() # STREAM [OPTION...]
{
	local stream=$1
	shift
	run "$CTD_TREE/test/tap" "$@" <<<"$stream"
}

verdict() # what the last line says
{
	[ "${lines[-1]}" = "$1" ] || { echo "last line: ${lines[-1]}" && return 1; }
}

@test "what passed is counted" {
	judge $'# begin a\n1..2\nok 1 x\nok 2 y\n# end a 0'
	[ "$status" -eq 0 ]
	verdict "2 passed, 0 failed"
}

@test "a failure is counted, named and explained" {
	judge $'# begin a\n1..2\nok 1 x\nnot ok 2 y\n# because\n# end a 1'
	[ "$status" -eq 1 ]
	[ "${lines[0]}" = "not ok a: y" ]
	[ "${lines[1]}" = "# because" ]
	verdict "1 passed, 1 failed"
}

@test "nothing at all is not a success" {
	judge ''
	[ "$status" -eq 1 ]
	verdict "0 passed, 0 failed"
}

@test "a file without a test, or without a plan, fails" {
	judge $'# begin a\n1..0\n# end a 0\n# begin b\nok 1 x\n# end b 0'
	[ "$status" -eq 1 ]
	verdict "1 passed, 2 failed"
}

@test "fewer tests than planned fail" {
	judge $'# begin a\n1..3\nok 1 x\nok 2 y\n# end a 0'
	[ "$status" -eq 1 ]
	[ "${lines[0]}" = "not ok a: 3 tests were planned, 2 ran" ]
}

@test "a bad exit status without a failed test fails" {
	judge $'# begin a\n1..1\nok 1 x\n# end a 124'
	[ "$status" -eq 1 ]
	verdict "1 passed, 1 failed"
}

@test "a file that does not end fails, wherever it stands" {
	judge $'# begin a\n1..1\nok 1 x\n# begin b\n1..1\nok 1 x\n# end b 0'
	[ "$status" -eq 1 ]
	judge $'# begin b\n1..1\nok 1 x\n# end b 0\n# begin a\n1..1\nok 1 x'
	[ "$status" -eq 1 ]
	[ "${lines[0]}" = "not ok a: did not end" ]
}

@test "a skip counts as a skip" {
	judge $'# begin a\n1..2\nok 1 x\nok 2 y # skip no z here\n# end a 0'
	[ "$status" -eq 0 ]
	verdict "1 passed, 0 failed, 1 skipped"
}

@test "with a list of allowed skips every other skip fails" {
	printf '# comment\na: y # z is never here\n' >"$BATS_TEST_TMPDIR/allowed"
	judge $'# begin a\n1..2\nok 1 x\nok 2 y # skip no z here\n# end a 0' --skips "$BATS_TEST_TMPDIR/allowed"
	[ "$status" -eq 0 ]
	verdict "1 passed, 0 failed, 1 skipped"
	judge $'# begin a\n1..2\nok 1 x # skip me\nok 2 y # skip no z here\n# end a 0' --skips "$BATS_TEST_TMPDIR/allowed"
	[ "$status" -eq 1 ]
	verdict "0 passed, 1 failed, 1 skipped"
}

@test "an allowed skip must give its reason" {
	echo 'a: y' >"$BATS_TEST_TMPDIR/allowed"
	judge $'# begin a\n1..1\nok 1 x\n# end a 0' --skips "$BATS_TEST_TMPDIR/allowed"
	[ "$status" -eq 1 ]
}

@test "the reason of a failure stands at the end, however long the explanations are" {
	judge "# begin a
1..3
ok 1 x
not ok 2 unit
# TIMEOUT 1
# 1..300
$(printf '# ok %d before\n' {1..150})
# not ok 151 inner
# # (in test file a.bats, line 7)
# #   the command failed
$(printf '# ok %d after\n' {152..300})
not ok 3 last
$(printf '# line %d\n' {1..90})
# the last words
# end a 1"
	verdict "1 passed, 2 failed"
	local tail
	tail=$(tail -n 40 <<<"$output")
	[[ $tail == *$'---- what failed\nnot ok a: unit\n# TIMEOUT 1\n# 1..300\n# ...\n# not ok 151 inner\n# # (in test file a.bats, line 7)\n# #   the command failed\n'* ]]
	[[ $tail == *$'\nnot ok a: last\n# line 1\n# line 2\n# ...\n'*$'# line 90\n# the last words\n1 passed, 2 failed' ]]
}

@test "many failures are told in few lines" {
	judge "# begin a
1..30
$(for n in {1..30}; do echo "not ok $n test $n" && printf '# word %d\n' {1..20}; done)
# end a 1"
	verdict "0 passed, 30 failed"
	local tail
	tail=$(sed -n '/^---- what failed/,$p' <<<"$output")
	[[ $tail == *$'not ok a: test 1\n'*$'not ok a: test 10\n'*$'and 20 more\n0 passed, 30 failed' ]]
	[ "$(wc -l <<<"$tail")" -le 60 ]
}
