// SPDX-License-Identifier: Apache-2.0
/*
 * The split ring: random valid chains against a model of the driver (virtio 1.2, 2.7), then each
 * way to break a ring by itself, and random bytes through the fuzzer's promises.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../virtio/queue.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* Guest memory: the areas at fixed places, tables for indirect chains. */
#define MEM_SIZE    (1u << 20)
#define DESC_GPA    0x1000u
#define DRIVER_GPA  0x3000u
#define DEVICE_GPA_ 0x4000u
#define TABLE_GPA   0x10000u /* 1 KiB for each head */
#define TABLE_SIZE  0x400u
static struct mem mem;

static struct queue q;
static struct queue_chain chain;
static unsigned size;

static uint32_t seed = 2463534242u; /* xorshift: the same run every time */

static uint32_t dice(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return (seed >> 3) % below;
}

static struct desc *descs(void)
{
	return mem_at(&mem, DESC_GPA, size * sizeof(struct desc));
}

static uint16_t *driver(void)
{
	return mem_at(&mem, DRIVER_GPA, 6 + 2 * size);
}

static uint16_t *device(void)
{
	return mem_at(&mem, DEVICE_GPA_, 6 + 8 * size);
}

static uint32_t *used(uint16_t idx)
{
	return (uint32_t *)(device() + 2 + idx % size * 4);
}

static int make_mem(void **state)
{
	(void)state;
	mem.nr_regions = 1;
	mem.regions[0] =
		(struct mem_region){ .size = MEM_SIZE, .host = aligned_alloc(4096, MEM_SIZE) };
	assert_non_null(mem.regions[0].host);
	return 0;
}

static int drop_mem(void **state)
{
	(void)state;
	free(mem.regions[0].host);
	return 0;
}

static void open_queue(unsigned entries, uint64_t features)
{
	const struct queue_config config = {
		.size = entries, .desc = DESC_GPA, .driver = DRIVER_GPA, .device = DEVICE_GPA_
	};

	size = entries;
	memset(mem.regions[0].host, 0, MEM_SIZE);
	assert_int_equal(queue_open(&q, &mem, &config, features), 0);
}

static void offer(uint16_t head)
{
	uint16_t *d = driver();

	d[2 + d[1] % size] = head;
	d[1]++;
}

/* A driver: which descriptors are free, and what it expects to be popped, in order. */
static struct driver_model {
	bool is_free[QUEUE_MAX];
	unsigned nr_free;
	struct expected {
		uint16_t head;
		unsigned nr_readable, nr_writable, nr_own; /* segments; ring descriptors */
		uint16_t own[QUEUE_MAX];
		struct iovec iov[QUEUE_MAX];
	} made[QUEUE_MAX]; /* by head */
	uint16_t order[QUEUE_MAX];
	unsigned first, last; /* of order[], free running */
} m;

static uint16_t take_free(void)
{
	unsigned at = dice(size);

	while (!m.is_free[at])
		at = (at + 1) % size;
	m.is_free[at] = false;
	m.nr_free--;
	return (uint16_t)at;
}

/* Segment number `i` of a chain: where, how long (now and then nothing), which way. */
static struct desc segment(struct expected *e, bool is_writable)
{
	const uint32_t len = dice(8) ? 1 + dice(3000) : 0;
	struct desc d = { .addr = dice(MEM_SIZE - 3000), .len = len };

	d.flags = is_writable ? WRITE : 0;
	if (len == 0)
		d.addr = ~0ull; /* nobody looks */
	else
		e->iov[e->nr_readable + e->nr_writable] =
			(struct iovec){ mem.regions[0].host + d.addr, len };
	if (len && is_writable)
		e->nr_writable++;
	else if (len)
		e->nr_readable++;
	return d;
}

