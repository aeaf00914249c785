/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd: options, signals, the loop. See ctd(8). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/memory.h"

#define DEFAULT_CONFIG "/etc/ctd/ctd.conf"

static const char usage[] =
        "Usage: ctd [options]\n"
        "\n"
        "The daemon of virtual private servers; ctctl talks to it.\n"
        "\n"
        "  --config FILE    configuration (default " DEFAULT_CONFIG ", which may be missing)\n"
        "  --state DIR      database, templates, disks (default /var/lib/ctd)\n"
        "  --runtime DIR    sockets (default /run/ctd)\n"
        "  --socket PATH    where the API is served (default RUNTIME/ctd.sock)\n"
        "  --recipes DIR    template recipes\n"
        "  --foreground     do not detach; log to standard error\n"
        "  --debug          log more\n"
        "  --version, --help\n";

enum {
	OPT_CONFIG = 256,
	OPT_STATE,
	OPT_RUNTIME,
	OPT_SOCKET,
	OPT_RECIPES,
	OPT_FOREGROUND,
	OPT_DEBUG,
	OPT_VERSION,
	OPT_HELP
};

static const struct option options[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "runtime", required_argument, NULL, OPT_RUNTIME },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "recipes", required_argument, NULL, OPT_RECIPES },
	{ "foreground", no_argument, NULL, OPT_FOREGROUND },
	{ "debug", no_argument, NULL, OPT_DEBUG },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL },
};

static int set_text(char **target, const char *value)
{
	free(*target);
	*target = strdup(value);
	return *target ? 0 : -ENOMEM;
}

/* 0: go on; 1: done, exit with success; negative: usage. */
static int parse_options(int argc, char **argv, struct conf *conf, const char **config_path)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		int r = 0;

		switch (option) {
		case OPT_CONFIG: *config_path = optarg; break;
		case OPT_STATE: r = set_text(&conf->state_dir, optarg); break;
		case OPT_RUNTIME: r = set_text(&conf->runtime_dir, optarg); break;
		case OPT_SOCKET: r = set_text(&conf->socket, optarg); break;
		case OPT_RECIPES: r = set_text(&conf->recipe_dir, optarg); break;
		case OPT_FOREGROUND: conf->foreground = true; break;
		case OPT_DEBUG: conf->debug = true; break;
		case OPT_VERSION: (void)printf("ctd %s\n", CTD_VERSION); return 1;
		case OPT_HELP: (void)fputs(usage, stdout); return 1;
		default: return -EINVAL;
		}
		if (r < 0)
			return r;
	}
	if (optind < argc) {
		(void)fprintf(stderr, "ctd: \"%s\" is not an option; see ctd --help\n", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* Writes into containers' files must meet their quota: a process with this capability ignores it. It stays
 * permitted: opening many fds may need it. */
static void drop_resource_override(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) == 0) {
		data[0].effective &= ~(1u << CAP_SYS_RESOURCE);
		(void)syscall(SYS_capset, &header, data); /* giving up cannot be refused */
	}
}

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* up to the hard limit: allowed */
	}
}

static int prepare_process(struct ct_error *err)
{
	if (geteuid() != 0)
		return ct_error_kind_set(err, CT_ERROR_PERMISSION, -EPERM, "ctd must run as root");
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return ct_error_set(err, -errno, "signal", "cannot ignore SIGPIPE: %s", strerror(errno));
	(void)umask(022);
	memory_begin();
	raise_fd_limit();
	drop_resource_override();
	return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
	struct manager *m = userdata;

	log_info("ending on signal %u; containers run on", si->ssi_signo);
	(void)sd_event_exit(m->event, 0); /* cannot fail in a running loop */
	return 0;
}

static int catch_signals(struct manager *m, struct ct_error *err)
{
	static const int signals[] = { SIGTERM, SIGINT };
	sigset_t set;
	int r = 0;

	(void)sigemptyset(&set); /* constants: cannot fail */
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return ct_error_set(err, -errno, "signal", "cannot block signals: %s", strerror(errno));
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(signals); i++)
		r = sd_event_add_signal(m->event, NULL, signals[i], on_signal, m);
	if (r >= 0)
		r = sd_event_set_watchdog(m->event, true);
	return r < 0 ? ct_error_set(err, r, "signal", "cannot watch signals: %s", strerror(-r)) : 0;
}

/* Leaves a parent behind that ends when we are ready, or have failed. Before anything else is made: an event
 * loop and locks do not survive a fork. */
static int detach_begin(int *ret_ready_fd, struct ct_error *err)
{
	int fds[2];
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "daemon", "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return ct_error_set(err, -errno, "daemon", "cannot detach: %s", strerror(errno));
	if (pid > 0) {
		(void)close(fds[1]);
		_exit(read_all(fds[0], &byte, 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	(void)close(fds[0]);
	(void)setsid(); /* a new child leads nothing yet */
	*ret_ready_fd = fds[1];
	return 0;
}

/* Lets go of the terminal, and of the parent. */
static int detach_end(int ready_fd, struct ct_error *err)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || chdir("/") < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	        write_all(ready_fd, "", 1) < 0 || dup2(null, STDERR_FILENO) < 0)
		return ct_error_set(err, -errno, "daemon", "cannot detach: %s", strerror(errno));
	return 0;
}

static int serve(const struct conf *conf, struct ct_error *err)
{
	_cleanup_close_ int ready_fd = -1;
	struct manager *m = NULL;
	bool let_go;
	int r = 0;

	if (!conf->foreground)
		r = detach_begin(&ready_fd, err);
	if (r >= 0)
		r = manager_new(conf, &m, err);
	if (r >= 0)
		r = catch_signals(m, err);
	if (r >= 0 && memory_watch(m->event, &let_go) < 0)
		log_notice("memory is not given back: out of memory");
	if (r >= 0) {
		log_info("ctd %s is ready, instance %s, state in %s", CTD_VERSION, m->tag, conf->state_dir);
		(void)sd_notify(false, "READY=1"); /* nobody may be listening */
		r = ready_fd >= 0 ? detach_end(ready_fd, err) : 0;
	}
	if (r >= 0) {
		r = sd_event_loop(m->event);
		if (r < 0)
			(void)ct_error_set(err, r, "loop", "the event loop failed: %s", strerror(-r));
	}
	manager_free(m);
	return r;
}

int main(int argc, char **argv)
{
	const char *config_path = NULL;
	struct ct_error error = { 0 };
	struct conf conf;
	int r;

	conf_init(&conf);
	r = parse_options(argc, argv, &conf, &config_path);
	if (r != 0) {
		conf_done(&conf);
		return r < 0 ? 2 : 0;
	}

	log_set("ctd", conf.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	r = conf_read(&conf, config_path ?: DEFAULT_CONFIG, config_path, &error);
	if (r >= 0)
		r = conf_finish(&conf, &error);
	if (r >= 0)
		r = prepare_process(&error);
	if (r >= 0)
		r = serve(&conf, &error);
	if (r < 0)
		log_error("%s", error.text);
	conf_done(&conf);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
