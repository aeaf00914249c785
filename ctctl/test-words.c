/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words: the nearest one, names of signals, ages, values of JSON as text, paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>

#include "base/json.h"
#include "base/str.h"
#include "ctctl/client.h"
#include "ctctl/command.h"
#include "ctctl/signals.h"
#include "ctctl/table.h"

static const char *next_word(void *state)
{
	const char *const **p = state;

	return **p ? *(*p)++ : NULL;
}

static const char *nearest(const char *word)
{
	static const char *const words[] = { "create", "start", "stop", "restart", "template",
		"autostart-order", NULL };
	const char *const *walk = words;

	return suggest(word, next_word, &walk);
}

static void test_suggest(void **state)
{
	assert_string_equal(nearest("strat"), "start");
	assert_string_equal(nearest("stp"), "stop");
	assert_string_equal(nearest("craete"), "create");
	assert_string_equal(nearest("temp"), "template");
	assert_string_equal(nearest("autostart-oder"), "autostart-order");
	assert_null(nearest("xyzzy"));
	assert_null(nearest(""));
	assert_null(nearest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void test_signals(void **state)
{
	assert_int_equal(signal_from_text("TERM"), SIGTERM);
	assert_int_equal(signal_from_text("SIGTERM"), SIGTERM);
	assert_int_equal(signal_from_text("sigkill"), SIGKILL);
	assert_int_equal(signal_from_text("9"), SIGKILL);
	assert_int_equal(signal_from_text("64"), 64);
	assert_int_equal(signal_from_text("RTMIN"), SIGRTMIN);
	assert_int_equal(signal_from_text("RTMIN+3"), SIGRTMIN + 3);
	assert_int_equal(signal_from_text("SIGRTMAX-1"), SIGRTMAX - 1);
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(signal_from_text((const char *const[]){ "", "0", "65", "-1", "NOPE",
		                         "RTMIN3", "RTMIN-1", "RTMAX+1", "RTMIN+31", "SIG" }[i]),
		        -EINVAL);
}

static void test_age(void **state)
{
	const uint64_t now = 1580472000ULL * 1000000; /* 2020-01-31T12:00:00Z */
	char buf[32];

	assert_string_equal(age_of(buf, sizeof(buf), "2020-01-31T11:55:50Z", now), "4m10s");
	assert_string_equal(age_of(buf, sizeof(buf), "2020-01-30T12:00:00Z", now), "1d00h");
	/* A clock that was set back, and what is no time at all. */
	assert_string_equal(age_of(buf, sizeof(buf), "2021-01-01T00:00:00Z", now), "0s");
	assert_string_equal(age_of(buf, sizeof(buf), "yesterday", now), "-");
	assert_string_equal(age_of(buf, sizeof(buf), NULL, now), "-");
}

static void test_json_text(void **state)
{
	static const struct {
		const char *json, *text;
	} examples[] = {
		{ "\"a b\"", "a b" },
		{ "12", "12" },
		{ "true", "yes" },
		{ "false", "no" },
		{ "null", "" },
		{ "[]", "" },
		{ "[\"a\",1,true]", "a,1,yes" },
		{ "{\"k\":\"\xc3\xa9\"}", "{\"k\":\"\\u00E9\"}" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
		_cleanup_json_ json_t *value = json_loads(examples[i].json, JSON_DECODE_ANY, NULL);
		_cleanup_free_ char *text = json_to_text(value);
		assert_string_equal(text, examples[i].text);
	}
}

static void test_paths(void **state)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	assert_int_equal(strbuf_puts(&path, "/v1"), 0);
	assert_int_equal(path_add_segment(&path, "a/b c\xff"), 0);
	assert_int_equal(path_add_segment(&path, ".."), 0);
	assert_int_equal(path_add_query(&path, "x", "1&2"), 0);
	assert_int_equal(path_add_query(&path, "y", "~"), 0);
	assert_string_equal(path.data, "/v1/a%2Fb%20c%FF/%2E%2E?x=1%262&y=~");
}

/* The table itself: what the help, the completion and the pages rely on. */
static void test_commands(void **state)
{
	for (const struct command *const *c = commands; *c; c++) {
		assert_non_null((*c)->run);
		assert_non_null((*c)->operands);
		assert_true(strlen((*c)->summary) > 0 && !str_has_suffix((*c)->summary, "."));
		assert_true((*c)->min_operands <= (*c)->max_operands);
		if ((*c)->family)
			assert_true(str_has_prefix((*c)->name, (*c)->family));

		char *words[2] = { 0 };
		_cleanup_free_ char *name = strdup((*c)->name);
		char *rest = name;
		words[0] = strsep(&rest, " ");
		words[1] = rest;
		int used = 0;
		assert_ptr_equal(command_find(words[1] ? 2 : 1, words, &used, NULL), *c);
		assert_int_equal(used, words[1] ? 2 : 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suggest),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_json_text),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
