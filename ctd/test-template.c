/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Metadata of templates: what is accepted, and that everything else is refused with its field named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ctd/template-signal.h"
#include "ctd/template.h"

static void test_whole(void **state)
{
	static const char text[] =
	        "{\"distribution\":\"debian\",\"release\":\"12\",\"recipe\":\"debian\",\"init\":[\"/sbin/init\",\"a b\"],"
	        "\"env\":[\"A=b=c\",\"_X=\"],\"run_masks\":[\"systemd-udevd.service\",\"dev-mqueue.mount\"],\"stop_signal\":\"SIGRTMIN+3\"}";
	struct template_meta meta = { 0 };

	assert_int_equal(template_meta_from_json(text, &meta, NULL), 0);
	assert_string_equal(meta.distribution, "debian");
	assert_string_equal(meta.release, "12");
	assert_string_equal(meta.init[0], "/sbin/init");
	assert_string_equal(meta.init[1], "a b");
	assert_null(meta.init[2]);
	assert_string_equal(meta.env[0], "A=b=c");
	assert_string_equal(meta.env[1], "_X=");
	assert_string_equal(meta.run_masks[1], "dev-mqueue.mount");
	assert_int_equal(meta.stop_signal, 37);
	template_meta_done(&meta);
	template_meta_done(&meta);
}

static void test_least(void **state)
{
	struct template_meta meta = { 0 };

	assert_int_equal(
	        template_meta_from_json("{\"init\":[\"/init\"],\"stop_signal\":15}", &meta, NULL), 0);
	assert_string_equal(meta.distribution, "");
	assert_null(meta.env[0]);
	assert_null(meta.run_masks[0]);
	assert_int_equal(meta.stop_signal, SIGTERM);
	template_meta_done(&meta);
}

#define META(rest) "{\"init\":[\"/init\"],\"stop_signal\":15," rest "}"

static void test_refused(void **state)
{
	static const struct {
		const char *text, *field;
	} cases[] = {
		{ "", "" },
		{ "[]", "" },
		{ "{\"init\":[\"/init\"]}", "stop_signal" },
		{ "{\"stop_signal\":15}", "init" },
		{ "{\"init\":[],\"stop_signal\":15}", "init" },
		{ "{\"init\":[\"init\"],\"stop_signal\":15}", "init" },
		{ "{\"init\":[\"/init\",\"\\n\"],\"stop_signal\":15}", "init" },
		{ "{\"init\":[\"/init\\u0000x\"],\"stop_signal\":15}", "" },
		{ "{\"init\":[\"/init\",7],\"stop_signal\":15}", "init" },
		{ "{\"init\":\"/init\",\"stop_signal\":15}", "init" },
		{ "{\"init\":[\"/init\"],\"stop_signal\":0}", "stop_signal" },
		{ "{\"init\":[\"/init\"],\"stop_signal\":65}", "stop_signal" },
		{ "{\"init\":[\"/init\"],\"stop_signal\":19}", "stop_signal" },
		{ "{\"init\":[\"/init\"],\"stop_signal\":\"SIGNOT\"}", "stop_signal" },
		{ "{\"init\":[\"/init\"],\"stop_signal\":[]}", "stop_signal" },
		{ META("\"extra\":1"), "extra" },
		{ META("\"env\":[\"A\"]"), "env" },
		{ META("\"env\":[\"=x\"]"), "env" },
		{ META("\"env\":[\"1A=x\"]"), "env" },
		{ META("\"env\":[\"A=\\u001b[0m\"]"), "env" },
		{ META("\"run_masks\":[\"../x.service\"]"), "run_masks" },
		{ META("\"run_masks\":[\"a/b.service\"]"), "run_masks" },
		{ META("\"run_masks\":[\"name\"]"), "run_masks" },
		{ META("\"run_masks\":[\"\"]"), "run_masks" },
		{ META("\"distribution\":\"\\u0007\""), "distribution" },
		{ META("\"release\":5"), "release" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct template_meta meta = { 0 };
		struct ct_error error = { 0 };

		if (template_meta_from_json(cases[i].text, &meta, &error) >= 0)
			fail_msg("accepted: %s", cases[i].text);
		assert_true(error.code < 0);
		assert_true(*error.text);
		if (*cases[i].field && !str_eq(error.field, cases[i].field))
			fail_msg("%s: field \"%s\" is named, not \"%s\"", cases[i].text, error.field,
			        cases[i].field);
		assert_null(meta.init);
	}
}

static void test_bounds(void **state)
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	struct template_meta meta = { 0 };

	(void)strbuf_puts(&text, "{\"stop_signal\":15,\"init\":[\"/init\"");
	for (int i = 0; i < 64; i++)
		(void)strbuf_puts(&text, ",\"x\"");
	(void)strbuf_puts(&text, "]}");
	assert_int_equal(text.error, 0);
	assert_true(template_meta_from_json(text.data, &meta, NULL) < 0);

	strbuf_reset(&text);
	(void)strbuf_puts(&text, "{\"stop_signal\":15,\"init\":[\"/");
	for (int i = 0; i < 70000; i++)
		(void)strbuf_putc(&text, 'x');
	(void)strbuf_puts(&text, "\"]}");
	assert_int_equal(text.error, 0);
	assert_true(template_meta_from_json(text.data, &meta, NULL) < 0);
}

static void test_signals(void **state)
{
	assert_int_equal(signal_from_name("SIGTERM"), SIGTERM);
	assert_int_equal(signal_from_name("SIGUSR2"), SIGUSR2);
	assert_int_equal(signal_from_name("SIGRTMIN"), 34);
	assert_int_equal(signal_from_name("SIGRTMIN+3"), 37);
	assert_int_equal(signal_from_name("SIGRTMAX"), 64);
	assert_int_equal(signal_from_name("SIGRTMAX-30"), 34);
	assert_int_equal(signal_from_name("SIGRTMAX-31"), 0);
	assert_int_equal(signal_from_name("SIGRTMIN+31"), 0);
	assert_int_equal(signal_from_name("SIGRTMIN-1"), 0);
	assert_int_equal(signal_from_name("SIGRTMIN+"), 0);
	assert_int_equal(signal_from_name("TERM"), 0);
	assert_int_equal(signal_from_name("SIG"), 0);
	assert_int_equal(signal_from_name(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
