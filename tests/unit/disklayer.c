// SPDX-License-Identifier: Apache-2.0
/*
 * Copy-on-write layers (disktest.h): random requests, with a look at the files after every single
 * write to the layer, as if the process had been killed there or the machine had lost power: every
 * sector holds what was flushed or what was written since. Copies of clusters, flushes that fail,
 * and layers and bases that were changed behind our back.
 */
#include "disktest.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int base_fsync_errno; /* of fsync(2) of what is open for reading only, or 0 */

int fsync(int fd)
{
	struct stat st;

	if (base_fsync_errno && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
		errno = base_fsync_errno;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

/*
 * A write of part of a cluster on the heels of one of the whole: copying the cluster up from the
 * base for it must not take the first one's sectors back.
 */
static void overlapping(void **state)
{
	uint8_t want[DISK_SECTOR];

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		seed = 77 + i;
		make(layer_path, false, DISK_CACHE_WRITEBACK);
		submit(&ios[0], DISK_WRITE, 8, 8);
		submit(&ios[1], DISK_WRITE, 8, 1);
		submit(&ios[2], DISK_WRITE, 23, 2);
		settle();
		submit(&ios[0], DISK_READ, 9, 7);
		settle();
		for (unsigned n = 0; n < 7; n++) {
			paint(want, 9 + n, 1);
			assert_memory_equal(ios[0].data + n * DISK_SECTOR, want, DISK_SECTOR);
		}
		close_disk();
	}
}

/* With a layer the base stays as it was, to the byte. */
static void base_untouched(void **state)
{
	uint8_t got[DISK_SECTOR], want[DISK_SECTOR];
	int fd;

	(void)state;
	seed = 99;
	make(layer_path, false, DISK_CACHE_WRITEBACK);
	run_random(2000);
	close_disk();
	fd = open(base_path, O_RDONLY);
	for (unsigned i = 0; i < SECTORS; i++) {
		paint(want, i, 0);
		assert_int_equal(pread(fd, got, sizeof(got), i * DISK_SECTOR), sizeof(got));
		assert_memory_equal(got, want, sizeof(got));
	}
	close(fd);
}

static bool is_sector(const uint8_t *at, unsigned sector)
{
	uint64_t words[DISK_SECTOR / 8];
	const struct sector *s = &sectors[sector];

	memcpy(words, at, sizeof(words));
	for (unsigned i = 1; i < COUNT(words); i++)
		if (words[i] != words[0])
			return false;
	if (words[0] == 0)
		return (s->zero && s->zero >= s->flushed) || s->lost > 0;
	return words[0] >> 32 == sector + 1 && (s->lost || ((uint32_t)words[0] >= s->flushed &&
							    (uint32_t)words[0] <= s->submitted));
}

/* A layer as it lies in `fd`: opened, and every sector read from where its bitmap says. */
static void check_image(int fd)
{
	struct overlay_base base;
	struct overlay o;
	uint8_t sector[DISK_SECTOR];

	assert_int_equal(disk_measure(disk.base.fd, base_path, &base), 0);
	assert_int_equal(overlay_open(&o, fd, "the layer", &base), 0);
	for (unsigned i = 0; i < SECTORS; i++) {
		const uint64_t at = (uint64_t)i * DISK_SECTOR;
		bool is_in_layer;

		overlay_run(&o, at, DISK_SECTOR, &is_in_layer);
		if (is_in_layer)
			assert_int_equal(
				pread(fd, sector, sizeof(sector), (off_t)overlay_at(&o, at)),
				sizeof(sector));
		else
			assert_int_equal(pread(disk.base.fd, sector, sizeof(sector), (off_t)at),
					 sizeof(sector));
		if (!is_sector(sector, i))
			fail_msg("sector %u holds neither what was flushed nor anything since", i);
	}
	overlay_close(&o);
}

static void copy_file(int to, int from, uint64_t size)
{
	static uint8_t buf[1 << 20];

	assert_true(size <= sizeof(buf));
	assert_int_equal(pread(from, buf, size, 0), size);
	assert_int_equal(pwrite(to, buf, size, 0), size);
}

static unsigned nr_boundaries;

/* Killed now: all that was written is there. Without power: what was not synced may be, or not. */
static void die_here(void)
{
	static int torn_fd = -1;
	struct stat st;

	nr_boundaries++;
	check_image(layer_fd);
	if (torn_fd < 0)
		torn_fd = memfd_create("torn", 0);
	fstat(durable_fd, &st);
	copy_file(torn_fd, durable_fd, (uint64_t)st.st_size);
	for (unsigned i = 0; i < nr_changes; i++)
		if (dice(2))
			apply(torn_fd, &changes[i]);
	check_image(torn_fd);
}

static void die_killed_only(void)
{
	nr_boundaries++;
	nr_changes = 0;
	check_image(layer_fd);
}

/* An orderly end keeps all of it, flushed or not. */
static void end_orderly(void)
{
	disk_close(&disk, true);
	close_disk();
	assert_int_equal(open_disk(), 0);
	read_all();
	close_disk();
}

static void crashes(void **state)
{
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		seed = 1234567u + i;
		make(layer_path, false, DISK_CACHE_WRITEBACK);
		has_fallocate = i % 3 != 2;
		fstat(layer_fd, &st);
		durable_fd = memfd_create("durable", 0);
		copy_file(durable_fd, layer_fd, (uint64_t)st.st_size);
		nr_boundaries = 0;
		boundary = die_here;
		run_random(700);
		assert_true(nr_boundaries > 200);
		boundary = NULL;
		end_orderly();
		close(durable_fd);
	}
}

