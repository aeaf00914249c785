/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The detach keys, however the bytes are cut into reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "ctctl/detach.h"

struct example {
	const char *typed, *sent;
	bool leave;
};

static const struct example examples[] = {
	{ "plain", "plain", false },
	{ "\x1dq", "", true },
	{ "\x01q", "", true },
	{ "\x01Q", "", true },
	{ "ls\r\x1dq", "ls\r", true },
	{ "\x1dqrest", "", true },
	{ "\x1d\x1d", "\x1d", false },
	{ "\x01\x01q", "\x01q", false },
	{ "\x01x", "\x01x", false },
	{ "\x01\x1d", "\x01\x1d", false },
	{ "\x1d\x1d\x1dq", "\x1d", true },
	{ "q\x01", "q", false },
};

/* The same text in pieces of every size: what is sent must not depend on it. */
static void test_cuts(void **state)
{
	for (size_t e = 0; e < ARRAY_SIZE(examples); e++)
		for (size_t piece = 1; piece <= strlen(examples[e].typed); piece++) {
			const char *typed = examples[e].typed;
			struct detach detach = { 0 };
			char sent[64] = "";
			size_t n = 0, len = strlen(typed);

			for (size_t at = 0; at < len && !detach.leave; at += piece) {
				char data[32];
				size_t part = len - at < piece ? len - at : piece;

				memcpy(data, typed + at, part);
				size_t out = detach_filter(&detach, data, part);
				assert_true(out <= part + 1);
				memcpy(sent + n, data, out);
				n += out;
			}

			sent[n] = '\0';
			assert_string_equal(sent, examples[e].sent);
			assert_int_equal(detach.leave, examples[e].leave);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cuts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
