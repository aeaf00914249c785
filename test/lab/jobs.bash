# shellcheck shell=bash
# What a boot is for: one command, a developer's terminal, or test files. Test files are grouped by the machine they ask for, so that
# there is one boot per group; what they ask for stands in a comment of theirs:
#	# lab: [script|systemd] [machines=2] [deadline=SECONDS] [boots=N] [cut] [quiet] [long]
# (quiet: test/run starts nothing beside it; long: it leaves it out)

jobs_deadline_default=300
jobs_boot_deadline=240

jobs_stage() # makes the payload from the job lists in $run/jobs.*
{
	local number stage=$run/stage
	mkdir -p "$stage/lab.d"
	for number in 1 2; do
		[ ! -f "$run/jobs.$number" ] || cp -- "$run/jobs.$number" "$stage/lab.d/"
	done
	[ ! -f "$run/command" ] || cp -- "$run/command" "$stage/lab.d/command"
	[ "${opt_machines:-1}" = 1 ] || payload_peer_keys "$stage"
	{
		echo "export LAB_FLAVOUR=$1 LAB_MACHINES=${opt_machines:-1}"
		# shellcheck disable=SC2016 # for the machine
		echo 'for word in $(</proc/cmdline); do case $word in lab.machine=*) export LAB_MACHINE=${word#*=} ;; esac; done'
		[ -z "$opt_build" ] || echo "export CTD_BUILD=/ctd/build"
	} >"$stage/lab.d/environment"
	payload_tar "$run/payload.tar" "$stage" "$opt_build"
	rm -rf -- "$stage"
}

jobs_boot() # FLAVOUR SECONDS: boots, waits for the first machine to end; 0 when it said "done"
{
	local number waited limit=$2 append=${opt_append:-}
	for ((number = 1; number <= ${opt_machines:-1}; number++)); do
		mkdir -p "$run/$number"
		opt_append="$append lab.machine=$number" machine_start "$run/$number" "$number" "$1"
		for ((waited = 0; waited < 50; waited++)); do
			[ "${opt_machines:-1}" = 2 ] && [ ! -S "$run/wire" ] || break
			sleep 0.1
		done
	done
	jobs_wait "$limit"
}

jobs_wait() # SECONDS
{
	local end=$((SECONDS + $1)) boot_end=$((SECONDS + jobs_boot_deadline)) result=0
	while machine_alive 1; do
		if [ $SECONDS -ge $end ]; then
			say "the machine had not ended after $1 s"
			break
		fi
		if [ $SECONDS -ge $boot_end ] && [ ! -s "$run/1/status" ]; then
			say "the machine had not booted after $jobs_boot_deadline s"
			break
		fi
		sleep 0.1
	done
	[ ! -s "$run/1/qemu" ] || cat -- "$run/1/qemu" >&2
	machine_kill_all
	grep -qx 'done' "$run/1/status" 2>/dev/null || result=1
	return "$result"
}

jobs_keep_logs() # WHY
{
	local dir number
	dir=${opt_keep:-}
	[ -n "$dir" ] || dir=$(mktemp -d "${TMPDIR:-/var/tmp}/ctd-lab-failed.XXXXXX")
	for number in 1 2; do
		[ ! -d "$run/$number" ] || { mkdir -p "$dir/$number" && cp -- "$run/$number"/{console,out,status} "$dir/$number/" 2>/dev/null; } || true
	done
	[ -n "$1" ] || return 0
	say "$1; console and output are kept in $dir; the console ends with:"
	for number in 1 2; do
		[ ! -f "$dir/$number/console" ] || tail -n 50 -- "$dir/$number/console" | sed "s/\r//g; s/^/# machine $number: /" >&2
	done
}

