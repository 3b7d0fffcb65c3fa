/* SPDX-License-Identifier: Apache-2.0 */
/* What a memory benchmark asks of an ELF kernel, and a copy of one that cannot be mapped. */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

/* KiB of the sections that are loaded and never written by name: text and read-only data. */
struct kernel_size {
	long readonly_kib;
	long patched_kib; /* of those, pages that Linux 6.1 on one CPU rewrites while it boots */
};

/* Reads an ELF kernel that has its section headers. 0, or -1 where it is another kind of file. */
int kernel_size(const char *path, struct kernel_size *size);

/*
 * Writes the same kernel to `to` with every segment moved by half a kilobyte in the file, so that
 * no page of it can be mapped into a guest and all of it has to be read. 0, or -1 with the reason
 * on standard error.
 */
int kernel_misalign(const char *path, const char *to);

#endif
