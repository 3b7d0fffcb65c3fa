// SPDX-License-Identifier: Apache-2.0
/*
 * Another image in the place of a disk's first (disktest.h), also while requests are under way, and
 * an image that shrinks.
 */
#include "disktest.h"

#include <sys/stat.h>

/* An image that is cut short under the guest: an error, no zeros, and what is left goes on. */
static void shrunk(void **state)
{
	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	assert_int_equal(truncate(base_path, 100 * DISK_SECTOR), 0);
	fails_are_fine = true;
	assert_int_equal(once(DISK_READ, 98, 4), -EIO);
	assert_int_equal(once(DISK_READ, 120, 1), -EIO);
	assert_int_equal(once(DISK_READ, 90, 10), 0);
	assert_int_equal(disk_replace(&disk, "", 0), 0);
	assert_int_equal(disk.size, 100 * DISK_SECTOR);
	assert_int_equal(truncate(base_path, DISK_SECTOR - 1), 0);
	assert_int_not_equal(disk_replace(&disk, "", 0), 0);
	assert_int_equal(disk.size, 100 * DISK_SECTOR);
	close_disk();
}

/* As another microVM would: 0 if it could have it. */
static int open_disk_again(const char *path)
{
	const int fd = open(path, O_RDWR);
	const int err = disk_lock(fd, path, true, false);

	close(fd);
	return err;
}

/* What the API does: the new image is read, the old one another's to lock, and a bad one changes
 * nothing. */
static void replaced(void **state)
{
	char other[160], none[160];
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	snprintf(none, sizeof(none), "%s.none", base_path);
	make(NULL, false, DISK_CACHE_WRITEBACK);
	fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(fd, 50 * DISK_SECTOR), 0);
	assert_int_not_equal(disk_replace(&disk, none, 0), 0);
	assert_int_equal(disk_lock(fd, other, true, true), 0);
	assert_int_not_equal(disk_replace(&disk, other, 0), 0); /* in use */
	read_all();
	close(fd);
	disk.writes_zeros = true; /* a device's */
	assert_int_equal(disk_replace(&disk, other, 0), 0);
	assert_false(disk.writes_zeros); /* a file's may be holes */
	assert_int_equal(disk.size, 50 * DISK_SECTOR);
	for (unsigned i = 0; i < 50; i++) /* zeros */
		sectors[i].zero = sectors[i].completed = sectors[i].submitted = 1;
	for (unsigned at = 0; at < 48; at += 8)
		assert_int_equal(once(DISK_READ, at, 8), 0);
	fd = open(base_path, O_RDWR);
	assert_int_equal(disk_lock(fd, base_path, true, true), 0);
	close(fd);
	assert_int_equal(truncate(other, 60 * DISK_SECTOR), 0);
	assert_int_equal(disk_replace(&disk, other, 0), 0); /* the same, grown */
	assert_int_equal(disk.size, 60 * DISK_SECTOR);
	close_disk();
	unlink(other);

	make(layer_path, false, DISK_CACHE_WRITEBACK);
	assert_int_not_equal(disk_replace(&disk, base_path, 0), 0);
	close_disk();
}

/* What is left of a request that has begun is the old image's, and an image does not grow by one
 * that was checked against the old size. */
static void replaced_meanwhile(void **state)
{
	char other[160];
	struct stat st;
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	make(NULL, false, DISK_CACHE_WRITEBACK);
	has_fallocate = false;
	fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(pwrite(fd, "precious", 8, 0), 8);
	assert_int_equal(ftruncate(fd, 50 * DISK_SECTOR), 0);
	close(fd);
	fails_are_fine = true;
	submit(&ios[0], DISK_ZERO, 0, MOST);
	assert_int_equal(nr_pending, 1); /* fallocate(), in the place of which comes a write */
	assert_int_equal(disk_replace(&disk, other, 0), 0);
	assert_int_equal(disk_replace(&disk, base_path, 0), -EBUSY);
	assert_int_equal(disk_replace(&disk, other, 0), 0); /* it is there */
	while (ios[0].is_out)
		pick();
	assert_int_equal(nr_failed, 1);
	assert_false(disk.writes_zeros); /* of the new one nothing is known yet */
	assert_int_equal(once(DISK_WRITE, 49, 2), -EIO);
	assert_int_equal(once(DISK_WRITE, 60, 4), -EIO);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 50 * DISK_SECTOR);
	fd = open(other, O_RDONLY);
	assert_int_equal(pread(fd, &st, 8, 0), 8);
	assert_memory_equal(&st, "precious", 8);
	close(fd);
	close_disk();
	unlink(other);
}

/* All that is in the ring when the image is replaced is the old one's, which nobody else can lock
 * until then; a flush that has not begun is not said to have synced it. */
