/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters of system calls, one for each kind of thread: made at build time of the tables in
 * policy.c, put on by each thread itself before its guest's first instruction, and one by the first
 * thread before it looks at any file. What they do not allow raises SIGSYS, whose handler
 * (vmm/signals.c) ends the process with 148. Before that, while there is one thread: filters_off()
 * or filters_load(), as the operator says.
 */
#ifndef SECCOMP_FILTERS_H
#define SECCOMP_FILTERS_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

enum filter {
	FILTER_VCPU,  /* a vCPU's thread */
	FILTER_RUN,   /* the loop's, where nothing comes from outside at run time */
	FILTER_LINKS, /* the loop's, with peers or passt that are found again at run time */
	FILTER_SERVE, /* the loop's, with the API */
	FILTER_FILES, /* the same where paths reach files: --chroot-base-dir, --no-jail */
	FILTER_START, /* all threads', from before a file is parsed: forbids what none does */
	FILTERS
};

/*
 * What only the process knows is put in where these stand in the programs: its own number, and
 * where its sealed memory begins (sealed.h).
 */
#define FILTER_PLACE_PID     0x7fed0001u
#define FILTER_PLACE_HIGH    0x7fed0002u
#define FILTER_PLACE_ADDRESS 0x7fec0000u /* others' sockets */
#define FILTER_PLACE_PATH    0x7fee0002u /* the paths of our own */
/* Of an address in there: all that is the same for the beginning of every place of its part. */
#define FILTER_SEALED_MASK   0xfffffffffffe007fu
#define FILTER_OWN_MASK	     0xfffffffffffff07fu

struct filter_program {
	const char *name;
	const struct sock_filter *insns;
	uint16_t nr; /* at most FILTER_INSNS_MAX */
	bool has_places;
};
#define FILTER_INSNS_MAX 512u

/* Made at build time: the programs, and the system calls' names one after another, "" for a gap. */
extern const struct filter_program filter_programs[FILTERS];
extern const char filter_calls[];
extern const unsigned filter_nr_calls;

/* No filters, for debugging. 0, or -EINVAL, logged, where others have been loaded. */
int filters_off(void);

/*
 * Programs from a file in place of those built in: for each the 16 bytes of its name (padded with
 * zeros), the number of its instructions (32 bits, as the CPU has them), and those, each a struct
 * sock_filter. 0 or -errno, logged: -EINVAL also where there are to be none.
 */
int filters_load(const char *path);

/*
 * From here on the calling thread, which is called `thread` (the string stays), makes these calls
 * only. 0 or -errno, logged.
 */
int filter_enter(enum filter which, const char *thread);

/* The si_code of a SIGSYS that comes from a filter: SYS_SECCOMP, which glibc's headers lack. */
#define FILTER_SI_CODE 1

/* For SIGSYS: the name of a system call, or "?"; and of the thread. Async-signal-safe. */
const char *filter_call_name(int call);
const char *filter_thread(void);

#endif
