// SPDX-License-Identifier: Apache-2.0
/*
 * Signals that ask for the end, on a real ring: the first one, one to a microVM that has ended and
 * waits for its output's reader, and the second one. Skipped where io_uring is forbidden.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../seccomp/filters.h"
#include "../../vmm/signals.h"
#include "ring.h"

static struct loop loop;
static struct end end;
static struct signals signals;
static struct op timer;
static struct __kernel_timespec ts;

const char *filter_call_name(int call)
{
	(void)call;
	return "";
}

const char *filter_thread(void)
{
	return "";
}

static int begin(void **state)
{
	(void)state;
	if (!is_allowed())
		return 0;
	return loop_init(&loop) || end_init(&end, false) || signals_init(&signals, &loop, &end);
}

static int finish(void **state)
{
	(void)state;
	if (!is_allowed())
		return 0;
	close(end.fd);
	close(signals.fd);
	io_uring_queue_exit(&loop.ring);
	return 0;
}

static uint64_t now_ms(void)
{
	return loop_now_ns(CLOCK_MONOTONIC) / 1000000;
}

static void stop(struct op *op, int res)
{
	(void)op;
	(void)res;
	loop_stop(&loop);
}

static void ask_again(struct op *op, int res)
{
	(void)op;
	(void)res;
	kill(getpid(), SIGINT);
}

static void first(void **state)
{
	(void)state;
	need_io_uring();
	timer.done = stop;
	loop_timeout(&loop, &timer, &ts, 100);
	kill(getpid(), SIGTERM);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(end.reason, END_SIGNAL);
	assert_int_equal(end_code(&end), 128 + SIGTERM);
}

/* The last output has its time, and no more. */
static void after_the_end(void **state)
{
	const uint64_t begun = now_ms();

	(void)state;
	need_io_uring();
	end_now(&end, END_POWEROFF);
	kill(getpid(), SIGTERM);
	assert_int_equal(loop_run(&loop), 0);
	assert_in_range(now_ms() - begun, GRACE_MS, 20 * GRACE_MS);
	assert_int_equal(end_code(&end), 0);
}

static void second(void **state)
{
	const uint64_t begun = now_ms();

	(void)state;
	need_io_uring();
	end_now(&end, END_POWEROFF);
	timer.done = ask_again;
	loop_timeout(&loop, &timer, &ts, 10);
	kill(getpid(), SIGTERM);
	assert_int_equal(loop_run(&loop), 0);
	assert_in_range(now_ms() - begun, 10, GRACE_MS - 1);
	assert_int_equal(end_code(&end), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "the first signal ends the microVM", first, begin, finish, NULL },
		{ "one after the end lets the output out", after_the_end, begin, finish, NULL },
		{ "the second waits for nobody", second, begin, finish, NULL },
	};

	signal(SIGINT, SIG_DFL); /* a shell's background job has it ignored, and so would mayfly */
	return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
