/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libnss_ctd.so.2: the host finds containers by name, and names by address; see nss-ctd(8).
 *
 * The C library loads it into any program that looks a host up, if nsswitch.conf(5) says so. So it has
 * nothing of ours in it, keeps nothing between two calls, and needs no daemon: ctd writes a file, whole
 * beside its place and renamed, and each call reads it from the beginning (some thousand lines take about a
 * millisecond). The path is fixed, since these programs may have more rights than who starts them. All that
 * is handed out lies in the caller's buffer; when that is too small the caller comes again with a larger one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <nss.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HOSTS         "/run/ctd/hosts"
#define NAME_SIZE     256
#define ADDRESSES_MAX 64

NSS_DECLARE_MODULE_FUNCTIONS(ctd)

#define PUBLIC __attribute__((visibility("default")))

/* ---- the file ---- */

struct address {
	int family;
	uint8_t bytes[16];
};

struct line {
	struct address address;
	char names[2][NAME_SIZE]; /* the second may be "" */
};

/* A line of another form is none of ours. */
static bool line_read(const char *text, struct line *ret)
{
	char address[INET6_ADDRSTRLEN];

	*ret = (struct line){ 0 };
	if (sscanf(text, "%45s %255s %255s", address, ret->names[0], ret->names[1]) < 2)
		return false;
	ret->address.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	return inet_pton(ret->address.family, address, ret->address.bytes) == 1;
}

static bool name_equal(const char *name, const char *wanted, size_t len)
{
	return len > 0 && strlen(name) == len && strncasecmp(name, wanted, len) == 0;
}

static bool line_has_name(const struct line *line, const char *wanted)
{
	size_t len = strlen(wanted);

	len -= len > 0 && wanted[len - 1] == '.';
	return name_equal(line->names[0], wanted, len) || name_equal(line->names[1], wanted, len);
}

static size_t address_size(int family)
{
	return family == AF_INET6 ? 16 : 4;
}

struct query {
	const char *name;    /* or NULL: by address */
	const void *address; /* of the family */
	int family;          /* AF_UNSPEC: any */
};

/* On the stack of whoever asks, in a thread that may have little. */
struct found {
	struct line first;
	struct address addresses[ADDRESSES_MAX];
	size_t n;
	bool other_family; /* the name is there, but not with addresses of the family */
};

static void match(const struct line *line, const struct query *query, struct found *found)
{
	const struct address *a = &line->address;
	const bool family = query->family == AF_UNSPEC || query->family == a->family;

	if (query->name ? !line_has_name(line, query->name)
	                : !family || memcmp(a->bytes, query->address, address_size(a->family)) != 0)
		return;
	if (!family) {
		found->other_family = true;
		return;
	}
	if (found->n == 0)
		found->first = *line;
	if (found->n < ADDRESSES_MAX)
		found->addresses[found->n++] = *a;
}

/* ---- answers ---- */

struct answer {
	char *at; /* what is left of the caller's buffer */
	size_t left;
	int *errnop, *h_errnop;
};

static enum nss_status fail(const struct answer *a, enum nss_status status, int code, int h_code)
{
	*a->errnop = code;
	*a->h_errnop = h_code;
	return status;
}

static enum nss_status too_small(const struct answer *a)
{
	return fail(a, NSS_STATUS_TRYAGAIN, ERANGE, NETDB_INTERNAL);
}

static enum nss_status find(const struct answer *a, const struct query *query, struct found *ret)
{
	FILE *file = fopen(HOSTS, "re");
	char text[INET6_ADDRSTRLEN + 2 * NAME_SIZE];
	struct line line;

	ret->n = 0;
	ret->other_family = false;
	if (!file)
		return fail(a, NSS_STATUS_UNAVAIL, errno, NO_RECOVERY); /* no ctd runs */
	while (fgets(text, sizeof(text), file))
		if (line_read(text, &line))
			match(&line, query, ret);
	(void)fclose(file); /* it was read only */
	if (ret->n > 0)
		return NSS_STATUS_SUCCESS;
	return fail(a, NSS_STATUS_NOTFOUND, ENOENT, ret->other_family ? NO_DATA : HOST_NOT_FOUND);
}

/* NULL: the buffer is too small. */
static void *take(struct answer *a, size_t size)
{
	size_t gap = -(uintptr_t)a->at % _Alignof(max_align_t);
	char *at = a->at + gap;

	if (gap > a->left || size > a->left - gap)
		return NULL;
	a->at = at + size;
	a->left -= gap + size;
	return at;
}

static char *take_string(struct answer *a, const char *s)
{
	char *to = take(a, strlen(s) + 1);

	return to ? memcpy(to, s, strlen(s) + 1) : NULL;
}

/* All lines are of one family: that of the first. */
static enum nss_status fill_hostent(struct answer *a, const struct found *found, struct hostent *ret)
{
	const struct line *first = &found->first;
	const size_t size = address_size(first->address.family);
	char **aliases = take(a, 2 * sizeof(*aliases));
	char **list = take(a, (found->n + 1) * sizeof(*list));
	char *name = take_string(a, first->names[0]), *alias = take_string(a, first->names[1]);

