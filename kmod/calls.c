// SPDX-License-Identifier: GPL-2.0-only
/*
 * The calls that show and set a vCPU's state, in KVM's structures: a table of one function each,
 * which finds the VMCS loaded and the structure in kernel memory. All of it together is what a
 * snapshot is made of. vcpu.c calls these; registers are state.c's.
 */
#include "mayfly.h"

#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/irq_vectors.h>

static int get_debug(struct vcpu *v, void *arg)
{
	struct kvm_debugregs *d = arg;

	memcpy(d->db, v->dr, sizeof(d->db));
	d->dr6 = v->dr6;
	d->dr7 = vmcs_read(GUEST_DR7);
	return 0;
}

static int set_debug(struct vcpu *v, void *arg)
{
	const struct kvm_debugregs *d = arg;

	if (d->flags || d->dr6 >> 32 || d->dr7 >> 32)
		return -EINVAL;
	memcpy(v->dr, d->db, sizeof(d->db));
	write_dr(v, 6, d->dr6);
	write_dr(v, 7, d->dr7);
	return 0;
}

static int get_xcrs(struct vcpu *v, void *arg)
{
	*(struct kvm_xcrs *)arg =
		(struct kvm_xcrs){ .nr_xcrs = vmx.host_xcr0 ? 1 : 0, .xcrs[0].value = v->xcr0 };
	return 0;
}

static int set_xcrs(struct vcpu *v, void *arg)
{
	const struct kvm_xcrs *x = arg;

	if (x->nr_xcrs != 1 || x->flags || x->xcrs[0].xcr != XCR_XFEATURE_ENABLED_MASK)
		return -EINVAL;
	return state_set_xcr0(v, x->xcrs[0].value) ? 0 : -EINVAL;
}

static int get_xsave(struct vcpu *v, void *arg)
{
	fpu_copy_guest_fpstate_to_uabi(&v->fpu, arg, sizeof(struct kvm_xsave), cpuid_xcr0(), 0);
	return 0;
}

static int set_xsave(struct vcpu *v, void *arg)
{
	u32 pkru; /* no guest has one */

	return fpu_copy_uabi_to_guest_fpstate(&v->fpu, arg, cpuid_xcr0(), &pkru);
}

static int get_mp_state(struct vcpu *v, void *arg)
{
	((struct kvm_mp_state *)arg)->mp_state = v->mp_state;
	return 0;
}

static int set_mp_state(struct vcpu *v, void *arg)
{
	const u32 state = ((const struct kvm_mp_state *)arg)->mp_state;

	if (state > KVM_MP_STATE_HALTED)
		return -EINVAL;
	v->mp_state = state;
	return 0;
}

static void show_event(struct kvm_vcpu_events *e, u32 info, u32 error)
{
	const u32 type = info & INTR_INFO_INTR_TYPE_MASK, vector = info & INTR_INFO_VECTOR_MASK;

	if (!(info & VALID))
		return;
	if (type == INTR_TYPE_NMI_INTR) {
		e->nmi.injected = 1;
	} else if (type == INTR_TYPE_EXT_INTR || type == INTR_TYPE_SOFT_INTR) {
		e->interrupt.injected = 1;
		e->interrupt.nr = vector;
		e->interrupt.soft = type == INTR_TYPE_SOFT_INTR;
	} else {
		e->exception.injected = 1;
		e->exception.nr = vector;
		e->exception.has_error_code = !!(info & INTR_INFO_DELIVER_CODE_MASK);
		e->exception.error_code = error;
	}
}

/* KVM's bits are the VMCS's the other way round; both at once is no state of a CPU: MOV SS. */
static u32 shadow_bits(u32 bits)
{
	return bits & 1 ? 2 : bits >> 1 & 1;
}

static int get_events(struct vcpu *v, void *arg)
{
	const u32 shadow = vmcs_read(GUEST_INTERRUPTIBILITY_INFO);
	struct kvm_vcpu_events *e = arg;

	show_event(e, v->again_info, v->again_error);
	show_event(e, v->fault_info, v->fault_error);
	e->nmi.pending = test_bit(EVENT_NMI, &v->events);
	e->nmi.masked = !!(shadow & GUEST_INTR_STATE_NMI);
	e->interrupt.shadow = shadow_bits(shadow);
	e->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	return 0;
}

/* #BP and #OF are their instructions' own, of one byte, as INT n is of two. */
static void take_exception(struct vcpu *v, const struct kvm_vcpu_events *e)
{
	const u8 nr = e->exception.nr;
	const bool is_soft = nr == BP_VECTOR || nr == OF_VECTOR;

	v->fault_info = VALID | nr |
			(is_soft ? INTR_TYPE_SOFT_EXCEPTION : INTR_TYPE_HARD_EXCEPTION) |
			(e->exception.has_error_code ? INTR_INFO_DELIVER_CODE_MASK : 0);
	v->fault_error = e->exception.error_code;
	v->fault_length = 1;
}

