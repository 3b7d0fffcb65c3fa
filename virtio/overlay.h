/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy-on-write layer: which clusters of a disk lie in a file of its own instead of the base, and
 * how that file tells. No I/O while the guest runs: disk_io.c does it, in the order that keeps
 * layer and base readable whenever the process dies: data first, and what says that it is there
 * after.
 *
 *   0             header, one block
 *   4096          bitmap: a bit for each cluster that lies here; whole blocks
 *   data_offset   the disk, each byte at its own place, sparse
 */
#ifndef VIRTIO_OVERLAY_H
#define VIRTIO_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

#define OVERLAY_CLUSTER 4096u
#define OVERLAY_BLOCK	4096u	     /* of the bitmap: what is written at once */
#define OVERLAY_MAX	(1ull << 44) /* bytes of a disk: its bitmap then has 512 MiB */

/* What the layer was made for. A base that was written since would not fit under it any more. */
struct overlay_base {
	uint64_t size;	  /* bytes */
	int64_t mtime_ns; /* 0 for a block device, which has none of use */
};

struct overlay {
	uint64_t size, data_offset;
	uint64_t nr_blocks; /* of the bitmap */
	uint8_t *bits;	    /* as the guest sees the disk */
	uint8_t *stable;    /* as it was when a flush began: what that writes */
	uint8_t *dirty,
		*writing; /* a bit for each block: to be written; part of the running flush */
	uint64_t cursor;  /* of the running flush, in blocks */
};

/*
 * What is going on with a layer's file. COMMITTING: its base is being written to what the layer
 * says; the two read as before. EMPTYING: all in it is to be forgotten; opening finishes that.
 */
enum overlay_state { OVERLAY_IN_USE, OVERLAY_COMMITTING, OVERLAY_EMPTYING };

/*
 * Makes `fd` an empty layer, whatever was in it before, so that one killed halfway is an empty
 * layer too. 0 or -errno, not logged.
 */
int overlay_empty(int fd, const struct overlay_base *base);

/*
 * Opens a layer made by anyone for this base: 0, or -errno with a line logged that begins with
 * `path`. A base that was written since is refused, but while it is being committed to.
 */
int overlay_open(struct overlay *o, int fd, const char *path, const struct overlay_base *base);
/* A layer that nobody will open again: no header, no bitmap in the file. 0 or -errno. */
int overlay_open_unnamed(struct overlay *o, int fd, const struct overlay_base *base);
void overlay_close(struct overlay *o);

/* For `mayfly disk`: what the header says, for any base. As overlay_open(). */
int overlay_inspect(int fd, const char *path, struct overlay_base *base, enum overlay_state *state);
/* Writes the header anew, and waits for the disk. 0 or -errno, not logged. */
int overlay_write_header(int fd, const struct overlay_base *base, enum overlay_state state);

/* How many bytes from `offset`, `len` at most, lie in the same file, and in which. */
uint64_t overlay_run(const struct overlay *o, uint64_t offset, uint64_t len, bool *is_in_layer);

/* Where a byte of the disk lies in the layer's file. */
uint64_t overlay_at(const struct overlay *o, uint64_t offset);

/*
 * Whether a write to [offset, offset + len) needs the rest of a cluster from the base first, and
 * of which: *cluster is its number.
 */
bool overlay_needs_copy(const struct overlay *o, uint64_t offset, uint64_t len, uint64_t *cluster);
uint64_t overlay_cluster_size(const struct overlay *o,
			      uint64_t cluster); /* the last may be short */

/* All clusters of the range are whole in the layer now. */
void overlay_mark(struct overlay *o, uint64_t offset, uint64_t len);

/*
 * A flush: begin takes note of what is marked now; once the data is safe, each block it names in
 * turn is written at *at; end says whether that came to the disk. Between them marks go on.
 */
void overlay_flush_begin(struct overlay *o);
bool overlay_flush_next(struct overlay *o, uint64_t *at, const void **block);
void overlay_flush_end(struct overlay *o, bool ok);
bool overlay_is_dirty(const struct overlay *o);

#endif
