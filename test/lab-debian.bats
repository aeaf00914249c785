#!/usr/bin/env bats
# lab: script deadline=900
# A server that a customer can SSH into: a real distribution with systemd, imported from an archive, used as its owner would.
load lib

setup_file()
{
	export KEY=$BATS_FILE_TMPDIR/key
	ssh-keygen -q -t ed25519 -N '' -f "$KEY"
	ssh-keygen -q -t ed25519 -N '' -f "$KEY.other"
	uplink_up
	ctd_setup
	ctctl template import --name debian /lab/debian.tar
	ctctl create d1 --template debian --start --ssh-key "$KEY.pub"
	ctctl create d2 --template debian --hostname second --ssh-key "$KEY.pub"
	is_up d1
	# runs at the next full minute, and is looked at later
	inside d1 sh -c 'echo "* * * * * root date >>/root/by-cron" >/etc/cron.d/test'
}

teardown_file()
{
	uplink_down
	ctd_teardown
}

inside() # NAME COMMAND...
{
	ctctl exec "$1" -- "${@:2}" </dev/null
}

booted() # NAME
{
	[ "$(inside "$1" systemctl is-system-running)" = running ]
}

is_up() # NAME: within two minutes, or what is wrong with it
{
	wait_for 120 booted "$1" || { inside "$1" systemctl --failed --no-pager && inside "$1" systemctl list-jobs --no-pager && return 1; }
}

address() # NAME
{
	ctctl show "$1" --json | jq -r '.addresses[0]'
}

login() # NAME COMMAND...: by ssh
{
	ssh -i "${WITH:-$KEY}" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20 \
		"root@$(address "$1")" "${@:2}"
}

state_is() # NAME STATE
{
	[ "$(ctctl show "$1" --json | jq -r .state)" = "$2" ]
}

template_root()
{
	echo "$CTD_STATE/fs/templates/$(ctctl template show debian --json | jq -r .digest)/root"
}

@test "the template says what it is, and holds nothing that two servers must not share" {
	ctctl template show debian --json | jq -e '.distribution == "debian" and .release == "12" and .init == ["/sbin/init"] and .stop_signal == 37'
	root=$(template_root)
	[ -z "$(find "$root/etc/ssh" -name 'ssh_host_*')" ]
	[ -f "$root/etc/machine-id" ] && [ ! -s "$root/etc/machine-id" ]
	[ -z "$(find "$root" -type b -o -type c -o -type s)" ]
}

@test "systemd has booted with no failed unit" {
	[ "$(inside d1 systemctl is-system-running)" = running ]
	[ -z "$(inside d1 systemctl --failed --no-legend --plain)" ]
	for unit in ssh cron systemd-journald systemd-logind dbus; do
		[ "$(inside d1 systemctl is-active "$unit")" = active ]
	done
}

