/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon for ctctl's tests: canned answers over HTTP, real programs behind the attach socket. Not
 * installed. */
#pragma once

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define FAKE_MAX 64

/* An exec: a child of ours whose fds wait for whoever attaches. */
struct fake_exec {
	char id[32]; /* "": the slot is free */
	bool console, tty;
	bool attached;
	bool exited;
	int pid, code;
	int fds[3]; /* what the client gets; -1 after it got them */
	int sock;   /* the attached client, -1: none */
};

struct fake {
	const char *dir;
	int listen_fd, attach_fd; /* -1 while "down" */
	int signal_fd;
	int http[FAKE_MAX];    /* connections; -1: free */
	int pending[FAKE_MAX]; /* attach connections that have not sent their id; -1: free */
	struct fake_exec execs[FAKE_MAX];
	unsigned int n_execs;
};

/* fake-exec.c */
/* Starts what the body asks for; *ret_answer is the API's answer. */
int fake_exec_start(struct fake *f, const json_t *body, bool console, json_t **ret_answer);
/* A packet (or the end) on an attach connection that has not been matched yet; it is consumed. */
void fake_attach(struct fake *f, int sock);
/* A packet on the socket of an attached exec. */
void fake_attached_packet(struct fake *f, struct fake_exec *e);
/* Children that ended. */
void fake_reap(struct fake *f);
void fake_drop_attached(struct fake *f);
void fake_exec_done(struct fake *f);

/* fake-ctd.c */
/* A line in DIR/requests, for the tests to look at. */
void fake_log(const struct fake *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
