/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All of mayfly.ko's objects and who owns them. /dev/mayfly makes a VM, a VM makes vCPUs; both are
 * file descriptors, and all memory is freed by one function when the last of them is closed
 * (vm_put). A VM belongs to the process that made it. Locks, outer first: vcpu->lock (one ioctl on
 * a vCPU at a time), vm->lock (one change of the VM at a time), vm->copies (read: the process's
 * memory is read or written for the guest, and faults in, so that mmap_lock comes after it; write:
 * a slot changes), vm->mmu_lock (spinning, interrupts on: who has it waits for other CPUs),
 * vm->irq_lock (spinning, interrupts off). "SDM" is Intel's Software Developer's Manual, volume 3.
 */
#ifndef KMOD_MAYFLY_H
#define KMOD_MAYFLY_H

#define pr_fmt(fmt) "mayfly: " fmt

#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <asm/asm.h>
#include <asm/fpu/types.h>
#include <asm/vmx.h>

#define VCPUS_MAX      32u
#define SLOTS_MAX      64u
#define GSI_MAX	       64u
#define IRQFDS_MAX     64u
#define IOEVENTFDS_MAX 256u
#define CPUID_MAX      256u
#define GPA_BITS       46u /* of a guest-physical address, at most: EPT has four levels */
#define EPT_LEVELS     4
#define ENTRY_ADDRESS  0x000ffffffffff000ull /* in an entry of any paging structure */
#define RUN_ORDER      1		     /* struct kvm_run, and a page of port data */
#define RUN_BYTES      (PAGE_SIZE << RUN_ORDER)

/* What a handler of an exit answers: RESUME the guest, EXIT to user space, or -errno. */
#define RESUME 1
#define EXIT   0

enum reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R15 = 15 };
enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEGS };

/* MSRs that the guest has while a vCPU is loaded, exchanged by hand: no VMCS field holds them. */
enum { SW_STAR, SW_LSTAR, SW_CSTAR, SW_FMASK, SW_KERNEL_GS, SW_TSC_AUX, SW_MSRS };

#define VALID	INTR_INFO_VALID_MASK /* of all words that describe an event */
/* What holds back interrupts for one instruction. */
#define SHADOWS (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)

/* Bits of CR0 that a guest does not write without an exit. */
#define CR0_WATCHED (X86_CR0_NE | X86_CR0_CD | X86_CR0_NW)

/* Bits of vcpu->events, set by anyone, taken by the vCPU. */
enum { EVENT_NMI, EVENT_INIT, EVENT_SIPI };

struct slot {
	u64 gpa, size; /* size 0: a free place */
	unsigned long hva;
	u32 id, flags;
	unsigned long *dirty; /* a bit a page, where KVM_MEM_LOG_DIRTY_PAGES asks for it */
};

struct vcpu;

struct route {
	bool is_used;
	u32 address, data; /* the MSI */
};

struct vm {
	struct kref refs;
	struct mm_struct *mm; /* of whom made it; the notifier keeps it from being freed */
	struct mutex lock;
	bool is_split;	 /* KVM_CAP_SPLIT_IRQCHIP is on: vCPUs may be made */
	u64 id;		 /* never used twice */
	u64 tsc_offset;	 /* of its clock; vm->lock */
	bool tsc_is_set; /* by user space */
	u64 tsc_last;	 /* the offset that it asked for last */

	struct mmu_notifier notifier;
	struct rw_semaphore copies;
	spinlock_t mmu_lock;	      /* the EPT */
	struct slot slots[SLOTS_MAX]; /* with one of both they are read, with both they change */
	unsigned nr_slots;	      /* places that were ever used, from the first on */
	u64 *root;
	unsigned long seq; /* of invalidations; changes before a page may be used otherwise */
	unsigned nr_invalidating;
	unsigned long invalid_start, invalid_end; /* host addresses */
	cpumask_var_t cpus;			  /* that may hold translations of this VM */

	struct vcpu *vcpus[VCPUS_MAX]; /* by APIC ID; set once, freed with the VM */
	u32 lowest_next;	       /* of the vCPUs: who is asked first at lowest priority */

