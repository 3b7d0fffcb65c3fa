// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU's registers: as the CPU has them at power-on, as the VMCS holds them, and as KVM's
 * structures show them. A change of CR0, CR4 or XCR0, by the guest or by user space, passes the
 * same checks, which are the CPU's own (SDM, Control Registers; Checks on the Guest State Area).
 */
#include "mayfly.h"

#include <asm/debugreg.h>
#include <asm/fpu/xcr.h>
#include <asm/processor-flags.h>

#define AR_UNUSABLE VMX_AR_UNUSABLE_MASK
#define PAT_RESET   0x0007040600070406ull
#define CR0_RESET   (X86_CR0_NW | X86_CR0_CD | X86_CR0_ET)
#define CR0_VALID                                                                      \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
	 X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define EFER_VALID   (EFER_SCE | EFER_LME | EFER_LMA | EFER_NX)
#define RFLAGS_VALID 0x3f7fd5u /* the flags that there are */

/* The fields of each segment are two apart, in the order of enum seg. */
#define SEG_FIELD(first, seg) ((first) + 2 * (seg))

static void write_segment(enum seg seg, u16 selector, u64 base, u32 limit, u32 rights)
{
	vmcs_write(SEG_FIELD(GUEST_ES_SELECTOR, seg), selector);
	vmcs_write(SEG_FIELD(GUEST_ES_BASE, seg), base);
	vmcs_write(SEG_FIELD(GUEST_ES_LIMIT, seg), limit);
	vmcs_write(SEG_FIELD(GUEST_ES_AR_BYTES, seg), rights);
}

/* SDM, Processor State After Reset. */
static void reset_segments(void)
{
	unsigned i;

	for (i = 0; i < SEGS; i++)
		write_segment(i, 0, 0, 0xffff, 0x93);
	write_segment(SEG_CS, 0xf000, 0xffff0000, 0xffff, 0x9b);
	write_segment(SEG_LDTR, 0, 0, 0xffff, 0x82);
	write_segment(SEG_TR, 0, 0, 0xffff, 0x8b);
	vmcs_write(GUEST_GDTR_BASE, 0);
	vmcs_write(GUEST_GDTR_LIMIT, 0xffff);
	vmcs_write(GUEST_IDTR_BASE, 0);
	vmcs_write(GUEST_IDTR_LIMIT, 0xffff);
}

/* What INIT leaves alone (SDM, table of processor states following power-up, reset or INIT). */
static void reset_power_on(struct vcpu *v)
{
	memset(v->guest_msr, 0, sizeof(v->guest_msr));
	vmcs_write(GUEST_IA32_PAT, PAT_RESET);
	vmcs_write(GUEST_SYSENTER_CS, 0);
	vmcs_write(GUEST_SYSENTER_ESP, 0);
	vmcs_write(GUEST_SYSENTER_EIP, 0);
	vmcs_write(GUEST_IA32_DEBUGCTL, 0);
	v->misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING;
	v->mp_state = v->id ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE;
	v->lapic.base = LAPIC_GPA | MSR_IA32_APICBASE_ENABLE | (v->id ? 0 : MSR_IA32_APICBASE_BSP);
	state_set_xcr0(v, XFEATURE_MASK_FP);
}

static void put_efer(u64 efer)
{
	vmcs_write(GUEST_IA32_EFER, efer);
	vmcs_change(VM_ENTRY_CONTROLS, VM_ENTRY_IA32E_MODE,
		    efer & EFER_LMA ? VM_ENTRY_IA32E_MODE : 0);
}

static void put_cr0(u64 cr0)
{
	vmcs_write(CR0_READ_SHADOW, cr0);
	vmcs_write(GUEST_CR0, (cr0 & ~(u64)CR0_WATCHED) | X86_CR0_NE);
}

static void put_cr4(struct vcpu *v, u64 cr4)
{
	vmcs_write(CR4_READ_SHADOW, cr4);
	vmcs_write(GUEST_CR4, cr4 | X86_CR4_VMXE | X86_CR4_MCE);
	v->has_osxsave = cr4 & X86_CR4_OSXSAVE;
}

