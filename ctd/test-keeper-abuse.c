/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Those who speak to the keeper out of turn, and a keeper that does not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/keeper-client-internal.h"
#include "ctd/test-keeper-rig.h"

static struct rig rig;

/* As on the wire: nothing between header and body. */
struct packet {
	struct keeper_header header;
	struct keeper_request request;
	char more[64];
} __attribute__((packed));

static struct packet sound_packet(uint32_t type)
{
	return (struct packet){
		.header = { .type = type,
		        .serial = 77,
		        .length = sizeof(struct packet) - sizeof(struct keeper_header) },
		.request = { .size = sizeof(struct keeper_request), .key = "c/1" },
	};
}

static int connect_blocking(void)
{
	int fd = keeper_socket_connect(rig.runtime);

	assert_true(fd >= 0);
	assert_int_equal(fd_set_nonblock(fd, false), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = 30 },
	                         sizeof(struct timeval)),
	        0);
	return fd;
}

/* The result in the answer to a message, 1 if the connection was closed instead. */
static int answer_to(int fd, const void *data, size_t len)
{
	struct {
		struct keeper_header header;
		char body[4096];
	} answer;
	ssize_t n;

	if (send(fd, data, len, MSG_NOSIGNAL) < 0)
		return 1;
	n = recv(fd, &answer, sizeof(answer), 0);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return 1;
	assert_true(n >= (ssize_t)sizeof(answer.header));
	if (answer.header.result < 0) {
		struct ct_error error;

		assert_true(answer.header.length >= sizeof(error));
		memcpy(&error, answer.body, sizeof(error));
		assert_true(error.text[0]);
	}
	return answer.header.result;
}

static void test_malformed(void **state)
{
	_cleanup_close_ int fd = connect_blocking();
	struct packet p;

	assert_int_equal(answer_to(fd, "x", 1), -EBADMSG);

	p = sound_packet(KEEPER_HELLO);
	assert_int_equal(answer_to(fd, &p, sizeof(p)), 0);
	p.header.type = 4711;
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EOPNOTSUPP);
	p = sound_packet(KEEPER_HELLO);
	p.header.length++;
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);
	p = sound_packet(KEEPER_SIGNAL);
	p.request.size = UINT32_MAX;
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);
	p = sound_packet(KEEPER_SIGNAL);
	memset(p.request.key, 'k', sizeof(p.request.key));
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);
	p.request.key[0] = '\0';
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);
	p = sound_packet(KEEPER_SIGNAL);
	p.request.key[1] = '\n';
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);
	p = sound_packet(KEEPER_START);
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);
	p = sound_packet(KEEPER_ADOPT);
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);
	p = sound_packet(KEEPER_REEXEC);
	assert_int_equal(answer_to(fd, &p, sizeof(p)), -EBADMSG);

	/* An older ctd: a shorter request. */
	p = sound_packet(KEEPER_SIGNAL);
	p.request.size = offsetof(struct keeper_request, flags);
	p.header.length = p.request.size;
	assert_int_equal(answer_to(fd, &p, sizeof(p.header) + p.request.size), -ESRCH);
	assert_int_equal(rig_count(&rig), 0);
}

static void test_random_messages(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	size_t fds = rig_count_fds(keeper);
	unsigned long pss = rig_pss(keeper);
	unsigned int seed = 12345;

	for (int i = 0; i < 1000; i++) {
		_cleanup_close_ int fd = connect_blocking();
		struct packet p = sound_packet((uint32_t)(1 + rand_r(&seed) % 16));
		size_t len = sizeof(p);

		for (int n = rand_r(&seed) % 20; n > 0; n--)
			((unsigned char *)&p)[(size_t)rand_r(&seed) % sizeof(p)] =
			        (unsigned char)rand_r(&seed);
		if (p.header.type == KEEPER_QUIT)
			continue;
		if (i % 4 == 0)
			len = 1 + (size_t)rand_r(&seed) % sizeof(p);
		(void)answer_to(fd, &p, len); /* any answer will do, but there is one */
	}

	assert_int_equal(rig_count(&rig), 0);
	for (int i = 0; i < 1000 && rig_count_fds(keeper) > fds; i++)
		(void)usleep(10000);
	assert_true(rig_count_fds(keeper) <= fds); /* one of the test before may have been closing still */
	rig_expect_no_growth(keeper, pss);
}

