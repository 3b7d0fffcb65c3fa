// SPDX-License-Identifier: Apache-2.0
/*
 * `calls DEVICE`: what the calls promise, on /dev/mayfly or /dev/kvm: the same snippets of guest
 * code, the same exits. Memory that the process changes under a guest; kicks and interrupts that
 * never come to user space; signals.
 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <asm/ldt.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define NMI 2 /* vectors */
#define UD  6

#define CODE(m, bytes, ds) machine_code((m), (bytes), sizeof(bytes) - 1, (ds))

static struct machine m;
static pthread_t main_thread;

/* Where KVM differs. */
static bool is_kvm(void)
{
	return !strcmp(device, "/dev/kvm");
}

static uint8_t *io_data(void)
{
	return (uint8_t *)m.run + m.run->io.data_offset;
}

static void ports(void)
{
	struct kvm_regs regs;

	test("port writes and reads exit, one at a time and as strings");
	/* mov al,42; out 10,al; in al,11; out 12,al; mov cx,5; mov si,0; rep outsb dx=20; hlt */
	CODE(&m, "\xb0\x42\xe6\x10\xe4\x11\xe6\x12\xb9\x05\x00\xbe\x00\x00\xba\x20\x00\xf3\x6e\xf4",
	     DATA_GPA);
	memcpy(m.data, "abcde", 5);
	IS(machine_out(&m, 0x10), 0x42);
	HOLDS(machine_exits(&m, KVM_EXIT_IO) && m.run->io.direction == KVM_EXIT_IO_IN);
	*io_data() = 0x77;
	IS(machine_out(&m, 0x12), 0x77);
	IS(machine_out(&m, 0x20), 'a');
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	HOLDS(!memcmp(io_data(), "abcde", m.run->io.count));
}

static void answers(void)
{
	struct kvm_regs regs;

	test("immediate_exit finishes what was answered, and leaves the exit's reason");
	/* in al,11; out 10,al */
	CODE(&m, "\xe4\x11\xe6\x10", DATA_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	*io_data() = 0x33;
	m.run->immediate_exit = 1;
	IS(machine_run(&m), -EINTR);
	m.run->immediate_exit = 0;
	IS(m.run->exit_reason, KVM_EXIT_IO);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	IS(regs.rax & 0xff, 0x33);
	IS(regs.rip, CODE_GPA + 2);
	IS(machine_out(&m, 0x10), 0x33);

	test("registers set at an exit are there when it is finished");
	/* nop; in al,11; add al,bl; out 10,al; in al,11 */
	CODE(&m, "\x90\xe4\x11\x00\xd8\xe6\x10\xe4\x11", DATA_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rbx = 5;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	*io_data() = 0x44;
	IS(machine_out(&m, 0x10), 0x49);

	test("an exit is not finished where RIP has been set to another place");
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rip = CODE_GPA + 3;
	regs.rax = 0x10;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	*io_data() = 0x55;
	IS(machine_out(&m, 0x10), 0x15);
}

static void memory_exits(void)
{
	const uint8_t answer = 0x5a;

	test("memory accesses where no slot is exit with place, size and value");
	/* mov ax,1234; mov [10],ax; mov al,[20]; out 10,al */
	CODE(&m, "\xb8\x34\x12\xa3\x10\x00\xa0\x20\x00\xe6\x10", HOLE_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO));
	HOLDS(m.run->mmio.phys_addr == HOLE_GPA + 0x10 && m.run->mmio.len == 2 &&
	      m.run->mmio.is_write && m.run->mmio.data[0] == 0x34 && m.run->mmio.data[1] == 0x12);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO));
	HOLDS(m.run->mmio.phys_addr == HOLE_GPA + 0x20 && m.run->mmio.len == 1 &&
	      !m.run->mmio.is_write);
	m.run->mmio.data[0] = answer;
	IS(machine_out(&m, 0x10), answer);
}

/* What is left of 32-bit addresses beyond 4 GiB is at 0 again. */
static void wrapped_code(void)
{
	struct kvm_userspace_memory_region top = { .slot = 2,
						   .guest_phys_addr = 0xfffff000,
						   .memory_size = 4096,
						   .userspace_addr = (uintptr_t)m.data };
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	test("an instruction that ends beyond 4 GiB is read on from 0");
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &top), 0);
	CODE(&m, "", HOLE_GPA);
	memcpy(m.data + 0xffe, "\xa0\x20", 2); /* mov al,[20]; out 10,al */
	memcpy(m.low, "\x00\xe6\x10", 3);
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0xffff0000;
	sregs.cs.limit = 0xffffffff;
	sregs.cs.g = 1;
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rip = 0xfffe;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.phys_addr == HOLE_GPA + 0x20);
	m.run->mmio.data[0] = 0x21;
	IS(machine_out(&m, 0x10), 0x21);
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.limit = 0xffff;
	sregs.cs.g = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	top.memory_size = top.userspace_addr = 0;
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &top), 0);
	memset(m.low, 0, 4);
}

/* Reads the byte at DATA_GPA for ever: mov al,[0]; out 10,al; jmp back */
static void begin_reading(void)
{
	CODE(&m, "\xa0\x00\x00\xe6\x10\xeb\xf9", DATA_GPA);
}

