/* SPDX-License-Identifier: Apache-2.0 */
/* One request on its way from routes.c to its handler, and what handlers share. */
#ifndef API_CALL_H
#define API_CALL_H

#include "api.h"

#define FAULT_MAX 1024u

/* When a request is allowed; BEFORE_PCI: only a monitor with PCI could do it later. */
enum when { ANY_TIME, BEFORE_START, AFTER_START, BEFORE_PCI };

/* One request on its way. A handler returns 0, or -EINVAL with `fault` saying why. */
struct call {
	struct api *api;
	const char *id;	       /* the path's {id}, or "" */
	struct json_text json; /* of the body */
	enum when when;
	const cJSON *body;	 /* what of it the handler reads: all, or a section of the file */
	struct api_reply *reply; /* NULL: a section of the config file */
	cJSON *answer;		 /* what a GET gives */
	bool is_deprecated;
	char fault[FAULT_MAX];
};

/* Says why not; returns -EINVAL. */
int call_refuse(struct call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int call_bad_body(struct call *c, const char *why);

/* Reads the body; then, as Firecracker does, asks whether this is the time for it. */
int call_read(struct call *c, const struct json_body *body, void *to);
int call_check_state(struct call *c, enum when when);

/*
 * "fd:N" is descriptor N of those that came with the request, and becomes the caller's; of any
 * other text *fd is 0. 0 or -EINVAL.
 */
int call_fd(struct call *c, const char *text, int *fd);

/*
 * Opens a file for the caller: "fd:N" as above, where it may do what `flags` ask for, or a path,
 * but for "/proc/self/fd/N" and what leads there. 0; an errno, which is positive here, and *fd 0;
 * or -EINVAL, refused.
 */
int call_open(struct call *c, const char *text, int flags, int *fd);

/* Closes what is held, if anything. */
void call_let_go(int *fd);

/* Refuses what comes when the guest has ended and only its output is still going out. */
int call_check_end(struct call *c);

/* "No such file or directory (os error 2)", as Rust says it. */
const char *call_os_error(int err, char out[96]);

#endif
