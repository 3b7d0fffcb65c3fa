/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: anonymous pages below and above the device hole, with guard pages around, and the
 * one way from a guest-physical address to a pointer.
 */
#ifndef VMM_MEM_H
#define VMM_MEM_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t;

struct mem_region {
	gpa_t gpa;
	uint64_t size; /* bytes, a multiple of the page size */
	uint8_t *host;
	void *reserved; /* with its guard pages, for mem_fini() */
};

struct mem {
	struct mem_region regions[2]; /* from 0, and from HIGH_RAM_GPA where there is that much */
	unsigned nr_regions;
};

/*
 * Reserves `size` bytes of guest RAM (a multiple of 4096, MEM_MIN to MEM_MAX); pages come on first
 * touch. 0 or -errno with the reason logged.
 */
int mem_init(struct mem *mem, uint64_t size);

/* Gives it all back. Harmless after a mem_init() that failed, or before any. */
void mem_fini(struct mem *mem);

/* Asks the host for transparent huge pages. 0 or -errno. */
int mem_huge_pages(const struct mem *mem);

/*
 * The host address of guest bytes [gpa, gpa + len), or NULL unless all of them are RAM in one
 * region. len may be 0. What lies there is the guest's and can change at any time: load each word
 * once.
 */
void *mem_at(const struct mem *mem, gpa_t gpa, uint64_t len);

/* Bytes of RAM from address 0, up to the device hole. */
uint64_t mem_low_size(const struct mem *mem);

/*
 * Lays `len` bytes of file `fd` from `offset` over guest memory at `gpa`, private to this guest and
 * shared with all others until written; where the two are not aligned alike, they are read instead.
 * Bytes of the last page beyond `len` are zero. -EFAULT outside of RAM, -ENODATA where the file is
 * too short, else -errno; nothing is logged.
 */
int mem_load_file(const struct mem *mem, gpa_t gpa, int fd, uint64_t offset, uint64_t len);

/* The same, but always read: for what the guest will write all over. */
int mem_read_file(const struct mem *mem, gpa_t gpa, int fd, uint64_t offset, uint64_t len);

#endif
