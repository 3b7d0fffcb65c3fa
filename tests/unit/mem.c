// SPDX-License-Identifier: Apache-2.0
/*
 * Guest memory: which addresses are RAM, to the byte, around the device hole and the end of the
 * address space; and files laid over it, mapped where pages align and read where not.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/layout.h"
#include "../../vmm/mem.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE	 4096ul
#define GIB	 (1ul << 30)
#define GUARD	 (2ul << 20)

static struct mem mem;

static void make(uint64_t size)
{
	assert_int_equal(mem_init(&mem, size), 0);
}

static int drop_mem(void **state)
{
	(void)state;
	mem_fini(&mem);
	memset(&mem, 0, sizeof(mem));
	return 0;
}

static void regions(void **state)
{
	static const struct {
		uint64_t size, low, high;
	} row[] = {
		{ MEM_MIN, MEM_MIN, 0 },
		{ 128ul << 20, 128ul << 20, 0 },
		{ DEVICE_GPA - PAGE, DEVICE_GPA - PAGE, 0 },
		{ DEVICE_GPA, DEVICE_GPA, 0 },
		{ DEVICE_GPA + PAGE, DEVICE_GPA, PAGE },
		{ 4 * GIB, DEVICE_GPA, 1 * GIB },
		{ MEM_MAX, DEVICE_GPA, MEM_MAX - DEVICE_GPA },
	};

	for (unsigned i = 0; i < COUNT(row); i++) {
		make(row[i].size);
		assert_int_equal(mem.nr_regions, row[i].high ? 2 : 1);
		assert_int_equal(mem.regions[0].gpa, 0);
		assert_int_equal(mem.regions[0].size, row[i].low);
		assert_int_equal(mem_low_size(&mem), row[i].low);
		assert_int_equal((uintptr_t)mem.regions[0].host % GUARD, 0);
		if (row[i].high) {
			assert_int_equal(mem.regions[1].gpa, HIGH_RAM_GPA);
			assert_int_equal(mem.regions[1].size, row[i].high);
			assert_int_equal((uintptr_t)mem.regions[1].host % GUARD, 0);
		}
		drop_mem(state);
	}
}

/* As often as an address space would hold it twice over. */
static void given_back(void **state)
{
	int err;

	(void)state;
	mem_fini(&mem); /* of none */
	for (unsigned i = 0; i < 256; i++) {
		make(MEM_MAX);
		err = mem_huge_pages(&mem);
		assert_true(err == 0 || err == -EINVAL); /* a kernel without them */
		mem_fini(&mem);
		assert_int_equal(mem.nr_regions, 0);
	}
}

/* [gpa, gpa + len) is RAM, and where it should be. */
static void is_ram(gpa_t gpa, uint64_t len)
{
	const struct mem_region *r = &mem.regions[gpa >= HIGH_RAM_GPA];

	assert_ptr_equal(mem_at(&mem, gpa, len), r->host + (gpa - r->gpa));
}

static void is_none(gpa_t gpa, uint64_t len)
{
	assert_null(mem_at(&mem, gpa, len));
}

static void boundaries(void **state)
{
	const gpa_t end = HIGH_RAM_GPA + GIB;

	(void)state;
	make(4 * GIB);
	is_ram(0, 0);
	is_ram(0, 1);
	is_ram(0, DEVICE_GPA);
	is_none(0, DEVICE_GPA + 1);
	is_ram(DEVICE_GPA - 1, 1);
	is_none(DEVICE_GPA - 1, 2);
	is_ram(DEVICE_GPA, 0); /* nothing at the end is inside */
	is_none(DEVICE_GPA, 1);
	is_none(DEVICE_GPA + 1, 0);
	is_none(HIGH_RAM_GPA - 1, 0);
	is_none(HIGH_RAM_GPA - 1, 1);
	is_none(HIGH_RAM_GPA - 1, 2);
	is_ram(HIGH_RAM_GPA, 1);
	is_ram(HIGH_RAM_GPA, GIB);
	is_none(HIGH_RAM_GPA, GIB + 1);
	is_ram(end - 1, 1);
	is_none(end - 1, 2);
	is_none(end, 1);
	is_none(end + 1, 0);
	is_none(DEVICE_GPA - 8, HIGH_RAM_GPA - DEVICE_GPA + 16); /* RAM at both ends only */
}

