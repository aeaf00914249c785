#!/usr/bin/env bats
# lab: systemd deadline=600
# ./quickstart where systemd is PID 1, on a machine from which the product was taken away: from a copy of the tree to a command over SSH, and again.
#
# A machine of the lab has no network and would compile for minutes. So apt-get only writes down what it was asked for, and meson installs what the lab
# has built and installed here before; all else is the real thing: units, systemctl, the daemon, the template, the container, ssh.
load lib

setup_file()
{
	ctd_installed
	export QUICK=/var/tmp/quick
	export STAGE=$QUICK/stage
	mkdir -p "$STAGE" "$QUICK/bin" "$QUICK/tree"
	take_away
	tar -C "$CTD_TREE" --exclude=./build -cf - . | tar -C "$QUICK/tree" -xf -
	make_build
	make_tools
	ip address add 192.0.2.1/32 dev lo # an address to be reached from
}

teardown_file()
{
	quick --cleanup
	put_back
	systemctl disable --now ctd-containers.service
	systemctl enable --now ctd.service
	ip address del 192.0.2.1/32 dev lo
	rm -rf -- "$QUICK"
	ctd_installed
}

# All that "meson install" had put below /usr, and what of the state is not there on a new machine.
take_away()
{
	local file
	ctctl template remove tiny || true
	systemctl disable --now ctd-containers.service || true
	systemctl disable --now ctd.service
	for file in /usr/{sbin/ctd,bin/ctctl,libexec/ctd,share/ctd} /usr/lib/systemd/system/ctd{.service,.slice,-containers.service}; do
		mkdir -p "$STAGE${file%/*}"
		mv "$file" "$STAGE$file"
	done
	systemctl daemon-reload
}

put_back()
{
	cp -a --remove-destination "$STAGE/." /
	systemctl daemon-reload
}

make_build() # what a build directory has that quickstart looks at
{
	mkdir -p "$QUICK/tree/build"
	cp -a /ctd/build/{ctd,ctctl} "$QUICK/tree/build/"
	touch "$QUICK/tree/build/build.ninja"
}

make_tools()
{
	tool apt-get <<-'END'
		echo "$*" >>"$QUICK/apt"
	END
	tool meson <<-'END'
		echo "$*" >>"$QUICK/meson"
		[ "$1" = install ] && cp -a --remove-destination "$STAGE/." /
	END
	# binutils come with the compiler: the build id, by the note's head
	command -v readelf >/dev/null || tool readelf <<-'END'
		at=$(LC_ALL=C grep -obUaP '\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00' "$2" | head -n 1)
		echo "    Build ID: $(od -An -v -tx1 -w20 -j $((${at%%:*} + 16)) -N 20 "$2" | tr -d ' ')"
	END
}

tool() # NAME: a script of what is on the input
{
	{ echo '#!/bin/bash' && cat; } >"$QUICK/bin/$1"
	chmod 755 "$QUICK/bin/$1"
}

quick() # [OPTION...]
{
	PATH=$QUICK/bin:$PATH timeout 200 "$QUICK/tree/quickstart" "$@" 3>&- 4>&- 5>&-
}

@test "one command installs, starts the service, and ends with a command over SSH" {
	[ ! -e /usr/sbin/ctd ] && [ ! -e /usr/bin/ctctl ]
	[ "$(systemctl is-active ctd.service)" != active ]
	run quick --template tiny
	tee "$QUICK/said" <<<"$output"
	[ "$status" -eq 0 ]
	[[ "$output" == *"ctd tiny"*" on quickstart, up "* ]]
	for step in "install " "build in $QUICK/tree/build" "start ctd" "build the template tiny" "make a key" "create and start the container quickstart" \
		"wait until sshd answers" "run a command over SSH"; do
		[[ "$output" == *" s  $step"* ]]
	done
	grep -qx "install -C $QUICK/tree/build" "$QUICK/meson"
	# what a build needs and the machine has not, and nothing else
	grep -q '^install -q -y --no-install-recommends .*\bmeson\b' "$QUICK/apt"
	for package in $(sed 's/^install -q -y --no-install-recommends//' "$QUICK/apt"); do
		grep -qxE "$package( .*)?" "$QUICK"/tree/packages.{build,run}
	done
}

@test "it is a service now, that comes back with the machine, and the commands that it proposes work" {
	for unit in ctd.service ctd-containers.service; do
		[ "$(systemctl is-active "$unit")" = active ]
		[ "$(systemctl is-enabled "$unit")" = enabled ]
	done
	[ "$(readlink "/proc/$(systemctl show -P MainPID ctd.service)/exe")" = /usr/sbin/ctd ]
	command=$(sed -n 's/^    \(ssh .*\)/\1/p' "$QUICK/said")
	# shellcheck disable=SC2086 # words
	[ "$(${command/ssh /ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR } hostname)" = quickstart ]
	command=$(sed -n 's/^    \(ctctl create web .*\)/\1/p' "$QUICK/said")
	env -u CTD_SOCKET bash -c "$command"
	[ "$(/usr/bin/ctctl show web --json | jq -r .state)" = running ]
	/usr/bin/ctctl destroy web --force
}

@test "again, it reuses what is there" {
	ctid=$(ctctl show quickstart --json | jq -r .ctid)
	pid=$(systemctl show -P MainPID ctd.service)
	run quick --template tiny
	[ "$status" -eq 0 ]
	for step in "start ctd" "build the template" "make a key" "the container quickstart"; do
		[[ "$output" != *"$step"* ]]
	done
	[ "$(ctctl show quickstart --json | jq -r .ctid)" = "$ctid" ]
	[ "$(systemctl show -P MainPID ctd.service)" = "$pid" ]
}

@test "--cleanup takes the container and the key away, and leaves the service" {
	quick --cleanup
	run ctctl show quickstart
	[ "$status" -eq 3 ]
	[ ! -e /var/lib/ctd/quickstart ]
	[ "$(systemctl is-active ctd.service)" = active ]
	ctctl fsck
}
