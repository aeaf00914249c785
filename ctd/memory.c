/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd's own memory: what it does not need any more goes back.
 *
 * A start runs through much of the libraries that is never looked at again (one of HTTP brings one of TLS, of
 * which a Unix socket needs nothing): two thirds of what is resident then. Code and constants are pages of
 * files, so they are let go once, when all is ready, and what is needed comes back from the page cache at a
 * fault each.
 *
 * A list of a thousand containers is a megabyte that is freed as soon as it is sent. malloc(3) would take
 * that for a sign that such sizes are usual and keep as much and more from then on; so its thresholds stay
 * what they are at first (mallopt(3)), and once a minute free pages between others are given back.
 */
#include "ctd/memory.h"

#include <elf.h>
#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define MMAP_THRESHOLD (128 * 1024) /* bytes: what malloc begins with */
#define FIRST_USEC     (2 * USEC_PER_SEC)
#define AGAIN_USEC     (60 * USEC_PER_SEC)

void memory_begin(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
	(void)mallopt(M_TRIM_THRESHOLD, MMAP_THRESHOLD);
}

/* Text that was relocated is not that of the file any more. */
static bool is_relocated(const struct dl_phdr_info *info)
{
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		const ElfW(Dyn) *dyn = (const void *)(info->dlpi_addr + p->p_vaddr);

		if (p->p_type != PT_DYNAMIC)
			continue;
		for (; dyn->d_tag != DT_NULL; dyn++)
			if (dyn->d_tag == DT_TEXTREL ||
			        (dyn->d_tag == DT_FLAGS && dyn->d_un.d_val & DF_TEXTREL))
				return true;
	}
	return false;
}

static int let_go(struct dl_phdr_info *info, size_t size, void *userdata)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	if (str_has_prefix(info->dlpi_name, "linux-vdso") || is_relocated(info))
		return 0;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start, end;

		/* What was writable before (RELRO) is in a segment that says so. */
		if (p->p_type != PT_LOAD || p->p_flags & PF_W)
			continue;
		start = (info->dlpi_addr + p->p_vaddr) & ~(page - 1);
		end = (info->dlpi_addr + p->p_vaddr + p->p_filesz + page - 1) & ~(page - 1);
		(void)madvise((void *)start, end - start, MADV_DONTNEED); /* it stays, then */
	}
	return 0;
}

void memory_let_go(void)
{
	(void)dl_iterate_phdr(let_go, NULL); /* always 0 */
	(void)malloc_trim(0);                /* whether there was anything */
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	bool *begun = userdata;
	int r;

	if (*begun)
		(void)malloc_trim(0); /* as above */
	else
		memory_let_go();
	*begun = true;
	r = sd_event_source_set_time_relative(source, AGAIN_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int memory_watch(sd_event *event, bool *begun)
{
	*begun = false;
	return sd_event_add_time_relative(
	        event, NULL, CLOCK_MONOTONIC, FIRST_USEC, USEC_PER_SEC, on_time, begun);
}
