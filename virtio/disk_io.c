// SPDX-License-Identifier: Apache-2.0
/*
 * Requests to a disk, each a run of steps, one ring operation at a time. disk_io_submit() is the
 * entry; blk.c calls it with ranges it has checked, overlay.c says where each byte lies. What is
 * acknowledged is on the disk in the order that keeps layer and base readable. Never blocks. Next:
 * overlay.c.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>

/* O_DIRECT wants file, memory and length aligned; no disk of today wants more than this. */
#define DIRECT_ALIGN 4096u

/* Of <linux/falloc.h>, which cannot be included beside musl's <fcntl.h>. */
#define ZERO_RANGE 0x10

/* Where a file system makes no zeros itself, they come from here. Never written. */
static uint8_t zeros[65536];

static void step(struct disk_io *io);
static void start_flush(struct disk *d);
static void end_flush(struct disk *d, int err);

static void list_add(struct disk_list *list, struct disk_io *io)
{
	io->next = NULL;
	if (list->last)
		list->last->next = io;
	else
		list->first = io;
	list->last = io;
}

static struct disk_io *list_take(struct disk_list *list)
{
	struct disk_io *io = list->first;

	if (io)
		list->first = io->next;
	if (!list->first)
		list->last = NULL;
	return io;
}

/* Whether a request changes what lies where in the layer, so that it must keep clear of copies. */
static bool is_gated(const struct disk_io *io)
{
	return io->disk->has_layer && io->what != DISK_READ && io->what != DISK_FLUSH;
}

/*
 * Copying one cluster up for the request `copying`: read it from the base, write it to the layer.
 */
static void copy_step(struct disk *d)
{
	const uint64_t at = d->copy_cluster * OVERLAY_CLUSTER + d->copied;
	const uint64_t size = overlay_cluster_size(&d->overlay, d->copy_cluster);

	d->copy_iov = (struct iovec){ d->cluster + d->copied, size - d->copied };
	if (d->is_copy_read)
		loop_writev(d->loop, &d->copy_op, d->layer.index, &d->copy_iov, 1,
			    overlay_at(&d->overlay, at));
	else
		loop_readv(d->loop, &d->copy_op, d->base.index, &d->copy_iov, 1, at);
}

static void begin_copy(struct disk *d, struct disk_io *io)
{
	d->copying = io;
	d->is_copy_read = false;
	d->copied = 0;
	copy_step(d);
}

/* Lets in who waits, in order, as far as they go together. */
static void admit(struct disk *d)
{
	while (d->waiting.first && !d->copying) {
		struct disk_io *io = d->waiting.first;
		const bool needs_copy =
			io->what != DISK_DISCARD && !d->is_stopping &&
			overlay_needs_copy(&d->overlay, io->offset, io->left, &d->copy_cluster);

		if (needs_copy && d->nr_writing > 0)
			return;
		list_take(&d->waiting);
		if (needs_copy) {
			begin_copy(d, io);
			return;
		}
		d->nr_writing++;
		step(io);
	}
}

/* Nobody will ask for a flush: the bitmap follows by itself. */
static bool is_bitmap_due(const struct disk *d)
{
	return d->config->cache == DISK_CACHE_UNSAFE && d->has_layer && !d->is_volatile &&
	       overlay_is_dirty(&d->overlay);
}

static void finish(struct disk_io *io, int err)
{
	struct disk *d = io->disk;

	if (is_gated(io)) {
		d->nr_writing--;
		/* Only now that all of it is there: until then the clusters are the base's. */
		if (!err && io->what != DISK_DISCARD)
			overlay_mark(&d->overlay, io->start, io->len);
		admit(d);
		if (d->flush_stage == FLUSH_NONE && is_bitmap_due(d))
			start_flush(d);
	}
	io->done(io, err);
}

