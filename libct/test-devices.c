/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device program, run by an interpreter of the few eBPF instructions that it consists of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "libct/devices.h"

static struct bpf_insn code[DEVICES_INSNS_MAX];

static int run(const struct bpf_cgroup_dev_ctx *ctx, int n)
{
	uint64_t r[11] = { 0 };

	for (int pc = 0;; pc++) {
		assert_true(pc < n);
		const struct bpf_insn *i = &code[pc];

		switch (i->code) {
		case BPF_LDX | BPF_MEM | BPF_W:
			assert_int_equal(i->src_reg, 1);
			r[i->dst_reg] = i->off == 0   ? ctx->access_type
			                : i->off == 4 ? ctx->major
			                              : ctx->minor;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_X: r[i->dst_reg] = r[i->src_reg]; break;
		case BPF_ALU64 | BPF_MOV | BPF_K: r[i->dst_reg] = (uint64_t)(int64_t)i->imm; break;
		case BPF_ALU64 | BPF_AND | BPF_K: r[i->dst_reg] &= (uint64_t)(int64_t)i->imm; break;
		case BPF_ALU64 | BPF_RSH | BPF_K: r[i->dst_reg] >>= i->imm; break;
		case BPF_JMP | BPF_JNE | BPF_K:
			if (r[i->dst_reg] != (uint64_t)(int64_t)i->imm)
				pc += i->off;
			break;
		case BPF_JMP | BPF_EXIT: return (int)r[0];
		default: fail_msg("instruction %x is not expected here", i->code);
		}
		/* The context pointer must be loaded from before r1 is used for something else. */
		assert_true(pc < 6 || i->code != (BPF_LDX | BPF_MEM | BPF_W));
	}
}

static int allowed(int n, char type, uint32_t major, uint32_t minor, unsigned int access)
{
	uint32_t kind = type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK;

	return run(
	        &(struct bpf_cgroup_dev_ctx){
	                .access_type = access << 16 | kind, .major = major, .minor = minor },
	        n);
}

#define R BPF_DEVCG_ACC_READ
#define W BPF_DEVCG_ACC_WRITE
#define M BPF_DEVCG_ACC_MKNOD

static void defaults(void **state)
{
	int n = devices_assemble(NULL, 0, code, DEVICES_INSNS_MAX, NULL);

	assert_true(n > 0);
	assert_true(allowed(n, 'c', 1, 3, R | W));
	assert_true(allowed(n, 'c', 1, 3, M));
	assert_true(allowed(n, 'c', 5, 2, R | W));
	assert_true(allowed(n, 'c', 136, 0, R | W));
	assert_true(allowed(n, 'c', 143, 255, R | W));
	assert_false(allowed(n, 'b', 1, 3, R));
	assert_false(allowed(n, 'c', 1, 1, R));  /* mem */
	assert_false(allowed(n, 'c', 1, 11, R)); /* kmsg */
	assert_false(allowed(n, 'c', 10, 200, R | W));
	assert_false(allowed(n, 'c', 4, 1, W)); /* tty1 */
	assert_false(allowed(n, 'c', 144, 0, R));
	assert_false(allowed(n, 'b', 8, 0, R));
	assert_false(allowed(n, 'b', 254, 0, R));
	assert_false(allowed(n, 'c', 0, 0, R));
}

static void extra(void **state)
{
	const struct ct_device devices[] = {
		{ 'c', 10, 200, "rw" },
		{ 'b', 7, -1, "r" },
		{ 'c', -1, -1, "m" },
	};
	int n = devices_assemble(devices, 3, code, DEVICES_INSNS_MAX, NULL);

	assert_true(allowed(n, 'c', 10, 200, R));
	assert_true(allowed(n, 'c', 10, 200, R | W));
	assert_false(allowed(n, 'c', 10, 200, R | W | M));
	assert_false(allowed(n, 'c', 10, 201, R));
	assert_true(allowed(n, 'b', 7, 12, R));
	assert_false(allowed(n, 'b', 7, 12, R | W));
	assert_true(allowed(n, 'c', 99, 99, M));
	assert_false(allowed(n, 'b', 99, 99, M));
}

static void the_longest_fits(void **state)
{
	struct ct_device devices[DEVICES_EXTRA_MAX];

	for (int i = 0; i < DEVICES_EXTRA_MAX; i++)
		devices[i] = (struct ct_device){ 'c', 200, i, "rwm" };
	int n = devices_assemble(devices, DEVICES_EXTRA_MAX, code, DEVICES_INSNS_MAX, NULL);
	assert_true(n > 0 && n <= DEVICES_INSNS_MAX);
	assert_true(allowed(n, 'c', 200, DEVICES_EXTRA_MAX - 1, R | W | M));
}

static void wrong_devices_are_refused(void **state)
{
	const struct ct_device wrong[] = {
		{ 'x', 1, 3, "r" },
		{ 'c', -2, 3, "r" },
		{ 'c', 1, 1 << 20, "r" },
		{ 'c', 1, 3, "rx" },
		{ 'c', 1, 3, "" },
		{ 'c', 1, 3, NULL },
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ct_error err = { 0 };
		assert_int_equal(devices_assemble(&wrong[i], 1, code, DEVICES_INSNS_MAX, &err), -EINVAL);
		assert_string_equal(err.field, "devices");
	}
	assert_int_equal(
	        devices_assemble(wrong, DEVICES_EXTRA_MAX + 1, code, DEVICES_INSNS_MAX, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(extra),
		cmocka_unit_test(the_longest_fits),
		cmocka_unit_test(wrong_devices_are_refused),
	};

	return cmocka_run_group_tests_name("libct-devices", tests, NULL, NULL);
}
