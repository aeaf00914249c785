/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/lifecycle: what create, start, exec, stop and destroy cost, beside a bare clone3 + exec and beside
 * crun, runc and lxc.
 *
 * usage: lifecycle [--runs N] [--json FILE] [--only WHO] CTCTL TREE
 *
 * CTCTL is the command line of a build whose daemon runs (bench/lifecycle.sh starts one); its templates
 * "tiny" and "first" exist. TREE is a copy of the tiny template's files for the peers. The same init
 * (bench/first.c) runs in all; each verb is a whole process, from fork to exit status, interleaved over the
 * contenders so that the machine's mood meets all alike. Peers are run as they come from Debian; those that
 * are missing or cannot run here are left out and named.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "bench/measure.h"

enum { VERB_CREATE, VERB_START, VERB_EXEC, VERB_STOP, VERB_DESTROY, VERB_ALL, VERB_N };
static const char *const verb_names[VERB_N] = { "create", "start", "exec true", "stop (kill)", "destroy",
	"create..destroy" };

struct contender {
	const char *who;
	/* Argument vectors of the verbs; NULL: has none (counted as nothing). */
	const char *const *argv[VERB_ALL];
	const char *const *prepare; /* before each round, not timed; may be NULL */
	struct samples samples[VERB_N];
	bool usable;
};

static uint64_t realtime_nsec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* a valid clock */
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* Time from the call of clone3 with the namespaces of a container to the first instruction of what it
 * executes. */
static int floor_once(const char *first, struct samples *s)
{
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
		         CLONE_NEWUTS | CLONE_NEWCGROUP,
		.exit_signal = SIGCHLD,
	};
	char text[64] = "";
	uint64_t begin, first_nsec = 0;
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	begin = realtime_nsec();
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		if (dup2(p[1], STDOUT_FILENO) >= 0)
			(void)execl(first, first, "floor", NULL); /* on failure: exit */
		_exit(EXIT_FAILURE);
	}
	(void)close(p[1]);
	if (pid > 0) {
		(void)read_all(p[0], text, sizeof(text) - 1); /* an empty text is seen below */
		(void)waitpid(pid, NULL, 0);                  /* our child */
	}
	(void)close(p[0]);
	if (pid < 0 || sscanf(text, "first %lu", &first_nsec) != 1)
		return -EIO;
	samples_add(s, (first_nsec - begin) / 1000);
	return 0;
}

/* From the start of the command line program to the first instruction of init, which is in the console's log.
 */
static int first_once(const char *ctctl, const char *name, struct samples *s)
{
	const char *const create[] = { ctctl, "create", name, "--template", "first", NULL },
	                  *const start[] = { ctctl, "start", name, NULL };
	const char *const log[] = { ctctl, "--socket", getenv("CTD_SOCKET") ?: "", "log", name, NULL },
	                  *const destroy[] = { ctctl, "destroy", name, "--force", NULL };
	_cleanup_free_ char *text = NULL;
	uint64_t begin, first_nsec = 0;
	const char *found;

	(void)measure_must(create);
	begin = realtime_nsec();
	(void)measure_must(start);
	(void)usleep(2000); /* what it printed reaches the keeper */
	if (process_run(log, 10 * USEC_PER_SEC, 65536, &text) == 0 && (found = strstr(text, "first ")) &&
	        sscanf(found, "first %lu", &first_nsec) == 1)
		samples_add(s, (first_nsec - begin) / 1000);
	(void)measure_must(destroy);
	return 0;
}

static int contender_once(struct contender *c)
{
	uint64_t all = 0;

	if (c->prepare && measure_run(c->prepare) < 0)
		return -EIO;
	for (int v = 0; v < VERB_ALL; v++) {
		int64_t usec;

		if (!c->argv[v])
			continue;
		usec = measure_run(c->argv[v]);
		if (usec < 0)
			return -EIO;
		samples_add(&c->samples[v], (uint64_t)usec);
		if (v != VERB_EXEC)
			all += (uint64_t)usec;
	}
	samples_add(&c->samples[VERB_ALL], all);
	return 0;
}

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void probe(struct contender *contenders, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct contender *c = &contenders[i];

		for (int v = 0; v < VERB_N; v++) {
			c->samples[v].who = c->who;
			c->samples[v].what = verb_names[v];
		}
		c->usable = contender_once(c) == 0;
		if (!c->usable)
			(void)printf("# %s: not installed, or cannot run here\n", c->who);
		for (int v = 0; v < VERB_N; v++)
			c->samples[v].n = 0; /* the first run is a warm-up */
	}
}

