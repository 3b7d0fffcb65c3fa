// SPDX-License-Identifier: Apache-2.0
/*
 * The x2APIC's TSC-deadline timer: n=N times (100) a deadline cycles=N (1000000) ahead, HLT until
 * its interrupt, and never one before its time. `spin`: it interrupts ring 3 instead of HLT. Prints
 * how late they were, in cycles. Status 0 if all came, and none that was disarmed. A timer that
 * never fires leaves this guest waiting: whoever runs it sets a limit.
 */
#include "guest.h"

#define LAST_VECTOR (TIMER_VECTOR - 1u)

static void arm(uint8_t vector, uint64_t deadline)
{
	apic_write(APIC_LVT_TIMER, APIC_DEADLINE | vector);
	wrmsr(MSR_TSC_DEADLINE, deadline);
}

static void wait_for_more(uint8_t vector, uint32_t than, bool spinning)
{
	while (interrupts[vector] == than) {
		if (spinning)
			__asm__ volatile("pause");
		else
			wait_interrupt();
	}
}

/* A disarmed deadline, with a later one behind it: what was wrongly pending comes with that. */
static void disarm_one(uint64_t cycles)
{
	arm(TIMER_VECTOR, rdtsc() + cycles);
	wrmsr(MSR_TSC_DEADLINE, 0);
	arm(LAST_VECTOR, rdtsc() + 4 * cycles);
	wait_for_more(LAST_VECTOR, 0, false);
}

int guest_main(void)
{
	const uint64_t n = arg_number("n", 100), cycles = arg_number("cycles", 1000000);
	const bool spinning = arg("spin");
	uint64_t late_sum = 0, late_max = 0;
	unsigned early = 0;

	apic_enable();
	if (spinning)
		call_ring0(interrupts_allow, 0, 0);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t before = interrupts[TIMER_VECTOR];
		uint64_t deadline = rdtsc() + cycles, late;

		arm(TIMER_VECTOR, deadline);
		wait_for_more(TIMER_VECTOR, before, spinning);
		late = rdtsc() - deadline;
		if (late >> 63) {
			early++;
			continue;
		}
		late_sum += late;
		late_max = late > late_max ? late : late_max;
	}
	call_ring0(interrupts_forbid, 0, 0);
	disarm_one(cycles);
	print("tick: %u of %lu interrupts, %u early, late by %lu cycles on average, %lu at most\n",
	      interrupts[TIMER_VECTOR], n, early, n ? late_sum / n : 0, late_max);
	return interrupts[TIMER_VECTOR] != n || early;
}
