// SPDX-License-Identifier: Apache-2.0
/*
 * Every reason for which a guest leaves to the monitor. Without arguments: all the harmless ones
 * in turn, one line each, status 0 if all were answered right. With do=NAME, or just NAME, on the
 * command line: that one alone. The acts at the end of the file end the guest, or never end.
 * What no device claims reads as all ones, and writes to it are dropped.
 */
#include "guest.h"

#define NO_PORT	  0x5f0u				  /* nothing from here to 0x5ff */
#define NO_WINDOW (DEVICE_GPA + DEVICE_MAX * DEVICE_SIZE) /* the first page after the windows */
#define PIN	  (VIRTIO_GSI - 1)
#define STRING	  "a string written by rep outsb\n"

static bool check_ports(void)
{
	bool ok = true;

	for (uint16_t port = NO_PORT; port < NO_PORT + 12; port += 5) {
		outb(port, 0x12);
		outw(port, 0x1234);
		outl(port, 0x12345678);
		ok &= want("inb", inb(port), 0xff);
		ok &= want("inw", inw(port), 0xffff);
		ok &= want("inl", inl(port), 0xffffffff);
	}
	/* Wide accesses to byte registers do no harm; which bytes they carry is left open. */
	outb(COM1_PORT + UART_SCR, 0x77);
	inw(COM1_PORT + UART_LSR);
	inl(COM1_PORT + UART_LSR);
	ok &= want("scratch register after wide reads", inb(COM1_PORT + UART_SCR), 0x77);
	inl(0xffff);
	outl(0xfffe, 0);
	return ok;
}

static bool all_bytes(const uint8_t *p, size_t n, uint8_t v)
{
	while (n && *p == v)
		p++, n--;
	return !n;
}

static bool check_strings(void)
{
	static uint8_t buffer[5000]; /* more than a page, and more than one exit can carry */
	const char *s = STRING;
	bool ok = true;

	memset(buffer, 0, sizeof(buffer));
	rep_insb(NO_PORT, buffer, sizeof(buffer));
	ok &= want("insb, all ones", all_bytes(buffer, sizeof(buffer), 0xff), true);
	rep_outsb(NO_PORT, buffer, sizeof(buffer));
	memset(buffer, 0, sizeof(buffer));
	rep_insl(NO_PORT, buffer, sizeof(buffer) / 4);
	ok &= want("insl, all ones", all_bytes(buffer, sizeof(buffer), 0xff), true);
	outb(COM1_PORT + UART_SCR, 0x3c);
	rep_insb(COM1_PORT + UART_SCR, buffer, 100);
	ok &= want("insb of a register", all_bytes(buffer, 100, 0x3c), true);
	ok &= want("insb, byte after the last", buffer[100], 0xff);
	for (size_t left = sizeof(STRING) - 1, part; left; left -= part, s += part) {
		part = left < UART_FIFO ? left : UART_FIFO;
		serial_drain();
		rep_outsb(COM1_PORT, s, part);
	}
	return ok;
}

static bool check_window(uint64_t gpa)
{
	mmio_write8(gpa, 0x12);
	mmio_write16(gpa, 0x1234);
	mmio_write32(gpa, 0x12345678);
	mmio_write64(gpa, 0x123456789abcdef0);
	return want("8 bits", mmio_read8(gpa), 0xff) & want("16 bits", mmio_read16(gpa), 0xffff) &
	       want("32 bits", mmio_read32(gpa), 0xffffffff) &
	       want("64 bits", mmio_read64(gpa), ~0ul);
}

static bool check_mmio(void)
{
	bool ok = check_window(NO_WINDOW);

	ok &= check_window(NO_WINDOW + 0xfff); /* across a page, and not aligned */
	ok &= check_window(0xd0000000);
	ok &= check_window(LAPIC_GPA + 0x1000);
	ok &= check_window(0xfffffff0);
	return ok;
}

