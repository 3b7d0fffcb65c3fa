// SPDX-License-Identifier: Apache-2.0
/*
 * Carries bytes between the UART's queues and the outside. At most one read and one write are in
 * flight. A slow reader holds the guest's transmitter, never its CPU; one that is gone costs the
 * guest nothing: its output is dropped from then on.
 */
#include "console.h"
#include "log.h"
#include "term.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE	    0x01 /* Ctrl-A */
#define BATCH_NS    1000000u
#define BATCH_BYTES 4096u
#define RELAY_BYTES 65536u
#define STALL_MS    1000 /* a socket, pty or FIFO that takes nothing for so long has no reader */
#define PAUSE_NS    100000000u /* at most, between two helpings of input */
#define FETCH_MS    10	       /* between two looks whether the reader of a pty has all */
#define AGAIN_MS    100	 /* a terminal's background, which cannot stop us (EINTR); is_denied() */
#define RETRY_MS    1000 /* after a client that could not be taken */
#define DENIED_MAX  10	 /* tries for what a guest that is over has left */

static void client_gone(struct console *c);

/* Output. */

/* Of a FIFO of our own, too, nothing else would show that nobody reads it. */
static bool can_vanish(const struct console *c)
{
	return c->config->kind == SERIAL_UNIX || c->config->kind == SERIAL_PTY || c->is_own_fifo;
}

static bool has_reader(const struct console *c)
{
	return c->out >= 0 || c->is_direct;
}

static void finish_drain(struct console *c)
{
	void (*drained)(void *) = c->drained;

	c->drained = NULL;
	if (drained)
		drained(c->drained_arg);
}

/* Looked at from its own side, which also moves along what is on the way there. */
static bool is_unread(const struct console *c)
{
	struct pollfd slave = { .fd = c->slave, .events = POLLIN };

	return c->config->kind == SERIAL_PTY && poll(&slave, 1, 0) == 1;
}

/*
 * All is out. What a pseudo-terminal has taken it loses with its master, that is with us: its
 * reader has STALL_MS to fetch that.
 */
static void all_out(struct console *c)
{
	const uint64_t now = loop_now_ns(CLOCK_MONOTONIC);

	if (!c->drained || c->fetching)
		return;
	if (!c->fetch_by_ns)
		c->fetch_by_ns = now + STALL_MS * 1000000ull;
	if (now >= c->fetch_by_ns || !is_unread(c)) {
		finish_drain(c);
		return;
	}
	c->fetching = true;
	loop_timeout(c->loop, &c->fetch_op, &c->fetch, FETCH_MS);
}

static void on_fetch(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, fetch_op);

	(void)res; /* -ETIME */
	c->fetching = false;
	all_out(c);
}

/* How much of n may still be written: files have a cap. */
static size_t within_cap(const struct console *c, size_t n)
{
	const uint64_t max = c->config->max_size;

	if (c->config->kind != SERIAL_FILE || max == 0)
		return n;
	return max - c->written < n ? max - c->written : n;
}

static struct io_uring_sqe *limited_sqe(struct console *c)
{
	loop_room(c->loop, 2); /* for the timeout, too */
	return loop_sqe(c->loop);
}

/*
 * A reader that can vanish has STALL_MS for each operation, which the ring then ends with
 * -ECANCELED. A write waits for room inside of the ring, also where the descriptor does not block.
 */
static void submit_limited(struct console *c, struct io_uring_sqe *sqe, struct op *op)
{
	sqe->flags |= can_vanish(c) ? IOSQE_IO_LINK : 0;
	loop_prepared(sqe, op);
	if (!can_vanish(c))
		return;
	c->stall = (struct __kernel_timespec){ .tv_sec = STALL_MS / 1000,
					       .tv_nsec = STALL_MS % 1000 * 1000000l };
	sqe = loop_sqe(c->loop);
	io_uring_prep_link_timeout(sqe, &c->stall, 0);
	loop_prepared(sqe, NULL);
}

/*
 * A guest sends byte by byte. The first goes out at once; what follows within BATCH_NS goes out
 * together, unless it is much or all there will be.
 */
