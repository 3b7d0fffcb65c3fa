/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API behind HTTP: requests in, answers out, and what was configured in between. It knows the
 * microVM by a struct vm_config, which it fills, and by struct api_ops, through which it acts; so
 * it runs in tests without either. One thread, the loop's.
 *
 * Reading order: routes.c (the table of requests), then their handlers in setup.c, devices.c,
 * start.c and answers.c; bodies.c (the fields).
 */
#ifndef API_API_H
#define API_API_H

#include "bodies.h"
#include "config.h"
#include "http.h"
#include "metrics.h"
#include "../vmm/log.h"

/* The monitor's side. Those that return int: 0, or -errno with log_last_failure() saying why. */
struct api_ops {
	/* Builds the microVM and lets it run; a failure leaves nothing behind. */
	int (*start)(void *vm, const struct vm_config *config);
	/* An open descriptor of the tap, or -errno; whether a descriptor is such a one. */
	int (*tap_open)(const char *name);
	int (*tap_check)(int fd);
	void (*pause)(void *vm); /* returns when no vCPU runs */
	void (*resume)(void *vm);
	/* Writes a snapshot of what is paused; see vmm/snapshot.h. */
	int (*save)(void *vm, int state_fd, uint64_t at, int mem_fd);
	/* NULL where the monitor has no such devices. */
	int (*disk_update)(void *vm, const struct disk_update *update);
	int (*net_update)(void *vm, const struct net_update *update);
	void (*count)(void *vm, struct counters *counters); /* fills in the monitor's part */
	/* The devices', in the order of the configuration; NULL where there are none. */
	void (*count_devices)(void *vm, struct devices_counters *counters);
};

enum api_state { API_NOT_STARTED, API_RUNNING, API_PAUSED };

/* Who we are: struct api's strings that never change. */
struct api_names {
	const char *app;     /* "mayfly", or "Firecracker" under that name */
	const char *server;  /* "mayfly API" */
	const char *version; /* "0.1.0" */
	const char *id;	     /* of the instance */
};

struct api {
	struct api_names names;
	const struct api_ops *ops;
	void *vm;
	struct vm_config *config; /* filled at the start; what no request sets is the caller's */
	enum api_state state;
	const char *exit_reason; /* once the guest has ended, of which output may still go out */
	int exit_code;
	void (*changed)(struct api *api); /* the state did, or the guest has ended; or NULL */

	struct log_form log;
	struct counters counters;

	struct machine_body machine;
	bool has_machine;		 /* somebody has set it */
	uint64_t origin_dev, origin_ino; /* of the file that memory is mapped from; or 0 */
	struct boot_body *boot; /* one of the two below, the other is for the next; or NULL */
	bool has_serial;
	unsigned nr_drives, nr_nets;
	struct metrics metrics;
	/* From the end of the metrics on it is touched only as it is used: most of it never is. */
	struct boot_body boots[2];
	struct serial_body serial;
	struct logger_body logger;
	struct metrics_body metrics_config;
	struct drive_body drives[DEVICES_MAX]; /* in the order in which they came */
	struct net_body nets[DEVICES_MAX];
	struct devices_counters devices;
};

/* Descriptors that came with a request (SCM_RIGHTS); those that it takes become -1. */
#define API_FDS_MAX 16u
struct api_fds {
	int fd[API_FDS_MAX];
	unsigned nr;
};

/* An answer: the head's status, type and length are set; the body goes into `body`. */
struct api_reply {
	struct http_answer head;
	char *body;
	size_t size;
	struct api_fds *fds; /* of the request, or NULL */
	bool is_events;	     /* the body is the stream of events, which the server keeps going */
};

/* Of the snapshots that are written, and no others are loaded. */
#define SNAPSHOT_VERSION 1u

/* Room for the largest answers, with 19 devices of long paths. */
#define API_BODY_MAX (256u << 10)

/* `log` is how the log looks so far. */
void api_init(struct api *api, const struct api_names *names, const struct api_ops *ops, void *vm,
	      struct vm_config *config, const struct log_form *log);

/* Answers one request. */
void api_request(struct api *api, const struct http_request *request, struct api_reply *reply);

/* Configures from a file's text and starts. 0 or -EINVAL, logged. */
int api_config_file(struct api *api, const char *text, size_t len);

/*
 * Goes on from a snapshot, with the disks and taps of `with` in the place of those of the same
 * names. 0 or -EINVAL, logged.
 */
int api_clone(struct api *api, const char *state, const char *memory, const struct vm_config *with);

/* The guest has ended: GET / says why from now on, and nothing changes any more. */
void api_ended(struct api *api, const char *reason, int code);

/* Closes what was given for a start that has come, or never will. */
void api_let_go(struct api *api);

/* The events that tell the state, and once it has ended how: JSON lines, without their newlines. */
#define API_EVENT_MAX 160u
void api_state_event(const struct api *api, char line[API_EVENT_MAX]);
void api_exit_event(const struct api *api, char line[API_EVENT_MAX]);

/* "Not started", "Running", "Paused" */
const char *api_state_name(enum api_state state);

/* Opens the metrics file, or the log, as the requests do, for options. 0 or -EINVAL, logged. */
int api_open_metrics(struct api *api, const char *path);
int api_open_log(struct api *api, const struct logger_body *body);

/* A line of metrics, if there is a file for them. 0 or -errno. */
int api_flush_metrics(struct api *api);

/* Counts anew: api->counters, and in *devices api->devices with their names. */
void api_count(struct api *api, struct metrics_devices *devices);

#endif
