// SPDX-License-Identifier: Apache-2.0
/*
 * The network device by steps (netdev.h), over a stream and over a peer link: frames over merged
 * buffers, a stream cut at every byte, ends of all kinds that a link can come to, headers, MACs,
 * rate limits, resets. One thread; the ring is the test's own.
 */
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
static void post(unsigned nr, uint32_t size)
{
	for (uint16_t i = 0; i < nr; i++) {
		descs(RX)[i] = (struct desc){ BUFS_GPA + i * size, size, D_WRITE, 0 };
		offer(RX, i);
	}
	kick(RX);
}

static void make_frame(uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + (i >> 8) + len);
	frame[0] = frame[6] = 2; /* no group's addresses */
}

static struct slot *receiving(void)
{
	return find_slot(IORING_OP_RECVMSG);
}

/* The stream gives these bytes, as far as the reader has asked for them. */
static void feed(const uint8_t *bytes, size_t len)
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

static void feed_length(uint32_t len)
{
	const uint32_t length = htonl(len);

	feed((const uint8_t *)&length, sizeof(length));
}

static void feed_frame(uint32_t len)
{
	feed_length(len);
	feed(frame, len);
}

/* The next used element. */
static bool used(unsigned q, uint32_t *id, uint32_t *len)
{
	const volatile uint16_t *area = device_area(q);
	const uint32_t *element = (const uint32_t *)(area + 2) + seen[q] % RING * 2;

	if (area[1] == seen[q])
		return false;
	*id = element[0];
	*len = element[1];
	seen[q]++;
	return true;
}

/* What the driver got is a header that says `buffers`, and the frame. */
static void expect_frame(uint32_t frame_len, uint32_t size)
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

static void send_frame(uint16_t head, uint32_t len)
{
	uint8_t *at = mem_at(&mem, OUT_GPA, sizeof(struct frame_header) + len);

	memset(at, 0, sizeof(struct frame_header));
	memcpy(at + sizeof(struct frame_header), frame, len);
	descs(TX)[head] =
		(struct desc){ OUT_GPA, (uint32_t)sizeof(struct frame_header) + len, 0, 0 };
	offer(TX, head);
	kick(TX);
}

static struct slot *sending(void)
{
	return find_slot(IORING_OP_SENDMSG);
}

static void expect_sent(uint16_t head)
{
	uint32_t id, len;

	assert_true(used(TX, &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 0);
}

static int make(void **state)
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

static int drop(void **state)
{
	net_close(&net);
	if (!*state)
		close(listener);
	close(net.dev.irq_fd);
	close(net.dev.wake_fd);
	free(mem.regions[0].host);
	return 0;
}

static void open_device(uint64_t features)
{
	assert_int_equal(net_open(&net, &config, 1), 0);
	make_device();
	start_driver(features);
}

static const uint32_t lengths[] = { 14,	 15,  60,  242,	 243,  244,   245,
				    498, 499, 500, 1514, 9000, 15000, 16000 };

static void one_buffer(void **state)
{
	(void)state;
	open_device(0);
	post(40, BUF);
	for (size_t i = 0; i < COUNT(lengths) && lengths[i] < BUF - 12; i++) {
		make_frame(lengths[i]);
		feed_frame(lengths[i]);
		expect_frame(lengths[i], BUF);
	}
}

static void merged(void **state)
{
	(void)state;
	for (uint32_t size = 64; size <= 512; size += 64) {
		if (size > 64) {
			drop(state);
			make(state);
		}
		open_device(MERGE);
		for (size_t i = 0; i < COUNT(lengths); i++) {
			if (lengths[i] + 12 > RING * size)
				continue;
			if (i > 0) {
				reset_driver();
				start_driver(MERGE);
			}
			post(RING, size);
			make_frame(lengths[i]);
			feed_frame(lengths[i]);
			expect_frame(lengths[i], size);
		}
	}
}

static void cut_anywhere(void **state)
{
	const uint32_t len = 77, length = htonl(len);
	uint8_t bytes[3 * (4 + 77)];

	(void)state;
	make_frame(len);
	for (unsigned i = 0; i < 3; i++) {
		memcpy(bytes + i * (4 + len), &length, 4);
		memcpy(bytes + i * (4 + len) + 4, frame, len);
	}
	open_device(MERGE);
	for (size_t cut = 1; cut < sizeof(bytes); cut++) {
		for (size_t second = cut; second < sizeof(bytes); second += 7) {
			reset_driver();
			start_driver(MERGE);
			post(RING, 48);
			feed(bytes, cut);
			feed(bytes + cut, second - cut);
			feed(bytes + second, sizeof(bytes) - second);
			for (unsigned i = 0; i < 3; i++)
				expect_frame(len, 48);
		}
	}
}

static void byte_by_byte(void **state)
{
	const uint32_t length = htonl(200);

	(void)state;
	open_device(0);
	post(4, BUF);
	make_frame(200);
	for (unsigned i = 0; i < 4; i++)
		feed((const uint8_t *)&length + i, 1);
	for (unsigned i = 0; i < 200; i++)
		feed(frame + i, 1);
	expect_frame(200, BUF);
}

static void too_long(void **state)
{
	(void)state;
	open_device(0);
	post(8, BUF);
	make_frame(20000);
	feed_frame(20000);
	assert_int_equal(net.counters.rx_long_frames, 1);
	make_frame(100);
	feed_frame(100);
	expect_frame(100, BUF);
}

/* What the driver is told of the link, and how often it was (5.1.4, 4.2.2: InterruptStatus). */
static bool is_link_up(void)
{
	uint8_t at[2];

	virtio_access(&net.dev, 0x106, at, 2, false);
	assert_int_equal(at[1], 0);
	return at[0];
}

static bool was_told(void)
{
	uint32_t status;

	virtio_access(&net.dev, 0x60, (uint8_t *)&status, 4, false);
	out(0x64, status);
	return status & 2;
}

/* Lost and found again: what was half there is forgotten. */
static void impossible_length(void **state)
{
	static const uint32_t bad[] = { 0, 1, 13, FRAME_MAX + 1, 0x7fffffff, 0xffffffff };

	(void)state;
	open_device(0);
	post(8, BUF);
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct slot *timer;

		assert_true(is_link_up() && !was_told());
		feed_length(bad[i]);
		assert_false(net.link->is_up);
		assert_true(!is_link_up() && was_told() && !was_told());
		assert_null(receiving());
		timer = find_slot(IORING_OP_TIMEOUT);
		assert_non_null(timer);
		complete(timer, -ETIME);
		assert_true(net.link->is_up);
		assert_true(is_link_up() && was_told());
		make_frame(100);
		feed_frame(100);
		expect_frame(100, BUF);
	}
}

