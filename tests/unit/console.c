// SPDX-License-Identifier: Apache-2.0
/*
 * The outside of the serial port on a ring of the test's own, so that each operation ends when the
 * test says so and as it says: output that goes out in pieces, a reader that is gone, clients that
 * come one after the other. The UART is the real one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/console.h"
#include "scratch.h"

#define SLOTS 32u
enum { THR = 0, MCR = 4, LSR = 5 };
enum { RTS = 2, OUT1 = 4 };

static struct slot {
	struct io_uring_sqe sqe;
	struct op *op;
	bool is_taken;
} slots[SLOTS];
static unsigned nr_files;
static int last_fd; /* of those */
static uint64_t clock_ns;

/* What has a link goes out with the next. */
static unsigned room;
static struct io_uring_sqe *last;

void loop_room(struct loop *loop, unsigned nr)
{
	(void)loop;
	room = nr;
}

struct io_uring_sqe *loop_sqe(struct loop *loop)
{
	(void)loop;
	if (last && last->flags & IOSQE_IO_LINK)
		assert_true(room > 0);
	room -= room > 0;
	for (unsigned i = 0; i < SLOTS; i++)
		if (!slots[i].is_taken) {
			slots[i] = (struct slot){ .is_taken = true };
			return last = &slots[i].sqe;
		}
	abort();
}

/* Without an op nobody waits for its end. */
void loop_prepared(struct io_uring_sqe *sqe, struct op *op)
{
	struct slot *s = container_of(sqe, struct slot, sqe);

	s->op = op;
	s->is_taken = op;
}

void loop_read(struct loop *loop, struct op *op, int file, void *buf, unsigned len)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_read(sqe, file, buf, len, 0);
	loop_prepared(sqe, op);
}

void loop_yield(struct loop *loop, struct op *op)
{
	struct io_uring_sqe *sqe = loop_sqe(loop);

	io_uring_prep_nop(sqe);
	loop_prepared(sqe, op);
}

void loop_timeout(struct loop *loop, struct op *op, struct __kernel_timespec *ts, uint64_t ms)
{
	(void)ts;
	(void)ms;
	loop_yield(loop, op);
}

int loop_wait_ready(struct loop *loop, struct op *op, int fd, uint32_t events)
{
	(void)fd;
	(void)events;
	loop_yield(loop, op);
	return 0;
}

void loop_cancel(struct loop *loop, struct op *op)
{
	(void)loop;
	(void)op;
}

int loop_file(struct loop *loop, int fd)
{
	(void)loop;
	last_fd = fd;
	return (int)nr_files++;
}

int loop_file_replace(struct loop *loop, int file, int fd)
{
	(void)loop;
	(void)file;
	(void)fd;
	return 0;
}

/* No two writes are close enough to go together. */
uint64_t loop_now_ns(clockid_t clock)
{
	(void)clock;
	return clock_ns += 10000000;
}

void loop_signal(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static struct console console;
static struct serial serial;
static struct serial_config config;
static char path[100];
static unsigned nr_drained, nr_asked;

static struct slot *find(const struct op *op)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].is_taken && slots[i].op == op)
			return &slots[i];
	return NULL;
}

static void complete(struct op *op, int res)
{
	struct slot *s = find(op);

	assert_non_null(s);
	s->is_taken = false;
	op->done(op, res);
}

static void guest_writes(unsigned reg, const void *bytes, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t byte = ((const uint8_t *)bytes)[i];

		serial_access(&serial, reg, &byte, 1, true);
	}
	complete(&console.wake_op, 8);
}

/* What the console writes, and as much of it as the reader takes. */
static void reader_takes(const char *bytes, int res)
{
	const struct slot *s = find(&console.write_op);

	assert_non_null(s);
	assert_int_equal(s->sqe.len, strlen(bytes));
	assert_memory_equal((void *)(uintptr_t)s->sqe.addr, bytes, strlen(bytes));
	complete(&console.write_op, res);
}

static void on_asked(void *arg)
{
	(void)arg;
	nr_asked++;
}

