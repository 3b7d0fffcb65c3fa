// SPDX-License-Identifier: Apache-2.0
/*
 * One function per ioctl, and the only file that knows there are two providers. What stands here is
 * the whole of what mayfly.ko has to provide.
 */
#include "hv.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAYFLY_DEVICE "/dev/mayfly"
#define KVM_DEVICE    "/dev/kvm"

/* Intel without unrestricted guest needs three pages for real mode, out of the guest's way. */
#define TSS_GPA 0xfffbd000ul

/* What the provider must have, and what for: checked once, at the start. */
static const struct {
	unsigned cap;
	const char *name;
} required[] = {
	{ KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },		  /* our own I/O APIC */
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },				  /* device interrupts */
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH" }, /* queue kicks */
	{ KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER" },	  /* there is no PIT */
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },		  /* race-free kicks */
	{ KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ" }, /* nothing is calibrated */
};

static int call(int fd, unsigned long request, void *arg)
{
	const int n = ioctl(fd, (int)request, arg);

	return n < 0 ? -errno : n;
}

/* For calls that take a number where others take a pointer. */
static int call_with(int fd, unsigned long request, unsigned long arg)
{
	const int n = ioctl(fd, (int)request, arg);

	return n < 0 ? -errno : n;
}

static const char *missing(int fd)
{
	if (call_with(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return "KVM API version 12";
	for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
		if (call_with(fd, KVM_CHECK_EXTENSION, required[i].cap) <= 0)
			return required[i].name;
	return NULL;
}

int hv_probe(const char *device)
{
	const int fd = open(device, O_RDWR | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (missing(fd))
		err = -ENOTSUP;
	close(fd);
	return err;
}

static int explain(const char *device, int err)
{
	if (err == -EACCES)
		return fail(0,
			    "%s: Permission denied: join the group that owns it, for /dev/kvm "
			    "'usermod -aG kvm USER', with --uid by --gid",
			    device);
	return fail(err, "%s (no hypervisor here; 'mayfly check' says what is missing)", device);
}

int hv_open(struct hv *hv, enum hv_provider provider)
{
	const char *what;
	int n;

	hv->vm_fd = -1;
	hv->device = provider == HV_KVM ? KVM_DEVICE : MAYFLY_DEVICE;
	hv->sys_fd = open(hv->device, O_RDWR | O_CLOEXEC);
	if (hv->sys_fd < 0 && provider == HV_AUTO) {
		const int err = -errno;

		hv->sys_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
		if (hv->sys_fd < 0 && errno == ENOENT && err != -ENOENT)
			return explain(hv->device, err); /* of the one that is there */
		hv->device = KVM_DEVICE;
	}
	if (hv->sys_fd < 0)
		return explain(hv->device, -errno);
	what = missing(hv->sys_fd);
	if (what)
		return fail(-ENOTSUP, "%s lacks %s", hv->device, what);
	n = call_with(hv->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof(struct kvm_run))
		return fail(n < 0 ? n : -EINVAL, "%s: KVM_GET_VCPU_MMAP_SIZE", hv->device);
	hv->run_size = (size_t)n;
	return 0;
}

void hv_made(struct hv *hv)
{
	close(hv->sys_fd);
	hv->sys_fd = -1;
}

void hv_close(struct hv *hv)
{
	if (hv->vm_fd >= 0)
		close(hv->vm_fd);
	if (hv->sys_fd >= 0)
		close(hv->sys_fd);
	hv->vm_fd = hv->sys_fd = -1;
}

void hv_destroy_vcpu(const struct hv *hv, struct hv_vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, hv->run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	*vcpu = (struct hv_vcpu){ .fd = -1 };
}

int hv_create_vm(struct hv *hv, unsigned pins)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { pins } };
	/* On AMD there are counters whatever CPUID says; an old kernel cannot take them. */
	struct kvm_enable_cap no_pmu = { .cap = KVM_CAP_PMU_CAPABILITY,
					 .args = { KVM_PMU_CAP_DISABLE } };
	int n = call_with(hv->sys_fd, KVM_CREATE_VM, 0);

	if (n < 0)
		return n;
	hv->vm_fd = n;
	if (call_with(hv->sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_PMU_CAPABILITY) > 0)
		call(hv->vm_fd, KVM_ENABLE_CAP, &no_pmu);
	n = call_with(hv->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA);
	return n < 0 ? n : call(hv->vm_fd, KVM_ENABLE_CAP, &split);
}

int hv_set_memory(const struct hv *hv, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return call(hv->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int hv_set_routes(const struct hv *hv, const struct kvm_irq_routing_entry *routes, unsigned nr)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[HV_ROUTES_MAX];
	} table = { .head = { .nr = nr } };

	must(nr <= HV_ROUTES_MAX);
	if (nr)
		memcpy(table.entries, routes, nr * sizeof(*routes));
	return call(hv->vm_fd, KVM_SET_GSI_ROUTING, &table);
}

int hv_irqfd(const struct hv *hv, int fd, unsigned gsi)
{
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = gsi };

	return call(hv->vm_fd, KVM_IRQFD, &irqfd);
}

