// SPDX-License-Identifier: Apache-2.0
/*
 * Merging and emptying layers, killed before and in the middle of each of their writes: base and
 * layer read as before or as after, and another run finishes it.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../virtio/commit.h"
#include "../../virtio/disk.h"
#include "scratch.h"

#define SECTORS 83u /* ten clusters and a short one */
#define KILLED	77

enum { BEFORE, HALFWAY };

static char base_path[128], layer_path[128];
static unsigned kill_at, nr_steps; /* of the writes of this process; 0: never */
static int kill_how;

/* These stand before the library's: every change that a file sees passes here. */
static bool is_last(void)
{
	return kill_at && ++nr_steps == kill_at;
}

static ino_t inode_of(int fd)
{
	struct stat st = { 0 };

	fstat(fd, &st);
	return st.st_ino;
}

/* The base's time of change, by which a layer knows it: what fdatasync(2) may leave behind. */
static ino_t base_inode;
static bool is_time_lost;

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	const bool is_end = is_last();

	is_time_lost |= inode_of(fd) == base_inode;
	if (is_end && kill_how == HALFWAY && len > DISK_SECTOR)
		syscall(SYS_pwrite64, fd, buf, len / 2, offset);
	if (is_end)
		_exit(KILLED);
	return syscall(SYS_pwrite64, fd, buf, len, offset);
}

int ftruncate(int fd, off_t size)
{
	if (is_last())
		_exit(KILLED);
	return (int)syscall(SYS_ftruncate, fd, size);
}

int fdatasync(int fd)
{
	if (is_last())
		_exit(KILLED);
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	if (is_last())
		_exit(KILLED);
	is_time_lost &= inode_of(fd) != base_inode;
	return (int)syscall(SYS_fsync, fd);
}

static bool is_changed(unsigned sector)
{
	const unsigned cluster = sector * DISK_SECTOR / OVERLAY_CLUSTER;

	return cluster == 0 || cluster == 3 || cluster == 4 || cluster == 10;
}

static void paint(uint8_t *at, unsigned sector, bool is_new)
{
	memset(at, (int)(2 * sector + is_new), DISK_SECTOR);
}

