// SPDX-License-Identifier: Apache-2.0
/*
 * Frames between microVMs. Who comes connects to all who are there, and by inotify they see it come
 * and connect to it: nobody polls, and whoever dies and comes back is found again. A station that
 * is known gets its frames alone, others go to all. What peers send is hostile: rx.c checks each
 * frame; one who does not read, or slowly, costs the others STALL_NS, once.
 */
#include "peer.h"
#include "../seccomp/sealed.h"
#include "../vmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define STALL_NS    200000000u /* as long a peer may let others wait, all in all */
#define SLOW_NS	    5000000u   /* what takes longer is waiting */
#define PROMPT_NS   1000000u   /* what else makes up for */
#define RECOVERED   64u	       /* frames in a row; its queue has room for 10 or so */
#define SEND_BUFFER (4 << 20)  /* the host's net.core.wmem_max may make less of it */

static void peer_receive(struct link *link, unsigned queue, struct link_in *in, bool is_waiting);
static int peer_send(struct link *link, unsigned queue, struct link_out *out);
static void peer_flush(struct link *link);
static void peer_listen(struct link *link);
static void peer_close(struct link *link);

static const struct link_ops ops = {
	.receive = peer_receive,
	.send = peer_send,
	.flush = peer_flush,
	.listen = peer_listen,
	.close = peer_close,
};

static bool is_multicast(const uint8_t *mac)
{
	return mac[0] & 1;
}

static unsigned hash(const uint8_t *mac)
{
	unsigned h = 0;

	for (unsigned i = 0; i < 6; i++)
		h = h * 31 + mac[i];
	return h % PEER_MACS;
}

/* A peer that lies about its slot misleads frames for addresses that it could take anyway. */
static void learn(struct peer *p, const struct link_head *head)
{
	const uint8_t *mac = head->eth + 6;
	const unsigned slot = head->header.num_buffers, at = hash(mac);

	if (slot >= PEERS_MAX || slot == p->slot || is_multicast(mac))
		return;
	memcpy(p->macs[at].mac, mac, 6);
	p->macs[at].slot = (uint8_t)slot;
	p->macs[at].is_known = true;
}

/* The slot that a frame for this address goes to, or -1: to all. */
static int find(const struct peer *p, const uint8_t *mac)
{
	const unsigned at = hash(mac);

	if (is_multicast(mac) || !p->macs[at].is_known || memcmp(p->macs[at].mac, mac, 6) ||
	    p->slots[p->macs[at].slot].fd < 0)
		return -1;
	return p->macs[at].slot;
}

static void on_received(struct op *op, int res)
{
	struct link_in *in = container_of(op, struct link_in, op);
	const struct frame_header *h = &in->head.header;

	if (res > (int)PARCEL_MAX) { /* MSG_TRUNC: as long as it was */
		res = -EMSGSIZE;
	} else if (res >= 0 && res < (int)FRAME_HEAD) {
		res = -EPROTO;
	} else if (res >= 0) {
		in->is_batch = h->gso_type == PARCEL_TYPE && h->flags == PARCEL_VERSION;
		learn(container_of(in->link, struct peer, link), &in->head);
		res -= (int)FRAME_HEADER;
	}
	in->done(in, res);
}

static void peer_receive(struct link *link, unsigned queue, struct link_in *in, bool is_waiting)
{
	struct peer *p = container_of(link, struct peer, link);
	struct io_uring_sqe *sqe = loop_sqe(link->loop);

	(void)queue;
	in->op.done = on_received;
	in->iov[in->nr] = (struct iovec){ in->tail, PARCEL_MAX };
	in->msg = (struct msghdr){ .msg_iov = in->iov, .msg_iovlen = (int)in->nr + 1 };
	io_uring_prep_recvmsg(sqe, p->file, &in->msg, MSG_TRUNC | (is_waiting ? 0u : MSG_DONTWAIT));
	loop_prepared(sqe, &in->op);
}

