// SPDX-License-Identifier: Apache-2.0
/*
 * The guest of bench/clone that is no Linux: says MARKER when it runs, and then LATER every so many
 * cycles, the processor halted in between, so that one that goes on in a clone is heard, whichever
 * monitor it is in. Never ends by itself. As init.c with GO_ON.
 */
#include "../tests/guest/guest.h"
#include "init.h"

#define BEAT 2500000u /* cycles, a millisecond or so */

static void rest(void)
{
	const uint32_t before = interrupts[TIMER_VECTOR];

	apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER_VECTOR);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + BEAT);
	while (interrupts[TIMER_VECTOR] == before)
		wait_interrupt();
}

int guest_main(void)
{
	apic_enable();
	print(MARKER "\n");
	for (;;) {
		rest();
		print(LATER "\n");
	}
}
