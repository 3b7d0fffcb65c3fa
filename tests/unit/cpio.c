// SPDX-License-Identifier: Apache-2.0
/*
 * The cpio writer, by what cpio(1) makes of its archives: names, modes, contents, and two archives
 * laid one after the other as the initrd is.
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/cpio.h"
#include "scratch.h"

static void unpack(const void *archive, size_t size)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/archive", dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(archive, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
	run("cpio --quiet -idm < archive && rm archive");
}

static void check_mode(const char *name, mode_t mode)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode, mode);
}

static void check_file(const char *name, mode_t mode, const void *data, size_t size)
{
	char path[128], got[4096];
	FILE *f;

	check_mode(name, S_IFREG | mode);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(got, 1, sizeof(got), f), size);
	assert_memory_equal(got, data, size);
	fclose(f);
}

static void unpacks(void **state)
{
	static char room[8192];
	struct cpio c;
	ssize_t used;

	(void)state;
	cpio_begin(&c, room, sizeof(room));
	cpio_dir(&c, "dev", 0755);
	cpio_dir(&c, "etc", 0700);
	cpio_file(&c, "init", 0755, "#!/bin/sh\n", 10);
	cpio_file(&c, "etc/empty", 0600, "", 0);
	used = cpio_end(&c);
	assert_true(used > 0);
	unpack(room, used);
	check_mode("dev", S_IFDIR | 0755);
	check_mode("etc", S_IFDIR | 0700);
	check_file("init", 0755, "#!/bin/sh\n", 10);
	check_file("etc/empty", 0600, "", 0);
	run("test $(find . | wc -l) = 5");
}

/* All remainders by 4 of name and contents, so of the padding. */
static void paddings(void **state)
{
	static const char data[] = "\0\1\2\3";
	static char room[8192];
	char names[16][16];
	struct cpio c;
	ssize_t used;

	(void)state;
	cpio_begin(&c, room, sizeof(room));
	for (unsigned i = 0; i < 16; i++) {
		snprintf(names[i], sizeof(names[i]), "%.*s%02u", (int)(i / 4), "abc", i);
		cpio_file(&c, names[i], 0644, data, i % 4);
	}
	used = cpio_end(&c);
	assert_int_equal(used % 4, 0);
	unpack(room, used);
	for (unsigned i = 0; i < 16; i++)
		check_file(names[i], 0644, data, i % 4);
}

static void no_room(void **state)
{
	char reference[1024];
	struct cpio c;
	ssize_t used;

	(void)state;
	cpio_begin(&c, reference, sizeof(reference));
	cpio_file(&c, "init", 0755, "abcde", 5);
	used = cpio_end(&c);
	for (ssize_t size = 0; size <= used; size++) {
		char *room = malloc(size ? size : 1);

		assert_non_null(room);
		cpio_begin(&c, room, size);
		cpio_file(&c, "init", 0755, "abcde", 5);
		if (size < used) {
			assert_int_equal(cpio_end(&c), -ENOSPC);
		} else {
			assert_int_equal(cpio_end(&c), used);
			assert_memory_equal(room, reference, used);
		}
		free(room);
	}
}

/* Were inode numbers equal and links counted, an unpacker would make one file of two. */
static void no_links(void **state)
{
	static char room[1024];
	struct cpio c;

	(void)state;
	cpio_begin(&c, room, sizeof(room));
	cpio_file(&c, "a", 0644, "1", 1);
	cpio_file(&c, "b", 0644, "2", 1);
	unpack(room, cpio_end(&c));
	check_file("a", 0644, "1", 1);
	check_file("b", 0644, "2", 1);
	run("test ! a -ef b");
}

/* The header's words at their places in the format's description, for one file. */
static void header(void **state)
{
	static const char want[] = "070701"
				   "00000001"
				   "000081ed"
				   "00000000"
				   "00000000"
				   "00000001"
				   "00000000"
				   "00000003"
				   "00000000"
				   "00000000"
				   "00000000"
				   "00000000"
				   "00000005"
				   "00000000"
				   "init\0\0abc\0"
				   "070701";
	static char room[1024];
	struct cpio c;

	(void)state;
	cpio_begin(&c, room, sizeof(room));
	cpio_file(&c, "init", 0755, "abc", 3);
	assert_true(cpio_end(&c) > 0);
	assert_memory_equal(room, want, sizeof(want) - 1);
}

static const struct CMUnitTest tests[] = {
	{ .name = "cpio unpacks what was packed",
	  .test_func = unpacks,
	  .setup_func = make_dir,
	  .teardown_func = remove_dir },
	{ .name = "names and contents of all lengths come back",
	  .test_func = paddings,
	  .setup_func = make_dir,
	  .teardown_func = remove_dir },
	{ .name = "two files are never taken for links of one",
	  .test_func = no_links,
	  .setup_func = make_dir,
	  .teardown_func = remove_dir },
	{ .name = "an archive a byte too long for its buffer is refused", .test_func = no_room },
	{ .name = "the header is newc's, word for word", .test_func = header },
};

int main(void)
{
	return cmocka_run_group_tests_name("cpio", tests, NULL, NULL);
}