static void test_too_much(void **state)
{
	_cleanup_close_ int large = connect_blocking(), many = connect_blocking();
	_cleanup_free_ char *data = calloc(1, KEEPER_MESSAGE_MAX + 1);
	struct packet p = sound_packet(KEEPER_HELLO);
	int fds[KEEPER_FDS_MAX + 1];
	char answer[256];

	assert_int_equal(answer_to(large, data, KEEPER_MESSAGE_MAX + 1), 1);

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = many;
	assert_int_equal(send_fds(many, &p, sizeof(p), fds, ARRAY_SIZE(fds)), 0);
	assert_true(recv(many, answer, sizeof(answer), 0) <= 0);
	assert_int_equal(rig_count(&rig), 0);
}

static void test_too_many_connections(void **state)
{
	int fds[100], open = 0;
	struct packet p = sound_packet(KEEPER_HELLO);

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_blocking();
		open += answer_to(fds[i], &p, sizeof(p)) == 0;
	}
	assert_int_equal(open, 63); /* and ours */
	assert_int_equal(rig_count(&rig), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

/* Asks and asks and never reads: dropped when its buffer is full, and nobody has waited for it. */
static void test_who_does_not_read(void **state)
{
	_cleanup_close_ int fd = connect_blocking();
	struct packet p = sound_packet(KEEPER_HELLO);
	uint64_t begin = now_monotonic_usec();
	int sent = 0;

	while (sent < 100000 && send(fd, &p, sizeof(p), MSG_NOSIGNAL) > 0)
		sent++;
	assert_true(sent < 100000);
	assert_true(now_monotonic_usec() - begin < 30 * USEC_PER_SEC);
	assert_int_equal(rig_count(&rig), 0);
}

static void test_other_users(void **state)
{
	_cleanup_free_ char *path = str_printf("%s/keeper.sock", rig.runtime);
	struct packet p = sound_packet(KEEPER_HELLO);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int status;
	pid_t pid;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	/* Even if the modes let it through. */
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(rig.runtime, 0755), 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	pid = fork();
	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		char answer[64];

		if (setresuid(65534, 65534, 65534) < 0 ||
		        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
			_exit(2);
		if (send(fd, &p, sizeof(p), MSG_NOSIGNAL) < 0)
			_exit(0);
		_exit(recv(fd, answer, sizeof(answer), 0) <= 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chmod(rig.runtime, 0700), 0);
}

static int run_keeper(const char *runtime)
{
	const char *const argv[] = { rig.binary, "--runtime", runtime, NULL };
	_cleanup_close_ int pidfd = process_spawn(argv, NULL, NULL);

	return pidfd < 0 ? pidfd : process_wait(pidfd, 60 * USEC_PER_SEC);
}

/* Runs ct-keeper in the foreground; what it says goes to text. */
static int run_in_foreground(const char *runtime, char *text, size_t size)
{
	struct process_options options = PROCESS_OPTIONS_INIT;
	_cleanup_close_ int from = -1, to = -1;
	char number[16];
	int fds[2], pidfd;
	ssize_t n;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	from = fds[0];
	to = fds[1];
	(void)snprintf(number, sizeof(number), "%d", to);
	const char *const argv[] = { rig.binary, "--runtime", runtime, "--foreground-fd", number, NULL };

	options.keep_fds = &to;
	options.n_keep = 1;
	pidfd = process_spawn(argv, &options, NULL);
	assert_true(pidfd >= 0);
	to = fd_close(to);
	n = read_all(from, text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	return pidfd;
}

static void test_foreground(void **state)
{
	_cleanup_free_ char *dir = str_printf("%s/foreground", rig.fixture.dir);
	_cleanup_close_ int first = -1, second = -1;
	char text[600];

	assert_int_equal(mkdir(dir, 0700), 0);
	first = run_in_foreground(dir, text, sizeof(text));
	assert_string_equal(text, "ready\n");
	assert_int_equal(poll(&(struct pollfd){ .fd = first, .events = POLLIN }, 1, 0), 0);

	second = run_in_foreground(dir, text, sizeof(text));
	assert_non_null(strstr(text, "another keeper"));
	assert_int_equal(process_wait(second, 30 * USEC_PER_SEC), 4);

	assert_int_equal(pidfd_send_signal(first, SIGTERM, NULL, 0), 0);
	assert_int_equal(process_wait(first, 30 * USEC_PER_SEC), 128 + SIGTERM);
}

static void test_one_keeper_a_directory(void **state)
{
	struct keeper_client_config config = {
		.event = rig.event, .runtime_dir = "/no/such/directory", .binary = rig.binary
	};
	struct keeper_client *client = NULL;
	struct ct_error error = { 0 };

	assert_int_equal(run_keeper(rig.runtime), 4);
	assert_int_equal(rig_count(&rig), 0);

	assert_true(keeper_client_open(&config, &client, &error) < 0);
	assert_non_null(strstr(error.text, "/no/such/directory"));
	config.runtime_dir = rig.fixture.dir;
	config.binary = "/bin/false";
	assert_true(keeper_client_open(&config, &client, &error) < 0);
	assert_non_null(strstr(error.text, "/bin/false"));
}

/* A keeper whose directory was removed goes when it holds nothing, and not before. */
static void test_directory_removed(void **state)
{
	_cleanup_free_ char *dir = str_printf("%s/lonely", rig.fixture.dir);
	_cleanup_free_ char *path = str_printf("%s/keeper.sock", dir);
	const struct keeper_client_ops none = { 0 };
	const struct keeper_client_config config = {
		.event = rig.event,
		.runtime_dir = dir,
		.binary = rig.binary,
		.ops = &none,
	};
	_cleanup_keeper_client_ struct keeper_client *client = NULL;
	_cleanup_close_ int pidfd = -1;

	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(keeper_client_open(&config, &client, NULL), KEEPER_CLIENT_SPAWNED);
	pidfd = pidfd_open(keeper_client_hello(client)->pid, 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, 7000), 0);
	keeper_client_free(TAKE_PTR(client));
	assert_int_equal(poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, 60000), 1);
}

static void count_call(struct keeper_reply *reply, void *userdata)
{
	int *counts = userdata;

	counts[0]++;
	counts[1] = reply->result;
}

static bool is_counted(struct rig *r, void *arg)
{
	return *(int *)arg > 0;
}

static void test_deadline_of_a_call(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	uint64_t begin = now_monotonic_usec();
	int counts[2] = { 0 };

	assert_int_equal(kill(keeper, SIGSTOP), 0);
	assert_int_equal(keeper_client_list(rig.client, count_call, counts), 0);
	assert_int_equal(counts[0], 0);
	assert_true(rig_run_until(&rig, is_counted, counts, 60 * USEC_PER_SEC));
	assert_int_equal(counts[1], -ETIMEDOUT);
	assert_true(now_monotonic_usec() - begin >= KEEPER_CALL_TIMEOUT_USEC);
	assert_int_equal(kill(keeper, SIGCONT), 0);

	/* The answer that comes after all is for nobody; the next one is right. */
	assert_int_equal(rig_count(&rig), 0);
	assert_int_equal(counts[0], 1);
}

/* More than the socket holds is kept and sent later, with its fds. */
static void test_busy_keeper(void **state)
{
	enum { CALLS = 100 };
	static char name[60000];
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	const struct ct_spec spec = {
		.argv = (const char *const[]){ "/x", NULL },
		.hostname = name,
		.root_fd = keeper_socket_connect(rig.runtime),
		.userns_fd = -1,
		.netns_fd = -1,
		.cgroup_fd = -1,
	};
	int counts[CALLS][2] = { 0 };
	size_t fds = rig_count_fds(getpid());

	memset(name, 'h', sizeof(name) - 1);
	assert_int_equal(kill(keeper, SIGSTOP), 0);
	for (int i = 0; i < CALLS; i++)
		assert_int_equal(
		        keeper_client_start(rig.client, "c/none", &spec, count_call, counts[i], NULL), 0);
	assert_true(rig_count_fds(getpid()) > fds);
	assert_int_equal(kill(keeper, SIGCONT), 0);

	for (int i = 0; i < CALLS; i++) {
		assert_true(rig_run_until(&rig, is_counted, counts[i], 60 * USEC_PER_SEC));
		assert_int_equal(counts[i][0], 1);
		assert_int_equal(counts[i][1], -EINVAL);
	}
	assert_int_equal(rig_count_fds(getpid()), fds);
	close(spec.root_fd);
}

/* A request that waited here until its deadline is not sent any more. */
static void test_withdrawn(void **state)
{
	static char name[60000];
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	const struct ct_spec spec = {
		.argv = (const char *const[]){ "/x", NULL },
		.hostname = name,
		.root_fd = -1,
		.userns_fd = -1,
		.netns_fd = -1,
		.cgroup_fd = -1,
	};
	int starts[10][2] = { 0 }, killed[2] = { 0 };
	struct keeper_process process;
	struct box box;

	assert_int_equal(rig_start(&rig, &box, "c/lives", "sleep 1000", false, NULL), 0);
	memset(name, 'h', sizeof(name) - 1);
	assert_int_equal(kill(keeper, SIGSTOP), 0);
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		assert_int_equal(
		        keeper_client_start(rig.client, "c/none", &spec, count_call, starts[i], NULL), 0);
	assert_int_equal(keeper_client_signal(rig.client, "c/lives", SIGKILL, count_call, killed), 0);
	assert_true(rig_run_until(&rig, is_counted, killed, 60 * USEC_PER_SEC));
	assert_int_equal(killed[1], -ETIMEDOUT);

	assert_int_equal(kill(keeper, SIGCONT), 0);
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		assert_true(rig_run_until(&rig, is_counted, starts[i], 60 * USEC_PER_SEC));
	assert_true(rig_find(&rig, "c/lives", &process));
	assert_int_equal(process.state, KEEPER_PROCESS_RUNNING);
	rig_box_done(&rig, &box, "c/lives");
}

static bool are_counted(struct rig *r, void *arg)
{
	int *counts = arg;

	return counts[0] == counts[2];
}

static void test_queue_is_bounded(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	int counts[3] = { 0 }, r = 0;

	assert_int_equal(kill(keeper, SIGSTOP), 0);
	while (counts[2] < 100000 && r == 0) {
		r = keeper_client_list(rig.client, count_call, counts);
		counts[2] += r == 0;
	}
	assert_int_equal(r, -EBUSY);
	assert_int_equal(kill(keeper, SIGCONT), 0);

	/* All that were accepted are answered, and there is room again. */
	assert_true(rig_run_until(&rig, are_counted, counts, 60 * USEC_PER_SEC));
	assert_int_equal(counts[1], 0);
	assert_int_equal(rig_count(&rig), 0);
}

/* Out of files: those who come are turned away, and it does not spin. */
static void test_no_files_left(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	struct packet p = sound_packet(KEEPER_HELLO);
	struct rlimit old, few = { .rlim_cur = rig_count_fds(keeper), .rlim_max = 0 };
	_cleanup_close_ int first = -1, later = -1;

	assert_int_equal(prlimit(keeper, RLIMIT_NOFILE, NULL, &old), 0);
	few.rlim_max = old.rlim_max;
	assert_int_equal(prlimit(keeper, RLIMIT_NOFILE, &few, NULL), 0);
	first = connect_blocking();
	assert_int_equal(answer_to(first, &p, sizeof(p)), 1);
	assert_int_equal(rig_count(&rig), 0);
	assert_int_equal(prlimit(keeper, RLIMIT_NOFILE, &old, NULL), 0);
	later = connect_blocking();
	assert_int_equal(answer_to(later, &p, sizeof(p)), 0);
}

static bool is_lost(struct rig *r, void *arg)
{
	return r->lost != 0;
}

/* Every call is answered once, then we are told once. */
static void test_loss(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	int counts[3][2] = { 0 };

	assert_int_equal(kill(keeper, SIGSTOP), 0);
	assert_int_equal(keeper_client_list(rig.client, count_call, counts[0]), 0);
	assert_int_equal(keeper_client_signal(rig.client, "c/1", 1, count_call, counts[1]), 0);
	assert_int_equal(keeper_client_signal(rig.client, "c/1", 1, NULL, NULL), 0);
	assert_int_equal(keeper_client_forget(rig.client, "c/1", count_call, counts[2]), 0);
	assert_int_equal(kill(keeper, SIGKILL), 0);
	assert_true(rig_run_until(&rig, is_lost, NULL, 60 * USEC_PER_SEC));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(counts[i][0], 1);
		assert_int_equal(counts[i][1], -ECONNRESET);
	}

	assert_false(keeper_client_is_connected(rig.client));
	assert_int_equal(keeper_client_list(rig.client, count_call, counts[0]), -ENOTCONN);
	assert_int_equal(counts[0][0], 1);
	assert_int_equal(rig_open(&rig), KEEPER_CLIENT_SPAWNED);
}

