/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy of system calls as data, for generate.c at build time and for the tests. What no row
 * of `policy` allows ends the process once the guest runs, and what a row of `policy_never` forbids
 * does from the start.
 */
#ifndef SECCOMP_POLICY_H
#define SECCOMP_POLICY_H

#include "filters.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A condition on an argument: (argument & mask) == value, or with POLICY_NOT in the index, argument
 * != value. A mask of 0 ends the list.
 */
#define POLICY_NOT 8u
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

extern const struct policy_row policy[], policy_never[];
extern const size_t policy_rows, policy_never_rows;

#endif
