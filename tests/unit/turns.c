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

#define RING 64u
#include "../../virtio/blk.h"
#include "driver.h"
#include "scratch.h"

#define DEPTH	  8u   /* requests that the first queue always has */
#define MOST	  200u /* answers there, until the second has had its one */
#define TICK	  1u   /* ms */
#define PAGES_GPA 0x10000u

static struct loop loop;
static struct blk blk;
static unsigned nr_answers[2];

/* Reads the first sector: header, data and status lie in a page of the request's own. */
static void read_sector(unsigned q, unsigned slot)
{
	const uint64_t page = PAGES_GPA + (q * RING + slot) * 0x1000;
	const uint16_t head = (uint16_t)(slot * 3);
	volatile struct desc *d = descs(q) + head;

	d[0] = (struct desc){ page, 16, D_NEXT, (uint16_t)(head + 1) };
	d[1] = (struct desc){ page + 0x200, 512, D_NEXT | D_WRITE, (uint16_t)(head + 2) };
	d[2] = (struct desc){ page + 0x800, 1, D_WRITE, 0 };
	offer(q, head);
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
	start_device(&blk.dev, 0);
	for (unsigned i = 0; i < DEPTH; i++)
		read_sector(0, i);
	read_sector(1, 0);
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
