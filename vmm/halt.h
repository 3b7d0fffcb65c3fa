/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices a guest that has halted for good. With the local APIC in the kernel, HLT does not come to
 * user space, also where interrupts are off and nothing will ever wake the vCPU; so the loop looks,
 * often after activity and ever more rarely (down to every 10 seconds) while the guest is idle.
 */
#ifndef VMM_HALT_H
#define VMM_HALT_H

#include "loop.h"
#include "vcpu.h"

struct halt {
	struct loop *loop;
	struct vcpus *vcpus;
	struct op timer_op, poke_op;
	struct __kernel_timespec ts;
	uint64_t interval_ms;
	uint64_t cpu_ns; /* of all vCPUs, at the last look */
	uint64_t exits;
	int file; /* of vcpus->poke_fd */
	uint64_t pokes;
	bool is_held, is_due; /* held: does not look; a look was due meanwhile */
};

/* Makes all ready, once the vCPUs exist. 0 or -errno, logged. */
int halt_init(struct halt *halt, struct loop *loop, struct vcpus *vcpus);

/* Starts looking, once their threads exist. */
void halt_watch(struct halt *halt);

/* While the vCPUs are paused for somebody else, nobody looks: a look would let them run. */
void halt_hold(struct halt *halt, bool is_held);

#endif
