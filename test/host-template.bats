#!/usr/bin/env bats
# Templates: built for real from this host's programs, and from small archives that are laid out and signed like Ubuntu's and Debian's.
load lib

setup_file()
{
	local extra
	extra=$(mktemp -d "${CTD_TEST_DIR:-/var/tmp}/recipes.XXXXXX")
	chmod 755 "$extra"
	export EXTRA=$extra
	"$CTD_TREE/test/archive" "$extra"
	# the recipes of the tree; of ubuntu's the list of packages alone is another: what the small archive has, unpacked and not configured
	mkdir "$extra/recipes"
	cp -a "$CTD_TREE"/templates/{tiny,ubuntu} "$extra/recipes/"
	make_debian "$extra/deb"
	sed -i -e '/^packages = /d' -e 's/^components = .*/components = main/' \
		-e 's/^builder = mmdebstrap/&\nvariant = extract\npackages = base-files systemd-sysv/' "$extra/recipes/ubuntu/recipe"
	ctd_setup --recipes "$extra/recipes"
	tiny_template
	ip address add 192.0.2.1/32 dev lo
}

teardown_file()
{
	host_is_itself
	rm -rf -- "$EXTRA"
	ip address del 192.0.2.1/32 dev lo
	ctd_teardown
}

setup()
{
	settled
	world_save
}

teardown()
{
	[ -z "${SILENT:-}" ] || end_silent_server # a test has failed: its build fails with it
	host_is_itself
	settled
	world_check
}

# The sweeper works a moment later.
settled()
{
	wait_for 20 is_settled
}

is_settled()
{
	[ -z "$(find "$CTD_STATE/fs/tmp" "$CTD_STATE/fs/trash" -mindepth 1 -maxdepth 1)" ] && [ -z "$(lib_processes_of ct-worker)" ]
}

# shellcheck disable=SC2120 # options are optional
ubuntu() # [OPTION...]
{
	ctctl template build ubuntu --suite noble --mirror "file:$EXTRA/archive" --keyring "$EXTRA/key.gpg" "$@"
}

root_of() # TEMPLATE: its directory
{
	echo "$CTD_STATE/fs/templates/$(ctctl template show "$1" --json | jq -r .digest)/root"
}

# What each template of an archive must be, whatever the packages.
is_ready() # ROOT
{
	[ -x "$1/sbin/init" ]
	[ ! -e "$1/etc/resolv.conf" ] && [ ! -e "$1/etc/hostname" ]
	[ -z "$(ls -A "$1/etc/apt/apt.conf.d")" ]
	[ -z "$(find "$1/etc/ssh" -name 'ssh_host_*')" ]
	[ -f "$1/etc/machine-id" ] && [ ! -s "$1/etc/machine-id" ]
	[ -z "$(find "$1" ! -uid 0 -o ! -gid 0)" ]
	[ -z "$(find "$1" -type b -o -type c -o -type s)" ]
}

# What the recipe of the tree puts there is there.
has_steps() # ROOT RECIPE
{
	local kind a b c
	while read -r kind _ a b c; do
		case $kind in
		file) cmp "$CTD_TREE/templates/$2/files/$a" "$1$b" && [ "0$(stat -c %a "$1$b")" = "$c" ] ;;
		link) [ "$(readlink "$1$b")" = "$a" ] ;;
		directory) [ "$(stat -c %a "$1$a")" = "$b" ] ;;
		*) true ;;
		esac || { echo "not as the recipe says: $kind $a $b $c" && return 1; }
	done <"$CTD_TREE/templates/$2/recipe"
}

# An archive like Debian's, and the recipe for it: its packages are unpacked and not configured, for they are no real ones; then what each Debian has must be named.
make_debian() # DIR
{
	mkdir -p "$1/apt" "$1/keyrings"
	"$CTD_TREE/test/archive" "$1" debian
	cp "$1/key.gpg" "$1/keyrings/debian-archive-keyring.gpg"
	printf 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n' >"$1/os-release"
	printf 'PRETTY_NAME="Another"\nID=another\nVERSION_CODENAME=bookworm\n' >"$1/another"
	# as on an installed Debian, and a vendor's beside it
	cat >"$1/apt/debian.sources" <<-END
		Types: deb
		URIs: file:$1/archive/debian
		Suites: bookworm bookworm-updates
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

		Types: deb
		URIs: file:$1/archive/debian-security
		Suites: bookworm-security
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
	echo 'deb [trusted=yes] http://vendor.invalid/apt nodistro main' >"$1/apt/vendor.list"
	cp -a "$CTD_TREE/templates/debian" "$EXTRA/recipes/"
	sed -i 's/^builder = mmdebstrap/&\nvariant = extract\npackages = base-files debian-archive-keyring/' "$EXTRA/recipes/debian/recipe"
}

