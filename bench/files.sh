#!/bin/bash
# What files cost where a container has them: one plain ext4 directory, and what stands between it and the container, each added by itself.
#	usage: bench/files.sh BUILD [ROUNDS]
# Needs root and 3 GB in /var/tmp. As the tests, in namespaces of its own.
set -eu
[ $# -ge 1 ] || { sed -n 's/^#\tusage: /usage: /p' "$0" >&2 && exit 2; }
[ -n "${CTD_TEST_ISOLATED-}" ] || exec "$(dirname "$0")/../test/isolated" "$0" "$(readlink -f "$1")" "${2-20}"
cd "$CTD_TEST_DIR"

disk() # FILE GIGABYTES DIRECTORY: an ext4 in a file; the loop device goes with the mount
{
	local loop
	fallocate -l "$2G" "$1"
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$1"
	loop=$(losetup --find --show --direct-io=on "$1")
	mkdir -p "$3"
	mount -o noatime "$loop" "$3"
	losetup -d "$loop"
}

overlay() # NAME BASE OPTIONS
{
	mkdir -p "$2/$1"/{upper,work,merged} "$2/lower"
	mount -t overlay -o "lowerdir=$2/lower,upperdir=$2/$1/upper,workdir=$2/$1/work$3" "$1" "$2/$1/merged"
	mkdir "$2/$1/merged/here"
}

disk disk.img 2 disk
mkdir disk/plain
overlay bare "$PWD/disk" ,redirect_dir=off,index=off
overlay ours "$PWD/disk" ,redirect_dir=on,index=on,nfs_export=on
disk disk/image.img 1 image
mkdir image/plain
overlay image "$PWD/image" ,redirect_dir=on,index=on,nfs_export=on
"$1/bench/files" --rounds "$2" "ext4=disk/plain" "overlay=disk/bare/merged/here" "overlay, our options=disk/ours/merged/here" "image=image/plain" \
	"overlay in an image=image/image/merged/here"
