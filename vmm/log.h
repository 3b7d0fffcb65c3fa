/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the operator, on standard error or where log_to() says, each in one write(2), so that
 * lines of several threads and processes never mix; control characters are shown as \n or \u{1b}.
 * No allocation; usable from any thread.
 */
#ifndef VMM_LOG_H
#define VMM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* How lines look: "mayfly: text", or stamped "2026-08-21T10:00:00.123456789 [id:thread] text". */
struct log_form {
	/* What it does not take, when stamped at once, else in a second, is lost, and counted. */
	int fd;
	enum log_level level;
	bool is_stamped, show_level, show_origin;
	const char *id;
	const char *module; /* of lines with an origin only those from there ("api"), or NULL */
};

/* The caller keeps the strings. Only while there is one thread. */
void log_to(const struct log_form *form);
uint64_t log_missed(void);

/*
 * Where standard error is a terminal: it is opened anew, so that writing to it never waits, which
 * for all who share it may be switched off by none of them. Needs /proc; without it, and after
 * log_close_terminal(), lines go to standard error as it is. Only while there is one thread.
 */
void log_open_terminal(void);
void log_close_terminal(void);

/*
 * For handlers of signals: these bytes as they are, on standard error and, where log_to() said
 * another place, there too.
 */
void log_raw(const char *line, size_t len);

/* A line with its level and, for show_origin, its place in the sources. */
#define log_line(level, ...) log_at(level, __FILE__, __LINE__, __VA_ARGS__)
void log_at(enum log_level level, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
bool log_is_on(enum log_level level);

/* What fail() says comes on standard error, too, while a caller waits there. */
void log_echo_failures(bool on);

/*
 * What this thread's last fail() said, without its prefix; "" before the first. For one thread,
 * which has called log_keep_failures() before.
 */
void log_keep_failures(void);
const char *log_last_failure(void);

/*
 * Says why something failed, in one line: "mayfly: <text>: <errno text>" where err is negative,
 * "mayfly: <text>" where it is 0. Returns err, or -EINVAL for 0, so that a caller can
 * `return fail(...)`.
 */
int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A line that is no error: "mayfly: <text>". */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * An invariant of mayfly's own, never of the guest, the client or the host: always compiled in,
 * ends the process where it does not hold.
 */
#define must(x) ((x) ? (void)0 : must_failed(#x, __FILE__, __LINE__))
_Noreturn void must_failed(const char *what, const char *file, int line);

#endif
