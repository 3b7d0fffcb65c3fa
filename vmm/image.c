// SPDX-License-Identifier: Apache-2.0
/*
 * Reads a kernel file: an ELF vmlinux (entered by its PVH note, else by its 64-bit entry) or a
 * bzImage. boot.c calls it once per microVM, with the file mapped. It trusts no number in the file,
 * allocates nothing and never looks outside the range it is given; what it is given by mistake it
 * names. Headers are copied out before they are checked, so a file that changes meanwhile does no
 * harm. Formats: the ELF gABI, Xen's public/elfnote.h, and Documentation/x86/boot.rst of Linux.
 */
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "layout.h"

/* Xen's public/elfnote.h: the guest-physical address of the 32-bit PVH entry. */
#define XEN_ELFNOTE_PHYS32_ENTRY 18u

/* A kernel has about five; the limit bounds the work that a hostile file can ask for. */
#define ELF_MAX_PHNUM 64u
#define ELF_MAX_NOTES 0x100000u /* bytes, of all segments; a kernel has less than a page */

#define PAGE_SIZE  4096ul
#define CACHE_LINE 64u

/* The setup header, by offsets in the file: fields of boot.rst that matter here. */
#define HDR_SETUP_SECTS	    0x1f1u
#define HDR_SYSSIZE	    0x1f4u
#define HDR_BOOT_FLAG	    0x1feu
#define HDR_JUMP_OFFSET	    0x201u
#define HDR_MAGIC	    0x202u
#define HDR_VERSION	    0x206u
#define HDR_INITRD_ADDR_MAX 0x22cu
#define HDR_XLOADFLAGS	    0x236u
#define HDR_CMDLINE_SIZE    0x238u
#define HDR_PREF_ADDRESS    0x258u
#define HDR_INIT_SIZE	    0x260u
#define HDR_END_2_12	    0x268u /* protocol 2.12 has at least the fields below */

#define BOOT_FLAG	    0xaa55u
#define VERSION_2_12	    0x020cu
#define XLF_KERNEL_64	    0x1u
#define SECTOR_SIZE	    512u
#define DEFAULT_SETUP_SECTS 4u	   /* what a setup_sects of 0 means */
#define ENTRY_64	    0x200u /* the 64-bit entry, from the load address */

#define X86_ONLY "mayfly boots kernels for x86-64"

/* Every answer but yes: the error and the phrase that completes "FILE: ...". */
struct fault {
	int error;
	const char *why;
};

static const struct fault
	empty = { -ENOEXEC, "an empty file" },
	unknown = { -ENOEXEC, "not a kernel: neither an ELF vmlinux nor a bzImage (vmlinuz)" },
	no_memory = { -ENOMEM, "needs more memory than the guest has" },
	bad_entry = { -EINVAL, "a malformed kernel: its physical entry lies outside its segments" };

static const struct fault
	short_elf = { -EINVAL, "a truncated ELF: it ends within its header" },
	big_endian = { -ENOEXEC, "an ELF for another machine, big-endian; " X86_ONLY },
	other_machine = { -ENOEXEC, "an ELF for another machine; " X86_ONLY },
	elf32 = { -ENOEXEC, "a 32-bit ELF; " X86_ONLY },
	object_file = { -ENOEXEC, "not a kernel: an object file or kernel module" },
	not_executable = { -ENOEXEC, "not a kernel: an ELF that is not executable" },
	program = { -ENOEXEC, "not a kernel: a program for Linux" },
	many_headers = { -EINVAL, "a malformed ELF: it has more than 64 program headers" },
	bad_phentsize = { -EINVAL, "a malformed ELF: its program headers have a wrong size" },
	cut_headers = { -EINVAL, "a truncated ELF: its program headers lie outside the file" },
	no_segment = { -EINVAL, "an ELF without a loadable segment; give a linked vmlinux" },
	many_segments = { -EINVAL, "a malformed ELF: it has too many loadable segments" },
	cut_segment = { -EINVAL, "a truncated ELF: a segment claims more than the file holds" },
	shrunk = { -EINVAL, "a malformed ELF: a segment is larger in the file than in memory" },
	wraps = { -EINVAL, "a malformed ELF: a segment wraps around the address space" },
	overlap = { -EINVAL, "a malformed ELF: its segments overlap" },
	too_low = { -EINVAL, "an ELF with a segment below 1 MiB; link it for 1 MiB or above" },
	too_high = { -EINVAL, "an ELF with a segment above 3 GiB; link it for physical addresses" },
	long_notes = { -EINVAL, "a malformed ELF: it has more than 1 MiB of notes" },
	cut_notes = { -EINVAL, "a truncated ELF: its notes lie outside the file" },
	bad_note = { -EINVAL, "a malformed ELF: a note claims more than its segment holds" },
	bad_pvh_note = { -EINVAL, "a malformed ELF: its PVH note holds neither 4 nor 8 bytes" };

