/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device program of a container's cgroup.
 *
 * cgroup v2 has no device files; a BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE decides on every open and
 * mknod of a device node by a task below (Linux 4.15). It is the second line behind nodev mounts: whatever
 * node finds its way into a container, only these open.
 *
 * The program is put together here, instruction by instruction: it is a chain of comparisons and not worth a
 * compiler at run time. Its context gives type and access in one word, then major, then minor.
 *
 *      r2 = type, r3 = access, r4 = major, r5 = minor
 *      for each device:  if type, major or minor differ, or access has more than is granted: next
 *                        return 1
 *      return 0
 *
 * Attaching with BPF_F_ALLOW_MULTI keeps programs of other owners in force; all must agree. Ours, if one is
 * there, is replaced after the new one is attached, so there is no moment without. mknod of a plain character
 * node is granted for all (a user namespace cannot do it anyhow; archives with nodes then fail with EPERM
 * either way).
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "libct/devices.h"
#include "libct/sys.h"

static const struct ct_device default_devices[] = {
	{ 'c', 1, 3, "rwm" },    /* null */
	{ 'c', 1, 5, "rwm" },    /* zero */
	{ 'c', 1, 7, "rwm" },    /* full */
	{ 'c', 1, 8, "rwm" },    /* random */
	{ 'c', 1, 9, "rwm" },    /* urandom */
	{ 'c', 5, 0, "rwm" },    /* tty */
	{ 'c', 5, 1, "rwm" },    /* console */
	{ 'c', 5, 2, "rwm" },    /* ptmx */
	{ 'c', 136, -1, "rwm" }, /* pts */
	{ 'c', 137, -1, "rwm" },
	{ 'c', 138, -1, "rwm" },
	{ 'c', 139, -1, "rwm" },
	{ 'c', 140, -1, "rwm" },
	{ 'c', 141, -1, "rwm" },
	{ 'c', 142, -1, "rwm" },
	{ 'c', 143, -1, "rwm" },
};

#define DEVICE_INSNS 8
#define PROGRAM_NAME "ct_devices"

static struct bpf_insn insn(int code, int dst, int src, int off, int32_t imm)
{
	return (struct bpf_insn){
		.code = (uint8_t)code,
		.dst_reg = (uint8_t)(dst & 15),
		.src_reg = (uint8_t)(src & 15),
		.off = (int16_t)off,
		.imm = imm,
	};
}

static int access_bits(const char *access)
{
	int bits = 0;

	for (; access && *access; access++)
		switch (*access) {
		case 'r': bits |= BPF_DEVCG_ACC_READ; break;
		case 'w': bits |= BPF_DEVCG_ACC_WRITE; break;
		case 'm': bits |= BPF_DEVCG_ACC_MKNOD; break;
		default: return -EINVAL;
		}
	return bits;
}

static int check_device(const struct ct_device *d, struct ct_error *err)
{
	if (d->type != 'c' && d->type != 'b')
		return ct_error_field(err, "devices", "the type of a device is \"c\" or \"b\"");
	if (d->major < -1 || d->major > 0xfff || d->minor < -1 || d->minor > 0xfffff)
		return ct_error_field(err, "devices", "there is no device number %lld:%lld",
		        (long long)d->major, (long long)d->minor);
	if (access_bits(d->access) <= 0)
		return ct_error_field(err, "devices", "access to a device is some of the letters \"rwm\"");
	return 0;
}

