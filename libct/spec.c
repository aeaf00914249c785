/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a specification must be, before anything is done with it.
 *
 * Only what can be told from the values themselves: an fd that is none, an empty argv, a hostname the kernel
 * would not take or a tenant could break a line with. What the kernel alone can judge it judges at the step,
 * and the error names the step.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "base/str.h"
#include "libct/spec.h"
#include "libct/sys.h"

static int check_fd(int fd, const char *field, struct ct_error *err)
{
	if (fd < 0 || fcntl(fd, F_GETFD) < 0)
		return ct_error_field(err, field, "%s is no open file descriptor (%d)", field, fd);
	return 0;
}

static int check_hostname(const char *name, struct ct_error *err)
{
	size_t len = name ? strlen(name) : 0;

	if (len == 0 || len > 64)
		return ct_error_field(err, "hostname", "a hostname has 1 to 64 characters");

	for (const char *c = name; *c; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') &&
		        *c != '-' && *c != '.')
			return ct_error_field(err, "hostname",
			        "\"%s\" is no hostname: it takes letters, digits, \"-\" and \".\"", name);
	return 0;
}

int spec_check_program(const char *const *argv, const char *const *env, struct ct_error *err)
{
	if (!argv || str_empty(argv[0]))
		return ct_error_field(err, "argv", "argv is empty: it takes at least the path of a program");
	if (!env)
		return ct_error_field(err, "env", "env is NULL: an empty environment is a list of one NULL");

	for (; *env; env++)
		if (!strchr(*env, '=') || **env == '=')
			return ct_error_field(err, "env", "\"%s\" is not of the form NAME=value", *env);
	return 0;
}

int spec_check_rlimits(const struct ct_rlimit *rlimits, size_t n, struct ct_error *err)
{
	if (n > 0 && !rlimits)
		return ct_error_field(err, "rlimits", "there are %zu rlimits but no list", n);

	for (size_t i = 0; i < n; i++) {
		if (rlimits[i].resource < 0 || rlimits[i].resource >= RLIM_NLIMITS)
			return ct_error_field(err, "rlimits", "%d is no resource limit", rlimits[i].resource);
		if (rlimits[i].soft > rlimits[i].hard)
			return ct_error_field(err, "rlimits",
			        "the soft limit of resource %d is above its hard limit", rlimits[i].resource);
	}
	return 0;
}

int spec_check_confinement(
        const struct ct_seccomp_program *seccomp, bool unconfined, uint32_t base_id, struct ct_error *err)
{
	if (unconfined ? seccomp->count > 0 : seccomp->count == 0 || !seccomp->filter)
		return ct_error_field(err, "seccomp",
		        "either a seccomp program is given or unconfined is set, not both or none");
	if (base_id < CT_ID_COUNT)
		return ct_error_field(err, "base_id",
		        "the base id %u is within the host's own ids: it is at least %u", base_id,
		        CT_ID_COUNT);
	return 0;
}

static int check_binds(const struct ct_spec *spec, struct ct_error *err)
{
	if (spec->n_binds > CT_BINDS_MAX)
		return ct_error_field(
		        err, "binds", "at most %d binds can be given, not %zu", CT_BINDS_MAX, spec->n_binds);
	if (spec->n_binds > 0 && !spec->binds)
		return ct_error_field(err, "binds", "there are %zu binds but no list", spec->n_binds);

	for (size_t i = 0; i < spec->n_binds; i++) {
		const char *target = spec->binds[i].target;
		size_t len = target ? strlen(target) : 0;

		if (len < 2 || target[0] != '/' || target[len - 1] == '/' || !str_is_printable(target))
			return ct_error_field(err, "binds",
			        "\"%s\" is no target of a bind: it takes an absolute path inside without a slash at its end",
			        target ? target : "");
		int r = check_fd(spec->binds[i].source_fd, "binds", err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A unit name becomes a file name. */
static int check_run_masks(const char *const *units, struct ct_error *err)
{
	for (; units && *units; units++)
		if (str_empty(*units) || **units == '.' || strchr(*units, '/') || strlen(*units) > 255 ||
		        !str_is_printable(*units))
			return ct_error_field(err, "run_masks", "\"%s\" is no name of a unit", *units);
	return 0;
}

static int check_fds(const struct ct_spec *spec, struct ct_error *err)
{
	const struct {
		int fd;
		const char *field;
	} fds[] = {
		{ spec->root_fd, "root_fd" },
		{ spec->userns_fd, "userns_fd" },
		{ spec->netns_fd, "netns_fd" },
		{ spec->cgroup_fd, "cgroup_fd" },
	};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		int r = check_fd(fds[i].fd, fds[i].field, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int ct_spec_check(const struct ct_spec *spec, struct ct_error *err)
{
	int r;

	if (!spec)
		return ct_error_field(err, "spec", "there is no specification");

	r = spec_check_program(spec->argv, spec->env, err);
	if (r < 0)
		return r;
	if (spec->argv[0][0] != '/')
		return ct_error_field(
		        err, "argv", "\"%s\" is no absolute path of a program inside", spec->argv[0]);

	r = check_hostname(spec->hostname, err);
	if (r < 0)
		return r;

	r = check_fds(spec, err);
	if (r < 0)
		return r;

	r = spec_check_confinement(&spec->seccomp, spec->unconfined, spec->base_id, err);
	if (r < 0)
		return r;

	r = spec_check_rlimits(spec->rlimits, spec->n_rlimits, err);
	if (r < 0)
		return r;

	r = check_binds(spec, err);
	return r < 0 ? r : check_run_masks(spec->run_masks, err);
}
