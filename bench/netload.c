// SPDX-License-Identifier: Apache-2.0
/*
 * The guests that bench/net joins, under any monitor: one that sends frames and one that counts
 * them, one that asks and one that answers. They stand on tests/guest/. The counting one tells
 * the sending one every ACK_EVERY frames how far it is, so that not more are under way than the
 * link takes: what is lost is nobody's throughput. Both poll and want no interrupts; like Linux
 * they merge receive buffers, and notify where the device asks for it. Words:
 * do=send|count|ask|answer, size=N (of frames), gso (segments of 64 KiB where the device offers
 * them, else frames of 1514 bytes), window=N (cycles in which frames are counted, in millions), n=N
 * (questions).
 */
#include "../tests/guest/virtio.h"

#define NET	  1u
#define RX	  0u
#define TX	  1u
#define SLOTS	  256u
#define HEADER	  12u
#define ETH	  14u
#define HEAD_MAX  128u /* bytes of a slot that stand before the common payload */
#define BUF_SMALL 1536u
#define BUF_PAGE  4096u
#define PAYLOAD	  65160u /* 45 segments of 1448 bytes, as Linux makes them */
#define MSS	  1448u
#define PAGES	  16u
#define TYPE	  0x88b5u /* IEEE 802: local experiments */
#define ACK_EVERY 32u
#define BATCH	  32u
#define STUCK	  200000000ul /* cycles: then what is under way counts as lost */
#define ASKED_MAX 20000u

#define F_CSUM	     (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_GUEST_TSO4 (1ull << 7)
#define F_HOST_TSO4  (1ull << 11)
#define F_MRG_RXBUF  (1ull << 15)
#define F_SEGMENTS   (F_CSUM | F_GUEST_CSUM | F_GUEST_TSO4 | F_HOST_TSO4)

enum { DATA = 1, ACK };

struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

/* What a frame says: behind the Ethernet header, or behind TCP's where it is of segments. */
struct message {
	uint32_t kind, seq;
};

static struct vdevice dev;
static uint8_t own[6] = { 2, 0, 0, 0, 0, 1 }, peer[6] = { 2, 0, 0, 0, 0, 2 };
static uint32_t buf_size = BUF_SMALL, frame_size;
static uint8_t *rx_bufs, *heads, *payload;
static struct vdesc (*tables)[PAGES + 1];
static bool has_segments;
static uint16_t free_slots[SLOTS];
static unsigned nr_free;

static uint8_t *head_of(uint16_t slot)
{
	return heads + slot * (has_segments ? HEAD_MAX : 2048u);
}

static unsigned message_at(void)
{
	return HEADER + ETH + (has_segments ? 40 : 0);
}

static void put16(uint8_t *to, uint32_t v)
{
	to[0] = (uint8_t)(v >> 8);
	to[1] = (uint8_t)v;
}

/* An IPv4 packet of TCP; its own checksum nobody on the way looks at. */
static void write_tcp(uint8_t *ip, uint32_t bytes)
{
	uint32_t sum = 0;

	ip[0] = 0x45;
	put16(ip + 2, 40 + bytes);
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = 6;
	put16(ip + 12, 0x0a00);
	put16(ip + 14, 1);
	put16(ip + 16, 0x0a00);
	put16(ip + 18, 2);
	put16(ip + 20, 5001);
	put16(ip + 22, 5001);
	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	put16(ip + 10, ~(sum + (sum >> 16)));
	ip[32] = 0x50;
	ip[33] = 0x10;
}

static void prepare_segments(uint16_t slot)
{
	uint8_t *h = head_of(slot);
	uint32_t left = PAYLOAD - sizeof(struct message), nr = 1;
	struct vdesc *t = tables[slot];

	*(struct header *)h = (struct header){ 1, 1, ETH + 40, MSS, ETH + 20, 16, 0 };
	put16(h + HEADER + 12, 0x0800);
	write_tcp(h + HEADER + ETH, PAYLOAD);
	t[0] = (struct vdesc){ gpa_of(h), message_at() + sizeof(struct message), D_NEXT, 1 };
	for (; left > 0; nr++) {
		const uint32_t n = left < BUF_PAGE ? left : BUF_PAGE;

		t[nr] = (struct vdesc){ gpa_of(payload) + (nr - 1) * BUF_PAGE, n, D_NEXT,
					(uint16_t)(nr + 1) };
		left -= n;
	}
	t[nr - 1].flags = 0;
	dev.queue[TX].desc[slot] =
		(struct vdesc){ gpa_of(t), nr * sizeof(struct vdesc), D_INDIRECT, 0 };
}

