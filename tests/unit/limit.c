// SPDX-License-Identifier: Apache-2.0
/*
 * Token buckets under a clock of the test's own: what goes through in a second at several rates,
 * sizes and request lengths, always as much as is allowed; burst, over-draft, and absurd numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../virtio/limit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SECOND	 1000000000ull

static struct limit limit;

/* A driver that never stops asking; what it gets until `end`, in operations. */
static uint64_t greedy(uint64_t bytes, uint64_t *now, uint64_t end)
{
	uint64_t ops = 0;

	while (*now < end) {
		const uint64_t wait = limit_take(&limit, bytes, *now);

		ops += wait == 0;
		*now += wait ? wait : 1000; /* a microsecond for the request itself */
	}
	return ops;
}

static void byte_rates(void **state)
{
	static const struct {
		uint64_t size, refill_ms, request;
	} row[] = {
		{ 1 << 20, 1000, 4096 },      { 1 << 20, 100, 4096 },	{ 10 << 20, 1000, 65536 },
		{ 100 << 20, 1000, 1 << 20 }, { 1 << 20, 10, 1 << 20 }, { 64 << 10, 20, 512 },
		{ 3000000, 700, 12288 },      { 65536, 1000, 65536 },	{ 4096, 1, 4096 },
		{ 65536, 250, 1 << 20 }, /* each larger than the bucket */
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		const struct rate_limit config = { .bytes = { .size = row[i].size,
							      .refill_ms = row[i].refill_ms } };
		const double rate = (double)row[i].size * 1000 / (double)row[i].refill_ms;
		uint64_t now = 77, bytes = 0;
		double span = 20;

		limit_init(&limit, &config, now);
		greedy(row[i].request, &now, now + SECOND); /* the full bucket is spent */
		for (unsigned second = 1; second <= 20; second++) {
			const double one =
				(double)(greedy(row[i].request, &now, 77 + (second + 1) * SECOND) *
					 row[i].request);

			/* A request that falls just into it, or just out of it, is no error. */
			if (one > rate * 1.05 + (double)row[i].request ||
			    one < rate * 0.95 - (double)row[i].request)
				fail_msg("row %u: %.0f bytes in second %u, at %.0f a second", i,
					 one, second, rate);
			bytes += (uint64_t)one;
		}
		/* A last request may go in the last moment: one is no error of the rate. */
		if ((double)bytes > rate * span * 1.05 + (double)row[i].request ||
		    (double)bytes < rate * span * 0.95 - (double)row[i].request)
			fail_msg("row %u: %llu bytes in 20 s, at %.0f a second", i,
				 (unsigned long long)bytes, rate);
	}
}

static void op_rates(void **state)
{
	static const uint64_t row[][2] = { { 1000, 1000 }, { 100, 100 }, { 20, 1000 },
					   { 5000, 50 },   { 1, 10 },	 { 7, 300 } };

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		const struct rate_limit config = { .ops = { row[i][0], 0, row[i][1] } };
		const double rate = (double)row[i][0] * 1000 / (double)row[i][1];
		uint64_t now = 0;
		double ops;

		limit_init(&limit, &config, now);
		greedy(1 << 30, &now, 1 * SECOND);
		ops = (double)greedy(1 << 30, &now, 21 * SECOND);
		assert_true(ops <= rate * 20 * 1.05 + 1 && ops >= rate * 20 * 0.95 - 1);
	}
}

/* The bucket starts full, then the rate alone counts, from the first second on. */
static void starts_full(void **state)
{
	const struct rate_limit config = { .ops = { 50, 0, 1000 } };

	(void)state;
	limit_init(&limit, &config, 5 * SECOND);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(limit_take(&limit, 1, 5 * SECOND), 0);
	assert_in_range(limit_take(&limit, 1, 5 * SECOND), SECOND / 50, SECOND / 50 + 1);
	assert_int_equal(limit_take(&limit, 1, 5 * SECOND + SECOND / 50 + 1), 0);
	assert_int_not_equal(limit_take(&limit, 1, 5 * SECOND + SECOND / 50 + 2), 0);
}

