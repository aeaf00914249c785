/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits: what is read from a configuration, what the kernel is told, lists of CPUs, disks below a store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/json.h"
#include "base/path.h"
#include "ctd/block.h"
#include "ctd/config.h"
#include "ctd/plan.h"

static int read_config(const char *text, struct config *ret, struct ct_error *err)
{
	_cleanup_json_ json_t *object = json_loads(text, 0, NULL);

	assert_non_null(object);
	return config_from_json(object, ret, err);
}

static void refused(const char *text, const char *field)
{
	struct ct_error error = { 0 };
	struct config config;

	assert_int_equal(read_config(text, &config, &error), -EINVAL);
	assert_string_equal(error.field, field);
}

static const struct limit_file *find_file(const char *name)
{
	for (const struct limit_file *f = limit_files; f->name; f++)
		if (str_eq(f->name, name))
			return f;
	fail_msg("no file %s", name);
	return NULL;
}

/* What the file shall hold for a configuration. */
static void holds(const char *text, const char *file, const char *wanted)
{
	const struct placement nowhere = { 0 };
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct config config;
	struct limits_context x = { .limits = &config.limits, .placement = &nowhere, .store = "8:0" };

	assert_int_equal(read_config(text, &config, NULL), 0);
	for (unsigned i = 0; i < config.limits.n_devices; i++)
		(void)snprintf(x.devices[i], sizeof(x.devices[i]), "8:%u", 16 * i);
	find_file(file)->print(&x, &b);
	assert_string_equal(b.data ?: "", wanted);
	config_done(&config);
}

static void test_values(void **state)
{
	struct config c;

	assert_int_equal(
	        read_config("{\"cpus\": 1.5, \"memory\": \"1.5G\", \"swap\": 0, \"processes\": \"100\"}", &c,
	                NULL),
	        0);
	assert_int_equal(c.limits.cpus_milli.value, 1500);
	assert_int_equal(c.limits.memory.value, 3ULL << 29);
	assert_true(c.limits.swap.given);
	assert_int_equal(c.limits.swap.value, 0);
	assert_int_equal(c.limits.processes.value, 100);
	assert_false(c.limits.inodes.given);
	assert_false(c.limits.memory_guarantee.given);
	config_done(&c);
}

static void test_refused(void **state)
{
	refused("{\"cpus\": 0}", "cpus");
	refused("{\"cpus\": 0.005}", "cpus");
	refused("{\"cpus\": 1.0005}", "cpus");
	refused("{\"cpus\": -1}", "cpus");
	refused("{\"cpus\": \"many\"}", "cpus");
	refused("{\"cpus\": 2000}", "cpus");
	refused("{\"cpu_weight\": 0}", "cpu_weight");
	refused("{\"cpu_weight\": 10001}", "cpu_weight");
	refused("{\"cpu_burst\": \"50ms\"}", "cpu_burst");
	refused("{\"cpus\": 1, \"cpu_burst\": \"101ms\"}", "cpu_burst");
	refused("{\"cpuset\": \"\"}", "cpuset");
	refused("{\"cpuset\": \"3-1\"}", "cpuset");
	refused("{\"cpuset\": \"0,\"}", "cpuset");
	refused("{\"cpuset\": \"0\\n1\"}", "cpuset");
	refused("{\"memory\": \"1M\"}", "memory");
	refused("{\"memory\": \"64M\", \"memory_guarantee\": \"65M\"}", "memory_guarantee");
	refused("{\"memory\": \"64M\", \"shm\": \"65M\"}", "shm");
	refused("{\"read_bps\": 100}", "read_bps");
	refused("{\"read_iops\": 0}", "read_iops");
	refused("{\"io\": [{\"device\": \"sda\"}]}", "io");
	refused("{\"io\": [{\"device\": \"/dev/../etc\"}]}", "io");
	refused("{\"io\": [{\"device\": \"/dev/sda\", \"speed\": 1}]}", "speed");
	refused("{\"io\": [{\"device\": \"/dev/sda\", \"read_bps\": \"x\"}]}", "read_bps");
	refused("{\"storage\": \"tape\"}", "storage");
	refused("{\"processes\": 3}", "processes");
	refused("{\"oom_group\": 3}", "oom_group");
}

