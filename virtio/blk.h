/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (virtio 1.2, 5.2) over a disk: read, write, flush, get-id, discard,
 * write-zeroes, on up to one queue per vCPU. Requests live in a fixed array, indexed by queue and
 * head; nothing is allocated while the guest runs. blk_open() comes before anything is created in
 * the kernel, blk_init() before the vCPUs, virtio_open() and blk_attach() with the loop.
 */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "../api/config.h"
#include "../api/counters.h"
#include "disk.h"
#include "limit.h"
#include "mmio.h"

struct blk_request {
	struct disk_io io;
	struct blk *blk;
	uint16_t queue, head;
	bool is_in_flight;
	uint8_t *status;  /* in guest memory */
	uint32_t written; /* bytes from the beginning of the writable part on, for the used ring */
	uint64_t charge;  /* bytes for the rate limit */
	uint64_t begun_ns;
	struct iovec iov[QUEUE_MAX];
};

struct blk {
	struct virtio_device dev;
	struct disk disk;
	struct limit limit;
	struct blk_request *requests; /* [queue * QUEUE_MAX + head] */
	unsigned nr_in_flight;
	bool is_stopping; /* a reset waits for those */
	bool is_warned;	  /* a failure of the host's was said once */
	/*
	 * Queues that are looked at in every turn of the loop, their notifications off: from a
	 * kick on, as long as requests come or come back.
	 */
	bool is_polled[MAX_VCPUS];
	bool has_progress; /* in this turn */
	struct turn turn;
	/* The rate limit: a request that waits for it; meanwhile no queue is looked at. */
	struct blk_request *held;
	bool is_timing;
	struct op timer_op;
	struct __kernel_timespec timer;
	struct queue_chain chain; /* the one just popped */
	struct device_counters counters;
};

/* Opens the disk. 0 or -errno, logged. `config` is borrowed. */
int blk_open(struct blk *blk, const struct disk_config *config);

/* Makes the device, with `nr_queues` (1 to MAX_VCPUS). 0 or -errno, logged. */
int blk_init(struct blk *blk, unsigned nr_queues, const struct mem *mem);

/* Hands the disk's files to the loop that virtio_open() was given. 0 or -errno, logged. */
int blk_attach(struct blk *blk, struct loop *loop);

/*
 * While it runs, on the loop's thread: what `update` gives, in the place of what is. What is in
 * flight ends on the old image. 0 or -errno, logged; then nothing has changed.
 */
int blk_update(struct blk *blk, const struct disk_update *update);

/* What was counted since the start, and the requests in flight. */
void blk_count(const struct blk *blk, struct device_counters *counters);

/* At the end, when the loop runs no more, or where the device was not made in the end. Not opened:
 * nothing. */
void blk_close(struct blk *blk);

#endif
