// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: a file descriptor with the run page to map, one call at a time. The object lives as long
 * as its VM, since other vCPUs may send it interrupts; closing the descriptor gives up a reference
 * to the VM and no more.
 */
#include "mayfly.h"
#include "compat.h"

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <asm/fpu/api.h>
#include <asm/tsc.h>

/* Ends its wait or its turn in the guest. From anywhere, also with interrupts off. */
void vcpu_kick(struct vcpu *v)
{
	int cpu;

	if (wq_has_sleeper(&v->wait)) /* a full barrier: what was set before is seen */
		wake_up(&v->wait);
	preempt_disable(); /* so that a CPU which has been seen in the guest stays online */
	cpu = READ_ONCE(v->cpu);
	if (READ_ONCE(v->in_guest) && cpu >= 0)
		smp_send_reschedule(cpu);
	preempt_enable();
}

/* The VMCS is loaded. */
static int call(struct vcpu *v, unsigned request, unsigned long arg)
{
	switch (request) {
	case KVM_RUN:
		return arg ? -EINVAL : run_vcpu(v);
	case KVM_GET_TSC_KHZ:
		return tsc_khz;
	case KVM_SET_CPUID2:
		return cpuid_set(v, (void __user *)arg);
	default:
		take_events(v);
		return calls_state(v, request, (void __user *)arg);
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
	vmcs_load(v);
	result = v->is_loaded ? call(v, request, arg) : -EIO;
	vmcs_put(v);
	mutex_unlock(&v->lock);
	return result;
}

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	const struct vcpu *v = file->private_data;

	return vm_iomap_memory(vma, __pa(v->run), RUN_BYTES);
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
	hrtimer_cancel(&v->lapic.timer);
	vmcs_fini(v);
	ept_spare_free(v);
	if (v->fpu.fpstate)
		fpu_free_guest_fpstate(&v->fpu);
	free_pages((unsigned long)v->run, RUN_ORDER);
	kvfree(v->cpuid);
	kfree(v);
}

/* vm->lock held. The file descriptor, or -errno. */
int vcpu_create(struct vm *vm, unsigned long id)
{
	struct vcpu *v;
	int fd;

	if (id >= VCPUS_MAX || !vm->is_split)
		return -EINVAL;
	if (vm->vcpus[id])
		return -EEXIST;
	v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);
	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->id = id;
	v->cpu = v->last_cpu = v->home = -1;
	v->tsc_offset = vm->tsc_offset;
	mutex_init(&v->lock);
	init_waitqueue_head(&v->wait);
	lapic_init(v);
	kref_get(&vm->refs); /* the descriptor's */
	v->run = (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, RUN_ORDER);
	fd = v->run && fpu_alloc_guest_fpstate(&v->fpu) ? vmcs_init(v) : -ENOMEM;
	if (!fd)
		fd = anon_inode_getfd("mayfly-vcpu", &vcpu_ops, v, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		vcpu_free(v);
		vm_put(vm); /* never the last one: the caller has the VM's descriptor */
		return fd;
	}
	smp_store_release(&vm->vcpus[id], v); /* whole before others find it: smp_load_acquire() */
	return fd;
}