static int address_of(struct sockaddr_un *address, const char *path, const char *format,
		      unsigned slot)
{
	char name[16];
	int n;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(name, sizeof(name), format, slot);
	n = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s", path, name);
	return n < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

static int open_socket(void)
{
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = SEND_BUFFER;

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

static void disconnect_slot(struct peer *p, unsigned slot)
{
	struct peer_slot *s = &p->slots[slot];

	if (s->fd < 0)
		return;
	loop_file_replace(p->link.loop, s->file, -1);
	close(s->fd);
	s->fd = -1;
}

/* Places in the loop's table are taken by those slots only that are ever used. */
static int register_slot(struct peer *p, struct peer_slot *s, int fd)
{
	if (s->file >= 0)
		return loop_file_replace(p->link.loop, s->file, fd);
	s->file = loop_file(p->link.loop, fd);
	return s->file < 0 ? s->file : 0;
}

/* To whoever has that slot now; it takes no time, there or not. */
static void connect_slot(struct peer *p, unsigned slot)
{
	struct peer_slot *s = &p->slots[slot];
	const struct sockaddr_un *to = p->addresses[slot];
	int fd;

	disconnect_slot(p, slot);
	if (slot == p->slot)
		return;
	fd = open_socket();
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) || register_slot(p, s, fd)) {
		close(fd);
		return;
	}
	s->fd = fd;
}

static void connect_all(struct peer *p)
{
	for (unsigned slot = 0; slot < PEERS_MAX; slot++)
		connect_slot(p, slot);
}

/* A slot's file is its number and nothing else; other names are none of ours. */
static bool is_slot(const char *name, unsigned *slot)
{
	char number[16];

	for (*slot = 0; *slot < PEERS_MAX; ++*slot) {
		snprintf(number, sizeof(number), "%u", *slot);
		if (!strcmp(name, number))
			return true;
	}
	return false;
}

static void on_events(struct op *op, int res)
{
	struct peer *p = container_of(op, struct peer, watch_op);
	const char *at = p->events;
	unsigned slot;

	if (res < 0) { /* the folder is no longer watched: who is connected stays so */
		fail(res, "%s: watching the folder", p->path);
		return;
	}
	while (at < p->events + res) {
		const struct inotify_event *e = (const void *)at;

		if (e->mask & IN_Q_OVERFLOW)
			connect_all(p);
		else if (e->len > 0 && is_slot(e->name, &slot))
			connect_slot(p, slot);
		at += sizeof(*e) + e->len;
	}
	loop_read(p->link.loop, &p->watch_op, p->watch_file, p->events, sizeof(p->events));
}

/* One that reads now and then, to be waited for again and again, is waited for no longer in all
 * than one that does not read. */
static void judge(struct peer_slot *s, int res, uint64_t ns)
{
	if (s->is_stalled) {
		s->nr_prompt = res < 0 ? 0 : s->nr_prompt + 1;
		s->is_stalled = s->nr_prompt < RECOVERED;
		return;
	}
	if (ns > SLOW_NS)
		s->waited_ns += ns;
	else
		s->waited_ns -= s->waited_ns < PROMPT_NS ? s->waited_ns : PROMPT_NS;
	s->is_stalled = (res == -ECANCELED && ns > SLOW_NS) || s->waited_ns >= STALL_NS;
	if (s->is_stalled)
		s->waited_ns = s->nr_prompt = 0;
}

/*
 * They come in order, as far as they are one chain. One that died may have come back already, and
 * then has another socket.
 */
static void on_sent(struct op *op, int res)
{
	struct link_send *send = container_of(op, struct link_send, op);
	const unsigned slot = (unsigned)(send - send->out->sends);
	struct peer *p = container_of(send->out->link, struct peer, link);
	const uint64_t now = loop_turn_ns(p->link.loop);

	judge(&p->slots[slot], res, now - p->since_ns);
	p->since_ns = now;
	if (res < 0 && res != -ECANCELED && res != -EAGAIN && res != -ENOBUFS && res != -ENOMEM &&
	    res != -EMSGSIZE)
		connect_slot(p, slot);
	link_sent(send, res < 0 ? res : 0);
}

/*
 * WRITEV waits for room at a receiver that has none, and sends the frame then. SENDMSG would send
 * an empty one: when the kernel finds that there is no room it has taken the bytes already, and its
 * second attempt sends what is left of them (seen on Linux 6.18).
 */
