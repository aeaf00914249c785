/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames that root in a container may make: see test-guard.c. */
#pragma once

#include "netns/test-support.h"

/* From whom and to whom. */
struct frame_world {
	struct container attacker, victim;
	struct ip_addr own4, own6, local6, victim4, victim6;
};
extern struct frame_world frame_world;

struct test_frame {
	const char *name;
	void (*make)(struct frame *f);
	bool passes,
	        reaches; /* the guard; the neighbour (a lone fragment waits for the others at the host) */
};
extern const struct test_frame test_frames[];
extern const size_t n_test_frames;

void frame_good4(struct frame *f);
void frame_good6(struct frame *f);
void frame_neighbours_address4(struct frame *f);
void frame_udp4_from(struct frame *f, struct ip_addr from, uint16_t port, uint16_t fragment);
