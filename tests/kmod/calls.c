// SPDX-License-Identifier: Apache-2.0
/*
 * `calls DEVICE`: what the calls promise, on /dev/mayfly or /dev/kvm: the same snippets of guest
 * code, the same exits. Here: exits and their answers; kicks and interrupts that never come to
 * user space; signals. Then memory.c, state.c; main() has the order of all.
 */
#include "calls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct machine m;

/* Where KVM differs. */
bool is_kvm(void)
{
	return !strcmp(device, "/dev/kvm");
}

uint8_t *io_data(void)
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
const char handler[20] = "\xb0\x07\xe6\x20"
			 "\x66\xb9\x0b\x08\x00\x00\x66\x31\xc0\x66\x31\xd2\x0f\x30"
			 "\xcf";
/* Software-enable the APIC; sti; hlt for ever. */
static const char waiter[] = "\x66\xb9\x0f\x08\x00\x00\x66\xb8\xff\x01\x00\x00\x66\x31\xd2\x0f\x30"
			     "\xfb\xf4\xeb\xfd";

void vector(uint8_t *low, unsigned nr, unsigned offset)
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

static volatile int last_signal;

void on_alarm(int signo)
{
	last_signal = signo;
}

static void signals(void)
{
	/* Again and again: the first may come before the guest runs. */
	const struct itimerval soon = { .it_value.tv_usec = 2000, .it_interval.tv_usec = 20000 };
	const struct itimerval late = { .it_value.tv_sec = 20 }, never = {};
	struct sigaction action = { .sa_handler = on_alarm };
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };

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
	setitimer(ITIMER_REAL, &late, NULL);
	last_signal = 0;
	setitimer(ITIMER_PROF, &soon, NULL);
	while (!last_signal) /* EINTR may have been for something else */
		IS(machine_run(&m), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	setitimer(ITIMER_PROF, &never, NULL);
	IS(last_signal, SIGPROF);
	IS(m.run->exit_reason, KVM_EXIT_INTR);

	test("a signal ends the wait of a guest that has halted with interrupts off");
	CODE(&m, "\xfa\xf4", DATA_GPA);
	setitimer(ITIMER_REAL, &soon, NULL);
	for (unsigned i = 0; i < 100 && state.mp_state != KVM_MP_STATE_HALTED; i++) {
		IS(machine_run(&m), -EINTR);
		IS(call(m.cpu, KVM_GET_MP_STATE, &state), 0);
	}
	IS(state.mp_state, KVM_MP_STATE_HALTED);
	IS(machine_run(&m), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
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
	tables_of_slots();
	memory_changes();
	memory_shared();
	memory_under_load();
	left_cpu();
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
	steps();
	machine_fini(&m);
	machine_init(&m);
	states();
	modes();
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
	clock_stopped();
	clock_without_a_place();
	machine_fini(&m);
	machine_init(&m);
	restored_errors();
	snapshot();
	machine_fini(&m);
	machine_init(&m);
	xapic();
	machine_fini(&m);
	return tests_end();
}
