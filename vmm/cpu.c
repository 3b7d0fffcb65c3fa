// SPDX-License-Identifier: Apache-2.0
/*
 * CPU state at boot. CPUID starts from what the provider supports, so that a guest sees the host's
 * features; the tables below say what is changed and why.
 */
#include "cpu.h"
#include "layout.h"
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* CPUID (SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E). */
#define CPUID_1_ECX_MONITOR	 (1u << 3) /* MWAIT would exit or be an idle loop on the host */
#define CPUID_1_ECX_X2APIC	 (1u << 21)
#define CPUID_1_ECX_TSC_DEADLINE (1u << 24) /* the only timer there is */
#define CPUID_1_ECX_HYPERVISOR	 (1u << 31)
#define CPUID_1_EDX_HTT		 (1u << 28)
#define CPUID_6_EAX_ARAT	 (1u << 2) /* the APIC timer never stops */
#define CPUID_AMD_ECX_CMP_LEGACY (1u << 1)
#define CPUID_AMD_ECX_PERF	 (1u << 23 | 1u << 24 | 1u << 28) /* counters */
#define CACHES_MAX		 16u
#define APIC_BUS_KHZ		 1000000u    /* KVM's local APIC counts nanoseconds */
#define HYPERVISOR_TIMING	 0x40000010u /* EAX = TSC in kHz: VMware's leaf, read by BSDs */

/* MSRs (SDM vol. 4). */
#define MSR_MISC_ENABLE	  0x1a0u
#define MISC_FAST_STRING  1ull
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MTRR_ENABLE_WB	  (1ull << 11 | 6) /* all memory write-back: there is no MTRR to probe */
#define APIC_BASE_X2APIC  (1ull << 10)
#define APIC_BASE_ENABLE  (1ull << 11)

#define CR0_PE	 (1ull << 0)
#define CR0_ET	 (1ull << 4)
#define CR0_PG	 (1ull << 31)
#define CR4_PAE	 (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

static struct kvm_cpuid_entry2 *find(struct hv_cpuid *cpuid, uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < cpuid->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == function &&
		    (e->index == index || !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return e;
	}
	return NULL;
}

/* The entry, made where the provider has none. Entries need no order. */
static struct kvm_cpuid_entry2 *leaf(struct hv_cpuid *cpuid, uint32_t function)
{
	struct kvm_cpuid_entry2 *e = find(cpuid, function, 0);

	if (e)
		return e;
	must(cpuid->head.nent < HV_CPUID_MAX);
	e = &cpuid->entries[cpuid->head.nent++];
	*e = (struct kvm_cpuid_entry2){ .function = function };
	return e;
}

static void drop(struct hv_cpuid *cpuid, uint32_t function)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cpuid->head.nent; i++)
		if (cpuid->entries[i].function != function)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->head.nent = kept;
}

