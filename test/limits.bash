# shellcheck shell=bash
# Containers and what the kernel holds of them: "load limits" after "load lib".

# In setup_file, after ctd_setup.
limits_setup()
{
	CTCTL=$(ctd_program ctctl)
	CG=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)
	export CTCTL CG
}

teardown()
{
	ctctl list --json | lib_names | while read -r name; do ctctl destroy "$name" --force; done
	wait
}

# new NAME OPTION...: a container that runs; its cgroup's path is in $CTD_DIR/NAME.cg
new()
{
	local name=$1
	shift
	ctctl create "$name" --template tiny --start --json "$@" | jq -r '"'"$CG"'/c-" + .ctid' >"$CTD_DIR/$name.cg"
	[ -d "$(<"$CTD_DIR/$name.cg")" ]
}

holds() # NAME FILE: what the kernel has
{
	cat "$(<"$CTD_DIR/$1.cg")/$2"
}

behind() # NAME SCRIPT: runs in the background
{
	"$CTCTL" exec "$1" -- sh -c "$2" </dev/null >/dev/null 2>&1 3>&- 4>&- &
}

seen() # NAME JQ: of its resources
{
	ctctl show "$1" --json | jq -r ".resources.$2"
}
