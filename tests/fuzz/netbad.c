// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over the network device with a hostile guest (tests/unit/netdev.h), where net.c's is a
 * good one with a hostile link: a head says what the link is, what the driver takes, where its
 * queues lie and what happens step by step; the rest is guest memory, rings included. Whatever the
 * guest does, links are given memory that is the guest's or their own, a buffer is in one place at
 * a time, and a reset ends all. `make fuzz` runs it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "links.h"

/* Chains may name the same bytes over and over: so 256 of them have 4 GiB. */
#define GUEST_SIZE (16u << 20)
#define FILLED	   16384u
#define STEPS	   64u

struct head {
	uint8_t kind, shift;
	uint16_t limits;
	uint32_t features;
	uint16_t places[QUEUES][3]; /* descriptors, driver area, device area */
	uint16_t unused;
	struct {
		uint8_t what, a, b, c;
	} steps[STEPS];
};

static int peer = -1; /* which nobody reads */
static struct net_config config;
static uint8_t *guest;

static void set_up(void)
{
	make_links();
	promise(mkdir(peers_path, 0700) == 0);
	peer = bind_at(peer_path, SOCK_DGRAM);
	guest = mmap(NULL, GUEST_SIZE + 4096, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	promise(guest != MAP_FAILED);
	promise(mprotect(guest, GUEST_SIZE, PROT_READ | PROT_WRITE) == 0);
}

/* Two pairs of queues, as a tap has them. */

static void pairs_received(struct op *op, int res)
{
	struct link_in *in = container_of(op, struct link_in, op);

	in->done(in, res < 0 ? res : res < (int)FRAME_HEADER ? -EIO : res - (int)FRAME_HEADER);
}

static void pairs_receive(struct link *link, unsigned queue, struct link_in *in, bool is_waiting)
{
	struct io_uring_sqe *sqe = loop_sqe(link->loop);

	promise(queue < link->nr_queues);
	in->op.done = pairs_received;
	in->iov[in->nr] = (struct iovec){ in->tail, PARCEL_MAX };
	io_uring_prep_readv2(sqe, (int)queue, in->iov, in->nr + 1, 0, is_waiting ? 0 : RWF_NOWAIT);
	loop_prepared(sqe, &in->op);
}

static void pairs_sent(struct op *op, int res)
{
	link_sent(container_of(op, struct link_send, op), res < 0 ? res : 0);
}

static int pairs_send(struct link *link, unsigned queue, struct link_out *out)
{
	loop_writev(link->loop, link_sending(out, 0, pairs_sent), (int)queue, out->iov, out->nr, 0);
	return 0;
}

static int pairs_set(struct link *link, unsigned nr)
{
	promise(nr >= 1 && nr <= link->nr_queues);
	return 0;
}

static void pairs_close(struct link *link)
{
	(void)link;
}

static void open_pairs(void)
{
	static const struct link_ops ops = { .receive = pairs_receive,
					     .send = pairs_send,
					     .set_queues = pairs_set,
					     .close = pairs_close };

	net.config = &config;
	net.link = &net.tap.link;
	net.tap.link = (struct link){ .ops = &ops,
				      .features = UINT32_MAX & ~(NET_F_MRG_RXBUF | NET_F_STATUS |
								 NET_F_CTRL_VQ | NET_F_MQ),
				      .nr_queues = 2,
				      .burst_max = LINK_BURST,
				      .frame_max = 1518,
				      .has_header = true,
				      .is_trusted = true,
				      .is_up = true };
}

/* What a link is given: the guest's memory, or what the device keeps for it. */

static bool is_within(const struct iovec *v, const void *place, size_t size)
{
	const uint8_t *at = v->iov_base, *from = place;

	return at >= from && at <= from + size && v->iov_len <= (size_t)(from + size - at);
}

static bool is_known(const struct iovec *v)
{
	bool known = is_within(v, guest, GUEST_SIZE) || is_within(v, &net, sizeof(net));

	for (unsigned i = 0; i < net.link->nr_queues && !known; i++) {
		const struct net_pair *p = &net.pairs[i];

		known = is_within(v, p->in, LINK_BURST * sizeof(*p->in)) ||
			is_within(v, p->out, LINK_BURST * sizeof(*p->out)) ||
			is_within(v, p->tails, LINK_BURST * PARCEL_MAX);
	}
	return known;
}

static const struct iovec *segments_of(const struct slot *s, unsigned *nr)
{
	if (s->sqe.opcode == IORING_OP_RECVMSG || s->sqe.opcode == IORING_OP_SENDMSG) {
		*nr = (unsigned)message_of(s)->msg_iovlen;
		return message_of(s)->msg_iov;
	}
	*nr = s->sqe.len;
	return (const struct iovec *)(uintptr_t)s->sqe.addr;
}

static size_t check_segments(const struct slot *s)
{
	unsigned nr;
	const struct iovec *v = segments_of(s, &nr);
	size_t room = 0;

	promise(nr > 0 && nr <= LINK_IOV);
	for (unsigned i = 0; i < nr; i++) {
		promise(is_known(&v[i]));
		room += v[i].iov_len;
	}
	return room;
}

/* Each buffer that was taken is spare or in one frame's hands. */
static void check_buffers(void)
{
	for (unsigned i = 0; i < net.link->nr_queues && net.dev.is_running; i++) {
		const struct net_pair *p = &net.pairs[i];
		const struct queue *q = &net.dev.queues[2 * i];
		unsigned out = 0, held = p->nr_spare;

		for (unsigned j = 0; j < QUEUE_MAX / 64; j++)
			out += (unsigned)__builtin_popcountll(q->in_flight[j]);
		for (unsigned j = 0; j < LINK_BURST; j++)
			held += p->in[j].nr_heads;
		promise(held <= QUEUE_MAX && (held == out || net.dev.is_broken));
	}
}

/* What comes: frames with headers of all kinds, batches, and noise. */

static uint8_t bytes[PARCEL_MAX + 4096];

static size_t put_frame(size_t at, struct frame_header h, size_t len, bool is_tcp)
{
	uint8_t *frame = bytes + at + FRAME_HEADER;

	memcpy(bytes + at, &h, sizeof(h));
	memset(frame, (int)len, len);
	if (is_tcp && len >= 54) {
		frame[0] = frame[6] = 2;
		frame[12] = 8;
		frame[13] = 0;
		frame[14] = 0x45;
		frame[23] = 6;
		frame[46] = 0x50;
	}
	return at + FRAME_HEADER + len;
}

static size_t make_arrival(uint8_t kind, uint8_t much)
{
	const size_t len = 14u + much * (kind & 8 ? 250u : 6u);
	struct frame_header h = { 0 };
	size_t at;

	switch (kind % 6) {
	case 0:
		return put_frame(0, h, len, false);
	case 1:
		h = (struct frame_header){ .flags = 1, .csum_start = 34, .csum_offset = 6 };
		return put_frame(0, h, len, false);
	case 2:
	case 3:
		h = (struct frame_header){ .flags = 1,
					   .gso_type = 1,
					   .hdr_len = 54,
					   .gso_size = (uint16_t)(48 + much),
					   .csum_start = 34,
					   .csum_offset = 16 };
		return put_frame(0, h, len, true);
	case 4:
		h = (struct frame_header){ .flags = PARCEL_VERSION, .gso_type = PARCEL_TYPE };
		at = put_frame(0, h, FRAME_ETH, false);
		for (unsigned i = 0; i < much % 20u; i++) {
			const uint16_t size = (uint16_t)(14u + (much * 7u + i * 300u) % 3000u);

			at = put_frame(at, (struct frame_header){ .num_buffers = size }, size,
				       false);
		}
		return at;
	default:
		memset(bytes, much, len);
		return len;
	}
}

/* A stream asks for a length, or for a frame and the next length. */
static size_t make_stream(uint8_t kind, uint8_t much, size_t room)
{
	const uint32_t length = htonl(14u + much * (kind & 8 ? 257u : 6u));

	room = room < sizeof(bytes) ? room : sizeof(bytes);
	memset(bytes, much, room);
	if (room >= 4)
		memcpy(bytes + room - 4, &length, 4);
	return kind % 6 == 5 && room > 1 ? room - 1 : room;
}

static void arrive(uint8_t what, uint8_t kind, uint8_t much)
{
	struct slot *found[2 * LINK_BURST];
	const struct iovec *v;
	unsigned nr = 0, nr_v;
	size_t n, room;

	for (unsigned i = 0; i < SLOTS && nr < 2 * LINK_BURST; i++)
		if (slots[i].is_taken && (slots[i].sqe.opcode == IORING_OP_RECVMSG ||
					  slots[i].sqe.opcode == IORING_OP_READV))
			found[nr++] = &slots[i];
	if (nr == 0)
		return;
	found[0] = found[what % nr];
	room = check_segments(found[0]);
	v = segments_of(found[0], &nr_v);
	n = config.kind == NET_STREAM ? make_stream(kind, much, room) : make_arrival(kind, much);
	n = n < room ? n : room;
	frame_put(v, nr_v, bytes, n);
	complete(found[0], kind >= 250 ? -EAGAIN : kind >= 240 ? -EIO : (int)n);
}

static void depart(uint8_t how)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[i];
		size_t n;

		if (!s->is_taken ||
		    (s->sqe.opcode != IORING_OP_SENDMSG && s->sqe.opcode != IORING_OP_WRITEV))
			continue;
		n = check_segments(s);
		promise(n <= FRAME_HEADER + FRAME_MAX + 64);
		complete(s, how < 200 ? (int)n : how < 220 ? (int)(how % n) : -(int)(how - 200));
		return;
	}
}

