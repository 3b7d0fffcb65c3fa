// SPDX-License-Identifier: Apache-2.0
/* One row per metric, in the order in which they are written; keys are the wire contract's. */
#include "metrics.h"
#include "../vmm/log.h"
#include "../vmm/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AT(member)  offsetof(struct counters, member)
#define COUNT(kind) AT(requests[REQ_##kind].count)
#define FAILS(kind) AT(requests[REQ_##kind].fails)
/* All groups, and those of as many devices as there can be, with the longest names and numbers. */
#define LINE_SIZE   (64u << 10)

#define NONE SIZE_MAX /* always 0: what mayfly never has */

/* The rows of one group stand together. */
static const struct row {
	const char *group, *key;
	size_t at;
	enum {
		COUNTER, /* written as the difference */
		GAUGE,
		LATENCY, /* a struct latency */
	} kind;
} rows[] = {
	{ "api_server", "process_startup_time_us", AT(startup_us), GAUGE },
	{ "api_server", "process_startup_time_cpu_us", AT(startup_cpu_us), GAUGE },
	{ "deprecated_api", "deprecated_http_api_calls", AT(deprecated), COUNTER },
	{ "get_api_requests", "instance_info_count", COUNT(INSTANCE_INFO), COUNTER },
	{ "get_api_requests", "machine_cfg_count", COUNT(MACHINE_GET), COUNTER },
	{ "get_api_requests", "mmds_count", COUNT(MMDS_GET), COUNTER },
	{ "get_api_requests", "vmm_version_count", COUNT(VERSION), COUNTER },
	{ "get_api_requests", "hotplug_memory_count", COUNT(HOTPLUG_GET), COUNTER },
	{ "i8042", "error_count", NONE, COUNTER },
	{ "i8042", "missed_read_count", NONE, COUNTER },
	{ "i8042", "missed_write_count", NONE, COUNTER },
	{ "i8042", "read_count", NONE, COUNTER },
	{ "i8042", "reset_count", AT(i8042_resets), COUNTER },
	{ "i8042", "write_count", NONE, COUNTER },
	{ "interrupts", "triggers", AT(interrupts), COUNTER },
	{ "interrupts", "config_updates", NONE, COUNTER },
	{ "latencies_us", "full_create_snapshot", AT(save_us), GAUGE },
	{ "latencies_us", "diff_create_snapshot", NONE, GAUGE },
	{ "latencies_us", "load_snapshot", AT(load_us), GAUGE },
	{ "latencies_us", "pause_vm", AT(pause_us), GAUGE },
	{ "latencies_us", "resume_vm", AT(resume_us), GAUGE },
	{ "latencies_us", "vmm_full_create_snapshot", AT(save_us), GAUGE },
	{ "latencies_us", "vmm_diff_create_snapshot", NONE, GAUGE },
	{ "latencies_us", "vmm_load_snapshot", AT(load_us), GAUGE },
	{ "latencies_us", "vmm_pause_vm", AT(pause_us), GAUGE },
	{ "latencies_us", "vmm_resume_vm", AT(resume_us), GAUGE },
	{ "logger", "missed_metrics_count", AT(metrics_missed), COUNTER },
	{ "logger", "metrics_fails", AT(metrics_fails), COUNTER },
	{ "logger", "missed_log_count", AT(log_missed), COUNTER },
	{ "logger", "rate_limited_log_count", NONE, COUNTER },
	{ "patch_api_requests", "drive_count", COUNT(DRIVE_PATCH), COUNTER },
	{ "patch_api_requests", "drive_fails", FAILS(DRIVE_PATCH), COUNTER },
	{ "patch_api_requests", "network_count", COUNT(NETWORK_PATCH), COUNTER },
	{ "patch_api_requests", "network_fails", FAILS(NETWORK_PATCH), COUNTER },
	{ "patch_api_requests", "machine_cfg_count", COUNT(MACHINE_PATCH), COUNTER },
	{ "patch_api_requests", "machine_cfg_fails", FAILS(MACHINE_PATCH), COUNTER },
	{ "patch_api_requests", "mmds_count", COUNT(MMDS_PATCH), COUNTER },
	{ "patch_api_requests", "mmds_fails", FAILS(MMDS_PATCH), COUNTER },
	{ "patch_api_requests", "hotplug_memory_count", COUNT(HOTPLUG_PATCH), COUNTER },
	{ "patch_api_requests", "hotplug_memory_fails", FAILS(HOTPLUG_PATCH), COUNTER },
	{ "patch_api_requests", "pmem_count", COUNT(PMEM_PATCH), COUNTER },
	{ "patch_api_requests", "pmem_fails", FAILS(PMEM_PATCH), COUNTER },
	{ "put_api_requests", "actions_count", COUNT(ACTIONS), COUNTER },
	{ "put_api_requests", "actions_fails", FAILS(ACTIONS), COUNTER },
	{ "put_api_requests", "boot_source_count", COUNT(BOOT_SOURCE), COUNTER },
	{ "put_api_requests", "boot_source_fails", FAILS(BOOT_SOURCE), COUNTER },
	{ "put_api_requests", "drive_count", COUNT(DRIVE), COUNTER },
	{ "put_api_requests", "drive_fails", FAILS(DRIVE), COUNTER },
	{ "put_api_requests", "logger_count", COUNT(LOGGER), COUNTER },
	{ "put_api_requests", "logger_fails", FAILS(LOGGER), COUNTER },
	{ "put_api_requests", "machine_cfg_count", COUNT(MACHINE), COUNTER },
	{ "put_api_requests", "machine_cfg_fails", FAILS(MACHINE), COUNTER },
	{ "put_api_requests", "cpu_cfg_count", COUNT(CPU_CONFIG), COUNTER },
	{ "put_api_requests", "cpu_cfg_fails", FAILS(CPU_CONFIG), COUNTER },
	{ "put_api_requests", "metrics_count", COUNT(METRICS), COUNTER },
	{ "put_api_requests", "metrics_fails", FAILS(METRICS), COUNTER },
	{ "put_api_requests", "network_count", COUNT(NETWORK), COUNTER },
	{ "put_api_requests", "network_fails", FAILS(NETWORK), COUNTER },
	{ "put_api_requests", "mmds_count", COUNT(MMDS), COUNTER },
	{ "put_api_requests", "mmds_fails", FAILS(MMDS), COUNTER },
	{ "put_api_requests", "vsock_count", COUNT(VSOCK), COUNTER },
	{ "put_api_requests", "vsock_fails", FAILS(VSOCK), COUNTER },
	{ "put_api_requests", "pmem_count", COUNT(PMEM), COUNTER },
	{ "put_api_requests", "pmem_fails", FAILS(PMEM), COUNTER },
	{ "put_api_requests", "serial_count", COUNT(SERIAL), COUNTER },
	{ "put_api_requests", "serial_fails", FAILS(SERIAL), COUNTER },
	{ "put_api_requests", "hotplug_memory_count", COUNT(HOTPLUG), COUNTER },
	{ "put_api_requests", "hotplug_memory_fails", FAILS(HOTPLUG), COUNTER },
	{ "seccomp", "num_faults", NONE, COUNTER },
	{ "signals", "sigbus", NONE, COUNTER },
	{ "signals", "sigsegv", NONE, COUNTER },
	{ "signals", "sigxfsz", NONE, COUNTER },
	{ "signals", "sigxcpu", NONE, COUNTER },
	{ "signals", "sigpipe", NONE, COUNTER },
	{ "signals", "sighup", AT(hangups), COUNTER },
	{ "signals", "sigill", NONE, COUNTER },
	{ "uart", "error_count", NONE, COUNTER },
	{ "uart", "flush_count", NONE, COUNTER },
	{ "uart", "missed_read_count", NONE, COUNTER },
	{ "uart", "missed_write_count", AT(uart_dropped), COUNTER },
	{ "uart", "read_count", AT(uart_reads), COUNTER },
	{ "uart", "write_count", AT(uart_writes), COUNTER },
	{ "uart", "rate_limiter_dropped_bytes", AT(uart_limited), COUNTER },
	{ "vcpu", "exit_io_in", AT(exits[EXIT_IO_IN]), COUNTER },
	{ "vcpu", "exit_io_out", AT(exits[EXIT_IO_OUT]), COUNTER },
	{ "vcpu", "exit_mmio_read", AT(exits[EXIT_MMIO_READ]), COUNTER },
	{ "vcpu", "exit_mmio_write", AT(exits[EXIT_MMIO_WRITE]), COUNTER },
	{ "vcpu", "failures", AT(vcpu_failures), COUNTER },
	{ "vcpu", "kvmclock_ctrl_fails", NONE, COUNTER },
	{ "vcpu", "exit_io_in_agg", AT(latency[EXIT_IO_IN]), LATENCY },
	{ "vcpu", "exit_io_out_agg", AT(latency[EXIT_IO_OUT]), LATENCY },
	{ "vcpu", "exit_mmio_read_agg", AT(latency[EXIT_MMIO_READ]), LATENCY },
	{ "vcpu", "exit_mmio_write_agg", AT(latency[EXIT_MMIO_WRITE]), LATENCY },
	{ "vmm", "panic_count", NONE, COUNTER },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* Devices that mayfly does not have: a group each, all of whose keys are zero. */
static const struct {
	const char *group, *keys, *latencies;
} absent[] = {
	{ "balloon",
	  "activate_fails inflate_count stats_updates_count stats_update_fails deflate_count "
	  "event_fails",
	  "" },
	{ "entropy",
	  "activate_fails entropy_event_fails entropy_event_count entropy_bytes host_rng_fails "
	  "entropy_rate_limiter_throttled rate_limiter_event_count",
	  "" },
	{ "memory_hotplug",
	  "activate_fails queue_event_fails queue_event_count plug_count plug_bytes plug_fails "
	  "unplug_count unplug_bytes unplug_fails unplug_discard_fails unplug_all_count "
	  "unplug_all_fails state_count state_fails",
	  "plug_agg unplug_agg unplug_all_agg state_agg" },
	{ "mmds",
	  "rx_accepted rx_accepted_err rx_accepted_unusual rx_bad_eth rx_count tx_bytes tx_count "
	  "tx_errors tx_frames connections_created connections_destroyed",
	  "" },
	{ "pmem", "activate_fails cfg_fails event_fails queue_event_count", "" },
	{ "vsock",
	  "activate_fails cfg_fails rx_queue_event_fails tx_queue_event_fails "
	  "ev_queue_event_fails muxer_event_fails conn_event_fails rx_queue_event_count "
	  "tx_queue_event_count rx_bytes_count tx_bytes_count rx_packets_count tx_packets_count "
	  "conns_added conns_killed conns_removed killq_resync tx_flush_fails tx_write_fails "
	  "rx_read_fails",
	  "" },
};

/* Of devices, in the order of their enumerations. */
static const char *const block_keys[BLOCK_COUNTS] = {
	"activate_fails",
	"cfg_fails",
	"no_avail_buffer",
	"event_fails",
	"execute_fails",
	"invalid_reqs_count",
	"flush_count",
	"queue_event_count",
	"rate_limiter_event_count",
	"update_count",
	"update_fails",
	"read_bytes",
	"write_bytes",
	"read_count",
	"write_count",
	"rate_limiter_throttled_events",
	"io_engine_throttled_events",
	"remaining_reqs_count",
};
static const char *const block_latencies[BLOCK_LATENCIES] = { "read_agg", "write_agg" };
static const char *const net_keys[NET_COUNTS] = {
	"activate_fails",
	"cfg_fails",
	"no_rx_avail_buffer",
	"no_tx_avail_buffer",
	"event_fails",
	"rx_queue_event_count",
	"rx_event_rate_limiter_count",
	"rx_rate_limiter_throttled",
	"rx_tap_event_count",
	"rx_bytes_count",
	"rx_packets_count",
	"rx_fails",
	"rx_count",
	"tap_read_fails",
	"tap_write_fails",
	"tx_bytes_count",
	"tx_malformed_frames",
	"tx_fails",
	"tx_count",
	"tx_packets_count",
	"tx_queue_event_count",
	"tx_rate_limiter_event_count",
	"tx_rate_limiter_throttled",
	"tx_spoofed_mac_count",
	"tx_remaining_reqs_count",
};
static const char *const net_latencies[NET_LATENCIES] = { "tap_write_agg" };

static const struct device_kind {
	const char *group;
	const char *const *keys, *const *latencies;
	unsigned nr_keys, nr_latencies;
} block = { "block", block_keys, block_latencies, BLOCK_COUNTS, BLOCK_LATENCIES },
  net = { "net", net_keys, net_latencies, NET_COUNTS, NET_LATENCIES };

static const char *const kinds[EXIT_KINDS] = { "io_in", "io_out", "mmio_read", "mmio_write" };
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

void metrics_init(struct metrics *m)
{
	m->fd = -1;
	m->is_cut = false;
	m->id = m->properties = NULL;
	m->nr_disks = m->nr_nets = 0;
	memset(&m->last, 0, sizeof(m->last));
}

int metrics_open(struct metrics *m, const char *path)
{
	/* Read and write: a FIFO without a reader opens too. */
	m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
	return m->fd < 0 ? -errno : 0;
}

static const struct latency *latency_at(const struct counters *c, size_t at)
{
	return (const struct latency *)(const void *)((const char *)c + at);
}

static void add_latency(struct text *t, const struct latency *now, uint64_t last_sum)
{
	add(t, "{\"min_us\":%llu,\"max_us\":%llu,\"sum_us\":%llu}", (unsigned long long)now->min_us,
	    (unsigned long long)now->max_us, (unsigned long long)(now->sum_us - last_sum));
}

static void add_value(struct text *t, const struct row *r, const struct counters *now,
		      const struct counters *last)
{
	const uint64_t before = r->kind == COUNTER ? value_at(last, r->at) : 0;

	if (r->kind == LATENCY)
		add_latency(t, latency_at(now, r->at), latency_at(last, r->at)->sum_us);
	else
		add(t, "%llu", (unsigned long long)(value_at(now, r->at) - before));
}

/* A device's group, or with no name the sum of all, which is there even without any. */
static void add_device(struct text *t, const struct device_kind *kind, const char *name,
		       const struct device_counters *now, const struct device_counters *last)
{
	add(t, ",\"%s%s%s\":{", kind->group, name ? "_" : "", name ? name : "");
	for (unsigned i = 0; i < kind->nr_keys; i++)
		add(t, "\"%s\":%llu,", kind->keys[i],
		    (unsigned long long)(now->counts[i] - last->counts[i]));
	for (unsigned i = 0; i < kind->nr_latencies; i++) {
		add(t, "%s\"%s\":", i ? "," : "", kind->latencies[i]);
		add_latency(t, &now->latency[i], last->latency[i].sum_us);
	}
	add(t, "}");
}

/* A minimum of 0: nothing was measured. */
static void sum_latency(struct latency *sum, const struct latency *one)
{
	if (one->min_us && (!sum->min_us || one->min_us < sum->min_us))
		sum->min_us = one->min_us;
	sum->max_us = one->max_us > sum->max_us ? one->max_us : sum->max_us;
	sum->sum_us += one->sum_us;
}

static void sum_devices(struct device_counters *sum, const struct device_counters *devices,
			unsigned nr)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned d = 0; d < nr; d++) {
		for (unsigned i = 0; i < NET_COUNTS; i++)
			sum->counts[i] += devices[d].counts[i];
		for (unsigned i = 0; i < BLOCK_LATENCIES; i++)
			sum_latency(&sum->latency[i], &devices[d].latency[i]);
	}
}

