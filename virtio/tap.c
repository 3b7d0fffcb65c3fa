// SPDX-License-Identifier: Apache-2.0
/*
 * A tap: each read is a frame, each write is one, and the kernel's header before it is virtio-net's
 * own. Only taps are taken that exist already: making one takes rights that a monitor should not
 * have. See Documentation/networking/tuntap.rst of Linux.
 */
#include "tap.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* After net/if.h, with which linux/if.h would quarrel. */
#include <linux/if_tun.h>

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
#define MTU_MOST  65535

#define BUSY_TRIES     50
#define BUSY_TRIES_API 10 /* its clients wait for half a second */
#define BUSY_WAIT_US   20000

static void tap_receive(struct link *link, unsigned queue, struct link_in *in, bool is_waiting);
static int tap_send(struct link *link, unsigned queue, struct link_out *out);
static void tap_negotiated(struct link *link, uint64_t features);
static int tap_set_queues(struct link *link, unsigned nr);
static void tap_listen(struct link *link);
static void tap_close(struct link *link);

static const struct link_ops ops = {
	.receive = tap_receive,
	.send = tap_send,
	.negotiated = tap_negotiated,
	.set_queues = tap_set_queues,
	.listen = tap_listen,
	.close = tap_close,
};

static void on_received(struct op *op, int res)
{
	struct link_in *in = container_of(op, struct link_in, op);

	if (res >= 0 && (size_t)res < sizeof(in->head.header))
		res = -EIO;
	else if (res > (int)PARCEL_MAX)
		res = -EMSGSIZE;
	else if (res > 0)
		res -= (int)sizeof(in->head.header);
	in->done(in, res);
}

static void tap_receive(struct link *link, unsigned queue, struct link_in *in, bool is_waiting)
{
	struct tap *t = container_of(link, struct tap, link);
	struct io_uring_sqe *sqe = loop_sqe(link->loop);

	in->op.done = on_received;
	in->iov[in->nr] = (struct iovec){ in->tail, PARCEL_MAX };
	io_uring_prep_readv2(sqe, t->files[queue], in->iov, in->nr + 1, 0,
			     is_waiting ? 0 : RWF_NOWAIT);
	loop_prepared(sqe, &in->op);
}

/*
 * A tap can be written to, says poll(2), when the host has set it up; but nobody is told when it is
 * set down: the next frame fails then. Where it was deleted, it does not come back.
 */
static void on_writable(struct op *op, int res)
{
	struct tap *t = container_of(op, struct tap, up_op);

	if (res < 0 || !(res & POLLOUT))
		return;
	t->link.is_up = true;
	t->link.changed(t->link.owner);
}

static void wait_until_up(struct tap *t)
{
	struct io_uring_sqe *sqe = loop_sqe(t->link.loop);

	t->up_op.done = on_writable;
	io_uring_prep_poll_add(sqe, t->files[0], POLLOUT);
	loop_prepared(sqe, &t->up_op);
}

static void tap_listen(struct link *link)
{
	if (!link->is_up)
		wait_until_up(container_of(link, struct tap, link));
}

static void on_sent(struct op *op, int res)
{
	struct link_send *send = container_of(op, struct link_send, op);
	struct link *link = send->out->link;

	if (link->is_up && (res == -EIO || res == -EBADFD)) { /* down, or deleted */
		link->is_up = false;
		wait_until_up(container_of(link, struct tap, link));
		link->changed(link->owner);
	}
	link_sent(send, res < 0 ? res : 0);
}

static int tap_send(struct link *link, unsigned queue, struct link_out *out)
{
	struct tap *t = container_of(link, struct tap, link);

	if (!link->is_up) /* a write that fails would wake who waits for it to be writable */
		return -ENOTCONN;
	loop_writev(link->loop, link_sending(out, 0, on_sent), t->files[queue], out->iov, out->nr,
		    0);
	return 0;
}

static int refused(struct tap *t, const char *what)
{
	const int err = -errno;

	if (!t->is_warned)
		fail(err, "%s: %s; this is said once", t->link.name, what);
	t->is_warned = true;
	return err;
}

