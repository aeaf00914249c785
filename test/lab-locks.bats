#!/usr/bin/env bats
# lab: systemd deadline=600
# What CRIU leaves undone, while a container goes to disk and comes back. Locks on files, of each kind that a process can have; of a process, the lock of a file
# that it has mapped as well. Who may not gain privileges (no_new_privs). Options of sockets, and what is said of threads.
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
	# WAL: it has its index mapped, and locked, as long as it has the database open.
	inside sh -c 'cat >/usr/local/sbin/database; systemd-run --unit database sh /usr/local/sbin/database' <<-'END'
		mkfifo /srv/orders
		exec 3<>/srv/orders
		exec sqlite3 -batch /srv/rows.db </srv/orders >>/srv/answers
	END
	wait_for 30 inside test -p /srv/orders
	order "PRAGMA journal_mode = WAL; CREATE TABLE row (n INTEGER PRIMARY KEY); INSERT INTO row DEFAULT VALUES; SELECT 'rows', max(n) FROM row;"
	wait_for 30 inside test -e /srv/ready
	wait_for 30 answered 1
}

teardown_file()
{
	[ ! -e "$CTD_DIR/module" ] || mv "$CTD_DIR/module" "$CTD_BUILD/ctd/ct-criu-finish.so"
	ctd_teardown
}

inside() # COMMAND...
{
	ctctl exec d1 -- "$@"
}

order() # SQL
{
	printf '%s\n' "$1" | inside sh -c 'cat >/srv/orders'
}

answered() # ROWS
{
	inside grep -qx "rows|$1" /srv/answers
}

locks() # UNIT: kind, mode, first and last byte of each
{
	inside sh -c 'cat /proc/$(systemctl show -P MainPID "$1")/fdinfo/*' sh "$1" | awk '$1 == "lock:" { print $3, $5, $(NF - 1), $NF }' | sort
}

@test "locks of files, on the whole, of a process and of an open file, are kept while it is suspended" {
	local before
	before=$(locks locks)
	echo "$before"
	[ "$before" = $'FLOCK WRITE 0 EOF\nOFDLCK WRITE 3 4\nPOSIX READ 20 26\nPOSIX WRITE 10 14' ]
	ctctl suspend d1
	ctctl resume d1
	[ "$(locks locks)" = "$before" ]
	run ! inside flock --nonblock /srv/whole true
}

@test "the lock of a file that its process has mapped is kept too: a database lets others in, and goes on" {
	local before
	before=$(locks database)
	echo "$before"
	[[ $before = *'POSIX READ 128 128'* ]]
	inside sh -c 'kill -STOP $(systemctl show -P MainPID database)'
	ctctl suspend d1
	ctctl resume d1
	[ "$(locks database)" = "$before" ]
	inside sh -c 'grep -q "^State:.T" /proc/$(systemctl show -P MainPID database)/status'
	inside sh -c 'kill -CONT $(systemctl show -P MainPID database)'
	inside sqlite3 -batch /srv/rows.db "INSERT INTO row DEFAULT VALUES"
	order "INSERT INTO row DEFAULT VALUES; SELECT 'rows', max(n) FROM row;"
	wait_for 30 answered 3
	[ "$(inside sqlite3 -batch /srv/rows.db "PRAGMA integrity_check; SELECT count(*) FROM row")" = $'ok\n3' ]
}

bound() # which threads may not gain privileges, and which may
{
	inside sh -c 'grep -l -e /locks -e /database -e /bound -e /init.scope -e journald -e logind /proc/[0-9]*/task/*/cgroup' | sed 's/cgroup$/status/' | sort | inside xargs grep -H NoNewPrivs
}

