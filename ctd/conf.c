/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd.conf: lines of "key = value", comments after #, each key known, each value checked, errors with file
 * and line.
 *
 * One table says which keys there are; the man page ctd.conf(5) has the same list (a test compares them).
 */
#include "ctd/conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/unit.h"
#include "ctd/gate-proto.h"

struct key {
	const char *name;
	size_t offset;
	int (*read)(const struct key *key, const char *value, struct conf *conf);
	uint64_t min, max;
	const char *accepts; /* for the error */
};

static void *place(const struct key *key, struct conf *conf)
{
	return (char *)conf + key->offset;
}

static int read_text(const struct key *key, const char *value, struct conf *conf)
{
	char **target = place(key, conf);
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*target);
	*target = copy;
	return 0;
}

static int read_listen(const struct key *key, const char *value, struct conf *conf)
{
	struct sockaddr_storage address;

	if (str_eq(value, "none")) {
		free(conf->metrics_listen);
		conf->metrics_listen = NULL;
		return 0;
	}
	return gate_address(value, &address) < 0 ? -EINVAL : read_text(key, value, conf);
}

static int read_absolute(const struct key *key, const char *value, struct conf *conf)
{
	char **target = place(key, conf);

	if (str_eq(value, "none")) {
		free(*target);
		*target = NULL;
		return 0;
	}
	return *value == '/' ? read_text(key, value, conf) : -EINVAL;
}

static int read_flag(const struct key *key, const char *value, struct conf *conf)
{
	return parse_bool(value, place(key, conf));
}

static int read_number(const struct key *key, const char *value, struct conf *conf)
{
	uint64_t n;

	if (parse_u64(value, &n) < 0 || n < key->min || n > key->max)
		return -EINVAL;
	*(uint32_t *)place(key, conf) = (uint32_t)n;
	return 0;
}

static int read_interval(const struct key *key, const char *value, struct conf *conf)
{
	int r = read_number(key, value, conf);

	return r < 0 ? r : 3600 % conf->meter_interval ? -EINVAL : 0;
}

static int read_id_start(const struct key *key, const char *value, struct conf *conf)
{
	int r = read_number(key, value, conf);

	return r < 0 ? r : conf->id_start % 65536 ? -EINVAL : 0;
}

/* A network of the family that min names; "none" switches it off. */
static int read_network(const struct key *key, const char *value, struct conf *conf)
{
	struct ip_addr *target = place(key, conf);

	if (str_eq(value, "none")) {
		*target = (struct ip_addr){ 0 };
		return 0;
	}
	if (ip_parse_network(value, target) < 0 || target->family != (int)key->min ||
	        target->prefix > (target->family == AF_INET ? 28 : 112))
		return -EINVAL;
	return 0;
}

static int read_dns(const struct key *key, const char *value, struct conf *conf)
{
	_cleanup_free_ char *copy = strdup(value);
	char *next = copy, *word;

	conf->n_dns = 0;
	while (copy && (word = strsep(&next, " ,"))) {
		if (!*word)
			continue;
		if (conf->n_dns >= CONF_DNS_MAX || ip_parse(word, &conf->dns[conf->n_dns]) < 0)
			return -EINVAL;
		conf->n_dns++;
	}
	return copy ? 0 : -ENOMEM;
}

/* "tcp/53 udp/53"; none: nothing of the host is within reach. */
static int read_services(const struct key *key, const char *value, struct conf *conf)
{
	_cleanup_free_ char *copy = strdup(value);
	char *next = copy, *word;

	conf->n_services = 0;
	if (!copy)
		return -ENOMEM;
	if (str_eq(value, "none"))
		return 0;
	while ((word = strsep(&next, " ,"))) {
		struct net_service service = { .protocol = IPPROTO_TCP };
		uint64_t port;

		if (!*word)
			continue;
		if (str_has_prefix(word, "udp/"))
			service.protocol = IPPROTO_UDP;
		else if (!str_has_prefix(word, "tcp/"))
			return -EINVAL;
		if (conf->n_services >= CONF_SERVICES_MAX || parse_u64(word + 4, &port) < 0 || port < 1 ||
		        port > 65535)
			return -EINVAL;
		service.port = (uint16_t)port;
		conf->services[conf->n_services++] = service;
	}
	return 0;
}