/* All that a reset waits for. */
static void settle(void)
{
	for (unsigned i = 0; i < 1000; i++) {
		wake();
		complete_cancelled();
		if (net.dev.phase != VIRTIO_STOPPING)
			return;
	}
	broken("a reset comes to an end", __FILE__, __LINE__);
}

/* The register write of a reset waits for the loop's thread: here is its turn. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
			   const struct timespec *until)
{
	(void)cond;
	(void)until;
	pthread_mutex_unlock(mutex);
	settle();
	pthread_mutex_lock(mutex);
	return ETIMEDOUT;
}

static void start(const struct head *h)
{
	out(0x70, 0);
	out(0x70, 3);
	out(0x24, 0);
	out(0x20, h->features & (uint32_t)net.dev.offered);
	out(0x24, 1);
	out(0x20, 1); /* VERSION_1 */
	out(0x70, 11);
	for (unsigned q = 0; q < net.dev.nr_queues; q++) {
		out(0x30, q);
		out(0x38, 1u << h->shift % 9);
		out(0x80, h->places[q][0] & ~15u);
		out(0x90, h->places[q][1] & ~1u);
		out(0xa0, h->places[q][2] & ~3u);
		out(0x44, 1);
	}
	out(0x70, 15);
	wake();
}

static void complete_kind(uint8_t opcode, int res)
{
	struct slot *s = find_slot(opcode);

	if (s)
		complete(s, res);
}

