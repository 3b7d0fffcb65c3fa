// SPDX-License-Identifier: Apache-2.0
/*
 * COM1 as a guest sees it: the 16550A's registers, echo of the input, and a flood of output that
 * must arrive whole. Part of exits, which has the table. Never prints while it holds the UART in a
 * state where print() would not work.
 */
#include "guest.h"

#define COM1_VECTOR  0x24u
#define END_OF_INPUT 0x04u
#define LINE_SIZE    64u
#define MCR_ALL	     0x0fu
#define DIVISOR	     0x1234u

static uint8_t get(unsigned reg)
{
	return inb((uint16_t)(COM1_PORT + reg));
}

static void set(unsigned reg, uint8_t v)
{
	outb((uint16_t)(COM1_PORT + reg), v);
}

static void interrupts_on(uint8_t which)
{
	apic_enable();
	ioapic_route(COM1_GSI, COM1_VECTOR);
	set(UART_IER, which);
}

static void interrupts_off(void)
{
	set(UART_IER, 0);
	ioapic_write(IOAPIC_PIN(COM1_GSI), IOAPIC_MASKED);
}

static bool check_divisor(void)
{
	uint8_t lcr, low, high, ier;

	set(UART_LCR, UART_LCR_DLAB | UART_LCR_8N1);
	set(UART_DLL, DIVISOR & 0xff);
	set(UART_DLM, DIVISOR >> 8);
	lcr = get(UART_LCR);
	low = get(UART_DLL);
	high = get(UART_DLM);
	set(UART_DLL, 1);
	set(UART_DLM, 0);
	set(UART_LCR, UART_LCR_8N1);
	ier = get(UART_IER);
	return want("LCR with DLAB", lcr, UART_LCR_DLAB | UART_LCR_8N1) &
	       want("divisor", (uint32_t)high << 8 | low, DIVISOR) &
	       want("IER is not DLM", ier, 0) & want("LCR", get(UART_LCR), UART_LCR_8N1);
}

/* Sends two bytes to itself and looks at what each register says of them. */
static bool check_loopback(void)
{
	uint8_t msr, full, identity, first, second, empty, cleared;

	set(UART_MCR, UART_MCR_LOOP | MCR_ALL);
	set(UART_FCR, UART_FCR_FIFO | UART_FCR_CLEAR);
	msr = get(UART_MSR);
	set(UART_IER, UART_IER_RX);
	set(UART_DATA, 0xa5);
	set(UART_DATA, 0x5a);
	full = get(UART_LSR);
	identity = get(UART_IIR);
	first = get(UART_DATA);
	second = get(UART_DATA);
	empty = get(UART_LSR);
	set(UART_IER, 0);
	set(UART_DATA, 0xc3);
	set(UART_FCR, UART_FCR_FIFO | UART_FCR_CLEAR);
	cleared = get(UART_LSR);
	set(UART_MCR, UART_MCR_READY);
	return want("MSR in loopback", msr & 0xf0, 0xf0) &
	       want("LSR with data", full & UART_LSR_DATA, UART_LSR_DATA) &
	       want("IIR with data", identity, UART_IIR_FIFO | UART_IIR_RX) &
	       want("first byte", first, 0xa5) & want("second byte", second, 0x5a) &
	       want("LSR when read", empty & UART_LSR_DATA, 0) &
	       want("LSR after FIFO clear", cleared & UART_LSR_DATA, 0);
}

bool check_uart(void)
{
	uint8_t fifo, plain, empty, again;
	bool ok = true;

	for (unsigned v = 0; v < 256; v += 51) {
		set(UART_SCR, (uint8_t)v);
		ok &= want("scratch register", get(UART_SCR), v);
	}
	ok &= check_divisor();
	fifo = get(UART_IIR);
	set(UART_FCR, 0);
	plain = get(UART_IIR);
	set(UART_FCR, UART_FCR_FIFO | UART_FCR_CLEAR);
	ok &= want("IIR with FIFO", fifo, UART_IIR_FIFO | UART_IIR_NONE);
	ok &= want("IIR without FIFO", plain, UART_IIR_NONE);
	ok &= want("LSR when idle", serial_drain(), UART_LSR_THRE | UART_LSR_TEMT);
	set(UART_IER, UART_IER_TX);
	empty = get(UART_IIR);
	again = get(UART_IIR);
	set(UART_IER, 0);
	ok &= want("IIR when empty", empty, UART_IIR_FIFO | UART_IIR_TX);
	ok &= want("IIR read a second time", again, UART_IIR_FIFO | UART_IIR_NONE);
	ok &= check_loopback();
	return ok;
}

