// SPDX-License-Identifier: Apache-2.0
/*
 * Reads /proc/PID/task. Called by the measuring programs at the marks that a guest gives; what a
 * monitor's CPU time means is decided here and nowhere else.
 */
#include "threads.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void die(pid_t pid, const char *what)
{
	fprintf(stderr, "bench: process %d: %s\n", (int)pid, what);
	exit(EXIT_FAILURE);
}

/* The file's text, or "" where the thread is gone. */
static const char *read_task(pid_t pid, const char *tid, const char *file)
{
	static char text[4096];
	char path[96];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", (int)pid, tid, file);
	f = fopen(path, "r");
	if (!f)
		return "";
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = '\0';
	fclose(f);
	return text;
}

/* What mayfly calls them, and what QEMU does with debug-threads=on ("CPU 0/KVM"). */
static bool is_vcpu(pid_t pid, const char *tid)
{
	const char *name = read_task(pid, tid, "comm");

	return !strncmp(name, "vcpu ", 5) || !strncmp(name, "CPU ", 4);
}

static uint64_t cpu_ns(pid_t pid, const char *tid)
{
	return strtoull(read_task(pid, tid, "schedstat"), NULL, 10);
}

static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static uint64_t switches(pid_t pid, const char *tid)
{
	const char *status = read_task(pid, tid, "status");

	return number_after(status, "\nvoluntary_ctxt_switches:") +
	       number_after(status, "\nnonvoluntary_ctxt_switches:");
}

static uint64_t vcpu_ns(pid_t pid, const char *tid)
{
	return is_vcpu(pid, tid) ? cpu_ns(pid, tid) : 0;
}

static uint64_t is_vhost(pid_t pid, const char *tid)
{
	return !strncmp(read_task(pid, tid, "comm"), "vhost-", 6);
}

/* proc(5): guest_time is field 43 of stat; the second one's parentheses may hold anything. */
static uint64_t guest_ticks(pid_t pid, const char *tid)
{
	const char *at = strrchr(read_task(pid, tid, "stat"), ')');

	for (unsigned i = 2; at && i < 43; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

static uint64_t sum(pid_t pid, uint64_t (*of)(pid_t pid, const char *tid))
{
	char path[64];
	struct dirent *entry;
	uint64_t total = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		die(pid, "is gone");
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			total += of(pid, entry->d_name);
	closedir(dir);
	return total;
}

uint64_t threads_vcpu_ns(pid_t pid)
{
	const uint64_t vcpus = sum(pid, vcpu_ns);

	if (!vcpus)
		die(pid, "has no vCPU thread that can be told from others");
	return vcpus;
}

uint64_t threads_guest_ns(pid_t pid)
{
	return sum(pid, guest_ticks) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t threads_monitor_ns(pid_t pid)
{
	const uint64_t vcpus = threads_vcpu_ns(pid);
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		die(pid, "has no CPU clock");
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec - vcpus;
}

bool threads_has_vhost(pid_t pid)
{
	return sum(pid, is_vhost) > 0;
}

uint64_t threads_switches(pid_t pid)
{
	return sum(pid, switches);
}
