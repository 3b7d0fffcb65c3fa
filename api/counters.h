/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that is counted, since the process began: what the monitor fills in (api_ops.count) and what
 * the API counts itself. metrics.c has a row for each; plain data.
 */
#ifndef API_COUNTERS_H
#define API_COUNTERS_H

#include <stdint.h>

/* What requests are about; the names of their metrics are in metrics.c. */
enum request_kind {
	REQ_INSTANCE_INFO, /* GET */
	REQ_VERSION,
	REQ_MACHINE_GET,
	REQ_MMDS_GET,
	REQ_HOTPLUG_GET,
	REQ_ACTIONS, /* PUT */
	REQ_BOOT_SOURCE,
	REQ_DRIVE,
	REQ_LOGGER,
	REQ_MACHINE,
	REQ_CPU_CONFIG,
	REQ_METRICS,
	REQ_NETWORK,
	REQ_MMDS,
	REQ_VSOCK,
	REQ_PMEM,
	REQ_SERIAL,
	REQ_HOTPLUG,
	REQ_DRIVE_PATCH, /* PATCH */
	REQ_NETWORK_PATCH,
	REQ_MACHINE_PATCH,
	REQ_MMDS_PATCH,
	REQ_HOTPLUG_PATCH,
	REQ_PMEM_PATCH,
	REQ_OTHER, /* is not counted by kind */
	REQ_KINDS
};

/* What a vCPU leaves the guest for, and is answered by the monitor. */
enum exit_kind { EXIT_IO_IN, EXIT_IO_OUT, EXIT_MMIO_READ, EXIT_MMIO_WRITE, EXIT_KINDS };

/* How long it took, in microseconds; buckets[i] counts those of at most 2^i, the last all others.
 */
#define LATENCY_BUCKETS 12u
struct latency {
	uint64_t min_us, max_us, sum_us;
	uint64_t buckets[LATENCY_BUCKETS];
};

struct counters {
	/* The monitor's. */
	uint64_t exits[EXIT_KINDS], vcpu_failures;
	struct latency latency[EXIT_KINDS];
	uint64_t uart_reads, uart_writes, uart_dropped; /* bytes from and to the guest; lost */
	uint64_t i8042_resets;
	/* When each phase of metrics.c was reached: since main(), and in the process's CPU time. */
	uint64_t phase_us[4], phase_cpu_us[4];

	/* The API's. */
	struct {
		uint64_t count, fails;
	} requests[REQ_KINDS];
	uint64_t deprecated, startup_us, startup_cpu_us, pause_us, resume_us;
	uint64_t metrics_fails, metrics_missed, log_missed;
};

#endif
