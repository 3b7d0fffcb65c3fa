/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that is counted, since the process began: what the monitor fills in (api_ops.count) and what
 * the API counts itself. metrics.c has a row for each; plain data.
 */
#ifndef API_COUNTERS_H
#define API_COUNTERS_H

#include "config.h"

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

/*
 * How long it took, in microseconds; buckets[i] counts those of at most 2^i, the last all others.
 */
#define LATENCY_BUCKETS 12u
struct latency {
	uint64_t min_us, max_us, sum_us;
	uint64_t buckets[LATENCY_BUCKETS];
};

/* What is counted of a disk and of an interface: Firecracker's metrics, by their names. */
enum block_count {
	BLOCK_ACTIVATE_FAILS,
	BLOCK_CFG_FAILS,
	BLOCK_NO_AVAIL_BUFFER,
	BLOCK_EVENT_FAILS,
	BLOCK_EXECUTE_FAILS,
	BLOCK_INVALID_REQS_COUNT,
	BLOCK_FLUSH_COUNT,
	BLOCK_QUEUE_EVENT_COUNT,
	BLOCK_RATE_LIMITER_EVENT_COUNT,
	BLOCK_UPDATE_COUNT,
	BLOCK_UPDATE_FAILS,
	BLOCK_READ_BYTES,
	BLOCK_WRITE_BYTES,
	BLOCK_READ_COUNT,
	BLOCK_WRITE_COUNT,
	BLOCK_RATE_LIMITER_THROTTLED_EVENTS,
	BLOCK_IO_ENGINE_THROTTLED_EVENTS,
	BLOCK_REMAINING_REQS_COUNT,
	BLOCK_COUNTS
};

enum net_count {
	NET_ACTIVATE_FAILS,
	NET_CFG_FAILS,
	NET_NO_RX_AVAIL_BUFFER,
	NET_NO_TX_AVAIL_BUFFER,
	NET_EVENT_FAILS,
	NET_RX_QUEUE_EVENT_COUNT,
	NET_RX_EVENT_RATE_LIMITER_COUNT,
	NET_RX_RATE_LIMITER_THROTTLED,
	NET_RX_TAP_EVENT_COUNT,
	NET_RX_BYTES_COUNT,
	NET_RX_PACKETS_COUNT,
	NET_RX_FAILS,
	NET_RX_COUNT,
	NET_TAP_READ_FAILS,
	NET_TAP_WRITE_FAILS,
	NET_TX_BYTES_COUNT,
	NET_TX_MALFORMED_FRAMES,
	NET_TX_FAILS,
	NET_TX_COUNT,
	NET_TX_PACKETS_COUNT,
	NET_TX_QUEUE_EVENT_COUNT,
	NET_TX_RATE_LIMITER_EVENT_COUNT,
	NET_TX_RATE_LIMITER_THROTTLED,
	NET_TX_SPOOFED_MAC_COUNT,
	NET_TX_REMAINING_REQS_COUNT,
	NET_COUNTS
};

enum block_latency { BLOCK_READ, BLOCK_WRITE, BLOCK_LATENCIES };
enum net_latency { NET_TAP_WRITE, NET_LATENCIES };

static inline void latency_add(struct latency *l, uint64_t us)
{
	unsigned i = 0;

	while (i < LATENCY_BUCKETS - 1 && us > 1ull << i)
		i++;
	l->buckets[i]++;
	l->sum_us += us;
	l->min_us = l->min_us == 0 || us < l->min_us ? us : l->min_us;
	l->max_us = us > l->max_us ? us : l->max_us;
}

/* One device's; of a disk the first enumerations, of an interface the second. */
struct device_counters {
	uint64_t counts[NET_COUNTS];
	uint64_t queue_depth; /* requests that the guest waits for: a gauge */
	struct latency latency[BLOCK_LATENCIES];
};

/* The devices' counters, in the order of struct vm_config: read anew by api_ops.count_devices. */
struct devices_counters {
	struct device_counters disks[DEVICES_MAX], nets[DEVICES_MAX];
};

struct counters {
	/* The monitor's. */
	uint64_t exits[EXIT_KINDS], vcpu_failures;
	struct latency latency[EXIT_KINDS];
	/* Bytes from and to the guest; without a reader; beyond the rate limit. */
	uint64_t uart_reads, uart_writes, uart_dropped, uart_limited;
	uint64_t i8042_resets, interrupts, hangups;
	/* When each phase of metrics.c was reached: since main(), and in the process's CPU time. */
	uint64_t phase_us[4], phase_cpu_us[4];

	/* The API's. */
	struct {
		uint64_t count, fails;
	} requests[REQ_KINDS];
	uint64_t deprecated, startup_us, startup_cpu_us, pause_us, resume_us, save_us, load_us;
	uint64_t metrics_fails, metrics_missed, log_missed;
};

#endif
