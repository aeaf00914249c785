/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks that ct_spec and ct_exec_spec share. -EINVAL with the field. Not installed. */
#pragma once

#include "libct/ct.h"

int spec_check_program(const char *const *argv, const char *const *env, struct ct_error *err);
int spec_check_rlimits(const struct ct_rlimit *rlimits, size_t n, struct ct_error *err);
int spec_check_confinement(
        const struct ct_seccomp_program *seccomp, bool unconfined, uint32_t base_id, struct ct_error *err);
