#!/usr/bin/env bats
# A container moves between two daemons of one host: its disk, its record, who owns it at each moment, and what a kill leaves.
load lib
load peer

setup_file()
{
	ctd_setup
	tiny_template
	peer_setup
}

teardown_file()
{
	peer_teardown
	ctd_teardown
}

# A container with some of everything in its disk, and a list of it.
fill() # NAME
{
	# made at the first start, by a program that goes
	wait_for 60 ctctl exec "$1" -- test -s /etc/dropbear/dropbear_ed25519_host_key
	ctctl exec "$1" -- sh -ec '
		echo kept >/root/kept
		mkdir -p /srv/dir && ln -s dir /srv/link && ln /root/kept /srv/hard && mkfifo /srv/fifo
		chmod 6750 /srv/dir && echo x >/srv/dir/x && chown 7:8 /srv/dir/x && chmod 600 /srv/dir/x
		rm /etc/passwd && mkdir /etc/passwd && echo y >/etc/passwd/y
		rm -r /usr && echo file >/usr
		dd if=/dev/zero of=/srv/sparse bs=1 count=1 seek=8M 2>/dev/null
		for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=/srv/claims$i bs=1M count=0 seek=15M 2>/dev/null; done
		dd if=/dev/zero of=/srv/huge bs=1 count=1 seek=1048576M 2>/dev/null
		touch -d @1000000000 /srv/dir/x'
}

tree_of() # DAEMON NAME
{
	# shellcheck disable=SC2016 # the container's shell expands it
	$1 exec "$2" -- sh -c 'cd / && find etc root srv usr home var ! -type d -exec ls -ln {} + | sort -k 9; cat root/kept srv/dir/x etc/passwd/y usr; md5sum srv/sparse; ls -i root/kept srv/hard | awk "{ print \$1 }" | uniq | wc -l' |
		grep -v " etc/\(hosts\|resolv.conf\|hostname\)\$"
}

dirs()
{
	find "$CTD_STATE/fs/containers" "$PEER/state/fs/containers" -mindepth 1 -maxdepth 1 | wc -l
}

@test "a container goes there and comes back as it was" {
	ctctl create one --template tiny --autostart --start
	fill one
	before=$(tree_of ctctl one)
	ctid=$(field ctctl one .ctid) config=$(field ctctl one .config) created=$(field ctctl one .created)

	totals=$(ctctl usage one --json | jq -c '.containers[0].total')
	run -0 ctctl migrate one "$PEER/run/ctd.sock" --offline --dry-run --json
	jq -e '.checks | length == 5 and all(.ok)' <<<"${lines[-1]}"
	[ "$(state_of ctctl one)" = running ]

	run -0 ctctl migrate one "$PEER/run/ctd.sock" --offline
	[[ ${lines[-1]} == "one is on $PEER/run/ctd.sock now ("* ]]
	run -3 ctctl show one
	[ "$(state_of peer one)" = running ]
	[ "$(tree_of peer one)" = "$before" ]
	[ "$(field peer one .ctid)" = "$ctid" ]
	[ "$(field peer one .config)" = "$config" ]
	[ "$(field peer one .created)" = "$created" ]
	[ "$(field peer one .handover)" = null ]
	# what was used before is in the total and in no row of the other node
	[ "$(jq .cpu_user_usec+.cpu_system_usec <<<"$totals")" -gt 0 ]
	not_less "$totals" "$(peer usage one --json | jq -c '.containers[0].total')"
	# the sum of both: of a little the kernel may count all as one of them
	peer usage one --json | jq -e 'def cpu: .cpu_user_usec + .cpu_system_usec; .containers[0] | (.sum | cpu) < (.total | cpu) and .sum.write_bytes <= .total.write_bytes'
	# nor does a kill of the daemon take it
	peer_stop KILL
	peer_start
	totals_there=$(peer usage one --json | jq -c '.containers[0].total')
	not_less "$totals" "$totals_there"
	[ "$(dirs)" = 1 ]
	ctctl fsck && peer fsck

	peer migrate one "$CTD_SOCKET" --offline
	[ "$(tree_of ctctl one)" = "$before" ]
	not_less "$totals_there" "$(ctctl usage one --json | jq -c '.containers[0].total')"
	[ "$(sqlite3 -cmd '.timeout 10000' "$CTD_STATE/ctd.db" "SELECT epoch FROM container WHERE name = 'one'")" = 5 ]
	run -3 peer show one
	ctctl destroy one --force
	[ "$(dirs)" = 0 ]
}

