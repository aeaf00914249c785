/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A container's configuration as options.
 *
 * One table says for each key how it is written on the command line. create and set take every row as
 * --option, set also takes key=value, help and completion print the rows: a new key of the API is a new row
 * here and nothing else. What a value may be is decided by the daemon, at the point of use; here only the
 * form is checked, so that a slip is told before anything is asked.
 *
 * --net is a list of objects, MODE[,key=value...]. --ip belongs to the first of them, wherever it stands:
 * addresses are collected under a key of their own, which config_finish moves to where they belong.
 */

#include "ctctl/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "base/unit.h"
#include "ctctl/command.h"

#define KEYS_MAX (64 * 1024)

const struct config_row config_rows[] = {
	{ "hostname", "hostname", CONFIG_STRING, "NAME", "host name inside (default: the container's name)" },
	{ "tenant", "tenant", CONFIG_STRING, "NAME", "whose it is: networks may be for one tenant only" },
	{ "owner", "owner", CONFIG_STRING, "TEXT",
	        "who pays for it, for lists and metrics; gives no rights" },
	{ "ssh-key", "ssh_keys", CONFIG_KEYS, "FILE",
	        "public keys that may log in as root: a file, - or the key itself; repeatable" },
	{ "autostart", "autostart", CONFIG_BOOL, NULL, "start when the host does" },
	{ "autostart-order", "autostart_order", CONFIG_INT, "N", "0 to 9999, lower ones first" },
	{ "disabled", "disabled", CONFIG_BOOL, NULL, "forbid start" },
	{ "billing-day", "billing_day", CONFIG_INT, "DAY",
	        "of the month on which its billing periods begin" },
	{ "stop-timeout", "stop_timeout", CONFIG_SECONDS, "TIME", "how long a clean stop may take" },
	{ "nesting", "nesting", CONFIG_BOOL, NULL, "allow containers inside" },
	{ "net", "net", CONFIG_NET, "MODE[,KEY=VALUE...]",
	        "an interface: nat, routed, bridge, vlan, private or none, or network=NAME; see ct-network(5); repeatable" },
	{ "ip", "net", CONFIG_ADDRESS, "ADDR", "address of the first interface; repeatable" },
	{ "rate-out", "rate_out", CONFIG_INTERFACE, "RATE",
	        "bits per second that it may send, such as 100M" },
	{ "rate-in", "rate_in", CONFIG_INTERFACE, "RATE", "bits per second towards it" },
	{ "burst", "burst", CONFIG_INTERFACE, "SIZE", "bytes at once above the rates" },
	{ "guaranteed", "guaranteed", CONFIG_INTERFACE, "RATE", "part of rate-out that it has for itself" },
	{ "internal-rate", "internal_rate", CONFIG_INTERFACE, "RATE", "to the host and its containers" },
	{ "pps-out", "pps_out", CONFIG_INTERFACE, "N", "packets per second that it may send" },
	{ "pps-in", "pps_in", CONFIG_INTERFACE, "N", "packets per second towards it" },
	{ "connections", "connections", CONFIG_INTERFACE, "N", "tracked connections at a time" },
	{ "new-connections", "new_connections", CONFIG_INTERFACE, "N", "new connections per second" },
	{ "block-mail", "block_mail", CONFIG_INTERFACE, "yes|no", "refuse connections to port 25" },
	{ "publish", "publish", CONFIG_LIST, "[ADDR:]PORT[-PORT]:PORT[/udp]",
	        "ports of the host that lead to it; repeatable" },
	{ "network-cut", "network_cut", CONFIG_BOOL, NULL, "let nothing in or out" },
	{ "dns", "dns", CONFIG_LIST, "ADDR", "resolver inside (default: the host's); repeatable" },
	{ "plan", "plan", CONFIG_STRING, "NAME", "a named set of limits (ctctl plan list)" },
	{ "cpus", "cpus", CONFIG_STRING, "N", "CPU time, in CPUs; may be a fraction" },
	{ "cpu-weight", "cpu_weight", CONFIG_INT, "W", "share of a busy CPU, 1 to 10000 (default 100)" },
	{ "cpu-burst", "cpu_burst", CONFIG_STRING, "TIME", "CPU time that may be saved up, such as 50ms" },
	{ "cpuset", "cpuset", CONFIG_STRING, "LIST", "CPUs to run on, such as 0-3,8; or auto" },
	{ "numa", "numa", CONFIG_STRING, "LIST", "memory nodes to use; or auto" },
	{ "memory", "memory", CONFIG_SIZE, "SIZE", "memory limit" },
	{ "swap", "swap", CONFIG_SIZE, "SIZE", "swap limit (default: as much as memory)" },
	{ "memory-guarantee", "memory_guarantee", CONFIG_SIZE, "SIZE", "memory that is not taken away" },
	{ "oom-group", "oom_group", CONFIG_BOOL, NULL, "lack of memory ends all of it, not one process" },
	{ "io-weight", "io_weight", CONFIG_INT, "W", "share of a busy disk, 1 to 10000 (default 100)" },
	{ "read-bps", "read_bps", CONFIG_SIZE, "SIZE", "bytes read in a second" },
	{ "write-bps", "write_bps", CONFIG_SIZE, "SIZE", "bytes written in a second" },
	{ "read-iops", "read_iops", CONFIG_INT, "N", "reads in a second" },
	{ "write-iops", "write_iops", CONFIG_INT, "N", "writes in a second" },
	{ "io", "io", CONFIG_DEVICE, "DEVICE[,KEY=VALUE...]",
	        "the same for one disk: read_bps, write_bps, read_iops, write_iops; repeatable" },
	{ "disk", "disk", CONFIG_SIZE, "SIZE", "size of the root filesystem" },
	{ "inodes", "inodes", CONFIG_INT, "N", "number of files" },
	{ "storage", "storage", CONFIG_STRING, "DRIVER", "dir or image; fixed when it is created" },
	{ "processes", "processes", CONFIG_INT, "N", "number of processes and threads" },
	{ "cgroups", "cgroups", CONFIG_INT, "N", "number of control groups inside" },
	{ "cgroup-depth", "cgroup_depth", CONFIG_INT, "N", "how deep they may be nested" },
	{ "ptys", "ptys", CONFIG_INT, "N", "number of pseudo terminals" },
	{ "shm", "shm", CONFIG_SIZE, "SIZE", "size of /dev/shm" },
	{ "run", "run", CONFIG_SIZE, "SIZE", "size of /run" },
	{ "open-files", "open_files", CONFIG_INT, "N", "open files of a process" },
	{ "inotify-instances", "inotify_instances", CONFIG_INT, "N", "inotify instances of a user" },
	{ "inotify-watches", "inotify_watches", CONFIG_INT, "N", "inotify watches of a user" },
	{ "namespaces", "namespaces", CONFIG_INT, "N", "namespaces of each kind of a user" },
	{ "traffic-allowance", "traffic_allowance", CONFIG_SIZE, "SIZE", "traffic in a billing period" },
	{ "traffic-action", "traffic_action", CONFIG_STRING, "ACTION",
	        "when that is used up: event, slow:RATE, cut or stop" },
	{ 0 },
};

