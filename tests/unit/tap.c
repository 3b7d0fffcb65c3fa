// SPDX-License-Identifier: Apache-2.0
/*
 * What is taken for a tap and what is refused, by name and by descriptor, in a network namespace of
 * the test's own. Skipped where that may not be made, or there is no /dev/net/tun.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>

#include "../../virtio/tap.h"

static struct tap tap;
static bool can_make_taps;

/* A tap or tun as another program would make it, with these flags; its descriptor. */
static int make_tap(const char *name, int flags)
{
	struct ifreq ifr = { .ifr_flags = (short)flags };
	const int fd = open("/dev/net/tun", O_RDWR);

	strcpy(ifr.ifr_name, name);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static int open_fd(int fd)
{
	const struct net_config config = { .id = "net0", .kind = NET_TAP_FD, .fd = fd };

	return tap_open(&tap, &config, 4);
}

static int open_name(const char *name, unsigned queues)
{
	const struct net_config config = { .id = "net0", .kind = NET_TAP, .path = name };

	return tap_open(&tap, &config, queues);
}

static int set_up(void **state)
{
	(void)state;
	can_make_taps = unshare(CLONE_NEWNET) == 0 && access("/dev/net/tun", R_OK | W_OK) == 0;
	return 0;
}

static void need_taps(void)
{
	if (!can_make_taps) {
		print_message("no right to make a network namespace, or no /dev/net/tun\n");
		skip();
	}
}

static void by_descriptor(void **state)
{
	int fd;

	(void)state;
	need_taps();
	fd = make_tap("t0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(open_fd(fd), 0);
	assert_int_equal(tap.link.nr_queues, 1);
	assert_int_equal(tap.link.frame_max, 1500 + FRAME_ETH + 4);
	assert_true(tap.link.features & NET_F_CSUM && tap.link.features & NET_F_GUEST_TSO4);
	assert_true(tap.link.has_header && tap.link.is_trusted && !tap.link.is_up);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	tap.link.ops->close(&tap.link);
}

static void other_descriptors(void **state)
{
	static const int flags[] = { IFF_TAP | IFF_NO_PI, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };

	(void)state;
	assert_true(open_fd(open("/dev/null", O_RDWR)) < 0);
	assert_true(open_fd(1000) < 0);
	need_taps();
	assert_true(open_fd(open("/dev/net/tun", O_RDWR)) < 0); /* not yet any tap */
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		const int fd = make_tap("t1", flags[i]);

		assert_true(open_fd(fd) < 0);
		close(fd);
	}
}

static void queues(void **state)
{
	int fd;

	(void)state;
	need_taps();
	fd = make_tap("t2", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	ioctl(fd, TUNSETPERSIST, 1);
	close(fd);
	assert_int_equal(open_name("t2", 4), 0);
	assert_int_equal(tap.link.nr_queues, 4);
	assert_int_equal(tap.nr_attached, 1); /* until the driver asks for more */
	for (unsigned n = 4; n > 0; n--)
		assert_int_equal(tap.link.ops->set_queues(&tap.link, n), 0);
	assert_int_equal(tap.link.ops->set_queues(&tap.link, 3), 0);
	assert_int_equal(tap.nr_attached, 3);
	tap.link.ops->close(&tap.link);
	assert_int_equal(open_name("t2", 1), 0);
	assert_int_equal(tap.link.nr_queues, 1);
	tap.link.ops->close(&tap.link);
}

static void single(void **state)
{
	int fd;

	(void)state;
	need_taps();
	fd = make_tap("t3", IFF_TAP | IFF_NO_PI);
	ioctl(fd, TUNSETPERSIST, 1);
	close(fd);
	assert_int_equal(open_name("t3", 4), 0);
	assert_int_equal(tap.link.nr_queues, 1);
	tap.link.ops->negotiated(&tap.link, NET_F_GUEST_CSUM | NET_F_GUEST_TSO4);
	tap.link.ops->negotiated(&tap.link, NET_F_GUEST_TSO4); /* nothing without checksums */
	tap.link.ops->negotiated(&tap.link, 0);
	assert_true(open_name("lo", 1) < 0);
	assert_true(open_name("nowhere", 1) < 0);
}

static struct loop loop;
static unsigned nr_changes, nr_sent;
static int sent_err;

static void on_change(void *owner)
{
	(void)owner;
	nr_changes++;
}

static void on_sent(struct link_out *out, int err)
{
	(void)out;
	nr_sent++;
	sent_err = err;
}

static void set_flags(const char *name, int flags)
{
	struct ifreq ifr = { .ifr_flags = (short)flags };
	const int s = socket(AF_UNIX, SOCK_DGRAM, 0);

	strcpy(ifr.ifr_name, name);
	assert_int_equal(ioctl(s, SIOCSIFFLAGS, &ifr), 0);
	close(s);
}

static void turn(unsigned n)
{
	while (n-- > 0)
		loop_turn(&loop);
}

/* What became of a frame. */
static int send_one(void)
{
	static struct link_out out;
	static uint8_t payload[46];

	out = (struct link_out){ .link = &tap.link, .done = on_sent, .err = -ENOTCONN, .nr = 2 };
	memset(out.head.eth, 0xff, FRAME_ETH);
	out.iov[0] = (struct iovec){ &out.head, FRAME_HEAD };
	out.iov[1] = (struct iovec){ payload, sizeof(payload) };
	nr_sent = 0;
	if (tap.link.ops->send(&tap.link, 0, &out))
		return -ENOTCONN;
	turn(3);
	assert_int_equal(nr_sent, 1);
	return sent_err;
}

/* Down is seen by a frame that is lost, up at once. */
static void down_and_up(void **state)
{
	int fd;

	(void)state;
	need_taps();
	if (loop_init(&loop))
		skip();
	fd = make_tap("t4", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(open_fd(fd), 0);
	assert_false(tap.link.is_up);
	assert_int_equal(tap_attach(&tap, &loop), 0);
	tap.link.changed = on_change;
	tap.link.ops->listen(&tap.link);
	turn(3);
	assert_int_equal(nr_changes, 0);
	for (unsigned i = 1; i < 6; i += 2) {
		set_flags("t4", IFF_UP);
		turn(3);
		assert_int_equal(nr_changes, i);
		assert_true(tap.link.is_up);
		assert_int_equal(send_one(), 0);
		assert_int_equal(nr_changes, i);
		set_flags("t4", 0);
		turn(3);
		assert_int_equal(send_one(), -EIO);
		assert_int_equal(nr_changes, i + 1);
		assert_false(tap.link.is_up);
		assert_int_equal(send_one(), -ENOTCONN);
		turn(3);
		assert_int_equal(nr_changes, i + 1);
	}
	tap.link.ops->close(&tap.link);
	close(fd);
	io_uring_queue_exit(&loop.ring);
	close(loop.ready_fd);
}

static int received;

static void on_received(struct link_in *in, int res)
{
	(void)in;
	received = res;
}

/* The host sends a frame of `len` bytes into room for one of `room`: what the reader is told. */
static int receive_one(int host, uint32_t len, uint32_t room)
{
	static struct link_in in;
	static uint8_t frame[256] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, [12] = 0x88, 0xb5 };
	static uint8_t rest[256], tail[PARCEL_MAX];

	in = (struct link_in){ .link = &tap.link, .done = on_received, .nr = 2, .tail = tail };
	in.iov[0] = (struct iovec){ &in.head, FRAME_HEAD };
	in.iov[1] = (struct iovec){ rest, room - FRAME_ETH };
	in.room = room;
	received = 0;
	memset(rest, 0, sizeof(rest));
	memset(tail, 0, sizeof(tail));
	memset(frame + FRAME_ETH, 0x5a, sizeof(frame) - FRAME_ETH);
	tap.link.ops->receive(&tap.link, 0, &in, true);
	turn(1);
	assert_int_equal(send(host, frame, len, 0), len);
	turn(3);
	assert_int_equal(rest[room - FRAME_ETH], 0);
	assert_int_equal(tail[0], len > room ? 0x5a : 0);
	assert_int_equal(tail[len > room ? len - room : 0], 0);
	return received;
}

/* What does not fit goes on in the tail. */
static void too_long(void **state)
{
	const int off = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);
	struct sockaddr_ll where = { .sll_family = AF_PACKET };
	int fd, host;

	(void)state;
	need_taps();
	if (loop_init(&loop))
		skip();
	if (off >= 0) /* nothing else is to come */
		assert_int_equal(write(off, "1", 1), 1);
	close(off);
	fd = make_tap("t5", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(open_fd(fd), 0);
	assert_int_equal(tap_attach(&tap, &loop), 0);
	set_flags("t5", IFF_UP);
	host = socket(AF_PACKET, SOCK_RAW, 0);
	assert_true(host >= 0);
	where.sll_ifindex = (int)if_nametoindex("t5");
	assert_int_equal(bind(host, (struct sockaddr *)&where, sizeof(where)), 0);
	assert_int_equal(receive_one(host, 60, 100), 60);
	assert_int_equal(receive_one(host, 100, 100), 100);
	assert_int_equal(receive_one(host, 101, 100), 101);
	assert_int_equal(receive_one(host, 200, 100), 200);
	assert_int_equal(receive_one(host, 60, 100), 60);
	close(host);
	tap.link.ops->close(&tap.link);
	close(fd);
	io_uring_queue_exit(&loop.ring);
	close(loop.ready_fd);
}

#define TEST(name, function)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

static const struct CMUnitTest tests[] = {
	TEST("a tap as an open descriptor", by_descriptor),
	TEST("descriptors of other things, and of taps of other kinds", other_descriptors),
	TEST("a tap of several queues, attached as they are used", queues),
	TEST("a tap of one queue", single),
	TEST("a tap that is set down and up", down_and_up),
	TEST("a frame that is longer than the room for it", too_long),
};

int main(void)
{
	return cmocka_run_group_tests_name("tap", tests, set_up, NULL);
}