# In the mounts of the test alone: this host is a Debian whose apt reaches the small archive and nothing else.
host_is_debian()
{
	mount --bind "$EXTRA/deb/os-release" "$(readlink -f /etc/os-release)"
	mount --bind "$EXTRA/deb/apt" /etc/apt/sources.list.d
	mount --bind "$EXTRA/deb/keyrings" /usr/share/keyrings
	[ ! -e /etc/apt/sources.list ] || mount --bind /dev/null /etc/apt/sources.list
}

host_is_itself()
{
	local path
	for path in "$(readlink -f /etc/os-release)" /etc/apt/sources.list.d /usr/share/keyrings /etc/apt/sources.list; do
		while mountpoint -q "$path"; do umount "$path"; done
	done
}

# A server that takes connections and never answers.
silent_server()
{
	setsid socat TCP-LISTEN:8123,bind=127.0.0.1,reuseaddr,fork EXEC:'sleep 300' </dev/null >/dev/null 2>&1 3>&- 4>&- &
	SILENT=$!
	disown
	wait_for 20 nc_ready
}

nc_ready()
{
	ss -ltn | grep -q 127.0.0.1:8123
}

end_silent_server()
{
	kill -- "-$SILENT" 2>/dev/null || true
	SILENT=
	wait_for 20 no_process socat
	wait_for 20 no_process sleep
}

no_process() # NAME
{
	[ -z "$(lib_processes_of "$1")" ]
}

hanging_build() # starts one that waits for the silent server, prints the job
{
	ctctl template build ubuntu --name stuck --suite noble --mirror http://127.0.0.1:8123/ --keyring "$EXTRA/key.gpg" --detach
}

job_is() # JOB STATE
{
	[ "$(ctctl job show "$1" --json | jq -r .state)" = "$2" ]
}

apt_runs()
{
	[ -n "$(lib_processes_of apt-get)" ]
}

no_builders()
{
	no_process apt-get && no_process mmdebstrap && no_process ct-worker && ! pgrep -f mmdebstrap
}

@test "tiny says what it is" {
	ctctl template show tiny --json | jq -e '.name == "tiny" and .distribution == "tiny" and .init == ["/sbin/init"] and .stop_signal == 12 and .bytes > 1000000'
	ctctl template list --json | jq -e '.templates | map(.name) == ["tiny"]'
	ctctl template recipes --json | jq -e '.recipes | map(.name) == ["debian", "tiny", "ubuntu"]'
}