static bool wait_for_more(struct console *c, size_t n)
{
	const uint64_t since = loop_now_ns(CLOCK_MONOTONIC) - c->written_ns;
	struct io_uring_sqe *sqe;

	if (since >= BATCH_NS || n >= BATCH_BYTES || c->drained)
		return false;
	sqe = loop_sqe(c->loop);
	c->batch = (struct __kernel_timespec){ .tv_nsec = (long long)(BATCH_NS - since) };
	io_uring_prep_timeout(sqe, &c->batch, 0, 0);
	loop_prepared(sqe, &c->batch_op);
	return true;
}

static void on_written(struct op *op, int res);

/*
 * Bytes that a pipe takes now, by way of one of our own: unlike write(2), splice(2) can be told not
 * to wait, whoever else uses that pipe. What it does not take waits in ours. Or -1.
 */
static ssize_t relay(struct console *c, const uint8_t *data, size_t n)
{
	ssize_t moved = 0;

	if (c->in_relay == 0)
		moved = write(c->relay[1], data, n < RELAY_BYTES ? n : RELAY_BYTES);
	if (moved < 0)
		return -1;
	c->in_relay += (size_t)moved;
	moved = splice(c->relay[0], NULL, STDOUT_FILENO, NULL, c->in_relay, SPLICE_F_NONBLOCK);
	c->in_relay -= moved > 0 ? (size_t)moved : 0;
	return moved;
}

/*
 * What follows is the loop's next turn's. Of a file only write(2) keeps the position right for all
 * who share it, such as the microVMs of one command line and its output.
 */
static void write_direct(struct console *c, const uint8_t *data, size_t n)
{
	ssize_t res;

	if (c->is_pipe)
		res = relay(c, data, n);
	else if (c->is_socket)
		res = send(STDOUT_FILENO, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		res = write(STDOUT_FILENO, data, n);
	c->direct_res = (int)(res < 0 ? -errno : res);
	loop_yield(c->loop, &c->direct_op);
}

static void on_direct(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, direct_op);

	(void)res; /* 0 */
	on_written(&c->write_op, c->direct_res);
}

static void pump_out(struct console *c)
{
	struct io_uring_sqe *sqe;
	const uint8_t *data;
	size_t n;

	if (c->writing)
		return;
	if (c->leaving) {
		client_gone(c);
		return;
	}
	n = serial_tx_peek(c->serial, &data);
	if (n > 0 && (!has_reader(c) || within_cap(c, n) == 0)) {
		if (has_reader(c))
			note("%s: has reached its %llu bytes; further output is dropped",
			     c->config->path, (unsigned long long)c->config->max_size);
		serial_tx_discard(c->serial, true);
		n = serial_tx_peek(c->serial, &data);
	}
	if (n == 0) {
		all_out(c);
		return;
	}
	c->writing = true;
	if (wait_for_more(c, n))
		return;
	c->written_ns = loop_now_ns(CLOCK_MONOTONIC);
	if (c->is_direct) {
		write_direct(c, data, n);
		return;
	}
	sqe = limited_sqe(c);
	c->asked = within_cap(c, n);
	io_uring_prep_write(sqe, c->out, data, (unsigned)c->asked, (uint64_t)-1);
	/*
	 * Newer kernels (6.18) else wait for a terminal inside of io_uring_enter(); and where a
	 * file system writes there (XFS, btrfs), a file's limit is a SIGXFSZ for us. A worker's is
	 * blocked.
	 */
	if (c->is_out_tty || c->is_regular)
		sqe->flags |= IOSQE_ASYNC;
	submit_limited(c, sqe, &c->write_op);
}

static void on_batch(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, batch_op);

	(void)res; /* -ETIME, or -ECANCELED by console_drain() */
	c->writing = false;
	c->written_ns = 0;
	pump_out(c);
}

static void wait_writable(struct console *c)
{
	struct io_uring_sqe *sqe;

	if (c->is_direct) {
		must(loop_wait_ready(c->loop, &c->writable_op, STDOUT_FILENO, EPOLLOUT) == 0);
		return;
	}
	sqe = limited_sqe(c);
	io_uring_prep_poll_add(sqe, c->out, POLLOUT);
	submit_limited(c, sqe, &c->writable_op);
}

