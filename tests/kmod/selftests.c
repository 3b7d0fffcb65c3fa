// SPDX-License-Identifier: Apache-2.0
/*
 * Linked into KVM's selftests in ioctl()'s place: their library makes each machine with a few calls
 * that /dev/mayfly does not have, and that a machine there does not need. These, and no others, are
 * answered here, with what the module promises instead. All else goes to the device as it is.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <sys/ioctl.h>

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, ...);

/*
 * The local APICs are the module's; there is no PIC and no I/O APIC, which no selftest here uses.
 */
static int split_irqchip(int vm)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };

	return __real_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

/* Machines without an irqchip are not made either: there the model is split without being asked. */
static int create_vcpu(int vm, void *id)
{
	if (split_irqchip(vm) && errno != EEXIST)
		return -1;
	return __real_ioctl(vm, KVM_CREATE_VCPU, id);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case KVM_CREATE_IRQCHIP:
		return split_irqchip(fd);
	case KVM_CREATE_VCPU:
		return create_vcpu(fd, arg);
	case KVM_GET_CPUID2: /* into the very buffer that was set; the module changes nothing in it
			      */
	case KVM_SET_NR_MMU_PAGES: /* a bound on shadow pages, of which there are none */
		return 0;
	default:
		return __real_ioctl(fd, request, arg);
	}
}
