/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The conversation with criu, whose part is played here; the console and the open files in its images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"

#define NOTIFY  6
#define DUMP    1
#define RESTORE 2

static int pair[2];

static int make_pair(void **state)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
	pair[0] = fd_close(pair[0]);
	pair[1] = fd_close(pair[1]);
	return 0;
}

static void put_text(struct strbuf *b, unsigned int field, const char *text)
{
	(void)strbuf_putc(b, (char)(field << 3 | 2));
	(void)strbuf_putc(b, (char)strlen(text));
	(void)strbuf_puts(b, text);
}

static void say(struct strbuf *packet)
{
	assert_int_equal(packet->error, 0);
	assert_int_equal(send_fds(pair[1], packet->data, packet->len, NULL, 0), 0);
	strbuf_done(packet);
}

static void say_notify(const char *script, pid_t pid)
{
	struct strbuf packet = STRBUF_INIT, part = STRBUF_INIT;

	put_text(&part, 1, script);
	criu_put_number(&part, 2, (uint64_t)pid);
	criu_put_number(&packet, 1, NOTIFY);
	criu_put_number(&packet, 2, 1);
	(void)strbuf_putc(&packet, 5 << 3 | 2);
	(void)strbuf_putc(&packet, (char)part.len);
	(void)strbuf_add(&packet, part.data, part.len);
	strbuf_done(&part);
	say(&packet);
}

static void say_end(uint64_t type, bool success, pid_t pid, const char *message)
{
	struct strbuf packet = STRBUF_INIT;

	criu_put_number(&packet, 1, type);
	criu_put_number(&packet, 2, success);
	if (pid) {
		(void)strbuf_putc(&packet, 4 << 3 | 2);
		(void)strbuf_putc(&packet, 2);
		criu_put_number(&packet, 1, (uint64_t)pid);
	}
	if (message)
		put_text(&packet, 9, message);
	say(&packet);
}

/* The value of a field of what criu was sent, of which bytes are kept. */
static bool heard(char *packet, size_t size, unsigned int number, struct criu_field *ret)
{
	size_t n_fds = 0;
	ssize_t n = recv_fds(pair[1], packet, size, NULL, &n_fds);
	struct criu_reader r = { (unsigned char *)packet, (unsigned char *)packet + n };

	assert_true(n > 0);
	while (criu_get_field(&r, ret) > 0)
		if (ret->number == number)
			return true;
	return false;
}

struct note {
	struct strbuf scripts;
	pid_t pid;
	int result;
};

static int take_note(struct criu_notice *notice, void *userdata, struct ct_error *err)
{
	struct note *note = userdata;

	(void)strbuf_printf(
	        &note->scripts, "%s%s ", notice->script, notice->message); /* seen by what is compared */
	note->pid = notice->pid;
	return note->result < 0 ? ct_error_set(err, note->result, "test", "not so") : 0;
}

static void test_restore(void **state)
{
	const struct criu_request request = { .verb = CRIU_RESTORE, .root = "/there" };
	struct note note = { .scripts = STRBUF_INIT };
	struct criu_field field;
	char packet[4096];
	pid_t pid = 0;

	say_notify("setup-namespaces", 41);
	say_notify("pre-resume", 42);
	say_end(RESTORE, true, 42, NULL);
	assert_int_equal(criu_talk(pair[0], &request, take_note, &note, &pid, NULL), 0);
	assert_int_equal(pid, 42);
	assert_int_equal(note.pid, 42);
	assert_string_equal(note.scripts.data, "setup-namespaces pre-resume ");
	strbuf_done(&note.scripts);

	assert_true(heard(packet, sizeof(packet), 2, &field)); /* the options */
	assert_non_null(memmem(field.bytes.at, (size_t)(field.bytes.end - field.bytes.at), "/there", 6));
	for (int i = 0; i < 2; i++) {
		assert_true(heard(packet, sizeof(packet), 3, &field));
		assert_int_equal(field.value, 1);
	}
}

/* With it an open file of which one of several names is gone would be written as a name that is gone too. */
static void test_dump_makes_no_links(void **state)
{
	static const enum criu_verb verbs[] = { CRIU_DUMP, CRIU_RESTORE };

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct criu_request request = { .verb = verbs[i] };
		struct criu_field options, field = { 0 };
		char packet[4096];
		int r, found = 0;

		say_end(verbs[i], true, 0, NULL);
		assert_int_equal(criu_talk(pair[0], &request, NULL, NULL, NULL, NULL), 0);
		assert_true(heard(packet, sizeof(packet), 2, &options));
		while ((r = criu_get_field(&options.bytes, &field)) > 0)
			found += field.number == 18;
		assert_int_equal(r, 0);
		assert_int_equal(found, verbs[i] == CRIU_RESTORE);
	}
}

