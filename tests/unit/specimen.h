/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest kernels that image_parse() accepts: an ELF with a PVH note and a bzImage. The unit
 * test gives them one flaw at a time; the fuzzer starts from them.
 */
#ifndef TESTS_UNIT_SPECIMEN_H
#define TESTS_UNIT_SPECIMEN_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MIB 0x100000ull

/*
 * The specimen ELF: two segments, named in falling order of their addresses, the data one with
 * 0x1800 bytes of zeros after its 0x800 from the file; and two notes, the second PVH's.
 */
struct note {
	Elf64_Nhdr nh;
	char name[4];
	uint32_t desc[2];
};

struct elf {
	Elf64_Ehdr eh;
	Elf64_Phdr data, text, notes;
	struct note other, pvh;
	uint8_t text_bytes[0x1000];
	uint8_t data_bytes[0x800];
};

#define TEXT_GPA  (16 * MIB)
#define DATA_GPA  (32 * MIB)
#define PVH_ENTRY (TEXT_GPA + 0x50)

static const struct elf elf = {
	.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = TEXT_GPA,
		.e_phoff = offsetof(struct elf, data),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3 },
	.data = { .p_type = PT_LOAD,
		  .p_flags = PF_R | PF_W,
		  .p_offset = offsetof(struct elf, data_bytes),
		  .p_vaddr = 0xffffffff82000000,
		  .p_paddr = DATA_GPA,
		  .p_filesz = 0x800,
		  .p_memsz = 0x2000 },
	.text = { .p_type = PT_LOAD,
		  .p_flags = PF_R | PF_X,
		  .p_offset = offsetof(struct elf, text_bytes),
		  .p_vaddr = 0xffffffff81000000,
		  .p_paddr = TEXT_GPA,
		  .p_filesz = 0x1000,
		  .p_memsz = 0x1000 },
	.notes = { .p_type = PT_NOTE,
		   .p_offset = offsetof(struct elf, other),
		   .p_filesz = 2 * sizeof(struct note),
		   .p_align = 4 },
	.other = { { 4, 8, 18 }, "GNU", { 0xdead, 0xbeef } },
	.pvh = { { 4, 8, 18 }, "Xen", { PVH_ENTRY, 0 } },
};

/* The specimen bzImage: 3 sectors of setup code after the first, then 0x1000 bytes of kernel. */
#define BZ_SETUP     (4 * 512u)
#define BZ_PAYLOAD   0x1000u
#define BZ_SIZE	     (BZ_SETUP + BZ_PAYLOAD)
#define BZ_INIT_SIZE (16 * MIB)

static const struct {
	uint16_t offset;
	uint8_t size;
	uint64_t value;
} bzimage_fields[] = {
	{ 0x000, 2, 0x5a4d },	       /* MZ: kernels are EFI programs too */
	{ 0x1f1, 1, 3 },	       /* setup_sects */
	{ 0x1f4, 4, BZ_PAYLOAD / 16 }, /* syssize */
	{ 0x1fe, 2, 0xaa55 },	       /* boot_flag */
	{ 0x200, 2, 0x6aeb },	       /* jump: the header ends at 0x202 + 0x6a */
	{ 0x202, 4, 0x53726448 },      /* HdrS */
	{ 0x206, 2, 0x020f },	       /* version */
	{ 0x22c, 4, 0x7fffffff },      /* initrd_addr_max */
	{ 0x236, 2, 0x3f },	       /* xloadflags */
	{ 0x238, 4, 2047 },	       /* cmdline_size */
	{ 0x258, 8, 16 * MIB },	       /* pref_address */
	{ 0x260, 4, BZ_INIT_SIZE },    /* init_size */
};

static inline void bzimage_fill(uint8_t file[BZ_SIZE])
{
	for (size_t i = 0; i < BZ_SIZE; i++)
		file[i] = i * 7;
	for (size_t i = 0; i < sizeof(bzimage_fields) / sizeof(bzimage_fields[0]); i++)
		memcpy(file + bzimage_fields[i].offset, &bzimage_fields[i].value,
		       bzimage_fields[i].size);
}

#endif
