// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN: the loop around the guest. Each turn first does what others have asked for (signals,
 * INIT, SIPI), waits where the vCPU is halted, and else enters the guest once. Interrupts are off
 * from the last look at what is pending to the exit, and whoever sets something pending sends an
 * IPI after it, which then ends the turn: nothing is missed. Read exits.c next.
 */
#include "mayfly.h"
#include "compat.h"

#include <linux/context_tracking.h>
#include <linux/hw_breakpoint.h>
#include <linux/sched/signal.h>
#include <linux/task_work.h>
#include <linux/vtime.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/nospec-branch.h>
#include <asm/tlbflush.h>

#define TYPE	   INTR_INFO_INTR_TYPE_MASK
#define VECTOR	   INTR_INFO_VECTOR_MASK
#define ERROR_CODE INTR_INFO_DELIVER_CODE_MASK

#define EVENTS_STOP (BIT(EVENT_INIT) | BIT(EVENT_SIPI)) /* the guest, before they are taken */

static void set_window(struct vcpu *v, u32 bit, bool on)
{
	const u32 controls = on ? v->cpu_controls | bit : v->cpu_controls & ~bit;

	if (controls == v->cpu_controls)
		return;
	v->cpu_controls = controls;
	vmcs_write(CPU_BASED_VM_EXEC_CONTROL, controls);
}

/* An exception goes before what was being delivered: that waits, or happens again by itself. */
static void put_back(struct vcpu *v)
{
	const u32 info = v->again_info;

	v->again_info = 0;
	if ((info & TYPE) == INTR_TYPE_EXT_INTR)
		lapic_unaccept(v, info & VECTOR);
	else if ((info & TYPE) == INTR_TYPE_NMI_INTR)
		set_bit(EVENT_NMI, &v->events);
}

static void inject(u32 info, u32 error, u32 length)
{
	if (info & ERROR_CODE)
		vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, error);
	vmcs_write(VM_ENTRY_INSTRUCTION_LEN, length);
	vmcs_write(VM_ENTRY_INTR_INFO_FIELD, info);
}

static bool is_blocked(u32 by)
{
	return vmcs_read(GUEST_INTERRUPTIBILITY_INFO) & by;
}

static bool has_if(void)
{
	return vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_IF;
}

#define TRAPS (DR_STEP | 1u << 12) /* in the pending ones; bit 12: a breakpoint that is enabled */

/*
 * What the guest sees first when it runs on: one event at most, and a window for the next (SDM,
 * Event Injection). Interrupts off.
 */
static void inject_next(struct vcpu *v)
{
	int vector;
	bool busy = true, nmi, sti;

	if (v->fault_info & VALID && v->again_info & VALID)
		put_back(v);
	if (v->fault_info & VALID)
		inject(v->fault_info, v->fault_error, v->fault_length);
	else if (v->again_info & VALID)
		inject(v->again_info, v->again_error, v->again_length);
	else
		busy = false;
	nmi = test_bit(EVENT_NMI, &v->events);
	vector = lapic_pending(v);
	/* A trap that is due comes first, lest it be lost (SDM, Pending Debug Exceptions). */
	if (nmi || vector >= 0)
		busy |= !!(vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS) & TRAPS);
	if (nmi && !busy && !is_blocked(SHADOWS | GUEST_INTR_STATE_NMI)) {
		clear_bit(EVENT_NMI, &v->events);
		inject(VALID | INTR_TYPE_NMI_INTR | NMI_VECTOR, 0, 0);
		busy = true;
		nmi = false;
	}
	/* A CPU may open the NMI window in STI's shadow, where it is of no use yet. */
	sti = nmi && is_blocked(GUEST_INTR_STATE_STI);
	set_window(v, CPU_BASED_NMI_WINDOW_EXITING, nmi && !sti);
	if (vector >= 0 && !busy && has_if() && !is_blocked(SHADOWS)) {
		lapic_accept(v, vector);
		inject(VALID | INTR_TYPE_EXT_INTR | vector, 0, 0);
		vector = lapic_pending(v);
	}
	set_window(v, CPU_BASED_INTR_WINDOW_EXITING, vector >= 0 || sti);
}

/* After the exit: the event whose delivery it cut short (SDM, IDT-Vectoring Information). */
static void note_interrupted(struct vcpu *v)
{
	const u32 info = vmcs_read(IDT_VECTORING_INFO_FIELD);

	v->fault_info = v->again_info = 0;
	if (!(info & VALID))
		return;
	v->again_info = info & (VALID | ERROR_CODE | TYPE | VECTOR);
	v->again_error = info & ERROR_CODE ? vmcs_read(IDT_VECTORING_ERROR_CODE) : 0;
	v->again_length = vmcs_read(VM_EXIT_INSTRUCTION_LEN);
	if ((info & TYPE) == INTR_TYPE_NMI_INTR) /* not delivered, so it does not block itself */
		vmcs_change(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_NMI, 0);
}