used_of() # STATE: what it has had of its allowance, there and before; and what of that another ledger has
{
	sqlite3 -cmd '.timeout 10000' "$1/ctd.db" "SELECT config FROM container WHERE name = 'spent'" | jq -c '._allowance | [.seen + .carried, .carried]'
}

@test "what it has had of its traffic allowance goes with it, and is counted once" {
	uplink_up
	outside ip route add 203.0.113.0/24 via 192.0.2.2
	ctctl create spent --template tiny --net routed --ip 203.0.113.60 --traffic-allowance 1G --start
	reached() { outside ping -c 1 -W 2 203.0.113.60 >/dev/null; }
	wait_for 30 reached
	outside ping -c 20 -i 0.01 -s 1200 203.0.113.60
	ctctl stop spent --timeout 5
	used=$(ctctl usage spent --json | jq '.containers[0].total | .net_in_bytes + .net_out_bytes')
	[ "$used" -ge 40000 ]
	ctctl migrate spent "$PEER/run/ctd.sock" --offline
	[ "$(used_of "$PEER/state")" = "[$used,$used]" ]
	peer migrate spent "$CTD_SOCKET" --offline
	[ "$(used_of "$CTD_STATE")" = "[$used,0]" ]
	ctctl migrate spent "$PEER/run/ctd.sock" --offline
	[ "$(used_of "$PEER/state")" = "[$used,$used]" ]
	is_shown() { peer show spent --json | jq -e ".allowance.used == $used"; }
	wait_for 60 is_shown
	peer destroy spent --force
	uplink_down
}

@test "what the other node cannot take is told, and nothing changes" {
	ctctl create two --template tiny --start
	pid=$(field ctctl two .pid)
	peer create two --template tiny
	run -1 ctctl migrate two "$PEER/run/ctd.sock" --dry-run
	[[ $output == *'"two" already'* ]]
	run -5 ctctl migrate two "$PEER/run/ctd.sock" --offline
	[[ $output == *'cannot move'*'"two" already'* ]]
	run -5 ctctl migrate two "$PEER/run/ctd.sock" # without criu here that is said, and what to do
	[[ $output == *--offline* || $output == *'"two" already'* ]]
	[ "$(field ctctl two .pid)" = "$pid" ]
	peer destroy two

	run -1 ctctl migrate two /nonexistent/ctd.sock --offline
	run -1 ctctl migrate two "-oProxyCommand=touch $CTD_DIR/bad" --offline || [ "$status" = 2 ]
	run -2 ctctl migrate two 'a@-oProxyCommand=x' --offline
	run -5 ctctl migrate two "$CTD_SOCKET" --offline
	[[ $output == *'already'* ]]
	run -3 ctctl migrate none "$PEER/run/ctd.sock" --offline
	[ ! -e "$CTD_DIR/bad" ]
	[ "$(field ctctl two .pid)" = "$pid" ]
	ctctl destroy two --force
	peer fsck
}