/* `direct` descriptors in the ring, of them the last an indirect one with `inner` where not 0. */
static void make_chain(unsigned direct, unsigned inner)
{
	const unsigned total = inner ? direct - 1 + inner : direct;
	const unsigned nr_readable = dice(total + 1);
	uint16_t own[QUEUE_MAX] = { 0 };
	struct expected *e;
	struct desc *table;
	unsigned made = 0;

	for (unsigned i = 0; i < direct; i++)
		own[i] = take_free();
	e = &m.made[own[0]];
	*e = (struct expected){ .head = own[0], .nr_own = direct };
	memcpy(e->own, own, sizeof(own));
	for (unsigned i = 0; i < direct; i++) {
		struct desc *d = &descs()[own[i]];

		if (inner && i == direct - 1) {
			*d = (struct desc){ TABLE_GPA + own[0] * TABLE_SIZE, inner * 16,
					    INDIRECT | (dice(2) ? WRITE : 0), 0xffff };
			break;
		}
		*d = segment(e, made++ >= nr_readable);
		if (i + 1 < direct) {
			d->flags |= NEXT;
			d->next = own[i + 1];
		}
	}
	if (inner) {
		table = mem_at(&mem, descs()[own[direct - 1]].addr, inner * 16);
		for (unsigned i = 0; i < inner; i++) {
			table[i] = segment(e, made++ >= nr_readable);
			table[i].flags |= i + 1 < inner ? NEXT : 0;
			table[i].next = (uint16_t)(i + 1);
		}
	}
	m.order[m.last++ % QUEUE_MAX] = own[0];
	offer(own[0]);
}

static void make_some(bool has_indirect)
{
	for (unsigned n = dice(4); n > 0 && m.nr_free > 0; n--) {
		const unsigned most = m.nr_free < 6 ? m.nr_free : 6;

		make_chain(1 + dice(most), has_indirect && dice(2) ? 1 + dice(40) : 0);
	}
}

static void pop_one(void)
{
	const struct expected *e;
	uint32_t bytes[2] = { 0, 0 };

	if (m.first == m.last) {
		assert_int_equal(queue_pop(&q, &chain), 0);
		return;
	}
	assert_int_equal(queue_pop(&q, &chain), 1);
	e = &m.made[m.order[m.first++ % QUEUE_MAX]];
	assert_int_equal(chain.head, e->head);
	assert_int_equal(chain.nr_readable, e->nr_readable);
	assert_int_equal(chain.nr_writable, e->nr_writable);
	assert_memory_equal(chain.iov, e->iov,
			    (e->nr_readable + e->nr_writable) * sizeof(struct iovec));
	for (unsigned i = 0; i < e->nr_readable + e->nr_writable; i++)
		bytes[i >= e->nr_readable] += (uint32_t)e->iov[i].iov_len;
	assert_int_equal(chain.readable, bytes[0]);
	assert_int_equal(chain.writable, bytes[1]);
}

/* Pushed in any order; the driver finds each where it looks, and frees its descriptors. */
static void push_one(uint16_t *heads, unsigned *nr)
{
	const unsigned at = dice(*nr);
	const uint16_t head = heads[at], before = device()[1];
	const uint32_t written = dice(1u << 31);

	heads[at] = heads[--*nr];
	queue_push(&q, head, written);
	assert_int_equal(device()[1], (uint16_t)(before + 1));
	assert_int_equal(used(before)[0], head);
	assert_int_equal(used(before)[1], written);
	for (unsigned i = 0; i < m.made[head].nr_own; i++)
		m.is_free[m.made[head].own[i]] = true;
	m.nr_free += m.made[head].nr_own;
}

/* 2.7.7.2 in its plain form: the event lies among what was pushed since the last time. */
static bool crosses(uint16_t event, uint16_t from, uint16_t to)
{
	for (uint16_t i = from; i != to; i++)
		if (i == event)
			return true;
	return false;
}

static void check_interrupt(uint64_t features, uint16_t *told)
{
	const uint16_t now = device()[1];
	bool wanted = crosses(driver()[2 + size], *told, now);

	if (!(features & VIRTIO_F_EVENT_IDX))
		wanted = *told != now && !(driver()[0] & 1);
	assert_int_equal(queue_needs_interrupt(&q), wanted);
	assert_false(queue_needs_interrupt(&q)); /* once */
	*told = now;
	driver()[2 + size] = (uint16_t)(now - 1 + dice(4)); /* behind, too: nothing is wanted */
	driver()[0] = (uint16_t)dice(2);
}

static void model_run(unsigned entries, uint64_t features, unsigned rounds)
{
	uint16_t in_flight[QUEUE_MAX], told = 0;
	unsigned nr = 0;

	open_queue(entries, features);
	memset(&m, 0, sizeof(m));
	for (unsigned i = 0; i < entries; i++)
		m.is_free[i] = true;
	m.nr_free = entries;
	while (rounds--) {
		make_some(features & VIRTIO_F_INDIRECT_DESC);
		for (unsigned n = dice(5); n > 0; n--) {
			const bool is_there = m.first != m.last;

			pop_one();
			if (is_there)
				in_flight[nr++] = chain.head;
		}
		for (unsigned n = dice(5); n > 0 && nr > 0; n--)
			push_one(in_flight, &nr);
		check_interrupt(features, &told);
	}
}

