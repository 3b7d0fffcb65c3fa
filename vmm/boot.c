// SPDX-License-Identifier: Apache-2.0
/*
 * Direct boot. The kernel file is the user's, who may have it from anyone: image.c has checked
 * every number in it before anything here acts on one. Next: cpu.c enters what lies ready.
 */
#include "boot.h"
#include "acpi.h"
#include "log.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_SIZE  4096ul
#define KERNEL_MAX (1ull << 31) /* larger is no kernel; keeps the parser's mapping bounded */

#define E820_RAM      1u
#define E820_RESERVED 2u

static const char *kind_of(mode_t mode)
{
	return S_ISDIR(mode)	? "is a directory"
	       : S_ISFIFO(mode) ? "is a FIFO; give a regular file"
				: "is not a regular file";
}

/* Opens a regular file for reading; *size is in bytes. A FIFO or device must not block or act. */
static int open_file(const char *path, int open_fd, int *fd, uint64_t *size)
{
	struct stat st;

	*fd = config_open(path, open_fd, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return fail(-errno, "%s", path);
	if (fstat(*fd, &st))
		return fail(-errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return fail(0, "%s: %s", path, kind_of(st.st_mode));
	if (st.st_size == 0)
		return fail(0, "%s: is empty", path);
	*size = (uint64_t)st.st_size;
	return 0;
}

/*
 * By how it begins, as Linux looks (lib/decompress.c, init/initramfs.c): where that is wrong it
 * unpacks nothing of what comes behind it either.
 */
static bool is_initramfs(int fd)
{
	static const uint8_t begins[][2] = {
		{ '0', '7' },	/* cpio, newc */
		{ 0x1f, 0x8b }, /* gzip */
		{ 0x1f, 0x9e }, /* gzip, old */
		{ 'B', 'Z' },	/* bzip2 */
		{ 0x5d, 0 },	/* lzma */
		{ 0xfd, '7' },	/* xz */
		{ 0x89, 'L' },	/* lzo */
		{ 0x02, 0x21 }, /* lz4 */
		{ 0x28, 0xb5 }, /* zstd */
	};
	uint8_t first[2] = { 0xff };

	if (pread(fd, first, sizeof(first), 0) > 0 && first[0] == 0) /* zeros are passed over */
		return true;
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (!memcmp(first, begins[i], sizeof(first)))
			return true;
	return false;
}

static int open_kernel(struct boot *boot, int open_fd, uint64_t low_ram)
{
	const char *path = boot->kernel_path;
	const char *why = NULL;
	uint64_t size = 0;
	void *data;
	int err = open_file(path, open_fd, &boot->kernel_fd, &size);

	if (err)
		return err;
	if (size > KERNEL_MAX)
		return fail(0, "%s: not a kernel: larger than 2 GiB", path);
	data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, boot->kernel_fd, 0);
	if (data == MAP_FAILED)
		return fail(-errno, "%s", path);
	err = image_parse(data, size, low_ram, &boot->image, &why);
	munmap(data, size);
	if (err == -ENOMEM)
		fail(0, "%s: %s: give --mem %lluM or more", path, why,
		     (unsigned long long)((boot->image.end + (1 << 20) - 1) >> 20));
	else if (err)
		fail(0, "%s: %s", path, why);
	return err;
}

static uint64_t initrd_top(const struct image *image, uint64_t low_ram)
{
	return low_ram < image->initrd_max ? low_ram : image->initrd_max + 1;
}

/*
 * Where an initrd of `size` bytes goes; 0: nowhere. Right behind the kernel: it is mapped, so the
 * 2 MiB around it are no huge page, and those at the top of memory Linux fills first.
 */
static uint64_t initrd_gpa(const struct image *image, uint64_t low_ram, uint64_t size)
{
	const uint64_t top = initrd_top(image, low_ram);
	const uint64_t gpa = (image->end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);

	return gpa <= top && size <= top - gpa ? gpa : 0;
}

/* More memory helps only below the device hole, and where the kernel looks for an initrd. */
static int refuse_size(const struct image *image, const char *what, uint64_t size)
{
	const uint64_t top = initrd_top(image, DEVICE_GPA);
	const uint64_t gpa = initrd_gpa(image, DEVICE_GPA, size);

	if (gpa)
		return fail(0,
			    "%s: %llu MiB do not fit beside the kernel: give --mem %lluM or more",
			    what, (unsigned long long)(size >> 20),
			    (unsigned long long)((gpa + size + (1 << 20) - 1) >> 20));
	return fail(0, "%s: %llu MiB do not fit between the kernel and %llu MiB, the highest place",
		    what, (unsigned long long)(size >> 20), (unsigned long long)(top >> 20));
}

static uint64_t low_ram_of(const struct vm_config *config)
{
	return config->mem_size < DEVICE_GPA ? config->mem_size : DEVICE_GPA;
}

/* Where the extra archive begins, behind the initrd: zeros to a multiple of 4, as the kernel wants.
 * Between the two 4 zeros more: what `lz4 -l` makes has no end but a block of size 0. */
static uint64_t extra_offset(const struct boot *boot)
{
	const uint64_t padded = (boot->initrd_size + 3) & ~3ull;

	return padded && boot->extra_size ? padded + 4 : padded;
}

int boot_open(struct boot *boot, const struct vm_config *config, const uint8_t *extra,
	      uint64_t extra_size)
{
	uint64_t size;
	int err;

	*boot = (struct boot){ .kernel_path = config->kernel,
			       .initrd_path = config->initrd,
			       .kernel_fd = -1,
			       .initrd_fd = -1,
			       .extra = extra,
			       .extra_size = extra_size };
	err = open_kernel(boot, config->kernel_fd, low_ram_of(config));
	if (err)
		return err;
	if (strlen(config->cmdline) > boot->image.cmdline_max)
		return fail(0, "command line: %zu bytes; %s takes %u", strlen(config->cmdline),
			    boot->kernel_path, boot->image.cmdline_max);
	if (config->initrd)
		err = open_file(config->initrd, config->initrd_fd, &boot->initrd_fd,
				&boot->initrd_size);
	if (err)
		return err;
	if (config->initrd && extra_size && !is_initramfs(boot->initrd_fd))
		return fail(0,
			    "%s: not an initrd that a command can be added to: neither a cpio "
			    "archive nor a compressed one",
			    config->initrd);
	if (config->initrd && !initrd_gpa(&boot->image, low_ram_of(config), boot->initrd_size))
		return refuse_size(&boot->image, config->initrd, boot->initrd_size);
	size = extra_offset(boot) + extra_size;
	if (size && !initrd_gpa(&boot->image, low_ram_of(config), size))
		return refuse_size(&boot->image, "initrd and job", size);
	return 0;
}

void boot_close(struct boot *boot)
{
	if (boot->kernel_fd >= 0)
		close(boot->kernel_fd);
	if (boot->initrd_fd >= 0)
		close(boot->initrd_fd);
	boot->kernel_fd = boot->initrd_fd = -1;
}

static int load_kernel(const struct boot *boot, const struct mem *mem)
{
	for (unsigned i = 0; i < boot->image.nr_segments; i++) {
		const struct image_segment *s = &boot->image.segments[i];
		/*
		 * Text and constants are mapped and shared. What is written is read, into pages
		 * that may be huge, instead of being copied by a fault for each 4 KiB.
		 */
		const int err = s->is_written ? mem_read_file(mem, s->gpa, boot->kernel_fd,
							      s->offset, s->file_size)
					      : mem_load_file(mem, s->gpa, boot->kernel_fd,
							      s->offset, s->file_size);

		/* What mem_size has beyond file_size is zero already: the memory is new. */
		if (err)
			return fail(err, "%s: loading at %#llx", boot->kernel_path,
				    (unsigned long long)s->gpa);
	}
	return 0;
}

struct ramdisk {
	uint64_t gpa, size; /* 0: none */
};

/* The user's initrd, mapped, and the extra archive. */
static int load_initrd(const struct boot *boot, const struct mem *mem, struct ramdisk *disk)
{
	const uint64_t offset = extra_offset(boot);
	int err = 0;

	disk->size = offset + boot->extra_size;
	disk->gpa = initrd_gpa(&boot->image, mem_low_size(mem), disk->size);
	if (disk->size == 0)
		return 0;
	must(disk->gpa); /* boot_open() has looked */
	if (boot->initrd_size)
		err = mem_load_file(mem, disk->gpa, boot->initrd_fd, 0, boot->initrd_size);
	if (err)
		return fail(err, "%s: loading at %#llx", boot->initrd_path,
			    (unsigned long long)disk->gpa);
	if (boot->extra_size)
		memcpy(mem_at(mem, disk->gpa + offset, boot->extra_size), boot->extra,
		       boot->extra_size);
	return 0;
}

/* The memory map that the guest is told, in both protocols' terms. */
struct span {
	uint64_t gpa, size;
	uint32_t type;
};

static unsigned memory_map(const struct mem *mem, struct span spans[4])
{
	unsigned nr = 0;

	spans[nr++] = (struct span){ 0, EBDA_GPA, E820_RAM };
	spans[nr++] = (struct span){ ACPI_GPA, ACPI_SIZE, E820_RESERVED };
	spans[nr++] = (struct span){ HIGH_MEM_GPA, mem_low_size(mem) - HIGH_MEM_GPA, E820_RAM };
	if (mem->nr_regions > 1)
		spans[nr++] = (struct span){ mem->regions[1].gpa, mem->regions[1].size, E820_RAM };
	return nr;
}

/* The Xen HVM start info, version 1 (xen/include/public/arch-x86/hvm/start_info.h). */
struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
	struct {
		uint64_t gpa, size, cmdline, reserved;
	} module;
	struct {
		uint64_t gpa, size;
		uint32_t type, reserved;
	} map[4];
};
#define START_INFO_MAGIC 0x336ec578u
_Static_assert(START_INFO_GPA + sizeof(struct start_info) <= GDT_GPA, "it has its room");
_Static_assert(CMDLINE_GPA + CMDLINE_SIZE <= ZERO_PAGE_GPA, "and so has the command line");

