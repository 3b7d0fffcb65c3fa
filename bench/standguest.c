// SPDX-License-Identifier: Apache-2.0
/*
 * Two stacks, of which one waits while the other runs: the monitor's in standguest_run(), the
 * guest's in an access. What the guest's memory, ports and devices are, tests/guest/guest.h asks
 * here. A notification is an eventfd's write by the guest itself: the one system call that it
 * makes, in place of the exit that a real one's kernel handles.
 */
#define GUEST_STANDIN
#include "standguest.h"
#include "../tests/guest/guest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK	   (256ul << 10)
#define EVENTFDS   128u
#define PAGE_SIZE  4096u
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

static struct kvm_run *run;
static char *memory;
static uint64_t start_info_gpa;
static struct {
	uint64_t gpa;
	int fd;
} eventfds[EVENTFDS];
static unsigned nr_eventfds;
static _Alignas(PAGE_SIZE) char stack[STACK];
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

static void first(void)
{
	start_info = at_gpa(start_info_gpa);
	guest_start(0);
}

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

void standguest_run(struct kvm_run *kvm_run)
{
	run = kvm_run;
	if (!guest_sp) {
		void **top = (void **)(stack + STACK);

		top[-2] = (void *)first; /* at an address that a call would leave the stack at */
		guest_sp = top - 8;
	}
	standguest_switch(&monitor_sp, guest_sp);
}

static void leave(uint32_t reason)
{
	run->exit_reason = reason;
	standguest_switch(&guest_sp, monitor_sp);
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

static void access_device(uint64_t gpa, uint32_t len, bool is_write)
{
	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = is_write;
	leave(KVM_EXIT_MMIO);
}

uint32_t mmio_read32(uint64_t gpa)
{
	uint32_t v;

	access_device(gpa, sizeof(v), false);
	memcpy(&v, run->mmio.data, sizeof(v));
	return v;
}

void mmio_write8(uint64_t gpa, uint8_t v)
{
	run->mmio.data[0] = v;
	access_device(gpa, sizeof(v), true);
}

void mmio_write32(uint64_t gpa, uint32_t v)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < nr_eventfds; i++)
		if (eventfds[i].gpa == gpa) {
			if (write(eventfds[i].fd, &one, sizeof(one)) != sizeof(one))
				abort();
			return;
		}
	memcpy(run->mmio.data, &v, sizeof(v));
	access_device(gpa, sizeof(v), true);
}

long halt(long a, long b)
{
	return a + b;
}

/* What ring 0 is for in these programs is HLT; no interrupt will come. */
long call_ring0(long (*function)(long, long), long a, long b)
{
	(void)function, (void)a, (void)b;
	leave(KVM_EXIT_HLT);
	return 0;
}
