// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net as a driver sees it, in ring 3 and at full speed: the first interface. do=NAME says
 * what it does (the table at the end); n=N frames, of size=N bytes at most. Words: merge (small
 * receive buffers, merged by the device), plain (no feature but VERSION_1), station=N (the last
 * byte of the MAC), sum (frames ask for a checksum), bad (frames with impossible headers between
 * those that are meant), second (another interface, which has to go on working), device=N (with
 * N disks before it). Status 0 if all was right.
 */
#include "virtio.h"

#define RX	  0u
#define TX	  1u
#define HEADER	  12u
#define ETH	  14u
#define NR_BUFS	  128u
#define PAIRS_MAX 8u
#define BUF_SMALL 256u
#define BUF_LARGE 2048u
#define FRAME_MAX 65553u
#define TYPE	  0x88b5u /* IEEE 802: local experiments */
#define PATIENCE  20000000000ul
#define MOMENT	  400000000ul

#define F_CSUM	     (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_MTU	     (1ull << 3)
#define F_MAC	     (1ull << 5)
#define F_MRG_RXBUF  (1ull << 15)
#define F_CTRL_VQ    (1ull << 17)
#define F_MQ	     (1ull << 22)

enum { ASK = 1, ANSWER, STOP };
#define GREETING ~0u /* a number that is no question's: who is there? */

struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct frame {
	struct header header;
	uint8_t to[6], from[6], type[2];
	uint8_t data[FRAME_MAX - ETH];
} __attribute__((packed));

/* What ping and answer say to each other. */
struct message {
	uint32_t kind, seq, len; /* bytes that follow */
	uint8_t bytes[];
};

static struct vdevice dev;
static uint64_t offered;
static uint32_t buf_size;
static unsigned nr_pairs = 1, rx = RX, tx = TX; /* the queues that are looked at */
static uint8_t *bufs;
static struct frame *in, *out;
static uint8_t own[6] = { 2, 0, 0, 0, 0, 1 };
static unsigned first_window; /* of the interface, among the devices */
static const uint8_t everybody[6] = { 255, 255, 255, 255, 255, 255 };

static bool same(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	while (n && *p == *q)
		p++, q++, n--;
	return !n;
}

static uint8_t *buf_at(unsigned queue, uint32_t head)
{
	return bufs + (queue / 2 * NR_BUFS + head) * BUF_LARGE;
}

static void post(uint16_t head)
{
	dev.queue[rx].desc[head] = (struct vdesc){ gpa_of(buf_at(rx, head)), buf_size, D_WRITE, 0 };
	v_offer(&dev.queue[rx], head);
}

static void start_device(struct vdevice *d, unsigned window)
{
	uint64_t features = offered & (F_VERSION_1 | F_EVENT_IDX | F_INDIRECT | F_MAC);

	if (arg("plain"))
		features = F_VERSION_1;
	else if (arg("merge"))
		features |= F_MRG_RXBUF;
	if (arg("sum"))
		features |= F_CSUM;
	if (nr_pairs > 1)
		features |= F_CTRL_VQ | F_MQ;
	v_start(d, window, features, nr_pairs > 1 ? 2 * nr_pairs + 1 : 2, NR_BUFS);
}

static void start(void)
{
	if (!in) {
		bufs = pages(PAIRS_MAX * NR_BUFS * BUF_LARGE);
		in = pages(sizeof(*in));
		out = pages(sizeof(*out));
	}
	buf_size = arg("merge") ? BUF_SMALL : BUF_LARGE;
	own[5] = (uint8_t)arg_number("station", 1);
	first_window = (unsigned)arg_number("device", 0);
	dev.gpa = DEVICE_GPA + (1 + first_window) * DEVICE_SIZE;
	v_reset(&dev);
	offered = v_offered(&dev);
	start_device(&dev, first_window);
	for (rx = 2 * (nr_pairs - 1);; rx -= 2) {
		for (uint16_t i = 0; i < NR_BUFS; i++)
			post(i);
		v_notify(&dev, rx);
		if (rx == 0)
			break;
	}
}

