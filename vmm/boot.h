/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct boot: puts kernel, initrd, job, command line and tables into guest memory, so that the
 * boot CPU can enter the kernel without firmware (Linux: Documentation/arch/x86/boot.rst; PVH:
 * the Xen HVM direct boot ABI).
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "../api/config.h"
#include "image.h"
#include "mem.h"

/* The kernel and initrd, opened and checked before anything is created. */
struct boot {
	const char *kernel_path, *initrd_path;
	int kernel_fd, initrd_fd; /* -1: none */
	uint64_t initrd_size;
	const uint8_t *extra; /* an archive to be laid after the initrd, borrowed */
	uint64_t extra_size;
	struct image image;
};

/*
 * Opens and checks the files for a guest of config->mem_size, and the command line for this kernel.
 * `extra` (extra_size bytes, may be 0) is laid after the initrd, as the kernel takes several
 * archives; it stays until boot_load(). 0 or -errno, with one line logged that names the file and
 * the reason. boot_close() in any case.
 */
int boot_open(struct boot *boot, const struct vm_config *config, const uint8_t *extra,
	      uint64_t extra_size);
void boot_close(struct boot *boot);

/* Fills guest memory. 0 or -errno, logged. */
int boot_load(const struct boot *boot, const struct mem *mem, const struct vm_config *config);

#endif