@test "without room for what comes on the way it is told before anything is stopped, and when it comes" {
	mkdir "$BATS_TEST_TMPDIR/little"
	mount -t tmpfs -o size=64k tmpfs "$BATS_TEST_TMPDIR/little"
	ctctl create roomy --template tiny
	offer=$(ctctl show roomy --json | jq -c --arg digest "$(ctctl template show tiny --json | jq -r .digest)" \
		'{ctid, name, template: $digest, template_name: "tiny", epoch: 2, created: 1, bytes_used: 1000000, from: "lab", config: {}}')
	ctctl destroy roomy
	say "{\"protocol\":1,\"word\":\"check\",\"offer\":$offer}" >"$BATS_TEST_TMPDIR/said"
	jq -e '.result.checks | length == 5 and all(.ok)' "$BATS_TEST_TMPDIR/said"
	TMPDIR=$BATS_TEST_TMPDIR/little say "{\"protocol\":1,\"word\":\"check\",\"offer\":$offer}" >"$BATS_TEST_TMPDIR/said"
	jq -e '.result.checks | length == 5 and (map(select(.ok | not)) | length == 1 and (.[0].text | contains("make room")))' "$BATS_TEST_TMPDIR/said"
	{ echo "{\"protocol\":1,\"word\":\"offer\",\"offer\":$offer,\"digest\":\"\",\"bytes\":1000000,\"removed_bytes\":0}" && head -c 1000000 /dev/zero; } |
		TMPDIR=$BATS_TEST_TMPDIR/little CTD_SOCKET=$PEER/run/ctd.sock ctctl migrate-receive >"$BATS_TEST_TMPDIR/said" && false
	jq -e '.error.code == "refused" and (.error.message | contains("make room"))' "$BATS_TEST_TMPDIR/said"
	[ -z "$(ls -A "$BATS_TEST_TMPDIR/little")" ]
	umount "$BATS_TEST_TMPDIR/little"
}

@test "what was to run is what ran when it was stopped; a disk that a power cut left is removed" {
	ctctl create late --template tiny --start
	ctid=$(field ctctl late .ctid | tr -d '"')
	# as a kill of the daemon leaves it: a move of one that was stopped when it came to that
	ctctl stop late
	ctd_kill
	sqlite3 -cmd '.timeout 10000' "$CTD_STATE/ctd.db" "INSERT INTO job (verb, ctid, object, params, step, created) VALUES ('migrate', '$ctid', 'late', '{\"to\":\"/nowhere\"}', '', 1)"
	ctd_start
	wait_for 60 idle ctctl
	[ "$(state_of ctctl late)" = stopped ]
	# and of one that ran
	ctd_kill
	sqlite3 -cmd '.timeout 10000' "$CTD_STATE/ctd.db" "INSERT INTO job (verb, ctid, object, params, step, created) VALUES ('migrate', '$ctid', 'late', '{\"to\":\"/nowhere\"}', 'stopping', 1)"
	ctd_start
	wait_for 60 runs ctctl late
	ctctl stop late
	# its record is gone and durably so, its disk is back; only the open move is evidence
	cp -a "$CTD_STATE/fs/containers/$ctid" "$BATS_TEST_TMPDIR/disk"
	ctctl migrate late "$PEER/run/ctd.sock" --offline
	ctd_stop
	cp -a "$BATS_TEST_TMPDIR/disk" "$CTD_STATE/fs/containers/$ctid"
	ctd_start
	[ -d "$CTD_STATE/fs/containers/$ctid" ]
	ctd_stop
	sqlite3 -cmd '.timeout 10000' "$CTD_STATE/ctd.db" "UPDATE job SET finished = NULL, result = NULL WHERE verb = 'migrate' AND ctid = '$ctid' AND error IS NULL"
	ctd_start
	[ ! -d "$CTD_STATE/fs/containers/$ctid" ]
	peer destroy late
	ctctl fsck
}

@test "a stopped one stays stopped" {
	ctctl create three --template tiny
	ctctl migrate three "$PEER/run/ctd.sock" --offline
	[ "$(state_of peer three)" = stopped ]
	peer destroy three
}

arrived() # DIGEST: as the other daemon has it, with its names
{
	peer template list --json | jq -c --arg digest "$1" '[.templates[] | select(.digest == $digest) | .name]'
}