static int set_events(struct vcpu *v, void *arg)
{
	const struct kvm_vcpu_events *e = arg;

	if (e->flags & ~(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			 KVM_VCPUEVENT_VALID_SIPI_VECTOR) ||
	    e->exception.pending || e->interrupt.shadow & ~SHADOWS)
		return -EINVAL;
	if (e->exception.injected && (e->exception.nr > 31 || e->exception.nr == NMI_VECTOR))
		return -EINVAL;
	v->fault_info = v->again_info = 0;
	if (e->exception.injected)
		take_exception(v, e);
	if (e->interrupt.injected)
		v->again_info = VALID | e->interrupt.nr |
				(e->interrupt.soft ? INTR_TYPE_SOFT_INTR : INTR_TYPE_EXT_INTR);
	else if (e->nmi.injected)
		v->again_info = VALID | INTR_TYPE_NMI_INTR | NMI_VECTOR;
	v->again_length = 2;
	if (e->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		assign_bit(EVENT_NMI, &v->events, e->nmi.pending);
	if (e->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
		WRITE_ONCE(v->sipi_vector, e->sipi_vector);
	if (e->flags & KVM_VCPUEVENT_VALID_SHADOW)
		vmcs_change(GUEST_INTERRUPTIBILITY_INFO, SHADOWS, shadow_bits(e->interrupt.shadow));
	vmcs_change(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_NMI,
		    e->nmi.masked ? GUEST_INTR_STATE_NMI : 0);
	return 0;
}

static const struct {
	unsigned request;
	int (*call)(struct vcpu *v, void *arg);
} calls[] = {
	{ KVM_GET_REGS, state_get_regs },     { KVM_SET_REGS, state_set_regs },
	{ KVM_GET_SREGS, state_get_sregs },   { KVM_SET_SREGS, state_set_sregs },
	{ KVM_GET_DEBUGREGS, get_debug },     { KVM_SET_DEBUGREGS, set_debug },
	{ KVM_GET_XCRS, get_xcrs },	      { KVM_SET_XCRS, set_xcrs },
	{ KVM_GET_XSAVE, get_xsave },	      { KVM_SET_XSAVE, set_xsave },
	{ KVM_GET_LAPIC, lapic_get },	      { KVM_SET_LAPIC, lapic_set },
	{ KVM_GET_MP_STATE, get_mp_state },   { KVM_SET_MP_STATE, set_mp_state },
	{ KVM_GET_VCPU_EVENTS, get_events },  { KVM_SET_VCPU_EVENTS, set_events },
	{ KVM_KVMCLOCK_CTRL, clock_stopped },
};

/* How many were read or set, up to the first that is none. */
static int call_msrs(struct vcpu *v, bool set, struct kvm_msrs __user *arg)
{
	struct kvm_msrs head;
	struct kvm_msr_entry e;
	u32 i;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.nmsrs > 256)
		return -E2BIG;
	for (i = 0; i < head.nmsrs; i++) {
		if (copy_from_user(&e, &arg->entries[i], sizeof(e)))
			return -EFAULT;
		if (e.reserved ||
		    !(set ? msr_write(v, e.index, e.data, true) : msr_read(v, e.index, &e.data)))
			break;
		if (!set && copy_to_user(&arg->entries[i], &e, sizeof(e)))
			return -EFAULT;
	}
	return i;
}

/* vcpu->lock held, the VMCS loaded. */
int calls_state(struct vcpu *v, unsigned request, void __user *arg)
{
	const unsigned size = _IOC_SIZE(request), dir = _IOC_DIR(request);
	unsigned i = 0;
	void *data;
	int err;

	if (request == KVM_GET_MSRS || request == KVM_SET_MSRS)
		return call_msrs(v, request == KVM_SET_MSRS, arg);
	while (i < ARRAY_SIZE(calls) && calls[i].request != request)
		i++;
	if (i == ARRAY_SIZE(calls))
		return -ENOTTY;
	data = kzalloc(size, GFP_KERNEL_ACCOUNT);
	if (!data)
		return -ENOMEM;
	if (dir & _IOC_WRITE && copy_from_user(data, arg, size))
		err = -EFAULT;
	else
		err = calls[i].call(v, data);
	if (!err && dir & _IOC_READ && copy_to_user(arg, data, size))
		err = -EFAULT;
	kfree(data);
	return err;
}