static void memory_changes(void)
{
	pid_t child;
	int status;

	test("a guest sees what becomes of the process's memory: written, dropped, mapped anew");
	begin_reading();
	m.data[0] = 1;
	IS(machine_out(&m, 0x10), 1);
	IS(madvise(m.data, DATA_SIZE, MADV_DONTNEED), 0);
	IS(machine_out(&m, 0x10), 0);
	m.data[0] = 2;
	IS(machine_out(&m, 0x10), 2);
	HOLDS(mmap(m.data, DATA_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m.data);
	m.data[0] = 3;
	IS(machine_out(&m, 0x10), 3);

	test("a fork's copy-on-write keeps the guest with the parent");
	child = fork();
	if (child == 0) {
		m.data[0] = 99;
		pause();
	}
	m.data[0] = 4;
	IS(machine_out(&m, 0x10), 4);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	m.data[0] = 5;
	IS(machine_out(&m, 0x10), 5);
}

static void memory_shared(void)
{
	const int fd = memfd_create("data", MFD_CLOEXEC);
	uint8_t *file;

	test("a guest that only reads a private file mapping does not copy it");
	IS(ftruncate(fd, DATA_SIZE), 0);
	file = mmap(NULL, DATA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	HOLDS(mmap(m.data, DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) ==
	      m.data);
	begin_reading();
	file[0] = 6;
	IS(machine_out(&m, 0x10), 6);
	file[0] = 7;
	IS(machine_out(&m, 0x10), 7);

	test("a guest that writes gets its own copy, and the file keeps its bytes");
	/* mov byte [0],8; mov al,[0]; out 10,al; hlt */
	CODE(&m, "\xc6\x06\x00\x00\x08\xa0\x00\x00\xe6\x10\xf4", DATA_GPA);
	IS(machine_out(&m, 0x10), 8);
	IS(m.data[0], 8);
	IS(file[0], 7);

	test("memory that the file no longer has is EFAULT, not the host's trouble");
	IS(ftruncate(fd, 0), 0);
	begin_reading();
	IS(machine_run(&m), -EFAULT);
	munmap(file, DATA_SIZE);
	close(fd);
	HOLDS(mmap(m.data, DATA_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m.data);
}

static void slots(void)
{
	struct kvm_userspace_memory_region r = { .slot = 1,
						 .guest_phys_addr = DATA_GPA,
						 .userspace_addr = (uintptr_t)m.data };

	test("a slot that goes leaves a hole, and one that comes fills it");
	begin_reading();
	m.data[0] = 1;
	IS(machine_out(&m, 0x10), 1);
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.phys_addr == DATA_GPA);
	m.run->mmio.data[0] = 9;
	IS(machine_out(&m, 0x10), 9);
	r.memory_size = DATA_SIZE;
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
	IS(machine_out(&m, 0x10), 1);
}

/* Slot 1 anew, with these flags. */
static int slot_with(uint32_t flags)
{
	struct kvm_userspace_memory_region r = { .slot = 1,
						 .guest_phys_addr = DATA_GPA,
						 .userspace_addr = (uintptr_t)m.data };

	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
	r.memory_size = DATA_SIZE;
	r.flags = flags;
	return call(m.vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static void read_only(void)
{
	struct kvm_userspace_memory_region r = { .slot = 1,
						 .guest_phys_addr = DATA_GPA,
						 .memory_size = DATA_SIZE,
						 .userspace_addr = (uintptr_t)m.data };

	test("a read-only slot is read like any other, and a write to it exits");
	IS(slot_with(KVM_MEM_READONLY), 0);
	memcpy(m.data, "ab", 2);
	/* mov al,[0]; out 10,al; mov [1],al; mov al,[1]; out 11,al */
	CODE(&m, "\xa0\x00\x00\xe6\x10\xa2\x01\x00\xa0\x01\x00\xe6\x11", DATA_GPA);
	IS(machine_out(&m, 0x10), 'a');
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO));
	HOLDS(m.run->mmio.phys_addr == DATA_GPA + 1 && m.run->mmio.is_write &&
	      m.run->mmio.data[0] == 'a');
	IS(machine_out(&m, 0x11), 'b');
	IS(m.data[1], 'b');
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), -EINVAL); /* it stays read-only */
	IS(slot_with(0), 0);
}

static uint64_t dirty(uint32_t slot)
{
	uint64_t bits = 0;
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = &bits };

	IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), 0);
	return bits;
}

static int log_slot(uint32_t slot, uint32_t flags)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = slot ? DATA_GPA : 0,
		.memory_size = slot ? DATA_SIZE : LOW_SIZE,
		.userspace_addr = (uintptr_t)(slot ? m.data : m.low),
	};

	return call(m.vm, KVM_SET_USER_MEMORY_REGION, &r);
}

/* KVM calls a page dirty that it maps for the first time, so the guest goes round once before. */
static void dirty_pages(void)
{
	struct kvm_dirty_log none = { .slot = 1, .dirty_bitmap = (void *)8 };

	test("the log has the pages that were written since it was read, and no others");
	IS(slot_with(0), 0);
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &none), -ENOENT);
	/* again: mov [0],al; mov al,[1000]; mov [2000],al; out 10,al; mov [0],al; out 11,al; jmp */
	CODE(&m, "\xa2\x00\x00\xa0\x00\x10\xa2\x00\x20\xe6\x10\xa2\x00\x00\xe6\x11\xeb\xee",
	     DATA_GPA);
	machine_out(&m, 0x10);
	IS(log_slot(1, KVM_MEM_LOG_DIRTY_PAGES), 0);
	machine_out(&m, 0x11);
	machine_out(&m, 0x10);
	IS(dirty(1), 5);
	IS(dirty(1), 0);
	machine_out(&m, 0x11);
	IS(dirty(1), 1);
	IS(log_slot(1, KVM_MEM_LOG_DIRTY_PAGES), 0);
	machine_out(&m, 0x10);
	IS(log_slot(1, KVM_MEM_LOG_DIRTY_PAGES), 0); /* the same once more keeps it */
	IS(dirty(1), 5);
	IS(slot_with(0), 0);
	IS(call(m.vm, KVM_GET_DIRTY_LOG, &none), -ENOENT);

	test("what is written for the guest is in the log, too");
	/* again: mov di,3000; mov dx,20; insb; out 10,al; jmp again */
	CODE(&m, "\xbf\x00\x30\xba\x20\x00\x6c\xe6\x10\xeb\xf5", DATA_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	machine_out(&m, 0x10);
	IS(log_slot(0, KVM_MEM_LOG_DIRTY_PAGES), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_IO));
	machine_out(&m, 0x10);
	IS(dirty(0), 1 << 3);
	IS(log_slot(0, 0), 0);
}

#define GIB (1ul << 30)

