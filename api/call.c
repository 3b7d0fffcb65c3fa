// SPDX-License-Identifier: Apache-2.0
/* What all handlers of requests do: see call.h. Called by them and by routes.c. */
#include "call.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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

int call_fd(struct call *c, const char *text, int *fd)
{
	struct api_fds *fds = c->reply ? c->reply->fds : NULL;
	char *end;
	unsigned long n;

	*fd = 0;
	if (strncmp(text, "fd:", 3) != 0)
		return 0;
	n = strtoul(text + 3, &end, 10);
	if (text[3] < '0' || text[3] > '9' || *end || !fds || n >= fds->nr || fds->fd[n] < 0)
		return call_refuse(c, "No descriptor came with the request for `%.*s`.",
				   json_cut(text, 32), text);
	*fd = fds->fd[n];
	fds->fd[n] = -1;
	return 0;
}

/*
 * By no magic link of /proc, under whatever name it goes: it would open what a caller or another
 * client has open, whose path may lead nowhere for us. In the jail of a running microVM, whose
 * filter lets only open(2) through, there is no /proc.
 */
static int open_path(const struct call *c, const char *path, int flags)
{
	const struct open_how how = { .flags = (unsigned)flags,
				      .mode = flags & O_CREAT ? 0600 : 0,
				      .resolve = RESOLVE_NO_MAGICLINKS };

	if (!c->reply || c->api->state != API_NOT_STARTED)
		return config_open(path, 0, flags);
	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* open_path() failed for such a link alone: an ordinary loop leads nowhere without it, too. */
static bool is_magic(const struct call *c, const char *path)
{
	return errno == ELOOP && c->reply && c->api->state == API_NOT_STARTED &&
	       access(path, F_OK) == 0;
}

static int refuse_own(struct call *c, const char *path)
{
	return call_refuse(c,
			   "%.*s: mayfly's own descriptors are no files; send yours with the "
			   "request, and `fd:0` as its path.",
			   json_cut(path, 64), path);
}

int call_open(struct call *c, const char *text, int flags, int *fd)
{
	int sent, err = 0;

	*fd = 0;
	/* A client's request reaches nothing of ours: the ring, eventfds, others' connections. */
	if (c->reply && !strncmp(text, CONFIG_OWN_FD, strlen(CONFIG_OWN_FD)))
		return refuse_own(c, text);
	if (call_fd(c, text, &sent))
		return -EINVAL;
	flags |= O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	*fd = sent ? config_open(text, sent, flags) : open_path(c, text, flags);
	if (*fd < 0) {
		err = errno;
		*fd = 0;
		if (is_magic(c, text))
			return refuse_own(c, text);
	}
	call_let_go(&sent);
	return err;
}

void call_let_go(int *fd)
{
	if (!*fd)
		return; /* nor is its page touched */
	close(*fd);
	*fd = 0;
}
