/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of disks have in common (disk.c: requests, disklayer.c: copy-on-write layers,
 * diskreplace.c: another image in the place of the first): a disk on a loop of the test's own
 * (diskloop.h), requests to it, random ones among them, and a model of what its sectors must hold.
 */
#ifndef TESTS_UNIT_DISKTEST_H
#define TESTS_UNIT_DISKTEST_H

#include "diskloop.h"
#include "scratch.h"

enum { CLUSTER_SECTORS = OVERLAY_CLUSTER / DISK_SECTOR };

/* A disk whose last cluster is short. */
#define SECTORS (40u * CLUSTER_SECTORS + 3)
#define DEPTH	12u

/* The disk, and what it must hold. */
static struct disk disk;
static struct disk_config config;
static char base_path[128], layer_path[128];

/* A sector is its number from 1 and a version, over and over; version 0 is the base's. */
static inline void paint(uint8_t *at, uint64_t sector, uint32_t stamp)
{
	const uint64_t word = (sector + 1) << 32 | stamp;

	for (unsigned i = 0; i < DISK_SECTOR; i += sizeof(word))
		memcpy(at + i, &word, sizeof(word));
}

static struct sector {
	uint32_t submitted, completed, flushed; /* versions */
	uint32_t zero;				/* the newest version that is all zeros, or 0 */
	uint32_t lost; /* the newest version that a discard took: what is there is anybody's */
	bool is_busy;
} sectors[SECTORS];

struct test_io {
	struct disk_io io;
	struct iovec iov[MOST + 1];
	uint8_t data[MOST * DISK_SECTOR];
	enum disk_what what;
	unsigned sector, nr;
	bool is_out;
	uint32_t version;
	uint32_t flushed[SECTORS]; /* of a flush: what was complete when it began */
	int err;
};
static struct test_io ios[DEPTH];
static uint32_t version;
static unsigned nr_failed;
static bool fails_are_fine;

static inline void check_read(const struct test_io *t)
{
	for (unsigned i = 0; i < t->nr; i++) {
		struct sector *s = &sectors[t->sector + i];
		uint8_t want[DISK_SECTOR];

		if (s->lost == s->completed && s->lost)
			continue;
		paint(want, t->sector + i, s->completed);
		if (s->zero && s->zero == s->completed)
			memset(want, 0, sizeof(want));
		assert_memory_equal(t->data + i * DISK_SECTOR, want, DISK_SECTOR);
	}
}

static inline void on_done(struct disk_io *io, int err)
{
	struct test_io *t = container_of(io, struct test_io, io);

	assert_true(t->is_out);
	t->is_out = false;
	t->err = err;
	nr_failed += err != 0;
	if (err && !fails_are_fine && (err != -EOPNOTSUPP || t->what != DISK_DISCARD))
		fail_msg("error %d of request %d at sector %u", -err, t->what, t->sector);
	if (!err && t->what == DISK_READ)
		check_read(t);
	for (unsigned i = 0; i < t->nr; i++) {
		sectors[t->sector + i].is_busy = false;
		if (t->what != DISK_READ && !err)
			sectors[t->sector + i].completed = t->version;
		if (t->what != DISK_READ && err)
			sectors[t->sector + i].lost = sectors[t->sector + i].completed = t->version;
	}
	for (unsigned i = 0; i < SECTORS && t->what == DISK_FLUSH && !err; i++)
		if (sectors[i].flushed < t->flushed[i])
			sectors[i].flushed = t->flushed[i];
}

/* The same bytes in segments of any size. */
static inline void cut_up(struct test_io *t)
{
	size_t at = 0;

	t->io.nr_iov = 0;
	while (at < t->io.left) {
		size_t n = t->io.left - at;

		if (t->io.nr_iov < MOST && n > 1)
			n = 1 + dice((uint32_t)n);
		t->iov[t->io.nr_iov++] = (struct iovec){ t->data + at, n };
		at += n;
	}
	t->io.iov = t->iov;
}

static inline void begin_write(struct test_io *t)
{
	t->version = ++version;
	for (unsigned i = 0; i < t->nr; i++) {
		struct sector *s = &sectors[t->sector + i];

		s->submitted = t->version;
		if (t->what == DISK_ZERO || t->what == DISK_UNMAP)
			s->zero = t->version;
		if (t->what == DISK_DISCARD)
			s->lost = t->version;
		paint(t->data + i * DISK_SECTOR, t->sector + i, t->version);
	}
}

