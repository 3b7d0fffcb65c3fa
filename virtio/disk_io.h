/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to a disk. All I/O is asynchronous, on the loop's thread, straight between the disk's
 * files and the caller's segments. A transfer that comes back short is gone on with, or fails:
 * never is part of it taken for the whole.
 */
#ifndef VIRTIO_DISK_IO_H
#define VIRTIO_DISK_IO_H

#include "../vmm/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DISK_SECTOR 512u

enum disk_what {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,   /* what was written before is on the disk after */
	DISK_DISCARD, /* the range is of no use any more */
	DISK_ZERO,    /* the range reads as zeros */
	DISK_UNMAP,   /* the same, and need not take up room */
};

struct disk;

/* One request. The caller fills the first part; `left` is 1 or more but for a flush. */
struct disk_io {
	enum disk_what what;
	uint64_t offset, left; /* bytes, multiples of DISK_SECTOR, inside of the disk */
	struct iovec *iov;     /* reads and writes: `left` bytes; cut as the request goes on */
	unsigned nr_iov;
	/* Once: 0 or -errno. May come before disk_io_submit() has returned. */
	void (*done)(struct disk_io *io, int err);

	struct disk *disk;
	struct op op;
	unsigned image;	     /* disk.nr_replaced when it began: it is for no other image */
	uint64_t start, len; /* the whole of it */
	bool writes_zeros;   /* the file system cannot make them, so they are written */
	struct iovec zeros;
	size_t cut; /* bytes held back from the last segment that was handed over */
	unsigned nr_handed;
	struct disk_io *next; /* in one of the disk's lists */
};

struct disk_list {
	struct disk_io *first, *last;
};

/* Once, when the disk is opened. */
void disk_io_init(struct disk *disk);

void disk_io_submit(struct disk *disk, struct disk_io *io);

/* No more steps: what waits ends now, and what is in the ring when that comes back. */
void disk_io_stop(struct disk *disk);
/* After all have ended. */
void disk_io_resume(struct disk *disk);

#endif