static void test_texts(void **state)
{
	holds("{}", "cpu.max", "");
	holds("{\"cpus\": 0.01}", "cpu.max", "1000 100000");
	holds("{\"cpus\": \"2.5\"}", "cpu.max", "250000 100000");
	holds("{\"cpus\": 1, \"cpu_burst\": \"100ms\"}", "cpu.max.burst", "100000");
	holds("{\"memory\": 67108864}", "memory.max", "67108864");
	holds("{\"memory\": 67108865}", "memory.max", "67108864");
	holds("{\"memory\": \"64M\"}", "memory.high", "66060288");    /* 63 MiB */
	holds("{\"memory\": \"16G\"}", "memory.high", "17163091968"); /* 16 MiB less */
	holds("{\"memory\": \"64M\"}", "memory.swap.max", "67108864");
	holds("{\"memory\": \"64M\", \"swap\": 0}", "memory.swap.max", "0");
	holds("{}", "memory.swap.max", "");
	holds("{\"oom_group\": true}", "memory.oom.group", "1");
	holds("{\"oom_group\": false}", "memory.oom.group", "");
	holds("{\"io_weight\": 300}", "io.weight", "default 300");
	holds("{}", "pids.max", "4096");
	holds("{\"processes\": 50}", "pids.max", "50");
	holds("{\"cgroups\": 0}", "cgroup.max.descendants", "0");
}

static void test_io(void **state)
{
	holds("{}", "io.max", "");
	holds("{\"read_bps\": \"1M\", \"write_iops\": 50}", "io.max",
	        "8:0 rbps=1048576 wbps=max riops=max wiops=50");
	/* The store's disk named by itself: its own line counts. */
	holds("{\"read_bps\": \"1M\", \"io\": [{\"device\": \"/dev/sda\", \"read_bps\": \"2M\"}]}", "io.max",
	        "8:0 rbps=2097152 wbps=max riops=max wiops=max");
	holds("{\"io\": [{\"device\": \"/dev/sda\", \"write_bps\": 8192}, {\"device\": \"/dev/sdb\", \"read_iops\": 7}]}",
	        "io.max",
	        "8:0 rbps=max wbps=8192 riops=max wiops=max\n8:16 rbps=max wbps=max riops=7 wiops=max");
}

static void is_list(const char *text, const char *wanted, unsigned count)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct cpu_list list;

	assert_int_equal(cpu_list_parse(text, &list), 0);
	cpu_list_print(&list, &b);
	assert_string_equal(b.data ?: "", wanted);
	assert_int_equal(cpu_list_count(&list), count);
}

static void test_lists(void **state)
{
	struct cpu_list list, all;

	is_list("", "", 0);
	is_list("0\n", "0", 1);
	is_list("3,1,2,8", "1-3,8", 4);
	is_list("0-1023", "0-1023", 1024);
	is_list("62-65", "62-65", 4);
	assert_int_equal(cpu_list_parse("1024", &list), -ERANGE);
	assert_int_equal(cpu_list_parse("1-", &list), -EINVAL);
	assert_int_equal(cpu_list_parse("a", &list), -EINVAL);
	assert_int_equal(cpu_list_parse("1 2", &list), -EINVAL);
	assert_int_equal(cpu_list_parse("0-3", &all), 0);
	assert_int_equal(cpu_list_parse("1,3", &list), 0);
	assert_true(cpu_list_within(&list, &all));
	assert_false(cpu_list_within(&all, &list));
}

static void test_controllers(void **state)
{
	assert_true(limits_has_controller("cpuset cpu io", "cpu"));
	assert_true(limits_has_controller("cpuset cpu io", "io"));
	assert_false(limits_has_controller("cpuset io", "cpu"));
	assert_false(limits_has_controller("", "cpu"));
}

/* ---- plans ---- */

/* What a container's patch is when its plan changes. */
static void follows(const char *config, const char *old, const char *new, const char *patch)
{
	_cleanup_json_ json_t *c = json_loads(config, 0, NULL), *o = json_loads(old, 0, NULL),
	                      *n = json_loads(new, 0, NULL), *p = json_loads(patch, 0, NULL), *is = NULL;

	is = plan_difference(c, o, n);
	assert_true(json_equal(is, p));
}

