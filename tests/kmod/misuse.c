// SPDX-License-Identifier: Apache-2.0
/*
 * `misuse DEVICE`: calls as no honest program makes them: wrong sizes, pointers, orders, processes,
 * closed descriptors, a run page full of nonsense. Each gets the errno that kmod/README.md
 * promises. `misuse DEVICE fuzz N SEED`: N random calls from each of two threads on one VM, with
 * whatever comes of them; only that it comes back is tested.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOWHERE ((void *)8)
#define KERNEL	((void *)0xffff888000000000ul)

static struct machine m;

static void numbers(void)
{
	test("calls that are not in the subset are ENOTTY, on every descriptor");
	const unsigned long others[] = { KVM_CREATE_IRQCHIP,
					 KVM_SIGNAL_MSI,
					 KVM_GET_FPU,
					 KVM_CREATE_PIT2,
					 KVM_CLEAR_DIRTY_LOG,
					 KVM_NMI,
					 KVM_SMI,
					 KVM_GET_XSAVE2,
					 KVM_GET_CLOCK,
					 KVM_CREATE_DEVICE,
					 TIOCGWINSZ,
					 0,
					 ~0u,
					 KVM_TRANSLATE };
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		IS(call_number(m.sys, others[i], 0), -ENOTTY);
		IS(call_number(m.vm, others[i], 0), -ENOTTY);
		IS(call_number(m.cpu, others[i], 0), -ENOTTY);
	}
	IS(call_number(m.sys, KVM_RUN, 0), -ENOTTY);
	IS(call_number(m.vm, KVM_CREATE_VM, 0), -ENOTTY);
	IS(call_number(m.cpu, KVM_CREATE_VCPU, 0), -ENOTTY);

	test("arguments where none belong are EINVAL");
	IS(call_number(m.sys, KVM_GET_API_VERSION, 1), -EINVAL);
	IS(call_number(m.sys, KVM_CREATE_VM, 1), -EINVAL);
	IS(call_number(m.sys, KVM_GET_VCPU_MMAP_SIZE, 1), -EINVAL);
	IS(call_number(m.cpu, KVM_RUN, 1), -EINVAL);

	test("a capability that is not there is 0");
	IS(call_number(m.sys, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP), 0);
	IS(call_number(m.sys, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), 0);
	IS(call_number(m.vm, KVM_CHECK_EXTENSION, ~0ul), 0);
}

static void pointers(void)
{
	static const struct {
		bool on_cpu;
		unsigned long request;
	} calls[] = {
		{ false, KVM_SET_USER_MEMORY_REGION },
		{ false, KVM_GET_DIRTY_LOG },
		{ false, KVM_ENABLE_CAP },
		{ false, KVM_IRQFD },
		{ false, KVM_IOEVENTFD },
		{ false, KVM_SET_GSI_ROUTING },
		{ true, KVM_GET_REGS },
		{ true, KVM_SET_REGS },
		{ true, KVM_GET_SREGS },
		{ true, KVM_SET_SREGS },
		{ true, KVM_SET_MSRS },
		{ true, KVM_SET_CPUID2 },
		{ true, KVM_GET_MP_STATE },
		{ true, KVM_SET_MP_STATE },
		{ true, KVM_GET_VCPU_EVENTS },
		{ true, KVM_SET_VCPU_EVENTS },
		{ true, KVM_GET_MSRS },
		{ true, KVM_GET_LAPIC },
		{ true, KVM_SET_LAPIC },
		{ true, KVM_GET_XSAVE },
		{ true, KVM_SET_XSAVE },
		{ true, KVM_GET_XCRS },
		{ true, KVM_SET_XCRS },
		{ true, KVM_GET_DEBUGREGS },
		{ true, KVM_SET_DEBUGREGS },
	};
	/* The end of a page, so that a structure that begins in it ends in none. */
	uint8_t *edge =
		mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	test("bad pointers are EFAULT");
	munmap(edge + 4096, 4096);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const int fd = calls[i].on_cpu ? m.cpu : m.vm;

		IS(call(fd, calls[i].request, NULL), -EFAULT);
		IS(call(fd, calls[i].request, NOWHERE), -EFAULT);
		IS(call(fd, calls[i].request, KERNEL), -EFAULT);
		IS(call(fd, calls[i].request, edge + 4095), -EFAULT);
	}
	IS(call(m.sys, KVM_GET_SUPPORTED_CPUID, NOWHERE), -EFAULT);
	IS(call(m.sys, KVM_GET_MSR_INDEX_LIST, NOWHERE), -EFAULT);
	munmap(edge, 4096);
}

