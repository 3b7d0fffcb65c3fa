// SPDX-License-Identifier: Apache-2.0
/*
 * The split ring. Section numbers are virtio 1.2's. The transport (mmio.c) opens and closes queues
 * and turns a broken one into a device that needs a reset; devices pop and push. Nothing of the
 * guest's is looked at twice: it may change between two looks.
 */
#include "queue.h"
#include "../vmm/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

/* 2.7.5. Packed: nothing says that an indirect table (2.7.5.3) is aligned. */
struct queue_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
} __attribute__((packed));
_Static_assert(sizeof(struct queue_desc) == 16, "2.7.5");

#define DESC_F_NEXT	1u
#define DESC_F_WRITE	2u
#define DESC_F_INDIRECT 4u

#define AVAIL_F_NO_INTERRUPT 1u /* 2.7.6 */
#define USED_F_NO_NOTIFY     1u /* 2.7.8 */

/* Driver area and device area as arrays of 16-bit words: both begin with these two. */
enum { FLAGS, IDX, RING };

/* 2.7: alignments and sizes, in bytes; the event words are there whether negotiated or not. */
#define DESC_ALIGN	   16u
#define DRIVER_ALIGN	   2u
#define DEVICE_ALIGN	   4u
#define DRIVER_BYTES(size) (6u + 2u * (size))
#define DEVICE_BYTES(size) (6u + 8u * (size))

int queue_open(struct queue *q, const struct mem *mem, const struct queue_config *config,
	       uint64_t features)
{
	const uint32_t size = config->size;

	*q = (struct queue){ .mem = mem };
	if (size == 0 || size > QUEUE_MAX || size & (size - 1) || config->desc % DESC_ALIGN ||
	    config->driver % DRIVER_ALIGN || config->device % DEVICE_ALIGN)
		return -EINVAL;
	q->desc = mem_at(mem, config->desc, size * sizeof(struct queue_desc));
	q->driver = mem_at(mem, config->driver, DRIVER_BYTES(size));
	q->device = mem_at(mem, config->device, DEVICE_BYTES(size));
	if (!q->desc || !q->driver || !q->device) {
		queue_close(q);
		return -EFAULT;
	}
	q->size = (uint16_t)size;
	q->has_event_idx = features & VIRTIO_F_EVENT_IDX;
	q->has_indirect = features & VIRTIO_F_INDIRECT_DESC;
	return 0;
}

void queue_close(struct queue *q)
{
	q->desc = NULL;
	q->driver = NULL;
	q->device = NULL;
}

void queue_pop_again(struct queue *q)
{
	memcpy(q->again, q->in_flight, sizeof(q->again));
	for (unsigned i = 0; i < QUEUE_MAX / 64; i++)
		q->has_again |= q->again[i] != 0;
}

struct queue_place queue_place(const struct queue *q)
{
	struct queue_place place = { q->last_avail, q->used_idx, q->notified_at, 0, { 0 } };

	memcpy(place.in_flight, q->in_flight, sizeof(place.in_flight));
	return place;
}

/* The indexes are free running: any is a place. */
int queue_go_to(struct queue *q, const struct queue_place *place)
{
	for (unsigned head = q->size; head < QUEUE_MAX; head++)
		if (place->in_flight[head / 64] >> head % 64 & 1)
			return -EINVAL;
	q->last_avail = place->last_avail;
	q->used_idx = place->used_idx;
	q->notified_at = place->notified_at;
	memcpy(q->in_flight, place->in_flight, sizeof(q->in_flight));
	queue_pop_again(q);
	return 0;
}

/* The next head that is to be popped once more. */
static bool take_again(struct queue *q, uint16_t *head)
{
	for (unsigned i = 0; q->has_again && i < QUEUE_MAX / 64; i++)
		if (q->again[i]) {
			*head = (uint16_t)(i * 64 + (unsigned)__builtin_ctzll(q->again[i]));
			q->again[i] &= q->again[i] - 1;
			return true;
		}
	q->has_again = false;
	return false;
}

static int break_ring(struct queue *q, const char *why)
{
	q->broken = why;
	return -EPROTO;
}

