// SPDX-License-Identifier: Apache-2.0
/* The terminal on standard input: one per process, hence static. */
#include "term.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved, raw;
static atomic_bool is_raw;
static bool was_in_foreground;
static pid_t own_group;

void term_look(void)
{
	own_group = getpgrp();
	was_in_foreground = tcgetpgrp(STDIN_FILENO) == own_group;
}

/* In a PID namespace of ours a group outside of it is 0, as our own is. */
static bool is_in_foreground(void)
{
	const pid_t group = tcgetpgrp(STDIN_FILENO);

	return group > 0 ? group == own_group : was_in_foreground;
}

bool term_is_usable(void)
{
	return isatty(STDIN_FILENO) && is_in_foreground();
}

void term_size(unsigned *rows, unsigned *cols)
{
	struct winsize size = { 0 };

	ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
	*rows = size.ws_row;
	*cols = size.ws_col;
}

static void interrupt(int signal)
{
	(void)signal;
}

/*
 * From the background SIGTTOU stops a process; but not the first one of a PID namespace, for which
 * the kernel would begin again and again. There it is an error.
 */
static int set_or_fail(const struct termios *t)
{
	const struct sigaction action = { .sa_handler = interrupt };
	struct sigaction old;
	int err;

	sigaction(SIGTTOU, &action, &old);
	err = tcsetattr(STDIN_FILENO, TCSANOW, t) ? -errno : 0;
	sigaction(SIGTTOU, &old, NULL);
	return err;
}

int term_raw(void)
{
	int err;

	if (tcgetattr(STDIN_FILENO, &saved))
		return -errno;
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* a line of ours still begins at the left */
	err = set_or_fail(&raw);
	is_raw = !err;
	return err;
}

/* Put into the background meanwhile, the process would be stopped for this. */
static void set_anyway(const struct termios *t)
{
	sigset_t ttou, old;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	tcsetattr(STDIN_FILENO, TCSANOW, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void term_lend(void)
{
	if (is_raw)
		set_anyway(&saved);
}

void term_take_back(void)
{
	/* In a PID namespace of ours nobody knows whose it is now: it stays as it was lent. */
	if (is_raw && tcgetpgrp(STDIN_FILENO) == own_group)
		set_anyway(&raw);
}

void term_restore(void)
{
	if (atomic_exchange(&is_raw, false))
		set_anyway(&saved);
}