static void open_console_with(enum serial_kind kind, int fd)
{
	const uint8_t mcr = RTS | OUT1;

	memset(slots, 0, sizeof(slots));
	nr_drained = nr_asked = 0;
	snprintf(path, sizeof(path), "%s/console", dir);
	unlink(path);
	config = (struct serial_config){ .kind = kind, .path = path, .fd = fd };
	serial_init(&serial, eventfd(0, 0), eventfd(0, 0), false);
	assert_int_equal(console_open(&console, NULL, &serial, &config, false), 0);
	for (unsigned i = 0; i < SLOTS; i++) /* a start may fail yet, and takes the files back */
		assert_false(slots[i].is_taken);
	console_listen(&console, on_asked, NULL);
	guest_writes(MCR, &mcr, 1);
}

static void open_console(enum serial_kind kind)
{
	open_console_with(kind, 0);
}

static void close_console(void)
{
	console_close(&console);
	close(serial.irq_fd);
	close(serial.wake_fd);
}

static void on_drained(void *arg)
{
	(void)arg;
	nr_drained++;
}

/* The last output: in pieces, interrupted, and the end is said after all of it and once. */
static void drained(void **state)
{
	int pipes[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	open_console_with(SERIAL_FILE, pipes[1]);
	guest_writes(THR, "hello world", 11);
	console_drain(&console, on_drained, NULL);
	reader_takes("hello world", 5);
	reader_takes(" world",
		     -EINTR); /* from a terminal's background it would come again at once */
	assert_null(find(&console.write_op));
	complete(&console.batch_op, -ETIME);
	assert_int_equal(nr_drained, 0);
	reader_takes(" world", 6);
	assert_int_equal(nr_drained, 1);
	assert_int_equal(serial.tx_dropped, 0);
	close_console();
	close(pipes[0]);
	close(pipes[1]);
}

/* Where the kernel may start no thread for it, it waits; but a guest that is over does not for
 * ever. */
static void without_worker(void **state)
{
	unsigned tries = 0;

	(void)state;
	open_console(SERIAL_FILE);
	guest_writes(THR, "hello", 5);
	reader_takes("hello", -ECANCELED);
	assert_null(find(&console.write_op));
	assert_int_equal(serial.tx_dropped, 0);
	complete(&console.batch_op, -ETIME);
	reader_takes("hello", 5);
	guest_writes(THR, "world", 5);
	reader_takes("world", -ECANCELED);
	console_drain(&console, on_drained, NULL);
	for (; nr_drained == 0; tries++) {
		complete(&console.batch_op, -ETIME);
		reader_takes("world", -ECANCELED);
	}
	assert_in_range(tries, 5, 50);
	assert_int_equal(serial.tx_dropped, 5);
	close_console();
}

/* What a pseudo-terminal holds is gone with its master: its reader gets the time to fetch it. */
static void late_reader(void **state)
{
	char got[8] = "";
	int master, slave;

	(void)state;
	open_console(SERIAL_PTY);
	master = last_fd;
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	guest_writes(THR, "hello", 5);
	console_drain(&console, on_drained, NULL);
	assert_int_equal(write(master, "hello", 5), 5);
	reader_takes("hello", 5);
	complete(&console.fetch_op, -ETIME);
	assert_int_equal(nr_drained, 0);
	assert_int_equal(read(slave, got, sizeof(got)), 5);
	assert_string_equal(got, "hello");
	complete(&console.fetch_op, -ETIME);
	assert_int_equal(nr_drained, 1);
	close_console();

	open_console(SERIAL_PTY); /* one that never comes */
	assert_int_equal(write(last_fd, "hello", 5), 5);
	console_drain(&console, on_drained, NULL);
	clock_ns += 900000000;
	complete(&console.fetch_op, -ETIME);
	assert_int_equal(nr_drained, 0);
	clock_ns += 100000000;
	complete(&console.fetch_op, -ETIME);
	assert_int_equal(nr_drained, 1);
	close_console();
	close(slave);
}

/* A disk that is full costs the output, not the end. */
static void full(void **state)
{
	(void)state;
	open_console(SERIAL_FILE);
	guest_writes(THR, "hello", 5);
	console_drain(&console, on_drained, NULL);
	reader_takes("hello", -ENOSPC);
	assert_int_equal(nr_drained, 1);
	assert_int_equal(serial.tx_dropped, 5);
	close_console();
	open_console(SERIAL_FILE);
	guest_writes(THR, "hello", 5);
	reader_takes("hello", 2); /* and what follows would be written over that */
	guest_writes(THR, "world", 5);
	assert_null(find(&console.write_op));
	assert_int_equal(serial.tx_dropped, 3 + 5);
	console_drain(&console, on_drained, NULL);
	assert_int_equal(nr_drained, 1);
	close_console();
}

static void capped(void **state)
{
	(void)state;
	open_console(SERIAL_FILE);
	config.max_size = 7;
	guest_writes(THR, "hello", 5);
	reader_takes("hello", 5);
	guest_writes(THR, "hello", 5);
	reader_takes("he", 2);
	assert_null(find(&console.write_op));
	guest_writes(THR, "more", 4);
	assert_null(find(&console.write_op));
	assert_int_equal(serial.tx_dropped, 3 + 4);
	close_console();
}

/*
 * A client that has nothing more to say listens on until another comes, also where what it is sent
 * just then has arrived: the other has its turn at once, not with the guest's next word.
 */
static void next_client(void **state)
{
	int first[2], second[2];

	(void)state;
	open_console(SERIAL_UNIX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, first), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, second), 0);
	complete(&console.accept_op, first[0]);
	complete(&console.read_op, 0);
	guest_writes(THR, "bye", 3);
	complete(&console.accept_op, second[0]);
	assert_null(find(&console.accept_op));
	reader_takes("bye", 3);
	complete(&console.hangup_op, EPOLLHUP);
	assert_int_equal(console.client_fd, second[0]);
	assert_non_null(find(&console.read_op));
	guest_writes(THR, "hi", 2);
	reader_takes("hi", 2);
	assert_int_equal(serial.tx_dropped, 0);
	complete(&console.read_op, -ECONNRESET);
	guest_writes(THR, "lost", 4); /* it is on its way out */
	assert_null(find(&console.write_op));
	complete(&console.hangup_op, EPOLLHUP);
	assert_int_equal(console.client_fd, -1);
	assert_int_equal(serial.tx_dropped, 4);
	assert_non_null(find(&console.accept_op));
	close(first[1]);
	close(second[1]);
	close_console();
}

