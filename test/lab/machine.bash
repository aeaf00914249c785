# shellcheck shell=bash
# One machine: a qemu process with a throw-away view of the root disk, the payload, the assets, a blank scratch disk, and two
# virtio ports that bring results out. It is ended by its pid, at a deadline and on every exit of the lab.

declare -a machine_pids=()

machine_accelerator() # "kvm" or "tcg": KVM only if it boots this very kernel, which is tried once and remembered
{
	local memory
	memory=$kernel_dir/accelerator-$(uname -r)
	if [ ! -e "$memory" ]; then
		if [ -w /dev/kvm ] && machine_probe kvm; then echo kvm >"$memory"; else echo tcg >"$memory"; fi
	fi
	cat -- "$memory"
}

machine_probe()
{
	local log
	log=$(mktemp)
	cleanup_add "$log"
	timeout -k 1 12 qemu-system-x86_64 -accel kvm -cpu host -m 512 -nodefaults -no-user-config -display none -no-reboot \
		-kernel "$kernel_dir/vmlinuz" -initrd "$kernel_dir/initramfs.gz" -serial "file:$log" \
		-append 'console=ttyS0 panic=-1 lab.flavour=probe' </dev/null >/dev/null 2>&1
	grep -q 'lab: it boots' "$log"
}

# machine_start DIR NUMBER FLAVOUR: DIR gets console, out, status and the disks; settings come from the variables of the lab.
machine_start()
{
	local dir=$1 number=$2 flavour=$3 accel append
	local -a args
	accel=$(machine_accelerator)
	# An emulated processor takes a string instruction byte by byte, and leaves its fast path wherever the kernel touches a
	# user's memory with SMAP: with both, copies and page faults take three to five times as long, of real ones nothing.
	[ "$accel" = kvm ] && accel='kvm -cpu host' || accel='tcg,thread=multi,tb-size=512 -cpu max,-erms,-smap'
	append="console=ttyS0 panic=-1 net.ifnames=0 lab.flavour=$flavour ${opt_append:-}"
	[ "$flavour" = systemd ] && append+=" systemd.unit=lab.target systemd.show_status=0 loglevel=4" || append+=" loglevel=5"
	truncate -s "${opt_scratch:-4G}" "$dir/scratch.img"
	# shellcheck disable=SC2206 # two words
	args=(-accel $accel -smp "${opt_cpus:-2}" -m "${opt_memory:-2048}" -nodefaults -no-user-config -display none -name "ctd-lab-$number"
		-kernel "$kernel_dir/vmlinuz" -initrd "$kernel_dir/initramfs.gz" -append "$append"
		-device virtio-rng-pci -device virtio-serial-pci
		-chardev "file,id=out,path=$dir/out" -device 'virtserialport,chardev=out,name=lab.out'
		-chardev "file,id=status,path=$dir/status" -device 'virtserialport,chardev=status,name=lab.status')
	machine_disk root "$root_dir/root.img" snapshot=on
	machine_disk payload "$run/payload.tar" readonly=on
	machine_disk assets "$assets_dir/assets.img" readonly=on
	machine_disk scratch "$dir/scratch.img" discard=unmap
	machine_network "$number"
	if [ "${opt_terminal:-}" ]; then
		args+=(-serial stdio)
		machine_exec "${args[@]}"
		return
	fi
	args+=(-serial "file:$dir/console")
	: >"$dir/out"
	# should the lab be killed, the machine goes with it
	TMPDIR=$dir setpriv --pdeathsig KILL qemu-system-x86_64 "${args[@]}" </dev/null >"$dir/qemu" 2>&1 &
	machine_pids[number]=$!
}

machine_exec() # a terminal of a developer: in the foreground
{
	local saved=
	[ ! -t 0 ] || { saved=$(stty -g) && stty raw -echo; }
	TMPDIR=$run qemu-system-x86_64 "$@" || true
	[ -z "$saved" ] || stty "$saved"
}

machine_disk() # SERIAL FILE OPTIONS: appends to args
{
	args+=(-drive "if=none,id=$1,file=$2,format=raw,cache=unsafe,aio=threads,$3"
		-device "virtio-blk-pci,drive=$1,serial=$1")
}

machine_network() # NUMBER: appends to args
{
	local end
	if [ "${opt_machines:-1}" = 2 ]; then
		[ "$1" = 1 ] && end=server=on || end=server=off
		args+=(-netdev "stream,id=peer,$end,addr.type=unix,addr.path=$run/wire"
			-device "virtio-net-pci,netdev=peer,mac=52:54:00:99:00:0$1")
	fi
	if [ "${opt_internet:-}" ]; then
		args+=(-netdev 'user,id=internet' -device "virtio-net-pci,netdev=internet,mac=52:54:00:98:00:0$1")
	fi
}

machine_alive() # NUMBER
{
	kill -0 "${machine_pids[$1]}" 2>/dev/null
}

machine_kill() # NUMBER
{
	local pid=${machine_pids[$1]:-}
	[ -n "$pid" ] || return 0
	kill -9 "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	machine_pids[$1]=
}

machine_kill_all()
{
	local number
	for number in "${!machine_pids[@]}"; do machine_kill "$number"; done
}
