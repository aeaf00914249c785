# shellcheck shell=bash
# Building what a machine boots from: a kernel with a small initramfs, a root disk, and an assets disk (container template and
# an apt archive). Each is one directory of the cache, named by a hash of everything that goes into it, built aside and
# renamed, so that a reader sees the whole thing or nothing. Nothing of the product goes in: it comes with the payload at each boot, so
# that a changed product never means a new image.

image_packages() # the packages of the root disk
{
	local file
	for file in "$tree/packages.run" "$tree/packages.test" "$lab/packages"; do
		sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$file"
	done | grep -vE '^(qemu.*|clang.*|libclang.*|mandoc|cpio|shellcheck|prometheus|.*-dev)$' | sort -u
	image_libraries
}

# The product links what the -dev packages of packages.build stand for; the packages these pull in are the ones that the
# machine needs at run time.
image_libraries()
{
	sed -n 's/^\(lib[a-z0-9.+-]*-dev\)$/\1/p' "$tree/packages.build" | xargs -r apt-cache depends -- |
		sed -n 's/^  Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | grep -vE -- '-dev$|^libc6$' | sort -u
}

image_kernel_package() # the versioned package behind linux-image-cloud-amd64
{
	local name
	name=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
	if [ -z "$name" ]; then
		apt-get update -q >&2
		name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
	fi
	[ -n "$name" ] || die "no package linux-image-cloud-amd64 in the host's apt sources"
	echo "$name"
}

# The host's own Debian sources as one-line entries, and the settings that say how to reach them. Third-party sources stay outside.
image_apt_sources()
{
	# shellcheck disable=SC2016 # apt's own fields, not the shell's
	apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
		sed -n 's/^Debian /deb /p' | sort -u
}

image_apt_settings()
{
	apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-Valid-Until|Check-Date|Retries|ForceIPv4)\b' | grep -v '""' || true
}

image_hash() # arguments: texts and files that make up one thing
{
	local item
	for item; do
		if [ -f "$item" ]; then cat -- "$item"; else printf '%s\n' "$item"; fi
	done | sha256sum | cut -c 1-16
}

image_keys()
{
	kernel_package=$(image_kernel_package)
	kernel_dir=$cache/kernel-$(image_hash "$kernel_package" "$lab/image.bash" "$lab/guest/initramfs")
	root_dir=$cache/root-$(image_hash "$(image_packages)" "$kernel_package" "$lab/image.bash")
	assets_dir=$cache/assets-$(image_hash "$lab/template-packages" "$lab/image.bash")
}

image_ready()
{
	[ -d "$kernel_dir" ] && [ -d "$root_dir" ] && [ -d "$assets_dir" ]
}

# image_build_aside DIR FUNCTION: FUNCTION fills a directory, which then becomes DIR.
image_build_aside()
{
	local dir=$1 fill=$2 aside
	[ ! -d "$dir" ] || return 0
	aside=$(mktemp -d "$cache/building.XXXXXX")
	chmod 755 "$aside"
	cleanup_add "$aside"
	say "building ${dir##*/}"
	local begin=$SECONDS
	# in the background, since the shell ignores errexit in a function that stands left of ||
	(set -e; "$fill" "$aside") >"$aside.log" 2>&1 &
	wait $! || {
		tail -n 30 -- "$aside.log" >&2
		die "could not build ${dir##*/}; the whole log is $aside.log"
	}
	rm -f -- "$aside.log"
	mv -T -- "$aside" "$dir"
	say "built ${dir##*/} in $((SECONDS - begin)) s, $(du -sh --apparent-size -- "$dir" | cut -f 1) apparent, $(du -sh -- "$dir" | cut -f 1) on disk"
}