static void prepare(uint16_t slot)
{
	uint8_t *h = head_of(slot);

	free_slots[nr_free++] = slot;
	memcpy(h + HEADER, peer, 6);
	memcpy(h + HEADER + 6, own, 6);
	if (has_segments) {
		prepare_segments(slot);
		return;
	}
	put16(h + HEADER + 12, TYPE);
	dev.queue[TX].desc[slot] = (struct vdesc){ gpa_of(h), HEADER + frame_size, 0, 0 };
}

static void post(uint16_t head)
{
	dev.queue[RX].desc[head] =
		(struct vdesc){ gpa_of(rx_bufs) + head * buf_size, buf_size, D_WRITE, 0 };
	v_offer(&dev.queue[RX], head);
}

/*
 * 2.7.10: used_event half of the indexes away is never met; `before` is for what was offered since.
 */
static void settle(unsigned queue, uint16_t before)
{
	struct vqueue *q = &dev.queue[queue];

	q->driver[2 + q->size] = (uint16_t)(q->seen + 0x8000);
	if (q->driver[1] != before && v_wants_notify(&dev, queue, before))
		v_notify(&dev, queue);
}

/* The sender's frames are of segments; what comes back to it, and all others, is small. */
static void start(bool is_sender, bool is_receiver)
{
	uint64_t offered, features;

	if (!v_find(&dev, NET))
		die("no network device");
	v_reset(&dev);
	offered = v_offered(&dev);
	features = offered & (F_VERSION_1 | F_EVENT_IDX | F_INDIRECT | F_MRG_RXBUF);
	if (arg("gso"))
		features |= offered & F_SEGMENTS;
	has_segments = is_sender && (features & F_SEGMENTS) == F_SEGMENTS;
	if (is_receiver && (features & F_SEGMENTS) == F_SEGMENTS)
		buf_size = BUF_PAGE;
	frame_size = (uint32_t)arg_number("size", 64);
	rx_bufs = pages(SLOTS * BUF_PAGE);
	heads = pages(SLOTS * 2048);
	payload = pages(PAYLOAD + BUF_PAGE);
	tables = pages(SLOTS * sizeof(*tables));
	v_open(&dev, features, 2, SLOTS);
	for (uint16_t i = 0; i < SLOTS; i++)
		prepare(i);
	for (uint16_t i = 0; i < SLOTS; i++)
		post(i);
	settle(TX, dev.queue[TX].driver[1]);
	settle(RX, (uint16_t)(dev.queue[RX].driver[1] - SLOTS));
}

static bool has_used(unsigned queue)
{
	return dev.queue[queue].device[1] != dev.queue[queue].seen;
}

static void take_used(unsigned queue, uint32_t *id, uint32_t *len)
{
	if (!v_wait(&dev.queue[queue], id, len) || *id >= SLOTS)
		die("a used element that makes no sense");
}

static void reclaim(void)
{
	uint32_t id, len;

	while (has_used(TX)) {
		take_used(TX, &id, &len);
		free_slots[nr_free++] = (uint16_t)id;
	}
}

/* Not yet notified. */
static void send(uint32_t kind, uint32_t seq)
{
	const uint16_t slot = free_slots[--nr_free];

	*(struct message *)(head_of(slot) + message_at()) = (struct message){ kind, seq };
	v_offer(&dev.queue[TX], slot);
}

static bool same_mac(const uint8_t *a, const uint8_t *b)
{
	unsigned n = 0;

	while (n < 6 && a[n] == b[n])
		n++;
	return n == 6;
}

/* The next frame for this station, whose length without header is returned; 0: none is there. */
static uint32_t receive(struct message *m)
{
	uint32_t id, len, more;

	while (has_used(RX)) {
		const uint8_t *b;
		unsigned nr;
		bool is_ours;

		take_used(RX, &id, &len);
		b = rx_bufs + id * buf_size;
		nr = ((const struct header *)b)->num_buffers;
		is_ours = same_mac(b + HEADER, own);
		memcpy(m, b + HEADER + ETH + (b[HEADER + 12] == 8 ? 40 : 0), sizeof(*m));
		post((uint16_t)id);
		for (; nr > 1; nr--) {
			take_used(RX, &id, &more);
			len += more;
			post((uint16_t)id);
		}
		if (is_ours)
			return len - HEADER;
	}
	return 0;
}

static void hear_acks(uint32_t *acked)
{
	const uint16_t before = dev.queue[RX].driver[1];
	struct message m;

	while (receive(&m))
		if (m.kind == ACK)
			*acked = m.seq;
	settle(RX, before);
}

