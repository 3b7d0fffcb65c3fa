/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the network device have in common (net.c: the device; netstream.c: streams;
 * netpeer.c: peer links): a driver that posts buffers and sends frames, what comes to it by a
 * stream or in a datagram, and what it must have seen then. By steps; one thread; the ring is the
 * test's own (netdev.h).
 */
#ifndef TESTS_UNIT_NETTEST_H
#define TESTS_UNIT_NETTEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include "netdev.h"

#define MERGE	 (1u << 15)
#define BUF	 2048u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char folder[] = "/tmp/mayfly-net.XXXXXX";
static char path[64];
static int listener;
static struct net_config config;
static uint8_t frame[70000];

/* Each buffer `size` bytes, from one place to the next. */
static inline void post(unsigned nr, uint32_t size)
{
	for (uint16_t i = 0; i < nr; i++) {
		descs(RX)[i] = (struct desc){ BUFS_GPA + i * size, size, D_WRITE, 0 };
		offer(RX, i);
	}
	kick(RX);
}

static inline void make_frame(uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + (i >> 8) + len);
	frame[0] = frame[6] = 2; /* no group's addresses */
}

static inline struct slot *receiving(void)
{
	return find_slot(IORING_OP_RECVMSG);
}

/* The stream gives these bytes, as far as the reader has asked for them. */
static inline void feed(const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		struct slot *s = receiving();
		const struct msghdr *m;
		size_t n;

		assert_non_null(s);
		m = message_of(s);
		n = room_of(s) < len ? room_of(s) : len;
		frame_put(m->msg_iov, (unsigned)m->msg_iovlen, bytes, n);
		complete(s, (int)n);
		bytes += n;
		len -= n;
	}
}

static inline void feed_length(uint32_t len)
{
	const uint32_t length = htonl(len);

	feed((const uint8_t *)&length, sizeof(length));
}

static inline void feed_frame(uint32_t len)
{
	feed_length(len);
	feed(frame, len);
}

/* The next used element. */
static inline bool used(unsigned q, uint32_t *id, uint32_t *len)
{
	const volatile uint16_t *area = device_area(q);
	const uint32_t *element = (const uint32_t *)(area + 2) + seen[q] % RING * 2;

	*id = *len = 0;
	if (area[1] == seen[q])
		return false;
	*id = element[0];
	*len = element[1];
	seen[q]++;
	return true;
}

/* What the driver got is a header that says `buffers`, and the frame. */
static inline void expect_frame(uint32_t frame_len, uint32_t size)
{
	static uint8_t got[80000];
	struct frame_header h;
	uint32_t at = 0, id, len;
	unsigned nr = 0;

	while (at < sizeof(h) + frame_len) {
		assert_true(used(RX, &id, &len));
		assert_true(len <= size);
		memcpy(got + at, mem_at(&mem, descs(RX)[id].addr, len), len);
		at += len;
		nr++;
		assert_true(len == size || at == sizeof(h) + frame_len); /* all are filled */
	}
	memcpy(&h, got, sizeof(h));
	assert_int_equal(at, sizeof(h) + frame_len);
	assert_int_equal(h.num_buffers, nr);
	assert_int_equal(h.flags, 0);
	assert_int_equal(h.gso_type, 0);
	assert_memory_equal(got + sizeof(h), frame, frame_len);
}

static inline void send_frame(uint16_t head, uint32_t len)
{
	uint8_t *at = mem_at(&mem, OUT_GPA, sizeof(struct frame_header) + len);

	memset(at, 0, sizeof(struct frame_header));
	memcpy(at + sizeof(struct frame_header), frame, len);
	descs(TX)[head] =
		(struct desc){ OUT_GPA, (uint32_t)sizeof(struct frame_header) + len, 0, 0 };
	offer(TX, head);
	kick(TX);
}

/* The time passes in which the driver could give more buffers. */
static inline void no_more_come(void)
{
	struct slot *s;

	while ((s = find_slot(IORING_OP_TIMEOUT)))
		complete(s, -ETIME);
}

static inline struct slot *sending(void)
{
	return find_slot(IORING_OP_SENDMSG);
}

static inline void expect_sent(uint16_t head)
{
	uint32_t id, len;

	assert_true(used(TX, &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 0);
}

static inline int make(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	config = (struct net_config){ .id = "net0", .kind = NET_STREAM, .path = path };
	memset(slots, 0, sizeof(slots));
	turns = NULL;
	nr_cancelled = 0;
	memset(&net, 0, sizeof(net));
	make_memory();
	snprintf(path, sizeof(path), "%s/%s", folder, *state ? "peers" : "socket");
	if (*state) {
		config.kind = NET_PEER;
	} else {
		unlink(path);
		listener = socket(AF_UNIX, SOCK_STREAM, 0);
		strcpy(address.sun_path, path);
		assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(listen(listener, 50), 0);
	}
	return 0;
}

static inline int drop(void **state)
{
	net_close(&net);
	if (!*state)
		close(listener);
	close(net.dev.irq_fd);
	close(net.dev.wake_fd);
	free(mem.regions[0].host);
	return 0;
}

static inline void open_device(uint64_t features)
{
	assert_int_equal(net_open(&net, &config, 1), 0);
	make_device();
	start_driver(features);
}

/* Over a peer link: a datagram. */
static inline void feed_datagram(const uint8_t *bytes, size_t n)
{
	struct slot *s = receiving();

	assert_non_null(s);
	frame_put(message_of(s)->msg_iov, (unsigned)message_of(s)->msg_iovlen, bytes, n);
	complete(s, (int)n); /* with MSG_TRUNC as long as it was */
	while ((s = receiving()) && s->sqe.msg_flags & MSG_DONTWAIT)
		complete(s, -EAGAIN);
}

/* A header and a frame. */
static inline void datagram(struct frame_header h, uint32_t len)
{
	uint8_t bytes[12 + 70000];

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), frame, len);
	feed_datagram(bytes, sizeof(h) + len);
}

#define STREAM(name, function)                   \
	{                                        \
		name, function, make, drop, NULL \
	}
/* Any state says that it is a peer link. */
#define PEERS(name, function)                      \
	{                                          \
		name, function, make, drop, folder \
	}

static inline int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static inline int drop_folder(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

#endif
