/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rounds of memory that were written while a container ran on, beside the images of its dump: rounds/1, which
 * has all of it, rounds/2, what was written to since, and so on; the dump has the rest, and leads to the last
 * by its link "parent". rounds.json among the images has the digest of each, so that the digest of the
 * images, which leaves rounds/ out, covers them. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define CRIU_ROUNDS     "rounds"
#define CRIU_ROUNDS_MAX 8

/* The name of a round as its successor calls it, "../1", or the dump, "rounds/1". */
void criu_rounds_parent(unsigned int n, bool of_dump, char ret[16]);
/* Makes the directory of round n, the first being 1, and opens it. */
int criu_rounds_new(int images_fd, unsigned int n, struct ct_error *err);
/* Takes it away again. */
int criu_rounds_remove(int images_fd, unsigned int n);
/* All of them, their note, and the link to the last. */
int criu_rounds_forget(int images_fd);
int criu_rounds_open(int images_fd, unsigned int n);
/* Makes the link to round n, of another round or of the dump. */
int criu_rounds_link(int dir_fd, unsigned int n, bool of_dump, struct ct_error *err);
/* How many bytes of pages are in it. */
uint64_t criu_rounds_pages(int round_fd);
/* The digest of round n. */
int criu_rounds_digest_one(int images_fd, unsigned int n, char digest[static 65], struct ct_error *err);
/* Writes rounds.json: digests is an array of them, from the first round on. */
int criu_rounds_note(int images_fd, const json_t *digests, struct ct_error *err);
/* How many there are by rounds.json, zero without it. verify: they have the digests; else -EBADMSG. */
int criu_rounds_read(int images_fd, bool verify, struct ct_error *err);
/* As many as known has, an array of the digests that they had when they came here: they are not read again.
 * -EBADMSG: rounds.json says otherwise. */
int criu_rounds_match(int images_fd, const json_t *known, struct ct_error *err);
/* Of all images but the rounds. */
int criu_rounds_digest(int images_fd, char digest[static 65], struct ct_error *err);
