// SPDX-License-Identifier: Apache-2.0
/*
 * image_parse() on kernels made in memory, one flaw at a time, and on Debian's stock kernel where
 * MAYFLY_STOCK names the directory that rootfs/stock prints. Every parse runs on a heap copy of
 * exactly the file's size, so that the sanitized build sees any step outside it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../vmm/image.h"
#include "../../vmm/layout.h"
#include "specimen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LOW_RAM	 (128 * MIB)

static int parse(const void *file, size_t size, uint64_t low_ram, struct image *img,
		 const char **why)
{
	void *copy = malloc(size ? size : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, file, size);
	*why = NULL;
	r = image_parse(copy, size, low_ram, img, why);
	free(copy);
	assert_true((r < 0) == (*why != NULL));
	return r;
}

static void accept(const void *file, size_t size, struct image *img)
{
	const char *why;

	if (parse(file, size, LOW_RAM, img, &why) < 0)
		fail_msg("refused: %s", why);
}

static void refuse(const void *file, size_t size, int error, const char *phrase)
{
	struct image img;
	const char *why;

	assert_int_equal(parse(file, size, LOW_RAM, &img, &why), error);
	if (strstr(why, phrase) == NULL)
		fail_msg("refused for another reason than \"%s\": %s", phrase, why);
}

/* One flaw: `size` bytes of a specimen at `offset` set to `value`. */
struct flaw {
	const char *name;
	uint32_t offset;
	uint8_t size;
	uint64_t value;
	int error;
	const char *phrase;
};

#define EHDR(field)  offsetof(struct elf, eh.field), sizeof(elf.eh.field)
#define DATA(field)  offsetof(struct elf, data.field), sizeof(elf.data.field)
#define TEXT(field)  offsetof(struct elf, text.field), sizeof(elf.text.field)
#define NOTES(field) offsetof(struct elf, notes.field), sizeof(elf.notes.field)
#define PVH(field)   offsetof(struct elf, pvh.field), sizeof(elf.pvh.field)

static const struct flaw elf_flaws[] = {
	{ "an ELF of 32 bits is refused", EHDR(e_ident[EI_CLASS]), ELFCLASS32, -ENOEXEC, "32-bit" },
	{ "a big-endian ELF is refused", EHDR(e_ident[EI_DATA]), ELFDATA2MSB, -ENOEXEC,
	  "big-endian" },
	{ "an arm64 ELF is refused by name", EHDR(e_machine), EM_AARCH64, -ENOEXEC, "(arm64)" },
	{ "an i386 ELF is refused by name", EHDR(e_machine), EM_386, -ENOEXEC, "(i386)" },
	{ "an ELF for a machine nobody knows is refused", EHDR(e_machine), 0x7777, -ENOEXEC,
	  "another machine;" },
	{ "a kernel module is refused", EHDR(e_type), ET_REL, -ENOEXEC, "kernel module" },
	{ "a core file is refused", EHDR(e_type), ET_CORE, -ENOEXEC, "not executable" },
	{ "a program for Linux is refused", NOTES(p_type), PT_INTERP, -ENOEXEC, "a program" },
	{ "a statically linked program is refused", NOTES(p_type), PT_TLS, -ENOEXEC, "a program" },
	{ "65535 program headers are refused", EHDR(e_phnum), 65535, -EINVAL, "more than 64" },
	{ "65 program headers are refused", EHDR(e_phnum), 65, -EINVAL, "more than 64" },
	{ "program headers of another size are refused", EHDR(e_phentsize), 32, -EINVAL,
	  "wrong size" },
	{ "program headers beyond the file are refused", EHDR(e_phoff), sizeof(elf) - 167, -EINVAL,
	  "outside the file" },
	{ "program headers that wrap are refused", EHDR(e_phoff), UINT64_MAX - 8, -EINVAL,
	  "outside the file" },
	{ "an ELF without segments is refused", EHDR(e_phnum), 0, -EINVAL, "loadable segment" },
	{ "a segment larger in the file than in memory is refused", DATA(p_memsz), 0x7ff, -EINVAL,
	  "larger in the file" },
	{ "a segment that claims more than the file holds is refused", DATA(p_filesz), 0x801,
	  -EINVAL, "claims more" },
	{ "a segment that begins beyond the file is refused", DATA(p_offset), sizeof(elf) + 1,
	  -EINVAL, "claims more" },
	{ "a segment whose place in the file wraps is refused", DATA(p_offset), UINT64_MAX - 0x7f,
	  -EINVAL, "claims more" },
	{ "a segment that wraps around the address space is refused", DATA(p_memsz),
	  UINT64_MAX - DATA_GPA + 1, -EINVAL, "wraps" },
	{ "a segment below 1 MiB is refused", DATA(p_paddr), MIB - 1, -EINVAL, "below 1 MiB" },
	{ "a segment at a virtual address is refused", DATA(p_paddr), 0xffffffff82000000, -EINVAL,
	  "above 3 GiB" },
	{ "a segment that ends a byte above 3 GiB is refused", DATA(p_paddr),
	  DEVICE_GPA - 0x2000 + 1, -EINVAL, "above 3 GiB" },
	{ "a segment on the last byte of the one below is refused", DATA(p_paddr), TEXT_GPA + 0xfff,
	  -EINVAL, "overlap" },
	{ "a segment on the first byte of the one above is refused", DATA(p_paddr),
	  TEXT_GPA - 0x1fff, -EINVAL, "overlap" },
	{ "two segments at one place are refused", DATA(p_paddr), TEXT_GPA, -EINVAL, "overlap" },
	{ "a segment larger than all memory is refused", DATA(p_memsz), LOW_RAM, -ENOMEM,
	  "more memory" },
	{ "notes beyond the file are refused", NOTES(p_filesz), sizeof(elf), -EINVAL, "notes lie" },
	{ "a note that claims more than its segment is refused", PVH(nh.n_descsz), 9, -EINVAL,
	  "a note claims" },
	{ "a note whose name exceeds its segment is refused", PVH(nh.n_namesz), UINT32_MAX, -EINVAL,
	  "a note claims" },
	{ "a PVH note of 7 bytes is refused", PVH(nh.n_descsz), 7, -EINVAL, "PVH note" },
	{ "an empty PVH note is refused", PVH(nh.n_descsz), 0, -EINVAL, "PVH note" },
	{ "a PVH entry below its segment is refused", PVH(desc[0]), TEXT_GPA - 1, -EINVAL,
	  "entry" },
	{ "a PVH entry above its segment is refused", PVH(desc[0]), TEXT_GPA + 0x1000, -EINVAL,
	  "entry" },
	{ "a PVH entry among a segment's zeros is refused", PVH(desc[0]), DATA_GPA + 0x800, -EINVAL,
	  "entry" },
	{ "all eight bytes of a PVH entry count", PVH(desc[1]), 1, -EINVAL, "entry" },
};

