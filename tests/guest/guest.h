/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest program finds: it is one function, guest_main(), which runs in ring 3 with access to
 * all ports and to the first 4 GiB one to one, and returns the exit status of the guest. Interrupts
 * are off but inside wait_interrupt(), so nothing is interrupted halfway that does not ask for it.
 * Exceptions are printed and end the guest with status STATUS_FAULT. start.S includes this for its
 * constants.
 *
 * With GUEST_STANDIN a program runs as itself, in a thread of the monitor that it is to load: its
 * accesses are calls, and its addresses are not the guest's (bench/standguest.c).
 */
#ifndef GUEST_H
#define GUEST_H

#define GUEST_CPUS     32
#define STACK0_SHIFT   12 /* ring 0's stack of each processor, in powers of two */
#define STACK3_SHIFT   13
#define TRAMPOLINE_GPA 0x10000
#define INVALID_OPCODE 6
#define STATUS_FAULT   99
#define TIMER_VECTOR   0xf0

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../vmm/layout.h"

/* Xen's PVH boot ABI: xen/include/public/arch-x86/hvm/start_info.h. */
struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modules;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memmap;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct memmap_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

#define START_INFO_MAGIC 0x336ec578u
#define MEMMAP_RAM	 1u

/* 16550A registers, as offsets from COM1_PORT; DLAB in UART_LCR puts the divisor at 0 and 1. */
enum { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCR };
enum { UART_DLL = UART_DATA, UART_DLM = UART_IER, UART_FCR = UART_IIR };
#define UART_IER_RX    0x01u
#define UART_IER_TX    0x02u
#define UART_IIR_NONE  0x01u
#define UART_IIR_TX    0x02u
#define UART_IIR_RX    0x04u
#define UART_IIR_FIFO  0xc0u
#define UART_FCR_FIFO  0x01u
#define UART_FCR_CLEAR 0x06u
#define UART_LCR_8N1   0x03u
#define UART_LCR_DLAB  0x80u
#define UART_MCR_READY 0x0bu /* DTR, RTS, and OUT2, which lets the interrupt through on a PC */
#define UART_MCR_LOOP  0x10u
#define UART_LSR_DATA  0x01u
#define UART_LSR_BREAK 0x10u
#define UART_LSR_THRE  0x20u
#define UART_LSR_TEMT  0x40u
#define UART_FIFO      16u /* bytes that may be sent each time UART_LSR_THRE is seen */

#define IOAPIC_VERSION	1u
#define IOAPIC_PIN(pin) (0x10u + 2 * (pin)) /* low word; the high word is the next register */
#define IOAPIC_MASKED	0x10000u

#define MSR_APIC_BASE	 0x1bu
#define APIC_BASE_X2APIC 0x400u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC(reg)	 (0x800u + ((reg) >> 4)) /* by the register's offset in the xAPIC page */
#define APIC_ID		 0x20u
#define APIC_VERSION	 0x30u
#define APIC_SPURIOUS	 0xf0u
#define APIC_ICR	 0x300u
#define APIC_LVT_TIMER	 0x320u
#define APIC_DEADLINE	 0x40000u
#define APIC_ICR_INIT	 0x4500u
#define APIC_ICR_STARTUP 0x4600u
#define APIC_ICR_FIXED	 0x4000u

#ifdef GUEST_STANDIN
uint64_t gpa_of(const volatile void *at);
void *at_gpa(uint64_t gpa);
void outb(uint16_t port, uint8_t v);
uint8_t inb(uint16_t port);
#define MMIO(bits)                                    \
	uint##bits##_t mmio_read##bits(uint64_t gpa); \
	void mmio_write##bits(uint64_t gpa, uint##bits##_t v);
#define image_end ((char *)at_gpa(16ul << 20)) /* above what the monitor has put there */
#else
/* What a device is told of memory, and back. */
static inline uint64_t gpa_of(const volatile void *at)
{
	return (uint64_t)at;
}

static inline void *at_gpa(uint64_t gpa)
{
	return (void *)gpa;
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void rep_outsb(uint16_t port, const void *p, size_t n)
{
	__asm__ volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(port) : "memory");
}

