// SPDX-License-Identifier: Apache-2.0
/*
 * However a measuring program ends, by ^C, by its own die() or by a bug, its folder is removed, and
 * after the last of its monitors, which may still write there: hence by a process that does nothing
 * else. Called once by each main() that needs files.
 */
#include "folder.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const int ends[] = { SIGHUP, SIGINT, SIGTERM };
#define ENDS (sizeof(ends) / sizeof(ends[0]))

static pid_t measuring;
static volatile sig_atomic_t ended_by;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static bool make_in(const char *where, char *dir, size_t size)
{
	const int n = snprintf(dir, size, "%s/mayfly-bench.XXXXXX", where);

	return n > 0 && (size_t)n < size && mkdtemp(dir);
}

static void end_measuring(int signo)
{
	ended_by = signo;
	kill(measuring, SIGKILL);
}

static void on_ends(void (*handler)(int signo))
{
	for (size_t i = 0; i < ENDS; i++)
		signal(ends[i], handler);
}

/* The exit status of the one that measures, once nobody is left of those it has started. */
static int await_all(void)
{
	int status, code = EXIT_FAILURE;
	pid_t pid;

	while ((pid = wait(&status)) > 0 || errno == EINTR)
		if (pid == measuring) {
			on_ends(SIG_IGN);
			code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		}
	return ended_by ? 128 + ended_by : code;
}

static void remove_folder(const char *dir)
{
	const pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", dir, (char *)NULL);
		_exit(EXIT_FAILURE);
	}
	waitpid(pid, NULL, 0);
}

void folder_make(char *dir, size_t size, const char *where)
{
	const char *tmp = getenv("TMPDIR");
	sigset_t held, before;
	int code;

	sigemptyset(&held);
	for (size_t i = 0; i < ENDS; i++)
		sigaddset(&held, ends[i]);
	sigprocmask(SIG_BLOCK, &held, &before);
	if (!make_in(tmp ? tmp : where, dir, size) && !make_in("/tmp", dir, size))
		die(dir);
	/* The monitors of a child that has ended are ours to wait for; PDEATHSIG ends them. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	measuring = fork();
	if (measuring < 0)
		die("fork");
	if (measuring == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &before, NULL);
		return;
	}
	on_ends(end_measuring);
	sigprocmask(SIG_SETMASK, &before, NULL);
	code = await_all();
	remove_folder(dir);
	exit(code);
}
