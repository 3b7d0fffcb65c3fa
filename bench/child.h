/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor under measurement, seen from outside: when its output shows what, the CPU time it has
 * used by then, the memory it holds. The same marks for every monitor, so that ratios compare
 * equals. One child at a time may be awaited; others may stay in the background.
 */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct mark {
	uint64_t wall_ns; /* since the process was started; 0: never reached */
	uint64_t cpu_ns;  /* of all its threads since then */
};

struct child {
	const char *name;
	pid_t pid;
	int out;	   /* its standard output */
	uint64_t start_ns; /* CLOCK_MONOTONIC, just before the process was made */
	char tail[4096];   /* the end of what it has written */
	unsigned tail_len;
};

struct memory {
	long all_kib;	/* PSS of the whole process; -1: not to be had */
	long guest_kib; /* of that, guest RAM; -1: no mapping of that size was found */
	long own_kib;	/* and the rest; -1: one of them is unknown */
};

/* Starts argv[0], standard input empty, standard error ours. Ends the program where it cannot. */
void child_start(struct child *c, const char *name, const char *const *argv);

/* Whether `text` ("": any byte) is in the last part of what has been read of its output. */
bool child_said(const struct child *c, const char *text);

/*
 * Reads its output until `text` has appeared ("" for any byte), at most `seconds`; not at all where
 * it has been read already. Marks the first byte of this time and the text; ends the program where
 * the text does not come.
 */
void child_await(struct child *c, const char *text, unsigned seconds, struct mark *first,
		 struct mark *found);

/*
 * Waits for its end, at most `seconds`. Returns its exit status (128+n for a signal) with the end
 * marked, and when the last copy of its standard output was closed, which whoever reads that waits
 * for; or -1 where it had to be killed, with nothing marked.
 */
int child_end(struct child *c, unsigned seconds, struct mark *end, struct mark *closed);

void child_kill(struct child *c);

/*
 * Reads /proc: PSS, of which `guest_kib` of contiguous writable mappings are the guest's. Who is
 * not root may not read a jailed process's.
 */
struct memory child_memory(const struct child *c, long guest_kib);

#endif