static const struct flaw bzimage_flaws[] = {
	{ "a bzImage without a boot flag is no kernel", 0x1fe, 2, 0, -ENOEXEC, "EFI program" },
	{ "a bzImage without HdrS is no kernel", 0x202, 4, 0, -ENOEXEC, "EFI program" },
	{ "boot protocol 2.11 is refused", 0x206, 2, 0x020b, -ENOEXEC, "2.12" },
	{ "a bzImage of 32 bits is refused", 0x236, 2, 0x3e, -ENOEXEC, "32-bit" },
	{ "a setup header without init_size is refused", 0x201, 1, 0x65, -EINVAL, "lacks fields" },
	{ "a setup header longer than the zero page is refused", 0x201, 1, 0x8f, -EINVAL,
	  "zero page" },
	{ "a payload of 16 bytes more than the file is refused", 0x1f4, 4, BZ_PAYLOAD / 16 + 1,
	  -EINVAL, "claims more" },
	{ "a payload of 64 GiB is refused", 0x1f4, 4, UINT32_MAX, -EINVAL, "claims more" },
	{ "setup code beyond the file is refused", 0x1f1, 1, 255, -EINVAL, "claims more" },
	{ "a bzImage larger than its init_size is refused", 0x260, 4, BZ_PAYLOAD - 1, -EINVAL,
	  "init_size" },
	{ "a bzImage below 1 MiB is refused", 0x258, 8, MIB - 1, -EINVAL, "outside 1 MiB" },
	{ "a bzImage above 3 GiB is refused", 0x258, 8, DEVICE_GPA - BZ_INIT_SIZE + 1, -EINVAL,
	  "outside 1 MiB" },
	{ "a bzImage that wraps around is refused", 0x258, 8, UINT64_MAX, -EINVAL,
	  "outside 1 MiB" },
	{ "a bzImage that needs all memory and a byte is refused", 0x258, 8,
	  LOW_RAM - BZ_INIT_SIZE + 1, -ENOMEM, "more memory" },
	{ "a bzImage too short for its 64-bit entry is refused", 0x1f4, 4, 0x200 / 16, -EINVAL,
	  "entry" },
};

