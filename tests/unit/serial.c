// SPDX-License-Identifier: Apache-2.0
/*
 * The UART, by what a driver may rely on (National PC16550D data sheet, section 8) and what
 * vmm/serial.h promises the loop: registers, interrupts through a real eventfd, both queues, and
 * two threads at once. Ends with random accesses against the model of tests/fuzz/serial.c.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/serial.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { THR_RBR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

/* Bits as the data sheet names them. */
enum { ERBFI = 0x01, ETBEI = 0x02, ELSI = 0x04, EDSSI = 0x08 }; /* IER */
enum { NO_INT = 0x01, THRE_INT = 0x02, DATA_INT = 0x04, STATUS_INT = 0x06, TIMEOUT_INT = 0x0c };
enum { FIFOS = 0xc0 };							/* IIR */
enum { DTR = 0x01, RTS = 0x02, OUT1 = 0x04, OUT2 = 0x08, LOOP = 0x10 }; /* MCR */
enum { DR = 0x01, OE = 0x02, BI = 0x10, THRE = 0x20, TEMT = 0x40 };	/* LSR */
enum { CTS = 0x10, DSR = 0x20, RI = 0x40, DCD = 0x80 };			/* MSR */
enum { DLAB = 0x80 };

#define IDLE (THRE | TEMT)

static struct serial *s;

static void out(unsigned reg, uint8_t value)
{
	serial_access(s, reg, &value, 1, true);
}

static uint8_t in(unsigned reg)
{
	uint8_t value = 0xee;

	serial_access(s, reg, &value, 1, false);
	return value;
}

static uint64_t count(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* Interrupts, and wake-ups of the loop, since the last time asked. */
static uint64_t edges(void)
{
	return count(s->irq_fd);
}

static uint64_t wakes(void)
{
	return count(s->wake_fd);
}

static void print(const char *text)
{
	while (*text)
		out(THR_RBR, (uint8_t)*text++);
}

static void put(const char *text)
{
	assert_int_equal(serial_rx_room(s), SERIAL_RX);
	serial_rx_put(s, (const uint8_t *)text, strlen(text));
}

static void fill_tx(void)
{
	for (unsigned i = 0; i < SERIAL_TX; i++)
		out(THR_RBR, (uint8_t)i);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* On memory that held something else: serial_init() relies on nothing. */
static int make(bool gated)
{
	s = malloc(sizeof(*s));
	assert_non_null(s);
	memset(s, 0xa5, sizeof(*s));
	serial_init(s, eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK), gated);
	return 0;
}

static int make_serial(void **state)
{
	(void)state;
	return make(false);
}

/* With its cable in and its driver open: RTS and DTR are up. */
static int make_open(void **state)
{
	make_serial(state);
	out(MCR, DTR | RTS);
	return 0;
}

static int make_gated(void **state)
{
	(void)state;
	make(true);
	out(MCR, DTR | RTS);
	return 0;
}

static int drop_serial(void **state)
{
	(void)state;
	close(s->irq_fd);
	close(s->wake_fd);
	free(s);
	return 0;
}

static void reset_state(void **state)
{
	static const uint8_t want[] = { 0, 0, NO_INT, 0, 0, IDLE, CTS | DSR | DCD, 0 };

	(void)state;
	for (unsigned reg = 0; reg < COUNT(want); reg++)
		assert_int_equal(in(reg), want[reg]);
	assert_true(serial_tx_empty(s));
	assert_int_equal(edges(), 0);
	assert_int_equal(wakes(), 0);
}

static bool every_other(void *arg)
{
	unsigned *asked = arg;

	return ++*asked % 2;
}

/* What is beyond the limit is gone, and the driver sees a line like any other. */
static void limited(void **state)
{
	const uint8_t *data;
	unsigned asked = 0;

	(void)state;
	serial_limit(s, every_other, &asked);
	out(IER, 0x02);
	for (uint8_t byte = 0; byte < 10; byte++) {
		out(THR_RBR, byte);
		assert_int_equal(in(LSR), IDLE);
		assert_int_equal(in(IIR_FCR), 0x02); /* THR is empty again */
	}
	assert_int_equal(asked, 10);
	assert_int_equal(s->tx_limited, 5);
	assert_int_equal(s->tx_dropped, 0);
	assert_int_equal(serial_tx_peek(s, &data), 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(data[i], 2 * i);
}

static void plain_registers(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 256; v++) {
		out(SCR, (uint8_t)v);
		assert_int_equal(in(SCR), v);
		out(LCR, (uint8_t)v);
		assert_int_equal(in(LCR), v);
		out(MCR, (uint8_t)v);
		assert_int_equal(in(MCR), v & 0x1f);
		out(LCR, 0);
		out(IER, (uint8_t)v);
		assert_int_equal(in(IER), v & 0x0f);
	}
	out(MCR, 0);
	out(LSR, 0);
	out(MSR, 0);
	assert_int_equal(in(LSR), IDLE);
	assert_int_equal(in(MSR), CTS | DSR | DCD);
}

/* How drivers tell a 16550A from its ancestors: both top bits of IIR, once the FIFOs are on. */
static void fifo_detection(void **state)
{
	(void)state;
	assert_int_equal(in(IIR_FCR), NO_INT);
	out(IIR_FCR, 0x01);
	assert_int_equal(in(IIR_FCR), FIFOS | NO_INT);
	out(IIR_FCR, 0x00);
	assert_int_equal(in(IIR_FCR), NO_INT);
}

static void divisor_latch(void **state)
{
	(void)state;
	out(IER, ERBFI);
	out(LCR, DLAB | 3);
	out(THR_RBR, 0x0c);
	out(IER, 0x34);
	assert_int_equal(in(THR_RBR), 0x0c);
	assert_int_equal(in(IER), 0x34);
	out(LCR, 3);
	assert_int_equal(in(IER), ERBFI);
	assert_true(serial_tx_empty(s)); /* none of it was sent */
	out(LCR, DLAB);
	assert_int_equal(in(THR_RBR), 0x0c);
	assert_int_equal(in(IER), 0x34);
}

/* Section 8.6.7: in loopback the four modem outputs come in as the four modem inputs. */
static void loopback_modem(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 16; v++) {
		const uint8_t want = (v & RTS ? CTS : 0) | (v & DTR ? DSR : 0) |
				     (v & OUT1 ? RI : 0) | (v & OUT2 ? DCD : 0);

		out(MCR, (uint8_t)(LOOP | v));
		assert_int_equal(in(MSR), want);
		out(MCR, (uint8_t)v);
		assert_int_equal(in(MSR), CTS | DSR | DCD);
	}
}

