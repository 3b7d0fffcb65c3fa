// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the CPUs can do, checked once against tables, and VMX on and off on each of them: on with
 * the first VM, off with the last one, and in between as CPUs come and go, the machine sleeps,
 * reboots or panics (SDM, Introduction to VMX Operation; Appendix A). Read vmcs.c next.
 */
#include "mayfly.h"
#include "compat.h"

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/namei.h>
#include <linux/reboot.h>
#include <asm/perf_event.h>
#include <asm/reboot.h>
#include <asm/tlbflush.h>
#include <asm/fpu/xcr.h>

struct vmx_caps vmx;
DEFINE_PER_CPU(bool, vmx_is_on);
static DEFINE_PER_CPU(void *, vmxon_region);

static DEFINE_MUTEX(users_lock);
static unsigned users; /* VMs: VMX is on while there are any */
static bool is_going_down;
static enum cpuhp_state hotplug_state;
static u64 tsc_at_sleep;
u64 vmx_tsc_lost;

/* Controls, whose capabilities are which bits must be 1, and above which may be; and plain bits. */
enum group { PIN, CPU, CPU2, EXITS, ENTRY, BASIC, MISC, EPT, GROUPS, PLAIN = BASIC };

static const u32 capability_msr[GROUPS] = {
	[PIN] = MSR_IA32_VMX_TRUE_PINBASED_CTLS,
	[CPU] = MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
	[CPU2] = MSR_IA32_VMX_PROCBASED_CTLS2,
	[EXITS] = MSR_IA32_VMX_TRUE_EXIT_CTLS,
	[ENTRY] = MSR_IA32_VMX_TRUE_ENTRY_CTLS,
	[BASIC] = MSR_IA32_VMX_BASIC,
	[MISC] = MSR_IA32_VMX_MISC,
	[EPT] = MSR_IA32_VMX_EPT_VPID_CAP,
};

enum need {
	MUST,	 /* the module does not load without */
	MAY,	 /* used where the CPU has it */
	MUST_NOT /* the CPU must let us switch it off */
};