/* The request that a cluster was copied for: the next cluster, the request itself, or its end. */
static void end_copy(struct disk *d, int err)
{
	struct disk_io *io = d->copying;

	d->copying = NULL;
	if (!err) {
		overlay_mark(&d->overlay, d->copy_cluster * OVERLAY_CLUSTER, d->copied);
		if (overlay_needs_copy(&d->overlay, io->offset, io->left, &d->copy_cluster)) {
			begin_copy(d, io);
			return;
		}
	}
	d->nr_writing++;
	if (err)
		finish(io, err);
	else
		step(io);
	admit(d);
}

static void on_copy(struct op *op, int res)
{
	struct disk *d = container_of(op, struct disk, copy_op);
	const uint64_t size = overlay_cluster_size(&d->overlay, d->copy_cluster);

	if (res == -EINTR && !d->is_stopping) {
		copy_step(d);
		return;
	}
	if (res <= 0 || d->is_stopping) {
		end_copy(d, d->is_stopping ? -ECANCELED : res ? res : -EIO);
		return;
	}
	d->copied += (uint64_t)res;
	if (d->copied == size && d->is_copy_read) {
		end_copy(d, 0);
		return;
	}
	if (d->copied == size) {
		d->is_copy_read = true;
		d->copied = 0;
	}
	copy_step(d);
}

/* The first `bytes` of the segments, the last of them cut; how many those are. */
static unsigned cut(struct disk_io *io, uint64_t bytes)
{
	unsigned nr = 0;

	while (bytes > io->iov[nr].iov_len)
		bytes -= io->iov[nr++].iov_len;
	io->cut = io->iov[nr].iov_len - bytes;
	io->iov[nr].iov_len = bytes;
	io->nr_handed = nr + 1;
	return io->nr_handed;
}

/* What was cut off comes back, and the first `bytes` are behind us. */
static void advance(struct disk_io *io, uint64_t bytes)
{
	io->iov[io->nr_handed - 1].iov_len += io->cut;
	while (bytes > 0 && bytes >= io->iov->iov_len) {
		bytes -= io->iov->iov_len;
		io->iov++;
		io->nr_iov--;
	}
	if (bytes == 0)
		return;
	io->iov->iov_base = (uint8_t *)io->iov->iov_base + bytes;
	io->iov->iov_len -= bytes;
}