/* The kernel cuts up and sums for the driver what the driver did not take on itself. */
static void tap_negotiated(struct link *link, uint64_t features)
{
	static const struct {
		uint64_t feature;
		unsigned long offload;
	} row[] = {
		{ NET_F_GUEST_CSUM, TUN_F_CSUM }, { NET_F_GUEST_TSO4, TUN_F_TSO4 },
		{ NET_F_GUEST_TSO6, TUN_F_TSO6 }, { NET_F_GUEST_ECN, TUN_F_TSO_ECN },
		{ NET_F_GUEST_UFO, TUN_F_UFO },
	};
	struct tap *t = container_of(link, struct tap, link);
	unsigned long offloads = 0;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		if (features & row[i].feature)
			offloads |= row[i].offload;
	if (!(offloads & TUN_F_CSUM)) /* tun(4): the others mean nothing then */
		offloads = 0;
	/* Of the device, so one queue says it for all. What still comes uncut, rx.c cuts. */
	if (ioctl(t->fds[0], TUNSETOFFLOAD, offloads))
		refused(t, "TUNSETOFFLOAD");
}

/* The kernel sends frames to attached queues only. */
static int tap_set_queues(struct link *link, unsigned nr)
{
	struct tap *t = container_of(link, struct tap, link);

	while (t->nr_attached != nr) {
		const bool attaches = t->nr_attached < nr;
		const unsigned queue = attaches ? t->nr_attached : t->nr_attached - 1;
		struct ifreq ifr = { .ifr_flags = (short)(attaches ? IFF_ATTACH_QUEUE
								   : IFF_DETACH_QUEUE) };

		if (ioctl(t->fds[queue], TUNSETQUEUE, &ifr))
			return refused(t, "TUNSETQUEUE");
		t->nr_attached = attaches ? queue + 1 : queue;
	}
	return 0;
}

static void tap_close(struct link *link)
{
	struct tap *t = container_of(link, struct tap, link);

	/* The ring may hold the descriptors for a while yet: nothing is to go there. */
	if (link->nr_queues > 1)
		tap_set_queues(link, 0);
	for (unsigned i = 0; i < link->nr_queues; i++)
		close(t->fds[i]);
}