/* One snapshot: what is checked is what is used. */
static struct queue_desc load_desc(const volatile struct queue_desc *from)
{
	return (struct queue_desc){ from->addr, from->len, from->flags, from->next };
}

/* A segment goes to the end of the chain. Empty ones are legal and carry nothing. */
static int add_segment(struct queue *q, struct queue_chain *chain, const struct queue_desc *d)
{
	const bool is_writable = d->flags & DESC_F_WRITE;
	uint32_t *const bytes = is_writable ? &chain->writable : &chain->readable;
	void *host;

	if (chain->nr_writable && !is_writable) /* 2.7.4.2 */
		return break_ring(q, "a readable descriptor after a writable one");
	if (d->len == 0)
		return 0;
	host = mem_at(q->mem, d->addr, d->len); /* 2.7.5: addr is guest-physical */
	if (!host)
		return break_ring(q, "a descriptor outside of memory");
	/* 2.7.5: a chain carries no more than 2^32 bytes; used.len has 32 bits. */
	if (d->len > UINT32_MAX - chain->readable - chain->writable)
		return break_ring(q, "a chain of more than 4 GiB");
	chain->iov[chain->nr_readable + chain->nr_writable] = (struct iovec){ host, d->len };
	*bytes += d->len;
	if (is_writable)
		chain->nr_writable++;
	else
		chain->nr_readable++;
	return 0;
}

/*
 * 2.7.5.3: a table of descriptors of its own, which chain inside of it by `next` from entry 0.
 * `used` descriptors came before it in the chain.
 */
static int walk_indirect(struct queue *q, struct queue_chain *chain, const struct queue_desc *outer,
			 unsigned used)
{
	const uint32_t nr = outer->len / sizeof(*outer);
	const volatile struct queue_desc *table;
	uint32_t at = 0;

	if (!q->has_indirect || outer->flags & DESC_F_NEXT) /* 2.7.5.3.1 */
		return break_ring(q, "an indirect descriptor where none may be");
	if (nr == 0 || outer->len % sizeof(*outer))
		return break_ring(q, "an indirect table that is not a whole number of descriptors");
	table = mem_at(q->mem, outer->addr, outer->len);
	if (!table)
		return break_ring(q, "an indirect table outside of memory");
	for (; used < QUEUE_MAX; used++) {
		const struct queue_desc d = load_desc(&table[at]);
		int err;

		if (d.flags & DESC_F_INDIRECT) /* 2.7.5.3.1 */
			return break_ring(q, "an indirect table inside of another");
		err = add_segment(q, chain, &d);
		if (err || !(d.flags & DESC_F_NEXT))
			return err;
		if (d.next >= nr) /* 2.7.5.3: next is an entry of the same table */
			return break_ring(q, "a descriptor beyond the indirect table");
		at = d.next;
	}
	return break_ring(q, "an indirect chain that is too long");
}

/* 2.7.5.2: a chain is no longer than the queue is large; more descriptors than that are a loop. */
static int walk(struct queue *q, struct queue_chain *chain)
{
	uint16_t at = chain->head;

	for (unsigned used = 0; used < q->size; used++) {
		const struct queue_desc d = load_desc(&q->desc[at]);
		int err;

		if (d.flags & DESC_F_INDIRECT)
			return walk_indirect(q, chain, &d, used);
		err = add_segment(q, chain, &d);
		if (err || !(d.flags & DESC_F_NEXT))
			return err;
		if (d.next >= q->size) /* 2.7.5: next is an entry of the table */
			return break_ring(q, "a descriptor beyond the table");
		at = d.next;
	}
	return break_ring(q, "a chain that loops");
}

/* Chains made available and not yet popped. */
static uint16_t waiting(const struct queue *q)
{
	const uint16_t idx = q->driver[IDX];

	/*
	 * 2.7.13.3: the driver writes ring and descriptors before idx, with a barrier between;
	 * this is the device's side of it.
	 */
	atomic_thread_fence(memory_order_acquire);
	return (uint16_t)(idx - q->last_avail);
}

