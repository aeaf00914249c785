/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verbs of the probe. Each gets its arguments without its own name, prints what it found, and returns the
 * exit status. */
#pragma once

typedef int probe_verb(int argc, char **argv);

/* What a process was given: probe.c */
probe_verb probe_fds, probe_status, probe_namespaces, probe_environment, probe_files;

/* What it can do: probe-attack.c */
probe_verb probe_syscalls, probe_sockets, probe_terminal, probe_mounts, probe_rob, probe_stop, probe_devices;

/* What is in its memory: probe-memory.c */
probe_verb probe_memory;

/* What it sends: probe-frames.c */
probe_verb probe_frames;

/* In what it is not as others are: probe-attributes.c */
probe_verb probe_attributes;

/* A stream that arrives as it was sent: probe-stream.c */
probe_verb probe_stream;

/* "NAME ok" or "NAME ENOENT"; result is a system call's. Returns 0. */
int probe_report(const char *name, long result);
