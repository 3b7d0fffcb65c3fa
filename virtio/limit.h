/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rate limit: two token buckets, one of bytes and one of operations. A bucket starts full and
 * fills by size / refill_ms; a burst is spent first and never comes back. What asks for more than
 * there is waits, but for a request larger than the whole bucket: that goes at once where no debt
 * is left, and over-draws it. Pure: whoever calls says what time it is, and waits.
 */
#ifndef VIRTIO_LIMIT_H
#define VIRTIO_LIMIT_H

#include "../api/config.h"

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	uint64_t size, refill_ns; /* 0 in either: no limit */
	uint64_t burst;		  /* tokens left of the one-time burst */
	int64_t tokens;		  /* below 0: over-drawn */
	uint64_t filled_ns;	  /* when `tokens` was true */
};

struct limit {
	struct bucket bytes, ops;
};

/* Both buckets full. Times are in nanoseconds of any clock that only goes forward. */
void limit_init(struct limit *limit, const struct rate_limit *config, uint64_t now_ns);

/* New buckets, full, for those that are given; NULL: goes on as it is. Size or time 0: no limit. */
void limit_set(struct limit *limit, const struct token_bucket *bytes,
	       const struct token_bucket *ops, uint64_t now_ns);

/* Whether there is no limit, so that no time need be asked for. */
bool limit_is_off(const struct limit *limit);

/*
 * Takes one operation of `bytes` from both buckets: 0, or nothing and how many ns to wait for it.
 */
uint64_t limit_take(struct limit *limit, uint64_t bytes, uint64_t now_ns);

#endif