static const struct {
	enum group group;
	enum need need;
	u64 bit;
	const char *name;
} needs[] = {
	{ BASIC, MUST, 1ull << 54, "information about INS and OUTS" },
	{ BASIC, MUST, 1ull << 55, "controls that can be switched off (the TRUE MSRs)" },
	{ PIN, MUST, PIN_BASED_EXT_INTR_MASK, "external-interrupt exiting" },
	{ PIN, MUST, PIN_BASED_NMI_EXITING, "NMI exiting" },
	{ PIN, MUST, PIN_BASED_VIRTUAL_NMIS, "virtual NMIs" },
	{ CPU, MUST, CPU_BASED_HLT_EXITING, "HLT exiting" },
	{ CPU, MUST, CPU_BASED_USE_TSC_OFFSETTING, "TSC offsetting" },
	{ CPU, MUST, CPU_BASED_UNCOND_IO_EXITING, "unconditional I/O exiting" },
	{ CPU, MUST, CPU_BASED_USE_MSR_BITMAPS, "MSR bitmaps" },
	{ CPU, MUST, CPU_BASED_MOV_DR_EXITING, "MOV-DR exiting" },
	{ CPU, MUST, CPU_BASED_CR8_LOAD_EXITING, "CR8-load exiting" },
	{ CPU, MUST, CPU_BASED_CR8_STORE_EXITING, "CR8-store exiting" },
	{ CPU, MUST, CPU_BASED_MONITOR_EXITING, "MONITOR exiting" },
	{ CPU, MUST, CPU_BASED_MWAIT_EXITING, "MWAIT exiting" },
	{ CPU, MUST, CPU_BASED_RDPMC_EXITING, "RDPMC exiting" },
	{ CPU, MUST, CPU_BASED_ACTIVATE_SECONDARY_CONTROLS, "secondary controls" },
	{ CPU, MUST_NOT, CPU_BASED_CR3_LOAD_EXITING, "CR3-load exiting" },
	{ CPU, MUST_NOT, CPU_BASED_CR3_STORE_EXITING, "CR3-store exiting" },
	{ CPU, MUST_NOT, CPU_BASED_INVLPG_EXITING, "INVLPG exiting" },
	{ CPU2, MUST, SECONDARY_EXEC_ENABLE_EPT, "EPT" },
	{ CPU2, MUST, SECONDARY_EXEC_ENABLE_VPID, "VPID" },
	{ CPU2, MUST, SECONDARY_EXEC_UNRESTRICTED_GUEST, "unrestricted guest" },
	{ CPU2, MUST, SECONDARY_EXEC_WBINVD_EXITING, "WBINVD exiting" },
	{ CPU2, MAY, SECONDARY_EXEC_ENABLE_RDTSCP, "RDTSCP" },
	{ CPU2, MAY, SECONDARY_EXEC_ENABLE_INVPCID, "INVPCID" },
	{ CPU2, MAY, SECONDARY_EXEC_PAUSE_LOOP_EXITING, "PAUSE-loop exiting" },
	{ CPU2, MAY, SECONDARY_EXEC_ENCLS_EXITING, "ENCLS exiting" },
	{ CPU2, MAY, SECONDARY_EXEC_PT_CONCEAL_VMX, "conceal VMX from PT" },
	{ EXITS, MUST, VM_EXIT_HOST_ADDR_SPACE_SIZE, "64-bit host" },
	{ EXITS, MUST, VM_EXIT_SAVE_IA32_EFER, "saving EFER on exits" },
	{ EXITS, MUST, VM_EXIT_LOAD_IA32_EFER, "loading EFER on exits" },
	{ EXITS, MUST, VM_EXIT_SAVE_IA32_PAT, "saving PAT on exits" },
	{ EXITS, MUST, VM_EXIT_LOAD_IA32_PAT, "loading PAT on exits" },
	{ EXITS, MUST, VM_EXIT_SAVE_DEBUG_CONTROLS, "saving debug controls on exits" },
	{ EXITS, MAY, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL, "loading PERF_GLOBAL_CTRL on exits" },
	{ EXITS, MAY, VM_EXIT_PT_CONCEAL_PIP, "conceal VMX exits from PT" },
	{ ENTRY, MUST, VM_ENTRY_LOAD_IA32_EFER, "loading EFER on entries" },
	{ ENTRY, MUST, VM_ENTRY_LOAD_IA32_PAT, "loading PAT on entries" },
	{ ENTRY, MUST, VM_ENTRY_LOAD_DEBUG_CONTROLS, "loading debug controls on entries" },
	{ ENTRY, MAY, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL, "loading PERF_GLOBAL_CTRL on entries" },
	{ ENTRY, MAY, VM_ENTRY_PT_CONCEAL_PIP, "conceal VMX entries from PT" },
	{ MISC, MUST, VMX_MISC_SAVE_EFER_LMA, "saving EFER.LMA on exits" },
	{ EPT, MUST, VMX_EPT_PAGE_WALK_4_BIT, "EPT with four levels" },
	{ EPT, MUST, VMX_EPTP_WB_BIT, "write-back EPT tables" },
	{ EPT, MUST, VMX_EPT_2MB_PAGE_BIT, "2 MiB pages in EPT" },
	{ EPT, MUST, VMX_EPT_INVEPT_BIT, "INVEPT" },
	{ EPT, MUST, VMX_EPT_EXTENT_CONTEXT_BIT, "single-context INVEPT" },
	{ EPT, MUST, VMX_EPT_EXTENT_GLOBAL_BIT, "global INVEPT" },
	{ EPT, MUST, 1ull << 32, "INVVPID" },
	{ EPT, MUST, VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT << 32, "single-context INVVPID" },
};

