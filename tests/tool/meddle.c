// SPDX-License-Identifier: Apache-2.0
/*
 * `meddle N SCRIPT COMMAND ARG...`: runs COMMAND, and SCRIPT by sh(1) just before the Nth system
 * call that it makes from its first new folder or process on: what another process may do at that
 * moment, to the process $PID or beside it. Ends as COMMAND does, or with 99 where that has entered
 * another root before, or ended, untouched.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNTOUCHED 99

/* The call at whose entry it stands; -1: at none's. */
static long entered(pid_t pid)
{
	struct __ptrace_syscall_info info = { 0 };

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0 ||
	    info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return -1;
	return (long)info.entry.nr;
}

/* Whether it stands before its Nth call now, and not behind its end or in its last root. */
static bool reaches(pid_t pid, int n)
{
	bool is_counting = false;
	int status, sig = 0;

	while (ptrace(PTRACE_SYSCALL, pid, NULL, sig) == 0 && waitpid(pid, &status, 0) == pid) {
		const long call = entered(pid);

		if (!WIFSTOPPED(status))
			return false;
		sig = WSTOPSIG(status) & 0x80 || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
		is_counting |= call == SYS_mkdir || call == SYS_mkdirat || call == SYS_fork;
		if (call == SYS_pivot_root)
			return false;
		if (call >= 0 && is_counting && --n == 0)
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	char number[16];
	int status;
	bool is_reached;
	pid_t pid;

	if (argc < 4)
		return 2;
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execv(argv[3], argv + 3);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		return 1;
	snprintf(number, sizeof(number), "%d", (int)pid);
	setenv("PID", number, 1);
	is_reached = reaches(pid, atoi(argv[1]));
	if (!is_reached) /* our end is its end */
		return UNTOUCHED;
	if (system(argv[2]) != 0)
		return 1;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	if (waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
