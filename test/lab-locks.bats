#!/usr/bin/env bats
# lab: systemd deadline=600
# Locks on files, of each kind that a process can have, while it goes to disk and comes back. Not of a file that it has mapped as well: ctctl-suspend(1).
load lib

setup_file()
{
	ctd_setup
	ctctl template import --name debian /lab/debian.tar
	ctctl create d1 --template debian --start
	wait_for 120 inside systemctl is-system-running --quiet
	inside sh -c 'cat >/usr/local/sbin/locks; systemd-run --unit locks perl /usr/local/sbin/locks' <<-'END'
		use Fcntl qw(:DEFAULT :flock);
		use constant F_OFD_SETLK => 37;
		sub lock_part {
			my ($file, $command, $type, $first, $bytes) = @_;
			my $lock = pack "s s x4 q q i x4", $type, 0, $first, $bytes, 0;
			fcntl $file, $command, $lock or die "$!\n";
		}
		open my $whole, ">", "/srv/whole" or die;
		open my $parts, "+>", "/srv/parts" or die;
		open my $own, "+>", "/srv/own" or die;
		flock $whole, LOCK_EX or die;
		lock_part($parts, F_SETLK, F_WRLCK, 10, 5);
		lock_part($parts, F_SETLK, F_RDLCK, 20, 7);
		lock_part($own, F_OFD_SETLK, F_WRLCK, 3, 2);
		open my $ready, ">", "/srv/ready" or die;
		sleep 100 while 1;
	END
	wait_for 30 inside test -e /srv/ready
}

teardown_file()
{
	ctd_teardown
}

inside() # COMMAND...
{
	ctctl exec d1 -- "$@"
}

locks() # kind, mode, first and last byte of each
{
	inside sh -c 'cat /proc/$(systemctl show -P MainPID locks)/fdinfo/*' | awk '$1 == "lock:" { print $3, $5, $(NF - 1), $NF }' | sort
}

@test "locks of files, on the whole, of a process and of an open file, are kept while it is suspended" {
	local before
	before=$(locks)
	echo "$before"
	[ "$before" = $'FLOCK WRITE 0 EOF\nOFDLCK WRITE 3 4\nPOSIX READ 20 26\nPOSIX WRITE 10 14' ]
	ctctl suspend d1
	ctctl resume d1
	[ "$(locks)" = "$before" ]
	run ! inside flock --nonblock /srv/whole true
}