static void add_devices(struct text *t, const struct device_kind *kind, const char *const *names,
			const struct device_counters *now, unsigned nr,
			const struct device_counters *last, unsigned nr_last)
{
	static const struct device_counters none;
	struct device_counters sum, last_sum;

	sum_devices(&sum, now, nr);
	sum_devices(&last_sum, last, nr_last);
	add_device(t, kind, NULL, &sum, &last_sum);
	for (unsigned i = 0; i < nr; i++)
		add_device(t, kind, names[i], &now[i], i < nr_last ? &last[i] : &none);
}

/* Each word of `keys`, with `value`. */
static void add_keys(struct text *t, const char *keys, const char *value, bool is_first)
{
	while (*keys) {
		const int n = (int)strcspn(keys, " ");

		add(t, "%s\"%.*s\":%s", is_first ? "" : ",", n, keys, value);
		is_first = false;
		keys += n + (keys[n] == ' ');
	}
}

static void add_absent(struct text *t)
{
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		add(t, ",\"%s\":{", absent[i].group);
		add_keys(t, absent[i].keys, "0", true);
		add_keys(t, absent[i].latencies, "{\"min_us\":0,\"max_us\":0,\"sum_us\":0}", false);
		add(t, "}");
	}
}

static void add_line(struct text *t, const struct metrics *m, const struct counters *now,
		     const struct metrics_devices *d)
{
	add(t, "%s{\"utc_timestamp_ms\":%llu", m->is_cut ? "\n" : "",
	    (unsigned long long)loop_now_ns(CLOCK_REALTIME) / 1000000);
	if (m->id)
		add(t, ",\"id\":\"%s\"", m->id);
	if (m->properties)
		add(t, ",\"properties\":%s", m->properties);
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		const bool is_first = i == 0 || strcmp(r->group, r[-1].group) != 0;
		const bool is_last = i == ROWS - 1 || strcmp(r->group, r[1].group) != 0;

		if (is_first)
			add(t, ",\"%s\":{\"%s\":", r->group, r->key);
		else
			add(t, ",\"%s\":", r->key);
		add_value(t, r, now, &m->last);
		if (is_last)
			add(t, "}");
	}
	add_absent(t);
	add_devices(t, &block, d->disks, d->counters->disks, d->nr_disks, m->devices_last.disks,
		    m->nr_disks);
	add_devices(t, &net, d->nets, d->counters->nets, d->nr_nets, m->devices_last.nets,
		    m->nr_nets);
	add(t, "}\n");
}

