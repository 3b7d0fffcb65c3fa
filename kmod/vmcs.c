// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU on a CPU. vmcs_load() makes its VMCS current and gives the guest its MSRs; from then to
 * vmcs_put() the preempt notifier does the same whenever the task leaves a CPU or comes to one, so
 * that in between VMREAD always means this vCPU. A CPU keeps the last VMCS that it had, current and
 * launched, and clears it when another one comes, when the vCPU goes to another CPU or ends, and
 * before VMX is switched off (SDM, Virtual-Machine Control Structures). Read run.c next.
 */
#include "mayfly.h"

#include <linux/idr.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/mmu_context.h>
#include <asm/nospec-branch.h>
#include <asm/tlbflush.h>

static DEFINE_IDA(vpids);
static DEFINE_PER_CPU(u64, last_vm); /* whose branches this CPU has learnt */
/* Whose VMCS this CPU keeps: no other is active on it. Written on this CPU only, interrupts off. */
static DEFINE_PER_CPU(struct vcpu *, resident);

#define PAUSE_GAP    128 /* cycles between two PAUSEs of one loop */
#define PAUSE_WINDOW 4096

static void vmclear(void *vmcs)
{
	const u64 address = __pa(vmcs);

	vmx_insn("vmclear %[address]", [address] "m"(address));
}

static u64 ept_pointer(const struct vm *vm)
{
	return __pa(vm->root) | VMX_EPTP_PWL_4 | VMX_EPTP_MT_WB;
}

static void invept(unsigned long extent, u64 pointer)
{
	const u64 what[2] = { pointer };

	vmx_insn("invept %[what], %[extent]", [what] "m"(what), [extent] "r"(extent));
}

static void invvpid(u16 vpid)
{
	const unsigned long extent = VMX_VPID_EXTENT_SINGLE_CONTEXT;
	const u64 what[2] = { vpid };

	vmx_insn("invvpid %[what], %[extent]", [what] "m"(what), [extent] "r"(extent));
}

void vmcs_flush_linear(struct vcpu *v)
{
	preempt_disable();
	if (v->is_loaded)
		invvpid(v->vpid);
	preempt_enable();
}

/*
 * Interrupts off. Where no vCPU of the VM is resident, this was the last time, until settle():
 * there the vCPU becomes resident first, then looks at the mask.
 */
static void flush_guest(void *arg)
{
	struct vm *vm = arg;
	const struct vcpu *v = __this_cpu_read(resident);

	if (__this_cpu_read(vmx_is_on))
		invept(VMX_EPT_EXTENT_CONTEXT, ept_pointer(vm));
	if (!v || v->vm != vm)
		cpumask_clear_cpu(smp_processor_id(), vm->cpus);
}

void vmcs_flush_cpu(void)
{
	invept(VMX_EPT_EXTENT_GLOBAL, 0);
}

/* The interrupt also takes each CPU out of the guest. */
void vmcs_flush_guest(struct vm *vm)
{
	/* After the zap, before the mask is read; load_vmcs() has the other side. */
	smp_mb();
	on_each_cpu_mask(vm->cpus, flush_guest, vm, true);
}

