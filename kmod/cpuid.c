// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID: what a guest may be told, as the host's leaves under a table of masks, and the answers to
 * the guest from the table that user space made of it. A feature is in the masks when nothing else
 * in the module has to know of it, or when the module does.
 */
#include "mayfly.h"

#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <asm/kvm_para.h>

#define F(name) (1u << X86_FEATURE_##name % 32)

enum output { EAX, EBX, ECX, EDX };

#define HYPERVISOR_LEAF 0x40000000u
#define ALL		0xffffffffu
#define SUBLEAVES(last) (last), KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* What is shown of each leaf of the host's, beside the features; leaves not here are empty. */
static const struct {
	u32 function, last_index, flags;
	u32 mask[4];
} leaves[] = {
	{ 0x0, 0, 0, { ALL, ALL, ALL, ALL } },
	{ 0x1, 0, 0, { ALL, 0xff00, 0, 0 } },  /* EBX: the CLFLUSH line */
	{ 0x2, 0, 0, { ALL, ALL, ALL, ALL } }, /* caches */
	{ 0x4, SUBLEAVES(8), { ALL, ALL, ALL, ALL } },
	{ 0x7, SUBLEAVES(0), { 0, 0, 0, 0 } },
	{ 0xd, SUBLEAVES(9), { ALL, ALL, ALL, ALL } }, /* see xsave_leaf() */
	{ 0x80000000, 0, 0, { ALL, 0, 0, 0 } },
	{ 0x80000001, 0, 0, { 0, 0, 0, 0 } },
	{ 0x80000002, 0, 0, { ALL, ALL, ALL, ALL } }, /* the CPU's name */
	{ 0x80000003, 0, 0, { ALL, ALL, ALL, ALL } },
	{ 0x80000004, 0, 0, { ALL, ALL, ALL, ALL } },
	{ 0x80000006, 0, 0, { 0, 0, ALL, 0 } },	    /* second-level cache */
	{ 0x80000007, 0, 0, { 0, 0, 0, 1u << 8 } }, /* the TSC never changes its pace */
	{ 0x80000008, 0, 0, { 0xffff, 0, 0, 0 } },  /* address bits */
};

/* Features that a guest may have where the CPU has them and Linux has not switched them off. */
static const struct {
	u32 function;
	enum output output;
	enum cpuid_leafs word; /* Linux's */
	u32 bits;
} features[] = {
	{ 0x1, ECX, CPUID_1_ECX,
	  F(XMM3) | F(PCLMULQDQ) | F(SSSE3) | F(FMA) | F(CX16) | F(PCID) | F(XMM4_1) | F(XMM4_2) |
		  F(MOVBE) | F(POPCNT) | F(AES) | F(XSAVE) | F(AVX) | F(F16C) | F(RDRAND) },
	{ 0x1, EDX, CPUID_1_EDX,
	  F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) | F(MCE) | F(CX8) | F(APIC) |
		  F(SEP) | F(MTRR) | F(PGE) | F(MCA) | F(CMOV) | F(PAT) | F(PSE36) | F(CLFLUSH) |
		  F(MMX) | F(FXSR) | F(XMM) | F(XMM2) | F(SELFSNOOP) },
	{ 0x7, EBX, CPUID_7_0_EBX,
	  F(FSGSBASE) | F(BMI1) | F(AVX2) | F(SMEP) | F(BMI2) | F(ERMS) | F(INVPCID) | F(AVX512F) |
		  F(AVX512DQ) | F(RDSEED) | F(ADX) | F(SMAP) | F(AVX512IFMA) | F(CLFLUSHOPT) |
		  F(CLWB) | F(AVX512CD) | F(SHA_NI) | F(AVX512BW) | F(AVX512VL) },
	{ 0x7, ECX, CPUID_7_ECX,
	  F(AVX512VBMI) | F(UMIP) | F(AVX512_VBMI2) | F(GFNI) | F(VAES) | F(VPCLMULQDQ) |
		  F(AVX512_VNNI) | F(AVX512_BITALG) | F(AVX512_VPOPCNTDQ) | F(RDPID) },
	{ 0x7, EDX, CPUID_7_EDX, F(FSRM) | F(MD_CLEAR) | F(SERIALIZE) },
	{ 0x80000001, ECX, CPUID_8000_0001_ECX, F(LAHF_LM) | F(ABM) | F(3DNOWPREFETCH) },
	{ 0x80000001, EDX, CPUID_8000_0001_EDX,
	  F(SYSCALL) | F(NX) | F(GBPAGES) | F(RDTSCP) | F(LM) },
};

u64 cpuid_xcr0(void)
{
	const u64 known =
		XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512;

	return vmx.host_xcr0 & known;
}

/*
 * The state components that a guest may have, and the size of all of them. XSAVEOPT and XGETBV(1);
 * no XSAVEC and XSAVES, whose areas would have a size of their own.
 */
static void xsave_leaf(struct kvm_cpuid_entry2 *e)
{
	const u64 xcr0 = cpuid_xcr0();

	if (!xcr0 || (e->index > 1 && !(xcr0 >> e->index & 1))) {
		e->eax = e->ebx = e->ecx = e->edx = 0;
	} else if (e->index == 0) {
		e->eax = xcr0;
		e->ebx = e->ecx = state_xsave_size(xcr0);
		e->edx = xcr0 >> 32;
	} else if (e->index == 1) {
		e->eax &= 5;
		e->ebx = e->ecx = e->edx = 0;
	}
}

