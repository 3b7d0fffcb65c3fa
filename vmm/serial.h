/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A: the registers on vCPU threads, the two queues behind them shared with the loop thread,
 * which carries them to and from the outside (console.c).
 *
 *   vCPU  THR -> [tx queue] -> loop -> stdout, file, socket, pty
 *   vCPU  RBR <- [rx queue] <- loop <- stdin, socket, pty
 *
 * A tx queue without room for a FIFO's bytes shows as "transmitter busy", as a slow line would;
 * nothing written by a driver that looks at the line status is ever lost. Input waits while the
 * guest holds RTS down.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_TX   65536u /* bytes, a power of two */
#define SERIAL_RX   1024u  /* what the loop puts at a time */
#define SERIAL_FIFO 16u	   /* a chip's: what drivers send at a time, or loop back to themselves */

struct serial {
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t room;  /* the tx queue has room again */
	int irq_fd;	      /* interrupt GSI COM1_GSI */
	int wake_fd;	      /* tells the loop: output is there, or room for input */

	uint8_t ier, lcr, mcr, scr, fcr;
	uint16_t divisor;
	bool thre_pending; /* THR empty is an interrupt until IIR is read or THR written */
	bool line;	   /* the interrupt output: an edge goes out when it rises */
	bool overrun;	   /* LSR OE */
	bool gated;	   /* input waits for the guest to set OUT1 */
	bool wakes;	   /* this access has news for the loop */

	uint32_t tx_head, tx_tail; /* free running; tail is the next to go out */
	bool tx_awake;		   /* the loop knows that there is output */
	bool tx_stalled;	   /* a writer waited in vain: do not wait again before progress */
	bool tx_discard;	   /* the reader is gone */
	uint64_t tx_dropped;	   /* bytes */
	bool (*tx_allows)(void *arg); /* whether one more byte may go out; NULL: any */
	void *tx_allows_arg;
	uint64_t tx_limited; /* bytes that might not */

	uint32_t rx_head, rx_tail;
	unsigned rx_breaks; /* BREAK conditions behind the bytes in the queue */
	bool break_shown;   /* the guest has seen this one in LSR */
	bool rx_waiting;    /* the loop wants to know when there is room */

	/* The queues come last: their pages stay untouched until used. */
	uint8_t rx[2 * SERIAL_RX]; /* of which SERIAL_RX + SERIAL_FIFO are used */
	uint8_t tx[SERIAL_TX];
};

/* The chip, as a snapshot has it: what it was given to send is gone for the guest. */
struct serial_state {
	uint8_t ier, lcr, mcr, scr, fcr, thre_pending, overrun, nr_breaks;
	uint16_t divisor, nr_rx;
	uint8_t rx[SERIAL_RX + SERIAL_FIFO];
};

/*
 * The descriptors stay the caller's. `gated`: hold input back until the guest sets OUT1, which
 * mayfly's init does once the terminal is set up; a kernel alone would take bytes too early and
 * lose them.
 */
void serial_init(struct serial *s, int irq_fd, int wake_fd, bool gated);

/* A rate limit: a byte that `allows` refuses is dropped. Before any vCPU runs; called by vCPUs. */
void serial_limit(struct serial *s, bool (*allows)(void *arg), void *arg);

/* For the bus: the eight ports from COM1_PORT. */
void serial_access(void *serial, uint64_t offset, uint8_t *data, unsigned len, bool write);

/* While no vCPU runs; what is loaded may be anything, and may interrupt at once. */
void serial_save(struct serial *s, struct serial_state *state);
void serial_load(struct serial *s, const struct serial_state *state);

/* The loop's side. Bytes waiting to go out, contiguous, at *data; 0 also re-arms wake_fd. */
size_t serial_tx_peek(struct serial *s, const uint8_t **data);
/* The first n of them have gone out. */
void serial_tx_done(struct serial *s, size_t n);
/* Whether nothing is left to go out. */
bool serial_tx_empty(struct serial *s);
/* Throw output away from now on (true: the reader is gone), or queue it again. */
void serial_tx_discard(struct serial *s, bool discard);

/* How many bytes may be put now: SERIAL_RX when the last have been read and the guest does not hold
 * input back, else 0, which arms wake_fd. */
size_t serial_rx_room(struct serial *s);
void serial_rx_put(struct serial *s, const uint8_t *data, size_t n);
/* A BREAK behind what has been put: the end of the input. */
void serial_rx_break(struct serial *s);

#endif
