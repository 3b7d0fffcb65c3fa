// SPDX-License-Identifier: Apache-2.0
/* Requests and answers as they are measured: no library between the clock and the socket. */
#include "client.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

int client_connect(const char *path)
{
	const struct timespec pause = { .tv_nsec = 50000 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) < sizeof(addr.sun_path))
		strcpy(addr.sun_path, path);
	for (unsigned i = 0; i < 200000; i++) {
		if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
			return fd;
		nanosleep(&pause, NULL);
	}
	die(path);
}

/* Whether an answer is there whole. */
static bool is_whole(const char *answer, size_t used)
{
	static const char name[] = "\r\nContent-Length: ";
	const char *end = strstr(answer, "\r\n\r\n"), *length = strstr(answer, name);

	if (!end)
		return false;
	if (!length || length > end)
		return true;
	return used - (size_t)(end + 4 - answer) >= strtoul(length + strlen(name), NULL, 10);
}

const char *client_ask(int fd, const char *request, const char *status)
{
	static char answer[256 << 10];
	size_t used = 0;

	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		die("send");
	do {
		const ssize_t n = recv(fd, answer + used, sizeof(answer) - 1 - used, 0);

		if (n <= 0)
			die("recv");
		used += (size_t)n;
		answer[used] = '\0';
	} while (!is_whole(answer, used));
	if (strncmp(answer, status, strlen(status)) != 0) {
		fprintf(stderr, "bench: %s\n", answer);
		exit(EXIT_FAILURE);
	}
	return answer;
}

void client_form(char *request, size_t size, const char *what, const char *body)
{
	const int n = snprintf(request, size, "%s HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", what,
			       strlen(body), body);

	if (n < 0 || (size_t)n >= size)
		die("a request is too long");
}

void client_tell(int fd, const char *what, const char *body)
{
	char request[2048];

	client_form(request, sizeof(request), what, body);
	client_ask(fd, request, "HTTP/1.1 204 ");
}
