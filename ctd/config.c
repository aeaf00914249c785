/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration of a container, read by one table.
 *
 * Each key has a row: its name, where it goes, how it is read, and whether a running container follows a
 * change of it. A reader gets the JSON value and the place; it writes the whole value or fails naming the key
 * and what would be accepted. Sizes and counts may be JSON integers or the strings people type. No value may
 * hold a control character: it could end up in a file of the guest.
 */
#include "ctd/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "ctd/conf.h"
#include "base/json.h"
#include "base/unit.h"
#include "ctd/config-key.h"

static void *place(const struct config_key *key, struct config *config)
{
	return (char *)config + key->offset;
}

int config_read_string(const char *field, const json_t *value, const char **ret, struct ct_error *err)
{
	const char *s = json_string_value(value);

	if (!s || strlen(s) != json_string_length(value))
		return ct_error_field(err, field, "%s must be a string", field);
	if (!str_is_printable(s))
		return ct_error_field(err, field, "%s must not contain control characters", field);

	*ret = s;
	return 0;
}

int config_read_bool(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	bool *target = place(key, config);

	if (json_is_boolean(value)) {
		*target = json_is_true(value);
		return 0;
	}
	if (json_is_string(value) && parse_bool(json_string_value(value), target) == 0)
		return 0;
	return ct_error_field(err, key->name, "%s must be yes or no", key->name);
}

static int read_u32(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	uint64_t number = 0;
	int r = -EINVAL;

	if (json_is_integer(value) && json_integer_value(value) >= 0) {
		number = (uint64_t)json_integer_value(value);
		r = 0;
	} else if (json_is_string(value)) {
		r = parse_u64(json_string_value(value), &number);
	}
	if (r < 0 || number < key->min || number > key->max)
		return ct_error_field(err, key->name, "%s must be a number from %llu to %llu", key->name,
		        (unsigned long long)key->min, (unsigned long long)key->max);

	*(uint32_t *)place(key, config) = (uint32_t)number;
	if (key->has_offset)
		*(bool *)((char *)config + key->has_offset) = true;
	return 0;
}

/* A label as DNS has it (RFC 1123), in lower case. */
static bool is_label(const char *s, size_t len)
{
	if (len < 1 || len > 63 || s[0] == '-' || s[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-'))
			return false;
	return true;
}

static int read_hostname(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const char *s = NULL;
	size_t len;
	int r;

	r = config_read_string(key->name, value, &s, err);
	if (r < 0)
		return r;

	len = strlen(s);
	if (len > CONFIG_NAME_MAX)
		return ct_error_field(err, key->name, "hostname must be at most %d bytes", CONFIG_NAME_MAX);
	for (const char *p = s; *p || p == s;) {
		size_t n = strcspn(p, ".");

		if (!is_label(p, n))
			return ct_error_field(err, key->name,
			        "hostname must be labels of a-z, 0-9 and inner hyphens with dots between them");
		p += n;
		if (*p == '.' && !*++p)
			return ct_error_field(err, key->name, "hostname must not end with a dot");
		if (!*p)
			break;
	}

	memcpy(config->hostname, s, len + 1);
	return 0;
}

static int read_tenant(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const char *s = NULL;
	int r = config_read_string(key->name, value, &s, err);

	if (r < 0)
		return r;
	r = config_check_name(key->name, s, err);
	if (r >= 0)
		memcpy(config->tenant, s, strlen(s) + 1);
	return r;
}

/* A control character, also one of the second kind (U+0080 to U+009F), at the start of UTF-8. */
static bool is_control(const char *s)
{
	const unsigned char a = (unsigned char)s[0], b = (unsigned char)s[1];

	return a < 0x20 || a == 0x7f || (a == 0xc2 && b >= 0x80 && b <= 0x9f);
}

/* It ends on terminals, on pages and in labels of metrics. JSON has only valid UTF-8 (jansson). */
static int read_owner(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const char *s = NULL;
	int r = config_read_string(key->name, value, &s, err);
	size_t len;

	if (r < 0)
		return r;
	len = strlen(s);
	if (len < 1 || len > CONFIG_OWNER_MAX || s[0] == ' ' || s[len - 1] == ' ')
		return ct_error_field(err, key->name,
		        "owner must be 1 to %d bytes of text that do not begin or end with a space",
		        CONFIG_OWNER_MAX);
	for (const char *p = s; *p; p++)
		if (is_control(p))
			return ct_error_field(
			        err, key->name, "owner must be one line without control characters");
	memcpy(config->owner, s, len + 1);
	return 0;
}

/* "TYPE BASE64 [COMMENT]" without options: options could name commands, that is for the tenant to write. */
static bool is_ssh_key(const char *s)
{
	static const char *const types[] = { "ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-nistp256 ",
		"ecdsa-sha2-nistp384 ", "ecdsa-sha2-nistp521 ", "sk-ssh-ed25519@openssh.com ",
		"sk-ecdsa-sha2-nistp256@openssh.com " };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (!str_has_prefix(s, types[i]))
			continue;
		s += strlen(types[i]);
		return strncmp(s, "AAAA", 4) == 0 &&
		       strcspn(s, " ") ==
		               strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=");
	}
	return false;
}

static int read_ssh_keys(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > CONFIG_KEYS_MAX)
		return ct_error_field(
		        err, key->name, "ssh_keys must be a list of at most %d keys", CONFIG_KEYS_MAX);
	if (json_array_size(value) > 0) {
		config->ssh_keys = calloc(json_array_size(value), sizeof(*config->ssh_keys));
		if (!config->ssh_keys)
			return -ENOMEM;
	}

	json_array_foreach(value, i, item)
	{
		const char *s = NULL;
		int r = config_read_string(key->name, item, &s, err);

		if (r < 0)
			return r;
		if (strlen(s) > 8192 || !is_ssh_key(s))
			return ct_error_field(err, key->name,
			        "ssh_keys must hold public keys as in authorized_keys, without options, such as \"ssh-ed25519 AAAA... name\"");
		config->ssh_keys[config->n_ssh_keys] = strdup(s);
		if (!config->ssh_keys[config->n_ssh_keys])
			return -ENOMEM;
		config->n_ssh_keys++;
	}
	return 0;
}

