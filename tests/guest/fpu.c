// SPDX-License-Identifier: Apache-2.0
/*
 * Fills the x87 and vector registers, as many as XCR0 can have, with what follows from seed=N (1),
 * and looks rounds=N times (100) whether they still hold it, after exits that the hypervisor
 * answers, that the monitor answers, and that let others have the CPU. At the start there must be
 * nothing in them: no other guest's values, nor the host's. xcr0=N leaves out components. Two of
 * these side by side on one CPU disturb each other where a hypervisor forgets a register. Status 0
 * if it did not.
 */
#include "guest.h"

#define CPUID_XSAVE    (1u << 26) /* leaf 1, ECX */
#define CR4_OSFXSR     0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_OSXSAVE    0x40000u
#define X87_AND_SSE    0x3u
#define COMPONENTS     8u
#define KNOWN	       0xe7u /* no MPX: 3 and 4 */

/* The legacy region of an XSAVE area (SDM vol. 1, 13.4.1). */
#define AT_FCW	     0u
#define AT_FTW	     4u
#define AT_MXCSR     24u
#define AT_ST	     32u
#define AT_XMM	     160u
#define LEGACY_SIZE  512u
#define HEADER_SIZE  64u
#define ST_REGISTERS 8u
#define FCW	     0x0c7fu
#define MXCSR	     0x7fc0u

static const char *const names[COMPONENTS] = { "x87",	 "SSE",	   "AVX",	"BNDREGS",
					       "BNDCSR", "opmask", "ZMM_Hi256", "Hi16_ZMM" };

/* Where the registers of a component lie in the area. */
static struct range {
	const char *name;
	uint32_t offset, size;
} ranges[ST_REGISTERS + COMPONENTS];
static unsigned nr_ranges;

static uint8_t area[4096] __attribute__((aligned(64))),
	want_area[4096] __attribute__((aligned(64)));
static uint32_t xcr0; /* 0: no XSAVE, thus FXSAVE */

static void add_range(unsigned component, uint32_t offset, uint32_t size)
{
	if (offset + size > sizeof(area))
		die("CPUID 0xd names a component beyond 4 KiB");
	ranges[nr_ranges++] = (struct range){ names[component], offset, size };
}

static void find_ranges(void)
{
	for (unsigned i = 0; i < ST_REGISTERS; i++)
		add_range(0, AT_ST + 16 * i, 10);
	add_range(1, AT_XMM, 256);
	for (unsigned i = 2; i < COMPONENTS; i++) {
		uint32_t r[4];

		if (!(xcr0 & 1u << i))
			continue;
		cpuid(0xd, i, r);
		add_range(i, r[1], r[0]);
	}
}

static long enable(long components, long unused)
{
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | (components ? CR4_OSXSAVE : 0);
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
	if (components)
		__asm__ volatile("xsetbv" : : "a"(components), "d"(0), "c"(0));
	return unused;
}

static void save(void)
{
	memset(area, 0, sizeof(area));
	if (xcr0)
		__asm__ volatile("xsave %0" : "+m"(area) : "a"(xcr0), "d"(0));
	else
		__asm__ volatile("fxsave %0" : "+m"(area));
}

static void restore(void)
{
	if (xcr0)
		__asm__ volatile("xrstor %0" : : "m"(area), "a"(xcr0), "d"(0));
	else
		__asm__ volatile("fxrstor %0" : : "m"(area));
}

/* Takes the registers; each range has to hold what want_area holds there. */
static bool holds(const char *when)
{
	bool ok = true;

	save();
	for (const struct range *r = ranges; r < ranges + nr_ranges; r++) {
		uint32_t i = 0;

		while (i < r->size && area[r->offset + i] == want_area[r->offset + i])
			i++;
		if (i < r->size) {
			print("  %s: %s has 0x%x at byte %u, wanted 0x%x\n", when, r->name,
			      area[r->offset + i], r->offset + i, want_area[r->offset + i]);
			ok = false;
		}
	}
	return ok;
}

static bool controls_hold(void)
{
	uint32_t mxcsr, allowed = xcr0, high;
	uint16_t fcw;

	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	if (xcr0)
		__asm__ volatile("xgetbv" : "=a"(allowed), "=d"(high) : "c"(0));
	return want("FCW", fcw, FCW) & want("MXCSR", mxcsr, MXCSR) & want("XCR0", allowed, xcr0);
}

static void fill(uint64_t seed)
{
	uint32_t mxcsr = MXCSR;

	for (const struct range *r = ranges; r < ranges + nr_ranges; r++)
		for (uint32_t i = r->offset; i < r->offset + r->size; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			want_area[i] = (uint8_t)(seed >> 56);
		}
	want_area[AT_FCW] = FCW & 0xff;
	want_area[AT_FCW + 1] = FCW >> 8;
	want_area[AT_FTW] = 0xff; /* no register is empty */
	memcpy(want_area + AT_MXCSR, &mxcsr, sizeof(mxcsr));
	memset(want_area + LEGACY_SIZE, 0, HEADER_SIZE);
	want_area[LEGACY_SIZE] = (uint8_t)xcr0; /* XSTATE_BV */
	memcpy(area, want_area, sizeof(area));
	restore();
}

static void exits(void)
{
	uint32_t r[4];

	cpuid0(0, r);
	inb(COM1_PORT + UART_SCR);
	apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER_VECTOR);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 100000);
	wait_interrupt();
}

int guest_main(void)
{
	const uint64_t rounds = arg_number("rounds", 100);
	uint32_t r[4];
	bool ok;

	apic_enable();
	cpuid0(1, r);
	if (r[2] & CPUID_XSAVE) {
		cpuid0(0xd, r);
		xcr0 = r[0] & KNOWN & (uint32_t)arg_number("xcr0", KNOWN);
	}
	if (xcr0 && (xcr0 & X87_AND_SSE) != X87_AND_SSE)
		die("x87 and SSE are always there");
	call_ring0(enable, xcr0, 0);
	find_ranges();
	ok = holds("at the start");
	fill(arg_number("seed", 1));
	for (uint64_t i = 0; ok && i < rounds; i++) {
		exits();
		ok = holds("after exits") & controls_hold();
	}
	print("fpu: components 0x%x, %lu rounds: %s\n", xcr0, rounds, ok ? "ok" : "FAILED");
	return !ok;
}
