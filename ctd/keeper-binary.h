/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keeper's binary as a thing: sealed copies of it, and which build it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Hexadecimal digits of the longest build id that is told (SHA-1), and NUL; as in struct keeper_hello. */
#define KEEPER_BUILD_ID_SIZE 44

/* A memfd with the contents of file fd, executable, that nobody can write to any more. Returns it, CLOEXEC.
 */
int keeper_binary_seal(int fd, struct ct_error *err);
/* True if fd is such a memfd. */
bool keeper_binary_is_sealed(int fd);

/* The GNU build id of an ELF file of this machine's kind, as hexadecimal. -ENODATA: it has none; -ENOEXEC:
 * not such a file. */
int keeper_binary_build_id(int fd, char *ret, size_t size);
