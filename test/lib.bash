# shellcheck shell=bash
# Helpers of the system tests (bats): "load lib". A test file gets a ctd of its own:
#
#	setup_file()    { ctd_setup; }                # a private ctd that runs; its directories, pids and socket are exported
#	teardown_file() { ctd_teardown; }
#	setup()         { world_save; }
#	teardown()      { world_check; }              # fails, with the difference, when a test left anything behind
#
# On a host the file must run under test/isolated (./test/run --host does it); in the lab's machines nothing else is needed. Where systemd runs the
# installed ctd, "ctd_installed" instead of ctd_setup points all helpers at that one.

[ -z "${BATS_VERSION:-}" ] || bats_require_minimum_version 1.5.0

CTD_TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CTD_TREE CTD_BUILD=${CTD_BUILD:-$CTD_TREE/build}

lib_die()
{
	echo "lib: $*" >&2
	return 1
}

# A host is nobody's playground: what a test does to networks, mounts and processes must be its own.
lib_require_isolation()
{
	[ -n "${CTD_TEST_ISOLATED:-}${LAB_FLAVOUR:-}" ] || lib_die "run this under test/isolated, or by ./test/run"
}

# ctd_program NAME: where a program of the build is, or the installed one.
ctd_program()
{
	local path
	case $1 in
	ctctl) path=$CTD_BUILD/ctctl/ctctl ;;
	*) path=$CTD_BUILD/ctd/$1 ;;
	esac
	[ -x "$path" ] || path=$(PATH=$PATH:/usr/sbin:/usr/libexec/ctd type -P "$1") || lib_die "no program '$1' in '$CTD_BUILD' and none installed"
	echo "$path"
}

# wait_for SECONDS COMMAND...: until it succeeds, however slow the machine: a minute at least.
wait_for()
{
	local end=$((SECONDS + ($1 < 60 ? 60 : $1)))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || lib_die "still not so after a while: $*" || return 1
		sleep 0.1
	done
}

# ---- a ctd of the test's own

# ctd_setup [OPTION...]: makes directories, and starts ctd with these further options, which restarts keep. May be called for several
# instances: CTD_DIR says which one the helpers speak of.
ctd_setup()
{
	lib_require_isolation || return 1
	CTD_DIR=$(mktemp -d "${CTD_TEST_DIR:-/var/tmp}/ctd.XXXXXX") || return 1
	export CTD_DIR CTD_STATE=$CTD_DIR/state CTD_RUNTIME=$CTD_DIR/run CTD_SOCKET=$CTD_DIR/run/ctd.sock
	chmod 755 "$CTD_DIR"
	printf '%s\n' "$@" >"$CTD_DIR/options"
	ctd_start
}

# ctd_start [WRAPPER...]: starts the daemon, by way of a wrapper (strace, prlimit) if given, and waits until it answers.
ctd_start()
{
	local options daemon
	daemon=$(ctd_program ctd) || return 1
	mapfile -t options < <(sed '/^$/d' "$CTD_DIR/options")
	# bats waits for whoever holds its descriptors 3 and up
	setsid "$@" "$daemon" --state "$CTD_STATE" --runtime "$CTD_RUNTIME" --socket "$CTD_SOCKET" --foreground "${options[@]}" \
		</dev/null >>"$CTD_DIR/log" 2>&1 3>&- 4>&- 5>&- &
	echo $! >"$CTD_DIR/pid"
	disown
	if ! wait_for "${CTD_START_TIMEOUT:-60}" ctd_answers_or_died || ! ctd_answers >/dev/null 2>&1; then
		lib_remember_cgroup
		echo "ctd does not answer; its log ends with:" >&2
		tail -n 20 -- "$CTD_DIR/log" >&2
		return 1
	fi
	lib_remember_cgroup
}

ctd_answers()
{
	kill -0 "$(<"$CTD_DIR/pid")" && ctctl version
}

ctd_answers_or_died()
{
	! kill -0 "$(<"$CTD_DIR/pid")" || ctctl version
}