static void random_chains(void **state)
{
	(void)state;
	for (unsigned entries = 1; entries <= QUEUE_MAX; entries *= 2) {
		model_run(entries, 0, 3000);
		model_run(entries, VIRTIO_F_EVENT_IDX, 3000);
		model_run(entries, VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX, 3000);
	}
}

/* Both indexes run over 65535 several times. */
static void wraps(void **state)
{
	(void)state;
	model_run(4, VIRTIO_F_EVENT_IDX, 200000);
	assert_true(q.used_idx != m.last); /* the model's counter has more bits */
}

static void one_desc(uint16_t at, struct desc d)
{
	descs()[at] = d;
}

/* 2.7.5.3 asks for no alignment of the table, so there is none to count on. */
static void indirect_at_any_address(void **state)
{
	const struct desc inner = { 0x2000, 8, 0, 0 };

	(void)state;
	for (unsigned odd = 0; odd < 16; odd++) {
		open_queue(4, VIRTIO_F_INDIRECT_DESC);
		one_desc(0, (struct desc){ TABLE_GPA + odd, 16, INDIRECT, 0 });
		memcpy((uint8_t *)mem_at(&mem, TABLE_GPA, 32) + odd, &inner, sizeof(inner));
		offer(0);
		assert_int_equal(queue_pop(&q, &chain), 1);
		assert_int_equal(chain.readable, 8);
		assert_ptr_equal(chain.iov[0].iov_base, mem_at(&mem, 0x2000, 8));
	}
}

static void longest_chains(void **state)
{
	struct desc *table;

	(void)state;
	open_queue(QUEUE_MAX, VIRTIO_F_INDIRECT_DESC);
	for (unsigned i = 0; i < QUEUE_MAX; i++)
		one_desc((uint16_t)i, (struct desc){ 0x20000, 16, i + 1 < QUEUE_MAX ? NEXT : 0,
						     (uint16_t)(i + 1) });
	offer(0);
	assert_int_equal(queue_pop(&q, &chain), 1);
	assert_int_equal(chain.nr_readable, QUEUE_MAX);

	open_queue(4, VIRTIO_F_INDIRECT_DESC);
	one_desc(0, (struct desc){ TABLE_GPA, QUEUE_MAX * 16, INDIRECT, 0 });
	table = mem_at(&mem, TABLE_GPA, QUEUE_MAX * 16);
	for (unsigned i = 0; i < QUEUE_MAX; i++)
		table[i] = (struct desc){ 0x20000, 16, i + 1 < QUEUE_MAX ? NEXT : 0,
					  (uint16_t)(i + 1) };
	offer(0);
	assert_int_equal(queue_pop(&q, &chain), 1);
	assert_int_equal(chain.nr_readable, QUEUE_MAX);
}

/* Nothing is written behind chain.iov. */
static void longer_chains(void **state)
{
	struct desc *table;

	(void)state;
	open_queue(QUEUE_MAX, 0);
	one_desc(0, (struct desc){ 0x20000, 16, NEXT, 0 });
	offer(0);
	assert_int_equal(queue_pop(&q, &chain), -EPROTO);
	assert_int_equal(chain.nr_readable, QUEUE_MAX);

	open_queue(4, VIRTIO_F_INDIRECT_DESC);
	one_desc(0, (struct desc){ TABLE_GPA, (QUEUE_MAX + 1) * 16, INDIRECT, 0 });
	table = mem_at(&mem, TABLE_GPA, (QUEUE_MAX + 1) * 16);
	for (unsigned i = 0; i <= QUEUE_MAX; i++)
		table[i] =
			(struct desc){ 0x20000, 16, i < QUEUE_MAX ? NEXT : 0, (uint16_t)(i + 1) };
	offer(0);
	assert_int_equal(queue_pop(&q, &chain), -EPROTO);
	assert_int_equal(chain.nr_readable, QUEUE_MAX);
}