static int region(uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, uint64_t host)
{
	struct kvm_userspace_memory_region r = { .slot = slot,
						 .flags = flags,
						 .guest_phys_addr = gpa,
						 .memory_size = size,
						 .userspace_addr = host };

	return call(m.vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static void regions(void)
{
	const uint64_t host = (uintptr_t)m.data, top = 1ull << 46;
	uint64_t bits = 0;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bits };

	test("memory regions that overlap, overflow, or ask for more than there is are refused");
	IS(region(5, 4, 1 << 20, 4096, host), -EINVAL);
	IS(region(5, KVM_MEM_LOG_DIRTY_PAGES, 1 << 20, 1ull << 43, 4096), -EINVAL);
	IS(region(5, ~0u, 1 << 20, 4096, host), -EINVAL);
	IS(region(5, 0, (1 << 20) + 1, 4096, host), -EINVAL);
	IS(region(5, 0, 1 << 20, 4095, host), -EINVAL);
	IS(region(5, 0, 1 << 20, 4096, host + 1), -EINVAL);
	IS(region(5, 0, 1 << 20, 4096, 0), -EINVAL);
	IS(region(5, 0, 1 << 20, 4096, (uintptr_t)KERNEL), -EINVAL);
	IS(region(5, 0, 1 << 20, 4096, host | 1ull << 57), -EINVAL); /* a tag of LAM's */
	IS(region(5, 0, 1 << 20, ~4095ull, host), -EINVAL);
	IS(region(5, 0, ~4095ull, 8192, host), -EINVAL);
	IS(region(5, 0, top, 4096, host), -EINVAL);
	IS(region(5, 0, top - 4096, 8192, host), -EINVAL);
	IS(region(5, 0, 1 << 20, 0, host), -EINVAL);	 /* there is no slot 5 to delete */
	IS(region(5, 0, 0, 4096, host), -EEXIST);	 /* slot 0 is there */
	IS(region(1, 0, DATA_GPA, 4096, host), -EINVAL); /* no resizing */
	IS(region(1, 0, DATA_GPA, DATA_SIZE, host + 4096), -EINVAL); /* no other memory */
	IS(region(1, 0, 0x1000, DATA_SIZE, host), -EEXIST);	     /* onto slot 0 */
	IS(region(1, 0, 16 << 20, DATA_SIZE, host), 0);		     /* moved */
	IS(region(1, 0, DATA_GPA, DATA_SIZE, host), 0);		     /* and back */

	test("a log that cannot be had or be shown keeps what is in it");
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), -ENOENT);
	IS(region(1, KVM_MEM_LOG_DIRTY_PAGES, DATA_GPA, DATA_SIZE, host), 0);
	machine_code(&m, "\xa2\x00\x10\xe6\x10", 5, DATA_GPA); /* mov [1000],al; out 10,al */
	machine_out(&m, 0x10);
	log.dirty_bitmap = NOWHERE;
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), -EFAULT);
	log.dirty_bitmap = KERNEL;
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), -EFAULT);
	log.dirty_bitmap = &bits;
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), 0);
	IS(bits, 2);
	IS(region(1, 0, DATA_GPA, DATA_SIZE, host), 0);

	test("there are 64 slots");
	for (uint32_t i = 2; i < 64; i++)
		IS(region(1000 + i, 0, (16ull + i) << 20, 4096, host), 0);
	IS(region(5, 0, 1 << 20, 4096, host), -EINVAL);
	for (uint32_t i = 2; i < 64; i++)
		IS(region(1000 + i, 0, (16ull + i) << 20, 0, host), 0);
}

