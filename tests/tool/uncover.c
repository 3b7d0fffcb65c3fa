// SPDX-License-Identifier: Apache-2.0
/*
 * `uncover PID`: in that process's mount namespace, with all capabilities over it, takes off what
 * covers the root. Ends with 0 where there was something to take off.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const int fd = argc == 2 ? (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0) : -1;

	if (fd < 0 || setns(fd, CLONE_NEWUSER | CLONE_NEWNS)) {
		perror("uncover");
		return 2;
	}
	if (umount2("/", MNT_DETACH)) {
		perror("uncover");
		return 1;
	}
	return 0;
}
