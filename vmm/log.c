/* SPDX-License-Identifier: Apache-2.0 */
/* One line, one write: see log.h. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prefix[] = "mayfly: ";

static void line(int err, const char *fmt, va_list ap)
{
	char buf[1024];
	const size_t room = sizeof(buf) - 1; /* the last byte is for the newline */
	size_t used = sizeof(prefix) - 1;
	int n;

	memcpy(buf, prefix, used);
	n = vsnprintf(buf + used, room - used, fmt, ap);
	used = n < 0 ? used : used + (size_t)n;
	if (used < room && err < 0) {
		n = snprintf(buf + used, room - used, ": %s", strerror(-err));
		used = n < 0 ? used : used + (size_t)n;
	}
	if (used >= room)
		used = room - 1;
	buf[used++] = '\n';
	if (write(STDERR_FILENO, buf, used) < 0)
		return; /* there is no one left to tell */
}

int fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(err, fmt, ap);
	va_end(ap);
	return err ? err : -EINVAL;
}

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(0, fmt, ap);
	va_end(ap);
}

_Noreturn void must_failed(const char *what, const char *file, int line_number)
{
	note("internal error: %s does not hold (%s:%d); please report it", what, file, line_number);
	abort();
}