/* The next frame may come on any receive queue, which is then `rx`. */
static bool comes(uint64_t cycles)
{
	const uint64_t begin = rdtsc();

	do {
		rx = (rx + 2) % (2 * nr_pairs);
		if (dev.queue[rx].device[1] != dev.queue[rx].seen)
			return true;
		__asm__ volatile("pause");
	} while (rdtsc() - begin < cycles);
	return false;
}

/* One used buffer to the end of `in`, and it is posted again. */
static uint32_t take_buffer(uint32_t at)
{
	uint32_t id, len;

	if (!v_wait(&dev.queue[rx], &id, &len))
		die("half a frame");
	if (id >= NR_BUFS || len > buf_size || at + len > sizeof(*in))
		die("a used element that makes no sense");
	memcpy((uint8_t *)in + at, buf_at(rx, id), len);
	post((uint16_t)id);
	return len;
}

/* The next frame into `in`: its bytes, or 0 where none comes in time. */
static uint32_t receive(uint64_t cycles)
{
	uint16_t before;
	uint32_t len;

	if (!comes(cycles))
		return 0;
	before = dev.queue[rx].driver[1];
	len = take_buffer(0);
	if (len < HEADER)
		die("a frame without a header");
	for (unsigned n = 1; n < in->header.num_buffers; n++) {
		if (dev.queue[rx].device[1] == dev.queue[rx].seen)
			die("a merged frame that is not there as a whole");
		len += take_buffer(len);
	}
	if (in->header.num_buffers == 0)
		die("a frame of no buffers");
	if (v_wants_notify(&dev, rx, before))
		v_notify(&dev, rx);
	return len - HEADER;
}

/* Bytes [0, len) of `out` behind its header, and waits until they are sent. */
static void send_on(struct vdevice *d, uint32_t len)
{
	const unsigned queue = d == &dev ? tx : TX;
	struct vqueue *q = &d->queue[queue];
	const uint16_t before = q->driver[1];
	uint32_t id, used;

	q->desc[0] = (struct vdesc){ gpa_of(out), HEADER, D_NEXT, 1 };
	q->desc[1] = (struct vdesc){ gpa_of(out->to), len, 0, 0 };
	v_offer(q, 0);
	if (v_wants_notify(d, queue, before))
		v_notify(d, queue);
	if (!v_wait(q, &id, &used) || id != 0 || used != 0)
		die("a frame is not given back");
}

static void address(const uint8_t *to, uint16_t type)
{
	memset(&out->header, 0, sizeof(out->header));
	memcpy(out->to, to, 6);
	memcpy(out->from, own, 6);
	out->type[0] = (uint8_t)(type >> 8);
	out->type[1] = (uint8_t)type;
}

static uint8_t byte_of(uint32_t seq, uint32_t i)
{
	return (uint8_t)(seq * 7 + i + (i >> 8));
}

