// SPDX-License-Identifier: Apache-2.0
/*
 * What a vCPU is when the guest first sees it: CPUID made from a provider's table (SDM vol. 2A,
 * CPUID; AMD APM vol. 3, appendix E), and the registers that enter a kernel. The hypervisor is this
 * test's own and records what it is given.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/cpu.h"
#include "../../vmm/layout.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct hv_vcpu vcpu = { .fd = -1 };
static struct kvm_regs regs;
static struct kvm_sregs sregs;
static struct hv_cpuid cpuid;

int hv_set_cpuid(const struct hv_vcpu *v, const struct hv_cpuid *table)
{
	(void)v;
	cpuid = *table;
	return 0;
}

int hv_set_msrs(const struct hv_vcpu *v, const struct hv_msrs *msrs)
{
	(void)v;
	assert_in_range(msrs->head.nmsrs, 1, HV_MSRS_MAX);
	return 0;
}

int hv_get_regs(const struct hv_vcpu *v, struct kvm_regs *r)
{
	(void)v;
	*r = regs;
	return 0;
}

int hv_set_regs(const struct hv_vcpu *v, const struct kvm_regs *r)
{
	(void)v;
	regs = *r;
	return 0;
}

int hv_get_sregs(const struct hv_vcpu *v, struct kvm_sregs *r)
{
	(void)v;
	*r = sregs;
	return 0;
}

int hv_set_sregs(const struct hv_vcpu *v, const struct kvm_sregs *r)
{
	(void)v;
	sregs = *r;
	return 0;
}

/*
 * A provider's table, of an Intel and an AMD machine with 8 threads; what is not asked is left out.
 */
#define ENTRY(leaf, i, f, a, b, c, d)                                                            \
	{                                                                                        \
		.function = leaf, .index = i, .flags = f, .eax = a, .ebx = b, .ecx = c, .edx = d \
	}