/* Nobody flushes: killed anywhere, the files are readable, and an orderly end loses nothing. */
static void unsafe_crashes(void **state)
{
	(void)state;
	seed = 7;
	make(layer_path, false, DISK_CACHE_UNSAFE);
	nr_boundaries = 0;
	boundary = die_killed_only;
	run_random(700);
	assert_true(nr_boundaries > 200);
	boundary = NULL;
	end_orderly();
}

static void expect_base(unsigned sector, unsigned nr)
{
	uint8_t want[DISK_SECTOR];

	assert_int_equal(once(DISK_READ, sector, nr), 0);
	for (unsigned i = 0; i < nr; i++) {
		paint(want, sector + i, 0);
		assert_memory_equal(ios[0].data + i * DISK_SECTOR, want, DISK_SECTOR);
	}
}

/*
 * Bad sectors of a base: a write that needs the cluster they lie in copied fails, with all of the
 * cluster as it was; who waits behind it goes on; and a write of the whole cluster, which needs no
 * copy, makes it good.
 */
static void bad_base(void **state)
{
	(void)state;
	make(layer_path, false, DISK_CACHE_WRITEBACK);
	bad_fd = disk.base.fd;
	bad_from = 12;
	bad_to = 14;
	is_short = false;
	fails_are_fine = true;
	for (unsigned round = 0; round < 3; round++) {
		submit(&ios[0], DISK_WRITE, 8, 2); /* in the cluster of 12 and 13 */
		submit(&ios[1], DISK_WRITE, 25, 3);
		submit(&ios[2], DISK_ZERO, 10, 1);
		submit(&ios[3], DISK_WRITE, 14, 4); /* there, and in the one behind */
		submit(&ios[4], DISK_WRITE, 40, 8);
		settle();
		assert_int_equal(ios[0].err, -EIO);
		assert_int_equal(ios[1].err, 0);
		assert_int_equal(ios[2].err, -EIO);
		assert_int_equal(ios[3].err, -EIO);
		assert_int_equal(ios[4].err, 0);
		expect_base(8, 4);
		expect_base(14, 2);
		assert_int_equal(once(DISK_READ, 11, 2), -EIO);
	}
	assert_int_equal(once(DISK_WRITE, 8, 8), 0);
	fails_are_fine = false;
	assert_int_equal(once(DISK_WRITE, 13, 1), 0);
	assert_int_equal(once(DISK_READ, 8, 8), 0);
	assert_int_equal(once(DISK_FLUSH, 0, 0), 0);
	read_all();
	run_random(300);
	disk_close(&disk, true);
	close_disk();
	assert_int_equal(open_disk(), 0);
	bad_fd = disk.base.fd;
	read_all();
	close_disk();
}

