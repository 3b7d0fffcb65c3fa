// SPDX-License-Identifier: Apache-2.0
/*
 * Writes cpio archives in the "newc" format: per entry a header of hexadecimal words, the name, and
 * the contents, the latter two each padded to 4 bytes. boot.c calls it to pack mayfly's init. It
 * writes nothing outside the buffer: `used` runs on past the end and cpio_end() tells.
 */
#include "cpio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAGIC	  "070701"
#define MODE_DIR  0040000u
#define MODE_FILE 0100000u

static void put(struct cpio *c, const void *bytes, size_t length)
{
	if (c->used <= c->size && length <= c->size - c->used)
		memcpy(c->buf + c->used, bytes, length);
	c->used += length;
}

static void pad(struct cpio *c)
{
	put(c, "\0\0\0", -c->used % 4);
}

/* An inode of its own with one link each, so that Linux never looks for hard links. */
static void entry(struct cpio *c, const char *name, uint32_t mode, const void *data, uint32_t size)
{
	enum { INO, MODE, UID, GID, NLINK, MTIME, FILESIZE, NAMESIZE = 11, CHECK };
	const uint32_t words[CHECK + 1] = { [INO] = ++c->entries,
					    [MODE] = mode,
					    [NLINK] = 1,
					    [FILESIZE] = size,
					    [NAMESIZE] = strlen(name) + 1 };
	char hex[sizeof("01234567")];

	put(c, MAGIC, sizeof(MAGIC) - 1);
	for (unsigned i = 0; i <= CHECK; i++) {
		snprintf(hex, sizeof(hex), "%08x", words[i]);
		put(c, hex, sizeof(hex) - 1);
	}
	put(c, name, words[NAMESIZE]);
	pad(c);
	put(c, data, size);
	pad(c);
}

void cpio_begin(struct cpio *c, void *buf, size_t size)
{
	*c = (struct cpio){ .buf = buf, .size = size };
}

void cpio_dir(struct cpio *c, const char *name, unsigned mode)
{
	entry(c, name, MODE_DIR | mode, "", 0);
}

void cpio_file(struct cpio *c, const char *name, unsigned mode, const void *data, uint32_t size)
{
	entry(c, name, MODE_FILE | mode, data, size);
}

ssize_t cpio_end(struct cpio *c)
{
	entry(c, "TRAILER!!!", 0, "", 0);
	return c->used <= c->size ? (ssize_t)c->used : -ENOSPC;
}
