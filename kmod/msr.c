// SPDX-License-Identifier: GPL-2.0-only
/*
 * Model-specific registers. The bitmap lets through what the VMCS or vmcs.c exchanges at each entry
 * or load; the table below answers the rest, which is little; and whatever is in neither is #GP, as
 * on a CPU that does not have it. An allow list: a new CPU's registers are not a guest's.
 */
#include "mayfly.h"

#include <linux/uaccess.h>
#include <asm/kvm_para.h>
#include <asm/msr-index.h>
#include <asm/mtrr.h>
#include <asm/tsc.h>

void *msr_bitmap;

const u32 msr_switched[SW_MSRS] = {
	[SW_STAR] = MSR_STAR,
	[SW_LSTAR] = MSR_LSTAR,
	[SW_CSTAR] = MSR_CSTAR,
	[SW_FMASK] = MSR_SYSCALL_MASK,
	[SW_KERNEL_GS] = MSR_KERNEL_GS_BASE,
	[SW_TSC_AUX] = MSR_TSC_AUX,
};

enum pass { BY_EXIT, ON_READ = 1, ON_WRITE = 2, ALWAYS = 3 };

/* Where a value is: in the VMCS, in struct vcpu, in its guest_msr, or the same for all guests. */
enum where { FIELD, KEPT, SWITCHED, FIXED, DROPPED /* a write to it is, else #GP */ };

#define IN_VCPU(member) KEPT, offsetof(struct vcpu, member)

static const struct row {
	u32 index;
	enum pass pass; /* without an exit */
	enum where where;
	u64 value; /* or the field's number, the offset, or the index */
} msrs[] = {
	{ MSR_IA32_TSC, ON_READ, FIELD, TSC_OFFSET }, /* restored before the deadline in it */
	{ MSR_IA32_TSC_DEADLINE, BY_EXIT, IN_VCPU(lapic.deadline) },
	{ MSR_IA32_SYSENTER_CS, ALWAYS, FIELD, GUEST_SYSENTER_CS },
	{ MSR_IA32_SYSENTER_ESP, ALWAYS, FIELD, GUEST_SYSENTER_ESP },
	{ MSR_IA32_SYSENTER_EIP, ALWAYS, FIELD, GUEST_SYSENTER_EIP },
	{ MSR_IA32_CR_PAT, ALWAYS, FIELD, GUEST_IA32_PAT }, /* the CPU checks the types */
	{ MSR_FS_BASE, ALWAYS, FIELD, GUEST_FS_BASE },
	{ MSR_GS_BASE, ALWAYS, FIELD, GUEST_GS_BASE },
	{ MSR_EFER, ON_READ, FIELD, GUEST_IA32_EFER },
	{ MSR_STAR, ON_READ, SWITCHED, SW_STAR },
	{ MSR_LSTAR, ON_READ, SWITCHED, SW_LSTAR },
	{ MSR_CSTAR, ON_READ, SWITCHED, SW_CSTAR },
	{ MSR_SYSCALL_MASK, ON_READ, SWITCHED, SW_FMASK },
	{ MSR_KERNEL_GS_BASE, ALWAYS, SWITCHED, SW_KERNEL_GS }, /* an unload reads it back */
	{ MSR_TSC_AUX, ON_READ, SWITCHED, SW_TSC_AUX },
	{ MSR_IA32_APICBASE, BY_EXIT, IN_VCPU(lapic.base) },
	{ MSR_IA32_MISC_ENABLE, BY_EXIT, IN_VCPU(misc_enable) },
	{ MSR_MTRRdefType, BY_EXIT, IN_VCPU(mtrr_def_type) },
	{ MSR_IA32_MCG_STATUS, BY_EXIT, IN_VCPU(mcg_status) },
	{ MSR_KVM_SYSTEM_TIME_NEW, BY_EXIT, IN_VCPU(system_time) },
	{ MSR_KVM_WALL_CLOCK_NEW, BY_EXIT, IN_VCPU(wall_clock) },
	{ MSR_IA32_PLATFORM_ID, BY_EXIT, FIXED, 0 },
	{ MSR_IA32_FEAT_CTL, BY_EXIT, FIXED, FEAT_CTL_LOCKED }, /* no VMX inside */
	{ MSR_IA32_UCODE_REV, BY_EXIT, DROPPED, 1ull << 32 },	/* written before it is read */
	{ MSR_IA32_UCODE_WRITE, BY_EXIT, DROPPED, 0 },
	{ MSR_PLATFORM_INFO, BY_EXIT, FIXED, 0 },
	{ MSR_MTRRcap, BY_EXIT, FIXED, 0 },	 /* neither fixed nor variable ranges */
	{ MSR_IA32_MCG_CAP, BY_EXIT, FIXED, 0 }, /* no banks of machine checks */
	{ MSR_IA32_PERF_STATUS, BY_EXIT, FIXED, 0 },
	{ MSR_IA32_ARCH_CAPABILITIES, BY_EXIT, FIXED, 0 }, /* arch_capabilities() */
	{ MSR_IA32_DEBUGCTLMSR, BY_EXIT, DROPPED, 0 },
};

