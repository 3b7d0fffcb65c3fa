/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the operator, on standard error, each in one write(2), so that lines of several threads
 * and processes never mix. No allocation; usable from any thread.
 */
#ifndef VMM_LOG_H
#define VMM_LOG_H

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
