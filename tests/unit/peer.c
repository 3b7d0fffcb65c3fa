// SPDX-License-Identifier: Apache-2.0
/*
 * A peer link on a real ring and real sockets, both ends in one loop: more datagrams than the
 * kernel keeps for a receiver (net.unix.max_dgram_qlen, 10) wait for it, and frames come whole and
 * in order, alone or in batches.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../virtio/peer.h"

#define FRAMES 64u
#define LENGTH 100u
#define LONG   20000u

static struct loop loop;
static struct peer sender, receiver;
static char folder[] = "/tmp/mayfly-unit.XXXXXX", path[64];
static struct link_out out[FRAMES];
static struct link_in in;
static struct parcel parcel;
static uint8_t payload[FRAMES][LONG - FRAME_ETH], tail[PARCEL_MAX], room[2048];
static unsigned sent, failed, received, datagrams;

static void on_sent(struct link_out *o, int err)
{
	(void)o;
	sent++;
	failed += err != 0;
}

static void receive_next(void);

/* Frame number `received`, with as many bytes as were sent. */
static void expect_frame(const uint8_t *frame, uint32_t len)
{
	assert_true(received < FRAMES);
	assert_int_equal(len, out[received].bytes - FRAME_HEADER);
	assert_memory_equal(frame, out[received].head.eth, FRAME_ETH);
	assert_memory_equal(frame + FRAME_ETH, payload[received], len - FRAME_ETH);
	received++;
}

static void on_received(struct link_in *i, int res)
{
	const unsigned before = i->is_batch ? 1 : 0;
	struct frame_header h;
	uint8_t *frame;
	uint32_t len;

	assert_true(res > 0);
	datagrams++;
	assert_int_equal(i->head.header.num_buffers, sender.slot);
	/* By this it is learned where the sender's station is. */
	assert_memory_equal(i->head.eth, out[received].head.eth, FRAME_ETH);
	len = i->is_batch ? (uint32_t)res - FRAME_ETH : (uint32_t)res + FRAME_HEADER;
	frame_get(i->iov + before, i->nr + 1 - before, parcel.bytes, len);
	assert_int_equal(i->is_batch ? parcel_open_batch(&parcel, len)
				     : parcel_open_frame(&parcel, len, false),
			 0);
	for (; (frame = parcel_next(&parcel, &h, &len)); parcel_pass(&parcel))
		expect_frame(frame, len);
	if (received < FRAMES)
		receive_next();
	else
		loop_stop(&loop);
}

static void receive_next(void)
{
	in.done = on_received;
	in.link = &receiver.link;
	in.is_batch = false;
	in.tail = tail;
	in.iov[0] = (struct iovec){ &in.head, FRAME_HEAD };
	in.iov[1] = (struct iovec){ room, sizeof(room) };
	in.nr = 2;
	in.room = FRAME_ETH + sizeof(room);
	receiver.link.ops->receive(&receiver.link, 0, &in, true);
}

static void prepare(unsigned i, uint32_t len)
{
	struct link_out *o = &out[i];

	for (uint32_t j = 0; j < len - FRAME_ETH; j++)
		payload[i][j] = (uint8_t)(i + j * 7 + (j >> 8));
	*o = (struct link_out){ .link = &sender.link, .done = on_sent, .err = -ENOTCONN };
	memset(o->head.eth, 0xff, sizeof(o->head.eth));
	o->iov[0] = (struct iovec){ &o->head, FRAME_HEAD };
	o->iov[1] = (struct iovec){ payload[i], len - FRAME_ETH };
	o->nr = 2;
	o->bytes = FRAME_HEADER + len;
}

static void send_frame(unsigned i)
{
	assert_int_equal(sender.link.ops->send(&sender.link, 0, &out[i]), 0);
}

static void flush(void)
{
	sender.link.ops->flush(&sender.link);
}

static void open_end(struct peer *p, const struct net_config *config)
{
	assert_int_equal(peer_open(p, config), 0);
	assert_int_equal(peer_attach(p, &loop), 0);
}

static int join_link(void **state)
{
	struct net_config config = { .id = "net0", .path = path };

	*state = NULL;
	if (loop_init(&loop)) /* no io_uring here */
		return 0;
	*state = &loop;
	strcpy(strrchr(folder, '.'), ".XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/lan", folder);
	open_end(&receiver, &config);
	open_end(&sender, &config);
	receiver.link.ops->listen(&receiver.link);
	sender.link.ops->listen(&sender.link);
	sent = failed = received = datagrams = 0;
	sender.link.last = NULL; /* one batch */
	return 0;
}