static void burst_first(void **state)
{
	const struct rate_limit config = { .bytes = { 1000, 300, 1000 } };

	(void)state;
	limit_init(&limit, &config, 0);
	assert_int_equal(limit_take(&limit, 200, 0), 0);
	assert_int_equal(limit.bytes.tokens, 1000);	 /* untouched */
	assert_int_equal(limit_take(&limit, 200, 0), 0); /* 100 of each */
	assert_int_equal(limit.bytes.burst, 0);
	assert_int_equal(limit.bytes.tokens, 900);
	assert_int_equal(limit_take(&limit, 900, 0), 0);
	assert_int_not_equal(limit_take(&limit, 1, 0), 0);
	assert_int_equal(limit_take(&limit, 1000, 100 * SECOND), 0);
	assert_int_not_equal(limit_take(&limit, 1, 100 * SECOND), 0); /* it never comes back */
}

static void over_draft(void **state)
{
	const struct rate_limit config = { .bytes = { 1000, 0, 1000 } };

	(void)state;
	limit_init(&limit, &config, 0);
	assert_int_equal(limit_take(&limit, 5000, 0), 0);
	/* Four seconds of debt, then what the next one needs. */
	assert_int_not_equal(limit_take(&limit, 1, 4 * SECOND), 0);
	assert_int_not_equal(limit_take(&limit, 500, 4 * SECOND + SECOND / 2 - 1), 0);
	assert_int_equal(limit_take(&limit, 500, 4 * SECOND + SECOND / 2), 0);
}

/* What waits for one bucket takes nothing from the other. */
static void both_or_none(void **state)
{
	const struct rate_limit config = { .bytes = { 1000, 0, 1000 }, .ops = { 2, 0, 1000 } };

	(void)state;
	limit_init(&limit, &config, 0);
	assert_int_equal(limit_take(&limit, 1000, 0), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_not_equal(limit_take(&limit, 1000, 1), 0);
	assert_int_equal(limit.ops.tokens, 1);
}

static void no_limit(void **state)
{
	static const struct rate_limit row[] = {
		{ .bytes = { 0, 0, 0 } },
		{ .bytes = { 0, 5, 1000 } },
		{ .ops = { 1000, 5, 0 } },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		limit_init(&limit, &row[i], 0);
		assert_true(limit_is_off(&limit));
		for (unsigned n = 0; n < 1000; n++)
			assert_int_equal(limit_take(&limit, UINT32_MAX, 0), 0);
	}
}

static void absurd_numbers(void **state)
{
	static const struct token_bucket row[] = {
		{ UINT64_MAX, UINT64_MAX, UINT64_MAX },
		{ UINT64_MAX, 0, 1 },
		{ 1, 0, UINT64_MAX },
		{ 1, UINT64_MAX, 1 },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(row); i++) {
		const struct rate_limit config = { row[i], row[i] };
		uint64_t now = UINT64_MAX - 20 * SECOND;

		limit_init(&limit, &config, now);
		for (unsigned n = 0; n < 100; n++) {
			const uint64_t wait = limit_take(&limit, UINT32_MAX, now);

			assert_true(wait <= SECOND);
			now += n == 50 ? SECOND : 0;
		}
		limit_take(&limit, 1, 0); /* a clock that goes back adds nothing */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "bytes keep their rate to 5 % at any size", byte_rates, NULL, NULL, NULL },
		{ "operations keep their rate to 5 %", op_rates, NULL, NULL, NULL },
		{ "a bucket starts full", starts_full, NULL, NULL, NULL },
		{ "the burst goes first and never comes back", burst_first, NULL, NULL, NULL },
		{ "what is larger than the bucket over-draws it", over_draft, NULL, NULL, NULL },
		{ "one bucket takes nothing while the other waits", both_or_none, NULL, NULL,
		  NULL },
		{ "size or time 0 is no limit", no_limit, NULL, NULL, NULL },
		{ "absurd sizes and times do no harm", absurd_numbers, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
