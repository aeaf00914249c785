/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A real keeper in a temporary directory, containers of busybox, and the verbs of the client in one line
 * each. What fails ends the test with a sentence. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctd/keeper-client.h"
#include "libct/test-fixture.h"

#define RIG_EXITS_MAX 4096

struct rig {
	struct fixture fixture;
	char *binary; /* ct-keeper to test */
	char runtime[96];
	sd_event *event;
	struct keeper_client *client;
	struct keeper_process exits[RIG_EXITS_MAX]; /* events in the order they came */
	size_t n_exits;
	int lost; /* reason of a disconnection, 0: none */
};

/* 0, or 77 where containers cannot be run. binary: ct-keeper. */
int rig_init(struct rig *rig, const char *binary);
void rig_done(struct rig *rig);

/* Connects, or starts one: enum keeper_client_opened. The old client is freed. */
int rig_open(struct rig *rig);
/* Runs the event loop until the condition or for timeout_usec at most; false on timeout. */
bool rig_run_until(
        struct rig *rig, bool (*condition)(struct rig *rig, void *arg), void *arg, uint64_t timeout_usec);

/* Waits for a request that r is the result of. Negative results are returned. */
int rig_wait(struct rig *rig, int r, struct keeper_reply *reply);

/* A container whose init is sh with the script; box lives until rig_box_done. The reply may be NULL. */
int rig_start(struct rig *rig, struct box *box, const char *key, const char *script, bool console,
        struct keeper_reply *reply);
/* The same with an argument vector. */
int rig_start_argv(struct rig *rig, struct box *box, const char *key, const char *const *argv, bool console,
        struct keeper_reply *reply);
/* Runs sh with the script in the box. stdio may be NULL. */
int rig_exec(struct rig *rig, struct box *box, const char *key, const char *script, bool tty,
        const int *stdio, struct keeper_reply *reply);
/* Kills what is in it; forgets the key. */
void rig_box_done(struct rig *rig, struct box *box, const char *key);

/* The exit event of a key, waited for; fails the test after 10 s. */
struct keeper_process rig_await_exit(struct rig *rig, const char *key);
/* How many processes the keeper knows. */
size_t rig_count(struct rig *rig);
/* Whether there is one of that key, and what it is. */
bool rig_find(struct rig *rig, const char *key, struct keeper_process *ret);
int rig_forget(struct rig *rig, const char *key);

/* A socket attached to a console. */
int rig_attach(struct rig *rig, const char *key, unsigned int flags);
/* Reads from fd until the text has come (10 s at most); fails the test if not. *ret (may be NULL) is all that
 * came, to be freed. */
void rig_expect(int fd, const char *text, char **ret);
/* Reads from fd until its end; true if it came within 10 s. The number of bytes is counted if count is not
 * NULL. */
bool rig_expect_end(int fd, size_t *count);
/* The scrollback, as a string to be freed; with flags, KEEPER_READ_*. */
char *rig_scrollback(struct rig *rig, const char *key);
char *rig_read_console(struct rig *rig, const char *key, unsigned int flags);
/* Scrollback, looked at again and again until the text is in it. */
void rig_expect_scrollback(struct rig *rig, const char *key, const char *text);

size_t rig_count_fds(pid_t pid);
/* Proportional set size of a process in KiB. */
unsigned long rig_pss(pid_t pid);
/* That it has not become larger than that by more than a little; a sanitizer's memory tells nothing and is
 * let pass. */
void rig_expect_no_growth(pid_t pid, unsigned long pss);
