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

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/http-private.h"

#define INPUT_MAX  4096u
#define INPUTS_MAX 64u

struct input {
	uint8_t data[INPUT_MAX];
	size_t len;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long accepted;

static void must(bool promise, const char *what)
{
	if (promise)
		return;

	fprintf(stderr, "fuzz-http-body: %s\n", what);
	abort();
}

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

/* xorshift64 */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void mutate(struct input *in, uint64_t *random)
{
	static const char interesting[] = "{}[]\":,\\u0%/0123456789-.eE \t\n\0\177\200\300\355\377truefalsn";

	for (uint64_t n = next_random(random) % 6 + 1; n > 0 && in->len > 1; n--) {
		size_t at = 1 + next_random(random) % (in->len - 1), room = INPUT_MAX - in->len, len;

		switch (next_random(random) % 5) {
		case 0: in->data[at] = (uint8_t)next_random(random); break;
		case 1:
			in->data[at] = (uint8_t)interesting[next_random(random) % (sizeof(interesting) - 1)];
			break;
		case 2: in->len = at + 1; break;
		case 3: /* a piece twice */
			len = next_random(random) % (in->len - at) + 1;
			len = len < room ? len : room;
			memmove(in->data + at + len, in->data + at, in->len - at);
			in->len += len;
			break;
		case 4: /* a piece less */
			len = next_random(random) % (in->len - at);
			memmove(in->data + at, in->data + at + len, in->len - at - len);
			in->len -= len;
			break;
		}
	}
}

static size_t read_corpus(const char *path, struct input *inputs, size_t max)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct dirent *entry;
	size_t n = 0;

	while (dir && n < max && (entry = readdir(dir))) {
		_cleanup_close_ int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t len =
		        fd < 0 || entry->d_name[0] == '.' ? -1 : read_all(fd, inputs[n].data, INPUT_MAX);

		if (len >= 0)
			inputs[n++].len = (size_t)len;
	}
	return n;
}

int main(int argc, char **argv)
{
	_cleanup_free_ struct input *inputs = calloc(INPUTS_MAX + 1, sizeof(*inputs));
	uint64_t random = 88172645463325252u, rounds = 0;

	if (!inputs || argc < 2 || (argc == 4 && parse_u64(argv[2], &rounds) < 0)) {
		fprintf(stderr, "usage: fuzz-http-body [--mutate N] DIRECTORY\n");
		return 2;
	}

	size_t n = read_corpus(argv[argc - 1], inputs, INPUTS_MAX);
	if (n == 0) {
		fprintf(stderr, "fuzz-http-body: no inputs in \"%s\"\n", argv[argc - 1]);
		return 1;
	}
	for (size_t i = 0; i < n; i++)
		(void)LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].len); /* always 0 */
	must(accepted > 0, "nothing of the corpus is accepted: it tests nothing");

	for (uint64_t i = 0; i < rounds; i++) {
		struct input *scratch = &inputs[INPUTS_MAX];

		*scratch = inputs[next_random(&random) % n];
		mutate(scratch, &random);
		(void)LLVMFuzzerTestOneInput(scratch->data, scratch->len); /* always 0 */
	}

	printf("%zu inputs, %llu made from them, %lu accepted\n", n, (unsigned long long)rounds, accepted);
	return 0;
}