static inline void submit(struct test_io *t, enum disk_what what, unsigned sector, unsigned nr)
{
	*t = (struct test_io){ .what = what, .sector = sector, .nr = nr, .is_out = true };
	for (unsigned i = 0; i < nr; i++)
		sectors[sector + i].is_busy = true;
	t->io.what = what;
	t->io.offset = (uint64_t)sector * DISK_SECTOR;
	t->io.left = nr * DISK_SECTOR;
	t->io.done = on_done;
	if (what == DISK_FLUSH)
		for (unsigned i = 0; i < SECTORS; i++)
			t->flushed[i] = sectors[i].completed;
	else if (what != DISK_READ)
		begin_write(t);
	cut_up(t);
	disk_io_submit(&disk, &t->io);
}

static inline void submit_any(struct test_io *t)
{
	static const enum disk_what kinds[] = { DISK_READ,    DISK_READ,  DISK_WRITE,
						DISK_WRITE,   DISK_WRITE, DISK_ZERO,
						DISK_DISCARD, DISK_UNMAP, DISK_FLUSH };
	const enum disk_what what = kinds[dice(COUNT(kinds))];
	const unsigned nr = what == DISK_FLUSH ? 0 : 1 + dice(MOST);
	/* Often close together, so that clusters are shared. */
	const unsigned sector = dice(2) ? dice(64) : dice(SECTORS - MOST);

	if (what == DISK_FLUSH && disk.config->cache == DISK_CACHE_UNSAFE)
		return;
	for (unsigned i = 0; i < nr; i++)
		if (sectors[sector + i].is_busy)
			return;
	submit(t, what, what == DISK_FLUSH ? 0 : sector, nr);
}

static inline void settle(void)
{
	while (nr_pending > 0)
		pick();
	for (unsigned i = 0; i < DEPTH; i++)
		assert_false(ios[i].is_out);
}

static inline void run_random(unsigned rounds)
{
	while (rounds--) {
		struct test_io *t = &ios[dice(DEPTH)];

		if (!t->is_out)
			submit_any(t);
		for (unsigned n = dice(4); n > 0 && nr_pending > 0; n--)
			pick();
	}
	settle();
}

static inline void read_all(void)
{
	for (unsigned at = 0; at < SECTORS; at += MOST)
		for (submit(&ios[0], DISK_READ, at, SECTORS - at < MOST ? SECTORS - at : MOST);
		     ios[0].is_out;)
			pick();
}

static inline void forget(void)
{
	memset(sectors, 0, sizeof(sectors));
	memset(ios, 0, sizeof(ios));
	nr_pending = nr_fds = nr_changes = 0;
	version = nr_failed = 0;
	fails_are_fine = false;
	boundary = NULL;
	layer_fd = bad_fd = -1;
	fail_next = 0;
	has_fallocate = is_short = true;
}

static inline void make_base(void)
{
	uint8_t sector[DISK_SECTOR];
	FILE *f;

	snprintf(base_path, sizeof(base_path), "%s/base", dir);
	snprintf(layer_path, sizeof(layer_path), "%s/layer", dir);
	unlink(layer_path);
	f = fopen(base_path, "wb");
	assert_non_null(f);
	for (unsigned i = 0; i < SECTORS; i++) {
		paint(sector, i, 0);
		assert_int_equal(fwrite(sector, 1, sizeof(sector), f), sizeof(sector));
	}
	assert_int_equal(fclose(f), 0);
}

static inline int open_disk(void)
{
	int err = disk_open(&disk, &config);

	if (!err)
		err = disk_attach(&disk, NULL);
	layer_fd = disk.layer.fd;
	return err;
}

static inline void close_disk(void)
{
	const int files[] = { disk.base.fd, disk.base.direct_fd, disk.layer.fd,
			      disk.layer.direct_fd };

	if (disk.has_layer)
		overlay_close(&disk.overlay);
	for (unsigned i = 0; i < COUNT(files); i++)
		if (files[i] >= 0)
			close(files[i]);
	nr_fds = 0;
}

static inline void make(const char *overlay, bool is_tmp, enum disk_cache cache)
{
	forget();
	make_base();
	config = (struct disk_config){ .id = "disk0",
				       .path = base_path,
				       .overlay = overlay,
				       .is_overlay_tmp = is_tmp,
				       .cache = cache };
	assert_int_equal(open_disk(), 0);
}

static inline int once(enum disk_what what, unsigned sector, unsigned nr)
{
	submit(&ios[0], what, sector, nr);
	settle();
	return ios[0].err;
}

#endif