@test "a template that is missing goes ahead, under its digest and no name, whatever is killed" {
	local digest before tried end moving
	ctctl template export tiny "$CTD_DIR/tiny.tar.zst"
	mkdir "$CTD_DIR/big"
	tar --warning=no-unknown-keyword -C "$CTD_DIR/big" --zstd -xf "$CTD_DIR/tiny.tar.zst"
	head -c 100000000 /dev/urandom >"$CTD_DIR/big/ballast"
	tar -C "$CTD_DIR/big" -cf "$CTD_DIR/big.tar" .
	ctctl template import "$CTD_DIR/big.tar" --name big
	rm -r "$CTD_DIR/big" "$CTD_DIR/big.tar"
	peer template import "$CTD_DIR/tiny.tar.zst" --name big # another one of that name
	before=$(peer template list --json)
	digest=$(ctctl template show big --json | jq -r .digest)
	ctctl create three --template big --start

	run -0 ctctl migrate three "$PEER/run/ctd.sock" --dry-run --offline
	[[ $output == *'will be sent, '*' MiB'* && $output == *'asked when the template is there'* ]]
	[ "$(peer template list --json)" = "$before" ]

	for tried in theirs ours; do
		wait_for 30 is_swept # of what an import found there already too
		ctctl migrate three "$PEER/run/ctd.sock" --offline >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
		moving=$!
		end=$((SECONDS + 60))
		until compgen -G "$PEER/state/fs/tmp/build-*" >/dev/null; do
			[ "$SECONDS" -lt "$end" ]
			sleep 0.01
		done
		if [ "$tried" = theirs ]; then peer_stop KILL && peer_start; else ctd_kill && ctd_start; fi
		wait "$moving" && false
		wait_for 60 idle ctctl
		wait_for 60 idle peer
		[ "$(state_of ctctl three)" = running ]
		run -3 peer show three
		# nothing of it stays where it was half there; whole, it stays for the one that it came for
		[ "$tried" = ours ] || [ "$(peer template list --json)" = "$before" ]
	done
	wait_for 30 is_swept

	# what is cut short, or another one, is not kept
	{ echo "{\"protocol\":1,\"word\":\"template\",\"digest\":\"$(printf '%064d' 0)\",\"bytes\":$(stat -c %s "$CTD_DIR/tiny.tar.zst")}" && cat "$CTD_DIR/tiny.tar.zst"; } >"$CTD_DIR/word"
	CTD_SOCKET=$PEER/run/ctd.sock ctctl migrate-receive <"$CTD_DIR/word" >"$BATS_TEST_TMPDIR/said" && false
	jq -e '.error.message | contains("not the one that was sent")' "$BATS_TEST_TMPDIR/said"
	head -c 1000 "$CTD_DIR/word" | CTD_SOCKET=$PEER/run/ctd.sock ctctl migrate-receive >"$BATS_TEST_TMPDIR/said" && false
	mkdir "$BATS_TEST_TMPDIR/kept"
	mkfifo "$BATS_TEST_TMPDIR/wire"
	exec 9<>"$BATS_TEST_TMPDIR/wire" # which has no end
	head -c 1000 "$CTD_DIR/word" >&9
	TMPDIR=$BATS_TEST_TMPDIR/kept CTD_SOCKET=$PEER/run/ctd.sock ctctl migrate-receive --timeout 1s <&9 >"$BATS_TEST_TMPDIR/said" && false
	exec 9>&-
	jq -e '.error.message | contains("nothing more of what was announced came for 1 seconds")' "$BATS_TEST_TMPDIR/said"
	[ -z "$(ls "$BATS_TEST_TMPDIR/kept")" ]
	[ "$(arrived "$(printf '%064d' 0)")" = '[]' ]
	wait_for 30 is_swept
	rm "$CTD_DIR/word" "$CTD_DIR/tiny.tar.zst"

	run -0 ctctl migrate three "$PEER/run/ctd.sock" --offline
	runs peer three
	[ "$(peer exec three -- stat -c %s /ballast)" = 100000000 ]
	[ "$(arrived "$digest")" = '[null]' ]
	[ "$(peer template show big --json | jq -r .digest)" != "$digest" ]
	peer fsck
	# without a container and a name it goes
	peer destroy three --force
	peer_stop
	peer_start
	gone() { [ "$(arrived "$digest")" = '[]' ]; }
	peer template remove big
	wait_for 30 gone
	peer fsck
	ctctl template remove big
}