static void test_plans(void **state)
{
	follows("{\"cpus\": 1}", "{\"cpus\": 1}", "{\"cpus\": 2}", "{\"cpus\": 2}");
	follows("{\"cpus\": 1}", "{\"cpus\": 1}", "{\"cpus\": 1}", "{}");
	/* Its own value stays, also when the plan loses the key. */
	follows("{\"cpus\": 3}", "{\"cpus\": 1}", "{\"cpus\": 2}", "{}");
	follows("{\"cpus\": 3}", "{\"cpus\": 1}", "{}", "{}");
	follows("{\"cpus\": 1}", "{\"cpus\": 1}", "{}", "{\"cpus\": null}");
	/* A new key comes, unless the container has one of its own. */
	follows("{}", "{}", "{\"memory\": \"1G\"}", "{\"memory\": \"1G\"}");
	follows("{\"memory\": \"2G\"}", "{}", "{\"memory\": \"1G\"}", "{}");
}

static void test_plan_holds_limits_only(void **state)
{
	_cleanup_json_ json_t *good = json_loads("{\"cpus\": 1, \"disk\": \"1G\"}", 0, NULL),
	                      *bad = json_loads("{\"hostname\": \"x\"}", 0, NULL),
	                      *wrong = json_loads("{\"cpus\": 0}", 0, NULL);
	struct ct_error error = { 0 };

	assert_int_equal(plan_check(good, &error), 0);
	assert_int_equal(plan_check(bad, &error), -EINVAL);
	assert_string_equal(error.field, "hostname");
	assert_int_equal(plan_check(wrong, &error), -EINVAL);
	assert_string_equal(error.field, "cpus");
}

/* ---- a made-up /sys/dev/block ---- */

static void put(int root, const char *dir, const char *file, const char *text)
{
	int fd = mkdirs_in_root(root, dir, 0755);
	int out = openat(fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0 && out >= 0);
	assert_int_equal(write(out, text, strlen(text)), strlen(text));
	(void)close(out);
	(void)close(fd);
}

/* sda (8:0) with sda2 (8:2); sdb (8:16); md0 (9:0) of sda2 and sdb; dm-0 (253:0) on md0. */
static void test_disks(void **state)
{
	char dir[] = "/tmp/test-limits.XXXXXX";
	dev_t leaves[4], whole;
	int root;

	assert_non_null(mkdtemp(dir));
	root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(root >= 0);
	put(root, "sda", "dev", "8:0\n");
	put(root, "sda/sda2", "dev", "8:2\n");
	put(root, "sda/sda2", "partition", "2\n");
	put(root, "sdb", "dev", "8:16\n");
	put(root, "md0", "dev", "9:0\n");
	put(root, "md0/slaves/sda2", "dev", "8:2\n");
	put(root, "md0/slaves/sdb", "dev", "8:16\n");
	put(root, "dm-0", "dev", "253:0\n");
	put(root, "dm-0/slaves/md0", "dev", "9:0\n");
	assert_int_equal(symlinkat("sda", root, "8:0"), 0);
	assert_int_equal(symlinkat("sda/sda2", root, "8:2"), 0);
	assert_int_equal(symlinkat("sdb", root, "8:16"), 0);
	assert_int_equal(symlinkat("md0", root, "9:0"), 0);
	assert_int_equal(symlinkat("dm-0", root, "253:0"), 0);

	assert_int_equal(block_whole(root, makedev(8, 2), &whole), 0);
	assert_int_equal(whole, makedev(8, 0));
	assert_int_equal(block_whole(root, makedev(253, 0), &whole), 0);
	assert_int_equal(whole, makedev(253, 0));
	assert_int_equal(block_whole(root, makedev(1, 1), &whole), -ENODEV);
	assert_int_equal(block_leaves(root, makedev(8, 2), leaves, 4), 1);
	assert_int_equal(leaves[0], makedev(8, 0));
	assert_int_equal(block_leaves(root, makedev(253, 0), leaves, 4), 2);
	assert_true((leaves[0] == makedev(8, 0) && leaves[1] == makedev(8, 16)) ||
	            (leaves[1] == makedev(8, 0) && leaves[0] == makedev(8, 16)));

	(void)close(root);
	assert_int_equal(remove_tree_at(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_controllers),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_plans),
		cmocka_unit_test(test_plan_holds_limits_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