static const struct kvm_cpuid_entry2 intel[] = {
	ENTRY(0, 0, 0, 0x14, 0x756e6547, 0x6c65746e, 0x49656e69),
	ENTRY(1, 0, 0, 0x50654, 0x07100842, 0x7ffefbff & ~(1u << 24), 0xbfebfbff),
	ENTRY(4, 0, 1, 0x1c004121, 0x01c0003f, 0x3f, 0),   /* L1 data, 2 threads share it */
	ENTRY(4, 1, 1, 0x1c004122, 0x01c0003f, 0x3f, 0),   /* L1 code */
	ENTRY(4, 2, 1, 0x1c004143, 0x03c0003f, 0x3ff, 0),  /* L2 */
	ENTRY(4, 3, 1, 0x1c03c163, 0x0280003f, 0x4fff, 4), /* L3 */
	ENTRY(4, 4, 1, 0, 0, 0, 0),
	ENTRY(6, 0, 0, 0x77, 2, 9, 0),
	ENTRY(7, 0, 1, 0, 0xd19f47ab, 8, 0xac000400),
	ENTRY(0xa, 0, 0, 0x07300404, 0, 0, 0x603),
	ENTRY(0xb, 0, 1, 1, 2, 0x100, 7),
	ENTRY(0xb, 1, 1, 4, 8, 0x201, 7),
	ENTRY(0xd, 0, 1, 0x2e7, 0xa88, 0xa88, 0),
	ENTRY(0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
	ENTRY(0x40000001, 0, 0, 0x01007afb, 0, 0, 0),
	ENTRY(0x80000000, 0, 0, 0x80000008, 0, 0, 0),
	ENTRY(0x80000001, 0, 0, 0, 0, 0x121, 0x2c100800),
	ENTRY(0x80000008, 0, 0, 0x302e, 0, 0, 0),
};

static const struct kvm_cpuid_entry2 amd[] = {
	ENTRY(0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65),
	ENTRY(1, 0, 0, 0x830f10, 0x07080800, 0xf6f83203, 0x178bfbff),
	ENTRY(6, 0, 0, 4, 0, 1, 0),
	ENTRY(0xd, 0, 1, 7, 0x340, 0x340, 0),
	ENTRY(0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
	ENTRY(0x40000001, 0, 0, 0x01007afb, 0, 0, 0),
	ENTRY(0x80000000, 0, 0, 0x8000001f, 0x68747541, 0x444d4163, 0x69746e65),
	ENTRY(0x80000001, 0, 0, 0x830f10, 0, 0x004003f3, 0x2fd3fbff),
	ENTRY(0x80000008, 0, 0, 0x3030, 0x0111ed57, 0x7007, 0),
	ENTRY(0x8000001d, 0, 1, 0x4121, 0x1c0003f, 0x3f, 0),
	ENTRY(0x8000001d, 1, 1, 0x4122, 0x1c0003f, 0x3f, 0),
	ENTRY(0x8000001d, 2, 1, 0x4143, 0x1c0003f, 0x3ff, 2),
	ENTRY(0x8000001d, 3, 1, 0x1c163, 0x3c0003f, 0x3fff, 1),
	ENTRY(0x8000001d, 4, 1, 0, 0, 0, 0),
	ENTRY(0x8000001e, 0, 1, 7, 0x103, 0x300, 0),
};

static void provide(const struct kvm_cpuid_entry2 *entries, unsigned nr)
{
	memset(&cpuid, 0, sizeof(cpuid));
	memcpy(cpuid.entries, entries, nr * sizeof(*entries));
	cpuid.head.nent = nr;
}

/* As the CPU would answer: all zero where there is no entry. Two for one question are a mistake. */
static struct kvm_cpuid_entry2 ask(uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 answer = { 0 };
	unsigned found = 0;

	for (unsigned i = 0; i < cpuid.head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid.entries[i];

		if (e->function != function ||
		    (e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX && e->index != index))
			continue;
		answer = *e;
		found++;
	}
	assert_in_range(found, 0, 1);
	return answer;
}

/* CPUs, and bits of an APIC ID that tell them apart. */
static const struct {
	unsigned cpus, bits;
} counts[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 8, 3 }, { 9, 4 }, { 32, 5 } };

static void check_basic_topology(unsigned id, unsigned cpus)
{
	const struct kvm_cpuid_entry2 one = ask(1, 0);

	assert_int_equal(one.ebx >> 24, id);
	assert_int_equal(one.ebx >> 16 & 0xff, cpus);
	assert_int_equal(one.ebx >> 8 & 0xff, 0x08); /* CLFLUSH's line, as provided */
	assert_int_equal(one.edx >> 28 & 1, cpus > 1);
}

/* 0BH: threads, then cores; the shift of the last level gives the package. */
static void check_extended_topology(unsigned id, unsigned cpus, unsigned bits)
{
	const struct kvm_cpuid_entry2 smt = ask(0xb, 0), core = ask(0xb, 1), none = ask(0xb, 2);

	assert_int_equal(smt.eax, 0);
	assert_int_equal(smt.ebx, 1);
	assert_int_equal(smt.ecx, 0x100);
	assert_int_equal(core.eax, bits);
	assert_int_equal(core.ebx, cpus);
	assert_int_equal(core.ecx, 0x201);
	assert_int_equal(smt.edx, id);
	assert_int_equal(core.edx, id);
	assert_int_equal(none.ecx >> 8, 0);
	assert_int_equal(id >> core.eax, 0);
}

static void intel_topologies(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(counts); i++) {
		for (unsigned id = 0; id < counts[i].cpus; id++) {
			provide(intel, COUNT(intel));
			cpu_cpuid(&cpuid, id, counts[i].cpus, 2300000);
			check_basic_topology(id, counts[i].cpus);
			check_extended_topology(id, counts[i].cpus, counts[i].bits);
		}
	}
}

/* 04H: first and second level are each core's own, the third is the package's. */
static void intel_caches(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(counts); i++) {
		const uint32_t ids = (1u << counts[i].bits) - 1;

		provide(intel, COUNT(intel));
		cpu_cpuid(&cpuid, 0, counts[i].cpus, 2300000);
		for (uint32_t cache = 0; cache < 4; cache++) {
			const struct kvm_cpuid_entry2 e = ask(4, cache);

			assert_int_equal(e.eax & 0x3fff, intel[2 + cache].eax & 0x3fff);
			assert_int_equal(e.eax >> 14 & 0xfff, cache == 3 ? ids : 0);
			assert_int_equal(e.eax >> 26, ids);
			assert_int_equal(e.ebx, intel[2 + cache].ebx);
		}
		assert_int_equal(ask(4, 4).eax, 0);
	}
}

