// SPDX-License-Identifier: Apache-2.0
/*
 * What guest programs run on: the second half of the start-up, the command line, output on COM1,
 * ring-0 services, the two APICs. All of it runs in ring 3 but the functions handed to
 * call_ring0() and fault(). Never waits for anything but room in the UART and for interrupts.
 */
#include <stdarg.h>

#include "guest.h"

struct fault_frame {
	uint64_t vector;
	uint64_t error;
	uint64_t rip;
	uint64_t cs;
	uint64_t rflags;
	uint64_t rsp;
	uint64_t ss;
};

struct gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_mid;
	uint32_t offset_high;
	uint32_t reserved;
};

#define GATE	 0x8eu /* present, interrupt gate, for exceptions and interrupts only */
#define CODE0	 0x18u
#define PATIENCE 20000000000ul /* cycles that wait_for() waits: 4 to 20 s */

extern const char vectors[], invalid_opcode[];
_Noreturn void fault(const struct fault_frame *f);
_Noreturn void guest_start(unsigned index);

static char cmdline[CMDLINE_SIZE];

void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	void *d = to;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
	return to;
}

const char *arg(const char *name)
{
	const char *p = cmdline;

	while (*p) {
		const char *n = name;

		while (*p == ' ')
			p++;
		while (*n && *p == *n)
			p++, n++;
		if (!*n && *p == '=')
			return p + 1;
		if (!*n && (!*p || *p == ' '))
			return "";
		while (*p && *p != ' ')
			p++;
	}
	return NULL;
}

bool arg_is(const char *name, const char *value)
{
	const char *p = arg(name);

	if (!p)
		return false;
	while (*value && *p == *value)
		p++, value++;
	return !*value && (!*p || *p == ' ');
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 16;
}

uint64_t arg_number(const char *name, uint64_t otherwise)
{
	const char *p = arg(name);
	int base = 10;
	uint64_t v = 0;

	if (!p)
		return otherwise;
	if (p[0] == '0' && p[1] == 'x') {
		base = 16;
		p += 2;
	}
	do {
		if (digit(*p) >= base)
			die("a number was expected on the command line");
		v = v * base + digit(*p);
	} while (*++p && *p != ' ');
	return v;
}

void serial_send(const void *bytes, size_t n)
{
	const char *p = bytes;

	while (n) {
		size_t part = n < UART_FIFO ? n : UART_FIFO;

		while (!(inb(COM1_PORT + UART_LSR) & UART_LSR_THRE))
			;
		n -= part;
		while (part--)
			outb(COM1_PORT + UART_DATA, *p++);
	}
}

uint8_t serial_drain(void)
{
	uint8_t lsr;

	do
		lsr = inb(COM1_PORT + UART_LSR);
	while (!(lsr & UART_LSR_TEMT));
	return lsr;
}

static char *number(char *end, uint64_t v, unsigned base)
{
	do
		*--end = "0123456789abcdef"[v % base];
	while (v /= base);
	return end;
}

void print(const char *format, ...)
{
	char line[256], digits[24];
	char *const end = digits + sizeof(digits) - 1;
	size_t n = 0;
	va_list args;

	*end = '\0';
	va_start(args, format);
	for (const char *f = format; *f; f++) {
		char one[2] = { *f, '\0' };
		const char *s = one;

		if (*f == '%') {
			bool wide = *++f == 'l';

			f += wide;
			if (*f == 's') {
				s = va_arg(args, const char *);
			} else {
				uint64_t v = wide ? va_arg(args, uint64_t) : va_arg(args, uint32_t);

				s = number(end, v, *f == 'x' ? 16 : 10);
			}
		}
		while (*s && n < sizeof(line))
			line[n++] = *s++;
	}
	va_end(args);
	serial_send(line, n);
}

bool want(const char *what, uint64_t got, uint64_t wanted)
{
	if (got == wanted)
		return true;
	print("  %s: 0x%lx, wanted 0x%lx\n", what, got, wanted);
	return false;
}

static long hlt_off(long a, long b)
{
	__asm__ volatile("cli; hlt" : : : "memory");
	return a + b;
}

static long cpuid_in_ring0(long leaf, long r)
{
	cpuid((uint32_t)leaf, 0, (uint32_t *)r);
	return 0;
}

void cpuid0(uint32_t leaf, uint32_t r[4])
{
	call_ring0(cpuid_in_ring0, leaf, (long)r);
}

