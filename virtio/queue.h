/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split ring (virtio 1.2, 2.7), the device's side. Three verbs: pop a chain, push it back, and
 * ask whether the driver wants an interrupt. One thread owns a queue, the loop's; the guest writes
 * its memory at any time, so each word is loaded once, checked, then used. Knows no device, no
 * descriptor of a file and no lock.
 *
 *   descriptor table   16 bytes each: addr, len, flags, next          read only
 *   driver area        flags, idx, ring[size], used_event             read only ("available ring")
 *   device area        flags, idx, {id, len}[size], avail_event       written  ("used ring")
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include "../vmm/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* Entries of a ring at most, and descriptors in a chain at most, indirect ones counted. */
#define QUEUE_MAX 256u

/* 6: feature bits that a ring obeys; both are offered. */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)

/* What the driver says about a queue before it is used (4.2.2: QueueNum, QueueDesc, ...). */
struct queue_config {
	uint32_t size; /* entries, a power of two, 1 to QUEUE_MAX */
	gpa_t desc, driver, device;
	bool ready;
};

struct queue {
	const struct mem *mem;
	/* The three areas, inside guest memory as wholes; NULL: the queue is closed. */
	const volatile struct queue_desc *desc;
	const volatile uint16_t *driver;
	volatile uint16_t *device;
	uint16_t size;
	bool has_event_idx, has_indirect;
	bool is_polled;	      /* the driver need not notify */
	const char *broken;   /* what the driver did wrong; nothing is popped any more */
	uint16_t last_avail;  /* free running: the next entry of the driver area to pop */
	uint16_t used_idx;    /* free running: the next entry of the device area to fill */
	uint16_t notified_at; /* used_idx when the driver was last thought of */
	uint64_t in_flight[QUEUE_MAX / 64]; /* a bit for each head popped and not yet pushed */
	uint64_t again[QUEUE_MAX / 64];	    /* of those, what is to be popped once more */
	bool has_again;			    /* there may be such heads */
};

/* Where a queue stands, for another process to go on from there. */
struct queue_place {
	uint16_t last_avail, used_idx, notified_at, unused;
	uint64_t in_flight[QUEUE_MAX / 64];
};

/* One request as the driver laid it out: readable segments, then writable ones. */
struct queue_chain {
	uint16_t head; /* below the queue's size, and in no other chain in flight */
	unsigned nr_readable, nr_writable;
	uint32_t readable, writable; /* bytes in each part; 4 GiB - 1 at most together */
	struct iovec iov[QUEUE_MAX]; /* of guest memory; none is empty */
};

/*
 * Opens a queue on what the driver configured; `features` as negotiated. 0, -EINVAL where size or
 * alignment break 2.7, -EFAULT where an area is not RAM as a whole; the queue is then closed.
 */
int queue_open(struct queue *q, const struct mem *mem, const struct queue_config *config,
	       uint64_t features);

/* From here on nothing is popped, pushes are forgotten, and no interrupt is wanted. */
void queue_close(struct queue *q);

/* Whoever popped what is in flight has forgotten it: it is popped once more, before all else. */
void queue_pop_again(struct queue *q);

/*
 * Where an open queue stands; and an open queue to there, with queue_pop_again(). -EINVAL where
 * that is no place in it.
 */
struct queue_place queue_place(const struct queue *q);
int queue_go_to(struct queue *q, const struct queue_place *place);

/*
 * Takes the next chain: 1; 0 where there is none or the queue is closed; -EPROTO where the driver
 * broke the ring, which q->broken then names, for good.
 */
int queue_pop(struct queue *q, struct queue_chain *chain);

/* Gives a popped chain back, `written` bytes of its writable part having been written. */
void queue_push(struct queue *q, uint16_t head, uint32_t written);

/*
 * The same in two steps, for what the driver must see as a whole: each chain of it is put, then all
 * are published together.
 */
void queue_put(struct queue *q, uint16_t head, uint32_t written);
void queue_publish(struct queue *q);

/* After one or more pushes: whether the driver wants to be told (2.7.7.2). */
bool queue_needs_interrupt(struct queue *q);

/*
 * While the device looks anyway, the driver need not notify (2.7.10). Enabling says true where
 * chains have come meanwhile: then look again.
 */
void queue_disable_notifications(struct queue *q);
bool queue_enable_notifications(struct queue *q);

/* Whether there are chains to pop. */
bool queue_has_more(const struct queue *q);

/* Whether there are chains that the driver was to notify of. */
bool queue_is_notified(const struct queue *q);

#endif
