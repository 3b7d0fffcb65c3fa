// SPDX-License-Identifier: Apache-2.0
/*
 * The UART (National PC16550D data sheet, section 8). Line speed and modem signals mean nothing
 * here, but drivers probe with them, so they read back as on a chip with a cable in it.
 */
#include "serial.h"
#include "log.h"
#include "loop.h"
#include "timeline.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Registers; with DLAB set, 0 and 1 are the divisor. */
enum { THR_RBR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RDI	 0x01u
#define IER_THRI 0x02u
#define IER_RLSI 0x04u
#define IER_MASK 0x0fu

#define IIR_NONE    0x01u
#define IIR_THRI    0x02u
#define IIR_RDI	    0x04u
#define IIR_RLSI    0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO    0xc0u

#define FCR_ENABLE   0x01u
#define FCR_CLEAR_RX 0x02u

#define LCR_DLAB 0x80u

#define MCR_DTR	 0x01u
#define MCR_RTS	 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_MASK 0x1fu

#define LSR_DR	 0x01u
#define LSR_OE	 0x02u
#define LSR_BI	 0x10u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u

#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI	0x40u
#define MSR_DCD 0x80u

/* How long a vCPU that ignores "transmitter busy" waits for room before its byte is dropped. */
#define STALL_MS 100

static uint32_t tx_used(const struct serial *s)
{
	return s->tx_head - s->tx_tail;
}

/* "Empty", as a driver takes it that has a FIFO: as many bytes may follow without another look. */
static bool is_ready(const struct serial *s)
{
	return SERIAL_TX - tx_used(s) >= SERIAL_FIFO;
}

static uint32_t rx_used(const struct serial *s)
{
	return s->rx_head - s->rx_tail;
}

static bool at_break(const struct serial *s)
{
	return rx_used(s) == 0 && s->rx_breaks > 0;
}

static bool has_input(const struct serial *s)
{
	return rx_used(s) > 0 || s->rx_breaks > 0;
}

/* The highest interrupt that is pending and enabled, in the data sheet's order. */
static uint8_t pending(const struct serial *s)
{
	static const uint8_t trigger[] = { 1, 4, 8, 14 };

	if (s->ier & IER_RLSI && (s->overrun || (at_break(s) && !s->break_shown)))
		return IIR_RLSI;
	if (s->ier & IER_RDI && has_input(s))
		return rx_used(s) >= trigger[s->fcr >> 6] || !(s->fcr & FCR_ENABLE) ? IIR_RDI
										    : IIR_TIMEOUT;
	if (s->ier & IER_THRI && s->thre_pending)
		return IIR_THRI;
	return IIR_NONE;
}

/* Follows the interrupt output; its rising edge is the interrupt. */
static void update_irq(struct serial *s)
{
	const bool line = pending(s) != IIR_NONE;

	if (line && !s->line)
		loop_signal(s->irq_fd);
	s->line = line;
}

/*
 * RTS down is the guest's "send nothing": before its driver is open, and when its buffers are full.
 */
static bool is_held(const struct serial *s)
{
	return s->gated || (s->mcr & (MCR_RTS | MCR_LOOP)) != MCR_RTS;
}

/* Where input could go on. Drivers that probe clear the FIFOs many times before they want any. */
static void wake_for_input(struct serial *s)
{
	if (s->rx_waiting && !is_held(s) && !has_input(s)) {
		s->rx_waiting = false;
		s->wakes = true;
	}
}

/* Waits for room in the tx queue, as a chip's FIFO would not; false where it was in vain. */
static bool wait_for_room(struct serial *s)
{
	struct timespec until;

	if (s->tx_stalled)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += STALL_MS * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000l;
	until.tv_nsec %= 1000000000l;
	while (tx_used(s) == SERIAL_TX && !s->tx_discard)
		if (pthread_cond_timedwait(&s->room, &s->lock, &until) == ETIMEDOUT)
			break;
	s->tx_stalled = tx_used(s) == SERIAL_TX;
	return !s->tx_stalled && !s->tx_discard;
}

static void rx_push(struct serial *s, uint8_t byte)
{
	s->rx[s->rx_head++ % sizeof(s->rx)] = byte;
}

static void transmit(struct serial *s, uint8_t byte)
{
	/* Writing THR takes the interrupt back; that it comes again is a new edge. */
	s->thre_pending = false;
	update_irq(s);
	if (s->mcr & MCR_LOOP) { /* what goes out comes in */
		if (rx_used(s) < SERIAL_FIFO)
			rx_push(s, byte);
		else
			s->overrun = true;
	} else if (s->tx_allows && !s->tx_allows(s->tx_allows_arg)) {
		s->tx_limited++;
	} else if (s->tx_discard || (tx_used(s) == SERIAL_TX && !wait_for_room(s))) {
		s->tx_dropped++;
	} else {
		s->tx[s->tx_head++ % SERIAL_TX] = byte;
		timeline_mark(PHASE_FIRST_SERIAL);
		if (!s->tx_awake) {
			s->tx_awake = true;
			s->wakes = true;
		}
	}
	/*
	 * "Sent" as soon as it is queued; when that is nearly full, once serial_tx_done() makes
	 * room.
	 */
	s->thre_pending = is_ready(s);
}

static uint8_t receive(struct serial *s)
{
	uint8_t byte = 0;

	if (rx_used(s) > 0) {
		byte = s->rx[s->rx_tail++ % sizeof(s->rx)];
	} else if (s->rx_breaks > 0) {
		s->rx_breaks--;
		s->break_shown = false;
	}
	wake_for_input(s);
	return byte;
}

static uint8_t read_iir(struct serial *s)
{
	const uint8_t iir = pending(s);

	if (iir == IIR_THRI)
		s->thre_pending = false;
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = is_ready(s) || s->tx_discard ? LSR_THRE | LSR_TEMT : 0;

	if (has_input(s))
		lsr |= LSR_DR;
	if (at_break(s) && !s->break_shown) {
		lsr |= LSR_BI;
		s->break_shown = true;
	}
	if (s->overrun)
		lsr |= LSR_OE;
	s->overrun = false;
	return lsr;
}

static uint8_t read_msr(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void write_mcr(struct serial *s, uint8_t value)
{
	s->mcr = value & MCR_MASK;
	if ((s->mcr & (MCR_OUT1 | MCR_LOOP)) == MCR_OUT1)
		s->gated = false;
	wake_for_input(s);
}

static void write_fcr(struct serial *s, uint8_t value)
{
	if (value & FCR_CLEAR_RX || (value ^ s->fcr) & FCR_ENABLE) {
		s->rx_tail = s->rx_head;
		wake_for_input(s);
	}
	s->fcr = value;
}

static void write_ier(struct serial *s, uint8_t value)
{
	/* Turning THRI on while the transmitter is empty is an interrupt: drivers start so. */
	if (value & ~s->ier & IER_THRI && is_ready(s))
		s->thre_pending = true;
	s->ier = value & IER_MASK;
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
	const bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case THR_RBR:
		return dlab ? (uint8_t)s->divisor : receive(s);
	case IER:
		return dlab ? (uint8_t)(s->divisor >> 8) : s->ier;
	case IIR_FCR:
		return read_iir(s);
	case LCR:
		return s->lcr;
	case MCR:
		return s->mcr;
	case LSR:
		return read_lsr(s);
	case MSR:
		return read_msr(s);
	default:
		return s->scr;
	}
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
	const bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case THR_RBR:
		if (dlab)
			s->divisor = (s->divisor & 0xff00) | value;
		else
			transmit(s, value);
		break;
	case IER:
		if (dlab)
			s->divisor = (uint16_t)((s->divisor & 0xff) | value << 8);
		else
			write_ier(s, value);
		break;
	case IIR_FCR:
		write_fcr(s, value);
		break;
	case LCR:
		s->lcr = value;
		break;
	case MCR:
		write_mcr(s, value);
		break;
	case SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are read only */
		break;
	}
}