/* One page of the host's, which the guest has in one piece, then in small ones, then again so. */
static void huge_page(void)
{
	uint8_t *const p = mmap(NULL, GIB, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 30 << 26, -1, 0);
	struct kvm_userspace_memory_region r = { .slot = 2,
						 .guest_phys_addr = GIB,
						 .memory_size = GIB,
						 .userspace_addr = (uintptr_t)p };
	static uint64_t bits[GIB / 4096 / 64];
	struct kvm_dirty_log log = { .slot = 2, .dirty_bitmap = bits };
	/* again: mov al,[0]; inc ax; mov [0],al; out 10,al; jmp again */
	static const char code[] = "\xa0\x00\x00\x40\xa2\x00\x00\xe6\x10\xeb\xf5";

	if (p == MAP_FAILED) {
		test("a page of 1 GiB # SKIP the host has none to give");
		return;
	}
	test("a page of 1 GiB");
	p[0] = 3;
	p[GIB - 0x1000] = 5;
	for (int logged = 0; logged < 3; logged++) {
		r.flags = logged % 2;
		IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
		CODE(&m, code, GIB);
		IS(machine_out(&m, 0x10), 4 + logged);
		CODE(&m, code, 2 * GIB - 0x1000);
		IS(machine_out(&m, 0x10), 6 + logged);
		IS(p[0], 4 + logged);
		IS(p[GIB - 0x1000], 6 + logged);
		if (r.flags)
			IS(call(m.vm, KVM_GET_DIRTY_LOG, &log), 0);
	}
	HOLDS(bits[0] == 1 && bits[1] == 0 && bits[GIB / 4096 / 64 - 1] == 1ull << 63);
	munmap(p, GIB);
	IS(machine_run(&m), -EFAULT);
	r.memory_size = r.flags = 0;
	IS(call(m.vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
}

static uint64_t count(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void kicks(void)
{
	const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct kvm_ioeventfd io = { .datamatch = 1,
				    .addr = HOLE_GPA + 0x50,
				    .len = 1,
				    .fd = fd,
				    .flags = KVM_IOEVENTFD_FLAG_DATAMATCH };
	struct kvm_ioeventfd port = {
		.addr = 0x30, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO
	};

	test("writes that match an ioeventfd do not exit, others do");
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	IS(call(m.vm, KVM_IOEVENTFD, &port), 0);
	/* mov al,1; mov [50],al; out 30,al; out 30,al; mov al,2; mov [50],al; */
	CODE(&m, "\xb0\x01\xa2\x50\x00\xe6\x30\xe6\x30\xb0\x02\xa2\x50\x00\xf4", HOLE_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.data[0] == 2);
	IS(count(fd), 3);
	io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	port.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	IS(call(m.vm, KVM_IOEVENTFD, &port), 0);
	close(fd);
}

static void kicks_of_any_value(void)
{
	const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct kvm_ioeventfd io = { .addr = HOLE_GPA + 0x50, .fd = fd };
	struct kvm_ioeventfd same = {
		.addr = HOLE_GPA + 0x50, .len = 4, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_DATAMATCH
	};

	test("writes of any length and value kick where none is asked for, and only there");
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	IS(call(m.vm, KVM_IOEVENTFD, &io), -EEXIST);
	IS(call(m.vm, KVM_IOEVENTFD, &same), -EEXIST);
	/* mov al,1; mov [50],al; mov ax,1234; mov [50],ax; mov [50],eax; mov word [50],5;
	 * mov [54],al; mov [50],al; mov bx,50; mov [bx],cl; out 10,al */
	CODE(&m,
	     "\xb0\x01\xa2\x50\x00\xb8\x34\x12\xa3\x50\x00\x66\xa3\x50\x00\xc7\x06\x50\x00\x05\x00"
	     "\xa2\x54\x00\xa2\x50\x00\xbb\x50\x00\x88\x0f\xe6\x10",
	     HOLE_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.phys_addr == HOLE_GPA + 0x54);
	IS(count(fd), 4);
	IS(machine_out(&m, 0x10), 0x34);
	IS(count(fd), 2);

	test("a kick's address that lies in a slot is memory");
	io.addr = DATA_GPA + 0x2050;
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	/* mov byte [2050],6; out 10,al */
	CODE(&m, "\xc6\x06\x50\x20\x06\xe6\x10", DATA_GPA);
	IS(madvise(m.data, DATA_SIZE, MADV_DONTNEED), 0); /* so that the write exits */
	HOLDS(machine_out(&m, 0x10) >= 0);
	IS(m.data[0x2050], 6);
	IS(count(fd), 0);

	test("an ioeventfd that was taken back exits again");
	io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	io.addr = HOLE_GPA + 0x50;
	IS(call(m.vm, KVM_IOEVENTFD, &io), 0);
	CODE(&m, "\xa2\x50\x00\xf4", HOLE_GPA);
	HOLDS(machine_exits(&m, KVM_EXIT_MMIO) && m.run->mmio.phys_addr == HOLE_GPA + 0x50);
	IS(count(fd), 0);
	close(fd);
}

/* Vector 0x40: mov al,7; out 20,al; x2APIC EOI by WRMSR; iret. */
static const char handler[] = "\xb0\x07\xe6\x20"
			      "\x66\xb9\x0b\x08\x00\x00\x66\x31\xc0\x66\x31\xd2\x0f\x30"
			      "\xcf";
/* Software-enable the APIC; sti; hlt for ever. */
static const char waiter[] = "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
			     "\xfb\xf4\xeb\xfd";

static void vector(uint8_t *low, unsigned nr, unsigned offset)
{
	low[4 * nr] = (uint8_t)offset;
	low[4 * nr + 1] = (uint8_t)(offset >> 8);
}

/* GSI 4 is an MSI of these data, whose handler is in its place. */
static void route(uint32_t data)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} routes = { .head.nr = 1,
		     .entry = { .gsi = 4,
				.type = KVM_IRQ_ROUTING_MSI,
				.u.msi = { .address_lo = 0xfee00000, .data = data } } };

	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, 0x40, 0x1800);
	IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), 0);
}

static void interrupts(void)
{
	const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = 4 };
	const uint64_t one = 1;

	test("an eventfd interrupts the guest, also one that was written before it was known");
	IS(write(fd, &one, sizeof(one)), sizeof(one));
	route(0x40);
	IS(call(m.vm, KVM_IRQFD, &irqfd), 0);
	CODE(&m, waiter, DATA_GPA);
	/* An APIC that software has not enabled yet takes nothing: so this one may be lost. */
	IS(write(fd, &one, sizeof(one)), sizeof(one));
	CODE(&m, waiter, DATA_GPA);
	if (fork() == 0) {
		for (int i = 0; i < 100; i++) {
			usleep(1000);
			if (write(fd, &one, sizeof(one)) != sizeof(one))
				_exit(1);
		}
		_exit(0);
	}
	IS(machine_out(&m, 0x20), 7);
	IS(machine_out(&m, 0x20), 7);
	wait(NULL);
	irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
	IS(call(m.vm, KVM_IRQFD, &irqfd), 0);
	close(fd);
}

static void far_deadline(void)
{
	test("a deadline that is more than half of all ticks away has not passed");
	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, 0x40, 0x1800);
	/* APIC on; LVTT: vector 40, by deadline; deadline c000000000000000; sti; nop; nop; out
	 * 10,al */
	CODE(&m,
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\x66\xb9\x32\x08\x00\x00\x66\xb8\x40\x00\x04\x00\x0f\x30"
	     "\x66\xb9\xe0\x06\x00\x00\x66\x31\xc0\x66\xba\x00\x00\x00\xc0\x0f\x30"
	     "\xfb\x90\x90\xe6\x10",
	     DATA_GPA);
	machine_out(&m, 0x10);
}

static void level(void)
{
	const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = 4 };
	const uint64_t one = 1;

	test("the end of a level exits, for an I/O APIC in user space, and that of an edge does not");
	route(0xc040);
	IS(call(m.vm, KVM_IRQFD, &irqfd), 0);
	/* APIC on; out 10,al; sti; hlt; out 11,al; nop; out 12,al */
	CODE(&m,
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\xe6\x10\xfb\xf4\xe6\x11\x90\xe6\x12",
	     DATA_GPA);
	machine_out(&m, 0x10);
	IS(write(fd, &one, sizeof(one)), sizeof(one));
	IS(machine_out(&m, 0x20), 7);
	HOLDS(machine_exits(&m, KVM_EXIT_IOAPIC_EOI) && m.run->eoi.vector == 0x40);
	machine_out(&m, 0x11);
	route(0x40);
	IS(write(fd, &one, sizeof(one)), sizeof(one));
	IS(machine_out(&m, 0x20), 7);
	machine_out(&m, 0x12);
	close(fd);
}