static void fill(struct kvm_cpuid_entry2 *e, unsigned leaf, u32 index)
{
	u32 *const out[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };
	u32 host[4];
	unsigned i;

	*e = (struct kvm_cpuid_entry2){ .function = leaves[leaf].function,
					.index = index,
					.flags = leaves[leaf].flags };
	cpuid_count(e->function, index, &host[EAX], &host[EBX], &host[ECX], &host[EDX]);
	for (i = 0; i < 4; i++)
		*out[i] = host[i] & leaves[leaf].mask[i];
	for (i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].function == e->function)
			*out[features[i].output] = host[features[i].output] & features[i].bits &
						   boot_cpu_data.x86_capability[features[i].word];
	switch (e->function) {
	case 0x0:
		e->eax = min(e->eax, 0x16u);
		break;
	case 0x1:
		e->ecx |= F(X2APIC) | F(TSC_DEADLINE_TIMER) | F(HYPERVISOR);
		break;
	case 0x7:
		e->ebx &= vmx.cpu2 & SECONDARY_EXEC_ENABLE_INVPCID ? ALL : ~F(INVPCID);
		e->ecx &= vmx.cpu2 & SECONDARY_EXEC_ENABLE_RDTSCP ? ALL : ~F(RDPID);
		e->edx |= F(ARCH_CAPABILITIES); /* msr.c */
		break;
	case 0xd:
		xsave_leaf(e);
		break;
	case 0x80000000:
		e->eax = min(e->eax, 0x80000008u);
		break;
	case 0x80000001:
		e->edx &= vmx.cpu2 & SECONDARY_EXEC_ENABLE_RDTSCP ? ALL : ~F(RDTSCP);
		break;
	case 0x80000008:
		e->eax = (e->eax & 0xff00) | min(e->eax & 0xff, GPA_BITS);
		break;
	}
}

/*
 * The name KVMKVMKVM: without it Linux gives up the x2APIC where no interrupt remapping is. Of
 * KVM's features there are the clock, and that port 0x80 need not be written for a delay.
 */
static const struct kvm_cpuid_entry2 hypervisor[] = {
	{ .function = HYPERVISOR_LEAF,
	  .eax = HYPERVISOR_LEAF + 1,
	  .ebx = 0x4b4d564b,
	  .ecx = 0x564b4d56,
	  .edx = 0x4d },
	{ .function = HYPERVISOR_LEAF + 1,
	  .eax = 1u << KVM_FEATURE_NOP_IO_DELAY | 1u << KVM_FEATURE_CLOCKSOURCE2 |
		 1u << KVM_FEATURE_CLOCKSOURCE_STABLE_BIT },
};

static u32 fill_all(struct kvm_cpuid_entry2 *e)
{
	u32 nr = 0, index;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(leaves); i++) {
		if (cpuid_eax(leaves[i].function & 0x80000000) < leaves[i].function)
			continue;
		for (index = 0; index <= leaves[i].last_index; index++)
			fill(&e[nr++], i, index);
	}
	memcpy(&e[nr], hypervisor, sizeof(hypervisor));
	return nr + ARRAY_SIZE(hypervisor);
}

int cpuid_supported(struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid_entry2 *entries;
	u32 room, nr;
	int err = 0;

	if (get_user(room, &arg->nent))
		return -EFAULT;
	entries = kcalloc(CPUID_MAX, sizeof(*entries), GFP_KERNEL_ACCOUNT);
	if (!entries)
		return -ENOMEM;
	nr = fill_all(entries);
	if (nr > room)
		err = -E2BIG;
	else if (copy_to_user(arg->entries, entries, nr * sizeof(*entries)) ||
		 put_user(nr, &arg->nent))
		err = -EFAULT;
	kfree(entries);
	return err;
}

int cpuid_set(struct vcpu *v, struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid_entry2 *entries;
	u32 nr;

	if (get_user(nr, &arg->nent))
		return -EFAULT;
	if (nr > CPUID_MAX)
		return -E2BIG;
	entries = kvmalloc_array(nr ? nr : 1, sizeof(*entries), GFP_KERNEL_ACCOUNT);
	if (!entries)
		return -ENOMEM;
	if (copy_from_user(entries, arg->entries, nr * sizeof(*entries))) {
		kvfree(entries);
		return -EFAULT;
	}
	kvfree(v->cpuid);
	v->cpuid = entries;
	v->nr_cpuid = nr;
	return 0;
}

static const struct kvm_cpuid_entry2 *find(const struct vcpu *v, u32 function, u32 index)
{
	u32 i;

	for (i = 0; i < v->nr_cpuid; i++) {
		const struct kvm_cpuid_entry2 *e = &v->cpuid[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

/* The guest's answer; what depends on its own registers is filled in here. */
void cpuid_guest(struct vcpu *v)
{
	const u32 function = v->regs[RAX], index = v->regs[RCX];
	const struct kvm_cpuid_entry2 *e = find(v, function, index);
	struct kvm_cpuid_entry2 answer = {};

	if (e) {
		answer = *e;
	} else if (function == 0xb || function == 0x1f) {
		/* Unknown subleaves of the topology still say who asks (SDM, CPUID). */
		e = find(v, function, 0);
		answer.ecx = index & 0xff;
		answer.edx = e ? e->edx : 0;
	}
	v->regs[RAX] = answer.eax;
	v->regs[RBX] = answer.ebx;
	v->regs[RCX] = answer.ecx;
	v->regs[RDX] = answer.edx;
	if (function == 1) {
		v->regs[RCX] &= ~F(OSXSAVE);
		v->regs[RCX] |= v->has_osxsave ? F(OSXSAVE) : 0;
		if (!(v->lapic.base & MSR_IA32_APICBASE_ENABLE))
			v->regs[RDX] &= ~F(APIC);
	}
	if (e && function == 0xd && index == 0 && vmx.host_xcr0)
		v->regs[RBX] = v->xsave_size;
}
