// SPDX-License-Identifier: Apache-2.0
/*
 * Starts the processors that the MADT lists, by INIT, SIPI, SIPI over x2APIC; each gets to ring 3,
 * says its APIC ID, and answers interrupts from the first one. cpus=N: how many there must be.
 * rounds=N: interrupts there and back for each (10); `spin`: they come to ring 3, not to HLT.
 * `halt`: at the end all processors halt with interrupts off instead of powering off. Walks RSDP,
 * XSDT and MADT, and so checks them.
 */
#include "guest.h"

#define PING_VECTOR   0x40u /* + index: to that processor */
#define PONG_VECTOR   0x60u /* + index: its answer */
#define MADT_LAPIC    0u
#define MADT_IOAPIC   1u
#define MADT_X2APIC   9u
#define MADT_ENABLED  1u
#define WAIT_FOR_SIPI 1000000ul /* cycles: 10 ms are for hardware of the nineties */
#define START_LIMIT   20000000000ul

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct table {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[26];
};

struct madt {
	struct table header;
	uint32_t lapic;
	uint32_t flags;
	uint8_t entries[];
};

static uint32_t listed[GUEST_CPUS]; /* APIC IDs, in the MADT's order */
static unsigned nr_listed, nr_ioapics;
static volatile uint32_t apic_id[GUEST_CPUS]; /* by index, in the order of arrival */
static volatile uint32_t nr_running;	      /* with apic_id[] filled in */
static volatile bool all_halt;
static bool spinning; /* the others wait for interrupts in ring 3, not in HLT */

static bool sums_to_zero(const void *p, size_t n)
{
	const uint8_t *byte = p;
	uint8_t sum = 0;

	while (n--)
		sum += *byte++;
	return !sum;
}

static bool has_signature(const char *p, const char *signature)
{
	while (*signature && *p == *signature)
		p++, signature++;
	return !*signature;
}

static const struct madt *find_madt(void)
{
	const struct rsdp *rsdp = (const void *)start_info->rsdp;
	const struct madt *madt = NULL;
	const struct table *xsdt;

	if (!rsdp || !has_signature(rsdp->signature, "RSD PTR ") || rsdp->revision < 2)
		die("the start info points to no RSDP of revision 2");
	if (!sums_to_zero(rsdp, 20) || !sums_to_zero(rsdp, rsdp->length))
		die("the RSDP's checksum is wrong");
	xsdt = (const void *)rsdp->xsdt;
	if (!has_signature(xsdt->signature, "XSDT") || !sums_to_zero(xsdt, xsdt->length))
		die("the XSDT is none or its checksum is wrong");
	for (uint32_t at = sizeof(*xsdt); at + 8 <= xsdt->length; at += 8) {
		const struct table *t;

		memcpy(&t, (const char *)xsdt + at, sizeof(t)); /* 4-byte aligned */
		if (!sums_to_zero(t, t->length))
			die("the checksum of a table in the XSDT is wrong");
		if (has_signature(t->signature, "APIC"))
			madt = (const void *)t;
	}
	if (!madt)
		die("the XSDT lists no MADT");
	return madt;
}

static void list_processor(uint32_t id, uint32_t flags)
{
	if (!(flags & MADT_ENABLED))
		return;
	if (nr_listed == GUEST_CPUS)
		die("the MADT lists more processors than this program has stacks for");
	listed[nr_listed++] = id;
}

static uint32_t word_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void read_madt(const struct madt *madt)
{
	const uint8_t *e = madt->entries, *end = (const uint8_t *)madt + madt->header.length;

	if (madt->lapic != LAPIC_GPA)
		die("the MADT has the local APIC elsewhere than at 0xfee00000");
	for (; e + 2 <= end && e[1] >= 2; e += e[1]) {
		if (e[0] == MADT_LAPIC)
			list_processor(e[3], word_at(e + 4));
		else if (e[0] == MADT_X2APIC)
			list_processor(word_at(e + 4), word_at(e + 8));
		else if (e[0] == MADT_IOAPIC && word_at(e + 4) == IOAPIC_GPA)
			nr_ioapics++;
	}
	if (e != end)
		die("the MADT's entries do not end where it does");
}

static void send_ipi(uint32_t id, uint32_t what)
{
	apic_write(APIC_ICR, (uint64_t)id << 32 | what);
}