static void amd_topologies(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(counts); i++) {
		const unsigned cpus = counts[i].cpus;

		for (unsigned id = 0; id < cpus; id++) {
			provide(amd, COUNT(amd));
			cpu_cpuid(&cpuid, id, cpus, 2300000);
			check_basic_topology(id, cpus);
			check_extended_topology(id, cpus, counts[i].bits);
			assert_int_equal(ask(0x80000008, 0).ecx, counts[i].bits << 12 | (cpus - 1));
			assert_int_equal(ask(0x80000008, 0).eax, 0x3030);
			assert_int_equal(ask(0x80000001, 0).ecx,
					 cpus > 1 ? 0x004003f3 : 0x004003f1); /* CmpLegacy */
			assert_int_equal(ask(0x8000001d, 0).eax, 0x0121);
			assert_int_equal(ask(0x8000001d, 3).eax, 0x0163 | (cpus - 1) << 14);
			assert_int_equal(ask(0x8000001e, 0).eax, id);
			assert_int_equal(ask(0x8000001e, 0).ebx, id);
			assert_int_equal(ask(0x8000001e, 0).ecx, 0);
		}
	}
}

static void intel_reserved_bits(void **state)
{
	(void)state;
	provide(intel, COUNT(intel));
	cpu_cpuid(&cpuid, 1, 8, 2300000);
	assert_int_equal(ask(0x80000001, 0).ecx, 0x121);
	assert_int_equal(ask(0x80000008, 0).ecx, 0);
}

static void features(void **state)
{
	(void)state;
	provide(intel, COUNT(intel));
	cpu_cpuid(&cpuid, 0, 1, 2300000);
	assert_int_equal(ask(1, 0).eax, 0x50654);
	assert_int_equal(ask(1, 0).ecx & 1u << 31, 1u << 31); /* a hypervisor is there */
	assert_int_equal(ask(1, 0).ecx & 1u << 24, 1u << 24); /* TSC deadline */
	assert_int_equal(ask(1, 0).ecx & 1u << 21, 1u << 21); /* x2APIC */
	assert_int_equal(ask(1, 0).ecx & 1u << 3, 0);	      /* MONITOR */
	assert_int_equal(ask(6, 0).eax, 4);		      /* ARAT and no more */
	assert_int_equal(ask(6, 0).ecx, 0);
	assert_int_equal(ask(0xa, 0).eax, 0);
	assert_int_equal(ask(7, 0).ebx, 0xd19f47ab); /* untouched */
	assert_int_equal(ask(0xd, 0).eax, 0x2e7);
	assert_int_equal(ask(0x40000001, 0).eax, 0x01007afb);
}

/* 15H: crystal hertz times EBX over EAX; 16H: megahertz; 40000010H: kilohertz. */
static void tsc_frequencies(void **state)
{
	static const unsigned khz[] = { 1000000, 2300000, 2299998, 4000000, 5000000, 6200000 };

	(void)state;
	for (unsigned i = 0; i < COUNT(khz); i++) {
		struct kvm_cpuid_entry2 tsc;

		provide(intel, COUNT(intel));
		cpu_cpuid(&cpuid, 0, 1, khz[i]);
		assert_true(ask(0, 0).eax >= 0x16);
		tsc = ask(0x15, 0);
		assert_int_not_equal(tsc.eax, 0);
		assert_int_equal((uint64_t)tsc.ecx * tsc.ebx / tsc.eax, khz[i] * 1000ull);
		assert_int_equal(ask(0x16, 0).eax, khz[i] / 1000);
		assert_int_equal(ask(0x40000000, 0).eax, 0x40000010);
		assert_int_equal(ask(0x40000010, 0).eax, khz[i]);
		assert_int_equal(ask(0, 0).ebx, 0x756e6547); /* the maker stays */
	}
}

/* A provider with next to nothing: leaves are made, and no hypervisor is made up. */
static void small_table(void **state)
{
	static const struct kvm_cpuid_entry2 least[] = { ENTRY(0, 0, 0, 1, 1, 2, 3),
							 ENTRY(1, 0, 0, 0x600, 0, 0, 1) };

	(void)state;
	provide(least, COUNT(least));
	cpu_cpuid(&cpuid, 2, 3, 2300000);
	assert_int_equal(ask(1, 0).ebx, 2u << 24 | 3u << 16);
	check_extended_topology(2, 3, 2);
	assert_int_equal(ask(0, 0).eax, 0x16);
	assert_int_equal(ask(0x15, 0).ecx, 2300000000u);
	assert_int_equal(ask(0x40000000, 0).eax, 0);
	assert_int_equal(ask(0x40000010, 0).eax, 0);
}

