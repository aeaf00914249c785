/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A confined lxcfs that we ask for texts. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "ctd/view-files.h"

enum lxcfs_state {
	LXCFS_DOWN,     /* to be started at retry_usec */
	LXCFS_STARTING, /* it is asked where its files are */
	LXCFS_READY,
};

struct lxcfs {
	enum lxcfs_state state;
	int sock;
	pid_t pid;
	uint64_t nodes[VIEW_FILES];
	unsigned file;    /* while it starts: the one that is looked up, */
	const char *rest; /* what is left of its path, */
	uint64_t parent;  /* and the directory it is in */
	uint64_t started_usec, retry_usec;
	unsigned failures; /* in a row */
	uint64_t last_unique;
};
#define LXCFS_INIT ((struct lxcfs){ .sock = -1, .pid = -1 })

/* Starts it; a failure counts, and sets the time of the next attempt. */
void lxcfs_start(struct lxcfs *l);
/* Kills it, if it has not ended by itself, and sets the time of the next attempt. */
void lxcfs_stop(struct lxcfs *l);

/* Requests: the number under which the answer will come, 0 if it takes none (then it is to be stopped). pid:
 * who wants to know. */
uint64_t lxcfs_open(struct lxcfs *l, unsigned file, uint32_t pid);
uint64_t lxcfs_read(struct lxcfs *l, unsigned file, uint32_t pid, uint64_t handle, uint64_t offset);
void lxcfs_release(struct lxcfs *l, unsigned file, uint64_t handle); /* its answer is of no interest */

/* At most so much comes with one answer. */
#define LXCFS_CHUNK 65536

struct lxcfs_answer {
	uint64_t unique;
	int error; /* 0 or negative errno */
	size_t len;
	union {
		uint64_t handle; /* of an open */
		char data[LXCFS_CHUNK];
	};
};

/* 1: an answer; 0: nothing yet; negative: it is dead or talks nonsense, and is to be stopped. Answers of the
 * start are dealt with here. */
int lxcfs_receive(struct lxcfs *l, struct lxcfs_answer *ret);
