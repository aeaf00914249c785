#!/usr/bin/env bats
# lab: script
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disk limits that need a kernel with project quota: ext4 (the machine's root) and xfs (the scratch disk).

bats_require_minimum_version 1.5.0

setup() {
	TOOL=$CTD_BUILD/quota/test-disk-tool
	STORE=/var/tmp/disk-test
	DISK=c0ffee-1
	GO=/run/disk-go
}

teardown() {
	touch "$GO" # what waits for it must not wait for ever
	wait
	rm -rf "$STORE" "$GO"
	if mountpoint -q /srv; then
		umount /srv
	fi
}

# create BYTES INODES PROJECT; later calls use the same disk.
create() {
	SPEC=$DISK,dir,$1,$2,$3
	"$TOOL" "$STORE" create "$SPEC"
}

inside() {
	"$TOOL" "$STORE" run "$SPEC" sh -c "$1"
}

on_xfs() {
	mkfs.xfs -q -f /dev/disk/by-id/virtio-scratch
	mount -o "$1" /dev/disk/by-id/virtio-scratch /srv
	STORE=/srv/store
}

limit_holds() {
	create 20M 200 4711
	[ "$(inside 'df -k --output=size . | tail -1 | tr -d " "')" = 20480 ]
	[ "$(inside 'df --output=itotal . | tail -1 | tr -d " "')" = 200 ]

	# The writer is told, and what it has is what was sold, less the directories of the layers.
	run -1 inside 'LC_ALL=C head -c 40M /dev/zero >big'
	[[ $output == *"Disk quota exceeded"* || $output == *"No space left on device"* ]]
	size=$(inside 'sync; stat -c %s big')
	[ "$size" -le $((20 << 20)) ]
	[ "$size" -ge $(((20 << 20) - 128 * 1024)) ]
	run "$TOOL" "$STORE" usage "$SPEC"
	[[ ${lines[0]} =~ ^bytes\ ([0-9]+)\ of\ 20971520$ ]]
	[ "${BASH_REMATCH[1]}" -le 20971520 ]
	[ "${BASH_REMATCH[1]}" -ge "$size" ]
	[ "${lines[2]}" = "exact 1" ]

	# A full disk can be started on (each run mounts it anew), and there is room again when something is removed.
	inside 'rm big; head -c 10M /dev/zero >half; sync half'
}

# Past the overlay the same limit, shown and kept, and together with what is in it.
native_limit_holds() {
	create 20M 200 4719
	[ "$(inside 'stat -f -c %T home')" != overlayfs ]
	[ "$(inside 'stat -f -c %T .')" = overlayfs ]
	[ "$(inside 'df -k --output=size home | tail -1 | tr -d " "')" = 20480 ]
	[ "$(inside 'df --output=itotal home | tail -1 | tr -d " "')" = 200 ]
	inside 'head -c 10M /dev/zero >first; mkdir -p home/a/b; sync first'
	run -1 inside 'LC_ALL=C head -c 40M /dev/zero >home/a/b/big'
	[[ $output == *"Disk quota exceeded"* || $output == *"No space left on device"* ]]
	size=$(inside 'sync; stat -c %s home/a/b/big')
	[ "$size" -le $((10 << 20)) ]
	[ "$size" -ge $(((10 << 20) - 160 * 1024)) ]
	run "$TOOL" "$STORE" usage "$SPEC"
	[[ ${lines[0]} =~ ^bytes\ ([0-9]+)\ of\ 20971520$ ]]
	[ "${BASH_REMATCH[1]}" -ge $((size + (10 << 20))) ]
	inside 'rm home/a/b/big; head -c 5M /dev/zero >home/half; sync home/half'
	# shellcheck disable=SC2016 # for the shell inside
	run inside 'i=0; while : >"home/f$i"; do i=$((i + 1)); done'
	run "$TOOL" "$STORE" usage "$SPEC"
	[ "${lines[1]}" = "inodes 200 of 200" ]
}

inodes_hold() {
	create 100M 200 4712
	# shellcheck disable=SC2016 # for the shell inside
	run inside 'i=0; while : >"f$i"; do i=$((i + 1)); done'
	made=$(inside 'ls | wc -l')
	[ "$made" -ge 185 ]
	[ "$made" -lt 200 ]
	run "$TOOL" "$STORE" usage "$SPEC"
	[ "${lines[1]}" = "inodes 200 of 200" ]
	# xfs gives an inode back a little later
	inside 'rm f1; for n in 1 2 3 4 5 6 7 8 9 10; do touch again 2>/dev/null && exit 0; sleep 0.5; done; exit 1'
}

resizes() {
	create 20M 0 4713
	inside 'head -c 15M /dev/zero >data; sync data'

	# Too small: refused with what is used, and the old limit stays.
	run -1 "$TOOL" "$STORE" resize "$DISK,dir,10M,0,4713"
	[[ $output == *"holds 15"* ]]
	[ "$(inside 'df -k --output=size . | tail -1 | tr -d " "')" = 20480 ]

	SPEC=$DISK,dir,40M,0,4713
	"$TOOL" "$STORE" resize "$SPEC"
	[ "$(inside 'df -k --output=size . | tail -1 | tr -d " "')" = 40960 ]
	inside 'head -c 20M /dev/zero >more; sync more; rm data more'
	SPEC=$DISK,dir,10M,0,4713
	"$TOOL" "$STORE" resize "$SPEC"
	run -1 inside 'head -c 12M /dev/zero >data'
}

live_resize() {
	create 20M 0 4714
	# The disk is mounted and in use while the limit changes.
	inside "touch ready; until [ -e $GO ]; do sleep 0.1; done; head -c 30M /dev/zero >data && sync data" 3>&- &
	while [ ! -e "$STORE/containers/$DISK/upper/ready" ]; do sleep 0.1; done
	"$TOOL" "$STORE" resize "$DISK,dir,40M,0,4714"
	touch "$GO"
	wait $!
}

ids_are_not_inherited() {
	create 20M 0 4715
	inside 'head -c 5M /dev/zero >data; sync data'
	"$TOOL" "$STORE" discard "$SPEC"

	# What lies in the trash is still charged to the id: nobody else may get it.
	DISK=c0ffee-2
	run -1 create 20M 0 4715
	[[ $output == *"being removed"* ]]
	[ ! -e "$STORE/containers/$DISK" ]
	"$TOOL" "$STORE" sweep
	create 20M 0 4715
	[ "$("$TOOL" "$STORE" usage "$SPEC" | grep -c 'bytes .* of 20971520')" = 1 ]
}

@test "ext4: the probe finds project quota" {
	run "$TOOL" "$STORE" probe
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "filesystem ext4" ]
	[ "${lines[1]}" = "project_quota 1" ]
	[ "${lines[2]}" = "idmapped_layers 1" ]
	[ "${lines[3]}" = "nfs_export 1" ]
	[ "${lines[4]}" = "image 1" ]
	[ "${lines[5]}" = "remedy " ]
}

