/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TLS of the gate, and certificates of its clients. */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>

#include "base/error.h"

#define GATE_TLS_OPTIONS 5 /* at most what gate_tls_options makes, with their end */

/* PEM; NULL: none. The server keeps pointers into it. */
struct gate_tls {
	char *certificate, *key, *client_ca;
};

/* From memory files, which stay open; -1: none. What the server could not use is refused with the reason. */
int gate_tls_load(
        struct gate_tls *tls, int certificate_fd, int key_fd, int client_ca_fd, struct ct_error *err);
/* What the server is started with beyond the rest. */
void gate_tls_options(const struct gate_tls *tls, struct MHD_OptionItem options[GATE_TLS_OPTIONS]);
/* Whether this client has shown a certificate that the authority has signed, or need not. */
bool gate_tls_admits(const struct gate_tls *tls, struct MHD_Connection *mhd);