static uint32_t ones_sum(const uint8_t *p, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* In `out`: the bytes of the frame. */
static uint32_t write_message(const uint8_t *to, uint32_t kind, uint32_t seq, uint32_t len)
{
	struct message *m = (struct message *)out->data;

	address(to, TYPE);
	*m = (struct message){ kind, seq, len };
	for (uint32_t i = 0; i < len; i++)
		m->bytes[i] = byte_of(seq, i);
	if (arg("sum") && len >= 2) { /* from the message on, into its first two bytes */
		out->header.flags = 1;
		out->header.csum_start = ETH;
		out->header.csum_offset = sizeof(*m);
		m->bytes[0] = m->bytes[1] = 0;
	}
	return ETH + sizeof(*m) + len;
}

static void send_message(const uint8_t *to, uint32_t kind, uint32_t seq, uint32_t len)
{
	send_on(&dev, write_message(to, kind, seq, len));
}

/* The message in `in`, whole and unharmed, or NULL. */
static const struct message *message_in(uint32_t frame_len)
{
	const struct message *m = (const struct message *)in->data;
	uint32_t from = 0;

	if (frame_len < ETH + sizeof(*m) || in->type[0] != TYPE >> 8 ||
	    in->type[1] != (TYPE & 0xff))
		return NULL;
	if (frame_len != ETH + sizeof(*m) + m->len)
		die("a frame of another length than was sent");
	if (in->header.gso_type != 0 || in->header.flags != 0)
		die("a header that this driver did not ask for");
	if (arg("sum") && m->len >= 2) {
		if (ones_sum(in->data, frame_len - ETH) != 0xffff)
			die("a wrong checksum");
		from = 2;
	}
	for (uint32_t i = from; i < m->len; i++)
		if (m->bytes[i] != byte_of(m->seq, i))
			die("a frame with other bytes than were sent");
	return m;
}

static int answer(void)
{
	unsigned answered = 0;

	for (;;) {
		const struct message *m;
		uint32_t len = receive(PATIENCE);
		uint8_t to[6];

		if (len == 0)
			die("nobody asks");
		m = message_in(len);
		if (!m || same(in->from, own, 6))
			continue;
		if (m->kind == STOP)
			break;
		if (m->kind != ASK)
			continue;
		memcpy(to, in->from, 6);
		answered += m->seq != GREETING;
		send_message(to, ANSWER, m->seq, m->len);
	}
	print("net: %u answered\n", answered);
	return 0;
}

/* The answer to `seq`; others that come late are passed over. */
static bool is_answered(uint32_t seq, uint64_t cycles)
{
	const uint64_t begin = rdtsc();

	while (rdtsc() - begin < cycles) {
		const uint32_t len = receive(cycles);
		const struct message *m = len ? message_in(len) : NULL;

		if (m && m->kind == ANSWER && m->seq == seq)
			return true;
	}
	return false;
}

/* Headers that no guest may see: one after the other, before each frame that is meant. */
static void send_bad(const uint8_t *to, uint32_t seq)
{
	static const struct header bad[] = {
		{ 0, 77, 0, 100, 0, 0, 0 },	   /* no such segmentation */
		{ 1, 1, 54, 0, 34, 16, 0 },	   /* segments of no size */
		{ 1, 0, 0, 0, 0xffff, 0xffff, 0 }, /* a checksum far outside */
		{ 1, 0, 0, 0, 0, 0, 0 },	   /* in the Ethernet header */
		{ 0, 4, 0xffff, 1, 0, 0, 0xffff }, /* headers longer than the frame */
		{ 0xff, 0xff, 1, 1, 1, 1, 0xffff },
	};

	address(to, TYPE);
	*(struct message *)out->data = (struct message){ ASK, seq, 100 };
	out->header = bad[seq % (sizeof(bad) / sizeof(bad[0]))];
	send_on(&dev, ETH + sizeof(struct message) + 100);
}

static void find_peer(uint8_t peer[6])
{
	const uint64_t begin = rdtsc();

	do {
		if (rdtsc() - begin > PATIENCE)
			die("nobody answers");
		send_message(everybody, ASK, GREETING, 4);
	} while (!is_answered(GREETING, MOMENT));
	memcpy(peer, in->from, 6);
}

static void stop_peer(void)
{
	for (unsigned i = 0; i < 3; i++)
		send_message(everybody, STOP, 0, 0);
}

/* The questions [seq, seq + nr) at once, of `size` bytes at most. Nothing is received meanwhile:
 * there are to be buffers for all the answers. */
static void ask_many(const uint8_t *peer, uint32_t seq, uint32_t nr, uint32_t size)
{
	static uint8_t *frames;
	struct vqueue *q = &dev.queue[tx];
	uint32_t id, used;

	if (!frames)
		frames = pages(NR_BUFS * BUF_LARGE);
	for (uint16_t i = 0; i < nr; i++) {
		uint8_t *frame = frames + i * BUF_LARGE;
		const uint32_t len = write_message(peer, ASK, seq + i, size * i / nr);

		memcpy(frame, out, HEADER + len);
		q->desc[i] = (struct vdesc){ gpa_of(frame), HEADER + len, 0, 0 };
		v_offer(q, i);
	}
	v_notify(&dev, tx);
	for (uint32_t i = 0; i < nr; i++)
		if (!v_wait(q, &id, &used) || id >= nr)
			die("a frame is not given back");
}

static int volleys(void)
{
	const uint32_t n = (uint32_t)arg_number("n", 100), nr = (uint32_t)arg_number("of", 24),
		       size = (uint32_t)arg_number("size", 1472);
	uint32_t lost = 0;
	uint8_t peer[6];

	if (nr == 0 || nr > NR_BUFS || size > BUF_LARGE - HEADER - ETH - sizeof(struct message))
		die("of= or size= is too large");
	find_peer(peer);
	for (uint32_t i = 0; i < n; i++) {
		ask_many(peer, i * nr, nr, size);
		for (uint32_t j = 0; j < nr; j++) /* in their order */
			lost += !is_answered(i * nr + j, PATIENCE / 4);
	}
	stop_peer();
	print("net: %u sent, %u lost\n", n * nr, lost);
	return lost != 0;
}

static int ping(void)
{
	const uint32_t n = (uint32_t)arg_number("n", 100),
		       size = (uint32_t)arg_number("size", 1472);
	uint32_t lost = 0;
	uint8_t peer[6];

	find_peer(peer);
	for (uint32_t i = 0; i < n; i++) {
		if (arg("bad"))
			send_bad(peer, i);
		send_message(peer, ASK, i, (uint32_t)((uint64_t)size * i / (n > 1 ? n - 1 : 1)));
		lost += !is_answered(i, PATIENCE / 4);
	}
	stop_peer();
	print("net: %u sent, %u lost\n", n, lost);
	return lost != 0;
}

/* ARP and ICMP, as far as a ping needs them. */

static void parse_ip(const char *name, uint8_t ip[4])
{
	const char *p = arg(name);

	for (unsigned i = 0; i < 4 && p; i++, p++) {
		ip[i] = 0;
		while (*p >= '0' && *p <= '9')
			ip[i] = (uint8_t)(ip[i] * 10 + (*p++ - '0'));
	}
	if (!p)
		die("ip= and from= are needed");
}

static void ask_arp(const uint8_t ip[4], const uint8_t from[4], uint8_t mac[6])
{
	static const uint8_t request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	const uint64_t begin = rdtsc();

	for (unsigned tries = 0; rdtsc() - begin < PATIENCE; tries++) {
		uint32_t len;

		if (tries == 1)
			print("net: no answer yet\n");
		address(everybody, 0x0806);
		memset(out->data, 0, 46);
		memcpy(out->data, request, 8);
		memcpy(out->data + 8, own, 6);
		memcpy(out->data + 14, from, 4);
		memcpy(out->data + 24, ip, 4);
		send_on(&dev, ETH + 46);
		while ((len = receive(MOMENT)) > 0) {
			if (len >= ETH + 28 && in->type[0] == 8 && in->type[1] == 6 &&
			    in->data[7] == 2 && same(in->data + 14, ip, 4)) {
				memcpy(mac, in->data + 8, 6);
				return;
			}
		}
	}
	die("no ARP reply");
}

static void put_sum(uint8_t *at, const uint8_t *from, uint32_t n)
{
	const uint32_t sum = ~ones_sum(from, n) & 0xffff;

	at[0] = (uint8_t)(sum >> 8);
	at[1] = (uint8_t)sum;
}

static bool is_echoed(const uint8_t mac[6], const uint8_t ip[4], const uint8_t from[4],
		      uint16_t seq, uint32_t len)
{
	static const uint8_t head[12] = { 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 1, 0, 0 };
	uint8_t *const p = out->data, *const icmp = p + 20;
	uint32_t got;

	address(mac, 0x0800);
	memcpy(p, head, 12);
	p[2] = (uint8_t)((28 + len) >> 8);
	p[3] = (uint8_t)(28 + len);
	memcpy(p + 12, from, 4);
	memcpy(p + 16, ip, 4);
	put_sum(p + 10, p, 20);
	memset(icmp, 0, 8);
	icmp[0] = 8;
	icmp[4] = 0x4d;
	icmp[6] = (uint8_t)(seq >> 8);
	icmp[7] = (uint8_t)seq;
	for (uint32_t i = 0; i < len; i++)
		icmp[8 + i] = byte_of(seq, i);
	put_sum(icmp + 2, icmp, 8 + len);
	send_on(&dev, ETH + 28 + len);
	while ((got = receive(PATIENCE / 4)) > 0)
		if (got >= ETH + 28 + len && in->type[0] == 8 && in->type[1] == 0 &&
		    in->data[9] == 1 && in->data[20] == 0 && same(in->data + 26, icmp + 6, 2))
			return same(in->data + 28, icmp + 8, len);
	return false;
}

static uint8_t asked[4], asking[4], asked_mac[6];

static int icmp(void)
{
	const uint32_t n = (uint32_t)arg_number("n", 20), size = (uint32_t)arg_number("size", 1400);
	uint32_t lost = 0;

	parse_ip("ip", asked);
	parse_ip("from", asking);
	ask_arp(asked, asking, asked_mac);
	for (uint32_t i = 0; i < n; i++)
		lost += !is_echoed(asked_mac, asked, asking, (uint16_t)i, size * i / n);
	print("net: %u echoes, %u lost\n", n, lost);
	return lost != 0;
}

/* Echoes until one is lost, and then until one comes again. */
static int again(void)
{
	if (icmp())
		return 1;
	while (is_echoed(asked_mac, asked, asking, 0, 100))
		;
	for (unsigned i = 0; i < 10; i++)
		if (is_echoed(asked_mac, asked, asking, 0, 100))
			return 0;
	die("what was lost is not back");
}

/* 5.1.6.5.6.1: the device's answer to an order for so many pairs. */
static uint8_t order(uint8_t class, uint8_t command, uint16_t pairs, uint32_t len)
{
	static struct order {
		uint8_t class, command, pairs[2], answer;
	} * o;
	struct vqueue *q = &dev.queue[2 * nr_pairs];
	uint32_t id, used;

	if (!o)
		o = pages(sizeof(*o));
	*o = (struct order){ class, command, { (uint8_t)pairs, (uint8_t)(pairs >> 8) }, 77 };
	q->desc[0] = (struct vdesc){ gpa_of(o), len, D_NEXT, 1 };
	q->desc[1] = (struct vdesc){ gpa_of(&o->answer), 1, D_WRITE, 0 };
	v_offer(q, 0);
	v_notify(&dev, 2 * nr_pairs);
	if (!v_wait(q, &id, &used) || id != 0 || used != 1)
		die("an order is not answered");
	return *(volatile uint8_t *)&o->answer;
}

static int pairs(void)
{
	bool ok = true;

	nr_pairs = v_read(&dev, V_CONFIG + 8) & 0xffff;
	if (nr_pairs < 2 || nr_pairs > PAIRS_MAX)
		die("the device has one pair only");
	start();
	ok &= want("no pairs", order(4, 0, 0, 4), 1);
	ok &= want("too many pairs", order(4, 0, (uint16_t)(nr_pairs + 1), 4), 1);
	ok &= want("256 pairs", order(4, 0, 0x100, 4), 1);
	ok &= want("another class", order(1, 0, 1, 4), 1);
	ok &= want("another command", order(4, 1, 1, 4), 1);
	ok &= want("half an order", order(4, 0, 1, 3), 1);
	ok &= want("all pairs", order(4, 0, (uint16_t)nr_pairs, 4), 0);
	tx = 2 * nr_pairs - 1;
	if (!ok || icmp())
		return 1;
	ok &= want("one pair", order(4, 0, 1, 4), 0);
	tx = TX;
	return !ok || icmp();
}

static int silent(void)
{
	while (receive(PATIENCE)) {
		const struct message *m = (const struct message *)in->data;

		if (in->type[0] == TYPE >> 8 && m->kind == STOP)
			break;
	}
	return 0;
}

static int send_many(void)
{
	const uint32_t n = (uint32_t)arg_number("n", 100),
		       size = (uint32_t)arg_number("size", 1000);

	for (uint32_t i = 0; i < n; i++)
		send_message(everybody, ANSWER, i, size);
	print("net: %u sent\n", n);
	return 0;
}

static int config(void)
{
	uint32_t mac_high;

	print("net: device %u, features", v_read(&dev, V_ID));
	for (unsigned i = 0; i < 64; i++)
		if (offered >> i & 1)
			print(" %u", i);
	print("\nnet: mac %x", v_read(&dev, V_CONFIG));
	mac_high = v_read(&dev, V_CONFIG + 4);
	print(" %x, pairs %u, mtu %u\n", mac_high & 0xffff, v_read(&dev, V_CONFIG + 8) & 0xffff,
	      v_read(&dev, V_CONFIG + 8) >> 16);
	return 0;
}

/* Each of these says whether the device is then as it has to be. */

static bool needs_reset(unsigned queue)
{
	v_notify(&dev, queue);
	return v_wait_status(&dev, S_NEEDS_RESET, S_NEEDS_RESET);
}

static bool is_well(void)
{
	address(everybody, TYPE);
	memset(out->data, 0, 100);
	send_on(&dev, 100);
	return !(v_read(&dev, V_STATUS) & S_NEEDS_RESET);
}

/* A chain on the transmit queue comes back, whatever is in it. */
static bool comes_back(uint64_t addr, uint32_t len, uint16_t flags)
{
	uint32_t id, used;

	dev.queue[TX].desc[5] = (struct vdesc){ addr, len, flags, 0 };
	v_offer(&dev.queue[TX], 5);
	v_notify(&dev, TX);
	return v_wait(&dev.queue[TX], &id, &used) && id == 5 && used == 0 && is_well();
}

static bool bad_short(void)
{
	bool ok = true;

	for (uint32_t len = 0; len < HEADER + ETH; len++)
		ok &= comes_back(gpa_of(out), len, 0);
	return ok;
}

static bool bad_long(void)
{
	return comes_back(0, HEADER + FRAME_MAX + 1, 0) && comes_back(0, 8 << 20, 0);
}

static bool bad_writable(void)
{
	return comes_back(gpa_of(in), 1000, D_WRITE);
}

/* The host's kernel and the peers have to bear these; what becomes of the frame is theirs. */
static bool bad_headers(void)
{
	uint32_t id, used;

	for (unsigned i = 0; i < 600; i++) {
		uint8_t *h = (uint8_t *)&out->header;

		address(everybody, 0x0800);
		for (unsigned j = 0; j < HEADER; j++)
			h[j] = (uint8_t)(i * (j + 3) * 2654435761u >> 13);
		dev.queue[TX].desc[7] = (struct vdesc){ gpa_of(out), HEADER + 14 + i, 0, 0 };
		v_offer(&dev.queue[TX], 7);
		v_notify(&dev, TX);
		if (!v_wait(&dev.queue[TX], &id, &used) || id != 7)
			return false;
	}
	return is_well();
}

static bool bad_small_buffer(void)
{
	start_device(&dev, first_window);
	for (uint16_t i = 0; i < 5; i++) { /* others are behind it */
		dev.queue[RX].desc[i] =
			(struct vdesc){ gpa_of(bufs), i == 0 ? 4 : 1000, D_WRITE, 0 };
		v_offer(&dev.queue[RX], i);
	}
	return needs_reset(RX);
}

static bool bad_readable_buffer(void)
{
	start_device(&dev, first_window);
	dev.queue[RX].desc[0] = (struct vdesc){ gpa_of(bufs), 2048, 0, 0 };
	v_offer(&dev.queue[RX], 0);
	return needs_reset(RX);
}

static bool bad_loop(unsigned queue)
{
	start_device(&dev, first_window);
	for (uint16_t i = 0; i < 4; i++)
		dev.queue[queue].desc[i] =
			(struct vdesc){ gpa_of(bufs), 64,
					(uint16_t)(D_NEXT | (queue == RX ? D_WRITE : 0)),
					(uint16_t)((i + 1) % 4) };
	v_offer(&dev.queue[queue], 0);
	return needs_reset(queue);
}

static bool bad_loops(void)
{
	return bad_loop(RX) & bad_loop(TX);
}

static bool bad_addresses(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} row[] = {
		{ ~0ul, 100 },
		{ ~0ul - 50, 100 },
		{ DEVICE_GPA, 100 },
		{ DEVICE_GPA - 10, 100 },
		{ LAPIC_GPA, 4 },
		{ 1ul << 52, 100 },
		{ 0x100000, 0xffffffff },
	};
	bool ok = true;

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		for (unsigned queue = RX; queue <= TX; queue++) {
			start_device(&dev, first_window);
			dev.queue[queue].desc[3] = (struct vdesc){ row[i].addr, row[i].len,
								   queue == RX ? D_WRITE : 0, 0 };
			v_offer(&dev.queue[queue], 3);
			ok &= needs_reset(queue);
		}
	}
	return ok;
}