void state_reset(struct vcpu *v, bool is_init)
{
	if (!is_init)
		reset_power_on(v);
	memset(v->regs, 0, sizeof(v->regs));
	v->regs[RDX] = 0x600; /* family 6 */
	vmcs_write(GUEST_RSP, 0);
	vmcs_write(GUEST_RIP, 0xfff0);
	vmcs_write(GUEST_RFLAGS, X86_EFLAGS_FIXED);
	reset_segments();
	put_efer(0);
	put_cr0(CR0_RESET);
	put_cr4(v, 0);
	vmcs_write(GUEST_CR3, 0);
	memset(v->dr, 0, sizeof(v->dr));
	write_dr(v, 6, 0);
	write_dr(v, 7, 0);
	vmcs_write(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
	vmcs_write(GUEST_INTERRUPTIBILITY_INFO, 0);
	vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, 0);
	v->again_info = v->fault_info = 0;
	v->complete = NULL;
	lapic_reset(v);
	vmcs_flush_linear(v);
}

void state_sipi(struct vcpu *v, u8 vector)
{
	write_segment(SEG_CS, vector << 8, vector << 12, 0xffff, 0x9b);
	vmcs_write(GUEST_RIP, 0);
}

static u64 get_cr0(void)
{
	return (vmcs_read(GUEST_CR0) & ~(u64)CR0_WATCHED) |
	       (vmcs_read(CR0_READ_SHADOW) & CR0_WATCHED);
}

u64 state_cr4(struct vcpu *v)
{
	return (vmcs_read(GUEST_CR4) & vmx.cr4_owned) |
	       (vmcs_read(CR4_READ_SHADOW) & ~vmx.cr4_owned);
}

bool state_is_long(struct vcpu *v)
{
	return vmcs_read(GUEST_IA32_EFER) & EFER_LMA;
}

/* Not so in compatibility mode; outside of long mode CS.L means nothing. */
bool state_is_64(struct vcpu *v)
{
	return state_is_long(v) && vmcs_read(GUEST_CS_AR_BYTES) & VMX_AR_L_MASK;
}

/* SS holds it, also in real mode and virtual-8086 mode. */
unsigned state_cpl(void)
{
	return vmcs_read(GUEST_SS_AR_BYTES) >> 5 & 3;
}

/* PAE paging outside of long mode: the CPU has the four top entries in registers. */
static bool load_pdptrs(struct vcpu *v)
{
	const u64 cr0 = get_cr0(), cr4 = state_cr4(v);
	const u64 reserved = 0x1e6 | ~0ull << boot_cpu_data.x86_phys_bits;
	u64 entries[4] = {};
	unsigned i;

	if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || state_is_long(v))
		return true;
	if (guest_copy(v->vm, vmcs_read(GUEST_CR3) & 0xffffffe0, entries, sizeof(entries), false))
		return true; /* none present: the guest faults */
	for (i = 0; i < 4; i++)
		if (entries[i] & 1 && entries[i] & reserved)
			return false;
	for (i = 0; i < 4; i++)
		vmcs_write(GUEST_PDPTR0 + 2 * i, entries[i] & 1 ? entries[i] : 0);
	return true;
}

static bool is_cr0(u64 cr0)
{
	return !(cr0 >> 32) && (cr0 & X86_CR0_PE || !(cr0 & X86_CR0_PG)) &&
	       (cr0 & X86_CR0_CD || !(cr0 & X86_CR0_NW));
}

bool state_set_cr0(struct vcpu *v, u64 value)
{
	const u64 old = get_cr0(), cr4 = state_cr4(v);
	const bool is_64 = vmcs_read(GUEST_CS_AR_BYTES) & VMX_AR_L_MASK;
	const u64 old_efer = vmcs_read(GUEST_IA32_EFER);
	u64 efer = old_efer;

	if (!is_cr0(value))
		return false;
	value = (value & CR0_VALID) | X86_CR0_ET;
	if (value & ~old & X86_CR0_PG && efer & EFER_LME) {
		/* Into long mode: not without PAE, from a 64-bit segment, or with a 16-bit TSS. */
		if (!(cr4 & X86_CR4_PAE) || is_64 || !(vmcs_read(GUEST_TR_AR_BYTES) & 8))
			return false;
		efer |= EFER_LMA;
	}
	if (old & ~value & X86_CR0_PG) {
		if (efer & EFER_LMA && (cr4 & X86_CR4_PCIDE || is_64))
			return false;
		efer &= ~EFER_LMA;
	}
	put_efer(efer);
	put_cr0(value);
	if ((old ^ value) & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW | X86_CR0_WP)) {
		if (!load_pdptrs(v)) {
			put_efer(old_efer);
			put_cr0(old);
			return false;
		}
		vmcs_flush_linear(v);
	}
	return true;
}