/* 0 is no limit, else as netns/ takes it. */
static int read_bitrate(const struct key *key, const char *value, struct conf *conf)
{
	uint64_t rate;

	if (parse_bitrate(value, &rate) < 0 || (rate != 0 && rate < key->min) || rate > key->max)
		return -EINVAL;
	*(uint64_t *)place(key, conf) = rate;
	return 0;
}

static int read_class(const struct key *key, const char *value, struct conf *conf)
{
	return conf_read_class(conf, value);
}

static int read_storage(const struct key *key, const char *value, struct conf *conf)
{
	return disk_driver_from_name(value, &conf->storage);
}

/* "/home /srv"; none: all of every container is an overlay. */
static int read_natives(const struct key *key, const char *value, struct conf *conf)
{
	char *text = strdup(value), *next = text, *word;
	size_t n = 0;

	if (!text)
		return -ENOMEM;
	free(conf->native_text);
	conf->native_text = text;
	conf->natives[0] = NULL;
	if (str_eq(value, "none"))
		return 0;
	while ((word = strsep(&next, " ,"))) {
		if (!*word)
			continue;
		if (n == DISK_NATIVES_MAX || !disk_native_may_be(word))
			return -EINVAL;
		conf->natives[n++] = word;
		conf->natives[n] = NULL;
	}
	return 0;
}

static int read_bytes(const struct key *key, const char *value, struct conf *conf)
{
	return parse_size(value, place(key, conf));
}

static int read_ratio(const struct key *key, const char *value, struct conf *conf)
{
	return parse_milli(value, place(key, conf));
}

/* The ids of the last slot must not wrap around to those of the host, nor reach the kernel's special ones. */
#define ID_START_MAX ((65535u - CONF_NUMBERS_MAX - 1) * 65536u)

#define AT(member) offsetof(struct conf, member)

static const struct key keys[] = {
	{ "group", AT(group), read_text, 0, 0, "a group's name" },
	{ "id-start", AT(id_start), read_id_start, 65536, ID_START_MAX,
	        "a multiple of 65536 from 65536 to 3758030848" },
	{ "nat-network", AT(nat_network), read_network, AF_INET, 0,
	        "an IPv4 network such as 10.77.0.0/16, or none" },
	{ "nat-network6", AT(nat_network6), read_network, AF_INET6, 0,
	        "an IPv6 network such as fd00:77::/64, or none" },
	{ "dns", 0, read_dns, 0, 0, "at most 3 addresses" },
	{ "nat-peers", AT(nat_peers), read_flag, 0, 0, "yes or no" },
	{ "routed-peers", AT(routed_peers), read_flag, 0, 0, "yes or no" },
	{ "names", AT(names), read_flag, 0, 0, "yes or no" },
	{ "services", 0, read_services, 0, 0, "up to 16 of tcp/PORT and udp/PORT, or none" },
	{ "uplink-rate", AT(uplink_rate), read_bitrate, 8000, 1000000000000ULL,
	        "a rate such as 1G, or 0 for no limit" },
	{ "traffic-class", 0, read_class, 0, 0,
	        "a name of a-z, 0-9 and hyphens and prefixes or files with prefixes; there are at most 4 classes" },
	{ "connections", AT(connections), read_number, 0, 65535, "a number from 0 (no limit) to 65535" },
	{ "block-mail", AT(block_mail), read_flag, 0, 0, "yes or no" },
	{ "proxy-neighbours", AT(proxy_neighbours), read_flag, 0, 0, "yes or no" },
	{ "storage", 0, read_storage, 0, 0, "dir or image" },
	{ "native-directories", 0, read_natives, 0, 0,
	        "at most 32 absolute paths outside of the system's own directories, or none" },
	{ "autostart-parallel", AT(autostart_parallel), read_number, 1, 64, "a number from 1 to 64" },
	{ "pool-size", AT(pool_size), read_number, 0, 32, "a number from 0 to 32" },
	{ "memory-reserved", AT(memory_reserved), read_bytes, 0, 0, "a size such as 512M" },
	{ "memory-overcommit", AT(memory_overcommit_milli), read_ratio, 0, 0,
	        "a number of times such as 1.5, or 0 for no counting" },
	{ "cpu-overcommit", AT(cpu_overcommit_milli), read_ratio, 0, 0,
	        "a number of times such as 4, or 0 for no counting" },
	{ "idle-memory", AT(idle_memory), read_flag, 0, 0, "yes or no" },
	{ "meter-sample", AT(meter_sample), read_number, 1, 60, "seconds from 1 to 60" },
	{ "meter-interval", AT(meter_interval), read_interval, 60, 3600,
	        "seconds from 60 to 3600 that divide an hour, such as 300" },
	{ "ledger-interval-days", AT(ledger_interval_days), read_number, 1, 3660, "days from 1 to 3660" },
	{ "ledger-hour-days", AT(ledger_hour_days), read_number, 1, 3660, "days from 1 to 3660" },
	{ "ledger-period-days", AT(ledger_period_days), read_number, 62, 36600, "days from 62 to 36600" },
	{ "metrics-listen", AT(metrics_listen), read_listen, 0, 0,
	        "a numeric address and a port such as 127.0.0.1:9187 or [::1]:9187, or none" },
	{ "metrics-token", AT(metrics_token), read_absolute, 0, 0, "an absolute path, or none" },
	{ "metrics-certificate", AT(metrics_certificate), read_absolute, 0, 0, "an absolute path, or none" },
	{ "metrics-key", AT(metrics_key), read_absolute, 0, 0, "an absolute path, or none" },
	{ "metrics-client-ca", AT(metrics_client_ca), read_absolute, 0, 0, "an absolute path, or none" },
	{ "stop-timeout", AT(stop_timeout_sec), read_number, 1, 86400, "seconds from 1 to 86400" },
};