static void wrap_around(void **state)
{
	(void)state;
	make(4 * GIB);
	is_none(UINT64_MAX, 0);
	is_none(UINT64_MAX, 1);
	is_none(UINT64_MAX, 2);
	is_none(UINT64_MAX - 4095, PAGE);
	is_none(0, UINT64_MAX);
	is_none(1, UINT64_MAX);
	is_none(PAGE, UINT64_MAX - PAGE + 1);
	is_none(DEVICE_GPA - 1, UINT64_MAX);
	is_none(HIGH_RAM_GPA, UINT64_MAX - HIGH_RAM_GPA + 1);
	is_none(HIGH_RAM_GPA + 8, UINT64_MAX - 7);
	is_none(1ull << 63, 1ull << 63);
}

static void is_zero(gpa_t gpa, uint64_t len)
{
	static const uint8_t zero[PAGE];
	const uint8_t *at = mem_at(&mem, gpa, len);

	assert_non_null(at);
	assert_true(len <= sizeof(zero));
	assert_memory_equal(at, zero, len);
}

static void usable(void **state)
{
	(void)state;
	make(4 * GIB);
	is_zero(0, PAGE);
	is_zero(DEVICE_GPA - PAGE, PAGE);
	is_zero(HIGH_RAM_GPA, PAGE);
	is_zero(HIGH_RAM_GPA + GIB - PAGE, PAGE);
	*(uint8_t *)mem_at(&mem, HIGH_RAM_GPA + GIB - 1, 1) = 1;
	*(uint8_t *)mem_at(&mem, DEVICE_GPA - 1, 1) = 1;
}

static bool faults(volatile uint8_t *at)
{
	int status;
	const pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*at;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

/* Around each region nothing is mapped; and no child inherits the guest's memory. */
static void guards(void **state)
{
	(void)state;
	make(4 * GIB);
	for (unsigned i = 0; i < mem.nr_regions; i++) {
		uint8_t *host = mem.regions[i].host;
		const uint64_t size = mem.regions[i].size;

		assert_true(faults(host - 1) && faults(host - GUARD));
		assert_true(faults(host + size) && faults(host + size + GUARD - 1));
		assert_true(faults(host));
	}
}

/* Files: byte i of them is this. */
static uint8_t content(uint64_t i)
{
	return (uint8_t)(1 + i % 251);
}

static int make_file(uint64_t size)
{
	char path[] = "/tmp/mayfly-mem.XXXXXX";
	const int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	for (uint64_t i = 0; i < size; i++) {
		const uint8_t byte = content(i);

		assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
	}
	return fd;
}

static void holds(gpa_t gpa, uint64_t offset, uint64_t len)
{
	const uint8_t *at = mem_at(&mem, gpa, len);

	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(at[i], content(offset + i));
}

/* Whether the page at gpa is the file's own, shared with all who map it. */
static bool is_mapped(gpa_t gpa)
{
	const uintptr_t at = (uintptr_t)mem_at(&mem, gpa, 1);
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], flags[5] = "";
	unsigned long from, to, inode = 0;
	bool found = false;

	assert_non_null(maps);
	while (!found && fgets(line, sizeof(line), maps))
		found = sscanf(line, "%lx-%lx %4s %*x %*s %lu", &from, &to, flags, &inode) == 4 &&
			from <= at && at < to;
	fclose(maps);
	assert_true(found);
	assert_string_equal(flags, "rw-p");
	return inode != 0;
}

#define TO 0x200000ul