void serial_init(struct serial *s, int irq_fd, int wake_fd, bool gated)
{
	pthread_condattr_t attr;

	memset(s, 0, offsetof(struct serial, rx));
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->room, &attr);
	s->irq_fd = irq_fd;
	s->wake_fd = wake_fd;
	s->gated = gated;
}

void serial_limit(struct serial *s, bool (*allows)(void *arg), void *arg)
{
	s->tx_allows = allows;
	s->tx_allows_arg = arg;
}

/* A full queue is an empty one there, which a driver that waits for it is told. */
void serial_save(struct serial *s, struct serial_state *to)
{
	*to = (struct serial_state){ s->ier,
				     s->lcr,
				     s->mcr,
				     s->scr,
				     s->fcr,
				     s->thre_pending || !is_ready(s),
				     s->overrun,
				     s->rx_breaks > 0,
				     .divisor = s->divisor,
				     .nr_rx = (uint16_t)rx_used(s) };
	for (unsigned i = 0; i < to->nr_rx; i++)
		to->rx[i] = s->rx[(s->rx_tail + i) % sizeof(s->rx)];
}

void serial_load(struct serial *s, const struct serial_state *from)
{
	pthread_mutex_lock(&s->lock);
	s->ier = from->ier & IER_MASK;
	s->lcr = from->lcr;
	s->mcr = from->mcr & MCR_MASK;
	s->scr = from->scr;
	s->fcr = from->fcr;
	s->divisor = from->divisor;
	s->thre_pending = from->thre_pending;
	s->overrun = from->overrun;
	s->rx_breaks = from->nr_breaks;
	for (unsigned i = 0; i < from->nr_rx && i < sizeof(from->rx); i++)
		rx_push(s, from->rx[i]);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

/* Wider accesses are as many registers, one after the other, as on the ISA bus. */
void serial_access(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write)
{
	struct serial *s = device;
	bool wakes;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < len; i++) {
		if (write)
			write_register(s, (unsigned)offset + i, data[i]);
		else
			data[i] = read_register(s, (unsigned)offset + i);
	}
	update_irq(s);
	wakes = s->wakes;
	s->wakes = false;
	pthread_mutex_unlock(&s->lock);
	if (wakes) /* not under the lock, which the loop takes first thing */
		loop_signal(s->wake_fd);
}