void conf_init(struct conf *conf)
{
	*conf = (struct conf){
		.routed_peers = true,
		.names = true,
		.storage = DISK_DRIVER_DIR,
		.autostart_parallel = 4,
		.pool_size = 8,
		.stop_timeout_sec = 60,
		.connections = 16384,
		.meter_sample = 15,
		.meter_interval = 300,
		.ledger_interval_days = 14,
		.ledger_hour_days = 400,
		.ledger_period_days = 3660,
		.memory_reserved = 256ULL << 20,
	};
	for (size_t i = 0; disk_natives_default[i]; i++)
		conf->natives[i] = disk_natives_default[i];
	(void)ip_parse_network("10.77.0.0/16", &conf->nat_network); /* constants */
	(void)ip_parse_network("fd77:c7d::/64", &conf->nat_network6);
}

void conf_done(struct conf *conf)
{
	free(conf->state_dir);
	free(conf->runtime_dir);
	free(conf->socket);
	free(conf->recipe_dir);
	free(conf->keeper);
	free(conf->worker);
	free(conf->ctctl);
	free(conf->group);
	free(conf->native_text);
	free(conf->metrics_listen);
	free(conf->metrics_token);
	free(conf->metrics_certificate);
	free(conf->metrics_key);
	free(conf->metrics_client_ca);
	conf_classes_done(conf);
	memset(conf, 0, sizeof(*conf));
}

static char *trim(char *s)
{
	size_t len;

	while (isspace((unsigned char)*s))
		s++;
	len = strlen(s);
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		s[--len] = '\0';
	return s;
}

static int conf_line(struct conf *conf, char *line, const char *path, unsigned number, struct ct_error *err)
{
	char *hash = strchr(line, '#'), *equals, *name, *value;

	if (hash)
		*hash = '\0';
	line = trim(line);
	if (!*line)
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return ct_error_set(
		        err, -EINVAL, "configuration", "%s:%u: a line must be \"key = value\"", path, number);
	*equals = '\0';
	name = trim(line);
	value = trim(equals + 1);

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!str_eq(keys[i].name, name))
			continue;
		if (keys[i].read(&keys[i], value, conf) < 0)
			return ct_error_set(err, -EINVAL, "configuration", "%s:%u: %s must be %s", path,
			        number, name, keys[i].accepts);
		return 0;
	}
	return ct_error_set(err, -EINVAL, "configuration", "%s:%u: \"%.40s\" is not a key of ctd.conf", path,
	        number, name);
}