static void end_of_stream(void **state)
{
	(void)state;
	open_device(0);
	post(8, BUF);
	make_frame(300);
	feed_length(300);
	feed(frame, 150);
	complete(receiving(), 0);
	assert_false(net.link->is_up);
	send_frame(0, 100); /* nobody is there: lost, counted, and given back */
	expect_sent(0);
	assert_int_equal(net.counters.tx_fails, 1);
	close(listener);
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME); /* nobody listens */
	assert_false(net.link->is_up);
	*state = NULL;
	unlink(path);
	{
		struct sockaddr_un address = { .sun_family = AF_UNIX };

		strcpy(address.sun_path, path);
		listener = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(listen(listener, 50), 0);
	}
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	assert_true(net.link->is_up);
	make_frame(100);
	feed_frame(100);
	expect_frame(100, BUF);
}

static void sent_with_length(void **state)
{
	uint8_t got[2000];

	(void)state;
	open_device(0);
	for (uint16_t i = 0; i < 10; i++) {
		const uint32_t len = 14 + i * 150u;
		const uint32_t length = htonl(len);
		struct slot *s;

		make_frame(len);
		send_frame(i, len);
		s = sending();
		assert_non_null(s);
		assert_int_equal(room_of(s), 4 + len);
		frame_get(message_of(s)->msg_iov, (unsigned)message_of(s)->msg_iovlen, got,
			  4 + len);
		assert_memory_equal(got, &length, 4);
		assert_memory_equal(got + 4, frame, len);
		complete(s, (int)(4 + len));
		expect_sent(i);
	}
	assert_int_equal(net.counters.tx_packets_count, 10);
	assert_int_equal(net.counters.tx_fails, 0);
}

/* One goes behind the other; where one goes halfway the rest of the stream is of no use. */
static void sent_in_order(void **state)
{
	unsigned linked = 0, nr = 0;

	(void)state;
	open_device(0);
	make_frame(100);
	for (uint16_t i = 0; i < 5; i++) {
		descs(TX)[i] = (struct desc){ OUT_GPA, 112, 0, 0 };
		offer(TX, i);
	}
	kick(TX);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (!slots[i].is_taken || slots[i].sqe.opcode != IORING_OP_SENDMSG)
			continue;
		nr++;
		linked += !!(slots[i].sqe.flags & IOSQE_IO_LINK);
	}
	assert_int_equal(nr, 5);
	assert_int_equal(linked, 4);
	complete(sending(), 50);
	assert_false(net.link->is_up);
	while (sending())
		complete(sending(), -ECANCELED);
	assert_int_equal(net.counters.tx_fails, 5);
	for (uint16_t i = 0; i < 5; i++)
		expect_sent(i);
}

static void stuck(void **state)
{
	struct slot *timer;

	(void)state;
	open_device(0);
	make_frame(100);
	send_frame(3, 100);
	timer = find_slot(IORING_OP_TIMEOUT);
	assert_non_null(timer);
	complete(timer, -ETIME);
	complete_cancelled();
	assert_null(sending());
	expect_sent(3);
	assert_int_equal(net.counters.tx_fails, 1);
	assert_true(net.link->is_up); /* nothing of it went out */
	timer = find_slot(IORING_OP_TIMEOUT);
	if (timer)
		complete(timer, -ETIME);
	assert_null(find_slot(IORING_OP_TIMEOUT)); /* nothing is under way: nothing is timed */
}

static void receive_limit(void **state)
{
	uint32_t id, len;

	(void)state;
	config.rx.ops = (struct token_bucket){ .size = 3, .refill_ms = 3600000 };
	open_device(0);
	post(8, BUF);
	make_frame(100);
	for (unsigned i = 0; i < 3; i++) {
		feed_frame(100);
		expect_frame(100, BUF);
	}
	feed_frame(100);
	assert_false(used(RX, &id, &len));
	assert_int_equal(net.counters.rx_rate_limiter_throttled, 1);
	assert_null(receiving()); /* nor is more read meanwhile */
	net.rx_limit.ops.tokens = 1;
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	expect_frame(100, BUF);
	assert_int_equal(net.counters.rx_fails, 0);
	assert_non_null(receiving());
}

static void datagram(struct frame_header h, uint32_t len);