/* How many of vectors 0x40 to 0x47 wait in a vCPU's IRR. */
static int waiting(int cpu)
{
	struct kvm_lapic_state page;

	IS(call(cpu, KVM_GET_LAPIC, &page), 0);
	return __builtin_popcount((uint8_t)page.regs[0x220]);
}

static void lowest_priority(void)
{
	const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	const int cpus[] = { m.cpu, call_number(m.vm, KVM_CREATE_VCPU, 1) };
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = 4 };
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} routes = { .head.nr = 1, .entry = { .gsi = 4, .type = KVM_IRQ_ROUTING_MSI } };
	const uint64_t one = 1;
	struct kvm_sregs sregs;

	test("interrupts at lowest priority go to two vCPUs by turns");
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.apic_base &= ~0x400ull; /* both are xAPICs */
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	for (int i = 0; i < 2; i++) {
		struct kvm_lapic_state page;

		IS(call(cpus[i], KVM_GET_LAPIC, &page), 0);
		page.regs[0xd3] = (char)(1 << i); /* the logical name */
		page.regs[0xf1] = 1;		  /* enabled */
		IS(call(cpus[i], KVM_SET_LAPIC, &page), 0);
	}
	IS(call(m.vm, KVM_IRQFD, &irqfd), 0);
	routes.entry.u.msi.address_lo = 0xfee03004; /* to both names */
	for (uint32_t i = 0; i < 8; i++) {
		routes.entry.u.msi.data = 0x140 + i;
		IS(call(m.vm, KVM_SET_GSI_ROUTING, &routes), 0);
		IS(write(fd, &one, sizeof(one)), sizeof(one));
	}
	IS(waiting(cpus[0]), 4);
	IS(waiting(cpus[1]), 4);
	close(cpus[1]);
	close(fd);
}

/* Writes 32 bits to MSR 8xx, EDX being 0. */
#define X2APIC(xx, value) "\x66\xb9" xx "\x08\x00\x00\x66\xb8" value "\x0f\x30"
#define APIC_ON		  X2APIC("\x0f", "\xff\x01\x00\x00")

static uint32_t apic_register(unsigned offset)
{
	struct kvm_lapic_state page;
	uint32_t value;

	IS(call(m.cpu, KVM_GET_LAPIC, &page), 0);
	memcpy(&value, page.regs + offset, sizeof(value));
	return value;
}

/* On KVM it ends once more. */
static void ended_count(void)
{
	if (is_kvm())
		return;
	test("a count that has ended does not begin again with another divisor or mode");
	/* LVTT: vector 40; count 1000; out 10,al; vector 41; divisor 16; out 11,al; periodic; out
	 * 12,al; out 13,al */
	CODE(&m,
	     APIC_ON X2APIC("\x32", "\x40\x00\x00\x00") X2APIC(
		     "\x38", "\xe8\x03\x00\x00") "\xe6\x10" X2APIC("\x32", "\x41\x00\x00\x00")
		     X2APIC("\x3e", "\x03\x00\x00\x00") "\xe6\x11" X2APIC(
			     "\x32", "\x41\x00\x02\x00") "\xe6\x12\xe6\x13",
	     DATA_GPA);
	for (uint16_t port = 0x10; port <= 0x13; port++) {
		machine_out(&m, port);
		usleep(20000);
	}
	IS(waiting(m.cpu), 1);
}

static void running_count(void)
{
	uint32_t count;

	test("a count that runs goes on from where it is with another divisor");
	/* LVTT: masked; divisor 2; count ffffffff; out 10,al; divisor 1; out 11,al; by deadline;
	 * out 12,al */
	CODE(&m,
	     X2APIC("\x32", "\x40\x00\x01\x00") X2APIC("\x3e", "\x00\x00\x00\x00")
		     X2APIC("\x38", "\xff\xff\xff\xff") "\xe6\x10" X2APIC(
			     "\x3e",
			     "\x0b\x00\x00\x00") "\xe6\x11" X2APIC("\x32",
								   "\x40\x00\x05\x00") "\xe6\x12",
	     DATA_GPA);
	machine_out(&m, 0x10);
	usleep(50000);
	count = apic_register(0x390);
	HOLDS(count > 0 && count < 0xffffffff - 20000000);
	machine_out(&m, 0x11);
	HOLDS(apic_register(0x390) > 0 && apic_register(0x390) < count);
	if (is_kvm()) /* whose CPUID has no such mode */
		return;
	test("a count ends where the timer goes by deadlines");
	machine_out(&m, 0x12);
	IS(apic_register(0x380), 0);
	IS(apic_register(0x390), 0);
}

/* KVM finds no errors. */
static void errors(void)
{
	if (is_kvm())
		return;
	test("a write to ESR brings what was found since the last one");
	/* vector 5 to itself; ESR to 10, before and after a write, and after another one */
	CODE(&m,
	     APIC_ON X2APIC("\x30", "\x05\x40\x04\x00") "\x66\xb9\x28\x08\x00\x00\x0f\x32\xe6\x10" X2APIC(
		     "\x28",
		     "\x00\x00\x00\x00") "\x0f\x32\xe6\x10" X2APIC("\x28",
								   "\x00\x00\x00\x00") "\x0f\x32\xe6\x10",
	     DATA_GPA);
	IS(machine_out(&m, 0x10), 0);
	IS(machine_out(&m, 0x10), 0x20);
	IS(machine_out(&m, 0x10), 0);
}

/* All of a vCPU's state to another one; KVM lists MSRs that not every CPU has. */
static void copy_state(struct machine *to, const struct machine *from)
{
	static const struct {
		unsigned long get, set;
	} calls[] = { { KVM_GET_SREGS, KVM_SET_SREGS }, { KVM_GET_REGS, KVM_SET_REGS },
		      { KVM_GET_XSAVE, KVM_SET_XSAVE }, { KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS },
		      { KVM_GET_LAPIC, KVM_SET_LAPIC }, { KVM_GET_MP_STATE, KVM_SET_MP_STATE } };
	static uint64_t state[512];
	struct {
		struct kvm_msr_list head;
		uint32_t index[1024];
	} list = { .head.nmsrs = 0 };
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events events;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		memset(state, 0, sizeof(state));
		IS(call(from->cpu, calls[i].get, state), 0);
		IS(call(to->cpu, calls[i].set, state), 0);
	}
	IS(call(from->cpu, KVM_GET_XCRS, &xcrs), 0);
	if (xcrs.nr_xcrs)
		IS(call(to->cpu, KVM_SET_XCRS, &xcrs), 0);
	IS(call(from->cpu, KVM_GET_VCPU_EVENTS, &events), 0);
	events.flags &= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	IS(call(to->cpu, KVM_SET_VCPU_EVENTS, &events), 0);
	IS(call(from->sys, KVM_GET_MSR_INDEX_LIST, &list), -E2BIG);
	IS(call(from->sys, KVM_GET_MSR_INDEX_LIST, &list), 0);
	for (uint32_t i = 0; i < list.head.nmsrs; i++) {
		struct {
			struct kvm_msrs head;
			struct kvm_msr_entry entry;
		} msr = { .head.nmsrs = 1, .entry.index = list.head.indices[i] };

		if (call(from->cpu, KVM_GET_MSRS, &msr) == 1)
			call(to->cpu, KVM_SET_MSRS, &msr);
	}
}