static void orders(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	const int vm = call_number(m.sys, KVM_CREATE_VM, 0);
	int cpu;

	test("calls in the wrong order");
	IS(call_number(vm, KVM_CREATE_VCPU, 0), -EINVAL); /* no APICs yet */
	cap.args[0] = 65;
	IS(call(vm, KVM_ENABLE_CAP, &cap), -EINVAL);
	cap.args[0] = 24;
	cap.flags = 1;
	IS(call(vm, KVM_ENABLE_CAP, &cap), -EINVAL);
	cap.flags = 0;
	cap.cap = KVM_CAP_X2APIC_API;
	IS(call(vm, KVM_ENABLE_CAP, &cap), -EINVAL);
	cap.cap = KVM_CAP_SPLIT_IRQCHIP;
	IS(call(vm, KVM_ENABLE_CAP, &cap), 0);
	IS(call(vm, KVM_ENABLE_CAP, &cap), -EEXIST);
	IS(call_number(vm, KVM_CREATE_VCPU, 32), -EINVAL);
	IS(call_number(vm, KVM_CREATE_VCPU, ~0ul), -EINVAL);
	cpu = call_number(vm, KVM_CREATE_VCPU, 31);
	HOLDS(cpu > 0);
	IS(call_number(vm, KVM_CREATE_VCPU, 31), -EEXIST);
	close(cpu);
	IS(call_number(vm, KVM_CREATE_VCPU, 31), -EEXIST); /* it lives with its VM */
	close(vm);

	test("a VM without memory ends in an error of its own");
	{
		struct machine n = m;
		struct kvm_userspace_memory_region gone = { .slot = 0,
							    .userspace_addr = (uintptr_t)n.low };

		machine_init(&n);
		gone.userspace_addr = (uintptr_t)n.low;
		IS(call(n.vm, KVM_SET_USER_MEMORY_REGION, &gone), 0);
		machine_code(&n, "\xf4", 1, 0);
		HOLDS(machine_exits(&n, KVM_EXIT_INTERNAL_ERROR));

		test("a vCPU runs on when the VM's descriptor is closed");
		close(n.vm);
		HOLDS(machine_exits(&n, KVM_EXIT_INTERNAL_ERROR));
		n.vm = -1;
		machine_fini(&n);
	}
}

static void interrupts(void)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[65];
	} routes = { .head.nr = 65 };
	const int fd = eventfd(0, EFD_CLOEXEC), file = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = 64 };
	struct kvm_ioeventfd io = { .addr = HOLE_GPA, .len = 3, .fd = fd };

	test("routes that are none");
	IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), -EINVAL);
	routes.head.nr = 2;
	routes.e[0].type = routes.e[1].type = KVM_IRQ_ROUTING_MSI;
	IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), -EINVAL); /* twice the same GSI */
	routes.e[1].gsi = 64;
	IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), -EINVAL);
	routes.e[1].gsi = 1;
	routes.e[1].type = KVM_IRQ_ROUTING_IRQCHIP;
	IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), -EINVAL);
	routes.head.nr = 1;
	routes.head.flags = 1;
	IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), -EINVAL);
	routes.head.flags = 0;
	IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), 0);

	test("irqfds that are none");
	IS(call(m.vm, KVM_IRQFD, &irqfd), -EINVAL);
	irqfd.gsi = 0;
	irqfd.flags = KVM_IRQFD_FLAG_RESAMPLE;
	IS(call(m.vm, KVM_IRQFD, &irqfd), -EINVAL);
	irqfd.flags = 0;
	irqfd.fd = (uint32_t)-1;
	IS(call(m.vm, KVM_IRQFD, &irqfd), -EBADF);
	irqfd.fd = (uint32_t)file;
	IS(call(m.vm, KVM_IRQFD, &irqfd), -EINVAL);
	irqfd.fd = (uint32_t)fd;
	IS(call(m.vm, KVM_IRQFD, &irqfd), 0);
	IS(call(m.vm, KVM_IRQFD, &irqfd), -EBUSY);
	irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
	IS(call(m.vm, KVM_IRQFD, &irqfd), 0);
	IS(call(m.vm, KVM_IRQFD, &irqfd), 0);

	test("ioeventfds that are none");
	IS(call(m.vm, KVM_IOEVENTFD, &io), -EINVAL);
	io.len = 4;
	io.addr = ~0ull - 2;
	IS(call(m.vm, KVM_IOEVENTFD, &io), -EINVAL);
	io.addr = HOLE_GPA;
	io.flags = ~0u;
	IS(call(m.vm, KVM_IOEVENTFD, &io), -EINVAL);
	io.flags = 0;
	io.fd = file;
	IS(call(m.vm, KVM_IOEVENTFD, &io), -EINVAL);
	io.fd = -1;
	IS(call(m.vm, KVM_IOEVENTFD, &io), -EBADF);
	io.fd = fd;
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	IS(call(m.vm, KVM_IOEVENTFD, &io), -EEXIST);
	io.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	IS(call(m.vm, KVM_IOEVENTFD, &io), -ENOENT);
	close(fd);
	close(file);
}

