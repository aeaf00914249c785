#!/usr/bin/env bats
# The API as programs see it, without ctctl: every answer is held against openapi.json as the daemon serves it.
load lib

setup_file()
{
	ctd_setup
	tiny_template
	curl -sf --unix-socket "$CTD_SOCKET" http://ctd/v1/openapi.json >"$CTD_DIR/openapi.json"
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

# request METHOD PATH [BODY [HEADER...]]: prints the body; the status is in $CTD_DIR/status.
request()
{
	local method=$1 path=$2 body=${3:-} header arguments=()
	shift $(($# < 3 ? $# : 3))
	[ -z "$body" ] || arguments+=(--data-binary "$body")
	for header; do arguments+=(-H "$header"); done
	curl -s --max-time 60 --unix-socket "$CTD_SOCKET" -X "$method" "${arguments[@]}" -o "$CTD_DIR/answer" -w '%{http_code}' "http://ctd$path" >"$CTD_DIR/status"
	cat "$CTD_DIR/answer"
}

# Prints what of the answer on standard input is not as the document says: types, words of enumerations, patterns, what must be there, and what the document
# does not know.
misfits() # OPERATION STATUS
{
	jq -r --arg operation "$1" --arg status "$2" --slurpfile doc "$CTD_DIR/openapi.json" '
		def follow: if type == "object" and has("$ref") then (.["$ref"] | ltrimstr("#/") | split("/")) as $p | $doc[0] | getpath($p) | follow else . end;
		def flat: follow | if has("allOf") then reduce (.allOf[] | flat) as $s ({}; {
				type: "object", properties: ((.properties // {}) + $s.properties), required: ((.required // []) + ($s.required // [])) }) else . end;
		def kind: if type == "number" then (if . == floor then "integer" else "number" end) else type end;
		def misfit($schema; $at):
			($schema | flat) as $s | . as $v |
			(if $s.type and ($v | kind) != $s.type and (($v == null and $s.nullable) | not) then "\($at): \($v | kind), not \($s.type)" else empty end),
			(if $s.enum and ($s.enum | index($v)) == null then "\($at): \($v) is not documented" else empty end),
			(if $s.pattern and ($v | type) == "string" and ($v | test($s.pattern) | not) then "\($at): \($v) does not match" else empty end),
			(if ($v | type) == "object" and $s.properties then
				(($s.required // [])[] | select(. as $k | $v | has($k) | not) | "\($at).\(.): not there"),
				($v | keys[] | select(. as $k | $s.properties | has($k) | not) | "\($at).\(.): not documented"),
				($v | to_entries[] | select(.key as $k | $s.properties | has($k)) | .key as $k | .value | misfit($s.properties[$k]; "\($at).\($k)"))
			else empty end),
			(if ($v | type) == "array" and $s.items then ($v | to_entries[] | .key as $i | .value | misfit($s.items; "\($at)[\($i)]")) else empty end);
		([$doc[0].paths[][] | objects | select(.operationId == $operation)][0].responses | (.[$status] // .default) | follow) as $response |
		misfit($response.content["application/json"].schema; "answer")'
}

# fits OPERATION STATUS METHOD PATH [BODY]: the request is answered with this status, and as documented.
fits()
{
	local operation=$1 status=$2 answer wrong
	shift 2
	answer=$(request "$@")
	[ "$(<"$CTD_DIR/status")" = "$status" ] || { echo "$*: $(<"$CTD_DIR/status"): $answer" >&2 && return 1; }
	wrong=$(misfits "$operation" "$status" <<<"$answer")
	[ -z "$wrong" ] || { printf '%s %s:\n%s\n' "$operation" "$status" "$wrong" >&2 && return 1; }
	printf '%s\n' "$answer"
}

@test "the document finds what does not fit it" {
	[ -n "$(misfits versionShow 200 <<<'{"version":1}')" ]
	[ -n "$(misfits containerList 200 <<<'{"containers":[{"ctid":"x"}]}')" ]
	[ -n "$(misfits containerList 200 <<<'{"containers":[],"more":1}')" ]
	[ -n "$(misfits containerShow 404 <<<'{"error":{"code":"strange","message":"x"}}')" ]
	[ -z "$(misfits containerShow 404 <<<'{"error":{"code":"state","message":"x"}}')" ]
}

@test "questions are answered as documented" {
	fits versionShow 200 GET /v1/version
	fits containerList 200 GET /v1/containers
	fits containerList 400 GET '/v1/containers?state=dancing'
	fits templateList 200 GET /v1/templates | jq -e '.templates | length > 0'
	fits templateShow 200 GET /v1/templates/tiny
	fits recipeList 200 GET /v1/recipes | jq -e '.recipes | length > 0'
	fits jobList 200 GET /v1/jobs | jq -e '.jobs | length > 0'
	fits jobShow 200 GET "/v1/jobs/$(request GET /v1/jobs | jq '.jobs[0].id')"
	fits jobShow 404 GET /v1/jobs/999999
	fits eventList 200 GET '/v1/events?limit=3'
	fits auditList 200 GET '/v1/audit?limit=3' | jq -e '.audit | length > 0'
	fits doctorRun 200 GET /v1/doctor
	fits fsckRun 200 POST /v1/fsck '{}'
	fits containerShow 404 GET /v1/containers/none
	fits execShow 404 GET /v1/execs/00000000000000000000000000000000
	fits templateRemove 404 DELETE /v1/templates/none
}

@test "a container's life is answered as documented" {
	fits containerCreate 201 POST /v1/containers '{"name":"doc","template":"tiny","config":{"hostname":"h","autostart":false,"stop_timeout":5}}'
	fits containerCreate 409 POST /v1/containers '{"name":"doc","template":"tiny"}'
	fits containerCreate 404 POST /v1/containers '{"template":"none"}'
	fits containerCreate 400 POST /v1/containers '{"template":"tiny","confg":{}}' | jq -e '.error.field == "confg"'
	fits containerSet 200 PATCH /v1/containers/doc '{"config":{"hostname":"g"},"dry_run":true}' | jq -e '.config.hostname == "h" and .changes[0].key == "hostname"'
	fits containerSet 200 PATCH /v1/containers/doc '{"config":{"hostname":null,"stop_timeout":3}}'
	fits containerSet 400 PATCH /v1/containers/doc '{"config":{"stop_timeout":"long"}}'
	fits containerStart 200 POST /v1/containers/doc/start
	fits containerList 200 GET '/v1/containers?state=running' | jq -e '.containers | length == 1'
	fits containerSet 200 PATCH /v1/containers/doc '{"config":{"net":[{"mode":"none"}]},"dry_run":true}'
	fits containerFreeze 200 POST /v1/containers/doc/freeze
	fits containerThaw 200 POST /v1/containers/doc/thaw
	fits containerConsoleResize 200 POST /v1/containers/doc/console/resize '{"rows":20,"columns":70}'
	fits containerRename 200 POST /v1/containers/doc/rename '{"name":"dok"}'
	fits containerRestart 200 POST /v1/containers/dok/restart '{"timeout":3}'
	fits containerDestroy 409 DELETE /v1/containers/dok
	fits containerKill 200 POST /v1/containers/dok/kill
	fits containerStop 200 POST /v1/containers/dok/stop
	fits containerShow 200 GET /v1/containers/dok | jq -e '.state == "stopped" and .exit'
	fits containerSuspend 409 POST /v1/containers/dok/suspend | jq -e '.error.message | contains("it is stopped")'
	fits containerResume 409 POST /v1/containers/dok/resume '{"discard":true}' | jq -e '.error.message | contains("not suspended")'
	fits eventList 200 GET /v1/events | jq -e '.events | map(.type) | index("container.started")'
	request GET /v1/containers/dok/log >/dev/null
	[ "$(<"$CTD_DIR/status")" = 200 ]
	fits containerDestroy 200 DELETE /v1/containers/dok
	fits containerDestroy 404 DELETE /v1/containers/dok
}

@test "a command is answered as documented" {
	fits containerCreate 201 POST /v1/containers '{"name":"cmd","template":"tiny","start":true}'
	id=$(fits containerExec 201 POST /v1/containers/cmd/exec '{"argv":["sleep","60"]}' | jq -r .id)
	fits execShow 200 GET "/v1/execs/$id" | jq -e '.state == "running"'
	fits execSignal 200 POST "/v1/execs/$id/signal" '{"signal":9}'
	fits execSignal 400 POST "/v1/execs/$id/signal" '{"signal":99}'
	fits containerExec 400 POST /v1/containers/cmd/exec '{"argv":[]}'
	fits containerConsole 201 POST /v1/containers/cmd/console '{}'
	fits containerDestroy 200 DELETE /v1/containers/cmd '{"force":true}'
	fits containerExec 404 POST /v1/containers/cmd/exec '{"argv":["true"]}'
	# what was offered and not fetched is closed after ten seconds
	sleep 11
}

@test "the same request id makes one container, at once and later" {
	for i in 1 2 3 4 5 6; do
		curl -s --unix-socket "$CTD_SOCKET" -H 'X-Request-Id: order-1' -d '{"template":"tiny"}' -o "$CTD_DIR/order.$i" http://ctd/v1/containers 3>&- &
	done
	wait
	for i in 2 3 4 5 6; do cmp "$CTD_DIR/order.1" "$CTD_DIR/order.$i"; done
	request POST /v1/containers '{"template":"tiny"}' 'X-Request-Id: order-1' | cmp - "$CTD_DIR/order.1"
	request POST /v1/containers '{"template":"none"}' 'X-Request-Id: order-1' | jq -e '.error.code == "state"'
	[ "$(request GET /v1/containers | jq '.containers | length')" = 1 ]
	ctd_stop
	ctd_start
	request POST /v1/containers '{"template":"tiny"}' 'X-Request-Id: order-1' | cmp - "$CTD_DIR/order.1"
	[ "$(request GET /v1/containers | jq '.containers | length')" = 1 ]
	request DELETE "/v1/containers/$(jq -r .name "$CTD_DIR/order.1")"
	rm "$CTD_DIR"/order.*
	world_save # the daemon is another one: its descriptors and its pool may be, too
}

@test "events are waited for" {
	last=$(request GET /v1/events | jq '[.events[].id] | max // 0')
	curl -s --max-time 120 --unix-socket "$CTD_SOCKET" "http://ctd/v1/events?after=$last&wait=20" -o "$CTD_DIR/events" 3>&- &
	sleep 0.3
	request POST /v1/containers '{"name":"ev","template":"tiny"}' >/dev/null
	wait $!
	jq -e '.events | length > 0' "$CTD_DIR/events"
	[ "$(request GET "/v1/events?after=$(request GET /v1/events | jq '[.events[].id] | max')&wait=1" | jq '.events | length')" = 0 ]
	# Who waits for some is not answered for others, and is told how far was looked.
	last=$(request GET /v1/events | jq .last)
	curl -s --max-time 120 --unix-socket "$CTD_SOCKET" "http://ctd/v1/events?after=$last&type=container.renamed&wait=60" -o "$CTD_DIR/events" 3>&- &
	sleep 0.3
	request POST /v1/containers '{"name":"other","template":"tiny"}' >/dev/null
	request POST /v1/containers/ev/rename '{"name":"ev2"}' >/dev/null
	wait $!
	jq -e '(.events | map(.type) == ["container.renamed"]) and .last >= .events[0].id' "$CTD_DIR/events"
	request GET "/v1/events?container=other&type=container." | jq -e '.events | map(.type) == ["container.created"]'
	request GET '/v1/audit?object=other&operation=containerCreate' | jq -e '.audit | length == 1'
	# As lines, as they come; what is stored first.
	curl -sN --max-time 120 --unix-socket "$CTD_SOCKET" "http://ctd/v1/events/stream?after=$last&type=container." >"$CTD_DIR/lines" 3>&- &
	stream=$!
	types() { [ "$(jq -r .type "$CTD_DIR/lines" | tr '\n' ' ')" = "$*" ]; }
	wait_for 10 types 'container.created container.renamed '
	request POST /v1/containers/ev2/rename '{"name":"ev"}' >/dev/null
	request POST /v1/containers/ev/rename '{"name":"ev2"}' >/dev/null
	wait_for 10 types 'container.created container.renamed container.renamed container.renamed '
	kill "$stream"
	rm "$CTD_DIR/lines"
	request DELETE /v1/containers/ev2
	request DELETE /v1/containers/other
	rm "$CTD_DIR/events"
}

resident() # in KiB
{
	awk '/^Rss(Anon)/ { print $2 }' "/proc/$(ctd_pid)/status"
}

# 1,000 bodies by one curl, each wrong in another way; prints the statuses.
malformed() # SEED
{
	awk -v seed="$1" -v socket="$CTD_SOCKET" 'BEGIN {
		srand(seed)
		split("POST /v1/containers|PATCH /v1/containers/none|POST /v1/containers/none/exec|POST /v1/templates|POST /v1/fsck|POST /v1/containers/none/stop", routes, "|")
		split("{\"template\":|{\"name\":\"a\",\"name\":\"b\"}|[]|7|{\"argv\":[\"x\"]}x|{\"\":1}|{\"config\":{\"net\":7}}|nul|{\"timeout\":-1e999}|{\"a\":{\"a\":{\"a\":[[[[|{\"repair\":\"yes\"}|\"\\u0000\"", bodies, "|")
		for (i = 0; i < 1000; i++) {
			n = split(routes[int(rand() * 6) + 1], route, " ")
			text = bodies[int(rand() * 12) + 1] sprintf("%c", 33 + int(rand() * 90))
			gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text)
			if (i) print "next"
			printf "unix-socket=\"%s\"\nurl=\"http://ctd%s\"\nrequest=%s\ndata-binary=\"%s\"\noutput=/dev/null\nwrite-out=\"%%{http_code}\\n\"\n", socket, route[2], route[1], text
		}
	}' | curl -s -K - | sort | uniq -c
}

@test "a thousand malformed bodies: an error each, and nothing grows" {
	malformed 1 >/dev/null
	local before after descriptors
	before=$(resident)
	descriptors=$(find "/proc/$(ctd_pid)/fd" | wc -l)
	malformed 2 >"$CTD_DIR/statuses"
	cat "$CTD_DIR/statuses"
	[ "$(awk '{ n += $1 } END { print n }' "$CTD_DIR/statuses")" = 1000 ]
	run ! grep -v ' 400$' "$CTD_DIR/statuses"
	after=$(resident)
	echo "anonymous memory before $before KiB, after $after KiB"
	[ $((after - before)) -le 600 ] # the database's page cache grows to 512
	as_before() { [ "$(find "/proc/$(ctd_pid)/fd" | wc -l)" -le "$descriptors" ]; }
	wait_for 30 as_before
	rm "$CTD_DIR/statuses"
}