	if (!aliases || !list || !name || !alias)
		return too_small(a);
	for (size_t i = 0; i < found->n; i++) {
		list[i] = take(a, size);
		if (!list[i])
			return too_small(a);
		memcpy(list[i], found->addresses[i].bytes, size);
	}
	list[found->n] = NULL;
	aliases[0] = *alias ? alias : NULL;
	aliases[1] = NULL;
	*ret = (struct hostent){ .h_name = name,
		.h_aliases = aliases,
		.h_addrtype = first->address.family,
		.h_length = (int)size,
		.h_addr_list = list };
	*a->h_errnop = NETDB_SUCCESS;
	return NSS_STATUS_SUCCESS;
}

static enum nss_status fill_tuples(struct answer *a, const struct found *found, struct gaih_addrtuple **place)
{
	char *name = take_string(a, found->first.names[0]);

	for (size_t i = 0; i < found->n; i++) {
		const struct address *address = &found->addresses[i];
		struct gaih_addrtuple *tuple = name ? *place ?: take(a, sizeof(*tuple)) : NULL;

		if (!tuple)
			return too_small(a);
		/* The first may be the caller's own. */
		*tuple = (struct gaih_addrtuple){ .name = i == 0 ? name : NULL, .family = address->family };
		memcpy(tuple->addr, address->bytes, address_size(address->family));
		*place = tuple;
		place = &tuple->next;
	}
	*a->h_errnop = NETDB_SUCCESS;
	return NSS_STATUS_SUCCESS;
}

static bool is_family(int family)
{
	return family == AF_INET || family == AF_INET6;
}

/* ---- what the C library calls ---- */

PUBLIC enum nss_status _nss_ctd_gethostbyname4_r(const char *name, struct gaih_addrtuple **pat, char *buffer,
        size_t buflen, int *errnop, int *h_errnop, int32_t *ttlp)
{
	struct answer a = { buffer, buflen, errnop, h_errnop };
	const struct query query = { .name = name, .family = AF_UNSPEC };
	struct found found;
	enum nss_status status = find(&a, &query, &found);

	if (ttlp)
		*ttlp = 0;
	return status == NSS_STATUS_SUCCESS ? fill_tuples(&a, &found, pat) : status;
}

PUBLIC enum nss_status _nss_ctd_gethostbyname3_r(const char *name, int af, struct hostent *result,
        char *buffer, size_t buflen, int *errnop, int *h_errnop, int32_t *ttlp, char **canonp)
{
	struct answer a = { buffer, buflen, errnop, h_errnop };
	const struct query query = { .name = name, .family = af == AF_UNSPEC ? AF_INET : af };
	struct found found;
	enum nss_status status;

	if (!is_family(query.family))
		return fail(&a, NSS_STATUS_UNAVAIL, EAFNOSUPPORT, NO_DATA);
	status = find(&a, &query, &found);
	if (status == NSS_STATUS_SUCCESS)
		status = fill_hostent(&a, &found, result);
	if (ttlp)
		*ttlp = 0;
	if (canonp && status == NSS_STATUS_SUCCESS)
		*canonp = result->h_name;
	return status;
}

PUBLIC enum nss_status _nss_ctd_gethostbyname2_r(const char *name, int af, struct hostent *result,
        char *buffer, size_t buflen, int *errnop, int *h_errnop)
{
	return _nss_ctd_gethostbyname3_r(name, af, result, buffer, buflen, errnop, h_errnop, NULL, NULL);
}

PUBLIC enum nss_status _nss_ctd_gethostbyname_r(
        const char *name, struct hostent *result, char *buffer, size_t buflen, int *errnop, int *h_errnop)
{
	return _nss_ctd_gethostbyname3_r(name, AF_INET, result, buffer, buflen, errnop, h_errnop, NULL, NULL);
}

PUBLIC enum nss_status _nss_ctd_gethostbyaddr2_r(const void *addr, socklen_t len, int af,
        struct hostent *result, char *buffer, size_t buflen, int *errnop, int *h_errnop, int32_t *ttlp)
{
	struct answer a = { buffer, buflen, errnop, h_errnop };
	const struct query query = { .address = addr, .family = af };
	struct found found;
	enum nss_status status;

	if (!is_family(af) || len < address_size(af))
		return fail(&a, NSS_STATUS_UNAVAIL, EAFNOSUPPORT, NO_DATA);
	status = find(&a, &query, &found);
	if (ttlp)
		*ttlp = 0;
	return status == NSS_STATUS_SUCCESS ? fill_hostent(&a, &found, result) : status;
}

PUBLIC enum nss_status _nss_ctd_gethostbyaddr_r(const void *addr, socklen_t len, int af,
        struct hostent *result, char *buffer, size_t buflen, int *errnop, int *h_errnop)
{
	return _nss_ctd_gethostbyaddr2_r(addr, len, af, result, buffer, buflen, errnop, h_errnop, NULL);
}