/* More buffers than one call takes, of single bytes: they share all descriptors but the first. */
static void post_crumbs(void)
{
	const uint16_t nr = RING / 2;

	for (uint16_t i = 0; i < RING; i++) {
		const uint16_t next = i < nr ? nr : (uint16_t)(i + 1);

		descs(RX)[i] = (struct desc){ BUFS_GPA + i, 1,
					      (uint16_t)(D_WRITE | (i < RING - 1 ? D_NEXT : 0)),
					      next % RING };
	}
	for (uint16_t i = 0; i < nr; i++)
		offer(RX, i);
	kick(RX);
}

/* They are no reason to look for more without end. */
static void crumbs(void **state)
{
	uint32_t id, len;

	alarm(20);
	open_device(MERGE);
	post_crumbs();
	make_frame(1200);
	if (*state) {
		datagram((struct frame_header){ 0 }, 1200);
		complete(find_slot(IORING_OP_TIMEOUT), -ETIME); /* the wait for larger ones */
	} else {
		feed_frame(1200);
	}
	assert_false(used(RX, &id, &len));
	assert_int_equal(net.counters.rx_long_frames, 1);
	make_frame(700);
	if (*state)
		datagram((struct frame_header){ 0 }, 700);
	else
		feed_frame(700);
	for (unsigned n = 0; n < 12 + 700; n += len)
		assert_true(used(RX, &id, &len));
	alarm(0);
}

/*
 * A buffer of as many bytes as used.len can say, the same memory over and over, behind a small one:
 * together they have more than 32 bits hold.
 */
static void huge_buffer(void **state)
{
	const uint32_t large = 16u << 20, table = 0x40000;
	struct desc *d;
	uint32_t id, len;

	(void)state;
	free(mem.regions[0].host);
	mem.regions[0].size = BUFS_GPA + large;
	mem.regions[0].host = calloc(1, mem.regions[0].size);
	assert_non_null(mem.regions[0].host);
	open_device(MERGE | (uint32_t)VIRTIO_F_INDIRECT_DESC);
	d = mem_at(&mem, table, QUEUE_MAX * sizeof(*d));
	for (uint16_t i = 0; i < QUEUE_MAX; i++)
		d[i] = (struct desc){ BUFS_GPA, large, D_WRITE | D_NEXT, (uint16_t)(i + 1) };
	d[QUEUE_MAX - 1] = (struct desc){ BUFS_GPA, large - 1, D_WRITE, 0 };
	descs(RX)[0] = (struct desc){ OUT_GPA, 50, D_WRITE, 0 };
	descs(RX)[1] = (struct desc){ table, QUEUE_MAX * sizeof(*d), D_INDIRECT, 0 };
	offer(RX, 0);
	offer(RX, 1);
	kick(RX);
	make_frame(100);
	datagram((struct frame_header){ 0 }, 100);
	assert_true(used(RX, &id, &len));
	assert_int_equal(id, 0);
	assert_int_equal(len, 50);
	assert_true(used(RX, &id, &len));
	assert_int_equal(id, 1);
	assert_int_equal(len, 12 + 100 - 50);
	assert_false(used(RX, &id, &len));
}

/* A frame that waits for the limit holds buffers, which are not the device's any more after a
 * reset. */
static void receive_limit_reset(void **state)
{
	(void)state;
	config.rx.ops = (struct token_bucket){ .size = 1, .refill_ms = 3600000 };
	open_device(MERGE);
	post(8, 64);
	make_frame(100);
	feed_frame(100);
	expect_frame(100, 64);
	feed_frame(100);
	assert_int_equal(net.counters.rx_rate_limiter_throttled, 1);
	reset_driver();
	memset(mem_at(&mem, BUFS_GPA, 8 * 64), 0x5a, 8 * 64);
	start_driver(MERGE);
	net.rx_limit.ops.tokens = 9;
	for (uint16_t i = 0; i < 4; i++) { /* others than before */
		descs(RX)[20 + i] = (struct desc){ BUFS_GPA + 0x10000 + i * 64u, 64, D_WRITE, 0 };
		offer(RX, (uint16_t)(20 + i));
	}
	kick(RX);
	feed_frame(100);
	expect_frame(100, 64);
	for (uint32_t i = 0; i < 8 * 64; i++)
		assert_int_equal(*(uint8_t *)mem_at(&mem, BUFS_GPA + i, 1), 0x5a);
}

static void send_limit(void **state)
{
	uint32_t id, len;

	(void)state;
	config.tx.bytes = (struct token_bucket){ .size = 250, .refill_ms = 3600000 };
	open_device(0);
	make_frame(100);
	for (uint16_t i = 0; i < 3; i++)
		send_frame(i, 100);
	for (uint16_t i = 0; i < 2; i++) {
		complete(sending(), 104);
		expect_sent(i);
	}
	assert_null(sending());
	assert_false(used(TX, &id, &len));
	assert_int_equal(net.counters.tx_rate_limiter_throttled, 1);
	net.tx_limit.bytes.tokens = 100;
	while (!sending())
		complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	complete(sending(), 104);
	expect_sent(2);
	assert_int_equal(net.counters.tx_fails, 0);
}

static void reset_with_all_in_flight(void **state)
{
	(void)state;
	open_device(MERGE);
	make_frame(500);
	for (unsigned round = 0; round < 20; round++) {
		post(RING, 64);
		feed_length(500);
		feed(frame, 10 + round);
		for (uint16_t i = 0; i < 20; i++) {
			descs(TX)[i] = (struct desc){ OUT_GPA, 112, 0, 0 };
			offer(TX, i);
		}
		kick(TX);
		if (round % 2)
			complete(sending(), 104);
		reset_driver();
		while (sending())
			complete(sending(), 104);
		assert_int_equal(status(), 0);
		assert_int_equal(net.nr_in_flight, 0);
		start_driver(MERGE);
		post(RING, 64);
		feed(frame + 10 + round, 500 - 10 - round); /* nobody's any more */
		make_frame(60);
		feed_frame(60);
		expect_frame(60, 64);
		make_frame(500);
		reset_driver();
		start_driver(MERGE);
	}
}

