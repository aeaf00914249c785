/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An init that says when it began: CLOCK_REALTIME, which no namespace shifts, in nanoseconds, to its standard
 * output (the console of a container, the pipe of the floor's run); then it waits for its end. Static, so
 * that its own start is short and the same everywhere.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void end(int signo)
{
	_exit(0);
}

int main(int argc, char **argv)
{
	struct timespec now;
	char text[40];
	int len;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* a valid clock */
	len = snprintf(text, sizeof(text), "first %llu\n",
	        (unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec);
	if (write(STDOUT_FILENO, text, (size_t)len) != len)
		return EXIT_FAILURE;
	if (argc > 1) /* the floor: no need to stay */
		return EXIT_SUCCESS;
	if (signal(SIGTERM, end) == SIG_ERR)
		return EXIT_FAILURE;
	for (;;)
		(void)pause();
}
