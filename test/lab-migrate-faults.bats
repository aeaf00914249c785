#!/usr/bin/env bats
# lab: systemd machines=2 deadline=1800 long
# The wire between two machines is cut while a container moves from one to the other: both ways or one way, at each point of the hand-over. All tests share one container,
# which is on lab1 before and after each.
load lib
load peer
load guest
load nodes
load book # setup and teardown as well

setup_file()
{
	book_setup
}

# The answer to the word finds the wire cut: it was given when it was whole.
answer_meets_cut() # WORD [ingress|egress]
{
	cat >"/run/at-$1" <<-END
		$(declare -f wire_cut)
		LINK=$LINK
		send | /usr/bin/ssh $PATIENCE "\${@:1:\$#-1}" 'ctctl migrate-receive | {
			IFS= read -r answer && echo answered >&2
			while ping -q -n -c 1 -W 1 10.99.0.1 >/dev/null; do :; done
			printf "%s\\n" "\$answer"
		}' 2> >(while IFS= read -r line; do if [ "\$line" = answered ]; then wire_cut $2; else printf '%s\\n' "\$line" >&2; fi; done)
		exit
	END
}

wire_is_whole_again()
{
	wire_mend
	wire_anew
	wait_for 60 idle peer
}

@test "cut for good both ways when all of it is there: it runs on here, and there is a copy that does not" {
	answer_meets_cut offer
	migrate_ends 1
	rm /run/at-offer
	[[ ${lines[-1]} == 'ctctl: the other node did not answer: "ssh" ended with status 255: Timeout, server '*' not responding.' ]]
	runs ctctl d1
	run -0 ctctl migrate resolve d1
	wire_is_whole_again
	goes_on ctctl
	has_a_copy_only peer
	goes_on ctctl
	peer destroy d1 --force
	has_none peer
	goes_on ctctl
}

@test "nothing comes from there any more when all of it is there: it runs on here, and the copy gives way to the next" {
	answer_meets_cut offer ingress
	migrate_ends 1
	rm /run/at-offer
	runs ctctl d1
	wire_is_whole_again
	is_marked peer incoming
	goes_on ctctl
	moved_to peer
	moved_to ctctl
}

@test "nothing comes there any more when all of it is there: nobody runs it until resolve says that it is ours" {
	answer_meets_cut offer egress
	migrate_ends 1
	rm /run/at-offer
	[[ $output == *"not confirmed"* ]]
	is_marked ctctl relinquished
	run -4 ctctl resume d1
	run -4 ctctl migrate resolve d1 # it cannot be asked
	[[ $output == *"stays open"* ]]
	wire_is_whole_again
	is_in_doubt ctctl peer
	run -0 ctctl migrate resolve d1
	has_none peer
	goes_on ctctl
}

@test "the answer to the hand-over is lost: it runs there, and resolve says so" {
	answer_meets_cut commit
	migrate_ends 1
	rm /run/at-commit
	[[ $output == *"not confirmed"* ]]
	is_marked ctctl relinquished
	for verb in start resume thaw; do
		run -4 ctctl "$verb" d1
	done
	run -4 ctctl migrate resolve d1
	[[ $output == *"stays open"* ]]
	wire_is_whole_again
	runs peer d1
	run -0 ctctl migrate resolve d1
	[[ $output == *"is the other node's"* ]]
	has_none ctctl
	goes_on peer
	moved_to ctctl
}

@test "the hand-over itself is lost: nobody runs it until it is said again" {
	cat >/run/at-commit <<-END
		$(declare -f wire_cut)
		LINK=$LINK wire_cut
		send | /usr/bin/ssh "\$@"
	END
	migrate_ends 1
	rm /run/at-commit
	[[ $output == *"not confirmed"* ]]
	wire_is_whole_again
	is_in_doubt ctctl peer
	run -0 ctctl migrate d1 root@peer
	has_none ctctl
	goes_on peer
	moved_to ctctl
}
