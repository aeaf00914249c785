/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File descriptors: whole reads and writes, small kernel files, passing over sockets. All fds are made
 * CLOEXEC. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

int fd_close(int fd); /* closes if >= 0, returns -1: `fd = fd_close(fd)` */
int fd_set_nonblock(int fd, bool on);
int fd_dup_cloexec(int fd);         /* F_DUPFD_CLOEXEC, at least 3 */
int fd_move_above(int fd, int min); /* dup to >= min and close fd; the new fd */
/* For a descriptor that stays for long, of which a daemon has many: its number is out of those that come and
 * go, which process_spawn must copy. Consumes fd; the new one, or fd itself if there is no room (or it is
 * negative). */
int fd_set_aside(int fd);

/* The whole buffer or a negative errno; EINTR is retried. On a non-blocking fd -EAGAIN may leave it half
 * done. */
int write_all(int fd, const void *data, size_t len);
/* Up to len bytes until EOF; count. */
ssize_t read_all(int fd, void *data, size_t len);

/* Reads a whole small file (kernel file or configuration) below dirfd into new memory, NUL-terminated; -E2BIG
 * above max. */
int read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);
/* One write(2) of the string, as kernel files want it: no O_CREAT, no O_TRUNC. */
int write_file_at(int dirfd, const char *path, const char *value);
int write_file_printf_at(int dirfd, const char *path, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* The unsigned number that a kernel file holds ("max" is UINT64_MAX). */
int read_u64_at(int dirfd, const char *path, uint64_t *ret);

/* A sealed memfd holding data (write, grow and shrink sealed), positioned at 0. */
int memfd_sealed(const char *name, const void *data, size_t len);

/* One message with fds; blocking or not as the socket is. send: 0 or negative errno.
 * recv: length (0: end of stream), fds are CLOEXEC, *ret_n_fds in: room, out: received; a message whose data
 * or control part was cut short is refused with -EMSGSIZE and its fds closed. */
int send_fds(int sock, const void *data, size_t len, const int *fds, size_t n_fds);
ssize_t recv_fds(int sock, void *data, size_t size, int *ret_fds, size_t *ret_n_fds);

/* The pid, uid, gid of the peer of a connected Unix socket. */
struct ucred;
int peer_cred(int sock, struct ucred *ret);