#define N_OTHERS 26 /* rows before the first limit */
const struct config_row *const config_limits = &config_rows[N_OTHERS];

/* What stands after the mode of --net: keys that are arrays; all others are strings. */
static const char *const net_lists[] = { "ip", "gateway", "class", "trunk", NULL };
static const char *const net_strings[] = { "name", "network", "bridge", "uplink", "vlan", "isolated", "mtu",
	"mac", "rate_out", "rate_in", "burst", "guaranteed", "internal_rate", "pps_out", "pps_in",
	"connections", "new_connections", "block_mail", NULL };
#define NET_KEYS                                                                                             \
	"ip, gateway, name, network, bridge, uplink, vlan, trunk, isolated, mtu, mac, rate-out, rate-in, burst, guaranteed, internal-rate, class, pps-out, pps-in, connections, new-connections and block-mail"

const struct config_row *config_find_option(const char *name, bool *ret_negated)
{
	bool negated = str_has_prefix(name, "no-");

	for (const struct config_row *row = config_rows; row->option; row++) {
		*ret_negated = negated && row->kind == CONFIG_BOOL && str_eq(row->option, name + 3);
		if (*ret_negated || str_eq(row->option, name))
			return row;
	}

	return NULL;
}

static bool one_of(const char *const *words, const char *word)
{
	for (; *words; words++)
		if (str_eq(*words, word))
			return true;

	return false;
}

/* The array under key, made if it is not there; borrowed. */
static json_t *array_at(json_t *object, const char *key)
{
	json_t *a = json_object_get(object, key);
	if (json_is_array(a))
		return a;

	a = json_array();
	return json_object_set_new(object, key, a) < 0 ? NULL : a;
}

static int fail_value(
        const struct config_row *row, const char *value, const char *wanted, struct ct_error *err)
{
	return ct_error_field(err, row->key, "--%s: \"%s\" is not %s", row->option, value, wanted);
}

