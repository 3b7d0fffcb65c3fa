/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a device: its registers, and rings in a guest memory of which the first
 * QUEUE_GPA(nr of queues) bytes are theirs. Who includes this says before how many entries a queue
 * has: RING, a power of two and at most 256. Once in a program.
 */
#ifndef TESTS_UNIT_DRIVER_H
#define TESTS_UNIT_DRIVER_H

#include <stdatomic.h>

#include "../../virtio/mmio.h"

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct mem mem;

static inline void write_register(struct virtio_device *dev, uint64_t reg, uint32_t value)
{
	virtio_access(dev, reg, (uint8_t *)&value, 4, true);
}

#define QUEUE_SIZE   0x4000u
#define QUEUE_GPA(q) (0x1000u + QUEUE_SIZE * (q))
_Static_assert(16 * RING <= 0x2000 && 6 + 8 * RING <= 0x1000, "the places in a queue's memory");

static inline volatile struct desc *descs(unsigned q)
{
	return mem_at(&mem, QUEUE_GPA(q), 16 * RING);
}

static inline volatile uint16_t *driver_area(unsigned q)
{
	return mem_at(&mem, QUEUE_GPA(q) + 0x2000, 6 + 2 * RING);
}

static inline volatile uint16_t *device_area(unsigned q)
{
	return mem_at(&mem, QUEUE_GPA(q) + 0x3000, 6 + 8 * RING);
}

static inline void offer(unsigned q, uint16_t head)
{
	volatile uint16_t *area = driver_area(q);

	area[2 + area[1] % RING] = head;
	atomic_thread_fence(memory_order_release); /* the entry before the index: virtio/queue.c */
	area[1]++;
}

/* Of a device that is reset, to DRIVER_OK (virtio 3.1.1); the rings' memory is zeros. */
static inline void start_device(struct virtio_device *dev, uint64_t features)
{
	write_register(dev, 0x70, 1);
	write_register(dev, 0x70, 3);
	write_register(dev, 0x24, 0);
	write_register(dev, 0x20, (uint32_t)features);
	write_register(dev, 0x24, 1);
	write_register(dev, 0x20, 1 | (uint32_t)(features >> 32)); /* VERSION_1 */
	write_register(dev, 0x70, 11);
	for (unsigned q = 0; q < dev->nr_queues; q++) {
		write_register(dev, 0x30, q);
		write_register(dev, 0x38, RING);
		write_register(dev, 0x80, QUEUE_GPA(q));
		write_register(dev, 0x90, QUEUE_GPA(q) + 0x2000);
		write_register(dev, 0xa0, QUEUE_GPA(q) + 0x3000);
		write_register(dev, 0x44, 1);
	}
	write_register(dev, 0x70, 15);
}

#endif
