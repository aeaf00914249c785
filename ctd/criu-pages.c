/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pagemap-PID.img and pstree.img: each two magic numbers, then records, a length and a message of criu's
 * pagemap.proto and pstree.proto. */
#include "ctd/criu-pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctd/criu-fields.h"

#define ADDRESS_MAX (1ULL << 56)
#define PID_LIMIT   (1 << 22)

enum {
	HEAD_PAGES_ID = 1,
	ENTRY_ADDRESS = 1,
	ENTRY_PAGES = 2,
	ENTRY_IN_PARENT = 3,
	ENTRY_FLAGS = 4,
	ENTRY_PAGES_WIDE = 5, /* of later versions */
	TASK_PID = 1,
	TASK_PARENT = 2,
	TASK_SESSION = 4,
	FLAG_PARENT = 1,
	FLAG_PRESENT = 4,
};

/* A new item at the end of a list that doubles. */
static void *add(void **list, size_t n, size_t size)
{
	void *larger = *list;

	if ((n & (n - 1)) == 0) /* 0, 1, 2, 4, ... */
		larger = reallocarray(*list, n ? 2 * n : 1, size);
	if (!larger)
		return NULL;
	*list = larger;
	return memset((char *)larger + n * size, 0, size);
}

static int read_head(struct criu_reader bytes, struct criu_pages *pages)
{
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0)
		if (f.number == HEAD_PAGES_ID)
			pages->id = (uint32_t)f.value;
	return r;
}

/* *offset: where the next bytes are that are here. */
static int read_extent(struct criu_reader bytes, struct criu_pages *pages, uint64_t *offset)
{
	const struct criu_extent *last = pages->n ? &pages->items[pages->n - 1] : NULL;
	uint64_t address = 1, count = 0, flags = 0;
	bool has_flags = false, in_parent = false;
	struct criu_extent *e;
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0)
		switch (f.number) {
		case ENTRY_ADDRESS: address = f.value; break;
		case ENTRY_PAGES: count = count ?: f.value; break;
		case ENTRY_PAGES_WIDE: count = f.value; break;
		case ENTRY_IN_PARENT: in_parent = f.value; break;
		case ENTRY_FLAGS:
			flags = f.value;
			has_flags = true;
			break;
		default: break;
		}
	if (r < 0 || address % CRIU_PAGE || address >= ADDRESS_MAX || count == 0 ||
	        count > ADDRESS_MAX / CRIU_PAGE || (last && address < last->address + last->size))
		return -EBADMSG;
	if (!in_parent && has_flags && !(flags & (FLAG_PARENT | FLAG_PRESENT)))
		return 0; /* nobody has it */
	e = add((void **)&pages->items, pages->n, sizeof(*e));
	if (!e)
		return -ENOMEM;
	pages->n++;
	*e = (struct criu_extent){ .address = address, .size = count * CRIU_PAGE, .offset = *offset };
	e->here = !in_parent && !(flags & FLAG_PARENT);
	if (e->here)
		*offset += e->size;
	return 0;
}

int criu_pages_read(const char *data, size_t len, struct criu_pages *ret)
{
	struct criu_pages pages = { 0 };
	struct criu_reader image, record;
	uint64_t offset = 0;
	int r = criu_image_open(data, len, &image);

	if (r < 0 || criu_image_next(&image, &record) <= 0)
		return -EBADMSG;
	r = read_head(record, &pages);
	while (r >= 0 && (r = criu_image_next(&image, &record)) > 0)
		r = read_extent(record, &pages, &offset);
	if (r < 0) {
		criu_pages_done(&pages);
		return r;
	}
	*ret = pages;
	return 0;
}

void criu_pages_done(struct criu_pages *pages)
{
	free(pages->items);
	*pages = (struct criu_pages){ 0 };
}

const struct criu_extent *criu_pages_from(const struct criu_pages *pages, uint64_t address)
{
	size_t low = 0, high = pages->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pages->items[middle].address + pages->items[middle].size > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low < pages->n ? &pages->items[low] : NULL;
}

/* One that is not here has the offset of the next that is. */
const struct criu_extent *criu_pages_at_offset(const struct criu_pages *pages, uint64_t offset)
{
	size_t low = 0, high = pages->n;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct criu_extent *e = &pages->items[middle];

		if (e->offset + (e->here ? e->size : 0) > offset)
			high = middle;
		else
			low = middle + 1;
	}
	while (low < pages->n && !pages->items[low].here)
		low++;
	return low < pages->n && pages->items[low].offset <= offset ? &pages->items[low] : NULL;
}

static int read_task(struct criu_reader bytes, struct criu_task *task)
{
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0) {
		pid_t *number = f.number == TASK_PID       ? &task->pid
		                : f.number == TASK_PARENT  ? &task->parent
		                : f.number == TASK_SESSION ? &task->session
		                                           : NULL;

		if (number && f.value > PID_LIMIT)
			return -EBADMSG;
		if (number)
			*number = (pid_t)f.value;
	}
	return r;
}

int criu_tasks_read(const char *data, size_t len, struct criu_task **ret, size_t *ret_n)
{
	_cleanup_free_ struct criu_task *tasks = NULL;
	struct criu_reader image, record;
	size_t n = 0;
	int r = criu_image_open(data, len, &image);

	while (r >= 0 && (r = criu_image_next(&image, &record)) > 0) {
		struct criu_task *task = add((void **)&tasks, n, sizeof(*task));

		r = task ? read_task(record, task) : -ENOMEM;
		n++;
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(tasks);
	*ret_n = n;
	return 0;
}

static const struct criu_task *find_task(const struct criu_task *tasks, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (tasks[i].pid == pid)
			return &tasks[i];
	return NULL;
}

#define HELPER (-1) /* that has a number which nobody has */

/* Who forks it; *session: in which it has to be, if it is a helper, else 0. */
static pid_t find_maker(const struct criu_task *tasks, size_t n, pid_t pid, pid_t *session)
{
	const struct criu_task *task = find_task(tasks, n, pid), *root = &tasks[0];
	const pid_t of = TAKE(*session, 0);

	if (of) /* a helper */
		return pid == HELPER ? of : root->pid;
	if (!task)
		return 0;
	if (task->parent != root->pid || task->session == root->session || task->session == task->pid)
		return task->parent;
	*session = task->session;
	return find_task(tasks, n, task->session) ? HELPER : task->session;
}

static bool is_it(const struct criu_task *tasks, size_t n, pid_t step, pid_t pid)
{
	return step == HELPER ? pid > 0 && !find_task(tasks, n, pid) : step == pid;
}

bool criu_task_is_made_by(const struct criu_task *tasks, size_t n, pid_t task, pid_t by, pid_t made)
{
	pid_t session = 0;

	for (size_t steps = 0; n > 0 && task != 0 && steps <= 2 * n;
	        steps++) { /* images can name each other */
		const pid_t maker = find_maker(tasks, n, task, &session);

		if (is_it(tasks, n, maker, by) && is_it(tasks, n, task, made))
			return true;
		task = maker;
	}
	return false;
}