/* As many entries as a provider may have and leave room for mayfly's own, none of them lost. */
static void large_table(void **state)
{
	enum { OWN = 6 }; /* 6, 15H, 16H, 80000000H, and one more of 0BH than it may have had */
	unsigned nr = 2;

	(void)state;
	provide(intel, 2);
	while (nr < HV_CPUID_MAX - OWN) {
		cpuid.entries[nr] =
			(struct kvm_cpuid_entry2){ .function = 0x90000000 + nr, .eax = nr };
		nr++;
	}
	cpuid.head.nent = nr;
	cpu_cpuid(&cpuid, 0, 2, 2300000);
	assert_in_range(cpuid.head.nent, nr, HV_CPUID_MAX);
	for (unsigned i = 2; i < nr; i++)
		assert_int_equal(ask(0x90000000 + i, 0).eax, i);
	check_extended_topology(0, 2, 1);
	assert_int_equal(ask(0x16, 0).eax, 2300);
}

/* vcpu.c turns one vCPU's table into the next one's. */
static void same_in_place(void **state)
{
	struct hv_cpuid once;

	(void)state;
	for (unsigned maker = 0; maker < 2; maker++) {
		provide(maker ? amd : intel, maker ? COUNT(amd) : COUNT(intel));
		cpu_cpuid(&cpuid, 5, 8, 2300000);
		once = cpuid;
		provide(maker ? amd : intel, maker ? COUNT(amd) : COUNT(intel));
		for (unsigned id = 0; id <= 5; id++)
			cpu_cpuid(&cpuid, id, 8, 2300000);
		assert_int_equal(cpuid.head.nent, once.head.nent);
		for (unsigned i = 0; i < once.head.nent; i++) {
			const struct kvm_cpuid_entry2 *e = &once.entries[i];
			const struct kvm_cpuid_entry2 again = ask(e->function, e->index);

			assert_memory_equal(&again.eax, &e->eax, 4 * sizeof(e->eax));
		}
	}
}

static void initial_state(void **state)
{
	struct hv_cpuid table;

	(void)state;
	provide(intel, COUNT(intel));
	table = cpuid;
	memset(&sregs, 0, sizeof(sregs));
	sregs.apic_base = 0xfee00900; /* enabled, boot processor */
	assert_int_equal(cpu_init(&vcpu, &table, 3, 8, 2300000), 0);
	assert_int_equal(sregs.apic_base, 0xfee00d00); /* and x2APIC */
	assert_int_equal(ask(1, 0).ebx >> 24, 3);
	assert_memory_equal(&table, &cpuid, sizeof(table)); /* the next one's is made of it */
}

static struct mem mem;

static void enter(enum image_entry kind, uint64_t entry)
{
	if (mem.nr_regions == 0)
		assert_int_equal(mem_init(&mem, MEM_MIN), 0);
	memset(&sregs, 0, sizeof(sregs));
	memset(&regs, 0xa5, sizeof(regs));
	assert_int_equal(cpu_enter(&vcpu, &mem, kind, entry), 0);
	assert_int_equal(regs.rip, entry);
	assert_int_equal(regs.rflags, 2);
	assert_int_equal(sregs.idt.limit, 0);
}