	spinlock_t irq_lock; /* routes */
	struct route routes[GSI_MAX];
	struct list_head irqfds; /* vm->lock */
	unsigned nr_irqfds;
	struct list_head ioeventfds[2]; /* on memory, on ports; vCPUs read them under RCU */
	unsigned nr_ioeventfds;
};

struct lapic {
	u64 base;      /* IA32_APIC_BASE */
	u32 reg[0x40]; /* those with a value of their own, by number */
	u32 errors;    /* that ESR does not show yet */
	u64 deadline;  /* in guest TSC ticks; 0: none */
	struct hrtimer timer;
	union {
		u32 bits[24]; /* by number, from ISR on */
		struct {
			DECLARE_BITMAP(isr, 256);
			DECLARE_BITMAP(tmr, 256); /* levels, set by anyone */
			DECLARE_BITMAP(irr, 256); /* set by anyone, taken by the vCPU */
		};
	};
	u8 ended; /* the vector of a level, until user space is told; 0: none */
};

/* A port or memory access that user space has yet to answer. */
struct access {
	u64 value;
	u8 size, length, reg, reg_size;
	bool write, is_signed, is_high;
	/* memory: of the first byte, and of the first one on the next page */
	u64 gpa[2];
	u8 split, at, part;
	/* string I/O */
	bool is_string, is_rep, is_down;
	u8 address_size;
	u64 linear;
};

struct vcpu {
	u64 regs[16]; /* by number; RSP lives in the VMCS. First: enter.S counts on it */
	struct vm *vm;
	u32 id;
	struct mutex lock;
	struct kvm_run *run;	    /* user space writes it at any time */
	u64 *spare[EPT_LEVELS - 1]; /* tables for its next fault, one a level below the root */

	void *vmcs;
	u16 vpid;
	bool is_loaded, is_launched;
	int cpu, last_cpu; /* it is loaded on; its host state is of */
	int home;	   /* the CPU that keeps the VMCS, loaded or not; -1: none */
	u32 cpu_controls;
	u64 host_cr3, host_cr4, host_perf, host_fs_base; /* as the VMCS has them */
	u64 host_debugctl, host_pebs;
	u64 host_msr[SW_MSRS], guest_msr[SW_MSRS];
	u16 host_ldt, host_ds, host_es, host_fs, host_gs;
	struct preempt_notifier preempt;
	struct fpu_guest fpu;

	u64 xcr0;
	u32 xsave_size;
	bool has_osxsave;
	u64 tsc_offset, misc_enable, mtrr_def_type, mcg_status, system_time, wall_clock;
	u64 cr2, dr[4], dr6;
	u32 exit_reason;
	u64 qualification;

	u32 mp_state;
	unsigned long events;
	u8 sipi_vector;
	bool in_guest; /* an IPI ends its turn */
	wait_queue_head_t wait;
	u32 again_info, again_error, again_length; /* the event that an exit interrupted */
	u32 fault_info, fault_error, fault_length; /* the exception to raise */

	int (*complete)(struct vcpu *v);
	struct access access;
	struct lapic lapic;
	struct kvm_cpuid_entry2 *cpuid;
	u32 nr_cpuid;
};

/* vmx.c: the CPUs. Capabilities are set once, at load. */
struct vmx_caps {
	u32 revision;
	u32 pin, cpu, cpu2, exit, entry;
	u32 slice;	 /* ticks of the preemption timer between forced exits; 0: none */
	u64 cr4_guest;	 /* bits of CR4 that a guest may set */
	u64 cr4_owned;	 /* ...and without an exit */
	u64 host_xcr0;	 /* 0: no XSAVE */
	bool has_1gb;	 /* pages, in EPT */
	bool multihit;	 /* large pages are mapped without execute */
	bool flush_l1d;	 /* before each entry */
	bool has_length; /* EPT violations tell the instruction's length */
};
extern struct vmx_caps vmx;
DECLARE_PER_CPU(bool, vmx_is_on);
extern u64 vmx_tsc_lost; /* ticks, in sleeps */
int vmx_init(u32 slice);
void vmx_fini(void);
int vmx_get(void); /* VMX on, on all CPUs, until the last vmx_put() */
void vmx_put(void);