@test "building the same again gives the same digest and no second directory" {
	before=$(ctctl template show tiny --json | jq -r .digest)
	ctctl template build tiny
	[ "$(ctctl template show tiny --json | jq -r .digest)" = "$before" ]
	ctctl template build tiny --name again
	[ "$(ctctl template show again --json | jq -r .digest)" = "$before" ]
	[ "$(find "$CTD_STATE/fs/templates" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]
	ctctl template remove again
	[ -d "$(root_of tiny)" ]
}

@test "a template that is used is not removed, one that is not is gone" {
	ctctl template build tiny --name other
	rm -rf "$EXTRA/recipes/own" && cp -a "$EXTRA/recipes/tiny" "$EXTRA/recipes/own"
	echo 'empty = /etc/own' >>"$EXTRA/recipes/own/recipe"
	ctctl template build own
	dir=$(root_of own)
	ctctl create uses --template own
	run ctctl template remove own
	[ "$status" -eq 4 ]
	[[ "$output" == *"used by 1 container"* ]]
	ctctl destroy uses
	ctctl template remove own
	run ctctl template show own
	[ "$status" -eq 3 ]
	wait_for 10 test ! -e "$dir"
	ctctl template remove other
	rm -rf "$EXTRA/recipes/own"
}

@test "an image that lost its name is kept while a container uses it, and not longer" {
	rm -rf "$EXTRA/recipes/own" && cp -a "$EXTRA/recipes/tiny" "$EXTRA/recipes/own"
	ctctl template build own --name moving
	echo 'empty = /etc/newer' >>"$EXTRA/recipes/own/recipe"
	cp -a "$EXTRA/recipes/own/recipe" "$EXTRA/recipe.newer"
	ctctl template build own --name moving
	old=$(root_of moving)
	ctctl create keeps --template moving
	echo 'empty = /etc/newest' >>"$EXTRA/recipes/own/recipe"
	ctctl template build own --name moving
	[ "$(root_of moving)" != "$old" ]
	[ -d "$old" ]
	ctctl start keeps
	ctctl exec keeps -- test -e /etc/newer
	ctctl destroy keeps --force
	wait_for 10 test ! -e "$old"
	ctctl template remove moving
	rm -rf "$EXTRA/recipes/own"
}

@test "an unknown recipe, a bad suite, mirror and keyring are refused with what is accepted" {
	run ctctl template build nosuch
	[ "$status" -eq 3 ]
	[[ "$output" == *"debian, tiny, ubuntu"* ]]
	run ctctl template build ubuntu --suite 'no ble'
	[ "$status" -eq 2 ]
	[[ "$output" == *suite* ]]
	run ctctl template build ubuntu --suite noble --mirror 'http://h/ [trusted=yes]'
	[ "$status" -eq 2 ]
	[[ "$output" == *mirror* ]]
	run ctctl template build ubuntu --suite noble --mirror "file:$EXTRA/archive" --keyring /dev/null
	[ "$status" -eq 2 ]
	[[ "$output" == *keyring* ]]
	run ctctl template build tiny --suite noble
	[ "$status" -eq 2 ]
	run ctctl template build tiny --name Bad_Name
	[ "$status" -eq 2 ]
}

@test "ubuntu: suite, mirror and keyring are taken, the archive's signature is checked, nothing of the builder stays" {
	# shellcheck disable=SC2119 # without options
	ubuntu
	ctctl template show ubuntu --json | jq -e '.distribution == "ubuntu" and .release == "24.04" and .stop_signal == 37 and .init == ["/sbin/init"]'
	root=$(root_of ubuntu)
	is_ready "$root"
	has_steps "$root" ubuntu
	grep -q "^# on the host .*deb \[signed-by=/etc/apt/keyrings/key.gpg\] file:$EXTRA/archive noble main$" "$root/etc/apt/sources.list"
	cmp "$EXTRA/key.gpg" "$root/etc/apt/keyrings/key.gpg"
	ctctl template remove ubuntu
}

@test "ubuntu: another key is refused" {
	run ubuntu --keyring "$EXTRA/other.gpg"
	[ "$status" -eq 5 ]
	[[ "$output" == *"not signed by a key of"*other.gpg* ]]
	run ctctl template show ubuntu
	[ "$status" -eq 3 ]
}

@test "ubuntu: an archive that was changed after it was signed is refused" {
	cp -a "$EXTRA/archive" "$EXTRA/changed"
	echo >>"$(echo "$EXTRA"/changed/dists/noble/main/binary-*/Packages)"
	run ubuntu --mirror "file:$EXTRA/changed"
	[ "$status" -ne 0 ]
	rm -rf "$EXTRA/changed" && cp -a "$EXTRA/archive" "$EXTRA/changed"
	echo >>"$(find "$EXTRA/changed" -name 'systemd-sysv*.deb')"
	run ubuntu --mirror "file:$EXTRA/changed"
	[ "$status" -ne 0 ]
	rm -f "$EXTRA/changed/dists/noble/InRelease"
	run ubuntu --mirror "file:$EXTRA/changed"
	[ "$status" -ne 0 ]
	rm -rf "$EXTRA/changed"
	run ctctl template show ubuntu
	[ "$status" -eq 3 ]
}

@test "ubuntu: a keyring that is not on this host is named" {
	[ ! -e /usr/share/keyrings/ubuntu-archive-keyring.gpg ] || skip "the host has Ubuntu's keyring"
	run ctctl template build ubuntu --suite noble --mirror "file:$EXTRA/archive"
	[ "$status" -eq 5 ]
	[[ "$output" == *ubuntu-archive-keyring.gpg* ]]
}

@test "debian: by the host's own apt, all that the recipe names, with updates, and nothing of a vendor" {
	host_is_debian
	ctctl template build debian
	ctctl template show debian --json | jq -e '.distribution == "debian" and .release == "12" and .stop_signal == 37 and .init == ["/sbin/init"]'
	root=$(root_of debian)
	is_ready "$root"
	has_steps "$root" debian
	for package in $(sed -n 's/^packages = //p' "$CTD_TREE/templates/debian/recipe"); do
		[ -s "$root/usr/share/test-packages/$package" ] || { echo "not in it: $package" && return 1; }
	done
	[ "$(cat "$root/usr/share/test-packages/less")$(cat "$root/usr/share/test-packages/nano")" = 22 ]
	[ ! -e "$root/usr/share/test-packages/not-asked-for" ]
	[ "$(sed "s/^# on the host that built this template: //" "$root/etc/apt/sources.list" | sort)" = "$(
		for line in debian/\ bookworm debian/\ bookworm-updates debian-security/\ bookworm-security; do
			echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] file:$EXTRA/deb/archive/$line main"
		done | sort
	)" ]
	ctctl template remove debian
}

