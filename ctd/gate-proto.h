/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between ctd and ctd-gate: a seqpacket pair.
 *
 * The gate asks with one letter and gets one message: the same letter with a sealed memory file that holds
 * the page, or GATE_NONE. Unasked it says once GATE_READY, or GATE_FAILED with a sentence before it ends.
 */
#pragma once

#include <stdint.h>

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

#define GATE_PEM_MAX 65536

/* What the gate is given at its start, as sealed memory files; an argument each, in this order. */
enum gate_file {
	GATE_FILE_TOKEN,
	GATE_FILE_CERTIFICATE, /* PEM, with those between it and its root */
	GATE_FILE_KEY,
	GATE_FILE_CLIENT_CA, /* who signs certificates of clients */
	_GATE_FILE_MAX,
};

/* What is behind the names; changes when one of the files does. */
struct gate_stamp {
	uint64_t of[_GATE_FILE_MAX][5];
};

struct gate_files {
	int fd[_GATE_FILE_MAX]; /* -1: not asked for */
	struct gate_stamp stamp;
};
#define GATE_FILES_INIT                                                                                      \
	{                                                                                                    \
		.fd = { -1, -1, -1, -1 }                                                                     \
	}

struct conf;

/* Those that the configuration names. */
int gate_files_open(const struct conf *conf, struct gate_files *ret, struct ct_error *err);
void gate_files_done(struct gate_files *files);
void gate_files_stamp(const struct conf *conf, struct gate_stamp *ret);

struct sockaddr_storage;

/* 127.0.0.1:9187 or [::1]:9187. -EINVAL. */
int gate_address(const char *text, struct sockaddr_storage *ret);
