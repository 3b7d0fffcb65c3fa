// SPDX-License-Identifier: Apache-2.0
/*
 * Disks as files: opening, checking, locking, replacing, closing. Before anything runs, but for
 * disk_replace(), which the API asks for; what is done with them is disk_io.c's.
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

/* A process that was killed holds its locks until the kernel has taken its ring down: a moment. */
#define LOCK_TRIES    100u
#define LOCK_PAUSE_US 10000u

int disk_lock(int fd, const char *path, bool is_writer, bool may_wait)
{
	struct flock lock = { .l_type = is_writer ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

	for (unsigned i = may_wait ? LOCK_TRIES : 1; fcntl(fd, F_OFD_SETLK, &lock);) {
		if (errno != EAGAIN && errno != EACCES)
			return fail(-errno, "%s: locking it", path);
		if (--i == 0)
			return fail(0, "%s: is in use by another microVM or disk%s", path,
				    is_writer ? "" : ", which may write to it");
		usleep(LOCK_PAUSE_US);
	}
	return 0;
}

static const char *kind_of(mode_t mode)
{
	return S_ISDIR(mode)	? "is a directory"
	       : S_ISFIFO(mode) ? "is a FIFO; give a regular file or a block device"
				: "is neither a regular file nor a block device";
}

/* O_NONBLOCK keeps a FIFO from holding us up; the ring would not wait for such a file, either. */
static int open_any(const char *path, int open_fd, int flags)
{
	const int fd = config_open(path, open_fd, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
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

int disk_measure(int fd, const char *path, struct overlay_base *base)
{
	struct stat st;

	if (fstat(fd, &st))
		return fail(-errno, "%s", path);
	*base = (struct overlay_base){ .size = (uint64_t)st.st_size };
	if (S_ISREG(st.st_mode))
		base->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	else if (ioctl(fd, BLKGETSIZE64, &base->size))
		return fail(-errno, "%s", path);
	return 0;
}

int disk_open_file(const char *path, int open_fd, int flags, int *fd)
{
	struct stat st;

	*fd = open_any(path, open_fd, flags);
	if (*fd < 0)
		return fail(*fd, "%s", path);
	if (fstat(*fd, &st))
		return fail(-errno, "%s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return fail(0, "%s: %s", path, kind_of(st.st_mode));
	if (fcntl(*fd, F_GETFL) & O_APPEND) /* pwrite(2): wherever it is to go */
		return fail(0, "%s: is open for appending: all that is written would go to its end",
			    path);
	return 0;
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

/*
 * fsync(2) where there is one. EINVAL, EROFS: nobody writes there (squashfs, erofs, iso9660, and
 * /proc, where a descriptor's name lies).
 */
static int sync_fd(int fd)
{
	return fsync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : -errno;
}

/* That there is a new file of this name is on the disk too: what is flushed into it will count. */
static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	int fd, err;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path + 1) : 1,
		 slash ? path : ".");
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = sync_fd(fd);
	close(fd);
	return err;
}

static bool is_at(int fd, const char *path)
{
	struct stat own, there;

	return fstat(fd, &own) == 0 && stat(path, &there) == 0 && own.st_dev == there.st_dev &&
	       own.st_ino == there.st_ino;
}

/*
 * Under its lock, made where it is missing. Whose start failed may have removed it while we waited
 * for that: what was written to that file would be gone.
 */
static int open_locked(struct disk *d, const char *path)
{
	int err;

	do {
		if (d->layer.fd >= 0)
			close(d->layer.fd);
		d->layer.fd = -1;
		d->is_layer_new = access(path, F_OK) != 0;
		err = disk_open_file(path, 0, O_RDWR | O_CREAT, &d->layer.fd);
		if (!err)
			err = disk_lock(d->layer.fd, path, true, true);
	} while (!err && !is_at(d->layer.fd, path));
	return err;
}

static int open_layer(struct disk *d, const struct overlay_base *base)
{
	const char *path = d->config->overlay;
	struct overlay_base layer = { 0 };
	int err = open_locked(d, path);

	if (!err)
		err = disk_measure(d->layer.fd, path, &layer);
	d->is_layer_new &= !err && layer.size == 0; /* the lock says that nobody else made it */
	if (err)
		return err;
	/*
	 * The time of change that it will know the base by is on the disk before. Where the base
	 * was just copied, it is written out first, for as long as that takes.
	 */
	if (layer.size == 0)
		err = sync_fd(d->base.fd);
	if (err)
		return fail(err, "%s: writing it out", d->config->path);
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

/*
 * As Firecracker names a drive to its guest: device and inode, in decimal, 20 bytes of it, and
 * zeros where they are fewer.
 */
static void name_serial(struct disk *d)
{
	struct stat st = { 0 };
	char text[64] = "";

	fstat(d->base.fd, &st);
	snprintf(text, sizeof(text), "%llu%llu%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_rdev, (unsigned long long)st.st_ino);
	memcpy(d->serial, text, sizeof(d->serial) - 1);
}

/* Whose zeros are written by the kernel where the device cannot make them. */
static bool is_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISBLK(st.st_mode);
}

int disk_open(struct disk *d, const struct disk_config *config)
{
	const bool has_layer = config->overlay || config->is_overlay_tmp;
	const bool is_writer = !has_layer && !config->is_read_only;
	const int flags = is_writer ? O_RDWR : O_RDONLY;
	struct overlay_base base = { 0 };
	int err;

	*d = (struct disk){ .config = config,
			    .next = d,
			    .base = { .fd = -1, .direct_fd = -1 },
			    .layer = { .fd = -1, .direct_fd = -1 },
			    .old = { .fd = -1, .direct_fd = -1, .index = -1 },
			    .is_volatile = config->is_overlay_tmp };
	disk_io_init(d);
	err = disk_open_file(config->path, config->fd, flags, &d->base.fd);
	if (!err)
		d->base.has_its_lock = config->is_sent && config_is_locked(d->base.fd);
	if (!err)
		err = disk_lock(d->base.fd, config->path, is_writer, true);
	if (!err)
		err = disk_measure(d->base.fd, config->path, &base);
	if (err)
		return err;
	d->size = base.size & ~(uint64_t)(DISK_SECTOR - 1);
	if (d->size == 0)
		return fail(0, "%s: is empty", config->path);
	if (d->size < base.size)
		note("%s: the last %llu bytes are no whole sector, and hidden from the guest",
		     config->path, (unsigned long long)(base.size - d->size));
	name_serial(d);
	d->writes_zeros = !has_layer && is_device(d->base.fd);
	base.size = d->size;
	if (config->is_direct)
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

static void close_file(struct disk_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	file->fd = file->direct_fd = -1;
}

/* The lock first, by itself: the ring may hold the file for a while yet. */
static void release(struct disk_file *file)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (file->fd >= 0 && !file->has_its_lock)
		fcntl(file->fd, F_OFD_SETLK, &lock);
	close_file(file);
}

static bool is_same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino && sa.st_rdev == sb.st_rdev;
}

void disk_forget(struct disk *d)
{
	if (d->is_layer_new && is_at(d->layer.fd, d->config->overlay))
		unlink(d->config->overlay);
}

static bool is_image_written(const struct disk *d)
{
	return !d->has_layer && !d->config->is_read_only;
}

static bool has_file(const struct disk *d, int fd)
{
	return is_same_file(d->base.fd, fd) || is_same_file(d->layer.fd, fd) ||
	       is_same_file(d->old.fd, fd);
}

static bool may_write(const struct disk *d, int fd)
{
	return is_image_written(d) || is_same_file(d->layer.fd, fd);
}

/* Another disk of the microVM that has the file, too, or NULL. */
static const struct disk *find_other(const struct disk *d, int fd)
{
	const struct disk *other = d->next;

	while (other != d && !has_file(other, fd))
		other = other->next;
	return other != d ? other : NULL;
}

/* Whether the lock that lies on it is not ours to give up. */
static bool is_clients_lock(const struct disk *d, int fd)
{
	const struct disk *other = find_other(d, fd);

	return other ? other->base.has_its_lock : config_is_locked(fd);
}

/*
 * Before the lock, which is the open file's: where both disks have that by descriptors, it keeps
 * neither away, and changing it for one changes it for both.
 */
static int check_apart(const struct disk *d, int fd, const char *path, bool is_writer)
{
	const struct disk *other = find_other(d, fd);

	if (!other || (!is_writer && !may_write(other, fd)))
		return 0;
	return fail(0,
		    "%s: disk %s has it, too, and one of the two may write to it: give each a file "
		    "of its own, or make both read-only",
		    path, other->config->id);
}

int disk_join(struct disk *d, struct disk *other)
{
	const struct disk_config *c = d->config;
	int err;

	d->next = other->next;
	other->next = d;
	err = check_apart(d, d->base.fd, c->path, is_image_written(d));
	return err ? err : check_apart(d, d->layer.fd, c->overlay, true);
}

/* The size of an image, under its lock, in bytes of whole sectors. */
static int measure_image(int fd, const char *path, uint64_t *size)
{
	struct overlay_base base = { 0 };
	const int err = disk_measure(fd, path, &base);

	if (err)
		return err;
	*size = base.size & ~(uint64_t)(DISK_SECTOR - 1);
	return *size ? 0 : fail(0, "%s: is empty", path);
}

/*
 * A place in the ring's table that no operation names: that of the image before the present one.
 * The kernel looks there when an operation begins, which may be long after it was asked for.
 */
static int register_image(struct disk *d, struct disk_file *file)
{
	const int place = d->old.index;
	const int res = place < 0 ? loop_file(d->loop, file->fd)
				  : loop_file_replace(d->loop, place, file->fd);

	if (res < 0)
		return fail(res, "%s: registering its new image", d->config->path);
	file->index = place < 0 ? res : place;
	return 0;
}

static void release_old(struct disk *d)
{
	loop_file_replace(d->loop, d->old.index, -1);
	if (find_other(d, d->old.fd)) /* which may have it by the same lock */
		close_file(&d->old);
	else
		release(&d->old);
}

void disk_op_begun(struct disk *d)
{
	d->nr_ops++;
}

void disk_op_ended(struct disk *d, unsigned image)
{
	if (image == d->nr_replaced)
		d->nr_ops--;
	else if (--d->nr_old_ops == 0)
		release_old(d);
}

static void swap_image(struct disk *d, const struct disk_file *file, uint64_t size)
{
	d->old = d->base;
	d->nr_old_ops = d->nr_ops;
	d->base = *file;
	d->size = size;
	d->nr_ops = 0;
	d->nr_replaced++;
	d->writes_zeros = is_device(d->base.fd);
	name_serial(d);
	if (d->nr_old_ops == 0)
		release_old(d);
}

static int put_another(struct disk *d, struct disk_file *file, const char *path)
{
	const bool is_writer = is_image_written(d);
	uint64_t size;
	int err;

	if (d->old.fd >= 0)
		return fail(-EBUSY, "%s: requests to the image before this one are still under way",
			    d->config->path);
	err = check_apart(d, file->fd, path, is_writer);
	if (!err)
		err = disk_lock(file->fd, path, is_writer, false); /* all would wait with us */
	if (!err)
		err = measure_image(file->fd, path, &size);
	if (!err)
		err = register_image(d, file);
	if (!err)
		swap_image(d, file, size);
	return err;
}

/* The same image, grown or not. */
static int measure_again(struct disk *d)
{
	uint64_t size;
	const int err = measure_image(d->base.fd, d->config->path, &size);

	if (!err)
		d->size = size;
	return err;
}

int disk_replace(struct disk *d, const char *path, int open_fd)
{
	struct disk_file file = { .fd = -1, .direct_fd = -1, .index = -1 };
	int err;

	if (d->has_layer || d->config->is_direct)
		return fail(0, "%s: a disk with a layer or direct I/O keeps its image",
			    d->config->path);
	if (!*path)
		return measure_again(d);
	err = disk_open_file(path, open_fd, is_image_written(d) ? O_RDWR : O_RDONLY, &file.fd);
	if (!err && is_same_file(file.fd, d->base.fd)) {
		close_file(&file);
		return measure_again(d);
	}
	file.has_its_lock = !err && open_fd > 0 && is_clients_lock(d, file.fd);
	if (!err)
		err = put_another(d, &file, path);
	if (err) /* not unlocked: a descriptor's lock may be older than this */
		close_file(&file);
	return err;
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