static void elf_with_flaw(void **state)
{
	const struct flaw *flaw = *state;
	struct elf file = elf;

	memcpy((uint8_t *)&file + flaw->offset, &flaw->value, flaw->size);
	refuse(&file, sizeof(file), flaw->error, flaw->phrase);
}

static void bzimage_with_flaw(void **state)
{
	const struct flaw *flaw = *state;
	uint8_t file[BZ_SIZE];

	bzimage_fill(file);
	memcpy(file + flaw->offset, &flaw->value, flaw->size);
	refuse(file, sizeof(file), flaw->error, flaw->phrase);
}

/* What is no kernel at all, by its bytes at an offset in a file of zeros. */
static const struct {
	uint16_t offset;
	uint8_t length;
	const char *bytes;
	const char *phrase;
} foreign[] = {
	{ 0, 4, "\x1f\x8b\x08\x08", "gunzip" },
	{ 0, 6, "\3757zXZ\0", "unxz" },
	{ 0, 4, "\x28\xb5\x2f\xfd", "unzstd" },
	{ 0, 4, "\x02\x21\x4c\x18", "unlz4" },
	{ 0, 10, "BZh91AY&SY", "bunzip2" },
	{ 0, 6, "070701", "--initrd" },
	{ 0, 21, "!<arch>\ndebian-binary", "package" },
	{ 0, 9, "#!/bin/sh", "script" },
	{ 0, 4, "QFI\xfb", "disk image" },
	{ 0x1fe, 2, "\x55\xaa", "disk image" },
	{ 0x438, 2, "\x53\xef", "ext file system" },
	{ 0x8001, 5, "CD001", "CD image" },
	{ 0x38, 4, "ARM\x64", "arm64" },
	{ 0, 2, "MZ", "EFI program" },
	{ 0, 0, "", "neither an ELF vmlinux nor a bzImage" },
};

static void foreign_files(void **state)
{
	static uint8_t file[0x9000];

	(void)state;
	for (size_t i = 0; i < COUNT(foreign); i++) {
		memset(file, 0, sizeof(file));
		memcpy(file + foreign[i].offset, foreign[i].bytes, foreign[i].length);
		refuse(file, sizeof(file), -ENOEXEC, foreign[i].phrase);
	}
}

static void tiny_files(void **state)
{
	(void)state;
	refuse("", 0, -ENOEXEC, "empty");
	refuse("\x7f", 1, -ENOEXEC, "neither");
	refuse("\177ELF", 4, -EINVAL, "within its header");
}

static void elf_by_pvh(void **state)
{
	struct image img;

	(void)state;
	accept(&elf, sizeof(elf), &img);
	assert_int_equal(img.kind, IMAGE_PVH);
	assert_int_equal(img.entry, PVH_ENTRY);
	assert_int_equal(img.setup_header_size, 0);
	assert_int_equal(img.cmdline_max, CMDLINE_SIZE - 1);
	assert_int_equal(img.initrd_max, UINT32_MAX);
}

static void elf_segments(void **state)
{
	struct image img;

	(void)state;
	accept(&elf, sizeof(elf), &img);
	assert_int_equal(img.nr_segments, 2);
	assert_int_equal(img.segments[0].gpa, TEXT_GPA);
	assert_int_equal(img.segments[0].offset, elf.text.p_offset);
	assert_int_equal(img.segments[0].file_size, 0x1000);
	assert_int_equal(img.segments[0].mem_size, 0x1000);
	assert_int_equal(img.segments[1].gpa, DATA_GPA);
	assert_int_equal(img.segments[1].offset, elf.data.p_offset);
	assert_int_equal(img.segments[1].file_size, 0x800);
	assert_int_equal(img.segments[1].mem_size, 0x2000);
	assert_false(img.segments[0].is_written);
	assert_true(img.segments[1].is_written);
	assert_int_equal(img.end, DATA_GPA + 0x2000);
}

static void elf_by_short_pvh(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	file.pvh.nh.n_descsz = 4;
	file.pvh.desc[1] = 0xffffffff;	      /* beyond the descriptor, so of no account */
	file.eh.e_entry = 0xffffffff81000000; /* of no account beside a PVH note */
	file.notes.p_filesz -= 4;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.kind, IMAGE_PVH);
	assert_int_equal(img.entry, PVH_ENTRY);
}

/*
 * A descriptor of 4 bytes is followed by 4 of padding where notes are aligned to 8, else by none.
 */
