// SPDX-License-Identifier: Apache-2.0
/*
 * Disks and their copy-on-write layers, on a loop of the test's own that ends operations in any
 * order, cuts transfers short and fails them. Random requests against a model; then the same with a
 * look at the files after every single write to the layer, as if the process had been killed there
 * or the machine had lost power: every sector holds what was flushed or what was written since.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../virtio/disk.h"
#include "scratch.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { CLUSTER_SECTORS = OVERLAY_CLUSTER / DISK_SECTOR };

/* A disk whose last cluster is short. */
#define SECTORS (40u * CLUSTER_SECTORS + 3)
#define MOST	24u /* sectors in a request */
#define DEPTH	12u

static uint32_t seed;

static uint32_t dice(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return (seed >> 3) % below;
}

/* The loop: what was asked of it, until pick() ends one. */
enum kind { READV, WRITEV, SYNC, FALLOCATE };
static struct pending {
	struct op *op;
	enum kind kind;
	int file, fd, mode;
	struct iovec iov[MOST + 1];
	unsigned nr;
	uint64_t offset, len;
} pending[64];
static unsigned nr_pending;
static int fds[8];
static unsigned nr_fds;
static bool has_fallocate; /* of the file system */
static int fail_next;	   /* an errno for one operation of kind fail_kind, or 0 */
static enum kind fail_kind;
static bool is_short;	/* transfers end early, now and then */
static int bad_fd = -1; /* whose sectors from bad_from to bad_to cannot be read */
static uint64_t bad_from, bad_to;

/* What has happened to the layer since it was last synced, and what it was then. */
static struct change {
	uint64_t offset, len;
	uint8_t data[MOST * DISK_SECTOR + OVERLAY_CLUSTER];
	bool is_hole;
} changes[4096];
static unsigned nr_changes;
static int layer_fd = -1, durable_fd = -1;
static void (*boundary)(void); /* called after every change of the layer */

static struct pending *add(struct op *op, enum kind kind, int file, uint64_t offset)
{
	struct pending *p = &pending[nr_pending++];

	assert_true(nr_pending <= COUNT(pending));
	*p = (struct pending){ .op = op, .kind = kind, .file = file, .offset = offset };
	return p;
}

static void add_transfer(struct op *op, enum kind kind, int file, const struct iovec *iov,
			 unsigned nr, uint64_t offset)
{
	struct pending *p = add(op, kind, file, offset);

	assert_true(nr > 0 && nr <= COUNT(p->iov));
	memcpy(p->iov, iov, nr * sizeof(*iov));
	p->nr = nr;
	for (unsigned i = 0; i < nr; i++)
		p->len += iov[i].iov_len;
}

int loop_file(struct loop *loop, int fd)
{
	(void)loop;
	fds[nr_fds] = fd;
	return (int)nr_fds++;
}

int loop_file_replace(struct loop *loop, int file, int fd)
{
	(void)loop;
	fds[file] = fd;
	return 0;
}

void loop_readv(struct loop *loop, struct op *op, int file, const struct iovec *iov, unsigned nr,
		uint64_t offset)
{
	(void)loop;
	add_transfer(op, READV, file, iov, nr, offset);
}

void loop_writev(struct loop *loop, struct op *op, int file, const struct iovec *iov, unsigned nr,
		 uint64_t offset)
{
	(void)loop;
	add_transfer(op, WRITEV, file, iov, nr, offset);
}

void loop_sync(struct loop *loop, struct op *op, int file)
{
	(void)loop;
	add(op, SYNC, file, 0);
}

void loop_fallocate(struct loop *loop, struct op *op, int file, int mode, uint64_t offset,
		    uint64_t len)
{
	struct pending *p = add(op, FALLOCATE, file, offset);

	(void)loop;
	p->mode = mode;
	p->len = len;
}

static void apply(int fd, const struct change *c)
{
	static const uint8_t zeros[sizeof(c->data)];

	assert_int_equal(pwrite(fd, c->is_hole ? zeros : c->data, c->len, (off_t)c->offset),
			 c->len);
}

static void changed(const struct pending *p, uint64_t len)
{
	struct change *c = &changes[nr_changes++];

	assert_true(nr_changes <= COUNT(changes) && len <= sizeof(c->data));
	*c = (struct change){ .offset = p->offset, .len = len, .is_hole = p->kind == FALLOCATE };
	assert_int_equal(pread(p->fd, c->data, len, (off_t)p->offset), len);
	boundary();
}

