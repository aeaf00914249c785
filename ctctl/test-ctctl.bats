#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# ctctl against a fake daemon: what it sends, what it prints, how it ends. exec and console are in test-exec.bats.

load test/fake.bash

CONTAINER='{"ctid":"0123","name":"web1","state":"running","template":{"name":"debian","digest":"abcdef"},"created":"2020-01-31T12:00:00Z","config":{"autostart":true,"hostname":"web"},"pid":42,"base_id":100000,"addresses":["10.1.0.2","10.1.0.3"],"marks":[],"number":1}'

# --- the table of commands -------------------------------------------------------------------------------------------

@test "help lists every command and each has help of its own" {
	run -0 ctctl help
	for name in create start stop restart kill freeze thaw destroy rename list show set exec shell console log template events audit usage stats report job \
		doctor fsck version help; do
		grep -q "^  $name" <<<"$output"
		ctctl help --list | grep -qx "$name"
		"$CTCTL" help "$name" | grep -q '^Usage: ctctl'
		"$CTCTL" help "$name" | grep -q "man ctctl-$name"
	done
	[ "$(ctctl help --list | sort | uniq -d)" = "" ]
	[ "$(requests)" = "" ]
}

@test "help --list names the members of a family" {
	run -0 ctctl help --list template
	output_is $'list\nbuild\nimport\nexport\nshow\nremove\nrecipes'
	run -0 ctctl help --list job
	output_is $'list\nshow\ncancel'
	run -0 ctctl help --list start
	output_is ""
}

@test "--help after a command prints what help prints, and asks nobody" {
	for name in create stop exec "template build"; do
		[ "$(ctctl $name --help)" = "$(ctctl help $name)" ]
	done
	[ "$(requests)" = "" ]
}

@test "--help behind the program of exec belongs to the program" {
	run -0 ctctl exec web1 printf '<%s>' --help
	output_is "<--help>"
}

@test "every command has a manual page" {
	for name in $(ctctl help --list); do
		[ -e "$MAN/ctctl-$name.1" ] || { echo "man/ctctl-$name.1 is missing" >&2; return 1; }
	done
	[ -e "$MAN/ctctl.1" ]
}

@test "every option stands in its command's manual page" {
	for name in $(ctctl help --list); do
		members=$(ctctl help --list "$name")
		if [ -z "$members" ]; then
			lines=$(ctctl help --options "$name")
		else
			lines=$(for member in $members; do ctctl help --options "$name" "$member"; done)
		fi
		for option in $lines; do
			case $option in
			--socket= | --request-id= | --json | --help | -h | --no-*) continue ;;
			--*) word="(Fl|,) -${option#--}" ;;
			*) word="Fl ${option#-}" ;;
			esac
			grep -qE -- "${word%=}( |\$)" "$MAN/ctctl-$name.1" || {
				echo "man/ctctl-$name.1 does not name $option" >&2
				return 1
			}
		done
	done
}

# --- words that are not understood -----------------------------------------------------------------------------------

@test "unknown words name the nearest, with status 2" {
	run -2 ctctl strat web1
	output_is 'ctctl: unknown command "strat"; did you mean start?'
	run -2 ctctl xyzzy
	output_is 'ctctl: unknown command "xyzzy"; "ctctl help" lists them'
	run -2 ctctl template biuld debian
	output_is 'ctctl: unknown command "template biuld"; there are: list, build, import, export, show, remove, recipes'
	run -2 ctctl template
	output_is 'ctctl: template needs one of: list, build, import, export, show, remove, recipes'
	run -2 ctctl create --templat=x --hostnam y --memroy 1G
	output_is 'ctctl: unknown option "--memroy"; did you mean --memory?'
	run -2 ctctl stop --ti web1
	output_is 'ctctl: --timeout: "web1" is not a time: seconds, or a number with s, m or h'
	run -2 ctctl create --n
	[[ $output == 'ctctl: option "--n" is ambiguous: '*--net* ]]
	run -2 ctctl list -z
	[[ $output == 'ctctl: unknown option "-z"; it takes '* ]]
	run -2 ctctl list --state
	output_is 'ctctl: option --state needs a value: --state STATE'
	run -2 ctctl list --json=yes
	output_is 'ctctl: option --json takes no value'
	run -2 ctctl
	output_is 'ctctl: a command is missing; "ctctl help" lists them'
	[ "$(requests)" = "" ]
}

@test "too few and too many operands show what is taken" {
	run -2 ctctl start
	output_is 'ctctl: start: an operand is missing; it takes: ctctl start NAME...'
	run -2 ctctl rename web1
	output_is 'ctctl: rename: something is missing; it takes: ctctl rename NAME NEW'
	run -2 ctctl show a b
	output_is 'ctctl: show: "b" is too much; it takes: ctctl show NAME'
	run -2 ctctl list web1
	output_is 'ctctl: list: "web1" is too much; it takes options only'
	run -2 ctctl set web1
	[[ $output == 'ctctl: set: nothing to set;'* ]]
	[ "$(requests)" = "" ]
}

# --- failures --------------------------------------------------------------------------------------------------------

@test "the API's kinds become exit statuses, its sentence is printed once" {
	local status=1
	for kind in failed usage not-found state refused permission; do
		answer 'GET /v1/containers/web1' 422 '{"error":{"code":"'$kind'","message":"it went \"wrong\""}}'
		run -$status ctctl show web1
		output_is 'ctctl: it went "wrong"'
		status=$((status + 1))
	done
}