static void replaced_in_flight(void **state)
{
	char other[160];
	struct stat st;
	uint8_t byte;
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	for (unsigned i = 0; i < 20; i++) {
		seed = 300 + i;
		make(NULL, false, DISK_CACHE_WRITEBACK);
		is_short = false;
		fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(pwrite(fd, "x", 1, 0), 1);
		assert_int_equal(ftruncate(fd, SECTORS * DISK_SECTOR), 0);
		submit(&ios[0], DISK_WRITE, 0, 8);
		submit(&ios[1], DISK_READ, 8, 8);
		submit(&ios[2], DISK_UNMAP, 16, 8);
		submit(&ios[3], DISK_FLUSH, 0, 0);
		submit(&ios[4], DISK_FLUSH, 0, 0);
		fails_are_fine = true;
		assert_int_equal(disk_replace(&disk, other, 0), 0);
		assert_int_not_equal(disk_replace(&disk, base_path, 0), 0);
		assert_int_not_equal(open_disk_again(base_path), 0);
		settle();
		assert_int_equal(nr_failed, 1);
		assert_int_equal(ios[4].err, -EIO);
		assert_int_equal(open_disk_again(base_path), 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(pread(fd, &byte, 1, 0), 1);
		assert_int_equal(byte, 'x');
		assert_in_range(st.st_blocks, 0, 8); /* 512 bytes each: one block of one byte */
		close(fd);
		assert_int_equal(disk_replace(&disk, base_path, 0), 0);
		for (unsigned n = 0; n < 24; n += 8)
			assert_int_equal(once(DISK_READ, n, 8), 0);
		close_disk();
	}
	unlink(other);
}

/* Why the ring's table takes no file is what is said, and the image is given up again. */
static void without_a_place(void **state)
{
	char other[160];
	int fd;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	make(NULL, false, DISK_CACHE_WRITEBACK);
	fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(fd, SECTORS * DISK_SECTOR), 0);
	for (unsigned i = 0; i < 2; i++) { /* a new place, then the old image's */
		place_errno = ENOMEM;
		assert_int_equal(disk_replace(&disk, i ? base_path : other, 0), -ENOMEM);
		place_errno = 0;
		assert_int_equal(open_disk_again(i ? base_path : other), 0);
		assert_int_not_equal(open_disk_again(i ? other : base_path), 0);
		assert_int_equal(disk_replace(&disk, i ? base_path : other, 0), 0);
	}
	read_all();
	close_disk();
	close(fd);
	unlink(other);
}

static struct disk other_disk;

/* A descriptor's lock is its open file's, which another disk may have, or the same disk. */
static void refused_keeps_locks(void **state)
{
	struct disk_config other_config = { .id = "disk1", .is_read_only = true };
	char other[160];
	int reader;

	(void)state;
	snprintf(other, sizeof(other), "%s.other", base_path);
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.fd = open(base_path, O_RDWR);
	assert_int_equal(open_disk(), 0);
	assert_int_equal(truncate(base_path, DISK_SECTOR - 1), 0);
	assert_int_not_equal(disk_replace(&disk, "fd:0", config.fd), 0); /* is empty */
	assert_int_not_equal(open_disk_again(base_path), 0);

	other_config.path = other;
	other_config.fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(other_config.fd, 50 * DISK_SECTOR), 0);
	assert_int_equal(disk_open(&other_disk, &other_config), 0);
	reader = open(other, O_RDONLY);
	assert_int_equal(disk_lock(reader, other, false, false), 0);
	assert_int_not_equal(disk_replace(&disk, "fd:0", other_config.fd), 0);
	close(reader);
	assert_int_not_equal(open_disk_again(other), 0);
	disk_close(&other_disk, true);
	close(other_config.fd);
	close_disk();
	close(config.fd);
	unlink(other);
}

/* The lock that a descriptor brings along stays its client's, when a start comes to nothing, too.
 */
static void sent_keeps_its_lock(void **state)
{
	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.is_sent = true;
	config.fd = open(base_path, O_RDWR);
	assert_int_equal(disk_lock(config.fd, base_path, true, false), 0);
	assert_int_equal(disk_open(&disk, &config), 0);
	disk_close(&disk, true);
	assert_int_not_equal(open_disk_again(base_path), 0);
	close(config.fd);
	config.fd = open(base_path, O_RDWR); /* which brings none */
	assert_int_equal(disk_open(&disk, &config), 0);
	disk_close(&disk, true);
	assert_int_equal(open_disk_again(base_path), 0);
	close(config.fd);
	config.is_sent = false;
	config.fd = 0;
}

static struct disk_config open_other_disk(char path[160], bool is_read_only)
{
	static struct disk_config c;

	snprintf(path, 160, "%s.other", base_path);
	c = (struct disk_config){ .id = "disk1", .path = path, .is_read_only = is_read_only };
	c.fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(c.fd, 50 * DISK_SECTOR), 0);
	assert_int_equal(disk_open(&other_disk, &c), 0);
	assert_int_equal(disk_join(&other_disk, &disk), 0);
	return c;
}

