// SPDX-License-Identifier: Apache-2.0
/*
 * Two stacks, of which one waits while the other runs: the monitor's in standguest_run(), the
 * guest's where it was left, by an access or by the signal that kicks its vCPU. What the guest's
 * memory, ports, devices and interrupts are, tests/guest/guest.h asks here. Two things the guest
 * does by a system call of its own, in place of the exit that a real one's kernel handles: it
 * notifies a device, and it waits for an interrupt.
 */
#define GUEST_STANDIN
#include "standguest.h"
#include "../tests/guest/guest.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KICK	   SIGUSR1 /* vmm/vcpu.c */
#define STACK	   (256ul << 10)
#define EVENTFDS   128u
#define GSIS	   32u
#define IDT_SIZE   4096u
#define ENTRY_SIZE 16u

/* What rt.c fills for ring 0, which is not there. */
struct start_info *start_info;
char idt[IDT_SIZE];
extern const char vectors[IDT_SIZE], invalid_opcode[ENTRY_SIZE];
const char vectors[IDT_SIZE], invalid_opcode[ENTRY_SIZE];
volatile uint32_t interrupts[256];

_Noreturn void guest_start(unsigned index);
void standguest_switch(void **from, void *to);
int __real_sigaction(int signo, const struct sigaction *act, struct sigaction *old);
int __wrap_sigaction(int signo, const struct sigaction *act, struct sigaction *old);
void __real_loop_signal(int fd);
void __wrap_loop_signal(int fd);

struct eventfd {
	uint64_t gpa;
	int fd;
};

static struct kvm_run *run;
static char *memory;
static uint64_t start_info_gpa;
static struct eventfd eventfds[EVENTFDS];
static unsigned nr_eventfds;
static int irqfds[GSIS];		  /* plus 1; 0: none */
static _Atomic uint32_t pending[GSIS];	  /* signalled, not yet taken */
static _Atomic uint32_t routes[GSIS];	  /* the vector; 0: none */
static _Atomic uint32_t bell;		  /* futex: goes on with each interrupt */
static volatile sig_atomic_t is_in_guest; /* on its stack, and not leaving it */
static _Alignas(16) char stack[STACK];
static void *monitor_sp, *guest_sp;

/* What a call leaves to the callee is kept on the stack that is left (System V ABI, 3.2.1). */
__asm__(".text\n"
	".type standguest_switch, @function\n"
	"standguest_switch:\n"
	"	push %rbx\n"
	"	push %rbp\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbp\n"
	"	pop %rbx\n"
	"	ret\n");

void standguest_memory(void *base)
{
	memory = base;
}

void standguest_start_info(uint64_t gpa)
{
	start_info_gpa = gpa;
}

void standguest_eventfd(int fd, uint64_t gpa)
{
	if (nr_eventfds == EVENTFDS)
		abort();
	eventfds[nr_eventfds].gpa = gpa;
	eventfds[nr_eventfds++].fd = fd;
}

void standguest_irqfd(int fd, unsigned gsi)
{
	if (gsi >= GSIS)
		abort();
	irqfds[gsi] = fd + 1;
}

void standguest_route(unsigned gsi, uint8_t vector)
{
	if (gsi >= GSIS)
		abort();
	routes[gsi] = vector;
}

