/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The key "_handover" of a configuration; see the header. */
#include "ctd/handover.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "ctd/container.h"
#include "ctd/suspend.h"

static const char *const names[] = {
	[HANDOVER_NONE] = "none",
	[HANDOVER_INCOMING] = "incoming",
	[HANDOVER_RELINQUISHED] = "relinquished",
};

static int stored(const struct container *c, json_t **ret, struct ct_error *err)
{
	return json_parse(c->row.config, strlen(c->row.config), ret, err);
}

json_t *handover_peer(const struct container *c)
{
	_cleanup_json_ json_t *config = NULL;

	if (c->config.handover == HANDOVER_NONE || stored(c, &config, NULL) < 0)
		return NULL;
	return json_incref(json_object_get(json_object_get(config, CONFIG_HANDOVER), "peer"));
}

bool handover_ran(const struct container *c)
{
	_cleanup_json_ json_t *config = NULL;

	return c->config.handover != HANDOVER_NONE && stored(c, &config, NULL) >= 0 &&
	       json_is_true(json_object_get(json_object_get(config, CONFIG_HANDOVER), "ran"));
}

int handover_add(json_t *config, enum handover handover, const char *peer, bool ran)
{
	return json_object_set_new(config, CONFIG_HANDOVER,
	               json_pack("{s:s, s:s, s:b}", "state", names[handover], "peer", peer, "ran", ran)) < 0
	               ? -ENOMEM
	               : 0;
}

int handover_set(
        struct container *c, enum handover handover, const char *peer, bool ran, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL;
	int r;

	r = stored(c, &config, err);
	if (r < 0)
		return r;
	if (handover_add(config, handover, peer, ran) < 0)
		return ct_error_set(err, -ENOMEM, "migrate", "out of memory");
	return container_update(c, NULL, config, true, err);
}

int handover_end(struct container *c, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL;
	bool back;
	int r;

	r = stored(c, &config, err);
	if (r < 0)
		return r;
	(void)json_object_del(config, CONFIG_HANDOVER); /* it need not be there */
	/* Taken back, it is not what was offered any more: a word to go on that is late finds another epoch.
	 */
	back = c->config.handover == HANDOVER_RELINQUISHED;
	c->row.epoch += back;
	r = container_update(c, NULL, config, true, err);
	if (r < 0)
		c->row.epoch -= back;
	return r;
}

int handover_check_owner(const struct container *c, const char *what, struct ct_error *err)
{
	_cleanup_json_ json_t *peer = handover_peer(c);
	const char *node = json_string_value(peer) ?: "another node", *name = c->row.name;

	switch (c->config.handover) {
	case HANDOVER_NONE: return 0;
	case HANDOVER_INCOMING:
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "cannot %s \"%s\": it came from \"%s\", which has not let go of it yet (repeat the migration there, or, if that node is lost: ctctl migrate %s --keep)",
		        what, name, node, name);
	case HANDOVER_RELINQUISHED:
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "cannot %s \"%s\": it was handed over to \"%s\" (ctctl migrate %s %s finishes that; if it is not there for sure: ctctl migrate %s --keep)",
		        what, name, node, name, node, name);
	}
	return -EINVAL;
}

int handover_check(const struct container *c, const char *what, struct ct_error *err)
{
	int r = handover_check_owner(c, what, err);

	return r < 0 ? r : suspend_check(c, what, err);
}

void handover_print(const struct container *c, struct strbuf *b)
{
	_cleanup_json_ json_t *peer = handover_peer(c);

	if (c->config.handover == HANDOVER_NONE)
		return;
	(void)strbuf_printf(b, ",\"handover\":{\"state\":\"%s\",\"peer\":", names[c->config.handover]);
	(void)strbuf_json_string(b, json_string_value(peer) ?: "");
	(void)strbuf_putc(b, '}');
}
