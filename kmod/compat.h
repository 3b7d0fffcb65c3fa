/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that mayfly.ko is built for. Nothing else in kmod/ asks for
 * a version. README.md says which kernels are tested.
 */
#ifndef KMOD_COMPAT_H
#define KMOD_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "mayfly.ko needs Linux 6.1 or newer"
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#error "Linux 6.19 and newer keep what mayfly.ko needs for KVM's own modules: see kmod/README.md"
#endif

#ifndef __ASSEMBLY__
#include <linux/eventfd.h>
#include <linux/kvm.h>
#include <linux/rcupdate.h>
#include <linux/smp.h>
#include <linux/syscore_ops.h>
#include <asm/mce.h>
#include <asm/processor-flags.h>
#include <asm/ptrace.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#include <trace/events/ipi.h> /* smp_send_reschedule() traces */
#endif

static inline void eventfd_kick(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx, 1);
#else
	eventfd_signal(ctx);
#endif
}

static inline bool run_wants_exit(const struct kvm_run *run)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
	return READ_ONCE(run->immediate_exit);
#else
	return READ_ONCE(run->immediate_exit__unsafe);
#endif
}

/* One that a guest ran into: as in user mode, it need not be the end of more than the process. */
static inline void host_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	do_machine_check(&(struct pt_regs){ .cs = __USER_CS, .flags = X86_EFLAGS_IF });
#endif
}

/* What is told of the machine's sleep got an argument, and a structure around it (Kbuild). */
#ifdef HAS_SYSCORE
#define SYSCORE_DATA void *data
#define SYSCORE(name, on_suspend, on_resume)                                  \
	static const struct syscore_ops name##_ops = { .suspend = on_suspend, \
						       .resume = on_resume }; \
	static struct syscore name = { .ops = &name##_ops }
#else
#define SYSCORE_DATA void
#define SYSCORE(name, on_suspend, on_resume) \
	static struct syscore_ops name = { .suspend = on_suspend, .resume = on_resume }
#define register_syscore   register_syscore_ops
#define unregister_syscore unregister_syscore_ops
#endif

static inline void rcu_note_guest(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	rcu_virt_note_context_switch(raw_smp_processor_id());
#else
	rcu_virt_note_context_switch();
#endif
}
#endif

#endif
