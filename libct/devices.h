/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The assembler of the device program, apart from loading it, so that a test can run what it makes. Not
 * installed. */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>

#include "libct/ct.h"

#define DEVICES_EXTRA_MAX 64
#define DEVICES_INSNS_MAX (16 + 8 * (32 + DEVICES_EXTRA_MAX))

/* The number of instructions, or -EINVAL with the field. room is at least DEVICES_INSNS_MAX. */
int devices_assemble(const struct ct_device *extra, size_t n_extra, struct bpf_insn *code, size_t room,
        struct ct_error *err);