/* The TSC that those of guests are offsets to: never goes back. */
static inline u64 host_tsc(void)
{
	return rdtsc_ordered() + vmx_tsc_lost;
}

/* vmcs.c: a vCPU on a CPU. */
int vmcs_init(struct vcpu *v);
void vmcs_fini(struct vcpu *v);
void vmcs_load(struct vcpu *v); /* the task has it until vmcs_put(), wherever it runs */
void vmcs_put(struct vcpu *v);
void vmcs_leave_cpu(void); /* this CPU keeps none any more. Interrupts off, or in an emergency */
void vmcs_flush_cpu(void); /* of all translations of all guests */
void vmcs_flush_linear(struct vcpu *v);
void vmcs_flush_guest(struct vm *vm); /* waits until no CPU uses an old translation */

/* enter.S */
int vmx_enter(u64 *regs, bool is_launched);
extern char vmx_exit_point[];

/* ept.c */
int ept_init(struct vm *vm);  /* for current->mm */
void ept_fini(struct vm *vm); /* also where that failed */
void ept_spare_free(struct vcpu *v);
int ept_set_region(struct vm *vm, const struct kvm_userspace_memory_region *region);
int ept_get_dirty(struct vm *vm, const struct kvm_dirty_log *log);
int ept_fault(struct vcpu *v, u64 gpa, bool write, bool exec); /* RESUME, EXIT: no RAM, -errno */
/* To or from guest RAM; fails with -ENXIO where there is none, or none to write. */
int guest_copy(struct vm *vm, u64 gpa, void *data, unsigned n, bool write);

/* main.c, vm.c, vcpu.c */
int check_extension(unsigned long cap);
int vm_create(void);
void vm_put(struct vm *vm);
int vcpu_create(struct vm *vm, unsigned long id);
void vcpu_free(struct vcpu *v);
void vcpu_kick(struct vcpu *v);

/* calls.c: a vCPU's state in KVM's structures */
int calls_state(struct vcpu *v, unsigned request, void __user *arg);

/* run.c, exits.c */
int run_vcpu(struct vcpu *v);
void take_events(struct vcpu *v); /* INIT and SIPI, whose effect a state shows */
int exit_handle(struct vcpu *v);
int raise_error(struct vcpu *v, u8 vector, u32 error); /* RESUME */
int raise_ud(struct vcpu *v);
int skip(struct vcpu *v); /* past the instruction that exited; RESUME */
int skip_bytes(struct vcpu *v, unsigned n);
int exit_internal_error(struct vcpu *v, u32 suberror);
bool write_dr(struct vcpu *v, unsigned dr, u64 value); /* false: #GP */
u64 reg_read(struct vcpu *v, unsigned reg);
void reg_write(struct vcpu *v, unsigned reg, u64 value);

/* insn.c */
int exit_undecoded(struct vcpu *v);
int exit_mmio(struct vcpu *v);
int exit_io(struct vcpu *v);

/* state.c: registers. The VMCS is loaded. */
void state_reset(struct vcpu *v, bool is_init);
void state_sipi(struct vcpu *v, u8 vector);
int state_get_regs(struct vcpu *v, void *arg); /* these four for calls.c */
int state_set_regs(struct vcpu *v, void *arg);
int state_get_sregs(struct vcpu *v, void *arg);
int state_set_sregs(struct vcpu *v, void *arg);
void state_settle_shadow(void); /* of STI or MOV SS, where something else has set its state */
bool state_set_cr0(struct vcpu *v, u64 value); /* false: #GP */
bool state_set_cr4(struct vcpu *v, u64 value);
bool state_set_xcr0(struct vcpu *v, u64 value);
u32 state_xsave_size(u64 xcr0);
u64 state_cr4(struct vcpu *v);
bool state_is_long(struct vcpu *v);
bool state_is_64(struct vcpu *v); /* what it runs is 64-bit code */
unsigned state_cpl(void);