/*
 * A FIFO that is open here for both: where nobody reads it, it costs the guest a second and its
 * output, not the end; who reads later has what comes then.
 */
static void fifo_without_reader(void **state)
{
	char name[160];
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "%s/fifo", dir);
	assert_int_equal(mkfifo(name, 0600), 0);
	fd = open(name, O_RDWR | O_NONBLOCK);
	open_console_with(SERIAL_FILE, fd);
	guest_writes(THR, "lost", 4);
	reader_takes("lost", -EAGAIN);
	assert_true(find(&console.writable_op)->sqe.flags & IOSQE_IO_LINK); /* to a timeout */
	complete(&console.writable_op, -ECANCELED);
	assert_int_equal(serial.tx_dropped, 4);
	guest_writes(THR, "lost too", 8);
	assert_int_equal(serial.tx_dropped, 12);
	complete(&console.writable_op, POLLOUT);
	guest_writes(THR, "read", 4);
	reader_takes("read", 4);
	guest_writes(THR, "last", 4);
	console_drain(&console, on_drained, NULL);
	reader_takes("last", -EAGAIN);
	complete(&console.writable_op, -ECANCELED);
	assert_int_equal(nr_drained, 1);
	close(fd);
	close_console();
}

/*
 * A terminal that was handed over, and blocks: the kernel's workers wait for it, not the ring. They
 * write a file as well, the limit of which would be a signal for the ring's own thread.
 */