/* Without length and value to compare, the providers need not look at the instruction. */
int hv_ioeventfd(const struct hv *hv, int fd, uint64_t gpa)
{
	struct kvm_ioeventfd kick = { .addr = gpa, .fd = fd };

	return call(hv->vm_fd, KVM_IOEVENTFD, &kick);
}

int hv_supported_cpuid(const struct hv *hv, struct hv_cpuid *cpuid)
{
	cpuid->head.nent = HV_CPUID_MAX - HV_CPUID_OWN;
	return call(hv->sys_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
}

int hv_create_vcpu(const struct hv *hv, struct hv_vcpu *vcpu, unsigned id)
{
	vcpu->fd = call_with(hv->vm_fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0)
		return vcpu->fd;
	vcpu->run = mmap(NULL, hv->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run != MAP_FAILED)
		return 0;
	vcpu->run = NULL;
	return -errno;
}

int hv_tsc_khz(const struct hv_vcpu *vcpu)
{
	return call_with(vcpu->fd, KVM_GET_TSC_KHZ, 0);
}

int hv_set_cpuid(const struct hv_vcpu *vcpu, const struct hv_cpuid *cpuid)
{
	return call(vcpu->fd, KVM_SET_CPUID2, (void *)cpuid);
}

int hv_set_msrs(const struct hv_vcpu *vcpu, const struct hv_msrs *msrs)
{
	const int n = call(vcpu->fd, KVM_SET_MSRS, (void *)msrs);

	if (n < 0)
		return n;
	return (unsigned)n == msrs->head.nmsrs ? 0 : -ENOTSUP; /* it stops at the first refused */
}

int hv_get_regs(const struct hv_vcpu *vcpu, struct kvm_regs *regs)
{
	return call(vcpu->fd, KVM_GET_REGS, regs);
}

int hv_set_regs(const struct hv_vcpu *vcpu, const struct kvm_regs *regs)
{
	return call(vcpu->fd, KVM_SET_REGS, (void *)regs);
}

int hv_get_sregs(const struct hv_vcpu *vcpu, struct kvm_sregs *sregs)
{
	return call(vcpu->fd, KVM_GET_SREGS, sregs);
}

int hv_set_sregs(const struct hv_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	return call(vcpu->fd, KVM_SET_SREGS, (void *)sregs);
}

int hv_get_mp_state(const struct hv_vcpu *vcpu, struct kvm_mp_state *state)
{
	return call(vcpu->fd, KVM_GET_MP_STATE, state);
}

int hv_get_events(const struct hv_vcpu *vcpu, struct kvm_vcpu_events *events)
{
	return call(vcpu->fd, KVM_GET_VCPU_EVENTS, events);
}

/*
 * The MSRs that a guest can have changed (SDM vol. 4; the last nine are KVM's own). The deadline
 * of the timer comes behind the TSC that it is in.
 */
static const uint32_t msrs[] = {
	0x10,	    /* IA32_TIME_STAMP_COUNTER */
	0x3b,	    /* IA32_TSC_ADJUST */
	0x48,	    /* IA32_SPEC_CTRL */
	0xe1,	    /* IA32_UMWAIT_CONTROL */
	0x122,	    /* IA32_TSX_CTRL */
	0x140,	    /* MISC_FEATURES_ENABLES */
	0x174,	    /* IA32_SYSENTER_CS */
	0x175,	    /* IA32_SYSENTER_ESP */
	0x176,	    /* IA32_SYSENTER_EIP */
	0x1a0,	    /* IA32_MISC_ENABLE */
	0x1c4,	    /* IA32_XFD */
	0x1c5,	    /* IA32_XFD_ERR */
	0x1d9,	    /* IA32_DEBUGCTL */
	0x277,	    /* IA32_PAT */
	0x2ff,	    /* IA32_MTRR_DEF_TYPE */
	0xda0,	    /* IA32_XSS */
	0xc0000081, /* IA32_STAR */
	0xc0000082, /* IA32_LSTAR */
	0xc0000083, /* IA32_CSTAR */
	0xc0000084, /* IA32_FMASK */
	0xc0000102, /* IA32_KERNEL_GS_BASE */
	0xc0000103, /* IA32_TSC_AUX */
	0xc001011f, /* AMD's VIRT_SPEC_CTRL */
	0x6a0,	    /* IA32_U_CET */
	0x6a2,	    /* IA32_S_CET */
	0x6a4,	    /* IA32_PL0_SSP */
	0x6a5,	    /* IA32_PL1_SSP */
	0x6a6,	    /* IA32_PL2_SSP */
	0x6a7,	    /* IA32_PL3_SSP */
	0x6a8,	    /* IA32_INTERRUPT_SSP_TABLE_ADDR */
	0x6e0,	    /* IA32_TSC_DEADLINE */
	0x11,	    /* MSR_KVM_WALL_CLOCK */
	0x12,	    /* MSR_KVM_SYSTEM_TIME */
	0x4b564d00, /* MSR_KVM_WALL_CLOCK_NEW */
	0x4b564d01, /* MSR_KVM_SYSTEM_TIME_NEW */
	0x4b564d06, /* MSR_KVM_ASYNC_PF_INT: before it is enabled */
	0x4b564d02, /* MSR_KVM_ASYNC_PF_EN */
	0x4b564d03, /* MSR_KVM_STEAL_TIME */
	0x4b564d04, /* MSR_KVM_PV_EOI_EN */
	0x4b564d05, /* MSR_KVM_POLL_CONTROL */
};
#define MSRS (sizeof(msrs) / sizeof(msrs[0]))
_Static_assert(MSRS <= HV_MSRS_MAX, "room in struct hv_msrs");

/* One by one: a call stops at the first that the provider does not have. */
static int get_msrs(const struct hv_vcpu *vcpu, struct hv_msrs *all)
{
	struct hv_msrs one = { .head.nmsrs = 1 };

	all->head.nmsrs = 0;
	for (size_t i = 0; i < MSRS; i++) {
		int n;

		one.entries[0] = (struct kvm_msr_entry){ .index = msrs[i] };
		n = call(vcpu->fd, KVM_GET_MSRS, &one);
		if (n < 0)
			return n;
		if (n == 1)
			all->entries[all->head.nmsrs++] = one.entries[0];
	}
	return 0;
}

/*
 * A TSC that is set to less than a second from where KVM expects it is taken for another vCPU's,
 * and stays as it is (Linux before 6.7, kvm_synchronize_tsc). That is right for all but the first,
 * which in a young VM would lose that second; so it is set to days away before.
 */
int hv_part_tsc(const struct hv_vcpu *vcpu, const struct hv_state *state)
{
	struct hv_msrs tsc = { .head.nmsrs = 1, .entries[0] = { .index = msrs[0] } };

	if (state->msrs.head.nmsrs > 0 && state->msrs.entries[0].index == msrs[0])
		tsc.entries[0].data = state->msrs.entries[0].data ^ 1ull << 50;
	return hv_set_msrs(vcpu, &tsc);
}

static bool is_known(uint32_t msr)
{
	bool found = false;

	for (size_t i = 0; i < MSRS; i++)
		found |= msrs[i] == msr;
	return found;
}

/* What is as it should be need not be settable; what is none of ours a file has made up. */
static int set_msrs(const struct hv_vcpu *vcpu, const struct hv_msrs *all)
{
	int err = all->head.nmsrs <= MSRS ? 0 : -EINVAL;

	for (uint32_t i = 0; !err && i < all->head.nmsrs; i++) {
		const struct kvm_msr_entry *wanted = &all->entries[i];
		struct hv_msrs one = { .head.nmsrs = 1, .entries[0] = *wanted };

		err = is_known(wanted->index) ? hv_set_msrs(vcpu, &one) : -EINVAL;
		if (err == -ENOTSUP && call(vcpu->fd, KVM_GET_MSRS, &one) == 1 &&
		    one.entries[0].data == wanted->data)
			err = 0;
	}
	return err;
}

/* In the order in which they are set; MSRs, which are counted, have calls of their own. */
static const struct {
	unsigned long get, set;
	size_t at;
} parts[] = {
	{ KVM_GET_SREGS, KVM_SET_SREGS, offsetof(struct hv_state, sregs) },
	{ KVM_GET_REGS, KVM_SET_REGS, offsetof(struct hv_state, regs) },
	{ KVM_GET_XCRS, KVM_SET_XCRS, offsetof(struct hv_state, xcrs) },
	{ KVM_GET_XSAVE, KVM_SET_XSAVE, offsetof(struct hv_state, xsave) },
	{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, offsetof(struct hv_state, debugregs) },
	{ KVM_GET_LAPIC, KVM_SET_LAPIC, offsetof(struct hv_state, lapic) },
	{ KVM_GET_MSRS, KVM_SET_MSRS, offsetof(struct hv_state, msrs) },
	{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, offsetof(struct hv_state, events) },
	{ KVM_GET_MP_STATE, KVM_SET_MP_STATE, offsetof(struct hv_state, mp_state) },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

/*
 * The other way round. The MP state comes first: asking for it has KVM do what an INIT or SIPI that
 * has come does to the rest, as asking for the events does with an exception's address. MSRs come
 * before the LAPIC: a deadline that passes in between is then in both, not in neither.
 */
int hv_get_state(const struct hv_vcpu *vcpu, struct hv_state *state)
{
	int err = 0;

	for (size_t i = PARTS; i > 0 && !err; i--)
		err = parts[i - 1].get == KVM_GET_MSRS ? get_msrs(vcpu, &state->msrs)
						       : call(vcpu->fd, parts[i - 1].get,
							      (uint8_t *)state + parts[i - 1].at);
	return err;
}

int hv_set_state(const struct hv_vcpu *vcpu, const struct hv_state *state)
{
	int err = 0;

	for (size_t i = 0; i < PARTS && !err; i++)
		err = parts[i].set == KVM_SET_MSRS
			      ? set_msrs(vcpu, &state->msrs)
			      : call(vcpu->fd, parts[i].set, (uint8_t *)state + parts[i].at);
	return err;
}

int hv_get_clock(const struct hv *hv, uint64_t *ns)
{
	struct kvm_clock_data clock = { 0 };
	const int err = call(hv->vm_fd, KVM_GET_CLOCK, &clock);

	*ns = clock.clock;
	return err;
}

int hv_set_clock(const struct hv *hv, uint64_t ns)
{
	struct kvm_clock_data clock = { .clock = ns };

	return call(hv->vm_fd, KVM_SET_CLOCK, &clock);
}

void hv_was_paused(const struct hv_vcpu *vcpu)
{
	call_with(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
}

int hv_run(const struct hv_vcpu *vcpu)
{
	return call_with(vcpu->fd, KVM_RUN, 0);
}
