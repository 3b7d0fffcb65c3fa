/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPU threads. They are created parked; vcpus_resume() lets them run, vcpus_pause() parks them
 * again, vcpus_stop() ends them. These calls are the loop thread's. A thread answers its guest's
 * port and memory accesses and does nothing else.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "../api/counters.h"
#include "bus.h"
#include "end.h"
#include "hv.h"
#include "layout.h"
#include "mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Exits of one kind, counted by the vCPU's thread; times in cycles of the TSC. */
struct exit_count {
	uint64_t nr, min, max, sum;
	uint64_t buckets[LATENCY_BUCKETS];
};

struct vcpu {
	struct vcpus *all;
	struct hv_vcpu hv;
	unsigned id;
	pthread_t thread;
	char name[16]; /* of the thread */
	atomic_int tid;
	clockid_t clock; /* the thread's CPU time */
	struct exit_count exits[EXIT_KINDS];
	uint64_t failures; /* runs that ended in an error */
};

struct vcpus {
	unsigned nr, started; /* created; with a thread */
	pid_t pid;	      /* our own */
	const struct bus *pio, *mmio;
	const struct mem *mem;
	struct end *end;
	uint64_t us_per_cycle; /* as a fraction of 2^32 */
	unsigned tsc_khz;
	/*
	 * Signs of life for halt.c: exits to user space, and an eventfd for the first one wanted.
	 */
	atomic_uint_fast64_t exits;
	atomic_bool want_poke;
	int poke_fd;

	pthread_mutex_t lock;	   /* parked, and the changes of the flags */
	pthread_cond_t changed;	   /* a flag, for the vCPUs that are parked */
	pthread_cond_t all_parked; /* for the loop */
	unsigned parked;
	atomic_bool pause, stop;

	struct vcpu vcpu[MAX_VCPUS]; /* the first `nr` of them */
	struct hv_cpuid cpuid;	     /* as vcpus_create() turns it into that of each */
};

/* Creates nothing in the kernel yet. */
void vcpus_init(struct vcpus *vcpus, const struct bus *pio, const struct bus *mmio,
		const struct mem *mem, struct end *end);

/* Creates `nr` vCPUs (1 to MAX_VCPUS) with CPUID and MSRs. 0 or -errno, logged. */
int vcpus_create(struct vcpus *vcpus, const struct hv *hv, unsigned nr);

/* Starts the threads, which park. 0 or -errno, logged. */
int vcpus_start(struct vcpus *vcpus);

/* Returns when each thread that was started has its filter on, and is parked. */
void vcpus_await(struct vcpus *vcpus);
void vcpus_resume(struct vcpus *vcpus);
/*
 * Returns when every vCPU is parked, outside of the guest. That takes microseconds, but for one
 * that waits for the console or the host's disk: `meanwhile` is called each millisecond.
 */
void vcpus_pause(struct vcpus *vcpus, void (*meanwhile)(void *arg), void *arg);
/*
 * The same within 50 ms, or not at all: false where a vCPU stays out of the guest for
 * longer, which then waits for the loop itself (a reset with requests in flight).
 */
bool vcpus_pause_soon(struct vcpus *vcpus);
/* A millisecond's wait, while they are parked. */
void vcpus_wait(struct vcpus *vcpus);
/*
 * While all are parked: whether none can ever run again. Only then is it one moment for all: a vCPU
 * that another one has just woken must not be taken for halted.
 */
bool vcpus_are_dead(const struct vcpus *vcpus);
/* Ends and joins the threads. Harmless where none was started. */
void vcpus_stop(struct vcpus *vcpus);
/* Gives back what vcpus_create() made; no thread may run. */
void vcpus_fini(struct vcpus *vcpus, const struct hv *hv);
/* Sums up exits, latencies and failures of all vCPUs; at any time. */
void vcpus_count(const struct vcpus *vcpus, struct counters *counters);

#endif