static void loopback_data(void **state)
{
	(void)state;
	out(MCR, LOOP | RTS);
	print("loop");
	assert_true(serial_tx_empty(s));
	assert_int_equal(in(LSR), IDLE | DR);
	assert_int_equal(in(THR_RBR), 'l');
	assert_int_equal(in(THR_RBR), 'o');
	assert_int_equal(in(THR_RBR), 'o');
	assert_int_equal(in(THR_RBR), 'p');
	assert_int_equal(in(LSR), IDLE);
}

/* What comes in on top of a full FIFO is lost, which LSR says once and ELSI makes an interrupt. */
static void loopback_overrun(void **state)
{
	(void)state;
	out(IER, ELSI);
	out(MCR, LOOP);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		out(THR_RBR, (uint8_t)i);
	assert_int_equal(edges(), 0);
	out(THR_RBR, 0xff);
	assert_int_equal(edges(), 1);
	assert_int_equal(in(IIR_FCR), STATUS_INT);
	assert_int_equal(in(LSR), IDLE | DR | OE);
	assert_int_equal(in(LSR), IDLE | DR);
	assert_int_equal(in(IIR_FCR), NO_INT);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		assert_int_equal(in(THR_RBR), i);
	assert_int_equal(in(LSR), IDLE);
}

/*
 * The loop's read may end after the guest has looped bytes back: both fit, no guest can change it.
 */
static void loopback_beside_input(void **state)
{
	uint8_t input[SERIAL_RX];

	(void)state;
	memset(input, 'i', sizeof(input));
	assert_int_equal(serial_rx_room(s), SERIAL_RX);
	out(MCR, LOOP | RTS);
	for (unsigned i = 0; i < 2 * SERIAL_RX; i++)
		out(THR_RBR, 'l');
	serial_rx_put(s, input, sizeof(input));
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		assert_int_equal(in(THR_RBR), 'l');
	for (unsigned i = 0; i < SERIAL_RX; i++)
		assert_int_equal(in(THR_RBR), 'i');
	assert_int_equal(in(LSR)&DR, 0);
}