static inline void rep_insb(uint16_t port, void *p, size_t n)
{
	__asm__ volatile("rep insb" : "+D"(p), "+c"(n) : "d"(port) : "memory");
}

static inline void rep_insl(uint16_t port, void *p, size_t n)
{
	__asm__ volatile("rep insl" : "+D"(p), "+c"(n) : "d"(port) : "memory");
}

/* Device registers are accessed by one plain move each, whatever the compiler thinks of them. */
#define MMIO(bits)                                                                \
	static inline uint##bits##_t mmio_read##bits(uint64_t gpa)                \
	{                                                                         \
		uint##bits##_t v;                                                 \
                                                                                  \
		__asm__ volatile("mov (%1), %0" : "=r"(v) : "r"(gpa) : "memory"); \
		return v;                                                         \
	}                                                                         \
	static inline void mmio_write##bits(uint64_t gpa, uint##bits##_t v)       \
	{                                                                         \
		__asm__ volatile("mov %0, (%1)" : : "r"(v), "r"(gpa) : "memory"); \
	}
#endif
MMIO(8)
MMIO(16)
MMIO(32)
MMIO(64)
#undef MMIO

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(subleaf));
}

/* start.S */
extern struct start_info *start_info;
extern uint64_t pml4[512], pdpt[512];	  /* the first is the root; the second maps 512 GiB */
extern volatile uint32_t interrupts[256]; /* how many of each vector have come, on all CPUs */
extern char idt[256 * 16];
#ifndef GUEST_STANDIN
extern char image_end[]; /* first byte above the program, 4 KiB aligned */
#endif
long call_ring0(long (*function)(long, long), long a, long b);
/*
 * CPUID as the hypervisor answers it: in ring 0. In ring 3 it is the host's where ring 3 runs
 * natively on a CPU that cannot trap it there.
 */
void cpuid0(uint32_t leaf, uint32_t r[4]);
long halt(long, long);		    /* for call_ring0(): until an interrupt has come */
long interrupts_allow(long, long);  /* for call_ring0(): ring 3 is interrupted from here on */
long interrupts_forbid(long, long); /* and no longer */

/* rt.c, ring 3 only */
const char *arg(const char *name); /* "" for NAME, the text after = for NAME=..., else NULL */
bool arg_is(const char *name, const char *value);	   /* NAME=VALUE is there */
uint64_t arg_number(const char *name, uint64_t otherwise); /* decimal or 0x; junk is fatal */
void print(const char *format, ...) __attribute__((format(printf, 1, 2))); /* %s %u %x, l */
void serial_send(const void *bytes, size_t n); /* to COM1, waiting for room */
uint8_t serial_drain(void);		       /* waits until all is sent; LSR as it then was */
bool want(const char *what, uint64_t got, uint64_t wanted); /* prints where they differ */
_Noreturn void power_off(uint8_t status);
_Noreturn void spin(void);	     /* for good, in ring 3 */
_Noreturn void die(const char *why); /* prints it and powers off with status 1 */
uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t v);
void wait_interrupt(void); /* HLT with interrupts on, until one has been taken */
bool wait_for(unsigned vector, uint32_t count); /* interrupts[vector] >= count, else gives up */
_Noreturn void halt_for_good(void);		/* HLT with interrupts off, in ring 0 */
uint64_t apic_read(uint32_t reg);		/* x2APIC; the registers by their xAPIC offsets */
void apic_write(uint32_t reg, uint64_t v);
void apic_enable(void); /* x2APIC mode, interrupts accepted */
uint32_t ioapic_read(uint32_t reg);
void ioapic_write(uint32_t reg, uint32_t v);
void ioapic_route(unsigned pin, uint8_t vector); /* edge, to this CPU, unmasked */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

/* serial.c, which exits is linked with */
bool check_uart(void);
bool check_interrupt(void);
int echo(void);
int flood(void);

/* The program. ap_main() runs on processors started through ap_trampoline, index from 1. */
int guest_main(void);
_Noreturn void ap_main(unsigned index);
extern const char ap_trampoline[];
extern const uint32_t ap_trampoline_size;

#endif
#endif