@test "no template comes where it has no room, nor where nobody says what it holds" {
	local offer
	ctctl create three --template tiny
	offer=$(field ctctl three '{ctid, name, template: "'"$(printf '%064d' 1)"'", template_name: "huge", epoch: 2, created: 1, bytes_used: 0, from: "lab", config: {}}')
	ctctl destroy three
	for bytes in 1000000000000000 null; do
		say "$(jq -nc --argjson offer "$offer" --argjson bytes "$bytes" '{protocol: 1, word: "check", offer: ($offer + if $bytes then {template_bytes: $bytes} else {} end)}')" >"$BATS_TEST_TMPDIR/said"
		jq -e '.result.checks[0] | .name == "template" and (.ok | not) and (.text | contains("is missing"))' "$BATS_TEST_TMPDIR/said"
	done
	grep -q 'export and import' "$BATS_TEST_TMPDIR/said"
}

@test "what is offered and not committed runs nowhere else, gives way, and can be destroyed" {
	ctctl create four --template tiny --start
	ctid=$(ctctl show four --json | jq -r .ctid)
	# the other daemon dies when all has arrived; ours lives and starts it again
	kill -STOP "$(cat "$PEER/pid")"
	ctctl migrate four "$PEER/run/ctd.sock" --offline >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	# somebody has connected and waits to be heard
	knocked() { ss -xln | awk -v path="$PEER/run/ctd.sock" '$5 == path && $3 > 0 { found = 1 } END { exit !found }'; }
	wait_for 60 knocked
	kill -9 "$(cat "$PEER/pid")"
	wait $! && false
	grep -q "other node" "$BATS_TEST_TMPDIR/said"
	wait_for 20 runs ctctl four
	peer_start
	run -3 peer show four
	say "{\"protocol\":1,\"word\":\"commit\",\"ctid\":\"$ctid\",\"epoch\":2,\"start\":true}" >"$BATS_TEST_TMPDIR/said" && false
	jq -e '.error.code == "not-found" and .error.field == "ctid"' "$BATS_TEST_TMPDIR/said"
	say '{}' >"$BATS_TEST_TMPDIR/said" && false
	jq -e .error.message "$BATS_TEST_TMPDIR/said"
	ctctl destroy four --force
}

