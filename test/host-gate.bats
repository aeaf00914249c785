#!/usr/bin/env bats
# Metrics over HTTP: ctd-gate, what it shows, what it holds, and that nothing done to it reaches ctd.
load lib

AT=127.0.0.1:9187

setup_file()
{
	printf '%s\n' 'meter-sample = 1' "metrics-listen = $AT" >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_setup --config "$BATS_FILE_TMPDIR/ctd.conf"
	tiny_template
	wait_for 30 scrape
}

teardown_file()
{
	ctd_teardown
}

setup()
{
	world_save
}

teardown()
{
	world_check
}

scrape() # [CURL-OPTION...]
{
	curl -sf --max-time 60 "$@" "http://$AT/metrics"
}

gate()
{
	lib_processes_of ctd-gate
}

value() # NAME CTID: as it was scraped last, without the zeros of a fraction
{
	sed -n "s/^$1{ctid=\"$2\"} //p" "$BATS_TEST_TMPDIR/page" | sed '/\./s/\.\{0,1\}0*$//'
}

node() # NAME[{LABELS}]: as it was scraped last
{
	awk -v name="$1" '$1 == name { print $2 }' "$BATS_TEST_TMPDIR/page"
}

# What usage has, in base units: every counter, by the name it has there.
same() # CTID
{
	local pair name key unit
	ctctl usage "$1" --json | jq '.containers[0].total' >"$BATS_TEST_TMPDIR/total"
	scrape >"$BATS_TEST_TMPDIR/page"
	for pair in cpu_user_seconds=cpu_user_usec/1000000 cpu_system_seconds=cpu_system_usec/1000000 memory_byte_seconds=memory_kib_seconds*1024 \
		disk_sold_byte_seconds=disk_sold_kib_seconds*1024 disk_used_byte_seconds=disk_used_kib_seconds*1024 io_read_bytes=read_bytes*1 \
		io_written_bytes=write_bytes*1 io_reads=read_ops*1 io_writes=write_ops*1 network_in_bytes=net_in_bytes*1 \
		network_in_packets=net_in_packets*1 network_out_bytes=net_out_bytes*1 network_out_packets=net_out_packets*1 \
		network_dropped_packets=net_dropped_packets*1 network_rate_dropped_packets=net_rate_dropped_packets*1 \
		memory_limit_hits=memory_limit_hits*1 processes_limit_hits=processes_limit_hits*1 running_seconds=running_usec/1000000 gap_seconds=gap_usec/1000000 oom_kills=oom_kills*1 \
		cpu_throttled_seconds=throttled_usec/1000000 cpu_waiting_seconds=waiting_cpu_usec/1000000 \
		memory_waiting_seconds=waiting_memory_usec/1000000 io_waiting_seconds=waiting_io_usec/1000000; do
		name=ct_${pair%%=*}_total key=${pair#*=}
		unit=${key##*[a-z]} key=${key%%[*/]*}
		jq -e --argjson seen "$(value "$name" "$1")" ".$key$unit == \$seen" "$BATS_TEST_TMPDIR/total" >/dev/null || lib_die "$name" || return 1
	done
	[ "$(jq length "$BATS_TEST_TMPDIR/total")" = "$(grep -c "^ct_[a-z_]*_total{ctid=\"$1\"}" "$BATS_TEST_TMPDIR/page")" ]
}

# What this host's kernel counts is there, and nothing else.
as_shown() # NAME FIELD
{
	local shown
	shown=$(ctctl show web --json | jq ".resources$2 // empty")
	[ -n "$shown" ] && [ -n "$(value "$1" "$ctid")" ] || [ -z "$shown$(value "$1" "$ctid")" ]
}

@test "a scrape has what usage has, by names that ct-metrics(7) lists" {
	ctctl create web --template tiny --owner 'A "Müller" \ 4711' --start
	ctctl exec web -- sh -c 'i=0; while [ $i -lt 50000 ]; do i=$((i + 1)); done'
	ctid=$(ctctl show web --json | jq -r .ctid)
	burnt() { scrape >"$BATS_TEST_TMPDIR/page" && [ "$(value ct_running "$ctid")" = 1 ] && value ct_cpu_user_seconds_total "$ctid" | grep -q '[1-9]'; }
	wait_for 60 burnt
	as_shown ct_memory_bytes .memory.used
	as_shown ct_processes .processes.used
	as_shown ct_swap_bytes .swap.used
	as_shown ct_disk_used_bytes .disk.used
	as_shown ct_inodes_used .inodes.used
	[ "$(value ct_start_time_seconds "$ctid" | cut -d. -f1)" -le "$(date +%s)" ]
	grep -qF "ct_info{ctid=\"$ctid\",name=\"web\",template=\"tiny\",plan=\"\",owner=\"A \\\"Müller\\\" \\\\ 4711\"} 1" "$BATS_TEST_TMPDIR/page"
	[ "$(ctctl list --json | jq -r --arg c "$ctid" '.containers[] | select(.ctid == $c) | .config.owner')" = 'A "Müller" \ 4711' ]
	run -2 ctctl set web --owner "$(printf 'a\033b')"
	grep -q '^ctd_containers{state="running"} 1$' "$BATS_TEST_TMPDIR/page"

	ctctl freeze web
	is_frozen() { scrape >"$BATS_TEST_TMPDIR/page" && [ "$(value ct_frozen "$ctid")$(value ct_running "$ctid")" = 11 ]; }
	wait_for 30 is_frozen
	ctctl thaw web
	ctctl stop web --timeout 5
	wait_for 30 same "$ctid"
	[ "$(value ct_running "$ctid")" = 0 ]
	[ -z "$(value ct_memory_bytes "$ctid")$(value ct_start_time_seconds "$ctid")" ]
	ctctl rename web shop
	renamed() { scrape | grep -q "^ct_info{ctid=\"$ctid\",name=\"shop\","; }
	wait_for 30 renamed

	diff <(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' "$BATS_TEST_TMPDIR/page" | sort) <(sed -n 's/^\.It Cm \(ctd\{0,1\}_.*\)/\1/p' "$CTD_TREE/man/ct-metrics.7" | tr -d ' ' | tr , '\n' | sed '/^ct_network_class_/d' | sort)
	promtool check metrics <"$BATS_TEST_TMPDIR/page"
	ctctl destroy shop
	gone() { ! scrape | grep -q "$ctid"; }
	wait_for 30 gone
}

@test "the node: what there is, what is sold, what was done" {
	scrape >"$BATS_TEST_TMPDIR/page"
	before=$(node ctd_sold_memory_bytes)
	ctctl create sold --template tiny --memory 64M --traffic-allowance 1G 2>/dev/null || ctctl create sold --template tiny --traffic-allowance 1G
	ctid=$(ctctl show sold --json | jq -r .ctid)
	memory=$(ctctl show sold --json | jq '.config.memory // "0M" | rtrimstr("M") | tonumber * 1048576')
	listed() { scrape >"$BATS_TEST_TMPDIR/page" && [ "$(value ct_traffic_allowance_bytes "$ctid")" = 1073741824 ] && [ -n "$(value ct_traffic_used_bytes "$ctid")" ]; }
	wait_for 30 listed
	[ "$(value ct_traffic_exhausted "$ctid")" = 0 ]
	[ "$(node ctd_sold_memory_bytes)" = $((before + memory)) ]
	[ "$(node ctd_node_cpus)" -ge 1 ]
	[ "$(node ctd_node_memory_bytes)" -gt 0 ]
	[ "$(node ctd_node_memory_available_bytes)" -gt 0 ]
	[ "$(node ctd_node_disk_bytes)" -gt "$(node ctd_node_disk_free_bytes)" ]
	[ "$(node ctd_keeper_connected)$(node ctd_ledger_failing)" = 10 ]
	[ "$(node ctd_open_files)" -ge 5 ]
	done=$(node 'ctd_jobs_total{verb="stop",result="done"}')
	failed=$(node 'ctd_jobs_total{verb="thaw",result="failed"}')
	ctctl stop sold
	run ! ctctl thaw sold
	counted() { scrape >"$BATS_TEST_TMPDIR/page" && [ "$(node 'ctd_jobs_total{verb="stop",result="done"}')" = $((${done:-0} + 1)) ] && [ "$(node 'ctd_jobs_total{verb="thaw",result="failed"}')" = $((${failed:-0} + 1)) ]; }
	wait_for 30 counted
	node 'ctd_job_seconds_total{verb="create"}' | grep -q '[1-9]'
	[ "$(node 'ctd_job_duration_seconds_count{verb="stop"}')" = "$(node 'ctd_job_duration_seconds_bucket{verb="stop",le="+Inf"}')" ]
	[ "$(node 'ctd_job_duration_seconds_bucket{verb="stop",le="600"}')" -ge 1 ]
	[ "$(node 'ctd_job_duration_seconds_sum{verb="create"}')" = "$(node 'ctd_job_seconds_total{verb="create"}')" ]
	grep -oP '^ctd_job_duration_seconds_bucket{verb="create",.*} \K.*' "$BATS_TEST_TMPDIR/page" | sort -nc # each holds those before it
	promtool check metrics <"$BATS_TEST_TMPDIR/page"
	ctctl destroy sold
}

@test "alert rules and the dashboard are right, and use what there is" {
	scrape | sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' | sort >"$BATS_TEST_TMPDIR/names"
	cd "$CTD_TREE/monitoring"
	promtool check rules ctd-alerts.yml
	promtool test rules ctd-alerts.test.yml
	jq -r '[.. | objects | .expr, .definition | strings] | .[]' ctd-dashboard.json >"$BATS_TEST_TMPDIR/expressions"
	sed -n 's/^ *expr: //p' ctd-alerts.yml >>"$BATS_TEST_TMPDIR/expressions"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/expressions")" -ge 45 ]
	grep -ohE '\bctd?_[a-z_]+' "$BATS_TEST_TMPDIR/expressions" | sort -u >"$BATS_TEST_TMPDIR/used"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/used")" -ge 30 ]
	run comm -13 "$BATS_TEST_TMPDIR/names" "$BATS_TEST_TMPDIR/used"
	[ -z "$output" ]
	# Prometheus reads each expression, once Grafana's variables are filled in.
	{
		printf 'groups:\n  - name: all\n    rules:\n'
		grep -v label_values "$BATS_TEST_TMPDIR/expressions" | sed -e 's/\$__rate_interval/5m/g' | jq -R '{alert: "x", expr: ., labels: {n: "\(input_line_number)"}}' -c | sed 's/^/      - /'
	} >"$BATS_TEST_TMPDIR/all.yml"
	promtool check rules "$BATS_TEST_TMPDIR/all.yml"
}

@test "a real Prometheus scrapes it, and its query tells what a container burnt" {
	local at=127.0.0.1:9190 dir=$BATS_TEST_TMPDIR/prometheus
	mkdir "$dir"
	cat >"$dir/prometheus.yml" <<-EOF
		scrape_configs:
		  - job_name: ctd
		    scrape_interval: 2s
		    scrape_timeout: 2s
		    static_configs:
		      - targets: ['$AT']
	EOF
	(cd "$dir" && exec prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address=$at --log.level=warn) >"$dir/log" 2>&1 3>&- 4>&- 5>&- &
	prometheus=$!
	query() { curl -sf --max-time 20 "http://$at/api/v1/query" --data-urlencode "query=$1" | jq -re '.data.result[0].value[1]'; }
	ctctl create burns --template tiny --start
	ctid=$(ctctl show burns --json | jq -r .ctid)
	ctctl exec burns -- sh -c 'i=0; while [ $i -lt 50000 ]; do i=$((i + 1)); done'
	ctctl stop burns --timeout 5
	burnt() { [ "$(query "ct_cpu_user_seconds_total{ctid=\"$ctid\"} + ct_cpu_system_seconds_total" | jq '. * 1000000 | round')" = "$(ctctl usage burns --json | jq '.containers[0].total | .cpu_user_usec + .cpu_system_usec')" ]; }
	wait_for 120 burnt || { cat "$dir/log" && false; }
	# A scrape that fails hides everything until the next one.
	named() { [ "$(query "ct_cpu_user_seconds_total{ctid=\"$ctid\"} * on (ctid) group_left (name) ct_info{name=\"burns\"} > bool 0")" = 1 ]; }
	wait_for 60 named
	# For a minute, over another run and another ctd: nothing that it saw went down.
	ctctl start burns
	ctd_kill
	ctd_start
	ctctl exec burns -- sh -c 'i=0; while [ $i -lt 50000 ]; do i=$((i + 1)); done'
	ctctl stop burns --timeout 5
	often() { [ "$(query 'sum(sum_over_time(up[10m]))')" -ge 30 ]; }
	wait_for 300 often
	wait_for 60 burnt
	for counter in ct_cpu_user_seconds_total ct_running_seconds_total ct_network_in_bytes_total; do
		[ "$(query "sum(resets(${counter}[10m]))")" = 0 ]
	done
	kill "$prometheus"
	wait "$prometheus" || true
	ctctl destroy burns
}

@test "both formats, and nothing but /metrics" {
	scrape -D "$BATS_TEST_TMPDIR/head" >"$BATS_TEST_TMPDIR/page"
	grep -qi '^Content-Type: text/plain; version=0.0.4; charset=utf-8' "$BATS_TEST_TMPDIR/head"
	[ "$(tail -n 1 "$BATS_TEST_TMPDIR/page")" != '# EOF' ]
	scrape -H 'Accept: application/openmetrics-text; version=1.0.0, text/plain; q=0.5' -D "$BATS_TEST_TMPDIR/head" >"$BATS_TEST_TMPDIR/page"
	grep -qi '^Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8' "$BATS_TEST_TMPDIR/head"
	[ "$(tail -n 1 "$BATS_TEST_TMPDIR/page")" = '# EOF' ]
	grep -q '^# TYPE ct_cpu_user_seconds counter$' "$BATS_TEST_TMPDIR/page"
	[ "$(curl -s -o /dev/null -w '%{http_code}' "http://$AT/")" = 404 ]
	[ "$(curl -s -o /dev/null -w '%{http_code}' -d x=1 "http://$AT/metrics")" = 405 ]
	[ "$(curl -s -I -o /dev/null -w '%{http_code}' "http://$AT/metrics")" = 200 ]
}

@test "it holds no privilege, no file of the host and no way to another process" {
	pid=$(gate)
	[ "$(wc -w <<<"$pid")" = 1 ]
	cp "/proc/$pid/status" "$BATS_TEST_TMPDIR/status"
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		grep -qx "$set:	0000000000000000" "$BATS_TEST_TMPDIR/status"
	done
	grep -qx 'NoNewPrivs:	1' "$BATS_TEST_TMPDIR/status"
	grep -qx 'Seccomp:	2' "$BATS_TEST_TMPDIR/status"
	[ -z "$(awk '$1 == "Groups:" { print $2 }' "$BATS_TEST_TMPDIR/status")" ]
	awk '$1 ~ /^[UG]id:$/ { for (i = 2; i <= 5; i++) if ($i == 0 || $i != $2) exit 1 }' "$BATS_TEST_TMPDIR/status"
	for ns in mnt net ipc uts cgroup; do
		[ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/$(ctd_pid)/ns/$ns")" ]
	done
	[ -z "$(ls -A "/proc/$pid/root/")" ]
	run ! touch "/proc/$pid/root/file"
	[ "$(wc -l <"/proc/$pid/mountinfo")" = 1 ]
	run ! grep -q "$CTD_DIR" <(ls -l "/proc/$pid/fd")
}

@test "scrapers, slow readers, half requests and garbage at once: ctd answers, and so does the gate" {
	ctctl create busy --template tiny --start
	ctid=$(ctctl show busy --json | jq -r .ctid)
	seen() { ctctl usage busy --json | jq -e '.containers[0].total.running_usec > 0'; }
	wait_for 30 seen # ctd keeps files open that it looked at
	before=$(find "/proc/$(ctd_pid)/fd" -mindepth 1 | wc -l)
	for _ in 1 2; do
		(for _ in $(seq 30); do scrape >/dev/null || exit 1; done) &
		scrapers+=("$!")
	done
	for _ in $(seq 5); do
		timeout 60 socat -u EXEC:"sleep 60" "TCP:$AT" 3>&- 4>&- & # says nothing
		others+=("$!")
		timeout 60 bash -c "exec 5<>/dev/tcp/${AT/://}; printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' >&5; exec sleep 60" 3>&- 4>&- & # reads nothing
		others+=("$!")
		timeout 60 bash -c "exec 5<>/dev/tcp/${AT/://}; printf 'GET /metrics HTTP/1.1\r\nHos' >&5; exec sleep 60" 3>&- 4>&- &
		others+=("$!")
		head -c 100000 /dev/urandom | timeout 20 socat -u - "TCP:$AT" >/dev/null 2>&1 || true
		{ printf 'GET /%s HTTP/1.1\r\n\r\n' "$(head -c 60000 /dev/zero | tr '\0' a)" | timeout 20 socat - "TCP:$AT" >/dev/null 2>&1; } || true
		timeout 30 "$(ctd_program ctctl)" list >/dev/null
	done
	for pid in "${scrapers[@]}"; do wait "$pid"; done
	scrape >/dev/null
	timeout 30 "$(ctd_program ctctl)" list >/dev/null
	as_before() { [ "$(find "/proc/$(ctd_pid)/fd" -mindepth 1 | wc -l)" -le $((before + 1)) ]; }
	wait_for 30 as_before
	kill "${others[@]}"
	wait "${others[@]}" || true
	[ "$(gate | wc -w)" = 1 ]
	# However many asked, each unit is counted once.
	cgroup=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$ctid
	used() { ctctl usage busy --json | jq '.containers[0].total | .cpu_user_usec + .cpu_system_usec'; }
	[ "$(used)" -le $(($(awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat") + 10)) ]
	ctctl stop busy --timeout 5
	wait_for 30 same "$ctid"
	ctctl usage busy --json | jq -e '.containers[0] | .sum == .total'
	ctctl destroy busy
}

@test "stopped, it disturbs nobody; killed, it comes back" {
	pid=$(gate)
	kill -STOP "$pid"
	for _ in 1 2 3; do timeout 30 "$(ctd_program ctctl)" list >/dev/null; done
	run ! curl -sf --max-time 2 "http://$AT/metrics"
	kill -CONT "$pid"
	wait_for 30 scrape
	[ "$(gate)" = "$pid" ]

	kill -KILL "$pid"
	another() { [ "$(gate | wc -w)" = 1 ] && [ "$(gate)" != "$pid" ] && scrape; }
	wait_for 60 another
	served() { ctctl doctor --json | jq -e '.checks[] | select(.name == "metrics") | .state == "ok" and .detail == "served on 127.0.0.1:9187"'; }
	wait_for 30 served
}

@test "while ctd hangs it says so, and ends with ctd" {
	kill -STOP "$(ctd_pid)"
	sleep 1.1 # the page of before is not fresh any more
	[ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 60 "http://$AT/metrics")" = 503 ]
	kill -CONT "$(ctd_pid)"
	wait_for 30 scrape
	ctd_kill
	none() { [ -z "$(gate)" ]; }
	wait_for 20 none
	ctd_start
	wait_for 60 scrape
}

@test "a token is asked for, and without it nothing is given" {
	token=$BATS_FILE_TMPDIR/token secret=$(head -c 24 /dev/urandom | base64 -w 0)
	status_of() { curl -s -o /dev/null -w '%{http_code}' --max-time 60 "$@"; }
	ctd_stop
	(umask 077 && echo "$secret" >"$token")
	printf '%s\n' 'meter-sample = 1' "metrics-listen = $AT" "metrics-token = $token" >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	right() { scrape -H "Authorization: Bearer $secret"; }
	wait_for 60 right
	[ "$(status_of "http://$AT/metrics")" = 401 ]
	[ "$(status_of "http://$AT/other")" = 401 ]
	[ "$(status_of -d x=1 "http://$AT/metrics")" = 401 ]
	for wrong in "Bearer ${secret%?}" "Bearer ${secret}x" "Bearer " "Bearer $(head -c 5000 /dev/zero | tr '\0' a)" "Basic $secret" "$secret" ""; do
		[ "$(status_of -H "Authorization: $wrong" "http://$AT/metrics")" = 401 ]
	done
	curl -s -D - -o /dev/null "http://$AT/metrics" | grep -qi '^WWW-Authenticate: Bearer'
	[ "$(status_of -H "Authorization: bearer $secret" "http://$AT/metrics")" = 200 ]
	[ "$(status_of -H "Authorization: Bearer $secret" "http://$AT/other")" = 404 ]
	run ! grep -aqF "$secret" "/proc/$(gate)/cmdline" "/proc/$(gate)/environ"

	# What is no secret is not served by.
	ctd_stop
	chmod 644 "$token"
	ctd_start
	told() { ctctl doctor --json | jq -e '.checks[] | select(.name == "metrics") | .state == "warning" and (.remedy | test("only root may read"))'; }
	wait_for 30 told
	[ -z "$(gate)" ]
	ctd_stop
	chmod 600 "$token" && chown 65534 "$token" # its owner knows it
	ctd_start
	wait_for 30 told
	[ -z "$(gate)" ]
	ctd_stop
	(umask 077 && rm "$token" && echo short >"$token")
	ctd_start
	told() { ctctl doctor --json | jq -e '.checks[] | select(.name == "metrics") | .remedy | test("16 to 256")'; }
	wait_for 30 told
	ctd_stop
	printf '%s\n' 'meter-sample = 1' "metrics-listen = $AT" >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	wait_for 60 scrape
}

# A key and a certificate for 127.0.0.1 and for a purpose, signed by an authority; without one, an authority.
signed() # NAME [AUTHORITY PURPOSE [DAYS]]
{
	(
		cd "$TLS" && umask 077
		openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
		if [ $# = 1 ]; then
			openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 2 -out "$1.pem"
		else
			openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
			openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "${4-2}" -out "$1.pem" -extfile <(printf '%s\n' "subjectAltName=IP:127.0.0.1" "extendedKeyUsage=$3")
		fi
	) 2>/dev/null
}

gate_conf() # LINE...: a ctd with this
{
	ctd_stop
	printf '%s\n' 'meter-sample = 1' "metrics-listen = $AT" "$@" >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
}

tls_status() # CURL-OPTION...
{
	curl -s -o "$BATS_TEST_TMPDIR/answer" -w '%{http_code}' --max-time 60 --cacert "$TLS/authority.pem" "$@" "https://$AT/metrics"
}

@test "TLS: a certificate of its own, those of clients, and new ones without a restart of ctd" {
	TLS=$BATS_TEST_TMPDIR
	signed authority
	signed clients
	signed others
	signed gate authority serverAuth
	signed scraper clients clientAuth
	signed server clients serverAuth
	signed scraper2 others clientAuth
	signed old clients clientAuth 0 # from now until now
	gate_conf "metrics-certificate = $TLS/gate.pem" "metrics-key = $TLS/gate.key"
	up() { [ "$(tls_status "$@")" = 200 ]; }
	wait_for 60 up
	promtool check metrics <"$BATS_TEST_TMPDIR/answer"
	[ "$(tls_status --tls-max 1.2)" = 200 ]
	[ "$(tls_status --tlsv1.3)" = 200 ]
	run ! tls_status --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0
	run -60 curl -s --max-time 60 --cacert "$TLS/others.pem" "https://$AT/metrics"
	run ! scrape # in the clear
	[ -z "$output" ]
	for _ in 1 2 3; do
		head -c 20000 /dev/urandom | timeout 20 socat -u - "TCP:$AT" >/dev/null 2>&1 || true
	done
	up
	run ! grep -aq 'PRIVATE KEY' "/proc/$(gate)/cmdline" "/proc/$(gate)/environ"
	grep -qx 'Seccomp:	2' "/proc/$(gate)/status"

	# Renewed: another key under the same names.
	serial() { curl -sv --max-time 60 --cacert "$TLS/authority.pem" "https://$AT/metrics" 2>&1 >/dev/null | grep -c 'CN=renewed'; }
	signed renewed authority serverAuth
	pid=$(ctd_pid)
	mv "$TLS/renewed.key" "$TLS/gate.key" && mv "$TLS/renewed.pem" "$TLS/gate.pem"
	renewed() { [ "$(serial)" = 1 ]; }
	wait_for 60 renewed
	[ "$(ctd_pid)" = "$pid" ]

	gate_conf "metrics-certificate = $TLS/gate.pem" "metrics-key = $TLS/gate.key" "metrics-client-ca = $TLS/clients.pem"
	wait_for 60 up --cert "$TLS/scraper.pem" --key "$TLS/scraper.key"
	[ "$(tls_status)" = 403 ]
	run ! grep -q ct_ "$BATS_TEST_TMPDIR/answer"
	[ "$(tls_status --cert "$TLS/scraper2.pem" --key "$TLS/scraper2.key")" = 403 ] # of another authority
	[ "$(tls_status --cert "$TLS/server.pem" --key "$TLS/server.key")" = 403 ]     # not for clients
	[ "$(tls_status --cert "$TLS/old.pem" --key "$TLS/old.key")" = 403 ]           # not any more

	# A token besides: neither is enough.
	(umask 077 && head -c 24 /dev/urandom | base64 -w 0 >"$TLS/token")
	with=(-H "Authorization: Bearer $(cat "$TLS/token")")
	gate_conf "metrics-certificate = $TLS/gate.pem" "metrics-key = $TLS/gate.key" "metrics-client-ca = $TLS/clients.pem" "metrics-token = $TLS/token"
	wait_for 60 up --cert "$TLS/scraper.pem" --key "$TLS/scraper.key" "${with[@]}"
	[ "$(tls_status --cert "$TLS/scraper.pem" --key "$TLS/scraper.key")" = 401 ]
	[ "$(tls_status --cert "$TLS/old.pem" --key "$TLS/old.key" "${with[@]}")" = 403 ]
	[ "$(tls_status "${with[@]}")" = 403 ]
}

@test "TLS that cannot be served is not served in the clear" {
	TLS=$BATS_TEST_TMPDIR
	signed authority
	signed gate authority serverAuth
	signed other authority serverAuth
	told() { ctctl doctor --json | jq -e --arg why "$1" '.checks[] | select(.name == "metrics") | .state == "warning" and (.remedy | test($why))' && [ -z "$(gate)" ]; }
	gate_conf "metrics-certificate = $TLS/gate.pem" "metrics-key = $TLS/other.key"
	wait_for 30 told 'belong together'
	chmod 640 "$TLS/gate.key"
	gate_conf "metrics-certificate = $TLS/gate.pem" "metrics-key = $TLS/gate.key"
	wait_for 30 told 'only root may read'
	chmod 600 "$TLS/gate.key"
	echo nothing >"$TLS/empty.pem"
	gate_conf "metrics-certificate = $TLS/gate.pem" "metrics-key = $TLS/gate.key" "metrics-client-ca = $TLS/empty.pem"
	wait_for 30 told 'PEM format'
	ln -s authority.pem "$TLS/link.pem"
	gate_conf "metrics-certificate = $TLS/gate.pem" "metrics-key = $TLS/gate.key" "metrics-client-ca = $TLS/link.pem"
	wait_for 30 told 'metrics-client-ca .* is a symbolic link'
	ctd_stop
	printf '%s\n' "metrics-listen = $AT" "metrics-certificate = $TLS/gate.pem" >"$BATS_FILE_TMPDIR/half.conf"
	run timeout 20 "$(ctd_program ctd)" --config "$BATS_FILE_TMPDIR/half.conf" --state "$CTD_STATE" --runtime "$CTD_RUNTIME" --foreground
	[ "$status" = 1 ]
	[[ $output == *'must be given together'* ]]
	printf '%s\n' 'meter-sample = 1' "metrics-listen = $AT" >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	wait_for 60 scrape
}

@test "off by default; an address that is taken is told, one that is none refused" {
	ctd_stop
	run timeout 120 "$(ctd_program ctd)" --config <(echo 'metrics-listen = localhost:9187') --state "$CTD_STATE" --runtime "$CTD_RUNTIME" --foreground
	[ "$status" = 1 ]
	[[ $output == *'metrics-listen must be a numeric address and a port'* ]]

	: >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	[ -z "$(gate)" ]
	ctctl doctor --json | jq -e '.checks[] | select(.name == "metrics") | .state == "ok" and (.detail | test("metrics-listen is not set"))'
	ctd_stop

	echo "metrics-listen = 192.0.2.77:9187" >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	told() { ctctl doctor --json | jq -e '.checks[] | select(.name == "metrics") | .state == "warning" and (.remedy | test("cannot listen on 192.0.2.77:9187"))'; }
	wait_for 30 told
	grep -q 'metrics are not served: cannot listen on 192.0.2.77:9187' "$CTD_DIR/log"
	ctd_stop
	printf '%s\n' 'meter-sample = 1' "metrics-listen = $AT" >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	wait_for 60 scrape
}
