/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The handlers of the API, one per row of api-routes.c and per operation of openapi.json: operation
 * containerStart is api_container_start. What a handler may do is in ctd/http.h.
 */
#pragma once

#include "base/error.h"
#include "ctd/http.h"

#ifndef API_HANDLER
#define API_HANDLER(name) int name(struct manager *m, struct call *call, struct ct_error *err)
#endif

API_HANDLER(api_version_show);
API_HANDLER(api_openapi_show); /* in api-openapi.c: the document is part of the program */

API_HANDLER(api_stats_list);
API_HANDLER(api_usage_list);
API_HANDLER(api_container_list);
API_HANDLER(api_container_create);
API_HANDLER(api_container_show);
API_HANDLER(api_container_set);
API_HANDLER(api_container_destroy);
API_HANDLER(api_container_start);
API_HANDLER(api_container_stop);
API_HANDLER(api_container_restart);
API_HANDLER(api_container_kill);
API_HANDLER(api_container_freeze);
API_HANDLER(api_container_resume);
API_HANDLER(api_container_suspend);
API_HANDLER(api_container_thaw);
API_HANDLER(api_container_rename);
API_HANDLER(api_container_migrate);
API_HANDLER(api_container_keep);
API_HANDLER(api_container_resolve);
API_HANDLER(api_migration_withdraw);
API_HANDLER(api_container_exec);
API_HANDLER(api_container_console);
API_HANDLER(api_container_console_resize);
API_HANDLER(api_container_log);

API_HANDLER(api_migration_check);
API_HANDLER(api_migration_receive);
API_HANDLER(api_migration_commit);
API_HANDLER(api_migration_template);

API_HANDLER(api_network_list);
API_HANDLER(api_network_create);
API_HANDLER(api_network_show);
API_HANDLER(api_network_set);
API_HANDLER(api_network_remove);

API_HANDLER(api_exec_show);
API_HANDLER(api_exec_signal);

API_HANDLER(api_template_list);
API_HANDLER(api_template_build);
API_HANDLER(api_template_show);
API_HANDLER(api_template_remove);
API_HANDLER(api_template_import);
API_HANDLER(api_template_export);
API_HANDLER(api_recipe_list);

API_HANDLER(api_job_list);
API_HANDLER(api_job_show);
API_HANDLER(api_job_cancel);

API_HANDLER(api_plan_list);
API_HANDLER(api_plan_create);
API_HANDLER(api_plan_show);
API_HANDLER(api_plan_set);
API_HANDLER(api_plan_remove);

API_HANDLER(api_event_list);
API_HANDLER(api_event_stream);
API_HANDLER(api_audit_list);
API_HANDLER(api_doctor_run);
API_HANDLER(api_fsck_run);
