// SPDX-License-Identifier: Apache-2.0
/*
 * Time stamps of a boot. Written by any thread, read by the loop thread when all others have ended.
 */
#include "timeline.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *const names[PHASES] = {
	"start", "configured", "first_entry", "first_serial", "init", "end",
};
static int file = -1; /* to write them to */
static struct timeline_point points[PHASES];
static atomic_bool marked[PHASES];

/*
 * By a system call: for the few times that it is asked, the vDSO would cost each start its pages.
 */
static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts = { 0 };

	syscall(SYS_clock_gettime, clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void timeline_mark(enum phase phase)
{
	if (atomic_load_explicit(&marked[phase], memory_order_relaxed) ||
	    atomic_exchange(&marked[phase], true))
		return;
	points[phase].wall_ns = now_ns(CLOCK_MONOTONIC);
	points[phase].cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void timeline_forget(enum phase phase)
{
	points[phase] = (struct timeline_point){ 0 };
	marked[phase] = false;
}

struct timeline_point timeline_at(enum phase phase)
{
	return points[phase];
}

int timeline_open(const char *path)
{
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
	if (file < 0)
		return fail(-errno, errno == ENXIO ? "%s (a FIFO without a reader)" : "%s", path);
	return 0;
}

int timeline_write(const char *path)
{
	char text[1024];
	size_t len = 0;

	for (int i = 0; i < PHASES; i++) {
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\"%s\":{", i ? "," : "{",
					names[i]);
		if (points[i].wall_ns)
			len += (size_t)snprintf(
				text + len, sizeof(text) - len, "\"wall_us\":%.3f,\"cpu_us\":%.3f",
				(double)points[i].wall_ns / 1000, (double)points[i].cpu_ns / 1000);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "}");
	}
	len += (size_t)snprintf(text + len, sizeof(text) - len, "}\n");
	must(len < sizeof(text));
	return write(file, text, len) == (ssize_t)len ? 0 : fail(-errno, "%s", path);
}
