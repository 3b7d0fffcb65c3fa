// SPDX-License-Identifier: Apache-2.0
/*
 * The x2APIC's TSC-deadline timer: n=N times (100) a deadline cycles=N (1000000) ahead, HLT until
 * its interrupt, and never one before its time. `spin`: it interrupts ring 3 instead of HLT. Prints
 * how late they were, in cycles. Status 0 if all came, and then none that was disarmed. A timer
 * that never fires leaves this guest waiting: whoever runs it sets a limit.
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

/*
 * Whether a deadline stays away that was disarmed. Its time passes, then a later one is waited for:
 * what was wrongly pending comes with that. Where two WRMSRs take longer than the deadline is ahead
 * it may fire before it is disarmed; then once more, further ahead.
 */
static bool disarmed_stays_away(uint64_t cycles)
{
	for (;; cycles *= 2) {
		uint32_t before = interrupts[TIMER_VECTOR], later = interrupts[LAST_VECTOR];
		uint64_t deadline = rdtsc() + cycles;
		bool in_time;

		arm(TIMER_VECTOR, deadline);
		wrmsr(MSR_TSC_DEADLINE, 0);
		in_time = rdtsc() < deadline;
		while (rdtsc() < deadline + cycles)
			__asm__ volatile("pause");
		arm(LAST_VECTOR, rdtsc() + cycles);
		wait_for_more(LAST_VECTOR, later, false);
		if (in_time)
			return interrupts[TIMER_VECTOR] == before;
	}
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
	print("tick: %u of %lu interrupts, %u early, late by %lu cycles on average, %lu at most\n",
	      interrupts[TIMER_VECTOR], n, early, n ? late_sum / n : 0, late_max);
	if (interrupts[TIMER_VECTOR] != n || early)
		return 1;
	if (!disarmed_stays_away(cycles)) {
		print("tick: a deadline fired that was disarmed\n");
		return 1;
	}
	return 0;
}