/* The control page at every size; its 32-bit status word is then proved by the guest's own end. */
static bool check_control(void)
{
	for (uint64_t a = CONTROL_GPA + 8; a < CONTROL_GPA + DEVICE_SIZE; a += 1020) {
		mmio_write8(a, 1);
		mmio_write16(a, 1);
		mmio_write32(a, 1);
		mmio_write64(a, 1);
		mmio_read8(a);
		mmio_read16(a);
		mmio_read32(a);
		mmio_read64(a);
	}
	mmio_write8(CONTROL_GPA + CONTROL_BOOT_TIMER, 0);
	mmio_read8(CONTROL_GPA + CONTROL_BOOT_TIMER);
	mmio_read32(CONTROL_GPA + CONTROL_STATUS);
	mmio_read64(CONTROL_GPA + 0xffc); /* half of it in the next window */
	mmio_write32(CONTROL_GPA + CONTROL_STATUS, 77);
	return true;
}

static bool check_ioapic(void)
{
	const uint32_t low = IOAPIC_MASKED | 0xa5, high = 0x03000000;
	bool ok = true;

	ok &= want("pins", (ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1, VIRTIO_GSI);
	ok &= want("register select", mmio_read32(IOAPIC_GPA) & 0xff, IOAPIC_VERSION);
	ok &= want("masked at reset", ioapic_read(IOAPIC_PIN(PIN)), IOAPIC_MASKED);
	ioapic_write(IOAPIC_PIN(PIN), low);
	ioapic_write(IOAPIC_PIN(PIN) + 1, high);
	ok &= want("low word", ioapic_read(IOAPIC_PIN(PIN)), low);
	ok &= want("high word", ioapic_read(IOAPIC_PIN(PIN) + 1), high);
	ok &= want("the pin before", ioapic_read(IOAPIC_PIN(PIN - 1)), IOAPIC_MASKED);
	ioapic_write(IOAPIC_PIN(PIN), IOAPIC_MASKED);
	ioapic_write(IOAPIC_PIN(PIN) + 1, 0);
	ioapic_write(IOAPIC_PIN(IOAPIC_PINS), 0); /* no such pin */
	ioapic_read(IOAPIC_PIN(IOAPIC_PINS));
	ioapic_write(0xff, 0xffffffff);
	ioapic_read(0xff);
	return ok;
}

/* Through the page first where the local APIC still is an xAPIC, then by MSR. */
static bool check_lapic(void)
{
	bool ok = true;

	if (!(rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC))
		ok &= want("xAPIC version", mmio_read32(LAPIC_GPA + APIC_VERSION) & 0xf0, 0x10);
	apic_enable();
	ok &= want("x2APIC version", apic_read(APIC_VERSION) & 0xf0, 0x10);
	ok &= want("ID", apic_read(APIC_ID), 0);
	ok &= want("spurious vector", apic_read(APIC_SPURIOUS) & 0x1ff, 0x1ff);
	return ok;
}

/* A sleep register without the enable bit does nothing. */
static bool check_sleep(void)
{
	outb(SLEEP_CONTROL_PORT, SLEEP_TYPE_S5 << SLEEP_TYPE_SHIFT);
	outb(SLEEP_CONTROL_PORT, 0);
	outb(RESET_PORT, 0);
	outb(SLEEP_STATUS_PORT, 0xff);
	return want("wake status", inb(SLEEP_STATUS_PORT) & 0x80, 0);
}

/* An absent keyboard whose input buffer is never full: kernels wait for that before the pulse. */
static bool check_keyboard(void)
{
	outb(I8042_COMMAND, 0xaa);
	outb(I8042_PORT, I8042_RESET);
	return want("input buffer full", inb(I8042_COMMAND) & 0x02, 0);
}

static bool check_cpuid(void)
{
	uint32_t r[4];
	bool ok = true;

	cpuid0(1, r);
	ok &= want("hypervisor bit", r[2] >> 31 & 1, 1);
	ok &= want("x2APIC bit", r[2] >> 21 & 1, 1);
	ok &= want("TSC deadline bit", r[2] >> 24 & 1, 1);
	cpuid0(0x40000000, r);
	ok &= want("hypervisor leaf", r[0] >= 0x40000000 && r[0] < 0x40010000, true);
	return ok;
}

static const struct {
	const char *name;
	bool (*check)(void);
} checks[] = {
	{ "port", check_ports },	/* port I/O, claimed and not */
	{ "string", check_strings },	/* rep ins, rep outs */
	{ "mmio", check_mmio },		/* unclaimed memory, all sizes */
	{ "control", check_control },	/* the control page, all sizes */
	{ "ioapic", check_ioapic },	/* registers of the I/O APIC */
	{ "lapic", check_lapic },	/* xAPIC page, x2APIC MSRs */
	{ "uart", check_uart },		/* registers of COM1, loopback */
	{ "irq", check_interrupt },	/* COM1 to I/O APIC to local APIC */
	{ "sleep", check_sleep },	/* sleep and reset registers, idle values */
	{ "keyboard", check_keyboard }, /* i8042, idle values */
	{ "cpuid", check_cpuid },	/* what the platform promises */
};

static int act_boot(void)
{
	mmio_write8(CONTROL_GPA + CONTROL_BOOT_TIMER, BOOT_TIMER_VALUE);
	return 0;
}

static int act_poweroff(void)
{
	return (int)arg_number("exit", 0);
}

static int act_reset(void)
{
	outb(RESET_PORT, RESET_VALUE);
	spin();
}

static int act_i8042(void)
{
	outb(I8042_COMMAND, I8042_RESET);
	spin();
}

/* Without a gate for it an exception becomes a double fault, and that a shutdown. */
static int act_triple(void)
{
	memset(idt, 0, 256 * 16);
	__asm__ volatile("ud2");
	return 1;
}

static int act_halt(void)
{
	halt_for_good();
}

/* Instructions from a device window: no hypervisor runs those, so the run call itself fails. */
static int act_badinsn(void)
{
	call_ring0((long (*)(long, long))(DEVICE_GPA + DEVICE_SIZE), 0, 0);
	return 1;
}

static int act_fault(void)
{
	__asm__ volatile("ud2");
	return 1;
}

static int act_spin(void)
{
	spin();
}

static const struct {
	const char *name;
	int (*act)(void);
} acts[] = {
	{ "boot", act_boot },	      /* writes the boot timer, powers off */
	{ "poweroff", act_poweroff }, /* with the status of exit=N */
	{ "reset", act_reset },	      /* by the reset register */
	{ "i8042", act_i8042 },	      /* reset by the keyboard controller */
	{ "triple", act_triple },     /* triple fault */
	{ "halt", act_halt },	      /* HLT with interrupts off */
	{ "badinsn", act_badinsn },   /* the run call fails: internal error */
	{ "fault", act_fault },	      /* an exception: STATUS_FAULT */
	{ "spin", act_spin },	      /* for ever */
	{ "echo", echo },	      /* input to output, echo=irq by interrupt */
	{ "flood", flood },	      /* flood=N KiB of output, with irq by interrupt, or blind */
};

static bool asked_for(const char *name)
{
	return arg_is("do", name) || (!arg("do") && arg(name));
}

static bool run_check(size_t i)
{
	bool ok = checks[i].check();

	print("exits: %s %s\n", checks[i].name, ok ? "ok" : "FAILED");
	return ok;
}

int guest_main(void)
{
	const size_t nr_checks = sizeof(checks) / sizeof(checks[0]);
	unsigned failed = 0;

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (asked_for(acts[i].name))
			return acts[i].act();
	for (size_t i = 0; i < nr_checks; i++)
		if (asked_for(checks[i].name))
			return !run_check(i);
	if (arg("do"))
		die("do= names nothing that this program has");
	for (size_t i = 0; i < nr_checks; i++)
		failed += !run_check(i);
	print("exits: %lu checks, %u failed\n", nr_checks, failed);
	return failed != 0;
}