@test "in doubt it runs nowhere; the same command, or an answer, ends it" {
	ctctl create five --template tiny --start
	# by the records, as a lost commit leaves them
	ctctl stop five
	ctctl migrate five "$PEER/run/ctd.sock" --offline
	ctid=$(peer show five --json | jq -r .ctid)
	peer_stop
	sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "UPDATE container SET config = json_set(config, '\$._handover', json('{\"state\":\"incoming\",\"peer\":\"lab\"}')) WHERE name = 'five'"
	peer_start
	[ "$(field peer five .handover.state)" = '"incoming"' ]
	run -4 peer start five
	[[ $output == *'has not let go'* ]]
	run -4 peer set five --autostart
	run -4 peer rename five fifth
	run -4 peer migrate five "$CTD_SOCKET" --offline
	# another epoch is not believed
	say "{\"protocol\":1,\"word\":\"commit\",\"ctid\":\"$ctid\",\"epoch\":7,\"start\":true}" >"$BATS_TEST_TMPDIR/said" && false
	grep -q epoch "$BATS_TEST_TMPDIR/said"
	[ "$(field peer five .handover.state)" = '"incoming"' ]
	# a record that does not read says nothing of a mark: it is not taken for one that has been taken over
	peer_stop
	sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "UPDATE container SET config = json_set(config, '\$._handover', json('{\"state\":\"incoming\",\"peer\":\"lab\"}'), '\$.unknown', 1) WHERE name = 'five'"
	peer_start
	say "{\"protocol\":1,\"word\":\"commit\",\"ctid\":\"$ctid\",\"epoch\":3,\"start\":true}" >"$BATS_TEST_TMPDIR/said" && false
	jq -e '.error.code == "state" and (.error.message | contains("both nodes keep"))' "$BATS_TEST_TMPDIR/said"
	run -4 peer migrate five --keep
	peer_stop
	sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "UPDATE container SET broken = NULL, config = json_remove(config, '\$.unknown') WHERE name = 'five'"
	peer_start
	[ "$(field peer five .handover.state)" = '"incoming"' ]
	say "{\"protocol\":1,\"word\":\"commit\",\"ctid\":\"$ctid\",\"epoch\":3,\"start\":true}"
	runs peer five
	# said again: nothing more
	say "{\"protocol\":1,\"word\":\"commit\",\"ctid\":\"$ctid\",\"epoch\":3,\"start\":true}"
	peer destroy five --force

	# relinquished here, and not there (any more): nobody knows but people
	ctctl create six --template tiny
	ctctl stop six
	ctd_stop
	sqlite3 -cmd '.timeout 10000' "$CTD_STATE/ctd.db" "UPDATE container SET config = json_set(config, '\$._handover', json_object('state', 'relinquished', 'peer', '$PEER/run/ctd.sock')) WHERE name = 'six'"
	ctd_start
	run -4 ctctl start six
	[[ $output == *'handed over'*'--keep'* ]]
	run -4 ctctl destroy six
	run -4 ctctl migrate six /another/ctd.sock --offline
	peer_stop
	run -1 ctctl migrate six "$PEER/run/ctd.sock" --offline
	[[ $output == *'not confirmed'* ]]
	run -4 ctctl start six
	run -1 ctctl evacuate /another/ctd.sock --dry-run
	[[ $output == *'six stays: its move did not end'* ]]
	run -1 ctctl evacuate /another/ctd.sock --offline # to the node that it was to go to
	[[ ${lines[0]} == *'not confirmed'* ]]
	peer_start
	run -4 ctctl migrate six "$PEER/run/ctd.sock" --offline
	[[ $output == *'does not have it'*'--keep'* ]]
	run -4 ctctl start six
	ctctl migrate six --keep
	[ "$(field ctctl six .handover)" = null ]
	[ "$(sqlite3 -cmd '.timeout 10000' "$CTD_STATE/ctd.db" "SELECT epoch FROM container WHERE name = 'six'")" = 2 ]
	ctctl start six
	ctctl destroy six --force
}

@test "one that ran runs in the end, though the command had to be given again" {
	ctctl create again --template tiny --start
	sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "CREATE TRIGGER lost BEFORE UPDATE OF config ON container WHEN instr(OLD.config, '_handover') AND NOT instr(NEW.config, '_handover') BEGIN SELECT RAISE(ABORT, 'lost'); END"
	run -1 ctctl migrate again "$PEER/run/ctd.sock" --offline
	[[ $output == *'not confirmed'* ]]
	sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "DROP TRIGGER lost"
	[ "$(state_of ctctl again)" = stopped ]
	ctctl migrate again "$PEER/run/ctd.sock" --offline
	runs peer again
	peer destroy again --force
}

@test "a hand-over that hangs can be cancelled: it is in doubt then, and the same command ends it" {
	local id moving
	ctctl create hung --template tiny --start
	lose_commit hung --offline
	kill -STOP "$(cat "$PEER/pid")"
	ctctl migrate hung "$PEER/run/ctd.sock" --offline >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	moving=$!
	handing() { ctctl job list --open --json | jq -e '.jobs | length == 1 and .[0].verb == "migrate"'; }
	wait_for 60 handing
	id=$(ctctl job list --open --json | jq '.jobs[0].id')
	ctctl job cancel "$id"
	wait "$moving" && false
	grep -q 'has not confirmed it' "$BATS_TEST_TMPDIR/said"
	[ "$(field ctctl hung .handover.state)" = '"relinquished"' ]
	run -4 ctctl start hung
	kill -CONT "$(cat "$PEER/pid")" # it hears what was said, or not
	ctctl migrate hung "$PEER/run/ctd.sock" --offline
	run -3 ctctl show hung
	wait_for 60 runs peer hung
	peer destroy hung --force
}