static int try_queue(const char *name, unsigned flags)
{
	struct ifreq ifr = { .ifr_flags = (short)(TAP_FLAGS | flags) };
	const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int err;

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/*
 * One more queue of the tap `name`, or its only one. The descriptor, or -errno. When a process has
 * ended, the kernel takes its ring apart only then, and the tap is free a moment later.
 */
static int open_queue(const char *name, unsigned flags, unsigned tries)
{
	int fd = try_queue(name, flags);

	for (unsigned i = 0; i < tries && fd == -EBUSY; i++) {
		usleep(BUSY_WAIT_US);
		fd = try_queue(name, flags);
	}
	return fd;
}

static int refuse_name(int err, const char *name)
{
	if (err == -EINVAL)
		return fail(0, "%s: is not a tap; make one with 'ip tuntap add dev NAME mode tap'",
			    name);
	if (err == -EBUSY)
		return fail(err, "%s: another process has this tap", name);
	if (err == -EPERM)
		return fail(err,
			    "%s: this user may not open it; make it with 'ip tuntap add dev %s "
			    "mode tap user NAME'",
			    name, name);
	if (err == -ENOENT || err == -ENODEV)
		return fail(err, "/dev/net/tun: load the module with 'modprobe tun'");
	return fail(err, "%s: opening the tap", name);
}

int tap_open_name(const char *name)
{
	return if_nametoindex(name) ? open_queue(name, 0, BUSY_TRIES_API) : -ENODEV;
}

/*
 * A tap that was made for several queues has to be opened so, even for one, and others cannot be.
 */
static int open_name(struct tap *t, const char *name, unsigned queues)
{
	unsigned flags = IFF_MULTI_QUEUE;
	int fd;

	if (if_nametoindex(name) == 0)
		return fail(0,
			    "%s: no such interface; make it with 'ip tuntap add dev %s mode tap'",
			    name, name);
	fd = open_queue(name, flags, BUSY_TRIES);
	if (fd == -EINVAL) {
		flags = 0;
		fd = open_queue(name, flags, BUSY_TRIES);
	}
	if (fd < 0)
		return refuse_name(fd, name);
	t->fds[t->link.nr_queues++] = fd;
	while (flags && t->link.nr_queues < queues) {
		fd = open_queue(name, flags, BUSY_TRIES);
		if (fd < 0)
			return refuse_name(fd, name);
		t->fds[t->link.nr_queues++] = fd;
	}
	return 0;
}

/* Whether it has IFF_NO_PI cannot be seen: there the same bit is IFF_NOFILTER. */
int tap_check(int fd)
{
	struct ifreq ifr = { 0 };

	if (ioctl(fd, TUNGETIFF, &ifr))
		return -errno;
	return (ifr.ifr_flags & TAP_FLAGS) == TAP_FLAGS ? 0 : -EINVAL;
}

/* The descriptor stays the caller's: another start may want it. */
static int open_fd(struct tap *t, int fd)
{
	const int flags = fcntl(fd, F_GETFL), err = flags < 0 ? 0 : tap_check(fd);
	int own;

	if (flags < 0)
		return fail(-errno, "fd=%d: the descriptor is not open", fd);
	if (err == -EINVAL)
		return fail(0, "fd=%d: open the tap with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR", fd);
	if (err)
		return fail(0, "fd=%d: is not a tap (TUNGETIFF: %s)", fd, strerror(-err));
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return fail(-errno, "fd=%d", fd);
	own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (own < 0)
		return fail(-errno, "fd=%d", fd);
	t->fds[t->link.nr_queues++] = own;
	return 0;
}

/* Frames are as long as the tap's MTU lets them be. */
static uint32_t frame_max(int fd)
{
	struct ifreq ifr = { 0 };
	const int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t max = FRAME_MAX;

	if (s < 0)
		return max;
	if (ioctl(fd, TUNGETIFF, &ifr) == 0 && ioctl(s, SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu > 0 &&
	    ifr.ifr_mtu < MTU_MOST)
		max = (uint32_t)ifr.ifr_mtu + FRAME_MAX - MTU_MOST;
	close(s);
	return max;
}

/*
 * Before Linux 6.4 io_uring reads a tap without a thread of its own only where it is O_NONBLOCK,
 * as here they all are, and a single read cannot be told not to wait: then there is one at a time.
 */
static bool can_look(int fd)
{
	uint8_t byte;
	struct iovec iov = { &byte, sizeof(byte) };

	return syscall(SYS_preadv2, fd, &iov, 1, -1l, -1l, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP;
}

static bool is_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

static int set_up(struct tap *t)
{
	const unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	struct link *link = &t->link;
	int header = sizeof(struct frame_header);

	for (unsigned i = 0; i < link->nr_queues; i++)
		if (ioctl(t->fds[i], TUNSETVNETHDRSZ, &header))
			return fail(-errno, "%s: TUNSETVNETHDRSZ", link->name);
	link->features =
		NET_F_CSUM | NET_F_HOST_TSO4 | NET_F_HOST_TSO6 | NET_F_HOST_ECN | NET_F_HOST_UFO;
	if (ioctl(t->fds[0], TUNSETOFFLOAD, offloads) == 0)
		link->features |=
			NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN;
	/* Not all kernels do that any more. */
	if (ioctl(t->fds[0], TUNSETOFFLOAD, offloads | TUN_F_UFO) == 0)
		link->features |= NET_F_GUEST_UFO;
	if (ioctl(t->fds[0], TUNSETOFFLOAD, 0ul))
		return fail(-errno, "%s: TUNSETOFFLOAD", link->name);
	t->nr_attached = link->nr_queues;
	return link->nr_queues > 1 ? tap_set_queues(link, 1) : 0;
}

int tap_open(struct tap *t, const struct net_config *config, unsigned queues)
{
	int err;

	*t = (struct tap){
		.link = { .ops = &ops, .name = config->id, .has_header = true, .is_trusted = true }
	};
	err = config->kind == NET_TAP ? open_name(t, config->path, queues) : open_fd(t, config->fd);
	if (!err)
		err = set_up(t);
	if (err) {
		tap_close(&t->link);
		return err;
	}
	t->link.is_up = is_writable(t->fds[0]);
	t->link.frame_max = frame_max(t->fds[0]);
	t->link.burst_max = can_look(t->fds[0]) ? LINK_BURST : 1;
	return 0;
}

int tap_attach(struct tap *t, struct loop *loop)
{
	t->link.loop = loop;
	for (unsigned i = 0; i < t->link.nr_queues; i++) {
		t->files[i] = loop_file(loop, t->fds[i]);
		if (t->files[i] < 0)
			return fail(t->files[i], "%s: registering the tap", t->link.name);
	}
	return 0;
}