static void snapshot(void)
{
	struct machine n;

	test("a vCPU with the state of another one goes on where that one was");
	machine_init(&n);
	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, 0x40, 0x1800);
	/* fninit; fldpi; APIC on; IPI to itself, waiting; KERNEL_GS_BASE 34; SYSENTER_CS 56;
	 * DR0 78; out 10,al; then each of them to a port, and interrupts on */
	CODE(&m,
	     "\xdb\xe3\xd9\xeb"
	     "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
	     "\x66\xb9\x3f\x08\x00\x00\x66\xb8\x40\x00\x00\x00\x0f\x30"
	     "\x66\xb9\x02\x01\x00\xc0\x66\xb8\x34\x00\x00\x00\x0f\x30"
	     "\x66\xb9\x74\x01\x00\x00\x66\xb8\x56\x00\x00\x00\x0f\x30"
	     "\x66\xb8\x78\x00\x00\x00\x0f\x23\xc0\xe6\x10"
	     "\x66\xb9\x02\x01\x00\xc0\x0f\x32\xe6\x11"
	     "\x66\xb9\x74\x01\x00\x00\x0f\x32\xe6\x12"
	     "\x0f\x21\xc0\xe6\x13"
	     "\xdf\x1e\x00\x00\xa0\x00\x00\xe6\x14"
	     "\xfb\xf4",
	     DATA_GPA);
	machine_out(&m, 0x10);
	m.run->immediate_exit = 1; /* the write is done, and no more */
	IS(machine_run(&m), -EINTR);
	m.run->immediate_exit = 0;
	memcpy(n.low, m.low, LOW_SIZE);
	copy_state(&n, &m);
	IS(machine_out(&n, 0x11), 0x34);
	IS(machine_out(&n, 0x12), 0x56);
	IS(machine_out(&n, 0x13), 0x78);
	IS(machine_out(&n, 0x14), 3);
	IS(machine_out(&n, 0x20), 7);
	machine_fini(&n);
}

/* MSR `index` of a vCPU, got or set. */
static uint64_t msr_value(int cpu, unsigned long request, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };

	IS(call(cpu, request, &msr), 1);
	return msr.entry.data;
}

#define TSC	    0x10
#define SYSTEM_TIME 0x4b564d01

static void restored_tscs(void)
{
	const int other = call_number(m.vm, KVM_CREATE_VCPU, 1);
	const uint64_t value = 1000000000000;
	uint64_t before, between, after;

	test("TSCs that are restored one after another agree");
	msr_value(m.cpu, KVM_SET_MSRS, TSC, value);
	usleep(20000);
	msr_value(other, KVM_SET_MSRS, TSC, value);
	before = msr_value(m.cpu, KVM_GET_MSRS, TSC, 0);
	between = msr_value(other, KVM_GET_MSRS, TSC, 0);
	after = msr_value(m.cpu, KVM_GET_MSRS, TSC, 0);
	HOLDS(before >= value && before <= between && between <= after);
	close(other);
}

/* What a guest makes of the page of KVM's clock at DATA_GPA. */
static uint64_t clock_ns(void)
{
	uint64_t stamp, ns;
	uint32_t multiplier;
	int8_t shift;
	__extension__ unsigned __int128 ticks;

	memcpy(&stamp, m.data + 8, sizeof(stamp));
	memcpy(&ns, m.data + 16, sizeof(ns));
	memcpy(&multiplier, m.data + 24, sizeof(multiplier));
	memcpy(&shift, m.data + 28, sizeof(shift));
	ticks = msr_value(m.cpu, KVM_GET_MSRS, TSC, 0) - stamp;
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return ns + (uint64_t)(ticks * multiplier >> 32);
}

/* KVM's own stays behind until it writes the page again. */
static void clock_goes_on(void)
{
	uint64_t before, after;

	if (is_kvm())
		return;
	test("a guest that sets its TSC has the clock that it had");
	/* TSC := 1<<44; out 10,al */
	CODE(&m, "\x66\xb9\x10\x00\x00\x00\x66\x31\xc0\x66\xba\x00\x10\x00\x00\x0f\x30\xe6\x10",
	     DATA_GPA);
	msr_value(m.cpu, KVM_SET_MSRS, SYSTEM_TIME, DATA_GPA | 1);
	before = clock_ns();
	machine_out(&m, 0x10);
	HOLDS(msr_value(m.cpu, KVM_GET_MSRS, TSC, 0) >> 44 == 1);
	after = clock_ns();
	HOLDS(after >= before && after - before < 10000000000);
	msr_value(m.cpu, KVM_SET_MSRS, SYSTEM_TIME, 0);
}

static bool is_not_affected(const char *bug)
{
	char path[96], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s", bug);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return !strcmp(text, "Not affected\n");
}

static void bugs(void)
{
	static const struct {
		const char *name;
		unsigned absent; /* the bit that says so */
	} known[] = { { "meltdown", 0 },
		      { "spec_store_bypass", 4 },
		      { "mds", 5 },
		      { "gather_data_sampling", 26 },
		      { "reg_file_data_sampling", 27 },
		      { "indirect_target_selection", 62 } };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry.index = 0x10a };

	test("a guest need not guard itself against what the host's CPU has not");
	IS(call(m.cpu, KVM_GET_MSRS, &msr), 1);
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (is_not_affected(known[i].name))
			saw(msr.entry.data >> known[i].absent & 1,
			    "%s: IA32_ARCH_CAPABILITIES is %llx", known[i].name,
			    (unsigned long long)msr.entry.data);
}