static void set(__u64 *where, uint64_t value, struct kvm_sregs *s)
{
	const uint64_t before = *where;

	*where = value;
	IS(call(m.cpu, KVM_SET_SREGS, s), -EINVAL);
	*where = before;
}

static void states(void)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[2];
	} msrs = { .head.nmsrs = 2, .e = { { .index = 0x1a0 }, { .index = 0x12345678 } } };
#define WRONG(name, type, member, value)                                \
	{                                                               \
		KVM_GET_##name, KVM_SET_##name, offsetof(type, member), \
			sizeof(((type *)0)->member), value              \
	}
	static const struct {
		unsigned long get, set;
		size_t at, size;
		uint8_t byte;
	} wrong[] = {
		WRONG(MP_STATE, struct kvm_mp_state, mp_state, 4),
		WRONG(MP_STATE, struct kvm_mp_state, mp_state, 0xff),
		WRONG(VCPU_EVENTS, struct kvm_vcpu_events, flags, 0xff),
		WRONG(VCPU_EVENTS, struct kvm_vcpu_events, exception.pending, 1),
		WRONG(VCPU_EVENTS, struct kvm_vcpu_events, interrupt.shadow, 0xff),
		WRONG(DEBUGREGS, struct kvm_debugregs, flags, 1),
		WRONG(DEBUGREGS, struct kvm_debugregs, dr6, 0xff),
		WRONG(DEBUGREGS, struct kvm_debugregs, dr7, 0xff),
		WRONG(XCRS, struct kvm_xcrs, flags, 1),
		WRONG(XCRS, struct kvm_xcrs, nr_xcrs, 0xff),
		WRONG(XSAVE, struct kvm_xsave, region[128], 0xff), /* XSTATE_BV */
	};
	uint8_t buffer[4096];
	struct kvm_cpuid2 cpuid = { .nent = ~0u };
	struct kvm_sregs s;

	test("states that no CPU has are EINVAL, and change nothing");
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	set(&s.cr0, ~0ull, &s);
	set(&s.cr0, 1ull << 31, &s); /* paging without protection */
	set(&s.cr3, ~0ull, &s);
	set(&s.cr4, ~0ull, &s);
	set(&s.cr4, 1ull << 13, &s); /* VMXE */
	set(&s.cr8, 16, &s);
	set(&s.efer, ~0ull, &s);
	set(&s.efer, 0x400, &s); /* LMA alone */
	set(&s.apic_base, 0x400, &s);
	set(&s.apic_base, 0xfff00c00, &s); /* elsewhere */
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);

	test("MSRs are set up to the first that is none; tables too long are E2BIG");
	IS(call(m.cpu, KVM_SET_MSRS, &msrs), 1);
	msrs.head.nmsrs = ~0u;
	IS(call(m.cpu, KVM_SET_MSRS, &msrs), -E2BIG);
	IS(call(m.cpu, KVM_SET_CPUID2, &cpuid), -E2BIG);
	cpuid.nent = 0;
	IS(call(m.sys, KVM_GET_SUPPORTED_CPUID, &cpuid), -E2BIG);

	test("an APIC that is off, or an x2APIC, has no page");
	for (uint64_t mode = 0; mode <= 0xc00; mode += 0xc00) {
		IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
		s.apic_base = (s.apic_base & ~0xc00ull) | mode;
		IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
		/* mov eax,[30]; out 10,al */
		machine_code(&m, "\x66\xa1\x30\x00\xe6\x10", 6, 0xfee00000);
		HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.phys_addr == 0xfee00030);
		machine_out(&m, 0x10);
	}

	test("other states that there are not are EINVAL");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(buffer, 0, sizeof(buffer));
		IS(call(m.cpu, wrong[i].get, buffer), 0);
		memset(buffer + wrong[i].at, wrong[i].byte, wrong[i].size);
		IS(call(m.cpu, wrong[i].set, buffer), -EINVAL);
	}

	test("a state that the CPU refuses is KVM_EXIT_FAIL_ENTRY");
	machine_code(&m, "\xf4", 1, 0);
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.tr.present = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_FAIL_ENTRY));
	s.tr.present = 1;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
}

