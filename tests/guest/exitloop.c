// SPDX-License-Identifier: Apache-2.0
/*
 * What an exit costs, seen from the guest: each operation n=N times (10000), or only those that the
 * command line names, one line each: "exitloop: NAME N operations CYCLES cycles each". The
 * addresses belong to no device, so the monitor's part is its table look-up and nothing more.
 * `empty` is the loop alone; `call` is a way to ring 0 and back, without an exit where ring 0 is
 * not emulated.
 */
#include "guest.h"

#define NO_PORT	  0x5f0u
#define NO_WINDOW (DEVICE_GPA + DEVICE_MAX * DEVICE_SIZE)
#define BURST	  16u

static const uint8_t zeros[BURST];

static void loop_empty(uint64_t n)
{
	while (n--)
		__asm__ volatile("" : : : "memory");
}

static void loop_port(uint64_t n)
{
	while (n--)
		outb(NO_PORT, 0);
}

static void loop_port_in(uint64_t n)
{
	while (n--)
		inb(NO_PORT);
}

/* Bytes of bursts of 16, as serial_send() writes them. */
static void loop_string(uint64_t n)
{
	for (; n >= BURST; n -= BURST)
		rep_outsb(NO_PORT, zeros, BURST);
	rep_outsb(NO_PORT, zeros, n);
}

static void loop_mmio(uint64_t n)
{
	while (n--)
		mmio_write32(NO_WINDOW, 0);
}

static void loop_mmio_read(uint64_t n)
{
	while (n--)
		mmio_read32(NO_WINDOW);
}

static void loop_cpuid(uint64_t n)
{
	uint32_t r[4];

	while (n--)
		cpuid(0, 0, r);
}

static long nothing(long a, long b)
{
	return a + b;
}

static void loop_call(uint64_t n)
{
	while (n--)
		call_ring0(nothing, 0, 0);
}

static const struct {
	const char *name;
	void (*loop)(uint64_t n);
} loops[] = {
	{ "empty", loop_empty },   { "port", loop_port }, { "port-in", loop_port_in },
	{ "string", loop_string }, { "mmio", loop_mmio }, { "mmio-read", loop_mmio_read },
	{ "cpuid", loop_cpuid },   { "call", loop_call },
};

#define NR_LOOPS (sizeof(loops) / sizeof(loops[0]))

int guest_main(void)
{
	uint64_t n = arg_number("n", 10000), start;
	bool all = true;

	if (!n)
		die("n=0 leaves nothing to measure");
	for (size_t i = 0; i < NR_LOOPS; i++)
		all &= !arg(loops[i].name);
	for (size_t i = 0; i < NR_LOOPS; i++) {
		if (!all && !arg(loops[i].name))
			continue;
		loops[i].loop(n / 100 + 1); /* what is touched first is not what is measured */
		start = rdtsc();
		loops[i].loop(n);
		print("exitloop: %s %lu operations %lu cycles each\n", loops[i].name, n,
		      (rdtsc() - start) / n);
	}
	return 0;
}
