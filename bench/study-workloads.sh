# The workloads of bench/study, for a POSIX shell in whatever place is measured; comes by standard input: sh -s NAME DIRECTORY [ARGUMENT...].
# "prepare" readies DIRECTORY; "NAME" does NAME's work there and prints one number. Seconds: less is better; the others are rates.
# The tree has what they need: see tree_make in bench/study.
set -eu
name=$1 dir=$2
shift 2
export LC_ALL=C HOME=/root
mkdir -p "$dir"
cd "$dir"

seconds() # COMMAND...: how long it takes
{
	local_start=$(date +%s%N)
	"$@" >&2
	echo "$local_start $(date +%s%N)" | awk '{ printf "%.3f\n", ($2 - $1) / 1e9 }'
}

# What is not measured, configuration and tools, stays from one run to the next.
build()
{
	if [ ! -f out/prepared ]; then
		rm -rf out
		mkdir out
		make -s -C /bench/linux O="$dir/out" tinyconfig >&2
		make -s -C /bench/linux O="$dir/out" -j2 prepare >&2
		touch out/prepared
	fi
	for part in kernel mm lib; do
		[ ! -d "out/$part" ] || find "out/$part" -name '*.[oa]' -delete
	done
	# shellcheck disable=SC2086 # several targets
	seconds make -s -C /bench/linux O="$dir/out" -j2 ${1:-kernel/ mm/ lib/}
}

compress()
{
	head -c "${1:-64}M" /bench/linux.tar >plain
	seconds bzip2 -9 -k -f plain
}

disk_bench()
{
	rm -rf clients
	sync -f .
	dbench -D "$dir" -c /usr/share/dbench/client.txt -t "${1:-10}" 4 | awk '/^Throughput/ { print $2 }'
}

copy_file()
{
	[ -f large ] || dd if=/dev/urandom of=large bs=1M count="${1:-512}" 2>/dev/null
	rm -f large.copy
	seconds dd if=large of=large.copy bs=1M conv=fsync status=none
	rm -f large.copy
}

zero()
{
	seconds dd if=/dev/zero of=/dev/null bs=4k count="${1:-4000000}" status=none
}

small_files()
{
	if [ ! -d small ]; then
		mkdir small
		awk -v n="${1:-20000}" 'BEGIN { for (i = 0; i < n; i++) { d = sprintf("small/%03d", i / 100); if (i % 100 == 0) system("mkdir " d);
			f = d "/" i; for (k = 0; k < 1 + i % 8; k++) printf "%0512d\n", i > f; close(f) } }'
	fi
	rm -rf small.copy
	sync -f .
	seconds rsync -a small/ small.copy/
}

large_file()
{
	[ -f large ] || dd if=/dev/urandom of=large bs=1M count="${1:-512}" 2>/dev/null
	rm -f large.rsync
	seconds rsync -a large large.rsync
	rm -f large.rsync
}

database_start()
{
	[ ! -S sql/socket ] || ! mariadb-admin -u root -S "$dir/sql/socket" ping >/dev/null 2>&1 || return 0
	[ -d sql ] || { mkdir sql && tar -C sql -xf /bench/sql.tar; }
	chown -R mysql:mysql sql
	mkdir -p /run/mysqld
	setsid mariadbd --no-defaults --user=mysql --datadir="$dir/sql/data" --socket="$dir/sql/socket" --skip-networking --innodb-buffer-pool-size=64M \
		--innodb-log-file-size=32M --pid-file="$dir/sql/pid" </dev/null >sql/log 2>&1 &
	for _ in $(seq 600); do
		! mariadb-admin -u root -S "$dir/sql/socket" ping >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	tail -n 20 sql/log >&2
	return 1
}

oltp()
{
	sysbench oltp_read_write --mysql-socket="$dir/sql/socket" --mysql-user=root --mysql-db=bench --tables=4 --table-size=10000 "$@"
}

database()
{
	database_start
	oltp --threads="${2:-2}" --time="${1:-10}" run | awk '/transactions:/ { gsub(/\(/, ""); print $3 }'
}

a_bit_of_each() # ROUNDS
{
	for _ in $(seq "$1"); do
		head -c 2M /bench/linux.tar | bzip2 -9 >mix.bz2
		rsync -a --delete /bench/linux/lib/ mix/
		find mix -name '*.c' -exec cat {} + | sort | uniq -c | sort -rn | head -n 3
		rm -rf mix
	done
}

# A bit of each, as servers do.
mix()
{
	seconds a_bit_of_each "${1:-8}"
}

case $name in
database_up) database_start ;;
database_stop)
	[ ! -S sql/socket ] || mariadb-admin -u root -S "$dir/sql/socket" shutdown >&2
	;;
*) "$name" "$@" ;;
esac