/* Over a peer link: a datagram. */
static void feed_datagram(const uint8_t *bytes, size_t n)
{
	struct slot *s = receiving();

	assert_non_null(s);
	frame_put(message_of(s)->msg_iov, (unsigned)message_of(s)->msg_iovlen, bytes, n);
	complete(s, (int)n); /* with MSG_TRUNC as long as it was */
	while ((s = receiving()) && s->sqe.msg_flags & MSG_DONTWAIT)
		complete(s, -EAGAIN);
}

/* A header and a frame. */
static void datagram(struct frame_header h, uint32_t len)
{
	uint8_t bytes[12 + 70000];

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), frame, len);
	feed_datagram(bytes, sizeof(h) + len);
}

/* A batch in the making. */
static uint8_t batch[PARCEL_MAX];
static uint32_t batch_len;

static void begin_batch(void)
{
	struct frame_header h = { .flags = PARCEL_VERSION, .gso_type = PARCEL_TYPE };

	memset(batch, 0, FRAME_HEAD);
	memcpy(batch, &h, sizeof(h));
	batch_len = FRAME_HEAD;
}

static void add_frame(struct frame_header h, uint32_t len)
{
	make_frame(len);
	h.num_buffers = (uint16_t)len;
	memcpy(batch + batch_len, &h, sizeof(h));
	memcpy(batch + batch_len + sizeof(h), frame, len);
	batch_len += (uint32_t)sizeof(h) + len;
}

static void feed_batch(void)
{
	feed_datagram(batch, batch_len);
}

static void feed_frames(const uint32_t *lens, unsigned nr)
{
	begin_batch();
	for (unsigned i = 0; i < nr; i++)
		add_frame((struct frame_header){ 0 }, lens[i]);
	feed_batch();
}

static void expect_frames(const uint32_t *lens, unsigned nr, uint32_t size)
{
	for (unsigned i = 0; i < nr; i++) {
		make_frame(lens[i]);
		expect_frame(lens[i], size);
	}
}

static const uint32_t small[] = { 14, 60, 1514, 61, 500, 14, 15, 1514, 1513, 100, 3000 };

static void peers_batch(void **state)
{
	static const uint32_t sizes[] = { 64, 256, 1000, 4096 };

	(void)state;
	open_device(MERGE);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		reset_driver();
		start_driver(MERGE);
		post(RING, sizes[i]);
		feed_frames(small, sizes[i] < 256 ? 2 : COUNT(small));
		expect_frames(small, sizes[i] < 256 ? 2 : COUNT(small), sizes[i]);
		make_frame(1200); /* and one alone as before */
		datagram((struct frame_header){ 0 }, 1200);
		expect_frame(1200, sizes[i]);
	}
	reset_driver();
	start_driver(0); /* one buffer each: the last is too long */
	post(RING, BUF);
	feed_frames(small, COUNT(small));
	expect_frames(small, COUNT(small) - 1, BUF);
	assert_int_equal(net.counters.rx_long_frames, 1);
	assert_int_equal(net.counters.rx_fails, 1);
	assert_int_equal(net.counters.rx_bad_frames, 0);
}

/* What there are no buffers for waits for them, and nothing is read before. */
static void peers_batch_waits(void **state)
{
	uint32_t id, len;

	(void)state;
	open_device(MERGE);
	post(3, BUF);
	feed_frames(small, COUNT(small) - 1);
	expect_frames(small, 3, BUF);
	for (unsigned i = 3; i < COUNT(small) - 1; i++) {
		assert_false(used(RX, &id, &len));
		assert_null(receiving());
		post(1, BUF);
		expect_frames(small + i, 1, BUF);
	}
	assert_null(receiving());
	post(1, BUF);
	assert_non_null(receiving());
	assert_int_equal(net.counters.rx_fails, 0);
	assert_int_equal(net.counters.rx_packets_count, COUNT(small) - 1);
}

/* A driver of few and small buffers gives each back as soon as it has it: nothing is lost. */
static void peers_batches_in_small_buffers(void **state)
{
	const unsigned nr = 18;
	uint32_t lens[LINK_BURST];
	unsigned of_frame;

	(void)state;
	open_device(MERGE);
	post(nr, 256);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < LINK_BURST; i++)
			lens[i] = 14 + (round * 97 + i * 331) % 1500;
		feed_frames(lens, LINK_BURST);
		for (unsigned i = 0; i < LINK_BURST; i++) {
			const uint16_t before = seen[RX];

			make_frame(lens[i]);
			expect_frame(lens[i], 256);
			of_frame = (uint16_t)(seen[RX] - before);
			for (unsigned j = 0; j < of_frame; j++) {
				const volatile uint16_t *area = device_area(RX);
				const uint32_t *e = (const uint32_t *)(area + 2) +
						    (uint16_t)(before + j) % RING * 2;

				offer(RX, (uint16_t)e[0]);
				kick(RX);
			}
		}
		assert_non_null(receiving());
		while (nr_cancelled > 0)
			complete_cancelled();
	}
	assert_int_equal(net.counters.rx_fails, 0);
}

