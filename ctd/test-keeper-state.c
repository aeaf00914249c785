/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state of one keeper, taken up by another: in a child process, because an fd has one owner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/keeper.h"

/* A pseudo terminal; the slave is kept open so that the master does not hang up. */
static int open_pty(int *ret_slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	assert_true(master >= 0);
	assert_int_equal(unlockpt(master), 0);
	*ret_slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*ret_slave >= 0);
	return master;
}

static void make_keeper(struct keeper *k)
{
	assert_int_equal(keeper_init(k, NULL), 0);
	k->started_usec = 12345;
	k->n_reexecs = 3;
	k->lock_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	k->dir_fd = open("/", O_PATH | O_CLOEXEC);
	k->listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	k->next_connection_id = 9;
}

/* As a new binary would, apart from the exec: what save has named is taken from the numbers. */
static void load(struct keeper *k, int state_fd)
{
	assert_int_equal(keeper_init(k, NULL), 0);
	assert_int_equal(keeper_state_load(k, state_fd, NULL), 0);
	keeper_reexec_answer(k);
}

/* Runs fn on the loaded state in a child; its assertions are counted by its exit status. */
static void in_child(const struct keeper *k, void (*fn)(struct keeper *loaded))
{
	_cleanup_close_ int state_fd = keeper_state_save(k);
	int status;
	pid_t pid;

	assert_true(state_fd >= 0);
	assert_int_equal(keeper_state_load(NULL, state_fd, NULL), 0);

	pid = fork();
	if (pid == 0) {
		static struct keeper loaded;

		load(&loaded, state_fd);
		fn(&loaded);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define check(condition) ((condition) ? (void)0 : _exit(__LINE__ % 250 + 1))

static void check_globals(struct keeper *k)
{
	check(k->started_usec == 12345);
	check(k->n_reexecs == 4);
	check(k->next_connection_id == 9);
	check(k->lock_fd >= 0 && k->dir_fd >= 0 && k->listener.fd >= 0);
	check(fcntl(k->lock_fd, F_GETFD) == FD_CLOEXEC);
	check(k->n_children == 0 && !k->connections && k->n_timers == 0);
}

static void test_globals(void **state)
{
	struct keeper k;

	make_keeper(&k);
	in_child(&k, check_globals);
	keeper_done(&k);
}

static void check_connections(struct keeper *k)
{
	struct keeper_connection *first = keeper_connection_find(k, 7),
	                         *second = keeper_connection_find(k, 8);

	check(first && first->subscribed && second && !second->subscribed);
}

static void test_connections(void **state)
{
	struct keeper_hello hello;
	struct keeper_header header;
	char packet[sizeof(header) + sizeof(hello)];
	int pair[2], other[2];
	struct keeper k;

	make_keeper(&k);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, other), 0);
	assert_int_equal(keeper_connection_add(&k, pair[0], 7, true), 0);
	assert_int_equal(keeper_connection_add(&k, other[0], 8, false), 0);
	k.reexec_connection_id = 8;
	k.reexec_serial = 99;
	in_child(&k, check_connections);

	/* Who asked has got its answer, from the one that loaded. */
	assert_int_equal(recv(other[1], packet, sizeof(packet), MSG_DONTWAIT), sizeof(packet));
	memcpy(&header, packet, sizeof(header));
	memcpy(&hello, packet + sizeof(header), sizeof(hello));
	assert_int_equal(header.type, KEEPER_REEXEC);
	assert_int_equal(header.serial, 99);
	assert_int_equal(header.result, 0);
	assert_int_equal(hello.n_reexecs, 4);

	keeper_done(&k);
	close(pair[1]);
	close(other[1]);
}

static void check_children(struct keeper *k)
{
	struct keeper_child *starting = keeper_child_find(k, "c/starting"),
	                    *exited = keeper_child_find(k, "x/exited");

	check(k->n_children == 2 && starting && exited);
	check(starting->info.pid == 4711 && starting->info.state == KEEPER_PROCESS_STARTING);
	check(starting->pidfd.fd >= 0 && starting->status.fd >= 0 && starting->ready);
	check(starting->deadline_usec == UINT64_MAX - 1 && k->n_timers == 1);
	check(starting->connection_id == 5 && starting->serial == 6 && starting->type == KEEPER_EXEC);
	check(starting->error && starting->error->code == -EPERM && str_eq(starting->error->text, "because"));
	check(exited->info.exit_code == 137 && exited->info.exit_signal == 9 &&
	        exited->info.exited_usec == 77);
	check(exited->pidfd.fd == -1 && !exited->error && !exited->console);
}

static void test_children(void **state)
{
	struct keeper_child *child;
	struct keeper k;

	make_keeper(&k);
	child = keeper_child_new(&k, "c/starting");
	child->info.pid = 4711;
	child->pidfd.fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	child->status.fd = eventfd(0, EFD_CLOEXEC);
	child->ready = true;
	child->connection_id = 5;
	child->serial = 6;
	child->type = KEEPER_EXEC;
	keeper_timer_set(&k, &child->deadline_usec, UINT64_MAX - 1);
	child->error = calloc(1, sizeof(*child->error));
	(void)ct_error_set(child->error, -EPERM, "step", "because"); /* in it */

	child = keeper_child_new(&k, "x/exited");
	child->info.state = KEEPER_PROCESS_EXITED;
	child->info.exit_code = 137;
	child->info.exit_signal = 9;
	child->info.exited_usec = 77;

	in_child(&k, check_children);
	keeper_done(&k);
}