int conf_read(struct conf *conf, const char *path, bool required, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char *next, *line;
	unsigned number = 0;
	int r;

	r = read_file_at(AT_FDCWD, path, 1024 * 1024, &text, NULL);
	if (r == -ENOENT && !required)
		return 0;
	if (r < 0)
		return ct_error_set(err, r, "configuration", "cannot read \"%s\": %s", path, strerror(-r));

	next = text;
	while ((line = strsep(&next, "\n"))) {
		r = conf_line(conf, line, path, ++number, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A program of ours: beside our own executable (a build directory), else where it is installed. */
static char *find_program(const char *name)
{
	char own[4096];
	ssize_t len = readlink("/proc/self/exe", own, sizeof(own) - 1);
	char *slash, *path;

	own[len > 0 ? len : 0] = '\0';
	slash = strrchr(own, '/');
	if (slash)
		*slash = '\0';
	path = str_printf("%s/%s", own, name);
	if (path && access(path, X_OK) == 0)
		return path;
	free(path);
	return str_printf("%s/%s", CTD_LIBEXECDIR, name);
}

/* A build directory has it in a directory of its own; else it is looked up where programs are. */
static char *find_ctctl(void)
{
	_cleanup_free_ char *built = find_program("../ctctl/ctctl");

	return strdup(built && access(built, X_OK) == 0 ? built : "ctctl");
}

static int absolute(const char *what, const char *path, struct ct_error *err)
{
	if (path[0] != '/' || strlen(path) > 200)
		return ct_error_set(err, -EINVAL, "configuration",
		        "%s must be an absolute path of at most 200 bytes, not \"%.80s\"", what, path);
	return 0;
}

/* Half of it would be served in the clear, or to everybody. */
static int check_tls(const struct conf *conf, struct ct_error *err)
{
	if (!conf->metrics_certificate != !conf->metrics_key)
		return ct_error_set(err, -EINVAL, "configuration",
		        "metrics-certificate and metrics-key must be given together, or neither");
	if (conf->metrics_client_ca && !conf->metrics_key)
		return ct_error_set(err, -EINVAL, "configuration",
		        "metrics-client-ca needs TLS: give metrics-certificate and metrics-key as well");
	return 0;
}

int conf_finish(struct conf *conf, struct ct_error *err)
{
	int r = check_tls(conf, err);

	if (r < 0)
		return r;
	if (!conf->state_dir)
		conf->state_dir = strdup("/var/lib/ctd");
	if (!conf->runtime_dir)
		conf->runtime_dir = strdup("/run/ctd");
	if (!conf->socket && conf->runtime_dir)
		conf->socket = str_printf("%s/ctd.sock", conf->runtime_dir);
	if (!conf->keeper)
		conf->keeper = find_program("ct-keeper");
	if (!conf->worker)
		conf->worker = find_program("ct-worker");
	if (!conf->ctctl)
		conf->ctctl = find_ctctl();
	if (!conf->recipe_dir)
		conf->recipe_dir =
		        access(CTD_SOURCE_RECIPES, F_OK) == 0 && !str_has_prefix(conf->worker, CTD_LIBEXECDIR)
		                ? strdup(CTD_SOURCE_RECIPES)
		                : strdup(CTD_RECIPES);
	if (!conf->state_dir || !conf->runtime_dir || !conf->socket || !conf->keeper || !conf->worker ||
	        !conf->ctctl || !conf->recipe_dir)
		return ct_error_set(err, -ENOMEM, "configuration", "out of memory");

	r = absolute("the state directory", conf->state_dir, err);
	if (r >= 0)
		r = absolute("the runtime directory", conf->runtime_dir, err);
	if (r >= 0)
		r = absolute("the socket", conf->socket, err);
	return r < 0 ? r : conf_classes_finish(conf, err);
}