@test "an error's field is named unless the sentence does" {
	answer 'GET /v1/containers/a' 400 '{"error":{"code":"usage","message":"not a size","field":"memory"}}'
	run -2 ctctl show a
	output_is 'ctctl: memory: not a size'
	answer 'GET /v1/containers/a' 400 '{"error":{"code":"usage","message":"memory is not a size","field":"memory"}}'
	run -2 ctctl show a
	output_is 'ctctl: memory is not a size'
}

@test "no daemon is status 7, a socket that may not be opened 6" {
	run -7 ctctl --socket "$DIR/none.sock" list
	output_is "ctctl: no daemon listens on \"$DIR/none.sock\": start ctd, or name its socket with --socket"
	run -7 ctctl list --socket "$DIR/none.sock"
	kill -USR1 "$FAKE_PID"
	until_ok test ! -e "$CTD_SOCKET"
	run -7 ctctl start a b c
	[ "${#lines[@]}" -eq 1 ]
	run -2 ctctl --socket "$(printf '%0200d' 0)" list
	if [ "$(id -u)" != 0 ]; then
		mkdir -m 000 "$DIR/closed"
		run -6 ctctl --socket "$DIR/closed/ctd.sock" list
	fi
}

@test "a daemon that goes away, and answers that are no answers, are told" {
	answer 'POST /v1/containers/a/start' 200 '' close
	run -1 ctctl start a
	[[ $output == *'went away before it answered; what was asked for may or may not be done'* ]]
	answer 'GET /v1/containers' 200 'no json'
	run -1 ctctl list
	output_is "ctctl: the daemon's answer is no JSON"
	answer 'GET /v1/containers' 502 'no json'
	run -1 ctctl list
	output_is 'ctctl: the daemon answered with HTTP status 502'
}

@test "a full standard output is a failure" {
	answer 'GET /v1/containers' 200 '{"containers":['"$CONTAINER"']}'
	run -1 bash -c '"$CTCTL" list >/dev/full'
	[[ $output == 'ctctl: cannot write to standard output: '* ]]
	run -1 bash -c '"$CTCTL" list --json >/dev/full'
}

@test "an answer in chunks, of megabytes, is read whole" {
	local long
	long=$(head -c 3000000 /dev/zero | tr '\0' x)
	printf '200 chunked\n{"containers":[],"pad":"%s"}' "${long:0:5000}" >"$DIR/answers/GET _v1_containers"
	[ "$(ctctl list --json | jq -r '.pad | length')" = 5000 ]
	printf '200\n{"containers":[],"pad":"%s"}' "$long" >"$DIR/answers/GET _v1_containers"
	[ "$(ctctl list --json | jq -r '.pad | length')" = 3000000 ]
}

# --- create and set --------------------------------------------------------------------------------------------------

@test "create prints the name that was made" {
	answer 'POST /v1/containers' 201 "$CONTAINER"
	run -0 ctctl create --template debian
	output_is web1
	request_is 'POST /v1/containers {"template":"debian"}'
	run -0 ctctl create web1 -t debian --start --json
	[ "$(jq -r .ctid <<<"$output")" = 0123 ]
	request_is 'POST /v1/containers {"name":"web1","template":"debian","start":true}'
}

@test "create without a template says where to look" {
	run -2 ctctl create web1
	output_is 'ctctl: --template is missing; "ctctl template list" shows what there is'
}