static const struct fault
	short_bzimage = { -EINVAL, "a truncated bzImage: it ends within its setup header" },
	long_setup = { -EINVAL, "a malformed bzImage: its setup header exceeds the zero page" },
	short_setup = { -EINVAL, "a malformed bzImage: its setup header lacks fields" },
	old_protocol = { -ENOEXEC, "a bzImage older than Linux 3.8 (boot protocol below 2.12)" },
	bzimage32 = { -ENOEXEC, "a 32-bit bzImage; " X86_ONLY },
	cut_bzimage = { -EINVAL, "a truncated bzImage: it claims more than the file holds" },
	bad_init_size = { -EINVAL, "a malformed bzImage: its init_size is below its own size" },
	bad_place = { -EINVAL, "a malformed bzImage: it wants to lie outside 1 MiB to 3 GiB" };

#define UNPACK "unpack it first, with "
#define INSIDE "give the vmlinuz inside it"

/* What people hand over instead of a kernel, told by its first bytes. The first match counts. */
static const struct {
	uint16_t offset;
	uint8_t length;
	const char *magic;
	struct fault fault;
} mistakes[] = {
	{ 0, 2, "\x1f\x8b", { -ENOEXEC, "not a kernel: gzip data; " UNPACK "gunzip" } },
	{ 0, 6, "\3757zXZ\0", { -ENOEXEC, "not a kernel: xz data; " UNPACK "unxz" } },
	{ 0, 4, "\x28\xb5\x2f\xfd", { -ENOEXEC, "not a kernel: zstd data; " UNPACK "unzstd" } },
	{ 0, 4, "\x02\x21\x4c\x18", { -ENOEXEC, "not a kernel: lz4 data; " UNPACK "unlz4" } },
	{ 0, 4, "\x04\x22\x4d\x18", { -ENOEXEC, "not a kernel: lz4 data; " UNPACK "unlz4" } },
	{ 0, 3, "BZh", { -ENOEXEC, "not a kernel: bzip2 data; " UNPACK "bunzip2" } },
	{ 0, 3, "\x5d\0\0", { -ENOEXEC, "not a kernel: lzma data; " UNPACK "unlzma" } },
	{ 0, 5, "\x89LZO\0", { -ENOEXEC, "not a kernel: lzop data; " UNPACK "lzop -d" } },
	{ 0, 5, "07070", { -ENOEXEC, "not a kernel: a cpio archive; give an initrd as --initrd" } },
	{ 0, 7, "!<arch>", { -ENOEXEC, "not a kernel: a package or library; " INSIDE } },
	{ 0, 4, "\xed\xab\xee\xdb", { -ENOEXEC, "not a kernel: a package; " INSIDE } },
	{ 0, 4, "QFI\xfb", { -ENOEXEC, "not a kernel: a disk image; " INSIDE } },
	{ 0, 4, "hsqs", { -ENOEXEC, "not a kernel: a squashfs image; " INSIDE } },
	{ 0, 4, "\x27\x05\x19\x56", { -ENOEXEC, "a U-Boot image; " X86_ONLY } },
	{ 0, 2, "#!", { -ENOEXEC, "not a kernel: a script" } },
	{ 0x38, 4, "ARM\x64", { -ENOEXEC, "a kernel for arm64; " X86_ONLY } },
	{ 0x38, 4, "RSC\x05", { -ENOEXEC, "a kernel for RISC-V; " X86_ONLY } },
	{ 0, 2, "MZ", { -ENOEXEC, "not a kernel: an EFI program; if a unified one, " INSIDE } },
	{ 0x101, 5, "ustar", { -ENOEXEC, "not a kernel: a tar archive; " INSIDE } },
	{ 0x438, 2, "\x53\xef", { -ENOEXEC, "not a kernel: an ext file system; " INSIDE } },
	{ 0x8001, 5, "CD001", { -ENOEXEC, "not a kernel: a CD image; " INSIDE } },
	{ 0x1fe, 2, "\x55\xaa", { -ENOEXEC, "not a kernel: a disk image; " INSIDE } },
};

