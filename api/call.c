/* SPDX-License-Identifier: Apache-2.0 */
/* What all handlers of requests do: see call.h. Called by them and by routes.c. */
#include "call.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEFORE_ONLY "The requested operation is not supported after starting the microVM."
#define AFTER_ONLY  "The requested operation is not supported before starting the microVM."

int call_refuse(struct call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->fault, sizeof(c->fault), fmt, ap);
	va_end(ap);
	json_whole(c->fault);
	return -EINVAL;
}

int call_check_state(struct call *c, enum when when)
{
	const bool is_started = c->api->state != API_NOT_STARTED;

	if (is_started && when == BEFORE_START)
		return call_refuse(c, BEFORE_ONLY);
	if (is_started && when == BEFORE_PCI)
		return call_refuse(c, "PCI is not enabled");
	return !is_started && when == AFTER_START ? call_refuse(c, AFTER_ONLY) : 0;
}

int call_check_end(struct call *c)
{
	const struct api *api = c->api;

	return api->exit_reason ? call_refuse(c, "The microVM has ended: %s.", api->exit_reason)
				: 0;
}

int call_bad_body(struct call *c, const char *why)
{
	return call_refuse(
		c, "An error occurred when deserializing the json body of a request: %s.", why);
}

int call_read(struct call *c, const struct json_body *body, void *to)
{
	char why[JSON_WHY];

	if (json_read(&c->json, c->body, body, to, why))
		return call_bad_body(c, why);
	return call_check_state(c, c->when);
}

const char *call_os_error(int err, char out[96])
{
	snprintf(out, 96, "%s (os error %d)", strerror(err), err);
	return out;
}

int call_fd(struct call *c, const char *text, struct held *held)
{
	const struct api_fds *fds = c->reply ? c->reply->fds : NULL;
	char *end;
	unsigned long n;

	held->fd = 0;
	if (strncmp(text, "fd:", 3) != 0)
		return 0;
	n = strtoul(text + 3, &end, 10);
	if (text[3] < '0' || text[3] > '9' || *end || !fds || n >= fds->nr || c->kept & 1u << n)
		return call_refuse(c, "No descriptor came with the request for `%.32s`.", text);
	c->kept |= 1u << n;
	held->fd = fds->fd[n];
	snprintf(held->path, sizeof(held->path), "/proc/self/fd/%d", held->fd);
	return 0;
}

const char *call_path(const struct held *held, const char *path)
{
	return held->fd ? held->path : path;
}

void call_let_go(struct held *held)
{
	if (held->fd)
		close(held->fd);
	held->fd = 0;
}

int call_try_open(const char *path, int flags, mode_t *mode)
{
	const int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat st = { .st_mode = 0 };
	int err = 0;

	*mode = 0;
	if (fd < 0)
		return errno;
	if (fstat(fd, &st))
		err = errno;
	*mode = st.st_mode;
	close(fd);
	return err;
}