/* What a guest may set in CR4; what is no bit of CR4 on this CPU is taken out at load. */
#define CR4_GUEST                                                                           \
	(X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | \
	 X86_CR4_MCE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_UMIP |   \
	 X86_CR4_FSGSBASE | X86_CR4_PCIDE | X86_CR4_OSXSAVE | X86_CR4_SMEP | X86_CR4_SMAP)
#define CR4_FRED    (1ull << 32)
/* OSXSAVE shows in CPUID, and a machine check while the real CR4.MCE is clear stops the CPU. */
#define CR4_WATCHED (X86_CR4_OSXSAVE | X86_CR4_MCE)

static int refuse(const char *name)
{
	pr_err("this CPU lacks %s, which mayfly.ko needs\n", name);
	return -ENODEV;
}

static int choose_controls(u32 slice)
{
	u32 *const values[] = { &vmx.pin, &vmx.cpu, &vmx.cpu2, &vmx.exit, &vmx.entry };
	u64 can[GROUPS];
	unsigned i;

	for (i = 0; i < GROUPS; i++) {
		rdmsrl_safe(capability_msr[i], &can[i]); /* 0: no such MSR */
		if (i < PLAIN)
			*values[i] = can[i];
	}
	vmx.revision = can[BASIC] & 0x7fffffff;
	vmx.has_1gb = can[EPT] & VMX_EPT_1GB_PAGE_BIT;
	for (i = 0; i < ARRAY_SIZE(needs); i++) {
		const enum group g = needs[i].group;
		const enum need need = needs[i].need;
		const u64 bit = needs[i].bit;
		const bool has = (g < PLAIN ? can[g] >> 32 : can[g]) & bit;

		if (need == MUST && !has)
			return refuse(needs[i].name);
		if (need == MUST_NOT && can[g] & bit) {
			pr_err("this CPU cannot switch off %s\n", needs[i].name);
			return -ENODEV;
		}
		if (need != MUST_NOT && has && g < PLAIN)
			*values[g] |= bit;
	}
	if (slice && !(can[PIN] >> 32 & PIN_BASED_VMX_PREEMPTION_TIMER))
		return refuse("the preemption timer (parameter slice)");
	vmx.pin |= slice ? PIN_BASED_VMX_PREEMPTION_TIMER : 0;
	vmx.slice = slice;
	return 0;
}

static void choose_optional(void)
{
	const u32 perf_entry = VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL;
	const u32 perf_exit = VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL;
	u64 cr4;

	rdmsrl(MSR_IA32_VMX_CR4_FIXED1, cr4);
	vmx.cr4_guest = CR4_GUEST & cr4;
	if (boot_cpu_has(X86_FEATURE_XSAVE))
		vmx.host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	else
		vmx.cr4_guest &= ~X86_CR4_OSXSAVE;
	vmx.cr4_owned = vmx.cr4_guest & ~CR4_WATCHED;
	/* Both or none: the performance counters are switched off in a guest. */
	if (!boot_cpu_has(X86_FEATURE_ARCH_PERFMON) || !(vmx.entry & perf_entry) ||
	    !(vmx.exit & perf_exit) || cpuid_eax(10) % 256 < 2) {
		vmx.entry &= ~perf_entry;
		vmx.exit &= ~perf_exit;
	}
	/*
	 * After an EPT violation the SDM leaves the instruction's length open. CPUs fill it in,
	 * which ACRN relies on there, and KVM after EPT misconfigurations; some hypervisors do not.
	 */
	vmx.has_length = !boot_cpu_has(X86_FEATURE_HYPERVISOR);
	/* A large page that may be executed can hang such a CPU for good (CVE-2018-12207). */
	vmx.multihit = boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) && !cpu_mitigations_off();
	/* What the guest reads by L1TF has to be out of the first-level cache (CVE-2018-3646). */
	vmx.flush_l1d = boot_cpu_has_bug(X86_BUG_L1TF) && l1tf_mitigation != L1TF_MITIGATION_OFF;
	if (vmx.flush_l1d && !boot_cpu_has(X86_FEATURE_FLUSH_L1D)) {
		pr_warn("no L1D flush on this CPU: guests may read the host's memory (L1TF)\n");
		vmx.flush_l1d = false;
	}
}