static void ring(void)
{
	atomic_fetch_add(&bell, 1);
	syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Instead of the monitor's own: what it signals may be an interrupt. */
void __wrap_loop_signal(int fd)
{
	for (unsigned gsi = 0; gsi < GSIS; gsi++)
		if (irqfds[gsi] == fd + 1) {
			atomic_fetch_add(&pending[gsi], 1);
			ring();
			return;
		}
	__real_loop_signal(fd);
}

/* And back again; once more where a kick came on the way, before a signal could tell of it. */
static void leave(uint32_t reason)
{
	do {
		is_in_guest = false;
		run->exit_reason = reason;
		standguest_switch(&guest_sp, monitor_sp);
		is_in_guest = true;
		reason = KVM_EXIT_INTR;
	} while (run->immediate_exit);
}

/* Never left, which the address sanitizer need not prepare for: it would, on the other stack. */
__attribute__((no_sanitize_address)) static void first(void)
{
	is_in_guest = true;
	start_info = at_gpa(start_info_gpa);
	if (run->immediate_exit)
		leave(KVM_EXIT_INTR);
	guest_start(0);
}

static void on_kick(int signo)
{
	(void)signo;
	if (is_in_guest)
		leave(KVM_EXIT_INTR);
}

/* Instead of the monitor's own handler, which a guest behind a real KVM_RUN would not outlast. */
int __wrap_sigaction(int signo, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction kick = { .sa_handler = on_kick };

	return __real_sigaction(signo, signo == KICK && act ? &kick : act, old);
}

int standguest_run(struct kvm_run *kvm_run)
{
	run = kvm_run;
	if (!guest_sp) {
		void **top = (void **)(stack + STACK);

		top[-2] = (void *)first; /* where a call would leave the stack */
		guest_sp = top - 8;
	}
	if (run->immediate_exit)
		return -EINTR;
	standguest_switch(&monitor_sp, guest_sp);
	return 0;
}

int standguest_wait(const struct kvm_run *kvm_run)
{
	static const struct timespec a_while = { .tv_nsec = 20000000 };
	static const uint32_t nobody;

	while (!__atomic_load_n(&kvm_run->immediate_exit, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &nobody, FUTEX_WAIT_PRIVATE, 0, &a_while, NULL, 0);
	return -EINTR;
}

uint64_t gpa_of(const volatile void *at)
{
	return (uint64_t)((const volatile char *)at - memory);
}

void *at_gpa(uint64_t gpa)
{
	return memory + gpa;
}

static uint8_t *access_port(uint16_t port, uint8_t direction)
{
	run->io.direction = direction;
	run->io.size = 1;
	run->io.port = port;
	run->io.count = 1;
	run->io.data_offset = STANDGUEST_DATA;
	return (uint8_t *)run + STANDGUEST_DATA;
}

void outb(uint16_t port, uint8_t v)
{
	*access_port(port, KVM_EXIT_IO_OUT) = v;
	leave(KVM_EXIT_IO);
}

uint8_t inb(uint16_t port)
{
	const uint8_t *data = access_port(port, KVM_EXIT_IO_IN);

	leave(KVM_EXIT_IO);
	return *data;
}

static void read_device(uint64_t gpa, void *to, uint32_t len)
{
	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = false;
	leave(KVM_EXIT_MMIO);
	memcpy(to, run->mmio.data, len);
}

static void write_device(uint64_t gpa, const void *from, uint32_t len)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < nr_eventfds; i++)
		if (eventfds[i].gpa == gpa) {
			if (write(eventfds[i].fd, &one, sizeof(one)) != sizeof(one))
				abort();
			return;
		}
	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = true;
	memcpy(run->mmio.data, from, len);
	leave(KVM_EXIT_MMIO);
}

#define MMIO(bits)                                            \
	uint##bits##_t mmio_read##bits(uint64_t gpa)          \
	{                                                     \
		uint##bits##_t v;                             \
                                                              \
		read_device(gpa, &v, sizeof(v));              \
		return v;                                     \
	}                                                     \
	void mmio_write##bits(uint64_t gpa, uint##bits##_t v) \
	{                                                     \
		write_device(gpa, &v, sizeof(v));             \
	}
MMIO(8)
MMIO(16)
MMIO(32)
MMIO(64)
#undef MMIO

uint64_t rdmsr(uint32_t msr)
{
	(void)msr;
	return 0;
}

void wrmsr(uint32_t msr, uint64_t v)
{
	(void)msr, (void)v;
}

/* Whether one came. */
static bool take_interrupts(void)
{
	bool any = false;

	for (unsigned gsi = 0; gsi < GSIS; gsi++)
		if (routes[gsi] && atomic_exchange(&pending[gsi], 0)) {
			interrupts[routes[gsi]]++;
			any = true;
		}
	return any;
}

long halt(long a, long b)
{
	for (;;) {
		const uint32_t seen = bell;

		if (take_interrupts())
			return a + b;
		syscall(SYS_futex, &bell, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	}
}

/* Of what ring 0 does in these programs the rest is HLT with interrupts off. */
long call_ring0(long (*function)(long, long), long a, long b)
{
	if (function == halt)
		return halt(a, b);
	for (;;)
		leave(KVM_EXIT_HLT);
}
