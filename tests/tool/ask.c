// SPDX-License-Identifier: Apache-2.0
/*
 * `ask SOCKET FILE...`: the request on standard input, with up to eight files as descriptors
 * (SCM_RIGHTS), over a Unix socket; the answer on standard output. For stories; socat sends no
 * descriptors.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS 8

static int send_with(int to, char *text, size_t len, const int *fds, size_t nr)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS * sizeof(*fds))] = { 0 };
	struct iovec piece = { text, len };
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = CMSG_SPACE(nr * sizeof(*fds)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nr * sizeof(*fds));
	memcpy(CMSG_DATA(c), fds, nr * sizeof(*fds));
	return sendmsg(to, &message, 0) == (ssize_t)len ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const int to = socket(AF_UNIX, SOCK_STREAM, 0);
	char text[16384];
	const size_t nr = (size_t)argc - 2;
	int fds[FDS];
	size_t len;
	ssize_t n;

	if (argc < 3 || nr > FDS || strlen(argv[1]) >= sizeof(addr.sun_path))
		return 2;
	strcpy(addr.sun_path, argv[1]);
	for (size_t i = 0; i < nr; i++)
		if ((fds[i] = open(argv[2 + i], O_RDWR)) < 0)
			return 1;
	len = fread(text, 1, sizeof(text), stdin);
	if (connect(to, (struct sockaddr *)&addr, sizeof(addr)) ||
	    send_with(to, text, len, fds, nr) || shutdown(to, SHUT_WR))
		return 1;
	while ((n = read(to, text, sizeof(text))) > 0)
		if (fwrite(text, 1, (size_t)n, stdout) != (size_t)n)
			return 1;
	return n < 0;
}
