/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A checkpoint of a container that ran on: a second disk, and its processes beside it, as both were at one
 * moment. checkpoint.c has what is recorded of it and where it is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct config_checkpoint;
struct container;
struct disk_spec;
struct manager;
struct strbuf;

/* Of the copy in the store; it is another one for each checkpoint of a container. */
#define CHECKPOINT_NAME_SIZE 64
void checkpoint_name(const struct container *c, uint64_t id, char ret[CHECKPOINT_NAME_SIZE]);
/* A project id that nobody has, for the copy; 0: it needs none. */
uint32_t checkpoint_pick_project(struct container *c);

/* -EBUSY with the way out while there is one. what: "migrate", ... */
int checkpoint_check(const struct container *c, const char *what, struct ct_error *err);
/* A new one, which is in tmp/ whole and synced, is the container's from here on; the one before goes. On
 * failure that is as it was, and the new one is gone. */
int checkpoint_take(struct container *c, const struct config_checkpoint *new, struct ct_error *err);
/* It is given up. */
int checkpoint_drop(struct container *c, struct ct_error *err);
/* The container's record is gone. */
void checkpoint_forget(struct container *c);

/* Its disk in the place of the container's, its processes as those that are suspended; the container is
 * stopped. On failure nothing was changed. */
int checkpoint_enter(struct container *c, struct ct_error *err);
/* And back: what was the disk is it again. On failure it is suspended. */
int checkpoint_leave(struct container *c, struct ct_error *err);
/* The record has neither mark any more, and it runs: what was the disk before goes. before: the marks,
 * was_project: of that disk. */
void checkpoint_settle(struct container *c, const struct config_checkpoint *before, uint32_t was_project);

/* True if a name in the store's tmp/ is a checkpoint that is being made. */
bool checkpoint_tmp_is_open(struct manager *m, const char *name);
/* At recovery: its slot is taken. */
void checkpoint_claim(const struct container *c);
/* At recovery, before anything is done with disks: each is where the records say. What no record has is
 * removed, if its container is there. */
int checkpoints_recover(struct manager *m, struct ct_error *err);
/* The same of one container, which nothing is done with; nothing if all is in its place. */
int checkpoint_put_right(struct container *c, struct ct_error *err);
/* Whether the name of a copy in the store is that of a container's checkpoint. */
bool checkpoint_is_known(struct manager *m, const char *name);
bool checkpoint_is_there(const struct container *c);
/* Removes one that is not known. */
int checkpoint_remove(struct manager *m, const char *name, struct ct_error *err);

/* ,"checkpoint":{...} of the API, where there is one. */
void checkpoint_print(const struct container *c, struct strbuf *b);
