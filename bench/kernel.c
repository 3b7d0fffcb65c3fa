/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rewrites an ELF kernel's file layout. boot.c calls it for the copied load that a mapped one is
 * compared with; the kernel is one of ours, and what is odd about it ends in an error.
 */
#include "kernel.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHIFT 512u /* below a page, above the ELF header's own alignment */

struct kernel {
	unsigned char *data;
	size_t size;
	Elf64_Ehdr *elf;
	Elf64_Phdr *segments;
};

static int complain(const char *path, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", path, why);
	return -1;
}

static int kernel_read(struct kernel *k, const char *path)
{
	FILE *f = fopen(path, "rb");
	long size;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < (long)sizeof(*k->elf))
		return complain(path, "cannot be read");
	k->size = (size_t)size;
	k->data = malloc(k->size);
	rewind(f);
	if (!k->data || fread(k->data, 1, k->size, f) != k->size)
		return complain(path, "cannot be read");
	fclose(f);
	k->elf = (Elf64_Ehdr *)k->data;
	if (memcmp(k->elf->e_ident, ELFMAG, SELFMAG) || k->elf->e_ident[EI_CLASS] != ELFCLASS64 ||
	    k->elf->e_phoff > k->size ||
	    k->elf->e_phnum * sizeof(Elf64_Phdr) > k->size - k->elf->e_phoff) {
		free(k->data);
		return -1;
	}
	k->segments = (Elf64_Phdr *)(k->data + k->elf->e_phoff);
	return 0;
}

long kernel_readonly_kib(const char *path)
{
	struct kernel k;
	uint64_t bytes = 0;

	if (kernel_read(&k, path))
		return -1;
	for (unsigned i = 0; i < k.elf->e_phnum; i++)
		if (k.segments[i].p_type == PT_LOAD && !(k.segments[i].p_flags & PF_W))
			bytes += k.segments[i].p_filesz;
	free(k.data);
	return (long)(bytes >> 10);
}

int kernel_misalign(const char *path, const char *to)
{
	static const unsigned char gap[SHIFT];
	struct kernel k;
	size_t head;
	FILE *f;
	int err;

	if (kernel_read(&k, path))
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