/* The UART's interrupt, through the I/O APIC, as an edge, to this CPU's local APIC. */
bool check_interrupt(void)
{
	uint32_t before = interrupts[COM1_VECTOR];
	bool ok;

	serial_drain();
	interrupts_on(UART_IER_TX);
	ok = want("interrupt", wait_for(COM1_VECTOR, before + 1), true);
	ok &= want("IIR", get(UART_IIR), UART_IIR_FIFO | UART_IIR_TX);
	interrupts_off();
	return ok & want("interrupts", interrupts[COM1_VECTOR] - before, 1);
}

/*
 * Sends back what comes in, until a break or END_OF_INPUT; the status is the number of bytes,
 * modulo 256. A break shows in LSR until LSR is read, and every wait for room reads it.
 */
int echo(void)
{
	bool by_interrupt = arg_is("echo", "irq");
	uint8_t count = 0, seen = 0, byte;

	if (by_interrupt)
		interrupts_on(UART_IER_RX);
	for (;;) {
		seen |= get(UART_LSR);
		if (!(seen & (UART_LSR_DATA | UART_LSR_BREAK))) {
			if (by_interrupt)
				wait_interrupt();
			continue;
		}
		byte = get(UART_DATA);
		if ((seen & UART_LSR_BREAK) || byte == END_OF_INPUT)
			return count;
		count++;
		seen = 0;
		do
			seen |= get(UART_LSR);
		while (!(seen & UART_LSR_THRE));
		set(UART_DATA, byte);
		seen &= UART_LSR_BREAK;
	}
}

/* Line n of the flood: n in decimal with leading zeros, 63 digits: seq -f %063.0f 0 LAST. */
static void make_line(char *line, size_t size, uint64_t n)
{
	line[size - 1] = '\n';
	for (size_t i = size - 1; i-- > 0; n /= 10)
		line[i] = (char)('0' + n % 10);
}

/* As serial_send(), but sleeps until the UART says by interrupt that it has room. */
static void send_by_interrupt(const char *p, size_t n)
{
	for (const char *end = p + n; p < end;) {
		uint32_t before = interrupts[COM1_VECTOR];

		for (unsigned i = 0; i < UART_FIFO && p < end; i++)
			set(UART_DATA, (uint8_t)*p++);
		do
			while (interrupts[COM1_VECTOR] == before)
				wait_interrupt();
		while (before = interrupts[COM1_VECTOR], !(get(UART_LSR) & UART_LSR_THRE));
	}
}

static void send_blindly(const char *p, size_t n)
{
	while (n--)
		set(UART_DATA, (uint8_t)*p++);
}

/*
 * flood=N: N * 16 numbered lines, of 64 bytes or line=BYTES, at most that; with the word irq by
 * interrupt, with blind without a look at whether the UART has room.
 */
int flood(void)
{
	bool by_interrupt = arg("irq"), is_blind = arg("blind");
	uint64_t lines = arg_number("flood", 64) * 1024 / LINE_SIZE;
	size_t size = arg_number("line", LINE_SIZE);
	char line[LINE_SIZE];

	if (by_interrupt) {
		serial_drain();
		interrupts_on(UART_IER_TX);
	}
	for (uint64_t n = 0; n < lines; n++) {
		make_line(line, size, n);
		if (by_interrupt)
			send_by_interrupt(line, size);
		else if (is_blind)
			send_blindly(line, size);
		else
			serial_send(line, size);
	}
	return 0;
}
