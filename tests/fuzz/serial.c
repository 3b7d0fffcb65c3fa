// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over the UART: a byte string is a run of register accesses and of the loop's calls, in
 * turn. Beside the device runs a plain model of what vmm/serial.h promises; they must agree on
 * every byte in either direction and on the line status. `make fuzz` runs it; tests/unit/serial.c
 * feeds it random strings.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../vmm/loop.h"
#include "../../vmm/serial.h"
#include "../../vmm/timeline.h"

#define promise(x) ((x) ? (void)0 : broken(#x, __LINE__))

enum { THR_RBR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define LOOP_DEPTH 16u		   /* what a looped-back chip takes in before it is overrun */
#define RX_MOST	   (2 * SERIAL_RX) /* put and looped back */

struct queue {
	uint8_t bytes[SERIAL_TX];
	unsigned head, tail;
};

static struct model {
	struct queue tx, rx;
	uint8_t lcr, mcr, fcr;
	unsigned breaks;
	bool break_shown, overrun, discard;
	uint64_t dropped;
} m;

static struct serial s;

void timeline_mark(enum phase phase)
{
	(void)phase;
}

static _Noreturn void broken(const char *what, int line)
{
	fprintf(stderr, "tests/fuzz/serial.c:%d: broken: %s\n", line, what);
	abort();
}

void loop_signal(int fd)
{
	const uint64_t one = 1;

	promise(write(fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
}

static unsigned used(const struct queue *q)
{
	return q->head - q->tail;
}

static void push(struct queue *q, uint8_t byte)
{
	q->bytes[q->head++ % sizeof(q->bytes)] = byte;
}

static uint8_t pop(struct queue *q)
{
	return q->bytes[q->tail++ % sizeof(q->bytes)];
}

static void model_transmit(uint8_t byte)
{
	if (m.mcr & 0x10) {
		if (used(&m.rx) < LOOP_DEPTH)
			push(&m.rx, byte);
		else
			m.overrun = true;
	} else if (m.discard || used(&m.tx) == SERIAL_TX) {
		m.dropped++;
	} else {
		push(&m.tx, byte);
	}
}

static void model_write(unsigned reg, uint8_t value)
{
	if (reg == THR_RBR && !(m.lcr & 0x80)) {
		model_transmit(value);
	} else if (reg == IIR_FCR) {
		if (value & 2 || (value ^ m.fcr) & 1)
			m.rx.tail = m.rx.head;
		m.fcr = value;
	} else if (reg == LCR) {
		m.lcr = value;
	} else if (reg == MCR) {
		m.mcr = value & 0x1f;
	}
}

static uint8_t model_receive(void)
{
	if (used(&m.rx) > 0)
		return pop(&m.rx);
	if (m.breaks > 0) {
		m.breaks--;
		m.break_shown = false;
	}
	return 0;
}

static uint8_t model_status(void)
{
	const bool room = m.discard || used(&m.tx) < SERIAL_TX;
	const bool at_break = used(&m.rx) == 0 && m.breaks > 0 && !m.break_shown;
	const uint8_t lsr = (room ? 0x60 : 0) | (used(&m.rx) > 0 || m.breaks > 0 ? 0x01 : 0) |
			    (at_break ? 0x10 : 0) | (m.overrun ? 0x02 : 0);

	m.break_shown |= at_break;
	m.overrun = false;
	return lsr;
}

static void check_read(unsigned reg, uint8_t got)
{
	if (reg == THR_RBR && !(m.lcr & 0x80))
		promise(got == model_receive());
	else if (reg == LSR)
		promise(got == model_status());
	else if (reg == LCR)
		promise(got == m.lcr);
	else if (reg == MCR)
		promise(got == m.mcr);
}

static void guest_access(unsigned reg, uint8_t *data, unsigned len, bool write)
{
	/* A full queue makes the first writer wait; here nobody makes room meanwhile. */
	if (used(&m.tx) == SERIAL_TX)
		s.tx_stalled = true;
	for (unsigned i = 0; i < len && write; i++)
		model_write(reg + i, data[i]);
	serial_access(&s, reg, data, len, write);
	for (unsigned i = 0; i < len && !write; i++)
		check_read(reg + i, data[i]);
}

/* The loop writes some of what is waiting to its reader. */
static void take_output(unsigned percent)
{
	const uint8_t *data;
	const size_t n = serial_tx_peek(&s, &data) * percent / 100;

	for (size_t i = 0; i < n; i++)
		promise(used(&m.tx) > 0 && data[i] == pop(&m.tx));
	serial_tx_done(&s, n);
	promise(serial_tx_empty(&s) == (used(&m.tx) == 0));
}

static void discard(bool on)
{
	serial_tx_discard(&s, on);
	m.discard = on;
	if (on) {
		m.dropped += used(&m.tx);
		m.tx.tail = m.tx.head;
	}
}

/* The loop asks for room, reads its input, which takes as long as it takes, and puts it. */
static void give_input(size_t *granted, unsigned n, uint8_t value)
{
	uint8_t bytes[SERIAL_RX];

	if (*granted == 0) {
		*granted = serial_rx_room(&s);
		promise(*granted == 0 || *granted == SERIAL_RX);
		promise(*granted == 0 || ((m.mcr & 0x12) == 0x02 && used(&m.rx) == 0));
		return;
	}
	for (size_t i = 0; i < n && i < *granted; i++) {
		bytes[i] = (uint8_t)(value + i);
		push(&m.rx, bytes[i]);
	}
	serial_rx_put(&s, bytes, n < *granted ? n : *granted);
	*granted = 0;
}

static uint64_t count(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* One step of the string: what, and two bytes to it. */
static void step(const uint8_t *at, size_t *granted)
{
	const bool line = s.line;
	const unsigned reg = at[1] & 7;
	uint8_t data[4] = { at[2], (uint8_t)~at[2], 0x10, 0x83 };

	switch (at[0] % 10) {
	case 0:
	case 1:
		guest_access(reg, data, 1, true);
		break;
	case 2:
	case 3:
		guest_access(reg, data, 1, false);
		break;
	case 4: /* two registers, or four */
		guest_access(reg & 4 ? 4 : reg & 6, data, reg & 1 ? 4 : 2, at[2] & 1);
		break;
	case 5: /* a long print */
		for (unsigned i = 0; i < at[1] * 64u; i++) {
			data[0] = (uint8_t)(at[2] + i);
			guest_access(THR_RBR, data, 1, true);
		}
		break;
	case 6:
		take_output(at[1] % 101);
		break;
	case 7:
		give_input(granted, at[1] * 5u, at[2]);
		break;
	case 8:
		if (m.breaks < 8) {
			serial_rx_break(&s);
			m.breaks++;
		}
		break;
	case 9:
		discard(at[1] & 1);
		break;
	}
	promise(s.tx_head - s.tx_tail <= SERIAL_TX);
	promise(s.rx_head - s.rx_tail <= RX_MOST);
	promise(s.tx_dropped == m.dropped);
	promise(count(s.irq_fd) > 0 || line || !s.line);
	promise(serial_tx_empty(&s) || s.tx_awake);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int irq_fd = -1, wake_fd;
	size_t granted = 0;

	if (irq_fd < 0) {
		irq_fd = eventfd(0, EFD_NONBLOCK);
		wake_fd = eventfd(0, EFD_NONBLOCK);
		promise(irq_fd >= 0 && wake_fd >= 0);
	}
	m.tx.head = m.tx.tail = m.rx.head = m.rx.tail = 0;
	memset(&m.lcr, 0, sizeof(m) - offsetof(struct model, lcr));
	serial_init(&s, irq_fd, wake_fd, false);
	count(irq_fd);
	for (; size >= 3; data += 3, size -= 3)
		step(data, &granted);
	discard(false);
	while (!serial_tx_empty(&s))
		take_output(100);
	promise(used(&m.tx) == 0);
	return 0;
}