jobs_exec() # WORDS of the command; one word is a line of shell
{
	local status tail_pid
	[ $# -gt 0 ] || die "exec needs a command"
	if [ $# = 1 ]; then printf '%s\n' "$1"; else printf '%q ' "$@" && echo; fi >"$run/command"
	echo exec >"$run/jobs.1"
	echo wait >"$run/jobs.2"
	jobs_stage "${opt_flavour:-script}"
	mkdir -p "$run/1"
	: >"$run/1/out"
	tail --pid=$$ -q -f -n +1 --sleep-interval=0.2 -- "$run/1/out" &
	tail_pid=$!
	if ! jobs_boot "${opt_flavour:-script}" "${opt_deadline:-600}"; then
		sleep 0.4
		kill "$tail_pid"
		jobs_keep_logs "the machine ended without an answer"
		return 125
	fi
	sleep 0.4
	kill "$tail_pid"
	wait "$tail_pid" 2>/dev/null || true
	[ -z "${opt_keep:-}" ] || jobs_keep_logs ''
	status=$(sed -n 's/^end exec //p' "$run/1/status")
	return "$status"
}

jobs_shell()
{
	echo shell >"$run/jobs.1"
	opt_machines=1
	jobs_stage "${opt_flavour:-script}"
	mkdir -p "$run/1"
	opt_terminal=1
	opt_append="${opt_append:-} quiet lab.machine=1"
	machine_start "$run/1" 1 "${opt_flavour:-script}"
}

jobs_header() # FILE: "flavour machines deadline boots cut" as the file asks, the command line first
{
	local word flavour='script' machines=1 deadline=$jobs_deadline_default boots=1 cut=soft
	for word in $(sed -n '1,20s/^# lab: *//p' "$1"); do
		case $word in
		script | systemd) flavour=$word ;;
		machines=[12]) machines=${word#*=} ;;
		deadline=*[0-9]) deadline=${word#*=} ;;
		boots=[1-9]) boots=${word#*=} ;;
		cut) cut='cut' ;;
		quiet | long) ;;
		*) die "$1: unknown word '$word' in its lab line" ;;
		esac
	done
	echo "${opt_flavour:-$flavour} ${opt_machines:-$machines} $deadline $boots $cut"
}

jobs_run() # FILES
{
	local file group failed=0 flavour machines deadline boots cut
	[ $# -gt 0 ] || die "run needs test files"
	: >"$run/plan"
	for file; do
		[ -f "$file" ] || die "no test file '$file'"
		file=$(readlink -f "$file")
		[ "${file#"$tree"/}" != "$file" ] || die "'$file' is not in the tree, so it would not be in the machine"
		read -r flavour machines deadline boots cut <<<"$(jobs_header "$file")"
		echo "$flavour-$machines ${file#"$tree"/} $deadline $boots $cut" >>"$run/plan"
	done
	for group in $(cut -d ' ' -f 1 "$run/plan" | sort -u); do
		jobs_run_group "$group" || failed=1
	done
	return "$failed"
}

jobs_run_group() # FLAVOUR-MACHINES: one boot; prints TAP, each file between "# begin" and "# end"
{
	local group=$1 flavour=${1%-*} limit=$jobs_boot_deadline file deadline boots cut begin=$SECONDS tail_pid failed=0
	local opt_machines=${1#*-}
	rm -rf -- "$run"/jobs.* "$run"/[12] "$run/wire"
	echo wait >"$run/jobs.2"
	while read -r _ file deadline boots cut; do
		echo "bats $file $deadline $boots $cut" >>"$run/jobs.1"
		limit=$((limit + boots * (deadline + 60)))
	done < <(grep "^$group " "$run/plan")
	jobs_stage "$flavour"
	mkdir -p "$run/1"
	: >"$run/1/out"
	tail --pid=$$ -q -f -n +1 --sleep-interval=0.5 -- "$run/1/out" 2>/dev/null &
	tail_pid=$!
	jobs_boot "$flavour" "${opt_deadline:-$limit}" || failed=1
	jobs_unfinished >>"$run/1/out"
	sleep 0.8
	kill "$tail_pid"
	wait "$tail_pid" 2>/dev/null || true
	"$tree/test/tap" --quiet <"$run/1/out" >/dev/null || failed=1
	say "$group: $(grep -c '^bats' "$run/jobs.1") file(s), booted in $(sed -n 's/^booted //p' "$run/1/status" | head -n 1) s of its own time, $((SECONDS - begin)) s in all"
	if [ "$failed" = 1 ]; then jobs_keep_logs "$group failed"; elif [ -n "${opt_keep:-}" ]; then jobs_keep_logs ''; fi
	return "$failed"
}

jobs_unfinished() # says "not ok" for each file that did not end by itself, in every boot it asked for
{
	local file boots
	while read -r _ file _ boots _; do
		[ "$(grep -cxE "end $file [0-9]+" "$run/1/status" 2>/dev/null)" != "$boots" ] || continue
		printf '# begin %s\nnot ok 1 the machine ended before the test did\n1..1\n# end %s 1\n' "$file" "$file"
	done <"$run/jobs.1"
}