/* A frame that the buffers have no room for has the time until the driver gives more. */
static void peers_large_waits(void **state)
{
	uint32_t id, len;

	(void)state;
	open_device(MERGE);
	post(3, 256);
	make_frame(1000);
	datagram((struct frame_header){ 0 }, 1000);
	assert_false(used(RX, &id, &len));
	assert_null(receiving());
	for (uint16_t i = 3; i < 6; i++) {
		descs(RX)[i] = (struct desc){ BUFS_GPA + i * 256u, 256, D_WRITE, 0 };
		offer(RX, i);
	}
	kick(RX);
	expect_frame(1000, 256);
	assert_int_equal(net.counters.rx_fails, 0);
	assert_non_null(receiving()); /* there is one buffer left */
	datagram((struct frame_header){ 0 }, 1000);
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME); /* the first's */
	if (find_slot(IORING_OP_TIMEOUT))
		complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	assert_int_equal(net.counters.rx_long_frames, 1); /* no more came */
	assert_non_null(receiving());
	make_frame(100);
	datagram((struct frame_header){ 0 }, 100);
	expect_frame(100, 256);
}

static void peers_bad_batches(void **state)
{
	uint32_t id, len;

	(void)state;
	open_device(2); /* GUEST_CSUM */
	post(40, BUF);
	begin_batch(); /* a frame that is none, between two */
	add_frame((struct frame_header){ 0 }, 100);
	add_frame((struct frame_header){ 1, 0, 0, 0, 99, 0, 0 }, 100);
	add_frame((struct frame_header){ 0, PARCEL_TYPE, 0, 0, 0, 0, 0 }, 100);
	add_frame((struct frame_header){ 1, 1, 54, 100, 34, 16, 0 }, 100); /* none in a batch */
	add_frame((struct frame_header){ 0 }, 200);
	feed_batch();
	expect_frames((const uint32_t[]){ 100, 200 }, 2, BUF);
	assert_int_equal(net.counters.rx_bad_frames, 3);
	for (uint32_t less = 1; less < 112; less++) { /* not whole: no frame of it is taken */
		begin_batch();
		add_frame((struct frame_header){ 0 }, 100);
		add_frame((struct frame_header){ 0 }, 100);
		batch_len -= less;
		feed_batch();
		assert_false(used(RX, &id, &len));
		assert_int_equal(net.counters.rx_bad_frames, 3 + less);
	}
	begin_batch(); /* of nothing */
	feed_batch();
	begin_batch(); /* of another version */
	add_frame((struct frame_header){ 0 }, 100);
	batch[0] = PARCEL_VERSION + 1;
	feed_batch();
	begin_batch(); /* longer than any: the kernel says so */
	complete(receiving(), (int)PARCEL_MAX + 1);
	while (receiving() && receiving()->sqe.msg_flags & MSG_DONTWAIT)
		complete(receiving(), -EAGAIN);
	assert_false(used(RX, &id, &len));
	assert_int_equal(net.counters.rx_bad_frames, 3 + 111 + 2);
	assert_int_equal(net.counters.rx_long_frames, 1);
	feed_frames(small, 2);
	expect_frames(small, 2, BUF);
}

/* The limit is on frames, not on datagrams. */
static void peers_batch_limit(void **state)
{
	uint32_t id, len;

	(void)state;
	config.rx.ops = (struct token_bucket){ .size = 3, .refill_ms = 3600000 };
	open_device(MERGE);
	post(RING, BUF);
	feed_frames(small, 6);
	expect_frames(small, 3, BUF);
	for (unsigned i = 3; i < 6; i++) {
		assert_false(used(RX, &id, &len));
		assert_null(receiving());
		net.rx_limit.ops.tokens = 1;
		complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
		expect_frames(small + i, 1, BUF);
	}
	assert_int_equal(net.counters.rx_fails, 0);
	assert_non_null(receiving());
}

/* Whoever comes after a reset sees nothing of what waited. */
static void peers_batch_reset(void **state)
{
	uint32_t id, len;

	(void)state;
	open_device(MERGE);
	post(2, BUF);
	feed_frames(small, 6);
	expect_frames(small, 2, BUF);
	reset_driver();
	assert_int_equal(net.nr_in_flight, 0);
	start_driver(MERGE);
	post(RING, BUF);
	assert_false(used(RX, &id, &len));
	feed_frames(small + 3, 2);
	expect_frames(small + 3, 2, BUF);
}

/* Segments for a driver that takes none come as packets; tests/unit/parcel.c looks into them. */
static void peers_segments(void **state)
{
	static const uint32_t features[] = { 0, MERGE, MERGE | 2 };
	const struct frame_header h = { 1, 1, 54, 1448, 34, 16, 0 };
	uint32_t id, len, data;

	(void)state;
	open_device(0);
	for (size_t i = 0; i < COUNT(features); i++) {
		reset_driver();
		start_driver(features[i]);
		post(RING, BUF);
		make_frame(54 + 64000);
		memcpy(frame + 12, "\x08\x00\x45", 3);
		frame[14 + 9] = 6;
		frame[34 + 12] = 0x50;
		datagram(h, 54 + 64000);
		for (data = 0; data < 64000; data += len - 12 - 54) {
			const uint32_t n = 64000 - data < 1448 ? 64000 - data : 1448;
			const uint8_t *got;

			assert_true(used(RX, &id, &len));
			assert_int_equal(len, 12 + 54 + n);
			got = mem_at(&mem, descs(RX)[id].addr, len);
			assert_int_equal(got[0] + got[1], 0);
			assert_int_equal(got[10] + 256 * got[11], 1);
			assert_memory_equal(got + 12 + 54, frame + 54 + data, n);
		}
		assert_false(used(RX, &id, &len));
		assert_int_equal(net.counters.rx_fails, 0);
	}
	frame[14 + 9] = 17; /* what cannot be cut */
	datagram(h, 54 + 64000);
	assert_int_equal(net.counters.rx_bad_frames, 1);
	reset_driver();
	start_driver(MERGE | 1 << 7 | 2); /* and one who takes them: as they are */
	post(RING, BUF);
	datagram(h, 54 + 64000);
	for (data = 0; data < 12 + 54 + 64000; data += len)
		assert_true(used(RX, &id, &len));
	assert_int_equal(data, 12 + 54 + 64000);
}

