// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each exit asks for: one function for each reason, in a table at the end (SDM, Appendix C,
 * VMX Basic Exit Reasons). They run with interrupts on, the VMCS loaded, and may sleep. Memory and
 * ports are insn.c's.
 */
#include "mayfly.h"

#include <linux/sched.h>
#include <asm/cpu.h>
#include <asm/debugreg.h>

#define DR7_GD (1ull << 13) /* general detect: any MOV DR is #DB */
#define DR6_BD (1ull << 13)

u64 reg_read(struct vcpu *v, unsigned reg)
{
	return reg == RSP ? vmcs_read(GUEST_RSP) : v->regs[reg & 15];
}

void reg_write(struct vcpu *v, unsigned reg, u64 value)
{
	if (reg == RSP)
		vmcs_write(GUEST_RSP, value);
	else
		v->regs[reg & 15] = value;
}

static int raise_info(struct vcpu *v, u32 info, u32 error)
{
	v->fault_info = VALID | info;
	v->fault_error = error;
	/* Only INT1 has a length (SDM, Event Injection). */
	v->fault_length = vmcs_read(VM_EXIT_INSTRUCTION_LEN);
	return RESUME;
}

/* Real mode has no error codes. */
int raise_error(struct vcpu *v, u8 vector, u32 error)
{
	const u32 code = vmcs_read(GUEST_CR0) & X86_CR0_PE ? INTR_INFO_DELIVER_CODE_MASK : 0;

	return raise_info(v, INTR_TYPE_HARD_EXCEPTION | vector | code, error);
}

static int raise_gp(struct vcpu *v)
{
	return raise_error(v, GP_VECTOR, 0);
}

int raise_ud(struct vcpu *v)
{
	return raise_info(v, INTR_TYPE_HARD_EXCEPTION | UD_VECTOR, 0);
}

/*
 * The shadows of STI and MOV SS end with the instruction, as does RF, which an EPT violation has
 * left on; a single step traps after it.
 */
int skip_bytes(struct vcpu *v, unsigned n)
{
	const u32 shadow = vmcs_read(GUEST_INTERRUPTIBILITY_INFO);
	const u64 flags = vmcs_read(GUEST_RFLAGS);
	u64 rip = vmcs_read(GUEST_RIP) + n;

	if (!(vmcs_read(GUEST_CS_AR_BYTES) & VMX_AR_L_MASK))
		rip = (u32)rip;
	vmcs_write(GUEST_RIP, rip);
	if (shadow & SHADOWS)
		vmcs_write(GUEST_INTERRUPTIBILITY_INFO, shadow & ~SHADOWS);
	if (flags & X86_EFLAGS_RF)
		vmcs_write(GUEST_RFLAGS, flags & ~X86_EFLAGS_RF);
	if (flags & X86_EFLAGS_TF)
		vmcs_change(GUEST_PENDING_DBG_EXCEPTIONS, 0, DR_STEP);
	return RESUME;
}

int skip(struct vcpu *v)
{
	return skip_bytes(v, vmcs_read(VM_EXIT_INSTRUCTION_LEN));
}

int exit_internal_error(struct vcpu *v, u32 suberror)
{
	v->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	v->run->internal.suberror = suberror;
	v->run->internal.ndata = 2;
	v->run->internal.data[0] = v->exit_reason;
	v->run->internal.data[1] = v->qualification;
	return EXIT;
}

/* With split-lock detection #AC is the host's, too, unless the guest has asked for its own. */
static bool is_split_lock(void)
{
	return boot_cpu_has(X86_FEATURE_SPLIT_LOCK_DETECT) &&
	       !(state_cpl() == 3 && vmcs_read(GUEST_CR0) & X86_CR0_AM &&
		 vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_AC);
}

