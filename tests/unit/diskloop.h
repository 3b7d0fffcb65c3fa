/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of the disks' tests (disktest.h): it ends operations in any order, cuts transfers short
 * and fails them, and notes what has happened to a layer since it was last synced. The loop's
 * functions are replaced: what is submitted lies in pending[], and pick() ends one. One thread;
 * once in a program.
 */
#ifndef TESTS_UNIT_DISKLOOP_H
#define TESTS_UNIT_DISKLOOP_H

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
#include <unistd.h>

#include <cmocka.h>

#include "../../virtio/disk.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define MOST 24u /* sectors in a request */

static uint32_t seed = 2463534242u;

static inline uint32_t dice(uint32_t below)
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
static int place_errno;	   /* of giving a file a place, or 0 */
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

static inline struct pending *add(struct op *op, enum kind kind, int file, uint64_t offset)
{
	struct pending *p = &pending[nr_pending++];

	assert_true(nr_pending <= COUNT(pending));
	*p = (struct pending){ .op = op, .kind = kind, .file = file, .offset = offset };
	return p;
}

static inline void add_transfer(struct op *op, enum kind kind, int file, const struct iovec *iov,
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
	if (place_errno)
		return -place_errno;
	fds[nr_fds] = fd;
	return (int)nr_fds++;
}

int loop_file_replace(struct loop *loop, int file, int fd)
{
	(void)loop;
	if (fd >= 0 && place_errno)
		return -place_errno;
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

static inline void apply(int fd, const struct change *c)
{
	static const uint8_t zeros[sizeof(c->data)];

	assert_int_equal(pwrite(fd, c->is_hole ? zeros : c->data, c->len, (off_t)c->offset),
			 c->len);
}

static inline void changed(const struct pending *p, uint64_t len)
{
	struct change *c = &changes[nr_changes++];

	assert_true(nr_changes <= COUNT(changes) && len <= sizeof(c->data));
	*c = (struct change){ .offset = p->offset, .len = len, .is_hole = p->kind == FALLOCATE };
	assert_int_equal(pread(p->fd, c->data, len, (off_t)p->offset), len);
	boundary();
}

static inline void synced(void)
{
	for (unsigned i = 0; i < nr_changes; i++)
		apply(durable_fd, &changes[i]);
	nr_changes = 0;
}

static inline int run_transfer(struct pending *p)
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

static inline int execute(struct pending *p)
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

static inline void pick_one(unsigned at)
{
	struct pending p = pending[at];

	pending[at] = pending[--nr_pending];
	p.fd = fds[p.file]; /* as late as the kernel may look */
	p.op->done(p.op, execute(&p));
}

static inline void pick(void)
{
	pick_one(dice(nr_pending));
}

#endif