ctd_pid() # of the daemon, not of a wrapper around it
{
	local pid
	for pid in $(lib_processes_of ctd); do
		! grep -qzxF -- "$CTD_SOCKET" "/proc/$pid/cmdline" || { echo "$pid" && return; }
	done
	systemctl show -P MainPID ctd.service 2>/dev/null
}

# The keeper is told apart from those of other instances by its runtime directory, or by its cgroup.
keeper_pid()
{
	local pid tag
	tag=$(ctd_tag)
	for pid in $(lib_processes_of ct-keeper); do
		if [ -n "$tag" ] && grep -q -- "$tag" "/proc/$pid/cgroup" || tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF -- "$CTD_RUNTIME"; then
			echo "$pid" && return
		fi
	done
	return 1
}

lib_processes_of() # NAME: pids of the processes whose program has this file name
{
	local pid exe
	lib_programs | while read -r pid exe; do
		[ "${exe##*/}" != "$1" ] || echo "$pid"
	done
}

# "PID PROGRAM" of each process that has one. One program looks at all of them: where machines are emulated, one for each took seconds.
lib_programs()
{
	# the keeper runs from a sealed copy
	find /proc/[0-9]*/exe -maxdepth 0 -printf '%h %l\n' 2>/dev/null | sed -n 's|^/proc/||; s| (deleted)$||; s|^\([0-9]*\) /memfd:|\1 |; /^[0-9]* ./p'
}

# The mark that tells this instance's cgroups, links and filters from another's.
ctd_tag()
{
	sqlite3 "file:$CTD_STATE/ctd.db?mode=ro" "SELECT value FROM meta WHERE key = 'tag'" 2>/dev/null
}

# All cgroups of this instance, absolute.
ctd_cgroups()
{
	local tag
	tag=$(ctd_tag)
	[ -n "$tag" ] || return 0
	find "$(cgroup_mount)" -type d -path "*$tag*" 2>/dev/null | sort
}

cgroup_mount()
{
	awk '$(NF - 2) == "cgroup2" { print $5; exit }' /proc/self/mountinfo
}

lib_remember_cgroup() # for test/isolated, which removes what a dying test could not
{
	[ -z "${CTD_TEST_DIR:-}" ] || ctd_cgroups >>"$CTD_TEST_DIR/cgroups" || true
}

ctd_stop() # as a service manager would; containers and the keeper stay
{
	lib_signal_ctd TERM
}

ctd_kill() # as the kernel would
{
	lib_signal_ctd KILL
}

lib_signal_ctd() # SIGNAL
{
	local pid
	pid=$(ctd_pid)
	[ -n "$pid" ] || return 0
	kill "-$1" "$pid" 2>/dev/null || return 0
	wait_for 20 lib_is_gone "$pid"
}

lib_is_gone() # PID: gone, or a zombie that waits for its parent
{
	! grep -qs '^State:.[^ZX]' "/proc/$1/status"
}

# Ends the instance with everything in it, and says so if the last fsck was not clean.
ctd_teardown()
{
	local pid status=0
	[ -d "${CTD_DIR:-}" ] || return 0
	if ctd_answers 2>/dev/null; then
		lib_destroy_all
		ctctl fsck || { status=1 && echo "fsck found differences after all containers were destroyed" >&2; }
	fi
	ctd_stop
	pid=$(keeper_pid) && kill -9 "$pid" 2>/dev/null
	lib_remove_cgroups
	umount -l "$CTD_RUNTIME/view" 2>/dev/null || true # of a ctd that did not end by itself
	if [ "$status" != 0 ]; then
		echo "ctd's log ends with:" >&2
		tail -n 20 -- "$CTD_DIR/log" >&2
	fi
	rm -rf --one-file-system -- "$CTD_DIR" || status=1
	return "$status"
}

lib_destroy_all()
{
	local name
	ctctl list --json 2>/dev/null | lib_names | while read -r name; do ctctl destroy "$name" --force >/dev/null 2>&1 || true; done
}

lib_names() # container names out of what "list --json" prints, whether it is a bare array or wrapped
{
	jq -r '.. | objects | select(has("name") and has("ctid")) | .name'
}

lib_remove_cgroups()
{
	local dir list
	list=$(ctd_cgroups)
	[ -n "$list" ] || return 0
	dir=$(head -n 1 <<<"$list")
	[ ! -e "$dir/cgroup.kill" ] || echo 1 >"$dir/cgroup.kill"
	wait_for 10 lib_rmdir_all "$list"
}

