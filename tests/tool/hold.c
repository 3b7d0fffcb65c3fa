// SPDX-License-Identifier: Apache-2.0
/*
 * `hold FILE OFFSET`: a record lock on that byte until it is killed, for stories; says so when it
 * has it, or ends with 1.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	const int fd = argc == 3 ? open(argv[1], O_RDWR) : -1;

	if (fd < 0)
		return 2;
	lock.l_start = strtoll(argv[2], NULL, 0);
	if (fcntl(fd, F_SETLK, &lock) || write(STDOUT_FILENO, "held\n", 5) != 5)
		return 1;
	for (;;)
		pause();
}