/* Its output is dropped until it reads again. */
static void reader_stalled(struct console *c)
{
	struct io_uring_sqe *sqe = loop_sqe(c->loop);

	serial_tx_discard(c->serial, true);
	finish_drain(c);
	io_uring_prep_poll_add(sqe, c->out, POLLOUT);
	loop_prepared(sqe, &c->writable_op);
}

static void on_writable(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, writable_op);

	if (res == -ECANCELED) {
		reader_stalled(c);
		return;
	}
	c->writing = false;
	if (c->config->kind == SERIAL_UNIX && (res < 0 || res & (POLLERR | POLLHUP))) {
		client_gone(c);
		return;
	}
	if (can_vanish(c))
		serial_tx_discard(c->serial, false);
	pump_out(c); /* an error shows in the write */
}

/*
 * What the kernel does by a thread of its own it cancels where it may not start the first one. That
 * may pass: other threads end, limits are raised.
 */
static bool is_denied(struct console *c, int res)
{
	if (res != -ECANCELED || can_vanish(c))
		return false;
	if (!c->is_denial_said)
		note("the serial port waits: the kernel may start no thread for it (pids.max of "
		     "the cgroup, RLIMIT_NPROC)");
	c->is_denial_said = true;
	return true;
}

/*
 * A file that takes but a part is full, or at its limit (RLIMIT_FSIZE), and ends there: the ring
 * has not moved its position on by that part, over which more would be written.
 */
static bool is_over(const struct console *c, int res)
{
	return res < 0 || (c->is_regular && (size_t)res < c->asked);
}

static void on_written(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, write_op);

	if (res == -EAGAIN) { /* a descriptor that somebody made non-blocking */
		wait_writable(c);
		return;
	}
	if (res == -ECANCELED && can_vanish(c)) {
		reader_stalled(c);
		return;
	}
	if (res == -EINTR || (is_denied(c, res) && !(c->drained && ++c->denied > DENIED_MAX))) {
		loop_timeout(c->loop, &c->batch_op, &c->batch, AGAIN_MS);
		return;
	}
	c->writing = false;
	if (res >= 0) {
		c->written += (uint64_t)res;
		serial_tx_done(c->serial, (size_t)res);
	}
	/* Where the next one waits for this to end, that it ended well is no reason to go on. */
	if (c->config->kind == SERIAL_UNIX && (res < 0 || c->next_fd >= 0)) {
		client_gone(c);
	} else if (is_over(c, res)) {
		if (res != -EPIPE)
			fail(res < 0 ? res : 0, "serial output; it is dropped from here on");
		serial_tx_discard(c->serial, true);
	}
	pump_out(c);
}

/* Input. */

static void end_input(struct console *c)
{
	c->input_over = true;
	if (!c->eof_breaks)
		return;
	/* Twice: a kernel with SysRq on the serial console takes the first for itself. */
	serial_rx_break(c->serial);
	serial_rx_break(c->serial);
}

/* Ctrl-A x ends the microVM, Ctrl-A Ctrl-A is one Ctrl-A; anything else is passed on as typed. */
static void put_typed(struct console *c, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!c->escaped && data[i] == ESCAPE) {
			c->escaped = true;
			continue;
		}
		if (c->escaped && data[i] == 'x') {
			c->asked_to_end(c->asked_arg);
		} else {
			if (c->escaped && data[i] != ESCAPE)
				c->typed[c->nr_typed++] = ESCAPE;
			c->typed[c->nr_typed++] = data[i];
		}
		c->escaped = false;
	}
}

/* What it does not take now it takes later; serial_rx_room() has it tell when. */
static void feed_typed(struct console *c)
{
	if (c->nr_typed == 0 || serial_rx_room(c->serial) == 0)
		return;
	serial_rx_put(c->serial, c->typed, c->nr_typed);
	c->nr_typed = 0;
}

/* A terminal is read also while the guest takes nothing, for the sake of Ctrl-A x. */
static size_t input_room(struct console *c)
{
	size_t room;

	if (!c->is_tty)
		return serial_rx_room(c->serial);
	room = sizeof(c->typed) - c->nr_typed;
	return room > 1 ? room : 0;
}

static void wait_readable(struct console *c)
{
	struct io_uring_sqe *sqe = loop_sqe(c->loop);

	c->reading = true;
	io_uring_prep_poll_add(sqe, c->in, POLLIN);
	loop_prepared(sqe, &c->readable_op);
}