static int scalar_from_text(
        const struct config_row *row, const char *value, json_t **ret, struct ct_error *err)
{
	uint64_t n = 0;
	bool b;

	switch (row->kind) {
	case CONFIG_STRING: break;
	case CONFIG_SIZE:
		if (parse_size(value, &n) < 0)
			return fail_value(row, value, "a size: a number, or one with K, M, G or T", err);
		break;
	case CONFIG_INT:
		if (parse_u64(value, &n) < 0 || n > INT64_MAX)
			return fail_value(row, value, "a number", err);
		*ret = json_integer((json_int_t)n);
		return *ret ? 0 : -ENOMEM;
	case CONFIG_SECONDS:
		if (parse_duration_usec(value, &n) < 0)
			return fail_value(row, value, "a time: seconds, or a number with s, m or h", err);
		*ret = json_integer((json_int_t)(n / 1000000 + (n % 1000000 > 0)));
		return *ret ? 0 : -ENOMEM;
	case CONFIG_BOOL:
		if (parse_bool(value, &b) < 0)
			return fail_value(row, value, "yes or no", err);
		*ret = json_boolean(b);
		return 0;
	case CONFIG_LIST:
	case CONFIG_KEYS:
	case CONFIG_NET:
	case CONFIG_DEVICE:
	case CONFIG_INTERFACE:
	case CONFIG_ADDRESS: return -EINVAL;
	}

	*ret = json_string(value);
	return *ret ? 0 : ct_error_field(err, row->key, "--%s: the value is not UTF-8", row->option);
}

static int append_string(json_t *array, const char *value, const char *option, struct ct_error *err)
{
	json_t *s = array ? json_string(value) : NULL;
	if (!s)
		return ct_error_field(err, option, "--%s: the value is not UTF-8", option);

	return json_array_append_new(array, s) < 0 ? -ENOMEM : 0;
}

/* Every line that is neither empty nor a comment is a key. */
static int append_key_lines(json_t *array, char *text, const char *name, struct ct_error *err)
{
	size_t before = json_array_size(array);
	char *state = NULL;

	for (char *line = strtok_r(text, "\r\n", &state); line; line = strtok_r(NULL, "\r\n", &state)) {
		line += strspn(line, " \t");
		if (!*line || *line == '#')
			continue;

		int r = append_string(array, line, "ssh-key", err);
		if (r < 0)
			return r;
	}

	if (json_array_size(array) == before)
		return ct_error_field(err, "ssh_keys", "\"%s\" holds no public key", name);

	return 0;
}

static int read_stdin(char **ret)
{
	_cleanup_free_ char *text = calloc(1, KEYS_MAX + 1);
	if (!text)
		return -ENOMEM;

	ssize_t n = read_all(STDIN_FILENO, text, KEYS_MAX);
	if (n < 0)
		return (int)n;
	if (n == KEYS_MAX)
		return -E2BIG;

	*ret = TAKE_PTR(text);
	return 0;
}

static bool is_key(const char *value)
{
	return strchr(value, ' ') && (str_has_prefix(value, "ssh-") || str_has_prefix(value, "ecdsa-") ||
	                                     str_has_prefix(value, "sk-"));
}

static int append_keys(json_t *array, const char *value, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	if (!array)
		return -ENOMEM;
	if (is_key(value))
		return append_string(array, value, "ssh-key", err);

	if (str_eq(value, "-"))
		r = read_stdin(&text);
	else
		r = read_file_at(AT_FDCWD, value, KEYS_MAX, &text, &len);
	if (r == -E2BIG)
		return ct_error_field(
		        err, "ssh_keys", "\"%s\" is larger than 64 KiB: no file of public keys", value);
	if (r < 0)
		return ct_error_field(err, "ssh_keys",
		        "cannot read public keys from \"%s\": %s; a file, - or the key itself is taken",
		        value, strerror(-r));
	if (strstr(text, "PRIVATE KEY-----"))
		return ct_error_field(err, "ssh_keys",
		        "\"%s\" holds a private key; the public one is wanted (often \"%s.pub\")", value,
		        value);

	return append_key_lines(array, text, value, err);
}

static int net_add_pair(json_t *net, char *pair, struct ct_error *err)
{
	char *equals = strchr(pair, '=');
	if (!equals || equals == pair)
		return ct_error_field(
		        err, "net", "--net: \"%s\" is not KEY=VALUE; the keys are " NET_KEYS, pair);

	*equals = '\0';
	for (char *p = pair; *p; p++)
		if (*p == '-')
			*p = '_';
	if (one_of(net_lists, pair))
		return append_string(array_at(net, pair), equals + 1, "net", err);
	if (!one_of(net_strings, pair))
		return ct_error_field(err, "net", "--net: unknown key \"%s\"; the keys are " NET_KEYS, pair);

	return json_object_set_new(net, pair, json_string(equals + 1)) < 0 ? -ENOMEM : 0;
}

