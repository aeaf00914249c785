/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A template as an archive that an import takes. */
#pragma once

#include "base/error.h"

/* path: of its tree. Writes to the file from where it is. Long; the worker's stop ends it. */
int export_pack(const char *path, const char *metadata, int out_fd, struct ct_error *err);
