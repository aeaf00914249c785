/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All verbs that are recorded as jobs: where the replay of an interrupted one finds its type. */
#include "ctd/verbs.h"

#include <stddef.h>

const struct job_type *const job_types[] = {
	&verb_create,
	&verb_start,
	&verb_stop,
	&verb_restart,
	&verb_kill,
	&verb_freeze,
	&verb_thaw,
	&verb_destroy,
	&verb_rename,
	&verb_set,
	&verb_keep,
	&verb_migrate,
	&verb_migrate_commit,
	&verb_migrate_receive,
	&verb_migrate_withdraw,
	&verb_resolve,
	&verb_suspend,
	&verb_resume,
	&verb_checkpoint,
	&verb_restore,
	&verb_autostart,
	&verb_template_arrive,
	&verb_template_build,
	&verb_template_export,
	&verb_template_import,
	NULL,
};
