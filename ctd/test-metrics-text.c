/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page that Prometheus reads, byte for byte; and where the gate listens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "ctd/gate-proto.h"
#include "ctd/metrics-text.h"

static void write_page(struct metrics *m)
{
	metrics_counter(m, "a_seconds_total", "Says \\ and\nmore.");
	metrics_sample(m, "a_seconds_total");
	metrics_label(m, "ctid", "0f");
	metrics_label(m, "name", "q\"uo\\te\nline");
	metrics_value(m, 1234567, SCALE_USEC);
	metrics_gauge(m, "b", "Of nothing.");
	metrics_sample(m, "b");
	metrics_value(m, 7, SCALE_ONE);
}

static void two_formats(void **state)
{
	struct metrics m = METRICS_INIT(METRICS_TEXT, -1), o = METRICS_INIT(METRICS_OPEN, -1);

	write_page(&m);
	assert_int_equal(metrics_done(&m), 0);
	assert_string_equal(m.text.data,
	        "# HELP a_seconds_total Says \\\\ and\\nmore.\n"
	        "# TYPE a_seconds_total counter\n"
	        "a_seconds_total{ctid=\"0f\",name=\"q\\\"uo\\\\te\\nline\"} 1.234567\n"
	        "# HELP b Of nothing.\n# TYPE b gauge\nb 7\n");
	strbuf_done(&m.text);

	write_page(&o);
	assert_int_equal(metrics_done(&o), 0);
	assert_string_equal(o.text.data,
	        "# HELP a_seconds Says \\\\ and\\nmore.\n"
	        "# TYPE a_seconds counter\n"
	        "a_seconds_total{ctid=\"0f\",name=\"q\\\"uo\\\\te\\nline\"} 1.234567\n"
	        "# HELP b Of nothing.\n# TYPE b gauge\nb 7\n# EOF\n");
	strbuf_done(&o.text);
}

static void shows(uint64_t value, enum metrics_scale scale, const char *text)
{
	struct metrics m = METRICS_INIT(METRICS_TEXT, -1);

	metrics_sample(&m, "x");
	metrics_value(&m, value, scale);
	assert_int_equal(metrics_done(&m), 0);
	assert_string_equal(m.text.data, text);
	strbuf_done(&m.text);
}

static void numbers_are_exact(void **state)
{
	shows(0, SCALE_ONE, "x 0\n");
	shows(UINT64_MAX, SCALE_ONE, "x 18446744073709551615\n");
	shows(5, SCALE_USEC, "x 0.000005\n");
	shows(INT64_MAX, SCALE_USEC, "x 9223372036854.775807\n");
	shows(1500, SCALE_MILLI, "x 1.500\n");
	shows(3, SCALE_KIB, "x 3072\n");
	shows(INT64_MAX, SCALE_KIB, "x 9444732965739290426368\n");
}

static void long_pages_go_to_the_file_whole(void **state)
{
	_cleanup_close_ int fd = memfd_create("page", MFD_CLOEXEC);
	struct metrics m = METRICS_INIT(METRICS_TEXT, fd);
	char first[16] = { 0 }, last[16] = { 0 };

	for (unsigned i = 0; i < 20000; i++) {
		metrics_sample(&m, "xx");
		metrics_value(&m, 10000 + i, SCALE_ONE);
	}
	assert_int_equal(metrics_done(&m), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 20000 * 9);
	assert_int_equal(pread(fd, first, 9, 0), 9);
	assert_string_equal(first, "xx 10000\n");
	assert_int_equal(pread(fd, last, 9, 19999 * 9), 9);
	assert_string_equal(last, "xx 29999\n");
}

static void what_cannot_be_written_is_told(void **state)
{
	_cleanup_close_ int fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct metrics m = METRICS_INIT(METRICS_OPEN, fd);

	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	write_page(&m);
	assert_int_equal(metrics_done(&m), -EPERM);
}

static void addresses(void **state)
{
	static const char *const wrong[] = { "", ":1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0",
		"127.0.0.1:65536", "127.0.0.1/8:1", "::1:9187", "[::1]", "[127.0.0.1]:1", "[]:1",
		"localhost:1", "127.0.0.1:+1", "[::1:9187",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111:2222:1" };
	struct sockaddr_storage address;

	assert_int_equal(gate_address("127.0.0.1:9187", &address), 0);
	assert_int_equal(address.ss_family, AF_INET);
	assert_int_equal(ntohs(((struct sockaddr_in *)&address)->sin_port), 9187);
	assert_int_equal(ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr), INADDR_LOOPBACK);
	assert_int_equal(gate_address("[::1]:65535", &address), 0);
	assert_int_equal(address.ss_family, AF_INET6);
	assert_int_equal(ntohs(((struct sockaddr_in6 *)&address)->sin6_port), 65535);
	assert_memory_equal(
	        &((struct sockaddr_in6 *)&address)->sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(gate_address(wrong[i], &address), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_formats),
		cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test(long_pages_go_to_the_file_whole),
		cmocka_unit_test(what_cannot_be_written_is_told),
		cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
