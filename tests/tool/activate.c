// SPDX-License-Identifier: Apache-2.0
/*
 * `activate [-n] SOCKET COMMAND ARG...`: runs COMMAND as systemd does for a service with a socket
 * unit: a Unix socket that listens (-n: that does not) is descriptor 3, and the environment says so
 * (sd_listen_fds(3)).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	const int has_option = argc > 1 && !strcmp(argv[1], "-n");
	char pid[16];

	argc -= has_option;
	argv += has_option;
	if (argc < 3 || fd < 0 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    (!has_option && listen(fd, 8)) || (fd != 3 && dup2(fd, 3) < 0))
		return 1;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	execv(argv[2], argv + 2);
	return 127;
}
