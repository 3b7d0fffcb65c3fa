// SPDX-License-Identifier: Apache-2.0
/*
 * The network device by steps (nettest.h) over a peer link: headers, checksums and segments that
 * peers send, batches in both directions, bad ones among them.
 */
#include "nettest.h"

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
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME); /* that of the first */
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(net.counters.rx_long_frames, 0);
		complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	}
	no_more_come();
	assert_int_equal(net.counters.rx_long_frames, 1);
	assert_non_null(receiving());
	make_frame(100);
	datagram((struct frame_header){ 0 }, 100);
	expect_frame(100, 256);
}

/* Where the driver has given all that its ring holds there is nothing to wait for. */
static void peers_larger_than_all(void **state)
{
	(void)state;
	open_device(MERGE);
	post(RING, 128);
	make_frame(40000);
	datagram((struct frame_header){ 0 }, 40000);
	assert_int_equal(net.counters.rx_long_frames, 1);
	assert_null(find_slot(IORING_OP_TIMEOUT));
	make_frame(100);
	datagram((struct frame_header){ 0 }, 100);
	expect_frame(100, 128);
}

/* 5.1.4.1: once the driver was told, larger frames are not for it; a tag, or segments, are. */
static void peers_mtu(void **state)
{
	const struct frame_header segments = { 1, 1, 54, 1448, 34, 16, 0 };
	uint32_t id, len;

	(void)state;
	config.mtu = 1500;
	open_device(MERGE | NET_F_MTU | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4);
	post(RING, BUF);
	make_frame(1519);
	datagram((struct frame_header){ 0 }, 1519);
	assert_false(used(RX, &id, &len));
	assert_int_equal(net.counters.rx_long_frames, 1);
	begin_batch();
	add_frame((struct frame_header){ 0 }, 1519);
	make_frame(1518);
	add_frame((struct frame_header){ 0 }, 1518);
	feed_batch();
	expect_frame(1518, BUF);
	assert_int_equal(net.counters.rx_long_frames, 2);
	make_frame(54 + 3000);
	memcpy(frame + 12, "\x08\x00\x45", 3);
	frame[14 + 9] = 6;
	frame[34 + 12] = 0x50;
	datagram(segments, 54 + 3000);
	assert_true(used(RX, &id, &len));
	assert_int_equal(net.counters.rx_fails, 2);
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
static int peer_at(unsigned slot)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	mkdir(path, 0700);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%u", path, slot);
	unlink(address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static int other_peer(void)
{
	return peer_at(9);
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
	assert_memory_equal(got + FRAME_HEADER, frame, FRAME_ETH); /* a batch's own, too */
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

/* A peer that reads now and then is not waited for again and again: what it has no room for is
 * lost, until it has taken many in a row. */
static void peers_slow(void **state)
{
	const int fd = other_peer();
	unsigned nr = 0;

	(void)state;
	open_device(0);
	for (; nr < 20; nr++) {
		offer_frames(1, 100);
		if (!find_slot(IORING_OP_WRITEV))
			break;
		clock_ns += 50000000;
		complete(expect_datagram(1, 100), 9999);
	}
	assert_in_range(nr, 3, 5);
	for (nr = 0; sending() && nr < 1000; nr++) {
		complete(sending(), nr == 10 ? -EAGAIN : 9999);
		offer_frames(1, 100);
	}
	assert_in_range(nr, 60, 100);
	for (nr = 0; nr < 100; nr++) { /* a little late is not slow */
		clock_ns += 2000000;
		complete(expect_datagram(1, 100), 9999);
		offer_frames(1, 100);
	}
	assert_int_equal(net.counters.tx_fails, 1);
	close(fd);
}

/* What a reset cancels, or the end of a batch that another has held up, says nothing of a peer. */
static void peers_cancelled_early(void **state)
{
	const int fd = other_peer();

	(void)state;
	open_device(0);
	for (unsigned i = 0; i < 3; i++) {
		offer_frames(1, 100);
		clock_ns += 1000000;
		complete(find_slot(IORING_OP_WRITEV), -ECANCELED);
	}
	offer_frames(1, 100);
	assert_non_null(find_slot(IORING_OP_WRITEV)); /* still waited for */
	complete(find_slot(IORING_OP_WRITEV), 9999);
	close(fd);
}

/* What the kernel had not begun when a reset cancelled the rest is cancelled, too. */
static void peers_reset_in_order(void **state)
{
	const int fd = other_peer();

	(void)state;
	open_device(0);
	offer_frames(3, 9000); /* each alone, and behind the one before */
	begin_reset();
	for (unsigned left = 2; left > 0; left--) {
		nr_cancelled = 0;
		complete(find_slot(IORING_OP_WRITEV), -ECANCELED);
		assert_int_not_equal(status(), 0);
		complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
		assert_int_equal(nr_cancelled, left);
	}
	complete_cancelled();
	assert_int_equal(status(), 0);
	close(fd);
}

/* Each frame of a batch that is lost is counted, and given back. */
static void peers_lose_batch(void **state)
{
	const int fd = other_peer();

	(void)state;
	open_device(0);
	offer_frames(7, 100);
	clock_ns += 200000000;
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

/* Frames come from this station, so the peer says, at its slot. */
static void hear(const char *station, uint16_t slot)
{
	make_frame(60);
	memcpy(frame + 6, station, 6);
	datagram((struct frame_header){ .num_buffers = slot }, 60);
	expect_frame(60, BUF);
}

/* The slots that a frame for this station goes to, as bits. */
static unsigned goes_to(const char *station)
{
	uint8_t *at = mem_at(&mem, OUT_GPA, 12 + 60);
	static uint16_t head;
	unsigned reached = 0;
	struct slot *s;

	memset(at, 0, 12 + 60);
	memcpy(at + 12, station, 6);
	descs(TX)[head % RING] = (struct desc){ OUT_GPA, 12 + 60, 0, 0 };
	offer(TX, head++ % RING);
	kick(TX);
	while ((s = find_slot(IORING_OP_WRITEV))) {
		for (unsigned i = 0; i < PEERS_MAX; i++)
			if (net.peer.slots[i].fd >= 0 && net.peer.slots[i].file == s->sqe.fd)
				reached |= 1u << i;
		complete(s, 12 + 60);
	}
	return reached;
}

static void peers_learn(void **state)
{
	static const char here[] = "\2\0\0\0\0\5", group[] = "\3\0\0\0\0\5",
			  same_hash[] = "\2\0\0\0\1\46"; /* as 31 times one byte is another */
	const unsigned both = 1u << 8 | 1u << 9;
	const int fd[] = { peer_at(8), peer_at(9) };

	(void)state;
	open_device(0);
	post(60, BUF);
	assert_int_equal(net.peer.slot, 0);
	assert_int_equal(goes_to(here), both); /* nobody knows where */
	hear(here, 9);
	assert_int_equal(goes_to(here), 1u << 9);
	hear(here, 8); /* it has moved */
	assert_int_equal(goes_to(here), 1u << 8);
	hear(here, 0);	       /* our own slot */
	hear(here, PEERS_MAX); /* and such as there are not */
	hear(here, PEERS_MAX + 8);
	hear(here, 0xffff);
	assert_int_equal(goes_to(here), 1u << 8);
	assert_int_equal(goes_to(same_hash), both);
	hear(group, 9); /* is no station's */
	assert_int_equal(goes_to(group), both);
	assert_int_equal(goes_to(here), 1u << 8);
	hear(here, 31); /* where nobody is */
	assert_int_equal(goes_to(here), both);
	close(fd[0]);
	close(fd[1]);
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
	for (int n = 0; n <= 5; n += 5) { /* bytes, not even a header's */
		complete(receiving(), n);
		while (receiving()->sqe.msg_flags & MSG_DONTWAIT)
			complete(receiving(), -EAGAIN);
	}
	assert_int_equal(net.counters.rx_bad_frames, 7);
	assert_int_equal(net.counters.tap_read_fails, 0);
	make_frame(14); /* Ethernet's header alone */
	datagram((struct frame_header){ 0 }, 14);
	expect_frame(14, BUF);
	make_frame(100);
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

static const struct CMUnitTest tests[] = {
	PEERS("peers: headers that make no sense, frames that do not fit", peers_headers),
	PEERS("peers: a checksum that the driver does not make", peers_checksum),
	PEERS("peers: a batch comes as its frames", peers_batch),
	PEERS("peers: what is left of a batch waits for buffers", peers_batch_waits),
	PEERS("peers: batches for a driver of few and small buffers",
	      peers_batches_in_small_buffers),
	PEERS("peers: a frame that they have no room for, a while", peers_large_waits),
	PEERS("peers: a frame that is larger than all buffers there can be", peers_larger_than_all),
	PEERS("peers: frames beyond the MTU that the driver was told", peers_mtu),
	PEERS("peers: batches that are none, and frames in them that are none", peers_bad_batches),
	PEERS("peers: a rate limit lets through frame by frame", peers_batch_limit),
	PEERS("peers: a reset forgets what is left of a batch", peers_batch_reset),
	PEERS("peers: segments are cut for a driver that takes none", peers_segments),
	PEERS("peers: what is in the queue goes out together", peers_send_batch),
	PEERS("peers: a batch is lost with each of its frames", peers_lose_batch),
	PEERS("peers: who is cancelled early is waited for all the same", peers_cancelled_early),
	PEERS("peers: one that reads slowly is not waited for again and again", peers_slow),
	PEERS("peers: a reset ends what was not under way yet", peers_reset_in_order),
	PEERS("peers: a guest cannot make a batch itself", peers_no_guest_batch),
	PEERS("peers: a station that was heard gets its frames alone", peers_learn),
};

int main(void)
{
	return cmocka_run_group_tests_name("netpeer", tests, make_folder, drop_folder);
}
