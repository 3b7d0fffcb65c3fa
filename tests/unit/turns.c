// SPDX-License-Identifier: Apache-2.0
/*
 * Two queues of a disk under one rate limit, on a real loop: the driver gives back to the first
 * whatever it has answered, at once, and the second still gets its turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../virtio/blk.h"
#include "scratch.h"

#define RING   64u
#define DEPTH  8u   /* requests that the first queue always has */
#define MOST   200u /* answers there, until the second has had its one */
#define TICK   1u   /* ms */
#define GPA(q) (0x10000u + (q)*0x20000u)

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct loop loop;
static struct blk blk;
static struct mem mem;
static unsigned nr_answers[2];

static void out(uint64_t reg, uint32_t value)
{
	virtio_access(&blk.dev, reg, (uint8_t *)&value, 4, true);
}

/* Reads the first sector: header, data and status lie in a page of the request's own. */
static void offer(unsigned q, unsigned slot)
{
	const uint64_t page = GPA(q) + 0x8000 + slot * 0x1000;
	struct desc *d = mem_at(&mem, GPA(q), RING * sizeof(*d));
	volatile uint16_t *driver = mem_at(&mem, GPA(q) + 0x2000, 4 + 2 * RING);

	d += slot * 3;
	d[0] = (struct desc){ page, 16, 1, (uint16_t)(slot * 3 + 1) };
	d[1] = (struct desc){ page + 0x200, 512, 3, (uint16_t)(slot * 3 + 2) };
	d[2] = (struct desc){ page + 0x800, 1, 2, 0 };
	driver[2 + driver[1] % RING] = (uint16_t)(slot * 3);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	driver[1]++;
}

/* The driver looks every millisecond. */
static void drive(struct op *op, int res)
{
	static struct __kernel_timespec ts;

	(void)res;
	for (unsigned q = 0; q < 2; q++) {
		volatile uint16_t *device = mem_at(&mem, GPA(q) + 0x3000, 4 + 8 * RING);
		volatile uint32_t *used = (volatile uint32_t *)(device + 2);

		for (; (uint16_t)nr_answers[q] != device[1]; nr_answers[q]++)
			if (q == 0)
				offer(0, used[2 * (nr_answers[q] % RING)] / 3);
	}
	loop_signal(blk.dev.wake_fd);
	if (nr_answers[1] > 0 || nr_answers[0] > MOST)
		loop_stop(&loop);
	else
		loop_timeout(&loop, op, &ts, TICK);
}

static void start_driver(void)
{
	out(0x70, 1);
	out(0x70, 3);
	out(0x24, 1);
	out(0x20, 1); /* VERSION_1 */
	out(0x70, 11);
	for (unsigned q = 0; q < 2; q++) {
		out(0x30, q);
		out(0x38, RING);
		out(0x80, GPA(q));
		out(0x90, GPA(q) + 0x2000);
		out(0xa0, GPA(q) + 0x3000);
		out(0x44, 1);
	}
	out(0x70, 15);
}

static void both_get_answers(void **state)
{
	static struct disk_config config = { .id = "disk0",
					     .limit.ops = { .size = 5, .refill_ms = 20 } };
	static struct op driver = { .done = drive };
	char path[128];
	FILE *f;

	(void)state;
	if (loop_init(&loop))
		skip();
	snprintf(path, sizeof(path), "%s/disk", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), 1 << 20), 0);
	fclose(f);
	config.path = path;
	assert_int_equal(mem_init(&mem, 64 << 20), 0);
	assert_int_equal(blk_open(&blk, &config), 0);
	assert_int_equal(blk_init(&blk, 2, &mem), 0);
	assert_int_equal(virtio_open(&blk.dev, &loop, eventfd(0, 0), eventfd(0, 0)), 0);
	assert_int_equal(blk_attach(&blk, &loop), 0);
	virtio_listen(&blk.dev);
	start_driver();
	for (unsigned i = 0; i < DEPTH; i++)
		offer(0, i);
	offer(1, 0);
	drive(&driver, 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(nr_answers[1], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "under a rate limit the queues take turns", both_get_answers, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("turns", tests, make_dir, remove_dir);
}