/* A flush that failed halfway is made up for by the next. */
static void failed_flush(void **state)
{
	static const enum kind kinds[] = { SYNC, WRITEV };

	(void)state;
	for (unsigned i = 0; i < COUNT(kinds); i++) {
		struct overlay o;
		struct overlay_base base;

		make(layer_path, false, DISK_CACHE_WRITEBACK);
		is_short = false;
		assert_int_equal(once(DISK_WRITE, 0, 8), 0);
		fails_are_fine = true;
		fail_kind = kinds[i];
		fail_next = EIO;
		assert_int_equal(once(DISK_FLUSH, 0, 0), -EIO);
		assert_int_equal(once(DISK_FLUSH, 0, 0), 0);
		disk_measure(disk.base.fd, base_path, &base);
		assert_int_equal(overlay_open(&o, layer_fd, "layer", &base), 0);
		assert_int_equal(o.bits[0], 1);
		overlay_close(&o);
		close_disk();
	}
}

static void pick_newest(void)
{
	pick_one(nr_pending - 1);
}

/* What is written while the bitmap is on its way follows it, though nobody asks. */
static void unsafe_bitmap(void **state)
{
	struct overlay_base base;
	struct overlay o;

	(void)state;
	make(layer_path, false, DISK_CACHE_UNSAFE);
	is_short = false;
	submit(&ios[0], DISK_WRITE, 0, 8);
	pick(); /* its data; its bit is on its way */
	submit(&ios[1], DISK_WRITE, 8, 8);
	while (ios[1].is_out) /* before the bit */
		pick_newest();
	settle();
	disk_measure(disk.base.fd, base_path, &base);
	assert_int_equal(overlay_open(&o, layer_fd, "layer", &base), 0);
	assert_int_equal(o.bits[0], 3);
	overlay_close(&o);
	close_disk();
}

/* Who had the base before may have written to it until the lock was given up. */
static void measured_when_locked(void **state)
{
	int ready[2], fd;
	pid_t child;
	char byte;

	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.overlay = layer_path;
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		fd = open(base_path, O_RDWR);
		if (disk_lock(fd, base_path, true, false) || write(ready[1], "", 1) != 1)
			_exit(1);
		usleep(30000);
		_exit(pwrite(fd, "late", 4, 0) != 4);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	while (open_disk()) /* where that took the child longer than one waits */
		close_disk();
	assert_int_equal(waitpid(child, NULL, 0), child);
	close_disk();
	assert_int_equal(open_disk(), 0);
	close_disk();
	close(ready[0]);
	close(ready[1]);
}

/* A start that fails takes its new layer away again: not under the hands of whoever waits for it.
 */
static void forgotten_meanwhile(void **state)
{
	struct disk second;
	int status;
	pid_t child;

	(void)state;
	make(layer_path, false, DISK_CACHE_WRITEBACK);
	close_disk();
	unlink(layer_path);
	assert_int_equal(disk_open(&disk, &config), 0);
	child = fork();
	if (child == 0) {
		alarm(60);
		while (disk_open(&second, &config)) /* which waits a second for the lock */
			;
		_exit(access(layer_path, F_OK) != 0);
	}
	usleep(100000);
	disk_forget(&disk);
	disk_close(&disk, true);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	unlink(layer_path);
}