/* MODE[,key=value...]; an ip that was given before any --net goes into the first. */
static int append_net(json_t *array, const char *value, struct ct_error *err)
{
	_cleanup_free_ char *copy = strdup(value);
	_cleanup_json_ json_t *net = json_object();
	char *state = NULL;

	char *word = copy ? strtok_r(copy, ",", &state) : NULL;
	if (!array || !net || !copy)
		return -ENOMEM;
	if (!word || (strchr(word, '=') && !str_has_prefix(word, "network=")))
		return ct_error_field(err, "net",
		        "--net: \"%s\" does not begin with a mode (nat, routed, bridge, vlan, private or none) or network=NAME",
		        value);

	for (bool first = true; word; first = false, word = strtok_r(NULL, ",", &state)) {
		int r = first && !strchr(word, '=')
		                ? (json_object_set_new(net, "mode", json_string(word)) < 0 ? -ENOMEM : 0)
		                : net_add_pair(net, word, err);
		if (r < 0)
			return r;
	}

	return json_array_append(array, net) < 0 ? -ENOMEM : 0;
}

/* DEVICE[,key=value...]: sizes stay text, the daemon reads them; operations are numbers. */
static int device_add_pair(json_t *device, char *pair, struct ct_error *err)
{
	char *equals = strchr(pair, '=');
	uint64_t n = 0;

	if (!equals || equals == pair)
		return ct_error_field(err, "io",
		        "--io: \"%s\" is not KEY=VALUE; the keys are read_bps, write_bps, read_iops and write_iops",
		        pair);

	*equals++ = '\0';
	for (char *p = pair; *p; p++)
		if (*p == '-')
			*p = '_';
	json_t *value = str_has_suffix(pair, "_iops") && parse_u64(equals, &n) == 0 && n <= INT64_MAX
	                        ? json_integer((json_int_t)n)
	                        : json_string(equals);

	return json_object_set_new(device, pair, value) < 0 ? -ENOMEM : 0;
}

static int append_device(json_t *array, const char *value, struct ct_error *err)
{
	_cleanup_free_ char *copy = strdup(value);
	_cleanup_json_ json_t *device = json_object();
	char *state = NULL;

	char *word = copy ? strtok_r(copy, ",", &state) : NULL;
	if (!array || !device || !copy)
		return -ENOMEM;
	if (!word || word[0] != '/')
		return ct_error_field(
		        err, "io", "--io: \"%s\" does not begin with a device such as /dev/sda", value);

	if (json_object_set_new(device, "device", json_string(word)) < 0)
		return -ENOMEM;
	while ((word = strtok_r(NULL, ",", &state))) {
		int r = device_add_pair(device, word, err);
		if (r < 0)
			return r;
	}

	return json_array_append(array, device) < 0 ? -ENOMEM : 0;
}

/* A list as key=A,B gives it. */
static int append_split(json_t *array, const char *value, const char *option, struct ct_error *err)
{
	_cleanup_free_ char *copy = strdup(value);
	char *state = NULL;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	for (char *word = strtok_r(copy, ",", &state); word && r == 0; word = strtok_r(NULL, ",", &state))
		r = append_string(array, word, option, err);

	return r;
}

/* What belongs to the first interface, until config_finish knows which that is. A name that no key has. */
#define INTERFACE ",interface"

/* The value becomes a string, none takes the key away. */
static int set_interface(json_t *config, const struct config_row *row, const char *value)
{
	json_t *interface = json_object_get(config, INTERFACE);

	if (!interface) {
		interface = json_object();
		if (json_object_set_new(config, INTERFACE, interface) < 0)
			return -ENOMEM;
	}
	return json_object_set_new(interface, row->key, *value ? json_string(value) : json_null()) < 0
	               ? -ENOMEM
	               : 0;
}

/* Where the values of a row are collected. */
static const char *place_of(const struct config_row *row)
{
	return row->kind == CONFIG_ADDRESS ? row->option : row->key;
}

static int apply_scalar(json_t *config, const struct config_row *row, const char *value, struct ct_error *err)
{
	json_t *v = NULL;

	int r = scalar_from_text(row, value, &v, err);
	if (r < 0)
		return r;

	return json_object_set_new(config, row->key, v) < 0 ? -ENOMEM : 0;
}

