// SPDX-License-Identifier: Apache-2.0
/*
 * The look-out for a guest that halted for good, with a loop whose time is the test's and vCPUs
 * that are as it says: how long it waits from look to look, and what it makes of what it sees.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Before cmocka, which has a macro fail(): the function is (fail)(). */
#include "../../vmm/halt.h"

#include <cmocka.h>

static struct loop loop;
static struct vcpus vcpus;
static struct end end;
static struct halt halt;
static struct op *waiting; /* for its timeout */
static uint64_t asked_ms;
static unsigned looks;
static bool is_dead;

void loop_timeout(struct loop *l, struct op *op, struct __kernel_timespec *ts, uint64_t ms)
{
	assert_ptr_equal(l, &loop);
	assert_non_null(ts);
	assert_null(waiting);
	waiting = op;
	asked_ms = ms;
}

int loop_file(struct loop *l, int fd)
{
	(void)l;
	return fd;
}

void loop_read(struct loop *l, struct op *op, int file, void *buf, unsigned len)
{
	(void)l;
	(void)op;
	(void)file;
	(void)buf;
	(void)len;
}

void loop_cancel(struct loop *l, struct op *op)
{
	assert_ptr_equal(l, &loop);
	assert_ptr_equal(op, waiting);
}

bool vcpus_pause_soon(struct vcpus *v)
{
	(void)v;
	looks++;
	return true;
}

bool vcpus_are_dead(const struct vcpus *v)
{
	(void)v;
	return is_dead;
}

void vcpus_resume(struct vcpus *v)
{
	(void)v;
}

void end_now(struct end *e, enum end_reason reason)
{
	e->reason = reason;
}

static int make(void **state)
{
	(void)state;
	waiting = NULL;
	looks = 0;
	is_dead = false;
	end.reason = END_NONE;
	memset(&vcpus, 0, sizeof(vcpus)); /* none has started: no CPU time is used */
	vcpus.end = &end;
	assert_int_equal(halt_init(&halt, &loop, &vcpus), 0);
	halt_watch(&halt);
	return 0;
}

/* The time is over, or was cut short. */
static void comes(int res)
{
	struct op *op = waiting;

	assert_non_null(op);
	waiting = NULL;
	op->done(op, res);
}

/* An idle guest's loop hardly runs; and one that halts after hours is noticed within seconds. */
static void ever_more_rarely(void **state)
{
	static const uint64_t wanted[] = {
		100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		assert_int_equal(asked_ms, wanted[i]);
		assert_int_equal(looks, i);
		comes(-ETIME);
	}
}

static void sign_of_life(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		comes(-ETIME);
	assert_true(vcpus.want_poke);
	halt.poke_op.done(&halt.poke_op, sizeof(halt.pokes));
	comes(-ECANCELED);
	assert_int_equal(asked_ms, 100);
	assert_false(vcpus.want_poke);
	vcpus.exits++; /* so nobody has to be stopped */
	comes(-ETIME);
	assert_int_equal(asked_ms, 100);
	assert_int_equal(looks, 5);
}

static void halted(void **state)
{
	(void)state;
	comes(-ETIME);
	is_dead = true;
	comes(-ETIME);
	assert_int_equal(end.reason, END_HALTED);
	assert_null(waiting);
}

int main(void)
{
#define TEST(words, function)                                                \
	{                                                                    \
		.name = (words), .test_func = (function), .setup_func = make \
	}
	const struct CMUnitTest tests[] = {
		TEST("an idle guest is looked at ever more rarely, but every 10 s",
		     ever_more_rarely),
		TEST("after a sign of life soon again", sign_of_life),
		TEST("a guest that has halted for good ends", halted),
	};

	return cmocka_run_group_tests_name("halt", tests, NULL, NULL);
}
