/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container's disk as quota/ takes it. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "quota/disk.h"

struct container;
struct manager;

/* A project id for the container's files, where the file system of the store has project quota; within the
 * caller's transaction. */
int disks_lease(struct container *c, struct ct_error *err);
/* Neither another's, nor still of a disk in the trash. */
bool disks_project_is_free(struct manager *m, uint32_t id);
/* At the start of ctd: removes the disks that a power cut or a kill has left without their record, which are
 * those that are new, and those whose destroy is recorded. Others without a record are for fsck to show. */
int disks_recover(struct manager *m, struct ct_error *err);
/* The same for one that is another node's, and whose migration had not come to its end. */
void disk_recover_migrated(struct manager *m, const char *ctid);
/* The disk of a container whose record is gone. What cannot be removed now is tried again until it can, or
 * until ctd ends: then the next one finds it. */
void disks_discard(struct manager *m, const struct disk_spec *spec, const char *name);
/* From the record; strings are borrowed from it. */
void container_disk_spec(const struct container *c, struct disk_spec *ret);
/* The same of one whose project id is known: it never gets another one. */
void container_disk_spec_known(const struct container *c, uint32_t project_id, struct disk_spec *ret);
/* For a worker, which finds the disk by it; a new reference, NULL: out of memory. */
json_t *container_disk_params(const struct container *c);
enum disk_driver container_disk_driver(const struct container *c);