static void elf_by_wide_note(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	file.other.nh.n_descsz = 4;
	file.notes.p_align = 8;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.kind, IMAGE_PVH);
	assert_int_equal(img.entry, PVH_ENTRY);

	file.notes.p_align = 4;
	refuse(&file, sizeof(file), -EINVAL, "a note claims");
}

/* However many segments lie over them, notes cost no time to speak of. */
static void elf_many_notes(void **state)
{
	static uint8_t bytes[sizeof(elf) + MIB + 1];
	struct elf *file = (struct elf *)bytes;
	struct image img;

	(void)state;
	*file = elf;
	file->notes.p_offset = sizeof(elf);
	file->notes.p_filesz = MIB;
	accept(file, sizeof(bytes), &img);
	assert_int_equal(img.kind, IMAGE_LINUX64);
	file->notes.p_filesz++;
	refuse(file, sizeof(bytes), -EINVAL, "more than 1 MiB of notes");

	file->notes.p_filesz = MIB / 2;
	file->text = file->notes;
	file->text.p_filesz++;
	refuse(file, sizeof(bytes), -EINVAL, "more than 1 MiB of notes");
	file->text.p_filesz = UINT64_MAX;
	refuse(file, sizeof(bytes), -EINVAL, "more than 1 MiB of notes");
}

static void elf_rest_after_notes(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	memset(file.text_bytes, 0xff, sizeof(file.text_bytes));
	file.notes.p_filesz += sizeof(Elf64_Nhdr) - 1;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.entry, PVH_ENTRY);

	file.notes.p_filesz++;
	refuse(&file, sizeof(file), -EINVAL, "a note claims");
}

/* What makes a program of an ELF without a PVH note, in whichever of its headers. */
static void elf_with_tls(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	file.data.p_type = PT_TLS;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.kind, IMAGE_PVH);
	assert_int_equal(img.nr_segments, 1);

	memcpy(file.pvh.name, "XEN", 4);
	file.eh.e_entry = TEXT_GPA;
	refuse(&file, sizeof(file), -ENOEXEC, "a program");
}

static void elf_by_entry(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	memcpy(file.pvh.name, "XEN", 4);
	file.eh.e_entry = TEXT_GPA + 0xfff;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.kind, IMAGE_LINUX64);
	assert_int_equal(img.entry, TEXT_GPA + 0xfff);

	file.eh.e_entry = 0xffffffff81000000;
	refuse(&file, sizeof(file), -EINVAL, "physical entry");
}

static void elf_dyn(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	file.eh.e_type = ET_DYN;
	accept(&file, sizeof(file), &img);
}

static void elf_empty_segment(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	file.data.p_filesz = file.data.p_memsz = 0;
	file.data.p_paddr = 0;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.nr_segments, 1);
	assert_int_equal(img.end, TEXT_GPA + 0x1000);
}

static void elf_zeros_only(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	file.data.p_offset = sizeof(file);
	file.data.p_filesz = 0;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.nr_segments, 2);
	assert_int_equal(img.segments[1].file_size, 0);
	assert_int_equal(img.segments[1].mem_size, 0x2000);
}

static void elf_many_headers(void **state)
{
	struct {
		struct elf elf;
		Elf64_Phdr ph[64];
	} file = { .elf = elf };
	struct image img;

	(void)state;
	file.ph[63] = elf.text;
	file.elf.eh.e_phoff = offsetof(__typeof__(file), ph);
	file.elf.eh.e_phnum = 64;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.segments[0].gpa, TEXT_GPA);
}

static void elf_tight_memory(void **state)
{
	const uint64_t end = DATA_GPA + 0x2000;
	struct image img;
	const char *why;

	(void)state;
	assert_int_equal(parse(&elf, sizeof(elf), end, &img, &why), 0);
	assert_int_equal(parse(&elf, sizeof(elf), end - 1, &img, &why), -ENOMEM);
	assert_int_equal(img.end, end);
	assert_int_equal(parse(&elf, sizeof(elf), 0, &img, &why), -ENOMEM);
	assert_int_equal(img.end, end);
}

static void elf_neighbours(void **state)
{
	struct elf file = elf;
	struct image img;

	(void)state;
	file.data.p_paddr = TEXT_GPA + 0x1000;
	accept(&file, sizeof(file), &img);
	file.data.p_paddr = TEXT_GPA - 0x2000;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.segments[0].gpa, TEXT_GPA - 0x2000);
	assert_int_equal(img.end, TEXT_GPA + 0x1000);
}