/* What the host has once for each CPU. */
static void write_host_cpu(int cpu)
{
	struct desc_ptr idt;

	store_idt(&idt);
	vmcs_write(HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
	vmcs_write(HOST_GDTR_BASE, (unsigned long)get_cpu_gdt_ro(cpu));
	vmcs_write(HOST_IDTR_BASE, idt.address);
	vmcs_write(HOST_GS_BASE, __rdmsr(MSR_GS_BASE));
	vmcs_write(HOST_IA32_SYSENTER_ESP, __rdmsr(MSR_IA32_SYSENTER_ESP));
}

/* The host's own, which it sets once on each CPU: all but the task's KERNEL_GS_BASE. */
static void read_host_msrs(struct vcpu *v)
{
	unsigned i;

	for (i = 0; i < SW_MSRS; i++)
		if (msr_is_there(msr_switched[i]))
			rdmsrl(msr_switched[i], v->host_msr[i]);
}

/* KERNEL_GS_BASE is read back: it is each task's, and the guest writes it without an exit. */
static void exchange_msrs(u64 *old, const u64 *new)
{
	unsigned i;

	old[SW_KERNEL_GS] = __rdmsr(MSR_KERNEL_GS_BASE);
	for (i = 0; i < SW_MSRS; i++)
		if (new[i] != old[i])
			wrmsrl(msr_switched[i], new[i]);
}

/*
 * The VMCS is in memory again, for any CPU to load. In an emergency from an NMI, too: the pointer
 * is there from before VMPTRLD until after VMCLEAR, and one VMCLEAR too many does nothing.
 */
void vmcs_leave_cpu(void)
{
	struct vcpu *v = __this_cpu_read(resident);

	if (!v)
		return;
	vmclear(v->vmcs);
	__this_cpu_write(resident, NULL);
	v->is_launched = false;
	smp_store_release(&v->home, -1); /* make_current() on another CPU may go on */
}

/* On the vCPU's home, interrupts off. It may have left by itself meanwhile. */
static void leave_cpu(void *arg)
{
	if (__this_cpu_read(resident) == arg)
		vmcs_leave_cpu();
}

/* Not loaded, nor meanwhile. A home that is offline has cleared the VMCS before it went. */
static void leave_home(struct vcpu *v)
{
	const int home = smp_load_acquire(&v->home); /* vmcs_leave_cpu() */

	if (home >= 0)
		smp_call_function_single(home, leave_cpu, v, true);
}

/* What a vCPU finds in order where it was the last one to run. Preemption off. */
static void settle(struct vcpu *v, int cpu)
{
	if (v->last_cpu != cpu) {
		write_host_cpu(cpu);
		read_host_msrs(v);
		invvpid(v->vpid);
		v->last_cpu = cpu;
	}
	vmcs_write(TSC_OFFSET, v->tsc_offset + vmx_tsc_lost);
	if (!cpumask_test_cpu(cpu, v->vm->cpus)) {
		cpumask_set_cpu(cpu, v->vm->cpus);
		/* Before the first translation; vmcs_flush_guest() has the other side. */
		smp_mb__after_atomic();
		invept(VMX_EPT_EXTENT_CONTEXT, ept_pointer(v->vm));
	}
	/* One guest does not train the branches of another. */
	if (__this_cpu_read(last_vm) != v->vm->id) {
		indirect_branch_prediction_barrier();
		__this_cpu_write(last_vm, v->vm->id);
	}
}

/* Preemption off, interrupts on: two CPUs may want each other's VMCS. */
static noinline bool make_current(struct vcpu *v, int cpu)
{
	const u64 address = __pa(v->vmcs);
	unsigned long flags;
	bool ok;

	if (!__this_cpu_read(vmx_is_on))
		return false;
	leave_home(v);
	local_irq_save(flags);
	vmcs_leave_cpu();
	__this_cpu_write(resident, v);
	WRITE_ONCE(v->home, cpu);
	if (v->last_cpu < 0) /* new: not on any CPU, and it launches next */
		vmclear(v->vmcs);
	ok = vmx_insn("vmptrld %[address]", [address] "m"(address));
	if (!ok)
		vmcs_leave_cpu(); /* VMX went off under us */
	local_irq_restore(flags);
	if (ok)
		settle(v, cpu);
	return ok;
}

/* Preemption off. */
static void load_vmcs(struct vcpu *v)
{
	const int cpu = smp_processor_id();

	v->is_loaded = __this_cpu_read(resident) == v || make_current(v, cpu);
	if (!v->is_loaded)
		return;
	WRITE_ONCE(v->cpu, cpu);
	asm volatile("sldt %0" : "=rm"(v->host_ldt));
	savesegment(ds, v->host_ds);
	savesegment(es, v->host_es);
	savesegment(fs, v->host_fs);
	savesegment(gs, v->host_gs);
	vmcs_refresh(HOST_FS_BASE, &v->host_fs_base, __rdmsr(MSR_FS_BASE));
	exchange_msrs(v->host_msr, v->guest_msr);
}

/* Exits load null selectors (SDM: host selectors have RPL 0), and limits of 0xffff and 0x67. */
static void restore_tables(struct vcpu *v)
{
	if (v->host_ldt)
		asm volatile("lldt %0" : : "rm"(v->host_ldt));
	if (v->host_ds | v->host_es) {
		loadsegment(ds, v->host_ds);
		loadsegment(es, v->host_es);
	}
	if (v->host_fs) {
		loadsegment(fs, v->host_fs);
		wrmsrl(MSR_FS_BASE, v->host_fs_base);
	}
	if (v->host_gs) {
		load_gs_index(v->host_gs); /* leaves GS_BASE, the kernel's, as it is */
		wrmsrl(MSR_KERNEL_GS_BASE, v->host_msr[SW_KERNEL_GS]);
	}
	load_fixmap_gdt(smp_processor_id());
	invalidate_tss_limit();
}

static void unload_vmcs(struct vcpu *v)
{
	if (!v->is_loaded)
		return;
	v->is_loaded = false;
	exchange_msrs(v->guest_msr, v->host_msr);
	restore_tables(v);
	WRITE_ONCE(v->cpu, -1);
}

static void on_sched_in(struct preempt_notifier *notifier, int cpu)
{
	load_vmcs(container_of(notifier, struct vcpu, preempt));
}

static void on_sched_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	unload_vmcs(container_of(notifier, struct vcpu, preempt));
}

static struct preempt_ops preempt_ops = { .sched_in = on_sched_in, .sched_out = on_sched_out };

void vmcs_load(struct vcpu *v)
{
	preempt_disable();
	preempt_notifier_register(&v->preempt);
	load_vmcs(v);
	preempt_enable();
}

void vmcs_put(struct vcpu *v)
{
	preempt_disable();
	preempt_notifier_unregister(&v->preempt);
	unload_vmcs(v);
	preempt_enable();
}

