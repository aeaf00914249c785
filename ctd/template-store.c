/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Templates in the store.
 *
 * The directory comes before the record and goes after it: a record always has its directory. A death in
 * between leaves a directory without a record, which template_store_tidy finds. Both happen on the daemon's
 * one thread without a wait between them, so the sweeper never sees that state of a living ctd. Directories
 * go by a rename into the trash; the removal itself is the sweeper's.
 */
#include "ctd/template-store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/manager.h"
#include "ctd/sweeper.h"
#include "ctd/template.h"
#include "ctd/verbs.h"

/* From when it has come until its container does: that one may have to wait for its turn. */
#define HOLD_USEC (30 * 60 * 1000000ULL)

void template_tmp_name(int64_t job_id, char ret[static TEMPLATE_TMP_SIZE])
{
	(void)snprintf(ret, TEMPLATE_TMP_SIZE, "build-%lld", (long long)job_id); /* fits */
}

bool template_is_made_by(const struct job *job)
{
	return job->type == &verb_template_build || job->type == &verb_template_import ||
	       job->type == &verb_template_arrive;
}

bool template_tmp_is_open(const struct manager *m, const char *name)
{
	char own[TEMPLATE_TMP_SIZE];
	const struct job *job;

	LIST_FOREACH(job, &m->jobs.open, open_entry)
	{
		template_tmp_name(job->row.id, own);
		if (template_is_made_by(job) && str_eq(own, name))
			return true;
	}
	return false;
}

static int image_discard(struct manager *m, const char *digest, struct ct_error *err)
{
	char from[128], to[160];

	(void)snprintf(from, sizeof(from), "templates/%s", digest);
	(void)snprintf(
	        to, sizeof(to), "trash/template.%.70s.%llx", digest, (unsigned long long)now_realtime_usec());
	if (renameat2(disk_store_fd(m->disks), from, disk_store_fd(m->disks), to, RENAME_NOREPLACE) < 0 &&
	        errno != ENOENT)
		return ct_error_set(err, -errno, "template", "cannot move the template %s to the trash: %s",
		        digest, strerror(errno));
	sweeper_kick(m->sweeper);
	return 0;
}

int template_store_add(
        struct manager *m, const char *tmp, const struct template_row *row, struct ct_error *err)
{
	char from[64], to[128];

	(void)snprintf(from, sizeof(from), "tmp/%.40s", tmp);
	(void)snprintf(to, sizeof(to), "templates/%s", row->digest);
	if (renameat2(disk_store_fd(m->disks), from, disk_store_fd(m->disks), to, RENAME_NOREPLACE) < 0 &&
	        errno != EEXIST && errno != ENOTEMPTY)
		return ct_error_set(err, -errno, "template", "cannot put the new template in its place: %s",
		        strerror(errno));
	return store_template_put(m->store, row, err);
}

int template_store_remove(struct manager *m, const char *name, struct ct_error *err)
{
	char gone[65] = "";
	int r;

	r = store_template_remove(m->store, name, gone, err);
	if (r < 0)
		return r;
	return *gone ? image_discard(m, gone, err) : 0;
}

void template_store_hold(struct manager *m, const char *digest)
{
	struct template_held *oldest = &m->templates_held[0];

	for (size_t i = 1; i < ARRAY_SIZE(m->templates_held); i++)
		if (m->templates_held[i].until_usec < oldest->until_usec)
			oldest = &m->templates_held[i];
	for (size_t i = 0; i < ARRAY_SIZE(m->templates_held); i++) /* it came twice, for two containers */
		if (str_eq(m->templates_held[i].digest, digest))
			oldest = &m->templates_held[i];
	(void)snprintf(oldest->digest, sizeof(oldest->digest), "%s", digest); /* fits */
	oldest->until_usec = now_monotonic_usec() + HOLD_USEC;
}

static bool is_held(const struct manager *m, const char *digest)
{
	for (size_t i = 0; i < ARRAY_SIZE(m->templates_held); i++)
		if (m->templates_held[i].until_usec > now_monotonic_usec() &&
		        str_eq(m->templates_held[i].digest, digest))
			return true;
	return false;
}

#define TIDY_MAX 64 /* at one time; the rest goes with the next sweep */

struct tidy {
	struct manager *manager;
	char digests[TIDY_MAX][65];
	size_t n;
};

static int find_unused(const struct template_row *row, void *userdata)
{
	struct tidy *tidy = userdata;

	if (!row->name && row->users == 0 && tidy->n < TIDY_MAX && !is_held(tidy->manager, row->digest))
		memcpy(tidy->digests[tidy->n++], row->digest, sizeof(row->digest));
	return 0;
}

static int find_unrecorded(const char *name, void *userdata)
{
	struct tidy *tidy = userdata;
	struct template_row row = { 0 };
	int r;

	r = store_template_get(tidy->manager->store, name, &row, NULL);
	template_row_done(&row);
	if (r == -ENOENT && tidy->n < TIDY_MAX && strlen(name) == 64)
		memcpy(tidy->digests[tidy->n++], name, 65);
	return 0;
}

int template_store_tidy(struct manager *m, struct ct_error *err)
{
	struct tidy tidy = { .manager = m };
	int r;

	r = store_template_each(m->store, find_unused, &tidy, err);
	for (size_t i = 0; r >= 0 && i < tidy.n; i++)
		r = template_store_remove(m, tidy.digests[i], err);
	if (r < 0)
		return r;

	tidy.n = 0;
	r = disk_store_each(m->disks, "templates", find_unrecorded, &tidy, err);
	for (size_t i = 0; r >= 0 && i < tidy.n; i++)
		r = image_discard(m, tidy.digests[i], err);
	return r < 0 ? r : 0;
}

static json_t *string_list(char *const *words)
{
	json_t *array = json_array();

	for (char *const *word = words; word && *word; word++)
		(void)json_array_append_new(array, json_string(*word)); /* a shorter list without memory */
	return array;
}

json_t *template_to_json(const struct template_row *row)
{
	struct template_meta meta = { 0 };
	char created[32];
	json_t *object;

	(void)template_meta_from_json(row->metadata, &meta, NULL); /* else empty */
	object = json_pack("{s:s?, s:s, s:I, s:s, s:i, s:s, s:s, s:o, s:i}", "name", row->name, "digest",
	        row->digest, "bytes", (json_int_t)row->bytes, "created",
	        format_time_utc(created, sizeof(created), row->created_usec), "users", (int)row->users,
	        "distribution", meta.distribution ?: "", "release", meta.release ?: "", "init",
	        string_list(meta.init), "stop_signal", meta.stop_signal);
	template_meta_done(&meta);
	return object;
}