/* By nf_tables where it can: a restore does what its images say. */
static void test_dump_locks_the_network(void **state)
{
	for (int nftables = 0; nftables < 2; nftables++) {
		const struct criu_request request = { .verb = CRIU_DUMP, .lock_by_nftables = nftables };
		struct criu_field options, field = { 0 };
		uint64_t method = 0;
		char packet[4096];

		say_end(CRIU_DUMP, true, 0, NULL);
		assert_int_equal(criu_talk(pair[0], &request, NULL, NULL, NULL, NULL), 0);
		assert_true(heard(packet, sizeof(packet), 2, &options));
		while (criu_get_field(&options.bytes, &field) > 0)
			method = field.number == 64 ? field.value : method;
		assert_int_equal(method, nftables ? 2 : 0);
	}
}

static void test_refusal_is_told_and_returned(void **state)
{
	const struct criu_request request = { .verb = CRIU_DUMP, .pid = 7 };
	struct note note = { .scripts = STRBUF_INIT, .result = -EPERM };
	struct ct_error error = { 0 };
	struct criu_field field;
	char packet[4096];

	say_notify("pre-dump", 0);
	say_notify("post-dump", 0);
	say_end(DUMP, true, 0, NULL); /* whatever it says then */
	assert_int_equal(criu_talk(pair[0], &request, take_note, &note, NULL, &error), -EPERM);
	assert_string_equal(error.text, "not so");
	assert_string_equal(note.scripts.data, "pre-dump "); /* not asked again */
	strbuf_done(&note.scripts);
	assert_true(heard(packet, sizeof(packet), 1, &field));
	assert_int_equal(field.value, DUMP);
	assert_true(heard(packet, sizeof(packet), 3, &field));
	assert_int_equal(field.value, 0);
}

static void test_failure_has_its_reason(void **state)
{
	const struct criu_request request = { .verb = CRIU_DUMP };
	struct ct_error error = { 0 };

	say_end(DUMP, false, 0, "no\nway");
	assert_int_equal(criu_talk(pair[0], &request, NULL, NULL, NULL, &error), -EIO);
	assert_non_null(strstr(error.text, "could not dump it: no\\x0away"));
}

static void test_end_in_the_middle(void **state)
{
	const struct criu_request request = { .verb = CRIU_DUMP };
	struct ct_error error = { 0 };

	say_notify("pre-dump", 0);
	assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	assert_int_equal(criu_talk(pair[0], &request, NULL, NULL, NULL, &error), -EIO);
	assert_non_null(strstr(error.text, "in the middle"));
}

static void test_garbage_is_no_answer(void **state)
{
	static const char *const packets[] = { "\x0a", "\x0a\x7f", "\x0b", "\xff\xff\xff\xff",
		"\x22\x02\x08" };
	const struct criu_request request = { .verb = CRIU_DUMP };

	for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
		assert_int_equal(send_fds(pair[1], packets[i], strlen(packets[i]), NULL, 0), 0);
		assert_int_equal(criu_talk(pair[0], &request, NULL, NULL, NULL, NULL), -EIO);
	}
}

/* ---- the console */

static const char magic[8] = "MAGICTTY";

static void put_tty(struct strbuf *image, uint64_t sid, uint64_t pgrp, uint64_t rdev)
{
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT;
	uint32_t size;

	criu_put_number(&record, 1, 5);
	criu_put_number(&record, 6, sid);
	criu_put_number(&record, 7, pgrp);
	criu_put_number(&record, 8, rdev);
	put_text(&record, 11, "kept");
	size = (uint32_t)record.len;
	(void)strbuf_add(image, &size, sizeof(size));
	(void)strbuf_add(image, record.data, record.len);
}

static void test_session_is_written(void **state)
{
	_cleanup_strbuf_ struct strbuf before = STRBUF_INIT, after = STRBUF_INIT, out = STRBUF_INIT;

	(void)strbuf_add(&before, magic, sizeof(magic));
	(void)strbuf_add(&after, magic, sizeof(magic));
	put_tty(&before, 0, 0, makedev(136, 0));
	put_tty(&after, 300, 300, makedev(136, 0));
	put_tty(&before, 12, 13, makedev(136, 0)); /* it knows */
	put_tty(&after, 12, 13, makedev(136, 0));
	put_tty(&before, 0, 0, makedev(136, 1)); /* another terminal */
	put_tty(&after, 0, 0, makedev(136, 1));

	assert_int_equal(criu_console_rewrite(before.data, before.len, 300, &out), 0);
	assert_int_equal(out.len, after.len);
	assert_memory_equal(out.data, after.data, after.len);
}