static void elf_edges_of_ram(void **state)
{
	struct elf file = elf;
	struct image img;
	const char *why;

	(void)state;
	file.data.p_paddr = DEVICE_GPA - 0x2000;
	assert_int_equal(parse(&file, sizeof(file), DEVICE_GPA, &img, &why), 0);
	file.data.p_paddr = HIGH_MEM_GPA;
	assert_int_equal(parse(&file, sizeof(file), DEVICE_GPA, &img, &why), 0);
}

/* As many segments as there may be come in falling order and leave in rising order. */
static void elf_many_segments(void **state)
{
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[IMAGE_MAX_SEGMENTS + 1];
	} file = { .eh = elf.eh };
	struct image img;

	(void)state;
	for (unsigned i = 0; i <= IMAGE_MAX_SEGMENTS; i++)
		file.ph[i] = (Elf64_Phdr){ .p_type = PT_LOAD,
					   .p_paddr = (64 - i) * MIB,
					   .p_filesz = i == 3,
					   .p_memsz = MIB };
	file.eh.e_entry = (64 - 3) * MIB;
	file.eh.e_phnum = IMAGE_MAX_SEGMENTS;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.nr_segments, IMAGE_MAX_SEGMENTS);
	for (unsigned i = 0; i < IMAGE_MAX_SEGMENTS; i++)
		assert_int_equal(img.segments[i].gpa, (65 - IMAGE_MAX_SEGMENTS + i) * MIB);
	assert_int_equal(img.end, 65 * MIB);

	file.eh.e_phnum = IMAGE_MAX_SEGMENTS + 1;
	refuse(&file, sizeof(file), -EINVAL, "too many loadable segments");
}

/*
 * Eight pages of text and constants in one segment: code, three pages of padding, code, constants.
 * The section headers say that the first six pages are text; a third one may follow.
 */
struct sections {
	Elf64_Ehdr eh;
	Elf64_Phdr text, notes;
	struct note pvh;
	Elf64_Shdr sh[3];
	_Alignas(4096) uint8_t pages[8][4096];
};

static void sections_fill(struct sections *file)
{
	memset(file, 0, sizeof(*file));
	file->eh = elf.eh;
	file->eh.e_phoff = offsetof(struct sections, text);
	file->eh.e_phnum = 2;
	file->eh.e_shoff = offsetof(struct sections, sh);
	file->eh.e_shentsize = sizeof(Elf64_Shdr);
	file->eh.e_shnum = 2;
	file->text = elf.text;
	file->text.p_offset = offsetof(struct sections, pages);
	file->text.p_filesz = file->text.p_memsz = sizeof(file->pages);
	file->notes = elf.notes;
	file->notes.p_offset = offsetof(struct sections, pvh);
	file->notes.p_filesz = sizeof(struct note);
	file->pvh = elf.pvh;
	file->sh[0].sh_type = SHT_NULL;
	file->sh[1] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
				    .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
				    .sh_offset = offsetof(struct sections, pages),
				    .sh_size = 5 * 4096 + 100 };
	for (unsigned i = 0; i < sizeof(file->pages); i++)
		file->pages[i / 4096][i % 4096] = (uint8_t)(i * 7);
	memset(file->pages[1], 0xcc, 3 * 4096);
}

static void has_piece(const struct image *img, unsigned i, unsigned page, unsigned pages,
		      bool is_written)
{
	const struct image_segment *s = &img->segments[i];

	assert_int_equal(s->gpa, TEXT_GPA + page * 4096);
	assert_int_equal(s->offset, offsetof(struct sections, pages) + page * 4096);
	assert_int_equal(s->file_size, pages * 4096);
	assert_int_equal(s->mem_size, pages * 4096);
	assert_int_equal(s->is_written, is_written);
}

/* Linux patches its text, so that is read; padding and constants stay shared. */
static void elf_text_is_read_and_constants_are_shared(void **state)
{
	static struct sections file;
	struct image img;

	(void)state;
	sections_fill(&file);
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.nr_segments, 4);
	has_piece(&img, 0, 0, 1, true);
	has_piece(&img, 1, 1, 3, false);
	has_piece(&img, 2, 4, 2, true);
	has_piece(&img, 3, 6, 2, false);
	assert_int_equal(img.end, TEXT_GPA + sizeof(file.pages));
}

