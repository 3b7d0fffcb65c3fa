// SPDX-License-Identifier: Apache-2.0
/*
 * Starts monitors, watches them, ends them. Called by the measuring programs; what a wall or CPU
 * time means is decided here and nowhere else. Every wait has a limit, and whatever goes wrong ends
 * the program with one line: a benchmark with a gap in it is no benchmark.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS	     1000000000ull
#define SMAPS_MAX    (4u << 20)
#define MAPPINGS_MAX 4096u
#define NOT_FOUND    127

__attribute__((format(printf, 2, 3))) static _Noreturn void die(struct child *c, const char *format,
								...)
{
	va_list list;

	fprintf(stderr, "bench: %s ", c->name);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	if (c->tail_len)
		fprintf(stderr, "bench: its output ends with: %.*s\n", (int)c->tail_len, c->tail);
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

/* A zombie still has its clock, so a process that ended right after the mark is no problem. */
static struct mark mark_now(const struct child *c)
{
	struct mark mark = { .wall_ns = now_ns(CLOCK_MONOTONIC) - c->start_ns };
	clockid_t clock;

	if (clock_getcpuclockid(c->pid, &clock) == 0)
		mark.cpu_ns = now_ns(clock);
	return mark;
}

/* Between vfork and exec: the parent waits, and nothing but system calls is done. */
static _Noreturn void become(const char *const *argv, int out)
{
	const int in = open("/dev/null", O_RDONLY);

	/* What ends us ends the monitor: a guest that is told to stay would stay for good. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	close(in);
	execvp(argv[0], (char *const *)argv);
	_exit(NOT_FOUND);
}

void child_start(struct child *c, const char *name, const char *const *argv)
{
	int fds[2];

	memset(c, 0, sizeof(*c));
	c->name = name;
	if (pipe2(fds, O_CLOEXEC))
		die(c, "has no pipe: %s", strerror(errno));
	c->start_ns = now_ns(CLOCK_MONOTONIC);
	c->pid = vfork();
	if (c->pid == 0)
		become(argv, fds[1]);
	if (c->pid < 0)
		die(c, "cannot be started: %s", strerror(errno));
	close(fds[1]);
	c->out = fds[0];
}

/* Keeps the last part of what came, with room for one more read. */
static void tail_trim(struct child *c)
{
	const unsigned keep = sizeof(c->tail) / 2;

	if (c->tail_len <= keep)
		return;
	memmove(c->tail, c->tail + c->tail_len - keep, keep);
	c->tail_len = keep;
}

/* Bytes read, 0 at the end of its output, -1 once the deadline has passed. */
static ssize_t read_some(struct child *c, uint64_t deadline_ns)
{
	for (;;) {
		const uint64_t now = now_ns(CLOCK_MONOTONIC);
		struct pollfd p = { .fd = c->out, .events = POLLIN };
		ssize_t n;

		if (now >= deadline_ns)
			return -1;
		if (poll(&p, 1, (int)((deadline_ns - now) / 1000000 + 1)) <= 0)
			continue;
		tail_trim(c);
		n = read(c->out, c->tail + c->tail_len, sizeof(c->tail) - c->tail_len);
		if (n > 0)
			c->tail_len += (unsigned)n;
		if (n >= 0)
			return n;
	}
}

bool child_said(const struct child *c, const char *text)
{
	return c->tail_len > 0 && memmem(c->tail, c->tail_len, text, strlen(text));
}

void child_await(struct child *c, const char *text, unsigned seconds, struct mark *first,
		 struct mark *found)
{
	const uint64_t deadline = now_ns(CLOCK_MONOTONIC) + seconds * NS;
	bool is_first = true;

	*first = *found = mark_now(c);
	while (!child_said(c, text)) {
		const ssize_t n = read_some(c, deadline);

		*found = mark_now(c);
		if (n < 0)
			die(c, "said no '%s' in %u s", text, seconds);
		if (n == 0)
			die(c, "ended without '%s'", text);
		if (is_first)
			*first = *found;
		is_first = false;
	}
}

static uint64_t timeval_ns(struct timeval tv)
{
	return (uint64_t)tv.tv_sec * NS + (uint64_t)tv.tv_usec * 1000;
}

/* Until the process has ended, its output drained meanwhile; false once the deadline has passed. */
static bool await_exit(struct child *c, uint64_t deadline_ns)
{
	const int pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN },
			       { .fd = c->out, .events = POLLIN } };

	if (pidfd < 0)
		die(c, "has no pidfd: %s", strerror(errno));
	while (!p[0].revents && now_ns(CLOCK_MONOTONIC) < deadline_ns) {
		if (poll(p, 2, 100) > 0 && p[1].revents && read_some(c, deadline_ns) == 0)
			p[1].fd = -1;
	}
	close(pidfd);
	return p[0].revents;
}