static void test_what_is_no_image_is_refused(void **state)
{
	_cleanup_strbuf_ struct strbuf image = STRBUF_INIT;

	(void)strbuf_add(&image, magic, sizeof(magic));
	put_tty(&image, 0, 0, makedev(136, 0));
	for (size_t len = 0; len < image.len; len++) {
		_cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

		if (len != sizeof(magic)) /* that is one without terminals */
			assert_int_equal(criu_console_rewrite(image.data, len, 1, &out), -EBADMSG);
	}
}

/* ---- open files */

static void put_file(struct strbuf *image, const char *name, uint64_t mode)
{
	_cleanup_strbuf_ struct strbuf regular = STRBUF_INIT, record = STRBUF_INIT;
	uint32_t size;

	criu_put_number(&regular, 1, 3);
	put_text(&regular, 6, name);
	if (mode)
		criu_put_number(&regular, 10, mode);
	criu_put_number(&record, 1, 1);
	(void)strbuf_putc(&record, 3 << 3 | 2);
	(void)strbuf_putc(&record, (char)regular.len);
	(void)strbuf_add(&record, regular.data, regular.len);
	size = (uint32_t)record.len;
	(void)strbuf_add(image, &size, sizeof(size));
	(void)strbuf_add(image, record.data, record.len);
}

static void test_directories_of_proc_are_found(void **state)
{
	static const struct {
		const char *name;
		uint64_t mode;
		int found;
	} cases[] = {
		{ "/proc", S_IFDIR | 0555, 1 },
		{ "/proc/sys/kernel", S_IFDIR | 0555, 1 },
		{ "/proc/7/task/7/net", 0, 1 }, /* that says nothing is one */
		{ "/sys/devices/virtual", S_IFDIR | 0555, 1 },
		{ "/sys/fs/cgroup", S_IFDIR | 0555, 0 },
		{ "/sys/fs/cgroup/init.scope", S_IFDIR | 0555, 0 },
		{ "/proc/meminfo", S_IFREG | 0444, 0 },
		{ "/procession/of/directories/that/is/long", S_IFDIR | 0755, 0 },
		{ "/srv/proc", S_IFDIR | 0755, 0 },
		{ "/", S_IFDIR | 0755, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_strbuf_ struct strbuf image = STRBUF_INIT;
		char name[64] = { 0 };

		(void)strbuf_add(&image, magic, sizeof(magic));
		put_file(&image, "/bin/busybox", S_IFREG | 0755);
		put_file(&image, cases[i].name, cases[i].mode);
		assert_int_equal(image.error, 0);
		assert_int_equal(
		        criu_files_find_bare(image.data, image.len, name, sizeof(name)), cases[i].found);
		assert_string_equal(name, cases[i].found ? cases[i].name : "");
		assert_int_equal(
		        criu_files_find_bare(image.data, image.len - 1, name, sizeof(name)), -EBADMSG);
	}
}

static void test_locks_are_counted(void **state)
{
	_cleanup_strbuf_ struct strbuf image = STRBUF_INIT;
	size_t n = 7;

	assert_int_equal(criu_locks_count("1234567", 7, &n), -EBADMSG);
	(void)strbuf_add(&image, magic, sizeof(magic));
	assert_int_equal(criu_locks_count(image.data, image.len, &n), 0);
	assert_int_equal(n, 0);
	put_file(&image, "/as/good/as/a/lock", 0);
	put_file(&image, "/and/another", 0);
	assert_int_equal(image.error, 0);
	assert_int_equal(criu_locks_count(image.data, image.len, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(criu_locks_count(image.data, image.len - 1, &n), -EBADMSG);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_pair, close_pair)
	const struct CMUnitTest tests[] = {
		TEST(test_restore),
		TEST(test_locks_are_counted),
		TEST(test_dump_makes_no_links),
		TEST(test_dump_locks_the_network),
		TEST(test_refusal_is_told_and_returned),
		TEST(test_failure_has_its_reason),
		TEST(test_end_in_the_middle),
		TEST(test_garbage_is_no_answer),
		cmocka_unit_test(test_session_is_written),
		cmocka_unit_test(test_what_is_no_image_is_refused),
		cmocka_unit_test(test_directories_of_proc_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
