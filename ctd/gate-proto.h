/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between ctd and ctd-gate: a seqpacket pair.
 *
 * The gate asks with one letter and gets one message: the same letter with a sealed memory file that holds
 * the page, or GATE_NONE. Unasked it says once GATE_READY, or GATE_FAILED with a sentence before it ends.
 */
#pragma once

#include "base/error.h"

enum {
	GATE_TEXT = 'T', /* metrics in the text format */
	GATE_OPEN = 'O', /* as OpenMetrics */
	GATE_NONE = 'N',
	GATE_READY = 'R',
	GATE_FAILED = 'E',
};

#define GATE_SAID_MAX 256

/* What a client has to say after "Authorization: Bearer ", without a newline. */
#define GATE_TOKEN_MIN 16
#define GATE_TOKEN_MAX 256

/* What the file says, as a sealed memory file. */
int gate_token_open(const char *path, int *ret, struct ct_error *err);

struct sockaddr_storage;

/* 127.0.0.1:9187 or [::1]:9187. -EINVAL. */
int gate_address(const char *text, struct sockaddr_storage *ret);
