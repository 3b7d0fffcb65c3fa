/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare io_uring program: what a monitor's disk would cost if it were nothing but its system
 * calls. The same requests as bench/blkload.c's, on the same file, from a ring set up as mayfly's:
 * one issuer, completions in its own enter, a registered file, all that has come back handled
 * before one io_uring_enter sends all that follows. Buffers are ordinary memory.
 */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <stdbool.h>
#include <stdint.h>

struct bare_load {
	bool is_write, is_random;
	unsigned depth;
	uint32_t len; /* bytes, of each request */
	uint64_t nr;
};

struct bare_time {
	uint64_t wall_ns, cpu_ns; /* of the whole process, the kernel's workers included */
};

/*
 * Runs the load on `path` after a twentieth of it for warming up. Ends the program where it fails.
 */
struct bare_time bare_run(const char *path, const struct bare_load *load);

#endif