static void events(void)
{
	struct kvm_vcpu_events e;
	struct kvm_regs regs;
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_HALTED };
	const struct itimerval soon = { .it_value.tv_usec = 2000 };

	memcpy(m.low + 0x1800, handler, sizeof(handler));
	vector(m.low, NMI, 0x1800);
	vector(m.low, UD, 0x1800);
	vector(m.low, 0x40, 0x1800);

	test("an exception, an NMI and an interrupt that user space sets come to the guest");
	IS(call(m.cpu, KVM_GET_VCPU_EVENTS, &e), 0);
	e.flags &= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	/* mov al,1; out 21,al; sti; nop; out 22,al; out 23,al */
	CODE(&m, "\xb0\x01\xe6\x21\xfb\x90\xe6\x22\xe6\x23", DATA_GPA);
	e.exception.injected = 1;
	e.exception.nr = UD;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	IS(machine_out(&m, 0x20), 7);
	IS(machine_out(&m, 0x21), 1);
	e.exception.injected = 0;
	e.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
	e.nmi.pending = 1;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	IS(machine_out(&m, 0x20), 7);
	IS(machine_out(&m, 0x22), 0); /* the handler leaves AL so */
	e.nmi.pending = 0;
	e.interrupt.injected = 1;
	e.interrupt.nr = 0x40;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	IS(machine_out(&m, 0x20), 7);
	IS(machine_out(&m, 0x23), 0);

	test("what halts in its NMI handler does not wake for the next NMI");
	CODE(&m, "\xf4\x40\xeb\xfc", DATA_GPA); /* again: hlt; inc ax; jmp again */
	e.interrupt.injected = 0;
	e.nmi.pending = e.nmi.masked = 1;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);
	setitimer(ITIMER_REAL, &soon, NULL);
	IS(machine_run(&m), -EINTR);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	HOLDS(regs.rax <= 1); /* newer KVMs look once */
	e.nmi.pending = e.nmi.masked = 0;
	IS(call(m.cpu, KVM_SET_VCPU_EVENTS, &e), 0);

	test("the halted state is set, and taken back");
	CODE(&m, "\xe6\x10", DATA_GPA);
	IS(call(m.cpu, KVM_SET_MP_STATE, &state), 0);
	setitimer(ITIMER_REAL, &soon, NULL);
	IS(machine_run(&m), -EINTR);
	state.mp_state = KVM_MP_STATE_RUNNABLE;
	IS(call(m.cpu, KVM_SET_MP_STATE, &state), 0);
	machine_out(&m, 0x10);
}

/* Vector 0x41: mov al,8; out 20,al; mov dword [b0],0; iret. DS is the APIC's page. */
static const char page_handler[] = "\xb0\x08\xe6\x20\x66\xc7\x06\xb0\x00\x00\x00\x00\x00\xcf";

static void xapic(void)
{
	struct kvm_lapic_state page;
	struct kvm_sregs sregs;

	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.apic_base &= ~0x400ull;
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	memcpy(m.low + 0x1a00, page_handler, sizeof(page_handler));
	vector(m.low, 0x41, 0x1a00);

	test("an xAPIC has its page, and takes an interrupt to its logical name");
	/* mov eax,[30]; out 10,al; mov dword [80],20; mov dword [f0],1ff; mov dword [d0],2000000;
	 * mov dword [310],2000000; mov dword [300],4841; sti; nop; nop; mov eax,[80]; out 11,al */
	CODE(&m,
	     "\x66\xa1\x30\x00\xe6\x10"
	     "\x66\xc7\x06\x80\x00\x20\x00\x00\x00"
	     "\x66\xc7\x06\xf0\x00\xff\x01\x00\x00"
	     "\x66\xc7\x06\xd0\x00\x00\x00\x00\x02"
	     "\x66\xc7\x06\x10\x03\x00\x00\x00\x02"
	     "\x66\xc7\x06\x00\x03\x41\x48\x00\x00"
	     "\xfb\x90\x90\x66\xa1\x80\x00\xe6\x11",
	     0xfee00000);
	IS(machine_out(&m, 0x10), 0x14);
	IS(machine_out(&m, 0x20), 8);
	IS(machine_out(&m, 0x11), 0x20);

	test("what the page holds is what KVM_GET_LAPIC shows, and KVM_SET_LAPIC sets");
	IS(call(m.cpu, KVM_GET_LAPIC, &page), 0);
	IS(page.regs[0x80], 0x20);
	IS(page.regs[0xd3], 2);
	IS(page.regs[0x313], 2);
	IS(page.regs[0xf1], 1);
	page.regs[0x80] = 0x30;
	IS(call(m.cpu, KVM_SET_LAPIC, &page), 0);
	CODE(&m, "\x66\xa1\x80\x00\xe6\x11", 0xfee00000);
	IS(machine_out(&m, 0x11), 0x30);
}

/* Vector 1: DR6 to port 31, breakpoints off, DR6 clear; iret. */
static const char on_debug[] = "\x0f\x21\xf0\xe6\x31\x66\x31\xc0\x0f\x23\xf8\x0f\x23\xf0\xcf";

/* mov eax,ADDRESS; mov dr0,eax; mov eax,DR7; mov dr7,eax; mov [10],al; out 30,al */
static void watch(uint32_t address, uint32_t dr7)
{
	char code[] = "\x66\xb8....\x0f\x23\xc0\x66\xb8....\x0f\x23\xf8\xa2\x10\x00\xe6\x30";

	memcpy(code + 2, &address, 4);
	memcpy(code + 11, &dr7, 4);
	CODE(&m, code, DATA_GPA);
}

static void debug(void)
{
	memcpy(m.low + 0x1900, on_debug, sizeof(on_debug));
	m.low[4] = 0x00;
	m.low[5] = 0x19;

	test("a breakpoint on an instruction is #DB before it");
	watch(CODE_GPA + 18, 2);
	m.data[0x10] = 0;
	IS(machine_out(&m, 0x31) & 0xf, 1);
	IS(m.data[0x10], 0);
	IS(machine_out(&m, 0x30), 0);

	test("a breakpoint on a write is #DB after it");
	watch(DATA_GPA + 0x10, 2 | 1 << 16);
	m.data[0x10] = 0;
	IS(machine_out(&m, 0x31) & 0xf, 1);
	IS(m.data[0x10], 2);
	IS(machine_out(&m, 0x30), 0);

	/* In that shadow a single step is due, and the CPU wants to be told so when it enters. */
	test("INT1 after MOV SS, in single steps, is #DB too, and the guest goes on");
	/* mov bp,sp; and byte [bp+5],fe, TF of the flags on the stack; out 31,al; iret */
	memcpy(m.low + 0x1a00, "\x89\xe5\x80\x66\x05\xfe\xe6\x31\xcf", 9);
	vector(m.low, 1, 0x1a00);
	/* pushf; pop ax; or ah,1; push ax; popf; mov ss,bx; int1; mov al,66; out 30,al */
	CODE(&m, "\x9c\x58\x80\xcc\x01\x50\x9d\x8e\xd3\xf1\xb0\x66\xe6\x30", DATA_GPA);
	HOLDS(machine_out(&m, 0x31) >= 0);
	for (int i = 0; i < 3 && machine_exits(&m, KVM_EXIT_IO) && m.run->io.port == 0x31; i++)
		;
	HOLDS(m.run->io.port == 0x30 && *io_data() == 0x66);
	vector(m.low, 1, 0x1900);

	test("INT1 is #DB after it");
	CODE(&m, "\xf1\xb0\x66\xe6\x30", DATA_GPA);
	IS(machine_out(&m, 0x31) & 0xf, 0);
	IS(machine_out(&m, 0x30), 0x66);
}