/* Machines whose kernels a user may hold by mistake. */
static const struct {
	uint16_t machine;
	struct fault fault;
} machines[] = {
	{ EM_386, { -ENOEXEC, "an ELF for another machine (i386); " X86_ONLY } },
	{ EM_ARM, { -ENOEXEC, "an ELF for another machine (arm); " X86_ONLY } },
	{ EM_AARCH64, { -ENOEXEC, "an ELF for another machine (arm64); " X86_ONLY } },
	{ EM_RISCV, { -ENOEXEC, "an ELF for another machine (RISC-V); " X86_ONLY } },
	{ EM_PPC64, { -ENOEXEC, "an ELF for another machine (ppc64); " X86_ONLY } },
	{ EM_S390, { -ENOEXEC, "an ELF for another machine (s390); " X86_ONLY } },
};

struct file {
	const uint8_t *data;
	uint64_t size;
};

/* Whether the file has `length` bytes at `offset`; no sum here can wrap. */
static bool file_holds(const struct file *f, uint64_t offset, uint64_t length)
{
	return offset <= f->size && length <= f->size - offset;
}

static bool file_matches(const struct file *f, uint64_t offset, const void *bytes, size_t length)
{
	return file_holds(f, offset, length) && memcmp(f->data + offset, bytes, length) == 0;
}

static bool in_file_bytes(const struct image *img, uint64_t gpa)
{
	for (unsigned i = 0; i < img->nr_segments; i++) {
		const struct image_segment *s = &img->segments[i];

		if (gpa >= s->gpa && gpa - s->gpa < s->file_size)
			return true;
	}
	return false;
}

/* Adds a checked segment where it belongs in the order; refuses what lies in another's place. */
static const struct fault *segment_add(struct image *img, const struct image_segment *new)
{
	uint64_t end = new->gpa + new->mem_size;
	unsigned i = img->nr_segments;

	if (img->nr_segments == IMAGE_MAX_SEGMENTS)
		return &many_segments;
	while (i > 0 && img->segments[i - 1].gpa > new->gpa) {
		img->segments[i] = img->segments[i - 1];
		i--;
	}
	img->segments[i] = *new;
	img->nr_segments++;
	if (i > 0 && img->segments[i - 1].gpa + img->segments[i - 1].mem_size > new->gpa)
		return &overlap;
	if (i + 1 < img->nr_segments && img->segments[i + 1].gpa < end)
		return &overlap;
	if (img->end < end)
		img->end = end;
	return NULL;
}

static const struct fault *elf_load(const struct file *f, const Elf64_Phdr *ph, struct image *img)
{
	struct image_segment segment = { .gpa = ph->p_paddr,
					 .offset = ph->p_offset,
					 .file_size = ph->p_filesz,
					 .mem_size = ph->p_memsz,
					 .is_written = ph->p_flags & PF_W };

	if (ph->p_filesz > ph->p_memsz)
		return &shrunk;
	if (!file_holds(f, ph->p_offset, ph->p_filesz))
		return &cut_segment;
	if (ph->p_memsz == 0)
		return NULL;
	if (ph->p_paddr + ph->p_memsz < ph->p_paddr)
		return &wraps;
	if (ph->p_paddr < HIGH_MEM_GPA)
		return &too_low;
	if (ph->p_paddr + ph->p_memsz > DEVICE_GPA)
		return &too_high;
	return segment_add(img, &segment);
}

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) & -alignment;
}

/* Cuts segment i in two at file offset `at`, which lies inside; there has to be room. */
static void segment_cut(struct image *img, unsigned i, uint64_t at)
{
	struct image_segment *s = &img->segments[i];
	const uint64_t size = at - s->offset;

	memmove(s + 1, s, (img->nr_segments++ - i) * sizeof(*s));
	s[0].file_size = s[0].mem_size = size;
	s[1].gpa += size;
	s[1].offset += size;
	s[1].file_size -= size;
	s[1].mem_size -= size;
}

