// SPDX-License-Identifier: Apache-2.0
/*
 * The network device by steps (nettest.h), whatever its link: buffers of all kinds, MACs, rate
 * limits, bursts, resets, rests, the control queue. Streams: netstream.c; peer links: netpeer.c.
 */
#include "nettest.h"

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

/* 5.1.6.3.1: a buffer has room for the header, or where buffers are not merged for the head of a
 * frame. */
static void smallest_buffers(void **state)
{
	static const struct {
		uint64_t features;
		uint32_t least;
	} row[] = { { MERGE, 12 }, { 0, 12 + 14 } };

	(void)state;
	open_device(0);
	for (unsigned i = 0; i < COUNT(row); i++) {
		reset_driver();
		start_driver(row[i].features);
		post(RING, row[i].least);
		assert_non_null(receiving());
		assert_int_equal(status(), 15);
		reset_driver();
		start_driver(row[i].features);
		post(RING, row[i].least - 1);
		assert_null(receiving());
		assert_int_equal(status(), 15 | 0x40); /* needs a reset */
	}
}

/* Chains that together have as many segments as a call takes: the link needs one of them itself. */
static void most_segments(void **state)
{
	const uint32_t table = 0x40000;
	struct desc *d;

	(void)state;
	open_device(MERGE | VIRTIO_F_INDIRECT_DESC);
	for (uint16_t i = 0; i < 4; i++) {
		const unsigned nr = i ? QUEUE_MAX : QUEUE_MAX - 1;

		d = mem_at(&mem, table + i * 0x1000u, nr * sizeof(*d));
		for (uint16_t j = 0; j < nr; j++)
			d[j] = (struct desc){ BUFS_GPA, 30,
					      (uint16_t)(D_WRITE | (j + 1u < nr ? D_NEXT : 0)),
					      (uint16_t)(j + 1) };
		descs(RX)[i] = (struct desc){ table + i * 0x1000u, nr * (uint32_t)sizeof(*d),
					      D_INDIRECT, 0 };
		offer(RX, i);
	}
	_Static_assert(1 + 4 * QUEUE_MAX - 1 == LINK_IOV, "behind the head they fill it");
	kick(RX);
	assert_non_null(receiving());
	assert_in_range(message_of(receiving())->msg_iovlen, 2, LINK_IOV);
}

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
	if (*state)
		datagram((struct frame_header){ 0 }, 1200);
	else
		feed_frame(1200);
	no_more_come();
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

/* All buffers that a queue can have, together too small for some frames, and an index of one more.
 */
static void post_surplus(void)
{
	post(RING, 64);
	offer(RX, 0);
}

static void surplus(void **state)
{
	(void)state;
	alarm(20);
	open_device(MERGE);
	post_surplus();
	kick(RX);
	make_frame(1200);
	feed_frame(1200);
	expect_frame(1200, 64);
}

static void surplus_for_parcel(void **state)
{
	(void)state;
	alarm(20);
	open_device(MERGE);
	post_surplus();
	datagram((struct frame_header){ 0 }, 20000);
	no_more_come();
	assert_int_equal(net.counters.rx_long_frames, 1);
}