static void synced(void)
{
	for (unsigned i = 0; i < nr_changes; i++)
		apply(durable_fd, &changes[i]);
	nr_changes = 0;
}

static int run_transfer(struct pending *p)
{
	const bool is_write = p->kind == WRITEV;
	const uint64_t sectors = p->len / DISK_SECTOR;
	ssize_t n;

	if (!is_write && p->fd == bad_fd && p->offset < bad_to * DISK_SECTOR &&
	    p->offset + p->len > bad_from * DISK_SECTOR)
		return -EIO;
	if (is_short && sectors > 1 && dice(3) == 0) { /* whole sectors, as disks do */
		uint64_t left = (1 + dice((uint32_t)sectors - 1)) * DISK_SECTOR;

		for (unsigned i = 0; i < p->nr; i++) {
			p->iov[i].iov_len = p->iov[i].iov_len < left ? p->iov[i].iov_len : left;
			left -= p->iov[i].iov_len;
		}
	}
	n = is_write ? pwritev(p->fd, p->iov, (int)p->nr, (off_t)p->offset)
		     : preadv(p->fd, p->iov, (int)p->nr, (off_t)p->offset);
	if (n < 0)
		return -errno;
	if (is_write && p->fd == layer_fd && boundary)
		changed(p, (uint64_t)n);
	return (int)n;
}

static int execute(struct pending *p)
{
	if (fail_next && p->kind == fail_kind) {
		const int err = -fail_next;

		fail_next = 0;
		return err;
	}
	if (p->kind == READV || p->kind == WRITEV)
		return run_transfer(p);
	if (p->kind == SYNC) {
		if (p->fd == layer_fd && boundary)
			synced();
		return 0;
	}
	if (!has_fallocate)
		return -EOPNOTSUPP;
	if (fallocate(p->fd, p->mode, (off_t)p->offset, (off_t)p->len))
		return -errno;
	if (p->fd == layer_fd && boundary)
		changed(p, p->len);
	return 0;
}

static void pick_one(unsigned at)
{
	struct pending p = pending[at];

	pending[at] = pending[--nr_pending];
	p.fd = fds[p.file]; /* as late as the kernel may look */
	p.op->done(p.op, execute(&p));
}

static void pick(void)
{
	pick_one(dice(nr_pending));
}

static void pick_newest(void)
{
	pick_one(nr_pending - 1);
}

/* The disk, and what it must hold. */
static struct disk disk;
static struct disk_config config;
static char base_path[128], layer_path[128];

/* A sector is its number from 1 and a version, over and over; version 0 is the base's. */
static void paint(uint8_t *at, uint64_t sector, uint32_t stamp)
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

static void check_read(const struct test_io *t)
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

static void on_done(struct disk_io *io, int err)
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
static void cut_up(struct test_io *t)
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

static void begin_write(struct test_io *t)
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

static void submit(struct test_io *t, enum disk_what what, unsigned sector, unsigned nr)
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

static void submit_any(struct test_io *t)
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

static void settle(void)
{
	while (nr_pending > 0)
		pick();
	for (unsigned i = 0; i < DEPTH; i++)
		assert_false(ios[i].is_out);
}

static void run_random(unsigned rounds)
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

static void read_all(void)
{
	for (unsigned at = 0; at < SECTORS; at += MOST)
		for (submit(&ios[0], DISK_READ, at, SECTORS - at < MOST ? SECTORS - at : MOST);
		     ios[0].is_out;)
			pick();
}

static void forget(void)
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

static void make_base(void)
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

static int open_disk(void)
{
	int err = disk_open(&disk, &config);

	if (!err)
		err = disk_attach(&disk, NULL);
	layer_fd = disk.layer.fd;
	return err;
}

static void close_disk(void)
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

static void make(const char *overlay, bool is_tmp, enum disk_cache cache)
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
		/* An orderly end keeps all of it, flushed or not. */
		disk_close(&disk, true);
		close_disk();
		assert_int_equal(open_disk(), 0);
		read_all();
		close_disk();
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
	disk_close(&disk, true);
	close_disk();
	assert_int_equal(open_disk(), 0);
	read_all();
	close_disk();
}

