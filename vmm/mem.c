// SPDX-License-Identifier: Apache-2.0
/*
 * Guest memory. Set up once by vm.c and never changed while the guest runs; boot.c and the devices
 * reach it through mem_at() only.
 */
#include "mem.h"
#include "layout.h"
#include "log.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_SIZE 4096ul
#define GUARD	  (2ul << 20) /* PROT_NONE on both sides of each region; keeps 2 MiB alignment */
#define GUARDS	  (3 * GUARD)

#define POPULATE_WRITE 23 /* MADV_POPULATE_WRITE, which musl's header lacks */

/* A core file of the monitor does not hold the guest's secrets, and no child shares them. */
static int keep_private(void *host, uint64_t size)
{
	return madvise(host, size, MADV_DONTDUMP) || madvise(host, size, MADV_DONTFORK) ? -errno
											: 0;
}

/* One region between two guards, so that a wild access next to guest RAM hits nothing else. */
static int region_init(struct mem_region *region, gpa_t gpa, uint64_t size)
{
	uint8_t *base;

	base = mmap(NULL, size + GUARDS, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0);
	if (base == MAP_FAILED)
		return -errno;
	/* Aligned to 2 MiB, so that huge pages of the host can be huge pages of the guest. */
	region->host = base + GUARD + (-(uintptr_t)base & (GUARD - 1));
	region->gpa = gpa;
	region->size = size;
	region->reserved = base;
	if (mprotect(region->host, size, PROT_READ | PROT_WRITE))
		return -errno;
	return keep_private(region->host, size);
}

int mem_init(struct mem *mem, uint64_t size)
{
	const uint64_t low = size < DEVICE_GPA ? size : DEVICE_GPA;
	int err;

	must(size % PAGE_SIZE == 0 && size >= MEM_MIN && size <= MEM_MAX);
	*mem = (struct mem){ .nr_regions = 1 };
	err = region_init(&mem->regions[0], 0, low);
	if (!err && size > low) {
		mem->nr_regions = 2;
		err = region_init(&mem->regions[1], HIGH_RAM_GPA, size - low);
	}
	if (err)
		return fail(err, "no address space for %llu MiB of guest memory",
			    (unsigned long long)(size >> 20));
	return 0;
}

void mem_fini(struct mem *mem)
{
	for (unsigned i = 0; i < mem->nr_regions; i++)
		if (mem->regions[i].reserved)
			munmap(mem->regions[i].reserved, mem->regions[i].size + GUARDS);
	mem->nr_regions = 0;
}

int mem_huge_pages(const struct mem *mem)
{
	for (unsigned i = 0; i < mem->nr_regions; i++)
		if (madvise(mem->regions[i].host, mem->regions[i].size, MADV_HUGEPAGE))
			return -errno;
	return 0;
}

void *mem_at(const struct mem *mem, gpa_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < mem->nr_regions; i++) {
		const struct mem_region *r = &mem->regions[i];

		/* No sum of guest words: neither comparison can wrap. */
		if (gpa >= r->gpa && gpa - r->gpa <= r->size && len <= r->size - (gpa - r->gpa))
			return r->host + (gpa - r->gpa);
	}
	return NULL;
}

uint64_t mem_low_size(const struct mem *mem)
{
	return mem->regions[0].size;
}

static int read_all(int fd, uint8_t *to, uint64_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pread(fd, to, len < (1u << 30) ? len : 1u << 30, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		to += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Whole pages. A mapping may go on beyond the file's end, where a touch is a SIGBUS: look first. */
static int map_pages(int fd, uint8_t *to, uint64_t len, uint64_t offset)
{
	uint8_t last;
	const int err = read_all(fd, &last, 1, offset + len - 1);

	if (err)
		return err;
	if (mmap(to, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
		 (off_t)offset) == MAP_FAILED)
		return -errno;
	return keep_private(to, len);
}

/*
 * At once what would be a fault for each page in the middle of the copy. The read tells of trouble.
 */
static void populate(uint8_t *to, uint64_t len)
{
	const uint64_t before = (uintptr_t)to % PAGE_SIZE;

	madvise(to - before, before + len, POPULATE_WRITE);
}

int mem_read_file(const struct mem *mem, gpa_t gpa, int fd, uint64_t offset, uint64_t len)
{
	uint8_t *to = mem_at(mem, gpa, len);

	if (!to)
		return -EFAULT;
	populate(to, len);
	return read_all(fd, to, len, offset);
}

int mem_load_file(const struct mem *mem, gpa_t gpa, int fd, uint64_t offset, uint64_t len)
{
	uint8_t *to = mem_at(mem, gpa, len);
	const uint64_t tail = len % PAGE_SIZE;
	const uint64_t whole = len - tail;
	int err = 0;

	if (!to)
		return -EFAULT;
	if ((gpa | offset) % PAGE_SIZE)
		return read_all(fd, to, len, offset);
	if (whole)
		err = map_pages(fd, to, whole, offset);
	if (err)
		return err;
	/* The last, partial page is copied: what follows in the file is not the guest's to see. */
	return read_all(fd, to + whole, tail, offset + whole);
}
