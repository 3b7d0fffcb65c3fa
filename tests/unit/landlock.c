// SPDX-License-Identifier: Apache-2.0
/*
 * The second wall by itself, in a child that has nothing but it: what a path still reaches. Where
 * the kernel has no Landlock, all are skipped and say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before cmocka, which has a macro fail(): the function is (fail)(). */
#include "../../seccomp/steps.h"

#include <cmocka.h>

#include "scratch.h"

#define LACKING 77

static struct jail_config config;
static struct jail jail;

/* In a child, behind the wall: 0, or the line of what did not hold. */
#define HOLDS(x)                         \
	do {                             \
		if (!(x))                \
			return __LINE__; \
	} while (0)

static void behind(int (*look)(void))
{
	const pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		jail.config = &config;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || landlock_enter(&jail))
			_exit(1);
		_exit(jail.has_landlock ? look() : LACKING);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == LACKING)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool is_forbidden(int result)
{
	return result == -1 && errno == EACCES;
}

static int look_around(void)
{
	HOLDS(is_forbidden(open("/etc/passwd", O_RDONLY)));
	HOLDS(is_forbidden(open("file", O_RDWR)));
	HOLDS(is_forbidden(open("new", O_RDWR | O_CREAT, 0600)));
	HOLDS(is_forbidden(open("/", O_RDONLY | O_DIRECTORY)));
	HOLDS(is_forbidden(unlink("file")));
	HOLDS(is_forbidden(mkdir("folder", 0700)));
	return 0;
}

static void empty(void **state)
{
	(void)state;
	behind(look_around);
}

static int look_in_own_root(void)
{
	const int null = open("/dev/null", O_RDWR);
	uint64_t size;

	HOLDS(open("file", O_RDWR) >= 0);
	/* Not that it had one: whether it may be asked. */
	HOLDS(ioctl(null, BLKGETSIZE64, &size) == -1 && errno == ENOTTY);
	HOLDS(open("new", O_RDWR | O_CREAT, 0600) >= 0); /* a snapshot's */
	HOLDS(is_forbidden(mkfifo("fifo", 0600)));
	HOLDS(is_forbidden(mkdir("folder", 0700)));
	HOLDS(is_forbidden(symlink("file", "link")));
	HOLDS(is_forbidden(execl("/bin/true", "true", NULL)));
	HOLDS(unlink("file") == 0 && unlink("new") == 0);
	return 0;
}

static void own_root(void **state)
{
	(void)state;
	config.chroot_base = "/";
	behind(look_in_own_root);
}

static int look_in_folder(void)
{
	HOLDS(is_forbidden(open("file", O_RDONLY)));
	HOLDS(is_forbidden(open("new", O_RDWR | O_CREAT, 0600)));
	HOLDS(is_forbidden(unlink("/etc/passwd")));
	HOLDS(unlink("file") == 0);
	return 0;
}

static void kept_folder(void **state)
{
	(void)state;
	strcpy(jail.kept[jail.nr_kept++], dir);
	behind(look_in_folder);
}

static int prepare(void **state)
{
	int fd;

	make_dir(state);
	assert_int_equal(chdir(dir), 0);
	fd = open("file", O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	config = (struct jail_config){ .name = "test" };
	jail = (struct jail){ .nr_kept = 0 };
	return 0;
}

#define TEST(words, function)                                                    \
	{                                                                        \
		.name = (words), .test_func = (function), .setup_func = prepare, \
		.teardown_func = remove_dir                                      \
	}

static const struct CMUnitTest tests[] = {
	TEST("an empty jail: no path leads anywhere", empty),
	TEST("a root of its own: files as they are there, devices asked for their size", own_root),
	TEST("a folder that was kept: a socket can be removed, nothing else", kept_folder),
};

int main(void)
{
	return cmocka_run_group_tests_name("landlock", tests, NULL, NULL);
}
