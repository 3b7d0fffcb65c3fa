// SPDX-License-Identifier: Apache-2.0
/*
 * A greedy driver on a real loop. Two queues of a disk under one rate limit: it gives back to the
 * first whatever that has answered, at once, and the second still gets its turn. Requests as large
 * as they may be: each turn of the loop takes only some.
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

#define RING 64u
#include "../../virtio/blk.h"
#include "driver.h"
#include "scratch.h"

#define DEPTH	  8u   /* requests that the first queue always has */
#define MOST	  200u /* answers there, until the second has had its one */
#define TICK	  1u   /* ms */
#define PAGES_GPA 0x10000u
#define LARGE_GPA 0x400000u
#define LARGE	  (2u << 20)
#define MOST_LARGE \
	16u /* answers in a turn: what was asked for within it and at its end, 16 MiB each */

static struct loop loop;
static struct blk blk;
static unsigned nr_answers[2];

/* Reads from the first sector on: header, data and status lie in a page of the request's own, large
 * data all in one place. */
static void read_sectors(unsigned q, unsigned slot, uint32_t len)
{
	const uint64_t page = PAGES_GPA + (q * RING + slot) * 0x1000;
	const uint16_t head = (uint16_t)(slot * 3);
	volatile struct desc *d = descs(q) + head;

	d[0] = (struct desc){ page, 16, D_NEXT, (uint16_t)(head + 1) };
	d[1] = (struct desc){ len > 512 ? LARGE_GPA : page + 0x200, len, D_NEXT | D_WRITE,
			      (uint16_t)(head + 2) };
	d[2] = (struct desc){ page + 0x800, 1, D_WRITE, 0 };
	offer(q, head);
}

static void read_sector(unsigned q, unsigned slot)
{
	read_sectors(q, slot, 512);
}

/* The driver looks every millisecond. */
static void drive(struct op *op, int res)
{
	static struct __kernel_timespec ts;

	(void)res;
	for (unsigned q = 0; q < 2; q++) {
		volatile uint16_t *device = device_area(q);
		volatile uint32_t *used = (volatile uint32_t *)(device + 2);

		for (; (uint16_t)nr_answers[q] != device[1]; nr_answers[q]++)
			if (q == 0)
				read_sector(0, used[2 * (nr_answers[q] % RING)] / 3);
	}
	loop_signal(blk.dev.wake_fd);
	if (nr_answers[1] > 0 || nr_answers[0] > MOST)
		loop_stop(&loop);
	else
		loop_timeout(&loop, op, &ts, TICK);
}

/* A disk of LARGE bytes, all of it in the page cache. */
static void make_disk(struct disk_config *config)
{
	static char path[128];
	static uint8_t bytes[LARGE];
	FILE *f;

	memset(&loop, 0, sizeof(loop));
	memset(&blk, 0, sizeof(blk));
	memset(nr_answers, 0, sizeof(nr_answers));
	if (loop_init(&loop))
		skip();
	snprintf(path, sizeof(path), "%s/%s", dir, config->id);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, sizeof(bytes), f), sizeof(bytes));
	fclose(f);
	config->path = path;
	assert_int_equal(mem_init(&mem, 64 << 20), 0);
	assert_int_equal(blk_open(&blk, config), 0);
	assert_int_equal(blk_init(&blk, 2, &mem), 0);
	assert_int_equal(virtio_open(&blk.dev, &loop, eventfd(0, 0), eventfd(0, 0)), 0);
	assert_int_equal(blk_attach(&blk, &loop), 0);
	virtio_listen(&blk.dev);
	start_device(&blk.dev, 0);
}

static void both_get_answers(void **state)
{
	static struct disk_config config = { .id = "disk0",
					     .limit.ops = { .size = 5, .refill_ms = 20 } };
	static struct op driver = { .done = drive };

	(void)state;
	make_disk(&config);
	for (unsigned i = 0; i < DEPTH; i++)
		read_sector(0, i);
	read_sector(1, 0);
	drive(&driver, 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(nr_answers[1], 1);
}

/* What has been answered in each turn. */
static void count_turn(struct turn *turn)
{
	const unsigned answers = device_area(0)[1];

	assert_in_range(answers - nr_answers[0], 0, MOST_LARGE);
	nr_answers[0] = answers;
	if (answers == RING / 3)
		loop_stop(&loop);
	else
		loop_turn_again(&loop, turn);
}

static void turns_have_an_end(void **state)
{
	static struct disk_config config = { .id = "disk1" };
	static struct turn turn = { .end = count_turn };

	(void)state;
	make_disk(&config);
	for (unsigned i = 0; i < RING / 3; i++)
		read_sectors(0, i, LARGE);
	loop_signal(blk.dev.wake_fd);
	loop_at_turn_end(&loop, &turn);
	assert_int_equal(loop_run(&loop), 0);
}

static void write_zeros(unsigned slot, uint32_t bytes)
{
	const uint64_t page = PAGES_GPA + slot * 0x1000;
	const uint16_t head = (uint16_t)(slot * 3);
	volatile struct desc *d = descs(0) + head;
	uint32_t *header = mem_at(&mem, page, 16), *range = mem_at(&mem, page + 0x200, 16);

	header[0] = 13; /* VIRTIO_BLK_T_WRITE_ZEROES */
	range[2] = bytes / 512;
	d[0] = (struct desc){ page, 16, D_NEXT, (uint16_t)(head + 1) };
	d[1] = (struct desc){ page + 0x200, 16, D_NEXT, (uint16_t)(head + 2) };
	d[2] = (struct desc){ page + 0x800, 1, D_WRITE, 0 };
	offer(0, head);
}

static void stop(struct op *op, int res)
{
	(void)op;
	(void)res; /* -ETIME */
	loop_stop(&loop);
}

/* Where zeros have to be written as such they are as many bytes for the limit; else they are free.
 */
static void zeros_have_their_price(void **state)
{
	static struct disk_config config = { .limit.bytes = { .size = LARGE / 2,
							      .refill_ms = 3600000 } };
	static struct op timer = { .done = stop };
	struct __kernel_timespec ts;

	(void)state;
	for (unsigned is_written = 0; is_written < 2; is_written++) {
		config.id = is_written ? "disk3" : "disk2";
		make_disk(&config);
		blk.disk.writes_zeros = is_written;
		for (unsigned i = 0; i < 3; i++)
			write_zeros(i, LARGE / 2);
		loop_signal(blk.dev.wake_fd);
		loop_timeout(&loop, &timer, &ts, 100);
		assert_int_equal(loop_run(&loop), 0);
		assert_int_equal(blk.counters.counts[BLOCK_RATE_LIMITER_THROTTLED_EVENTS],
				 is_written);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a turn reads no more than some megabytes", turns_have_an_end, NULL, NULL, NULL },
		{ "zeros count where they have to be written", zeros_have_their_price, NULL, NULL,
		  NULL },
		{ "under a rate limit the queues take turns", both_get_answers, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("turns", tests, make_dir, remove_dir);
}