@test "every configuration option arrives under its key with its type" {
	answer 'POST /v1/containers' 201 "$CONTAINER"
	ctctl create -t t --hostname h --autostart --autostart-order 7 --no-disabled --billing-day 7 --tenant shop --owner "Müller & Söhne, 4711" --stop-timeout 2m --nesting --dns 1.1.1.1 --dns ::1 \
		--cpus 1.5 --cpu-weight 200 --memory 512M --swap 0 --disk 10G --inodes 1000 --processes 99
	[ "$(requests | tail -n 1 | cut -d' ' -f3- | jq -cS .config)" = \
		'{"autostart":true,"autostart_order":7,"billing_day":7,"cpu_weight":200,"cpus":"1.5","disabled":false,"disk":"10G","dns":["1.1.1.1","::1"],"hostname":"h","inodes":1000,"memory":"512M","nesting":true,"owner":"Müller & Söhne, 4711","processes":99,"stop_timeout":120,"swap":"0","tenant":"shop"}' ]
	ctctl create -t t --plan small --cpu-burst 50ms --cpuset 0-3 --numa auto --memory-guarantee 1G --oom-group --io-weight 5 --read-bps 1M \
		--write-bps 2M --read-iops 3 --write-iops 4 --io /dev/sda,read_bps=1M,write-iops=7 --storage image --cgroups 1 --cgroup-depth 2 --ptys 3 \
		--shm 64M --run 32M --open-files 1000 --inotify-instances 5 --inotify-watches 6 --namespaces 7 --traffic-allowance 1T --traffic-action slow:10M
	[ "$(requests | tail -n 1 | cut -d' ' -f3- | jq -cS .config)" = \
		'{"cgroup_depth":2,"cgroups":1,"cpu_burst":"50ms","cpuset":"0-3","inotify_instances":5,"inotify_watches":6,"io":[{"device":"/dev/sda","read_bps":"1M","write_iops":7}],"io_weight":5,"memory_guarantee":"1G","namespaces":7,"numa":"auto","oom_group":true,"open_files":1000,"plan":"small","ptys":3,"read_bps":"1M","read_iops":3,"run":"32M","shm":"64M","storage":"image","traffic_action":"slow:10M","traffic_allowance":"1T","write_bps":"2M","write_iops":4}' ]
	# No option is left out of this test and the next two.
	for option in $(ctctl help --options create | grep -v -- --no-); do
		option=${option#--} option=${option%=}
		[[ $option = -? ]] || grep -qE -- "--(no-)?$option" "$BATS_TEST_FILENAME" || { echo "$option is not tested" >&2; return 1; }
	done
}

@test "a plan takes limits, lists and shows them, and says who could not follow" {
	answer 'POST /v1/plans' 201 '{"name":"small","config":{"cpus":"1"},"containers":[]}'
	ctctl plan create small --cpus 1 memory=1G
	request_is 'POST /v1/plans {"name":"small","config":{"cpus":"1","memory":"1G"}}'
	run -2 ctctl plan create small --hostname x
	[[ "$output" == *'unknown option "--hostname"'* ]]
	answer 'GET /v1/plans' 200 '{"plans":[{"name":"small","config":{"cpus":"1"},"created":"2026-01-01T00:00:00Z","containers":["a","b"]}]}'
	run -0 ctctl plan list
	[[ "${lines[1]}" == small*2*cpus=1 ]]
	answer 'PATCH /v1/plans/small' 200 '{"name":"small","config":{},"affected":[{"name":"a","config":{"cpus":"2"}},{"name":"b","config":{"cpus":"2"},"error":"no room"}]}'
	run -5 ctctl plan set small --cpus 2 -n
	[[ "$output" == *"no room"*"1 of 2 containers"* ]]
	request_is 'PATCH /v1/plans/small {"config":{"cpus":"2"},"dry_run":true}'
}

@test "top makes rates of two answers" {
	answer 'GET /v1/stats' 200 '{"time_usec":5,"cpus":2,"memory":1024,"containers":[{"ctid":"1","state":"running","name":"web1","resources":{"cpu":{"limit":1.5,"used_usec":7},"memory":{"used":1048576,"limit":2097152},"processes":{"used":3}}}]}'
	run -0 ctctl top -n 1 -d 1
	[[ "${lines[0]}" == NAME*CPU%*MEMORY* ]]
	[[ "${lines[1]}" == web1*0.0*1.5*1M*2M*3* ]]
	run -2 ctctl top --sort size
	run -2 ctctl top -d 0
}

@test "--net and --ip make interfaces, whatever their order" {
	answer 'POST /v1/containers' 201 "$CONTAINER"
	net() { requests | tail -n 1 | cut -d' ' -f3- | jq -cS .config; }
	ctctl create -t t --net nat
	[ "$(net)" = '{"net":[{"mode":"nat"}]}' ]
	ctctl create -t t --net nat,ip=10.0.0.1,ip=10.0.0.2,name=eth7 --net none
	[ "$(net)" = '{"net":[{"ip":["10.0.0.1","10.0.0.2"],"mode":"nat","name":"eth7"},{"mode":"none"}]}' ]
	ctctl create -t t --ip 192.0.2.1 --ip 2001:db8::1
	[ "$(net)" = '{"net":[{"ip":["192.0.2.1","2001:db8::1"],"mode":"routed"}]}' ]
	ctctl create -t t --ip 10.0.0.5 --net nat
	[ "$(net)" = '{"net":[{"ip":["10.0.0.5"],"mode":"nat"}]}' ]
	run -2 ctctl create -t t --net ip=10.0.0.1
	[[ $output == *'does not begin with a mode (nat, routed, bridge, vlan, private or none) or network=NAME' ]]
	run -2 ctctl create -t t --net nat,mtux=5
	[[ $output == *'unknown key "mtux"; the keys are ip, gateway, name,'* ]]
}

@test "what belongs to an interface goes to the first one, a network stands for a mode" {
	answer 'POST /v1/containers' 201 "$CONTAINER"
	answer 'PATCH /v1/containers/web1' 200 "$CONTAINER"
	net() { requests | tail -n 1 | cut -d' ' -f3- | jq -cS .config; }
	ctctl create -t t --rate-out 10M --rate-in 20M --burst 64K --guaranteed 5M --internal-rate 1G --pps-out 100 --pps-in 200
	[ "$(net)" = '{"net":[{"burst":"64K","guaranteed":"5M","internal_rate":"1G","mode":"nat","pps_in":"200","pps_out":"100","rate_in":"20M","rate_out":"10M"}]}' ]
	ctctl create -t t --connections 10 --new-connections 5 --block-mail yes --net network=lan,name=lan0 --net routed,ip=192.0.2.1,rate-out=1M
	[ "$(net)" = '{"net":[{"block_mail":"yes","connections":"10","name":"lan0","network":"lan","new_connections":"5"},{"ip":["192.0.2.1"],"mode":"routed","rate_out":"1M"}]}' ]
	ctctl create -t t --publish 80:80 --publish '[::1]:53:53/udp' --network-cut
	[ "$(net)" = '{"network_cut":true,"publish":["80:80","[::1]:53:53/udp"]}' ]
	answer 'GET /v1/containers/web1' 200 '{"name":"web1","config":{"net":[{"mode":"nat","rate_out":"1M","rate_in":"1M"},{"mode":"none"}]}}'
	ctctl set web1 rate-out= rate_in=5M
	[ "$(net)" = '{"net":[{"mode":"nat","rate_in":"5M"},{"mode":"none"}]}' ]
}

@test "networks are made, listed and cut" {
	answer 'POST /v1/networks' 201 '{"name":"lan"}'
	answer 'GET /v1/networks' 200 '{"networks":[{"name":"lan","mode":"vlan","ranges":["10.1.0.0/24"],"uplink":"eth1","leased":3,"containers":["a","b"],"created":"2026-01-01T00:00:00Z"}]}'
	answer 'PATCH /v1/containers/web1' 200 "$CONTAINER"
	ctctl network create lan --mode vlan --range 10.1.0.0/24 -r fd01::/64 --gateway 10.1.0.1 --resolver 10.1.0.2 --uplink eth1 --vlan 120 --mtu 1400 --isolated
	[ "$(requests | tail -n 1 | cut -d' ' -f3- | jq -cS .)" = \
		'{"gateway":["10.1.0.1"],"isolated":true,"mode":"vlan","mtu":1400,"name":"lan","ranges":["10.1.0.0/24","fd01::/64"],"resolver":["10.1.0.2"],"uplink":"eth1","vlan":120}' ]
	run -2 ctctl network create lan --range 10.1.0.0/24
	run -2 ctctl network create lan --mode nat
	run -0 ctctl network list
	[[ ${lines[1]} == lan*vlan*10.1.0.0/24*eth1*3*2* ]]
	ctctl network cut web1
	[ "$(requests | tail -n 1 | cut -d' ' -f3-)" = '{"config":{"network_cut":true}}' ]
	ctctl network restore web1
	[ "$(requests | tail -n 1 | cut -d' ' -f3-)" = '{"config":{"network_cut":null}}' ]
}

@test "--ssh-key takes a file, standard input and the key itself" {
	answer 'POST /v1/containers' 201 "$CONTAINER"
	printf '# mine\nssh-ed25519 AAAA one\n\nssh-rsa BBBB two\n' >"$DIR/keys"
	echo 'ssh-ed25519 CCCC three' | ctctl create -t t --ssh-key "$DIR/keys" --ssh-key - --ssh-key 'ecdsa-sha2-nistp256 DDDD four'
	[ "$(requests | tail -n 1 | cut -d' ' -f3- | jq -c .config)" = \
		'{"ssh_keys":["ssh-ed25519 AAAA one","ssh-rsa BBBB two","ssh-ed25519 CCCC three","ecdsa-sha2-nistp256 DDDD four"]}' ]
	run -2 ctctl create -t t --ssh-key "$DIR/none"
	[[ $output == "ctctl: ssh_keys: cannot read public keys from \"$DIR/none\": No such file or directory; a file, - or the key itself is taken" ]]
	echo '-----BEGIN OPENSSH PRIVATE KEY-----' >"$DIR/id"
	run -2 ctctl create -t t --ssh-key "$DIR/id"
	[[ $output == *'holds a private key; the public one is wanted'* ]]
	: >"$DIR/empty"
	run -2 ctctl create -t t --ssh-key "$DIR/empty"
	[[ $output == *'holds no public key' ]]
}

@test "--password-stdin takes one line" {
	answer 'POST /v1/containers' 201 "$CONTAINER"
	echo 'secret word' | ctctl create -t t --password-stdin
	request_is 'POST /v1/containers {"template":"t","password":"secret word"}'
	run -2 ctctl create -t t --password-stdin </dev/null
	run -2 bash -c 'printf "a\nb\n" | "$CTCTL" create -t t --password-stdin'
	run -2 bash -c 'head -c 600 /dev/zero | tr "\0" x | "$CTCTL" create -t t --password-stdin'
	[[ $output == *'is not one line of 1 to 512 bytes' ]]
}

@test "values of the wrong form are refused here, with what is taken" {
	run -2 ctctl create -t t --memory lots
	output_is 'ctctl: --memory: "lots" is not a size: a number, or one with K, M, G or T'
	run -2 ctctl create -t t --inodes 1e6
	output_is 'ctctl: --inodes: "1e6" is not a number'
	run -2 ctctl create -t t --stop-timeout soon
	run -2 ctctl set web1 autostart=perhaps
	output_is 'ctctl: --autostart: "perhaps" is not yes or no'
	[ "$(requests)" = "" ]
}

@test "set takes options and KEY=VALUE, removes with an empty value" {
	answer 'PATCH /v1/containers/web1' 200 "$CONTAINER"
	run -0 ctctl set web1 hostname=new autostart=yes stop_timeout=30 dns=1.1.1.1,9.9.9.9 nesting=
	output_is ""
	request_is 'PATCH /v1/containers/web1 {"config":{"hostname":"new","autostart":true,"stop_timeout":30,"dns":["1.1.1.1","9.9.9.9"],"nesting":null}}'
	ctctl set web1 --no-autostart --autostart-order 3
	request_is 'PATCH /v1/containers/web1 {"config":{"autostart":false,"autostart_order":3}}'
	echo pw | ctctl set web1 --password-stdin
	request_is 'PATCH /v1/containers/web1 {"password":"pw"}'
	run -2 ctctl set web1 hostnam=x
	output_is 'ctctl: unknown key "hostnam"; did you mean "hostname"?'
	run -2 ctctl set web1 hostname
	output_is 'ctctl: "hostname" is not KEY=VALUE'
}

@test "set --ip keeps the interface that is there" {
	answer 'GET /v1/containers/web1' 200 '{"config":{"net":[{"mode":"nat","ip":["10.0.0.9"],"name":"eth0"}]}}'
	answer 'PATCH /v1/containers/web1' 200 "$CONTAINER"
	ctctl set web1 --ip 10.0.0.10
	request_is 'PATCH /v1/containers/web1 {"config":{"net":[{"mode":"nat","name":"eth0","ip":["10.0.0.10"]}]}}'
	ctctl set web1 ip=
	request_is 'PATCH /v1/containers/web1 {"config":{"net":[{"mode":"nat","name":"eth0"}]}}'
	[ "$(connections)" = 2 ]
	answer 'GET /v1/containers/web1' 200 '{"config":{}}'
	run -2 ctctl set web1 --ip 10.0.0.10
	output_is 'ctctl: --ip: the container has the default interface; say --net nat or --net routed as well'
}

@test "set --dry-run shows what would change, and when" {
	answer 'PATCH /v1/containers/web1' 200 '{"name":"web1","changes":[{"key":"hostname","from":"a","to":"b","when":"next start"},{"key":"autostart","from":null,"to":true,"when":"now"}]}'
	run -0 ctctl set web1 --dry-run hostname=b --autostart
	output_is $'KEY        FROM  TO   WHEN\nhostname   a     b    next start\nautostart  -     yes  now'
	request_is 'PATCH /v1/containers/web1 {"config":{"autostart":true,"hostname":"b"},"dry_run":true}'
}

# --- verbs -----------------------------------------------------------------------------------------------------------

@test "verbs are one request for each name, on one connection" {
	for verb in start stop restart kill freeze thaw; do
		answer "POST /v1/containers/a/$verb" 200 "$CONTAINER"
		answer "POST /v1/containers/b/$verb" 200 "$CONTAINER"
		: >"$DIR/requests"
		run -0 ctctl $verb a b
		output_is ""
		[ "$(requests)" = "POST /v1/containers/a/$verb "$'\n'"POST /v1/containers/b/$verb " ]
		[ "$(connections)" = 1 ]
	done
}

@test "a name that fails does not keep the others from their turn" {
	answer 'POST /v1/containers/a/start' 409 '{"error":{"code":"state","message":"a runs already"}}'
	answer 'POST /v1/containers/b/start' 200 "$CONTAINER"
	run -4 ctctl start a gone b
	output_is $'ctctl: a runs already\nctctl: nothing is canned for it'
	request_is 'POST /v1/containers/b/start '
}

@test "--json of verbs is one object a line" {
	answer 'POST /v1/containers/a/start' 200 "$CONTAINER"
	answer 'POST /v1/containers/b/start' 200 "$CONTAINER"
	run -0 ctctl start a b --json
	[ "${#lines[@]}" -eq 2 ]
	[ "$(jq -r .name <<<"$output")" = $'web1\nweb1' ]
}

@test "stop, kill, destroy and rename say what was asked for" {
	answer 'POST /v1/containers/a/stop' 200 "$CONTAINER"
	answer 'POST /v1/containers/a/restart' 200 "$CONTAINER"
	answer 'POST /v1/containers/a/kill' 200 "$CONTAINER"
	answer 'POST /v1/containers/a/rename' 200 "$CONTAINER"
	answer 'DELETE /v1/containers/a' 200 '{}'
	ctctl stop --timeout 0 a
	request_is 'POST /v1/containers/a/stop {"timeout":0}'
	ctctl restart -t 1m a
	request_is 'POST /v1/containers/a/restart {"timeout":60}'
	for signal in HUP SIGHUP sighup 1; do
		ctctl kill -s $signal a
		request_is 'POST /v1/containers/a/kill {"signal":1}'
	done
	ctctl kill --signal RTMIN+3 a
	request_is 'POST /v1/containers/a/kill {"signal":37}'
	for signal in NOPE 0 65 RTMIN+99 RTMIN3 ''; do
		run -2 ctctl kill --signal "$signal" a
		[[ $output == *"is no signal; a name such as TERM"* ]]
	done
	ctctl destroy a
	request_is 'DELETE /v1/containers/a '
	ctctl destroy --force a
	request_is 'DELETE /v1/containers/a {"force":true}'
	ctctl rename a b
	request_is 'POST /v1/containers/a/rename {"name":"b"}'
}

@test "names cannot leave their place in the path" {
	run -3 ctctl start 'a/../b?x=1#%'
	request_is 'POST /v1/containers/a%2F..%2Fb%3Fx%3D1%23%25/start '
	run -3 ctctl show ..
	request_is 'GET /v1/containers/%2E%2E '
	run -3 ctctl show $'a\r\nX: y'
	request_is 'GET /v1/containers/a%0D%0AX%3A%20y '
}

@test "--request-id goes with what changes something" {
	answer 'POST /v1/containers/a/start' 200 "$CONTAINER"
	answer 'GET /v1/containers/a' 200 "$CONTAINER"
	ctctl start a --request-id abc.1
	request_is 'POST /v1/containers/a/start  id=abc.1'
	ctctl show a --request-id abc.1
	request_is 'GET /v1/containers/a '
	run -2 ctctl start a --request-id 'a b'
	[[ $output == *'is not 1 to 64 letters, digits, dots, dashes and underscores' ]]
}

# --- looking ---------------------------------------------------------------------------------------------------------

@test "list is a table, names, or the API's answer" {
	answer 'GET /v1/containers' 200 '{"containers":['"$CONTAINER"',{"name":"b","state":"stopped","template":{"name":"tiny"},"created":"bad","config":{},"addresses":[],"marks":["disabled","broken"]}]}'
	run -0 ctctl list
	[ "${lines[0]}" = 'NAME  STATE                      TEMPLATE  ADDRESSES          AUTOSTART  AGE' ]
	[[ ${lines[1]} == 'web1  running                    debian    10.1.0.2,10.1.0.3  yes        '*d*h ]]
	[ "${lines[2]}" = 'b     stopped (disabled,broken)  tiny      -                  no         -' ]
	run -0 ctctl list -q
	output_is $'web1\nb'
	run -0 ctctl list --json
	[ "$(jq -r '.containers[1].marks[0]' <<<"$output")" = disabled ]
	ctctl list --state 'a&b'
	request_is 'GET /v1/containers?state=a%26b '
}

@test "what a tenant wrote cannot reach the terminal as control characters" {
	answer 'GET /v1/containers' 200 '{"containers":[{"name":"x\u001b[2Jy\u009bz\u202e","state":"running\n","template":{"name":"t"},"created":"","config":{},"addresses":[],"marks":[]}]}'
	answer 'GET /v1/containers/x' 200 '{"name":"x\u001b]0;t\u0007","config":{"hostname":"ab\r","k\u001b":"v"}}'
	answer 'GET /v1/events' 200 '{"events":[{"id":1,"time":"t","type":"a\u001b[1m","name":"\u001bc","detail":{"\u001b":"\u001b"}}]}'
	for command in list "list -q" "list --json" "show x" "show x --json" events "events --json"; do
		run -0 ctctl $command
		[[ $output != *$'\033'* && $output != *$'\302\233'* && $output != *$'\342\200\256'* ]]
	done
	answer 'GET /v1/containers/x' 409 '{"error":{"code":"state","message":"bad \u001b[2J name","field":"\u001b"}}'
	run -4 ctctl show x
	[[ $output != *$'\033'* ]]
}

@test "show prints all that the API says, known or not" {
	answer 'GET /v1/containers/web1' 200 '{"zeta":{"deep":[1,2]},"name":"web1","state":"running","config":{"hostname":"h","ssh_keys":["k 1","k 2"],"net":[{"mode":"nat","ip":["10.0.0.1"]}]},"exit":{"code":3,"time":"2020-01-01T00:00:00Z"},"none":null,"yes":true}'
	run -0 ctctl show web1
	output_is 'name               web1
state              running
exit
  code             3
  time             2020-01-01T00:00:00Z
config
  hostname         h
  ssh_keys[0]      k 1
  ssh_keys[1]      k 2
  net[0]
    mode           nat
    ip             10.0.0.1
zeta
  deep             1,2
none               -
yes                yes'
	run -0 ctctl show web1 --json
	[ "$(jq -r .zeta.deep[1] <<<"$output")" = 2 ]
}

@test "log passes bytes on" {
	printf '200\nboot\r\nlogin: \033[1mx\377\n' >"$DIR/answers/GET _v1_containers_a_log"
	[ "$(ctctl log a | od -An -tx1 | tr -d ' \n')" = "$(printf 'boot\r\nlogin: \033[1mx\377\n' | od -An -tx1 | tr -d ' \n')" ]
	run -0 ctctl log a --json
	[ "$(jq -r .log <<<"$output" | head -n 1)" = $'boot\r' ]
	run -3 ctctl log gone
}

@test "log on a terminal is escaped unless --raw" {
	printf '200\na\033[2Jb\tc\r\nd' >"$DIR/answers/GET _v1_containers_a_log"
	run -0 script -qec '"$CTCTL" log a' /dev/null
	[ "${output%$'\r'}" = $'a\\x1b[2Jb\tc\r\nd' ]
	run -0 script -qec '"$CTCTL" log --raw a' /dev/null
	[[ $output == *$'\033[2J'* ]]
}

@test "events and audit" {
	answer 'GET /v1/events' 200 '{"events":[{"id":4,"time":"2020-01-01T00:00:00Z","type":"container.exited","name":"a","detail":{"code":1,"why":"x y"}}]}'
	run -0 ctctl events --after 3 --limit 10
	output_is '2020-01-01T00:00:00Z container.exited a code=1 why=x y'
	request_is 'GET /v1/events?after=3&limit=10 '
	run -0 ctctl events web --type limit. --from 1970-01-02 --to 1970-01-03T00:00:01Z
	request_is 'GET /v1/events?container=web&type=limit.&from=86400&to=172801 '
	run -2 ctctl events --from yesterday
	answer 'GET /v1/audit' 200 '{"audit":[{"id":1,"time":"t","uid":0,"pid":7,"operation":"containerStart","object":"a","status":200,"message":""}]}'
	run -0 ctctl audit
	[ "${lines[1]}" = '1   t     0    7    containerStart  a       200     -' ]
	run -0 ctctl audit a --operation containerStart --limit 5
	request_is 'GET /v1/audit?limit=5&object=a&operation=containerStart '
}

@test "usage: whole numbers for programs, rounded ones for people" {
	local totals='"cpu_user_usec":1500000,"cpu_system_usec":0,"memory_kib_seconds":3774873600,"net_in_bytes":9007199254740993,"gap_usec":0,"classes":{"near":{"in_bytes":1,"out_bytes":2}}'
	local row='{"start":"2026-01-31T00:00:00Z","end":"2026-02-28T00:00:00Z",'$totals'}'
	answer 'GET /v1/usage' 200 '{"by":"period","containers":[{"ctid":"00ff","name":"a","created":"2026-01-31T00:00:00Z","billing_day":31,"rows":['"$row"','"$row"'],"sum":{'"$totals"'},"total":{'"$totals"'}}]}'
	run -0 ctctl usage a --by hour --from 1970-01-02 --to 1970-01-03T00:00:01Z --csv
	request_is 'GET /v1/usage?container=a&by=hour&from=86400&to=172801 '
	[ "${lines[0]}" = 'ctid,name,start,end,cpu_user_usec,cpu_system_usec,memory_kib_seconds,net_in_bytes,gap_usec,class_near_in_bytes,class_near_out_bytes' ]
	[ "${lines[1]}" = '00ff,a,2026-01-31T00:00:00Z,2026-02-28T00:00:00Z,1500000,0,3774873600,9007199254740993,0,1,2' ]
	[ "${lines[1]}" = "${lines[2]}" ]
	[ "${#lines[@]}" = 3 ]
	run -0 ctctl usage --all --json
	request_is 'GET /v1/usage '
	[ "$(grep -o '9007199254740993' <<<"$output" | wc -l)" = 4 ]
	run -0 ctctl usage
	[[ ${lines[0]} == 'NAME  FROM '*' IN-near  OUT-near' ]]
	[[ ${lines[1]} == 'a     2026-01-31T00:00:00Z  1.5s '*' 1.000 '* ]]
	[[ ${lines[3]} == 'a     sum '* ]]
	run -2 ctctl usage --csv --json
	run -2 ctctl usage a --all
	run -2 ctctl usage --from yesterday
}

@test "events --follow goes on from the last, over a restart of the daemon" {
	answer 'GET /v1/events.1' 200 '{"events":[{"id":4,"time":"t4","type":"x","name":"a"}],"last":4}'
	answer 'GET /v1/events?after=4&wait=30' 200 '' hang
	"$CTCTL" events --follow >"$DIR/out" 3>&- &
	local pid=$!
	until_ok grep -q 'after=4&wait=30' "$DIR/requests"
	# It asks the same again where the new daemon is there before it noticed, else without waiting.
	for query in 'after=4' 'after=4&wait=30'; do
		answer "GET /v1/events?$query" 200 '{"events":[{"id":9,"time":"t9","type":"y","name":"b"}],"last":9}'
	done
	answer 'GET /v1/events?after=9&wait=30' 200 '' hang
	kill -USR1 "$FAKE_PID"
	until_ok test ! -e "$CTD_SOCKET"
	kill -USR2 "$FAKE_PID"
	until_ok grep -q 'after=9&wait=30' "$DIR/requests"
	kill "$pid"
	wait "$pid" || true
	[ "$(cat "$DIR/out")" = $'t4 x a\nt9 y b' ]
}

@test "doctor prints a line for each check and the remedy below" {
	answer 'GET /v1/doctor' 200 '{"checks":[{"name":"cgroup v2","state":"ok","detail":"all controllers"},{"name":"quota","state":"missing","detail":"no project quota","remedy":"tune2fs -O project"}]}'
	run -0 ctctl doctor
	output_is 'ok       cgroup v2                all controllers
missing  quota                    no project quota
         tune2fs -O project'
}

@test "fsck ends with 1 while differences are left" {
	answer 'POST /v1/fsck' 200 '{"differences":[]}'
	run -0 ctctl fsck
	output_is 'no differences'
	request_is 'POST /v1/fsck {"repair":false}'
	answer 'POST /v1/fsck' 200 '{"differences":[{"kind":"cgroup","object":"a","text":"is not there","repaired":false}]}'
	run -1 ctctl fsck
	[ "${lines[1]}" = 'cgroup  a       no        is not there' ]
	run -1 ctctl fsck --json
	answer 'POST /v1/fsck' 200 '{"differences":[{"kind":"cgroup","object":"a","text":"is not there","repaired":true}]}'
	run -0 ctctl fsck --repair
	request_is 'POST /v1/fsck {"repair":true}'
}

@test "version prints ours even without a daemon" {
	answer 'GET /v1/version' 200 '{"version":"9.9","api":1,"build":"x","keeper":{"version":"9.9","pid":3}}'
	run -0 ctctl version
	[[ $output == 'ctctl              '*'version            9.9'*'keeper'*'  pid              3' ]]
	[[ $(ctctl --version) == 'ctctl '* ]]
	run -7 ctctl version --socket "$DIR/none"
	[[ ${lines[0]} == 'ctctl              '* ]]
}

# --- templates and jobs ----------------------------------------------------------------------------------------------

@test "template list, recipes, show, remove" {
	answer 'GET /v1/templates' 200 '{"templates":[{"name":"debian","digest":"0123456789abcdef","bytes":536870912,"created":"bad","users":2,"distribution":"debian","release":"12"}]}'
	run -0 ctctl template list
	[ "${lines[1]}" = 'debian  debian        12       512M  2      -    0123456789ab' ]
	answer 'GET /v1/recipes' 200 '{"recipes":[{"name":"tiny","description":"busybox"}]}'
	run -0 ctctl template recipes
	[ "${lines[1]}" = 'tiny  busybox' ]
	answer 'GET /v1/templates/debian' 200 '{"name":"debian","digest":"01","init":["/sbin/init"]}'
	run -0 ctctl template show debian
	[ "${lines[1]}" = 'digest             01' ]
	answer 'DELETE /v1/templates/debian' 409 '{"error":{"code":"state","message":"\"debian\" is used by 2 containers"}}'
	run -4 ctctl template remove debian
	output_is 'ctctl: "debian" is used by 2 containers'
}

@test "template build shows the progress on stderr and the name on stdout" {
	answer 'POST /v1/templates' 202 '{"id":"7","state":"open"}'
	answer 'GET /v1/jobs/7.1' 200 '{"id":"7","state":"open","progress":{"seen":1,"text":"fetching"}}'
	answer 'GET /v1/jobs/7.2' 200 '{"id":"7","state":"open","progress":{"seen":2,"text":"unpacking\u001b[2J","percent":50}}'
	answer 'GET /v1/jobs/7.3' 200 '{"id":"7","state":"done","object":"debian","progress":{"seen":3,"text":"done"},"result":{"name":"mine"}}'
	run -0 --separate-stderr ctctl template build debian --name mine --suite bookworm --mirror http://localhost/debian --keyring /dev/null
	output_is mine
	[ "$stderr" = $'fetching\nunpacking\\x1b[2J\ndone' ]
	grep -qx 'POST /v1/templates {"recipe":"debian","name":"mine","suite":"bookworm","mirror":"http://localhost/debian","keyring":"/dev/null"}' "$DIR/requests"
	[ "$(requests | tail -n 2)" = $'GET /v1/jobs/7?wait=30&seen=1 \nGET /v1/jobs/7?wait=30&seen=2 ' ]
	[ "$(connections)" = 1 ]
}

@test "template build that fails says why, with its kind; --detach does not wait" {
	answer 'POST /v1/templates' 202 '{"id":8,"state":"open"}'
	answer 'GET /v1/jobs/8' 200 '{"id":8,"state":"failed","error":{"code":"refused","message":"no space"}}'
	run -5 ctctl template build tiny
	output_is 'ctctl: no space'
	run -0 ctctl template build tiny --detach
	output_is 8
	run -2 ctctl template build tiny --keyring "$DIR/none"
}

@test "interrupt of template build cancels the job and waits for its end" {
	answer 'POST /v1/templates' 202 '{"id":"7","state":"open"}'
	answer 'GET /v1/jobs/7.1' 200 '' hang
	answer 'GET /v1/jobs/7.2' 200 '{"id":"7","state":"failed","error":{"code":"failed","message":"cancelled"}}'
	answer 'DELETE /v1/jobs/7' 200 '{}'
	# A shell's background job ignores SIGINT; env puts it back.
	env --default-signal=INT "$CTCTL" template build debian 2>"$DIR/err" 3>&- &
	local pid=$! status=0
	until_ok grep -q 'GET /v1/jobs/7' "$DIR/requests"
	kill -INT "$pid"
	wait "$pid" || status=$?
	[ "$status" = 1 ]
	[ "$(cat "$DIR/err")" = 'ctctl: interrupted; nothing is left of it' ]
	[ "$(requests | tail -n 2)" = $'DELETE /v1/jobs/7 \nGET /v1/jobs/7?wait=30&seen=0 ' ]
}

@test "job list, show, cancel" {
	answer 'GET /v1/jobs' 200 '{"jobs":[{"id":3,"verb":"template.build","object":"debian","state":"open","step":"fetch","created":"bad"}]}'
	run -0 ctctl job list
	[ "${lines[1]}" = '3   template.build  debian  open   -    fetch' ]
	ctctl job list --open
	request_is 'GET /v1/jobs?open=1 '
	answer 'GET /v1/jobs/3' 200 '{"id":3,"state":"done"}'
	run -0 ctctl job show 3
	[ "${lines[1]}" = 'state              done' ]
	run -0 ctctl job show --wait --json 3
	[ "$(jq -r .state <<<"$output")" = done ]
	answer 'DELETE /v1/jobs/3' 200 '{}'
	ctctl job cancel 3
	request_is 'DELETE /v1/jobs/3 '
}

# --- completion ------------------------------------------------------------------------------------------------------

# What completes the last of the words, sorted.
complete_words() {
	COMP_WORDS=("$CTCTL" "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_ctctl
	printf '%s\n' "${COMPREPLY[@]}" | sort
}

@test "completion offers what the tables hold" {
	source "$COMPLETION"
	answer 'GET /v1/containers' 200 '{"containers":[{"name":"web1"},{"name":"web2"},{"name":"db"}]}'
	answer 'GET /v1/templates' 200 '{"templates":[{"name":"debian"},{"name":"tiny"}]}'
	answer 'GET /v1/recipes' 200 '{"recipes":[{"name":"ubuntu"}]}'
	answer 'GET /v1/jobs?open=1' 200 '{"jobs":[{"id":7}]}'
	[ "$(complete_words "")" = "$(ctctl help --list | sort)" ]
	[ "$(complete_words te)" = template ]
	[ "$(complete_words template "")" = "$(ctctl help --list template | sort)" ]
	for name in $(ctctl help --list); do
		[ -z "$(ctctl help --list "$name")" ] || continue
		[ "$(complete_words "$name" -)" = "$(ctctl help --options "$name" | sort)" ]
	done
	[ "$(complete_words template build --)" = "$(ctctl help --options template build | grep ^-- | sort)" ]
	[ "$(complete_words start "")" = $'db\nweb1\nweb2' ]
	[ "$(complete_words stop web1 w)" = $'web1\nweb2' ]
	[ "$(complete_words show web1 "")" = "" ]
	[ "$(complete_words rename web1 "")" = "" ]
	[ "$(complete_words create "")" = "" ]
	[ "$(complete_words create --template "")" = $'debian\ntiny' ]
	[ "$(complete_words create -t t)" = tiny ]
	[ "$(complete_words create --template = d)" = debian ]
	[ "$(complete_words template remove "")" = $'debian\ntiny' ]
	[ "$(complete_words template build "")" = ubuntu ]
	[ "$(complete_words job show "")" = 7 ]
	[ "$(complete_words set web1 auto)" = $'autostart=\nautostart_order=' ]
	[ "$(complete_words exec web1 tru)" != "" ]
	[ "$(complete_words kill --signal TER)" = TERM ]
	[ "$(complete_words help "")" = "$(ctctl help --list | sort)" ]
	[ "$(complete_words help tem)" = template ]
}

@test "completion asks the daemon that the line names, and is quiet if there is none" {
	source "$COMPLETION"
	answer 'GET /v1/containers' 200 '{"containers":[{"name":"web1"}]}'
	good=$CTD_SOCKET
	export CTD_SOCKET=$DIR/none.sock
	run -0 complete_words start ""
	output_is ""
	run -0 complete_words --socket "$good" start ""
	output_is web1
	run -0 complete_words --socket = "$good" start ""
	output_is web1
}