/* The transmitter's interrupt: when it is turned on, and after each byte, until IIR is read. */
static void thre_interrupt(void **state)
{
	(void)state;
	out(IER, ETBEI);
	assert_int_equal(edges(), 1);
	assert_int_equal(in(IIR_FCR), THRE_INT);
	assert_int_equal(in(IIR_FCR), NO_INT); /* reading it took it back */
	out(IER, ETBEI);
	assert_int_equal(edges(), 0);
	out(THR_RBR, 'a');
	assert_int_equal(edges(), 1);
	out(THR_RBR, 'b'); /* takes the first one back; its own is a new edge */
	assert_int_equal(edges(), 1);
	assert_int_equal(in(IIR_FCR), THRE_INT);
	out(IER, 0);
	out(THR_RBR, 'c');
	assert_int_equal(edges(), 0);
	assert_int_equal(in(IIR_FCR), NO_INT);
	out(IER, ETBEI);
	assert_int_equal(edges(), 1);
}

/* Section 8.6.5: the receiver's line status first, then its data, then the transmitter. */
static void priorities(void **state)
{
	(void)state;
	out(IIR_FCR, 0x01);
	out(IER, ERBFI | ETBEI | ELSI);
	put("x");
	serial_rx_break(s);
	assert_int_equal(in(IIR_FCR), FIFOS | DATA_INT);
	assert_int_equal(in(THR_RBR), 'x');
	assert_int_equal(in(IIR_FCR), FIFOS | STATUS_INT);
	assert_int_equal(in(LSR), IDLE | DR | BI);
	assert_int_equal(in(IIR_FCR), FIFOS | TIMEOUT_INT); /* the break's own character */
	assert_int_equal(in(THR_RBR), 0);
	assert_int_equal(in(IIR_FCR), FIFOS | THRE_INT); /* waited all the time */
	assert_int_equal(in(IIR_FCR), FIFOS | NO_INT);
}

static void trigger_levels(void **state)
{
	static const unsigned level[] = { 1, 4, 8, 14 };

	(void)state;
	out(IER, ERBFI);
	for (unsigned i = 0; i < COUNT(level); i++) {
		out(IIR_FCR, (uint8_t)(i << 6 | 1));
		for (unsigned n = 1; n <= 16; n++) {
			put("................" + 16 - n);
			assert_int_equal(in(IIR_FCR),
					 FIFOS | (n < level[i] ? TIMEOUT_INT : DATA_INT));
			while (in(LSR)&DR)
				in(THR_RBR);
		}
	}
	out(IIR_FCR, 0);
	put("x");
	assert_int_equal(in(IIR_FCR), DATA_INT);
}

static void receive_interrupt(void **state)
{
	(void)state;
	put("ab");
	assert_int_equal(edges(), 0); /* off */
	out(IER, ERBFI);
	assert_int_equal(edges(), 1);
	assert_int_equal(in(THR_RBR), 'a');
	assert_int_equal(edges(), 0);
	assert_int_equal(in(THR_RBR), 'b');
	assert_int_equal(in(IIR_FCR), NO_INT);
	put("c");
	assert_int_equal(edges(), 1);
	assert_int_equal(in(THR_RBR), 'c');
	assert_int_equal(in(THR_RBR), 0); /* nothing is there */
}

/* A BREAK lies behind the bytes that came before it, shows in LSR once, and reads as one zero. */
static void breaks(void **state)
{
	(void)state;
	out(IER, ERBFI);
	put("a");
	serial_rx_break(s);
	serial_rx_break(s);
	assert_int_equal(in(LSR), IDLE | DR);
	assert_int_equal(in(THR_RBR), 'a');
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(in(LSR), IDLE | DR | BI);
		assert_int_equal(in(LSR), IDLE | DR);
		assert_int_equal(in(IIR_FCR), DATA_INT);
		assert_int_equal(in(THR_RBR), 0);
	}
	assert_int_equal(in(LSR), IDLE);
	assert_int_equal(in(IIR_FCR), NO_INT);
}

/* A cleared FIFO forgets bytes, but not the end of the input. */
static void clear_fifo(void **state)
{
	(void)state;
	put("abc");
	serial_rx_break(s);
	out(IIR_FCR, 0x03);
	assert_int_equal(in(LSR), IDLE | DR | BI);
	assert_int_equal(in(THR_RBR), 0);
	put("d");
	assert_int_equal(serial_rx_room(s), 0);
	out(IIR_FCR, 0x03);
	assert_int_equal(wakes(), 1);
	assert_int_equal(in(LSR), IDLE);
	put("e");
	out(IIR_FCR, 0x00); /* turning the FIFOs off clears them too */
	assert_int_equal(in(LSR), IDLE);
}