static void kicks_for_nothing(void **state)
{
	uint64_t before;

	(void)state;
	open_device(0);
	before = net.counters.no_tx_avail_buffer;
	kick(TX);
	assert_int_equal(net.counters.no_tx_avail_buffer, before + 1);
	make_frame(100);
	send_frame(0, 100);
	kick(TX); /* it is under way */
	complete(sending(), 4 + 100);
	expect_sent(0);
	assert_int_equal(net.counters.no_tx_avail_buffer, before + 1);
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

/* Also where reads have come and gone while it was on its way. */
static void reset_waits_for_what_is_sent(void **state)
{
	struct slot *s;

	(void)state;
	open_device(0);
	make_frame(100);
	post(8, BUF);
	send_frame(0, 100);
	send_frame(1, 100);
	s = sending();
	feed_frame(100);
	expect_frame(100, BUF);
	begin_reset();
	nr_cancelled = 0; /* too late */
	complete(receiving(), -ECANCELED);
	assert_int_not_equal(status(), 0);
	complete(s, 104);
	assert_int_equal(status(), 0);
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
static unsigned nr_set, refused_nr = 99;
static struct link_in *reading[2]; /* of the second pair's reads, too */

static void receive_nothing(struct link *link, unsigned queue, struct link_in *in, bool is_waiting)
{
	(void)link;
	(void)is_waiting;
	in->op.done = NULL;
	reading[queue] = in;
}

static int set_queues(struct link *link, unsigned nr)
{
	(void)link;
	nr_set = nr;
	return nr == refused_nr ? -EINVAL : 0;
}

static struct link_out *leaving[2];
static unsigned nr_sent[2];

static int send_one(struct link *link, unsigned queue, struct link_out *out)
{
	(void)link;
	leaving[queue] = out;
	nr_sent[queue]++;
	return 0;
}

static void close_nothing(struct link *link)
{
	(void)link;
}

static void open_pairs(uint64_t features)
{
	static const struct link_ops none = { .receive = receive_nothing,
					      .send = send_one,
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

/* 5.1.6.5.6: nothing is set by a driver that did not take the feature. */
static void pairs_not_negotiated(void **state)
{
	(void)state;
	open_pairs(NET_F_CTRL_VQ);
	memcpy(mem_at(&mem, OUT_GPA, 4), "\x04\0\x02\0", 4);
	descs(2)[0] = (struct desc){ OUT_GPA, 4, D_NEXT, 1 }; /* behind the only pair */
	descs(2)[1] = (struct desc){ OUT_GPA + 63, 1, D_WRITE, 0 };
	offer(2, 0);
	kick(2);
	assert_int_equal(device_area(2)[1], 1);
	assert_int_equal(*(uint8_t *)mem_at(&mem, OUT_GPA + 63, 1), 1);
	assert_int_equal(nr_set, 1);
}

/* Whatever queues its driver has set up, none of them is one for commands. */
static void no_control_queue(void **state)
{
	static const uint8_t two[] = { 4, 0, 2, 0 };

	(void)state;
	open_pairs(0);
	assert_int_equal(command(two, sizeof(two)), -1);
	descs(2)[0] = (struct desc){ OUT_GPA, 4, D_NEXT, 1 };
	descs(2)[1] = (struct desc){ OUT_GPA + 63, 100, D_WRITE, 0 };
	offer(2, 0);
	kick(2);
	assert_int_equal(device_area(2)[1], 0);
	assert_int_equal(status(), 15);
}

/* 5.1.6.5.6.1: the second pair, until the driver says that it uses it. */
static void pair_not_in_use(void **state)
{
	(void)state;
	open_pairs(NET_F_CTRL_VQ | NET_F_MQ);
	reading[1] = NULL;
	descs(2)[0] = (struct desc){ BUFS_GPA, BUF, D_WRITE, 0 };
	offer(2, 0);
	kick(2);
	assert_null(reading[1]);
	assert_int_equal(command(PAIRS(4, 0, 2, 0)), 0);
	assert_non_null(reading[1]);
}

/* Both have more to send than the limit lets by: each in its turn. */
static void pairs_share_a_limit(void **state)
{
	(void)state;
	config.tx.ops = (struct token_bucket){ .size = 1, .refill_ms = 3600000 };
	open_pairs(NET_F_CTRL_VQ | NET_F_MQ);
	assert_int_equal(command(PAIRS(4, 0, 2, 0)), 0);
	memset(nr_sent, 0, sizeof(nr_sent));
	make_frame(100);
	for (unsigned queue = TX; queue <= TX + 2; queue += 2) {
		for (uint16_t i = 0; i < 8; i++) {
			descs(queue)[i] = (struct desc){ OUT_GPA, 112, 0, 0 };
			offer(queue, i);
		}
		kick(queue);
	}
	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 2; i++) {
			struct link_out *out = leaving[i];

			leaving[i] = NULL;
			if (out)
				out->done(out, 0);
		}
		net.tx_limit.ops.tokens = 1;
		complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	}
	assert_in_range(nr_sent[0], 3, 4);
	assert_in_range(nr_sent[1], 3, 4);
}

static void one_command_a_turn(void **state)
{
	static const uint8_t two[] = { 4, 0, 2, 0 };
	uint32_t id, written;

	(void)state;
	open_pairs(NET_F_CTRL_VQ | NET_F_MQ);
	memcpy(mem_at(&mem, OUT_GPA, sizeof(two)), two, sizeof(two));
	for (uint16_t head = 0; head < 6; head += 2) {
		descs(CONTROL)[head] =
			(struct desc){ OUT_GPA, sizeof(two), D_NEXT, (uint16_t)(head + 1) };
		descs(CONTROL)[head + 1] = (struct desc){ OUT_GPA + 63, 1, D_WRITE, 0 };
		offer(CONTROL, head);
	}
	kick(CONTROL);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(used(CONTROL, &id, &written));
		assert_int_equal(id, 2 * i);
		assert_false(used(CONTROL, &id, &written));
		if (i < 2)
			complete(find_slot(IORING_OP_NOP), 0);
	}
	assert_int_equal(nr_set, 2);
}

/* A link that cannot is left with as many as before. */
static void number_refused(void **state)
{
	(void)state;
	open_pairs(NET_F_CTRL_VQ | NET_F_MQ);
	refused_nr = 2;
	assert_int_equal(command(PAIRS(4, 0, 2, 0)), 1);
	refused_nr = 99;
	assert_int_equal(nr_set, 1);
}

/*
 * What happened to a pair just before, or while, it was out of use is no reason not to read again.
 */
static void pair_in_use_again(void **state)
{
	struct link_in *in;

	(void)state;
	open_pairs(NET_F_CTRL_VQ | NET_F_MQ);
	assert_int_equal(command(PAIRS(4, 0, 2, 0)), 0);
	for (uint16_t i = 0; i < 40; i++) {
		descs(2)[i] = (struct desc){ BUFS_GPA + i * BUF, BUF, D_WRITE, 0 };
		offer(2, i);
	}
	kick(2);
	in = reading[1];
	assert_non_null(in);
	reading[1] = NULL;
	in->done(in, -EIO);
	assert_int_equal(command(PAIRS(4, 0, 1, 0)), 0);
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	assert_null(reading[1]);
	assert_int_equal(command(PAIRS(4, 0, 2, 0)), 0);
	assert_non_null(reading[1]);
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

static struct virtio_state saved;

/* Takes the device to rest; what was cancelled has ended. */
static void rest(void)
{
	virtio_rest(&net.dev);
	complete_cancelled();
	end_turn();
	assert_true(virtio_is_at_rest(&net.dev));
	assert_int_equal(net.nr_in_flight, 0);
	assert_null(receiving());
	assert_null(sending());
}

static void go_on(void)
{
	virtio_go_on(&net.dev);
	end_turn();
}

/* Another process: the link is opened anew, and only the guest's memory is the same. */
static int move(void)
{
	net_save(&net, &saved);
	net_close(&net);
	close(net.dev.irq_fd);
	close(net.dev.wake_fd);
	memset(slots, 0, sizeof(slots));
	memset(&net, 0, sizeof(net));
	turns = NULL;
	nr_cancelled = 0;
	assert_int_equal(net_open(&net, &config, 1), 0);
	make_device();
	return net_load(&net, &saved);
}

static void rest_with_buffers(void **state)
{
	(void)state;
	open_device(MERGE);
	post(40, BUF);
	make_frame(3000);
	feed_frame(3000);
	expect_frame(3000, BUF);
	for (unsigned i = 0; i < 6; i++) {
		rest();
		wake(); /* nobody hears of it */
		assert_null(receiving());
		if (i % 2)
			assert_int_equal(move(), 0);
		go_on();
		make_frame(500 + i);
		feed_frame(500 + i);
		expect_frame(500 + i, BUF);
	}
}

/* A frame whose sending is over when the rest comes, and one that is not. */
static void rest_while_sending(void **state)
{
	(void)state;
	open_device(0);
	make_frame(100);
	send_frame(5, 100);
	send_frame(3, 100);
	assert_non_null(sending());
	virtio_rest(&net.dev);
	complete(sending(), (int)room_of(sending())); /* the cancel came too late */
	complete_cancelled();
	while (sending())
		complete(sending(), -ECANCELED);
	assert_true(virtio_is_at_rest(&net.dev));
	expect_sent(5);
	assert_int_equal(move(), 0);
	go_on();
	assert_non_null(sending());
	complete(sending(), (int)room_of(sending()));
	assert_null(sending());
	expect_sent(3);
	assert_int_equal(device_area(TX)[1], 2);
}

static void rest_with_all_in_flight(void **state)
{
	(void)state;
	open_device(MERGE);
	make_frame(60);
	for (unsigned round = 0; round < 20; round++) {
		uint32_t id, len;

		post(RING, BUF);
		for (uint16_t i = 0; i < 20; i++)
			send_frame(i, 60);
		for (unsigned i = 0; i < round; i++)
			if (sending())
				complete(sending(), (int)room_of(sending()));
		virtio_rest(&net.dev);
		complete_cancelled();
		while (sending())
			complete(sending(), -ECANCELED);
		assert_true(virtio_is_at_rest(&net.dev));
		go_on();
		while (sending())
			complete(sending(), (int)room_of(sending()));
		for (unsigned i = 0; i < 20; i++)
			assert_true(used(TX, &id, &len));
		assert_false(used(TX, &id, &len));
		feed_frame(60);
		expect_frame(60, BUF);
		reset_driver();
		assert_int_equal(status(), 0);
		start_driver(MERGE);
	}
}

/* A reset that comes before the rest, in it as a driver cannot, and after it. */
static void rest_and_reset(void **state)
{
	(void)state;
	open_device(MERGE);
	make_frame(60);
	for (unsigned round = 0; round < 3; round++) {
		post(RING, BUF);
		send_frame(1, 60);
		if (round == 0)
			begin_reset();
		virtio_rest(&net.dev);
		complete_cancelled();
		while (sending())
			complete(sending(), -ECANCELED);
		assert_true(virtio_is_at_rest(&net.dev));
		assert_int_equal(status(), round == 0 ? 0 : 15);
		if (round == 2)
			assert_int_equal(move(), 0);
		go_on();
		if (round > 0)
			reset_driver();
		while (sending())
			complete(sending(), -ECANCELED);
		assert_int_equal(status(), 0);
		assert_int_equal(net.nr_in_flight, 0);
		start_driver(MERGE);
		post(RING, BUF);
		feed_frame(60);
		expect_frame(60, BUF);
		reset_driver();
		start_driver(MERGE);
	}
}

/* What waits for the limit is the guest's no more, and its buffers are. */
static void rest_at_the_limit(void **state)
{
	(void)state;
	config.rx.ops = (struct token_bucket){ .size = 1, .refill_ms = 1000 };
	open_device(0);
	post(8, BUF);
	make_frame(60);
	feed_frame(60);
	expect_frame(60, BUF);
	feed_frame(60);
	assert_null(receiving());
	rest();
	complete(find_slot(IORING_OP_TIMEOUT), -ETIME);
	assert_int_equal(device_area(RX)[1], 1);
	go_on();
	clock_ns += 2000000000u;
	make_frame(61);
	feed_frame(61);
	expect_frame(61, BUF);
}

static void link_changed(void **state)
{
	(void)state;
	open_device(NET_F_STATUS);
	rest();
	assert_int_equal(net.dev.config[6], 1);
	net.dev.config[6] = 0; /* the link was down there */
	assert_int_equal(move(), 0);
	assert_int_equal(net.dev.config[6], 1);
	assert_int_equal(net.dev.generation, 1);
	assert_int_equal(net.dev.interrupt_status, 2);
	go_on();
	post(4, BUF);
	make_frame(60);
	feed_frame(60);
	expect_frame(60, BUF);
	rest();
	net.dev.config[7] = 1; /* bytes of the state that are none of the link's */
	net.dev.config[10] = 1;
	assert_int_equal(move(), -EINVAL);
}

static void pairs_of_a_state(void **state)
{
	(void)state;
	open_device(0);
	rest();
	assert_int_equal(move(), 0);
	saved.nr_active = 2;
	assert_int_equal(net_load(&net, &saved), -EINVAL);
	saved.nr_active = UINT32_MAX;
	assert_int_equal(net_load(&net, &saved), -EINVAL);
	assert_int_equal(net.nr_active, 1);
	saved.nr_active = 0; /* nothing comes, until its driver begins anew */
	assert_int_equal(net_load(&net, &saved), 0);
	go_on();
	post(4, BUF);
	assert_null(receiving());
	reset_driver();
	start_driver(0);
	post(4, BUF);
	make_frame(60);
	feed_frame(60);
	expect_frame(60, BUF);
}

#define TAP PEERS /* opened by the test */

static const struct CMUnitTest tests[] = {
	STREAM("a rate limit on what comes", receive_limit),
	PEERS("buffers as small as they may be, and smaller ones", smallest_buffers),
	PEERS("buffers of the most segments", most_segments),
	STREAM("stream: more buffers than one call takes", crumbs),
	STREAM("an index of one buffer more than a queue holds", surplus),
	PEERS("the same, and a frame larger than all of them", surplus_for_parcel),
	PEERS("a buffer of 4 GiB less a byte behind another", huge_buffer),
	STREAM("a reset while a frame waits for the limit", receive_limit_reset),
	STREAM("a rate limit on what goes", send_limit),
	STREAM("kicks that there is no frame for are counted", kicks_for_nothing),
	STREAM("resets with all in flight, in the middle of a frame", reset_with_all_in_flight),
	STREAM("a reset waits for what is being sent", reset_waits_for_what_is_sent),
	PEERS("peers: more buffers than one call takes", crumbs),
	PEERS("a read that fails", failing_read),
	PEERS("frames from another MAC", spoofed),
	PEERS("bursts grow with what they find", bursts),
	STREAM("closed before it ran it leaves nothing", closed_before_it_ran),
	PEERS("the same of a link with parcels", closed_before_it_ran),
	STREAM("stream: a rest keeps buffers, here or in another process", rest_with_buffers),
	STREAM("stream: what was sent is not sent again after a rest", rest_while_sending),
	STREAM("stream: rests with all in flight", rest_with_all_in_flight),
	STREAM("stream: a rest and a reset in any order", rest_and_reset),
	STREAM("stream: what waits for the limit is dropped by a rest", rest_at_the_limit),
	STREAM("stream: a link that is up here and was down there", link_changed),
	STREAM("stream: a state's number of pairs is none that there cannot be", pairs_of_a_state),
	TAP("the control queue sets the number of pairs, and nothing else", number_of_pairs),
	TAP("no number of pairs for a driver that did not take the feature", pairs_not_negotiated),
	TAP("no commands of a driver that did not take the control queue", no_control_queue),
	TAP("a pair that is not in use does not read", pair_not_in_use),
	TAP("of many commands each turn of the loop obeys one", one_command_a_turn),
	TAP("pairs that share a rate limit", pairs_share_a_limit),
	TAP("a number of pairs that the link refuses", number_refused),
	TAP("a pair that failed reads again when it is in use again", pair_in_use_again),
	TAP("a command of the most segments without room for its answer", command_without_room),
};

int main(void)
{
	return cmocka_run_group_tests_name("net", tests, make_folder, drop_folder);
}
