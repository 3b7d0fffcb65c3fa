// SPDX-License-Identifier: Apache-2.0
/*
 * The archive that brings a job into the guest, as cpio(1) unpacks it: mayfly's init to the byte,
 * and the strings that rootfs/init.c reads (see job_parse there), in their order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/job.h"
#include "scratch.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The init that the monitor's linker brings in is here a few bytes, of an odd number. */
#define INIT "\177ELF, not really"
__asm__(".pushsection .rodata\n"
	".globl _binary_init_start, _binary_init_end\n"
	"_binary_init_start: .ascii \"\\177ELF, not really\"\n"
	"_binary_init_end: .byte 0xee\n"
	".popsection");

static size_t read_file(const char *name, mode_t mode, char *data, size_t size)
{
	char path[128];
	struct stat st;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | mode);
	f = fopen(path, "rb");
	assert_non_null(f);
	n = fread(data, 1, size, f);
	fclose(f);
	return n;
}

/* Packs, unpacks, and compares the job's file with `want`. */
static void packs(const struct job_config *job, bool is_tty, unsigned rows, unsigned cols,
		  const char *want, size_t size)
{
	char path[128], *got = malloc(size + 1);
	uint8_t *archive;
	const ssize_t used = job_pack(job, is_tty, rows, cols, &archive);
	FILE *f;

	assert_non_null(got);
	assert_true(used > 0 && used % 4 == 0);
	snprintf(path, sizeof(path), "%s/archive", dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(archive, 1, (size_t)used, f), used);
	assert_int_equal(fclose(f), 0);
	free(archive);
	run("rm -rf .mayfly && cpio --quiet -idm < archive && rm archive");
	run("test \"$(find . | sort | xargs)\" = '. ./.mayfly ./.mayfly/init ./.mayfly/job'");
	assert_int_equal(read_file(".mayfly/job", 0600, got, size + 1), size);
	assert_memory_equal(got, want, size);
	free(got);
}

static void init_file(void **state)
{
	char *const argv[] = { "true" };
	const struct job_config job = { .argv = argv, .argc = 1 };
	const char want[] = "mayfly-job-1\0pipe\0"
			    "0\0"
			    "0\0"
			    "1\0"
			    "true";
	char got[64];

	(void)state;
	packs(&job, false, 0, 0, want, sizeof(want));
	assert_int_equal(read_file(".mayfly/init", 0755, got, sizeof(got)), sizeof(INIT) - 1);
	assert_memory_equal(got, INIT, sizeof(INIT) - 1);
}

static void strings(void **state)
{
	char *const argv[] = { "sh", "-c", "echo \"$1\"\n", "", "a b", "\xff\x01" };
	static const char *const env[] = { "A=", "B=x=y", "TERM=dumb" };
	const struct job_config job = {
		.argv = argv, .argc = COUNT(argv), .env = env, .nr_env = COUNT(env)
	};
	const char want[] = "mayfly-job-1\0tty\0"
			    "24\0"
			    "80\0"
			    "6\0"
			    "sh\0-c\0echo \"$1\"\n\0\0a b\0\xff\x01\0"
			    "A=\0B=x=y\0TERM=dumb";

	(void)state;
	packs(&job, true, 24, 80, want, sizeof(want));
}

static void largest_numbers(void **state)
{
	char *const argv[] = { "x" };
	const struct job_config job = { .argv = argv, .argc = 1 };
	const char want[] = "mayfly-job-1\0tty\0"
			    "4294967295\0"
			    "4294967295\0"
			    "1\0x";

	(void)state;
	packs(&job, true, 4294967295u, 4294967295u, want, sizeof(want));
}

/* As much as a command line on Linux can hold. */
static void long_arguments(void **state)
{
	enum { ARGS = 16, LENGTH = 128 * 1024 - 1 };
	static const char head[] = "mayfly-job-1\0pipe\0"
				   "0\0"
				   "0\0"
				   "16";
	char *argv[ARGS], *want = malloc(sizeof(head) + ARGS * (LENGTH + 1)), *at = want;
	const struct job_config job = { .argv = argv, .argc = ARGS };

	(void)state;
	assert_non_null(want);
	memcpy(at, head, sizeof(head));
	at += sizeof(head);
	for (unsigned i = 0; i < ARGS; i++) {
		argv[i] = at;
		memset(at, 'a' + (int)i, LENGTH);
		at[LENGTH] = '\0';
		at += LENGTH + 1;
	}
	packs(&job, false, 0, 0, want, (size_t)(at - want));
	free(want);
}

#define TEST(text, function)                                                 \
	{                                                                    \
		.name = text, .test_func = function, .setup_func = make_dir, \
		.teardown_func = remove_dir                                  \
	}

static const struct CMUnitTest tests[] = {
	TEST("init comes out as it went in", init_file),
	TEST("arguments and environment keep every byte", strings),
	TEST("a terminal of any size", largest_numbers),
	TEST("two MiB of arguments", long_arguments),
};

int main(void)
{
	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