static const struct {
	const char *why;
	struct desc ring[3], table[3]; /* the table lies at TABLE_GPA */
	uint16_t head, idx;
	uint64_t features;
} broken[] = {
	{ "loops", { { 0, 1, NEXT, 1 }, { 0, 1, NEXT, 0 } }, .idx = 1 },
	{ "loops", { { 0, 1, NEXT, 0 } }, .idx = 1 },
	{ "beyond the table", { { 0, 1, NEXT, 4 } }, .idx = 1 },
	{ "beyond the table", { { 0, 1, NEXT, 0xffff } }, .idx = 1 },
	{ "head beyond", .head = 4, .idx = 1 },
	{ "head beyond", .head = 0xffff, .idx = 1 },
	{ "index that jumps", .idx = 5 },
	{ "index that jumps", .idx = 0xffff },
	{ "outside of memory", { { MEM_SIZE, 1, 0, 0 } }, .idx = 1 },
	{ "outside of memory", { { MEM_SIZE - 1, 2, 0, 0 } }, .idx = 1 },
	{ "outside of memory", { { ~0ull, 2, 0, 0 } }, .idx = 1 },
	{ "outside of memory", { { 0, 0xffffffff, WRITE, 0 } }, .idx = 1 },
	{ "outside of memory", { { 0xc0000000, 16, 0, 0 } }, .idx = 1 },
	{ "outside of memory", { { MEM_SIZE, 1, NEXT, 1 }, { 0, 1, 0, 0 } }, .idx = 1 },
	{ "outside of memory",
	  { { TABLE_GPA, 32, INDIRECT, 0 } },
	  { { MEM_SIZE, 1, NEXT, 1 }, { 0, 1, 0, 0 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
	{ "readable descriptor after", { { 0, 1, WRITE | NEXT, 1 }, { 0, 1, 0, 0 } }, .idx = 1 },
	{ "indirect descriptor where none", { { TABLE_GPA, 16, INDIRECT, 0 } }, .idx = 1 },
	{ "indirect descriptor where none",
	  { { TABLE_GPA, 16, INDIRECT | NEXT, 1 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
	{ "whole number",
	  { { TABLE_GPA, 0, INDIRECT, 0 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
	{ "whole number",
	  { { TABLE_GPA, 17, INDIRECT, 0 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
	{ "table outside",
	  { { MEM_SIZE - 16, 32, INDIRECT, 0 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
	{ "inside of another",
	  { { TABLE_GPA, 16, INDIRECT, 0 } },
	  { { TABLE_GPA, 16, INDIRECT, 0 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
	{ "beyond the indirect",
	  { { TABLE_GPA, 32, INDIRECT, 0 } },
	  { { 0, 1, NEXT, 2 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
	{ "too long",
	  { { TABLE_GPA, 32, INDIRECT, 0 } },
	  { { 0, 1, NEXT, 1 }, { 0, 1, NEXT, 0 } },
	  .idx = 1,
	  .features = VIRTIO_F_INDIRECT_DESC },
};

/* Each stays broken, takes no chain out and is mended by opening it again. */
static void broken_rings(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(broken); i++) {
		open_queue(4, broken[i].features);
		memcpy(descs(), broken[i].ring, sizeof(broken[i].ring));
		memcpy(mem_at(&mem, TABLE_GPA, 48), broken[i].table, sizeof(broken[i].table));
		driver()[2] = broken[i].head;
		driver()[1] = broken[i].idx;
		assert_int_equal(queue_pop(&q, &chain), -EPROTO);
		if (!q.broken || !strstr(q.broken, broken[i].why))
			fail_msg("row %u: '%s' is not '%s'", i, q.broken, broken[i].why);
		assert_int_equal(queue_pop(&q, &chain), -EPROTO);
		assert_int_equal(q.last_avail, 0);
		assert_false(queue_enable_notifications(&q));
		open_queue(4, broken[i].features);
		assert_null(q.broken);
		assert_int_equal(queue_pop(&q, &chain), 0);
	}
}

/* Lengths that add up to more than 4 GiB, each of them fine: 4096 MiB in 256 parts. */
static void too_many_bytes(void **state)
{
	(void)state;
	open_queue(256, 0);
	mem.regions[0].size = 1u << 24; /* claimed, never touched */
	for (unsigned i = 0; i < 256; i++)
		one_desc((uint16_t)i,
			 (struct desc){ 0, 1u << 24, i < 255 ? NEXT : 0, (uint16_t)(i + 1) });
	offer(0);
	assert_int_equal(queue_pop(&q, &chain), -EPROTO);
	mem.regions[0].size = MEM_SIZE;
	assert_non_null(strstr(q.broken, "4 GiB"));
}

static void head_in_flight(void **state)
{
	(void)state;
	open_queue(4, 0);
	one_desc(2, (struct desc){ 0, 1, 0, 0 });
	offer(2);
	assert_int_equal(queue_pop(&q, &chain), 1);
	offer(2);
	assert_int_equal(queue_pop(&q, &chain), -EPROTO);
	assert_non_null(strstr(q.broken, "in flight"));
	queue_push(&q, 2, 0); /* what is in flight is still completed */
	assert_int_equal(device()[1], 1);
}

static void bad_places(void **state)
{
	static const struct {
		struct queue_config config;
		int err;
	} row[] = {
		{ { .size = 0, .desc = DESC_GPA, .driver = DRIVER_GPA, .device = DEVICE_GPA_ },
		  -EINVAL },
		{ { .size = 3, .desc = DESC_GPA, .driver = DRIVER_GPA, .device = DEVICE_GPA_ },
		  -EINVAL },
		{ { .size = 512, .desc = DESC_GPA, .driver = DRIVER_GPA, .device = DEVICE_GPA_ },
		  -EINVAL },
		{ { .size = 0x80000000,
		    .desc = DESC_GPA,
		    .driver = DRIVER_GPA,
		    .device = DEVICE_GPA_ },
		  -EINVAL },
		{ { .size = 4, .desc = DESC_GPA + 8, .driver = DRIVER_GPA, .device = DEVICE_GPA_ },
		  -EINVAL },
		{ { .size = 4, .desc = DESC_GPA, .driver = DRIVER_GPA + 1, .device = DEVICE_GPA_ },
		  -EINVAL },
		{ { .size = 4, .desc = DESC_GPA, .driver = DRIVER_GPA, .device = DEVICE_GPA_ + 2 },
		  -EINVAL },
		{ { .size = 4, .desc = MEM_SIZE - 48, .driver = DRIVER_GPA, .device = DEVICE_GPA_ },
		  -EFAULT },
		{ { .size = 4, .desc = DESC_GPA, .driver = MEM_SIZE - 12, .device = DEVICE_GPA_ },
		  -EFAULT },
		{ { .size = 4, .desc = DESC_GPA, .driver = DRIVER_GPA, .device = MEM_SIZE - 36 },
		  -EFAULT },
		{ { .size = 4, .desc = ~0xfull, .driver = DRIVER_GPA, .device = DEVICE_GPA_ },
		  -EFAULT },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		assert_int_equal(queue_open(&q, &mem, &row[i].config, 0), row[i].err);
		assert_int_equal(queue_pop(&q, &chain), 0);
	}
}

/* A closed queue takes everything and does nothing, whatever was negotiated. */
static void closed(void **state)
{
	static const uint64_t features[] = { 0, VIRTIO_F_EVENT_IDX };

	(void)state;
	for (unsigned i = 0; i < COUNT(features); i++) {
		open_queue(4, features[i]);
		one_desc(0, (struct desc){ 0, 1, 0, 0 });
		offer(0);
		assert_int_equal(queue_pop(&q, &chain), 1);
		offer(1);
		queue_close(&q);
		assert_int_equal(queue_pop(&q, &chain), 0);
		queue_push(&q, 0, 1);
		assert_false(queue_needs_interrupt(&q));
		queue_disable_notifications(&q);
		assert_false(queue_enable_notifications(&q));
		assert_int_equal(device()[1], 0);
		assert_int_equal(device()[0], 0);
	}
}

static void notifications(void **state)
{
	(void)state;
	open_queue(4, 0);
	queue_disable_notifications(&q);
	assert_int_equal(device()[0], 1);
	assert_false(queue_enable_notifications(&q));
	assert_int_equal(device()[0], 0);
	assert_false(queue_is_notified(&q));
	offer(0);
	assert_true(queue_is_notified(&q));
	assert_true(queue_enable_notifications(&q));

	open_queue(4, VIRTIO_F_EVENT_IDX);
	queue_disable_notifications(&q);
	one_desc(0, (struct desc){ 0, 1, 0, 0 });
	offer(0);
	assert_false(queue_is_notified(&q)); /* the device looks by itself */
	assert_int_equal(queue_pop(&q, &chain), 1);
	assert_int_equal(device()[2 + 4 * 4], 0); /* avail_event stays behind */
	assert_false(queue_enable_notifications(&q));
	assert_false(queue_is_notified(&q));
	assert_int_equal(device()[2 + 4 * 4], 1);
	offer(1);
	assert_true(queue_is_notified(&q));
	assert_true(queue_enable_notifications(&q));
	assert_int_equal(device()[0], 0);
	queue_close(&q);
	assert_false(queue_is_notified(&q));
}

/* A request of one writable descriptor in each of `nr` heads from `first` on, popped. */
static void pop_some(uint16_t first, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		one_desc((uint16_t)(first + i), (struct desc){ 0x2000, 8, WRITE, 0 });
		offer((uint16_t)(first + i));
	}
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(queue_pop(&q, &chain), 1);
}

static void pops(uint16_t head)
{
	assert_int_equal(queue_pop(&q, &chain), 1);
	assert_int_equal(chain.head, head);
	assert_int_equal(chain.writable, 8);
}

static void popped_again(void **state)
{
	(void)state;
	open_queue(QUEUE_MAX, 0);
	pop_some(60, 8); /* over a word of bits */
	queue_push(&q, 62, 1);
	queue_pop_again(&q);
	one_desc(3, (struct desc){ 0x2000, 8, WRITE, 0 });
	offer(3);
	assert_true(queue_has_more(&q));
	for (uint16_t head = 60; head < 68; head++)
		if (head != 62)
			pops(head);
	pops(3);
	assert_int_equal(queue_pop(&q, &chain), 0);
	assert_int_equal(device()[1], 1);
	for (uint16_t head = 60; head < 68; head++)
		if (head != 62)
			queue_push(&q, head, 2);
	queue_push(&q, 3, 3);
	assert_int_equal(device()[1], 9);
	assert_int_equal(used(0)[0], 62);
	queue_pop_again(&q); /* of nothing */
	assert_false(queue_has_more(&q));
	assert_int_equal(queue_pop(&q, &chain), 0);
}

/* The second time counts from the start: what was popped again, and what was not, is once more. */
static void forgotten_twice(void **state)
{
	(void)state;
	open_queue(8, 0);
	pop_some(0, 5);
	queue_pop_again(&q);
	pops(0);
	pops(1);
	queue_push(&q, 1, 0);
	queue_pop_again(&q);
	pops(0);
	pops(2);
	pops(3);
	pops(4);
	assert_int_equal(queue_pop(&q, &chain), 0);
}

static void told_of_what_is_again(void **state)
{
	(void)state;
	open_queue(4, 0);
	pop_some(0, 1);
	assert_false(queue_has_more(&q));
	queue_pop_again(&q);
	assert_true(queue_has_more(&q) && queue_is_notified(&q));
	queue_disable_notifications(&q);
	assert_false(queue_is_notified(&q));
	assert_true(queue_enable_notifications(&q));
	pops(0);
	assert_int_equal(queue_pop(&q, &chain), 0);
	assert_false(queue_enable_notifications(&q));
	assert_false(queue_has_more(&q));
}

/* A ring that broke meanwhile: the guest's memory is its own, and another look finds other words.
 */
static void broken_again(void **state)
{
	(void)state;
	open_queue(4, 0);
	pop_some(1, 2);
	one_desc(1, (struct desc){ MEM_SIZE, 8, WRITE, 0 });
	queue_pop_again(&q);
	assert_int_equal(queue_pop(&q, &chain), -EPROTO);
	assert_int_equal(queue_pop(&q, &chain), -EPROTO);
	assert_false(queue_enable_notifications(&q));
	queue_push(&q, 2, 0); /* what is in flight is still completed */
	assert_int_equal(device()[1], 1);
}

static void closed_again(void **state)
{
	(void)state;
	open_queue(4, 0);
	pop_some(0, 2);
	queue_close(&q);
	queue_pop_again(&q);
	assert_int_equal(queue_pop(&q, &chain), 0);
	assert_false(queue_has_more(&q));
}

/* As another process does: the memory is the same, and nothing else. */
static void reopen(unsigned entries, uint64_t features)
{
	const struct queue_config at = {
		.size = entries, .desc = DESC_GPA, .driver = DRIVER_GPA, .device = DEVICE_GPA_
	};

	memset(&q, 0xff, sizeof(q));
	assert_int_equal(queue_open(&q, &mem, &at, features), 0);
}

static void goes_on_elsewhere(void **state)
{
	struct queue_place place;

	(void)state;
	open_queue(8, VIRTIO_F_EVENT_IDX);
	driver()[2 + 8] = 0; /* used_event: of the first */
	pop_some(0, 5);
	queue_push(&q, 1, 11);
	offer(1); /* and waits */
	place = queue_place(&q);
	reopen(8, VIRTIO_F_EVENT_IDX);
	assert_int_equal(queue_go_to(&q, &place), 0);
	assert_true(queue_needs_interrupt(&q)); /* nobody had asked before */
	assert_false(queue_needs_interrupt(&q));
	pops(0);
	pops(2);
	pops(3);
	pops(4);
	pops(1);
	assert_int_equal(queue_pop(&q, &chain), 0);
	queue_push(&q, 4, 12);
	assert_int_equal(device()[1], 2);
	assert_int_equal(used(0)[1], 11);
	assert_int_equal(used(1)[0], 4);
	assert_int_equal(used(1)[1], 12);
}

static void no_place(void **state)
{
	(void)state;
	for (unsigned entries = 1; entries < QUEUE_MAX; entries *= 2) {
		for (unsigned head = 0; head < QUEUE_MAX; head++) {
			struct queue_place place = { 0 };

			open_queue(entries, 0);
			place.in_flight[head / 64] = 1ull << head % 64;
			assert_int_equal(queue_go_to(&q, &place), head < entries ? 0 : -EINVAL);
			assert_int_equal(queue_has_more(&q), head < entries);
		}
	}
}

/* Any index is one that a driver can have come to, but then it is to be there. */
static void any_index(void **state)
{
	static const uint16_t row[] = { 0, 1, 4, 5, 0x7fff, 0x8000, 0xfffb, 0xfffc, 0xffff };

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		const struct queue_place place = { row[i], row[i], row[i], 0, { 0 } };
		const bool is_near = (uint16_t)-row[i] <= 4;

		open_queue(4, 0);
		assert_int_equal(queue_go_to(&q, &place), 0);
		assert_int_equal(queue_pop(&q, &chain), row[i] == 0 ? 0 : is_near ? 1 : -EPROTO);
		assert_false(queue_needs_interrupt(&q));
	}
}

static void random_bytes(void **state)
{
	static uint8_t bytes[3000];

	(void)state;
	for (unsigned run = 0; run < 3000; run++) {
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = dice(3) ? 0 : (uint8_t)dice(256);
		LLVMFuzzerTestOneInput(bytes, sizeof(bytes));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "random valid chains come out as the driver made them", random_chains, NULL, NULL,
		  NULL },
		{ "indexes wrap at 65536", wraps, NULL, NULL, NULL },
		{ "an indirect table lies at any address", indirect_at_any_address, NULL, NULL,
		  NULL },
		{ "the longest chains fit", longest_chains, NULL, NULL, NULL },
		{ "a chain that is longer breaks the ring", longer_chains, NULL, NULL, NULL },
		{ "a broken ring is named, stays broken, and opens again", broken_rings, NULL, NULL,
		  NULL },
		{ "a chain of more than 4 GiB breaks the ring", too_many_bytes, NULL, NULL, NULL },
		{ "a head that is in flight breaks the ring", head_in_flight, NULL, NULL, NULL },
		{ "queues at bad places do not open", bad_places, NULL, NULL, NULL },
		{ "a closed queue does nothing", closed, NULL, NULL, NULL },
		{ "notifications are turned off and on", notifications, NULL, NULL, NULL },
		{ "what was in flight is popped again before all else, once, and pushed once",
		  popped_again, NULL, NULL, NULL },
		{ "what is popped again can be forgotten again", forgotten_twice, NULL, NULL,
		  NULL },
		{ "what is to be popped again needs no notification", told_of_what_is_again, NULL,
		  NULL, NULL },
		{ "a chain that is no chain any more when it is popped again breaks the ring",
		  broken_again, NULL, NULL, NULL },
		{ "nothing of a closed queue is popped again", closed_again, NULL, NULL, NULL },
		{ "a queue goes on where another stood", goes_on_elsewhere, NULL, NULL, NULL },
		{ "a place with heads beyond the ring is none", no_place, NULL, NULL, NULL },
		{ "a place with any index is one", any_index, NULL, NULL, NULL },
		{ "random bytes as a ring keep every promise", random_bytes, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("queue", tests, make_mem, drop_mem);
}
