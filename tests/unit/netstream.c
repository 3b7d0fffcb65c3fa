// SPDX-License-Identifier: Apache-2.0
/*
 * The network device over a stream by steps (nettest.h): frames over merged buffers, cut at every
 * byte, of lengths that are none, larger than what there is room for; ends of all kinds that a
 * stream can come to.
 */
#include "nettest.h"

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

/* To its last byte; what is a byte longer does not fit. */
static void full_buffer(void **state)
{
	uint32_t id, len;

	(void)state;
	open_device(0);
	post(8, 512);
	make_frame(512 - 12);
	feed_frame(512 - 12);
	expect_frame(512 - 12, 512);
	make_frame(512 - 11);
	feed_frame(512 - 11);
	assert_false(used(RX, &id, &len));
	assert_int_equal(net.counters.rx_long_frames, 1);
}

/* More of them, behind those that post() has posted. */
static void post_more(uint16_t from, uint16_t to)
{
	for (uint16_t i = from; i < to; i++) {
		descs(RX)[i] = (struct desc){ BUFS_GPA + i * BUF, BUF, D_WRITE, 0 };
		offer(RX, i);
	}
	kick(RX);
}

/* A frame that is larger than the buffers is not lost, whenever there are more. */
static void more_room(void **state)
{
	static const uint32_t cuts[] = { 0, 1, 14, 15, 400, 8180, 19999, 20000 };
	uint32_t id, len;

	(void)state;
	open_device(MERGE);
	make_frame(20000);
	for (size_t i = 0; i < COUNT(cuts); i++) {
		reset_driver();
		start_driver(MERGE);
		post(4, BUF);
		feed_length(20000);
		feed(frame, cuts[i]);
		assert_false(used(RX, &id, &len));
		post_more(4, 40);
		feed(frame + cuts[i], 20000 - cuts[i]);
		expect_frame(20000, BUF);
	}
	assert_int_equal(net.counters.rx_fails, 0);
}

/* A reset that finds the other end in the middle of something does not wait for the rest of it. */
static void reset_while_dripping(void **state)
{
	const uint32_t length = htonl(300);

	(void)state;
	open_device(MERGE);
	make_frame(300);
	for (unsigned n = 1; n < 30; n++) {
		post(40, BUF);
		feed((const uint8_t *)&length, n < 4 ? n : 4);
		feed(frame, n < 5 ? 0 : n - 4);
		begin_reset();
		nr_cancelled = 0; /* too late for the read that has got a byte */
		if (n < 4)
			feed((const uint8_t *)&length + n, 1);
		else
			feed(frame + n - 4, 1);
		assert_int_equal(status(), 0);
		assert_null(receiving());
		start_driver(MERGE);
		post(40, BUF);
		if (n < 3)
			feed((const uint8_t *)&length + n + 1, 3 - n);
		feed(frame + (n < 4 ? 0 : n - 3), n < 4 ? 300 : 300 - (n - 3));
		reset_driver();
		start_driver(MERGE);
	}
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

/* From Ethernet's header alone to the longest; others are given back and go nowhere. */
static void lengths_sent(void **state)
{
	(void)state;
	open_device(0);
	make_frame(14);
	send_frame(0, 14);
	complete(sending(), 4 + 14);
	make_frame(FRAME_MAX);
	send_frame(1, FRAME_MAX);
	complete(sending(), 4 + FRAME_MAX);
	assert_int_equal(net.counters.tx_malformed_frames, 0);
	assert_int_equal(net.counters.tx_packets_count, 2);
	send_frame(2, 13);
	send_frame(3, 0);
	make_frame(FRAME_MAX + 1);
	send_frame(4, FRAME_MAX + 1);
	assert_null(sending());
	assert_int_equal(net.counters.tx_malformed_frames, 3);
	for (uint16_t i = 0; i < 5; i++)
		expect_sent(i);
	assert_int_equal(status(), 15);
}

/* One goes behind the other; where one goes halfway the rest of the stream is of no use. */
static void sent_in_order(void **state)
{
	unsigned linked = 0, nr = 0;

	(void)state;
	open_device(0);
	make_frame(100);
	together = 0;
	for (uint16_t i = 0; i < 5; i++) {
		descs(TX)[i] = (struct desc){ OUT_GPA, 112, 0, 0 };
		offer(TX, i);
	}
	kick(TX);
	assert_int_equal(together, LINK_BURST);
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

static const struct CMUnitTest tests[] = {
	STREAM("stream: frames into one buffer each", one_buffer),
	STREAM("stream: frames laid over merged buffers of any size", merged),
	STREAM("stream: cut at every byte", cut_anywhere),
	STREAM("stream: byte by byte", byte_by_byte),
	STREAM("stream: a frame that no buffer takes is passed over", too_long),
	STREAM("stream: a frame that fills its buffer, and a longer one", full_buffer),
	STREAM("stream: room for a frame comes while it does", more_room),
	STREAM("stream: a reset in the middle of what comes byte by byte", reset_while_dripping),
	STREAM("stream: an impossible length ends it, and it is made anew", impossible_length),
	STREAM("stream: an end in the middle of a frame; nobody there; back again", end_of_stream),
	STREAM("stream: what is sent has its length before it", sent_with_length),
	STREAM("frames of any length that is one are sent, and no others", lengths_sent),
	STREAM("stream: in order, and not behind half a frame", sent_in_order),
	STREAM("stream: a frame that is stuck is given up", stuck),
};

int main(void)
{
	return cmocka_run_group_tests_name("netstream", tests, make_folder, drop_folder);
}
