/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing of container specifications; keeper-packed.h has the layout.
 *
 * The fixed part is filled while the area grows behind the room that was left for it, and copied into that
 * room at the end. The first failure is remembered and reported once, so that the packing itself reads as a
 * list of fields, in the same order as the unpacking.
 */
#include <errno.h>
#include <linux/filter.h>
#include <string.h>

#include "ctd/keeper-pack.h"
#include "ctd/keeper-packed.h"
#include "ctd/keeper-proto.h"

struct packer {
	struct strbuf *b;
	size_t start; /* of the packed specification in b */
	struct keeper_fds *fds;
	int error;
};

static uint32_t pack_offset(const struct packer *p)
{
	return (uint32_t)(p->b->len - p->start);
}

static struct packed_array pack_bytes(struct packer *p, const void *data, size_t element, size_t count)
{
	struct packed_array a = { pack_offset(p), (uint32_t)count };

	/* Larger than any message can be: do not even copy it. */
	if (count > KEEPER_MESSAGE_MAX / element) {
		p->error = -E2BIG;
		return a;
	}

	(void)strbuf_add(p->b, data, element * count); /* an error stays in the buffer */
	return a;
}

static struct packed_array pack_string(struct packer *p, const char *s)
{
	if (!s)
		return (struct packed_array){ 0 };

	struct packed_array a = pack_bytes(p, s, 1, strlen(s) + 1);

	a.count = 1;
	return a;
}

static struct packed_array pack_strings(struct packer *p, const char *const *strings)
{
	struct packed_array a = { 0 };

	if (!strings)
		return a;

	a.offset = pack_offset(p);
	for (; strings[a.count]; a.count++)
		(void)pack_string(
		        p, strings[a.count]); /* they follow each other, so the first offset is enough */

	return a;
}

static int32_t pack_fd(struct packer *p, int fd)
{
	if (fd < 0)
		return -1;

	if (p->fds->n >= ARRAY_SIZE(p->fds->fds)) {
		p->error = -E2BIG;
		return -1;
	}

	p->fds->fds[p->fds->n] = fd;
	return (int32_t)p->fds->n++;
}

static struct packed_array pack_seccomp(struct packer *p, const struct ct_seccomp_program *program)
{
	if (!program->filter)
		return (struct packed_array){ 0 };

	return pack_bytes(p, program->filter, sizeof(struct sock_filter), program->count);
}

static struct packed_array pack_rlimits(struct packer *p, const struct ct_rlimit *rlimits, size_t n)
{
	struct packed_array a = { pack_offset(p), (uint32_t)n };

	if (!rlimits)
		return (struct packed_array){ 0 };

	for (size_t i = 0; i < n; i++) {
		struct packed_rlimit packed = { rlimits[i].resource, 0, rlimits[i].soft, rlimits[i].hard };

		(void)pack_bytes(p, &packed, sizeof(packed), 1);
	}
	return a;
}

static struct packed_array pack_binds(struct packer *p, const struct ct_bind *binds, size_t n)
{
	struct packed_bind packed[KEEPER_FDS_MAX];

	if (!binds)
		return (struct packed_array){ 0 };

	if (n > ARRAY_SIZE(packed)) {
		p->error = -E2BIG;
		return (struct packed_array){ 0 };
	}

	for (size_t i = 0; i < n; i++)
		packed[i] = (struct packed_bind){
			.target = pack_string(p, binds[i].target),
			.source_fd = pack_fd(p, binds[i].source_fd),
			.flags = (binds[i].readonly ? PACKED_BIND_READONLY : 0) |
			         (binds[i].create ? PACKED_BIND_CREATE : 0),
		};

	return pack_bytes(p, packed, sizeof(packed[0]), n);
}