/*
 * One byte over and over, by a word of each cache line: kernels have megabytes of it, and a page
 * that is taken for it is but copied later.
 */
static bool is_padding(const uint8_t *page)
{
	const uint64_t word = page[0] * 0x0101010101010101ull;

	for (unsigned i = 0; i < PAGE_SIZE; i += CACHE_LINE)
		if (memcmp(page + i, &word, sizeof(word)) != 0)
			return false;
	return true;
}

/* The end of what is not padding, by whole pages of the file, in [at, to). */
static uint64_t code_end(const struct file *f, uint64_t at, uint64_t to)
{
	while (at < to && !(to - at >= PAGE_SIZE && is_padding(f->data + at)))
		at += PAGE_SIZE;
	return at < to ? at : to;
}

/* File bytes [at, end) of segment i will be written. Returns the index of what follows them. */
static unsigned mark_written(struct image *img, unsigned i, uint64_t at, uint64_t end)
{
	if (at > img->segments[i].offset)
		segment_cut(img, i++, at);
	if (end < img->segments[i].offset + img->segments[i].file_size)
		segment_cut(img, i, end);
	img->segments[i].is_written = true;
	return i + 1;
}

/*
 * Of segment i, file bytes [at, to) are text, which is written but for the padding in it, and those
 * up to `gap_end` are nothing: Linux frees them, and poisons them for that.
 */
static void mark_text(const struct file *f, struct image *img, unsigned i, uint64_t at, uint64_t to,
		      uint64_t gap_end)
{
	while (at < gap_end && img->nr_segments + 2 <= IMAGE_MAX_SEGMENTS) { /* of one, three */
		const uint64_t end = at < to ? code_end(f, at, to) : gap_end;

		if (end > at)
			i = mark_written(img, i, at, end);
		at = end > at ? end : at + PAGE_SIZE;
	}
}

static bool is_text(const Elf64_Shdr *sh)
{
	const uint64_t flags = SHF_ALLOC | SHF_EXECINSTR;

	return (sh->sh_flags & flags) == flags;
}

/*
 * Linux patches its text while it boots: returns, retpolines, alternatives, lock prefixes, nearly
 * in every page. Where it lies is told by its section, the first of its kind, and where it ends by
 * the next one. That is a hint: a file without sections, or with nonsense in them, is loaded as its
 * segments say.
 */
static void elf_text(const struct file *f, const Elf64_Ehdr *eh, struct image *img)
{
	Elf64_Shdr sh = { 0 }, next = { 0 };
	uint64_t from, to, gap_end;

	if (eh->e_shentsize != sizeof(sh) ||
	    !file_holds(f, eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(sh)))
		return;
	for (unsigned i = 0; i < eh->e_shnum && !is_text(&sh); i++) {
		memcpy(&sh, f->data + eh->e_shoff + i * sizeof(sh), sizeof(sh));
		if (i + 1 < eh->e_shnum)
			memcpy(&next, f->data + eh->e_shoff + (i + 1) * sizeof(next), sizeof(next));
	}
	if (!is_text(&sh) || !file_holds(f, sh.sh_offset, sh.sh_size))
		return;
	from = sh.sh_offset & -PAGE_SIZE;
	to = align_up(sh.sh_offset + sh.sh_size, PAGE_SIZE);
	gap_end = next.sh_offset & -PAGE_SIZE;
	for (unsigned i = 0; i < img->nr_segments; i++) {
		const struct image_segment *s = &img->segments[i];
		const uint64_t end = s->offset + s->file_size;

		if (s->is_written || (s->gpa | s->offset) % PAGE_SIZE || from < s->offset ||
		    from >= end)
			continue;
		to = to < end ? to : end;
		mark_text(f, img, i, from, to, gap_end > to && gap_end < end ? gap_end : to);
		return;
	}
}

/* The descriptor of a PVH note is the entry's address, in 4 or 8 bytes. */
static const struct fault *elf_pvh_entry(const uint8_t *desc, uint32_t size, struct image *img)
{
	if (size != 4 && size != 8)
		return &bad_pvh_note;
	img->kind = IMAGE_PVH;
	img->entry = 0;
	memcpy(&img->entry, desc, size);
	return NULL;
}