static int once(enum disk_what what, unsigned sector, unsigned nr)
{
	submit(&ios[0], what, sector, nr);
	settle();
	return ios[0].err;
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

/* An image that is cut short under the guest: an error, no zeros, and what is left goes on. */
static void shrunk(void **state)
{
	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	assert_int_equal(truncate(base_path, 100 * DISK_SECTOR), 0);
	fails_are_fine = true;
	assert_int_equal(once(DISK_READ, 98, 4), -EIO);
	assert_int_equal(once(DISK_READ, 120, 1), -EIO);
	assert_int_equal(once(DISK_READ, 90, 10), 0);
	assert_int_equal(disk_replace(&disk, "", 0), 0);
	assert_int_equal(disk.size, 100 * DISK_SECTOR);
	close_disk();
}

/* As another microVM would: 0 if it could have it. */
static int open_disk_again(const char *path)
{
	const int fd = open(path, O_RDWR);
	const int err = disk_lock(fd, path, true, false);

	close(fd);
	return err;
}

/* What the API does: the new image is read, the old one another's to lock, and a bad one changes
 * nothing. */
static void replaced(void **state)
{
	char other[160], none[160];
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	snprintf(none, sizeof(none), "%s.none", base_path);
	make(NULL, false, DISK_CACHE_WRITEBACK);
	fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(fd, 50 * DISK_SECTOR), 0);
	assert_int_not_equal(disk_replace(&disk, none, 0), 0);
	assert_int_equal(disk_lock(fd, other, true, true), 0);
	assert_int_not_equal(disk_replace(&disk, other, 0), 0); /* in use */
	read_all();
	close(fd);
	assert_int_equal(disk_replace(&disk, other, 0), 0);
	assert_int_equal(disk.size, 50 * DISK_SECTOR);
	for (unsigned i = 0; i < 50; i++) /* zeros */
		sectors[i].zero = sectors[i].completed = sectors[i].submitted = 1;
	for (unsigned at = 0; at < 48; at += 8)
		assert_int_equal(once(DISK_READ, at, 8), 0);
	fd = open(base_path, O_RDWR);
	assert_int_equal(disk_lock(fd, base_path, true, true), 0);
	close(fd);
	assert_int_equal(truncate(other, 60 * DISK_SECTOR), 0);
	assert_int_equal(disk_replace(&disk, other, 0), 0); /* the same, grown */
	assert_int_equal(disk.size, 60 * DISK_SECTOR);
	close_disk();
	unlink(other);

	make(layer_path, false, DISK_CACHE_WRITEBACK);
	assert_int_not_equal(disk_replace(&disk, base_path, 0), 0);
	close_disk();
}

/* What is left of a request that has begun is the old image's, and an image does not grow by one
 * that was checked against the old size. */
static void replaced_meanwhile(void **state)
{
	char other[160];
	struct stat st;
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	make(NULL, false, DISK_CACHE_WRITEBACK);
	has_fallocate = false;
	fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(pwrite(fd, "precious", 8, 0), 8);
	assert_int_equal(ftruncate(fd, 50 * DISK_SECTOR), 0);
	close(fd);
	fails_are_fine = true;
	submit(&ios[0], DISK_ZERO, 0, MOST);
	assert_int_equal(nr_pending, 1); /* fallocate(), in the place of which comes a write */
	assert_int_equal(disk_replace(&disk, other, 0), 0);
	assert_int_equal(disk_replace(&disk, base_path, 0), -EBUSY);
	while (ios[0].is_out)
		pick();
	assert_int_equal(nr_failed, 1);
	assert_int_equal(once(DISK_WRITE, 49, 2), -EIO);
	assert_int_equal(once(DISK_WRITE, 60, 4), -EIO);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 50 * DISK_SECTOR);
	fd = open(other, O_RDONLY);
	assert_int_equal(pread(fd, &st, 8, 0), 8);
	assert_memory_equal(&st, "precious", 8);
	close(fd);
	close_disk();
	unlink(other);
}

/* All that is in the ring when the image is replaced is the old one's, which nobody else can lock
 * until then; a flush that has not begun is not said to have synced it. */