static void aligned_is_mapped(void **state)
{
	const uint8_t new = 0xff;
	const int fd = make_file(3 * PAGE);
	uint8_t *at;

	(void)state;
	make(MEM_MIN);
	assert_int_equal(mem_load_file(&mem, TO, fd, PAGE, 2 * PAGE), 0);
	holds(TO, PAGE, 2 * PAGE);
	is_zero(TO - PAGE, PAGE);
	is_zero(TO + 2 * PAGE, PAGE);
	assert_true(is_mapped(TO) && is_mapped(TO + PAGE));
	assert_false(is_mapped(TO - 1) || is_mapped(TO + 2 * PAGE));

	/* The file shows through until the guest writes; what it writes stays its own. */
	at = mem_at(&mem, TO, 2 * PAGE);
	assert_int_equal(pwrite(fd, &new, 1, PAGE), 1);
	assert_int_equal(at[0], new);
	at[PAGE] = 0xfe;
	assert_int_equal(pread(fd, at + 1, 1, 2 * PAGE), 1);
	assert_int_equal(at[1], content(2 * PAGE));
	close(fd);
}

/* What the guest writes all over is the guest's alone from the start. */
static void read_is_never_mapped(void **state)
{
	const int fd = make_file(3 * PAGE);

	(void)state;
	make(MEM_MIN);
	assert_int_equal(mem_read_file(&mem, TO, fd, PAGE, 2 * PAGE), 0);
	holds(TO, PAGE, 2 * PAGE);
	is_zero(TO + 2 * PAGE, PAGE);
	assert_false(is_mapped(TO) || is_mapped(TO + PAGE));
	assert_int_equal(mem_read_file(&mem, TO, fd, 2 * PAGE, 2 * PAGE), -ENODATA);
	assert_int_equal(mem_read_file(&mem, DEVICE_GPA, fd, 0, PAGE), -EFAULT);
	close(fd);
}

static void tail_is_copied(void **state)
{
	static const uint64_t lengths[] = { 1, PAGE - 1, PAGE + 1, 2 * PAGE - 1 };
	const int fd = make_file(3 * PAGE);

	for (unsigned i = 0; i < COUNT(lengths); i++) {
		const uint64_t len = lengths[i], whole = len / PAGE * PAGE;

		make(MEM_MIN);
		assert_int_equal(mem_load_file(&mem, TO, fd, 0, len), 0);
		holds(TO, 0, len);
		is_zero(TO + len, PAGE); /* not what follows in the file */
		assert_int_equal(is_mapped(TO), whole > 0);
		assert_false(is_mapped(TO + whole));
		drop_mem(state);
	}
	close(fd);
}

static void unaligned_is_read(void **state)
{
	static const struct {
		uint64_t gpa, offset;
	} row[] = {
		{ TO + 1, 0 }, { TO, 1 }, { TO + 1, 1 }, { TO + 8, PAGE }, { TO + 2048, 2048 }
	};
	const int fd = make_file(4 * PAGE);

	for (unsigned i = 0; i < COUNT(row); i++) {
		const uint64_t len = 2 * PAGE + 5;

		make(MEM_MIN);
		assert_int_equal(mem_load_file(&mem, row[i].gpa, fd, row[i].offset, len), 0);
		holds(row[i].gpa, row[i].offset, len);
		is_zero(row[i].gpa - 1, 1);
		is_zero(row[i].gpa + len, PAGE);
		assert_false(is_mapped(row[i].gpa) || is_mapped(row[i].gpa + PAGE));
		drop_mem(state);
	}
	close(fd);
}

static void at_the_edges(void **state)
{
	const int fd = make_file(2 * PAGE);

	(void)state;
	make(4 * GIB);
	assert_int_equal(mem_load_file(&mem, 0, fd, 0, PAGE), 0);
	assert_int_equal(mem_load_file(&mem, DEVICE_GPA - PAGE, fd, 0, PAGE), 0);
	assert_int_equal(mem_load_file(&mem, HIGH_RAM_GPA, fd, 0, 2 * PAGE), 0);
	assert_int_equal(mem_load_file(&mem, HIGH_RAM_GPA + GIB - PAGE, fd, PAGE, PAGE), 0);
	holds(0, 0, PAGE);
	holds(DEVICE_GPA - PAGE, 0, PAGE);
	holds(HIGH_RAM_GPA, 0, 2 * PAGE);
	holds(HIGH_RAM_GPA + GIB - PAGE, PAGE, PAGE);
	assert_int_equal(mem_load_file(&mem, TO, fd, 0, 0), 0);
	is_zero(TO, PAGE);
	close(fd);
}

