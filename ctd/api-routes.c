/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of routes: the only place where a path is tied to a function.
 *
 * Everything that is not GET changes something: it is audited and honours request ids. openapi.json describes
 * the same rows for people and programs outside; test-api compares the two in both directions, so neither can
 * be forgotten.
 *
 * The order does not matter: a path matches at most one row per method, because a {segment} never stands
 * beside a fixed word at the same place of the same path (the test checks that, too).
 */

#include "ctd/api.h"

const struct api_route api_routes[] = {
	{ "GET", "/v1/version", "versionShow", false, api_version_show },
	{ "GET", "/v1/openapi.json", "openapiShow", false, api_openapi_show },

	{ "GET", "/v1/containers", "containerList", false, api_container_list, "state" },
	{ "POST", "/v1/containers", "containerCreate", true, api_container_create },
	{ "GET", "/v1/containers/{name}", "containerShow", false, api_container_show },
	{ "PATCH", "/v1/containers/{name}", "containerSet", true, api_container_set },
	{ "DELETE", "/v1/containers/{name}", "containerDestroy", true, api_container_destroy },
	{ "POST", "/v1/containers/{name}/start", "containerStart", true, api_container_start },
	{ "POST", "/v1/containers/{name}/stop", "containerStop", true, api_container_stop },
	{ "POST", "/v1/containers/{name}/restart", "containerRestart", true, api_container_restart },
	{ "POST", "/v1/containers/{name}/kill", "containerKill", true, api_container_kill },
	{ "POST", "/v1/containers/{name}/freeze", "containerFreeze", true, api_container_freeze },
	{ "POST", "/v1/containers/{name}/thaw", "containerThaw", true, api_container_thaw },
	{ "POST", "/v1/containers/{name}/suspend", "containerSuspend", true, api_container_suspend },
	{ "POST", "/v1/containers/{name}/resume", "containerResume", true, api_container_resume },
	{ "POST", "/v1/containers/{name}/rename", "containerRename", true, api_container_rename },
	{ "POST", "/v1/containers/{name}/migrate", "containerMigrate", true, api_container_migrate },
	{ "POST", "/v1/containers/{name}/keep", "containerKeep", true, api_container_keep },
	{ "POST", "/v1/containers/{name}/resolve", "containerResolve", true, api_container_resolve },
	{ "POST", "/v1/containers/{name}/exec", "containerExec", true, api_container_exec },
	{ "POST", "/v1/containers/{name}/console", "containerConsole", true, api_container_console },
	{ "POST", "/v1/containers/{name}/console/resize", "containerConsoleResize", true,
	        api_container_console_resize },
	{ "GET", "/v1/containers/{name}/log", "containerLog", false, api_container_log },

	{ "GET", "/v1/stats", "statsList", false, api_stats_list },
	{ "GET", "/v1/usage", "usageList", false, api_usage_list, "container from to by" },

	{ "POST", "/v1/migrations/check", "migrationCheck", true, api_migration_check },
	{ "POST", "/v1/migrations/template", "migrationTemplate", true, api_migration_template },
	{ "POST", "/v1/migrations", "migrationReceive", true, api_migration_receive },
	{ "POST", "/v1/migrations/{ctid}/commit", "migrationCommit", true, api_migration_commit },
	{ "POST", "/v1/migrations/{ctid}/withdraw", "migrationWithdraw", true, api_migration_withdraw },

	{ "GET", "/v1/networks", "networkList", false, api_network_list },
	{ "POST", "/v1/networks", "networkCreate", true, api_network_create },
	{ "GET", "/v1/networks/{name}", "networkShow", false, api_network_show },
	{ "PATCH", "/v1/networks/{name}", "networkSet", true, api_network_set },
	{ "DELETE", "/v1/networks/{name}", "networkRemove", true, api_network_remove },

	{ "GET", "/v1/execs/{id}", "execShow", false, api_exec_show },
	{ "POST", "/v1/execs/{id}/signal", "execSignal", true, api_exec_signal },

	{ "GET", "/v1/templates", "templateList", false, api_template_list },
	{ "POST", "/v1/templates", "templateBuild", true, api_template_build },
	{ "GET", "/v1/templates/{name}", "templateShow", false, api_template_show },
	{ "DELETE", "/v1/templates/{name}", "templateRemove", true, api_template_remove },
	{ "POST", "/v1/templates/{name}/import", "templateImport", true, api_template_import },
	{ "POST", "/v1/templates/{name}/export", "templateExport", true, api_template_export },
	{ "GET", "/v1/recipes", "recipeList", false, api_recipe_list },

	{ "GET", "/v1/plans", "planList", false, api_plan_list },
	{ "POST", "/v1/plans", "planCreate", true, api_plan_create },
	{ "GET", "/v1/plans/{name}", "planShow", false, api_plan_show },
	{ "PATCH", "/v1/plans/{name}", "planSet", true, api_plan_set },
	{ "DELETE", "/v1/plans/{name}", "planRemove", true, api_plan_remove },

	{ "GET", "/v1/jobs", "jobList", false, api_job_list, "open" },
	{ "GET", "/v1/jobs/{id}", "jobShow", false, api_job_show, "wait seen" },
	{ "DELETE", "/v1/jobs/{id}", "jobCancel", true, api_job_cancel },

	{ "GET", "/v1/events", "eventList", false, api_event_list,
	        "after container from limit to type wait" },
	{ "GET", "/v1/events/stream", "eventStream", false, api_event_stream, "after container from type" },
	{ "GET", "/v1/audit", "auditList", false, api_audit_list, "after from limit object operation to" },
	{ "GET", "/v1/doctor", "doctorRun", false, api_doctor_run },
	{ "POST", "/v1/fsck", "fsckRun", true, api_fsck_run },
	{ 0 },
};