lib_rmdir_all() # LIST: leaves first
{
	local dir
	for dir in $(sort -r <<<"$1"); do
		[ ! -d "$dir" ] || rmdir "$dir"
	done
}

ctctl()
{
	local program
	program=$(ctd_program ctctl) && "$program" "$@"
}

# The ctd that systemd runs, for the lab's flavour systemd. What a file that failed has left there is no concern of this one.
ctd_installed()
{
	export CTD_DIR=/run/ctd CTD_STATE=/var/lib/ctd CTD_RUNTIME=/run/ctd CTD_SOCKET=/run/ctd/ctd.sock
	wait_for 60 ctctl version || return 1
	[ "${LAB_BOOT:-1}" = 1 ] || return 0
	lib_destroy_all
	ctctl fsck --repair >/dev/null 2>&1 || true
}

# tiny_template: the template that most tests use, built once per instance.
tiny_template()
{
	! ctctl template show tiny >/dev/null 2>&1 || return 0
	ctctl template build tiny || return 1
	# What ctd makes once, at the first start, is no leak of a test.
	ctctl create warm-up --template tiny --start >/dev/null && ctctl destroy warm-up --force
}

# ---- what must be as before

# world_save: remembers what there is. world_check: compares, giving work that goes on in the background (pools, reaping) some seconds to settle.
# Fails with the difference. Both look only at this instance and at the test's own namespaces.
world_save()
{
	local last='' now n
	for ((n = 0; n < 20; n++)); do
		now=$(world_show)
		[ "$now" != "$last" ] || break
		last=$now
		sleep 0.2
	done
	printf '%s\n' "$now" >"$CTD_DIR/world"
}

world_check() # [SECONDS]
{
	local end=$((SECONDS + ${1:-30}))
	until world_show >"$CTD_DIR/world.now" && cmp -s "$CTD_DIR/world" "$CTD_DIR/world.now"; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "left behind (>) or lost (<):" >&2
			diff "$CTD_DIR/world" "$CTD_DIR/world.now" >&2
			return 1
		fi
		sleep 0.2
	done
	ctctl fsck >"$CTD_DIR/fsck" 2>&1 || {
		echo "ctctl fsck is not clean:" >&2
		cat -- "$CTD_DIR/fsck" >&2
		return 1
	}
}

world_show()
{
	local pid
	for pid in $(ctd_pid); do lib_show_process ctd "$pid"; done
	for pid in $(keeper_pid); do lib_show_process keeper "$pid"; done
	awk '{ $1 = $2 = $3 = ""; print "mount " $0 }' /proc/self/mountinfo | sed 's/ \(master\|shared\|propagate_from\):[0-9]*//g' | sort
	ctd_cgroups | sed 's/^/cgroup /'
	lib_show_network | lib_count_alike
	lib_show_processes
	lib_show_leases
	find "$CTD_STATE/" -mindepth 1 -maxdepth 2 ! -name 'ctd.db*' ! -name metering -printf 'file %P\n' 2>/dev/null | sort
}

lib_show_network()
{
	ip -o link show | sed 's/^[0-9]*: /link /; s/:.*//; s/@.*//'
	# the multicast routes of a link come from the kernel, some time after the link
	ip -o route show table all | sed '/^multicast /d; s/^/route /; s/ expires [0-9]*sec//'
	ip -o rule show | sed 's/^/rule /'
	lib_show_rules | sed 's/^/nft /'
}

# What nft cannot say is a difference to what it said before, and nothing to be compared with.
lib_show_rules()
{
	nft -s list ruleset 2>"$CTD_DIR/nft.error" || echo "failed at $EPOCHREALTIME: $(<"$CTD_DIR/nft.error")"
}

# Links are numbered by slots, and the pool of prepared ones moves on to other slots: what counts is how many there are of a kind.
lib_count_alike()
{
	local tag
	tag=$(ctd_tag)
	sed -E "s/\bv${tag:-none}[0-9a-z]+/v${tag:-none}*/g" | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)$/\2 × \1/; s/ × 1$//'
}