/* Host registers that change under a loaded vCPU. Interrupts off. */
static void refresh_host(struct vcpu *v)
{
	vmcs_refresh(HOST_CR3, &v->host_cr3, __native_read_cr3());
	vmcs_refresh(HOST_CR4, &v->host_cr4, native_read_cr4());
	v->host_debugctl = __rdmsr(MSR_IA32_DEBUGCTLMSR);
	if (!(vmx.exit & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL))
		return;
	vmcs_refresh(HOST_IA32_PERF_GLOBAL_CTRL, &v->host_perf, __rdmsr(MSR_CORE_PERF_GLOBAL_CTRL));
	/* A PEBS record on its way would go to guest memory: now, the entry is too late for it. */
	if (unlikely(v->host_perf) && boot_cpu_has(X86_FEATURE_PEBS)) {
		v->host_pebs = __rdmsr(MSR_IA32_PEBS_ENABLE);
		if (v->host_pebs)
			wrmsrl(MSR_IA32_PEBS_ENABLE, 0);
	}
}

/* The entry loads DR7. DR6 is not the guest's: what reads, writes or sets it exits. */
static void load_debug(const struct vcpu *v)
{
	if (!(vmcs_read(GUEST_DR7) & 0xff))
		return;
	set_debugreg(0, 7); /* the guest's addresses mean others here */
	set_debugreg(v->dr[0], 0);
	set_debugreg(v->dr[1], 1);
	set_debugreg(v->dr[2], 2);
	set_debugreg(v->dr[3], 3);
}

/* An exit leaves DR7 without any breakpoint, and DEBUGCTL 0. */
static void restore_debug(struct vcpu *v)
{
	if (unlikely(v->host_pebs)) {
		wrmsrl(MSR_IA32_PEBS_ENABLE, v->host_pebs);
		v->host_pebs = 0;
	}
	if (v->host_debugctl)
		wrmsrl(MSR_IA32_DEBUGCTLMSR, v->host_debugctl);
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
}

/* The guest's XCR0 matters only where it can use XSAVE. */
static void swap_xcr0(const struct vcpu *v, bool to_guest)
{
	if (v->has_osxsave && v->xcr0 != vmx.host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, to_guest ? v->xcr0 : vmx.host_xcr0);
}

/* Interrupts off, the states of guest and host in place. The result of vmx_enter(). */
static int cross(struct vcpu *v)
{
	int failed;

	if (vmx.flush_l1d)
		native_wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	if (v->cr2 != native_read_cr2())
		native_write_cr2(v->cr2);
	failed = vmx_enter(v->regs, v->is_launched);
	/* With IBRS in use, a write ends what the guest has taught the predictor. */
	if (cpu_feature_enabled(X86_FEATURE_KERNEL_IBRS))
		native_wrmsrl(MSR_IA32_SPEC_CTRL, spec_ctrl_current());
	v->cr2 = native_read_cr2();
	/* Before this task is in user mode again, its branches are not the guest's (VMSCAPE). */
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
	return failed;
}

/* Interrupts off. Through the IDT, an NMI also ends the blocking of others (SDM, NMI exits). */
static void host_exceptions(struct vcpu *v)
{
	u32 info;

	if ((u16)v->exit_reason == EXIT_REASON_MCE_DURING_VMENTRY)
		host_machine_check();
	if (v->exit_reason != EXIT_REASON_EXCEPTION_NMI)
		return;
	info = vmcs_read(VM_EXIT_INTR_INFO);
	if ((info & TYPE) == INTR_TYPE_NMI_INTR)
		asm volatile("int $2");
	else if ((info & VECTOR) == MC_VECTOR)
		host_machine_check();
}

static int fail_entry(struct vcpu *v, u64 reason)
{
	const u32 info = vmcs_read(VM_ENTRY_INTR_INFO_FIELD), type = info & TYPE;

	/* What the APIC has in service, or was an NMI, and has not been delivered. */
	if (info & VALID && (type == INTR_TYPE_EXT_INTR || type == INTR_TYPE_NMI_INTR))
		v->again_info = info & (VALID | TYPE | VECTOR);
	vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0); /* only an exit clears it */
	v->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	v->run->fail_entry.hardware_entry_failure_reason = reason;
	v->run->fail_entry.cpu = READ_ONCE(v->cpu);
	return EXIT;
}

/* By a signal, or by work on the way to user space: limits on CPU time are looked at there. */
static bool is_called_back(void)
{
	return signal_pending(current) || task_work_pending(current);
}

static bool must_not_enter(const struct vcpu *v)
{
	return read_thread_flags() & (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL | _TIF_NEED_RESCHED) ||
	       task_work_pending(current) || READ_ONCE(v->events) & EVENTS_STOP;
}

static bool is_interrupted(const struct vcpu *v)
{
	return v->exit_reason == EXIT_REASON_EXTERNAL_INTERRUPT ||
	       v->exit_reason == EXIT_REASON_PREEMPTION_TIMER;
}

