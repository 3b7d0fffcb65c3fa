/* SPDX-License-Identifier: Apache-2.0 */
/* One row per metric, in the order in which they are written; keys are the wire contract's. */
#include "metrics.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define AT(member)  offsetof(struct counters, member)
#define COUNT(kind) AT(requests[REQ_##kind].count)
#define FAILS(kind) AT(requests[REQ_##kind].fails)
#define NONE	    SIZE_MAX /* always 0: what mayfly never has */

/* The rows of one group stand together. */
static const struct row {
	const char *group, *key;
	size_t at;
	bool is_gauge; /* written as it is, not as the difference */
} rows[] = {
	{ "api_server", "process_startup_time_us", AT(startup_us), true },
	{ "api_server", "process_startup_time_cpu_us", AT(startup_cpu_us), true },
	{ "deprecated_api", "deprecated_http_api_calls", AT(deprecated), false },
	{ "get_api_requests", "instance_info_count", COUNT(INSTANCE_INFO), false },
	{ "get_api_requests", "machine_cfg_count", COUNT(MACHINE_GET), false },
	{ "get_api_requests", "mmds_count", COUNT(MMDS_GET), false },
	{ "get_api_requests", "vmm_version_count", COUNT(VERSION), false },
	{ "get_api_requests", "hotplug_memory_count", COUNT(HOTPLUG_GET), false },
	{ "i8042", "error_count", NONE, false },
	{ "i8042", "missed_read_count", NONE, false },
	{ "i8042", "missed_write_count", NONE, false },
	{ "i8042", "read_count", NONE, false },
	{ "i8042", "reset_count", AT(i8042_resets), false },
	{ "i8042", "write_count", NONE, false },
	{ "latencies_us", "full_create_snapshot", NONE, true },
	{ "latencies_us", "diff_create_snapshot", NONE, true },
	{ "latencies_us", "load_snapshot", NONE, true },
	{ "latencies_us", "pause_vm", AT(pause_us), true },
	{ "latencies_us", "resume_vm", AT(resume_us), true },
	{ "latencies_us", "vmm_full_create_snapshot", NONE, true },
	{ "latencies_us", "vmm_diff_create_snapshot", NONE, true },
	{ "latencies_us", "vmm_load_snapshot", NONE, true },
	{ "latencies_us", "vmm_pause_vm", AT(pause_us), true },
	{ "latencies_us", "vmm_resume_vm", AT(resume_us), true },
	{ "logger", "missed_metrics_count", AT(metrics_missed), false },
	{ "logger", "metrics_fails", AT(metrics_fails), false },
	{ "logger", "missed_log_count", AT(log_missed), false },
	{ "logger", "rate_limited_log_count", NONE, false },
	{ "patch_api_requests", "drive_count", COUNT(DRIVE_PATCH), false },
	{ "patch_api_requests", "drive_fails", FAILS(DRIVE_PATCH), false },
	{ "patch_api_requests", "network_count", COUNT(NETWORK_PATCH), false },
	{ "patch_api_requests", "network_fails", FAILS(NETWORK_PATCH), false },
	{ "patch_api_requests", "machine_cfg_count", COUNT(MACHINE_PATCH), false },
	{ "patch_api_requests", "machine_cfg_fails", FAILS(MACHINE_PATCH), false },
	{ "patch_api_requests", "mmds_count", COUNT(MMDS_PATCH), false },
	{ "patch_api_requests", "mmds_fails", FAILS(MMDS_PATCH), false },
	{ "patch_api_requests", "hotplug_memory_count", COUNT(HOTPLUG_PATCH), false },
	{ "patch_api_requests", "hotplug_memory_fails", FAILS(HOTPLUG_PATCH), false },
	{ "patch_api_requests", "pmem_count", COUNT(PMEM_PATCH), false },
	{ "patch_api_requests", "pmem_fails", FAILS(PMEM_PATCH), false },
	{ "put_api_requests", "actions_count", COUNT(ACTIONS), false },
	{ "put_api_requests", "actions_fails", FAILS(ACTIONS), false },
	{ "put_api_requests", "boot_source_count", COUNT(BOOT_SOURCE), false },
	{ "put_api_requests", "boot_source_fails", FAILS(BOOT_SOURCE), false },
	{ "put_api_requests", "drive_count", COUNT(DRIVE), false },
	{ "put_api_requests", "drive_fails", FAILS(DRIVE), false },
	{ "put_api_requests", "logger_count", COUNT(LOGGER), false },
	{ "put_api_requests", "logger_fails", FAILS(LOGGER), false },
	{ "put_api_requests", "machine_cfg_count", COUNT(MACHINE), false },
	{ "put_api_requests", "machine_cfg_fails", FAILS(MACHINE), false },
	{ "put_api_requests", "cpu_cfg_count", COUNT(CPU_CONFIG), false },
	{ "put_api_requests", "cpu_cfg_fails", FAILS(CPU_CONFIG), false },
	{ "put_api_requests", "metrics_count", COUNT(METRICS), false },
	{ "put_api_requests", "metrics_fails", FAILS(METRICS), false },
	{ "put_api_requests", "network_count", COUNT(NETWORK), false },
	{ "put_api_requests", "network_fails", FAILS(NETWORK), false },
	{ "put_api_requests", "mmds_count", COUNT(MMDS), false },
	{ "put_api_requests", "mmds_fails", FAILS(MMDS), false },
	{ "put_api_requests", "vsock_count", COUNT(VSOCK), false },
	{ "put_api_requests", "vsock_fails", FAILS(VSOCK), false },
	{ "put_api_requests", "pmem_count", COUNT(PMEM), false },
	{ "put_api_requests", "pmem_fails", FAILS(PMEM), false },
	{ "put_api_requests", "serial_count", COUNT(SERIAL), false },
	{ "put_api_requests", "serial_fails", FAILS(SERIAL), false },
	{ "put_api_requests", "hotplug_memory_count", COUNT(HOTPLUG), false },
	{ "put_api_requests", "hotplug_memory_fails", FAILS(HOTPLUG), false },
	{ "seccomp", "num_faults", NONE, false },
	{ "signals", "sigbus", NONE, false },
	{ "signals", "sigsegv", NONE, false },
	{ "signals", "sigxfsz", NONE, false },
	{ "signals", "sigxcpu", NONE, false },
	{ "signals", "sigpipe", NONE, false },
	{ "signals", "sighup", NONE, false },
	{ "signals", "sigill", NONE, false },
	{ "uart", "error_count", NONE, false },
	{ "uart", "flush_count", NONE, false },
	{ "uart", "missed_read_count", NONE, false },
	{ "uart", "missed_write_count", AT(uart_dropped), false },
	{ "uart", "read_count", AT(uart_reads), false },
	{ "uart", "write_count", AT(uart_writes), false },
	{ "uart", "rate_limiter_dropped_bytes", NONE, false },
	{ "vcpu", "exit_io_in", AT(exits_io_in), false },
	{ "vcpu", "exit_io_out", AT(exits_io_out), false },
	{ "vcpu", "exit_mmio_read", AT(exits_mmio_read), false },
	{ "vcpu", "exit_mmio_write", AT(exits_mmio_write), false },
	{ "vcpu", "failures", AT(vcpu_failures), false },
	{ "vcpu", "kvmclock_ctrl_fails", NONE, false },
	{ "vmm", "panic_count", NONE, false },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const char *const phases[4] = { "configured", "first_entry", "first_serial", "init" };

static uint64_t value_at(const struct counters *c, size_t at)
{
	uint64_t value;

	if (at == NONE)
		return 0;
	memcpy(&value, (const char *)c + at, sizeof(value));
	return value;
}

/* A text that is put together piece by piece, until it is full. */
struct text {
	char *buf;
	size_t size, used;
	bool is_full;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *fmt, ...)
{
	const size_t room = t->size - t->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->used, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		t->is_full = true;
	else
		t->used += (size_t)n;
}

int metrics_open(struct metrics *m, const char *path)
{
	/* Read and write: a FIFO without a reader opens too. */
	m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
	return m->fd < 0 ? -errno : 0;
}

static void add_line(struct text *t, const struct metrics *m, const struct counters *now)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	add(t, "{\"utc_timestamp_ms\":%lld",
	    (long long)ts.tv_sec * 1000 + (long long)ts.tv_nsec / 1000000);
	if (m->id)
		add(t, ",\"id\":\"%s\"", m->id);
	if (m->properties)
		add(t, ",\"properties\":%s", m->properties);
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		const bool is_first = i == 0 || strcmp(r->group, r[-1].group);
		const bool is_last = i == ROWS - 1 || strcmp(r->group, r[1].group);
		const uint64_t before = r->is_gauge ? 0 : value_at(&m->last, r->at);

		if (is_first)
			add(t, ",\"%s\":{", r->group);
		add(t, "%s\"%s\":%llu%s", is_first ? "" : ",", r->key,
		    (unsigned long long)(value_at(now, r->at) - before), is_last ? "}" : "");
	}
	add(t, "}\n");
}