int child_end(struct child *c, unsigned seconds, struct mark *end, struct mark *closed)
{
	const uint64_t deadline = now_ns(CLOCK_MONOTONIC) + seconds * NS;
	struct rusage usage;
	int status;
	ssize_t n;

	*end = *closed = (struct mark){ 0 };
	if (!await_exit(c, deadline)) {
		child_kill(c);
		return -1;
	}
	end->wall_ns = now_ns(CLOCK_MONOTONIC) - c->start_ns;
	while (wait4(c->pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			die(c, "cannot be waited for: %s", strerror(errno));
	end->cpu_ns = timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
	do
		n = read_some(c, deadline);
	while (n > 0);
	if (n == 0)
		*closed = (struct mark){ .wall_ns = now_ns(CLOCK_MONOTONIC) - c->start_ns,
					 .cpu_ns = end->cpu_ns };
	close(c->out);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void child_kill(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->out);
}

static char *read_proc(const struct child *c, const char *file)
{
	static char text[SMAPS_MAX];
	char path[64];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)c->pid, file);
	f = fopen(path, "r");
	if (!f)
		return NULL;
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	return text;
}

static long rollup_kib(const struct child *c)
{
	const char *text = read_proc(c, "smaps_rollup");
	const char *pss = text ? strstr(text, "\nPss:") : NULL;

	return pss ? strtol(pss + 5, NULL, 10) : -1;
}

struct mapping {
	unsigned long begin, end;
	bool is_writable;
	long pss_kib;
};

static unsigned read_mappings(const struct child *c, struct mapping *maps)
{
	char *text = read_proc(c, "smaps"), *save = NULL;
	unsigned nr = 0;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		struct mapping m = { 0 };
		char mode[5];

		if (sscanf(line, "%lx-%lx %4s", &m.begin, &m.end, mode) == 3) {
			m.is_writable = mode[0] == 'r' && mode[1] == 'w';
			if (nr == MAPPINGS_MAX)
				break;
			maps[nr++] = m;
		} else if (nr && !strncmp(line, "Pss:", 4)) {
			maps[nr - 1].pss_kib = strtol(line + 4, NULL, 10);
		}
	}
	return nr;
}

/*
 * Guest RAM is the run of writable mappings without a gap that has just its size: one mapping, or
 * several where parts are mapped from a file.
 */
static long guest_pss_kib(const struct mapping *maps, unsigned nr, long guest_kib)
{
	for (unsigned first = 0; first < nr; first++) {
		long size = 0, pss = 0;

		for (unsigned i = first; i < nr && size < guest_kib; i++) {
			if (!maps[i].is_writable || (i > first && maps[i].begin != maps[i - 1].end))
				break;
			size += (long)((maps[i].end - maps[i].begin) >> 10);
			pss += maps[i].pss_kib;
		}
		if (size == guest_kib)
			return pss;
	}
	return -1;
}

struct memory child_memory(const struct child *c, long guest_kib)
{
	static struct mapping maps[MAPPINGS_MAX];
	const unsigned nr = read_mappings(c, maps);
	struct memory m = { .all_kib = rollup_kib(c),
			    .guest_kib = guest_pss_kib(maps, nr, guest_kib) };

	m.own_kib = m.all_kib < 0 || m.guest_kib < 0 ? -1 : m.all_kib - m.guest_kib;
	return m;
}