/* Interrupts off. 0: the guest ran, RESUME: not yet, -EIO: VMX was switched off, -ENOEXEC. */
static int enter(struct vcpu *v)
{
	bool wait;
	int failed;

	WRITE_ONCE(v->in_guest, true);
	smp_mb(); /* vcpu_kick(): set, then look; here: look after this */
	wait = must_not_enter(v);
	if (wait || !v->is_loaded || !__this_cpu_read(vmx_is_on)) {
		WRITE_ONCE(v->in_guest, false);
		return wait ? RESUME : -EIO;
	}
	inject_next(v);
	refresh_host(v);
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
	load_debug(v);
	vtime_account_guest_enter();
	/* A guest that exits by itself for nothing does at each tick: enough for RCU. */
	if (!context_tracking_guest_enter() && is_interrupted(v))
		rcu_note_guest();
	swap_xcr0(v, true);
	failed = cross(v);
	swap_xcr0(v, false);
	context_tracking_guest_exit();
	WRITE_ONCE(v->in_guest, false);
	restore_debug(v);
	return failed ? -ENOEXEC : 0;
}

static int interrupted(struct vcpu *v)
{
	v->run->exit_reason = KVM_EXIT_INTR;
	return -EINTR;
}

/* Once into the guest and back, and what the exit asks for. */
static int turn(struct vcpu *v)
{
	int result;

	preempt_disable();
	local_irq_disable();
	result = enter(v);
	if (result == 0) {
		v->exit_reason = vmcs_read(VM_EXIT_REASON);
		/* An entry that failed for the guest's state is none (SDM, VM-Entry Failures). */
		if (!(v->exit_reason & VMX_EXIT_REASONS_FAILED_VMENTRY))
			v->is_launched = true;
		v->qualification = vmcs_read(EXIT_QUALIFICATION);
		host_exceptions(v);
	}
	/* The interrupt that ended the turn is taken here, and counted as the guest's time. */
	local_irq_enable();
	asm volatile("nop"); /* STI lets one instruction by */
	local_irq_disable();
	if (!result || result == -ENOEXEC)
		vtime_account_guest_exit();
	local_irq_enable();
	preempt_enable();
	if (result == -ENOEXEC)
		return fail_entry(v, vmcs_read(VM_INSTRUCTION_ERROR));
	if (result == RESUME && is_called_back())
		return interrupted(v);
	if (result)
		return result;
	if (v->exit_reason & VMX_EXIT_REASONS_FAILED_VMENTRY)
		return fail_entry(v, v->exit_reason);
	note_interrupted(v);
	return exit_handle(v);
}

/* INIT and SIPI (SDM, MP Initialization). */
void take_events(struct vcpu *v)
{
	if (!(READ_ONCE(v->events) & EVENTS_STOP))
		return;
	if (test_and_clear_bit(EVENT_INIT, &v->events)) {
		state_reset(v, true);
		clear_bit(EVENT_NMI, &v->events);
		v->mp_state = v->id ? KVM_MP_STATE_INIT_RECEIVED : KVM_MP_STATE_RUNNABLE;
	}
	if (test_and_clear_bit(EVENT_SIPI, &v->events) &&
	    v->mp_state == KVM_MP_STATE_INIT_RECEIVED) {
		state_sipi(v, READ_ONCE(v->sipi_vector));
		v->mp_state = KVM_MP_STATE_RUNNABLE;
	}
}

static bool can_go_on(struct vcpu *v)
{
	if (READ_ONCE(v->events) & EVENTS_STOP)
		return true;
	if (v->mp_state != KVM_MP_STATE_HALTED)
		return false;
	if (test_bit(EVENT_NMI, &v->events) && !is_blocked(GUEST_INTR_STATE_NMI))
		return true;
	return has_if() && lapic_pending(v) >= 0;
}

/* Halted, or not started yet. RESUME, or -EINTR. */
static int wait_for_event(struct vcpu *v)
{
	if (is_called_back() || wait_event_interruptible(v->wait, can_go_on(v)))
		return interrupted(v);
	if (v->mp_state == KVM_MP_STATE_HALTED)
		v->mp_state = KVM_MP_STATE_RUNNABLE;
	return RESUME;
}

static int loop(struct vcpu *v)
{
	int result = RESUME;

	state_settle_shadow(); /* user space may have changed it, or the flags */
	if (v->complete) {
		int (*complete)(struct vcpu *) = v->complete;

		v->complete = NULL;
		result = complete(v);
	}
	/* As KVM: only a signal is an exit of its own, this one leaves the reason as it was. */
	if (result == RESUME && run_wants_exit(v->run))
		return -EINTR;
	while (result == RESUME) {
		take_events(v);
		if (v->mp_state != KVM_MP_STATE_RUNNABLE)
			result = wait_for_event(v);
		else
			result = turn(v);
		cond_resched();
	}
	return result;
}

/* What KVM shows in the run page after each exit. */
static void show(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	run->if_flag = has_if();
	run->ready_for_interrupt_injection = 1;
	run->cr8 = v->lapic.reg[REG_TPR] >> 4;
	run->apic_base = v->lapic.base;
}

/* The VMCS is loaded. */
int run_vcpu(struct vcpu *v)
{
	int result;

	fpu_swap_kvm_fpstate(&v->fpu, true);
	result = loop(v);
	show(v);
	fpu_swap_kvm_fpstate(&v->fpu, false);
	return result;
}