/*
 * Linux empties the UART in its interrupt handler for as long as there is input, and only the
 * thread behind it can say "no more" by RTS: fed without a break it would run out of buffers and
 * lose bytes. So the guest gets a pause of a quarter of the time that it took over the last
 * helping.
 */
static void pause_input(struct console *c)
{
	const uint64_t took = (loop_now_ns(CLOCK_MONOTONIC) - c->fed_ns) / 4;
	const uint64_t ns = took < PAUSE_NS ? took : PAUSE_NS; /* it was away, or paused */
	struct io_uring_sqe *sqe = loop_sqe(c->loop);

	c->fed_ns = 0;
	c->pace.tv_sec = (long long)(ns / 1000000000u);
	c->pace.tv_nsec = (long long)(ns % 1000000000u);
	io_uring_prep_timeout(sqe, &c->pace, 0, 0);
	loop_prepared(sqe, &c->pace_op);
}

static void pump_in(struct console *c)
{
	size_t room;

	feed_typed(c);
	if (c->reading)
		return;
	if (c->leaving) {
		client_gone(c);
		return;
	}
	if (c->input_over || (c->in < 0 && !c->eof_breaks))
		return;
	room = input_room(c);
	if (room == 0)
		return;
	if (c->in < 0) { /* a job's, which waits for the end of what it has none of */
		end_input(c);
		return;
	}
	room /= 2; /* an escape may put two bytes for one */
	if (room > sizeof(c->input))
		room = sizeof(c->input);
	c->reading = true;
	if (c->fed_ns)
		pause_input(c);
	else
		loop_read(c->loop, &c->read_op, c->in, c->input, (unsigned)room);
}

static void on_paced(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, pace_op);

	(void)res; /* -ETIME */
	c->reading = false;
	pump_in(c);
}

static void accept_next(struct console *c);

/*
 * A client that has nothing more to say may still be listening: until it is gone, or another comes.
 */
static void half_closed(struct console *c)
{
	c->in = -1;
	accept_next(c);
}

static void on_read(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, read_op);

	c->fed_ns = res > 0 ? loop_now_ns(CLOCK_MONOTONIC) : 0;
	if (res == -EINTR || is_denied(c, res)) {
		loop_timeout(c->loop, &c->pace_op, &c->pace, AGAIN_MS);
		return;
	}
	c->reading = false;
	if (res > 0 && c->is_tty)
		put_typed(c, c->input, (size_t)res);
	else if (res > 0)
		serial_rx_put(c->serial, c->input, (size_t)res);
	else if (res == -EAGAIN)
		wait_readable(c);
	else if (c->config->kind == SERIAL_UNIX && res == 0)
		half_closed(c);
	else if (c->config->kind == SERIAL_UNIX)
		client_gone(c);
	else
		end_input(c);
	pump_in(c);
}

static void on_readable(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, readable_op);

	(void)res; /* an error shows in the read */
	c->reading = false;
	pump_in(c);
}

static void on_wake(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, wake_op);

	must(res == (int)sizeof(c->wakes) || res == -EINTR || res == -EAGAIN);
	loop_read(c->loop, op, c->wake_file, &c->wakes, sizeof(c->wakes));
	pump_out(c);
	pump_in(c);
}

/* The socket: one client at a time; output without a client is dropped. */

static void accept_next(struct console *c)
{
	struct io_uring_sqe *sqe;

	if (c->accepting || c->next_fd >= 0)
		return;
	sqe = loop_sqe(c->loop);
	c->accepting = true;
	io_uring_prep_accept(sqe, c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	loop_prepared(sqe, &c->accept_op);
}

static void welcome(struct console *c, int fd)
{
	if (loop_file_replace(c->loop, c->client_file, fd)) {
		close(fd);
		accept_next(c);
		return;
	}
	c->client_fd = fd;
	c->watching = loop_wait_ready(c->loop, &c->hangup_op, fd, 0) == 0;
	c->in = c->out = c->client_file;
	serial_tx_discard(c->serial, false);
	pump_out(c);
	pump_in(c);
}

/* Called again by whichever of its operations ends last: the queues are in use until then. */
static void client_gone(struct console *c)
{
	const int next = c->next_fd;

	c->leaving = true;
	shutdown(c->client_fd, SHUT_RDWR);
	if (c->reading || c->writing || c->watching)
		return;
	c->leaving = false;
	serial_tx_discard(c->serial, true);
	must(loop_file_replace(c->loop, c->client_file, -1) == 0);
	close(c->client_fd);
	c->client_fd = c->next_fd = c->in = c->out = -1;
	finish_drain(c);
	if (next >= 0)
		welcome(c, next);
	else
		accept_next(c);
}

/*
 * It has gone, also where nothing is read from it: what it has said still counts until another
 * comes.
 */
static void on_hangup(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, hangup_op);

	(void)res; /* EPOLLHUP */
	c->watching = false;
	if (c->leaving)
		client_gone(c);
	else
		accept_next(c);
}