static int read_addresses(const char *field, const json_t *value, struct ip_addr *ret, unsigned max,
        unsigned *ret_n, struct ct_error *err)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > max)
		return ct_error_field(err, field, "%s must be a list of at most %u addresses", field, max);

	json_array_foreach(value, i, item)
	{
		const char *s = NULL;
		int r = config_read_string(field, item, &s, err);

		if (r < 0)
			return r;
		if (ip_parse(s, &ret[i]) < 0 || !ip_is_unicast(&ret[i]))
			return ct_error_field(err, field, "\"%s\" is not an IPv4 or IPv6 unicast address", s);
	}
	*ret_n = (unsigned)json_array_size(value);
	return 0;
}

static int read_dns(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	return read_addresses(key->name, value, config->dns, CONFIG_DNS_MAX, &config->n_dns, err);
}

static int read_plan(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const char *s = NULL;
	int r = config_read_string(key->name, value, &s, err);

	if (r < 0)
		return r;
	if (!is_label(s, strlen(s)))
		return ct_error_field(err, key->name, "plan must be the name of a plan (ctctl plan list)");
	memcpy(config->plan, s, strlen(s) + 1);
	return 0;
}

/* Ours (ctd/pending.h); only its type is of interest here. */
static int read_pending(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	return json_is_object(value) ? 0 : ct_error_field(err, key->name, "%s must be an object", key->name);
}

/* Ours (ctd/handover.h). */
static int read_handover(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	const char *state = json_string_value(json_object_get(value, "state"));

	if (str_eq(state, "incoming"))
		config->handover = HANDOVER_INCOMING;
	else if (str_eq(state, "relinquished"))
		config->handover = HANDOVER_RELINQUISHED;
	else
		return ct_error_field(err, key->name, "%s must say incoming or relinquished", key->name);
	return 0;
}

/* Ours (ctd/suspend.h). */
static int read_suspended(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	json_int_t slot = json_integer_value(json_object_get(value, "slot"));
	const char *digest = json_string_value(json_object_get(value, "digest"));

	if (slot < 1 || slot > CONF_NUMBERS_MAX || !digest || strlen(digest) != 64)
		return ct_error_field(err, key->name, "%s must have a slot and a digest", key->name);
	config->suspended_slot = (uint32_t)slot;
	memcpy(config->suspended_digest, digest, sizeof(config->suspended_digest));
	config->restoring = json_object_get(value, "restoring");
	config->restoring_project =
	        (uint32_t)json_integer_value(json_object_get(value, "restoring")); /* as ctd wrote it */
	return 0;
}

/* Ours (ctd/checkpoint.h). */
static int read_checkpoint(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	struct config_checkpoint *c = &config->checkpoint;
	const json_int_t slot = json_integer_value(json_object_get(value, "slot")),
	                 id = json_integer_value(json_object_get(value, "id"));
	const char *digest = json_string_value(json_object_get(value, "digest"));

	if (slot < 1 || slot > CONF_NUMBERS_MAX || id < 1 || !digest || strlen(digest) != 64)
		return ct_error_field(err, key->name, "%s must have an id, a slot and a digest", key->name);
	c->slot = (uint32_t)slot;
	c->id = (uint64_t)id;
	c->time_usec = (uint64_t)json_integer_value(json_object_get(value, "time"));
	memcpy(c->digest, digest, sizeof(c->digest));
	c->project = (uint32_t)json_integer_value(json_object_get(value, "project"));
	c->bytes = (uint64_t)json_integer_value(json_object_get(value, "bytes"));
	c->disk_bytes = (uint64_t)json_integer_value(json_object_get(value, "disk_bytes"));
	c->size = (uint64_t)json_integer_value(json_object_get(value, "size"));
	c->frozen_usec = (uint64_t)json_integer_value(json_object_get(value, "frozen"));
	return 0;
}

