#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Directories past the overlay: which are, what a container and its root see of them, and that they are the same tree with and without.
load lib

setup_file()
{
	ctd_setup
	tiny_template
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

# restart_with LINE: ctd again, with this in its configuration.
restart_with()
{
	ctd_stop
	printf '%s\n' "$1" >"$CTD_DIR/native.conf"
	grep -q native.conf "$CTD_DIR/options" || printf '%s\n' --config "$CTD_DIR/native.conf" >>"$CTD_DIR/options"
	ctd_start
}

# type_of CONTAINER DIRECTORY: the file system that is mounted on it, empty if it is no mount.
type_of()
{
	ctctl exec "$1" -- cat /proc/self/mountinfo | awk -v point="$2" '$5 == point { print $(NF - 2) }'
}

has_image_driver()
{
	[ -w /dev/loop-control ] && command -v mkfs.ext4 >/dev/null
}

drivers()
{
	echo "--storage dir"
	! has_image_driver || echo "--storage image --disk 32M"
}

each_driver() # FUNCTION
{
	local all options
	mapfile -t all < <(drivers) # not read by the loop: what is started in it would have the pipe
	for options in "${all[@]}"; do
		echo "with $options"
		"$1" "$options" # not in a condition, which would switch off errexit
	done
}

is_native()
{
	# shellcheck disable=SC2086 # several options
	ctctl create web --template tiny $1 --start
	[ -n "$(type_of web /home)" ]
	[ "$(type_of web /home)" != overlay ]
	[ "$(type_of web /)" = overlay ]
	# the rights and the owner that the template has, and those of whoever makes something
	[ "$(ctctl exec web -- stat -c '%a %u %g' /home)" = "755 0 0" ]
	[ "$(ctctl exec web -- stat -c '%a %u %g' /tmp)" = "1777 0 0" ]
	ctctl exec web -- sh -c 'echo one >/home/x && chown 33:44 /home/x && chmod 4750 /home/x'
	[ "$(ctctl exec web -- stat -c '%a %u %g' /home/x)" = "4750 33 44" ]
	# another mount, as another partition is
	run ctctl exec web -- ln /home/x /x
	[ "$status" -ne 0 ]
	ctctl exec web -- mv /home/x /x
	[ "$(ctctl exec web -- cat /x)" = one ]
	ctctl exec web -- mv /x /home/x
	# root inside can neither take it away nor move it, nor make a device there
	run ctctl exec web -- umount /home
	[ "$status" -ne 0 ]
	run ctctl exec web -- mv /home /house
	[ "$status" -ne 0 ]
	ctctl exec web -- mount | grep ' /home ' | grep -q nodev
	# it outlives a restart, and is all there while it is stopped
	ctctl restart web
	[ "$(ctctl exec web -- cat /home/x)" = one ]
	[ "$(ctctl exec web -- stat -c '%a %u %g' /home/x)" = "4750 33 44" ]
	[ "$(type_of web /home)" != overlay ]
	ctctl destroy web --force
}

@test "a directory that is empty in the template is native" {
	each_driver is_native
}

turned_off_and_on()
{
	# shellcheck disable=SC2086 # several options
	ctctl create web --template tiny $1 --start
	ctctl exec web -- sh -c 'echo one >/home/x; mkdir /data; echo rows >/data/db'
	[ -z "$(type_of web /data)" ]
	restart_with "native-directories = none"
	ctctl restart web
	[ -z "$(type_of web /home)" ]
	[ "$(ctctl exec web -- cat /home/x)" = one ]
	# the template's own moved in while it is an overlay: from now on it has to be one
	ctctl exec web -- sh -c 'echo two >/home/x; mkdir /home/sub; mv /etc /home/sub/etc; ls /home/sub/etc >/home/names; [ -s /home/names ]; mv /home/sub/etc /etc; mv /usr /home/sub/usr'
	restart_with "native-directories = /home /data /srv"
	ctctl restart web
	[ -z "$(type_of web /home)" ]
	[ "$(ctctl exec web -- cat /home/x)" = two ]
	[ -n "$(ctctl exec web -- ls /home/sub/usr)" ]
	# what the tenant made where the template has nothing is native, as the node says
	[ "$(ctctl exec web -- cat /data/db)" = rows ]
	[ -n "$(type_of web /data)" ]
	[ -z "$(type_of web /tmp)" ]
	ctctl destroy web --force
	restart_with ""
}

@test "turned off and on: the same tree, and what is not pure stays overlaid" {
	each_driver turned_off_and_on
}

replaced()
{
	# shellcheck disable=SC2086 # several options
	ctctl create web --template tiny $1 --start
	restart_with "native-directories = none"
	ctctl restart web
	mkdir -p "$CTD_DIR/outside"
	# links that lead out, a file, a fifo, a directory of the template
	ctctl exec web -- sh -c "rm -rf /home /srv /var/tmp /opt && mkdir -p /var && ln -s ../../../../../../../..$CTD_DIR/outside /home; mkfifo /srv; ln -s /etc /var/tmp; mv /etc /opt && mkdir /etc && cp -a /opt/. /etc"
	restart_with ""
	ctctl restart web
	for path in /home /srv /var/tmp /opt; do
		[ -z "$(type_of web "$path")" ] || { echo "$path" && return 1; }
	done
	[ "$(ctctl exec web -- readlink /var/tmp)" = /etc ]
	[ -n "$(ctctl exec web -- ls /opt)" ]
	[ -z "$(ls -A "$CTD_DIR/outside")" ]
	rmdir "$CTD_DIR/outside"
	ctctl destroy web --force
}

@test "what a tenant puts in its place is not followed" {
	each_driver replaced
}

@test "the configuration takes no directory of the system" {
	for value in / /etc /usr/local /proc/x /root home /home/../etc /home/; do
		printf 'native-directories = %s\n' "$value" >"$CTD_DIR/bad.conf"
		run "$(ctd_program ctd)" --state "$CTD_DIR/other" --runtime "$CTD_DIR/other-run" --config "$CTD_DIR/bad.conf" --foreground
		[ "$status" -ne 0 ]
		[[ "$output" == *native-directories* ]]
	done
	rm -rf "$CTD_DIR/bad.conf" "$CTD_DIR/other" "$CTD_DIR/other-run"
}