bool state_set_cr4(struct vcpu *v, u64 value)
{
	const u64 old = state_cr4(v);
	const bool is_long = state_is_long(v);

	if (value & ~vmx.cr4_guest || (is_long && !(value & X86_CR4_PAE)))
		return false;
	if (value & ~old & X86_CR4_PCIDE && (!is_long || vmcs_read(GUEST_CR3) & 0xfff))
		return false;
	put_cr4(v, value);
	if ((old ^ value) & ~(u64)X86_CR4_OSXSAVE) {
		if (!load_pdptrs(v)) {
			put_cr4(v, old);
			return false;
		}
		vmcs_flush_linear(v);
	}
	return true;
}

/* Bytes of an XSAVE area for these features, in the standard format (CPUID 0DH). */
u32 state_xsave_size(u64 xcr0)
{
	u32 size = 576, eax, ebx, ecx, edx;
	unsigned i;

	for (i = 2; i < 63; i++) {
		if (!(xcr0 >> i & 1))
			continue;
		cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
		size = max(size, eax + ebx);
	}
	return size;
}

bool state_set_xcr0(struct vcpu *v, u64 value)
{
	const u64 avx512 = XFEATURE_MASK_AVX512;

	if (!(value & XFEATURE_MASK_FP) || value & ~(cpuid_xcr0() | XFEATURE_MASK_FP))
		return false;
	if (value & XFEATURE_MASK_YMM && !(value & XFEATURE_MASK_SSE))
		return false;
	if (value & avx512 && ((value & avx512) != avx512 || !(value & XFEATURE_MASK_YMM)))
		return false;
	v->xcr0 = value;
	v->xsave_size = state_xsave_size(value);
	return true;
}

/* KVM's places for the registers, by number. */
#define PLACE(name) (offsetof(struct kvm_regs, name) / 8)
static const u8 kvm_place[16] = { PLACE(rax), PLACE(rcx), PLACE(rdx), PLACE(rbx),
				  PLACE(rsp), PLACE(rbp), PLACE(rsi), PLACE(rdi),
				  PLACE(r8),  PLACE(r9),  PLACE(r10), PLACE(r11),
				  PLACE(r12), PLACE(r13), PLACE(r14), PLACE(r15) };

int state_get_regs(struct vcpu *v, void *arg)
{
	struct kvm_regs *r = arg;
	u64 *const words = arg;
	unsigned i;

	for (i = 0; i < 16; i++)
		words[kvm_place[i]] = reg_read(v, i);
	r->rip = vmcs_read(GUEST_RIP);
	r->rflags = vmcs_read(GUEST_RFLAGS);
	return 0;
}

/*
 * In a shadow, what a CPU has there (SDM, Checks on Guest Non-Register State): STI's only with IF,
 * and a single step is due exactly where TF is set, since no guest has DEBUGCTL.BTF.
 */
void state_settle_shadow(void)
{
	const u64 flags = vmcs_read(GUEST_RFLAGS);
	const u32 shadow = vmcs_read(GUEST_INTERRUPTIBILITY_INFO);

	if (shadow & GUEST_INTR_STATE_STI && !(flags & X86_EFLAGS_IF))
		vmcs_change(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_STI, 0);
	else if (shadow & SHADOWS)
		vmcs_change(GUEST_PENDING_DBG_EXCEPTIONS, DR_STEP,
			    flags & X86_EFLAGS_TF ? DR_STEP : 0);
}

/* What was about to happen at the old place does not happen at another one. */
int state_set_regs(struct vcpu *v, void *arg)
{
	const struct kvm_regs *r = arg;
	const u64 *const words = arg;
	unsigned i;

	for (i = 0; i < 16; i++)
		reg_write(v, i, words[kvm_place[i]]);
	if (r->rip != vmcs_read(GUEST_RIP)) {
		v->complete = NULL;
		vmcs_change(GUEST_INTERRUPTIBILITY_INFO, SHADOWS, 0);
		vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, 0);
	}
	vmcs_write(GUEST_RIP, r->rip);
	vmcs_write(GUEST_RFLAGS, (r->rflags & RFLAGS_VALID) | X86_EFLAGS_FIXED);
	v->fault_info = 0;
	return 0;
}

static void get_segment(enum seg seg, struct kvm_segment *s)
{
	const u32 rights = vmcs_read(SEG_FIELD(GUEST_ES_AR_BYTES, seg));

	*s = (struct kvm_segment){ .base = vmcs_read(SEG_FIELD(GUEST_ES_BASE, seg)),
				   .limit = vmcs_read(SEG_FIELD(GUEST_ES_LIMIT, seg)),
				   .selector = vmcs_read(SEG_FIELD(GUEST_ES_SELECTOR, seg)),
				   .type = rights & 15,
				   .s = rights >> 4 & 1,
				   .dpl = rights >> 5 & 3,
				   .present = (rights >> 7 & 1) && !(rights & AR_UNUSABLE),
				   .avl = rights >> 12 & 1,
				   .l = rights >> 13 & 1,
				   .db = rights >> 14 & 1,
				   .g = rights >> 15 & 1,
				   .unusable = !!(rights & AR_UNUSABLE) };
}

