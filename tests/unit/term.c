// SPDX-License-Identifier: Apache-2.0
/* The terminal: of a session of the test's own, in which its process goes to the background and
 * back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/term.h"

/* What is wrong, in the process whose terminal it is; its end tells. */
static void holds(bool it, int which)
{
	if (!it)
		_exit(which);
}

static bool is_raw(void)
{
	struct termios t;

	holds(tcgetattr(STDIN_FILENO, &t) == 0, 100);
	return !(t.c_lflag & ICANON);
}

static void give_terminal(pid_t group)
{
	signal(SIGTTOU, SIG_IGN);
	holds(tcsetpgrp(STDIN_FILENO, group) == 0, 101);
	signal(SIGTTOU, SIG_DFL);
}

/* In a group of its own, as a shell starts it; the shell's is its parent. */
static _Noreturn void job(void)
{
	const int null = open("/dev/null", O_RDONLY);
	const pid_t shell = getppid();

	holds(setpgid(0, 0) == 0, 102);
	give_terminal(getpgrp());
	term_look();
	holds(term_is_usable(), 1);
	give_terminal(shell); /* Ctrl-Z and bg */
	holds(!term_is_usable(), 2);
	holds(term_raw() == -EINTR && !is_raw(), 3); /* nor is anybody stopped */
	give_terminal(getpgrp());		     /* fg */
	holds(term_is_usable(), 4);
	holds(term_raw() == 0 && is_raw(), 5);
	term_lend(); /* a stop */
	holds(!is_raw(), 8);
	give_terminal(shell); /* bg */
	term_take_back();
	holds(!is_raw(), 9);
	give_terminal(getpgrp()); /* fg */
	term_take_back();
	holds(is_raw(), 10);
	give_terminal(shell);
	term_restore();
	holds(!is_raw(), 6);
	give_terminal(getpgrp());
	dup2(null, STDIN_FILENO);
	holds(!term_is_usable(), 7);
	_exit(0);
}

static _Noreturn void session(const char *terminal)
{
	int status;
	pid_t child;

	setsid();
	close(STDIN_FILENO);
	holds(open(terminal, O_RDWR) == STDIN_FILENO, 103);
	ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	child = fork();
	if (child == 0)
		job();
	waitpid(child, &status, WUNTRACED);
	kill(child, SIGKILL); /* where it is stopped */
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

static void foreground(void **state)
{
	const int master = posix_openpt(O_RDWR | O_NOCTTY);
	pid_t child;
	int status;

	(void)state;
	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	child = fork();
	if (child == 0)
		session(ptsname(master));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "it is usable in the foreground, as long as that lasts", foreground, NULL, NULL,
		  NULL },
	};

	return cmocka_run_group_tests_name("term", tests, NULL, NULL);
}