#ifndef GUEST_STANDIN
static long rdmsr0(long msr, long unused)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr), "r"(unused));
	return (long)((uint64_t)high << 32 | low);
}

static long wrmsr0(long msr, long v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"(v >> 32) : "memory");
	return 0;
}

uint64_t rdmsr(uint32_t msr)
{
	return (uint64_t)call_ring0(rdmsr0, msr, 0);
}

void wrmsr(uint32_t msr, uint64_t v)
{
	call_ring0(wrmsr0, msr, (long)v);
}
#endif

void wait_interrupt(void)
{
	call_ring0(halt, 0, 0);
}

_Noreturn void halt_for_good(void)
{
	for (;;)
		call_ring0(hlt_off, 0, 0);
}

_Noreturn void spin(void)
{
	for (;;)
		__asm__ volatile("pause");
}

_Noreturn void power_off(uint8_t status)
{
	mmio_write32(CONTROL_GPA + CONTROL_STATUS, status);
	outb(SLEEP_CONTROL_PORT, SLEEP_TYPE_S5 << SLEEP_TYPE_SHIFT | SLEEP_ENABLE);
	spin(); /* a monitor that goes on after the write is seen to hang */
}

_Noreturn void die(const char *why)
{
	print("guest: %s\n", why);
	power_off(1);
}

/* In ring 0, on the stack of the exception. */
_Noreturn void fault(const struct fault_frame *f)
{
	print("guest: exception %lu error %lx at %lx:%lx rsp %lx rflags %lx\n", f->vector, f->error,
	      f->cs, f->rip, f->rsp, f->rflags);
	power_off(STATUS_FAULT);
}

uint64_t apic_read(uint32_t reg)
{
	return rdmsr(MSR_X2APIC(reg));
}

void apic_write(uint32_t reg, uint64_t v)
{
	wrmsr(MSR_X2APIC(reg), v);
}

void apic_enable(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
	apic_write(APIC_SPURIOUS, 0x1ff);
}

bool wait_for(unsigned vector, uint32_t count)
{
	uint32_t before = interrupts[TIMER_VECTOR];

	apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER_VECTOR);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + PATIENCE);
	while (interrupts[vector] < count && interrupts[TIMER_VECTOR] == before)
		wait_interrupt();
	wrmsr(MSR_TSC_DEADLINE, 0);
	return interrupts[vector] >= count;
}

uint32_t ioapic_read(uint32_t reg)
{
	mmio_write32(IOAPIC_GPA, reg);
	return mmio_read32(IOAPIC_GPA + 0x10);
}

void ioapic_write(uint32_t reg, uint32_t v)
{
	mmio_write32(IOAPIC_GPA, reg);
	mmio_write32(IOAPIC_GPA + 0x10, v);
}

void ioapic_route(unsigned pin, uint8_t vector)
{
	ioapic_write(IOAPIC_PIN(pin), IOAPIC_MASKED);
	ioapic_write(IOAPIC_PIN(pin) + 1, (uint32_t)apic_read(APIC_ID) << 24);
	ioapic_write(IOAPIC_PIN(pin), vector);
}

static void idt_set(unsigned vector, const char *handler)
{
	uint64_t a = (uint64_t)handler;

	((struct gate *)idt)[vector] = (struct gate){ .offset_low = (uint16_t)a,
						      .selector = CODE0,
						      .type = GATE,
						      .offset_mid = (uint16_t)(a >> 16),
						      .offset_high = (uint32_t)(a >> 32) };
}

__attribute__((weak)) _Noreturn void ap_main(unsigned index)
{
	(void)index;
	die("a processor was started in a program for one");
}

_Noreturn void guest_start(unsigned index)
{
	if (index)
		ap_main(index);
	for (unsigned i = 0; i < 256; i++)
		idt_set(i, vectors + 16 * i);
	idt_set(INVALID_OPCODE, invalid_opcode);
	outb(COM1_PORT + UART_FCR, UART_FCR_FIFO); /* nothing cleared: input may be there already */
	outb(COM1_PORT + UART_MCR, UART_MCR_READY);
	if (start_info->magic != START_INFO_MAGIC || start_info->version < 1)
		die("EBX does not point to a start info of version 1");
	if (start_info->cmdline)
		memcpy(cmdline, at_gpa(start_info->cmdline), sizeof(cmdline) - 1);
	power_off((uint8_t)guest_main());
}