/* VM-execution, entry and exit controls, in the order of the SDM's chapter. */
static bool write_controls(struct vcpu *v)
{
	bool ok = true;

	v->cpu_controls = vmx.cpu;
	ok &= vmcs_write(PIN_BASED_VM_EXEC_CONTROL, vmx.pin);
	ok &= vmcs_write(CPU_BASED_VM_EXEC_CONTROL, v->cpu_controls);
	ok &= vmcs_write(SECONDARY_VM_EXEC_CONTROL,
			 v->vpid ? vmx.cpu2 : vmx.cpu2 & ~SECONDARY_EXEC_ENABLE_VPID);
	/* #DB and #AC can be made to recur for ever without an exit (CVE-2015-8104, -5307). */
	ok &= vmcs_write(EXCEPTION_BITMAP, 1u << DB_VECTOR | 1u << AC_VECTOR | 1u << MC_VECTOR);
	ok &= vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, 0);
	ok &= vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, 0);
	ok &= vmcs_write(CR0_GUEST_HOST_MASK, CR0_WATCHED);
	ok &= vmcs_write(CR4_GUEST_HOST_MASK, ~vmx.cr4_owned);
	ok &= vmcs_write(CR3_TARGET_COUNT, 0);
	ok &= vmcs_write(MSR_BITMAP, __pa(msr_bitmap));
	ok &= vmcs_write(EPT_POINTER, ept_pointer(v->vm));
	ok &= vmcs_write(VIRTUAL_PROCESSOR_ID, v->vpid);
	ok &= vmcs_write(VM_EXIT_CONTROLS, vmx.exit);
	ok &= vmcs_write(VM_EXIT_MSR_STORE_COUNT, 0);
	ok &= vmcs_write(VM_EXIT_MSR_LOAD_COUNT, 0);
	ok &= vmcs_write(VM_ENTRY_CONTROLS, vmx.entry);
	ok &= vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, 0);
	ok &= vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0);
	ok &= vmcs_write(VMCS_LINK_POINTER, ~0ul);
	/* A CPU without the control may be without the field. */
	vmcs_write(PLE_GAP, PAUSE_GAP);
	vmcs_write(PLE_WINDOW, PAUSE_WINDOW);
	vmcs_write(ENCLS_EXITING_BITMAP, ~0ul);
	vmcs_write(VMX_PREEMPTION_TIMER_VALUE, vmx.slice);
	vmcs_write(GUEST_IA32_PERF_GLOBAL_CTRL, 0);
	return ok;
}

/* The host's state that is the same on all CPUs and in all tasks. */
static bool write_host(struct vcpu *v)
{
	bool ok = true;

	v->host_cr3 = v->host_cr4 = 0; /* written before the first entry */
	v->host_perf = ~0ull;
	ok &= vmcs_write(HOST_CR0, native_read_cr0());
	ok &= vmcs_write(HOST_CS_SELECTOR, __KERNEL_CS);
	ok &= vmcs_write(HOST_SS_SELECTOR, __KERNEL_DS);
	ok &= vmcs_write(HOST_DS_SELECTOR, 0);
	ok &= vmcs_write(HOST_ES_SELECTOR, 0);
	ok &= vmcs_write(HOST_FS_SELECTOR, 0);
	ok &= vmcs_write(HOST_GS_SELECTOR, 0);
	ok &= vmcs_write(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	ok &= vmcs_write(HOST_RIP, (unsigned long)vmx_exit_point);
	ok &= vmcs_write(HOST_IA32_SYSENTER_CS, __rdmsr(MSR_IA32_SYSENTER_CS));
	ok &= vmcs_write(HOST_IA32_SYSENTER_EIP, __rdmsr(MSR_IA32_SYSENTER_EIP));
	ok &= vmcs_write(HOST_IA32_EFER, __rdmsr(MSR_EFER));
	ok &= vmcs_write(HOST_IA32_PAT, __rdmsr(MSR_IA32_CR_PAT));
	return ok;
}

int vmcs_init(struct vcpu *v)
{
	const int vpid = ida_alloc_range(&vpids, 1, 0xffff, GFP_KERNEL_ACCOUNT);
	bool ok;

	preempt_notifier_init(&v->preempt, &preempt_ops);
	v->vpid = max(vpid, 0); /* without one, each entry and each exit flushes */
	v->vmcs = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!v->vmcs)
		return -ENOMEM;
	*(u32 *)v->vmcs = vmx.revision;
	v->host_fs_base = ~0ull; /* no address: the first load writes it */
	vmcs_load(v);
	ok = v->is_loaded && write_controls(v) && write_host(v);
	if (ok)
		state_reset(v, false);
	vmcs_put(v);
	return ok ? 0 : -EIO;
}

void vmcs_fini(struct vcpu *v)
{
	leave_home(v);
	free_page((unsigned long)v->vmcs);
	if (v->vpid)
		ida_free(&vpids, v->vpid);
}