/* #DB and #AC are the guest's own; an NMI or #MC was the host's, and has been dealt with. */
static int exit_exception(struct vcpu *v)
{
	const u32 info = vmcs_read(VM_EXIT_INTR_INFO), type = info & INTR_INFO_INTR_TYPE_MASK;
	const u8 vector = info & INTR_INFO_VECTOR_MASK;
	const u32 bits = DR_TRAP0 | DR_TRAP1 | DR_TRAP2 | DR_TRAP3 | DR_STEP;

	if (type == INTR_TYPE_NMI_INTR || vector == MC_VECTOR)
		return RESUME;
	if (vector == DB_VECTOR) {
		/* The SDM, Debug Exceptions: the exit has what DR6 would have got. */
		v->dr6 = (v->dr6 & ~(u64)DR_TRAP_BITS) | (v->qualification & bits);
		vmcs_change(GUEST_DR7, DR7_GD, 0);
		state_settle_shadow(); /* the exit drops a single step, the entry asks for it */
		return raise_info(v, type | vector, 0);
	}
	if (vector != AC_VECTOR)
		return exit_internal_error(v, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
	if (!is_split_lock())
		return raise_error(v, vector, vmcs_read(VM_EXIT_INTR_ERROR_CODE));
	handle_guest_split_lock(vmcs_read(GUEST_RIP)); /* lets it by, or sends this task SIGBUS */
	return RESUME;
}

/* The host has dealt with it; or the window is open, and the next entry looks itself. */
static int exit_again(struct vcpu *v)
{
	return RESUME;
}

static int exit_triple_fault(struct vcpu *v)
{
	v->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return EXIT;
}

static int exit_cpuid(struct vcpu *v)
{
	cpuid_guest(v);
	return skip(v);
}

/* A single step ends it at once: #DB is due. */
static int exit_hlt(struct vcpu *v)
{
	if (!(vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_TF))
		v->mp_state = KVM_MP_STATE_HALTED;
	return skip(v);
}

/* No hypercall is offered: -KVM_ENOSYS. */
static int exit_vmcall(struct vcpu *v)
{
	v->regs[RAX] = -1000ll;
	return skip(v);
}

static int exit_pause(struct vcpu *v)
{
	skip(v);
	yield();
	return RESUME;
}

/* SDM, Exit Qualification for Control-Register Accesses. */
static int exit_cr(struct vcpu *v)
{
	const u64 q = v->qualification;
	const unsigned reg = q >> 8 & 15;
	u64 value = reg_read(v, reg);

	if (!state_is_64(v))
		value = (u32)value;
	switch (q & 0x3f) {
	case 0x00: /* MOV to CR0 */
		return state_set_cr0(v, value) ? skip(v) : raise_gp(v);
	case 0x04:
		return state_set_cr4(v, value) ? skip(v) : raise_gp(v);
	case 0x08:
		if (value > 15)
			return raise_gp(v);
		v->lapic.reg[REG_TPR] = value << 4;
		return skip(v);
	case 0x18: /* MOV from CR8 */
		reg_write(v, reg, v->lapic.reg[REG_TPR] >> 4);
		return skip(v);
	default:
		return exit_internal_error(v, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
	}
}

bool write_dr(struct vcpu *v, unsigned dr, u64 value)
{
	if (dr < 4) {
		v->dr[dr] = value;
		return true;
	}
	if (value >> 32)
		return false;
	if (dr == 6)
		v->dr6 = (value & 0xe00f) | 0xffff0ff0;
	else
		vmcs_write(GUEST_DR7, (value & 0xffff2fff) | 0x400);
	return true;
}

/* DR4 and DR5 are DR6 and DR7 by another name, unless CR4.DE is set; DR7.GD guards them all. */
static int exit_dr(struct vcpu *v)
{
	const u64 q = v->qualification;
	unsigned dr = q & 7, reg = q >> 8 & 15;
	u64 value = reg_read(v, reg);

	if (state_cpl())
		return raise_gp(v);
	if (vmcs_read(GUEST_DR7) & DR7_GD) {
		v->dr6 |= DR6_BD;
		vmcs_change(GUEST_DR7, DR7_GD, 0);
		return raise_info(v, INTR_TYPE_HARD_EXCEPTION | DB_VECTOR, 0);
	}
	if (dr == 4 || dr == 5) {
		if (state_cr4(v) & X86_CR4_DE)
			return raise_ud(v);
		dr += 2;
	}
	if (!state_is_64(v))
		value = (u32)value;
	if (q & 1u << 4)
		reg_write(v, reg, dr < 4 ? v->dr[dr] : dr == 6 ? v->dr6 : vmcs_read(GUEST_DR7));
	else if (!write_dr(v, dr, value))
		return raise_gp(v);
	return skip(v);
}

static int exit_rdmsr(struct vcpu *v)
{
	u64 value;

	if (!msr_read(v, v->regs[RCX], &value))
		return raise_gp(v);
	v->regs[RAX] = (u32)value;
	v->regs[RDX] = value >> 32;
	return skip(v);
}

static u64 edx_eax(const struct vcpu *v)
{
	return (u32)v->regs[RAX] | v->regs[RDX] << 32;
}

static int exit_wrmsr(struct vcpu *v)
{
	if (!msr_write(v, v->regs[RCX], edx_eax(v), false))
		return raise_gp(v);
	skip(v);
	return lapic_end(v);
}

static int exit_xsetbv(struct vcpu *v)
{
	if (state_cpl() || (u32)v->regs[RCX] || !state_set_xcr0(v, edx_eax(v)))
		return raise_gp(v);
	return skip(v);
}

/*
 * A write to an ioeventfd that asks for neither length nor value: the instruction need not be read,
 * only skipped. It is skipped whole, so what else it would do is lost: a driver's MOV does nothing
 * else. Bits 8 and 7: its own access, not a page table's.
 */
static bool is_kick(struct vcpu *v, u64 gpa)
{
	const u64 access = 1u << 8 | 1u << 7 | 7;

	return vmx.has_length && (v->qualification & access) == (1u << 8 | 1u << 7 | 2) &&
	       !(v->again_info & VALID) && irq_kick(v->vm, false, gpa, 0, 0);
}

/* SDM, Exit Qualification for EPT Violations: bit 0 read, 1 write, 2 fetch; 12: IRET had unblocked
 * NMIs when it faulted, and does so again when it is run again. */
static int exit_ept(struct vcpu *v)
{
	const u64 q = v->qualification, gpa = vmcs_read(GUEST_PHYSICAL_ADDRESS);
	int result;

	if (q & 1u << 12 && !(v->again_info & VALID))
		vmcs_change(GUEST_INTERRUPTIBILITY_INFO, 0, GUEST_INTR_STATE_NMI);
	result = ept_fault(v, gpa, q & 2, q & 4);
	if (result != EXIT)
		return result;
	if (is_kick(v, gpa))
		return skip(v);
	/* No RAM. An instruction, a page table or a delivery there has no answer. */
	if (q & 4)
		return exit_undecoded(v);
	if (v->again_info & VALID)
		return exit_internal_error(v, KVM_INTERNAL_ERROR_DELIVERY_EV);
	if (q & 1u << 7 && !(q & 1u << 8))
		return exit_internal_error(v, KVM_INTERNAL_ERROR_EMULATION);
	return exit_mmio(v);
}

static int (*const handlers[])(struct vcpu *v) = {
	[EXIT_REASON_EXCEPTION_NMI] = exit_exception,
	[EXIT_REASON_EXTERNAL_INTERRUPT] = exit_again,
	[EXIT_REASON_TRIPLE_FAULT] = exit_triple_fault,
	[EXIT_REASON_INTERRUPT_WINDOW... EXIT_REASON_NMI_WINDOW] = exit_again,
	[EXIT_REASON_CPUID] = exit_cpuid,
	[EXIT_REASON_HLT] = exit_hlt,
	[EXIT_REASON_INVD] = skip, /* caches are coherent, and the guest owns none */
	[EXIT_REASON_RDPMC] = raise_gp,
	[EXIT_REASON_VMCALL] = exit_vmcall,
	[EXIT_REASON_VMCLEAR... EXIT_REASON_VMON] = raise_ud,
	[EXIT_REASON_CR_ACCESS] = exit_cr,
	[EXIT_REASON_DR_ACCESS] = exit_dr,
	[EXIT_REASON_IO_INSTRUCTION] = exit_io,
	[EXIT_REASON_MSR_READ] = exit_rdmsr,
	[EXIT_REASON_MSR_WRITE] = exit_wrmsr,
	[EXIT_REASON_MWAIT_INSTRUCTION] = raise_ud,
	[EXIT_REASON_MONITOR_INSTRUCTION] = raise_ud,
	[EXIT_REASON_PAUSE_INSTRUCTION] = exit_pause,
	[EXIT_REASON_EPT_VIOLATION] = exit_ept,
	[EXIT_REASON_INVEPT] = raise_ud,
	[EXIT_REASON_PREEMPTION_TIMER] = exit_again,
	[EXIT_REASON_INVVPID] = raise_ud,
	[EXIT_REASON_WBINVD] = skip,
	[EXIT_REASON_XSETBV] = exit_xsetbv,
	[EXIT_REASON_VMFUNC... EXIT_REASON_ENCLS] = raise_ud,
	[76 ... 77] = raise_ud, /* SEAMCALL and TDCALL, which exit at any privilege */
};

int exit_handle(struct vcpu *v)
{
	const u16 reason = v->exit_reason;

	if (reason < ARRAY_SIZE(handlers) && handlers[reason])
		return handlers[reason](v);
	return exit_internal_error(v, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
}
