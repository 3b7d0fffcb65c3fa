// SPDX-License-Identifier: Apache-2.0
/*
 * A peer link on a real ring and real sockets, both ends in one loop: more frames than the kernel
 * keeps for a receiver (net.unix.max_dgram_qlen, 10) wait for it, and come whole and in order.
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

static struct loop loop;
static struct peer sender, receiver;
static struct link_out out[FRAMES];
static struct link_in in;
static uint8_t payload[FRAMES][LENGTH - FRAME_ETH], room[2048];
static unsigned sent, failed, received;

static void on_sent(struct link_out *o, int err)
{
	(void)o;
	sent++;
	failed += err != 0;
}

static void receive_next(void);

static void on_received(struct link_in *i, int res)
{
	(void)i;
	assert_int_equal(res, LENGTH);
	assert_int_equal(room[0], received);
	if (++received < FRAMES)
		receive_next();
	else
		loop_stop(&loop);
}

static void receive_next(void)
{
	in.done = on_received;
	in.link = &receiver.link;
	in.iov[0] = (struct iovec){ &in.head, sizeof(in.head.header) };
	in.iov[1] = (struct iovec){ in.head.eth, sizeof(in.head.eth) };
	in.iov[2] = (struct iovec){ room, sizeof(room) };
	in.nr = 3;
	in.room = sizeof(in.head.header) + sizeof(in.head.eth) + sizeof(room);
	receiver.link.ops->receive(&receiver.link, 0, &in, true);
}

static void send_frame(unsigned i)
{
	struct link_out *o = &out[i];

	payload[i][0] = (uint8_t)i;
	*o = (struct link_out){ .link = &sender.link, .done = on_sent, .err = -ENOTCONN };
	memset(o->head.eth, 0xff, sizeof(o->head.eth));
	o->iov[0] = (struct iovec){ &o->head.header, sizeof(o->head.header) };
	o->iov[1] = (struct iovec){ o->head.eth, sizeof(o->head.eth) };
	o->iov[2] = (struct iovec){ payload[i], sizeof(payload[i]) };
	o->nr = 3;
	assert_int_equal(sender.link.ops->send(&sender.link, 0, o), 0);
}

static void open_end(struct peer *p, const struct net_config *config)
{
	assert_int_equal(peer_open(p, config), 0);
	assert_int_equal(peer_attach(p, &loop), 0);
}

static void waits_for_room(void **state)
{
	char folder[] = "/tmp/mayfly-unit.XXXXXX", path[64], file[80];
	struct net_config config = { .id = "net0", .path = path };

	(void)state;
	if (loop_init(&loop, true))
		skip();
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/lan", folder);
	open_end(&receiver, &config);
	open_end(&sender, &config);
	receiver.link.ops->listen(&receiver.link);
	sender.link.ops->listen(&sender.link);

	sender.link.last = NULL; /* one batch */
	for (unsigned i = 0; i < FRAMES; i++)
		send_frame(i);
	for (unsigned i = 0; i < 10; i++)
		loop_turn(&loop); /* the receiver has no more room */
	assert_true(sent < FRAMES);
	receive_next();
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(received, FRAMES);
	loop_turn(&loop);
	assert_int_equal(sent, FRAMES);
	assert_int_equal(failed, 0);

	sender.link.ops->close(&sender.link);
	receiver.link.ops->close(&receiver.link);
	snprintf(file, sizeof(file), "%s/lock", path);
	unlink(file);
	rmdir(path);
	rmdir(folder);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		{ .name = "frames wait for room at a receiver, and come whole and in order",
		  .test_func = waits_for_room },
	};

	return cmocka_run_group_tests_name("peer", tests, NULL, NULL);
}
