/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POST /v1/containers/NAME/migrate: what is asked for. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "ctd/api.h"
#include "ctd/manager.h"
#include "ctd/verbs.h"

#define PEER_MAX          255
#define BANDWIDTH_MAX     (1ULL << 50)
#define DOWNTIME_MAX_MSEC 86400000u

struct request {
	const char *to;
	bool offline, dry_run, fallback, verify, has_max_downtime;
	uint64_t bandwidth, max_downtime_msec;
};

static const struct json_field request_fields[] = {
	{ "to", JSON_KIND_STRING, offsetof(struct request, to), JSON_NO_HAS, true },
	{ "offline", JSON_KIND_BOOL, offsetof(struct request, offline), JSON_NO_HAS, false },
	{ "dry_run", JSON_KIND_BOOL, offsetof(struct request, dry_run), JSON_NO_HAS, false },
	{ "fallback", JSON_KIND_BOOL, offsetof(struct request, fallback), JSON_NO_HAS, false },
	{ "verify", JSON_KIND_BOOL, offsetof(struct request, verify), JSON_NO_HAS, false },
	{ "bandwidth", JSON_KIND_U64, offsetof(struct request, bandwidth), JSON_NO_HAS, false },
	{ "max_downtime_msec", JSON_KIND_U64, offsetof(struct request, max_downtime_msec),
	        offsetof(struct request, has_max_downtime), false },
	{ NULL },
};

/* [USER@]HOST as ssh takes it and nothing that it could take for an option, or an absolute path. */
static int check_peer(const char *peer, struct ct_error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:@/";
	const size_t len = strlen(peer);

	if (len < 1 || len > PEER_MAX || strspn(peer, allowed) != len || peer[0] == '-' ||
	        strstr(peer, "@-") || (peer[0] != '/' && strchr(peer, '/')))
		return ct_error_field(err, "to",
		        "to must be [USER@]HOST, or the absolute path of the socket of another daemon on this host");
	return 0;
}

static json_t *make_params(const struct request *in)
{
	return json_pack("{s:s, s:b, s:b, s:b, s:b, s:I, s:o*}", "to", in->to, "offline", in->offline,
	        "dry_run", in->dry_run, "fallback", in->fallback, "verify", in->verify, "bandwidth",
	        (json_int_t)in->bandwidth, "max_downtime_msec",
	        in->has_max_downtime ? json_integer((json_int_t)in->max_downtime_msec) : NULL);
}

static int check_figures(const struct request *in, struct ct_error *err)
{
	if (in->bandwidth > BANDWIDTH_MAX)
		return ct_error_field(
		        err, "bandwidth", "bandwidth must be bytes per second, at most 2^50; 0: no limit");
	if (in->has_max_downtime && (in->max_downtime_msec == 0 || in->max_downtime_msec > DOWNTIME_MAX_MSEC))
		return ct_error_field(err, "max_downtime_msec", "max_downtime_msec must be from 1 to %u",
		        DOWNTIME_MAX_MSEC);
	if (in->offline && in->has_max_downtime)
		return ct_error_field(err, "max_downtime_msec",
		        "max_downtime_msec is not for one that is stopped for it (offline)");
	return 0;
}

int api_container_migrate(struct manager *m, struct call *call, struct ct_error *err)
{
	struct container *c = NULL;
	struct request in = { 0 };
	int r;

	/* ssh runs as root, with root's keys. */
	if (call_peer(call)->uid != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM, "only root may move containers");
	r = json_read(call_body(call), request_fields, &in, err);
	if (r >= 0)
		r = check_peer(in.to, err);
	if (r >= 0)
		r = check_figures(&in, err);
	if (r >= 0)
		r = verb_target(m, call, &c, err);
	if (r >= 0 && in.offline && in.fallback)
		r = ct_error_field(err, "fallback", "fallback and offline exclude each other");
	if (r < 0)
		return r;
	return job_submit(m,
	        &(struct job_request){
	                .type = &verb_migrate,
	                .container = c,
	                .object = c->row.name,
	                .params = make_params(&in),
	                .call = call,
	                .detached = true,
	                .durable = true, /* its end, and with it that the disk is in the trash */
	        },
	        err);
}
