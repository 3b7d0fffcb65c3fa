// SPDX-License-Identifier: Apache-2.0
/* How a microVM ends: every reason's exit code, the job's own, and that the first reason stays. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/end.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct end end;

static int make_end(void **state)
{
	(void)state;
	return end_init(&end, false);
}

static int make_job_end(void **state)
{
	(void)state;
	return end_init(&end, true);
}

static int drop_end(void **state)
{
	(void)state;
	return close(end.fd);
}

static uint64_t wakes(void)
{
	uint64_t n = 0;

	assert_int_equal(fcntl(end.fd, F_SETFL, O_NONBLOCK), 0);
	return read(end.fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void codes(void **state)
{
	/* As the README and the man page list them. */
	static const struct {
		enum end_reason reason;
		int code;
		const char *words;
	} want[] = {
		{ END_POWEROFF, 0, "powered off" },
		{ END_REBOOT, 120, "rebooted" },
		{ END_PANIC, 121, "the guest kernel panicked" },
		{ END_TRIPLE_FAULT, 122, "triple fault" },
		{ END_HALTED, 123, "halted with interrupts off" },
		{ END_TIMEOUT, 124, "timed out" },
		{ END_ERROR, 125, "monitor error" },
	};

	(void)state;
	for (unsigned job = 0; job < 2; job++) {
		for (unsigned i = job; i < COUNT(want); i++) { /* a job's power-off: below */
			assert_int_equal(end_init(&end, job), 0);
			end_now(&end, want[i].reason);
			assert_int_equal(end_code(&end), want[i].code);
			assert_string_equal(end_words(&end), want[i].words);
			assert_int_equal(close(end.fd), 0);
		}
	}
}

static void signals(void **state)
{
	static const int signos[] = { 1, 2, 15 };

	(void)state;
	for (unsigned i = 0; i < COUNT(signos); i++) {
		assert_int_equal(close(end.fd), 0);
		assert_int_equal(end_init(&end, false), 0);
		end.signal = signos[i];
		end_now(&end, END_SIGNAL);
		assert_int_equal(end_code(&end), 128 + signos[i]);
		assert_string_equal(end_words(&end), "stopped by a signal");
	}
}

/* A signal that comes a moment too late changes nothing, not even the exit code. */
static void late_signal(void **state)
{
	(void)state;
	end_now(&end, END_REBOOT);
	end.signal = 15;
	end_now(&end, END_SIGNAL);
	assert_int_equal(end_code(&end), 120);
	assert_string_equal(end_words(&end), "rebooted");
}

static void first_wins(void **state)
{
	(void)state;
	assert_int_equal(wakes(), 0);
	end_now(&end, END_TRIPLE_FAULT);
	assert_int_equal(wakes(), 1);
	for (int reason = END_POWEROFF; reason <= END_ERROR; reason++)
		end_now(&end, (enum end_reason)reason);
	assert_int_equal(wakes(), 0);
	assert_int_equal(end.reason, END_TRIPLE_FAULT);
	assert_int_equal(end_code(&end), 122);
}

static void job_status(void **state)
{
	(void)state;
	for (int status = 0; status < 256; status++) {
		assert_int_equal(close(end.fd), 0);
		assert_int_equal(end_init(&end, true), 0);
		end.job_status = status;
		end_now(&end, END_POWEROFF);
		assert_int_equal(end_code(&end), status);
		assert_string_equal(end_words(&end), "powered off");
	}
}

static void job_lost(void **state)
{
	(void)state;
	end_now(&end, END_POWEROFF);
	assert_int_equal(end_code(&end), 119);
	assert_string_equal(end_words(&end), "powered off before the command ended");
}

/* The status counts when the guest powers off after it; another end is another end. */
static void status_without_poweroff(void **state)
{
	(void)state;
	end.job_status = 0;
	end_now(&end, END_PANIC);
	assert_int_equal(end_code(&end), 121);
}

/* A guest without a job may report a status too: the small test guests do. */
static void status_without_job(void **state)
{
	(void)state;
	end.job_status = 42;
	end_now(&end, END_POWEROFF);
	assert_int_equal(end_code(&end), 42);
	assert_string_equal(end_words(&end), "powered off");
}

static void *give_reason(void *reason)
{
	end_now(&end, (enum end_reason)(uintptr_t)reason);
	return NULL;
}

static void many_threads(void **state)
{
	pthread_t thread[8];

	(void)state;
	for (unsigned i = 0; i < COUNT(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, give_reason,
						(void *)(uintptr_t)(END_POWEROFF + i)),
				 0);
	for (unsigned i = 0; i < COUNT(thread); i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(wakes(), 1);
	assert_in_range(end.reason, END_POWEROFF, END_ERROR);
}

#define TEST(text, setup, function)                                       \
	{                                                                 \
		.name = text, .test_func = function, .setup_func = setup, \
		.teardown_func = drop_end                                 \
	}

static const struct CMUnitTest tests[] = {
	{ .name = "every reason has its exit code and words", .test_func = codes },
	TEST("a signal's number is in the exit code", make_end, signals),
	TEST("a signal after the end changes nothing", make_end, late_signal),
	TEST("the first reason stays and wakes the loop once", make_end, first_wins),
	TEST("a job's status is the exit code", make_job_end, job_status),
	TEST("a power-off without the job's status is told", make_job_end, job_lost),
	TEST("a status does not hide a panic", make_job_end, status_without_poweroff),
	TEST("a guest without a job may report a status", make_end, status_without_job),
	TEST("of many threads' reasons one stays", make_end, many_threads),
};

int main(void)
{
	return cmocka_run_group_tests_name("end", tests, NULL, NULL);
}