static void wait_cycles(uint64_t n)
{
	for (uint64_t start = rdtsc(); rdtsc() - start < n;)
		__asm__ volatile("pause");
}

/* The three places that tell a processor its APIC ID agree. */
static uint32_t own_id(void)
{
	uint32_t id = (uint32_t)apic_read(APIC_ID), r[4];

	cpuid0(1, r);
	if (r[1] >> 24 != (id & 0xff))
		die("CPUID 1 and the local APIC differ about the APIC ID");
	cpuid0(0, r);
	if (r[0] < 0xb)
		return id;
	cpuid0(0xb, r);
	if (r[1] && r[3] != id)
		die("CPUID 0xb and the local APIC differ about the APIC ID");
	return id;
}

static void arrive(unsigned index)
{
	apic_enable();
	apic_id[index] = own_id();
	__atomic_fetch_add(&nr_running, 1, __ATOMIC_SEQ_CST);
}

_Noreturn void ap_main(unsigned index)
{
	uint32_t answered = 0;

	arrive(index);
	if (spinning)
		call_ring0(interrupts_allow, 0, 0);
	while (!all_halt) {
		if (interrupts[PING_VECTOR + index] == answered) {
			if (spinning)
				__asm__ volatile("pause");
			else
				wait_interrupt();
			continue;
		}
		answered++;
		send_ipi(apic_id[0], APIC_ICR_FIXED | (PONG_VECTOR + index));
	}
	halt_for_good();
}

static void start_processors(void)
{
	const uint32_t startup = APIC_ICR_STARTUP | TRAMPOLINE_GPA >> 12;

	memcpy((void *)TRAMPOLINE_GPA, ap_trampoline, ap_trampoline_size);
	for (unsigned i = 0; i < nr_listed; i++) {
		if (listed[i] == apic_id[0])
			continue;
		send_ipi(listed[i], APIC_ICR_INIT);
		wait_cycles(WAIT_FOR_SIPI);
		send_ipi(listed[i], startup);
		wait_cycles(WAIT_FOR_SIPI);
		send_ipi(listed[i], startup);
	}
	for (uint64_t start = rdtsc(); nr_running < nr_listed && rdtsc() - start < START_LIMIT;)
		__asm__ volatile("pause");
}

/* Each listed ID has come once, which with equal counts means that none has come twice. */
static bool check_ids(void)
{
	bool ok = want("processors running", nr_running, nr_listed);

	for (unsigned i = 0; i < nr_listed; i++) {
		unsigned times = 0;

		for (unsigned j = 0; j < nr_running; j++)
			times += apic_id[j] == listed[i];
		if (times != 1)
			print("  APIC ID %u: %u processors\n", listed[i], times);
		ok &= times == 1;
	}
	return ok;
}

static bool ping(unsigned index, uint32_t rounds)
{
	for (uint32_t i = 1; i <= rounds; i++) {
		send_ipi(apic_id[index], APIC_ICR_FIXED | (PING_VECTOR + index));
		if (!wait_for(PONG_VECTOR + index, i)) {
			print("  APIC ID %u: no answer to interrupt %u\n", apic_id[index], i);
			return false;
		}
	}
	return want("pings", interrupts[PING_VECTOR + index], rounds) &
	       want("pongs", interrupts[PONG_VECTOR + index], rounds);
}

static _Noreturn void halt_all(void)
{
	all_halt = true;
	for (unsigned i = 1; i < nr_running; i++)
		send_ipi(apic_id[i], APIC_ICR_FIXED | (PING_VECTOR + i));
	halt_for_good();
}

int guest_main(void)
{
	uint32_t rounds = (uint32_t)arg_number("rounds", 10);
	uint64_t start = rdtsc(), started;
	bool ok;

	spinning = arg("spin");
	read_madt(find_madt());
	arrive(0);
	start_processors();
	started = rdtsc();
	ok = check_ids() & want("I/O APIC entries in the MADT", nr_ioapics, 1) &
	     want("cpus=", nr_listed, arg_number("cpus", nr_listed));
	for (unsigned i = 1; i < nr_running; i++)
		ok &= ping(i, rounds);
	print("smp: %u of %u processors after %lu cycles, %u interrupts each way: %s\n", nr_running,
	      nr_listed, started - start, rounds, ok ? "ok" : "FAILED");
	if (arg("halt"))
		halt_all();
	return !ok;
}
