/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd's side of ctd-gate, which serves metrics to the network. */
#pragma once

struct manager;
struct gate;

/* If ctd.conf has metrics-listen: starts the gate, and again whenever it ends. Never fails a start of ctd:
 * what is wrong is logged and in gate_missing. */
void gate_open(struct manager *m);
void gate_close(struct manager *m);

/* NULL: it serves, or is not wanted; else why not. */
const char *gate_missing(const struct manager *m);
