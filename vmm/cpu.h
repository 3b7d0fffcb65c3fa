/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtual CPU is when the guest first sees it: CPUID, MSRs, registers for each way a kernel
 * is entered; and how it looks when something went wrong.
 */
#ifndef VMM_CPU_H
#define VMM_CPU_H

#include "hv.h"
#include "image.h"
#include "mem.h"

#include <stdbool.h>

/*
 * Turns what the provider supports into what vCPU `id` of `cpus` shows: topology, TSC frequency in
 * kHz, hypervisor bits. `cpuid` holds the provider's entries, or what another vCPU's were turned
 * into, and has room for mayfly's own.
 */
void cpu_cpuid(struct hv_cpuid *cpuid, unsigned id, unsigned cpus, unsigned tsc_khz);

/*
 * Whether a leaf tells what is another on another host, after a boot, or on another core: a
 * frequency, caches.
 */
bool cpu_is_incidental(uint32_t function);

/* Bits of a guest-physical address that the provider's CPUs have. */
unsigned cpu_physical_bits(struct hv_cpuid *supported);

/* Loads CPUID, made of `cpuid` in its place, and MSRs into a vCPU. 0 or -errno, logged. */
int cpu_init(const struct hv_vcpu *vcpu, struct hv_cpuid *cpuid, unsigned id, unsigned cpus,
	     unsigned tsc_khz);

/*
 * Sets the boot CPU to the kernel's entry: flat segments, paging off with EBX = start info (PVH),
 * or long mode on the identity map with RSI = zero page (Linux). Writes GDT and page tables into
 * guest memory. 0 or -errno, logged.
 */
int cpu_enter(const struct hv_vcpu *vcpu, const struct mem *mem, enum image_entry kind,
	      uint64_t entry);

/* Prints registers and the bytes at RIP on standard error, for an error report. */
void cpu_dump(const struct hv_vcpu *vcpu, const struct mem *mem, unsigned id);

#endif
