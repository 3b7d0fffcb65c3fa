/* SPDX-License-Identifier: Apache-2.0 */
/* Opening what was named: see file.h. Called by whoever opens what a user or a client gave. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_access(int have, int want)
{
	return have == O_RDWR || have == want;
}

static int copy(int fd, int flags)
{
	const int now = fcntl(fd, F_GETFL);
	int own;

	if (now < 0)
		return -errno;
	if (!has_access(now & O_ACCMODE, flags & O_ACCMODE))
		return -EACCES;
	own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (own >= 0 && flags & O_TRUNC && ftruncate(own, 0) && errno != EINVAL) { /* a FIFO's */
		close(own);
		return -errno;
	}
	return own < 0 ? -errno : own;
}

int file_open(const char *path, int flags)
{
	const size_t len = strlen(FILE_FD);
	char *end;
	int fd;

	if (!strncmp(path, FILE_FD, len) && path[len] >= '0' && path[len] <= '9') {
		fd = (int)strtol(path + len, &end, 10);
		if (!*end)
			return copy(fd, flags);
	}
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);
	return fd < 0 ? -errno : fd;
}