/* The next head of the driver area: 1, 0 where there is none, or -EPROTO. */
static int take_next(struct queue *q, uint16_t *head)
{
	const uint16_t nr = waiting(q);

	if (nr == 0)
		return 0;
	if (nr > q->size) /* 2.7.6: idx counts what was put in, and there is room for no more */
		return break_ring(q, "an available index that jumps");
	*head = q->driver[RING + q->last_avail % q->size];
	if (*head >= q->size) /* 2.7.6: ring[] holds entries of the table */
		return break_ring(q, "a head beyond the table");
	if (q->in_flight[*head / 64] >> *head % 64 & 1) /* 2.7.8: it is ours until it is used */
		return break_ring(q, "a head that is in flight already");
	return 1;
}

int queue_pop(struct queue *q, struct queue_chain *chain)
{
	bool is_again;
	int got = 1;

	if (!q->desc)
		return 0;
	if (q->broken)
		return -EPROTO;
	is_again = take_again(q, &chain->head);
	if (!is_again)
		got = take_next(q, &chain->head);
	if (got <= 0)
		return got;
	chain->nr_readable = chain->nr_writable = 0;
	chain->readable = chain->writable = 0;
	if (walk(q, chain))
		return -EPROTO;
	if (is_again)
		return 1;
	q->last_avail++;
	q->in_flight[chain->head / 64] |= 1ull << chain->head % 64;
	return 1;
}

void queue_put(struct queue *q, uint16_t head, uint32_t written)
{
	volatile uint32_t *element;

	if (!q->desc)
		return;
	must(head < q->size && q->in_flight[head / 64] >> head % 64 & 1);
	q->in_flight[head / 64] &= ~(1ull << head % 64);
	/* 2.7.8: {id, len}; the ring begins four bytes into an area aligned to four. */
	element = (volatile uint32_t *)&q->device[RING + q->used_idx % q->size * 4u];
	element[0] = head;
	element[1] = written;
	q->used_idx++;
}

void queue_publish(struct queue *q)
{
	if (!q->desc)
		return;
	/* 2.7.14: the driver reads idx, a barrier, then the element. What was written to its
	 * buffers is older than both. */
	atomic_thread_fence(memory_order_release);
	q->device[IDX] = q->used_idx;
}

void queue_push(struct queue *q, uint16_t head, uint32_t written)
{
	queue_put(q, head, written);
	queue_publish(q);
}

bool queue_needs_interrupt(struct queue *q)
{
	const uint16_t from = q->notified_at, to = q->used_idx;
	uint16_t event;

	if (!q->desc || from == to)
		return false;
	q->notified_at = to;
	/*
	 * 2.7.7.2, 2.7.10: idx is written before flags or used_event are read. The driver's side
	 * writes those first, a barrier, and then looks at idx once more: one of us sees the other.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->has_event_idx)
		return !(q->driver[FLAGS] & AVAIL_F_NO_INTERRUPT);
	event = q->driver[RING + q->size];
	return (uint16_t)(to - event - 1) < (uint16_t)(to - from);
}

void queue_disable_notifications(struct queue *q)
{
	q->is_polled = true;
	/* With event indexes avail_event stays behind, which asks for nothing (2.7.10.1). */
	if (q->desc && !q->has_event_idx)
		q->device[FLAGS] = USED_F_NO_NOTIFY;
}

bool queue_enable_notifications(struct queue *q)
{
	if (!q->desc || q->broken)
		return false;
	q->is_polled = false;
	if (q->has_event_idx)
		q->device[RING + q->size * 4u] = q->last_avail;
	else
		q->device[FLAGS] = 0;
	/*
	 * 2.7.10: what was just written comes before this look at the driver's idx. The driver's
	 * side (2.7.13.4.1) writes idx, a barrier, then reads the above: nothing falls between.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	return q->has_again || waiting(q) != 0;
}

bool queue_has_more(const struct queue *q)
{
	return q->desc && (q->has_again || waiting(q) != 0);
}

bool queue_is_notified(const struct queue *q)
{
	return !q->is_polled && queue_has_more(q);
}
