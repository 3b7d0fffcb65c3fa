// SPDX-License-Identifier: GPL-2.0-only
/*
 * Model-specific registers. The bitmap lets through what the VMCS or vmcs.c exchanges at each entry
 * or load; the table below answers the rest, which is little; and whatever is in neither is #GP, as
 * on a CPU that does not have it. An allow list: a new CPU's registers are not a guest's.
 */
#include "mayfly.h"

#include <asm/kvm_para.h>
#include <asm/msr-index.h>
#include <asm/mtrr.h>

void *msr_bitmap;

const u32 msr_switched[SW_MSRS] = {
	[SW_STAR] = MSR_STAR,
	[SW_LSTAR] = MSR_LSTAR,
	[SW_CSTAR] = MSR_CSTAR,
	[SW_FMASK] = MSR_SYSCALL_MASK,
	[SW_KERNEL_GS] = MSR_KERNEL_GS_BASE,
	[SW_TSC_AUX] = MSR_TSC_AUX,
};

#define ON_READ	 1u
#define ON_WRITE 2u

/* Without an exit. TSC_AUX is let through in msr_init(), where the CPU has it. */
static const struct {
	u32 index;
	unsigned access;
} passed[] = {
	{ MSR_IA32_TSC, ON_READ }, /* with the offset */
	{ MSR_IA32_SYSENTER_CS, ON_READ | ON_WRITE },
	{ MSR_IA32_SYSENTER_ESP, ON_READ | ON_WRITE },
	{ MSR_IA32_SYSENTER_EIP, ON_READ | ON_WRITE },
	{ MSR_IA32_CR_PAT, ON_READ | ON_WRITE }, /* the CPU checks the types */
	{ MSR_EFER, ON_READ },
	{ MSR_STAR, ON_READ }, /* written once, read back at each unload if it were let through */
	{ MSR_LSTAR, ON_READ },
	{ MSR_CSTAR, ON_READ },
	{ MSR_SYSCALL_MASK, ON_READ },
	{ MSR_FS_BASE, ON_READ | ON_WRITE },
	{ MSR_GS_BASE, ON_READ | ON_WRITE },
	{ MSR_KERNEL_GS_BASE, ON_READ | ON_WRITE },
};

/* The same for all guests; a write of anything is dropped where `is_writable`, else #GP. */
static const struct {
	u32 index;
	u64 value;
	bool is_writable;
} constants[] = {
	{ MSR_IA32_PLATFORM_ID, 0, false },
	{ MSR_IA32_FEAT_CTL, FEAT_CTL_LOCKED, false }, /* no VMX inside */
	{ MSR_IA32_UCODE_REV, 1ull << 32, true },      /* 0 is written before it is read */
	{ MSR_IA32_UCODE_WRITE, 0, true },
	{ MSR_PLATFORM_INFO, 0, false },
	{ MSR_MTRRcap, 0, false },	/* neither fixed nor variable ranges */
	{ MSR_IA32_MCG_CAP, 0, false }, /* no banks of machine checks */
	{ MSR_IA32_PERF_STATUS, 0, false },
	{ MSR_IA32_DEBUGCTLMSR, 0, true },
};

static bool is_canonical(u64 address)
{
	return (s64)(address << 16) >> 16 == (s64)address;
}

static int switched_index(u32 index)
{
	int i;

	for (i = 0; i < SW_MSRS; i++)
		if (msr_switched[i] == index)
			return i;
	return -1;
}

static bool is_mtrr_default(u64 value)
{
	const u8 type = value & 0xff;

	return !(value & ~0xcffull) && type <= 6 && type != 2 && type != 3;
}

/* LMA follows from CR0.PG; LME does not change while paging is on. */
static bool write_efer(struct vcpu *v, u64 value)
{
	const u64 old = vmcs_read(GUEST_IA32_EFER);

	value &= ~(u64)EFER_LMA;
	if (value & ~(u64)(EFER_SCE | EFER_LME | EFER_NX))
		return false;
	if ((old ^ value) & EFER_LME && vmcs_read(GUEST_CR0) & X86_CR0_PG)
		return false;
	vmcs_write(GUEST_IA32_EFER, value | (old & EFER_LMA));
	if ((old ^ value) & EFER_NX)
		vmcs_flush_linear(v);
	return true;
}

