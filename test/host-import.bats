#!/usr/bin/env bats
# Templates from an archive and to one.
load lib

setup_file()
{
	ctd_setup
	tiny_template
	export FILES=$CTD_DIR/files
	mkdir "$FILES"
	ctctl template export tiny "$FILES/tiny.tar.zst"
	mkdir "$FILES/tree" && zstd -dqc "$FILES/tiny.tar.zst" | tar -C "$FILES/tree" --warning=no-unknown-keyword -xf -
	rm "$FILES/tree/.ctd-template.json"
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
	wait_for 20 is_swept
	world_check
	# whatever a test made but the first
	ctctl template list --json | jq -e '.templates | map(.name) == ["tiny"]'
}

is_swept()
{
	[ -z "$(find "$CTD_STATE/fs/tmp" "$CTD_STATE/fs/trash" -mindepth 1 -maxdepth 1)" ] && [ -z "$(lib_processes_of ct-worker)" ]
}

digest()
{
	ctctl template show "$1" --json | jq -r .digest
}

@test "what was exported comes back as it was, from a file and by a pipe, and starts" {
	ctctl template import "$FILES/tiny.tar.zst" --name again
	[ "$(digest again)" = "$(digest tiny)" ]
	ctctl template show again --json | jq -e '.distribution == "tiny" and .init == ["/sbin/init"] and .stop_signal == 12'
	ctctl template import --name piped - <"$FILES/tiny.tar.zst"
	[ "$(digest piped)" = "$(digest tiny)" ]
	[ -z "$(find /var/tmp "${TMPDIR:-/tmp}" -maxdepth 1 -name 'ctctl.*')" ]
	ctctl create from --template again --start
	[ "$(ctctl exec from -- hostname)" = from ]
	ctctl destroy from --force
	ctctl template remove again
	ctctl template remove piped
}

@test "a plain tree is of the kind that its os-release says, or that is asked for" {
	tar -C "$FILES/tree" -czf "$FILES/plain.tar.gz" .
	ctctl template import "$FILES/plain.tar.gz"
	ctctl template show plain --json | jq -e '.distribution == "tiny" and .release == "1" and .stop_signal == 12'
	ctctl template remove plain
	echo 'ID=unheard-of' >"$FILES/tree/etc/os-release"
	tar -C "$FILES/tree" -cf "$FILES/plain.tar" .
	run ctctl template import "$FILES/plain.tar"
	[ "$status" -eq 2 ]
	[[ "$output" == *unheard-of*recipe* ]]
	ctctl template import "$FILES/plain.tar" --recipe tiny --name asked
	ctctl template show asked --json | jq -e '.init == ["/sbin/init"]'
	ctctl template remove asked
	run ctctl template import "$FILES/plain.tar" --recipe nosuch
	[ "$status" -eq 3 ]
}

@test "a tree like debian loses what two servers must not share, and gets debian's init" {
	mkdir -p "$FILES/deb"/{etc/ssh,sbin,var/log}
	echo 'ID=debian' >"$FILES/deb/etc/os-release"
	echo secret >"$FILES/deb/etc/ssh/ssh_host_ed25519_key"
	echo 0123456789abcdef0123456789abcdef >"$FILES/deb/etc/machine-id"
	install -m 755 /bin/true "$FILES/deb/sbin/init"
	tar -C "$FILES/deb" -cJf "$FILES/deb.tar.xz" .
	ctctl template import "$FILES/deb.tar.xz"
	ctctl template show deb --json | jq -e '.stop_signal == 37'
	root=$CTD_STATE/fs/templates/$(digest deb)/root
	[ ! -e "$root/etc/ssh/ssh_host_ed25519_key" ]
	[ ! -s "$root/etc/machine-id" ]
	ctctl template remove deb
}