/* Walks the notes of a PT_NOTE segment. Offsets stay below 2^34 past the segment's start. */
static const struct fault *elf_notes(const struct file *f, const Elf64_Phdr *ph, struct image *img)
{
	const uint64_t alignment = ph->p_align == 8 ? 8 : 4;
	const uint8_t *notes;
	uint64_t at = 0;

	if (!file_holds(f, ph->p_offset, ph->p_filesz))
		return &cut_notes;
	notes = f->data + ph->p_offset;
	while (at < ph->p_filesz && ph->p_filesz - at >= sizeof(Elf64_Nhdr)) {
		const uint64_t name = at + sizeof(Elf64_Nhdr);
		const struct fault *fault;
		Elf64_Nhdr nh;
		uint64_t desc;

		memcpy(&nh, notes + at, sizeof(nh));
		desc = align_up(name + nh.n_namesz, alignment);
		if (desc + nh.n_descsz > ph->p_filesz)
			return &bad_note;
		if (nh.n_type == XEN_ELFNOTE_PHYS32_ENTRY && nh.n_namesz == sizeof("Xen") &&
		    memcmp(notes + name, "Xen", sizeof("Xen")) == 0) {
			fault = elf_pvh_entry(notes + desc, nh.n_descsz, img);
			if (fault)
				return fault;
		}
		at = align_up(desc + nh.n_descsz, alignment);
	}
	return NULL;
}

static const struct fault *elf_machine(const Elf64_Ehdr *eh)
{
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
		if (eh->e_machine == machines[i].machine)
			return &machines[i].fault;
	return &other_machine;
}

static const struct fault *elf_header(const struct file *f, Elf64_Ehdr *eh)
{
	if (f->size < sizeof(*eh))
		return &short_elf;
	memcpy(eh, f->data, sizeof(*eh));
	if (eh->e_ident[EI_DATA] != ELFDATA2LSB)
		return &big_endian;
	if (eh->e_machine != EM_X86_64)
		return elf_machine(eh);
	if (eh->e_ident[EI_CLASS] != ELFCLASS64)
		return &elf32;
	if (eh->e_type == ET_REL)
		return &object_file;
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return &not_executable;
	if (eh->e_phnum > ELF_MAX_PHNUM)
		return &many_headers;
	if (eh->e_phnum != 0 && eh->e_phentsize != sizeof(Elf64_Phdr))
		return &bad_phentsize;
	if (!file_holds(f, eh->e_phoff, (uint64_t)eh->e_phnum * sizeof(Elf64_Phdr)))
		return &cut_headers;
	return NULL;
}

static Elf64_Phdr elf_phdr(const struct file *f, const Elf64_Ehdr *eh, unsigned i)
{
	Elf64_Phdr ph;

	memcpy(&ph, f->data + eh->e_phoff + i * sizeof(ph), sizeof(ph));
	return ph;
}

/*
 * A program for Linux would pass for a kernel if its addresses allow, and die wordlessly: it has an
 * interpreter or thread-local storage, which of kernels only those with a PVH note may have.
 */
static const struct fault *elf_kind(const struct file *f, const Elf64_Ehdr *eh, struct image *img)
{
	const struct fault *fault = NULL;
	uint64_t room = ELF_MAX_NOTES; /* segments may all lie over the same bytes */
	bool program_like = false;

	for (unsigned i = 0; i < eh->e_phnum && !fault; i++) {
		const Elf64_Phdr ph = elf_phdr(f, eh, i);

		if (ph.p_type == PT_NOTE) {
			fault = ph.p_filesz > room ? &long_notes : elf_notes(f, &ph, img);
			room -= ph.p_filesz;
		}
		program_like |= ph.p_type == PT_INTERP || ph.p_type == PT_TLS;
	}
	if (!fault && program_like && img->kind != IMAGE_PVH)
		fault = &program;
	return fault;
}

static const struct fault *elf_parse(const struct file *f, struct image *img)
{
	Elf64_Ehdr eh;
	const struct fault *fault = elf_header(f, &eh);

	if (fault)
		return fault;
	img->kind = IMAGE_LINUX64;
	img->entry = eh.e_entry;
	img->initrd_max = UINT32_MAX;
	img->cmdline_max = CMDLINE_SIZE - 1;
	fault = elf_kind(f, &eh, img);
	for (unsigned i = 0; i < eh.e_phnum && !fault; i++) {
		const Elf64_Phdr ph = elf_phdr(f, &eh, i);

		if (ph.p_type == PT_LOAD)
			fault = elf_load(f, &ph, img);
	}
	if (!fault && img->nr_segments == 0)
		fault = &no_segment;
	if (!fault)
		elf_text(f, &eh, img);
	return fault;
}

