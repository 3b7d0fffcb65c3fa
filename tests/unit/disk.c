// SPDX-License-Identifier: Apache-2.0
/*
 * Disks by their requests (disktest.h), with a layer and without: random ones against a model,
 * errors of the host's, a stop in the midst of them; and descriptors that are handed over as disks.
 * Layers: disklayer.c; another image in the place of the first: diskreplace.c.
 */
#include "disktest.h"

static void random_requests(void **state)
{
	static const struct {
		const char *overlay;
		bool is_tmp, has_fallocate;
		enum disk_cache cache;
	} row[] = {
		{ NULL, false, true, DISK_CACHE_WRITEBACK },
		{ NULL, false, false, DISK_CACHE_WRITEBACK },
		{ layer_path, false, true, DISK_CACHE_WRITEBACK },
		{ layer_path, false, false, DISK_CACHE_WRITEBACK },
		{ layer_path, false, true, DISK_CACHE_UNSAFE },
		{ NULL, true, true, DISK_CACHE_WRITEBACK },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		seed = 2463534242u + i;
		make(row[i].overlay, row[i].is_tmp, row[i].cache);
		has_fallocate = row[i].has_fallocate;
		run_random(6000);
		read_all();
		close_disk();
	}
}

/* An error is the request's; what comes after is served as before. */
static void errors(void **state)
{
	static const struct {
		enum disk_what what;
		enum kind kind;
		unsigned sector, nr;
		bool has_layer;
	} row[] = {
		{ DISK_READ, READV, 3, 9, false },    { DISK_WRITE, WRITEV, 3, 9, false },
		{ DISK_FLUSH, SYNC, 0, 0, false },    { DISK_ZERO, FALLOCATE, 3, 9, false },
		{ DISK_READ, READV, 3, 9, true },     { DISK_WRITE, WRITEV, 8, 8, true },
		{ DISK_WRITE, READV, 3, 2, true }, /* the copy's read, then its write */
		{ DISK_WRITE, WRITEV, 3, 2, true },   { DISK_FLUSH, SYNC, 0, 0, true },
		{ DISK_ZERO, FALLOCATE, 8, 8, true },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		make(row[i].has_layer ? layer_path : NULL, false, DISK_CACHE_WRITEBACK);
		is_short = false;
		fails_are_fine = true;
		fail_kind = row[i].kind;
		fail_next = ENOSPC;
		assert_int_equal(once(row[i].what, row[i].sector, row[i].nr), -ENOSPC);
		assert_int_equal(fail_next, 0);
		fails_are_fine = false;
		assert_int_equal(once(DISK_WRITE, row[i].sector, 9), 0);
		assert_int_equal(once(DISK_FLUSH, 0, 0), 0);
		read_all();
		run_random(300);
		close_disk();
	}
}

/* A block device whose own sectors are larger than the guest's refuses what is not theirs. */
static void large_sectors(void **state)
{
	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	fail_kind = FALLOCATE;
	fail_next = EINVAL;
	assert_int_equal(once(DISK_ZERO, 1, 3), 0);
	fail_next = EINVAL;
	assert_int_equal(once(DISK_DISCARD, 8, 1), -EOPNOTSUPP);
	read_all();
	close_disk();
}

/* All that is written to a descriptor that appends goes to the file's end. */
static void appending(void **state)
{
	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.fd = open(base_path, O_RDWR | O_APPEND);
	assert_int_not_equal(open_disk(), 0);
	close_disk();
	close(config.fd);
}

/* Disks of one microVM by descriptors of one open file: the lock is one, and keeps none away. */
static void one_open_file(void **state)
{
	static const struct {
		bool is_read_only, is_other_read_only;
	} row[] = { { false, false }, { false, true }, { true, false }, { true, true } };
	static struct disk other;
	struct disk_config other_config;
	char layer[32];
	int fd;

	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.fd = open(base_path, O_RDWR);
	for (unsigned i = 0; i < COUNT(row); i++) {
		other_config = config;
		config.is_read_only = row[i].is_read_only;
		other_config.is_read_only = row[i].is_other_read_only;
		assert_int_equal(open_disk(), 0);
		assert_int_equal(disk_open(&other, &other_config), 0);
		assert_int_equal(disk_join(&other, &disk) == 0,
				 row[i].is_read_only && row[i].is_other_read_only);
		disk_close(&other, true);
		close_disk();
	}
	close(config.fd);

	fd = open(layer_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	snprintf(layer, sizeof(layer), CONFIG_OWN_FD "%d", fd);
	config = (struct disk_config){ .id = "disk0", .path = base_path, .overlay = layer };
	assert_int_equal(open_disk(), 0);
	assert_int_equal(disk_open(&other, &config), 0);
	assert_int_not_equal(disk_join(&other, &disk), 0);
	disk_close(&other, true);
	close_disk();
	close(fd);
}

static void __attribute__((noinline)) litter_stack(void)
{
	volatile uint8_t litter[1 << 16];

	for (size_t i = 0; i < sizeof(litter); i++)
		litter[i] = 0xa5;
}

/* The guest sees all 20 bytes of it: behind a short one there is nothing of ours. */
static void serial(void **state)
{
	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	litter_stack();
	assert_int_equal(open_disk(), 0);
	assert_in_range(strlen(disk.serial), 3, 20);
	for (size_t i = strlen(disk.serial); i < sizeof(disk.serial); i++)
		assert_int_equal(disk.serial[i], 0);
	close_disk();
}

/* Not each file system that images lie on has fsync(2). */
static void read_only_flush(void **state)
{
	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.is_read_only = true;
	assert_int_equal(open_disk(), 0);
	fail_next = EINVAL;
	fail_kind = SYNC;
	assert_int_equal(once(DISK_FLUSH, 0, 0), 0);
	close_disk();
}

/* A reset: what waits ends at once, what is under way when it comes back, nothing goes on. */
static void stopped(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		unsigned before;

		seed = 1000 + i;
		if (i % 50 == 0) {
			if (i)
				close_disk();
			make(i % 100 ? NULL : layer_path, false, DISK_CACHE_WRITEBACK);
		}
		fails_are_fine = true;
		for (unsigned n = 0; n < DEPTH; n++)
			if (!ios[n].is_out)
				submit_any(&ios[n]);
		for (unsigned n = dice(6); n > 0 && nr_pending > 0; n--)
			pick();
		disk_io_stop(&disk);
		for (before = nr_pending; nr_pending > 0; before = nr_pending) {
			pick();
			/* A flush alone may have steps left. */
			assert_true(nr_pending < before || disk.flush_stage != FLUSH_NONE);
		}
		settle();
		disk_io_resume(&disk);
	}
	close_disk();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "random requests agree with a model", random_requests, NULL, NULL, NULL },
		{ "an error is one request's", errors, NULL, NULL, NULL },
		{ "a device of larger sectors has zeros written", large_sectors, NULL, NULL, NULL },
		{ "a descriptor that appends is refused", appending, NULL, NULL, NULL },
		{ "no disk writes to what another has open", one_open_file, NULL, NULL, NULL },
		{ "its name for the guest is followed by zeros", serial, NULL, NULL, NULL },
		{ "a flush of a read-only disk syncs nothing", read_only_flush, NULL, NULL, NULL },
		{ "stopping ends every request", stopped, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("disk", tests, make_dir, remove_dir);
}
