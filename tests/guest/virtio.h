/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small virtio-mmio driver for guest programs (virtio 1.2, 4.2 and 2.7), which can do what
 * drivers must not: it hands out every register and every word of a ring. Polls, gives up after
 * some seconds, and never allocates twice: a device's rings stay where they are over its resets.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

enum {
	V_MAGIC = 0x000,
	V_VERSION = 0x004,
	V_ID = 0x008,
	V_FEATURES = 0x010,
	V_FEATURES_SEL = 0x014,
	V_DRIVER_FEATURES = 0x020,
	V_DRIVER_FEATURES_SEL = 0x024,
	V_QUEUE_SEL = 0x030,
	V_QUEUE_NUM_MAX = 0x034,
	V_QUEUE_NUM = 0x038,
	V_QUEUE_READY = 0x044,
	V_NOTIFY = 0x050,
	V_INTERRUPT = 0x060,
	V_ACK = 0x064,
	V_STATUS = 0x070,
	V_DESC = 0x080,
	V_DRIVER = 0x090,
	V_DEVICE = 0x0a0,
	V_GENERATION = 0x0fc,
	V_CONFIG = 0x100,
};

#define S_ACKNOWLEDGE 1u
#define S_DRIVER      2u
#define S_DRIVER_OK   4u
#define S_FEATURES_OK 8u
#define S_NEEDS_RESET 64u

#define F_INDIRECT  (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)

#define D_NEXT	   1u
#define D_WRITE	   2u
#define D_INDIRECT 4u

#define VQ_MAX 256u

struct vdesc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct vqueue {
	uint16_t size;
	struct vdesc *desc;
	volatile uint16_t *driver; /* flags, idx, ring[size], used_event */
	volatile uint16_t *device; /* flags, idx, {id, len}[size], avail_event */
	uint16_t seen;		   /* used entries */
};

struct vdevice {
	unsigned window;
	uint64_t gpa; /* of the registers */
	uint64_t features;
	unsigned nr_queues;
	struct vqueue queue[GUEST_CPUS];
};

uint32_t v_read(const struct vdevice *d, uint32_t reg);
void v_write(const struct vdevice *d, uint32_t reg, uint32_t value);

/* Zeroed pages, which are never given back. */
void *pages(uint64_t bytes);

/* Resets the device, and waits until it says that it is. */
void v_reset(struct vdevice *d);

/* What it offers. */
uint64_t v_offered(const struct vdevice *d);

/* From a reset to DRIVER_OK with these features and `nr` queues of `size`; dies where it cannot. */
void v_start(struct vdevice *d, unsigned window, uint64_t features, unsigned nr, uint16_t size);

/* The same at any address, for other monitors' devices; d->gpa is where v_find() found one. */
void v_open(struct vdevice *d, uint64_t features, unsigned nr, uint16_t size);

/*
 * Looks for a device of this type (virtio 1.2, 5) where mayfly and where QEMU's microvm has them.
 */
bool v_find(struct vdevice *d, uint32_t id);

/* The steps of that: up to FEATURES_OK (false: refused), a queue at these places, DRIVER_OK. */
bool v_negotiate(struct vdevice *d, uint64_t features);
void v_place(struct vdevice *d, unsigned q, uint32_t size, uint64_t desc, uint64_t driver,
	     uint64_t device);
void v_driver_ok(struct vdevice *d);

/* Makes a chain available; notifies where the device wants it, or in any case. */
void v_offer(struct vqueue *q, uint16_t head);
void v_notify(struct vdevice *d, unsigned q);
bool v_wants_notify(const struct vdevice *d, unsigned q, uint16_t before);

/* Waits for the next used element: false where none comes; *id and *len are what it says. */
bool v_wait(struct vqueue *q, uint32_t *id, uint32_t *len);

/* Waits until (status & mask) == wanted. */
bool v_wait_status(const struct vdevice *d, uint32_t mask, uint32_t wanted);

#endif