/* What lies between text and the next section Linux frees and poisons, page by page. */
static void elf_gap_behind_text_is_read(void **state)
{
	static struct sections file;
	struct image img;

	(void)state;
	sections_fill(&file);
	memset(file.pages[6], 0, sizeof(file.pages[6]));
	file.eh.e_shnum = 3;
	file.sh[2] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
				   .sh_flags = SHF_ALLOC,
				   .sh_offset = offsetof(struct sections, pages[7]) };
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.nr_segments, 5);
	has_piece(&img, 2, 4, 2, true);
	has_piece(&img, 3, 6, 1, true);
	has_piece(&img, 4, 7, 1, false);
}

/* What the sections say is a hint: nonsense in them changes nothing else. */
static void elf_bad_sections(void **state)
{
	static const struct {
		uint64_t offset, size, flags;
	} sections[] = {
		{ 0, 100, SHF_ALLOC },
		{ UINT64_MAX, 1, SHF_ALLOC | SHF_EXECINSTR },
		{ offsetof(struct sections, pages), UINT64_MAX, SHF_ALLOC | SHF_EXECINSTR },
		{ offsetof(struct sections, pages), sizeof(struct sections),
		  SHF_ALLOC | SHF_EXECINSTR },
		{ 0, 8, SHF_ALLOC | SHF_EXECINSTR },
		{ offsetof(struct sections, pages), 0, SHF_ALLOC | SHF_EXECINSTR },
	};
	static struct sections file;
	struct image img;

	(void)state;
	for (unsigned i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		sections_fill(&file);
		file.sh[1].sh_offset = sections[i].offset;
		file.sh[1].sh_size = sections[i].size;
		file.sh[1].sh_flags = sections[i].flags;
		accept(&file, sizeof(file), &img);
		assert_int_equal(img.nr_segments, 1);
		has_piece(&img, 0, 0, 8, false);
	}
	sections_fill(&file);
	file.eh.e_shoff = sizeof(file) - sizeof(Elf64_Shdr);
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.nr_segments, 1);
	sections_fill(&file);
	file.eh.e_shentsize = 1;
	accept(&file, sizeof(file), &img);
	assert_int_equal(img.nr_segments, 1);
}

/* More pieces than there is room for: the rest is loaded as one, and nothing is lost. */
static void elf_text_in_many_pieces(void **state)
{
	static struct {
		struct sections head;
		uint8_t pages[200][4096];
	} file;
	struct image img;
	uint64_t at = TEXT_GPA;

	(void)state;
	sections_fill(&file.head);
	for (unsigned i = 0; i < 200; i += 2)
		memset(file.pages[i], (int)i, 100);
	file.head.text.p_filesz = file.head.text.p_memsz = 208 * 4096;
	file.head.sh[1].sh_size = 208 * 4096;
	accept(&file, sizeof(file), &img);
	assert_in_range(img.nr_segments, IMAGE_MAX_SEGMENTS - 1, IMAGE_MAX_SEGMENTS);
	for (unsigned i = 0; i < img.nr_segments; i++) {
		assert_int_equal(img.segments[i].gpa, at);
		assert_int_equal(img.segments[i].offset,
				 offsetof(struct sections, pages) + at - TEXT_GPA);
		assert_int_equal(img.segments[i].file_size, img.segments[i].mem_size);
		at += img.segments[i].mem_size;
	}
	assert_int_equal(at, TEXT_GPA + 208 * 4096);
}

static void elf_truncated(void **state)
{
	struct image img;
	const char *why;

	(void)state;
	for (size_t size = 0; size < sizeof(elf); size++)
		if (parse(&elf, size, LOW_RAM, &img, &why) == 0)
			fail_msg("accepted at %zu of %zu bytes", size, sizeof(elf));
}

static void elf_unaligned(void **state)
{
	uint8_t *file = malloc(sizeof(elf) + 1);
	struct image img;
	const char *why;

	(void)state;
	assert_non_null(file);
	memcpy(file + 1, &elf, sizeof(elf));
	assert_int_equal(image_parse(file + 1, sizeof(elf), LOW_RAM, &img, &why), 0);
	free(file);
}

static void bzimage(void **state)
{
	uint8_t file[BZ_SIZE];
	struct image img;

	(void)state;
	bzimage_fill(file);
	accept(file, sizeof(file), &img);
	assert_int_equal(img.kind, IMAGE_LINUX64);
	assert_int_equal(img.entry, 16 * MIB + 0x200);
	assert_int_equal(img.end, 16 * MIB + BZ_INIT_SIZE);
	assert_int_equal(img.initrd_max, 0x7fffffff);
	assert_int_equal(img.cmdline_max, 2047);
	assert_int_equal(img.nr_segments, 1);
	assert_int_equal(img.segments[0].gpa, 16 * MIB);
	assert_int_equal(img.segments[0].offset, BZ_SETUP);
	assert_int_equal(img.segments[0].file_size, BZ_PAYLOAD);
	assert_int_equal(img.segments[0].mem_size, BZ_PAYLOAD);
}

