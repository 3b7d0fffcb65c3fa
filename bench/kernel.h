/* SPDX-License-Identifier: Apache-2.0 */
/* What a memory benchmark needs to know of an ELF kernel, and a copy of one that cannot be mapped. */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

/* KiB of its segments that are not writable: text and read-only data. -1: not an ELF kernel. */
long kernel_readonly_kib(const char *path);

/*
 * Writes the same kernel to `to` with every segment moved by half a kilobyte in the file, so that
 * no page of it can be mapped into a guest and all of it has to be read. 0, or -1 with the reason
 * on standard error.
 */
int kernel_misalign(const char *path, const char *to);

#endif