static bool bad_index(void)
{
	bool ok = true;

	for (unsigned queue = RX; queue <= TX; queue++) {
		start_device(&dev, first_window);
		dev.queue[queue].driver[1] = NR_BUFS + 1;
		ok &= needs_reset(queue);
		start_device(&dev, first_window);
		v_offer(&dev.queue[queue], NR_BUFS);
		ok &= needs_reset(queue);
	}
	return ok;
}

static bool bad_notify(void)
{
	for (unsigned queue = 2; queue < 300; queue += 7)
		v_notify(&dev, queue);
	v_notify(&dev, ~0u);
	return is_well();
}

static bool bad_config(void)
{
	for (uint64_t at = 0; at < 64; at++) {
		mmio_write8(dev.gpa + V_CONFIG + at, 0xff);
		mmio_write16(dev.gpa + V_CONFIG + at, 0xffff);
		mmio_write32(dev.gpa + V_CONFIG + at, ~0u);
		mmio_read8(dev.gpa + V_CONFIG + at);
		mmio_read16(dev.gpa + V_CONFIG + at);
		mmio_read32(dev.gpa + V_CONFIG + at);
		mmio_read64(dev.gpa + V_CONFIG + at);
	}
	return want("after the last field", v_read(&dev, V_CONFIG + 12), 0) && is_well();
}

