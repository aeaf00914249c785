/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Paths, routes and names: what of a request is decided by its strings alone.
 *
 * libmicrohttpd's own decoding is switched off (it lets "%zz" and "%00" through, and a %2F would look like a
 * slash): the path is cut at its slashes first, then each part is decoded, strictly. The table of routes is
 * walked; it has some thirty rows whatever the host holds.
 */

#include "ctd/http-private.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Length of the UTF-8 sequence at s, 0 if it is none. Overlong forms and surrogates are none. */
static size_t utf8_sequence(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	uint32_t code;

	if (n <= 1)
		return n;
	if (s[0] >= 0xf8)
		return 0;

	code = s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}

	return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? 0 : n;
}

static bool text_valid(const char *s)
{
	while (*s) {
		size_t n = utf8_sequence((const unsigned char *)s);
		if (n == 0 || (unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
		s += n;
	}

	return true;
}

int percent_decode(char *s)
{
	char *to = s;

	for (const char *from = s; *from; from++) {
		if (*from != '%') {
			*to++ = *from;
			continue;
		}

		int high = hex_value(from[1]), low = high < 0 ? -1 : hex_value(from[2]);
		if (low < 0 || high * 16 + low == 0)
			return -EINVAL;
		*to++ = (char)(high * 16 + low);
		from += 2;
	}
	*to = '\0';

	return text_valid(s) ? 0 : -EINVAL;
}

void segments_done(struct segments *s)
{
	free(s->memory);
	*s = (struct segments){ 0 };
}

int segments_split(struct segments *s, const char *path, struct ct_error *err)
{
	if (path[0] != '/')
		return -ENOENT;

	s->memory = strdup(path + 1);
	if (!s->memory)
		return ct_error_set(err, -ENOMEM, NULL, "out of memory");

	char *rest = s->memory, *part;
	while ((part = strsep(&rest, "/"))) {
		if (s->n == HTTP_SEGMENTS_MAX || part[0] == '\0')
			return -ENOENT;
		if (percent_decode(part) < 0)
			return ct_error_field(err, "path",
			        "the path is not encoded properly: %%XX for bytes of UTF-8, no control characters");
		s->parts[s->n++] = part;
	}

	return 0;
}

/* One word of a route's path; *path moves behind it. */
static size_t next_word(const char **path, const char **ret)
{
	if (**path == '/')
		(*path)++;

	size_t len = strcspn(*path, "/");
	*ret = *path;
	*path += len;
	return len;
}

bool route_matches(
        const struct api_route *route, const struct segments *s, struct pair *params, size_t *ret_n)
{
	const char *path = route->path, *word;
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		size_t len = next_word(&path, &word);
		if (len == 0)
			return false;

		if (word[0] == '{') {
			if (n == HTTP_PARAMS_MAX)
				return false;
			params[n++] = (struct pair){ .name = word + 1, .value = s->parts[i] };
		} else if (strlen(s->parts[i]) != len || memcmp(s->parts[i], word, len) != 0) {
			return false;
		}
	}

	*ret_n = n;
	return *path == '\0' && s->n > 0;
}

static void allow_add(char *allow, size_t size, const char *method)
{
	size_t len = strlen(allow);

	(void)snprintf(allow + len, size - len, "%s%s", len > 0 ? ", " : "", method);
}

int route_find(const struct api_route *routes, const char *method, const struct segments *s,
        const struct api_route **ret, struct pair *params, size_t *ret_n, char *allow, size_t allow_size)
{
	allow[0] = '\0';

	for (const struct api_route *route = routes; route->method; route++) {
		if (!route_matches(route, s, params, ret_n))
			continue;
		if (str_eq(route->method, method)) {
			*ret = route;
			return 0;
		}
		allow_add(allow, allow_size, route->method);
	}

	return allow[0] ? -EOPNOTSUPP : -ENOENT;
}

bool route_accepts_query(const struct api_route *route, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = route->query; at && len > 0; at = strchr(at, ' ')) {
		at += *at == ' ';
		if (strncmp(at, name, len) == 0 && (at[len] == ' ' || at[len] == '\0'))
			return true;
	}

	return false;
}

bool request_id_valid(const char *id)
{
	size_t len = strlen(id);

	if (len == 0 || len > HTTP_REQUEST_ID)
		return false;

	for (; *id; id++)
		if (!isascii(*id) || (!isalnum((unsigned char)*id) && !strchr("._-", *id)))
			return false;
	return true;
}