static void bzimage_setup_header(void **state)
{
	uint8_t file[BZ_SIZE];
	struct image img;

	(void)state;
	bzimage_fill(file);
	accept(file, sizeof(file), &img);
	assert_int_equal(img.setup_header_size, 0x202 + 0x6a - 0x1f1);
	assert_memory_equal(img.setup_header, file + 0x1f1, img.setup_header_size);

	file[0x201] = 0x290 - 0x202; /* as long as may be */
	accept(file, sizeof(file), &img);
	assert_int_equal(img.setup_header_size, sizeof(img.setup_header));
	assert_memory_equal(img.setup_header, file + 0x1f1, sizeof(img.setup_header));
}

static void bzimage_four_sectors(void **state)
{
	uint8_t file[BZ_SIZE + 512];
	struct image img;

	(void)state;
	memset(file, 0, sizeof(file));
	bzimage_fill(file);
	file[0x1f1] = 0;
	accept(file, sizeof(file), &img);
	assert_int_equal(img.segments[0].offset, 5 * 512);
}

static void bzimage_oldest(void **state)
{
	uint8_t file[BZ_SIZE];
	struct image img;

	(void)state;
	bzimage_fill(file);
	file[0x206] = 0x0c;
	file[0x201] = 0x268 - 0x202; /* no kernel_info_offset */
	accept(file, sizeof(file), &img);
	assert_int_equal(img.end, 16 * MIB + BZ_INIT_SIZE);
}

static void bzimage_edges(void **state)
{
	const uint64_t lowest = MIB, highest = DEVICE_GPA - BZ_INIT_SIZE, all = BZ_PAYLOAD;
	uint8_t file[BZ_SIZE];
	struct image img;
	const char *why;

	(void)state;
	bzimage_fill(file);
	memcpy(file + 0x258, &highest, 8);
	assert_int_equal(parse(file, sizeof(file), DEVICE_GPA, &img, &why), 0);
	assert_int_equal(img.end, DEVICE_GPA);
	memcpy(file + 0x258, &lowest, 8);
	memcpy(file + 0x260, &all, 4);
	assert_int_equal(parse(file, sizeof(file), MIB + BZ_PAYLOAD, &img, &why), 0);
	assert_int_equal(img.end, MIB + BZ_PAYLOAD);
}

static void bzimage_truncated(void **state)
{
	uint8_t file[BZ_SIZE];
	struct image img;
	const char *why;

	(void)state;
	bzimage_fill(file);
	for (size_t size = 0; size < sizeof(file); size++)
		if (parse(file, size, LOW_RAM, &img, &why) == 0)
			fail_msg("accepted at %zu of %zu bytes", size, sizeof(file));
}

/* Reads a file of the stock kernel, or skips the test where there is none. */
static void *stock(const char *name, size_t *size)
{
	const char *dir = getenv("MAYFLY_STOCK");
	char path[4096];
	void *data;
	FILE *f;

	if (dir == NULL) {
		print_message("# MAYFLY_STOCK does not name the stock kernel: see rootfs/stock\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	*size = ftell(f);
	rewind(f);
	data = malloc(*size);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, *size, f), *size);
	fclose(f);
	return data;
}

static void stock_vmlinux(void **state)
{
	struct image img;
	const char *why = NULL;
	size_t size;
	void *data = stock("vmlinux", &size);

	(void)state;
	if (image_parse(data, size, LOW_RAM, &img, &why) < 0)
		fail_msg("refused: %s", why);
	assert_int_equal(img.kind, IMAGE_PVH);
	assert_in_range(img.nr_segments, 5, IMAGE_MAX_SEGMENTS - 1); /* its text is in pieces */
	assert_int_equal(img.segments[0].gpa, 16 * MIB);
	assert_true(img.segments[0].is_written);
	assert_in_range(img.entry, 16 * MIB, img.end - 1);
	assert_in_range(img.end, 40 * MIB, 120 * MIB);
	free(data);
}