/* What cannot be written needs no fsync(2), and on squashfs there is none: a layer goes over it. */
static void unsyncable_base(void **state)
{
	static const struct {
		int err;
		bool is_fine;
	} row[] = { { EINVAL, true }, { EROFS, true }, { EIO, false } };

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		make(NULL, false, DISK_CACHE_WRITEBACK);
		close_disk();
		config.overlay = layer_path;
		base_fsync_errno = row[i].err;
		assert_int_equal(open_disk() == 0, row[i].is_fine);
		base_fsync_errno = 0;
		close_disk();
		assert_int_equal(open_disk(), 0); /* the layer that is there now */
		assert_int_equal(once(DISK_WRITE, 3, 2), 0);
		read_all();
		close_disk();
	}
}

/* An empty file that comes as a descriptor becomes a layer, too; its folder is not known. */
static void layer_by_descriptor(void **state)
{
	char path[32];
	int fd;

	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	fd = open(layer_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	snprintf(path, sizeof(path), CONFIG_OWN_FD "%d", fd);
	config.overlay = path;
	assert_int_equal(open_disk(), 0);
	assert_int_equal(once(DISK_WRITE, 3, 2), 0);
	read_all();
	close_disk();
	close(fd);
}

static const struct {
	const char *what;
	unsigned at;
	uint8_t byte;
} damage[] = {
	{ "magic", 0, 'X' },	 { "format", 8, 2 },	     { "cluster", 13, 0x20 },
	{ "size, zero", 17, 0 }, { "size, huge", 23, 0x7f }, { "size, other", 16, 1 },
	{ "mtime", 24, 0xa5 },	 { "bitmap", 32, 8 },	     { "data", 41, 0x99 },
	{ "state", 48, 3 },	 { "reserved", 52, 1 },	     { "the last", 63, 1 },
};

static void hostile_headers(void **state)
{
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < COUNT(damage); i++) {
		uint8_t header[64];

		make(layer_path, false, DISK_CACHE_WRITEBACK);
		assert_int_equal(pread(layer_fd, header, sizeof(header), 0), sizeof(header));
		header[damage[i].at] = header[damage[i].at] == damage[i].byte
					       ? damage[i].byte ^ 0x55
					       : damage[i].byte;
		assert_int_equal(pwrite(layer_fd, header, sizeof(header), 0), sizeof(header));
		close_disk();
		if (open_disk() == 0)
			fail_msg("taken with another %s", damage[i].what);
		close_disk();
	}
	make(layer_path, false, DISK_CACHE_WRITEBACK);
	fstat(layer_fd, &st);
	assert_int_equal(ftruncate(layer_fd, st.st_size - 1), 0);
	close_disk();
	assert_int_not_equal(open_disk(), 0);
	close_disk();
	assert_int_equal(truncate(layer_path, 10), 0);
	assert_int_not_equal(open_disk(), 0);
	close_disk();
}

/* A flush that fails leaves dirty what was written before it, and what was written meanwhile. */
static void failed_flush_of_many_blocks(void **state)
{
	const struct overlay_base base = { .size = 8ull << 30 };
	const uint64_t of_block = OVERLAY_BLOCK * 8ull * OVERLAY_CLUSTER;
	const int fd = memfd_create("layer", MFD_CLOEXEC);
	struct overlay o;
	const void *block;
	uint64_t at;

	(void)state;
	assert_int_equal(overlay_open_unnamed(&o, fd, &base), 0);
	overlay_mark(&o, 0, 512);
	overlay_flush_begin(&o);
	overlay_mark(&o, of_block, 512);
	assert_true(overlay_flush_next(&o, &at, &block));
	assert_false(overlay_flush_next(&o, &at, &block));
	overlay_flush_end(&o, false);
	overlay_flush_begin(&o);
	for (unsigned i = 1; i <= 2; i++) {
		assert_true(overlay_flush_next(&o, &at, &block));
		assert_int_equal(at, i * OVERLAY_BLOCK);
		assert_int_equal(*(const uint8_t *)block, 1);
	}
	assert_false(overlay_flush_next(&o, &at, &block));
	overlay_flush_end(&o, true);
	assert_false(overlay_is_dirty(&o));
	overlay_close(&o);
	close(fd);
}