static void remember(struct metrics *m, const struct counters *now, const struct metrics_devices *d)
{
	m->last = *now;
	m->nr_disks = d->nr_disks;
	m->nr_nets = d->nr_nets;
	memcpy(m->devices_last.disks, d->counters->disks,
	       d->nr_disks * sizeof(d->counters->disks[0]));
	memcpy(m->devices_last.nets, d->counters->nets, d->nr_nets * sizeof(d->counters->nets[0]));
}

int metrics_flush(struct metrics *m, struct counters *now, const struct metrics_devices *devices)
{
	static char line[LINE_SIZE];
	struct text t = { .buf = line, .size = sizeof(line) };
	ssize_t n;

	if (m->fd < 0)
		return 0;
	add_line(&t, m, now, devices);
	must(!t.is_full);
	n = write(m->fd, t.buf, t.used);
	if (n > 0) /* a pipe that is nearly full takes a part */
		m->is_cut = n < (ssize_t)t.used;
	if (n == (ssize_t)t.used) {
		remember(m, now, devices);
		return 0;
	}
	now->metrics_missed++;
	now->metrics_fails += n < 0 && errno != EAGAIN;
	return n < 0 ? -errno : -EAGAIN;
}

static void add_phases(struct text *t, const char *name, const uint64_t us[4])
{
	add(t, "# TYPE %s gauge\n", name);
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		if (us[i])
			add(t, "%s{phase=\"%s\"} %llu\n", name, phases[i],
			    (unsigned long long)us[i]);
}