static void held_by_rts(void **state)
{
	(void)state;
	assert_int_equal(serial_rx_room(s), 0);
	assert_int_equal(wakes(), 0);
	out(MCR, DTR);
	out(IIR_FCR, 0x07); /* room, but none that may be used */
	assert_int_equal(wakes(), 0);
	out(MCR, RTS);
	assert_int_equal(wakes(), 1);
	assert_int_equal(serial_rx_room(s), SERIAL_RX);
	out(MCR, RTS | LOOP); /* the cable is out */
	assert_int_equal(serial_rx_room(s), 0);
	out(MCR, RTS);
	assert_int_equal(wakes(), 1);
	out(MCR, 0);
	out(MCR, RTS);
	assert_int_equal(wakes(), 0); /* nobody waits: nobody is woken */
}

static void held_by_out1(void **state)
{
	(void)state;
	assert_int_equal(serial_rx_room(s), 0);
	out(MCR, RTS | OUT1 | LOOP); /* a driver's probing is not the sign */
	out(MCR, RTS);
	assert_int_equal(wakes(), 0);
	assert_int_equal(serial_rx_room(s), 0);
	out(MCR, RTS | OUT1);
	assert_int_equal(wakes(), 1);
	assert_int_equal(serial_rx_room(s), SERIAL_RX);
	out(MCR, RTS); /* once is for ever */
	assert_int_equal(serial_rx_room(s), SERIAL_RX);
}

/* More input only when the last has been read: the loop is told at the last byte. */
static void input_room(void **state)
{
	(void)state;
	put("ab");
	assert_int_equal(serial_rx_room(s), 0);
	in(THR_RBR);
	assert_int_equal(wakes(), 0);
	in(THR_RBR);
	assert_int_equal(wakes(), 1);
	serial_rx_break(s);
	assert_int_equal(serial_rx_room(s), 0);
	in(THR_RBR);
	assert_int_equal(wakes(), 1);
	assert_int_equal(serial_rx_room(s), SERIAL_RX);
}

static void output(void **state)
{
	const uint8_t *data;

	(void)state;
	print("hello");
	assert_int_equal(wakes(), 1); /* for the first byte, not for each */
	assert_int_equal(serial_tx_peek(s, &data), 5);
	assert_memory_equal(data, "hello", 5);
	serial_tx_done(s, 2);
	assert_int_equal(serial_tx_peek(s, &data), 3);
	assert_memory_equal(data, "llo", 3);
	print("!");
	assert_int_equal(wakes(), 0);
	serial_tx_done(s, 3);
	assert_false(serial_tx_empty(s));
	assert_int_equal(serial_tx_peek(s, &data), 1);
	serial_tx_done(s, 1);
	assert_true(serial_tx_empty(s));
	print("a"); /* not seen empty yet: the loop will look again by itself */
	assert_int_equal(wakes(), 0);
	assert_int_equal(serial_tx_peek(s, &data), 1);
	serial_tx_done(s, 1);
	assert_int_equal(serial_tx_peek(s, &data), 0);
	print("b");
	assert_int_equal(wakes(), 1);
}

/* A full queue is a busy transmitter; room makes it ready again, with an interrupt. */
static void full_queue(void **state)
{
	const uint8_t *data;

	(void)state;
	fill_tx();
	assert_int_equal(in(LSR), 0);
	assert_int_equal(in(IIR_FCR), NO_INT);
	out(IER, ETBEI);
	assert_int_equal(edges(), 0);
	assert_int_equal(serial_tx_peek(s, &data), SERIAL_TX);
	serial_tx_done(s, 0);
	assert_int_equal(in(LSR), 0);
	serial_tx_done(s, SERIAL_FIFO - 1); /* a driver sends a whole FIFO where it sees "empty" */
	assert_int_equal(edges(), 0);
	assert_int_equal(in(LSR), 0);
	serial_tx_done(s, 1);
	assert_int_equal(edges(), 1);
	assert_int_equal(in(LSR), IDLE);
	assert_int_equal(in(IIR_FCR), THRE_INT);
	for (unsigned i = 0; i < SERIAL_FIFO; i++) /* goes round the end of the queue */
		out(THR_RBR, (uint8_t)('a' + i));
	assert_int_equal(in(LSR), 0);
	assert_int_equal(serial_tx_peek(s, &data), SERIAL_TX - SERIAL_FIFO);
	assert_int_equal(data[0], SERIAL_FIFO);
	serial_tx_done(s, SERIAL_TX - SERIAL_FIFO);
	assert_int_equal(serial_tx_peek(s, &data), SERIAL_FIFO);
	assert_int_equal(data[0], 'a');
	assert_int_equal(s->tx_dropped, 0);
}

