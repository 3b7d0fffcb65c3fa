// SPDX-License-Identifier: Apache-2.0
/* The terminal on standard input: one per process, hence static. */
#include "term.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static atomic_bool is_raw;
static bool is_in_foreground;

void term_look(void)
{
	is_in_foreground = tcgetpgrp(STDIN_FILENO) == getpgrp();
}

bool term_is_usable(void)
{
	return is_in_foreground && isatty(STDIN_FILENO);
}

void term_size(unsigned *rows, unsigned *cols)
{
	struct winsize size = { 0 };

	ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
	*rows = size.ws_row;
	*cols = size.ws_col;
}

int term_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved))
		return -errno;
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* a line of ours still begins at the left */
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		return -errno;
	is_raw = true;
	return 0;
}

void term_restore(void)
{
	sigset_t ttou, old;

	if (!atomic_exchange(&is_raw, false))
		return;
	/* Put into the background meanwhile, the process would be stopped for this. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}
