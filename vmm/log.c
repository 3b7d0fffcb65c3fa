// SPDX-License-Identifier: Apache-2.0
/* One line, one write: see log.h. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LINE	    1024u
#define PATIENCE_MS 1000u /* for a slow reader */
#define PAUSE_MS    10u

static struct log_form form = { .fd = STDERR_FILENO, .level = LOG_TRACE };
static int terminal = -1; /* standard error, opened anew */
static atomic_uint_fast64_t missed;
/* A buffer in each thread would cost every start a mapping of its own for them. */
static char kept[LINE];
static _Thread_local char *last_failure; /* NULL: not kept */
static bool is_echoed;			 /* what failed */

static const char *const names[] = {
	[LOG_OFF] = "OFF",   [LOG_ERROR] = "ERROR", [LOG_WARN] = "WARN",
	[LOG_INFO] = "INFO", [LOG_DEBUG] = "DEBUG", [LOG_TRACE] = "TRACE",
};

void log_to(const struct log_form *to)
{
	form = *to;
}

void log_open_terminal(void)
{
	if (isatty(STDERR_FILENO))
		terminal = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_close_terminal(void)
{
	if (terminal >= 0)
		close(terminal);
	terminal = -1;
}

uint64_t log_missed(void)
{
	return missed;
}

bool log_is_on(enum log_level level)
{
	return level <= form.level;
}

void log_keep_failures(void)
{
	last_failure = kept;
}

void log_echo_failures(bool on)
{
	is_echoed = on;
}

const char *log_last_failure(void)
{
	return last_failure ? last_failure : "";
}

/* snprintf() for a line that is put together piece by piece; what does not fit is left out. */
struct text {
	char bytes[LINE];
	size_t used;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add_list(struct text *t, const char *fmt, va_list ap)
{
	const size_t room = sizeof(t->bytes) - 1 - t->used; /* the last byte is the newline's */
	const int n = vsnprintf(t->bytes + t->used, room, fmt, ap);

	if (n > 0)
		t->used += (size_t)n < room ? (size_t)n : room - 1;
}

static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_list(t, fmt, ap);
	va_end(ap);
}

static void add_stamp(struct text *t, enum log_level level, const char *file, int line)
{
	struct tm tm = { .tm_mday = 1, .tm_year = 70 };
	struct timespec now;
	char thread[16] = "";

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	prctl(PR_GET_NAME, thread);
	add(t, "%04d-%02d-%02dT%02d:%02d:%02d.%09ld [%s:%s", tm.tm_year + 1900, tm.tm_mon + 1,
	    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec, form.id, thread);
	if (form.show_level)
		add(t, ":%s", names[level]);
	if (form.show_origin && file)
		add(t, ":%s:%d", file, line);
	add(t, "] ");
}

/*
 * A reader that takes nothing holds nobody up: after that time, once, what it does not take is
 * lost. poll(2) is only asked how it is: no filter lets it wait.
 */
static bool is_taken(int fd, unsigned patience_ms)
{
	static atomic_bool is_stuck;
	static const uint32_t word;
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000l };
	struct pollfd out = { .fd = fd, .events = POLLOUT };
	bool taken;

	while (!(taken = poll(&out, 1, 0) == 1) && patience_ms && !is_stuck) {
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &pause);
		patience_ms -= PAUSE_MS;
	}
	is_stuck = !taken;
	return taken;
}

/* The control character that begins there, or 0: of ASCII, or U+0080 to U+009F in UTF-8. */
static unsigned control_at(const struct text *t, size_t i)
{
	const unsigned char c = (unsigned char)t->bytes[i];
	const unsigned char next = i + 1 < t->used ? (unsigned char)t->bytes[i + 1] : 0;

	if (c < ' ' || c == 0x7f)
		return c;
	return c == 0xc2 && next >= 0x80 && next < 0xa0 ? next : 0;
}