# Descriptors and mounts of a process. Numbers of sockets and inodes differ from run to run and say nothing. A descriptor that
# SQLite keeps for its files comes and goes with it, as do those of a running container's control files, opened when first asked for,
# and the namespace in which the next overlay will be mounted, which is made ahead.
lib_show_process() # LABEL PID
{
	find "/proc/$2/fd" -mindepth 1 -printf '%l\n' 2>/dev/null | sed 's/:\[[0-9]*\]$//; s/[0-9]\{3,\}/N/g' | grep -v -e 'ctd\.db' -e '/ctd-[a-z0-9]*/c-' -e '^mnt$' | sort | uniq -c | sed "s/^ */$1 fd /"
	awk -v l="$1" '{ $1 = $2 = $3 = ""; print l " mount " $0 }' "/proc/$2/mountinfo" | sed 's/ \(master\|shared\|propagate_from\):[0-9]*//g' | sort
}

# Programs that run and are not the test itself.
lib_show_processes()
{
	local exe
	lib_programs | while read -r _ exe; do
		case ${exe##*/} in
		bash | dash | bats* | env | timeout | cat | tee | sleep | sed | sort | grep | mawk | awk | find | perl | readlink | uniq | "") ;;
		systemd* | "(sd-pam)" | agetty | sshd | udevadm) ;;
		ct-view | lxcfs) ;; # go on starting when ctd answers already; lab-view.bats counts them
		*) echo "process ${exe##*/}" ;;
		esac
	done | sort | uniq -c | sed 's/^ *\([0-9]*\) process/process \1 ×/'
}

lib_show_leases()
{
	sqlite3 "file:$CTD_STATE/ctd.db?mode=ro" "SELECT 'lease address', address FROM address UNION ALL SELECT 'lease project', id FROM project
		UNION ALL SELECT 'container', name FROM container UNION ALL SELECT 'leases of slots', count(*) FROM run WHERE slot IS NOT NULL
		UNION ALL SELECT 'open job', verb FROM job WHERE finished IS NULL" 2>/dev/null | sort
}

# ---- a network beyond the host

# uplink_up: gives the test's network an uplink "up0" (192.0.2.2/24, 2001:db8::2/64, default routes) to an outside where
# 192.0.2.1, 2001:db8::1 and, farther, 198.51.100.1 and 2001:db8:1::1 answer. "outside COMMAND..." runs there.
uplink_up()
{
	lib_require_isolation || return 1
	setsid unshare --net sleep infinity </dev/null >/dev/null 2>&1 3>&- 4>&- &
	CTD_OUTSIDE=$!
	export CTD_OUTSIDE
	disown
	wait_for 5 lib_outside_ready || return 1
	ip link add up0 type veth peer name out0 netns "$CTD_OUTSIDE" || return 1
	ip addr add 192.0.2.2/24 dev up0
	ip addr add 2001:db8::2/64 dev up0 nodad
	ip link set up0 up
	outside ip link set lo up
	outside ip addr add 192.0.2.1/24 dev out0
	outside ip addr add 2001:db8::1/64 dev out0 nodad
	outside ip link set out0 up
	outside ip addr add 198.51.100.1/32 dev lo
	outside ip addr add 2001:db8:1::1/128 dev lo nodad
	# its routes come when the kernel has made sure that nobody else has it, which must not be in the middle of a test
	wait_for 20 sh -c "ip -6 -o address show dev up0 scope link -tentative | grep -q ." || return 1
	ip route add default via 192.0.2.1
	ip -6 route add default via 2001:db8::1
}

lib_outside_ready()
{
	[ "$(readlink "/proc/$CTD_OUTSIDE/ns/net")" != "$(readlink /proc/self/ns/net)" ] && [ "$(<"/proc/$CTD_OUTSIDE/comm")" = sleep ]
}

outside()
{
	nsenter --target "$CTD_OUTSIDE" --net -- "$@"
}

uplink_down()
{
	[ -z "${CTD_OUTSIDE:-}" ] || kill -9 "$CTD_OUTSIDE" 2>/dev/null
	ip link del up0 2>/dev/null || true
	unset CTD_OUTSIDE
}
