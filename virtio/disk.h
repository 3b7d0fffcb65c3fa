/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is behind a block device: a raw image or a block device, with or without a copy-on-write
 * layer. Opening checks and locks before anything runs; from then on all I/O is by disk_io.h.
 */
#ifndef VIRTIO_DISK_H
#define VIRTIO_DISK_H

#include "../api/config.h"
#include "../vmm/loop.h"
#include "disk_io.h"
#include "overlay.h"

#include <stdbool.h>
#include <stdint.h>

/* A file as the ring knows it, and once more with O_DIRECT where that was asked for. */
struct disk_file {
	int fd, direct_fd;	 /* -1: none */
	int index, direct_index; /* of loop_file() */
	bool has_its_lock;	 /* of a client's, older than ours: it stays */
};

enum disk_flush_stage { FLUSH_NONE, FLUSH_DATA, FLUSH_BITMAP, FLUSH_ALL };

struct disk {
	const struct disk_config *config;
	struct loop *loop;
	struct disk *next; /* of the microVM's, in a circle: disk_join() */
	struct disk_file base, layer;
	uint64_t size;	      /* bytes, a multiple of DISK_SECTOR */
	unsigned nr_replaced; /* images before the present one */
	struct disk_file old; /* the last of them, while nr_old_ops > 0; its index stays */
	/*
	 * Operations in the ring for the image, and for the old one: those of requests and flushes,
	 * but not what only a disk with a layer has, which keeps its image.
	 */
	unsigned nr_ops, nr_old_ops;
	bool has_layer;
	bool is_layer_new; /* made by disk_open() */
	bool writes_zeros; /* zeros may have to be written as such, and count for a limit */
	bool is_volatile;  /* the layer goes with the process: nothing in it is ever flushed */
	bool is_stopping;  /* requests end as soon as they can */
	char serial[21];   /* what the guest is told (5.2.6: GET_ID) */

	/* The layer. Writes that need a cluster copied first do so alone: one at a time, no other
	 * write under way, those that come wait in line. */
	struct overlay overlay;
	unsigned nr_writing;
	struct disk_io *copying;
	uint64_t copy_cluster;
	struct op copy_op;
	struct iovec copy_iov;
	uint64_t copied;   /* bytes of it read, or written */
	bool is_copy_read; /* all of it is in `cluster` */
	struct disk_list waiting;

	/* Flushes: those that came while one was under way share the next. */
	struct op flush_op;
	unsigned flush_image; /* nr_replaced when it began */
	enum disk_flush_stage flush_stage;
	struct iovec flush_iov; /* what is left of a block of the bitmap, and where it goes */
	uint64_t flush_at;
	struct disk_list flushing, flush_waiting;

	uint8_t cluster[OVERLAY_CLUSTER];
};

/*
 * Opens, checks and locks the files that `config` names; makes the layer where it is new. 0 or
 * -errno, with one line logged that names the file and the reason.
 */
int disk_open(struct disk *disk, const struct disk_config *config);

/*
 * Of one microVM, both open: from here on `disk` and `other`, and all that this was joined with,
 * take care that none may write to what another has open: descriptors of one open file share their
 * lock, which keeps neither away. 0 or -errno, logged; then they are only to be closed.
 */
int disk_join(struct disk *disk, struct disk *other);

/* After a start that came to nothing, before disk_close(): a layer that it made is removed. */
void disk_forget(struct disk *disk);

/* Hands the files to the loop. 0 or -errno, logged. */
int disk_attach(struct disk *disk, struct loop *loop);

/*
 * Another image in the place of the present one, under the same rules; the same one, grown or not,
 * is looked at again. open_fd: see config_open(). Not with a layer or direct I/O, nor another one
 * while operations on the image before are under way (-EBUSY). What is in flight ends where it
 * began, or, where steps of it are left, with -EIO. 0 or -errno, logged; then nothing has changed.
 */
int disk_replace(struct disk *disk, const char *path, int open_fd);

/* For disk_io.c, around each operation that nr_ops counts; image: nr_replaced when it began. */
void disk_op_begun(struct disk *disk);
void disk_op_ended(struct disk *disk, unsigned image);

/*
 * When the loop runs no more: the layer's bitmap goes to its file. Blocks. The locks are given up
 * where nothing is in flight (is_idle); else they go with the ring, once it is done.
 */
void disk_close(struct disk *disk, bool is_idle);

/*
 * For all who open images: an advisory lock on the whole of it; may_wait: up to a second for one
 * that is just being given up. 0 or -errno, logged.
 */
int disk_lock(int fd, const char *path, bool is_writer, bool may_wait);

/*
 * A regular file or block device: opened with `flags`, as config_open() does. 0 or -errno, logged.
 */
int disk_open_file(const char *path, int open_fd, int flags, int *fd);

/* Its size, in bytes, and time of change: only under a lock nobody else's. 0 or -errno, logged. */
int disk_measure(int fd, const char *path, struct overlay_base *base);

#endif
