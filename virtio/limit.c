// SPDX-License-Identifier: Apache-2.0
/*
 * Token buckets. Sizes and times are the operator's and may be anything: products have 128 bits.
 * blk.c asks before it starts a request; rx.c and tx.c do before a frame.
 */
#include "limit.h"

#define NS_PER_MS 1000000ull
#define SIZE_MOST ((uint64_t)INT64_MAX)
#define WAIT_MOST 1000000000ull /* look again after a second at the latest */

static void bucket_init(struct bucket *b, const struct token_bucket *config, uint64_t now_ns)
{
	const bool is_on = config->size > 0 && config->refill_ms > 0;

	*b = (struct bucket){ .filled_ns = now_ns };
	if (!is_on)
		return;
	b->size = config->size < SIZE_MOST ? config->size : SIZE_MOST;
	b->refill_ns = config->refill_ms < UINT64_MAX / NS_PER_MS ? config->refill_ms * NS_PER_MS
								  : UINT64_MAX;
	b->burst = config->one_time_burst;
	b->tokens = (int64_t)b->size;
}

static bool is_off(const struct bucket *b)
{
	return b->size == 0;
}

/* Only whole tokens come in; the time of the rest stays to be counted. */
static void fill(struct bucket *b, uint64_t now_ns)
{
	const uint64_t room = b->size - (uint64_t)b->tokens; /* right for tokens < 0 as well */
	const uint64_t passed = now_ns > b->filled_ns ? now_ns - b->filled_ns : 0;
	const unsigned __int128 come = (unsigned __int128)passed * b->size / b->refill_ns;

	if (come >= room) {
		b->tokens = (int64_t)b->size;
		b->filled_ns = now_ns;
		return;
	}
	b->tokens += (int64_t)come;
	b->filled_ns += (uint64_t)(come * b->refill_ns / b->size);
}

/* What must be there before `n` may go: for what will never fit, only that no debt is left. */
static uint64_t needed(const struct bucket *b, uint64_t n)
{
	return n <= b->size ? n : 0;
}

/* 0 where `n` may go, else how long until then. */
static uint64_t wait_for(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	unsigned __int128 wait;

	if (is_off(b) || b->burst >= n)
		return 0;
	fill(b, now_ns);
	n -= b->burst; /* the rest of it */
	if (b->tokens >= (int64_t)needed(b, n))
		return 0;
	wait = (unsigned __int128)(needed(b, n) - (uint64_t)b->tokens) * b->refill_ns / b->size + 1;
	return wait < WAIT_MOST ? (uint64_t)wait : WAIT_MOST;
}

static void take(struct bucket *b, uint64_t n)
{
	const uint64_t burst = b->burst < n ? b->burst : n;

	if (is_off(b))
		return;
	b->burst -= burst;
	b->tokens -= (int64_t)(n - burst);
}

void limit_init(struct limit *limit, const struct rate_limit *config, uint64_t now_ns)
{
	bucket_init(&limit->bytes, &config->bytes, now_ns);
	bucket_init(&limit->ops, &config->ops, now_ns);
}

void limit_set(struct limit *limit, const struct token_bucket *bytes,
	       const struct token_bucket *ops, uint64_t now_ns)
{
	if (bytes)
		bucket_init(&limit->bytes, bytes, now_ns);
	if (ops)
		bucket_init(&limit->ops, ops, now_ns);
}

bool limit_is_off(const struct limit *limit)
{
	return is_off(&limit->bytes) && is_off(&limit->ops);
}

uint64_t limit_take(struct limit *limit, uint64_t bytes, uint64_t now_ns)
{
	const uint64_t for_bytes = wait_for(&limit->bytes, bytes, now_ns);
	const uint64_t for_ops = wait_for(&limit->ops, 1, now_ns);
	const uint64_t wait = for_bytes > for_ops ? for_bytes : for_ops;

	if (wait == 0) {
		take(&limit->bytes, bytes);
		take(&limit->ops, 1);
	}
	return wait;
}