static int check_cpu(u32 slice)
{
	const u8 model = boot_cpu_data.x86_model;
	int err;

	if (!boot_cpu_has(X86_FEATURE_VMX)) {
		pr_err("no VT-x here: the CPU has none, or the firmware has locked it off\n");
		return -ENODEV;
	}
	if (boot_cpu_data.x86_vendor != X86_VENDOR_INTEL)
		return refuse("Intel's name, by which it is known to obey the SDM");
	/* An NMI exit is passed on by INT 2, which such a kernel does not take for one. */
	if (native_read_cr4() & CR4_FRED) {
		pr_err("this kernel takes interrupts by FRED: boot it with fred=off\n");
		return -ENODEV;
	}
	if (!boot_cpu_has(X86_FEATURE_CONSTANT_TSC))
		return refuse("a TSC of constant pace");
	/* Exits may clear IA32_PERF_GLOBAL_CTRL[34:32] (errata AAT100, BC86, AAY89, BD102). */
	if (boot_cpu_data.x86 == 6 && (model == 0x25 || model == 0x2c))
		return refuse("exits that leave performance counters on (Westmere's do not)");
	err = choose_controls(slice);
	if (!err)
		choose_optional();
	return err;
}

/* On each CPU, interrupts off. */
static void turn_on(void *arg)
{
	const u64 address = __pa(__this_cpu_read(vmxon_region));
	int *err = arg;

	if (__this_cpu_read(vmx_is_on))
		return;
	if (!this_cpu_has(X86_FEATURE_VMX)) {
		WRITE_ONCE(*err, -ENODEV);
		return;
	}
	if (native_read_cr4() & X86_CR4_VMXE) {
		WRITE_ONCE(*err, -EBUSY);
		return;
	}
	intel_pt_handle_vmx(1);
	cr4_set_bits(X86_CR4_VMXE);
	if (vmx_insn("vmxon %[address]", [address] "m"(address))) {
		/* What it knows from before is older than what was unmapped while it was off. */
		vmcs_flush_cpu();
		__this_cpu_write(vmx_is_on, true);
		return;
	}
	cr4_clear_bits(X86_CR4_VMXE);
	intel_pt_handle_vmx(0);
	WRITE_ONCE(*err, -EIO);
}

/* Also from an NMI, in an emergency: touches nothing but this CPU. */
static void vmxoff(void)
{
	if (!__this_cpu_read(vmx_is_on))
		return;
	__this_cpu_write(vmx_is_on, false);
	vmcs_leave_cpu();
	vmx_insn("vmxoff");
	cr4_clear_bits(X86_CR4_VMXE);
}

static void turn_off(void *arg)
{
	if (!__this_cpu_read(vmx_is_on))
		return;
	vmxoff();
	intel_pt_handle_vmx(0);
}

static void off_everywhere(void)
{
	on_each_cpu(turn_off, NULL, 1);
}

static const char *why_not(int err)
{
	if (err == -EBUSY)
		return "VMX is in use by another hypervisor: stop its guests, or 'rmmod kvm_intel' "
		       "(VirtualBox: vboxdrv)";
	if (err == -ENODEV)
		return "the firmware has switched VT-x off on some CPU";
	return "VMXON failed";
}

int vmx_get(void)
{
	int err = 0;

	/* CPUs neither come nor go meanwhile; what the hotplug callbacks do fits to `users`. */
	cpus_read_lock();
	mutex_lock(&users_lock);
	if (is_going_down)
		err = -ESHUTDOWN;
	else if (users++ == 0)
		on_each_cpu(turn_on, &err, 1);
	if (err && !is_going_down) {
		off_everywhere();
		users--;
		pr_err_ratelimited("%s\n", why_not(err));
	}
	mutex_unlock(&users_lock);
	cpus_read_unlock();
	return err;
}

