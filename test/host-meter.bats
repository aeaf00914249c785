#!/usr/bin/env bats
# host: deadline=900
# What containers used: totals that never go down, and a ledger that adds up to them.
load lib

setup_file()
{
	printf '%s\n' 'meter-sample = 1' 'meter-interval = 60' >"$BATS_FILE_TMPDIR/ctd.conf"
	uplink_up
	outside ip route add 203.0.113.0/24 via 192.0.2.2
	ctd_setup --config "$BATS_FILE_TMPDIR/ctd.conf"
	tiny_template
	wait_for 30 has_address # the uplink's own, which brings routes along when it is no longer tentative
}

has_address()
{
	ip -6 addr show dev up0 scope link | grep -q fe80 && ! ip -6 addr show dev up0 tentative | grep -q fe80
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

setup()
{
	world_save
}

teardown()
{
	[ -z "${hidden_file-}" ] || umount "$hidden_file"
	world_check
}

# hide FILE: what opens it is told no.
hide()
{
	mount --bind "$CTD_SOCKET" "$1"
	hidden_file=$1
}

show()
{
	umount "$hidden_file"
	hidden_file=
}

total() # NAME COUNTER: since it was created
{
	ctctl usage "$1" --json | jq -e ".containers[0].total.$2"
}

cpu_of() # NAME
{
	ctctl usage "$1" --json | jq -e '.containers[0].total | .cpu_user_usec + .cpu_system_usec'
}

kernel_cpu() # NAME: the kernel's own view
{
	awk '$1 == "usage_usec" { print $2 }' "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show "$1" --json | jq -r .ctid)/cpu.stat"
}

burn() # NAME: a good half second of CPU
{
	ctctl exec "$1" -- sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done'
}

# near A B: A is at least B (but for what the kernel rounds off of two parts), and B is within 1 % or 100 ms of it.
near()
{
	[ $(($1 + 10)) -ge "$2" ] && [ $(($1 - $2)) -le $(($1 / 100 + 100000)) ]
}

# All rows of each kind, and the total, are the same sums.
adds_up() # NAME
{
	local by
	for by in interval hour day period; do
		ctctl usage "$1" --by $by --json | jq -e '.containers[0] as $c | $c.total | to_entries | all(
			.key as $k | .value == $c.sum[$k] and .value == ([$c.rows[][$k]] | add))' >/dev/null || return 1
	done
}

