/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a ctd looked until the host went off.
 *
 * When a boot ended is written nowhere. A ctd that was there until then had written some container's sample
 * not long before, so of what the ledger has, the newest says it; one that had ended leaves everything open
 * until the next boot begins. So a ctd that samples says so in STATE/metering, with the boot and how often it
 * looks, and takes that back when it ends or cannot write what it saw; for one that is killed its unit does
 * (ctd.service). A file that is not there, or does not read, promises nothing. It is not synced: what a power
 * cut may undo is what was done a moment before.
 */
#include "ctd/meter.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ctd/manager.h"

static char *path_of(const struct manager *m)
{
	return str_printf("%s/metering", m->conf.state_dir);
}

void meter_mark_read(struct manager *m)
{
	_cleanup_free_ char *path = path_of(m), *text = NULL;
	struct meter_watched *watched = &m->metering->watched;

	*watched = (struct meter_watched){ 0 };
	if (!path || read_file_at(AT_FDCWD, path, 256, &text, NULL) < 0)
		return;
	if (sscanf(text, "%39s %u", watched->boot_id, &watched->sample) != 2 ||
	        watched->sample > METER_SAMPLE_MAX)
		watched->boot_id[0] = '\0';
	/* Of this boot: this ctd has not looked yet. What is said of an earlier one stays true, for the next
	 * ctd too if this one does not come to look. */
	if (!*watched->boot_id || str_eq(watched->boot_id, m->boot_id))
		(void)unlink(path); /* what stays is of a state that cannot be written */
}

static bool write_mark(const struct manager *m, const char *path)
{
	_cleanup_free_ char *text = str_printf("%s %u\n", m->boot_id, m->conf.meter_sample);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	return text && fd >= 0 && write_all(fd, text, strlen(text)) >= 0;
}

void meter_mark_set(struct manager *m, bool looks)
{
	_cleanup_free_ char *path = looks == m->metering->marked ? NULL : path_of(m);

	if (!path)
		return;
	m->metering->marked = looks && write_mark(m, path); /* else with the next sample */
	if (!m->metering->marked)
		(void)unlink(path); /* it may not be there */
}

void meter_mark_see(struct metering *metering, const struct account *a)
{
	struct meter_watched *watched = &metering->watched;

	if (*watched->boot_id && str_eq(a->boot_id, watched->boot_id) && a->time_usec > watched->newest_usec)
		watched->newest_usec = a->time_usec;
}

uint64_t meter_mark_ended(const struct metering *metering, const struct account *a)
{
	const struct meter_watched *watched = &metering->watched;

	if (!watched->newest_usec || !str_eq(a->boot_id, watched->boot_id))
		return 0;
	return watched->newest_usec + METER_LATE_USEC(watched->sample);
}
