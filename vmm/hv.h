/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's side: the subset of the KVM ioctl API that mayfly uses, one function per call, on
 * /dev/mayfly or /dev/kvm. Nothing else in the monitor knows which. Each returns 0 (or what it
 * says) or -errno, and logs nothing unless it says so. See the KVM API,
 * Documentation/virt/kvm/api.rst.
 */
#ifndef VMM_HV_H
#define VMM_HV_H

#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

enum hv_provider { HV_AUTO, HV_MAYFLY, HV_KVM };

struct hv {
	int sys_fd, vm_fd;
	size_t run_size;    /* bytes of struct kvm_run as mapped */
	const char *device; /* "/dev/kvm", ... */
};

struct hv_vcpu {
	int fd;
	struct kvm_run *run;
};

/* Room for every CPUID entry a provider may report, and for mayfly's own. */
#define HV_CPUID_MAX 256u
#define HV_CPUID_OWN 16u /* entries of the maximum that are left for mayfly */
struct hv_cpuid {
	struct kvm_cpuid2 head; /* head.nent entries follow */
	struct kvm_cpuid_entry2 entries[HV_CPUID_MAX];
};

#define HV_MSRS_MAX 48u
struct hv_msrs {
	struct kvm_msrs head; /* head.nmsrs entries follow */
	struct kvm_msr_entry entries[HV_MSRS_MAX];
};

#define HV_ROUTES_MAX 32u

/* A vCPU as a snapshot has it, but for its CPUID. */
struct hv_state {
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_xcrs xcrs;
	struct kvm_xsave xsave;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct hv_msrs msrs; /* those of the table in hv.c that there are */
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events;
};

/* Opens the provider (auto: the module where it is loaded) and checks it; logs why it cannot. */
int hv_open(struct hv *hv, enum hv_provider provider);

/* VM and vCPUs are made: the device, by which more could be, is closed. */
void hv_made(struct hv *hv);

/* Closes what is open; harmless after an hv_open() that failed. The vCPUs go first. */
void hv_close(struct hv *hv);
void hv_destroy_vcpu(const struct hv *hv, struct hv_vcpu *vcpu);

/* The same check for `mayfly check`: opens and closes, says nothing. 0 or -errno. */
int hv_probe(const char *device);

/* Creates the VM with the split interrupt model: local APICs in the kernel, `pins` GSIs outside. */
int hv_create_vm(struct hv *hv, unsigned pins);

int hv_set_memory(const struct hv *hv, unsigned slot, uint64_t gpa, uint64_t size, void *host);
int hv_set_routes(const struct hv *hv, const struct kvm_irq_routing_entry *routes, unsigned nr);
int hv_irqfd(const struct hv *hv, int fd, unsigned gsi);
/* A write to this address, of any length and value, adds to the eventfd and does not exit. */
int hv_ioeventfd(const struct hv *hv, int fd, uint64_t gpa);
int hv_supported_cpuid(const struct hv *hv, struct hv_cpuid *cpuid);

int hv_create_vcpu(const struct hv *hv, struct hv_vcpu *vcpu, unsigned id);
int hv_tsc_khz(const struct hv_vcpu *vcpu); /* > 0, or -errno */
int hv_set_cpuid(const struct hv_vcpu *vcpu, const struct hv_cpuid *cpuid);
int hv_set_msrs(const struct hv_vcpu *vcpu, const struct hv_msrs *msrs);
int hv_get_regs(const struct hv_vcpu *vcpu, struct kvm_regs *regs);
int hv_set_regs(const struct hv_vcpu *vcpu, const struct kvm_regs *regs);
int hv_get_sregs(const struct hv_vcpu *vcpu, struct kvm_sregs *sregs);
int hv_set_sregs(const struct hv_vcpu *vcpu, const struct kvm_sregs *sregs);
int hv_get_mp_state(const struct hv_vcpu *vcpu, struct kvm_mp_state *state);
int hv_get_events(const struct hv_vcpu *vcpu, struct kvm_vcpu_events *events);

/*
 * All of a vCPU that does not run and has no exit to finish; and of one that has its CPUID and has
 * not run. What is set may be anything: the kernel refuses what no CPU can be.
 */
int hv_get_state(const struct hv_vcpu *vcpu, struct hv_state *state);
int hv_set_state(const struct hv_vcpu *vcpu, const struct hv_state *state);
/* Before the first vCPU's: its TSC is to be what is set, and not what the VM's age says. */
int hv_part_tsc(const struct hv_vcpu *vcpu, const struct hv_state *state);

/*
 * KVM's own clock, which guests read where their TSC is not good enough, in nanoseconds. -ENOTTY
 * where the provider has none.
 */
int hv_get_clock(const struct hv *hv, uint64_t *ns);
int hv_set_clock(const struct hv *hv, uint64_t ns);

/* The guest's watchdogs are told of a pause that is over with the next hv_run(), by KVM's clock;
 * nothing where the guest does not use that. */
void hv_was_paused(const struct hv_vcpu *vcpu);

/* Runs the guest until an exit (0), a signal or run->immediate_exit (-EINTR), or an error. */
int hv_run(const struct hv_vcpu *vcpu);

#endif