static volatile int watched;

/* Runs to the write of `watched`, which is one of the debugger's breakpoints and no single step. */
static void breaks(pid_t child)
{
	int status;

	ptrace(PTRACE_CONT, child, 0, 0);
	waitpid(child, &status, 0);
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	IS(ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[6]), 0) & 0x400f, 1);
}

/* A child whose guest has breakpoints of its own, and DR6.BS. */
static void host_breakpoint(void)
{
	struct kvm_debugregs d = { .db = { 1 }, .dr6 = 0xffff4ff0, .dr7 = 0x402 };
	cpu_set_t cpu = {};
	int status;
	pid_t child;

	test("a debugger's breakpoint in a vCPU's thread is its own, set before the guest or after");
	child = fork();
	if (child == 0) {
		CPU_SET(0, &cpu);
		sched_setaffinity(0, sizeof(cpu), &cpu);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		machine_init(&m);
		CODE(&m, "\xe6\x10\xe6\x10", DATA_GPA);
		call(m.cpu, KVM_SET_DEBUGREGS, &d);
		machine_run(&m);
		raise(SIGSTOP);
		watched = 1;
		machine_run(&m);
		watched = 2;
		_exit(0);
	}
	waitpid(child, &status, 0);
	HOLDS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	IS(ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), &watched), 0);
	/* a write of four bytes */
	IS(ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), 0xd0001), 0);
	breaks(child);
	breaks(child);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

static volatile int last_signal;

static void on_alarm(int signo)
{
	last_signal = signo;
}

static void halt_in_steps(void)
{
	const struct itimerval later = { .it_value.tv_sec = 2 }, never = { .it_value.tv_sec = 0 };
	const struct sigaction action = { .sa_handler = on_alarm };

	test("a single step ends HLT");
	/* mov bp,sp; and byte [bp+5],fe, TF of the flags on the stack; out 31,al; iret */
	memcpy(m.low + 0x1a00, "\x89\xe5\x80\x66\x05\xfe\xe6\x31\xcf", 9);
	vector(m.low, 1, 0x1a00);
	/* pushf; pop ax; or ah,1; push ax; popf; hlt; out 30,al */
	CODE(&m, "\x9c\x58\x80\xcc\x01\x50\x9d\xf4\xe6\x30", DATA_GPA);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &later, NULL);
	HOLDS(machine_out(&m, 0x31) >= 0);
	HOLDS(machine_out(&m, 0x30) >= 0);
	setitimer(ITIMER_REAL, &never, NULL);
}

static bool is_segment(uint16_t selector)
{
	bool is;

	__asm__("lar %w1, %k1" : "=@ccz"(is), "+r"(selector));
	return is;
}

/* An exit leaves all these empty. */
static void segments(void)
{
	struct user_desc data = { .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1 };
	uint16_t ds, es, gs;

	test("a thread has its segments and its LDT again when the guest has run");
	IS(syscall(SYS_modify_ldt, 1, &data, sizeof(data)), 0);
	HOLDS(is_segment(7));
	CODE(&m, "\xe6\x10", DATA_GPA);
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%gs" : : "r"(0x2b), "r"(7));
	machine_out(&m, 0x10);
	__asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%gs, %2" : "=r"(ds), "=r"(es), "=r"(gs));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%gs" : : "r"(0));
	IS(ds, 0x2b);
	IS(es, 0x2b);
	IS(gs, 7);
	HOLDS(is_segment(7));
}