bool msr_is_there(u32 index)
{
	return index != MSR_TSC_AUX || vmx.cpu2 & SECONDARY_EXEC_ENABLE_RDTSCP;
}

static const struct row *find(u32 index)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		if (msrs[i].index == index)
			return msr_is_there(index) ? &msrs[i] : NULL;
	return NULL;
}

/*
 * Bugs that Linux has looked for and not found here: a guest need not guard against them. And what
 * VERW clears where they are, which is then of use to it.
 */
static u64 arch_capabilities(void)
{
	static const struct {
		unsigned bug;
		u64 absent;
	} bugs[] = {
		{ X86_BUG_CPU_MELTDOWN, ARCH_CAP_RDCL_NO },
		{ X86_BUG_SPEC_STORE_BYPASS, ARCH_CAP_SSB_NO },
		{ X86_BUG_MDS, ARCH_CAP_MDS_NO },
		{ X86_BUG_RFDS, ARCH_CAP_RFDS_NO },
		{ X86_BUG_GDS, ARCH_CAP_GDS_NO },
		{ X86_BUG_ITS, ARCH_CAP_ITS_NO },
	};
	u64 value = 0;
	unsigned i;

	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		rdmsrl(MSR_IA32_ARCH_CAPABILITIES, value);
	value &= ARCH_CAP_FB_CLEAR | ARCH_CAP_RFDS_CLEAR;
	for (i = 0; i < ARRAY_SIZE(bugs); i++)
		if (!boot_cpu_has_bug(bugs[i].bug))
			value |= bugs[i].absent;
	return value;
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

/*
 * vCPUs are restored one after another, and their TSCs are to agree: the first that user space sets
 * is the VM's, and so is each that comes within a second of the last one. 0 is no time, but a vCPU
 * that begins: it gets the VM's, too.
 */
static u64 restored_offset(struct vm *vm, u64 value, u64 offset)
{
	const u64 second = tsc_khz * 1000ull;

	mutex_lock(&vm->lock);
	if (value && (!vm->tsc_is_set || offset - vm->tsc_last + second > 2 * second))
		WRITE_ONCE(vm->tsc_offset, offset);
	vm->tsc_is_set = true;
	vm->tsc_last = offset;
	offset = vm->tsc_offset;
	mutex_unlock(&vm->lock);
	return offset;
}

static void write_tsc(struct vcpu *v, u64 value, bool by_host)
{
	const u64 offset = value - host_tsc();

	v->tsc_offset = by_host ? restored_offset(v->vm, value, offset) : offset;
	vmcs_write(TSC_OFFSET, v->tsc_offset + vmx_tsc_lost);
	clock_set_system(v, v->system_time); /* counts from this TSC */
}

static bool is_x2apic(u32 index)
{
	return index >= APIC_BASE_MSR && index <= APIC_BASE_MSR + 0xff;
}

static u64 *kept(struct vcpu *v, const struct row *m)
{
	return (void *)v + m->value;
}

/* The CPU has it while the vCPU is loaded. */
static bool write_switched(struct vcpu *v, unsigned i, u64 value)
{
	const bool is_address = i == SW_LSTAR || i == SW_CSTAR || i == SW_KERNEL_GS;

	if ((is_address && !__is_canonical_address(value, 48)) ||
	    ((i == SW_FMASK || i == SW_TSC_AUX) && value >> 32))
		return false;
	preempt_disable();
	v->guest_msr[i] = value;
	if (v->is_loaded)
		wrmsrl(msr_switched[i], value);
	preempt_enable();
	return true;
}

/* The guest writes KERNEL_GS_BASE without an exit. */
static u64 read_switched(struct vcpu *v, unsigned i)
{
	preempt_disable();
	if (i == SW_KERNEL_GS && v->is_loaded)
		rdmsrl(MSR_KERNEL_GS_BASE, v->guest_msr[i]);
	preempt_enable();
	return v->guest_msr[i];
}

static bool read_any(struct vcpu *v, u32 index, u64 *value)
{
	const struct row *m = find(index);

	if (!m)
		return false;
	if (index == MSR_IA32_TSC)
		*value = host_tsc() + v->tsc_offset;
	else if (index == MSR_IA32_ARCH_CAPABILITIES)
		*value = arch_capabilities();
	else if (m->where == FIELD)
		*value = vmcs_read(m->value);
	else if (m->where == SWITCHED)
		*value = read_switched(v, m->value);
	else
		*value = m->where == KEPT ? *kept(v, m) : m->value;
	return true;
}

/* The APIC's are written at each interrupt: nothing is searched for them. */
bool msr_read(struct vcpu *v, u32 index, u64 *value)
{
	return is_x2apic(index) ? lapic_read(v, index, value) : read_any(v, index, value);
}

static bool write_any(struct vcpu *v, u32 index, u64 value, bool by_host)
{
	const struct row *m = find(index);

	switch (index) {
	case MSR_IA32_TSC_DEADLINE:
		lapic_set_deadline(v, value);
		return true;
	case MSR_IA32_APICBASE:
		return lapic_set_base(v, value, by_host);
	case MSR_EFER:
		return write_efer(v, value);
	case MSR_IA32_TSC:
		write_tsc(v, value, by_host);
		return true;
	case MSR_KVM_SYSTEM_TIME_NEW:
		if (!clock_set_system(v, value))
			return false;
		break;
	case MSR_KVM_WALL_CLOCK_NEW:
		if (!clock_set_wall(v, value))
			return false;
		break;
	}
	if (!m || m->where == FIXED || (index == MSR_MTRRdefType && !is_mtrr_default(value)))
		return false;
	if (m->where == FIELD)
		vmcs_write(m->value, value); /* what no CPU accepts fails the entry */
	else if (m->where == SWITCHED)
		return write_switched(v, m->value, value);
	else if (m->where == KEPT)
		*kept(v, m) = value;
	return true;
}

bool msr_write(struct vcpu *v, u32 index, u64 value, bool by_host)
{
	return is_x2apic(index) ? lapic_write(v, index, value)
				: write_any(v, index, value, by_host);
}

/* Those that a snapshot has to keep. As in KVM, E2BIG comes with how many there are. */
int msr_list(struct kvm_msr_list __user *arg)
{
	u32 indices[ARRAY_SIZE(msrs)], nr = 0, room, i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		if (msrs[i].where <= SWITCHED && msr_is_there(msrs[i].index))
			indices[nr++] = msrs[i].index;
	if (get_user(room, &arg->nmsrs) || put_user(nr, &arg->nmsrs))
		return -EFAULT;
	if (room < nr)
		return -E2BIG;
	return copy_to_user(arg->indices, indices, nr * sizeof(u32)) ? -EFAULT : 0;
}

/* SDM, MSR-Bitmap Address: 1 KiB each for reads low and high, writes low and high. */
int msr_init(void)
{
	const struct row *m;

	msr_bitmap = (void *)__get_free_page(GFP_KERNEL);
	if (!msr_bitmap)
		return -ENOMEM;
	memset(msr_bitmap, 0xff, PAGE_SIZE);
	for (m = msrs; m < msrs + ARRAY_SIZE(msrs); m++) {
		const unsigned high = m->index >= 0xc0000000 ? 1024 : 0;

		if (m->pass & ON_READ && msr_is_there(m->index))
			__clear_bit(m->index & 0x1fff, msr_bitmap + high);
		if (m->pass & ON_WRITE)
			__clear_bit(m->index & 0x1fff, msr_bitmap + 2048 + high);
	}
	return 0;
}

void msr_fini(void)
{
	free_page((unsigned long)msr_bitmap);
}