static void pages(void)
{
	test("only the run page can be mapped");
	HOLDS(mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED, m.cpu, 0) == MAP_FAILED);
	HOLDS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, m.cpu, 2 * 4096) == MAP_FAILED);
	HOLDS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, m.vm, 0) == MAP_FAILED);
	HOLDS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, m.sys, 0) == MAP_FAILED);

	test("a run page full of nonsense is not believed");
	machine_code(&m, "\xe4\x10\xe6\x11\xf4", 5, 0);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	memset(m.run, 0xff, m.run_size);
	m.run->immediate_exit = 0;
	IS(machine_out(&m, 0x11), 0xff);
	memset(m.run, 0xff, m.run_size);
	IS(machine_run(&m), -EINTR);
	m.run->immediate_exit = 0;
}

static void processes(void)
{
	struct kvm_regs regs;
	int status = 0;

	test("another process cannot use a VM that it inherits");
	if (fork() == 0) {
		const bool ok = call(m.cpu, KVM_GET_REGS, &regs) == -EIO &&
				machine_run(&m) == -EIO &&
				call_number(m.vm, KVM_CREATE_VCPU, 1) == -EIO;
		_exit(ok ? 42 : 1);
	}
	wait(&status);
	HOLDS(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

#define CGROUP "/sys/fs/cgroup/misuse"

static bool write_file(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	const bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

static long charged(void)
{
	char text[32] = "";
	const int fd = open(CGROUP "/memory.current", O_RDONLY | O_CLOEXEC);
	const ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	return n > 0 ? strtol(text, NULL, 10) : 0;
}

/* A VMCS, the run page and its data are three pages, and the rest of a vCPU half a page at least;
 * the kernel charges 64 pages at once on each CPU, hence many vCPUs. */
static void charges(void)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP };
	enum { VMS = 8, VCPUS = 32 };
	int vms[VMS];
	long before;

	mkdir(CGROUP, 0755);
	if (!write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory") ||
	    !write_file(CGROUP "/cgroup.procs", "0")) {
		test("what vCPUs take is charged to a cgroup # SKIP no memory controller here");
		return;
	}
	test("what vCPUs take is charged to the process's cgroup");
	before = charged();
	for (int i = 0; i < VMS; i++) {
		vms[i] = call_number(m.sys, KVM_CREATE_VM, 0);
		IS(call(vms[i], KVM_ENABLE_CAP, &split), 0);
		for (int k = 0; k < VCPUS; k++)
			close(call_number(vms[i], KVM_CREATE_VCPU, k));
	}
	saw(charged() - before > VMS * VCPUS * 11264l, "%d vCPUs are %ld KiB", VMS * VCPUS,
	    (charged() - before) / 1024);
	for (int i = 0; i < VMS; i++)
		close(vms[i]);
}

/* ---- random calls */

static const unsigned long requests[] = {
	KVM_GET_API_VERSION,
	KVM_CHECK_EXTENSION,
	KVM_GET_SUPPORTED_CPUID,
	KVM_SET_USER_MEMORY_REGION,
	KVM_SET_USER_MEMORY_REGION,
	KVM_GET_DIRTY_LOG,
	KVM_ENABLE_CAP,
	KVM_IRQFD,
	KVM_IOEVENTFD,
	KVM_SET_GSI_ROUTING,
	KVM_CREATE_VCPU,
	KVM_GET_REGS,
	KVM_SET_REGS,
	KVM_GET_SREGS,
	KVM_SET_SREGS,
	KVM_SET_MSRS,
	KVM_SET_CPUID2,
	KVM_GET_MP_STATE,
	KVM_SET_MP_STATE,
	KVM_GET_VCPU_EVENTS,
	KVM_SET_VCPU_EVENTS,
	KVM_GET_MSRS,
	KVM_GET_MSR_INDEX_LIST,
	KVM_GET_LAPIC,
	KVM_SET_LAPIC,
	KVM_GET_XSAVE,
	KVM_SET_XSAVE,
	KVM_GET_XCRS,
	KVM_SET_XCRS,
	KVM_GET_DEBUGREGS,
	KVM_SET_DEBUGREGS,
	KVM_GET_TSC_KHZ,
	KVM_RUN,
	KVM_RUN,
	KVM_RUN,
	KVM_RUN,
};

struct fuzzer {
	uint64_t seed;
	unsigned long calls;
	_Atomic bool is_done;
};

static uint64_t random_number(struct fuzzer *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed;
}

/* Words that are often small, often pointers or addresses of ours, and sometimes anything. */
static uint64_t word(struct fuzzer *f)
{
	const uint64_t r = random_number(f);

	switch (r & 7) {
	case 0:
		return r >> 60;
	case 1:
		return (uintptr_t)m.data + (r >> 8 & 0xf000);
	case 2:
		return r >> 8 & 0x3f000;
	case 3:
		return 0;
	case 4:
		return 1ull << (r >> 8 & 63);
	case 5:
		return r >> 8 & 0xffffffff;
	default:
		return r;
	}
}

static void *fuzz_thread(void *arg)
{
	struct fuzzer *f = arg;
	uint64_t buffer[512];

	for (unsigned long i = 0; i < f->calls; i++) {
		const unsigned long request =
			requests[random_number(f) % (sizeof(requests) / sizeof(requests[0]))];
		const int fd = random_number(f) % 8 ? (_IOC_NR(request) >= 0x80 ? m.cpu : m.vm)
						    : (int)(random_number(f) % 12);
		int made;

		for (size_t k = 0; k < 64; k++)
			buffer[k] = word(f);
		/* As it was, but for one word: deep states are near real ones. */
		if (request == KVM_SET_SREGS && random_number(f) % 4) {
			call(m.cpu, KVM_GET_SREGS, buffer);
			buffer[random_number(f) % (sizeof(struct kvm_sregs) / 8)] = word(f);
		}
		if (fd <= 2)
			continue;
		if (request == KVM_RUN && random_number(f) % 4)
			m.run->immediate_exit = 0;
		made = call(fd, request,
			    request == KVM_RUN || !(random_number(f) % 16) ? NULL : buffer);
		if (request == KVM_CREATE_VCPU && made > 0)
			close(made);
	}
	f->is_done = true;
	return NULL;
}

static void on_alarm(int signo)
{
	(void)signo;
}

/*
 * Each thread gets signals of its own: one for the process would go to whichever waits for the
 * other's call, and leave that one waiting in a halted guest.
 */
static int fuzz(unsigned long calls, uint64_t seed)
{
	struct fuzzer f[2] = { { seed | 1, calls, false }, { seed * 3 | 1, calls, false } };
	const struct sigaction action = { .sa_handler = on_alarm };
	pthread_t threads[2];

	test("random calls from two threads come back");
	machine_init(&m);
	sigaction(SIGALRM, &action, NULL);
	for (size_t i = 0; i < DATA_SIZE; i++)
		m.data[i] = (uint8_t)random_number(&f[0]);
	for (size_t i = CODE_GPA; i < 0x4000; i++)
		m.low[i] = (uint8_t)random_number(&f[1]);
	for (size_t i = 0; i < 2; i++)
		HOLDS(pthread_create(&threads[i], NULL, fuzz_thread, &f[i]) == 0);
	while (!f[0].is_done || !f[1].is_done) {
		usleep(3000);
		pthread_kill(threads[0], SIGALRM);
		pthread_kill(threads[1], SIGALRM);
	}
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	machine_fini(&m);
	return tests_end();
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 5) {
		fprintf(stderr, "usage: misuse DEVICE [fuzz N SEED]\n");
		return 2;
	}
	device = argv[1];
	if (argc == 5)
		return fuzz(strtoul(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
	machine_init(&m);
	numbers();
	pointers();
	regions();
	orders();
	interrupts();
	states();
	pages();
	processes();
	charges();
	machine_fini(&m);
	return tests_end();
}
