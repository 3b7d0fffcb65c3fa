// SPDX-License-Identifier: Apache-2.0
/*
 * Merging and emptying layers. The order is what matters: a mark in the layer's header before the
 * base changes, the base on the disk before the layer loses anything. main.c calls it.
 */
#include "commit.h"
#include "../vmm/log.h"
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define CHUNK 65536u

static int copy_part(int to, uint64_t to_at, int from, uint64_t from_at, uint64_t len)
{
	static uint8_t buf[CHUNK];

	while (len > 0) {
		ssize_t n = pread(from, buf, len < CHUNK ? len : CHUNK, (off_t)from_at);

		if (n > 0)
			n = pwrite(to, buf, (size_t)n, (off_t)to_at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from_at += (uint64_t)n;
		to_at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int merge(const struct overlay *o, int layer_fd, int base_fd)
{
	int err = 0;

	for (uint64_t at = 0; at < o->size && !err;) {
		bool is_in_layer;
		const uint64_t run = overlay_run(o, at, o->size - at, &is_in_layer);

		if (is_in_layer)
			err = copy_part(base_fd, at, layer_fd, overlay_at(o, at), run);
		at += run;
	}
	/* With its time of change, by which the layer will know it: fdatasync(2) may leave that. */
	if (!err && fsync(base_fd))
		err = -errno;
	return err;
}

static int open_layer(const char *path, int *fd)
{
	const int err = disk_open_file(path, 0, O_RDWR, fd);

	return err ? err : disk_lock(*fd, path, true, true);
}

static int open_base(const char *path, int *fd, struct overlay_base *base)
{
	int err = disk_open_file(path, 0, O_RDWR, fd);

	if (!err)
		err = disk_lock(*fd, path, true, true);
	if (!err)
		err = disk_measure(*fd, path, base);
	base->size &= ~(uint64_t)(DISK_SECTOR - 1);
	return err;
}

static int merge_marked(struct overlay *o, int layer_fd, int base_fd, const char *layer,
			const char *path, struct overlay_base *base)
{
	int err = overlay_write_header(layer_fd, base, OVERLAY_COMMITTING);

	if (err)
		return fail(err, "%s", layer);
	err = merge(o, layer_fd, base_fd);
	if (!err)
		err = disk_measure(base_fd, path, base);
	if (err)
		return fail(err, "%s: what is in the layer is not all in it: commit again", path);
	base->size = o->size;
	err = overlay_empty(layer_fd, base);
	return err ? fail(err, "%s: emptying it", layer) : 0;
}

int commit_layer(const char *layer, const char *path)
{
	struct overlay_base base = { 0 };
	int layer_fd = -1, base_fd = -1;
	struct overlay o = { 0 };
	int err = open_layer(layer, &layer_fd);

	if (!err)
		err = open_base(path, &base_fd, &base);
	if (!err)
		err = overlay_open(&o, layer_fd, layer, &base);
	if (!err)
		err = merge_marked(&o, layer_fd, base_fd, layer, path, &base);
	overlay_close(&o);
	if (base_fd >= 0)
		close(base_fd);
	if (layer_fd >= 0)
		close(layer_fd);
	return err;
}

int commit_reset(const char *layer)
{
	struct overlay_base base = { 0 };
	enum overlay_state state = OVERLAY_IN_USE;
	int fd = -1, err = open_layer(layer, &fd);

	if (!err)
		err = overlay_inspect(fd, layer, &base, &state);
	if (!err && state == OVERLAY_COMMITTING)
		err = fail(0,
			   "%s: a commit was not finished: the base needs what is in here; commit "
			   "again",
			   layer);
	if (!err) {
		err = overlay_empty(fd, &base);
		if (err)
			fail(err, "%s: emptying it", layer);
	}
	if (fd >= 0)
		close(fd);
	return err;
}