static void outside(void **state)
{
	const int fd = make_file(2 * PAGE);

	(void)state;
	make(4 * GIB);
	assert_int_equal(mem_load_file(&mem, DEVICE_GPA, fd, 0, PAGE), -EFAULT);
	assert_int_equal(mem_load_file(&mem, DEVICE_GPA - PAGE, fd, 0, PAGE + 1), -EFAULT);
	assert_int_equal(mem_load_file(&mem, HIGH_RAM_GPA + GIB - PAGE, fd, 0, 2 * PAGE), -EFAULT);
	assert_int_equal(mem_load_file(&mem, PAGE, fd, 0, UINT64_MAX - PAGE + 1), -EFAULT);
	is_zero(DEVICE_GPA - PAGE, PAGE);
	is_zero(HIGH_RAM_GPA + GIB - PAGE, PAGE);
	close(fd);
}

/* A page beyond the file's end would be a SIGBUS when the guest gets there. */
static void short_file(void **state)
{
	const int fd = make_file(PAGE + 10);

	(void)state;
	make(MEM_MIN);
	assert_int_equal(mem_load_file(&mem, TO, fd, 0, PAGE + 10), 0);
	assert_int_equal(mem_load_file(&mem, TO, fd, 0, PAGE + 11), -ENODATA);
	assert_int_equal(mem_load_file(&mem, TO, fd, 0, 2 * PAGE), -ENODATA);
	assert_int_equal(mem_load_file(&mem, TO, fd, 0, 3 * PAGE), -ENODATA);
	assert_int_equal(mem_load_file(&mem, TO, fd, 4 * PAGE, PAGE), -ENODATA);
	assert_int_equal(mem_load_file(&mem, TO + 1, fd, 0, PAGE + 11), -ENODATA);
	assert_int_equal(mem_load_file(&mem, TO, fd, 1, PAGE + 10), -ENODATA);
	close(fd);
	assert_int_equal(mem_load_file(&mem, TO, -1, 0, PAGE), -EBADF);
	assert_int_equal(mem_load_file(&mem, TO + 1, -1, 0, PAGE), -EBADF);
}

/* The pages of a core file or a child are not the guest's, also where a file is laid over them. */
static void kept_private(void **state)
{
	const int fd = make_file(2 * PAGE);

	(void)state;
	make(MEM_MIN);
	assert_int_equal(mem_load_file(&mem, TO, fd, 0, 2 * PAGE), 0);
	assert_true(faults(mem_at(&mem, TO, 1)));
	close(fd);
}

#define TEST(text, function)                                                   \
	{                                                                      \
		.name = text, .test_func = function, .teardown_func = drop_mem \
	}

static const struct CMUnitTest tests[] = {
	{ .name = "a file that is read is not mapped", .test_func = read_is_never_mapped },
	TEST("RAM of any size leaves the device hole free", regions),
	TEST("memory that is given back can be had again", given_back),
	TEST("mem_at knows the first and the last byte", boundaries),
	TEST("no length wraps around the address space", wrap_around),
	TEST("memory is there, zeroed, at all its ends", usable),
	TEST("guards lie around it, and no child has it", guards),
	TEST("an aligned file is mapped, not copied", aligned_is_mapped),
	TEST("its last, partial page is copied", tail_is_copied),
	TEST("an unaligned file is read", unaligned_is_read),
	TEST("files go to the edges of RAM", at_the_edges),
	TEST("files do not go outside of RAM", outside),
	TEST("a short file is refused", short_file),
	TEST("a mapped file's pages are the guest's alone", kept_private),
};

int main(void)
{
	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