/* Any bitmap is legal, also beyond the disk's end. */
static void hostile_bitmap(void **state)
{
	uint8_t ones[OVERLAY_BLOCK];

	(void)state;
	seed = 5;
	make(layer_path, false, DISK_CACHE_WRITEBACK);
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(pwrite(layer_fd, ones, sizeof(ones), OVERLAY_BLOCK), sizeof(ones));
	close_disk();
	assert_int_equal(open_disk(), 0);
	for (unsigned i = 0; i < SECTORS; i++) /* all zeros, from the layer */
		sectors[i].zero = sectors[i].completed = sectors[i].submitted = 1;
	version = 1;
	read_all();
	run_random(1000);
	close_disk();
}

/* Emptying a layer, killed after each of its steps: it opens, and is empty or finished later. */
static void emptied(void **state)
{
	struct overlay_base base;

	(void)state;
	make(layer_path, false, DISK_CACHE_WRITEBACK);
	once(DISK_WRITE, 0, 8);
	once(DISK_FLUSH, 0, 0);
	disk_measure(disk.base.fd, base_path, &base);
	assert_int_equal(overlay_write_header(layer_fd, &base, OVERLAY_EMPTYING), 0);
	assert_int_equal(ftruncate(layer_fd, 64), 0);
	close_disk();
	memset(sectors, 0, sizeof(sectors));
	assert_int_equal(open_disk(), 0);
	read_all();
	once(DISK_WRITE, 0, 8);
	assert_int_equal(overlay_empty(layer_fd, &base), 0);
	close_disk();
	memset(sectors, 0, sizeof(sectors));
	assert_int_equal(open_disk(), 0);
	read_all();
	close_disk();
}

/* Written behind its back: the times differ. Within a commit that is no fault. */
static void other_base(void **state)
{
	struct overlay_base base;

	(void)state;
	make(layer_path, false, DISK_CACHE_WRITEBACK);
	disk_measure(disk.base.fd, base_path, &base);
	base.mtime_ns -= 1000000000;
	assert_int_equal(overlay_write_header(layer_fd, &base, OVERLAY_IN_USE), 0);
	close_disk();
	assert_int_not_equal(open_disk(), 0);
	assert_int_equal(overlay_write_header(layer_fd, &base, OVERLAY_COMMITTING), 0);
	close_disk();
	assert_int_equal(open_disk(), 0);
	close_disk();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a copy takes back no write", overlapping, NULL, NULL, NULL },
		{ "a layer leaves its base as it was", base_untouched, NULL, NULL, NULL },
		{ "killed or without power at any write, what was flushed is there", crashes, NULL,
		  NULL, NULL },
		{ "unsafe, killed at any write, base and layer are readable", unsafe_crashes, NULL,
		  NULL, NULL },
		{ "bad sectors of a base under a layer", bad_base, NULL, NULL, NULL },
		{ "a flush that failed is made up for", failed_flush, NULL, NULL, NULL },
		{ "unsafe, what is written while the bitmap is follows it", unsafe_bitmap, NULL,
		  NULL, NULL },
		{ "a base is measured when it is locked", measured_when_locked, NULL, NULL, NULL },
		{ "a layer that is taken away while another waits for it", forgotten_meanwhile,
		  NULL, NULL, NULL },
		{ "a base on a file system without fsync()", unsyncable_base, NULL, NULL, NULL },
		{ "a layer by a descriptor", layer_by_descriptor, NULL, NULL, NULL },
		{ "a damaged header is refused", hostile_headers, NULL, NULL, NULL },
		{ "a flush that fails forgets no block of the bitmap", failed_flush_of_many_blocks,
		  NULL, NULL, NULL },
		{ "any bitmap is legal", hostile_bitmap, NULL, NULL, NULL },
		{ "emptying a layer is finished by whoever opens it", emptied, NULL, NULL, NULL },
		{ "a base that was written since is refused", other_base, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("disklayer", tests, make_dir, remove_dir);
}