/* A base, and a layer over it that holds some clusters anew. */
static void make_pair(void)
{
	struct overlay_base base;
	uint8_t data[DISK_SECTOR];
	struct overlay o;
	const void *block;
	int base_fd, fd;
	uint64_t at;

	snprintf(base_path, sizeof(base_path), "%s/base", dir);
	snprintf(layer_path, sizeof(layer_path), "%s/layer", dir);
	base_fd = open(base_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	fd = open(layer_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (unsigned i = 0; i < SECTORS; i++) {
		paint(data, i, false);
		assert_int_equal(pwrite(base_fd, data, sizeof(data), i * DISK_SECTOR),
				 sizeof(data));
	}
	assert_int_equal(disk_measure(base_fd, "base", &base), 0);
	assert_int_equal(overlay_empty(fd, &base), 0);
	assert_int_equal(overlay_open(&o, fd, "layer", &base), 0);
	for (unsigned i = 0; i < SECTORS; i++) {
		if (!is_changed(i))
			continue;
		paint(data, i, true);
		pwrite(fd, data, sizeof(data), (off_t)overlay_at(&o, i * DISK_SECTOR));
		overlay_mark(&o, i * DISK_SECTOR, DISK_SECTOR);
	}
	overlay_flush_begin(&o);
	while (overlay_flush_next(&o, &at, &block))
		pwrite(fd, block, OVERLAY_BLOCK, (off_t)at);
	overlay_close(&o);
	close(base_fd);
	close(fd);
}

/* How many sectors are new, of the two read as one; none is a mixture or another's. */
static unsigned count_new(void)
{
	const int base_fd = open(base_path, O_RDONLY), fd = open(layer_path, O_RDWR);
	uint8_t got[DISK_SECTOR], want[DISK_SECTOR];
	struct overlay_base base;
	struct overlay o;
	unsigned n = 0;

	assert_int_equal(disk_measure(base_fd, "base", &base), 0);
	assert_int_equal(overlay_open(&o, fd, "layer", &base), 0);
	for (unsigned i = 0; i < SECTORS; i++) {
		const uint64_t at = (uint64_t)i * DISK_SECTOR;
		bool is_in_layer, is_new;

		overlay_run(&o, at, DISK_SECTOR, &is_in_layer);
		assert_int_equal(pread(is_in_layer ? fd : base_fd, got, sizeof(got),
				       (off_t)(is_in_layer ? overlay_at(&o, at) : at)),
				 sizeof(got));
		is_new = got[0] == (uint8_t)(2 * i + 1);
		paint(want, i, is_new);
		assert_memory_equal(got, want, sizeof(want));
		n += is_new;
	}
	overlay_close(&o);
	close(base_fd);
	close(fd);
	return n;
}

static unsigned all_new(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SECTORS; i++)
		n += is_changed(i);
	return n;
}

static void new_layer(void)
{
	const int fd = open(layer_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	const int base_fd = open(base_path, O_RDONLY);
	struct overlay_base base;

	assert_int_equal(disk_measure(base_fd, "base", &base), 0);
	assert_int_equal(overlay_empty(fd, &base), 0);
	close(base_fd);
	close(fd);
}

static int act(bool is_commit)
{
	return is_commit ? commit_layer(layer_path, base_path) : commit_reset(layer_path);
}

/* In a process that dies at its nth write: true where it came to its end. */
static bool dies(bool is_commit, unsigned at, int how)
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		kill_at = at;
		kill_how = how;
		_exit(act(is_commit) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == KILLED);
	return WEXITSTATUS(status) == KILLED;
}

static void commits(void **state)
{
	unsigned at = 1;

	(void)state;
	for (int how = BEFORE; how <= HALFWAY; how++)
		for (at = 1; make_pair(), dies(true, at, how); at++) {
			assert_int_equal(count_new(), all_new());
			assert_int_equal(act(true), 0);
			assert_int_equal(count_new(), all_new());
			new_layer(); /* all of it is in the base */
			assert_int_equal(count_new(), all_new());
		}
	assert_true(at > 10);
	assert_int_equal(count_new(), all_new());
}

/* All of the layer, or none. */
static void resets(void **state)
{
	unsigned at, n;

	(void)state;
	for (at = 1; make_pair(), dies(false, at, BEFORE); at++) {
		n = count_new();
		assert_true(n == 0 || n == all_new());
		assert_int_equal(act(false), 0);
		assert_int_equal(count_new(), 0);
	}
	assert_true(at > 5);
	assert_int_equal(count_new(), 0);
}

/* A machine that loses power after a commit comes back with a base that fits its layer. */
static void time_of_change(void **state)
{
	(void)state;
	make_pair();
	base_inode = inode_of(open(base_path, O_RDONLY));
	assert_int_equal(commit_layer(layer_path, base_path), 0);
	assert_false(is_time_lost);
	base_inode = 0;
}

/* Between a commit that was killed and the one that finishes it, a reset would lose data. */
static void no_reset_in_between(void **state)
{
	unsigned refused = 0;

	(void)state;
	for (unsigned at = 1; make_pair(), dies(true, at, BEFORE); at++) {
		if (act(false) == 0)
			continue; /* not begun, or all done: the layer was empty, or becomes so */
		refused++;
		assert_int_equal(count_new(), all_new());
	}
	assert_true(refused > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "a commit killed anywhere loses nothing, and another finishes it", commits, NULL,
		  NULL, NULL },
		{ "a commit has the base's time of change on the disk", time_of_change, NULL, NULL,
		  NULL },
		{ "a reset killed anywhere has happened or not", resets, NULL, NULL, NULL },
		{ "an unfinished commit is not reset", no_reset_in_between, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("commit", tests, make_dir, remove_dir);
}