@test "what is no archive, or no file, is refused" {
	echo 'not an archive' >"$FILES/text"
	head -c 100000 "$FILES/tiny.tar.zst" >"$FILES/half.tar.zst"
	mkfifo "$FILES/fifo"
	for file in text half.tar.zst fifo; do
		run timeout 60 "$(ctd_program ctctl)" template import "$FILES/$file" --name bad
		echo "$file: $status $output"
		[[ "$status" == [125] ]]
	done
	run ctctl template import "$FILES/missing"
	[ "$status" -eq 2 ]
	run ctctl template import /dev/zero --name zero
	[ "$status" -eq 2 ]
	run ctctl template import "$FILES/tiny.tar.zst" --name 'Bad Name'
	[ "$status" -eq 2 ]
	ln -s "$FILES/tiny.tar.zst" "$FILES/link"
	run curl -s --unix-socket "$CTD_SOCKET" -d "{\"file\":\"$FILES/link\"}" http://ctd/v1/templates/link/import
	job=$(jq -r .id <<<"$output")
	wait_for 20 job_failed "$job"
	run curl -s --unix-socket "$CTD_SOCKET" -d '{"file":"relative"}' http://ctd/v1/templates/x/import
	[[ "$output" == *absolute* ]]
}

job_failed() # JOB
{
	[ "$(ctctl job show "$1" --json | jq -r .state)" = failed ]
}

@test "an archive that wants out of its directory is refused, and nothing of it stays" {
	mkdir "$FILES/evil" && cd "$FILES/evil"
	echo x >file
	ln -s / away
	tar -cPf "$FILES/dots.tar" --transform 's,^file,../../../../escaped,' file
	tar -cPf "$FILES/absolute.tar" --transform "s,^file,$FILES/escaped," file
	tar -cf "$FILES/through.tar" away && tar -rf "$FILES/through.tar" --transform "s,^file,away$FILES/escaped," file
	perl -e 'print pack("a100a8a8a8a12a12a8a1a100a6a2a32a32a8a8a155x12", "hard", "0000644", "0000000", "0000000", "00000000000", "00000000000", "        ", "1",
		"/etc/shadow", "ustar", "00", "", "", "", "", "") | ""' >"$FILES/hard.raw"
	perl -e 'local $/; $_ = <>; my $s = 0; $s += ord for split //; substr($_, 148, 8) = sprintf("%06o\0 ", $s); print $_, "\0" x 1024' "$FILES/hard.raw" >"$FILES/hard.tar"
	for name in dots absolute through hard; do
		run ctctl template import "$FILES/$name.tar" --recipe tiny --name evil
		echo "$name: $status $output"
		[ "$status" -ne 0 ]
		[[ "$output" != *"no program"* ]] # it did not come that far
		[ ! -e "$FILES/escaped" ]
	done
	run find "$CTD_DIR" / -maxdepth 1 -name escaped
	[ -z "$output" ]
}

@test "an export overwrites nothing, and only root may name files" {
	echo mine >"$FILES/mine"
	run ctctl template export tiny "$FILES/mine"
	[ "$status" -eq 4 ]
	[ "$(cat "$FILES/mine")" = mine ]
	run ctctl template export tiny "$FILES/no/such/directory"
	[ "$status" -eq 3 ]
	run ctctl template export nosuch "$FILES/new"
	[ "$status" -eq 3 ]
	(cd "$FILES" && ctctl template export tiny relative.tar.zst)
	[ "$(stat -c %a "$FILES/relative.tar.zst")" = 600 ]
	# a member of the socket's group may do much, but not read and write files of the host
	chgrp nogroup "$CTD_SOCKET" && chmod 660 "$CTD_SOCKET"
	run setpriv --reuid 65534 --regid 65534 --clear-groups curl -s --unix-socket "$CTD_SOCKET" -d "{\"file\":\"$FILES/theirs\"}" http://ctd/v1/templates/tiny/export
	chgrp root "$CTD_SOCKET" && chmod 600 "$CTD_SOCKET"
	[ -z "$output" ] || [[ "$output" == *permission* ]]
	[ ! -e "$FILES/theirs" ]
}