@test "ext4: df shows what was sold and writes end there" { limit_holds; }
@test "ext4: so do inodes" { inodes_hold; }
@test "ext4: and in a native directory" { native_limit_holds; }
@test "ext4: grown and shrunk" { resizes; }
@test "ext4: grown while in use" { live_resize; }
@test "ext4: a project id is free when all is removed" { ids_are_not_inherited; }

@test "ext4: a tenant cannot leave its project" {
	create 20M 0 4716
	# From inside, the attributes that carry the id cannot be changed; files that are renamed stay charged.
	inside 'mkdir d; chattr -p 0 d 2>/dev/null; chattr -P d 2>/dev/null; head -c 30M /dev/zero >d/x' || true
	[ "$(inside 'stat -c %s d/x')" -le $((20 << 20)) ]
	[ "$("$TOOL" "$STORE" usage "$SPEC" | sed -n 's/bytes \([0-9]*\) of.*/\1/p')" -gt $((19 << 20)) ]
	# Nor past the overlay, where these calls reach the file system itself.
	inside 'rm -r d'
	run -1 inside 'chattr -p 0 home'
	run -1 inside 'chattr -P home'
	inside 'mkdir home/d; chattr -p 0 home/d 2>/dev/null; chattr -P home/d 2>/dev/null; head -c 30M /dev/zero >home/d/x' || true
	[ "$(inside 'stat -c %s home/d/x')" -le $((20 << 20)) ]
	[ "$("$TOOL" "$STORE" usage "$SPEC" | sed -n 's/bytes \([0-9]*\) of.*/\1/p')" -gt $((19 << 20)) ]
}

@test "ext4: the trash is not limited, and an emptied quota is no quota" {
	create 20M 100 4717
	"$TOOL" "$STORE" discard "$SPEC"
	"$TOOL" "$STORE" sweep
	[ -z "$(find "$STORE/trash" "$STORE/tmp" "$STORE/containers" -mindepth 1)" ]
	run quota -P 4717
	[[ $output != *20480* ]]
}