/* A field of the setup header, of `size` bytes; one beyond the header's end reads as zero. */
static uint64_t header_field(const struct image *img, unsigned offset, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, &img->setup_header[offset - IMAGE_SETUP_HEADER], size);
	return value;
}

/* The header's length is the distance that its first instruction, a short jump, jumps. */
static const struct fault *bzimage_header(const struct file *f, struct image *img)
{
	uint32_t end = HDR_MAGIC + f->data[HDR_JUMP_OFFSET];

	if (end > IMAGE_SETUP_HEADER + IMAGE_SETUP_HEADER_MAX)
		return &long_setup;
	if (!file_holds(f, IMAGE_SETUP_HEADER, end - IMAGE_SETUP_HEADER))
		return &short_bzimage;
	img->setup_header_size = end - IMAGE_SETUP_HEADER;
	memcpy(img->setup_header, f->data + IMAGE_SETUP_HEADER, img->setup_header_size);
	if (header_field(img, HDR_VERSION, 2) < VERSION_2_12)
		return &old_protocol;
	if (end < HDR_END_2_12)
		return &short_setup;
	if (!(header_field(img, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return &bzimage32;
	return NULL;
}

/*
 * The protected-mode part goes to pref_address, where the decompressor would move a lower one
 * anyway; from there up it works in init_size bytes.
 */
static const struct fault *bzimage_parse(const struct file *f, struct image *img)
{
	struct image_segment *s = &img->segments[0];
	uint32_t setup_sects, init_size;
	const struct fault *fault = bzimage_header(f, img);

	if (fault)
		return fault;
	setup_sects = header_field(img, HDR_SETUP_SECTS, 1);
	init_size = header_field(img, HDR_INIT_SIZE, 4);
	s->gpa = header_field(img, HDR_PREF_ADDRESS, 8);
	s->offset = (1 + (setup_sects ? setup_sects : DEFAULT_SETUP_SECTS)) * SECTOR_SIZE;
	s->file_size = header_field(img, HDR_SYSSIZE, 4) * 16;
	s->mem_size = s->file_size;
	if (!file_holds(f, s->offset, s->file_size))
		return &cut_bzimage;
	if (s->file_size > init_size)
		return &bad_init_size;
	if (s->gpa < HIGH_MEM_GPA || s->gpa >= DEVICE_GPA || init_size > DEVICE_GPA - s->gpa)
		return &bad_place;
	img->nr_segments = 1;
	img->kind = IMAGE_LINUX64;
	img->entry = s->gpa + ENTRY_64;
	img->end = s->gpa + init_size;
	img->initrd_max = header_field(img, HDR_INITRD_ADDR_MAX, 4);
	img->cmdline_max = header_field(img, HDR_CMDLINE_SIZE, 4);
	return NULL;
}

static bool is_bzimage(const struct file *f)
{
	const uint16_t flag = BOOT_FLAG;

	return file_matches(f, HDR_BOOT_FLAG, &flag, sizeof(flag)) &&
	       file_matches(f, HDR_MAGIC, "HdrS", 4) && file_holds(f, HDR_VERSION, 2);
}

static const struct fault *mistaken(const struct file *f)
{
	if (f->size == 0)
		return &empty;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++)
		if (file_matches(f, mistakes[i].offset, mistakes[i].magic, mistakes[i].length))
			return &mistakes[i].fault;
	return &unknown;
}

int image_parse(const void *data, size_t size, uint64_t low_ram, struct image *img,
		const char **why)
{
	const struct file f = { .data = data, .size = size };
	const struct fault *fault;

	memset(img, 0, sizeof(*img));
	if (file_matches(&f, 0, ELFMAG, SELFMAG))
		fault = elf_parse(&f, img);
	else if (is_bzimage(&f))
		fault = bzimage_parse(&f, img);
	else
		fault = mistaken(&f);
	if (!fault && !in_file_bytes(img, img->entry))
		fault = &bad_entry;
	if (!fault && img->end > low_ram)
		fault = &no_memory;
	if (!fault)
		return 0;
	*why = fault->why;
	return fault->error;
}
