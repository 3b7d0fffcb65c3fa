// SPDX-License-Identifier: Apache-2.0
/*
 * `mayfly snapshot`: a running microVM reaches no files, so a client opens them and sends their
 * descriptors with the request, which curl does not. Called by main.c.
 */
#include "client.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX 2048u
#define FDS	   2

/* All of the request in one piece, with the descriptors, if any. */
static int send_all(int to, char *text, const int *fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS * sizeof(*fds))] = { 0 };
	struct iovec piece = { text, strlen(text) };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fds) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(FDS * sizeof(*fds));
		memcpy(CMSG_DATA(c), fds, FDS * sizeof(*fds));
	}
	if (sendmsg(to, &message, MSG_NOSIGNAL) != (ssize_t)piece.iov_len)
		return -errno;
	return shutdown(to, SHUT_WR) ? -errno : 0;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd < 0 ? -errno : fd;
	err = -errno;
	close(fd);
	return err;
}

/* The server closes what we have closed, behind its answer. 0 or -errno. */
static int talk(const char *socket, char *text, const int *fds, char answer[ANSWER_MAX])
{
	const int fd = connect_to(socket);
	size_t used = 0;
	ssize_t n = 1;
	int err = fd < 0 ? fd : send_all(fd, text, fds);

	while (!err && n > 0 && used < ANSWER_MAX - 1) {
		n = read(fd, answer + used, ANSWER_MAX - 1 - used);
		used += n > 0 ? (size_t)n : 0;
		err = n < 0 ? -errno : 0;
	}
	answer[used] = '\0';
	if (fd >= 0)
		close(fd);
	return err;
}

/* Of {"fault_message":"..."} what is in there. */
static int tell(const char *socket, char *answer)
{
	static const char before[] = "{\"fault_message\":\"";
	char *body = strstr(answer, "\r\n\r\n");
	size_t len;

	body = body ? body + 4 : answer;
	len = strlen(body);
	if (!strncmp(body, before, strlen(before)) && len > strlen(before) + 2) {
		body[len - 2] = '\0';
		body += strlen(before);
	}
	return fail(0, "%s: %s", socket, *body ? body : "no answer");
}

static int ask(const char *socket, const char *method, const char *path, const char *body,
	       const int *fds, char answer[ANSWER_MAX])
{
	char text[256];
	int err;

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", method,
		 path, strlen(body), body);
	err = talk(socket, text, fds, answer);
	if (err)
		return fail(err, "%s", socket);
	return strncmp(answer, "HTTP/1.1 2", 10) ? tell(socket, answer) : 0;
}

struct file {
	const char *path;
	bool is_new;
};

static int open_files(struct file *files, int *fds)
{
	for (unsigned i = 0; i < FDS; i++) {
		fds[i] = open(files[i].path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		files[i].is_new = fds[i] >= 0;
		if (fds[i] < 0 && errno == EEXIST)
			fds[i] = open(files[i].path, O_RDWR | O_CLOEXEC);
		if (fds[i] < 0)
			return fail(-errno, "%s", files[i].path);
	}
	return 0;
}

/* What is not a snapshot is not left behind. */
static void remove_new(const struct file *files)
{
	for (unsigned i = 0; i < FDS; i++)
		if (files[i].is_new)
			unlink(files[i].path);
}

int client_snapshot(const char *socket, const char *state, const char *memory)
{
	struct file files[FDS] = { { state, false }, { memory, false } };
	char answer[ANSWER_MAX];
	int fds[FDS], err = ask(socket, "GET", "/", "", NULL, answer);
	bool was_running = false;

	if (!err) /* no files where nobody serves */
		err = open_files(files, fds);
	if (!err)
		was_running = strstr(answer, "\"state\":\"Running\"");
	if (was_running)
		err = ask(socket, "PATCH", "/vm", "{\"state\":\"Paused\"}", NULL, answer);
	if (!err)
		err = ask(socket, "PUT", "/snapshot/create",
			  "{\"snapshot_path\":\"fd:0\",\"mem_file_path\":\"fd:1\"}", fds, answer);
	if (err)
		remove_new(files);
	if (was_running && ask(socket, "PATCH", "/vm", "{\"state\":\"Resumed\"}", NULL, answer))
		return -EINVAL;
	return err;
}