void vmx_put(void)
{
	cpus_read_lock();
	mutex_lock(&users_lock);
	if (--users == 0)
		off_everywhere();
	mutex_unlock(&users_lock);
	cpus_read_unlock();
}

/* A CPU comes: before any task but its own kernel threads runs there. Without VMX it stays away. */
static int cpu_comes(unsigned cpu)
{
	int err = 0;

	if (READ_ONCE(users) && !READ_ONCE(is_going_down))
		smp_call_function_single(cpu, turn_on, &err, true);
	if (err)
		pr_err("CPU %u stays offline while microVMs run: %s\n", cpu, why_not(err));
	return err;
}

/* A CPU goes: after the last task has left it, so that no vCPU is loaded there. */
static int cpu_goes(unsigned cpu)
{
	return smp_call_function_single(cpu, turn_off, NULL, true);
}

/* Processes may go on for a while; what they begin now would leave VMX on for the next kernel. */
static int on_reboot(struct notifier_block *block, unsigned long action, void *data)
{
	mutex_lock(&users_lock);
	WRITE_ONCE(is_going_down, true);
	off_everywhere();
	mutex_unlock(&users_lock);
	return NOTIFY_DONE;
}

static struct notifier_block reboot_block = { .notifier_call = on_reboot };

/*
 * Sleep: all tasks are frozen, none of them inside KVM_RUN; the other CPUs have gone, and come
 * again; this one has its interrupts off. The TSC may begin anew meanwhile: for guests it goes on.
 */
static int on_suspend(SYSCORE_DATA)
{
	turn_off(NULL);
	tsc_at_sleep = host_tsc();
	return 0;
}

static void on_resume(SYSCORE_DATA)
{
	const u64 now = host_tsc();
	int err = 0;

	if (now < tsc_at_sleep)
		vmx_tsc_lost += tsc_at_sleep - now;
	if (users)
		turn_on(&err);
	if (err)
		pr_err("microVMs go no further: %s\n", why_not(err));
}

SYSCORE(sleep, on_suspend, on_resume);

static void free_regions(void)
{
	unsigned cpu;

	for_each_possible_cpu(cpu)
		free_page((unsigned long)per_cpu(vmxon_region, cpu));
}

static int alloc_regions(void)
{
	unsigned cpu;

	for_each_possible_cpu(cpu) {
		u32 *region = (u32 *)get_zeroed_page(GFP_KERNEL);

		per_cpu(vmxon_region, cpu) = region;
		if (!region)
			return -ENOMEM;
		*region = vmx.revision;
	}
	return 0;
}

/*
 * Linux has one place for whoever ends virtualization in a panic or kexec, and KVM takes it while
 * it is loaded. Two cannot share it; with a kernel whose KVM is built in, neither can we.
 */
static int refuse_beside_kvm(void)
{
	struct path path;

	if (kern_path("/sys/module/kvm_intel", 0, &path))
		return 0;
	path_put(&path);
	pr_err("kvm_intel is loaded: 'rmmod kvm_intel' first\n");
	return -EBUSY;
}

int vmx_init(u32 slice)
{
	int err = check_cpu(slice);

	if (!err)
		err = refuse_beside_kvm();
	if (!err)
		err = alloc_regions();
	if (err)
		goto err_regions;
	err = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "mayfly", cpu_comes, cpu_goes);
	if (err < 0)
		goto err_regions;
	hotplug_state = err;
	err = register_reboot_notifier(&reboot_block);
	if (err)
		goto err_hotplug;
	register_syscore(&sleep);
	cpu_emergency_register_virt_callback(vmxoff);
	return 0;

err_hotplug:
	cpuhp_remove_state(hotplug_state);
err_regions:
	free_regions();
	return err;
}

void vmx_fini(void)
{
	cpu_emergency_unregister_virt_callback(vmxoff);
	unregister_syscore(&sleep);
	unregister_reboot_notifier(&reboot_block);
	cpuhp_remove_state(hotplug_state);
	free_regions();
}