static int write_json(const char *path, struct samples *floor, struct samples *first,
        struct contender *contenders, size_t n)
{
	_cleanup_fclose_ FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	(void)fputs("[", file);
	samples_json(file, floor, 1);
	samples_json(file, first, 0);
	for (size_t i = 0; i < n; i++)
		for (int v = 0; contenders[i].usable && v < VERB_N; v++)
			if (contenders[i].samples[v].n)
				samples_json(file, &contenders[i].samples[v], 0);
	(void)fputs("\n]\n", file);
	return ferror(file) ? -EIO : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "runs", required_argument, NULL, 'n' },
		{ "json", required_argument, NULL, 'j' },
		{ NULL },
	};
	static struct samples floor = { .who = "floor", .what = "clone3 + exec to 1st instr." };
	static struct samples first = { .who = "ctctl", .what = "start to 1st instruction" };
	const char *json = NULL, *ctctl, *bundle, *program;
	uint32_t runs = 60;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'j')
			json = optarg;
		else if (option != 'n' || parse_u32(optarg, &runs) < 0)
			return 2;
	}
	if (argc - optind != 3) {
		(void)fprintf(stderr, "usage: lifecycle [--runs N] [--json FILE] CTCTL FIRST BUNDLE\n");
		return 2;
	}
	ctctl = argv[optind];
	program = argv[optind + 1];
	bundle = argv[optind + 2];
	_cleanup_free_ char *tree = str_printf("%s/rootfs", bundle), *copy = str_printf("%s/lxc", bundle);

	if (!tree || !copy)
		return EXIT_FAILURE;

	struct contender contenders[] = {
		{ "ctctl", { ARGV(ctctl, "create", "b", "--template", "first"), ARGV(ctctl, "start", "b"),
		                   ARGV(ctctl, "exec", "b", "--", "/true"), ARGV(ctctl, "kill", "b"),
		                   ARGV(ctctl, "destroy", "b") } },
		{ "crun",
		        { ARGV("crun", "create", "--bundle", bundle, "ctdbench"),
		                ARGV("crun", "start", "ctdbench"), ARGV("crun", "exec", "ctdbench", "/true"),
		                ARGV("crun", "kill", "ctdbench", "KILL"),
		                ARGV("crun", "delete", "--force", "ctdbench") } },
		{ "runc",
		        { ARGV("runc", "create", "--bundle", bundle, "ctdbench"),
		                ARGV("runc", "start", "ctdbench"), ARGV("runc", "exec", "ctdbench", "/true"),
		                ARGV("runc", "kill", "ctdbench", "KILL"),
		                ARGV("runc", "delete", "--force", "ctdbench") } },
		{ "lxc",
		        { ARGV("lxc-create", "-n", "ctdbench", "-t", "none", "-f", "/run/ctd-bench-lxc.conf"),
		                ARGV("lxc-start", "-n", "ctdbench"),
		                ARGV("lxc-attach", "-n", "ctdbench", "--", "/true"),
		                ARGV("lxc-stop", "-k", "-n", "ctdbench"),
		                ARGV("lxc-destroy", "-n", "ctdbench") },
		        .prepare = ARGV("cp", "-a", tree, copy) /* lxc-destroy removes it */ },
	};

	probe(contenders, ARRAY_SIZE(contenders));
	for (uint32_t i = 0; i < runs; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "f%u", i);
		if (floor_once(program, &floor) < 0)
			(void)fprintf(stderr, "bench: the floor's run failed\n");
		(void)first_once(ctctl, name, &first);
		for (size_t c = 0; c < ARRAY_SIZE(contenders); c++)
			if (contenders[c].usable && contender_once(&contenders[c]) < 0)
				(void)fprintf(stderr, "bench: a run of %s failed\n", contenders[c].who);
	}

	(void)printf("%-10s %-28s %9s %9s %6s  %6s\n", "who", "what", "p50 ms", "p99 ms", "runs", "ratio");
	samples_print(&floor, &floor);
	samples_print(&first, &floor);
	for (int v = 0; v < VERB_N; v++)
		for (size_t c = 0; c < ARRAY_SIZE(contenders); c++)
			if (contenders[c].usable && contenders[c].samples[v].n)
				samples_print(&contenders[c].samples[v], &contenders[0].samples[v]);
	if (json && write_json(json, &floor, &first, contenders, ARRAY_SIZE(contenders)) < 0) {
		(void)fprintf(stderr, "bench: cannot write \"%s\"\n", json);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
