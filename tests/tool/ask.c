// SPDX-License-Identifier: Apache-2.0
/*
 * `ask SOCKET FILE`: the request on standard input, with FILE as a descriptor (SCM_RIGHTS), over a
 * Unix socket; the answer on standard output. For stories; socat sends no descriptors.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int send_with(int to, char *text, size_t len, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct iovec piece = { text, len };
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(to, &message, 0) == (ssize_t)len ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const int to = socket(AF_UNIX, SOCK_STREAM, 0);
	char text[16384];
	size_t len;
	ssize_t n;
	int fd;

	if (argc != 3 || strlen(argv[1]) >= sizeof(addr.sun_path))
		return 2;
	strcpy(addr.sun_path, argv[1]);
	fd = open(argv[2], O_RDWR);
	len = fread(text, 1, sizeof(text), stdin);
	if (fd < 0 || connect(to, (struct sockaddr *)&addr, sizeof(addr)) ||
	    send_with(to, text, len, fd) || shutdown(to, SHUT_WR))
		return 1;
	while ((n = read(to, text, sizeof(text))) > 0)
		if (fwrite(text, 1, (size_t)n, stdout) != (size_t)n)
			return 1;
	return n < 0;
}
