/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy of system calls as data, for generate.c at build time and for the tests. What no row
 * allows ends the process.
 */
#ifndef SECCOMP_POLICY_H
#define SECCOMP_POLICY_H

#include "filters.h"

#include <stddef.h>
#include <stdint.h>

/* A condition on an argument: (argument & mask) == value. A mask of 0 ends the list. */
struct policy_arg {
	unsigned index;
	uint64_t mask, value;
};

struct policy_row {
	unsigned filters; /* a set of bits: 1 << enum filter */
	int call;
	const char *why;
	struct policy_arg args[3];
};

extern const struct policy_row policy[];
extern const size_t policy_rows;

#endif