/*
 * A driver that does not look waits a little, once, and then loses bytes until there is progress.
 */
static void stalled_writer(void **state)
{
	uint64_t before;

	(void)state;
	fill_tx();
	for (unsigned i = 1; i <= 2; i++) {
		before = now_ms();
		out(THR_RBR, '!');
		assert_true(now_ms() - before >= 95);
		before = now_ms();
		for (unsigned n = 0; n < 1000; n++)
			out(THR_RBR, '?');
		assert_true(now_ms() - before < 5000); /* waiting for each would take 100 s */
		assert_true(s->tx_stalled);
		assert_int_equal(s->tx_dropped, i * 1001);
		serial_tx_done(s, 1);
		out(THR_RBR, '.');
		assert_int_equal(s->tx_dropped, i * 1001);
	}
}

static void *make_room(void *arg)
{
	(void)arg;
	usleep(1000);
	serial_tx_done(s, 1);
	return NULL;
}

static void waiting_writer(void **state)
{
	pthread_t thread;
	uint64_t dropped;
	unsigned tries = 0;

	(void)state;
	fill_tx();
	do { /* on a busy machine the room may come after 100 ms: it is filled, and once more */
		if (tries > 0)
			out(THR_RBR, '.');
		dropped = s->tx_dropped;
		assert_int_equal(pthread_create(&thread, NULL, make_room, NULL), 0);
		out(THR_RBR, '!');
		assert_int_equal(pthread_join(thread, NULL), 0);
	} while (s->tx_dropped != dropped && ++tries < 50);
	assert_int_equal(s->tx_dropped, dropped);
	assert_int_equal(s->tx[(s->tx_head - 1) % SERIAL_TX], '!');
}

static void no_reader(void **state)
{
	const uint8_t *data;

	(void)state;
	out(IER, ETBEI);
	edges();
	fill_tx();
	edges();
	serial_tx_discard(s, true);
	assert_int_equal(edges(), 1);
	assert_true(serial_tx_empty(s));
	assert_int_equal(s->tx_dropped, SERIAL_TX);
	assert_int_equal(in(LSR), IDLE);
	print("gone");
	assert_int_equal(s->tx_dropped, SERIAL_TX + 4);
	assert_int_equal(serial_tx_peek(s, &data), 0);
	serial_tx_discard(s, false);
	print("back");
	assert_int_equal(serial_tx_peek(s, &data), 4);
	assert_memory_equal(data, "back", 4);
	assert_int_equal(s->tx_dropped, SERIAL_TX + 4);
}

/* Wider accesses are the neighbouring registers, lowest first. */
static void wide_accesses(void **state)
{
	uint8_t data[4] = { 0x03, LOOP, 0, 0 };
	const uint8_t *sent;

	(void)state;
	serial_access(s, LCR, data, 2, true);
	assert_int_equal(in(LCR), 0x03);
	assert_int_equal(in(MCR), LOOP);
	out(MCR, RTS);
	out(SCR, 0x77);
	serial_access(s, MCR, data, 4, false);
	assert_memory_equal(data, ((uint8_t[]){ RTS, IDLE, CTS | DSR | DCD, 0x77 }), 4);
	serial_access(s, THR_RBR, (uint8_t[]){ 'w', ETBEI }, 2, true);
	assert_int_equal(in(IER), ETBEI);
	assert_int_equal(serial_tx_peek(s, &sent), 1);
	assert_int_equal(sent[0], 'w');
}

#define STRESS 300000u

static uint8_t pattern(uint32_t i)
{
	return (uint8_t)(i * 2654435761u >> 24);
}

/* As a polling driver does: looks at LSR, then writes. */
static void *write_pattern(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < STRESS; i++) {
		while (!(in(LSR)&THRE))
			;
		out(THR_RBR, pattern(i));
	}
	return NULL;
}