static int leave_link(void **state)
{
	char file[80];

	if (!*state)
		return 0;
	sender.link.ops->close(&sender.link);
	receiver.link.ops->close(&receiver.link);
	snprintf(file, sizeof(file), "%s/lock", path);
	unlink(file);
	rmdir(path);
	rmdir(folder);
	io_uring_queue_exit(&loop.ring);
	close(loop.ready_fd);
	return 0;
}

static void expect_all(void)
{
	receive_next();
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(received, FRAMES);
	loop_turn(&loop);
	assert_int_equal(sent, FRAMES);
	assert_int_equal(failed, 0);
}

static void waits_for_room(void **state)
{
	if (!*state)
		skip();
	for (unsigned i = 0; i < FRAMES; i++) {
		prepare(i, LENGTH);
		send_frame(i);
		flush();
	}
	for (unsigned i = 0; i < 10; i++)
		loop_turn(&loop); /* the receiver has no more room */
	assert_true(sent < FRAMES);
	expect_all();
	assert_int_equal(datagrams, FRAMES);
}

/* Small ones together, as long as they have one source; before and behind them what is large, or of
 * segments, alone. */
static void batches(void **state)
{
	if (!*state)
		skip();
	for (unsigned i = 0; i < FRAMES; i++) {
		prepare(i, i % 16 == 7 ? LONG : LENGTH + i);
		out[i].head.header.gso_type = i % 16 == 3;
		out[i].head.eth[11] = i % 16 > 12;
		send_frame(i);
	}
	flush();
	flush();
	expect_all();
	/* 0-2 3 4-6 7 8-12 13-15 */
	assert_int_equal(datagrams, FRAMES / 16 * 6);
}

/* As many as a datagram holds; and segments of which there are more than one call takes. */
static void full_batches(void **state)
{
	if (!*state)
		skip();
	for (unsigned i = 0; i < FRAMES; i++) {
		prepare(i, i < FRAMES / 2 ? 4000 : LENGTH);
		for (unsigned j = 0; i >= FRAMES / 2 && j < LENGTH - FRAME_ETH; j++)
			out[i].iov[1 + j] = (struct iovec){ payload[i] + j, 1 };
		if (i >= FRAMES / 2)
			out[i].nr = 1 + LENGTH - FRAME_ETH;
		send_frame(i);
	}
	flush();
	expect_all();
	/* 16 times 4000 bytes, twice, and behind the second two frames; from there on two each */
	assert_int_equal(datagrams, 2 + (FRAMES / 2 - 2) / 2);
}

/* What a guest says in its header makes no batch of its frame. */
static void no_batch_of_a_guest(void **state)
{
	if (!*state)
		skip();
	prepare(0, LENGTH);
	out[0].head.header.flags = PARCEL_VERSION;
	out[0].head.header.gso_type = PARCEL_TYPE;
	assert_int_equal(sender.link.ops->send(&sender.link, 0, &out[0]), -EPROTO);
	flush();
	for (unsigned i = 0; i < FRAMES; i++) {
		prepare(i, LENGTH);
		send_frame(i);
	}
	flush();
	expect_all();
}

/* It was made in the host's network, and a ring sends to any address. */
static void own_socket_does_not_send(void **state)
{
	const struct sockaddr_un *to = receiver.addresses[receiver.slot];

	if (!*state)
		skip();
	assert_int_equal(
		sendto(sender.fd, "x", 1, MSG_NOSIGNAL, (const struct sockaddr *)to, sizeof(*to)),
		-1);
	assert_int_equal(errno, EPIPE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		{ "frames wait for room at a receiver, and come whole and in order", waits_for_room,
		  join_link, leave_link, NULL },
		{ "small frames go together, others alone, all in order", batches, join_link,
		  leave_link, NULL },
		{ "no more go together than one datagram and one call take", full_batches,
		  join_link, leave_link, NULL },
		{ "the socket by which frames come in does not send", own_socket_does_not_send,
		  join_link, leave_link, NULL },
		{ "a guest's header makes no batch of its frame", no_batch_of_a_guest, join_link,
		  leave_link, NULL },
	};

	return cmocka_run_group_tests_name("peer", tests, NULL, NULL);
}