static _Noreturn void send_all(void)
{
	const uint32_t window = has_segments ? 32 : 192;
	uint32_t sent = 0, acked = 0;
	uint64_t moved = rdtsc();

	for (;;) {
		const uint16_t before = dev.queue[TX].driver[1];

		hear_acks(&acked);
		reclaim();
		for (unsigned i = 0; i < BATCH && nr_free > 0 && sent - acked < window; i++)
			send(DATA, ++sent);
		settle(TX, before);
		if (dev.queue[TX].driver[1] != before)
			moved = rdtsc();
		else if (rdtsc() - moved > STUCK)
			acked = sent;
	}
}

static void say(uint32_t kind, uint32_t seq)
{
	const uint16_t before = dev.queue[TX].driver[1];

	reclaim();
	if (nr_free > 0)
		send(kind, seq);
	settle(TX, before);
}

/* What came until `end`; acknowledged as it comes. */
static void count_until(uint64_t end, uint64_t *bytes, uint64_t *frames)
{
	const uint32_t ack_every = buf_size == BUF_PAGE ? ACK_EVERY / 8 : ACK_EVERY;
	static uint32_t unacked;

	*bytes = *frames = 0;
	while (rdtsc() < end) {
		const uint16_t rx = dev.queue[RX].driver[1];
		struct message m;
		uint32_t len;

		while (unacked < ack_every && (len = receive(&m)) > 0) {
			*bytes += len;
			++*frames;
			unacked++;
		}
		settle(RX, rx);
		if (unacked < ack_every)
			continue;
		say(ACK, m.seq);
		unacked = 0;
	}
}

static _Noreturn void count(void)
{
	const uint64_t window = arg_number("window", 2000) * 1000000ul;
	uint64_t bytes, frames;

	do
		count_until(rdtsc() + window / 16, &bytes, &frames);
	while (frames == 0);
	count_until(rdtsc() + window / 4, &bytes, &frames);
	print("count: begin\n");
	count_until(rdtsc() + window, &bytes, &frames);
	print("count: %lu frames %lu bytes end\n", frames, bytes);
	for (;;)
		count_until(rdtsc() + window, &bytes, &frames);
}

static _Noreturn void answer(void)
{
	for (;;) {
		const uint16_t before = dev.queue[RX].driver[1];
		struct message m;

		if (receive(&m) && m.kind == DATA)
			say(ACK, m.seq);
		settle(RX, before);
	}
}

/* Cycles to the answer, or 0 where none comes. */
static uint64_t ask_once(uint32_t seq)
{
	const uint64_t begin = rdtsc();

	say(DATA, seq);
	while (rdtsc() - begin < STUCK) {
		const uint16_t before = dev.queue[RX].driver[1];
		struct message m;
		const bool is_answer = receive(&m) && m.kind == ACK && m.seq == seq;

		settle(RX, before);
		if (is_answer)
			return rdtsc() - begin;
	}
	return 0;
}

static void sort(uint64_t *v, unsigned n)
{
	for (unsigned gap = n / 2; gap > 0; gap /= 2)
		for (unsigned i = gap; i < n; i++) {
			const uint64_t x = v[i];
			unsigned j = i;

			for (; j >= gap && v[j - gap] > x; j -= gap)
				v[j] = v[j - gap];
			v[j] = x;
		}
}

static _Noreturn void ask(void)
{
	const uint32_t n = (uint32_t)arg_number("n", 2000);
	uint64_t *took = pages(ASKED_MAX * sizeof(*took));
	uint32_t seq = 0, nr = 0;

	if (n == 0 || n > ASKED_MAX)
		die("n= is too large");
	while (!ask_once(++seq))
		;
	while (nr < n / 10) /* warm */
		nr += ask_once(++seq) > 0;
	print("ask: begin\n");
	for (nr = 0; nr < n;) {
		took[nr] = ask_once(++seq);
		nr += took[nr] > 0;
	}
	sort(took, n);
	/* As values.h has them. */
	print("ask: %lu p50 %lu p99 end\n", (took[(n - 1) / 2] + took[n / 2]) / 2,
	      took[(n * 99 + 99) / 100 - 1]);
	spin();
}

int guest_main(void)
{
	const bool is_first = arg_is("do", "send") || arg_is("do", "ask");

	if (!is_first) {
		own[5] = 2;
		peer[5] = 1;
	}
	if (arg("idle")) {
		start(false, false);
		print("idle\n");
		for (;;)
			wait_interrupt();
	}
	start(is_first, !is_first);
	if (arg_is("do", "send"))
		send_all();
	if (arg_is("do", "count"))
		count();
	if (arg_is("do", "ask"))
		ask();
	if (arg_is("do", "answer"))
		answer();
	die("do= names nothing that this program has");
}