static void replaced_in_flight(void **state)
{
	char other[160];
	struct stat st;
	uint8_t byte;
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	for (unsigned i = 0; i < 20; i++) {
		seed = 300 + i;
		make(NULL, false, DISK_CACHE_WRITEBACK);
		is_short = false;
		fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(pwrite(fd, "x", 1, 0), 1);
		assert_int_equal(ftruncate(fd, SECTORS * DISK_SECTOR), 0);
		submit(&ios[0], DISK_WRITE, 0, 8);
		submit(&ios[1], DISK_READ, 8, 8);
		submit(&ios[2], DISK_UNMAP, 16, 8);
		submit(&ios[3], DISK_FLUSH, 0, 0);
		submit(&ios[4], DISK_FLUSH, 0, 0);
		fails_are_fine = true;
		assert_int_equal(disk_replace(&disk, other, 0), 0);
		assert_int_not_equal(disk_replace(&disk, base_path, 0), 0);
		assert_int_not_equal(open_disk_again(base_path), 0);
		settle();
		assert_int_equal(nr_failed, 1);
		assert_int_equal(ios[4].err, -EIO);
		assert_int_equal(open_disk_again(base_path), 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(pread(fd, &byte, 1, 0), 1);
		assert_int_equal(byte, 'x');
		assert_in_range(st.st_blocks, 0, 8); /* 512 bytes each: one block of one byte */
		close(fd);
		assert_int_equal(disk_replace(&disk, base_path, 0), 0);
		for (unsigned n = 0; n < 24; n += 8)
			assert_int_equal(once(DISK_READ, n, 8), 0);
		close_disk();
	}
	unlink(other);
}

/* What comes as a descriptor: not one that appends, nor one open file for two disks that write. */
static void descriptors(void **state)
{
	struct disk_config other_config;
	static struct disk other;

	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.fd = open(base_path, O_RDWR | O_APPEND);
	assert_int_not_equal(open_disk(), 0);
	close_disk();
	close(config.fd);
	config.fd = open(base_path, O_RDWR);
	assert_int_equal(open_disk(), 0);
	other_config = config;
	assert_int_equal(disk_open(&other, &other_config), 0); /* the lock is one */
	assert_int_not_equal(disk_check_apart(&disk, &other), 0);
	other_config.is_read_only = true;
	assert_int_not_equal(disk_check_apart(&disk, &other), 0);
	config.is_read_only = true;
	assert_int_equal(disk_check_apart(&disk, &other), 0);
	close(other.base.fd);
	close_disk();
	close(config.fd);
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
		{ "random requests agree with a model", random_requests, NULL, NULL, NULL },
		{ "a copy takes back no write", overlapping, NULL, NULL, NULL },
		{ "a layer leaves its base as it was", base_untouched, NULL, NULL, NULL },
		{ "killed or without power at any write, what was flushed is there", crashes, NULL,
		  NULL, NULL },
		{ "unsafe, killed at any write, base and layer are readable", unsafe_crashes, NULL,
		  NULL, NULL },
		{ "an error is one request's", errors, NULL, NULL, NULL },
		{ "bad sectors of a base under a layer", bad_base, NULL, NULL, NULL },
		{ "a flush that failed is made up for", failed_flush, NULL, NULL, NULL },
		{ "an image that shrinks is an error and a new size", shrunk, NULL, NULL, NULL },
		{ "another image in the place of the first", replaced, NULL, NULL, NULL },
		{ "...while a request is under way", replaced_meanwhile, NULL, NULL, NULL },
		{ "...while there is one in each step", replaced_in_flight, NULL, NULL, NULL },
		{ "a device of larger sectors has zeros written", large_sectors, NULL, NULL, NULL },
		{ "unsafe, what is written while the bitmap is follows it", unsafe_bitmap, NULL,
		  NULL, NULL },
		{ "a base is measured when it is locked", measured_when_locked, NULL, NULL, NULL },
		{ "descriptors that cannot be disks", descriptors, NULL, NULL, NULL },
		{ "its name for the guest is followed by zeros", serial, NULL, NULL, NULL },
		{ "stopping ends every request", stopped, NULL, NULL, NULL },
		{ "a damaged header is refused", hostile_headers, NULL, NULL, NULL },
		{ "any bitmap is legal", hostile_bitmap, NULL, NULL, NULL },
		{ "emptying a layer is finished by whoever opens it", emptied, NULL, NULL, NULL },
		{ "a base that was written since is refused", other_base, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("disk", tests, make_dir, remove_dir);
}
