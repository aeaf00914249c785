/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading elements that count. */
#pragma once

#include "netns/sets.h"

struct counter {
	uint64_t bytes, packets;
};

/* An element of a set of counters: its key (at least 16 bytes, or NULL) and its values. */
const char *counter_read(const struct nlattr *element, struct counter *ret);
/* For nl_query of one element; userdata is a struct counter. */
int counter_read_one(const struct nlmsghdr *nlh, void *userdata);