static void write_start_info(const struct mem *mem, const struct ramdisk *disk)
{
	struct start_info *info = mem_at(mem, START_INFO_GPA, sizeof(*info));
	struct span spans[4];
	const unsigned nr = memory_map(mem, spans);

	*info = (struct start_info){
		.magic = START_INFO_MAGIC,
		.version = 1,
		.nr_modules = disk->size ? 1 : 0,
		.modlist = START_INFO_GPA + offsetof(struct start_info, module),
		.cmdline = CMDLINE_GPA,
		.rsdp = ACPI_GPA,
		.memmap = START_INFO_GPA + offsetof(struct start_info, map),
		.memmap_entries = nr,
		.module = { .gpa = disk->gpa, .size = disk->size },
	};
	for (unsigned i = 0; i < nr; i++) {
		info->map[i].gpa = spans[i].gpa;
		info->map[i].size = spans[i].size;
		info->map[i].type = spans[i].type;
	}
}

static void write_zero_page(const struct image *image, const struct mem *mem,
			    const struct ramdisk *disk)
{
	struct boot_params *zero = mem_at(mem, ZERO_PAGE_GPA, sizeof(*zero));
	struct span spans[4];

	memcpy((uint8_t *)zero + IMAGE_SETUP_HEADER, image->setup_header, image->setup_header_size);
	zero->hdr.boot_flag = 0xaa55;
	zero->hdr.header = 0x53726448; /* "HdrS" */
	zero->hdr.type_of_loader = 0xff;
	zero->hdr.loadflags |= LOADED_HIGH;
	zero->hdr.cmd_line_ptr = CMDLINE_GPA;
	zero->hdr.ramdisk_image = (uint32_t)disk->gpa;
	zero->hdr.ramdisk_size = (uint32_t)disk->size;
	zero->acpi_rsdp_addr = ACPI_GPA;
	zero->e820_entries = (uint8_t)memory_map(mem, spans);
	for (unsigned i = 0; i < zero->e820_entries; i++)
		zero->e820_table[i] =
			(struct boot_e820_entry){ spans[i].gpa, spans[i].size, spans[i].type };
}

