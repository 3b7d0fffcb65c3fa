// SPDX-License-Identifier: Apache-2.0
/*
 * Is every byte that the PVH memory map calls RAM there, once, and nothing where it says hole?
 * Writes a word that depends on its address at both ends of every page of RAM (at every 8 bytes
 * with `full`), then reads all of them back, so that an alias or a missing page shows; RAM that the
 * loader has not filled must read as zero before. mem=BYTES: how much RAM the map must show;
 * stride=BYTES: pages of that size instead, where 4 GiB of first touches take minutes. All RAM is
 * written but the program's own pages: what the monitor placed there is copied out first.
 */
#include "guest.h"

#define MAX_REGIONS 16u
#define PAGE	    0x1000ul
#define LARGE_PAGE  0x200000ul
#define PTE_TABLE   0x07ul /* present, writable, user */
#define PTE_LARGE   0x87ul
#define PTE_ADDRESS 0x000ffffffffff000ul
#define BAD_SHOWN   8u

struct region {
	uint64_t begin, end;
};

static struct memmap_entry map[64];
static struct region ram[MAX_REGIONS];
static unsigned nr_map, nr_ram;
static uint64_t free_page; /* page tables are taken from here up */
static bool loaded;	   /* by the monitor: RAM above 1 MiB holds an initrd, too */
static unsigned bad;

static void complain(const char *what, uint64_t gpa, uint64_t v)
{
	if (bad++ < BAD_SHOWN)
		print("  %s at 0x%lx: 0x%lx\n", what, gpa, v);
}

static uint64_t read(uint64_t gpa)
{
	return mmio_read64(gpa);
}

static void write(uint64_t gpa, uint64_t v)
{
	mmio_write64(gpa, v);
}

static uint64_t pattern(uint64_t gpa)
{
	return (gpa + 1) * 0x9e3779b97f4a7c15ul;
}

/* The table that an entry of the level above points to, a new one if there is none. */
static uint64_t *table(uint64_t *entry)
{
	if (!*entry) {
		memset((void *)free_page, 0, PAGE);
		*entry = free_page | PTE_TABLE;
		free_page += PAGE;
	}
	return (uint64_t *)(*entry & PTE_ADDRESS);
}

/* Maps [begin, end) one to one, in large pages; begin is a multiple of LARGE_PAGE. */
static void map_range(uint64_t begin, uint64_t end)
{
	for (uint64_t gpa = begin; gpa < end; gpa += LARGE_PAGE) {
		uint64_t *directory_pointers = table(&pml4[gpa >> 39 & 511]);
		uint64_t *directory = table(&directory_pointers[gpa >> 30 & 511]);

		directory[gpa >> 21 & 511] = gpa | PTE_LARGE;
	}
}

static void copy_map(void)
{
	nr_map = start_info->memmap_entries;
	if (!nr_map || nr_map > sizeof(map) / sizeof(map[0]))
		die("the start info has no memory map, or one of more than 64 entries");
	memcpy(map, (const void *)start_info->memmap, nr_map * sizeof(map[0]));
}

/* Entries in order, apart, none of RAM in the hole; those of RAM become ram[]. */
static void check_map(void)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < nr_map; i++) {
		const struct memmap_entry *e = &map[i];

		print("  0x%lx-0x%lx type %u\n", e->addr, e->addr + e->size, e->type);
		if (!e->size || e->addr + e->size < e->addr || (e->addr | e->size) % 8)
			complain("bad size of the entry", e->addr, e->size);
		if (e->addr < end)
			complain("entry overlaps the one before", e->addr, end);
		end = e->addr + e->size;
		if (e->type != MEMMAP_RAM)
			continue;
		if (e->addr < HIGH_RAM_GPA && end > DEVICE_GPA)
			complain("RAM reaches into the hole", e->addr, e->size);
		if (nr_ram == MAX_REGIONS)
			die("more than 16 entries of RAM");
		ram[nr_ram++] = (struct region){ e->addr, end };
	}
	if (bad)
		die("the memory map is wrong");
}

static uint64_t end_of_ram(uint64_t begin, uint64_t limit)
{
	uint64_t end = begin;

	for (unsigned i = 0; i < nr_ram; i++)
		if (ram[i].begin >= begin && ram[i].end <= limit && ram[i].end > end)
			end = ram[i].end;
	return end;
}

