// SPDX-License-Identifier: Apache-2.0
/*
 * The layer's file and its bitmap. The file may come from anyone: of its header only what must be
 * equal to what we compute is believed, and of its bitmap every bit is legal. disk_io.c drives it;
 * commit.c merges it.
 */
#include "overlay.h"
#include "../vmm/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC  "MAYFLYCW"
#define FORMAT 1u

struct header {
	char magic[8];
	uint32_t format;
	uint32_t cluster;
	uint64_t size; /* of the disk */
	int64_t base_mtime_ns;
	uint64_t bitmap_offset, data_offset;
	uint32_t state; /* enum overlay_state */
	uint32_t reserved[3];
};
_Static_assert(sizeof(struct header) == 64, "the file's format");

#define CLUSTERS_PER_BLOCK (OVERLAY_BLOCK * 8ull)

static uint64_t clusters_of(uint64_t size)
{
	return (size + OVERLAY_CLUSTER - 1) / OVERLAY_CLUSTER;
}

static uint64_t blocks_of(uint64_t size)
{
	return (clusters_of(size) + CLUSTERS_PER_BLOCK - 1) / CLUSTERS_PER_BLOCK;
}

static uint64_t data_offset_of(uint64_t size)
{
	return OVERLAY_BLOCK + blocks_of(size) * OVERLAY_BLOCK;
}

static uint64_t file_size_of(uint64_t size)
{
	return data_offset_of(size) + clusters_of(size) * OVERLAY_CLUSTER;
}

static bool get_bit(const uint8_t *bits, uint64_t at)
{
	return bits[at / 8] >> at % 8 & 1;
}

static void set_bit(uint8_t *bits, uint64_t at)
{
	bits[at / 8] |= (uint8_t)(1u << at % 8);
}

int overlay_write_header(int fd, const struct overlay_base *base, enum overlay_state state)
{
	const struct header h = {
		.magic = MAGIC,
		.format = FORMAT,
		.cluster = OVERLAY_CLUSTER,
		.size = base->size,
		.base_mtime_ns = base->mtime_ns,
		.bitmap_offset = OVERLAY_BLOCK,
		.data_offset = data_offset_of(base->size),
		.state = state,
	};

	if (pwrite(fd, &h, sizeof(h), 0) != sizeof(h))
		return errno ? -errno : -EIO;
	return fdatasync(fd) ? -errno : 0;
}

/* First that it is empty, then the emptying: from the first write on it counts as done. */
int overlay_empty(int fd, const struct overlay_base *base)
{
	int err;

	if (base->size > OVERLAY_MAX)
		return -EFBIG;
	err = overlay_write_header(fd, base, OVERLAY_EMPTYING);
	if (err)
		return err;
	if (ftruncate(fd, sizeof(struct header)) ||
	    ftruncate(fd, (off_t)file_size_of(base->size)) || fdatasync(fd))
		return -errno;
	return overlay_write_header(fd, base, OVERLAY_IN_USE);
}

/* What is wrong with a header, or NULL. */
static const char *fault_of(const struct header *h, uint64_t file_size)
{
	static const uint32_t none[3];

	if (memcmp(h->magic, MAGIC, sizeof(h->magic)))
		return "is not a layer of mayfly's";
	if (h->format != FORMAT || h->cluster != OVERLAY_CLUSTER || h->state > OVERLAY_EMPTYING ||
	    memcmp(h->reserved, none, sizeof(none)))
		return "is a layer of a format that this mayfly does not know";
	if (h->size == 0 || h->size > OVERLAY_MAX || h->bitmap_offset != OVERLAY_BLOCK ||
	    h->data_offset != data_offset_of(h->size))
		return "has a header that is damaged";
	if (file_size < file_size_of(h->size) && h->state != OVERLAY_EMPTYING)
		return "is a layer that was cut short";
	return NULL;
}

int overlay_inspect(int fd, const char *path, struct overlay_base *base, enum overlay_state *state)
{
	const char *fault;
	struct header h;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st))
		return fail(-errno, "%s", path);
	n = pread(fd, &h, sizeof(h), 0);
	if (n < 0)
		return fail(-errno, "%s", path);
	fault = n == sizeof(h) ? fault_of(&h, (uint64_t)st.st_size) : "is not a layer of mayfly's";
	if (fault)
		return fail(0, "%s: %s", path, fault);
	*base = (struct overlay_base){ h.size, h.base_mtime_ns };
	*state = h.state;
	return 0;
}