image_unpack_kernel() # DIR: the kernel package's files
{
	local dir=$1
	(
		cd "$dir"
		mkdir deb
		chmod 777 deb
		cd deb
		apt-get download -q "$kernel_package" || { apt-get update -q && apt-get download -q "$kernel_package"; }
		dpkg-deb -x ./*.deb ../kernel
	)
	rm -r -- "$dir/deb"
	depmod -b "$dir/kernel" "${kernel_package#linux-image-}"
}

# Fills DIR with vmlinuz, initramfs and kernel/ (the modules, for the root disk).
image_fill_kernel()
{
	local dir=$1 version=${kernel_package#linux-image-} name path
	image_unpack_kernel "$dir"
	cp -- "$dir/kernel/boot/vmlinuz-$version" "$dir/vmlinuz"
	mkdir -p "$dir/initramfs/bin" "$dir/initramfs/modules" "$dir/initramfs"/{proc,sys,dev,root}
	cp -- /bin/busybox "$dir/initramfs/bin/busybox"
	cp -- "$lab/guest/initramfs" "$dir/initramfs/init"
	chmod 755 "$dir/initramfs/init"
	# modprobe prints what it would load, dependencies first; what is built in is left out
	for name in virtio_pci virtio_blk virtio_console virtio_rng crc32c_generic ext4 quota_v2; do
		modprobe -d "$dir/kernel" -S "$version" -a --show-depends "$name"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$dir/modules"
	while read -r path; do
		cp -- "$path" "$dir/initramfs/modules/"
		echo "${path##*/}"
	done <"$dir/modules" >"$dir/initramfs/modules/list"
	(cd "$dir/initramfs" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/initramfs.gz"
	rm -r -- "$dir/initramfs" "$dir/modules"
}

# image_mmdebstrap DIR PACKAGES [OPTION...]: a Debian in DIR by way of the host's apt configuration.
image_mmdebstrap()
{
	local dir=$1 packages=$2 suite
	shift 2
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	image_apt_settings >"$dir.apt"
	image_apt_sources >"$dir.list"
	[ -s "$dir.list" ] || { apt-get update -q && image_apt_sources >"$dir.list"; }
	unshare --mount --propagation private -- \
		mmdebstrap --mode=root --variant=minbase --format=directory --aptopt="$dir.apt" \
		${packages:+--include="$(tr -s '\n ' ',,' <<<"$packages" | sed 's/^,*//; s/,*$//')"} \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
		"$@" "$suite" "$dir" "$dir.list"
	rm -f -- "$dir.apt" "$dir.list"
}

image_disk() # DIR FILE SIZE: an ext4 image of DIR that can do all three quotas
{
	mke2fs -q -F -t ext4 -O quota,project -E quotatype=usrquota:grpquota:prjquota,lazy_itable_init=1,lazy_journal_init=1 \
		-m 0 -L "${4:-lab}" -d "$1" "$2" "$3"
}

image_fill_root()
{
	local dir=$1 root=$1/tree
	mkdir "$root"
	image_mmdebstrap "$root" "$(image_packages)"
	rm -rf -- "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
	mkdir -p "$root/lib/modules" "$root/lab"
	cp -a -- "$kernel_dir/kernel/lib/modules/." "$root/lib/modules/"
	mkdir -p "$root/boot"
	cp -- "$kernel_dir"/kernel/boot/config-* "$root/boot/"
	echo lab >"$root/etc/hostname"
	echo '127.0.0.1 localhost lab' >"$root/etc/hosts"
	: >"$root/etc/fstab"
	: >"$root/etc/machine-id"
	# the machines have no console to log in at and no time to wait for what they lack
	chroot "$root" passwd -d root
	ln -sf /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
	ln -sf /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"
	rm -f -- "$root"/etc/systemd/system/timers.target.wants/*
	image_disk "$root" "$dir/root.img" 12G
	rm -rf -- "$root"
}

# A package that holds one file, in an archive with pool and dists, signed by a key made for it.
image_fill_archive()
{
	local dir=$1 pkg key
	pkg=$(mktemp -d "$cache/building.XXXXXX")
	cleanup_add "$pkg"
	mkdir -p "$pkg/deb/DEBIAN" "$pkg/deb/usr/share/ctd-lab" "$dir/pool/main" "$dir/dists/lab/main/binary-amd64"
	chmod 755 "$pkg" "$pkg/deb" "$pkg/deb/DEBIAN"
	echo 'installed in a container' >"$pkg/deb/usr/share/ctd-lab/hello"
	printf '%s\n' 'Package: ctd-lab-hello' 'Version: 1.0' 'Architecture: all' 'Maintainer: ctd <ctd@lab.invalid>' \
		'Section: misc' 'Priority: optional' 'Description: proof that apt works in a container' >"$pkg/deb/DEBIAN/control"
	dpkg-deb -b --root-owner-group "$pkg/deb" "$dir/pool/main/ctd-lab-hello_1.0_all.deb"
	(
		cd "$dir"
		deb=pool/main/ctd-lab-hello_1.0_all.deb
		{
			cat "$pkg/deb/DEBIAN/control"
			echo "Filename: $deb"
			echo "Size: $(stat -c %s "$deb")"
			echo "SHA256: $(sha256sum "$deb" | cut -d ' ' -f 1)"
			echo
		} >dists/lab/main/binary-amd64/Packages
		gzip -9nk dists/lab/main/binary-amd64/Packages
		cd dists/lab
		{
			printf '%s\n' 'Origin: ctd-lab' 'Label: ctd-lab' 'Suite: lab' 'Codename: lab' 'Architectures: amd64 all' \
				'Components: main' "Date: $(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')" 'SHA256:'
			for f in main/binary-amd64/Packages main/binary-amd64/Packages.gz; do
				echo " $(sha256sum "$f" | cut -d ' ' -f 1) $(stat -c %s "$f") $f"
			done
		} >Release
	)
	key=$pkg/gnupg
	mkdir -m 700 "$key"
	gpg --homedir "$key" --batch --quiet --passphrase '' --quick-generate-key 'ctd lab <ctd@lab.invalid>' ed25519 sign never
	gpg --homedir "$key" --batch --quiet --clearsign -o "$dir/dists/lab/InRelease" "$dir/dists/lab/Release"
	gpg --homedir "$key" --batch --quiet --export >"$dir/key.gpg"
	gpgconf --homedir "$key" --kill all
	rm -rf -- "$pkg"
}

image_fill_assets()
{
	local dir=$1 packages
	mkdir -p "$dir/tree/archive"
	packages=$(sed -e 's/#.*//' -e '/^$/d' "$lab/template-packages")
	mkdir "$dir/tree/debian"
	image_mmdebstrap "$dir/tree/debian" "$packages"
	rm -rf -- "$dir"/tree/debian/var/cache/apt/* "$dir"/tree/debian/var/lib/apt/lists/* "$dir"/tree/debian/etc/ssh/ssh_host_*
	: >"$dir/tree/debian/etc/machine-id"
	: >"$dir/tree/debian/etc/apt/sources.list"
	tar -C "$dir/tree/debian" --numeric-owner --xattrs --xattrs-include='*' -cf "$dir/tree/debian.tar" .
	image_fill_archive "$dir/tree/archive"
	image_disk "$dir/tree" "$dir/assets.img" 3G assets
	rm -rf -- "$dir/tree"
}

# Takes the cache's lock, builds what is missing, and forgets what no key names any more.
image_build()
{
	local lock old
	mkdir -p -- "$cache"
	image_keys
	if image_ready; then return 0; fi
	exec {lock}>"$cache/lock"
	flock "$lock"
	find "$cache" -maxdepth 1 -name 'building.*' -exec rm -rf -- {} +
	image_build_aside "$kernel_dir" image_fill_kernel
	image_build_aside "$root_dir" image_fill_root
	image_build_aside "$assets_dir" image_fill_assets
	for old in "$cache"/kernel-* "$cache"/root-* "$cache"/assets-*; do
		case $old in
		"$kernel_dir" | "$root_dir" | "$assets_dir") ;;
		*) image_forget "$old" ;;
		esac
	done
	exec {lock}>&-
}

image_forget() # DIR: removed unless a machine uses it (its disks are held open under a shared lock)
{
	(flock -n -x 9 && rm -rf -- "$1") 9<"$1" || true
}