/* `label` is one label and its value. */
static void add_histogram(struct text *t, const char *name, const char *label,
			  const struct latency *l)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i + 1 < LATENCY_BUCKETS; i++) {
		sum += l->buckets[i];
		add(t, "%s_bucket{%s,le=\"%u\"} %llu\n", name, label, 1u << i,
		    (unsigned long long)sum);
	}
	sum += l->buckets[LATENCY_BUCKETS - 1];
	add(t, "%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %llu\n%s_count{%s} %llu\n", name, label,
	    (unsigned long long)sum, name, label, (unsigned long long)l->sum_us, name, label,
	    (unsigned long long)sum);
}

static void add_exits(struct text *t, const struct counters *now)
{
	static const char name[] = "mayfly_vcpu_exit_microseconds";
	char label[32];

	add(t, "# TYPE %s histogram\n", name);
	for (unsigned kind = 0; kind < EXIT_KINDS; kind++) {
		snprintf(label, sizeof(label), "kind=\"%s\"", kinds[kind]);
		add_histogram(t, name, label, &now->latency[kind]);
	}
}

/* "read_agg" is the histogram mayfly_block_read_microseconds. */
static void add_device_latency(struct text *t, const struct device_kind *kind, unsigned which,
			       const char *const *names, const struct device_counters *now,
			       unsigned nr)
{
	const char *key = kind->latencies[which];
	char name[64], label[80];

	snprintf(name, sizeof(name), "mayfly_%s_%.*s_microseconds", kind->group,
		 (int)(strlen(key) - strlen("_agg")), key);
	add(t, "# TYPE %s histogram\n", name);
	for (unsigned d = 0; d < nr; d++) {
		snprintf(label, sizeof(label), "id=\"%s\"", names[d]);
		add_histogram(t, name, label, &now[d].latency[which]);
	}
}

