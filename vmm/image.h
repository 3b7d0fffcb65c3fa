/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel file as a plan: which bytes go where, and how the first vCPU enters. image_parse() is
 * pure: it reads the byte range it is given and nothing else, so a fuzzer drives it whole. boot.c
 * carries the plan out. The file is hostile: every offset, size and address is checked here, once.
 */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX_SEGMENTS 24u

/* The setup header's place in a bzImage and in the zero page, and how much the latter holds. */
#define IMAGE_SETUP_HEADER     0x1f1u
#define IMAGE_SETUP_HEADER_MAX (0x290u - IMAGE_SETUP_HEADER)

enum image_entry {
	IMAGE_PVH,     /* 32-bit protected mode, EBX = start info (Xen PVH boot ABI) */
	IMAGE_LINUX64, /* long mode, RSI = zero page (Linux 64-bit boot protocol) */
};

struct image_segment {
	uint64_t gpa;	    /* at or above HIGH_MEM_GPA */
	uint64_t offset;    /* in the file */
	uint64_t file_size; /* bytes to take from the file; the rest of mem_size is zero */
	uint64_t mem_size;  /* >= file_size, > 0 */
	bool is_written; /* the kernel writes there from the start, so that sharing gains nothing */
};

struct image {
	enum image_entry kind;
	uint64_t entry; /* guest-physical, inside the bytes a segment takes from the file */
	uint64_t end;	/* first byte above all the kernel occupies; an initrd may begin here */
	uint64_t initrd_max;  /* highest address the initrd's last byte may have */
	uint32_t cmdline_max; /* bytes of command line the kernel takes, without the final NUL */
	unsigned nr_segments; /* at least 1 */
	struct image_segment segments[IMAGE_MAX_SEGMENTS]; /* sorted by gpa, disjoint */
	/*
	 * bzImage only, else size 0: the setup header as it stands in the file, for the zero page
	 */
	uint32_t setup_header_size;
	uint8_t setup_header[IMAGE_SETUP_HEADER_MAX];
};

/*
 * Reads the kernel in data[0..size) for a guest with RAM in [0, low_ram) (bytes, at most 3 GiB).
 * Returns 0, or -ENOEXEC (not a kernel that mayfly boots), -EINVAL (malformed), -ENOMEM (needs more
 * RAM than low_ram) with *why set to a constant phrase that completes "FILE: ...". On an error *img
 * is undefined, except that after -ENOMEM img->end is the RAM that the kernel needs.
 */
int image_parse(const void *data, size_t size, uint64_t low_ram, struct image *img,
		const char **why);

#endif