/* Puts the finished fixed part where room was left for it. */
static int pack_finish(struct packer *p, const void *fixed, size_t size, struct ct_error *err)
{
	if (!p->error && p->b->error)
		p->error = p->b->error;
	if (!p->error && p->b->len > KEEPER_MESSAGE_MAX)
		p->error = -E2BIG;
	if (p->error)
		return ct_error_set(err, p->error, "pack",
		        p->error == -E2BIG
		                ? "the specification is too large for the keeper: at most %u bytes and %u files"
		                : "out of memory",
		        KEEPER_MESSAGE_MAX, KEEPER_FDS_MAX);

	memcpy(p->b->data + p->start, fixed, size);
	return 0;
}

int keeper_pack_spec(
        struct strbuf *b, struct keeper_fds *fds, const struct ct_spec *spec, struct ct_error *err)
{
	struct packer p = { .b = b, .start = b->len, .fds = fds };
	struct packed_spec packed = { .size = sizeof(packed) };

	(void)strbuf_add(b, &packed, sizeof(packed)); /* an error stays in the buffer */

	packed.flags = (spec->unconfined ? PACKED_UNCONFINED : 0) | (spec->nesting ? PACKED_NESTING : 0) |
	               (spec->set_clocks ? PACKED_SET_CLOCKS : 0) | (spec->console ? PACKED_CONSOLE : 0);
	packed.argv = pack_strings(&p, spec->argv);
	packed.env = pack_strings(&p, spec->env);
	packed.hostname = pack_string(&p, spec->hostname);
	packed.seccomp = pack_seccomp(&p, &spec->seccomp);
	packed.rlimits = pack_rlimits(&p, spec->rlimits, spec->n_rlimits);
	packed.run_masks = pack_strings(&p, spec->run_masks);

	packed.root_fd = pack_fd(&p, spec->root_fd);
	packed.userns_fd = pack_fd(&p, spec->userns_fd);
	packed.netns_fd = pack_fd(&p, spec->netns_fd);
	packed.cgroup_fd = pack_fd(&p, spec->cgroup_fd);
	packed.binds = pack_binds(&p, spec->binds, spec->n_binds);

	packed.base_id = spec->base_id;
	packed.max_ptys = spec->max_ptys;
	packed.capabilities = spec->capabilities;
	packed.shm_bytes = spec->shm_bytes;
	packed.run_bytes = spec->run_bytes;
	packed.boottime_offset_sec = spec->boottime_offset_sec;
	packed.monotonic_offset_sec = spec->monotonic_offset_sec;

	return pack_finish(&p, &packed, sizeof(packed), err);
}

int keeper_pack_exec_spec(
        struct strbuf *b, struct keeper_fds *fds, const struct ct_exec_spec *spec, struct ct_error *err)
{
	struct packer p = { .b = b, .start = b->len, .fds = fds };
	struct packed_exec_spec packed = { .size = sizeof(packed) };

	(void)strbuf_add(b, &packed, sizeof(packed)); /* an error stays in the buffer */

	packed.flags = (spec->unconfined ? PACKED_UNCONFINED : 0) | (spec->tty ? PACKED_TTY : 0);
	packed.argv = pack_strings(&p, spec->argv);
	packed.env = pack_strings(&p, spec->env);
	packed.cwd = pack_string(&p, spec->cwd);
	if (spec->groups)
		packed.groups = pack_bytes(&p, spec->groups, sizeof(spec->groups[0]), spec->n_groups);
	packed.seccomp = pack_seccomp(&p, &spec->seccomp);
	packed.rlimits = pack_rlimits(&p, spec->rlimits, spec->n_rlimits);

	packed.init_pidfd = pack_fd(&p, spec->init_pidfd);
	packed.cgroup_fd = pack_fd(&p, spec->cgroup_fd);
	for (size_t i = 0; i < 3; i++)
		packed.stdio[i] = pack_fd(&p, spec->stdio[i]);

	packed.uid = spec->uid;
	packed.gid = spec->gid;
	packed.base_id = spec->base_id;
	packed.rows = spec->rows;
	packed.columns = spec->columns;
	packed.capabilities = spec->capabilities;

	return pack_finish(&p, &packed, sizeof(packed), err);
}