@test "xfs: the probe finds project quota" {
	on_xfs prjquota
	run "$TOOL" "$STORE" probe
	[ "${lines[0]}" = "filesystem xfs" ]
	[ "${lines[1]}" = "project_quota 1" ]
	[ "${lines[2]}" = "idmapped_layers 1" ]
}

@test "xfs: df shows what was sold and writes end there" { on_xfs prjquota && limit_holds; }
@test "xfs: so do inodes" { on_xfs prjquota && inodes_hold; }
@test "xfs: and in a native directory" { on_xfs prjquota && native_limit_holds; }
@test "xfs: grown and shrunk" { on_xfs prjquota && resizes; }
@test "xfs: grown while in use" { on_xfs prjquota && live_resize; }
@test "xfs: a project id is free when all is removed" { on_xfs prjquota && ids_are_not_inherited; }

@test "without the mount option limits are refused, and the option is named" {
	on_xfs noquota
	run -1 create 20M 0 4718
	[[ $output == *prjquota* ]]
	[ ! -e "$STORE/containers/$DISK" ]
	create 0 0 0
	inside 'head -c 30M /dev/zero >data'
	run "$TOOL" "$STORE" usage "$SPEC"
	[ "${lines[2]}" = "exact 0" ]

	# A disk that was sold with a limit does not run without one.
	SPEC=$DISK,dir,20M,0,4718
	run -1 inside true
	[[ $output == *prjquota* ]]
}

@test "ext4 without the feature: the remedy names tune2fs" {
	mkfs.ext4 -q -F /dev/disk/by-id/virtio-scratch
	mount /dev/disk/by-id/virtio-scratch /srv
	STORE=/srv/store
	run -1 create 20M 0 4719
	[[ $output == *"tune2fs -O project,quota -Q prjquota"* ]]

	# What it says is true.
	umount /srv
	tune2fs -O project,quota -Q prjquota /dev/disk/by-id/virtio-scratch
	mount -o prjquota /dev/disk/by-id/virtio-scratch /srv
	limit_holds
}

copied_stores_are_limited() {
	create 20M 0 4720
	inside 'head -c 12M /dev/zero >data; mkdir d; ln -s data link; sync data'
	cp -a "$STORE" "$STORE.copy" # project ids are not copied
	rm -rf "$STORE"
	mv "$STORE.copy" "$STORE"
	run -1 "$TOOL" "$STORE" resize "$DISK,dir,40M,0,4720"
	[[ $output == *"when it starts the next time"* ]]
	run -1 inside 'head -c 12M /dev/zero >d/more'
	[[ $output == *"quota exceeded"* || $output == *"No space left on device"* ]]
	run "$TOOL" "$STORE" usage "$SPEC"
	[[ ${lines[0]} =~ ^bytes\ ([0-9]+)\ of\ 20971520$ ]]
	[ "${BASH_REMATCH[1]}" -ge $((19 << 20)) ]
	"$TOOL" "$STORE" resize "$DISK,dir,40M,0,4720"
}

@test "ext4: a copied store is limited when its containers start" { copied_stores_are_limited; }
@test "xfs: a copied store is limited when its containers start" { on_xfs prjquota && copied_stores_are_limited; }

@test "image: grown while in use, on a file system without quota" {
	mkfs.ext4 -q -F /dev/disk/by-id/virtio-scratch
	mount /dev/disk/by-id/virtio-scratch /srv
	STORE=/srv/store
	SPEC=$DISK,image,64M,0,0
	"$TOOL" "$STORE" create "$SPEC"
	inside "touch ready; until [ -e $GO ]; do sleep 0.1; done; head -c 150M /dev/zero >data && sync data && df -k --output=size . | tail -1" \
		>"$BATS_TEST_TMPDIR/size" 3>&- &
	local user=$!
	while [ -z "$(losetup -a)" ]; do sleep 0.1; done
	run -1 inside true # in use
	[[ $output == *"in use"* ]]
	"$TOOL" "$STORE" resize "$DISK,image,200M,0,0"
	[ "$(losetup -a | wc -l)" = 1 ] # and no second loop device for any of this
	touch "$GO"
	wait "$user"
	[ "$(cat "$BATS_TEST_TMPDIR/size")" -ge 204800 ]
	[ "$(cat "$BATS_TEST_TMPDIR/size")" -le 225280 ]
	for _ in $(seq 50); do
		[ -n "$(losetup -a)" ] || break
		sleep 0.1
	done
	[ -z "$(losetup -a)" ]
}
