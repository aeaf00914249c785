/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ledger of the meter: opened, and put aside if it is damaged.
 *
 * A ledger that does not read keeps no container down: it is put aside and a new one begun. If that is found
 * at the start of ctd, totals begin at zero. What the kernel has counted of a run so far cannot be told from
 * what is in the old ledger already, so it is not charged again; the time since the old one was written last
 * is a gap. If it is found later, what is in memory goes on: totals stay, and only rows that were posted are
 * in the file put aside alone.
 *
 * A posting that is damaged is found when it is read or added to; looking through a gigabyte of them at each
 * start would take longer than that is worth.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/meter.h"

char *meter_ledger_path(const struct manager *m)
{
	return str_printf("%s/ledger.db", m->conf.state_dir);
}

/* When the ledger or its log was written last, by the wall clock. 0: cannot be known. */
static uint64_t written_usec(const char *path)
{
	_cleanup_free_ char *log = str_printf("%s-wal", path);
	struct stat st;
	uint64_t last = 0;

	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? log : path;

		if (name && stat(name, &st) == 0 && (uint64_t)st.st_mtime * USEC_PER_SEC > last)
			last = (uint64_t)st.st_mtime * USEC_PER_SEC;
	}
	return last;
}

static void tell(struct manager *m, const char *aside, const char *reason)
{
	const char *slash = strrchr(aside, '/');

	log_error("the ledger is damaged and put aside as \"%s\"; usage goes on in a new one: %s", aside,
	        reason);
	manager_event(m, NULL, "ledger.damaged",
	        json_pack("{s:s, s:s}", "file", slash ? slash + 1 : aside, "reason", reason));
}

int meter_ledger_replace(struct manager *m, const char *reason, struct ct_error *err)
{
	_cleanup_free_ char *path = meter_ledger_path(m), *aside = NULL;
	struct metering *metering = m->metering;
	int r;

	if (!path)
		return ct_error_set(err, -ENOMEM, "meter", "out of memory");
	store_close(metering->ledger);
	metering->ledger = NULL;
	metering->damaged = true;
	if (!metering->moved) {
		r = ledger_set_aside(path, now_realtime_usec(), &aside, err);
		if (r < 0 && r != -ENOENT)
			return r;
		if (aside)
			tell(m, aside, reason);
		metering->moved = true;
	}
	r = ledger_open(path, &metering->ledger, err);
	if (r >= 0)
		metering->damaged = metering->moved = false;
	return r;
}

void meter_ledger_failed(struct manager *m, int r)
{
	if (r == -EUCLEAN)
		m->metering->damaged = true;
}

static bool is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

/* No container is kept down for want of room. */
static int go_without(struct manager *m, const struct ct_error *error)
{
	m->metering->failing = true;
	log_error("there is no ledger until there is room for one, and usage is kept in memory: %s",
	        error->text);
	return 0;
}

int meter_ledger_open(struct manager *m, int (*load)(struct manager *m, struct ct_error *err),
        void (*unload)(struct manager *m), struct ct_error *err)
{
	_cleanup_free_ char *path = meter_ledger_path(m);
	struct ct_error error = { 0 };
	uint64_t written, now = now_realtime_usec();
	int r;

	if (!path)
		return ct_error_set(err, -ENOMEM, "meter", "out of memory");
	written = written_usec(path);
	r = ledger_open(path, &m->metering->ledger, &error);
	if (r >= 0)
		r = load(m, &error);
	if (ledger_is_damage(r)) {
		unload(m);
		m->metering->lost_usec = written && written < now ? now - written : 0;
		r = meter_ledger_replace(m, error.text, &error);
	} else if (is_full(r) && !m->metering->ledger && !written) {
		m->metering->damaged = m->metering->moved =
		        true; /* it was put aside by a ctd before, perhaps */
	}
	if (is_full(r) && m->metering->moved)
		return go_without(m, &error);
	if (r < 0 && err)
		*err = error;
	return r;
}
