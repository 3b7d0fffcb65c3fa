// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM's clock (Documentation/virt/kvm/x86/msr.rst), without which a guest would ask a CMOS for the
 * date, which there is none of: two MSRs that name a place in guest memory. The guest's TSC starts
 * at 0 with its VM and never changes its pace, so each place is written when it is named, and again
 * only where the TSC is set.
 */
#include "mayfly.h"

#include <linux/timekeeping.h>
#include <asm/pvclock-abi.h>
#include <asm/tsc.h>

/* Nanoseconds are (ticks << shift) * multiplier >> 32. */
static void pace(struct pvclock_vcpu_time_info *t)
{
	u64 khz = tsc_khz;

	while (khz <= 1000000) {
		khz <<= 1;
		t->tsc_shift++;
	}
	t->tsc_to_system_mul = div64_u64(1000000ull << 32, khz);
}

static u64 vm_ns(const struct vcpu *v)
{
	return mul_u64_u32_div(host_tsc() + READ_ONCE(v->vm->tsc_offset), 1000000, tsc_khz);
}

/* MSR_KVM_SYSTEM_TIME_NEW: the address, bit 0: on. False: no RAM there. */
bool clock_set_system(struct vcpu *v, u64 value)
{
	struct pvclock_vcpu_time_info t = {
		.version = 2, /* even: whole */
		.tsc_timestamp = v->tsc_offset - READ_ONCE(v->vm->tsc_offset),
		.flags = check_tsc_unstable() ? 0 : PVCLOCK_TSC_STABLE_BIT,
	};

	pace(&t);
	return !(value & 1) || !guest_copy(v->vm, value & ~1ull, &t, sizeof(t), true);
}

/* MSR_KVM_WALL_CLOCK_NEW: the date at the VM's beginning. 0, as a restore may set, is no place. */
bool clock_set_wall(struct vcpu *v, u64 value)
{
	const struct timespec64 t = ns_to_timespec64(ktime_get_real_ns() - vm_ns(v));
	struct pvclock_wall_clock clock = { .version = 2, .sec = t.tv_sec, .nsec = t.tv_nsec };

	return !value || !guest_copy(v->vm, value, &clock, sizeof(clock), true);
}
