// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM's clock (Documentation/virt/kvm/x86/msr.rst), without which a guest would ask a CMOS for the
 * date, which there is none of: two MSRs that name a place in guest memory. The guest's TSC starts
 * at 0 with its VM and never changes its pace, so each place is written when it is named, and again
 * only where the TSC is set.
 */
#include "mayfly.h"

#include <linux/clocksource.h>
#include <linux/timekeeping.h>
#include <asm/pvclock-abi.h>
#include <asm/tsc.h>

static u64 vm_ns(const struct vcpu *v)
{
	return mul_u64_u32_div(host_tsc() + READ_ONCE(v->vm->tsc_offset), 1000000, tsc_khz);
}

static u8 flags(void)
{
	return check_tsc_unstable() ? 0 : PVCLOCK_TSC_STABLE_BIT;
}

/* MSR_KVM_SYSTEM_TIME_NEW: the address, bit 0: on. False: no RAM there. */
bool clock_set_system(struct vcpu *v, u64 value)
{
	struct pvclock_vcpu_time_info t = {
		.version = 2, /* even: whole */
		.tsc_timestamp = v->tsc_offset - READ_ONCE(v->vm->tsc_offset),
		.flags = flags(),
	};
	u32 shift;

	/* Nanoseconds are (ticks << tsc_shift) * tsc_to_system_mul >> 32. */
	clocks_calc_mult_shift(&t.tsc_to_system_mul, &shift, tsc_khz, NSEC_PER_MSEC, 0);
	t.tsc_shift = 32 - shift;
	return !(value & 1) || !guest_copy(v->vm, value & ~1ull, &t, sizeof(t), true);
}

/* KVM_KVMCLOCK_CTRL: the guest's watchdogs learn that it was stopped, and clear the flag. */
int clock_stopped(struct vcpu *v, void *none)
{
	const u64 at = (v->system_time & ~1ull) + offsetof(struct pvclock_vcpu_time_info, flags);
	u8 stopped = flags() | PVCLOCK_GUEST_STOPPED;

	if (!(v->system_time & 1))
		return -EINVAL;
	return guest_copy(v->vm, at, &stopped, sizeof(stopped), true) ? -EFAULT : 0;
}

/* MSR_KVM_WALL_CLOCK_NEW: the date at the VM's beginning. 0, as a restore may set, is no place. */
bool clock_set_wall(struct vcpu *v, u64 value)
{
	const struct timespec64 t = ns_to_timespec64(ktime_get_real_ns() - vm_ns(v));
	struct pvclock_wall_clock clock = { .version = 2, .sec = t.tv_sec, .nsec = t.tv_nsec };

	return !value || !guest_copy(v->vm, value, &clock, sizeof(clock), true);
}