static void write_tsc(struct vcpu *v, u64 value)
{
	v->tsc_offset = value - rdtsc_ordered();
	vmcs_write(TSC_OFFSET, v->tsc_offset);
}

static bool is_x2apic(u32 index)
{
	return (index >= APIC_BASE_MSR && index <= APIC_BASE_MSR + 0xff) ||
	       index == MSR_IA32_TSC_DEADLINE;
}

bool msr_read(struct vcpu *v, u32 index, u64 *value)
{
	unsigned i;

	if (is_x2apic(index))
		return lapic_read(v, index, value);
	switch (index) {
	case MSR_IA32_APICBASE:
		*value = v->lapic.base;
		return true;
	case MSR_IA32_MISC_ENABLE:
		*value = v->misc_enable;
		return true;
	case MSR_MTRRdefType:
		*value = v->mtrr_def_type;
		return true;
	case MSR_IA32_MCG_STATUS:
		*value = v->mcg_status;
		return true;
	}
	for (i = 0; i < ARRAY_SIZE(constants); i++) {
		if (constants[i].index == index) {
			*value = constants[i].value;
			return true;
		}
	}
	return false;
}

/* What vmcs.c exchanges. Of these the guest writes KERNEL_GS_BASE without an exit. */
static bool write_switched(struct vcpu *v, u32 index, u64 value)
{
	const int i = switched_index(index);

	if (i < 0)
		return false;
	if ((i == SW_LSTAR || i == SW_CSTAR || i == SW_KERNEL_GS) && !is_canonical(value))
		return false;
	if ((i == SW_FMASK || i == SW_TSC_AUX) && value >> 32)
		return false;
	if (i == SW_TSC_AUX && !(vmx.cpu2 & SECONDARY_EXEC_ENABLE_RDTSCP))
		return false;
	preempt_disable();
	v->guest_msr[i] = value;
	if (v->is_loaded)
		wrmsrl(index, value);
	preempt_enable();
	return true;
}

bool msr_write(struct vcpu *v, u32 index, u64 value, bool by_host)
{
	unsigned i;

	if (is_x2apic(index))
		return lapic_write(v, index, value);
	switch (index) {
	case MSR_IA32_APICBASE:
		return lapic_set_base(v, value, by_host);
	case MSR_EFER:
		return write_efer(v, value);
	case MSR_IA32_TSC:
		write_tsc(v, value);
		return true;
	case MSR_IA32_MISC_ENABLE:
		v->misc_enable = value;
		return true;
	case MSR_MTRRdefType:
		if (!is_mtrr_default(value))
			return false;
		v->mtrr_def_type = value;
		return true;
	case MSR_IA32_MCG_STATUS:
		v->mcg_status = value;
		return true;
	case MSR_KVM_SYSTEM_TIME_NEW:
		return clock_set_system(v, value);
	case MSR_KVM_WALL_CLOCK_NEW:
		return clock_set_wall(v, value);
	}
	for (i = 0; i < ARRAY_SIZE(constants); i++)
		if (constants[i].index == index)
			return constants[i].is_writable;
	return write_switched(v, index, value);
}

/* SDM, MSR-Bitmap Address: 1 KiB each for reads low and high, writes low and high. */
static void pass(u32 index, unsigned access)
{
	const unsigned high = index >= 0xc0000000 ? 1024 : 0;

	if (access & ON_READ)
		__clear_bit(index & 0x1fff, msr_bitmap + high);
	if (access & ON_WRITE)
		__clear_bit(index & 0x1fff, msr_bitmap + 2048 + high);
}

int msr_init(void)
{
	unsigned i;

	msr_bitmap = (void *)__get_free_page(GFP_KERNEL);
	if (!msr_bitmap)
		return -ENOMEM;
	memset(msr_bitmap, 0xff, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(passed); i++)
		pass(passed[i].index, passed[i].access);
	if (vmx.cpu2 & SECONDARY_EXEC_ENABLE_RDTSCP)
		pass(MSR_TSC_AUX, ON_READ);
	return 0;
}

void msr_fini(void)
{
	free_page((unsigned long)msr_bitmap);
}