@test "who may not gain privileges may not when it goes on, each thread for itself; the others may" {
	local before
	inside sh -c 'cat >/usr/local/sbin/bound; chmod 755 /usr/local/sbin/bound; chmod 4755 /usr/bin/id; systemd-run --unit bound -p NoNewPrivileges=yes -p User=www-data perl /usr/local/sbin/bound' <<-'END'
		while (1) { open my $out, ">", "/tmp/bound"; print $out `id -u`; close $out; sleep 1 }
	END
	wait_for 30 inside grep -qx 33 /tmp/bound
	before=$(bound)
	echo "$before"
	[[ $before = *NoNewPrivs:*1* && $before = *NoNewPrivs:*0* ]]
	ctctl suspend d1
	ctctl resume d1
	[ "$(bound)" = "$before" ]
	inside rm /tmp/bound
	wait_for 30 inside grep -qx 33 /tmp/bound
}

attributes() # UNIT [PROPERTY...]: begins, and has said how it is
{
	inside systemd-run --unit "$1" "${@:2}" /usr/local/sbin/probe attributes "/srv/$1" ${only_threads:+threads}
	wait_for 30 inside test -s "/srv/$1"
}

again() # UNIT: it has said once more how it is
{
	inside rm -f "/srv/$1.again"
	inside systemctl kill --signal USR1 "$1"
	wait_for 30 inside sh -c 'test "$(wc -l <"/srv/$1.again")" = "$(wc -l <"/srv/$1")"' sh "$1"
}

@test "sockets have the options and the groups, threads the CPUs, the order and the timers that they had" {
	inside sh -c 'cat >/usr/local/sbin/probe; chmod 755 /usr/local/sbin/probe' <"$CTD_BUILD/libct/probe"
	attributes attributes
	only_threads=y attributes filtered -p SystemCallFilter=~membarrier
	inside cat /srv/attributes
	run ! inside grep -e otherwise -e "No such" /srv/attributes # it is tested what was set
	inside grep -x "barrier ok" /srv/attributes
	inside grep -x "cpus 2 first 1 policy 40000003 nice 3 io 4006" /srv/attributes
	inside grep -x "cpus 1 first 1 policy 0 nice 0 io 6000" /srv/attributes
	ctctl suspend d1
	ctctl resume d1
	again attributes
	inside diff /srv/attributes /srv/attributes.again
	again filtered
	inside diff /srv/filtered /srv/filtered.again
	inside systemctl stop attributes filtered
}

@test "of more than 16384 it is not suspended, and runs on" {
	inside sh -c 'cat >/usr/local/sbin/many; systemd-run --unit many perl /usr/local/sbin/many' <<-'END'
		use Fcntl;
		my @files = map { open my $file, "+>", "/srv/many$_" or die; $file } 1 .. 16;
		for my $n (1 .. 1025) {
			for my $file (@files) {
				fcntl $file, F_SETLK, pack "s s x4 q q i x4", F_WRLCK, 0, 2 * $n, 1, 0 or die "$!\n";
			}
		}
		open my $ready, ">", "/srv/many";
		sleep 100 while 1;
	END
	wait_for 60 inside test -e /srv/many
	run ctctl suspend d1
	echo "$output"
	[ "$status" -ne 0 ]
	[[ $output == *'have '164[0-9][0-9]' locks on files, and at most 16384 can be set again'* ]]
	[ "$(ctctl show d1 --json | jq -r .state)" = running ]
	inside systemctl stop many
}

@test "where they cannot be set again it is not resumed, and can be later" {
	local module=$CTD_BUILD/ctd/ct-criu-finish.so
	ctctl suspend d1
	mv "$module" "$CTD_DIR/module"
	run ctctl resume d1
	mv "$CTD_DIR/module" "$module"
	echo "$output"
	[ "$status" -ne 0 ]
	[[ $output == *'"d1"'*'criu did not load ct-criu-finish.so, without which locks on files are lost'* ]]
	[ "$(ctctl show d1 --json | jq -r .state)" = suspended ]
	ctctl resume d1
	[[ $(locks database) = *'POSIX READ 128 128'* ]]
}
