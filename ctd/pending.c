/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The key "_pending" of a configuration; see the header. */
#include "ctd/pending.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "ctd/container.h"

json_t *pending_get(const struct container *c)
{
	_cleanup_json_ json_t *config = NULL;

	if (!strstr(c->row.config, "\"" CONFIG_PENDING "\"") ||
	        json_parse(c->row.config, strlen(c->row.config), &config, NULL) < 0)
		return NULL;
	return json_incref(json_object_get(config, CONFIG_PENDING));
}

bool pending_has_keys(const json_t *pending)
{
	return json_is_true(json_object_get(pending, "keys"));
}

const char *pending_password(const json_t *pending)
{
	return json_string_value(json_object_get(pending, "password"));
}

int pending_add(json_t *config, const char *password_hash, bool keys, struct ct_error *err)
{
	json_t *pending = json_object_get(config, CONFIG_PENDING);
	int r = 0;

	if (!password_hash && !keys)
		return 0;
	if (!pending) {
		r = json_object_set_new(config, CONFIG_PENDING, json_object());
		pending = json_object_get(config, CONFIG_PENDING);
	}
	if (password_hash)
		r |= json_object_set_new(pending, "password", json_string(password_hash));
	if (keys)
		r |= json_object_set_new(pending, "keys", json_true());
	return r ? ct_error_set(err, -ENOMEM, "config", "out of memory") : 0;
}

int pending_clear(struct container *c, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL;
	int r;

	if (!strstr(c->row.config, "\"" CONFIG_PENDING "\""))
		return 0;
	r = json_parse(c->row.config, strlen(c->row.config), &config, err);
	if (r < 0)
		return r;
	(void)json_object_del(config, CONFIG_PENDING); /* it is there */
	return container_update(c, NULL, config, false, err);
}
