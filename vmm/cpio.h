/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a cpio archive in the "newc" format, as Linux unpacks into its first root file system
 * (Documentation/driver-api/early-userspace/buffer-format.rst). boot.c lays one after the user's
 * initrd to bring in mayfly's init. Pure: fills the buffer it is given.
 *
 * Order: cpio_begin, entries with each directory before what it holds, cpio_end. What does not fit
 * is reported once, by cpio_end.
 */
#ifndef VMM_CPIO_H
#define VMM_CPIO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cpio {
	uint8_t *buf;
	size_t size;
	size_t used; /* above size: did not fit */
	uint32_t entries;
};

/* The archive goes to buf[0..size), which must start at a multiple of 4 bytes of the initrd. */
void cpio_begin(struct cpio *c, void *buf, size_t size);

/* Names are paths without a leading slash; modes are permission bits; all belongs to root. */
void cpio_dir(struct cpio *c, const char *name, unsigned mode);
void cpio_file(struct cpio *c, const char *name, unsigned mode, const void *data, uint32_t size);

/* Ends the archive. Returns its bytes, a multiple of 4, or -ENOSPC where it did not fit. */
ssize_t cpio_end(struct cpio *c);

#endif