/*
 * Disks of one microVM: another's image is refused where one of the two may write to it, though
 * both have it by one open file, whose lock keeps none away; also one that is about to be given up.
 */
static void another_disks(void **state)
{
	char other[160], third[160];
	int fd;

	(void)state;
	snprintf(third, sizeof(third), "%s.third", base_path);
	fd = open(third, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(ftruncate(fd, 50 * DISK_SECTOR), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct disk_config c;

		make(NULL, false, DISK_CACHE_WRITEBACK);
		close_disk();
		config.fd = open(base_path, O_RDWR);
		assert_int_equal(open_disk(), 0);
		c = open_other_disk(other, i);
		assert_int_equal(disk_attach(&other_disk, NULL), 0);
		assert_int_not_equal(disk_replace(&disk, "fd:0", c.fd), 0);
		assert_int_not_equal(open_disk_again(other), 0);
		assert_int_not_equal(disk_replace(&other_disk, "fd:0", config.fd), 0);
		assert_int_not_equal(open_disk_again(base_path), 0);

		submit(&ios[0], DISK_WRITE, 0, 1);
		assert_int_equal(disk_replace(&disk, third, 0), 0);
		assert_int_not_equal(disk_replace(&other_disk, "fd:0", config.fd), 0);
		settle();
		assert_int_equal(disk_replace(&other_disk, "fd:0", config.fd), 0);
		assert_int_not_equal(open_disk_again(base_path), 0);
		assert_int_equal(open_disk_again(other), 0);
		disk_close(&other_disk, true);
		close_disk();
		close(config.fd);
		close(c.fd);
	}
	close(fd);
	unlink(other);
	unlink(third);
}

/* What a client has locked before it was sent to a running microVM is locked after it, too. */
static void replaced_keeps_clients_lock(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char other[160], third[160];
	struct disk_config c;
	int fd;

	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	c = open_other_disk(other, false);
	disk_close(&other_disk, true);
	assert_int_equal(fcntl(c.fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(disk_replace(&disk, "fd:0", c.fd), 0);
	snprintf(third, sizeof(third), "%s.third", base_path);
	fd = open(third, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(disk_replace(&disk, third, 0), 0);
	assert_int_not_equal(open_disk_again(other), 0);
	close(c.fd); /* the client's */
	assert_int_equal(open_disk_again(other), 0);
	close_disk();
	close(fd);
	unlink(other);
	unlink(third);
}

/* Two may read one open file: whichever is given another first, the lock stays for the other. */
static void shared_lock_stays(void **state)
{
	char other[160];
	struct disk_config c;
	int fd;

	(void)state;
	make(NULL, false, DISK_CACHE_WRITEBACK);
	close_disk();
	config.is_read_only = true;
	assert_int_equal(open_disk(), 0);
	c = open_other_disk(other, true);
	assert_int_equal(disk_replace(&disk, "fd:0", c.fd), 0);
	assert_int_equal(disk_replace(&disk, base_path, 0), 0);
	assert_int_not_equal(open_disk_again(other), 0);
	assert_int_equal(disk_replace(&disk, "fd:0", c.fd), 0);
	submit(&ios[0], DISK_READ, 49, 1);
	fd = open(base_path, O_RDONLY);
	assert_int_equal(disk_attach(&other_disk, NULL), 0);
	assert_int_equal(disk_replace(&other_disk, "fd:0", fd), 0);
	assert_int_not_equal(open_disk_again(other), 0);
	sectors[49].zero = sectors[49].completed = 1;
	settle();
	assert_int_equal(disk_replace(&disk, base_path, 0), 0);
	assert_int_equal(open_disk_again(other), 0); /* nobody's any more */
	assert_int_not_equal(open_disk_again(base_path), 0);
	disk_close(&other_disk, true);
	close_disk();
	close(c.fd);
	close(fd);
	unlink(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "an image that shrinks is an error and a new size", shrunk, NULL, NULL, NULL },
		{ "another image in the place of the first", replaced, NULL, NULL, NULL },
		{ "...while a request is under way", replaced_meanwhile, NULL, NULL, NULL },
		{ "...while there is one in each step", replaced_in_flight, NULL, NULL, NULL },
		{ "...for which the ring has no place", without_a_place, NULL, NULL, NULL },
		{ "one that is refused unlocks nothing", refused_keeps_locks, NULL, NULL, NULL },
		{ "the lock that a descriptor brings along stays its client's", sent_keeps_its_lock,
		  NULL, NULL, NULL },
		{ "and that of one sent to a running microVM", replaced_keeps_clients_lock, NULL,
		  NULL, NULL },
		{ "another disk's is refused where one may write", another_disks, NULL, NULL,
		  NULL },
		{ "a lock that two read by stays for the other", shared_lock_stays, NULL, NULL,
		  NULL },
	};

	return cmocka_run_group_tests_name("diskreplace", tests, make_dir, remove_dir);
}
