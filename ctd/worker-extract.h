/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unpacking an archive in a child process that has few capabilities and dies with us. */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "quota/extract.h"

struct extractor {
	int pidfd;     /* readable when it has ended; -1: none */
	int result_fd; /* what it has to say, at its end */
};
#define EXTRACTOR_INIT ((struct extractor){ .pidfd = -1, .result_fd = -1 })

/* Both fds stay the caller's. Device nodes are left out. */
int extractor_start(int archive_fd, int root_fd, const struct extract_options *options, struct extractor *ret,
        struct ct_error *err);
int extractor_wait(struct extractor *extractor, struct extract_result *ret, struct ct_error *err);
/* Kills it. */
void extractor_done(struct extractor *extractor);
/* All of it in a worker, which can be cancelled meanwhile. */
int extractor_run(int archive_fd, int root_fd, const struct extract_options *options, struct ct_error *err);
