// SPDX-License-Identifier: Apache-2.0
/* Signals: the operator's go through the loop, the fatal ones are answered on the spot. */
#include "signals.h"
#include "../seccomp/filters.h"
#include "log.h"
#include "term.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	int signo;
	int code;
	const char *line;
} fatal[] = {
	{ SIGSYS, EXIT_FORBIDDEN, "mayfly: fatal: a forbidden system call\n" },
	{ SIGBUS, 149,
	  "mayfly: fatal: SIGBUS (was a kernel, an initrd or a memory file cut short?)\n" },
	{ SIGSEGV, 150, "mayfly: fatal: SIGSEGV; please report it\n" },
	{ SIGXFSZ, 151, "mayfly: fatal: SIGXFSZ (the file size limit is too low)\n" },
	{ SIGXCPU, 154, "mayfly: fatal: SIGXCPU (the CPU time limit is used up)\n" },
	{ SIGILL, 157, "mayfly: fatal: SIGILL; please report it\n" },
	{ SIGABRT, 134, "mayfly: fatal: aborted\n" },
	{ SIGFPE, 136, "mayfly: fatal: SIGFPE; please report it\n" },
};

/* musl's snprintf() takes neither locks nor memory for this. */
void signals_say_shutdown(int signo, int code)
{
	char line[80];
	const int n =
		snprintf(line, sizeof(line),
			 "Shutting down VM after intercepting signal %d, code %d.\n", signo, code);

	log_raw(line, (size_t)n);
}

/* From a filter of seccomp/filters.h: what the thread wanted it does not get, nor anything more. */
static void say_forbidden(int call)
{
	char line[128];
	const int n =
		snprintf(line, sizeof(line),
			 "mayfly: fatal: a forbidden system call: %s (%d), by the thread %s\n",
			 filter_call_name(call), call, filter_thread());

	log_raw(line, (size_t)n);
	_exit(EXIT_FORBIDDEN);
}

static void on_fatal(int signo, siginfo_t *info, void *context)
{
	(void)context;
	term_restore();
	signals_say_shutdown(signo, info->si_code);
	if (signo == SIGSYS && info->si_code == FILTER_SI_CODE)
		say_forbidden(info->si_syscall);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		if (fatal[i].signo != signo)
			continue;
		log_raw(fatal[i].line, strlen(fatal[i].line));
		_exit(fatal[i].code);
	}
	_exit(EXIT_MONITOR);
}

void signals_catch_fatal(void)
{
	const struct sigaction action = { .sa_sigaction = on_fatal,
					  .sa_flags = SA_RESETHAND | SA_SIGINFO };

	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i].signo, &action, NULL);
}

void signals_unblock_fatal(sigset_t *set)
{
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigdelset(set, fatal[i].signo);
}

static void read_next(struct signals *s)
{
	loop_read(s->loop, &s->op, s->file, &s->info, sizeof(s->info));
}

void signals_ask(struct signals *s, int signo)
{
	if (s->is_asked) {
		loop_stop(s->loop);
		return;
	}
	s->is_asked = true;
	s->end->signal = signo;
	end_now(s->end, END_SIGNAL);
	if (s->end->reason != END_SIGNAL) /* it has ended, and waits for its reader */
		loop_timeout(s->loop, &s->grace_op, &s->grace, GRACE_MS);
}

/*
 * The loop's thread is the process's first. It goes on from here when it is continued, and at once
 * in an orphaned process group, which nobody would continue: there the kernel does not stop it.
 */
static void stop(const struct signals *s)
{
	sigset_t stop, old;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	term_lend();
	syscall(SYS_tgkill, s->pid, s->pid, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, &old);
	sigprocmask(SIG_SETMASK, &old, NULL);
	term_take_back();
}

static void on_signal(struct op *op, int res)
{
	struct signals *s = container_of(op, struct signals, op);

	if (res == (int)sizeof(s->info)) {
		if (s->info.ssi_signo == SIGTSTP)
			stop(s);
		else if (s->info.ssi_signo == SIGCONT)
			term_take_back();
		else
			signals_ask(s, (int)s->info.ssi_signo);
	}
	read_next(s);
}

static void on_grace_over(struct op *op, int res)
{
	struct signals *s = container_of(op, struct signals, grace_op);

	(void)res; /* -ETIME */
	loop_stop(s->loop);
}

/* A signal that the caller had us ignore (nohup, a shell's background job) stays ignored. */
static void take(sigset_t *set, int signo)
{
	struct sigaction old;

	if (sigaction(signo, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaddset(set, signo);
}

int signals_init(struct signals *s, struct loop *loop, struct end *end)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN); /* a reader that is gone shows as EPIPE */
	sigemptyset(&set);
	take(&set, SIGINT);
	take(&set, SIGTERM);
	take(&set, SIGHUP);
	take(&set, SIGQUIT);
	take(&set, SIGTSTP);
	take(&set, SIGCONT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->loop = loop;
	s->end = end;
	s->pid = getpid();
	s->is_asked = false;
	s->op.done = on_signal;
	s->grace_op.done = on_grace_over;
	/* What does not block is read without one of the ring's workers, also before Linux 6.10. */
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->fd < 0)
		return fail(-errno, "signalfd");
	s->file = loop_file(loop, s->fd);
	if (s->file < 0)
		return fail(s->file, "signalfd");
	read_next(s);
	return 0;
}
