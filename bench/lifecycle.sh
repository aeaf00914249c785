#!/bin/bash
# What the verbs cost, beside a bare clone3 + exec and beside crun, runc and lxc where they are installed.
#	usage: bench/lifecycle.sh BUILD [--runs N] [--json FILE]
# Needs root. Runs in namespaces and directories of its own (test/isolated); prints a table, times in ms, ratios to ctctl (the floor's rows: to the floor).
set -eu
tree=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${CTD_TEST_ISOLATED:-}" ]; then
	build=$(cd "$1" && pwd)
	shift
	"$tree/test/isolated" "$0" "$build" "$@"
	exec "$tree/bench/answer" "$build"
fi
build=$1
shift
dir=$CTD_TEST_DIR/bench
mkdir -p "$dir/state" "$dir/run" "$dir/bundle/rootfs"
chmod 755 "$dir" "$dir/bundle" "$dir/bundle/rootfs"
# Its own view of the mounts: below, the peers get another one.
unshare --mount "$build/ctd/ctd" --state "$dir/state" --runtime "$dir/run" --foreground 2>"$dir/log" &
export CTD_SOCKET=$dir/run/ctd.sock
ctctl=$build/ctctl/ctctl
for _ in $(seq 100); do "$ctctl" version >/dev/null 2>&1 && break; sleep 0.05; done

# A template whose init is bench/first: the tiny one with another init and a /true that does nothing but end.
root=$dir/bundle/rootfs
mkdir -p "$root"/{dev,proc,sys,run,tmp,etc,root}
cp "$build/bench/first" "$root/first"
cp "$build/bench/first" "$root/init"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
cp /bin/busybox "$root/true"
digest=$(printf 'f%.0s' {1..64})
mkdir -p "$dir/state/fs/templates/$digest"
cp -a "$root" "$dir/state/fs/templates/$digest/root"
sqlite3 "$dir/state/ctd.db" "INSERT INTO template_image VALUES ('$digest', '{\"distribution\":\"first\",\"release\":\"1\",\"init\":[\"/init\"],\"stop_signal\":\"SIGTERM\"}', 1, 1);
	INSERT INTO template_name VALUES ('first', '$digest');"

# The peers: their own default configuration with our init and tree; lxc without a network bridge, which the host need not have.
if command -v crun >/dev/null; then
	(cd "$dir/bundle" && crun spec && sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"\/first"/' config.json)
fi
# On a hybrid host crun and runc work with cgroup v1 alone.
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
printf 'lxc.rootfs.path = dir:%s\nlxc.init.cmd = /first\nlxc.net.0.type = empty\nlxc.uts.name = bench\n' "$dir/bundle/lxc" >/run/ctd-bench-lxc.conf
"$build/bench/lifecycle" "$@" "$ctctl" "$build/bench/first" "$dir/bundle"

rss() { awk '/^Rss(Anon|File|Shmem):/ { s += $2 } /^RssAnon:/ { a = $2 } END { print s " KiB resident, " a " KiB of its own" }' "/proc/$1/status"; }
keeper=$("$ctctl" version --json | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1)
for n in 0 100; do
	for i in $(seq 1 "$n"); do "$ctctl" create "m$i" --template first --start >/dev/null; done
	echo "memory with $n running: ctd $(rss $!); keeper $(rss "$keeper")"
done
"$ctctl" list -q | xargs -n 50 "$ctctl" destroy --force >/dev/null