size_t serial_tx_peek(struct serial *s, const uint8_t **data)
{
	size_t n, to_end;

	pthread_mutex_lock(&s->lock);
	n = tx_used(s);
	to_end = SERIAL_TX - s->tx_tail % SERIAL_TX;
	*data = &s->tx[s->tx_tail % SERIAL_TX];
	if (n == 0)
		s->tx_awake = false;
	pthread_mutex_unlock(&s->lock);
	return n < to_end ? n : to_end;
}

void serial_tx_done(struct serial *s, size_t n)
{
	bool was_ready;

	pthread_mutex_lock(&s->lock);
	must(n <= tx_used(s));
	was_ready = is_ready(s);
	if (n > 0 && tx_used(s) == SERIAL_TX)
		pthread_cond_broadcast(&s->room);
	s->tx_tail += (uint32_t)n;
	if (!was_ready && is_ready(s))
		s->thre_pending = true;
	s->tx_stalled = false;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

bool serial_tx_empty(struct serial *s)
{
	bool empty;

	pthread_mutex_lock(&s->lock);
	empty = tx_used(s) == 0;
	pthread_mutex_unlock(&s->lock);
	return empty;
}

void serial_tx_discard(struct serial *s, bool discard)
{
	pthread_mutex_lock(&s->lock);
	s->tx_discard = discard;
	if (discard) {
		s->tx_dropped += tx_used(s);
		s->tx_tail = s->tx_head;
		s->thre_pending = true;
		pthread_cond_broadcast(&s->room);
		update_irq(s);
	}
	pthread_mutex_unlock(&s->lock);
}

size_t serial_rx_room(struct serial *s)
{
	size_t room;

	pthread_mutex_lock(&s->lock);
	room = is_held(s) || has_input(s) ? 0 : SERIAL_RX;
	s->rx_waiting = room == 0;
	pthread_mutex_unlock(&s->lock);
	return room;
}

void serial_rx_put(struct serial *s, const uint8_t *data, size_t n)
{
	pthread_mutex_lock(&s->lock);
	must(n <= sizeof(s->rx) - rx_used(s));
	for (size_t i = 0; i < n; i++)
		rx_push(s, data[i]);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

void serial_rx_break(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	s->rx_breaks++;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}