/* Bits of an APIC ID that number the CPUs of the one package. */
static unsigned id_bits(unsigned cpus)
{
	unsigned bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void features(struct hv_cpuid *cpuid, unsigned id, unsigned cpus)
{
	struct kvm_cpuid_entry2 *e = leaf(cpuid, 1);

	e->ebx = (e->ebx & 0xff00) | cpus << 16 | id << 24;
	e->ecx |= CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE | CPUID_1_ECX_HYPERVISOR;
	e->ecx &= ~CPUID_1_ECX_MONITOR;
	e->edx = cpus > 1 ? e->edx | CPUID_1_EDX_HTT : e->edx & ~CPUID_1_EDX_HTT;
	e = leaf(cpuid, 6);
	*e = (struct kvm_cpuid_entry2){ .function = 6, .eax = CPUID_6_EAX_ARAT };
	drop(cpuid, 0xa); /* no performance counters, nor AMD's */
	drop(cpuid, 0x80000022);
	e = find(cpuid, 0x80000001, 0);
	if (e)
		e->ecx &= ~CPUID_AMD_ECX_PERF;
}

/* One package of `cpus` cores of one thread; first level caches private, the last one shared. */
static void intel_topology(struct hv_cpuid *cpuid, unsigned id, unsigned cpus)
{
	struct kvm_cpuid_entry2 *e;

	for (uint32_t i = 0; i < CACHES_MAX && (e = find(cpuid, 4, i)) && e->eax & 0x1f; i++) {
		const uint32_t level = e->eax >> 5 & 7;
		const uint32_t sharing = level >= 3 ? (1u << id_bits(cpus)) - 1 : 0;

		e->eax = (e->eax & 0x3fff) | sharing << 14 | ((1u << id_bits(cpus)) - 1) << 26;
	}
	drop(cpuid, 0xb);
	drop(cpuid, 0x1f);
	must(cpuid->head.nent + 2 <= HV_CPUID_MAX);
	e = &cpuid->entries[cpuid->head.nent];
	e[0] = (struct kvm_cpuid_entry2){
		.function = 0xb, .index = 0, .flags = 1, .eax = 0, .ebx = 1, .ecx = 0x100, .edx = id
	};
	e[1] = (struct kvm_cpuid_entry2){ .function = 0xb,
					  .index = 1,
					  .flags = 1,
					  .eax = id_bits(cpus),
					  .ebx = cpus,
					  .ecx = 0x201,
					  .edx = id };
	cpuid->head.nent += 2;
}

/* By the maker's name, AuthenticAMD or HygonGenuine: elsewhere the fields below are reserved. */
static bool is_amd(struct hv_cpuid *cpuid)
{
	const uint32_t maker = leaf(cpuid, 0)->ebx;

	return maker == 0x68747541 || maker == 0x6f677948;
}

static void amd_topology(struct hv_cpuid *cpuid, unsigned id, unsigned cpus)
{
	struct kvm_cpuid_entry2 *e;

	if (!is_amd(cpuid) || leaf(cpuid, 0x80000000)->eax < 0x80000008)
		return;
	e = leaf(cpuid, 0x80000001);
	e->ecx = cpus > 1 ? e->ecx | CPUID_AMD_ECX_CMP_LEGACY : e->ecx & ~CPUID_AMD_ECX_CMP_LEGACY;
	e = leaf(cpuid, 0x80000008);
	e->ecx = (e->ecx & ~0xf0ffu) | id_bits(cpus) << 12 | (cpus - 1);
	for (uint32_t i = 0; i < CACHES_MAX && (e = find(cpuid, 0x8000001d, i)) && e->eax & 0x1f;
	     i++)
		e->eax = (e->eax & 0x3fff) | ((e->eax >> 5 & 7) >= 3 ? cpus - 1 : 0) << 14;
	e = find(cpuid, 0x8000001e, 0);
	if (e) {
		e->eax = id;
		e->ebx = id; /* core number; one thread in each */
		e->ecx = 0;  /* one node */
		e->edx = 0;
	}
}

/* The TSC's frequency, so that no kernel has to measure it (SDM: CPUID 15H, 16H). */
static void frequency(struct hv_cpuid *cpuid, unsigned tsc_khz)
{
	const unsigned ratio = tsc_khz > 4000000 ? 2 : 1; /* the crystal's hertz fit in 32 bits */
	struct kvm_cpuid_entry2 *e = leaf(cpuid, 0);

	if (e->eax < 0x16)
		e->eax = 0x16;
	e = leaf(cpuid, 0x15);
	e->eax = 1;
	e->ebx = ratio;
	e->ecx = tsc_khz / ratio * 1000;
	e->edx = 0;
	e = leaf(cpuid, 0x16);
	e->eax = e->ebx = tsc_khz / 1000;
	e->ecx = 100;
	e->edx = 0;
	e = find(cpuid, 0x40000000, 0);
	if (e) {
		e->eax = HYPERVISOR_TIMING;
		leaf(cpuid, HYPERVISOR_TIMING)->eax = tsc_khz;
		leaf(cpuid, HYPERVISOR_TIMING)->ebx = APIC_BUS_KHZ;
	}
}

bool cpu_is_incidental(uint32_t function)
{
	static const uint32_t leaves[] = {
		2, 4, 0x15, 0x16, HYPERVISOR_TIMING, 0x18, 0x80000005, 0x80000006, 0x8000001d
	};
	bool found = false;

	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		found |= leaves[i] == function;
	return found;
}

void cpu_cpuid(struct hv_cpuid *cpuid, unsigned id, unsigned cpus, unsigned tsc_khz)
{
	features(cpuid, id, cpus);
	intel_topology(cpuid, id, cpus);
	amd_topology(cpuid, id, cpus);
	frequency(cpuid, tsc_khz);
}

unsigned cpu_physical_bits(struct hv_cpuid *supported)
{
	const struct kvm_cpuid_entry2 *e = find(supported, 0x80000008, 0);

	return e && e->eax & 0xff ? e->eax & 0xff : 36; /* the least of a 64-bit CPU (SDM) */
}

int cpu_init(const struct hv_vcpu *vcpu, struct hv_cpuid *cpuid, unsigned id, unsigned cpus,
	     unsigned tsc_khz)
{
	const struct hv_msrs msrs = {
		.head.nmsrs = 2,
		.entries = { { .index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING },
			     { .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE_WB } },
	};
	struct kvm_sregs sregs;
	int err;

	cpu_cpuid(cpuid, id, cpus, tsc_khz);
	err = hv_set_cpuid(vcpu, cpuid);
	if (err)
		return fail(err, "vCPU %u: KVM_SET_CPUID2", id);
	err = hv_set_msrs(vcpu, &msrs);
	if (err)
		return fail(err, "vCPU %u: KVM_SET_MSRS", id);
	/* x2APIC from the start: no guest needs the xAPIC page, which costs a decode per access. */
	err = hv_get_sregs(vcpu, &sregs);
	sregs.apic_base |= APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	if (!err)
		err = hv_set_sregs(vcpu, &sregs);
	return err ? fail(err, "vCPU %u: x2APIC mode", id) : 0;
}

/* Selectors as the Linux boot protocol names them; a PVH kernel loads its own at once. */
#define BOOT_CS 0x10u
#define BOOT_DS 0x18u
#define BOOT_TR 0x20u

static struct kvm_segment code_segment(bool is_long)
{
	return (struct kvm_segment){ .selector = BOOT_CS,
				     .limit = 0xffffffff,
				     .type = 0xb,
				     .s = 1,
				     .present = 1,
				     .g = 1,
				     .l = is_long,
				     .db = !is_long };
}

static struct kvm_segment data_segment(void)
{
	return (struct kvm_segment){ .selector = BOOT_DS,
				     .limit = 0xffffffff,
				     .type = 0x3,
				     .s = 1,
				     .present = 1,
				     .g = 1,
				     .db = 1 };
}

/* The descriptor that a segment register was loaded from (SDM vol. 3, Segment Descriptors). */
static uint64_t descriptor(const struct kvm_segment *s)
{
	const uint64_t limit = s->g ? s->limit >> 12 : s->limit;

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | (uint64_t)s->type << 40 |
	       (uint64_t)s->s << 44 | (uint64_t)s->present << 47 | (limit >> 16 & 0xf) << 48 |
	       (uint64_t)s->l << 53 | (uint64_t)s->db << 54 | (uint64_t)s->g << 55 |
	       (s->base >> 24 & 0xff) << 56;
}

/* 4 GiB mapped one to one in 2 MiB pages: PML4, PDPT, four page directories. */
static void identity_map(uint64_t *tables)
{
	const uint64_t table = 0x3, large = 0x83; /* present, writable; page size */

	tables[0] = (PAGE_TABLE_GPA + 0x1000) | table;
	for (uint64_t i = 0; i < 4; i++)
		tables[512 + i] = (PAGE_TABLE_GPA + 0x2000 + i * 0x1000) | table;
	for (uint64_t i = 0; i < 4 * 512; i++)
		tables[1024 + i] = i << 21 | large;
}

int cpu_enter(const struct hv_vcpu *vcpu, const struct mem *mem, enum image_entry kind,
	      uint64_t entry)
{
	const bool is_long = kind == IMAGE_LINUX64;
	struct kvm_regs regs = { .rflags = 0x2, .rip = entry };
	uint64_t *gdt = mem_at(mem, GDT_GPA, 6 * sizeof(*gdt));
	struct kvm_sregs sregs;
	int err = hv_get_sregs(vcpu, &sregs);

	if (err)
		return fail(err, "KVM_GET_SREGS");
	sregs.cs = code_segment(is_long);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data_segment();
	sregs.tr = (struct kvm_segment){
		.selector = BOOT_TR, .limit = 0x67, .type = 0xb, .present = 1
	};
	gdt[BOOT_CS / 8] = descriptor(&sregs.cs);
	gdt[BOOT_DS / 8] = descriptor(&sregs.ds);
	gdt[BOOT_TR / 8] = descriptor(&sregs.tr); /* 16 bytes in long mode: the upper half is 0 */
	sregs.gdt.base = GDT_GPA;
	sregs.gdt.limit = 6 * sizeof(*gdt) - 1;
	sregs.idt = (struct kvm_dtable){ 0 };
	sregs.cr0 = CR0_PE | CR0_ET;
	if (is_long) {
		identity_map(mem_at(mem, PAGE_TABLE_GPA, 0x6000));
		sregs.cr0 |= CR0_PG;
		sregs.cr3 = PAGE_TABLE_GPA;
		sregs.cr4 = CR4_PAE;
		sregs.efer = EFER_LME | EFER_LMA;
		regs.rsi = ZERO_PAGE_GPA;
	} else {
		regs.rbx = START_INFO_GPA;
	}
	err = hv_set_sregs(vcpu, &sregs);
	if (!err)
		err = hv_set_regs(vcpu, &regs);
	return err ? fail(err, "setting the boot CPU's registers") : 0;
}

/*
 * The guest-physical address behind a linear one, or ~0: four levels of long mode (SDM vol. 3,
 * 4-Level Paging), or no paging at all. For reports only; the tables are the guest's and may be
 * anything.
 */
static uint64_t walk(const struct mem *mem, const struct kvm_sregs *sregs, uint64_t linear)
{
	const uint64_t frame = 0x000ffffffffff000;
	uint64_t table = sregs->cr3 & frame;

	if (!(sregs->cr0 & CR0_PG))
		return linear;
	if (!(sregs->efer & EFER_LMA))
		return ~0ull;
	for (unsigned shift = 39;; shift -= 9) {
		const uint64_t *entry = mem_at(mem, table + (linear >> shift & 511) * 8, 8);
		const uint64_t e = entry ? *(const volatile uint64_t *)entry : 0;
		const uint64_t inside = (1ull << shift) - 1;

		if (!(e & 1))
			return ~0ull;
		if (shift == 12 || (shift < 39 && e & 0x80))
			return (e & frame & ~inside) | (linear & inside);
		table = e & frame;
	}
}

void cpu_dump(const struct hv_vcpu *vcpu, const struct mem *mem, unsigned id)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	const uint8_t *code;
	char bytes[16 * 3 + 1] = " (not in RAM)";

	if (hv_get_regs(vcpu, &r) || hv_get_sregs(vcpu, &s))
		return;
	code = mem_at(mem, walk(mem, &s, s.cs.base + r.rip), 16);
	for (unsigned i = 0; code && i < 16; i++)
		snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x", code[i]);
	note("vCPU %u: rip %016llx rflags %08llx cs %04x base %llx cr0 %llx cr2 %llx cr3 %llx cr4 %llx "
	     "efer %llx",
	     id, r.rip, r.rflags, s.cs.selector, s.cs.base, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
	note("  rax %016llx rbx %016llx rcx %016llx rdx %016llx", r.rax, r.rbx, r.rcx, r.rdx);
	note("  rsi %016llx rdi %016llx rbp %016llx rsp %016llx", r.rsi, r.rdi, r.rbp, r.rsp);
	note("  r8  %016llx r9  %016llx r10 %016llx r11 %016llx", r.r8, r.r9, r.r10, r.r11);
	note("  r12 %016llx r13 %016llx r14 %016llx r15 %016llx", r.r12, r.r13, r.r14, r.r15);
	note("  code%s", bytes);
}