static void by_a_worker(void **state)
{
	const int master = posix_openpt(O_RDWR | O_NOCTTY);
	int pipes[2], slave;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	open_console_with(SERIAL_FILE, pipes[1]);
	guest_writes(THR, "pipe", 4);
	assert_false(find(&console.write_op)->sqe.flags & IOSQE_ASYNC);
	close_console();
	close(pipes[0]);
	close(pipes[1]);
	open_console(SERIAL_FILE);
	guest_writes(THR, "file", 4);
	assert_true(find(&console.write_op)->sqe.flags & IOSQE_ASYNC);
	close_console();
	assert_int_equal(unlockpt(master), 0);
	slave = open(ptsname(master), O_WRONLY | O_NOCTTY);
	open_console_with(SERIAL_FILE, slave);
	guest_writes(THR, "terminal", 8);
	assert_true(find(&console.write_op)->sqe.flags & IOSQE_ASYNC);
	close_console();
	close(slave);
	close(master);
}

/*
 * One that has left before the guest reads is no reason for the next to wait, and miss what comes.
 */
static void client_that_left(void **state)
{
	int first[2], second[2];
	const uint8_t mcr = 0;

	(void)state;
	open_console(SERIAL_UNIX);
	guest_writes(MCR, &mcr, 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, first), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, second), 0);
	complete(&console.accept_op, first[0]);
	assert_null(find(&console.read_op));
	complete(&console.hangup_op, EPOLLHUP);
	complete(&console.accept_op, second[0]);
	assert_int_equal(console.client_fd, second[0]);
	guest_writes(THR, "hi", 2);
	reader_takes("hi", 2);
	assert_int_equal(serial.tx_dropped, 0);
	close(first[1]);
	close(second[1]);
	close_console();
}

/* A pause is for a guest that reads: after an hour in which it did not, it is no longer one of
 * minutes. */
static void client_after_a_pause(void **state)
{
	int first[2], second[2];
	uint8_t byte;

	(void)state;
	open_console(SERIAL_UNIX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, first), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, second), 0);
	complete(&console.accept_op, first[0]);
	console.input[0] = 'a';
	complete(&console.read_op, 1);
	assert_null(find(&console.read_op)); /* the guest has not read it */
	clock_ns += 3600 * 1000000000ull;
	serial_access(&serial, 0, &byte, 1, false);
	complete(&console.wake_op, 8);
	assert_non_null(find(&console.pace_op));
	assert_int_equal(console.pace.tv_sec, 0);
	assert_in_range(console.pace.tv_nsec, 1, 100000000);
	complete(&console.hangup_op, EPOLLHUP);
	complete(&console.accept_op, second[0]);
	complete(&console.pace_op, -ETIME);
	assert_int_equal(console.client_fd, second[0]);
	close_console();
}

static int next_fd(void)
{
	const int fd = dup(0);

	close(fd);
	return fd;
}

/* At the end its file is removed, but not who has taken its place since. */
static void place_taken(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int other = socket(AF_UNIX, SOCK_STREAM, 0);
	struct stat st;

	(void)state;
	open_console(SERIAL_UNIX);
	assert_int_equal(lstat(path, &st), 0);
	close_console();
	assert_int_equal(lstat(path, &st), -1);
	open_console(SERIAL_UNIX);
	assert_int_equal(unlink(path), 0);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof(address)), 0);
	close_console();
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(unlink(path), 0);
	close(other);
}

/* A start that fails may be tried again: as often as somebody likes. */
static void closed_again(void **state)
{
	const enum serial_kind kinds[] = { SERIAL_FILE, SERIAL_UNIX, SERIAL_PTY };
	const int next = next_fd();

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		open_console(kinds[i]);
		close_console();
	}
	assert_int_equal(next_fd(), next);
}

/* What is typed, and what of it the guest gets. */
static void type(const char *keys, const char *wanted)
{
	uint8_t byte;

	memcpy(console.input, keys, strlen(keys));
	complete(&console.read_op, (int)strlen(keys));
	for (; *wanted; wanted++) {
		serial_access(&serial, LSR, &byte, 1, false);
		assert_true(byte & 1);
		serial_access(&serial, 0, &byte, 1, false);
		assert_int_equal(byte, *wanted);
	}
	serial_access(&serial, LSR, &byte, 1, false);
	assert_false(byte & 1);
	complete(&console.wake_op, 8);
	complete(&console.pace_op, -ETIME);
}

