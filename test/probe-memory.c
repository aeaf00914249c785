/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process whose memory is known to the byte, while it is written to, unmapped, moved and given back.
 *
 *      memory MB KB-A-SECOND OTHERS FILE [alone]
 *
 * MB of it stay as they are once they are filled; a child has them too, by a copy that nobody has made yet.
 * So many KB are written to each second. SMALL mappings come and go. (With alone there is no child, and
 * none come and go.) OTHERS are processes that only are there. SIGUSR1: it looks at all of it, and adds a
 * line to FILE, and so does its child: "ok PAGES WRITES", or what is not as it was.
 */
#include "test/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PAGE   4096u
#define WORDS  (PAGE / sizeof(uint64_t))
#define TICKS  50u /* a second */
#define SMALL  32u /* mappings */
#define LENGTH 3u  /* of each, in pages */
#define HOT_KB 4096u

static volatile sig_atomic_t asked;

struct memory {
	uint64_t *idle, *hot, *small[SMALL];
	uint64_t idle_pages, hot_pages, hot_seeds[HOT_KB / 4 * 16], small_seeds[SMALL], writes;
	const char *file;
	pid_t child;
};

static void on_signal(int number)
{
	asked = number;
}

static uint64_t word_of(uint64_t seed, uint64_t page, uint64_t word)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + page * 0xbf58476d1ce4e5b9u + word;

	x ^= x >> 29;
	return seed ? x * 0x94d049bb133111ebu : 0;
}

static void fill(uint64_t *at, uint64_t page, uint64_t seed)
{
	for (uint64_t i = 0; i < WORDS; i++)
		at[i] = word_of(seed, page, i);
}

static int differs(const uint64_t *at, uint64_t page, uint64_t seed)
{
	for (uint64_t i = 0; i < WORDS; i++)
		if (at[i] != word_of(seed, page, i))
			return 1;
	return 0;
}

static uint64_t *map(uint64_t pages)
{
	void *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		(void)probe_report("mmap", -1);
		exit(1);
	}
	return p;
}

/* With a neighbour that grows it would become one mapping, and all of it be as if it were written to. */
static uint64_t *map_apart(uint64_t pages)
{
	uint64_t *p = map(pages + 2);

	if (mprotect(p, PAGE, PROT_NONE) < 0 || mprotect(p + (pages + 1) * WORDS, PAGE, PROT_NONE) < 0) {
		(void)probe_report("mprotect", -1);
		exit(1);
	}
	return p + WORDS;
}

/* Seed 0 is what is zero. */
static void change_small(struct memory *m)
{
	const unsigned n = (unsigned)(m->writes % SMALL);
	uint64_t *was = m->small[n];

	switch (m->writes / SMALL % 4) {
	case 0: /* new, at another place */
		m->small[n] = map(LENGTH);
		(void)munmap(was, LENGTH * PAGE);
		m->small_seeds[n] = m->writes + 1;
		break;
	case 1:
		if (madvise(was, LENGTH * PAGE, MADV_DONTNEED) == 0)
			m->small_seeds[n] = 0;
		return;
	case 2: /* the same at another place */
		was = mremap(was, LENGTH * PAGE, LENGTH * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		        map(LENGTH)); /* takes the place of that */
		if (was != MAP_FAILED)
			m->small[n] = was;
		return;
	default: m->small_seeds[n] = m->writes + 1; break;
	}
	for (uint64_t i = 0; i < LENGTH; i++)
		fill(m->small[n] + i * WORDS, i, m->small_seeds[n]);
}

static void look(struct memory *m)
{
	char line[160];
	uint64_t bad_idle = 0, bad_hot = 0, bad_small = 0;
	int fd = open(m->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644), n;

	for (uint64_t i = 0; i < m->idle_pages; i++)
		bad_idle += (uint64_t)differs(m->idle + i * WORDS, i, 1);
	for (uint64_t i = 0; i < m->hot_pages; i++)
		bad_hot += (uint64_t)differs(m->hot + i * WORDS, i, m->hot_seeds[i]);
	for (unsigned n_small = 0; n_small < SMALL; n_small++)
		for (uint64_t i = 0; i < LENGTH; i++)
			bad_small +=
			        (uint64_t)differs(m->small[n_small] + i * WORDS, i, m->small_seeds[n_small]);
	n = bad_idle + bad_hot + bad_small
	            ? snprintf(line, sizeof(line), "bad idle %lu hot %lu small %lu of %lu\n",
	                      (unsigned long)bad_idle, (unsigned long)bad_hot, (unsigned long)bad_small,
	                      (unsigned long)m->idle_pages)
	            : snprintf(line, sizeof(line), "ok %lu %lu\n", (unsigned long)m->idle_pages,
	                      (unsigned long)m->writes);
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		(void)probe_report("write", -1);
	(void)close(fd);
}

static void write_some(struct memory *m, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++) {
		const uint64_t page = m->writes++ % m->hot_pages;

		m->hot_seeds[page] = m->writes + 1;
		fill(m->hot + page * WORDS, page, m->hot_seeds[page]);
	}
}

/* Ends with the first of them. */
static void start_others(long n)
{
	const pid_t parent = getpid();

	for (long i = 0; i < n; i++)
		if (fork() == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (getppid() == parent)
				(void)pause();
			_exit(0);
		}
}

static _Noreturn void serve(struct memory *m, uint64_t pages_a_tick)
{
	const struct timespec tick = { .tv_nsec = 1000000000 / TICKS };

	for (;;) {
		(void)nanosleep(&tick, NULL);
		if (m->child) /* it alone has what moves */
			change_small(m);
		write_some(m, pages_a_tick);
		m->writes++;
		if (!asked)
			continue;
		asked = 0;
		look(m);
		if (m->child)
			(void)kill(m->child, SIGUSR1);
	}
}

int probe_memory(int argc, char **argv)
{
	static struct memory m;
	uint64_t rate;

	if (argc != 4 && argc != 5)
		return 2;
	m.idle_pages = strtoul(argv[0], NULL, 10) << 20 >> 12;
	rate = strtoul(argv[1], NULL, 10) / 4 / TICKS;
	m.hot_pages = rate * TICKS; /* a second's */
	if (m.hot_pages > sizeof(m.hot_seeds) / sizeof(m.hot_seeds[0]) || m.hot_pages == 0)
		m.hot_pages = sizeof(m.hot_seeds) / sizeof(m.hot_seeds[0]);
	m.file = argv[3];
	if (signal(SIGUSR1, on_signal) == SIG_ERR)
		return probe_report("signal", -1);
	start_others(strtol(argv[2], NULL, 10));
	m.idle = map_apart(m.idle_pages + 1); /* there may be none */
	m.hot = map_apart(m.hot_pages);
	for (uint64_t i = 0; i < m.idle_pages; i++)
		fill(m.idle + i * WORDS, i, 1);
	for (unsigned i = 0; i < SMALL; i++)
		m.small[i] = map(LENGTH);
	m.child = argc == 4 ? fork() : 0;
	if (m.child < 0)
		return probe_report("fork", -1);
	if (m.child == 0 && argc == 4)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)close(open(m.file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)); /* it is ready */
	serve(&m, m.child || argc == 5 ? rate : 0);
}
