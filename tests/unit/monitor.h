/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the API share: a monitor that only notes what it was told, files of their own
 * to name, and a way to ask in a line. Once in a program.
 */
#ifndef TESTS_UNIT_MONITOR_H
#define TESTS_UNIT_MONITOR_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Before cmocka, which has a macro fail(): the function is (fail)(). */
#include "../../api/api.h"

#include <cmocka.h>

#include "scratch.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct {
	unsigned starts, pauses, resumes, saves, changes, taps, counts;
	bool is_no_tap, ends_in_pause;
	const char *refusal; /* of the next start */
	struct disk_update disk;
	struct net_update net;
	struct token_bucket buckets[4];
	char path[64];
} seen;

static struct api api;
static struct vm_config config;
static char body[API_BODY_MAX];
static struct api_reply reply;
static struct api_fds fds; /* come with the next request */

static int note_start(void *vm, const struct vm_config *c)
{
	assert_ptr_equal(vm, &seen);
	assert_ptr_equal(c, &config);
	seen.starts++;
	return seen.refusal ? (fail)(0, "%s", seen.refusal) : 0;
}

static int note_tap_open(const char *name)
{
	if (!strcmp(name, "none"))
		return -ENODEV;
	if (!strcmp(name, "busy"))
		return -EBUSY;
	if (!strcmp(name, "notun"))
		return -ENOENT;
	seen.taps++;
	return open("/dev/null", O_RDWR);
}

static int note_tap_check(int fd)
{
	return fd > 2 && !seen.is_no_tap ? 0 : -EINVAL;
}

static void note_pause(void *vm)
{
	(void)vm;
	seen.pauses++;
	if (seen.ends_in_pause)
		api_ended(&api, "rebooted", 120);
}

static void note_resume(void *vm)
{
	(void)vm;
	seen.resumes++;
}

/* The state is its place in the file, and the memory what `saves` says. */
static int note_save(void *vm, int state_fd, uint64_t at, int mem_fd)
{
	(void)vm;
	seen.saves++;
	if (seen.refusal)
		return (fail)(-EIO, "%s", seen.refusal);
	if (pwrite(state_fd, &at, sizeof(at), (off_t)at) != sizeof(at) ||
	    pwrite(mem_fd, &seen.saves, sizeof(seen.saves), 0) != sizeof(seen.saves))
		return -EIO;
	return 0;
}

static int note_disk(void *vm, const struct disk_update *update)
{
	(void)vm;
	seen.disk = *update;
	snprintf(seen.path, sizeof(seen.path), "%s", update->path ? update->path : "");
	if (update->bytes)
		seen.buckets[0] = *update->bytes;
	return 0;
}

static int note_net(void *vm, const struct net_update *update)
{
	(void)vm;
	seen.net = *update;
	if (update->tx_ops)
		seen.buckets[3] = *update->tx_ops;
	return 0;
}

static void note_count(void *vm, struct counters *counters)
{
	(void)vm;
	counters->exits[EXIT_IO_OUT] = 7;
	counters->latency[EXIT_IO_OUT] =
		(struct latency){ .min_us = 1,
				  .max_us = 2000,
				  .sum_us = 2011,
				  .buckets = { 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1 } };
}

static void note_change(struct api *a)
{
	assert_ptr_equal(a, &api);
	seen.changes++;
}

static void note_devices(void *vm, struct devices_counters *d)
{
	(void)vm;
	seen.counts++;
	d->disks[0].counts[BLOCK_READ_BYTES] = seen.counts * 4096u;
	d->disks[1].counts[BLOCK_READ_BYTES] = seen.counts * 512u;
	d->disks[1].latency[BLOCK_WRITE] = (struct latency){
		.min_us = 3, .max_us = 5, .sum_us = 8, .buckets = { 0, 0, 1, 1 }
	};
	d->disks[1].queue_depth = 31;
	d->nets[0].counts[NET_TX_REMAINING_REQS_COUNT] = seen.counts * 2u;
}

static const struct api_ops ops = { note_start,	 note_tap_open, note_tap_check, note_pause,
				    note_resume, note_save,	note_disk,	note_net,
				    note_count,	 note_devices };
static const struct api_names names = { "mayfly", "mayfly API", "0.1.0", "unit" };

static void make_api(const struct api_ops *with)
{
	const struct log_form quiet = { .fd = STDERR_FILENO };

	memset(&seen, 0, sizeof(seen));
	memset(&config, 0, sizeof(config));
	log_to(&quiet);
	api_init(&api, &names, with, &seen, &config, &quiet);
	api.changed = note_change;
}

static int fresh(void **state)
{
	(void)state;
	api_let_go(&api);
	make_api(&ops);
	run("rm -rf *; echo > kernel; echo > disk");
	return chdir(dir);
}

/* "PUT /path body" */
static unsigned ask(const char *line)
{
	static const char *const methods[] = { "GET ", "PUT ", "PATCH ", "DELETE " };
	struct http_request request = { 0 };
	char path[256] = "";
	unsigned m = 0;

	while (strncmp(line, methods[m], strlen(methods[m])))
		m++;
	line += strlen(methods[m]);
	request.method = (enum http_method)m;
	request.body = strchr(line, ' ');
	snprintf(path, sizeof(path), "%.*s",
		 (int)(request.body ? (size_t)(request.body - line) : strlen(line)), line);
	request.path = path;
	request.body_len = request.body ? strlen(++request.body) : 0;
	reply = (struct api_reply){ .body = body, .size = sizeof(body) - 1, .fds = &fds };
	api_request(&api, &request, &reply);
	body[reply.head.body_len] = '\0';
	return reply.head.status;
}

static void gives(const char *line, unsigned status, const char *wanted)
{
	if (ask(line) != status || strcmp(body, wanted))
		fail_msg("%s\n  gave %u %s\n  not  %u %s", line, reply.head.status, body, status,
			 wanted);
}

static void done(const char *line)
{
	gives(line, 204, "");
}

static void refused(const char *line, const char *why)
{
	char wanted[2048];

	snprintf(wanted, sizeof(wanted), "{\"fault_message\":\"%s\"}", why);
	gives(line, 400, wanted);
}

struct row {
	const char *line, *why; /* NULL: done */
};

static inline void all(const struct row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (rows[i].why)
			refused(rows[i].line, rows[i].why);
		else
			done(rows[i].line);
	}
}

#define SERDE "An error occurred when deserializing the json body of a request: "
#define AFTER "The requested operation is not supported after starting the microVM."
#define UNTIL "The requested operation is not supported before starting the microVM."

static inline void start_it(void)
{
	done("PUT /boot-source {\"kernel_image_path\":\"kernel\"}");
	done("PUT /actions {\"action_type\":\"InstanceStart\"}");
}

#define DRIVE(id, root, more) \
	"PUT /drives/" id " {\"drive_id\":\"" id "\",\"is_root_device\":" root more "}"
#define DISK ",\"path_on_host\":\"disk\""

#define NET(id, more)                                                                        \
	"PUT /network-interfaces/" id " {\"iface_id\":\"" id "\",\"host_dev_name\":\"tap" id \
	"\"" more "}"

#define TEST(words, function)                                                 \
	{                                                                     \
		.name = (words), .test_func = (function), .setup_func = fresh \
	}

#endif