static bool bad_features(void)
{
	v_reset(&dev);
	if (v_negotiate(&dev, F_VERSION_1 | 1ull << 19) ||
	    v_negotiate(&dev, offered & ~F_VERSION_1))
		return false;
	start();
	return is_well();
}

/* As many frames as the queue holds, and as many buffers, and a reset at any time. */
static bool bad_resets(void)
{
	for (unsigned round = 0; round < 50; round++) {
		start();
		address(everybody, TYPE);
		for (uint16_t i = 0; i < NR_BUFS; i++) {
			dev.queue[TX].desc[i] = (struct vdesc){ gpa_of(out), 1000 + round, 0, 0 };
			v_offer(&dev.queue[TX], i);
		}
		v_notify(&dev, TX);
		for (volatile unsigned i = 0; i < round * 1000; i++)
			;
		v_reset(&dev);
	}
	start();
	return is_well();
}

/* A buffer of as many descriptors as there are, each of one byte. */
static bool bad_crumbs(void)
{
	uint32_t id, used;

	start_device(&dev, first_window);
	for (uint16_t i = 0; i < NR_BUFS; i++) {
		const bool is_last = i == NR_BUFS - 1;

		dev.queue[TX].desc[i] = (struct vdesc){ gpa_of(out) + i, 1, is_last ? 0 : D_NEXT,
							(uint16_t)(i + 1) };
		dev.queue[RX].desc[i] =
			(struct vdesc){ gpa_of(bufs) + i, 1,
					(uint16_t)(D_WRITE | (is_last ? 0 : D_NEXT)),
					(uint16_t)(i + 1) };
	}
	address(everybody, TYPE);
	v_offer(&dev.queue[RX], 0);
	v_notify(&dev, RX);
	v_offer(&dev.queue[TX], 0);
	v_notify(&dev, TX);
	return v_wait(&dev.queue[TX], &id, &used) && id == 0 && is_well();
}