/*
 * Where a BIOS would begin, in real mode: Linux reboots by going there, unless its command line
 * says how else. (On a hardware-reduced platform it does not use ACPI's reset register of itself,
 * but EFI, and where there is none the BIOS: reboot_init() in arch/x86/kernel/reboot.c.)
 */
static void write_reset_code(const struct mem *mem)
{
	static const uint8_t code[] = {
		0xba, RESET_PORT & 0xff, RESET_PORT >> 8, /* mov $RESET_PORT, %dx */
		0xb0, RESET_VALUE,			  /* mov $RESET_VALUE, %al */
		0xee,					  /* out %al, %dx */
	};

	memcpy(mem_at(mem, RESET_CODE_GPA, sizeof(code)), code, sizeof(code));
}

int boot_load(const struct boot *boot, const struct mem *mem, const struct vm_config *config)
{
	struct ramdisk disk;
	int err = load_kernel(boot, mem);

	if (!err)
		err = load_initrd(boot, mem, &disk);
	if (err)
		return err;
	strcpy(mem_at(mem, CMDLINE_GPA, CMDLINE_SIZE), config->cmdline);
	err = acpi_build(mem_at(mem, ACPI_GPA, ACPI_SIZE), RESET_CODE_GPA - ACPI_GPA, ACPI_GPA,
			 config->cpus, config->nr_disks + config->nr_nets, config->has_api);
	must(err > 0);
	write_reset_code(mem);
	if (boot->image.kind == IMAGE_PVH)
		write_start_info(mem, &disk);
	else
		write_zero_page(&boot->image, mem, &disk);
	return 0;
}