/* 20,000 bytes of which the ring keeps the last, one viewer that has not looked yet and one that has typed.
 */
#define PRINTED 20000

static char printed(uint64_t i)
{
	return (char)('a' + i % 23);
}

static void check_console(struct keeper *k)
{
	struct keeper_child *child = keeper_child_find(k, "c/1");
	const struct keeper_ring *ring = child && child->console ? &child->console->ring : NULL;
	uint64_t position = PRINTED - KEEPER_RING_MAX;
	const char *piece;
	size_t n;

	check(ring && ring->total == PRINTED && ring->len == KEEPER_RING_MAX);
	while ((n = keeper_ring_peek(ring, position, &piece)) > 0)
		for (size_t i = 0; i < n; i++, position++)
			check(piece[i] == printed(position));

	/* They are served at once. */
	check(child->console->master.fd >= 0 && child->console->viewers && child->console->viewers->next);
	for (struct keeper_viewer *viewer = child->console->viewers; viewer; viewer = viewer->next)
		check(viewer->position == PRINTED && viewer->input_len == 0);
}

static void test_console(void **state)
{
	struct keeper_viewer *late, *typist;
	struct keeper_child *child;
	char text[PRINTED];
	int a[2], b[2], slave;
	struct keeper k;

	make_keeper(&k);
	child = keeper_child_new(&k, "c/1");
	child->info.state = KEEPER_PROCESS_RUNNING;
	assert_int_equal(keeper_console_new(&k, open_pty(&slave), &child->console), 0);
	for (size_t i = 0; i < PRINTED; i++)
		text[i] = printed(i);
	keeper_ring_add(&child->console->ring, text, PRINTED);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
	assert_int_equal(keeper_console_add_viewer(&k, child->console, a[0], true, &late), 0);
	assert_int_equal(keeper_console_add_viewer(&k, child->console, b[0], false, &typist), 0);
	memcpy(typist->input, "..ls\n", 5);
	typist->input_start = 2;
	typist->input_len = 3;

	in_child(&k, check_console);
	assert_int_equal(recv(a[1], text, sizeof(text), MSG_DONTWAIT), KEEPER_RING_MAX);
	assert_int_equal(text[0], printed(PRINTED - KEEPER_RING_MAX));
	assert_int_equal(text[KEEPER_RING_MAX - 1], printed(PRINTED - 1));
	assert_int_equal(read(slave, text, sizeof(text)), 3);
	assert_memory_equal(text, "ls\n", 3);

	keeper_done(&k);
	close(a[1]);
	close(b[1]);
	close(slave);
}

static void check_ended_console(struct keeper *k)
{
	struct keeper_child *child = keeper_child_find(k, "c/1");

	check(child && child->console && child->console->master.fd == -1 && child->console->ring.total == 5);
}

static void test_ended_console(void **state)
{
	struct keeper_child *child;
	struct keeper k;

	make_keeper(&k);
	child = keeper_child_new(&k, "c/1");
	child->info.state = KEEPER_PROCESS_EXITED;
	assert_int_equal(keeper_console_new(&k, -1, &child->console), 0);
	keeper_ring_add(&child->console->ring, "hello", 5);
	in_child(&k, check_ended_console);
	keeper_done(&k);
}

struct text_record {
	uint32_t type, length;
	char text[8];
};

static void test_malformed(void **state)
{
	static const struct text_record sound[] = {
		{ 0x6b746374, 8, "" },
		{ 1, 8, "" },
	};
	const struct text_record no_magic[] = { sound[1] }, no_keeper[] = { sound[0] };
	const struct text_record too_long[] = { sound[0], sound[1], { 9, 9, "" } };
	const struct text_record orphan[] = { sound[0], sound[1], { 7, 8, "ring" } };
	const struct text_record later[] = { sound[0], sound[1], { 1000, 8, "unknown" } };

	assert_int_equal(keeper_state_parse(NULL, sound, sizeof(sound), NULL), 0);
	assert_int_equal(keeper_state_parse(NULL, later, sizeof(later), NULL), 0);
	assert_int_equal(keeper_state_parse(NULL, sound, sizeof(sound) - 1, NULL), -EBADMSG);
	assert_int_equal(keeper_state_parse(NULL, no_magic, sizeof(no_magic), NULL), -EBADMSG);
	assert_int_equal(keeper_state_parse(NULL, no_keeper, sizeof(no_keeper), NULL), -EBADMSG);
	assert_int_equal(keeper_state_parse(NULL, too_long, sizeof(too_long), NULL), -EBADMSG);
	assert_int_equal(keeper_state_parse(NULL, orphan, sizeof(orphan), NULL), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_globals),
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_children),
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_ended_console),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