/*
 * More segments than one system call takes: buffers of single bytes, which share all but the first.
 */
static bool bad_many_crumbs(void)
{
	const uint16_t nr = NR_BUFS / 2;

	start_device(&dev, first_window);
	for (uint16_t i = 0; i < NR_BUFS; i++) {
		const bool is_last = i == NR_BUFS - 1;

		dev.queue[RX].desc[i] =
			(struct vdesc){ gpa_of(bufs) + i, 1,
					(uint16_t)(D_WRITE | (is_last ? 0 : D_NEXT)),
					i < nr ? nr : (uint16_t)(i + 1) };
	}
	for (uint16_t i = 0; i < nr; i++)
		v_offer(&dev.queue[RX], i);
	v_notify(&dev, RX);
	return is_well();
}

/*
 * As many small buffers as a queue can have, and an index of one more, once the device has had the
 * time to take them: nothing says that it has. Then nothing, for ever.
 */
static int surplus(void)
{
	const uint64_t begin = rdtsc();

	v_start(&dev, first_window, offered & (F_VERSION_1 | F_EVENT_IDX | F_MRG_RXBUF), 2, VQ_MAX);
	for (uint16_t i = 0; i < VQ_MAX; i++) {
		dev.queue[RX].desc[i] = (struct vdesc){ gpa_of(bufs) + i * 64u, 64, D_WRITE, 0 };
		if (i < VQ_MAX - 1)
			v_offer(&dev.queue[RX], i);
	}
	v_notify(&dev, RX);
	while (rdtsc() - begin < PATIENCE / 32)
		__asm__ volatile("pause");
	v_offer(&dev.queue[RX], VQ_MAX - 1);
	v_offer(&dev.queue[RX], 0);
	v_notify(&dev, RX);
	print("net: one more\n");
	for (;;)
		__asm__ volatile("pause");
	return 1;
}