/* The loop: sleeps until it is woken, then carries in odd helpings until nothing is left. */
static void two_threads(void **state)
{
	uint32_t got = 0;
	pthread_t thread;

	(void)state;
	close(s->wake_fd);
	s->wake_fd = eventfd(0, 0);
	assert_int_equal(pthread_create(&thread, NULL, write_pattern, NULL), 0);
	while (got < STRESS) {
		const uint8_t *data;
		size_t n;

		assert_int_equal(count(s->wake_fd), 1);
		while ((n = serial_tx_peek(s, &data)) > 0) {
			n = n > 1 && got % 3 ? n / 2 : n;
			for (size_t i = 0; i < n; i++)
				if (data[i] != pattern(got++))
					fail_msg("byte %u of the stream is wrong", got - 1);
			serial_tx_done(s, n);
		}
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(s->tx_dropped, 0);
	assert_true(serial_tx_empty(s));
}

/* Another process, to which goes what the chip is and nothing of what it has sent. */
static void move(struct serial_state *saved)
{
	serial_save(s, saved);
	drop_serial(NULL);
	make(false);
	serial_load(s, saved);
}

static void moved_registers(void **state)
{
	struct serial_state saved;

	(void)state;
	out(LCR, DLAB);
	out(THR_RBR, 0x12);
	out(IER, 0x34);
	move(&saved);
	assert_int_equal(in(LCR), DLAB);
	assert_int_equal(in(THR_RBR), 0x12);
	assert_int_equal(in(IER), 0x34);
	out(LCR, 3);
	out(IER, ERBFI | ETBEI);
	out(IIR_FCR, 0x81);
	out(MCR, DTR | RTS | OUT2);
	out(SCR, 0x5a);
	move(&saved);
	assert_int_equal(in(LCR), 3);
	assert_int_equal(in(IER), ERBFI | ETBEI);
	assert_int_equal(in(MCR), DTR | RTS | OUT2);
	assert_int_equal(in(SCR), 0x5a);
	assert_int_equal(in(MSR), CTS | DSR | DCD);
	assert_int_equal(in(LSR), IDLE);
	assert_int_equal(edges(), 1);
	assert_int_equal(in(IIR_FCR), FIFOS | THRE_INT);
	assert_int_equal(in(IIR_FCR), FIFOS | NO_INT);
	move(&saved);
	assert_int_equal(edges(), 0); /* it has been told */
	assert_int_equal(in(IIR_FCR), FIFOS | NO_INT);
}

static void moved_input(void **state)
{
	struct serial_state saved;
	char long_one[SERIAL_RX + 1];

	(void)state;
	out(IER, ERBFI);
	put("abc");
	assert_int_equal(in(THR_RBR), 'a');
	serial_rx_break(s);
	move(&saved);
	assert_int_equal(edges(), 1);
	assert_int_equal(serial_rx_room(s), 0);
	assert_int_equal(in(THR_RBR), 'b');
	assert_int_equal(in(LSR), IDLE | DR);
	assert_int_equal(in(THR_RBR), 'c');
	assert_int_equal(in(LSR), IDLE | DR | BI);
	assert_int_equal(in(THR_RBR), 0);
	assert_int_equal(in(LSR), IDLE);
	memset(long_one, 'x', SERIAL_RX);
	long_one[SERIAL_RX] = '\0';
	for (unsigned i = 0; i < 3; i++) { /* from anywhere in the ring */
		put(long_one);
		move(&saved);
		for (unsigned n = 0; n < SERIAL_RX; n++)
			assert_int_equal(in(THR_RBR), 'x');
		assert_int_equal(in(LSR), IDLE);
	}
}

static void moved_overrun(void **state)
{
	struct serial_state saved;

	(void)state;
	out(MCR, LOOP);
	for (unsigned i = 0; i <= SERIAL_FIFO; i++)
		out(THR_RBR, (uint8_t)i);
	move(&saved);
	assert_int_equal(in(LSR), IDLE | DR | OE);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		assert_int_equal(in(THR_RBR), i);
	assert_int_equal(in(LSR), IDLE);
}

/* Who waits for a full queue waits for nothing there, where it is empty. */
static void moved_while_full(void **state)
{
	struct serial_state saved;

	(void)state;
	fill_tx();
	out(IER, ETBEI);
	assert_int_equal(in(LSR), 0);
	assert_int_equal(in(IIR_FCR), NO_INT);
	move(&saved);
	assert_true(serial_tx_empty(s));
	assert_int_equal(in(LSR), IDLE);
	assert_int_equal(edges(), 1);
	assert_int_equal(in(IIR_FCR), THRE_INT);
	print("x");
	assert_false(serial_tx_empty(s));
}

/* Whoever wrote it meant ill: a chip comes out of it that can be used, and is no larger. */
static void hostile_states(void **state)
{
	uint32_t x = 2463534242u;

	(void)state;
	for (unsigned run = 0; run < 2000; run++) {
		struct serial_state bad;
		unsigned nr = 0;

		for (unsigned i = 0; i < sizeof(bad); i++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			((uint8_t *)&bad)[i] = run == 0 ? 0xff : (uint8_t)(x >> 8);
		}
		drop_serial(NULL);
		make(false);
		serial_load(s, &bad);
		assert_int_equal(in(MCR)&0xe0, 0);
		out(LCR, 0);
		assert_int_equal(in(IER)&0xf0, 0);
		while (in(LSR)&DR) {
			in(THR_RBR);
			nr++;
		}
		assert_in_range(nr, 0, SERIAL_RX + SERIAL_FIFO + 255);
		out(MCR, DTR | RTS);
		put("abc");
		assert_int_equal(in(THR_RBR), 'a');
		print("x");
		assert_false(serial_tx_empty(s));
	}
}

static void random_accesses(void **state)
{
	static uint8_t steps[3 * 2000];
	uint32_t x = 2463534242u; /* xorshift: the same strings every time */

	(void)state;
	for (unsigned run = 0; run < 50; run++) {
		for (unsigned i = 0; i < sizeof(steps); i++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			steps[i] = (uint8_t)(x >> 8);
		}
		LLVMFuzzerTestOneInput(steps, sizeof(steps));
	}
}

#define TEST(text, setup, function)                                       \
	{                                                                 \
		.name = text, .test_func = function, .setup_func = setup, \
		.teardown_func = drop_serial                              \
	}

static const struct CMUnitTest tests[] = {
	TEST("all registers read as after a reset", make_serial, reset_state),
	TEST("a rate limit drops bytes and counts them", make_open, limited),
	TEST("registers hold what is written to them", make_serial, plain_registers),
	TEST("the FIFOs show in IIR once they are on", make_serial, fifo_detection),
	TEST("DLAB puts the divisor in the place of data and IER", make_serial, divisor_latch),
	TEST("loopback turns modem outputs into inputs", make_serial, loopback_modem),
	TEST("loopback sends to itself and nobody else", make_serial, loopback_data),
	TEST("a looped-back FIFO is overrun, once", make_serial, loopback_overrun),
	TEST("looped-back bytes leave room for input", make_open, loopback_beside_input),
	TEST("THR empty is an edge, until IIR is read", make_serial, thre_interrupt),
	TEST("IIR tells the first interrupt first", make_open, priorities),
	TEST("IIR tells a trigger level from a timeout", make_open, trigger_levels),
	TEST("input is one edge until it has been read", make_open, receive_interrupt),
	TEST("a BREAK shows once and is read once", make_open, breaks),
	TEST("clearing the FIFO keeps the end of the input", make_open, clear_fifo),
	TEST("input waits for RTS", make_serial, held_by_rts),
	TEST("a job's input waits for OUT1 too", make_gated, held_by_out1),
	TEST("there is room for input when the last is read", make_open, input_room),
	TEST("output wakes the loop once and comes in order", make_serial, output),
	TEST("a full queue is a busy transmitter", make_serial, full_queue),
	TEST("who writes to a busy transmitter waits once", make_serial, stalled_writer),
	TEST("who waits gets the room that comes", make_serial, waiting_writer),
	TEST("output without a reader is dropped and counted", make_serial, no_reader),
	TEST("a wide access is several registers", make_open, wide_accesses),
	TEST("300000 bytes cross two threads in order", make_serial, two_threads),
	TEST("another chip's registers become what one's were", make_open, moved_registers),
	TEST("input that was not read yet goes with them", make_open, moved_input),
	TEST("so does an overrun", make_serial, moved_overrun),
	TEST("who waited for a full queue is told there that it is empty", make_serial,
	     moved_while_full),
	TEST("a chip's state may be anything", make_serial, hostile_states),
	TEST("random accesses agree with a model", make_serial, random_accesses),
};

int main(void)
{
	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
