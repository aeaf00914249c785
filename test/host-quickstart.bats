#!/usr/bin/env bats
# ./quickstart, in directories of its own, with the template that needs no network: from a build to a command over SSH, twice, and away.
load lib

setup_file()
{
	lib_require_isolation
	export QUICK=${CTD_TEST_DIR:-/var/tmp}/quick
	mkdir -p "$QUICK"
	chmod 755 "$QUICK"
	ip address add 192.0.2.1/32 dev lo # an address to be reached from
}

teardown_file()
{
	quick --cleanup
	rm -rf -- "$QUICK"
	ip address del 192.0.2.1/32 dev lo
}

quick() # [OPTION...]
{
	[ -f "$CTD_BUILD/build.ninja" ] || skip "no build directory"
	# bats waits for whoever holds its descriptors 3 and up
	timeout 120 "$CTD_TREE/quickstart" --no-install --build "$CTD_BUILD" --state "$QUICK/state" --runtime "$QUICK/run" "$@" 3>&- 4>&- 5>&-
}

here() # ctctl to the instance of quickstart
{
	"$CTD_BUILD/ctctl/ctctl" --socket "$QUICK/run/ctd.sock" "$@"
}

@test "one command ends with a login over SSH, and says how long each step took" {
	run quick --template tiny
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "$output" == *"ctd tiny"*" on quickstart, up "* ]]
	[[ "$output" == *" s  start ctd"* ]]
	[[ "$output" == *" s  wait until sshd answers"* ]]
	[ "$(sed -n '/^Try next:/,$p' <<<"$output" | grep -c '^    ')" = 3 ]
	[ "$(here show quickstart --json | jq -r .state)" = running ]
}

@test "the commands that it proposes work" {
	command=$(quick --template tiny | sed -n 's/^    \(ssh .*\)/\1/p')
	# shellcheck disable=SC2086 # words
	[ "$(${command/ssh /ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null } hostname)" = quickstart ]
	command=$(quick --template tiny | sed -n 's/^    \(.* create web .*\)/\1/p')
	bash -c "$command"
	[ "$(here show web --json | jq -r .state)" = running ]
	here destroy web --force
}

@test "again, it reuses what is there" {
	ctid=$(here show quickstart --json | jq -r .ctid)
	pid=$(cat "$QUICK/run/ctd.pid")
	run quick --template tiny
	[ "$status" -eq 0 ]
	[[ "$output" != *"start ctd"* && "$output" != *"build the template"* ]]
	[ "$(here show quickstart --json | jq -r .ctid)" = "$ctid" ]
	[ "$(cat "$QUICK/run/ctd.pid")" = "$pid" ]
}

@test "what is missing is made again: a stopped container, a dead ctd, a lost key" {
	here stop quickstart
	kill -9 "$(cat "$QUICK/run/ctd.pid")"
	run quick --template tiny
	[ "$status" -eq 0 ]
	[[ "$output" == *"start ctd"*"start the container"* ]]
	rm "$QUICK/state/quickstart/key"
	run quick --template tiny
	[ "$status" -eq 0 ]
	[[ "$output" == *"whose key is lost"* ]]
}

@test "a host that has no address but that of lo is told so, and what to do, at once" {
	ip address del 192.0.2.1/32 dev lo
	run quick --template tiny
	ip address add 192.0.2.1/32 dev lo
	echo "$output"
	[ "$status" -eq 1 ]
	[[ "$output" == *"it cannot speak to its containers"*"ip address add 192.0.2.1/32 dev lo"* ]]
}

@test "without the network that a template needs, the way out is named" {
	run -1 quick --template debian
	echo "$output"
	[[ $output == *'failed: build the template debian (without network: --template tiny)' ]]
}

@test "an unknown option or template is refused with what there is" {
	run quick --what
	[ "$status" -eq 2 ]
	[[ "$output" == *"unknown argument '--what'"*usage:* ]]
	run "$CTD_TREE/quickstart" --state
	[ "$status" -eq 2 ]
	[[ "$output" == *"'--state' needs a value"* ]]
	run "$CTD_TREE/test/run" --host nosuch
	[ "$status" -eq 2 ]
	[[ "$output" == *"no test/host-nosuch.bats"* ]]
	run quick --template nosuch
	[ "$status" -eq 2 ]
	[[ "$output" == *debian*tiny*ubuntu* ]]
}

@test "meson install puts everything where Debian expects it" {
	dest=$QUICK/dest
	DESTDIR=$dest meson install -C "$CTD_BUILD" --no-rebuild --quiet
	libraries=usr/lib/$(gcc -print-multiarch)
	for file in usr/sbin/ctd usr/bin/ctctl usr/libexec/ctd/{ct-keeper,ct-worker,ct-view,ctd-gate,ctd-stop-all}; do
		[ -x "$dest/$file" ] || { echo "no program $file" && return 1; }
	done
	# where it does not install, quickstart builds the same programs
	built=$(ninja -C "$CTD_BUILD" -t query programs)
	for file in "$dest"/usr/{bin,sbin,libexec/ctd}/*; do
		[ -x "$file" ] && [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
		grep -q "/${file##*/}$" <<<"$built" || { echo "quickstart does not build ${file##*/}" && return 1; }
	done
	for file in usr/lib/systemd/system/ctd{.service,.slice,-containers.service} usr/share/bash-completion/completions/ctctl \
		usr/include/ct/ct.h usr/share/ctd/templates/{debian,ubuntu,tiny}/recipe; do
		[ -s "$dest/$file" ] || { echo "no file $file" && return 1; }
	done
	for page in "$CTD_TREE"/man/*.[1-8]; do
		page=${page##*/}
		[ -s "$dest/usr/share/man/man${page##*.}/$page" ] || { echo "no page $page" && return 1; }
	done
	# the units name what is there, or the system's own
	for program in $(sed -n 's/^Exec[A-Za-z]*=[-@:+!]*\([^ ]*\).*/\1/p' "$dest"/usr/lib/systemd/system/*.service | grep -v '^/bin/'); do
		[ -x "$dest$program" ] || { echo "a unit starts $program, which is not installed" && return 1; }
	done
	# a program of somebody else finds the library by its soname
	echo 'int main(void) { return ct_host_probe(0, 0) == 0; }' >"$QUICK/other.c"
	gcc -include ct/ct.h -I "$dest/usr/include" -o "$QUICK/other" "$QUICK/other.c" -L "$dest/$libraries" -lct
	readelf -d "$QUICK/other" | grep -q 'NEEDED.*\[libct\.so\.0\]'
	[ -f "$dest/$libraries/libct.so.0" ]
	rm -rf "$dest" "$QUICK"/other*
}

@test "--cleanup leaves nothing" {
	cgroup=$(here version --json | jq -r .cgroup)
	tag=$(here version --json | jq -r .instance)
	run quick --cleanup
	[ "$status" -eq 0 ]
	[ -z "$(ls -A "$QUICK")" ]
	[ ! -e "$(cgroup_mount)$cgroup" ]
	[ -z "$(lib_processes_of ctd)$(lib_processes_of ct-keeper)" ]
	[[ "$(nft list tables)" != *"ctd-$tag"* ]]
}