static bool is_aligned(const struct iovec *iov, unsigned nr, uint64_t offset)
{
	uint64_t bits = offset;

	for (unsigned i = 0; i < nr; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return bits % DIRECT_ALIGN == 0;
}

/*
 * Of the part that lies in one file, as much as there is. With O_DIRECT, what is not aligned goes
 * through the page cache, which the kernel keeps in step.
 */
static void transfer(struct disk_io *io)
{
	struct disk *d = io->disk;
	const struct disk_file *file = &d->base;
	uint64_t at = io->offset, run = io->left;
	bool is_in_layer = io->what == DISK_WRITE;
	unsigned nr;
	int index;

	if (d->has_layer && io->what == DISK_READ)
		run = overlay_run(&d->overlay, io->offset, io->left, &is_in_layer);
	if (d->has_layer && is_in_layer) {
		file = &d->layer;
		at = overlay_at(&d->overlay, io->offset);
	}
	nr = cut(io, run);
	index = file->direct_fd >= 0 && is_aligned(io->iov, nr, at) ? file->direct_index
								    : file->index;
	if (io->what == DISK_READ)
		loop_readv(d->loop, &io->op, index, io->iov, nr, at);
	else
		loop_writev(d->loop, &io->op, index, io->iov, nr, at);
}

/* In the layer a hole is zeros, whatever the base has there; in an image only if it may be one. */
static int zero_mode(const struct disk_io *io)
{
	const bool may_be_hole = io->disk->has_layer || io->what != DISK_ZERO;

	return FALLOC_FL_KEEP_SIZE | (may_be_hole ? FALLOC_FL_PUNCH_HOLE : ZERO_RANGE);
}

static void zero(struct disk_io *io)
{
	struct disk *d = io->disk;
	const int index = d->has_layer ? d->layer.index : d->base.index;
	const uint64_t at = d->has_layer ? overlay_at(&d->overlay, io->offset) : io->offset;

	if (!io->writes_zeros) {
		loop_fallocate(d->loop, &io->op, index, zero_mode(io), at, io->left);
		return;
	}
	io->zeros = (struct iovec){ zeros, io->left < sizeof(zeros) ? io->left : sizeof(zeros) };
	loop_writev(d->loop, &io->op, index, &io->zeros, 1, at);
}

/* Only whole clusters can be given back: of a part, the rest would have to come from the base. */
static void shrink_to_clusters(struct disk_io *io)
{
	const uint64_t end = (io->offset + io->left) & ~(uint64_t)(OVERLAY_CLUSTER - 1);

	io->offset = (io->offset + OVERLAY_CLUSTER - 1) & ~(uint64_t)(OVERLAY_CLUSTER - 1);
	io->left = end > io->offset ? end - io->offset : 0;
}

/* Whether the image is another one meanwhile, or shorter than when the range was checked. */
static bool is_image_gone(const struct disk_io *io)
{
	const struct disk *d = io->disk;

	return io->image != d->nr_replaced || io->offset > d->size ||
	       io->left > d->size - io->offset;
}

/* The next of a request. */
static void begin_op(struct disk_io *io)
{
	disk_op_begun(io->disk);
	if (io->what == DISK_READ || io->what == DISK_WRITE)
		transfer(io);
	else
		zero(io);
}

static void step(struct disk_io *io)
{
	if (io->disk->is_stopping)
		finish(io, -ECANCELED);
	else if (io->left == 0)
		finish(io, 0);
	else if (is_image_gone(io))
		finish(io, -EIO);
	else
		begin_op(io);
}

/* EINVAL: by a block device whose own sectors are larger than these. */
static bool is_refused(int res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENODEV || res == -EINVAL;
}

/*
 * All of a range of zeros or of no use at once; a discard that cannot be is the caller's to know.
 */
static void on_range(struct disk_io *io, int res)
{
	if (is_refused(res) && io->what != DISK_DISCARD) {
		io->writes_zeros = true;
		if (io->image == io->disk->nr_replaced) /* else it is the old one's file system */
			io->disk->writes_zeros = true;
		step(io);
	} else {
		finish(io, is_refused(res) ? -EOPNOTSUPP : res < 0 ? res : 0);
	}
}

static void on_step(struct op *op, int res)
{
	struct disk_io *io = container_of(op, struct disk_io, op);
	const bool is_transfer = io->what == DISK_READ || io->what == DISK_WRITE;

	disk_op_ended(io->disk, io->image);
	if (is_transfer)
		advance(io, res > 0 ? (uint64_t)res : 0);
	if (res == -EINTR) {
		step(io);
	} else if (!is_transfer && !io->writes_zeros) {
		on_range(io, res);
	} else if (res <= 0) { /* 0: the file has become shorter than the disk */
		finish(io, res ? res : -EIO);
	} else {
		io->offset += (uint64_t)res;
		io->left -= (uint64_t)res;
		step(io);
	}
}

static void write_block(struct disk *d)
{
	loop_writev(d->loop, &d->flush_op, d->layer.index, &d->flush_iov, 1, d->flush_at);
}

/* Whether a block is not all written yet, and the rest is on its way. */
static bool goes_on(struct disk *d, uint64_t written)
{
	d->flush_at += written;
	d->flush_iov.iov_base = (uint8_t *)d->flush_iov.iov_base + written;
	d->flush_iov.iov_len -= written;
	if (d->flush_iov.iov_len > 0)
		write_block(d);
	return d->flush_iov.iov_len > 0;
}

/*
 * A flush of a layer: the data, then the bitmap as it was before, then that. Whenever the machine
 * stops, what the bitmap names is there. Where nothing is synced (unsafe), only the writing.
 */
static void write_bitmap(struct disk *d)
{
	const void *block;

	if (overlay_flush_next(&d->overlay, &d->flush_at, &block)) {
		d->flush_stage = FLUSH_BITMAP;
		d->flush_iov = (struct iovec){ (void *)block, OVERLAY_BLOCK };
		write_block(d);
	} else if (d->flush_stage == FLUSH_BITMAP && d->config->cache != DISK_CACHE_UNSAFE) {
		d->flush_stage = FLUSH_ALL;
		loop_sync(d->loop, &d->flush_op, d->layer.index);
	} else {
		end_flush(d, 0);
	}
}

/* What the present stage asks for: once more where it was interrupted. */
static void submit_flush(struct disk *d)
{
	if (d->flush_stage == FLUSH_BITMAP)
		write_block(d);
	else
		loop_sync(d->loop, &d->flush_op, d->has_layer ? d->layer.index : d->base.index);
}

static void start_flush(struct disk *d)
{
	d->flushing = d->flush_waiting;
	d->flush_waiting = (struct disk_list){ 0 };
	d->flush_stage = FLUSH_DATA;
	d->flush_image = d->nr_replaced;
	if (d->has_layer)
		overlay_flush_begin(&d->overlay);
	if (d->config->cache == DISK_CACHE_UNSAFE) {
		write_bitmap(d);
		return;
	}
	if (!d->has_layer)
		disk_op_begun(d);
	submit_flush(d);
}

static void end_flush(struct disk *d, int err)
{
	struct disk_list list = d->flushing;
	const unsigned image = d->flush_image;
	struct disk_io *io;

	if (d->has_layer)
		overlay_flush_end(&d->overlay, err == 0);
	d->flushing = (struct disk_list){ 0 };
	d->flush_stage = FLUSH_NONE;
	if (d->flush_waiting.first || (!err && is_bitmap_due(d)))
		start_flush(d);
	while ((io = list_take(&list))) /* what was written to another image is not synced */
		finish(io, io->image == image ? err : -EIO);
}

static void on_flush(struct op *op, int res)
{
	struct disk *d = container_of(op, struct disk, flush_op);

	if (res == -EINTR && d->flush_image == d->nr_replaced) {
		submit_flush(d);
		return;
	}
	if (!d->has_layer)
		disk_op_ended(d, d->flush_image);
	if (d->flush_stage == FLUSH_BITMAP && res == 0)
		res = -EIO;
	if (d->flush_stage == FLUSH_BITMAP && res > 0 && goes_on(d, (uint64_t)res))
		return;
	if (res < 0 || d->flush_stage == FLUSH_ALL || !d->has_layer)
		end_flush(d, res < 0 ? res : 0);
	else
		write_bitmap(d);
}

static void flush(struct disk *d, struct disk_io *io)
{
	/* Where nothing is written nothing is to be synced, nor can be on each file system:
	 * squashfs has no fsync(2). */
	if (d->is_volatile || d->config->is_read_only) {
		io->done(io, 0);
		return;
	}
	list_add(&d->flush_waiting, io);
	if (d->flush_stage == FLUSH_NONE)
		start_flush(d);
}

void disk_io_submit(struct disk *d, struct disk_io *io)
{
	io->disk = d;
	io->image = d->nr_replaced;
	io->op.done = on_step;
	if (d->has_layer && io->what == DISK_DISCARD)
		shrink_to_clusters(io);
	io->start = io->offset;
	io->len = io->left;
	io->writes_zeros = false;
	if (d->is_stopping) {
		io->done(io, -ECANCELED);
	} else if (io->what == DISK_FLUSH) {
		flush(d, io);
	} else if (io->left == 0) {
		io->done(io, 0);
	} else if (is_gated(io)) {
		list_add(&d->waiting, io);
		admit(d);
	} else {
		step(io);
	}
}

void disk_io_stop(struct disk *d)
{
	struct disk_list list = d->waiting;
	struct disk_io *io;

	d->is_stopping = true;
	d->waiting = (struct disk_list){ 0 };
	while ((io = list_take(&list)))
		io->done(io, -ECANCELED);
}

void disk_io_resume(struct disk *d)
{
	d->is_stopping = false;
}

void disk_io_init(struct disk *d)
{
	d->copy_op.done = on_copy;
	d->flush_op.done = on_flush;
}