int metrics_flush(struct metrics *m, struct counters *now)
{
	static char line[8192];
	struct text t = { .buf = line, .size = sizeof(line) };
	ssize_t n;

	if (m->fd < 0)
		return 0;
	add_line(&t, m, now);
	must(!t.is_full);
	n = write(m->fd, t.buf, t.used);
	if (n == (ssize_t)t.used) {
		m->last = *now;
		return 0;
	}
	now->metrics_missed++;
	now->metrics_fails += n < 0 && errno != EAGAIN;
	return n < 0 ? -errno : -EAGAIN;
}

size_t metrics_text(const struct counters *now, char *buf, size_t size)
{
	struct text t = { .buf = buf, .size = size };

	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];

		if (r->at != NONE)
			add(&t, "# TYPE mayfly_%s_%s %s\nmayfly_%s_%s %llu\n", r->group, r->key,
			    r->is_gauge ? "gauge" : "counter", r->group, r->key,
			    (unsigned long long)value_at(now, r->at));
	}
	add(&t, "# TYPE mayfly_phase_microseconds gauge\n");
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		if (now->phase_us[i])
			add(&t, "mayfly_phase_microseconds{phase=\"%s\"} %llu\n", phases[i],
			    (unsigned long long)now->phase_us[i]);
	return t.is_full ? 0 : t.used;
}
