/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's signals. SIGINT, SIGTERM, SIGHUP and SIGQUIT end the microVM through the loop, a
 * second one does not wait for the output's reader, and one to a microVM that has ended waits
 * GRACE_MS for it; around SIGTSTP and SIGCONT the terminal is the caller's; the ones that mean a
 * bug or a lost file restore the terminal, say so in one line and end the process with the exit
 * codes of the wire contract (148 to 157).
 */
#ifndef VMM_SIGNALS_H
#define VMM_SIGNALS_H

#include "end.h"
#include "loop.h"

#include <signal.h>
#include <sys/signalfd.h>

#define GRACE_MS 1000 /* for the last output, after a timeout or a signal */

struct signals {
	struct loop *loop;
	struct end *end;
	pid_t pid;
	int fd, file;
	struct signalfd_siginfo info;
	bool is_asked; /* once, to end */
	struct __kernel_timespec grace;
	struct op op, grace_op;
};

/* From here on the fatal ones end the process with a line and a code of their own. */
void signals_catch_fatal(void);

/* Those, which no thread may block: they are answered where they strike. */
void signals_unblock_fatal(sigset_t *set);

/* Before any thread is started: they inherit the mask. 0 or -errno, logged. */
int signals_init(struct signals *signals, struct loop *loop, struct end *end);

/* A line for tools that look for it: the number and the si_code. May be called by a handler. */
void signals_say_shutdown(int signo, int code);

/* Ends the microVM as if that signal had come. */
void signals_ask(struct signals *signals, int signo);

#endif