@test "a login by ssh with the key, and with no other" {
	[ "$(login d1 'id -u; hostname')" = "0
d1" ]
	WITH=$KEY.other run login d1 true
	[ "$status" -eq 255 ]
	[[ "$output" == *"Permission denied"* ]]
	run login d1 'exit 7'
	[ "$status" -eq 7 ]
	# a login with a terminal is a session of logind's
	run ssh -tt -i "$KEY" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "root@$(address d1)" 'tty; loginctl --no-legend'
	echo "$output"
	[[ "$output" == */dev/pts/*" 0 root"* ]]
}

@test "su, sudo and ping work, also for a user" {
	inside d1 useradd -m -s /bin/bash joe
	[ "$(inside d1 su - joe -c 'id -un')" = joe ]
	inside d1 sh -c 'umask 227; echo "joe ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/joe'
	[ "$(inside d1 su - joe -c 'sudo id -u')" = 0 ]
	inside d1 ping -c 1 -W 5 198.51.100.1
	inside d1 su - joe -c 'ping -c 1 -W 5 192.0.2.2'
	[ "$(ctctl exec d1 --user joe -- id -un)" = joe ]
}

network_of() # NAME
{
	inside "$1" sh -c 'ip -o addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule' | sed 's/ *expires.*//; s/ *\\.*//' | sort
}

is_settled() # NAME: no address is being made sure of
{
	! inside "$1" ip -6 -o addr | grep -q tentative
}

network_is() # NAME STATE
{
	[ "$(network_of "$1")" = "$2" ]
}

is_kept() # NAME LINK: networkd has looked at it and goes by the file of the host's
{
	inside "$1" networkctl status "$2" --no-pager | grep -q '/00-ctd.network' && inside "$1" networkctl list --no-legend "$2" | grep -qw configured
}

# It is configured from outside. What the distribution, netplan or the tenant has told the service inside is DHCP, which nobody answers.
@test "the network stays when the service inside that looks after networks is restarted" {
	local before
	ctctl set d1 --net nat --net nat
	inside d1 sh -c 'mkdir -p /run/systemd/network; for at in /etc/systemd/network/10-eth.network /run/systemd/network/10-netplan-eth0.network; do
		printf "[Match]\nName=eth*\n\n[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\n" >$at; done'
	wait_for 60 is_settled d1
	before=$(network_of d1)
	[[ "$before" == *"lookup 51"* ]]
	for _ in 1 2; do
		inside d1 systemctl restart systemd-networkd
		wait_for 60 is_kept d1 eth0
		wait_for 60 is_kept d1 eth1
	done
	wait_for 30 inside d1 ping -c 1 -W 5 198.51.100.1
	wait_for 30 inside d1 ping -c 1 -W 5 2001:db8:1::1
	echo "$before"
	network_of d1
	wait_for 60 network_is d1 "$before"
	# what comes and goes is kept as well
	ctctl set d1 net=
	[ "$(inside d1 grep ^Name= /etc/systemd/network/00-ctd.network)" = Name=eth0 ]
	before=$(network_of d1)
	inside d1 networkctl reload
	inside d1 systemctl restart systemd-networkd
	wait_for 60 is_kept d1 eth0
	wait_for 60 network_is d1 "$before"
	inside d1 systemctl stop systemd-networkd.socket systemd-networkd
	inside d1 ping -c 1 -W 5 198.51.100.1
	wait_for 60 network_is d1 "$before"
}

@test "apt installs from a signed archive beyond the host" {
	outside busybox httpd -p 198.51.100.1:8080 -h /lab/archive </dev/null >/dev/null 2>&1 3>&- 4>&-
	inside d1 sh -c 'rm -f /etc/apt/sources.list.d/*; echo "deb [signed-by=/etc/apt/keyrings/lab.gpg] http://198.51.100.1:8080 lab main" >/etc/apt/sources.list; mkdir -p /etc/apt/keyrings'
	ctctl exec d1 -- sh -c 'cat >/etc/apt/keyrings/lab.gpg' </lab/archive/key.gpg
	inside d1 apt-get -q update
	inside d1 apt-get -q -y install ctd-lab-hello
	inside d1 dpkg -s ctd-lab-hello | grep -q '^Status: install ok installed'
}

@test "exec: exit status, and tar through a pipe is byte-exact" {
	run inside d1 sh -c 'exit 42'
	[ "$status" -eq 42 ]
	run inside d1 sh -c 'kill -9 $$'
	[ "$status" -eq 137 ]
	here=$(tar -C /usr -cf - lib/systemd share/perl5 2>/dev/null | tee "$BATS_TEST_TMPDIR/tar" | sha256sum)
	[ "$(ctctl exec d1 -- sh -c 'cat >/root/tar; sha256sum </root/tar' <"$BATS_TEST_TMPDIR/tar")" = "$here" ]
	[ "$(inside d1 cat /root/tar | sha256sum)" = "$here" ]
	ctctl exec d1 -- tar -C /opt -xf - <"$BATS_TEST_TMPDIR/tar"
	[ "$(inside d1 tar -C /opt -cf - --sort=name lib share | tar -tf - | wc -l)" = "$(tar -C /usr -cf - lib/systemd share/perl5 | tar -tf - | sed 's,^,x,' | wc -l)" ] ||
		[ "$(inside d1 find /opt/lib/systemd | wc -l)" = "$(find /usr/lib/systemd | wc -l)" ]
	inside d1 rm -rf /root/tar /opt/lib /opt/share
}

@test "a frozen container stands still, and goes on" {
	inside d1 sh -c 'while sleep 0.1; do echo >>/root/tick; done >/dev/null 2>&1 &'
	wait_for 10 inside d1 test -s /root/tick
	ctctl freeze d1
	state_is d1 frozen
	file=$CTD_STATE/fs/containers/$(ctctl show d1 --json | jq -r .ctid)/upper/root/tick
	before=$(stat -c %s "$file")
	sleep 1
	[ "$(stat -c %s "$file")" = "$before" ]
	ctctl thaw d1
	wait_for 10 grew "$file" "$before"
	[ "$(login d1 echo here)" = here ]
}

grew() # FILE SIZE
{
	[ "$(stat -c %s "$1")" -gt "$2" ]
}

@test "journald keeps what services say; the console has the boot and asks for a login" {
	inside d1 journalctl --no-pager -u ssh | grep -q 'Server listening on'
	inside d1 sh -c 'ls -d /var/log/journal/*'
	ctctl log d1 | grep -q 'd1 login:'
	ctctl log d1 | grep -q 'multi-user.target'
}

@test "root is locked until there is a password" {
	[[ "$(inside d1 grep '^root:' /etc/shadow)" == root:[*!]* ]]
	printf 'correct horse' | ctctl set d1 --password-stdin
	hash=$(inside d1 sed -n 's/^root:\([^:]*\):.*/\1/p' /etc/shadow)
	[ "$(perl -e 'print crypt("correct horse", $ARGV[0])' "$hash")" = "$hash" ]
	printf 'correct horse' | ctctl set d2 --password-stdin # one that is stopped
}

@test "two containers have host keys and a machine id of their own, that stay" {
	ctctl start d2
	is_up d2
	[ "$(inside d2 hostname)" = second ]
	key1=$(inside d1 cat /etc/ssh/ssh_host_ed25519_key.pub) key2=$(inside d2 cat /etc/ssh/ssh_host_ed25519_key.pub)
	id1=$(inside d1 cat /etc/machine-id) id2=$(inside d2 cat /etc/machine-id)
	[ -n "$key1" ] && [ "${key1% *}" != "${key2% *}" ]
	[ -n "$id1" ] && [ "$id1" != "$id2" ]
	hash=$(inside d2 sed -n 's/^root:\([^:]*\):.*/\1/p' /etc/shadow)
	[ "$(perl -e 'print crypt("correct horse", $ARGV[0])' "$hash")" = "$hash" ]
	# what the recipe would have put there; the next test looks at it
	inside d2 mkdir -p /etc/systemd/system.conf.d
	ctctl exec d2 -- sh -c 'cat >/etc/systemd/system.conf.d/10-oom.conf' <"$(dirname "$BATS_TEST_FILENAME")/../templates/debian/files/oom.conf"
	ctctl restart d2
	is_up d2
	[ "$(inside d2 cat /etc/ssh/ssh_host_ed25519_key.pub)" = "$key2" ]
	[ "$(inside d2 cat /etc/machine-id)" = "$id2" ]
}

@test "when memory runs out a service goes before init, as the recipe has it" {
	local pid
	pid=$(ctctl show d2 --json | jq .pid)
	[ "$(inside d2 cat /proc/1/oom_score_adj)" = 0 ]
	[ "$(inside d2 sh -c 'cat "/proc/$(systemctl show -P MainPID cron)/oom_score_adj"')" = 100 ]
	ctctl set d2 memory=200M swap=0
	run inside d2 systemd-run --wait -q dd if=/dev/zero of=/dev/null bs=400M count=1
	echo "$output"
	[ "$status" -ne 0 ]
	[ "$(ctctl show d2 --json | jq -r '"\(.pid) \(.state)"')" = "$pid running" ]
	[ "$(ctctl show d2 --json | jq .resources.memory.oom_kills)" -ge 1 ]
	inside d2 systemctl reset-failed
	is_up d2
	[ "$(inside d2 systemctl is-active cron)" = active ]
}

@test "stop is clean, by the signal that systemd knows, and what was printed is still there" {
	begin=$SECONDS
	ctctl stop d2
	[ $((SECONDS - begin)) -lt 30 ]
	state_is d2 stopped
	ctctl log d2 | grep -q 'Reached target.*halt.target\|Reached target.*System Halt\|Halting system'
	ctctl show d2 --json | jq -e '.exit.code != 137'
}

@test "reboot from inside is honoured" {
	pid=$(ctctl show d1 --json | jq .pid)
	inside d1 systemctl reboot || true
	wait_for 60 rebooted d1 "$pid"
	is_up d1
	[ "$(login d1 echo again)" = again ]
}

rebooted() # NAME PID
{
	[ "$(ctctl show "$1" --json | jq -r '[.state, .pid != '"$2"'] | join(" ")')" = "running true" ]
}

@test "cron has run its job" {
	wait_for 75 inside d1 test -s /root/by-cron
}

@test "poweroff from inside is honoured, and the last words can be read" {
	inside d1 systemctl poweroff || true
	wait_for 60 state_is d1 stopped
	ctctl log d1 | grep -q 'Power\|power'
	run ctctl exec d1 -- true
	[ "$status" -eq 4 ]
}

@test "with nothing started by hand all is destroyed and clean" {
	ctctl destroy d1
	ctctl destroy d2
	ctctl template remove debian
	ctctl fsck
}
