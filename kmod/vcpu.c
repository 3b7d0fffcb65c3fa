// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: a file descriptor with the run page to map, one call at a time. The object lives as long
 * as its VM, since other vCPUs may send it interrupts; closing the descriptor gives up a reference
 * to the VM and no more.
 */
#include "mayfly.h"
#include "compat.h"

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/fpu/api.h>
#include <asm/tsc.h>

/* Ends its wait or its turn in the guest. From anywhere, also with interrupts off. */
void vcpu_kick(struct vcpu *v)
{
	int cpu;

	if (wq_has_sleeper(&v->wait)) /* a full barrier: what was set before is seen */
		wake_up(&v->wait);
	cpu = READ_ONCE(v->cpu);
	if (READ_ONCE(v->in_guest) && cpu >= 0)
		smp_send_reschedule(cpu);
}

static int set_msrs(struct vcpu *v, struct kvm_msrs __user *arg)
{
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
	u32 i;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.nmsrs > 256)
		return -E2BIG;
	for (i = 0; i < head.nmsrs; i++) {
		if (copy_from_user(&entry, &arg->entries[i], sizeof(entry)))
			return -EFAULT;
		if (entry.reserved || !msr_write(v, entry.index, entry.data, true))
			break;
	}
	return i;
}

static void get_events(struct vcpu *v, struct kvm_vcpu_events *e)
{
	const u32 shadow = vmcs_read(GUEST_INTERRUPTIBILITY_INFO);
	const u32 type = v->again_info & INTR_INFO_INTR_TYPE_MASK;
	const bool again = v->again_info & INTR_INFO_VALID_MASK;

	memset(e, 0, sizeof(*e));
	if (v->fault_info & INTR_INFO_VALID_MASK) {
		e->exception.injected = 1;
		e->exception.nr = v->fault_info & INTR_INFO_VECTOR_MASK;
		e->exception.has_error_code = !!(v->fault_info & INTR_INFO_DELIVER_CODE_MASK);
		e->exception.error_code = v->fault_error;
	}
	e->interrupt.injected = again && type == INTR_TYPE_EXT_INTR;
	e->interrupt.nr = e->interrupt.injected ? v->again_info & INTR_INFO_VECTOR_MASK : 0;
	e->nmi.injected = again && type == INTR_TYPE_NMI_INTR;
	e->nmi.pending = test_bit(EVENT_NMI, &v->events);
	e->nmi.masked = !!(shadow & GUEST_INTR_STATE_NMI);
	if (shadow & GUEST_INTR_STATE_STI)
		e->interrupt.shadow |= KVM_X86_SHADOW_INT_STI;
	if (shadow & GUEST_INTR_STATE_MOV_SS)
		e->interrupt.shadow |= KVM_X86_SHADOW_INT_MOV_SS;
	e->flags = KVM_VCPUEVENT_VALID_SHADOW;
}

union vcpu_argument {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events;
};

static int put_user_struct(unsigned long arg, const void *from, size_t size)
{
	return copy_to_user((void __user *)arg, from, size) ? -EFAULT : 0;
}

/* The VMCS is loaded; nothing here runs the guest. */
static int call(struct vcpu *v, unsigned request, unsigned long arg)
{
	union vcpu_argument a;

	memset(&a, 0, sizeof(a));
	switch (request) {
	case KVM_GET_REGS:
		state_get_regs(v, &a.regs);
		return put_user_struct(arg, &a, sizeof(a.regs));
	case KVM_GET_SREGS:
		state_get_sregs(v, &a.sregs);
		return put_user_struct(arg, &a, sizeof(a.sregs));
	case KVM_GET_VCPU_EVENTS:
		get_events(v, &a.events);
		return put_user_struct(arg, &a, sizeof(a.events));
	case KVM_SET_REGS:
		if (copy_from_user(&a, (void __user *)arg, sizeof(a.regs)))
			return -EFAULT;
		state_set_regs(v, &a.regs);
		return 0;
	case KVM_SET_SREGS:
		if (copy_from_user(&a, (void __user *)arg, sizeof(a.sregs)))
			return -EFAULT;
		return state_set_sregs(v, &a.sregs);
	case KVM_SET_MSRS:
		return set_msrs(v, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

static int call_loaded(struct vcpu *v, unsigned request, unsigned long arg)
{
	int result;

	vmcs_load(v);
	result = v->is_loaded ? call(v, request, arg) : -EIO;
	vmcs_put(v);
	return result;
}

static int call_any(struct vcpu *v, unsigned request, unsigned long arg)
{
	struct kvm_mp_state state = { .mp_state = v->mp_state };

	switch (request) {
	case KVM_RUN:
		return arg ? -EINVAL : run_vcpu(v);
	case KVM_GET_TSC_KHZ:
		return tsc_khz;
	case KVM_SET_CPUID2:
		return cpuid_set(v, (void __user *)arg);
	case KVM_GET_MP_STATE:
		return put_user_struct(arg, &state, sizeof(state));
	case KVM_GET_REGS:
	case KVM_GET_SREGS:
	case KVM_GET_VCPU_EVENTS:
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
	case KVM_SET_MSRS:
		return call_loaded(v, request, arg);
	default:
		return -ENOTTY;
	}
}

static long vcpu_ioctl(struct file *file, unsigned request, unsigned long arg)
{
	struct vcpu *v = file->private_data;
	long result;

	if (current->mm != v->vm->mm)
		return -EIO;
	if (mutex_lock_killable(&v->lock))
		return -EINTR;
	result = call_any(v, request, arg);
	mutex_unlock(&v->lock);
	return result;
}

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	const struct vcpu *v = file->private_data;

	return remap_vmalloc_range(vma, v->run, vma->vm_pgoff);
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	const struct vcpu *v = file->private_data;

	vm_put(v->vm);
	return 0;
}

static const struct file_operations vcpu_ops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
	.llseek = noop_llseek,
};

/* Also of one that was made in part. */
void vcpu_free(struct vcpu *v)
{
	lapic_fini(v);
	vmcs_fini(v);
	ept_reserve_free(&v->reserve);
	if (v->fpu.fpstate)
		fpu_free_guest_fpstate(&v->fpu);
	vfree(v->run);
	kvfree(v->cpuid);
	kfree(v);
}

static int vcpu_init(struct vcpu *v)
{
	v->run = vmalloc_user(RUN_PAGES * PAGE_SIZE);
	if (!v->run || !fpu_alloc_guest_fpstate(&v->fpu))
		return -ENOMEM;
	return vmcs_init(v);
}

/* vm->lock held, the ID is free. The file descriptor, or -errno. */
int vcpu_create(struct vm *vm, u32 id)
{
	struct vcpu *v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);
	int err, fd;

	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->id = id;
	v->cpu = v->last_cpu = v->home = -1;
	v->tsc_offset = vm->tsc_offset;
	mutex_init(&v->lock);
	init_waitqueue_head(&v->wait);
	preempt_notifier_init(&v->preempt, &vmcs_preempt_ops);
	lapic_init(v);
	err = vcpu_init(v);
	if (err) {
		vcpu_free(v);
		return err;
	}
	kref_get(&vm->refs); /* the descriptor's */
	fd = anon_inode_getfd("mayfly-vcpu", &vcpu_ops, v, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		vcpu_free(v);
		vm_put(vm); /* never the last one: the caller has the VM's descriptor */
		return fd;
	}
	smp_store_release(&vm->vcpus[id], v); /* whole before others find it: smp_load_acquire() */
	return fd;
}