static void stock_vmlinuz(void **state)
{
	struct image img;
	const char *why = NULL;
	size_t size;
	void *data = stock("vmlinuz", &size);

	(void)state;
	if (image_parse(data, size, LOW_RAM, &img, &why) < 0)
		fail_msg("refused: %s", why);
	assert_int_equal(img.kind, IMAGE_LINUX64);
	assert_int_equal(img.nr_segments, 1);
	assert_int_equal(img.entry, 16 * MIB + 0x200);
	assert_in_range(img.segments[0].file_size, size - 65536, size - 1024);
	assert_in_range(img.end, 40 * MIB, 120 * MIB);
	assert_int_equal(img.cmdline_max, 2047);
	assert_int_equal(img.initrd_max, 0x7fffffff);
	free(data);
}

static const struct CMUnitTest tests[] = {
	{ .name = "an ELF with a PVH note is entered by it", .test_func = elf_by_pvh },
	{ .name = "an ELF's segments come sorted, their zeros counted", .test_func = elf_segments },
	{ .name = "a PVH note may have 4 bytes", .test_func = elf_by_short_pvh },
	{ .name = "notes may be aligned to 8 bytes", .test_func = elf_by_wide_note },
	{ .name = "notes are 1 MiB at most, all together", .test_func = elf_many_notes },
	{ .name = "a rest too short for a note is passed over", .test_func = elf_rest_after_notes },
	{ .name = "a kernel with thread-local storage has a PVH note", .test_func = elf_with_tls },
	{ .name = "an ELF without a PVH note is entered at e_entry", .test_func = elf_by_entry },
	{ .name = "a position-independent kernel is accepted", .test_func = elf_dyn },
	{ .name = "an empty segment is passed over", .test_func = elf_empty_segment },
	{ .name = "a segment of zeros only is accepted", .test_func = elf_zeros_only },
	{ .name = "64 program headers are accepted", .test_func = elf_many_headers },
	{ .name = "a kernel that needs a byte more than there is, says how much",
	  .test_func = elf_tight_memory },
	{ .name = "segments may touch", .test_func = elf_neighbours },
	{ .name = "a segment may begin at 1 MiB or end at 3 GiB", .test_func = elf_edges_of_ram },
	{ .name = "as many segments as there is room for are accepted, and one more is refused",
	  .test_func = elf_many_segments },
	{ .name = "text, which Linux patches, is read; padding and constants are shared",
	  .test_func = elf_text_is_read_and_constants_are_shared },
	{ .name = "the gap behind text, which Linux poisons, is read",
	  .test_func = elf_gap_behind_text_is_read },
	{ .name = "section headers are a hint: nonsense in them changes nothing",
	  .test_func = elf_bad_sections },
	{ .name = "text in more pieces than there is room for loses nothing",
	  .test_func = elf_text_in_many_pieces },
	{ .name = "an ELF cut at any byte is refused", .test_func = elf_truncated },
	{ .name = "an ELF may lie at an odd address", .test_func = elf_unaligned },
	{ .name = "a bzImage goes to pref_address and is entered 0x200 above",
	  .test_func = bzimage },
	{ .name = "a bzImage's setup header is copied whole", .test_func = bzimage_setup_header },
	{ .name = "setup_sects of 0 means 4", .test_func = bzimage_four_sectors },
	{ .name = "boot protocol 2.12 suffices", .test_func = bzimage_oldest },
	{ .name = "a bzImage may begin at 1 MiB or end at 3 GiB", .test_func = bzimage_edges },
	{ .name = "a bzImage cut at any byte is refused", .test_func = bzimage_truncated },
	{ .name = "what is no kernel is named", .test_func = foreign_files },
	{ .name = "files of 0, 1 and 4 bytes are refused", .test_func = tiny_files },
	{ .name = "Debian's vmlinux is entered by PVH at 16 MiB and up",
	  .test_func = stock_vmlinux },
	{ .name = "Debian's vmlinuz goes to 16 MiB", .test_func = stock_vmlinuz },
};

int main(void)
{
	struct CMUnitTest all[COUNT(tests) + COUNT(elf_flaws) + COUNT(bzimage_flaws)];
	size_t n = COUNT(tests);

	memcpy(all, tests, sizeof(tests));
	for (size_t i = 0; i < COUNT(elf_flaws); i++)
		all[n++] = (struct CMUnitTest){ .name = elf_flaws[i].name,
						.test_func = elf_with_flaw,
						.initial_state = (void *)&elf_flaws[i] };
	for (size_t i = 0; i < COUNT(bzimage_flaws); i++)
		all[n++] = (struct CMUnitTest){ .name = bzimage_flaws[i].name,
						.test_func = bzimage_with_flaw,
						.initial_state = (void *)&bzimage_flaws[i] };
	return cmocka_run_group_tests_name("image", all, NULL, NULL);
}
