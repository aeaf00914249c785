/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lasting digest of a tree, record by record: tree_digest_lasting (extract.h) for who knows some already.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "quota/extract.h"
#include "quota/walk.h"

#define DIGEST_SIZE 32

struct digest;

int digest_new(struct digest **ret, struct ct_error *err);
void digest_free(struct digest *digest);
DEFINE_CLEANUP(struct digest *, digest_free);

/* Reads the object. A file of which lseek(2) says where data are is waited for until who writes to it has. */
int digest_record(struct digest *digest, const struct walk_entry *entry,
        unsigned char record[static DIGEST_SIZE], struct ct_error *err);
/* In the order of the walk, without what does not last. */
void digest_add(struct digest *digest, const unsigned char record[static DIGEST_SIZE]);
void digest_total(struct digest *digest, char hex[static 65]);