/* The segment registers and the table in memory say the same. */
static void check_gdt(bool is_long)
{
	const uint64_t *gdt = mem_at(&mem, sregs.gdt.base, sregs.gdt.limit + 1u);

	assert_non_null(gdt);
	assert_int_equal(gdt[0], 0);
	assert_int_equal(sregs.cs.selector, 0x10);
	assert_int_equal(sregs.ds.selector, 0x18);
	assert_int_equal(gdt[0x10 / 8], is_long ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
	assert_int_equal(gdt[0x18 / 8], 0x00cf93000000ffff);
	assert_int_equal(gdt[sregs.tr.selector / 8], 0x00008b0000000067);
	assert_int_equal(sregs.tr.limit, 0x67);
	assert_memory_equal(&sregs.ss, &sregs.ds, sizeof(sregs.ds));
	assert_memory_equal(&sregs.es, &sregs.ds, sizeof(sregs.ds));
}

/* The Xen PVH boot ABI: flat 32-bit segments, paging off, EBX = start info. */
static void enter_pvh(void **state)
{
	(void)state;
	enter(IMAGE_PVH, 0x1000000);
	assert_int_equal(regs.rbx, START_INFO_GPA);
	assert_int_equal(sregs.cr0, 0x11); /* PE, ET */
	assert_int_equal(sregs.cr4, 0);
	assert_int_equal(sregs.efer, 0);
	check_gdt(false);
}

/* Linux's 64-bit protocol: long mode on an identity map, RSI = zero page. */
static void enter_linux(void **state)
{
	const uint64_t frame = 0x000ffffffffff000;

	(void)state;
	enter(IMAGE_LINUX64, 0x1000200);
	assert_int_equal(regs.rsi, ZERO_PAGE_GPA);
	assert_int_equal(sregs.cr0, 0x80000011);
	assert_int_equal(sregs.cr4, 0x20);
	assert_int_equal(sregs.efer, 0x500);
	check_gdt(true);
	for (uint64_t at = 0; at < 4ull << 30; at += 2ull << 20) {
		const uint64_t *pml4 = mem_at(&mem, sregs.cr3, 4096), *pdpt, *pd;

		pdpt = mem_at(&mem, pml4[at >> 39 & 511] & frame, 4096);
		assert_int_equal(pml4[at >> 39 & 511] & 0xfff, 3);
		pd = mem_at(&mem, pdpt[at >> 30 & 511] & frame, 4096);
		assert_int_equal(pdpt[at >> 30 & 511] & 0xfff, 3);
		assert_int_equal(pd[at >> 21 & 511], at | 0x83);
	}
}

/* A report reads the guest's page tables, whatever they are: nowhere but in RAM, and to an end. */
static void hostile_page_tables(void **state)
{
	static const uint64_t words[] = { 0,
					  1,
					  3,
					  0x81,
					  0x1001,
					  0xffe001,
					  0xffffffffffffffff,
					  0xc0000001,
					  0x000ffffffffff001,
					  0xfff003 };
	const int err_fd = dup(STDERR_FILENO);

	(void)state;
	enter(IMAGE_LINUX64, 0x1000200);
	close(STDERR_FILENO);
	for (unsigned i = 0; i < COUNT(words); i++) {
		for (unsigned j = 0; j < COUNT(words); j++) {
			uint64_t *table = mem_at(&mem, 0xfff000, 4096);

			for (unsigned n = 0; n < 512; n++)
				table[n] = words[n % 2 ? i : j];
			sregs.cr3 = words[j] | 0xfff000;
			cpu_dump(&vcpu, &mem, 0);
			sregs.cr3 = words[j];
			regs.rip = ~words[i];
			cpu_dump(&vcpu, &mem, 0);
		}
	}
	dup2(err_fd, STDERR_FILENO);
	close(err_fd);
}

static const struct CMUnitTest tests[] = {
	{ .name = "topology of 1 to 32 CPUs, Intel", .test_func = intel_topologies },
	{ .name = "caches are shared as in one package, Intel", .test_func = intel_caches },
	{ .name = "topology and caches of 1 to 32 CPUs, AMD", .test_func = amd_topologies },
	{ .name = "AMD's fields stay zero on Intel", .test_func = intel_reserved_bits },
	{ .name = "features are the provider's but for a few", .test_func = features },
	{ .name = "the TSC's frequency from 1 to 6.2 GHz", .test_func = tsc_frequencies },
	{ .name = "leaves that a provider lacks are made", .test_func = small_table },
	{ .name = "a provider's large table loses nothing", .test_func = large_table },
	{ .name = "made of another vCPU's it is the same", .test_func = same_in_place },
	{ .name = "a vCPU starts in x2APIC mode", .test_func = initial_state },
	{ .name = "a PVH kernel's first state", .test_func = enter_pvh },
	{ .name = "a 64-bit Linux kernel's first state", .test_func = enter_linux },
	{ .name = "a report survives any page tables", .test_func = hostile_page_tables },
};

int main(void)
{
	return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