/*
 * A file's name may hold a newline, which would be a line of its own, or what a terminal obeys.
 * What is too long is cut between two characters.
 */
static void add_escaped(struct text *t, const struct text *from)
{
	for (size_t i = 0; i < from->used; i++) {
		const unsigned control = control_at(from, i);

		if (t->used >= sizeof(t->bytes) - 8 && ((unsigned)from->bytes[i] & 0xc0) != 0x80)
			break; /* the longest, "\u{9b}", has its place before that */
		if (control == '\n')
			add(t, "\\n");
		else if (control)
			add(t, "\\u{%x}", control);
		else if (t->used < sizeof(t->bytes) - 2)
			t->bytes[t->used++] = from->bytes[i];
		i += control > 0x7f; /* two bytes */
	}
}

/*
 * A reader that is gone ends nobody, also before signals_init(). For good: what is pending would
 * end us then. Standard output that is printed, such as --help, has its SIGPIPE until a line is.
 */
static void block_pipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Of a terminal's room, too, poll(2) knows only that there is some: a line that is cut is lost. */
static void put(int fd, const char *line, size_t len, unsigned patience_ms)
{
	if (fd == STDERR_FILENO && terminal >= 0)
		fd = terminal;
	block_pipe();
	if (!is_taken(fd, patience_ms) || write(fd, line, len) != (ssize_t)len)
		missed++; /* there is no one left to tell */
}

/* The log of a process that serves waits for nobody. */
static void say(int fd, const struct text *text)
{
	struct text t;

	t.used = 0;
	add_escaped(&t, text);
	t.bytes[t.used++] = '\n';
	put(fd, t.bytes, t.used, form.is_stamped ? 0 : PATIENCE_MS);
}

void log_raw(const char *line, size_t len)
{
	if (form.fd != STDERR_FILENO)
		put(form.fd, line, len, 0);
	put(STDERR_FILENO, line, len, PATIENCE_MS);
}

static bool is_wanted(enum log_level level, const char *file)
{
	if (level > form.level)
		return false;
	return !file || !form.module || !strncmp(file, form.module, strlen(form.module));
}

static void begin(struct text *t, enum log_level level, const char *file, int line)
{
	t->used = 0;
	if (form.is_stamped)
		add_stamp(t, level, file, line);
	else
		add(t, "mayfly: ");
}

void log_at(enum log_level level, const char *file, int line, const char *fmt, ...)
{
	struct text t;
	va_list ap;

	if (!is_wanted(level, file))
		return;
	begin(&t, level, file, line);
	va_start(ap, fmt);
	add_list(&t, fmt, ap);
	va_end(ap);
	say(form.fd, &t);
}

int fail(int err, const char *fmt, ...)
{
	struct text t;
	size_t start;
	va_list ap;

	begin(&t, LOG_ERROR, NULL, 0);
	start = t.used;
	va_start(ap, fmt);
	add_list(&t, fmt, ap);
	va_end(ap);
	if (err < 0)
		add(&t, ": %s", strerror(-err));
	if (last_failure) {
		memcpy(last_failure, t.bytes + start, t.used - start);
		last_failure[t.used - start] = '\0';
	}
	if (is_wanted(LOG_ERROR, NULL))
		say(form.fd, &t);
	if (is_echoed && form.fd != STDERR_FILENO)
		say(STDERR_FILENO, &t);
	return err ? err : -EINVAL;
}

void note(const char *fmt, ...)
{
	struct text t;
	va_list ap;

	if (!is_wanted(LOG_INFO, NULL))
		return;
	begin(&t, LOG_INFO, NULL, 0);
	va_start(ap, fmt);
	add_list(&t, fmt, ap);
	va_end(ap);
	say(form.fd, &t);
}

_Noreturn void must_failed(const char *what, const char *file, int line_number)
{
	note("internal error: %s does not hold (%s:%d); please report it", what, file, line_number);
	__builtin_trap(); /* SIGILL: unlike abort(), no system call */
}
