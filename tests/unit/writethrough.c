// SPDX-License-Identifier: Apache-2.0
/*
 * A driver that did not take FLUSH (5.2.6.2), on a real loop: what it is told is written has been
 * synced, on the image to which it was written.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define RING 16u
#include "../../virtio/blk.h"
#include "driver.h"
#include "scratch.h"

enum { T_OUT = 1, S_OK = 0, S_IOERR = 1, NO_ANSWER = 0xff };
#define PAGE_GPA 0x10000u

static struct loop loop;
static struct blk blk;
static const char *new_image; /* to be put in place while the write is under way, or NULL */

static void at_turn_end(struct turn *turn)
{
	const struct disk_update update = { .path = new_image };

	if (new_image && blk.nr_in_flight > 0) {
		assert_int_equal(blk_update(&blk, &update), 0);
		new_image = NULL;
	}
	if (device_area(0)[1] == driver_area(0)[1])
		loop_stop(&loop);
	else
		loop_turn_again(&loop, turn);
}

/* Writes the first sector. Header, data and status lie in one page. */
static uint8_t write_sector(const char *image)
{
	static struct turn turn = { .end = at_turn_end };
	volatile struct desc *d = descs(0);
	volatile uint8_t *page = mem_at(&mem, PAGE_GPA, 0x1000);

	new_image = image;
	page[0] = T_OUT;
	page[0x800] = NO_ANSWER;
	d[0] = (struct desc){ PAGE_GPA, 16, D_NEXT, 1 };
	d[1] = (struct desc){ PAGE_GPA + 0x200, 512, D_NEXT, 2 };
	d[2] = (struct desc){ PAGE_GPA + 0x800, 1, D_WRITE, 0 };
	offer(0, 0);
	loop_signal(blk.dev.wake_fd);
	loop_at_turn_end(&loop, &turn);
	loop.stopped = false;
	assert_int_equal(loop_run(&loop), 0);
	assert_null(new_image);
	return page[0x800];
}

static void make_image(const char *path)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), 1 << 20), 0);
	fclose(f);
}

static bool open_device(struct disk_config *config)
{
	memset(&loop, 0, sizeof(loop));
	memset(&blk, 0, sizeof(blk));
	if (loop_init(&loop))
		return false;
	assert_int_equal(mem_init(&mem, 64 << 20), 0);
	assert_int_equal(blk_open(&blk, config), 0);
	assert_int_equal(blk_init(&blk, 1, &mem), 0);
	assert_int_equal(virtio_open(&blk.dev, &loop, eventfd(0, 0), eventfd(0, 0)), 0);
	assert_int_equal(blk_attach(&blk, &loop), 0);
	virtio_listen(&blk.dev);
	start_device(&blk.dev, 0);
	return true;
}

static void replaced(void **state)
{
	static struct disk_config config = { .id = "disk0", .cache = DISK_CACHE_WRITEBACK };
	char path[128], other[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/disk", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	make_image(path);
	make_image(other);
	config.path = path;
	if (!open_device(&config))
		skip();
	assert_int_equal(write_sector(NULL), S_OK);
	assert_int_equal(write_sector(path), S_OK);
	assert_int_equal(write_sector(other), S_IOERR);
	assert_int_equal(write_sector(NULL), S_OK);
}

/* A flush that succeeds makes nothing of a write that failed. */
static void failed(void **state)
{
	static struct disk_config config = { .id = "disk0", .cache = DISK_CACHE_WRITEBACK };
	const int image = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char path[128];

	(void)state;
	assert_int_equal(ftruncate(image, 1 << 20), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	config.path = path;
	if (!open_device(&config))
		skip();
	assert_int_equal(write_sector(NULL), S_OK);
	assert_int_equal(fcntl(image, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(write_sector(NULL), S_IOERR);
	close(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a write to an image that was replaced before it was synced fails", replaced,
		  NULL, NULL, NULL },
		{ "a write that fails is not flushed instead", failed, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("writethrough", tests, make_dir, remove_dir);
}
