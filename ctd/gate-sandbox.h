/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gives up everything but the open descriptors. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* id: user and group to become. A failure leaves the process half confined: it has to end. */
int gate_confine(uid_t id, struct ct_error *err);
