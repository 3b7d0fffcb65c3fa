// SPDX-License-Identifier: Apache-2.0
/*
 * Files behind block devices. First half: requests, each a run of steps, one ring operation at a
 * time; disk_submit() is the entry. Second half: opening, checking, locking. blk.c calls it with
 * ranges it has checked; overlay.c says where each byte lies.
 */
#include "disk.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Copying one cluster up for the request `copying`: read it from the base, write it to the layer.
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

static void finish(struct disk_io *io, int err)
{
	struct disk *d = io->disk;

	if (is_gated(io)) {
		d->nr_writing--;
		/* Only now that all of it is there: until then the clusters are the base's. */
		if (!err && io->what != DISK_DISCARD)
			overlay_mark(&d->overlay, io->start, io->len);
		admit(d);
		/* Nobody will ask for a flush: the bitmap follows by itself. */
		if (d->config->cache == DISK_CACHE_UNSAFE && !d->is_volatile &&
		    d->flush_stage == FLUSH_NONE && overlay_is_dirty(&d->overlay))
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

static void step(struct disk_io *io)
{
	if (io->disk->is_stopping)
		finish(io, -ECANCELED);
	else if (io->left == 0)
		finish(io, 0);
	else if (io->what == DISK_READ || io->what == DISK_WRITE)
		transfer(io);
	else
		zero(io);
}

static bool is_refused(int res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENODEV;
}

/* All of a range of zeros or of no use at once; a discard that cannot be is the caller's to know.
 */
static void on_range(struct disk_io *io, int res)
{
	if (is_refused(res) && io->what != DISK_DISCARD) {
		io->writes_zeros = true;
		step(io);
	} else {
		finish(io, is_refused(res) ? -EOPNOTSUPP : res < 0 ? res : 0);
	}
}

static void on_step(struct op *op, int res)
{
	struct disk_io *io = container_of(op, struct disk_io, op);
	const bool is_transfer = io->what == DISK_READ || io->what == DISK_WRITE;

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

static void start_flush(struct disk *d)
{
	d->flushing = d->flush_waiting;
	d->flush_waiting = (struct disk_list){ 0 };
	d->flush_stage = FLUSH_DATA;
	if (d->has_layer)
		overlay_flush_begin(&d->overlay);
	if (d->config->cache == DISK_CACHE_UNSAFE)
		write_bitmap(d);
	else
		loop_sync(d->loop, &d->flush_op, d->has_layer ? d->layer.index : d->base.index);
}

static void end_flush(struct disk *d, int err)
{
	struct disk_list list = d->flushing;
	struct disk_io *io;

	if (d->has_layer)
		overlay_flush_end(&d->overlay, err == 0);
	d->flushing = (struct disk_list){ 0 };
	d->flush_stage = FLUSH_NONE;
	if (d->flush_waiting.first)
		start_flush(d);
	while ((io = list_take(&list)))
		finish(io, err);
}

static void on_flush(struct op *op, int res)
{
	struct disk *d = container_of(op, struct disk, flush_op);

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
	if (d->is_volatile) {
		io->done(io, 0);
		return;
	}
	list_add(&d->flush_waiting, io);
	if (d->flush_stage == FLUSH_NONE)
		start_flush(d);
}

void disk_submit(struct disk *d, struct disk_io *io)
{
	io->disk = d;
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

void disk_stop(struct disk *d)
{
	struct disk_list list = d->waiting;
	struct disk_io *io;

	d->is_stopping = true;
	d->waiting = (struct disk_list){ 0 };
	while ((io = list_take(&list)))
		io->done(io, -ECANCELED);
}

void disk_resume(struct disk *d)
{
	d->is_stopping = false;
}

/* From here on: opening and closing. */

/* A process that was killed holds its locks until the kernel has taken its ring down: a moment. */
#define LOCK_TRIES    25u
#define LOCK_PAUSE_US 10000u

int disk_lock(int fd, const char *path, bool is_writer)
{
	struct flock lock = { .l_type = is_writer ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			break;
		usleep(LOCK_PAUSE_US);
	}
	if (errno != EAGAIN && errno != EACCES)
		return fail(-errno, "%s: locking it", path);
	return fail(0, "%s: is in use by another microVM%s", path,
		    is_writer ? "" : ", which may write to it");
}

static const char *kind_of(mode_t mode)
{
	return S_ISDIR(mode)	? "is a directory"
	       : S_ISFIFO(mode) ? "is a FIFO; give a regular file or a block device"
				: "is no regular file and no block device";
}

/* O_NONBLOCK keeps a FIFO from holding us up; the ring would not wait for such a file, either. */
static int open_any(const char *path, int flags)
{
	const int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	int now, err;

	if (fd < 0)
		return -errno;
	now = fcntl(fd, F_GETFL) & ~O_NONBLOCK;
	/* To note when an image was read costs each read; only its owner may leave that out. */
	if (fcntl(fd, F_SETFL, now | O_NOATIME) == 0 || fcntl(fd, F_SETFL, now) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int disk_measure(int fd, struct overlay_base *base)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	*base = (struct overlay_base){ .size = (uint64_t)st.st_size };
	if (S_ISREG(st.st_mode))
		base->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	else if (ioctl(fd, BLKGETSIZE64, &base->size))
		return -errno;
	return 0;
}

int disk_open_file(const char *path, int flags, int *fd, struct overlay_base *base)
{
	struct stat st;
	int err;

	*fd = open_any(path, flags);
	if (*fd < 0)
		return fail(*fd, "%s", path);
	if (fstat(*fd, &st))
		return fail(-errno, "%s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return fail(0, "%s: %s", path, kind_of(st.st_mode));
	err = disk_measure(*fd, base);
	return err ? fail(err, "%s", path) : 0;
}

/* The same file once more: a path that has come to mean another one meanwhile is refused. */
static int open_direct(struct disk_file *file, const char *path, int flags)
{
	struct stat a, b;

	file->direct_fd = open(path, flags | O_DIRECT | O_CLOEXEC);
	if (file->direct_fd < 0 && errno == EINVAL)
		return fail(0, "%s: its file system cannot do direct I/O: leave out 'direct'",
			    path);
	if (file->direct_fd < 0 || fstat(file->fd, &a) || fstat(file->direct_fd, &b))
		return fail(-errno, "%s", path);
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return fail(0, "%s: was replaced while it was opened", path);
	return 0;
}

/* Without a name, on a disk where it can be, else in memory. */
static int open_unnamed(void)
{
	const char *folder = getenv("TMPDIR");
	int fd = open(folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = memfd_create("mayfly-overlay", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* That there is a new file of this name is on the disk too: what is flushed into it will count. */
static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	int fd, err = 0;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path + 1) : 1,
		 slash ? path : ".");
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

static int open_layer(struct disk *d, const struct overlay_base *base)
{
	const char *path = d->config->overlay;
	struct overlay_base layer = { 0 };
	int err = disk_open_file(path, O_RDWR | O_CREAT, &d->layer.fd, &layer);

	if (!err)
		err = disk_lock(d->layer.fd, path, true);
	if (err)
		return err;
	if (layer.size == 0)
		err = overlay_empty(d->layer.fd, base);
	if (!err && layer.size == 0)
		err = sync_folder(path);
	if (err)
		return fail(err, "%s: making a layer", path);
	err = overlay_open(&d->overlay, d->layer.fd, path, base);
	if (!err && d->config->is_direct)
		err = open_direct(&d->layer, path, O_RDWR);
	return err;
}

static int open_unnamed_layer(struct disk *d, const struct overlay_base *base)
{
	int err;

	d->layer.fd = open_unnamed();
	err = d->layer.fd < 0 ? d->layer.fd : overlay_open_unnamed(&d->overlay, d->layer.fd, base);
	return err ? fail(err, "%s: making a layer without a name", d->config->path) : 0;
}

/* As Firecracker names a drive to its guest: device and inode, in decimal, 20 bytes of it. */
static void name_serial(struct disk *d)
{
	struct stat st = { 0 };
	char text[64];

	fstat(d->base.fd, &st);
	snprintf(text, sizeof(text), "%llu%llu%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_rdev, (unsigned long long)st.st_ino);
	memcpy(d->serial, text, sizeof(d->serial) - 1);
}

int disk_open(struct disk *d, const struct disk_config *config)
{
	const bool has_layer = config->overlay || config->is_overlay_tmp;
	const bool is_writer = !has_layer && !config->is_read_only;
	const int flags = is_writer ? O_RDWR : O_RDONLY;
	struct overlay_base base = { 0 };
	int err;

	*d = (struct disk){ .config = config,
			    .base = { .fd = -1, .direct_fd = -1 },
			    .layer = { .fd = -1, .direct_fd = -1 },
			    .is_volatile = config->is_overlay_tmp };
	d->copy_op.done = on_copy;
	d->flush_op.done = on_flush;
	err = disk_open_file(config->path, flags, &d->base.fd, &base);
	if (err)
		return err;
	d->size = base.size & ~(uint64_t)(DISK_SECTOR - 1);
	if (d->size == 0)
		return fail(0, "%s: is empty", config->path);
	if (d->size < base.size)
		note("%s: the last %llu bytes are no whole sector, and hidden from the guest",
		     config->path, (unsigned long long)(base.size - d->size));
	name_serial(d);
	base.size = d->size;
	err = disk_lock(d->base.fd, config->path, is_writer);
	if (!err && config->is_direct)
		err = open_direct(&d->base, config->path, flags);
	if (!has_layer || err)
		return err;
	if (base.size > OVERLAY_MAX)
		return fail(0, "%s: is larger than a layer can cover, 16 TiB", config->path);
	err = d->is_volatile ? open_unnamed_layer(d, &base) : open_layer(d, &base);
	d->has_layer = !err;
	return err;
}

static int attach(struct loop *loop, struct disk_file *file)
{
	if (file->fd < 0)
		return 0;
	file->index = loop_file(loop, file->fd);
	if (file->index >= 0 && file->direct_fd >= 0)
		file->direct_index = loop_file(loop, file->direct_fd);
	return file->index < 0 ? file->index : file->direct_index < 0 ? file->direct_index : 0;
}

int disk_attach(struct disk *d, struct loop *loop)
{
	int err = attach(loop, &d->base);

	d->loop = loop;
	if (!err)
		err = attach(loop, &d->layer);
	return err ? fail(err, "%s: registering it", d->config->path) : 0;
}

/* The lock first, by itself: the ring may hold the file for a while yet. */
static void release(struct disk_file *file)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (file->fd >= 0) {
		fcntl(file->fd, F_OFD_SETLK, &lock);
		close(file->fd);
	}
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	file->fd = file->direct_fd = -1;
}

static bool is_same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino && sa.st_rdev == sb.st_rdev;
}

/* Opens `path` as the disk's image is open, and locks it, unless it is that image. */
static int open_other(struct disk *d, const char *path, struct disk_file *file,
		      struct overlay_base *size)
{
	const bool is_writer = !d->config->is_read_only;
	const int flags = is_writer ? O_RDWR : O_RDONLY;
	int err = disk_open_file(path, flags, &file->fd, size);

	if (err)
		return err;
	if (size->size < DISK_SECTOR)
		return fail(0, "%s: is empty", path);
	if (is_same_file(file->fd, d->base.fd))
		return 0;
	err = disk_lock(file->fd, path, is_writer);
	return !err && d->config->is_direct ? open_direct(file, path, flags) : err;
}

/* The new descriptors in the ring's places of the old ones. */
static int put_in_place(struct disk *d, const struct disk_file *file)
{
	int err = loop_file_replace(d->loop, d->base.index, file->fd);

	if (!err && file->direct_fd >= 0)
		err = loop_file_replace(d->loop, d->base.direct_index, file->direct_fd);
	if (err) /* as it was: these descriptors were taken before */
		loop_file_replace(d->loop, d->base.index, d->base.fd);
	return err;
}

int disk_replace(struct disk *d, const char *path)
{
	struct disk_file file = { .fd = -1, .direct_fd = -1 }, old = d->base;
	struct overlay_base size = { 0 };
	int err;

	if (d->has_layer)
		return fail(0, "%s: a disk with a layer keeps its image", path);
	err = open_other(d, path, &file, &size);
	if (!err && is_same_file(file.fd, d->base.fd)) {
		close(file.fd); /* without a lock of its own */
		disk_resize(d);
		return 0;
	}
	if (!err)
		err = put_in_place(d, &file);
	if (err) {
		release(&file);
		return err;
	}
	d->base.fd = file.fd;
	d->base.direct_fd = file.direct_fd;
	d->size = size.size & ~(uint64_t)(DISK_SECTOR - 1);
	name_serial(d);
	release(&old);
	return 0;
}

bool disk_resize(struct disk *d)
{
	struct overlay_base now = { 0 };
	uint64_t size;

	if (d->has_layer || disk_measure(d->base.fd, &now))
		return false;
	size = now.size & ~(uint64_t)(DISK_SECTOR - 1);
	if (size == d->size)
		return false;
	d->size = size;
	return true;
}

/* What a guest wrote and did not flush is kept, as an image without a layer would. */
static void save_bitmap(struct disk *d)
{
	const void *block;
	uint64_t at;
	bool ok;

	overlay_flush_end(&d->overlay, false); /* of a flush that was under way */
	if (!overlay_is_dirty(&d->overlay))
		return;
	overlay_flush_begin(&d->overlay);
	ok = fdatasync(d->layer.fd) == 0;
	while (ok && overlay_flush_next(&d->overlay, &at, &block))
		ok = pwrite(d->layer.fd, block, OVERLAY_BLOCK, (off_t)at) == (ssize_t)OVERLAY_BLOCK;
	if (!ok || fdatasync(d->layer.fd))
		fail(-errno, "%s: what was not flushed is lost", d->config->overlay);
}

void disk_close(struct disk *d, bool is_idle)
{
	if (!d->config)
		return;
	if (d->has_layer && !d->is_volatile)
		save_bitmap(d);
	if (!is_idle || d->copying || d->flush_stage != FLUSH_NONE)
		return;
	release(&d->base);
	release(&d->layer);
	overlay_close(&d->overlay);
	d->config = NULL;
}