static void test_free_cancels(void **state)
{
	pid_t keeper = keeper_client_hello(rig.client)->pid;
	int counts[2] = { 0 };

	assert_int_equal(kill(keeper, SIGSTOP), 0);
	assert_int_equal(keeper_client_list(rig.client, count_call, counts), 0);
	keeper_client_free(TAKE_PTR(rig.client));
	assert_int_equal(counts[0], 1);
	assert_int_equal(counts[1], -ECANCELED);
	assert_int_equal(kill(keeper, SIGCONT), 0);
	assert_int_equal(rig_open(&rig), KEEPER_CLIENT_FOUND);
	assert_int_equal(rig.lost, 0);
}

static void test_bad_keys(void **state)
{
	char key[KEEPER_KEY_MAX + 1];

	memset(key, 'k', KEEPER_KEY_MAX);
	key[KEEPER_KEY_MAX] = '\0';
	assert_int_equal(keeper_client_signal(rig.client, key, 1, NULL, NULL), -EINVAL);
	assert_int_equal(keeper_client_signal(rig.client, "", 1, NULL, NULL), -EINVAL);
}

static void test_build_id(void **state)
{
	char id[44];

	assert_int_equal(keeper_build_id_of(rig.binary, id, sizeof(id)), 0);
	assert_string_equal(id, keeper_client_hello(rig.client)->build_id);
	assert_int_equal(strlen(id), 40);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_random_messages),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_too_many_connections),
		cmocka_unit_test(test_who_does_not_read),
		cmocka_unit_test(test_other_users),
		cmocka_unit_test(test_one_keeper_a_directory),
		cmocka_unit_test(test_foreground),
		cmocka_unit_test(test_directory_removed),
		cmocka_unit_test(test_deadline_of_a_call),
		cmocka_unit_test(test_busy_keeper),
		cmocka_unit_test(test_withdrawn),
		cmocka_unit_test(test_queue_is_bounded),
		cmocka_unit_test(test_no_files_left),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_free_cancels),
		cmocka_unit_test(test_bad_keys),
		cmocka_unit_test(test_build_id),
	};
	int r;

	r = argc == 2 ? rig_init(&rig, argv[1]) : 2;
	if (r != 0)
		return r;

	r = cmocka_run_group_tests(tests, NULL, NULL);
	rig_done(&rig);
	return r;
}
