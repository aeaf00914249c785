# shellcheck shell=bash
# The payload of a boot: one tar, put on a raw disk, that the initramfs unpacks over the root disk. It holds the agent and the jobs,
# the sources of the tree below /ctd, the programs of a build below /ctd/build, and what "meson install" of that build installs.

payload_tar() # OUT STAGE: STAGE is a directory that the caller filled with jobs
{
	local out=$1 stage=$2 build=$3
	mkdir -p "$stage/lab.d" "$stage/ctd" "$stage/etc/systemd/system" "$stage/root/.ssh"
	cp -- "$lab"/guest/script-init "$lab"/guest/agent "$stage/lab.d/"
	cp -- "$lab"/guest/lab.target "$lab"/guest/lab-agent.service "$stage/etc/systemd/system/"
	payload_sources "$stage/ctd"
	[ -z "$build" ] || payload_build "$stage" "$build"
	tar -C "$stage" --owner=0 --group=0 --numeric-owner -cf "$out" .
}

payload_sources() # DIR
{
	# a build directory in the tree is known by what meson leaves in it
	local build excludes=(--exclude=./.git)
	for build in "$tree"/*/meson-info; do
		[ ! -d "$build" ] || { build=${build%/meson-info} && excludes+=(--exclude="./${build##*/}"); }
	done
	# a file that an editor writes meanwhile is no reason to stop
	{ tar -C "$tree" --ignore-failed-read --warning=no-file-changed "${excludes[@]}" -cf - . || [ $? = 1 ]; } | tar -C "$1" -xf -
}

payload_build() # STAGE BUILD
{
	local stage=$1 build=$2 file
	DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet >"$stage.install" 2>&1 || {
		cat -- "$stage.install" >&2
		die "meson install of '$build' failed"
	}
	rm -f -- "$stage.install"
	# the root disk has /lib and /bin as links: what is installed must go through them, not over them
	for file in lib bin sbin; do
		[ ! -d "$stage/$file" ] || { mkdir -p "$stage/usr" && cp -a -- "$stage/$file" "$stage/usr/" && rm -rf -- "${stage:?}/$file"; }
	done
	(cd "$build" && find . -type f \( -perm -u+x -o -name '*.so*' \) ! -path '*/meson-*' ! -name '*.symbols' -print0) |
		tar -C "$build" --null -T - -cf - | { mkdir -p "$stage/ctd/build" && tar -C "$stage/ctd/build" -xf -; }
	payload_enable "$stage"
}

# Units of the product are enabled as an administrator would; in the flavour script nobody reads these links.
payload_enable() # STAGE
{
	local wants=$1/etc/systemd/system/multi-user.target.wants
	mkdir -p "$wants"
	[ ! -f "$1/usr/lib/systemd/system/ctd.service" ] || ln -sfn /usr/lib/systemd/system/ctd.service "$wants/"
}

# A throw-away key by which two machines trust each other. A connection between them costs more than anything else where they are emulated: without
# sntrup761, and without a session of logind for each, it takes 1.8 s instead of 4.2.
payload_peer_keys() # STAGE
{
	mkdir -p "$1/root/.ssh" "$1/etc/ssh/sshd_config.d"
	echo 'UsePAM no' >"$1/etc/ssh/sshd_config.d/lab.conf"
	ssh-keygen -q -t ed25519 -N '' -C lab -f "$1/root/.ssh/id_ed25519"
	cp -- "$1/root/.ssh/id_ed25519.pub" "$1/root/.ssh/authorized_keys"
	printf '%s\n' 'Host peer lab1 lab2 10.99.0.*' ' StrictHostKeyChecking no' ' UserKnownHostsFile /dev/null' ' LogLevel ERROR' \
		' BatchMode yes' ' KexAlgorithms curve25519-sha256' >"$1/root/.ssh/config"
}
