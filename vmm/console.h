/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outside of the serial port: standard input and output, a file, a Unix socket or a
 * pseudo-terminal, carried over the loop. All of it runs on the loop's thread.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "../api/config.h"
#include "../seccomp/sealed.h"
#include "loop.h"
#include "serial.h"

struct console {
	bool is_open;
	struct loop *loop;
	struct serial *serial;
	const struct serial_config *config;
	int in, out; /* loop files; -1: none, or no client */
	/* Standard output that is a pipe, a socket or a file is written to without the ring. */
	bool is_direct, is_pipe, is_socket;
	bool is_out_tty;  /* standard output, or the file, is a terminal */
	bool is_own_fifo; /* SERIAL_FILE: a FIFO of which both ends are open here */
	bool is_regular;  /* SERIAL_FILE: what it takes in part is its end */
	int fd;		  /* of the file, the listening socket or the pty; -1: none */
	int relay[2];	  /* SERIAL_STDIO into a pipe: the way there, and what is on it */
	size_t in_relay;  /* bytes */
	int direct_res;
	/* SERIAL_UNIX: the loop files of the socket and of its client, and the client. */
	int listener, client_file, client_fd;
	struct sealed_socket own;
	int next_fd;	/* came while the client was half closed, and takes its place */
	bool accepting; /* an accept is in flight */
	bool watching;	/* whether the client hangs up */
	bool leaving;	/* the client, once nothing of its is in flight */
	int wake_file;
	int slave;	      /* SERIAL_PTY: the other end, held open */
	bool fetching;	      /* the reader has its time for the last of the output */
	uint64_t fetch_by_ns; /* until then */
	bool is_tty;	      /* raw terminal: Ctrl-A is the escape key */
	bool eof_breaks;      /* the end of the input is told to the guest, as a BREAK */
	bool escaped;	      /* Ctrl-A came, its command has not */
	bool reading, writing, input_over;
	bool is_denial_said;		 /* that the kernel may start no thread */
	unsigned denied;		 /* writes, since the guest is over */
	void (*asked_to_end)(void *arg); /* by Ctrl-A x */
	void *asked_arg;
	void (*drained)(void *arg); /* asked for by console_drain() */
	void *drained_arg;
	uint64_t written; /* bytes to the file */
	size_t asked;	  /* of the write in flight */
	uint64_t wakes;
	struct op wake_op, read_op, readable_op, write_op, writable_op, batch_op, accept_op,
		retry_op, pace_op, direct_op, hangup_op, fetch_op;
	struct __kernel_timespec stall, pace, batch, fetch, retry;
	uint64_t written_ns; /* when the last write went out */
	uint64_t fed_ns;     /* when input was last put; 0: the guest has had its pause since */
	uint8_t input[1024];
	uint8_t typed[SERIAL_RX]; /* at a terminal, and not yet taken by the guest */
	size_t nr_typed;
};

/*
 * Opens the back end. `is_job`: on standard input that is no terminal, and where there is no
 * input, the end of it is passed on as a BREAK. The config must outlive the console. 0 or -errno,
 * logged.
 */
int console_open(struct console *c, struct loop *loop, struct serial *serial,
		 const struct serial_config *config, bool is_job);

/*
 * Starts carrying: from here on operations of its are in flight. Calls back, on the loop, for each
 * Ctrl-A x that is typed at a terminal.
 */
void console_listen(struct console *c, void (*asked_to_end)(void *arg), void *arg);

/* Whether it will be on a terminal, which is raw from console_open() to term_restore(). */
bool console_is_tty(const struct serial_config *config);

/* Whether somebody is to read: else that output is dropped was asked for, or has been said. */
bool console_has_readers(const struct console *c);

/*
 * Calls back, on the loop, once all output is out or its reader is gone. No vCPU may run any more.
 */
void console_drain(struct console *c, void (*drained)(void *arg), void *arg);

/*
 * Closes what console_open() opened and removes what it left in the file system. Harmless where it
 * was not called. No operation of its may be in flight, unless the loop turns no more.
 */
void console_close(struct console *c);

#endif
