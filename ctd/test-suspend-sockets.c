/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of sockets and memberships: what is noted is set again, and what no note may say is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/test-place.h"
#include "ctd/worker-suspend-sockets.h"
#include "ctd/worker-suspend-threads.h"

#define INSIDE 7

static struct restore_thread self;
static const struct restore_threads threads = { .list = &self, .n = 1 };

static int begin(void **state)
{
	self = (struct restore_thread){ .tid = getpid(), .leader = getpid(), .inside = INSIDE };
	return place_make(state);
}

static void save(void)
{
	struct ct_error err = { 0 };

	if (suspend_sockets_save(place_fd, getpid(), &threads, &err) < 0)
		fail_msg("%s", err.text);
}

static void set(void)
{
	struct ct_error err = { 0 };

	if (suspend_sockets_set(place_fd, &threads, &err) < 0)
		fail_msg("%s", err.text);
}

static int get(int sock, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	assert_int_equal(getsockopt(sock, level, name, &value, &len), 0);
	return value;
}

static void change(int sock, int level, int name, int value)
{
	assert_int_equal(setsockopt(sock, level, name, &value, sizeof(value)), 0);
}

/* What CRIU would make: another one, under the same number. */
static void renew(int sock, int family, int type)
{
	_cleanup_close_ int fresh = socket(family, type | SOCK_CLOEXEC, 0);

	assert_true(fresh >= 0);
	assert_int_equal(dup3(fresh, sock, O_CLOEXEC), sock);
}

static void test_what_is_noted_is_set(void **state)
{
	_cleanup_close_ int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	                    tcp = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0),
	                    plain = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	_cleanup_free_ char *note = NULL;
	char name[16];
	socklen_t len = sizeof(name);

	change(udp, IPPROTO_IP, IP_PKTINFO, 1);
	change(udp, IPPROTO_IP, IP_TOS, 0x10);
	change(udp, SOL_SOCKET, SO_PRIORITY, 3);
	change(tcp, IPPROTO_TCP, TCP_USER_TIMEOUT, 4321);
	change(tcp, IPPROTO_IPV6, IPV6_TCLASS, 0x20);
	assert_int_equal(setsockopt(tcp, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
	save();
	assert_true(read_file_at(place_fd, "ctd-sockets", 65536, &note, NULL) >= 0);
	assert_non_null(strstr(note, "0.8=01000000"));
	(void)snprintf(name, sizeof(name), "%d %d ", INSIDE, plain);
	assert_null(strstr(note, name));

	renew(udp, AF_INET, SOCK_DGRAM);
	renew(tcp, AF_INET6, SOCK_STREAM);
	change(udp, SOL_SOCKET, SO_PRIORITY, 3); /* CRIU does */
	assert_int_equal(get(udp, IPPROTO_IP, IP_PKTINFO), 0);
	set();
	assert_int_equal(get(udp, IPPROTO_IP, IP_PKTINFO), 1);
	assert_int_equal(get(udp, IPPROTO_IP, IP_TOS), 0x10);
	assert_int_equal(get(udp, SOL_SOCKET, SO_PRIORITY), 3);
	assert_int_equal(get(tcp, IPPROTO_TCP, TCP_USER_TIMEOUT), 4321);
	assert_int_equal(get(tcp, IPPROTO_IPV6, IPV6_TCLASS), 0x20);
	assert_int_equal(getsockopt(tcp, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	assert_string_equal(name, "reno");
}

static struct group_filter group(uint32_t sources)
{
	struct group_filter filter = { .gf_interface = 1,
		.gf_group.ss_family = AF_INET,
		.gf_numsrc = sources,
		.gf_fmode = MCAST_INCLUDE };

	((struct sockaddr_in *)&filter.gf_group)->sin_addr.s_addr = inet_addr("239.1.2.3");
	return filter;
}

static void test_members_are_members_again(void **state)
{
	_cleanup_close_ int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	                    one = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct group_filter is = group(0);
	struct group_req all = { .gr_interface = 1, .gr_group = is.gf_group };
	struct group_source_req only = { .gsr_interface = 1, .gsr_group = is.gf_group };
	socklen_t len = sizeof(is);

	only.gsr_source.ss_family = AF_INET;
	((struct sockaddr_in *)&only.gsr_source)->sin_addr.s_addr = inet_addr("192.0.2.7");
	assert_int_equal(setsockopt(any, IPPROTO_IP, MCAST_JOIN_GROUP, &all, sizeof(all)), 0);
	assert_int_equal(setsockopt(one, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &only, sizeof(only)), 0);
	save();
	renew(any, AF_INET, SOCK_DGRAM);
	renew(one, AF_INET, SOCK_DGRAM);
	assert_int_equal(getsockopt(any, IPPROTO_IP, MCAST_MSFILTER, &is, &len), -1);
	set();
	is = group(0);
	len = sizeof(is);
	assert_int_equal(getsockopt(any, IPPROTO_IP, MCAST_MSFILTER, &is, &len), 0);
	assert_int_equal(is.gf_fmode, MCAST_EXCLUDE);
	assert_int_equal(is.gf_numsrc, 0);
	is = group(1);
	len = sizeof(is);
	assert_int_equal(getsockopt(one, IPPROTO_IP, MCAST_MSFILTER, &is, &len), 0);
	assert_int_equal(is.gf_fmode, MCAST_INCLUDE);
	assert_int_equal(is.gf_numsrc, 1);
	assert_memory_equal(&is.gf_slist[0], &only.gsr_source, sizeof(struct sockaddr_in));
}

static void test_what_cannot_be_is_refused(void **state)
{
	/* no numbers, none or half a value, one that is too long, an option of which CRIU sees to, groups
	 * that are none */
	static const char *const bad[] = { "7", "x 3 0.8=01000000", "7 3 0.8=", "7 3 0.8=0", "7 3 0.8=zz",
		"7 3 0.8=0100000000", "7 3 1.36=01000000", "7 3 0.8", "7 3 0:8=01", "7 3  ",
		"7 3 0:", "7 3 0:lo", "7 3 0:lo:00", "7 3 6:lo:00" };
	struct ct_error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		place_put("ctd-sockets", bad[i]);
		if (suspend_sockets_set(place_fd, &threads, &err) != -EBADMSG)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(err.kind, CT_ERROR_REFUSED);
	}
}

static void test_what_is_not_there_is_left_out(void **state)
{
	char line[64];

	(void)snprintf(line, sizeof(line), "%d 999999 0.8=01000000\n8 3 0.8=01000000\n%d %d 0.8=01000000\n",
	        INSIDE, INSIDE, place_fd);
	place_put("ctd-sockets", line);
	set();
	assert_int_equal(unlinkat(place_fd, "ctd-sockets", 0), 0);
	set(); /* of an older build */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_noted_is_set, begin, place_remove),
		cmocka_unit_test_setup_teardown(test_members_are_members_again, begin, place_remove),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_is_refused, begin, place_remove),
		cmocka_unit_test_setup_teardown(test_what_is_not_there_is_left_out, begin, place_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