static void send_to(struct peer *p, unsigned slot, struct link_out *out)
{
	struct io_uring_sqe *sqe = loop_sqe(p->link.loop);
	const int file = p->slots[slot].file;

	if (p->slots[slot].is_stalled)
		io_uring_prep_sendmsg(sqe, file, &out->msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		io_uring_prep_writev(sqe, file, out->iov, out->nr, 0);
	link_in_order(&p->link, sqe, IOSQE_IO_HARDLINK); /* one that fails holds no other up */
	loop_prepared(sqe, link_sending(out, slot, on_sent));
}

/* Whether it can go in one datagram with those that wait: to the same peer, which learns by it at
 * which slot one station is. */
static bool fits(const struct peer *p, const struct link_out *out, int slot)
{
	const struct link_out *first = p->first;

	return slot == p->to && out->head.header.gso_type == 0 &&
	       first->head.header.gso_type == 0 && out->bytes <= PARCEL_SMALL &&
	       first->bytes <= PARCEL_SMALL && p->bytes + out->bytes <= PARCEL_MAX &&
	       first->nr + out->nr < LINK_OUT_IOV &&
	       !memcmp(out->head.eth + 6, first->head.eth + 6, 6);
}

/* A batch's frames have their length where a frame that goes alone has its sender's slot. */
static void join(struct peer *p, struct link_out *out)
{
	struct link_out *first = p->first;

	if (p->last == first) {
		memmove(first->iov + 1, first->iov, first->nr++ * sizeof(*first->iov));
		first->iov[0] = (struct iovec){ &first->batch_head, FRAME_HEAD };
		first->batch_head = (struct link_head){
			.header = { .flags = PARCEL_VERSION, .gso_type = PARCEL_TYPE },
		};
		memcpy(first->batch_head.eth, first->head.eth, FRAME_ETH);
		first->head.header.num_buffers = (uint16_t)(first->bytes - FRAME_HEADER);
		p->bytes += FRAME_HEAD;
	}
	out->head.header.num_buffers = (uint16_t)(out->bytes - FRAME_HEADER);
	memcpy(first->iov + first->nr, out->iov, out->nr * sizeof(*out->iov));
	first->nr += out->nr;
	p->bytes += out->bytes;
	p->last->next = out;
	p->last = out;
}

static void peer_flush(struct link *link)
{
	struct peer *p = container_of(link, struct peer, link);
	struct link_out *first = p->first;

	if (!first)
		return;
	p->first = NULL;
	p->since_ns = loop_turn_ns(link->loop);
	(first->next ? &first->batch_head : &first->head)->header.num_buffers = (uint16_t)p->slot;
	first->msg = (struct msghdr){ .msg_iov = first->iov, .msg_iovlen = (int)first->nr };
	for (unsigned i = 0; i < PEERS_MAX; i++)
		if (p->slots[i].fd >= 0 && (p->to < 0 || (unsigned)p->to == i))
			send_to(p, i, first);
}

static bool is_anybody_there(const struct peer *p)
{
	for (unsigned i = 0; i < PEERS_MAX; i++)
		if (p->slots[i].fd >= 0)
			return true;
	return false;
}

/* A guest cannot make a batch: each of its frames was looked at alone. */
static int peer_send(struct link *link, unsigned queue, struct link_out *out)
{
	struct peer *p = container_of(link, struct peer, link);
	const int slot = find(p, out->head.eth);

	(void)queue;
	if (out->head.header.gso_type == PARCEL_TYPE)
		return -EPROTO;
	if (slot < 0 && !is_anybody_there(p))
		return -ENOTCONN;
	if (p->first && fits(p, out, slot)) {
		join(p, out);
		return 0;
	}
	peer_flush(link);
	p->first = p->last = out;
	p->to = slot;
	p->bytes = out->bytes;
	return 0;
}

static void peer_close(struct link *link)
{
	struct peer *p = container_of(link, struct peer, link);

	if (p->fd >= 0)
		unlink(p->own->sun_path);
	for (unsigned i = 0; i < PEERS_MAX; i++)
		if (p->slots[i].fd >= 0)
			close(p->slots[i].fd);
	if (p->fd >= 0)
		close(p->fd);
	if (p->watch_fd >= 0)
		close(p->watch_fd);
	if (p->lock_fd >= 0) /* last: from here on the slot is another's */
		close(p->lock_fd);
}

/* The first byte of PATH/lock that nobody holds. */
static int take_slot(struct peer *p)
{
	char name[4096];

	if (snprintf(name, sizeof(name), "%s/lock", p->path) >= (int)sizeof(name))
		return fail(-ENAMETOOLONG, "peer=%s", p->path);
	p->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->lock_fd < 0)
		return fail(-errno, "%s", name);
	for (p->slot = 0; p->slot < PEERS_MAX; p->slot++) {
		struct flock byte = { .l_type = F_WRLCK, .l_start = (off_t)p->slot, .l_len = 1 };

		if (fcntl(p->lock_fd, F_OFD_SETLK, &byte) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return fail(-errno, "%s: locking it", name);
	}
	return fail(0, "peer=%s: %u microVMs are on this link, which is the most", p->path,
		    PEERS_MAX);
}

/* Under another name first: once it has its own, it can be connected to. What a dead one left there
 * is replaced. */
static int bind_slot(struct peer *p)
{
	struct sockaddr_un made;

	p->own = sealed_own(p->addresses[p->slot]->sun_path);
	if (!p->own)
		return fail(-ENOMEM, "peer=%s: its address", p->path);
	must(address_of(&made, p->path, "%u.new", p->slot) == 0);
	p->fd = open_socket();
	if (p->fd < 0)
		return fail(-errno, "socket");
	/*
	 * It only receives: it is older than the jail, and would reach the host's abstract sockets.
	 */
	if (shutdown(p->fd, SHUT_WR))
		return fail(-errno, "shutdown");
	unlink(made.sun_path);
	if (bind(p->fd, (struct sockaddr *)&made, sizeof(made)) ||
	    rename(made.sun_path, p->own->sun_path))
		return fail(-errno, "%s", made.sun_path);
	return 0;
}

/* Whoever comes later is connected to when only sealed memory may be named. */
static int seal_addresses(struct peer *p)
{
	struct sockaddr_un address;

	for (unsigned slot = 0; slot < PEERS_MAX; slot++) {
		must(address_of(&address, p->path, "%u", slot) == 0);
		p->addresses[slot] = sealed_address(address.sun_path);
		if (!p->addresses[slot])
			return fail(-ENOMEM, "peer=%s: its addresses", p->path);
	}
	return 0;
}

static int open_all(struct peer *p)
{
	struct sockaddr_un longest;
	int err;

	if (address_of(&longest, p->path, "%u.new", PEERS_MAX))
		return fail(0, "peer=%s: the path is too long for sockets in it", p->path);
	if (mkdir(p->path, 0700) && errno != EEXIST)
		return fail(-errno, "peer=%s: making the folder", p->path);
	p->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (p->watch_fd < 0)
		return fail(-errno, "inotify_init1; sysctl fs.inotify.max_user_instances");
	if (inotify_add_watch(p->watch_fd, p->path, IN_MOVED_TO | IN_ONLYDIR) < 0)
		return fail(-errno, "peer=%s: give a folder that all its microVMs share", p->path);
	err = seal_addresses(p);
	if (!err)
		err = take_slot(p);
	return err ? err : bind_slot(p);
}

int peer_open(struct peer *p, const struct net_config *config)
{
	int err;

	*p = (struct peer){
		.link = { .ops = &ops,
			  .name = config->id,
			  .features = NET_F_CSUM | NET_F_HOST_TSO4 | NET_F_HOST_TSO6 |
				      NET_F_HOST_ECN | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 |
				      NET_F_GUEST_TSO6 | NET_F_GUEST_ECN,
			  .nr_queues = 1,
			  .burst_max = LINK_BURST,
			  .frame_max = FRAME_MAX,
			  .stall_ns = STALL_NS,
			  .has_header = true,
			  .is_up = true },
		.path = config->path,
		.lock_fd = -1,
		.fd = -1,
		.watch_fd = -1,
	};
	for (unsigned i = 0; i < PEERS_MAX; i++)
		p->slots[i].fd = p->slots[i].file = -1;
	err = open_all(p);
	if (err)
		peer_close(&p->link);
	return err;
}

int peer_attach(struct peer *p, struct loop *loop)
{
	p->link.loop = loop;
	p->file = loop_file(loop, p->fd);
	p->watch_file = loop_file(loop, p->watch_fd);
	if (p->file < 0 || p->watch_file < 0)
		return fail(p->file < 0 ? p->file : p->watch_file, "%s: registering its sockets",
			    p->link.name);
	p->watch_op.done = on_events;
	return 0;
}

static void peer_listen(struct link *link)
{
	struct peer *p = container_of(link, struct peer, link);

	loop_read(link->loop, &p->watch_op, p->watch_file, p->events, sizeof(p->events));
	connect_all(p);
}
