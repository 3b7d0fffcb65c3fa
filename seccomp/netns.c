// SPDX-License-Identifier: Apache-2.0
/*
 * A network namespace with nothing in it. To make and to dismantle one is half of the whole jail's
 * cost, and any is as empty as another: so the microVMs of one host share one. Who has made one
 * says so by a lock on a byte of /dev/full, which the kernel takes back when its holder is gone,
 * and which names the holder to all who ask. What they find is checked; where it is not what it
 * should be, they make their own. The lock is lost when any descriptor of that device is closed,
 * which nobody gives a microVM to use, as he may /dev/null.
 */
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define RENDEZVOUS "/dev/full"
#define PLACE	   0x6d6179666c79 /* any number will do, so long as nobody else's is the same */

static bool is_same(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* Not the one in which we are, and made with our privilege: no other user can put us into his. */
static bool is_fit(int ns)
{
	const int owner = ioctl(ns, NS_GET_USERNS);
	const bool fit = owner >= 0 && is_same(owner, "/proc/self/ns/user") &&
			 !is_same(ns, "/proc/self/ns/net");

	if (owner >= 0)
		close(owner);
	return fit;
}

/* Whoever holds the lock may be anybody, in a namespace with a network that root made for him. */
static bool is_empty(void)
{
	char text[512]; /* two lines of titles, and the loopback's of some 120 bytes */
	const int fd = open("/proc/self/net/dev", O_RDONLY | O_CLOEXEC);
	const ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));
	unsigned colons = 0;

	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < len; i++)
		colons += text[i] == ':';
	return len > 0 && len < (ssize_t)sizeof(text) && colons == 1;
}

static bool join(pid_t holder)
{
	char path[48];
	bool joined;
	int ns;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)holder);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return false;
	joined = is_fit(ns) && setns(ns, CLONE_NEWNET) == 0 && is_empty();
	close(ns);
	return joined;
}

int netns_enter(const struct jail *jail)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = PLACE, .l_len = 1 };
	int fd;

	if (jail->has_user_ns) /* it may join no other's */
		return unshare(CLONE_NEWNET) ? -errno : 0;
	fd = open(RENDEZVOUS, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0 &&
	    join(lock.l_pid)) {
		close(fd);
		return 0;
	}
	if (unshare(CLONE_NEWNET)) {
		const int err = -errno;

		close(fd);
		return err;
	}
	lock = (struct flock){ .l_type = F_WRLCK, .l_start = PLACE, .l_len = 1 };
	if (fd >= 0 && fcntl(fd, F_SETLK, &lock)) /* else the descriptor holds it */
		close(fd);
	return 0;
}
