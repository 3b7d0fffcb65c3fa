/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of requests, one a row of the table in routes.c. */
#ifndef API_SETUP_H
#define API_SETUP_H

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
	unsigned kept; /* a bit for each descriptor that stays, if the request is done */
	char fault[FAULT_MAX];
};

int call_refuse(struct call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Reads the body; then, as Firecracker does, asks whether this is the time for it. */
int call_read(struct call *c, const struct json_body *body, void *to);
int call_check_state(struct call *c, enum when when);

int get_instance(struct call *c);
int get_version(struct call *c);
int get_config(struct call *c);
int get_machine(struct call *c);
int get_metrics(struct call *c);
int get_events(struct call *c);
int put_machine(struct call *c);
int patch_machine(struct call *c);
int put_boot(struct call *c);
int put_drive(struct call *c);
int patch_drive(struct call *c);
int put_net(struct call *c);
int patch_net(struct call *c);
int put_serial(struct call *c);
int put_logger(struct call *c);
int put_metrics(struct call *c);
int put_action(struct call *c);
int patch_vm(struct call *c);

/* Starts what was configured. */
int setup_start(struct call *c);

#endif
