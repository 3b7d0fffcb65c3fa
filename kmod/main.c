// SPDX-License-Identifier: GPL-2.0-only
/*
 * mayfly.ko, VT-x for mayfly: loading, unloading, /dev/mayfly and the calls on it. What the module
 * promises stands in README.md beside this file. In reading order: mayfly.h, main.c, vm.c, vcpu.c,
 * calls.c, run.c, exits.c, enter.S, vmx.c, vmcs.c, ept.c, insn.c, lapic.c, irq.c, then the tables
 * in state.c, msr.c and cpuid.c.
 */
#include "mayfly.h"
#include "compat.h"

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static unsigned slice;
module_param(slice, uint, 0444);
MODULE_PARM_DESC(slice, "end a guest's turn after so many ticks of the VMX preemption timer, for "
			"emulators that hold back interrupts (0: never)");

/* What KVM_CHECK_EXTENSION answers; 0 for all others. */
static const struct {
	long cap;
	int value;
} extensions[] = {
	{ KVM_CAP_USER_MEMORY, 1 },
	{ KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1 },
	{ KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1 },
	{ KVM_CAP_SYNC_MMU, 1 }, /* the guest follows what happens to the process's memory */
	{ KVM_CAP_READONLY_MEM, 1 },
	{ KVM_CAP_NR_MEMSLOTS, SLOTS_MAX },
	{ KVM_CAP_NR_VCPUS, VCPUS_MAX },
	{ KVM_CAP_MAX_VCPUS, VCPUS_MAX },
	{ KVM_CAP_MAX_VCPU_ID, VCPUS_MAX },
	{ KVM_CAP_SET_TSS_ADDR, 1 },
	{ KVM_CAP_EXT_CPUID, 1 },
	{ KVM_CAP_ENABLE_CAP_VM, 1 },
	{ KVM_CAP_SPLIT_IRQCHIP, 1 },
	{ KVM_CAP_IRQ_ROUTING, GSI_MAX },
	{ KVM_CAP_IRQFD, 1 },
	{ KVM_CAP_IOEVENTFD, 1 },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, 1 },
	{ KVM_CAP_TSC_DEADLINE_TIMER, 1 },
	{ KVM_CAP_GET_TSC_KHZ, 1 },
	{ KVM_CAP_IMMEDIATE_EXIT, 1 },
	{ KVM_CAP_MP_STATE, 1 },
	{ KVM_CAP_VCPU_EVENTS, 1 },
	{ KVM_CAP_DEBUGREGS, 1 },
	{ KVM_CAP_XSAVE, 1 },
	{ KVM_CAP_XCRS, 1 },
	{ KVM_CAP_KVMCLOCK_CTRL, 1 },
};

int check_extension(unsigned long cap)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(extensions); i++)
		if (extensions[i].cap == cap)
			return extensions[i].value;
	return 0;
}

static long device_ioctl(struct file *file, unsigned request, unsigned long arg)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		return check_extension(arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : RUN_BYTES;
	case KVM_GET_SUPPORTED_CPUID:
		return cpuid_supported((void __user *)arg);
	case KVM_GET_MSR_INDEX_LIST:
		return msr_list((void __user *)arg);
	case KVM_CREATE_VM:
		return arg ? -EINVAL : vm_create();
	default:
		return -ENOTTY;
	}
}

static const struct file_operations device_ops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "mayfly",
	.fops = &device_ops,
	.mode = 0660,
};

static int __init mayfly_init(void)
{
	int err = vmx_init(slice);

	if (err)
		return err;
	err = msr_init();
	if (err)
		goto err_vmx;
	preempt_notifier_inc();
	err = misc_register(&device);
	if (err)
		goto err_preempt;
	pr_info("loaded%s%s%s\n", vmx.slice ? ", with a time slice" : "",
		vmx.multihit ? ", large pages not executable" : "",
		vmx.flush_l1d ? ", L1D flushed at entries" : "");
	return 0;

err_preempt:
	preempt_notifier_dec();
	msr_fini();
err_vmx:
	vmx_fini();
	return err;
}

static void __exit mayfly_exit(void)
{
	misc_deregister(&device);
	preempt_notifier_dec();
	msr_fini();
	vmx_fini();
}

module_init(mayfly_init);
module_exit(mayfly_exit);
MODULE_DESCRIPTION("VT-x for the mayfly microVM monitor");
MODULE_AUTHOR("the mayfly project");
MODULE_LICENSE("GPL");