/* Ours (ctd/allowance.h). */
static int read_allowance(
        const struct config_key *key, const json_t *value, struct config *config, struct ct_error *err)
{
	return allowance_from_json(value, &config->allowance, err);
}

#define AT(member) offsetof(struct config, member)

static const struct config_key keys[] = {
	{ "hostname", AT(hostname), 0, read_hostname, 0, 0, true },
	{ "tenant", AT(tenant), 0, read_tenant, 0, 0, true },
	{ "owner", AT(owner), 0, read_owner, 0, 0, true },
	{ "autostart", AT(autostart), 0, config_read_bool, 0, 0, true },
	{ "autostart_order", AT(autostart_order), 0, read_u32, 0, 9999, true },
	{ "disabled", AT(disabled), 0, config_read_bool, 0, 0, true },
	{ "nesting", AT(nesting), 0, config_read_bool, 0, 0, false },
	{ "billing_day", AT(billing_day), AT(has_billing_day), read_u32, 1, 31, true },
	{ "stop_timeout", AT(stop_timeout_sec), AT(has_stop_timeout), read_u32, 0, 86400, true },
	{ "ssh_keys", AT(ssh_keys), 0, read_ssh_keys, 0, 0, true },
	{ "net", 0, 0, config_read_nets, 0, 0, true },
	{ "publish", 0, 0, config_read_publish, 0, 0, true },
	{ "network_cut", AT(network_cut), 0, config_read_bool, 0, 0, true },
	{ "dns", AT(dns), 0, read_dns, 0, 0, false },
	{ "plan", AT(plan), 0, read_plan, 0, 0, true },
	{ CONFIG_PENDING, 0, 0, read_pending, 0, 0, false },
	{ CONFIG_HANDOVER, 0, 0, read_handover, 0, 0, false },
	{ CONFIG_SUSPENDED, 0, 0, read_suspended, 0, 0, false },
	{ CONFIG_CHECKPOINT, 0, 0, read_checkpoint, 0, 0, false },
	{ CONFIG_ALLOWANCE, 0, 0, read_allowance, 0, 0, false },
};

static const struct config_key *key_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (str_eq(keys[i].name, name))
			return &keys[i];
	for (const struct config_key *key = config_limit_keys; key->name; key++)
		if (str_eq(key->name, name))
			return key;
	return NULL;
}

bool config_key_is_live(const char *name)
{
	const struct config_key *key = key_find(name);

	return key && key->live;
}

void config_done(struct config *config)
{
	for (unsigned i = 0; i < config->n_ssh_keys; i++)
		free(config->ssh_keys[i]);
	free(config->ssh_keys);
	config->ssh_keys = NULL;
	config->n_ssh_keys = 0;
	config_nets_done(config->nets, config->n_nets);
	config->nets = NULL;
	config->n_nets = 0;
	free(config->publish);
	config->publish = NULL;
	config->n_publish = 0;
	limits_done(&config->limits);
}

static int config_read_keys(const json_t *object, struct config *config, struct ct_error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value)
	{
		const struct config_key *key = key_find(name);
		int r;

		if (!key)
			return ct_error_field(
			        err, name, "\"%s\" is not a key of a container's configuration", name);
		if (json_is_null(value))
			continue;
		r = key->read(key, value, config, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int config_from_json(const json_t *object, struct config *ret, struct ct_error *err)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!json_is_object(object))
		return ct_error_field(err, "config", "config must be an object");

	r = config_read_keys(object, ret, err);
	if (r >= 0)
		r = limits_check_together(&ret->limits, err);
	if (r >= 0 && json_is_null(json_object_get(object, "net") ?: json_null()))
		r = config_default_net(ret);
	if (r < 0)
		config_done(ret);
	return r;
}

json_t *config_merge(const json_t *base, const json_t *patch)
{
	json_t *merged = json_deep_copy(base);
	const char *name;
	json_t *value;

	if (!merged)
		return NULL;
	json_object_foreach((json_t *)patch, name, value)
	{
		int r = json_is_null(value) ? (json_object_del(merged, name), 0)
		                            : json_object_set(merged, name, value);

		if (r < 0) {
			json_decref(merged);
			return NULL;
		}
	}
	return merged;
}

int config_check_patch(const json_t *patch, struct ct_error *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(patch))
		return ct_error_field(err, "config", "config must be an object");
	json_object_foreach((json_t *)patch, name, value)
	{
		if (!key_find(name) || name[0] == '_')
			return ct_error_field(
			        err, name, "\"%s\" is not a key of a container's configuration", name);
	}
	return 0;
}

int config_check_name(const char *field, const char *name, struct ct_error *err)
{
	size_t len = strlen(name);

	if (!is_label(name, len))
		return ct_error_field(err, field,
		        "a name must be 1 to 63 of a-z, 0-9 and hyphens, and neither begin nor end with a hyphen");
	if (strspn(name, "0123456789") == len)
		return ct_error_field(err, field, "a name must not be a number");
	if (len == 32 && strspn(name, "0123456789abcdef") == len)
		return ct_error_field(err, field, "a name must not look like a ctid (32 hexadecimal digits)");
	return 0;
}