@test "in doubt the other node is asked whose it is, and is held to its answer" {
	ctctl create doubt --template tiny --start
	lose_commit doubt --offline
	# another offer of it would take this one's place, and is looked at as if it had
	peer create rival --template tiny
	for name in doubt rival; do
		offer=$(ctctl show doubt --json | jq -c --arg name "$name" --arg digest "$(ctctl template show tiny --json | jq -r .digest)" \
			'{ctid, name: $name, template: $digest, template_name: "tiny", epoch: 9, created: 1, bytes_used: 0, from: "lab", config: {}}')
		say "{\"protocol\":1,\"word\":\"check\",\"offer\":$offer}" >"$BATS_TEST_TMPDIR/said"
		jq -e --argjson ok "$([ "$name" = doubt ] && echo true || echo false)" '.result.checks[] | select(.name == "name and addresses") | .ok == $ok' "$BATS_TEST_TMPDIR/said"
	done
	peer destroy rival
	[ "$(field peer doubt .handover.state)" = '"incoming"' ]
	run -4 peer migrate resolve doubt
	[[ $output == *'that node can resolve it'* ]]
	peer_stop
	run -4 ctctl migrate resolve doubt
	[[ $output == *'stays open'* ]]
	run -4 ctctl start doubt
	peer_start
	ctid=$(field ctctl doubt .ctid | tr -d '"')
	epoch=$(sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "SELECT epoch FROM container WHERE name = 'doubt'")
	run -0 ctctl migrate resolve doubt
	[ "${lines[-1]}" = "doubt is this node's" ]
	runs ctctl doubt
	run -3 peer show doubt
	# what comes late is not believed: neither the word to go on, nor an offer that is older than another
	say "{\"protocol\":1,\"word\":\"commit\",\"ctid\":\"$ctid\",\"epoch\":$epoch,\"start\":true}" >"$BATS_TEST_TMPDIR/said" && false
	run -3 peer show doubt
	[ "$(ctctl migrate resolve doubt --json | jq -r .owner)" = here ]

	# taken, and only the answer was lost
	lose_commit doubt --offline
	offer=$(ctctl show doubt --json | jq -c --arg digest "$(ctctl template show tiny --json | jq -r .digest)" \
		'{ctid, name, template: $digest, template_name: "tiny", epoch: 3, created: 1, bytes_used: 0, from: "lab", config: {}}')
	say "{\"protocol\":1,\"word\":\"offer\",\"offer\":$offer,\"digest\":\"$(printf '%064d' 0)\",\"bytes\":0,\"removed_bytes\":0}" >"$BATS_TEST_TMPDIR/said" && false
	jq -e '.error.message | contains("a later offer")' "$BATS_TEST_TMPDIR/said"
	epoch=$(sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "SELECT epoch FROM container WHERE name = 'doubt'")
	say "{\"protocol\":1,\"word\":\"commit\",\"ctid\":\"$ctid\",\"epoch\":$epoch,\"start\":true}"
	runs peer doubt
	run -0 ctctl migrate resolve doubt
	[[ ${lines[-1]} == *"other node's"* ]]
	run -3 ctctl show doubt
	runs peer doubt
	peer destroy doubt --force
	ctctl fsck
	peer fsck
}

@test "kept by an administrator" {
	ctctl create seven --template tiny
	ctd_stop
	sqlite3 -cmd '.timeout 10000' "$CTD_STATE/ctd.db" "UPDATE container SET config = json_set(config, '\$._handover', json_object('state', 'relinquished', 'peer', 'lost.example')) WHERE name = 'seven'"
	ctd_start
	[ "$(field ctctl seven .handover.peer)" = '"lost.example"' ]
	[ "$(field ctctl seven .config._handover)" = null ]
	ctctl migrate seven --keep
	ctctl start seven
	ctctl migrate seven --keep
	ctctl destroy seven --force
}