int config_apply_option(
        json_t *config, const struct config_row *row, const char *value, bool negated, struct ct_error *err)
{
	switch (row->kind) {
	case CONFIG_STRING:
	case CONFIG_SIZE:
	case CONFIG_INT:
	case CONFIG_SECONDS: return apply_scalar(config, row, value, err);
	case CONFIG_BOOL: return apply_scalar(config, row, negated ? "no" : "yes", err);
	case CONFIG_LIST:
	case CONFIG_ADDRESS: return append_string(array_at(config, place_of(row)), value, row->option, err);
	case CONFIG_KEYS: return append_keys(array_at(config, row->key), value, err);
	case CONFIG_INTERFACE: return set_interface(config, row, value);
	case CONFIG_NET: return append_net(array_at(config, row->key), value, err);
	case CONFIG_DEVICE: return append_device(array_at(config, row->key), value, err);
	}
	return -EINVAL;
}

static const char *next_key(void *state)
{
	const struct config_row **row = state;

	return (*row)->option ? ((*row)++)->key : NULL;
}

static const struct config_row *find_key(const char *key)
{
	for (const struct config_row *row = config_rows; row->option; row++)
		if (str_eq(row->option, key) || (row->kind != CONFIG_ADDRESS && str_eq(row->key, key)))
			return row;

	return NULL;
}

static int fail_key(const char *key, struct ct_error *err)
{
	const struct config_row *walk = config_rows;
	const char *near = suggest(key, next_key, &walk);

	return ct_error_field(err, key,
	        near ? "unknown key \"%s\"; did you mean \"%s\"?"
	             : "unknown key \"%s\"; \"ctctl help set\" lists them",
	        key, near);
}

int config_apply_assignment(json_t *config, const char *assignment, struct ct_error *err)
{
	_cleanup_free_ char *key = strdup(assignment);
	char *value = key ? strchr(key, '=') : NULL;
	if (!key)
		return -ENOMEM;
	if (!value || value == key)
		return ct_error_kind_set(err, CT_ERROR_USAGE, -EINVAL, "\"%s\" is not KEY=VALUE", assignment);

	*value++ = '\0';
	const struct config_row *row = find_key(key);
	if (!row)
		return fail_key(key, err);
	if (row->kind == CONFIG_INTERFACE)
		return set_interface(config, row, value);
	if (!*value)
		return json_object_set_new(config, place_of(row), json_null()) < 0 ? -ENOMEM : 0;

	if (row->kind == CONFIG_LIST || row->kind == CONFIG_ADDRESS)
		return append_split(array_at(config, place_of(row)), value, row->option, err);
	if (row->kind == CONFIG_KEYS || row->kind == CONFIG_NET || row->kind == CONFIG_DEVICE)
		return config_apply_option(config, row, value, false, err);

	return apply_scalar(config, row, value, err);
}

bool config_needs_net(const json_t *config)
{
	return (json_object_get(config, "ip") || json_object_get(config, INTERFACE)) &&
	       !json_object_get(config, "net");
}

/* Keys that have no value go. */
static int update_interface(json_t *target, const json_t *values)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)values, key, value)
	{
		if (json_is_null(value))
			(void)json_object_del(target, key); /* it need not be there */
		else if (json_object_set(target, key, value) < 0)
			return -ENOMEM;
	}
	return 0;
}

int config_finish(json_t *config, const json_t *net)
{
	_cleanup_json_ json_t *ip = json_incref(json_object_get(config, "ip"));
	_cleanup_json_ json_t *interface = json_incref(json_object_get(config, INTERFACE));
	if (!ip && !interface)
		return 0;

	(void)json_object_del(config, "ip"); /* they are there or not */
	(void)json_object_del(config, INTERFACE);
	bool given = json_is_array(json_object_get(config, "net"));
	if (!given) {
		json_t *copy = json_array_size(net) > 0 ? json_deep_copy(net)
		                                        : json_pack("[{s:s}]", "mode", ip ? "routed" : "nat");
		if (json_object_set_new(config, "net", copy) < 0)
			return -ENOMEM;
	}

	json_t *first = json_array_get(json_object_get(config, "net"), 0);
	if (update_interface(first, interface) < 0)
		return -ENOMEM;
	if (!ip)
		return 0;
	if (!given)
		(void)json_object_del(first, "ip"); /* the new ones replace them; none was there: as well */
	if (json_is_null(ip))
		return 0;

	json_t *own = array_at(first, "ip");
	return !own || json_array_extend(own, ip) < 0 ? -ENOMEM : 0;
}
