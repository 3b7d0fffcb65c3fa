// SPDX-License-Identifier: Apache-2.0
/* The machine of machine.h. Set-up that fails ends the program: no test would mean anything. */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

const char *device;

static const char *name;
static char wrong[256];
static unsigned tests, failures;

int call(int fd, unsigned long request, void *arg)
{
	const int n = ioctl(fd, (int)request, arg);

	return n < 0 ? -errno : n;
}

int call_number(int fd, unsigned long request, unsigned long arg)
{
	return call(fd, request, (void *)arg);
}

static void conclude(void)
{
	if (!name)
		return;
	tests++;
	failures += wrong[0] != 0;
	printf("%sok %u - %s: %s\n", wrong[0] ? "not " : "", tests, device, name);
	if (wrong[0])
		printf("# %s\n", wrong);
	fflush(stdout);
	name = NULL;
}

void test(const char *next)
{
	conclude();
	name = next;
	wrong[0] = 0;
}

void saw(bool ok, const char *format, ...)
{
	va_list args;

	if (ok || wrong[0])
		return;
	va_start(args, format);
	vsnprintf(wrong, sizeof(wrong), format, args);
	va_end(args);
}

int tests_end(void)
{
	conclude();
	printf("1..%u\n", tests);
	return failures != 0;
}

static int must(int n, const char *what)
{
	if (n >= 0)
		return n;
	printf("Bail out! %s: %s: %s\n", device, what, strerror(n == -1 ? errno : -n));
	exit(1);
}

static void *memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	return p;
}

static void slot(struct machine *m, unsigned n, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm_userspace_memory_region r = { .slot = n,
						 .guest_phys_addr = gpa,
						 .memory_size = size,
						 .userspace_addr = (uintptr_t)host };

	must(call(m->vm, KVM_SET_USER_MEMORY_REGION, &r), "KVM_SET_USER_MEMORY_REGION");
}

void machine_init(struct machine *m)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid = { .head.nent = 256 };
	struct kvm_sregs sregs;

	m->sys = must(open(device, O_RDWR | O_CLOEXEC), "open");
	m->vm = must(call_number(m->sys, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	must(call_number(m->vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
	must(call(m->vm, KVM_ENABLE_CAP, &split), "KVM_ENABLE_CAP");
	m->low = memory(LOW_SIZE);
	m->data = memory(DATA_SIZE);
	slot(m, 0, 0, LOW_SIZE, m->low);
	slot(m, 1, DATA_GPA, DATA_SIZE, m->data);
	m->cpu = must(call_number(m->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	m->run_size = (size_t)must(call_number(m->sys, KVM_GET_VCPU_MMAP_SIZE, 0), "mmap size");
	m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->cpu, 0);
	must(m->run == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	must(call(m->sys, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	must(call(m->cpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	must(call(m->cpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.apic_base |= 0xc00;
	must(call(m->cpu, KVM_SET_SREGS, &sregs), "x2APIC mode");
}

void machine_fini(struct machine *m)
{
	munmap(m->run, m->run_size);
	close(m->cpu);
	close(m->vm);
	close(m->sys);
	munmap(m->low, LOW_SIZE);
	munmap(m->data, DATA_SIZE);
}

void machine_code(struct machine *m, const void *code, size_t size, uint64_t ds)
{
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2, .rsp = 0xf000 };
	struct kvm_sregs sregs;

	memcpy(m->low + CODE_GPA, code, size);
	must(call(m->cpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.ds.base = ds;
	sregs.ds.selector = (uint16_t)(ds >> 4);
	must(call(m->cpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(call(m->cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

int machine_run(struct machine *m)
{
	return call_number(m->cpu, KVM_RUN, 0);
}

bool machine_exits(struct machine *m, uint32_t reason)
{
	int err;

	do /* EINTR is not for signals alone */
		err = machine_run(m);
	while (err == -EINTR);
	saw(!err, "KVM_RUN: %s", strerror(-err));
	saw(m->run->exit_reason == reason, "exit reason %u, not %u", m->run->exit_reason, reason);
	return !err && m->run->exit_reason == reason;
}

int machine_out(struct machine *m, uint16_t port)
{
	if (!machine_exits(m, KVM_EXIT_IO))
		return -1;
	saw(m->run->io.port == port && m->run->io.direction == KVM_EXIT_IO_OUT,
	    "port %#x, direction %u", m->run->io.port, m->run->io.direction);
	return ((uint8_t *)m->run)[m->run->io.data_offset];
}