static const struct {
	const char *name;
	bool (*check)(void);
} cases[] = {
	{ "frames shorter than a header", bad_short },
	{ "frames longer than any", bad_long },
	{ "frames that are writable", bad_writable },
	{ "headers of any bytes", bad_headers },
	{ "a buffer too small", bad_small_buffer },
	{ "a buffer that is not writable", bad_readable_buffer },
	{ "chains that loop", bad_loops },
	{ "addresses that are not memory", bad_addresses },
	{ "indexes that jump", bad_index },
	{ "queues that are not there", bad_notify },
	{ "config space, everywhere", bad_config },
	{ "features that were not offered", bad_features },
	{ "resets with all in flight", bad_resets },
	{ "chains of single bytes", bad_crumbs },
	{ "more of them than one call takes", bad_many_crumbs },
};

static int hostile(void)
{
	static struct vdevice second;
	unsigned failed = 0;

	if (arg("second"))
		start_device(&second, 1);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool ok = cases[i].check();

		start();
		ok &= is_well();
		if (arg("second")) {
			address(everybody, TYPE);
			send_on(&second, 100);
		}
		print("net: %s %s\n", cases[i].name, ok ? "ok" : "FAILED");
		failed += !ok;
	}
	return failed != 0;
}

static const struct {
	const char *name;
	int (*act)(void);
} acts[] = {
	{ "answer", answer },	/* sends back what asks for it, until one says stop */
	{ "ping", ping },	/* finds one that answers, asks it n times, says stop */
	{ "volleys", volleys }, /* the same n times, of= questions at once */
	{ "icmp", icmp },	/* ARP for ip= as from=, and n echo requests */
	{ "again", again },	/* the same, then on until one was lost and another was not */
	{ "pairs", pairs },	/* the same from the last of all pairs, and from one alone */
	{ "send", send_many },	/* n frames to nobody */
	{ "silent", silent },	/* takes frames until one says stop, or none comes */
	{ "config", config },	/* prints what the device offers */
	{ "surplus", surplus }, /* offers a buffer more than a queue holds */
	{ "hostile", hostile }, /* breaks every rule, and works after each reset */
};

int guest_main(void)
{
	start();
	for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (arg_is("do", acts[i].name))
			return acts[i].act();
	die("do= names nothing that this program has");
}