static void on_accepted(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, accept_op);

	c->accepting = false;
	if (res == -EINTR || res == -EAGAIN || res == -ECONNABORTED) {
		accept_next(c);
	} else if (res < 0) { /* such as no descriptor left: the next try would fail at once, too */
		fail(res, "%s: taking a client; again in a second", c->config->path);
		c->accepting = true;
		loop_timeout(c->loop, &c->retry_op, &c->retry, RETRY_MS);
	} else if (c->client_fd >= 0) { /* half closed or gone: it makes room */
		c->next_fd = res;
		client_gone(c);
	} else {
		welcome(c, res);
	}
}

static void on_retry(struct op *op, int res)
{
	struct console *c = container_of(op, struct console, retry_op);

	(void)res; /* -ETIME */
	c->accepting = false;
	accept_next(c);
}

/* Opening. Each back end sets in and out, or leaves -1. */

bool console_is_tty(const struct serial_config *config)
{
	return config->kind == SERIAL_STDIO && term_is_usable() && isatty(STDOUT_FILENO);
}

/*
 * Who reads a pipe or a socket waits for its end, which a registered file would have only some time
 * after the process (loop_wait_ready()): these are no files of the ring.
 */
static int open_stdout(struct console *c)
{
	struct stat st;

	if (fstat(STDOUT_FILENO, &st))
		return -errno;
	c->is_pipe = S_ISFIFO(st.st_mode);
	c->is_socket = S_ISSOCK(st.st_mode);
	c->is_direct = c->is_pipe || c->is_socket || S_ISREG(st.st_mode);
	c->is_out_tty = isatty(STDOUT_FILENO);
	if (!c->is_direct)
		c->out = loop_file(c->loop, STDOUT_FILENO);
	if (c->is_pipe && pipe2(c->relay, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	return !c->is_direct && c->out < 0 ? c->out : 0;
}

/* stdin and stdout are whatever the caller gave us; what is closed or in the background is left. */
static int open_stdio(struct console *c)
{
	int err = 0;

	if (isatty(STDIN_FILENO) ? term_is_usable() : !c->config->is_tty_only)
		c->in = loop_file(c->loop, STDIN_FILENO);
	err = open_stdout(c);
	if (err)
		return fail(err, "standard output");
	c->is_tty = console_is_tty(c->config);
	if (c->is_tty)
		err = term_raw();
	if (err == -EINTR)
		return fail(0, "the terminal: in its background (fg brings mayfly forward)");
	return err ? fail(err, "the terminal") : 0;
}

static int open_file(struct console *c)
{
	const char *path = c->config->path;
	const int fd =
		config_open(path, c->config->fd,
			    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	c->fd = fd;
	if (fd < 0 || fstat(fd, &st))
		return fail(-errno, errno == ENXIO ? "%s (a FIFO without a reader)" : "%s", path);
	c->is_out_tty = isatty(fd);
	c->is_regular = S_ISREG(st.st_mode);
	c->is_own_fifo = S_ISFIFO(st.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
	c->out = loop_file(c->loop, fd);
	return c->out < 0 ? fail(c->out, "%s", path) : 0;
}

static bool is_socket_file(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int open_unix(struct console *c)
{
	const char *path = c->config->path;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err;

	c->fd = fd;
	if (fd < 0)
		return fail(-errno, "socket");
	err = sealed_bind(&c->own, fd, path);
	if (err == -ENAMETOOLONG)
		return fail(0, "%s: too long for a socket's path (%zu bytes at most)", path,
			    sizeof(c->own.address->sun_path) - 1);
	if (err)
		return fail(err, is_socket_file(path) ? "%s (remove it if it is left over)" : "%s",
			    path);
	if (listen(fd, 1))
		return fail(-errno, "%s", path);
	c->listener = loop_file(c->loop, fd);
	if (c->listener < 0)
		return fail(c->listener, "%s", path);
	c->client_file = loop_file(c->loop, fd); /* a place for the client, taken by the listener */
	if (c->client_file < 0)
		return fail(c->client_file, "%s", path);
	serial_tx_discard(c->serial, true);
	return 0;
}

static int open_pty(struct console *c)
{
	const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct termios raw;

	c->fd = fd;
	if (fd < 0 || grantpt(fd) || unlockpt(fd))
		return fail(-errno, "a new pseudo-terminal");
	/*
	 * Held open, so that the master neither fails nor loses its settings between two readers.
	 */
	c->slave = open(ptsname(fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->slave < 0 || tcgetattr(c->slave, &raw))
		return fail(-errno, "%s", ptsname(fd));
	cfmakeraw(&raw);
	tcsetattr(c->slave, TCSANOW, &raw);
	c->in = c->out = loop_file(c->loop, fd);
	if (c->in < 0)
		return fail(c->in, "%s", ptsname(fd));
	note("serial port on %s", ptsname(fd));
	return 0;
}

static int open_back_end(struct console *c)
{
	switch (c->config->kind) {
	case SERIAL_STDIO:
		return open_stdio(c);
	case SERIAL_FILE:
		return open_file(c);
	case SERIAL_UNIX:
		return open_unix(c);
	case SERIAL_PTY:
		return open_pty(c);
	case SERIAL_NONE:
		break;
	}
	return 0;
}

int console_open(struct console *c, struct loop *loop, struct serial *serial,
		 const struct serial_config *config, bool is_job)
{
	*c = (struct console){ .is_open = true,
			       .loop = loop,
			       .serial = serial,
			       .config = config,
			       .in = -1,
			       .out = -1,
			       .fd = -1,
			       .slave = -1,
			       .relay = { -1, -1 },
			       .client_fd = -1,
			       .next_fd = -1 };
	c->wake_op.done = on_wake;
	c->read_op.done = on_read;
	c->readable_op.done = on_readable;
	c->write_op.done = on_written;
	c->direct_op.done = on_direct;
	c->writable_op.done = on_writable;
	c->batch_op.done = on_batch;
	c->pace_op.done = on_paced;
	c->fetch_op.done = on_fetch;
	c->accept_op.done = on_accepted;
	c->retry_op.done = on_retry;
	c->hangup_op.done = on_hangup;
	c->wake_file = loop_file(loop, serial->wake_fd);
	if (c->wake_file < 0)
		return fail(c->wake_file, "registering an eventfd");
	c->eof_breaks = is_job && !console_is_tty(config) && config->kind != SERIAL_UNIX &&
			config->kind != SERIAL_PTY;
	return open_back_end(c);
}

void console_listen(struct console *c, void (*asked_to_end)(void *arg), void *arg)
{
	c->asked_to_end = asked_to_end;
	c->asked_arg = arg;
	loop_read(c->loop, &c->wake_op, c->wake_file, &c->wakes, sizeof(c->wakes));
	if (c->config->kind == SERIAL_UNIX)
		accept_next(c);
	pump_in(c); /* there is no room yet: this asks to be told */
}

bool console_has_readers(const struct console *c)
{
	return c->config->kind == SERIAL_STDIO || can_vanish(c);
}

void console_drain(struct console *c, void (*drained)(void *arg), void *arg)
{
	c->drained = drained;
	c->drained_arg = arg;
	if (serial_tx_empty(c->serial)) {
		all_out(c);
		return;
	}
	loop_cancel(c->loop, &c->batch_op); /* nothing more will come */
	pump_out(c);
}

void console_close(struct console *c)
{
	const int fds[] = { c->fd, c->slave, c->relay[0], c->relay[1], c->next_fd, c->client_fd };

	if (!c->is_open)
		return;
	c->is_open = false;
	sealed_remove(&c->own);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}