static void step(const struct head *h, unsigned i)
{
	static const uint16_t registers[] = { 0x014, 0x020, 0x024, 0x030, 0x038, 0x044,
					      0x050, 0x064, 0x070, 0x080, 0x084, 0x090,
					      0x094, 0x0a0, 0x0a4, 0x100 };
	const uint8_t a = h->steps[i].a, n = h->steps[i].b, c = h->steps[i].c;
	uint8_t data[8] = { n, c, a };
	uint16_t *idx;

	switch (h->steps[i].what % 14) {
	case 0:
		start(h);
		break;
	case 1:
	case 2:
		wake();
		break;
	case 3:
	case 4:
	case 5:
		arrive(a, n, c);
		break;
	case 6:
		depart(n);
		break;
	case 7:
		complete_kind(IORING_OP_TIMEOUT, -ETIME);
		break;
	case 8:
		complete_kind(IORING_OP_NOP, 0);
		break;
	case 9:
	case 10: /* the driver goes on */
		idx = (uint16_t *)(guest + (h->places[a % QUEUES][1] & ~1u)) + 1;
		*idx = (uint16_t)(*idx + n % 16);
		wake();
		break;
	case 11:
		out(registers[a % 16], (uint32_t)c << 8 | n);
		wake();
		break;
	case 12:
		virtio_access(&net.dev, (uint64_t)n << 8 | c, data, 1u << a % 4, a & 64);
		wake();
		break;
	case 13: /* memory changes at any time */
		guest[(size_t)(n << 8 | c) % FILLED] = a;
		break;
	}
}

static void open_device(const struct head *h)
{
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0)
		close(fd);
	config = (struct net_config){ .id = "fuzzed" };
	if (h->limits & 1)
		config.rx.ops = (struct token_bucket){ .size = 1, .refill_ms = 1 };
	if (h->limits & 2)
		config.tx.bytes = (struct token_bucket){ .size = 100, .refill_ms = 1 };
	memset(slots, 0, sizeof(slots));
	memset(&net, 0, sizeof(net));
	turns = NULL;
	nr_cancelled = 0;
	switch (h->kind % 3) {
	case 0:
		config.kind = NET_PEER;
		config.path = peers_path;
		promise(net_open(&net, &config, 1) == 0);
		break;
	case 1:
		config.kind = NET_STREAM;
		config.path = socket_path;
		promise(net_open(&net, &config, 1) == 0);
		break;
	default:
		config.kind = NET_TAP;
		open_pairs();
	}
	make_device();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head h;

	if (size < sizeof(h))
		return 0;
	if (listener < 0)
		set_up();
	memcpy(&h, data, sizeof(h));
	data += sizeof(h);
	size -= sizeof(h);
	mem.nr_regions = 1;
	mem.regions[0] = (struct mem_region){ .size = GUEST_SIZE, .host = guest };
	promise(madvise(guest, GUEST_SIZE, MADV_DONTNEED) == 0);
	memcpy(guest, data, size < FILLED ? size : FILLED);
	open_device(&h);
	start(&h);
	for (unsigned i = 0; i < STEPS; i++) {
		step(&h, i);
		complete_cancelled();
		check_buffers();
	}
	out(0x70, 0);
	promise(status() == 0 && net.nr_in_flight == 0);
	net_close(&net);
	close(net.dev.irq_fd);
	close(net.dev.wake_fd);
	return 0;
}