@test "debian: another key than Debian's, and a host of another family, are refused" {
	host_is_debian
	cp "$EXTRA/deb/other.gpg" "$EXTRA/deb/keyrings/debian-archive-keyring.gpg"
	run ctctl template build debian
	[ "$status" -eq 5 ]
	[[ "$output" == *"not signed by a key of"*debian-archive-keyring.gpg* ]]
	cp "$EXTRA/deb/key.gpg" "$EXTRA/deb/keyrings/debian-archive-keyring.gpg"
	mount --bind "$EXTRA/deb/another" "$(readlink -f /etc/os-release)"
	run ctctl template build debian --suite bookworm
	[ "$status" -eq 2 ]
	[[ "$output" == *"this host is no debian"*mirror* ]]
	run ctctl template show debian
	[ "$status" -eq 3 ]
}

@test "a build that is cancelled leaves nothing" {
	silent_server
	job=$(hanging_build)
	wait_for 20 apt_runs
	ctctl job cancel "$job"
	wait_for 10 job_is "$job" failed
	[[ "$(ctctl job show "$job" --json | jq -r .error.error.message)" == *cancelled* ]] || [[ "$(ctctl job show "$job" --json | jq -r .error.message)" == *cancelled* ]]
	wait_for 10 no_builders
	end_silent_server
	run ctctl template show stuck
	[ "$status" -eq 3 ]
}

@test "a second build of one name is refused while the first is at work" {
	silent_server
	job=$(hanging_build)
	run hanging_build
	[ "$status" -eq 4 ]
	[[ "$output" == *"already, by job"* ]]
	ctctl job cancel "$job"
	wait_for 10 job_is "$job" failed
	wait_for 10 no_builders
	end_silent_server
}

@test "a worker that is killed leaves nothing, and is reported" {
	silent_server
	job=$(hanging_build)
	wait_for 20 apt_runs
	kill -9 "$(lib_processes_of ct-worker | sort -n | head -n 1)"
	wait_for 10 job_is "$job" failed
	wait_for 10 no_builders
	end_silent_server
}

@test "a build under a ctd that is killed ends with it, and is swept at the next start" {
	silent_server
	job=$(hanging_build)
	wait_for 20 apt_runs
	ctd_kill
	wait_for 10 no_builders
	[ -n "$(ls -A "$CTD_STATE/fs/tmp")" ]
	ctd_start
	job_is "$job" failed
	settled
	end_silent_server
	# another ctd, whose first start makes what it keeps
	ctctl create warm --template tiny --start
	ctctl destroy warm --force
	settled
	world_save
}