@test "a node is emptied: what runs first, a few at a time, past who cannot have it; interrupted, it goes on" {
	local name
	run -2 ctctl evacuate "$PEER/run/ctd.sock" --offline --fallback
	run -2 ctctl evacuate "$PEER/run/ctd.sock" --offline --parallel 0
	run -0 ctctl evacuate "$PEER/run/ctd.sock" --offline
	[ "$output" = "there is no container on this node" ]
	ctctl create still --template tiny
	for name in c b a; do ctctl create "$name" --template tiny --start; done
	ctctl create first --template tiny --autostart --autostart-order 7 --start
	ctctl create taken --template tiny --start
	peer create taken --template tiny

	run -1 ctctl evacuate "$PEER/run/ctd.sock" --dry-run --offline
	[ "${lines[-1]}" = "5 can go, 1 would stay" ]
	[[ $output == *"taken stays: $PEER/run/ctd.sock: "*'"taken"'* ]]
	[ "$(ctctl list --json | jq '[.containers[] | select(.state == "running")] | length')" = 5 ]

	# interrupted while the other node does not answer, it begins nothing more
	kill -STOP "$(cat "$PEER/pid")"
	"$(ctd_program ctctl)" evacuate "$PEER/run/ctd.sock" --offline --parallel 1 >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	asked() { ctctl job list --open --json | jq -e '[.jobs[].object] == ["first"]'; }
	wait_for 60 asked
	kill -INT $!
	wait_for 60 grep -q "nothing more is begun" "$BATS_TEST_TMPDIR/said"
	kill -CONT "$(cat "$PEER/pid")"
	wait $! && false
	grep -q "^first stays: interrupted" "$BATS_TEST_TMPDIR/said"
	[ "$(tail -n 1 "$BATS_TEST_TMPDIR/said")" = "0 moved, 6 stay" ]
	[ "$(state_of ctctl first)" = running ]

	run -1 ctctl evacuate /nowhere/ctd.sock "$PEER/run/ctd.sock" --offline --parallel 3 --json
	[ "$(ctctl list --quiet)" = taken ]
	jq -e '.not_begun == 0 and ([.containers[] | select(.moved | not) | .name] == ["taken"])
		and all(.containers[]; .moved == false or (.bytes > 0 and .to == "'"$PEER/run/ctd.sock"'"))' <<<"${lines[-1]}"
	for name in a b c; do [ "$(state_of peer "$name")" = running ]; done
	[ "$(state_of peer still)" = stopped ]
	[ "$(state_of ctctl taken)" = running ]
	ctctl fsck && peer fsck
	for name in first a b c still taken; do peer destroy "$name" --force; done
	ctctl destroy taken --force
}

@test "what cannot go with its processes stays and is named, or is stopped for it if that was said" {
	ctctl create nest --template tiny --nesting --start
	ctctl create rest --template tiny
	run -2 ctctl migrate nest "$PEER/run/ctd.sock" --offline --fallback
	run -5 ctctl migrate nest "$PEER/run/ctd.sock"
	[[ $output == *'(nesting)'*'--offline'* ]]
	run -1 ctctl evacuate "$PEER/run/ctd.sock"
	[[ $output == *'nest stays: '*'(nesting)'* && ${lines[-1]} == "1 moved, 1 stay" ]]
	[ "$(state_of ctctl nest)" = running ]
	[ "$(state_of peer rest)" = stopped ]
	[ "$(ctctl exec nest -- sh -c 'echo kept >/root/x; echo done')" = "done" ]

	run -0 ctctl evacuate "$PEER/run/ctd.sock" --fallback --dry-run
	[[ $output == *"nest can go to $PEER/run/ctd.sock"* ]]
	run -0 ctctl evacuate "$PEER/run/ctd.sock" --fallback
	[[ $output == *'nest is on '*'; it was stopped for it: '*'(nesting)'* && ${lines[-1]} == "1 moved, 0 stay" ]]
	runs peer nest
	run -0 peer migrate nest "$CTD_SOCKET" --fallback
	[[ $output == *"nest is on $CTD_SOCKET now"* && ${lines[-1]} == *'stopped and started there'*'(nesting)'* ]]
	runs ctctl nest
	[ "$(ctctl exec nest -- cat /root/x)" = kept ]
	ctctl destroy nest --force
	peer destroy rest
}