static void signals(void)
{
	const struct itimerval soon = { .it_value.tv_usec = 2000 };
	const struct itimerval late = { .it_value.tv_sec = 20 }, never = {};
	struct sigaction action = { .sa_handler = on_alarm };
	struct kvm_mp_state state;

	sigaction(SIGALRM, &action, NULL);
	test("a signal ends the turn of a guest that spins with interrupts off");
	CODE(&m, "\xfa\xeb\xfe", DATA_GPA);
	setitimer(ITIMER_REAL, &soon, NULL);
	IS(machine_run(&m), -EINTR);
	IS(m.run->exit_reason, KVM_EXIT_INTR);

	/* With interrupts on, for the emulator under KVM. */
	test("a guest's CPU time is its thread's: a timer of it ends the turn of one that spins");
	sigaction(SIGPROF, &action, NULL);
	CODE(&m, "\xfb\xeb\xfe", DATA_GPA);
	last_signal = 0;
	setitimer(ITIMER_REAL, &late, NULL);
	setitimer(ITIMER_PROF, &soon, NULL);
	while (!last_signal) /* EINTR may have been for something else */
		IS(machine_run(&m), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	IS(last_signal, SIGPROF);
	IS(m.run->exit_reason, KVM_EXIT_INTR);

	test("a signal ends the wait of a guest that has halted with interrupts off");
	CODE(&m, "\xfa\xf4", DATA_GPA);
	setitimer(ITIMER_REAL, &soon, NULL);
	IS(machine_run(&m), -EINTR);
	IS(call(m.cpu, KVM_GET_MP_STATE, &state), 0);
	IS(state.mp_state, KVM_MP_STATE_HALTED);
	setitimer(ITIMER_REAL, &soon, NULL);
	IS(machine_run(&m), -EINTR);
}

/* 64-bit code, the first 2 MiB one to one, and no gate for any exception. */
static void long_mode(void)
{
	struct kvm_sregs s;

	memcpy(m.low + 0x2000, &(uint64_t){ 0x3007 }, 8);
	memcpy(m.low + 0x3000, &(uint64_t){ 0x4007 }, 8);
	memcpy(m.low + 0x4000, &(uint64_t){ 0x87 }, 8);
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cr0 = 0x80000021;
	s.cr3 = 0x2000;
	s.cr4 = 0x20;
	s.efer = 0x500;
	s.cs.l = 1;
	s.cs.type = 11;
	s.idt.limit = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
}

/* Registers have upper halves there, which 32-bit instructions do not use. */
static void compatibility_mode(void)
{
	struct kvm_sregs s;
	struct kvm_regs regs;

	test("32-bit code in long mode sets CR4 and DR7 from the lower halves");
	long_mode();
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cs.l = 0;
	s.cs.db = 1;
	IS(call(m.cpu, KVM_SET_SREGS, &s), 0);
	/* mov cr4,ebx; mov dr7,ecx; out 10,al */
	CODE(&m, "\x0f\x22\xe3\x0f\x23\xf9\xe6\x10", 0);
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rbx = 0xffffffff00000060;
	regs.rcx = 0xffffffff00000400;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	machine_out(&m, 0x10);
}

static void smap(void)
{
	struct kvm_sregs s;
	struct kvm_regs regs;
	int err;

	test("SMAP keeps a kernel's INS from a user's page, also from a read-only one without CR0.WP");
	long_mode();
	memcpy(m.low + 0x4008, &(uint64_t){ 0x85 }, 8); /* from 2 MiB on: for users, to read */
	IS(call(m.cpu, KVM_GET_SREGS, &s), 0);
	s.cr4 |= 1 << 21;
	if (call(m.cpu, KVM_SET_SREGS, &s))
		return;		     /* the CPU has none */
	CODE(&m, "\x6c\xe6\x10", 0); /* insb; out 10,al */
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	regs.rdi = 0x205000;
	regs.rdx = 0x11;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	/* KVM asks the device first. */
	do
		err = machine_run(&m);
	while (!err && m.run->exit_reason == KVM_EXIT_IO && m.run->io.port == 0x11);
	IS(err, 0);
	IS(m.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

/* The halted state stays with the vCPU, so these get a new machine. */
static void states(void)
{
	struct kvm_regs regs, again;
	struct kvm_sregs sregs;

	test("immediate_exit comes back before the guest runs");
	CODE(&m, "\xe6\x10", DATA_GPA);
	m.run->immediate_exit = 1;
	IS(machine_run(&m), -EINTR);
	m.run->immediate_exit = 0;
	IS(machine_out(&m, 0x10), 0);

	test("registers are read back as they were set");
	memset(&regs, 0, sizeof(regs));
	for (size_t i = 0; i < sizeof(regs) / 8; i++)
		((uint64_t *)&regs)[i] = 0x1111111111111111u * (i + 1);
	regs.rflags = 0x246;
	IS(call(m.cpu, KVM_SET_REGS, &regs), 0);
	IS(call(m.cpu, KVM_GET_REGS, &again), 0);
	HOLDS(!memcmp(&regs, &again, sizeof(regs)));

	test("64-bit code cannot switch paging off: #GP, which without a gate for it is a shutdown");
	long_mode();
	/* mov rax,cr0; and eax,7fffffff; or eax,40000000; mov cr0,rax; out 10,al */
	CODE(&m, "\x0f\x20\xc0\x25\xff\xff\xff\x7f\x0d\x00\x00\x00\x40\x0f\x22\xc0\xe6\x10", 0);
	HOLDS(machine_exits(&m, KVM_EXIT_SHUTDOWN));
	machine_fini(&m);
	machine_init(&m);

	compatibility_mode();
	machine_fini(&m);
	machine_init(&m);
	smap();
	machine_fini(&m);
	machine_init(&m);

	test("a triple fault is KVM_EXIT_SHUTDOWN");
	CODE(&m, "\x0f\x0b", DATA_GPA);
	IS(call(m.cpu, KVM_GET_SREGS, &sregs), 0);
	sregs.idt.limit = 0;
	IS(call(m.cpu, KVM_SET_SREGS, &sregs), 0);
	HOLDS(machine_exits(&m, KVM_EXIT_SHUTDOWN));
}

/* Takes the guest's memory away and gives it back, in every way that keeps what is in it. */
static void *disturb(void *arg)
{
	volatile bool *done = arg;

	for (int i = 0; i < 150; i++) {
		pid_t child;

		mprotect(m.data, DATA_SIZE, PROT_READ);
		mprotect(m.data, DATA_SIZE, PROT_READ | PROT_WRITE);
		mprotect(m.data, DATA_SIZE, PROT_NONE);
		mprotect(m.data, DATA_SIZE, PROT_READ | PROT_WRITE);
		child = fork();
		if (child == 0)
			_exit(m.data[0] == 0xff); /* reads its own copy */
		waitpid(child, NULL, 0);
	}
	*done = true;
	m.run->immediate_exit = 1;
	pthread_kill(main_thread, SIGALRM);
	return NULL;
}

static void memory_under_load(void)
{
	volatile bool done = false;
	const struct sigaction action = { .sa_handler = on_alarm };
	struct kvm_regs regs;
	pthread_t thread;
	int err = 0;

	test("a guest finds what it has written while its memory is protected and forked under it");
	/* sti (the emulator needs it under KVM); again: inc ax; mov [0],ax; mov [1000],ax; cmp
	 * [0],ax; jne bad; cmp [1000],ax; jne bad; jmp again; bad: out 66,al */
	CODE(&m,
	     "\xfb\x40\xa3\x00\x00\xa3\x00\x10\x39\x06\x00\x00\x75\x08\x39\x06\x00\x10\x75\x02\xeb\xeb"
	     "\xe6\x66",
	     DATA_GPA);
	sigaction(SIGALRM, &action, NULL);
	main_thread = pthread_self();
	IS(pthread_create(&thread, NULL, disturb, (void *)&done), 0);
	/* EFAULT: it was protected just then. */
	while (!done && (!err || err == -EINTR || err == -EFAULT)) {
		err = machine_run(&m);
		if (!err)
			break;
	}
	HOLDS(err == -EINTR || err == -EFAULT);
	pthread_join(thread, NULL);
	m.run->immediate_exit = 0;
	IS(call(m.cpu, KVM_GET_REGS, &regs), 0);
	HOLDS(regs.rip >= CODE_GPA && regs.rip < CODE_GPA + 22);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: calls DEVICE\n");
		return 2;
	}
	device = argv[1];
	machine_init(&m);
	ports();
	answers();
	bugs();
	memory_exits();
	wrapped_code();
	memory_changes();
	memory_shared();
	memory_under_load();
	slots();
	read_only();
	dirty_pages();
	huge_page();
	kicks();
	kicks_of_any_value();
	interrupts();
	debug();
	segments();
	machine_fini(&m);
	host_breakpoint();
	machine_init(&m);
	halt_in_steps();
	machine_fini(&m);
	machine_init(&m);
	states();
	machine_fini(&m);
	machine_init(&m);
	signals();
	machine_fini(&m);
	machine_init(&m);
	level();
	far_deadline();
	machine_fini(&m);
	machine_init(&m);
	events();
	machine_fini(&m);
	machine_init(&m);
	lowest_priority();
	machine_fini(&m);
	machine_init(&m);
	ended_count();
	running_count();
	errors();
	machine_fini(&m);
	machine_init(&m);
	restored_tscs();
	clock_goes_on();
	machine_fini(&m);
	machine_init(&m);
	snapshot();
	machine_fini(&m);
	machine_init(&m);
	xapic();
	machine_fini(&m);
	return tests_end();
}
