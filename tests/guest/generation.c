// SPDX-License-Identifier: Apache-2.0
/*
 * Watches its generation (layout.h) for n=N deadlines of the APIC's timer, cycles=N ahead, or until
 * an interrupt says that it is another; and says what has become of it: whether one came, and
 * whether the number was another then.
 */
#include "guest.h"

#define VECTOR (TIMER_VECTOR - 1u)

struct generation {
	uint64_t low, high;
};

static struct generation generation(void)
{
	return (struct generation){ mmio_read64(GENERATION_GPA), mmio_read64(GENERATION_GPA + 8) };
}

static bool is_same(struct generation a, struct generation b)
{
	return a.low == b.low && a.high == b.high;
}

static void say(struct generation g)
{
	print("generation: %lx-%lx\n", g.high, g.low);
}

int guest_main(void)
{
	const uint64_t n = arg_number("n", 100), cycles = arg_number("cycles", 1000000);
	const struct generation first = generation();

	apic_enable();
	ioapic_route(GENERATION_GSI, VECTOR);
	say(first);
	for (uint64_t i = 0; i < n && !interrupts[VECTOR]; i++) {
		const uint32_t ticks = interrupts[TIMER_VECTOR];

		apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER_VECTOR);
		wrmsr(MSR_TSC_DEADLINE, rdtsc() + cycles);
		while (interrupts[TIMER_VECTOR] == ticks && !interrupts[VECTOR])
			wait_interrupt();
	}
	print("generation: told %u times, %s now\n", interrupts[VECTOR],
	      is_same(generation(), first) ? "the first" : "another");
	say(generation());
	return 0;
}
