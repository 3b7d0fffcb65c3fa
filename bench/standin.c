// SPDX-License-Identifier: Apache-2.0
/*
 * In the place of vmm/hv.c, for measuring the monitor's own part of a start on any machine: a
 * hypervisor that takes whatever it is told. Its guest is the program of standguest.h that is
 * linked with it. Its descriptors are real ones, so that as many are open as with a real one.
 */
#include "standguest.h"
#include "../vmm/hv.h"
#include "../vmm/layout.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define RUN_SIZE (3ul << 12) /* as KVM's */
#define TSC_KHZ	 2000000

static struct kvm_run *first; /* of the processor that runs */

/* Of the kind that KVM's are, and to be had in an empty root. */
static int make_descriptor(void)
{
	const int fd = eventfd(0, EFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int hv_open(struct hv *hv, enum hv_provider provider)
{
	(void)provider;
	hv->device = "no hypervisor";
	hv->vm_fd = -1;
	hv->run_size = RUN_SIZE;
	hv->sys_fd = make_descriptor();
	return hv->sys_fd < 0 ? hv->sys_fd : 0;
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

int hv_probe(const char *device)
{
	(void)device;
	return 0;
}

int hv_create_vm(struct hv *hv, unsigned pins)
{
	(void)pins;
	hv->vm_fd = make_descriptor();
	return hv->vm_fd < 0 ? hv->vm_fd : 0;
}

int hv_create_vcpu(const struct hv *hv, struct hv_vcpu *vcpu, unsigned id)
{
	void *run =
		mmap(NULL, hv->run_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	vcpu->fd = make_descriptor();
	if (vcpu->fd < 0 || run == MAP_FAILED)
		return -ENOMEM;
	vcpu->run = run;
	if (id == 0)
		first = run;
	return 0;
}

void hv_destroy_vcpu(const struct hv *hv, struct hv_vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, hv->run_size);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	*vcpu = (struct hv_vcpu){ .fd = -1 };
}

int hv_run(const struct hv_vcpu *vcpu)
{
	return vcpu->run == first ? standguest_run(first) : standguest_wait(vcpu->run);
}

int hv_supported_cpuid(const struct hv *hv, struct hv_cpuid *cpuid)
{
	(void)hv;
	cpuid->head.nent = 0;
	return 0;
}

int hv_tsc_khz(const struct hv_vcpu *vcpu)
{
	(void)vcpu;
	return TSC_KHZ;
}

int hv_get_sregs(const struct hv_vcpu *vcpu, struct kvm_sregs *sregs)
{
	(void)vcpu;
	*sregs = (struct kvm_sregs){ 0 };
	return 0;
}

int hv_get_regs(const struct hv_vcpu *vcpu, struct kvm_regs *regs)
{
	(void)vcpu;
	*regs = (struct kvm_regs){ 0 };
	return 0;
}

int hv_get_mp_state(const struct hv_vcpu *vcpu, struct kvm_mp_state *state)
{
	(void)vcpu;
	*state = (struct kvm_mp_state){ 0 };
	return 0;
}

int hv_get_events(const struct hv_vcpu *vcpu, struct kvm_vcpu_events *events)
{
	(void)vcpu;
	*events = (struct kvm_vcpu_events){ 0 };
	return 0;
}

/* A process's own state is in no file: there are no snapshots. */
int hv_get_state(const struct hv_vcpu *vcpu, struct hv_state *state)
{
	(void)vcpu, (void)state;
	return -ENOTSUP;
}

int hv_set_state(const struct hv_vcpu *vcpu, const struct hv_state *state)
{
	(void)vcpu, (void)state;
	return -ENOTSUP;
}

int hv_part_tsc(const struct hv_vcpu *vcpu, const struct hv_state *state)
{
	(void)vcpu, (void)state;
	return -ENOTSUP;
}

int hv_get_clock(const struct hv *hv, uint64_t *ns)
{
	(void)hv, (void)ns;
	return -ENOTTY;
}

int hv_set_clock(const struct hv *hv, uint64_t ns)
{
	(void)hv, (void)ns;
	return -ENOTTY;
}

void hv_was_paused(const struct hv_vcpu *vcpu)
{
	(void)vcpu;
}

/* What is only told it. */

int hv_set_memory(const struct hv *hv, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	(void)hv, (void)slot, (void)size;
	if (gpa == 0)
		standguest_memory(host);
	return 0;
}

int hv_set_routes(const struct hv *hv, const struct kvm_irq_routing_entry *routes, unsigned nr)
{
	(void)hv;
	for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++)
		standguest_route(gsi, 0);
	for (unsigned i = 0; i < nr; i++)
		standguest_route(routes[i].gsi, (uint8_t)routes[i].u.msi.data);
	return 0;
}

int hv_irqfd(const struct hv *hv, int fd, unsigned gsi)
{
	(void)hv;
	standguest_irqfd(fd, gsi);
	return 0;
}

int hv_ioeventfd(const struct hv *hv, int fd, uint64_t gpa)
{
	(void)hv;
	standguest_eventfd(fd, gpa);
	return 0;
}

int hv_set_cpuid(const struct hv_vcpu *vcpu, const struct hv_cpuid *cpuid)
{
	(void)vcpu, (void)cpuid;
	return 0;
}

int hv_set_msrs(const struct hv_vcpu *vcpu, const struct hv_msrs *msrs)
{
	(void)vcpu, (void)msrs;
	return 0;
}

int hv_set_regs(const struct hv_vcpu *vcpu, const struct kvm_regs *regs)
{
	(void)vcpu;
	standguest_start_info(regs->rbx);
	return 0;
}

int hv_set_sregs(const struct hv_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	(void)vcpu, (void)sregs;
	return 0;
}
