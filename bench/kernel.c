// SPDX-License-Identifier: Apache-2.0
/*
 * ELF kernels, for what boot.c measures of their sharing. The files are our own or Debian's: what
 * is odd about one ends in an error, and nothing here is meant for a stranger's files.
 */
#include "kernel.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHIFT	 512u /* below a page, above the ELF header's own alignment */
#define PAGE	 4096u
#define PAGE_MAX (64u << 8) /* a kernel's pages: 64 MiB */

struct kernel {
	unsigned char *data;
	size_t size;
	Elf64_Ehdr *elf;
	Elf64_Phdr *segments;
	Elf64_Shdr *sections;
	const char *names;
};

static int complain(const char *path, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", path, why);
	return -1;
}

static unsigned char *read_file(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	unsigned char *data = NULL;
	long end = -1;

	if (f && fseek(f, 0, SEEK_END) == 0)
		end = ftell(f);
	if (end > 0)
		data = malloc((size_t)end);
	if (data) {
		rewind(f);
		*size = fread(data, 1, (size_t)end, f);
	}
	if (f)
		fclose(f);
	return data;
}

static bool inside(const struct kernel *k, uint64_t offset, uint64_t size)
{
	return offset <= k->size && size <= k->size - offset;
}

/* Headers only: what a section or segment claims of the file is checked where it is used. */
static bool kernel_open(struct kernel *k, const char *path)
{
	memset(k, 0, sizeof(*k));
	k->data = read_file(path, &k->size);
	k->elf = (Elf64_Ehdr *)k->data;
	if (!k->data || k->size < sizeof(*k->elf) || memcmp(k->elf->e_ident, ELFMAG, SELFMAG) ||
	    k->elf->e_ident[EI_CLASS] != ELFCLASS64 ||
	    !inside(k, k->elf->e_phoff, k->elf->e_phnum * sizeof(Elf64_Phdr)) ||
	    !inside(k, k->elf->e_shoff, k->elf->e_shnum * sizeof(Elf64_Shdr))) {
		free(k->data);
		return false;
	}
	k->segments = (Elf64_Phdr *)(k->data + k->elf->e_phoff);
	k->sections = (Elf64_Shdr *)(k->data + k->elf->e_shoff);
	if (k->elf->e_shnum) /* shstrndx is below it, or the file is none of ours */
		k->names = (const char *)k->data + k->sections[k->elf->e_shstrndx].sh_offset;
	return true;
}

/* A section's flags say what its input files asked for; its segment's say how it is mapped. */
static bool is_readonly(const struct kernel *k, uint64_t address)
{
	for (unsigned i = 0; i < k->elf->e_phnum; i++) {
		const Elf64_Phdr *p = &k->segments[i];

		if (p->p_type == PT_LOAD && address >= p->p_vaddr &&
		    address - p->p_vaddr < p->p_memsz)
			return !(p->p_flags & PF_W);
	}
	return false;
}

/*
 * The tables by which Linux 6.1 patches itself at boot, and the distance of their rows: each begins
 * with the place to be patched, relative to the row, or absolute. Lock prefixes go where the guest
 * has one CPU.
 */
static const struct {
	const char *section;
	unsigned row;
	bool is_absolute;
} patches[] = {
	{ ".altinstructions", 12, false }, /* struct alt_instr */
	{ ".return_sites", 4, false },
	{ ".retpoline_sites", 4, false },
	{ ".smp_locks", 4, false },
	{ ".parainstructions", 16, true }, /* struct paravirt_patch_site */
};

static uint64_t patch_address(const Elf64_Shdr *s, const unsigned char *row, uint64_t offset,
			      bool is_absolute)
{
	uint64_t absolute;
	int32_t relative;

	memcpy(&absolute, row, sizeof(absolute));
	memcpy(&relative, row, sizeof(relative));
	return is_absolute ? absolute : s->sh_addr + offset + (uint64_t)(int64_t)relative;
}

static void mark_patched(const struct kernel *k, const Elf64_Shdr *s, unsigned kind, uint64_t base,
			 bool *pages)
{
	const unsigned row = patches[kind].row;

	const uint64_t end = inside(k, s->sh_offset, s->sh_size) ? s->sh_size : 0;

	/* The last rows of a table of four bytes are read beyond it, within the file. */
	for (uint64_t at = 0; at < end && inside(k, s->sh_offset + at, row + 4); at += row) {
		const uint64_t address = patch_address(s, k->data + s->sh_offset + at, at,
						       patches[kind].is_absolute);

		if (is_readonly(k, address) && (address - base) / PAGE < PAGE_MAX)
			pages[(address - base) / PAGE] = true;
	}
}

static long patched_kib(const struct kernel *k, uint64_t base)
{
	static bool pages[PAGE_MAX];
	long kib = 0;

	memset(pages, 0, sizeof(pages));
	for (unsigned i = 0; i < k->elf->e_shnum; i++)
		for (unsigned kind = 0; kind < sizeof(patches) / sizeof(patches[0]); kind++)
			if (!strcmp(k->names + k->sections[i].sh_name, patches[kind].section))
				mark_patched(k, &k->sections[i], kind, base, pages);
	for (unsigned i = 0; i < PAGE_MAX; i++)
		kib += pages[i] ? PAGE / 1024 : 0;
	return kib;
}

int kernel_size(const char *path, struct kernel_size *size)
{
	uint64_t bytes = 0, base = UINT64_MAX;
	struct kernel k;

	if (!kernel_open(&k, path))
		return -1;
	for (unsigned i = 0; i < k.elf->e_shnum; i++) {
		const Elf64_Shdr *s = &k.sections[i];

		if (!(s->sh_flags & SHF_ALLOC) || !is_readonly(&k, s->sh_addr))
			continue;
		bytes += s->sh_size;
		if (s->sh_addr < base)
			base = s->sh_addr & ~(uint64_t)(PAGE - 1);
	}
	size->readonly_kib = (long)(bytes >> 10);
	size->patched_kib = patched_kib(&k, base);
	free(k.data);
	return bytes ? 0 : -1;
}

int kernel_misalign(const char *path, const char *to)
{
	static const unsigned char gap[SHIFT];
	struct kernel k;
	size_t head;
	FILE *f;
	int err;

	if (!kernel_open(&k, path))
		return complain(path, "is not an ELF kernel");
	head = k.elf->e_phoff + k.elf->e_phnum * sizeof(Elf64_Phdr);
	for (unsigned i = 0; i < k.elf->e_phnum; i++) {
		if (k.segments[i].p_filesz && k.segments[i].p_offset < head)
			return complain(path, "has a segment that lies over its ELF header");
		k.segments[i].p_offset += SHIFT;
	}
	k.elf->e_shoff = 0;
	k.elf->e_shnum = k.elf->e_shstrndx = 0;
	f = fopen(to, "wb");
	err = !f || fwrite(k.data, 1, head, f) != head || fwrite(gap, 1, SHIFT, f) != SHIFT ||
	      fwrite(k.data + head, 1, k.size - head, f) != k.size - head;
	if (f && fclose(f))
		err = 1;
	free(k.data);
	return err ? complain(to, "cannot be written") : 0;
}
