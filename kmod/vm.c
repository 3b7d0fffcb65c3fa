// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM: a file descriptor whose calls change what all its vCPUs share. It belongs to the process
 * that made it, and every call from another address space is refused. vm_free() is the only
 * teardown, also of a VM that was made in part.
 */
#include "mayfly.h"

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static atomic64_t last_id = ATOMIC64_INIT(0);

static void vm_free(struct kref *refs)
{
	struct vm *vm = container_of(refs, struct vm, refs);
	unsigned i;

	irq_fini(vm); /* first: nobody delivers interrupts to vCPUs any more */
	for (i = 0; i < VCPUS_MAX; i++)
		if (vm->vcpus[i])
			vcpu_free(vm->vcpus[i]);
	ept_fini(vm);
	kfree(vm);
	vmx_put();
}

void vm_put(struct vm *vm)
{
	kref_put(&vm->refs, vm_free);
}

static int enable_cap(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags || cap->cap != KVM_CAP_SPLIT_IRQCHIP || cap->args[0] > GSI_MAX)
		return -EINVAL;
	if (vm->is_split)
		return -EEXIST;
	vm->is_split = true;
	return 0;
}

/* The calls whose argument points to a structure: copied in whole, then checked. */
union vm_argument {
	struct kvm_userspace_memory_region region;
	struct kvm_dirty_log log;
	struct kvm_enable_cap cap;
	struct kvm_irqfd irqfd;
	struct kvm_ioeventfd ioeventfd;
};

static int call(struct vm *vm, unsigned request, unsigned long arg)
{
	const size_t size = _IOC_SIZE(request);
	union vm_argument a;
	int bad = 0;

	if (_IOC_DIR(request) == _IOC_WRITE && size <= sizeof(a) &&
	    copy_from_user(&a, (void __user *)arg, size))
		bad = -EFAULT;
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return check_extension(arg);
	case KVM_SET_TSS_ADDR:
		return 0; /* real mode needs no task state: unrestricted guest */
	case KVM_CREATE_VCPU:
		return vcpu_create(vm, arg);
	case KVM_SET_GSI_ROUTING:
		return irq_set_routes(vm, (void __user *)arg);
	case KVM_SET_USER_MEMORY_REGION:
		return bad ?: ept_set_region(vm, &a.region);
	case KVM_GET_DIRTY_LOG:
		return bad ?: ept_get_dirty(vm, &a.log);
	case KVM_ENABLE_CAP:
		return bad ?: enable_cap(vm, &a.cap);
	case KVM_IRQFD:
		return bad ?: irq_irqfd(vm, &a.irqfd);
	case KVM_IOEVENTFD:
		return bad ?: irq_ioeventfd(vm, &a.ioeventfd);
	default:
		return -ENOTTY;
	}
}

static long vm_ioctl(struct file *file, unsigned request, unsigned long arg)
{
	struct vm *vm = file->private_data;
	long result;

	if (current->mm != vm->mm)
		return -EIO;
	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	result = call(vm, request, arg);
	mutex_unlock(&vm->lock);
	return result;
}

static int vm_release(struct inode *inode, struct file *file)
{
	vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_ops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vm_ioctl,
	.release = vm_release,
	.llseek = noop_llseek,
};

/* The file descriptor, or -errno. */
int vm_create(void)
{
	struct vm *vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int fd;

	if (!vm)
		return -ENOMEM;
	fd = vmx_get();
	if (fd) {
		kfree(vm);
		return fd;
	}
	kref_init(&vm->refs);
	mutex_init(&vm->lock);
	spin_lock_init(&vm->irq_lock);
	INIT_LIST_HEAD(&vm->irqfds);
	INIT_LIST_HEAD(&vm->ioeventfds[false]);
	INIT_LIST_HEAD(&vm->ioeventfds[true]);
	vm->id = atomic64_inc_return(&last_id);
	vm->tsc_offset = -host_tsc();
	fd = ept_init(vm);
	if (!fd)
		fd = anon_inode_getfd("mayfly-vm", &vm_ops, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		vm_put(vm);
	return fd;
}
