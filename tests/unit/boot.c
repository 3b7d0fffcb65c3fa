// SPDX-License-Identifier: Apache-2.0
/* What lies in a guest's memory when it begins: the initrd, and behind it the job's archive. */
#include <asm/bootparam.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/boot.h"
#include "../../vmm/layout.h"
#include "scratch.h"
#include "specimen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define JOB	 "070701 and more"
#define JOB_SIZE 16u
#define MODLIST	 16u /* in the start info: the address of { address, size } */

static char kernel[160], initrd[160];

static void make_file(char path[160], const char *name, const void *bytes, size_t size)
{
	int fd;

	snprintf(path, 160, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static struct vm_config configure(uint64_t mem_size)
{
	return (struct vm_config){
		.kernel = kernel, .cmdline = "", .cpus = 1, .mem_size = mem_size
	};
}

/* An initrd as far as anybody looks who does not unpack it. */
static const char archive[16] = "07xxxxxxxxxxxxx";

/* Boots with so many bytes of it; what the guest is told lies at *disk. */
static uint64_t load(struct mem *mem, unsigned initrd_size, unsigned job_size, const char **disk)
{
	struct vm_config config = configure(64 * MIB);
	struct boot boot;
	uint64_t modlist, module[2];

	make_file(initrd, "initrd", archive, initrd_size);
	if (initrd_size)
		config.initrd = initrd;
	assert_int_equal(mem_init(mem, config.mem_size), 0);
	assert_int_equal(boot_open(&boot, &config, (const uint8_t *)JOB, job_size), 0);
	assert_int_equal(boot_load(&boot, mem, &config), 0);
	boot_close(&boot);
	memcpy(&modlist, mem_at(mem, START_INFO_GPA + MODLIST, 8), 8);
	memcpy(module, mem_at(mem, modlist, 16), 16);
	assert_int_equal(module[0], DATA_GPA + 0x2000); /* behind the kernel */
	*disk = mem_at(mem, module[0], module[1]);
	return module[1];
}

/* Where `lz4 -l` ends is told by 4 zeros only; archives lie at multiples of 4. */
static void behind_initrd(void **state)
{
	struct mem mem;
	const char *disk;

	(void)state;
	for (unsigned n = 2; n <= sizeof(archive); n++) {
		const uint64_t size = load(&mem, n, JOB_SIZE, &disk);
		const uint64_t at = size - JOB_SIZE;

		assert_int_equal(at % 4, 0);
		assert_in_range(at, n + 4, n + 7);
		assert_memory_equal(disk, archive, n);
		assert_memory_equal(disk + n, "\0\0\0\0\0\0\0", at - n);
		assert_memory_equal(disk + at, JOB, JOB_SIZE);
		mem_fini(&mem);
	}
}

static void alone(void **state)
{
	struct mem mem;
	const char *disk;

	(void)state;
	assert_int_equal(load(&mem, 0, JOB_SIZE, &disk), JOB_SIZE);
	assert_memory_equal(disk, JOB, JOB_SIZE);
	mem_fini(&mem);
	assert_int_equal(load(&mem, 5, 0, &disk), 8);
	assert_memory_equal(disk, "07xxx\0\0\0", 8);
	mem_fini(&mem);
}

/* What is said of an initrd of so many MiB, which is not read. */
static const char *refusal(uint64_t mem_size, uint64_t mib)
{
	static char said[512];
	struct vm_config config = configure(mem_size);
	const int old = dup(STDERR_FILENO);
	struct boot boot;
	int fds[2];
	ssize_t n;

	make_file(initrd, "initrd", "", 0);
	assert_int_equal(truncate(initrd, (off_t)(mib * MIB)), 0);
	config.initrd = initrd;
	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	assert_true(boot_open(&boot, &config, NULL, 0) < 0);
	dup2(old, STDERR_FILENO);
	boot_close(&boot);
	n = read(fds[0], said, sizeof(said) - 1);
	said[n > 0 ? n : 0] = '\0';
	close(old);
	close(fds[0]);
	close(fds[1]);
	return said;
}

static void too_large(void **state)
{
	(void)state;
	assert_non_null(strstr(refusal(64 * MIB, 100), "100 MiB do not fit beside the kernel: "
						       "give --mem "));
	assert_non_null(strstr(refusal(64 * MIB, 3072), "3072 MiB do not fit between the kernel "
							"and 3072 MiB"));
	assert_null(strstr(refusal(8192 * MIB, 3072), "--mem"));
}

static void fills_memory(void **state)
{
	struct vm_config config = configure(64 * MIB);
	struct boot boot;

	(void)state;
	make_file(initrd, "initrd", "", 0);
	config.initrd = initrd;
	for (unsigned more = 0; more < 2; more++) {
		assert_int_equal(truncate(initrd, (off_t)(64 * MIB - DATA_GPA - 0x2000 + more)), 0);
		assert_int_equal(boot_open(&boot, &config, NULL, 0) != 0, more);
		boot_close(&boot);
	}
}

/* A kernel's own bound, in its setup header. */
static void long_command_line(void **state)
{
	struct vm_config config = configure(64 * MIB);
	uint8_t file[BZ_SIZE];
	char path[160];
	struct boot boot;

	(void)state;
	bzimage_fill(file);
	file[0x238] = 9; /* cmdline_size */
	file[0x239] = 0;
	make_file(path, "bzImage", file, sizeof(file));
	config.kernel = path;
	strcpy(config.cmdline, "123456789");
	assert_int_equal(boot_open(&boot, &config, NULL, 0), 0);
	boot_close(&boot);
	strcat(config.cmdline, "0");
	assert_int_not_equal(boot_open(&boot, &config, NULL, 0), 0);
	boot_close(&boot);
}

/* Linux's Documentation/arch/x86/zero-page.rst. */
static void zero_page(void **state)
{
	static const struct {
		uint64_t gpa, size;
		uint32_t type;
	} map[] = { { 0, EBDA_GPA, 1 },
		    { ACPI_GPA, ACPI_SIZE, 2 },
		    { HIGH_MEM_GPA, DEVICE_GPA - HIGH_MEM_GPA, 1 },
		    { HIGH_RAM_GPA, 1024 * MIB, 1 } };
	struct vm_config config = configure(4096 * MIB);
	const struct boot_params *zero;
	uint8_t file[BZ_SIZE];
	char path[160];
	struct boot boot;
	struct mem mem;

	(void)state;
	bzimage_fill(file);
	file[0x211] = 0x80; /* loadflags */
	make_file(path, "bzImage", file, sizeof(file));
	make_file(initrd, "initrd", "xyz", 3);
	config.kernel = path;
	config.initrd = initrd;
	strcpy(config.cmdline, "words");
	assert_int_equal(mem_init(&mem, config.mem_size), 0);
	assert_int_equal(boot_open(&boot, &config, NULL, 0), 0);
	assert_int_equal(boot_load(&boot, &mem, &config), 0);
	boot_close(&boot);
	zero = mem_at(&mem, ZERO_PAGE_GPA, sizeof(*zero));
	assert_int_equal(zero->hdr.boot_flag, 0xaa55);
	assert_int_equal(zero->hdr.header, 0x53726448);
	assert_int_equal(zero->hdr.version, 0x020f);
	assert_int_equal(zero->hdr.type_of_loader, 0xff); /* else there is no initrd */
	assert_int_equal(zero->hdr.loadflags, 0x81);
	assert_int_equal(zero->hdr.ramdisk_image, 16 * MIB + BZ_INIT_SIZE);
	assert_memory_equal(mem_at(&mem, zero->hdr.ramdisk_image, 3), "xyz", 3);
	assert_in_range(zero->hdr.ramdisk_size, 3, 8);
	assert_string_equal(mem_at(&mem, zero->hdr.cmd_line_ptr, 6), "words");
	assert_memory_equal(mem_at(&mem, zero->acpi_rsdp_addr, 8), "RSD PTR ", 8);
	assert_int_equal(zero->e820_entries, COUNT(map));
	for (unsigned i = 0; i < COUNT(map); i++) {
		assert_int_equal(zero->e820_table[i].addr, map[i].gpa);
		assert_int_equal(zero->e820_table[i].size, map[i].size);
		assert_int_equal(zero->e820_table[i].type, map[i].type);
	}
	mem_fini(&mem);
}

static int make_kernel(void **state)
{
	const int err = make_dir(state);

	if (!err)
		make_file(kernel, "kernel", &elf, sizeof(elf));
	return err;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a job lies behind the initrd and 4 zeros at least", behind_initrd, NULL, NULL,
		  NULL },
		{ "a job alone, an initrd alone", alone, NULL, NULL, NULL },
		{ "an initrd that is too large, with what helps", too_large, NULL, NULL, NULL },
		{ "a bzImage's zero page", zero_page, NULL, NULL, NULL },
		{ "a command line as long as the kernel takes it", long_command_line, NULL, NULL,
		  NULL },
		{ "an initrd may fill the memory, to its last byte", fills_memory, NULL, NULL,
		  NULL },
	};

	return cmocka_run_group_tests_name("boot", tests, make_kernel, remove_dir);
}
