/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How older databases become the newest: a text for each version, which brings it to the next.
 *
 * A step says what that version's tables became and is never changed afterwards; what they are today is in
 * schema.sql.
 *
 * The bounds of addresses are compared by SQLite as text, so they are written as a digit for the
 * family and hexadecimal; ip_first and ip_last are made known to SQLite for that.
 */

#include "ctd/store-private.h"

#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "base/str.h"

/* Since then addresses may be blocks, and belong to segments. */
static const char networks[] =
        "ALTER TABLE address RENAME TO address_1;"
        "DROP INDEX address_ctid;"
        "CREATE TABLE address (scope TEXT NOT NULL, address TEXT NOT NULL, first TEXT NOT NULL, "
        "last TEXT NOT NULL, ctid TEXT NOT NULL REFERENCES container (ctid) ON DELETE CASCADE, "
        "device TEXT NOT NULL, PRIMARY KEY (scope, first)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX address_ctid ON address (ctid);"
        "CREATE TRIGGER address_overlap BEFORE INSERT ON address WHEN EXISTS (SELECT 1 FROM "
        "(SELECT last FROM address WHERE scope = NEW.scope AND first <= NEW.last ORDER BY first "
        "DESC LIMIT 1) WHERE last >= NEW.first) BEGIN SELECT RAISE(ABORT, 'overlap'); END;"
        "CREATE TABLE publish (protocol INTEGER NOT NULL, address TEXT NOT NULL, port INTEGER NOT "
        "NULL CHECK (port BETWEEN 1 AND 65535), ctid TEXT NOT NULL REFERENCES container (ctid) ON "
        "DELETE CASCADE, PRIMARY KEY (protocol, address, port)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX publish_ctid ON publish (ctid);"
        "CREATE TABLE network (name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE CHECK (number "
        ">= 1), config TEXT NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE traffic (ctid TEXT NOT NULL REFERENCES container (ctid) ON DELETE CASCADE, "
        "device TEXT NOT NULL, in_bytes INTEGER NOT NULL, in_packets INTEGER NOT NULL, out_bytes "
        "INTEGER NOT NULL, out_packets INTEGER NOT NULL, out_dropped INTEGER NOT NULL, boot_id "
        "TEXT NOT NULL, slot INTEGER NOT NULL, seen_in_bytes INTEGER NOT NULL, seen_in_packets "
        "INTEGER NOT NULL, seen_out_bytes INTEGER NOT NULL, seen_out_packets INTEGER NOT NULL, "
        "seen_out_dropped INTEGER NOT NULL, PRIMARY KEY (ctid, device)) STRICT, WITHOUT ROWID;"
        "INSERT INTO address (scope, address, first, last, ctid, device) SELECT '', address, "
        "ip_first(address), ip_last(address), ctid, device FROM address_1;"
        "DROP TABLE address_1;";

static const char plans[] =
        "CREATE TABLE plan (name TEXT PRIMARY KEY, config TEXT NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

const char *const store_steps[] = { networks, plans };
const size_t store_n_steps = ARRAY_SIZE(store_steps);

static void bound(sqlite3_context *context, sqlite3_value *value, bool last)
{
	const char *text = (const char *)sqlite3_value_text(value);
	char out[1 + 2 * 16 + 1];
	struct ip_addr a;

	if (!text || ip_parse(text, &a) < 0) {
		sqlite3_result_error(context, "not an address", -1);
		return;
	}
	for (size_t i = 0; i < ip_len(&a); i++) {
		unsigned bits = a.prefix > 8 * i ? a.prefix - 8U * i : 0;
		uint8_t host = bits < 8 ? (uint8_t)(0xffU >> bits) : 0;

		a.bytes[i] = last ? a.bytes[i] | host : a.bytes[i] & (uint8_t)~host;
	}
	out[0] = a.family == AF_INET ? '4' : '6';
	hex_encode(out + 1, a.bytes, ip_len(&a));
	sqlite3_result_text(context, out, -1, SQLITE_TRANSIENT);
}

static void ip_first(sqlite3_context *context, int n, sqlite3_value **values)
{
	bound(context, values[0], false);
}

static void ip_last(sqlite3_context *context, int n, sqlite3_value **values)
{
	bound(context, values[0], true);
}

int store_functions(struct store *store, struct ct_error *err)
{
	const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;

	int r = sqlite3_create_function(store->db, "ip_first", 1, flags, NULL, ip_first, NULL, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_create_function(store->db, "ip_last", 1, flags, NULL, ip_last, NULL, NULL);

	return r == SQLITE_OK ? 0 : store_error(store, r, err);
}