/* What is loaded has been accessed: the entry insists, and KVM sees to it, too. */
static void set_segment(enum seg seg, const struct kvm_segment *s)
{
	const bool unusable = s->unusable || !s->present;
	const u32 rights = (s->type & 15) | (seg != SEG_LDTR) | (s->s & 1) << 4 |
			   (s->dpl & 3) << 5 | (s->present & 1) << 7 | (s->avl & 1) << 12 |
			   (s->l & 1) << 13 | (s->db & 1) << 14 | (s->g & 1) << 15;

	write_segment(seg, s->selector, s->base, s->limit, unusable ? AR_UNUSABLE : rights);
}

/* KVM's names for the segments, in our order. */
#define KVM_SEGMENTS(s)                                                                         \
	{                                                                                       \
		&(s)->es, &(s)->cs, &(s)->ss, &(s)->ds, &(s)->fs, &(s)->gs, &(s)->ldt, &(s)->tr \
	}

int state_get_sregs(struct vcpu *v, void *arg)
{
	struct kvm_sregs *s = arg;
	struct kvm_segment *const segments[SEGS] = KVM_SEGMENTS(s);
	const u32 again = v->again_info;
	unsigned i;

	for (i = 0; i < SEGS; i++)
		get_segment(i, segments[i]);
	s->gdt.base = vmcs_read(GUEST_GDTR_BASE);
	s->gdt.limit = vmcs_read(GUEST_GDTR_LIMIT);
	s->idt.base = vmcs_read(GUEST_IDTR_BASE);
	s->idt.limit = vmcs_read(GUEST_IDTR_LIMIT);
	s->cr0 = get_cr0();
	s->cr2 = v->cr2;
	s->cr3 = vmcs_read(GUEST_CR3);
	s->cr4 = state_cr4(v);
	s->cr8 = v->lapic.reg[REG_TPR] >> 4;
	s->efer = vmcs_read(GUEST_IA32_EFER);
	s->apic_base = v->lapic.base;
	if (again & INTR_INFO_VALID_MASK &&
	    (again & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_EXT_INTR)
		__set_bit(again & INTR_INFO_VECTOR_MASK, (unsigned long *)s->interrupt_bitmap);
	return 0;
}

/* Only whole states: what no guest could have reached is EINVAL, and nothing has changed. */
static bool are_sregs(const struct kvm_sregs *s)
{
	const bool is_long = s->efer & EFER_LMA;

	if (!is_cr0(s->cr0) || s->cr0 & ~(u64)CR0_VALID || s->cr4 & ~vmx.cr4_guest ||
	    s->efer & ~(u64)EFER_VALID)
		return false;
	if (is_long != (s->cr0 & X86_CR0_PG && s->efer & EFER_LME))
		return false;
	if (is_long && (!(s->cr4 & X86_CR4_PAE) || (s->cs.l && s->cs.db)))
		return false;
	if (s->cr4 & X86_CR4_PCIDE && !is_long)
		return false;
	return s->cr8 <= 15 && !(s->cr3 >> boot_cpu_data.x86_phys_bits);
}

int state_set_sregs(struct vcpu *v, void *arg)
{
	struct kvm_sregs *s = arg;
	const struct kvm_segment *const segments[SEGS] = KVM_SEGMENTS(s);
	unsigned i;

	if (!are_sregs(s) || !lapic_set_base(v, s->apic_base, true))
		return -EINVAL;
	for (i = 0; i < SEGS; i++)
		set_segment(i, segments[i]);
	vmcs_write(GUEST_GDTR_BASE, s->gdt.base);
	vmcs_write(GUEST_GDTR_LIMIT, s->gdt.limit);
	vmcs_write(GUEST_IDTR_BASE, s->idt.base);
	vmcs_write(GUEST_IDTR_LIMIT, s->idt.limit);
	v->cr2 = s->cr2;
	v->lapic.reg[REG_TPR] = s->cr8 << 4;
	vmcs_write(GUEST_CR3, s->cr3);
	put_efer(s->efer);
	put_cr0(s->cr0 | X86_CR0_ET);
	put_cr4(v, s->cr4);
	load_pdptrs(v);
	vmcs_flush_linear(v);
	return 0;
}