/* msr.c */
int msr_init(void);
void msr_fini(void);
int msr_list(struct kvm_msr_list __user *arg);
extern void *msr_bitmap;
bool msr_read(struct vcpu *v, u32 index, u64 *value); /* false: #GP */
bool msr_write(struct vcpu *v, u32 index, u64 value, bool by_host);
extern const u32 msr_switched[SW_MSRS];
bool msr_is_there(u32 index); /* of those that not every CPU has */

/* cpuid.c */
int cpuid_supported(struct kvm_cpuid2 __user *arg);
int cpuid_set(struct vcpu *v, struct kvm_cpuid2 __user *arg);
void cpuid_guest(struct vcpu *v); /* the instruction, in the vCPU's registers */
u64 cpuid_xcr0(void);		  /* bits that a guest may have */

/* clock.c */
bool clock_set_system(struct vcpu *v, u64 value);
bool clock_set_wall(struct vcpu *v, u64 value);
int clock_stopped(struct vcpu *v, void *none);

/* lapic.c */
#define LAPIC_GPA 0xfee00000ul
#define REG_TPR	  0x08 /* CR8 is its upper half */
void lapic_init(struct vcpu *v);
void lapic_reset(struct vcpu *v);
bool lapic_read(struct vcpu *v, u32 msr, u64 *value); /* of an x2APIC's MSRs; false: #GP */
bool lapic_write(struct vcpu *v, u32 msr, u64 value);
void lapic_set_deadline(struct vcpu *v, u64 deadline);
bool lapic_set_base(struct vcpu *v, u64 value, bool by_host);
int lapic_pending(struct vcpu *v); /* the vector to deliver now, or -1 */
void lapic_accept(struct vcpu *v, int vector);
void lapic_unaccept(struct vcpu *v, int vector);
bool lapic_mmio(struct vcpu *v, u64 gpa, bool write, void *data, unsigned n); /* is it its? */
int lapic_get(struct vcpu *v, void *arg);
int lapic_set(struct vcpu *v, void *arg);
int lapic_end(struct vcpu *v); /* after a write to it: EXIT where a level came to its end */
void lapic_deliver_msi(struct vm *vm, u32 address, u32 data);

/* irq.c */
int irq_set_routes(struct vm *vm, const struct kvm_irq_routing __user *arg);
int irq_irqfd(struct vm *vm, const struct kvm_irqfd *args);
int irq_ioeventfd(struct vm *vm, const struct kvm_ioeventfd *args);
bool irq_kick(struct vm *vm, bool is_port, u64 address, unsigned length, u64 value);
void irq_fini(struct vm *vm);

/*
 * The VMX instructions. All have a way out where VMX has been switched off behind our back (an
 * emergency reboot does so): a read is 0, a write is lost, and the entry that follows fails.
 */
static __always_inline u64 vmcs_read(unsigned long field)
{
	unsigned long value = 0;

	asm volatile("1: vmread %[field], %[value]\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : [value] "+r"(value)
		     : [field] "r"(field)
		     : "cc");
	return value;
}

/* One of the others, with its operands as of an asm: whether it succeeded. */
#define vmx_insn(insn, ...)                                                         \
	({                                                                          \
		bool ok_ = false;                                                   \
		asm volatile("1: " insn "\n\tseta %[ok]\n2:\n" _ASM_EXTABLE(1b, 2b) \
			     : [ok] "+q"(ok_)                                       \
			     : __VA_ARGS__                                          \
			     : "cc", "memory");                                     \
		ok_;                                                                \
	})

static __always_inline bool vmcs_write(unsigned long field, unsigned long value)
{
	return vmx_insn("vmwrite %[value], %[field]", [field] "r"(field), [value] "r"(value));
}

static __always_inline void vmcs_change(unsigned long field, u64 clear, u64 set)
{
	vmcs_write(field, (vmcs_read(field) & ~clear) | set);
}

/* A field of the host's, where it is not as it was written last. */
static __always_inline void vmcs_refresh(unsigned long field, u64 *last, u64 value)
{
	if (value == *last)
		return;
	vmcs_write(field, value);
	*last = value;
}

#endif