/* mem=BYTES fills the space below the hole first, and lacks only what a PC has below 1 MiB. */
static void check_size(uint64_t low, uint64_t high)
{
	uint64_t mem = arg_number("mem", low + (high - HIGH_RAM_GPA)), total = 0;
	uint64_t want_low = mem < DEVICE_GPA ? mem : DEVICE_GPA;

	for (unsigned i = 0; i < nr_ram; i++)
		total += ram[i].end - ram[i].begin;
	if (low != want_low || high != HIGH_RAM_GPA + mem - want_low)
		complain("RAM ends, not as mem= says", low, high);
	if (total != mem - (HIGH_MEM_GPA - EBDA_GPA))
		complain("sum of RAM, not as its ends say", mem, total);
}

/* Calls visit() for the words at both ends of each page, or all words, of RAM but our own. */
static uint64_t for_each_word(void (*visit)(uint64_t gpa))
{
	const uint64_t stride = arg_number("stride", PAGE), step = arg("full") ? 8 : stride - 8;
	uint64_t words = 0;

	if (!stride || stride % PAGE)
		die("stride= must be a multiple of 4096");
	for (unsigned i = 0; i < nr_ram; i++) {
		for (uint64_t page = ram[i].begin; page < ram[i].end; page += stride) {
			uint64_t end = page + stride < ram[i].end ? page + stride : ram[i].end;

			if (page >= HIGH_MEM_GPA && page < free_page)
				continue;
			for (uint64_t gpa = page; gpa < end - 8; gpa += step, words++)
				visit(gpa);
			visit(end - 8);
			words++;
		}
	}
	return words;
}

/* One access that reads and writes: a page is touched once, where that is what takes the time. */
static void fill(uint64_t gpa)
{
	uint64_t v = pattern(gpa);

	__asm__ volatile("xchg %0, (%1)" : "+r"(v) : "r"(gpa) : "memory");
	if (v && gpa >= HIGH_MEM_GPA && !loaded)
		complain("not zero at the start", gpa, v);
}

static void compare(uint64_t gpa)
{
	if (read(gpa) != pattern(gpa))
		complain("does not hold what was written", gpa, read(gpa));
}

static void probe(uint64_t gpa)
{
	write(gpa, pattern(gpa));
	if (read(gpa) != ~0ul)
		complain("no RAM is here, yet not all ones", gpa, read(gpa));
}

/* Between RAM and the device windows, between those and the I/O APIC, and above all RAM. */
static unsigned probe_holes(uint64_t low, uint64_t high)
{
	const uint64_t step = DEVICE_GPA / 64, windows_end = DEVICE_GPA + DEVICE_MAX * DEVICE_SIZE;
	unsigned probes = 0;

	for (uint64_t gpa = low; gpa < DEVICE_GPA; gpa += step, probes++)
		probe(gpa);
	for (uint64_t gpa = windows_end; gpa < IOAPIC_GPA; gpa += step, probes++)
		probe(gpa);
	probe(DEVICE_GPA - 8 < low ? windows_end + 8 : DEVICE_GPA - 8);
	probe(IOAPIC_GPA - 8);
	probe(HIGH_RAM_GPA - 8);
	probe(high);
	probe(high + LARGE_PAGE - 8);
	return probes + 5;
}

int guest_main(void)
{
	uint64_t low, high, words;
	unsigned probes;

	copy_map();
	loaded = start_info->nr_modules;
	check_map();
	low = end_of_ram(0, DEVICE_GPA);
	high = end_of_ram(HIGH_RAM_GPA, ~0ul);
	check_size(low, high);
	free_page = (uint64_t)image_end;
	map_range(HIGH_RAM_GPA, high + LARGE_PAGE);
	words = for_each_word(fill);
	for_each_word(compare);
	probes = probe_holes(low, high);
	for_each_word(compare); /* writes to a hole changed nothing either */
	print("memmap: RAM to 0x%lx and from 0x%lx to 0x%lx, %lu words, %u probes of holes, %u bad\n",
	      low, HIGH_RAM_GPA, high, words, probes, bad);
	return bad != 0;
}