/* Memory that costs nothing until it is touched. */
static uint8_t *reserve(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Block by block; those without a bit stay untouched. */
static int load_bitmap(struct overlay *o, int fd)
{
	static uint8_t none[OVERLAY_BLOCK]; /* constant, it would be zeros in the program's file */
	uint8_t block[OVERLAY_BLOCK];

	for (uint64_t i = 0; i < o->nr_blocks; i++) {
		const ssize_t n =
			pread(fd, block, sizeof(block), (off_t)(OVERLAY_BLOCK + i * sizeof(block)));

		if (n != sizeof(block))
			return n < 0 ? -errno : -EIO;
		if (memcmp(block, none, sizeof(block)))
			memcpy(o->bits + i * sizeof(block), block, sizeof(block));
	}
	return 0;
}

void overlay_close(struct overlay *o)
{
	const uint64_t size = o->nr_blocks * OVERLAY_BLOCK, marks = (o->nr_blocks + 7) / 8;

	if (o->bits)
		munmap(o->bits, size);
	if (o->stable)
		munmap(o->stable, size);
	if (o->dirty)
		munmap(o->dirty, marks);
	if (o->writing)
		munmap(o->writing, marks);
	*o = (struct overlay){ 0 };
}

static int init(struct overlay *o, const struct overlay_base *base)
{
	*o = (struct overlay){ .size = base->size,
			       .data_offset = data_offset_of(base->size),
			       .nr_blocks = blocks_of(base->size) };
	o->bits = reserve(o->nr_blocks * OVERLAY_BLOCK);
	o->stable = reserve(o->nr_blocks * OVERLAY_BLOCK);
	o->dirty = reserve((o->nr_blocks + 7) / 8);
	o->writing = reserve((o->nr_blocks + 7) / 8);
	return o->bits && o->stable && o->dirty && o->writing ? 0 : -ENOMEM;
}

/* Whether a layer that says so was made for this base. */
static int check_base(const char *path, const struct overlay_base *made_for,
		      const struct overlay_base *base, enum overlay_state state)
{
	if (made_for->size != base->size)
		return fail(0, "%s: is the layer of a disk of %llu bytes; this one has %llu", path,
			    (unsigned long long)made_for->size, (unsigned long long)base->size);
	if (made_for->mtime_ns != base->mtime_ns && state != OVERLAY_COMMITTING)
		return fail(0,
			    "%s: its base was written since the layer was made: they do not fit "
			    "any more; delete the layer to begin anew",
			    path);
	return 0;
}

int overlay_open(struct overlay *o, int fd, const char *path, const struct overlay_base *base)
{
	struct overlay_base made_for = { 0 };
	enum overlay_state state = OVERLAY_IN_USE;
	int err = overlay_inspect(fd, path, &made_for, &state);

	*o = (struct overlay){ 0 };
	if (!err)
		err = check_base(path, &made_for, base, state);
	if (err)
		return err;
	if (state == OVERLAY_EMPTYING)
		err = overlay_empty(fd, base);
	if (err)
		return fail(err, "%s", path);
	err = init(o, base);
	if (!err)
		err = load_bitmap(o, fd);
	if (err) {
		overlay_close(o);
		return fail(err, "%s", path);
	}
	return 0;
}

int overlay_open_unnamed(struct overlay *o, int fd, const struct overlay_base *base)
{
	if (ftruncate(fd, (off_t)file_size_of(base->size)))
		return -errno;
	return init(o, base);
}

uint64_t overlay_run(const struct overlay *o, uint64_t offset, uint64_t len, bool *is_in_layer)
{
	const uint64_t last = (offset + len - 1) / OVERLAY_CLUSTER;
	uint64_t at = offset / OVERLAY_CLUSTER, end;

	*is_in_layer = get_bit(o->bits, at);
	while (at < last && get_bit(o->bits, at + 1) == *is_in_layer)
		at++;
	end = (at + 1) * OVERLAY_CLUSTER;
	return end - offset < len ? end - offset : len;
}

uint64_t overlay_at(const struct overlay *o, uint64_t offset)
{
	return o->data_offset + offset;
}

uint64_t overlay_cluster_size(const struct overlay *o, uint64_t cluster)
{
	const uint64_t left = o->size - cluster * OVERLAY_CLUSTER;

	return left < OVERLAY_CLUSTER ? left : OVERLAY_CLUSTER;
}

/* The disk's end ends its last cluster. */
static bool is_whole(const struct overlay *o, uint64_t cluster, uint64_t from, uint64_t to)
{
	const uint64_t begin = cluster * OVERLAY_CLUSTER;

	return from <= begin && to >= begin + overlay_cluster_size(o, cluster);
}

bool overlay_needs_copy(const struct overlay *o, uint64_t offset, uint64_t len, uint64_t *cluster)
{
	const uint64_t ends[] = { offset / OVERLAY_CLUSTER, (offset + len - 1) / OVERLAY_CLUSTER };

	for (unsigned i = 0; i < 2; i++) {
		*cluster = ends[i];
		if (!get_bit(o->bits, ends[i]) && !is_whole(o, ends[i], offset, offset + len))
			return true;
	}
	return false;
}

void overlay_mark(struct overlay *o, uint64_t offset, uint64_t len)
{
	const uint64_t last = (offset + len - 1) / OVERLAY_CLUSTER;

	for (uint64_t at = offset / OVERLAY_CLUSTER; at <= last; at++) {
		if (get_bit(o->bits, at))
			continue;
		set_bit(o->bits, at);
		set_bit(o->dirty, at / CLUSTERS_PER_BLOCK);
	}
}

bool overlay_is_dirty(const struct overlay *o)
{
	for (uint64_t i = 0; i < (o->nr_blocks + 7) / 8; i++)
		if (o->dirty[i])
			return true;
	return false;
}

void overlay_flush_begin(struct overlay *o)
{
	o->cursor = 0;
	for (uint64_t i = 0; i < o->nr_blocks; i++) {
		if (!get_bit(o->dirty, i))
			continue;
		memcpy(o->stable + i * OVERLAY_BLOCK, o->bits + i * OVERLAY_BLOCK, OVERLAY_BLOCK);
		set_bit(o->writing, i);
		o->dirty[i / 8] &= (uint8_t) ~(1u << i % 8);
	}
}

bool overlay_flush_next(struct overlay *o, uint64_t *at, const void **block)
{
	for (; o->cursor < o->nr_blocks; o->cursor++) {
		if (!get_bit(o->writing, o->cursor))
			continue;
		*at = OVERLAY_BLOCK + o->cursor * OVERLAY_BLOCK;
		*block = o->stable + o->cursor * OVERLAY_BLOCK;
		o->cursor++;
		return true;
	}
	return false;
}

/* What did not come to the disk is as dirty as before. */
void overlay_flush_end(struct overlay *o, bool ok)
{
	for (uint64_t i = 0; i < (o->nr_blocks + 7) / 8; i++) {
		if (!ok)
			o->dirty[i] |= o->writing[i];
		o->writing[i] = 0;
	}
}
