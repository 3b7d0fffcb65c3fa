// SPDX-License-Identifier: Apache-2.0
/*
 * What mayfly's init reads in the kernel's command line; the rest of it the stories of Linux tell.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* What musl, with which it is built, has by other names, or of its own. */
#undef _GNU_SOURCE
#define getdents   getdents64
#define TIOCM_OUT1 0x2000
int init_main(void);
#define main init_main
#include "../../rootfs/init.c"
#undef main

#include <cmocka.h>

static void root_words(void **state)
{
	static const struct {
		const char *cmdline;
		bool writable;
	} lines[] = {
		{ "", false },
		{ "root=/dev/vda", false },
		{ "root=/dev/vda ro", false },
		{ "root=/dev/vda rw\n", true },
		{ "root=/dev/vda rw quiet ro", false },
		{ "ro root=/dev/vda rw", true },
		{ "rw rot row rw=1 xro r", true },
		{ "ro rwx", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(root_is_writable(lines[i].cmdline), lines[i].writable);
}

static void values(void **state)
{
	char value[8];

	(void)state;
	assert_true(cmdline_value("root=/dev/a root=/dev/b x", "root=", value, sizeof(value)));
	assert_string_equal(value, "/dev/b");
	assert_false(cmdline_value("xroot=/dev/a root", "root=", value, sizeof(value)));
	assert_false(cmdline_value("root=/dev/abc", "root=", value, sizeof(value)));
}

static void words_of_init(void **state)
{
	char line[] = "root=/dev/a ro -- root=/dev/b rw", none[] = "root=/dev/a --x";
	char quoted[] = "x=\"a -- b\" root=/dev/a -- rw";

	(void)state;
	end_kernel_words(line);
	assert_string_equal(line, "root=/dev/a ro");
	end_kernel_words(none);
	assert_string_equal(none, "root=/dev/a --x");
	end_kernel_words(quoted);
	assert_string_equal(quoted, "x=\"a -- b\" root=/dev/a");
}

static void escapes(void **state)
{
	char name[] = "/a\\040b\\011\\012\\134\\1\\", plain[] = "/mnt";

	(void)state;
	unescape(name);
	assert_string_equal(name, "/a b\t\n\\\\1\\");
	unescape(plain);
	assert_string_equal(plain, "/mnt");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "the last of ro and rw counts", root_words, NULL, NULL, NULL },
		{ "words behind -- are not the kernel's", words_of_init, NULL, NULL, NULL },
		{ "a word's last value, where it fits", values, NULL, NULL, NULL },
		{ "a mount's name without its escapes", escapes, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("init", tests, NULL, NULL);
}
