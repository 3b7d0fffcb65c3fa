// SPDX-License-Identifier: Apache-2.0
/*
 * What the jail costs: the same microVM with it and without, in turns. Prints the lines that
 * bench/report.c describes; called by bench/jail as `jail MAYFLY HOST MACHINE RUNS STARTS
 * OPTION...`, the options being those that leave all confinement out.
 */
#include "values.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAIRS	   15u /* of single starts in a run: their median is the run's figure */
#define STARTS_MAX 10000u
#define WORDS_MAX  16

static const char *jailed[WORDS_MAX] = { NULL, "run", "--kernel", "build/guest/hello.elf" };
static const char *plain[WORDS_MAX] = { NULL, "run", "--kernel", "build/guest/hello.elf" };

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static double now_us(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		die("clock_gettime");
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Between vfork and exec nothing but system calls is done. */
static pid_t start(const char *const *argv, int null)
{
	const pid_t pid = vfork();

	if (pid < 0)
		die("vfork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

/* Its CPU time in microseconds, all threads, user and kernel, from exec to the end. */
static double end(pid_t pid)
{
	struct rusage usage;
	int status;

	if (wait4(pid, &status, 0, &usage) != pid)
		die("wait4");
	if (status) {
		fprintf(stderr, "bench: jail: a microVM ended with %d; see '%s run --kernel %s'\n",
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), jailed[0],
			jailed[3]);
		exit(EXIT_FAILURE);
	}
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static double all_at_once(const char *const *argv, int null, unsigned starts)
{
	static pid_t pids[STARTS_MAX];
	const double begin = now_us();

	for (unsigned i = 0; i < starts; i++)
		pids[i] = start(argv, null);
	for (unsigned i = 0; i < starts; i++)
		end(pids[i]);
	return now_us() - begin;
}

static double median(double values[PAIRS])
{
	values_sort(values, PAIRS);
	return values_median(values, PAIRS);
}

/* What the kernel still has to take down of the last ones is not the next one's. */
static void settle(void)
{
	const struct timespec pause = { .tv_nsec = 300000000 };

	nanosleep(&pause, NULL);
}

static void one_run(unsigned run, unsigned starts, int null)
{
	double cpu[2][PAIRS], wall[2][PAIRS], added[PAIRS];
	double many[2];

	for (unsigned i = 0; i < PAIRS; i++) {
		for (unsigned p = 0; p < 2; p++) {
			const double begin = now_us();

			cpu[p][i] = end(start(p ? plain : jailed, null));
			wall[p][i] = now_us() - begin;
		}
		added[i] = cpu[0][i] - cpu[1][i];
	}
	for (unsigned i = 0; i < 2; i++) { /* who goes first changes from run to run */
		const unsigned p = (i + run) % 2;

		settle();
		many[p] = all_at_once(p ? plain : jailed, null, starts);
	}
	printf("{\"who\":\"jailed\",\"run\":%u,\"cpu\":%.0f,\"cpu_added\":%.0f,\"wall\":%.0f,\"many\":%.0f}\n",
	       run, median(cpu[0]), median(added), median(wall[0]), many[0]);
	printf("{\"who\":\"plain\",\"run\":%u,\"cpu\":%.0f,\"wall\":%.0f,\"many\":%.0f}\n", run,
	       median(cpu[1]), median(wall[1]), many[1]);
	fflush(stdout);
}

static void describe(const char *host, const char *machine, unsigned runs, unsigned starts)
{
	printf("{\"bench\":\"jail\",\"title\":\"mayfly run with the jail and without on %s (%s), hello "
	       "guest from exec to exit; %u runs of %u pairs. CPU: of its own threads; what the "
	       "kernel's workers clear away is not in it\"}\n",
	       host, machine, runs, PAIRS);
	printf("{\"figure\":\"cpu\",\"label\":\"a start and its end, CPU\",\"unit\":\"us\",\"plot\":false}\n"
	       "{\"figure\":\"cpu_added\",\"label\":\"of it the jail's\",\"unit\":\"us\",\"plot\":false}\n"
	       "{\"figure\":\"wall\",\"label\":\"a start and its end, wall\",\"unit\":\"us\",\"plot\":false}\n"
	       "{\"figure\":\"many\",\"label\":\"%u at once, wall\",\"unit\":\"us\",\"plot\":false}\n",
	       starts);
	if (!strcmp(host, "native"))
		printf("{\"target\":\"cpu_added\",\"who\":\"jailed\",\"at_most\":1000}\n");
	printf("{\"target\":\"many\",\"who\":\"jailed\",\"over\":\"plain\",\"at_most\":1.3}\n");
}

int main(int argc, char **argv)
{
	const unsigned runs = argc > 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
	const unsigned starts = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 0;
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		die("/dev/null");
	if (runs == 0 || starts > STARTS_MAX || argc - 6 > WORDS_MAX - 5) {
		fprintf(stderr,
			"bench: jail: give a program, a host, its machine, runs, and at most %u starts\n",
			STARTS_MAX);
		return EXIT_FAILURE;
	}
	jailed[0] = plain[0] = argv[1];
	for (int i = 6; i < argc; i++)
		plain[i - 2] = argv[i];
	describe(argv[2], argv[3], runs, starts);
	for (unsigned i = 0; i < runs; i++)
		one_run(i, starts, null);
	return 0;
}