/* A frame that this driver sends goes to a peer that is there. */
static int other_peer(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	mkdir(path, 0700);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/9", path);
	unlink(address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void offer_frames(unsigned nr, uint32_t len)
{
	uint8_t *at = mem_at(&mem, OUT_GPA, 12 + len);

	memset(at, 0, 12);
	make_frame(len);
	memcpy(at + 12, frame, len);
	for (uint16_t i = 0; i < nr; i++) {
		descs(TX)[i] = (struct desc){ OUT_GPA, 12 + len, 0, 0 };
		offer(TX, i);
	}
	kick(TX);
}

/* The datagram that is being sent; as many frames of `len` bytes, and nothing else. */
static struct slot *expect_datagram(unsigned frames, uint32_t len)
{
	static uint8_t got[PARCEL_MAX];
	struct slot *s = find_slot(IORING_OP_WRITEV);
	const struct iovec *iov;
	uint32_t n = 0, at = frames > 1 ? FRAME_HEAD : 0;

	assert_non_null(s);
	iov = (const struct iovec *)(uintptr_t)s->sqe.addr;
	for (unsigned i = 0; i < s->sqe.len; i++) {
		memcpy(got + n, iov[i].iov_base, iov[i].iov_len);
		n += (uint32_t)iov[i].iov_len;
	}
	assert_int_equal(got[10], 0); /* our slot */
	assert_int_equal(got[1], frames > 1 ? PARCEL_TYPE : 0);
	for (unsigned i = 0; i < frames; i++, at += 12 + len)
		assert_memory_equal(got + at + 12, frame, len);
	assert_int_equal(at, n);
	return s;
}

static void peers_send_batch(void **state)
{
	const int fd = other_peer();

	(void)state;
	open_device(0);
	offer_frames(20, 100);
	complete(expect_datagram(LINK_BURST - 1, 100), 9999);
	for (uint16_t i = 0; i < LINK_BURST - 1; i++)
		expect_sent(i);
	complete(expect_datagram(20 - (LINK_BURST - 1), 100), 9999);
	for (uint16_t i = LINK_BURST - 1; i < 20; i++)
		expect_sent(i);
	offer_frames(1, 60);
	complete(expect_datagram(1, 60), 9999);
	expect_sent(0);
	assert_int_equal(net.counters.tx_packets_count, 21);
	assert_int_equal(net.counters.tx_bytes_count, 20 * 100 + 60);
	assert_int_equal(net.counters.tx_fails, 0);
	close(fd);
}

/* Each frame of a batch that is lost is counted, and given back. */
static void peers_lose_batch(void **state)
{
	const int fd = other_peer();

	(void)state;
	open_device(0);
	offer_frames(7, 100);
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME); /* stuck */
	complete_cancelled();
	for (uint16_t i = 0; i < 7; i++)
		expect_sent(i);
	assert_int_equal(net.counters.tx_fails, 7);
	offer_frames(5, 100); /* not waited for any more */
	assert_null(find_slot(IORING_OP_WRITEV));
	complete(sending(), -EAGAIN);
	assert_int_equal(net.counters.tx_fails, 12);
	close(fd);
	offer_frames(3, 100);
	complete(sending(), -ECONNREFUSED); /* it is gone */
	assert_int_equal(net.counters.tx_fails, 15);
	assert_int_equal(net.counters.tx_packets_count, 0);
	offer_frames(3, 100);
	assert_null(sending());
	assert_int_equal(net.counters.tx_fails, 18);
}

/* A guest that writes a batch's header sends none. */
static void peers_no_guest_batch(void **state)
{
	const int fd = other_peer();
	uint8_t *at;

	(void)state;
	open_device(0);
	make_frame(200);
	at = mem_at(&mem, OUT_GPA, 212);
	memcpy(at + 12, frame, 200);
	memset(at, 0, 12);
	at[0] = PARCEL_VERSION;
	at[1] = PARCEL_TYPE;
	descs(TX)[0] = (struct desc){ OUT_GPA, 212, 0, 0 };
	offer(TX, 0);
	kick(TX);
	assert_null(find_slot(IORING_OP_WRITEV));
	expect_sent(0);
	assert_int_equal(net.counters.tx_fails, 1);
	close(fd);
}

static void peers_headers(void **state)
{
	uint32_t id, len;

	(void)state;
	open_device(2); /* GUEST_CSUM */
	post(20, BUF);
	make_frame(100);
	datagram((struct frame_header){ 1, 0, 0, 0, 90, 20, 3 }, 100);
	datagram((struct frame_header){ 1, 1, 54, 1000, 34, 16, 3 }, 100); /* not TCP */
	datagram((struct frame_header){ 0, 9, 0, 0, 0, 0, 3 }, 100);
	assert_int_equal(net.counters.rx_bad_frames, 3);
	assert_false(used(RX, &id, &len));
	datagram((struct frame_header){ 0, 0, 7, 7, 7, 7, 3 }, 100);
	expect_frame(100, BUF);
	datagram((struct frame_header){ 0 }, 2500); /* longer than the buffer */
	assert_int_equal(net.counters.rx_long_frames, 1);
	datagram((struct frame_header){ 0 }, 13);
	datagram((struct frame_header){ 0 }, 0);
	assert_int_equal(net.counters.rx_bad_frames, 5);
	complete(receiving(), 5);
	while (receiving()->sqe.msg_flags & MSG_DONTWAIT)
		complete(receiving(), -EAGAIN);
	datagram((struct frame_header){ 0 }, 100);
	expect_frame(100, BUF);
}

/* A driver that makes no checksums gets frames that have theirs. */
static void peers_checksum(void **state)
{
	const uint8_t *got;
	uint32_t id, len, sum = 0;

	(void)state;
	open_device(0);
	post(4, BUF);
	make_frame(101);
	frame[14 + 20] = frame[14 + 21] = 0;
	datagram((struct frame_header){ 1, 0, 0, 0, 14, 20, 0 }, 101);
	assert_true(used(RX, &id, &len));
	assert_int_equal(len, 12 + 101);
	got = mem_at(&mem, descs(RX)[id].addr, len);
	assert_int_equal(got[0], 0);
	for (unsigned i = 14; i < 101; i++)
		sum += i % 2 ? got[12 + i] : (uint32_t)got[12 + i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	assert_int_equal(sum, 0xffff);
}

/* A read that fails is tried again after a while, not at once and for ever. */
static void failing_read(void **state)
{
	(void)state;
	open_device(0);
	post(4, BUF);
	complete(receiving(), -EIO);
	assert_null(receiving());
	assert_int_equal(net.counters.tap_read_fails, 1);
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	make_frame(60);
	datagram((struct frame_header){ 0 }, 60);
	expect_frame(60, BUF);
}

static void spoofed(void **state)
{
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };

	(void)state;
	config.has_mac = true;
	memcpy(config.mac, mac, 6);
	open_device(1ull << 5);
	make_frame(60);
	memcpy(frame + 6, mac, 6);
	send_frame(0, 60); /* no peer is there: it is lost, but right */
	assert_int_equal(net.counters.tx_spoofed_mac_count, 0);
	frame[11]++;
	send_frame(1, 60);
	assert_int_equal(net.counters.tx_spoofed_mac_count, 1);
	assert_int_equal(net.counters.tap_write_fails, 2);
	config.is_spoof_refused = true;
	send_frame(2, 60);
	assert_int_equal(net.counters.tx_spoofed_mac_count, 2);
	assert_int_equal(net.counters.tap_write_fails, 2);
	for (uint16_t i = 0; i < 3; i++)
		expect_sent(i);
}

/* Pages of this process's address space. */
static unsigned long address_space(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages;
}

/* A start that is refused can be tried again, for as long as the process lives. */
static void closed_before_it_ran(void **state)
{
	unsigned long before = 0;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(net_open(&net, &config, 1), 0);
		make_device();
		net_close(&net);
		close(net.dev.irq_fd);
		close(net.dev.wake_fd);
		memset(slots, 0, sizeof(slots));
		if (i == 0)
			before = address_space();
	}
	assert_true(address_space() < before + 100);
	assert_int_equal(net_open(&net, &config, 1), 0); /* for drop() */
	make_device();
}