static void escapes(void **state)
{
	int pair[2];

	(void)state;
	open_console(SERIAL_UNIX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	complete(&console.accept_op, pair[0]);
	console.is_tty = true;
	type("ls", "ls");
	type("\1\1", "\1");
	type("\1c", "\1c");
	assert_int_equal(nr_asked, 0);
	type("a\1xb", "ab");
	assert_int_equal(nr_asked, 1);
	console.is_tty = false; /* bytes of a program are its own */
	type("\1x", "\1x");
	assert_int_equal(nr_asked, 1);
	close_console();
}

/* The guest takes no keys: it is busy, or dead. */
static void escape_behind_a_key(void **state)
{
	int pair[2];
	uint8_t byte;

	(void)state;
	open_console(SERIAL_UNIX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	complete(&console.accept_op, pair[0]);
	console.is_tty = true;
	for (const char *keys = "one\0two\0\1x\0"; *keys; keys += strlen(keys) + 1) {
		memcpy(console.input, keys, strlen(keys));
		complete(&console.read_op, (int)strlen(keys));
		complete(&console.pace_op, -ETIME);
	}
	assert_int_equal(nr_asked, 1);
	for (const char *keys = "onetwo"; *keys; keys++) {
		serial_access(&serial, 0, &byte, 1, false);
		assert_int_equal(byte, *keys);
		if (!strcmp(keys, "etwo"))
			complete(&console.wake_op, 8);
	}
	console.is_tty = false;
	close_console();
}

/* As in a terminal's background, where nobody stops the first process of a PID namespace. */
static void interrupted_read(void **state)
{
	int pair[2];

	(void)state;
	open_console(SERIAL_UNIX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	complete(&console.accept_op, pair[0]);
	complete(&console.read_op, -EINTR);
	assert_null(find(&console.read_op));
	complete(&console.wake_op, 8);
	assert_null(find(&console.read_op));
	complete(&console.pace_op, -ETIME);
	assert_non_null(find(&console.read_op));
	close(pair[1]);
	close_console();
}

/* What the host lacks for a moment costs a client a moment, and nobody a busy loop. */
static void client_not_taken(void **state)
{
	static const int shortages[] = { -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS };
	int pair[2];

	(void)state;
	open_console(SERIAL_UNIX);
	for (size_t i = 0; i < sizeof(shortages) / sizeof(shortages[0]); i++) {
		complete(&console.accept_op, shortages[i]);
		assert_null(find(&console.accept_op));
		complete(&console.retry_op, -ETIME);
	}
	complete(&console.accept_op, -ECONNABORTED); /* this one was another's */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	complete(&console.accept_op, pair[0]);
	assert_int_equal(console.client_fd, pair[0]);
	close(pair[1]);
	close_console();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "all that was written goes out before the end", drained, NULL, NULL, NULL },
		{ "what the kernel may start no thread for waits", without_worker, NULL, NULL,
		  NULL },
		{ "a late reader of a pseudo-terminal", late_reader, NULL, NULL, NULL },
		{ "a disk that is full", full, NULL, NULL, NULL },
		{ "a file that has its most bytes", capped, NULL, NULL, NULL },
		{ "a FIFO that nobody reads", fifo_without_reader, NULL, NULL, NULL },
		{ "what a worker writes", by_a_worker, NULL, NULL, NULL },
		{ "the next client follows one that only listens", next_client, NULL, NULL, NULL },
		{ "and one that has left unread", client_that_left, NULL, NULL, NULL },
		{ "and does not wait for minutes after a pause", client_after_a_pause, NULL, NULL,
		  NULL },
		{ "Ctrl-A at a terminal", escapes, NULL, NULL, NULL },
		{ "and behind keys that the guest has not read", escape_behind_a_key, NULL, NULL,
		  NULL },
		{ "a read that is interrupted waits", interrupted_read, NULL, NULL, NULL },
		{ "a client that cannot be taken yet", client_not_taken, NULL, NULL, NULL },
		{ "another's socket in its place stays", place_taken, NULL, NULL, NULL },
		{ "what was opened is closed", closed_again, NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("console", tests, make_dir, remove_dir);
}
