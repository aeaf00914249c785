/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeds bytes that nobody vouches for to what reads a request: its path, its parameters, its request id, its
 * body.
 *
 *   fuzz-http-body [--mutate N] DIRECTORY
 *
 * replays every file of the directory, then N inputs made from them by a generator with a fixed seed: what
 * fails once fails again. To be built with sanitizers. LLVMFuzzerTestOneInput is what libFuzzer wants.
 *
 * The first byte of an input chooses the reader: p path, q parameter, i request id, others body. Besides not
 * crashing, what is accepted must keep what the readers promise to those behind them: no control character in
 * a path, no body deeper than 32.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/fuzz.h"
#include "ctd/http-private.h"

static const struct api_route routes[] = {
	{ "GET", "/v1/containers", "list", false, NULL, "state" },
	{ "GET", "/v1/containers/{name}", "show", false, NULL },
	{ "POST", "/v1/containers/{name}/console/resize", "resize", true, NULL },
	{ 0 },
};

static void try_path(const char *text)
{
	const struct api_route *route = NULL;
	struct pair params[HTTP_PARAMS_MAX];
	struct segments segments = { 0 };
	struct ct_error err = { 0 };
	char allow[64];
	size_t n = 0;

	if (segments_split(&segments, text, &err) == 0) {
		for (size_t i = 0; i < segments.n; i++)
			must(segments.parts[i][0] && str_is_printable(segments.parts[i]),
			        "an empty or unprintable segment was let through");
		if (route_find(routes, "GET", &segments, &route, params, &n, allow, sizeof(allow)) == 0)
			accepted += 1 + n;
	}
	segments_done(&segments);
}

static void try_parameter(char *text)
{
	size_t before = strlen(text);

	accepted += route_accepts_query(&routes[0], text);
	if (percent_decode(text) == 0)
		must(strlen(text) <= before && str_is_printable(text),
		        "an unprintable parameter was let through");
}

static unsigned depth_of(const json_t *value)
{
	unsigned deepest = 0, depth;
	json_t *item;
	const char *key;
	size_t i;

	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, key, item)
		{
			depth = depth_of(item);
			deepest = depth > deepest ? depth : deepest;
		}
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item)
		{
			depth = depth_of(item);
			deepest = depth > deepest ? depth : deepest;
		}
	} else {
		return 0;
	}
	return deepest + 1;
}

struct target {
	const char *name;
	bool start;
	uint64_t n;
	json_t *config, *list;
};

static void try_body(const char *data, size_t len)
{
	static const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, offsetof(struct target, name), JSON_NO_HAS, true },
		{ "start", JSON_KIND_BOOL, offsetof(struct target, start), JSON_NO_HAS, false },
		{ "n", JSON_KIND_U64, offsetof(struct target, n), JSON_NO_HAS, false },
		{ "config", JSON_KIND_OBJECT, offsetof(struct target, config), JSON_NO_HAS, false },
		{ "list", JSON_KIND_ARRAY, offsetof(struct target, list), JSON_NO_HAS, false },
		{ 0 },
	};
	_cleanup_json_ json_t *body = NULL;
	struct target target = { 0 };
	struct ct_error err = { 0 };

	int r = json_parse(data, len, &body, &err);
	if (r == 0) {
		must(depth_of(body) <= 32, "a deep body was let through");
		if (json_is_object(body) && json_read(body, fields, &target, &err) == 0) {
			must(target.name && strlen(target.name) <= len, "a required field was not there");
			accepted++;
		}
	}

	_cleanup_json_ json_t *answer = err.code < 0 ? json_from_error(&err) : NULL;
	_cleanup_free_ char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	must(err.code == 0 || text, "an error that is not JSON");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;

	/* Exactly as long as it is: a step beyond is seen. */
	_cleanup_free_ char *copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	copy[size - 1] = '\0';

	switch (data[0]) {
	case 'p': try_path(copy); break;
	case 'q': try_parameter(copy); break;
	case 'i': accepted += request_id_valid(copy); break;
	default: try_body(copy, size - 1); break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct fuzz fuzz = { "fuzz-http-body", 88172645463325252u,
		"{}[]\":,\\u0%/0123456789-.eE \t\n\177\200\300\355\377truefalsn" };

	return fuzz_main(&fuzz, argc, argv);
}
