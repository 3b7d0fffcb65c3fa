/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the process reached each phase of a boot, in wall and CPU time: for --report, --timeline and
 * the benchmarks. One per process; each phase is marked once, by whichever thread gets there.
 */
#ifndef VMM_TIMELINE_H
#define VMM_TIMELINE_H

#include <stdint.h>

enum phase {
	PHASE_START,	    /* main() */
	PHASE_CONFIGURED,   /* options checked, files open */
	PHASE_FIRST_ENTRY,  /* the boot CPU is about to run its first instruction */
	PHASE_FIRST_SERIAL, /* the first byte came out of the serial port */
	PHASE_INIT,	    /* init wrote the boot timer */
	PHASE_END,	    /* the guest is over and its output is out */
	PHASES
};

struct timeline_point {
	uint64_t wall_ns; /* CLOCK_MONOTONIC; 0: not reached */
	uint64_t cpu_ns;  /* of the whole process */
};

void timeline_mark(enum phase phase);
void timeline_forget(enum phase phase); /* it failed; only while no vCPU runs */
struct timeline_point timeline_at(enum phase phase);

/* The file at `path`, and later one JSON object and a newline into it. 0 or -errno, logged. */
int timeline_open(const char *path);
int timeline_write(const char *path);

#endif