/* What stands for a tap of two pairs of queues, where nothing comes and nothing goes. */
static unsigned nr_set;

static void receive_nothing(struct link *link, unsigned queue, struct link_in *in, bool is_waiting)
{
	(void)link;
	(void)queue;
	(void)is_waiting;
	in->op.done = NULL;
}

static int set_queues(struct link *link, unsigned nr)
{
	(void)link;
	nr_set = nr;
	return 0;
}

static void close_nothing(struct link *link)
{
	(void)link;
}

static void open_pairs(uint64_t features)
{
	static const struct link_ops none = { .receive = receive_nothing,
					      .set_queues = set_queues,
					      .close = close_nothing };

	config.kind = NET_TAP;
	net.config = &config;
	net.link = &net.tap.link;
	net.tap.link = (struct link){ .ops = &none,
				      .nr_queues = 2,
				      .burst_max = 1,
				      .frame_max = FRAME_MAX,
				      .has_header = true,
				      .is_up = true };
	make_device();
	start_driver(features);
}

/* A command of these bytes; its answer, or -1 where none came. */
static int command(const uint8_t *bytes, uint32_t len)
{
	static uint16_t head;
	uint8_t *at = mem_at(&mem, OUT_GPA, 64);
	volatile struct desc *d = descs(CONTROL);
	uint32_t id, written;

	memcpy(at, bytes, len);
	at[63] = 0xff;
	d[0] = (struct desc){ OUT_GPA, len, D_NEXT, 1 };
	d[1] = (struct desc){ OUT_GPA + 63, 1, D_WRITE, 0 };
	offer(CONTROL, head);
	kick(CONTROL);
	if (!used(CONTROL, &id, &written))
		return -1;
	assert_int_equal(written, 1);
	return at[63];
}

#define PAIRS(class, command, low, high) ((const uint8_t[]){ class, command, low, high }), 4

