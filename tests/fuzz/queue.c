// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over the split ring: a head says how the queue is configured and what the device does
 * step by step; the rest is guest memory, rings included. Whatever lies there, what is popped lies
 * in memory and adds up, no head is out twice but after a rest, and the device area is written
 * nowhere else.
 * `make fuzz` runs it; tests/unit/queue.c feeds it random strings.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../virtio/queue.h"

#define promise(x) ((x) ? (void)0 : broken(#x, __LINE__))

#define LOW_SIZE  8192u /* two regions, so that a buffer can begin in one and not end there */
#define HIGH_SIZE 4096u
#define HIGH_GPA  0x100000000ull
#define STEPS	  48u

struct head {
	uint8_t features, shift;
	uint16_t desc, driver, device;
	uint8_t steps[STEPS];
};

static struct queue q;
static struct queue_chain chain;
static struct mem mem;
static bool is_out[QUEUE_MAX];

static _Noreturn void broken(const char *what, int line)
{
	fprintf(stderr, "tests/fuzz/queue.c:%d: broken: %s\n", line, what);
	abort();
}

static bool is_guest_memory(const struct iovec *iov)
{
	for (unsigned i = 0; i < mem.nr_regions; i++) {
		const struct mem_region *r = &mem.regions[i];
		const uint8_t *at = iov->iov_base;

		if (at >= r->host && at < r->host + r->size &&
		    iov->iov_len <= (size_t)(r->host + r->size - at))
			return true;
	}
	return false;
}

static void check_chain(unsigned size)
{
	uint64_t readable = 0, writable = 0;

	promise(chain.nr_readable + chain.nr_writable <= QUEUE_MAX);
	for (unsigned i = 0; i < chain.nr_readable + chain.nr_writable; i++) {
		promise(chain.iov[i].iov_len > 0 && is_guest_memory(&chain.iov[i]));
		*(i < chain.nr_readable ? &readable : &writable) += chain.iov[i].iov_len;
	}
	promise(readable == chain.readable && writable == chain.writable);
	promise(readable + writable <= UINT32_MAX);
	promise(chain.head < size && !is_out[chain.head]);
}

static void pop(unsigned size)
{
	const int got = queue_pop(&q, &chain);

	promise(got == 1 || got == 0 || got == -EPROTO);
	promise((got == -EPROTO) == (q.broken != NULL));
	if (got != 1)
		return;
	check_chain(size);
	is_out[chain.head] = true;
}

static void push(unsigned which)
{
	for (unsigned i = 0; i < QUEUE_MAX; i++) {
		const unsigned head = (which + i) % QUEUE_MAX;

		if (!is_out[head])
			continue;
		is_out[head] = false;
		queue_push(&q, (uint16_t)head, which);
		return;
	}
}

/* What is out is to be popped again: by this queue, or by one that goes on in its place. */
static void rest(const struct queue_config *config, uint64_t features, uint8_t bits, bool is_other)
{
	struct queue_place place = queue_place(&q);

	memset(is_out, 0, sizeof(is_out));
	if (!is_other || q.broken) {
		queue_pop_again(&q);
		return;
	}
	promise(queue_open(&q, &mem, config, features) == 0);
	if (bits & 1) /* whoever wrote it means ill */
		place.in_flight[bits / 64] ^= 1ull << bits % 64;
	if (queue_go_to(&q, &place) == 0)
		return;
	promise(bits & 1 && bits >= config->size);
	place.in_flight[bits / 64] ^= 1ull << bits % 64;
	promise(queue_go_to(&q, &place) == 0);
}

static void step(uint8_t what, const struct queue_config *config, uint64_t features,
		 uint16_t *avail)
{
	switch (what % 7) {
	case 0:
	case 1:
		pop(config->size);
		break;
	case 2:
		push(what / 7 * 7u);
		break;
	case 3:
		queue_needs_interrupt(&q);
		break;
	case 4:
		queue_disable_notifications(&q);
		queue_enable_notifications(&q);
		break;
	case 5: /* the driver goes on */
		*avail = (uint16_t)(*avail + what / 7);
		break;
	case 6:
		rest(config, features, (uint8_t)(what * 37u), what & 1);
		break;
	}
}

static void fill(const uint8_t *data, size_t size)
{
	const size_t low = size < LOW_SIZE ? size : LOW_SIZE;
	const size_t high = size - low < HIGH_SIZE ? size - low : HIGH_SIZE;

	memset(mem.regions[0].host, 0, LOW_SIZE);
	memset(mem.regions[1].host, 0, HIGH_SIZE);
	memcpy(mem.regions[0].host, data, low);
	memcpy(mem.regions[1].host, data + low, high);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct queue_config config;
	struct head head;
	uint64_t features;
	int err;

	if (size < sizeof(head))
		return 0;
	memcpy(&head, data, sizeof(head));
	/* On the heap, each in a block of its own: what lies beyond is seen by the sanitizer. */
	mem.nr_regions = 2;
	mem.regions[0] = (struct mem_region){ .size = LOW_SIZE, .host = malloc(LOW_SIZE) };
	mem.regions[1] = (struct mem_region){ .gpa = HIGH_GPA,
					      .size = HIGH_SIZE,
					      .host = malloc(HIGH_SIZE) };
	promise(mem.regions[0].host && mem.regions[1].host);
	fill(data + sizeof(head), size - sizeof(head));
	memset(is_out, 0, sizeof(is_out));
	config = (struct queue_config){
		.size = 1u << head.shift % 10,
		.desc = head.desc,
		.driver = head.driver,
		.device = head.device,
	};
	features = (uint64_t)head.features << 24;
	err = queue_open(&q, &mem, &config, features);
	promise(err == 0 || err == -EINVAL || err == -EFAULT);
	for (unsigned i = 0; i < STEPS && !err; i++)
		step(head.steps[i], &config, features, mem_at(&mem, head.driver + 2u, 2));
	free(mem.regions[0].host);
	free(mem.regions[1].host);
	return 0;
}
