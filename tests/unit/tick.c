// SPDX-License-Identifier: Apache-2.0
/*
 * The metrics' minute, with a loop whose time is the test's: how long was asked for, what each tick
 * writes, and that the next one follows.
 */
#include <errno.h>
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
#include "../../api/server.h"

#include <cmocka.h>

#include "scratch.h"

static struct loop loop;
static struct server server;
static struct api api;
static struct vm_config config;
static struct op *waiting; /* for its timeout */
static uint64_t asked_ms, counted;

/* The loop. Without a socket the server asks it for time and nothing else. */

void loop_timeout(struct loop *l, struct op *op, struct __kernel_timespec *ts, uint64_t ms)
{
	assert_ptr_equal(l, &loop);
	assert_non_null(ts);
	assert_null(waiting);
	waiting = op;
	asked_ms = ms;
}

uint64_t loop_now_ns(clockid_t clock)
{
	(void)clock;
	return 1;
}

int loop_file(struct loop *l, int fd)
{
	(void)l;
	(void)fd;
	abort();
}

struct io_uring_sqe *loop_sqe(struct loop *l)
{
	(void)l;
	abort();
}

void loop_prepared(struct io_uring_sqe *sqe, struct op *op)
{
	(void)sqe;
	(void)op;
	abort();
}

int loop_wait_ready(struct loop *l, struct op *op, int fd, uint32_t events)
{
	(void)l;
	(void)op;
	(void)fd;
	(void)events;
	abort();
}

void loop_yield(struct loop *l, struct op *op)
{
	(void)l;
	(void)op;
	abort();
}

void loop_cancel(struct loop *l, struct op *op)
{
	(void)l;
	(void)op;
	abort();
}

static void count(void *vm, struct counters *counters)
{
	(void)vm;
	counters->exits[EXIT_IO_OUT] = ++counted;
}

static const struct api_ops ops = { .count = count };
static const struct api_names names = { "mayfly", "mayfly API", "0", "unit" };

static void pass_a_minute(void)
{
	struct op *op = waiting;

	assert_non_null(op);
	assert_int_equal(asked_ms, 60000);
	waiting = NULL;
	op->done(op, -ETIME);
}

static unsigned lines(void)
{
	FILE *file = fopen("m", "r");
	unsigned n = 0;
	int c;

	assert_non_null(file);
	while ((c = fgetc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static int make(void **state)
{
	const struct log_form quiet = { .fd = STDERR_FILENO };

	make_dir(state);
	assert_int_equal(chdir(dir), 0);
	waiting = NULL;
	api_init(&api, &names, &ops, NULL, &config, &quiet);
	server_tick(&server, &loop, &api);
	return 0;
}

static void each_minute(void **state)
{
	(void)state;
	assert_int_equal(api_open_metrics(&api, "m"), 0);
	pass_a_minute();
	assert_int_equal(lines(), 0); /* nothing runs yet */
	api.state = API_RUNNING;
	for (unsigned minute = 1; minute <= 3; minute++) {
		pass_a_minute();
		assert_int_equal(lines(), minute);
	}
	api.state = API_PAUSED;
	pass_a_minute();
	pass_a_minute();
	assert_int_equal(lines(), 3);
	api.state = API_RUNNING;
	pass_a_minute();
	assert_int_equal(lines(), 4);
	assert_non_null(waiting);
}

static void without_a_file(void **state)
{
	(void)state;
	counted = 0;
	pass_a_minute();
	assert_int_equal(counted, 0);
	api.state = API_RUNNING;
	pass_a_minute();
	pass_a_minute();
	assert_int_equal(counted, 2); /* 32-bit counters are seen before they wrap */
	assert_non_null(waiting);
}

/* Each tick's are the differences since the one before. */
static void deltas(void **state)
{
	char line[20000];
	FILE *file;

	(void)state;
	assert_int_equal(api_open_metrics(&api, "m"), 0);
	api.state = API_RUNNING;
	counted = 41;
	pass_a_minute();
	pass_a_minute();
	file = fopen("m", "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_non_null(strstr(line, "\"exit_io_out\":42,"));
	assert_non_null(fgets(line, sizeof(line), file));
	assert_non_null(strstr(line, "\"exit_io_out\":1,"));
	fclose(file);
}

#define TEST(words, function)                                                 \
	{                                                                     \
		.name = (words), .test_func = (function), .setup_func = make, \
		.teardown_func = remove_dir                                   \
	}

static const struct CMUnitTest tests[] = {
	TEST("a line of metrics each minute, while the guest runs", each_minute),
	TEST("without a file the minutes pass all the same", without_a_file),
	TEST("each line has the differences since the one before", deltas),
};

int main(void)
{
	return cmocka_run_group_tests_name("tick", tests, NULL, NULL);
}