static void number_of_pairs(void **state)
{
	(void)state;
	open_pairs(NET_F_CTRL_VQ | NET_F_MQ);
	assert_int_equal(command(PAIRS(4, 0, 2, 0)), 0);
	assert_int_equal(nr_set, 2);
	assert_int_equal(command(PAIRS(4, 0, 1, 0)), 0);
	assert_int_equal(nr_set, 1);
	assert_int_equal(command(PAIRS(4, 0, 0, 0)), 1);
	assert_int_equal(command(PAIRS(4, 0, 3, 0)), 1);
	assert_int_equal(command(PAIRS(4, 0, 2, 1)), 1);
	assert_int_equal(command(PAIRS(4, 1, 2, 0)), 1);
	assert_int_equal(command(PAIRS(3, 0, 2, 0)), 1);
	assert_int_equal(command((const uint8_t[]){ 4, 0, 2 }, 3), 1);
	assert_int_equal(command((const uint8_t[]){ 4, 0, 2, 0, 0 }, 5), 1);
	assert_int_equal(nr_set, 1);
	assert_int_equal(status(), 15);
}

/* As many segments as a chain may have, and none of them for the answer. */
static void command_without_room(void **state)
{
	const uint32_t table = 0x40000;
	struct desc *d;

	(void)state;
	open_pairs(NET_F_CTRL_VQ | NET_F_MQ | VIRTIO_F_INDIRECT_DESC);
	d = mem_at(&mem, table, QUEUE_MAX * sizeof(*d));
	for (uint16_t i = 0; i < QUEUE_MAX; i++)
		d[i] = (struct desc){ OUT_GPA, 1, i < QUEUE_MAX - 1 ? D_NEXT : 0,
				      (uint16_t)(i + 1) };
	descs(CONTROL)[0] = (struct desc){ table, QUEUE_MAX * sizeof(*d), D_INDIRECT, 0 };
	offer(CONTROL, 0);
	kick(CONTROL);
	assert_int_equal(status(), 15 | 0x40); /* needs a reset */
}

/* One waits; as many look beside it as have found something. */
static void bursts(void **state)
{
	unsigned waiting = 0, looking = 0;

	(void)state;
	open_device(0);
	post(60, BUF);
	make_frame(60);
	for (unsigned i = 0; i < 31; i++) {
		struct slot *s = receiving();

		assert_non_null(s);
		complete(s, 12 + 60);
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		if (!slots[i].is_taken || slots[i].sqe.opcode != IORING_OP_RECVMSG)
			continue;
		if (slots[i].sqe.msg_flags & MSG_DONTWAIT)
			looking++;
		else
			waiting++;
	}
	assert_int_equal(waiting, 1);
	assert_int_equal(looking, LINK_BURST - 1);
}

#define STREAM(name, function)                   \
	{                                        \
		name, function, make, drop, NULL \
	}
static char peers = 1;
#define PEERS(name, function)                      \
	{                                          \
		name, function, make, drop, &peers \
	}

#define TAP PEERS /* opened by the test */

static const struct CMUnitTest tests[] = {
	STREAM("stream: frames into one buffer each", one_buffer),
	STREAM("stream: frames laid over merged buffers of any size", merged),
	STREAM("stream: cut at every byte", cut_anywhere),
	STREAM("stream: byte by byte", byte_by_byte),
	STREAM("stream: a frame that no buffer takes is passed over", too_long),
	STREAM("stream: an impossible length ends it, and it is made anew", impossible_length),
	STREAM("stream: an end in the middle of a frame; nobody there; back again", end_of_stream),
	STREAM("stream: what is sent has its length before it", sent_with_length),
	STREAM("stream: in order, and not behind half a frame", sent_in_order),
	STREAM("stream: a frame that is stuck is given up", stuck),
	STREAM("a rate limit on what comes", receive_limit),
	STREAM("stream: more buffers than one call takes", crumbs),
	PEERS("a buffer of 4 GiB less a byte behind another", huge_buffer),
	STREAM("a reset while a frame waits for the limit", receive_limit_reset),
	STREAM("a rate limit on what goes", send_limit),
	STREAM("resets with all in flight, in the middle of a frame", reset_with_all_in_flight),
	PEERS("peers: headers that make no sense, frames that do not fit", peers_headers),
	PEERS("peers: a checksum that the driver does not make", peers_checksum),
	PEERS("peers: a batch comes as its frames", peers_batch),
	PEERS("peers: what is left of a batch waits for buffers", peers_batch_waits),
	PEERS("peers: batches for a driver of few and small buffers",
	      peers_batches_in_small_buffers),
	PEERS("peers: so does a frame that they have no room for, a while", peers_large_waits),
	PEERS("peers: more buffers than one call takes", crumbs),
	PEERS("peers: batches that are none, and frames in them that are none", peers_bad_batches),
	PEERS("peers: a rate limit lets through frame by frame", peers_batch_limit),
	PEERS("peers: a reset forgets what is left of a batch", peers_batch_reset),
	PEERS("peers: segments are cut for a driver that takes none", peers_segments),
	PEERS("peers: what is in the queue goes out together", peers_send_batch),
	PEERS("peers: a batch is lost with each of its frames", peers_lose_batch),
	PEERS("peers: a guest cannot make a batch itself", peers_no_guest_batch),
	PEERS("a read that fails", failing_read),
	PEERS("frames from another MAC", spoofed),
	PEERS("bursts grow with what they find", bursts),
	STREAM("closed before it ran it leaves nothing", closed_before_it_ran),
	PEERS("the same of a link with parcels", closed_before_it_ran),
	TAP("the control queue sets the number of pairs, and nothing else", number_of_pairs),
	TAP("a command of the most segments without room for its answer", command_without_room),
};

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
	return cmocka_run_group_tests_name("net", tests, make_folder, drop_folder);
}
