// SPDX-License-Identifier: Apache-2.0
/*
 * `uncover PID`, by root: in that process's mount namespace, with all capabilities over it, takes
 * off its root and goes to what has come to light. Ends with 0 where that has programs, with 1
 * where nothing has.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const int fd = argc == 2 ? (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0) : -1;

	if (fd < 0 || setns(fd, CLONE_NEWNS)) {
		perror("uncover");
		return 2;
	}
	/* And to where the namespace's root is then. */
	if (umount2("/", MNT_DETACH) || setns(fd, CLONE_NEWNS))
		perror("uncover");
	return access("/bin", F_OK) ? 1 : 0;
}