# Times in milliseconds, over the whole of a build, which takes about two seconds.
@test "a worker that is asked to end, at any moment, leaves nothing; one that is killed leaves no process" {
	aside=$EXTRA/aside
	mkdir -p "$aside"/{tmp,templates,trash,containers}
	request="{\"recipe\":\"ubuntu\",\"suite\":\"noble\",\"mirror\":\"file:$EXTRA/archive\",\"keyring\":\"$EXTRA/key.gpg\"
		,\"recipes\":\"$EXTRA/recipes\",\"store\":\"$aside\",\"tmp\":\"build-1\",\"base_id\":3758096384}"
	# a signal before the exec would meet bash, which would end the test in the worker's place
	worker_runs() { [ "$(cat "/proc/$worker/comm")" = ct-worker ]; }
	for ms in 005 020 060 120 250 400 600 800 999; do
		for signal in TERM KILL; do
			"$(ctd_program ct-worker)" template-build <<<"$request" >"$EXTRA/said" 3>&- 4>&- &
			worker=$!
			wait_for 30 worker_runs
			sleep "0.$ms"
			kill "-$signal" "$worker" 2>/dev/null || true
			status=0
			wait "$worker" || status=$?
			wait_for 10 no_builders
			! findmnt -n -o TARGET | grep -F "$aside" || return 1
			[ "$signal" = KILL ] || [ "$status" = 0 ] || [ -z "$(ls -A "$aside/tmp")" ]
			rm -rf "$aside/tmp/build-1"
		done
	done
	rm -rf "$aside" "$EXTRA/said"
}

@test "a full disk fails the build and leaves nothing" {
	small=$EXTRA/small
	mkdir "$small"
	mount -t tmpfs -o size=3m none "$small"
	mkdir "$small"/{tmp,templates,trash,containers}
	run "$(ctd_program ct-worker)" template-build <<<"{\"recipe\":\"tiny\",\"recipes\":\"$EXTRA/recipes\",\"store\":\"$small\",\"tmp\":\"build-1\",\"base_id\":1000000}"
	[ "$status" -eq 1 ]
	[[ "$output" == *"No space left"* ]]
	[ -z "$(ls -A "$small/tmp")" ]
	umount "$small"
	rmdir "$small"
}

@test "recipes that are not sound are refused with the line" {
	mkdir -p "$EXTRA/recipes/bad"
	printf 'description = bad\ninit = /sbin/init\nstop-signal = SIGTERM\nfile = ../../etc/shadow /etc/x 0644\n' >"$EXTRA/recipes/bad/recipe"
	run ctctl template build bad
	rm -rf "$EXTRA/recipes/bad"
	[ "$status" -ne 0 ]
	[[ "$output" == *"line 4"* ]]
}

@test "two servers of one template have different host keys, made at the first start and kept" {
	ctctl create one --template tiny --start
	ctctl create two --template tiny --start
	wait_for 20 ctctl exec one -- test -s /etc/dropbear/dropbear_ed25519_host_key
	wait_for 20 ctctl exec two -- test -s /etc/dropbear/dropbear_ed25519_host_key
	key=$(ctctl exec one -- sha256sum /etc/dropbear/dropbear_ed25519_host_key)
	[ "$key" != "$(ctctl exec two -- sha256sum /etc/dropbear/dropbear_ed25519_host_key)" ]
	ctctl restart one
	[ "$key" = "$(ctctl exec one -- sha256sum /etc/dropbear/dropbear_ed25519_host_key)" ]
	ctctl destroy one --force
	ctctl destroy two --force
}

@test "root is locked, and a key opens sshd" {
	ssh-keygen -q -t ed25519 -N '' -f "$EXTRA/id"
	ctctl create keyed --template tiny --ssh-key "$EXTRA/id.pub" --start
	ctctl exec keyed -- grep -q '^root:\*:' /etc/shadow
	address=$(ctctl show keyed --json | jq -r '.addresses[0]')
	ssh() { command ssh -i "$EXTRA/id" -o BatchMode=yes -o ConnectTimeout=2 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "root@$address" "$@"; }
	wait_for 20 ssh true
	[ "$(ssh hostname)" = keyed ]
	ctctl destroy keyed --force
	rm -f "$EXTRA/id" "$EXTRA/id.pub"
}

@test "tiny hears reboot, poweroff and stop" {
	ctctl create end --template tiny --start
	before=$(ctctl show end --json | jq -r .pid)
	ctctl exec end -- reboot || true
	changed() { [ "$(ctctl show end --json | jq -r .pid)" != "$before" ] && [ "$(ctctl show end --json | jq -r .state)" = running ]; }
	wait_for 10 changed
	ctctl exec end -- poweroff || true
	is_stopped() { [ "$(ctctl show end --json | jq -r .state)" = stopped ]; }
	wait_for 10 is_stopped
	# at once, perhaps before init listens to the signal
	begin=$SECONDS
	for _ in 1 2 3 4 5 6; do
		ctctl start end
		ctctl stop end
	done
	[ $((SECONDS - begin)) -lt 50 ] # one that was not heard would be a minute
	ctctl destroy end
}