/* Counters, requests in flight, and how long they took; of each device. */
static void add_device_totals(struct text *t, const struct device_kind *kind,
			      const char *const *names, const struct device_counters *now,
			      unsigned nr)
{
	if (nr == 0)
		return;
	for (unsigned i = 0; i < kind->nr_keys; i++) {
		add(t, "# TYPE mayfly_%s_%s counter\n", kind->group, kind->keys[i]);
		for (unsigned d = 0; d < nr; d++)
			add(t, "mayfly_%s_%s{id=\"%s\"} %llu\n", kind->group, kind->keys[i],
			    names[d], (unsigned long long)now[d].counts[i]);
	}
	add(t, "# TYPE mayfly_%s_queue_depth gauge\n", kind->group);
	for (unsigned d = 0; d < nr; d++)
		add(t, "mayfly_%s_queue_depth{id=\"%s\"} %llu\n", kind->group, names[d],
		    (unsigned long long)now[d].queue_depth);
	for (unsigned i = 0; i < kind->nr_latencies; i++)
		add_device_latency(t, kind, i, names, now, nr);
}

size_t metrics_text(const struct counters *now, const struct metrics_devices *d, char *buf,
		    size_t size)
{
	struct text t = { .buf = buf, .size = size };

	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];

		if (r->at == NONE || r->kind == LATENCY)
			continue;
		add(&t, "# TYPE mayfly_%s_%s %s\nmayfly_%s_%s %llu\n", r->group, r->key,
		    r->kind == GAUGE ? "gauge" : "counter", r->group, r->key,
		    (unsigned long long)value_at(now, r->at));
	}
	add_exits(&t, now);
	add_device_totals(&t, &block, d->disks, d->counters->disks, d->nr_disks);
	add_device_totals(&t, &net, d->nets, d->counters->nets, d->nr_nets);
	add_phases(&t, "mayfly_phase_microseconds", now->phase_us);
	add_phases(&t, "mayfly_phase_cpu_microseconds", now->phase_cpu_us);
	return t.is_full ? 0 : t.used;
}