@test "CPU is counted as the kernel counts it, over every way to end" {
	ctctl create cpu --template tiny --start
	burn cpu
	sum=$(kernel_cpu cpu)
	[ "$sum" -gt 50000 ]
	near "$(cpu_of cpu)" "$sum"

	# Stopped and started: what the first run had is not forgotten.
	ctctl restart cpu --timeout 5
	both=$((sum + $(kernel_cpu cpu)))
	near "$(cpu_of cpu)" "$both"
	burn cpu
	sum=$((sum + $(kernel_cpu cpu)))
	near "$(cpu_of cpu)" "$sum"

	# ctd killed while it works: the kernel goes on counting.
	before=$(cpu_of cpu)
	ctctl exec cpu -- sh -c 'while [ ! -e /stop ]; do :; done; touch /stopped' </dev/null >/dev/null 2>&1 3>&- 4>&- &
	more() { [ "$(cpu_of cpu)" -gt $((before + 100000)) ]; }
	wait_for 30 more
	before=$(kernel_cpu cpu)
	cgroup=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show cpu --json | jq -r .ctid)
	ctd_kill
	seen() { [ "$(awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat")" -gt $((before + 300000)) ]; }
	wait_for 60 seen
	ctd_start
	# The first run is in the total as well, so what the kernel counts of the second is less.
	before=$(awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat")
	[ "$(cpu_of cpu)" -gt "$before" ]
	ctctl exec cpu -- touch /stop
	wait_for 30 ctctl exec cpu -- test -e /stopped
	wait

	# The container killed while ctd is dead.
	last=$(cpu_of cpu)
	init=$(ctctl show cpu --json | jq .pid)
	ctd_kill
	before=$(awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat")
	kill -9 "$init"
	ctd_start
	stopped() { [ "$(ctctl show cpu --json | jq -r .state)" = stopped ]; }
	wait_for 10 stopped
	[ "$(cpu_of cpu)" -ge "$last" ]
	[ "$(total cpu gap_usec)" = 0 ]
	[ "$(total cpu running_usec)" -gt 0 ]
	adds_up cpu
	ctctl destroy cpu
}

@test "a counter that cannot be read for a while is neither lost nor charged again" {
	ctctl create torn --template tiny --start
	burn torn
	used=$(cpu_of torn)
	cgroup=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show torn --json | jq -r .ctid)
	ctd_kill
	hide "$cgroup/cpu.stat"
	ctd_start
	ran=$(total torn running_usec)
	looked_at() { [ "$(total torn running_usec)" -gt $((ran + 2000000)) ]; }
	wait_for 30 looked_at
	read_all() { cat "$cgroup/cpu.stat" >/dev/null; }
	run ! read_all
	hidden=$(cpu_of torn)
	[ "$hidden" -ge "$used" ]
	show
	burn torn
	more() { [ "$(cpu_of torn)" -gt "$hidden" ]; }
	wait_for 30 more
	sum=$(kernel_cpu torn)
	near "$(cpu_of torn)" "$sum"
	adds_up torn
	ctctl destroy torn --force
}

@test "a name may change, and a destroyed container keeps its rows" {
	ctctl create before --template tiny --start
	burn before
	used=$(cpu_of before)
	ctctl rename before after
	[ "$(cpu_of after)" -ge "$used" ]
	run -3 ctctl usage before
	ctid=$(ctctl show after --json | jq -r .ctid)
	ctctl destroy after --force
	[ "$(cpu_of after)" -ge "$used" ]
	[ "$(cpu_of "$ctid")" = "$(cpu_of after)" ]
	ctctl usage after --json | jq -e '.containers[0].destroyed' >/dev/null
	adds_up after

	# Another of the name has an account of its own.
	ctctl create after --template tiny
	[ "$(cpu_of after)" = 0 ]
	[ "$(cpu_of "$ctid")" -ge "$used" ]
	ctctl usage --all --csv --by hour | grep -q "^$ctid,after,.*Z,"
	ctd_stop
	ctd_start
	[ "$(cpu_of "$ctid")" -ge "$used" ]
	ctctl destroy after
}

@test "traffic is counted whatever the container does to its links" {
	ctctl create net --template tiny --net routed --ip 203.0.113.20 --start
	outside ping -c 1 -w 30 203.0.113.20 >/dev/null # whatever has to be resolved first
	out=$(total net net_out_bytes) in=$(total net net_in_bytes)
	# 10 packets of 20 + 8 + 1000 bytes, and their answers.
	outside ping -c 10 -i 0.2 -s 1000 -w 60 203.0.113.20 >/dev/null
	[ "$(total net net_out_bytes)" -ge $((out + 10280)) ]
	[ "$(total net net_out_bytes)" -le $((out + 10280 + 4000)) ]
	[ "$(total net net_in_bytes)" -ge $((in + 10280)) ]
	out=$(total net net_out_bytes) packets=$(total net net_out_packets)
	[ "$packets" -ge 11 ]
	# What it sends by another's address is dropped, told, and nothing that it has used.
	dropped=$(total net net_dropped_packets)
	ctctl exec net -- sh -c 'ip addr add 198.51.100.99/32 dev eth0; ping -I 198.51.100.99 -c 50 -i 0.01 -s 1000 -W 1 192.0.2.1' >/dev/null || true
	[ "$(total net net_dropped_packets)" -ge $((dropped + 50)) ]
	[ "$(total net net_out_bytes)" -le $((out + 10000)) ]
	ctctl exec net -- ip link set eth0 down
	ctctl exec net -- ip link set eth0 name moved
	[ "$(total net net_out_bytes)" -ge "$out" ]
	ctctl exec net -- ip link del moved
	sleep 1.5 # over a sample without it
	[ "$(total net net_out_bytes)" -ge "$out" ]
	[ "$(total net net_dropped_packets)" -ge $((dropped + 50)) ]
	ctctl restart net --timeout 5
	outside ping -c 1 -w 30 203.0.113.20 >/dev/null
	# What is taken away is counted to its end, and once.
	out=$(total net net_out_bytes)
	outside ping -c 10 -i 0.01 -s 1000 -w 60 203.0.113.20 >/dev/null
	curl -sS --unix-socket "$CTD_SOCKET" -X PATCH -H 'Content-Type: application/json' http://ctd/v1/containers/net \
		-d '{"config":{"net":[{"mode":"routed","name":"wan","ip":["203.0.113.20"]}]}}' | jq -e '.error | not' >/dev/null
	[ "$(total net net_out_bytes)" -ge $((out + 10280)) ]
	[ "$(total net net_out_bytes)" -le $((out + 10280 + 8000)) ]
	outside ping -c 1 -w 30 203.0.113.20 >/dev/null
	ctd_kill
	outside ping -c 1 -w 30 203.0.113.20 >/dev/null
	ctd_start
	[ "$(total net net_out_packets)" -ge $((packets + 2)) ]
	[ "$(total net net_out_bytes)" -gt "$out" ]
	adds_up net
	ctctl destroy net --force
}

# What all queues together, or those of a link, have dropped; those below a root are counted there too.
queues_dropped() # [dev LINK]
{
	tc -s qdisc show "$@" | awk '$1 == "qdisc" { root = / root / } root && $1 == "Sent" { sub(",", "", $7); sum += $7 } END { print sum + 0 }'
}

@test "what a rate has no room for is counted as the kernel does, and goes on" {
	ctctl create slow --template tiny --net routed,ip=203.0.113.50,rate-in=64k,rate-out=64k --start
	wait_for 30 outside ping -c 1 -W 2 203.0.113.50
	outside ping -c 60 -i 0.01 -s 8000 -W 1 203.0.113.50 >/dev/null || true # what is lost has no answer
	[ "$(total slow net_rate_dropped_packets)" -gt 0 ]
	# several, for what is in a queue fills its sender's socket as well; a plain queue has room for 1000
	ctctl exec slow -- sh -c 'for i in 1 2 3 4 5 6 7 8; do ping -c 40 -i 0.01 -s 8000 -W 1 192.0.2.1 & done; wait' >/dev/null || true
	[ "$(queues_dropped dev up0)" -gt 0 ]
	alike() # while nothing was dropped between: what waits may be still
	{
		local before
		before=$(queues_dropped)
		[ "$(total slow net_rate_dropped_packets)" = "$before" ] && [ "$(queues_dropped)" = "$before" ]
	}
	wait_for 30 alike
	all=$(total slow net_rate_dropped_packets)

	# Queues of another rate are new ones, and what they drop from their first packet on is more.
	ctctl set slow net=routed,ip=203.0.113.50,rate-in=32k,rate-out=32k
	[ "$(total slow net_rate_dropped_packets)" -ge "$all" ]
	at_rest() # both of one moment: what waits may be dropped still
	{
		anew=$(queues_dropped)
		all=$(total slow net_rate_dropped_packets)
		[ "$(queues_dropped)" = "$anew" ]
	}
	wait_for 30 at_rest
	outside ping -c 60 -i 0.01 -s 8000 -W 1 203.0.113.50 >/dev/null || true
	[ "$(queues_dropped)" -gt "$anew" ]
	more()
	{
		local now
		now=$(queues_dropped)
		[ "$(total slow net_rate_dropped_packets)" = $((all + now - anew)) ] && [ "$(queues_dropped)" = "$now" ]
	}
	wait_for 30 more
	all=$(total slow net_rate_dropped_packets)
	ctd_kill
	ctd_start
	[ "$(total slow net_rate_dropped_packets)" -ge "$all" ]
	ctctl restart slow --timeout 5
	[ "$(total slow net_rate_dropped_packets)" -ge "$all" ]
	ctctl set slow net=routed,ip=203.0.113.50
	[ "$(total slow net_rate_dropped_packets)" -ge "$all" ]
	adds_up slow
	ctctl destroy slow --force
}

@test "a gap ends where somebody stopped looking, not where the host was switched on again" {
	ctctl create cut --template tiny --start
	looks() { [ -e "$CTD_STATE/metering" ] && [ "$(total cut running_usec)" -gt 0 ]; }
	wait_for 30 looks
	ctd_kill
	# As if it had been seen an hour before this boot, in another, which ended soon after.
	booted=$(awk '$1 == "btime" { print $2 }' /proc/stat)
	long_ago() { sqlite3 "$CTD_STATE/ledger.db" "UPDATE account SET boot_id = 'other', time_usec = ($booted - 3600) * 1000000"; }
	long_ago
	echo other 1 >"$CTD_STATE/metering"
	ctd_start
	gap=$(total cut gap_usec)
	[ "$gap" -ge 7000000 ] # five seconds and two samples
	[ "$gap" -le 600000000 ]
	adds_up cut

	# A ctd that had ended saw nothing of what came then.
	ctd_stop
	[ ! -e "$CTD_STATE/metering" ]
	long_ago
	ctd_start
	gap=$(total cut gap_usec)
	[ "$gap" -ge 3600000000 ]
	[ "$gap" -le 4200000000 ]
	ctctl destroy cut --force
}

@test "rows are kept as long as ctd.conf says" {
	ctctl create kept --template tiny
	ctctl usage kept >/dev/null
	ctd_stop
	cp "$BATS_FILE_TMPDIR/ctd.conf" "$BATS_TEST_TMPDIR/ctd.conf"
	printf '%s\n' 'ledger-interval-days = 1' 'ledger-hour-days = 3' >>"$BATS_FILE_TMPDIR/ctd.conf"
	now=$(date +%s)
	sqlite3 "$CTD_STATE/ledger.db" "INSERT INTO posting SELECT id, kind, $now - $now % 3600 - 86400 * days, x'0105'
		FROM account, (SELECT 0 AS kind UNION SELECT 1), (SELECT 2 AS days UNION SELECT 4) WHERE name = 'kept'"
	ctd_start
	# Of intervals and hours, two and four days old.
	left() { [ "$(sqlite3 "$CTD_STATE/ledger.db" "SELECT group_concat(kind || ':' || (($now - start) / 86400)) FROM posting, account WHERE account = id AND name = 'kept' AND start < $now - 86400")" = 1:2 ]; }
	wait_for 60 left
	ctctl usage kept --by hour --from 72h --json | jq -e '.containers[0].rows[0].cpu_user_usec == 5'
	ctd_stop
	cp "$BATS_TEST_TMPDIR/ctd.conf" "$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	ctctl destroy kept
}

@test "the ledger has a day of its own for each container, and refuses what it cannot say" {
	ctctl create day --template tiny --billing-day 31
	ctctl usage day --json | jq -e '.containers[0].billing_day == 31' >/dev/null
	ctctl set day --billing-day 5
	ctctl usage day --json | jq -e '.containers[0].billing_day == 5' >/dev/null
	run -2 ctctl set day --billing-day 32
	run -2 ctctl usage day --from yesterday
	[[ $output == *2026-01-31* ]]
	run -2 ctctl usage day --by year
	run -2 ctctl usage day --all
	run -3 ctctl usage nobody
	ctctl usage day --from 1h --to 2030-01-01 --by interval
	ctctl destroy day
}

damaged_events()
{
	ctctl events --limit 10000 --json | jq '[.events[] | select(.type == "ledger.damaged")] | length'
}

put_asides_away()
{
	mkdir -p "$BATS_FILE_TMPDIR/aside"
	mv "$CTD_STATE"/ledger.db.damaged-* "$BATS_FILE_TMPDIR/aside"
}

@test "what was used is drawn in the terminal, and on a page that needs and runs nothing" {
	ctctl create drawn --template tiny --owner '<script>alert("1")</script> & Söhne' --start
	burn drawn
	ctctl stop drawn --timeout 5
	used=$(cpu_of drawn)
	from=$(date +%s)
	for span in hour day month; do
		ctctl stats drawn --last $span --json >"$BATS_TEST_TMPDIR/$span"
		# The last column is of the time that goes on: what it stands for lies between two looks at the clock.
		jq -e --argjson from "$from" --argjson to "$(date +%s)" --argjson used "$used" --arg span $span 'def begun(i): .[i].start | fromdate;
			.[$span] | .[-1].cpus as $last | begun(-1) as $start | ((begun(1) - begun(0)) * (map(.cpus) | add - $last)) as $before |
			($before + $last * ($from - 1 - $start)) * 1e6 <= $used + 10 and ($before + $last * ([$to - $start, 1] | max)) * 1e6 >= $used - 10' "$BATS_TEST_TMPDIR/$span"
	done
	jq -e '.day | all(.[:-1][]; .seconds == 3600) and .[-1].seconds >= 1 and .[-1].seconds <= 3600' "$BATS_TEST_TMPDIR/day"
	[ "$(jq '.day | length' "$BATS_TEST_TMPDIR/day") $(jq '.month | length' "$BATS_TEST_TMPDIR/month")" = '24 30' ]
	LC_ALL=C.UTF-8 ctctl stats drawn --last day | grep -q '^CPU .*█.*most'
	LC_ALL=C ctctl stats drawn >"$BATS_TEST_TMPDIR/text"
	[ "$(grep -c '^last ' "$BATS_TEST_TMPDIR/text")" = 3 ]
	grep -q '^CPU .*@.*| last .* mean .* most ' "$BATS_TEST_TMPDIR/text"
	run -2 ctctl stats drawn --last week
	run -3 ctctl stats nobody

	ctctl report --html "$BATS_TEST_TMPDIR/one.html" drawn
	grep -q 'Owner &lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; Söhne' "$BATS_TEST_TMPDIR/one.html"
	run ! grep -qiE '<script|href=|src=|url\(|@import|https?:' "$BATS_TEST_TMPDIR/one.html"
	[ "$(grep -o '<svg' "$BATS_TEST_TMPDIR/one.html" | wc -l)" = 14 ]
	grep -q '<rect .*</title></rect>' "$BATS_TEST_TMPDIR/one.html"
	[ "$(tail -n 1 "$BATS_TEST_TMPDIR/one.html")" = '</body></html>' ]
	[ "$(stat -c %a "$BATS_TEST_TMPDIR/one.html")" = 600 ]
	chmod 640 "$BATS_TEST_TMPDIR/one.html" && chown 65534:65534 "$BATS_TEST_TMPDIR/one.html"
	ctctl report --html "$BATS_TEST_TMPDIR/one.html" drawn
	[ "$(stat -c '%a %u %g' "$BATS_TEST_TMPDIR/one.html")" = '640 65534 65534' ]

	# What is no plain file stays what it is.
	cd "$BATS_TEST_TMPDIR"
	ln -s one.html link
	echo >one.html
	ctctl report --html link drawn
	[ "$(readlink link)" = one.html ]
	[ "$(tail -n 1 one.html)" = '</body></html>' ]
	mkfifo pipe
	timeout 60 cat pipe >from-pipe 3>&- &
	ctctl report --html pipe drawn
	wait $!
	[ -p pipe ]
	[ "$(tail -n 1 from-pipe)" = '</body></html>' ]
	ln -s /dev/stdout out
	ctctl report --html out drawn | tail -n 1 | grep -qxF '</body></html>'
	[ -L out ]

	ctctl report --html - >"$BATS_TEST_TMPDIR/node.html"
	grep -q "<h2>All containers that are there now: $(ctctl list -q | wc -l)</h2>" "$BATS_TEST_TMPDIR/node.html"
	grep -q '<h2>drawn</h2>' "$BATS_TEST_TMPDIR/node.html"
	run -2 ctctl report drawn
	run -1 ctctl report --html "$BATS_TEST_TMPDIR/no/file.html" drawn
	[[ $output == *'No such file or directory'* ]]
	ctctl destroy drawn
	ctctl stats drawn --last day --json | jq -e '.day | map(.cpus) | add > 0' # its ledger outlives it
}

@test "a damaged ledger is put aside, told, and keeps no container down" {
	ctctl create ledger --template tiny --start
	burn ledger
	init=$(ctctl show ledger --json | jq .pid)
	cgroup=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show ledger --json | jq -r .ctid)
	ctd_kill
	dd if=/dev/urandom of="$CTD_STATE/ledger.db" bs=4096 count=3 conv=notrunc status=none
	rm -f "$CTD_STATE"/ledger.db-wal "$CTD_STATE"/ledger.db-shm
	cp "$CTD_STATE/ledger.db" "$BATS_TEST_TMPDIR/damaged"
	ctd_start
	[ "$(ctctl show ledger --json | jq .pid)" = "$init" ]
	ctctl exec ledger -- true
	cmp "$BATS_TEST_TMPDIR/damaged" "$CTD_STATE"/ledger.db.damaged-*Z
	[ "$(damaged_events)" = 1 ]
	ctctl doctor --json | jq -e '.checks[] | select(.name == "ledger") | .state == "warning" and (.detail | test("ledger.db.damaged-"))'
	run -1 ctctl fsck
	[[ $output == *ledger.db.damaged-* ]]
	put_asides_away
	ctctl fsck
	ctctl doctor --json | jq -e '.checks[] | select(.name == "ledger") | .state == "ok"'

	# What was counted before is not charged again; the time nobody knows of is a gap.
	[ "$(total ledger gap_usec)" -gt 0 ]
	all=$(awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat")
	[ "$(cpu_of ledger)" -lt "$all" ]
	before=$(cpu_of ledger)
	burn ledger
	[ "$(cpu_of ledger)" -gt $((before + 50000)) ]
	adds_up ledger

	# Found while ctd runs: totals go on.
	before=$(cpu_of ledger)
	sqlite3 "$CTD_STATE/ledger.db" "UPDATE posting SET counts = x'ff'"
	sqlite3 "$CTD_STATE/ledger.db" "INSERT OR REPLACE INTO posting SELECT id, kind, open - open % 3600, x'ff' FROM account, (SELECT 1 AS kind)"
	ctctl usage ledger --by hour || true # reads it
	twice() { [ "$(damaged_events)" = 2 ] && ctctl usage ledger --by hour; }
	wait_for 30 twice
	[ "$(cpu_of ledger)" -ge "$before" ]
	[ "$(ctctl show ledger --json | jq .pid)" = "$init" ]
	put_asides_away
	ctd_stop
	ctd_start
	[ "$(cpu_of ledger)" -ge "$before" ]

	# Removed: as one that was damaged.
	ctd_kill
	rm "$CTD_STATE"/ledger.db*
	ctd_start
	[ "$(cpu_of ledger)" -lt "$(awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat")" ]
	[ "$(total ledger gap_usec)" -gt 0 ]

	# The same, and it cannot be looked at while that ctd lives.
	ctd_kill
	rm "$CTD_STATE"/ledger.db*
	hide "$cgroup/cpu.stat"
	ctd_start
	sleep 2.5 # two samples
	[ "$(cpu_of ledger)" = 0 ]
	ctd_kill
	show
	ctd_start
	[ "$(cpu_of ledger)" -lt "$(awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat")" ]
	[ "$(total ledger gap_usec)" -gt 0 ]
	ctctl destroy ledger --force
}

allowance() # FIELD
{
	ctctl show quota --json | jq -r ".allowance.$1"
}

kept() # FIELD: of what is stored
{
	sqlite3 "$CTD_STATE/ctd.db" "SELECT config FROM container WHERE name = 'quota'" | jq "._allowance$1"
}

quota_is() { [ "$(allowance state)" = "$1" ]; }

quota_events() # TYPE
{
	ctctl events --limit 10000 --json | jq --arg type "$1" '[.events[] | select(.type == $type and .name == "quota")] | length'
}

reached() { outside ping -c 1 -W 2 203.0.113.40 >/dev/null; }

passes() # KIB SECONDS: half there and half back, or what gets through in the time
{
	outside ping -c "$(($1 * 1024 / 2 / 1228))" -i 0.002 -s 1200 -w "$2" 203.0.113.40 >/dev/null
}

@test "a traffic allowance warns, cuts over all restarts, and forgets nothing that was set" {
	ctctl create quota --template tiny --net routed --ip 203.0.113.40 --traffic-allowance 1M --traffic-action cut --start
	wait_for 30 reached
	passes 900 120
	wait_for 30 quota_is warned
	[ "$(quota_events traffic.warning)" = 1 ]
	passes 200 10 || true # it may be cut meanwhile
	wait_for 30 quota_is exhausted
	[ "$(allowance used)" -ge 1048576 ]
	[ "$(quota_events traffic.exhausted)" = 1 ]
	run ! reached
	[ "$(ctctl show quota --json | jq .config.network_cut)" = null ]
	ctctl show quota --json | jq -e '.config | has("_allowance") | not'

	# Over a restart of ctd, of the container, and of both.
	ctd_kill
	run ! reached
	ctd_start
	run ! reached
	ctctl restart quota --timeout 5
	run ! reached
	run ! ctctl exec quota -- ping -c 1 -W 2 192.0.2.2
	ctctl stop quota --timeout 5
	ctd_kill
	ctd_start
	ctctl start quota
	run ! reached
	quota_is exhausted
	ctctl fsck

	# The administrator's own cut is another one.
	ctctl network cut quota
	ctctl set quota --traffic-allowance 1G
	quota_is open
	[ "$(quota_events traffic.restored)" = 1 ]
	run ! reached
	ctctl network restore quota
	wait_for 30 reached
	ctctl set quota --net routed,ip=203.0.113.40,rate-in=100m,rate-out=100m,burst=8388608

	# What root inside has made of its side stays, also when a new ctd looks at the allowance.
	inside() { nsenter -t "$(ctctl show quota --json | jq .pid)" -n ip "$@"; }
	inside link set eth0 mtu 1300
	ctd_kill
	ctd_start
	looked_at() { [ "$(allowance used)" -ge 1048576 ]; }
	wait_for 30 looked_at
	inside link show eth0 | grep -q 'mtu 1300'

	# Slowed: it is reached, and has the rate on its host side; then its speed again.
	port=$(ip -o link | sed -n 's/^[0-9]*: \(v[a-z0-9.]*\)@.*/\1/p' | head -n 1)
	slowed() { tc qdisc show dev "$port"; tc class show dev "$port"; tc class show dev up0; }
	slowed | grep -q '100Mbit burst 8Mb'
	ctctl set quota --traffic-allowance 1M --traffic-action slow:64k
	quota_is exhausted
	wait_for 30 reached
	slowed | grep -q '64Kbit'
	run ! grep -qE '64Kbit.*burst ([0-9]{3,}Kb|[0-9.]+Mb|[0-9]{5,}b)' <(slowed) # nor the burst of what was sold
	inside link show eth0 | grep -q 'mtu 1300'

	# Where the uplink has queues of somebody else it is cut, while it runs and when it starts.
	tc qdisc replace dev up0 root pfifo limit 1000
	ctctl set quota --traffic-action slow:128k
	run ! reached
	ctctl restart quota --timeout 5
	run ! reached
	tc qdisc del dev up0 root
	ctctl set quota --traffic-action slow:64k
	wait_for 30 reached
	port=$(ip -o link | sed -n 's/^[0-9]*: \(v[a-z0-9.]*\)@.*/\1/p' | head -n 1)
	slowed | grep -q '64Kbit'
	ctctl set quota traffic_allowance= traffic_action=
	run ! grep -q 64Kbit <(slowed)
	ctctl show quota --json | jq -e '.allowance == null'
	[ "$(kept .period)" = null ]
	ctctl destroy quota --force
}

@test "what a traffic allowance did is undone when the next billing period begins" {
	ctctl create quota --template tiny --net routed --ip 203.0.113.40 --start
	wait_for 30 reached
	passes 1200 120
	used() { [ "$(($(total quota net_in_bytes) + $(total quota net_out_bytes)))" -ge 1048576 ]; }
	wait_for 30 used
	ctctl set quota --traffic-allowance 1M --traffic-action cut
	quota_is exhausted
	run ! reached
	restored=$(quota_events traffic.restored)
	ctd_stop
	# As if all of it had been forty days ago.
	sqlite3 "$CTD_STATE/ledger.db" "UPDATE posting SET start = start - 40 * 86400 WHERE account IN (SELECT id FROM account WHERE name = 'quota');
		UPDATE account SET open = open - 40 * 86400 WHERE name = 'quota'"
	sqlite3 "$CTD_STATE/ctd.db" "UPDATE container SET config = json_set(config, '\$._allowance.period', json_extract(config, '\$._allowance.period') - 40 * 86400) WHERE name = 'quota'"
	ctd_start
	wait_for 30 quota_is open
	wait_for 30 reached
	[ "$(allowance used)" -lt 1048576 ]
	[ "$(quota_events traffic.restored)" = $((restored + 1)) ]
	ctctl usage quota --json | jq -e '.containers[0] | .sum == .total and (.rows | length) >= 2'
	ctctl destroy quota --force
}

@test "a traffic allowance stops, and starts again; what cannot be meant is refused" {
	ctctl create quota --template tiny --net routed --ip 203.0.113.40 --start
	wait_for 30 reached
	passes 1200 120
	used() { [ "$(($(total quota net_in_bytes) + $(total quota net_out_bytes)))" -ge 1048576 ]; }
	wait_for 30 used
	ctctl set quota --traffic-allowance 1M --traffic-action stop --stop-timeout 5
	stopped() { [ "$(ctctl show quota --json | jq -r .state)" = stopped ]; }
	wait_for 30 stopped
	run -5 ctctl start quota
	[[ $output == *'1M of traffic'*'traffic_allowance'* ]]
	ctd_kill
	ctd_start
	run -5 ctctl start quota
	# It shall run again as soon as it can: not while it is disabled, and not when it was stopped by hand.
	ctctl set quota --traffic-allowance 1G disabled=yes
	quota_is open
	[ "$(kept .stopped)" = true ]
	stopped
	ctctl set quota disabled=no
	wait_for 30 reached
	[ "$(quota_events traffic.restored)" -ge 1 ]
	forgotten() { [ "$(kept .stopped)" = false ]; }
	wait_for 30 forgotten
	ctctl set quota --traffic-allowance 1M
	wait_for 30 stopped
	[ "$(kept .stopped)" = true ]
	ctctl stop quota
	forgotten
	ctctl set quota --traffic-allowance 1G
	quota_is open
	stopped

	run -2 ctctl set quota --traffic-action slow
	[[ $output == *slow:10M* ]]
	run -2 ctctl set quota traffic_allowance= # its action would be left
	[[ $output == *traffic_action* ]]
	run ! ctctl set quota _allowance=1
	ctctl destroy quota --force
}