/* Every comparison jumps behind the block. A wildcard leaves its comparison out. */
static size_t emit_device(struct bpf_insn *code, const struct ct_device *d)
{
	struct bpf_insn block[DEVICE_INSNS];
	int type = d->type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK;
	size_t n = 0;

	block[n++] = insn(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 0, type);
	if (d->major >= 0)
		block[n++] = insn(BPF_JMP | BPF_JNE | BPF_K, 4, 0, 0, (int32_t)d->major);
	if (d->minor >= 0)
		block[n++] = insn(BPF_JMP | BPF_JNE | BPF_K, 5, 0, 0, (int32_t)d->minor);
	block[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_X, 1, 3, 0, 0);
	block[n++] = insn(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, ~access_bits(d->access));
	block[n++] = insn(BPF_JMP | BPF_JNE | BPF_K, 1, 0, 0, 0);
	block[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
	block[n++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

	for (size_t i = 0; i < n; i++) {
		if (block[i].code == (BPF_JMP | BPF_JNE | BPF_K))
			block[i].off = (int16_t)(n - i - 1);
		code[i] = block[i];
	}
	return n;
}

int devices_assemble(const struct ct_device *extra, size_t n_extra, struct bpf_insn *code, size_t room,
        struct ct_error *err)
{
	size_t n = 0;

	if (n_extra > DEVICES_EXTRA_MAX || room < DEVICES_INSNS_MAX)
		return ct_error_field(err, "devices", "at most %d devices can be given", DEVICES_EXTRA_MAX);

	code[n++] =
	        insn(BPF_LDX | BPF_MEM | BPF_W, 2, 1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	code[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
	code[n++] = insn(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
	code[n++] = insn(BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16);
	code[n++] = insn(BPF_LDX | BPF_MEM | BPF_W, 4, 1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	code[n++] = insn(BPF_LDX | BPF_MEM | BPF_W, 5, 1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);

	for (size_t i = 0; i < ARRAY_SIZE(default_devices); i++)
		n += emit_device(code + n, &default_devices[i]);

	for (size_t i = 0; i < n_extra; i++) {
		int r = check_device(&extra[i], err);
		if (r < 0)
			return r;
		n += emit_device(code + n, &extra[i]);
	}

	code[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	code[n++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return (int)n;
}

static int sys_bpf(int command, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? sys_error() : r;
}

static int load(const struct bpf_insn *code, size_t n, struct ct_error *err)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insn_cnt = (uint32_t)n,
		.insns = (uintptr_t)code,
		.license = (uintptr_t) "LGPL-2.1-or-later", /* no helper that asks for GPL is called */
		.prog_name = PROGRAM_NAME,
	};

	int fd = sys_bpf(BPF_PROG_LOAD, &attr);
	if (fd == -EINVAL || fd == -ENOSYS)
		return ct_error_set(err, -EOPNOTSUPP, "devices",
		        "this kernel has no device programs for cgroups (CONFIG_CGROUP_BPF)");
	if (fd < 0)
		return ct_error_set(err, fd, "devices", "cannot load the device program: %s", sys_reason(fd));
	return fd;
}

/* The id of our program on the cgroup, 0: none. */
static int find_attached(int cgroup_fd, uint32_t *ret_id)
{
	uint32_t ids[64] = { 0 };
	union bpf_attr query = {
		.query = {
			.target_fd = (uint32_t)cgroup_fd,
			.attach_type = BPF_CGROUP_DEVICE,
			.prog_ids = (uintptr_t)ids,
			.prog_cnt = ARRAY_SIZE(ids),
		},
	};

	*ret_id = 0;
	int r = sys_bpf(BPF_PROG_QUERY, &query);
	if (r < 0)
		return r;

	for (uint32_t i = 0; i < query.query.prog_cnt; i++) {
		struct bpf_prog_info info = { 0 };
		union bpf_attr by_id = { .prog_id = ids[i] };

		_cleanup_close_ int fd = sys_bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
		if (fd < 0)
			continue;

		union bpf_attr get = { .info = { (uint32_t)fd, sizeof(info), (uintptr_t)&info } };
		if (sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &get) == 0 && strcmp(info.name, PROGRAM_NAME) == 0)
			*ret_id = ids[i];
	}
	return 0;
}

/* One call both adds the new and removes the old program. */
static int attach(int cgroup_fd, int program_fd)
{
	_cleanup_close_ int old_fd = -1;
	uint32_t old_id = 0;
	union bpf_attr attr = {
		.target_fd = (uint32_t)cgroup_fd,
		.attach_bpf_fd = (uint32_t)program_fd,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};

	int r = find_attached(cgroup_fd, &old_id);
	if (r < 0)
		return r;

	if (old_id != 0) {
		union bpf_attr by_id = { .prog_id = old_id };
		old_fd = sys_bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
		if (old_fd < 0)
			return old_fd;
		attr.attach_flags |= BPF_F_REPLACE;
		attr.replace_bpf_fd = (uint32_t)old_fd;
	}
	return sys_bpf(BPF_PROG_ATTACH, &attr);
}

int ct_cgroup_set_devices(int cgroup_fd, const struct ct_device *extra, size_t n_extra, struct ct_error *err)
{
	struct bpf_insn code[DEVICES_INSNS_MAX];
	_cleanup_close_ int program = -1;

	int n = devices_assemble(extra, n_extra, code, ARRAY_SIZE(code), err);
	if (n < 0)
		return n;

	program = load(code, (size_t)n, err);
	if (program < 0)
		return program;

	int r = attach(cgroup_fd, program);
	if (r == -EPERM)
		return ct_error_set(err, r, "devices",
		        "a cgroup above has a device program of its own that does not allow more of them below, or CAP_BPF or CAP_SYS_ADMIN is missing");
	if (r < 0)
		return ct_error_set(err, r, "devices", "cannot attach the device program to the cgroup: %s",
		        sys_reason(r));
	return 0;
}
