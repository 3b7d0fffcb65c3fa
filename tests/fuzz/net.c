// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer over the network device (tests/unit/netdev.h): a head says what the link and the driver
 * are, then steps: bytes of a stream cut anywhere, datagrams of a peer, buffers, frames, timers,
 * resets, rests. Whatever comes, a driver sees whole frames only, those that were sent and in their
 * order, behind headers that make sense; each buffer comes back once, after a rest, too, and from
 * another device in its place. `make fuzz` runs it; tests/unit has its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "links.h"

#define FED (1u << 16)

struct head {
	uint8_t kind, features, buf_shift, feed;
};

static struct net_config config;
static uint32_t buf_size;
static bool is_posted[RING], is_sent[RING];

/* Frames as the link gave them, whole, and where the driver is among them. */
static uint8_t fed[FED];
static size_t nr_fed, next_frame, next_data; /* data: of its segments */
static struct {
	size_t at, len;
} frames[4096];
static size_t nr_frames;

static void post(unsigned head)
{
	head %= RING;
	if (is_posted[head])
		return;
	is_posted[head] = true;
	descs(RX)[head] = (struct desc){ BUFS_GPA + head * 2048u, buf_size, D_WRITE, 0 };
	offer(RX, (uint16_t)head);
}

static void send_frame(unsigned head, unsigned len)
{
	head %= RING;
	if (is_sent[head])
		return;
	is_sent[head] = true;
	descs(TX)[head] = (struct desc){ OUT_GPA, len, 0, 0 };
	offer(TX, (uint16_t)head);
	kick(TX);
}

static void note_frame(size_t at, size_t len)
{
	if (nr_frames < sizeof(frames) / sizeof(frames[0])) {
		frames[nr_frames].at = at;
		frames[nr_frames++].len = len;
	}
}

/* The model of a stream: where in fed[] frames are; what is half there begins at stream_at. A
 * length that is none ends the connection, and with the next one a stream begins anew. */
static size_t stream_at;
static void parse_fed(void)
{
	uint32_t length;

	while (nr_fed - stream_at >= 4) {
		memcpy(&length, fed + stream_at, 4);
		length = ntohl(length);
		if (length < FRAME_ETH || length > FRAME_MAX) {
			stream_at = nr_fed;
			return;
		}
		if (nr_fed - stream_at - 4 < length)
			return;
		note_frame(stream_at + 4, length);
		stream_at += 4 + length;
	}
}

static void feed_stream(const uint8_t *data, size_t size)
{
	while (size > 0 && nr_fed < FED) {
		struct slot *s = find_slot(IORING_OP_RECVMSG);
		size_t n;

		if (!s)
			return;
		n = room_of(s) < size ? room_of(s) : size;
		n = n < FED - nr_fed ? n : FED - nr_fed;
		memcpy(fed + nr_fed, data, n);
		frame_put(message_of(s)->msg_iov, (unsigned)message_of(s)->msg_iovlen, data, n);
		nr_fed += n;
		parse_fed();
		complete(s, (int)n);
		data += n;
		size -= n;
	}
}

/* The model of a datagram: its frames, where it is whole. Those that may be cut count as such. */
static void parse_datagram(size_t at, size_t end)
{
	struct frame_header h;
	size_t len;

	if (end - at < FRAME_HEAD)
		return;
	memcpy(&h, fed + at, sizeof(h));
	if (h.gso_type != PARCEL_TYPE || h.flags != PARCEL_VERSION) {
		note_frame(at + FRAME_HEADER, end - at - FRAME_HEADER);
		return;
	}
	for (at += FRAME_HEAD; at < end; at += FRAME_HEADER + len) {
		if (end - at < FRAME_HEADER)
			return;
		memcpy(&h, fed + at, sizeof(h));
		len = h.num_buffers;
		if (len > end - at - FRAME_HEADER)
			return;
		note_frame(at + FRAME_HEADER, len);
	}
}

static void feed_peer(const uint8_t *data, size_t size)
{
	struct slot *s = find_slot(IORING_OP_RECVMSG);

	if (!s || size > FED - nr_fed)
		return;
	memcpy(fed + nr_fed, data, size);
	parse_datagram(nr_fed, nr_fed + size);
	nr_fed += size;
	frame_put(message_of(s)->msg_iov, (unsigned)message_of(s)->msg_iovlen, data, size);
	complete(s, (int)size);
}

static void check_header(const struct frame_header *h, size_t len)
{
	promise(!(h->flags & ~1u));
	promise(!h->flags ||
		(h->csum_start >= FRAME_ETH && h->csum_start + h->csum_offset + 2u <= len));
	promise(!h->flags || net.dev.features & NET_F_GUEST_CSUM);
	promise(!h->gso_type || (h->gso_size && h->flags && h->hdr_len <= len &&
				 net.dev.features & NET_F_GUEST_GSO));
}

/* Whether it is what comes next of a frame's data, behind headers that may have been changed; of
 * one frame, as much as is left of it at most. */
static bool is_segment(const uint8_t *got, size_t len)
{
	const uint8_t *frame = fed + frames[next_frame].at;
	const size_t whole = frames[next_frame].len;
	struct frame_header h;
	size_t data, n;

	if (config.kind != NET_PEER)
		return false;
	memcpy(&h, frame - FRAME_HEADER, sizeof(h));
	if (!h.gso_type || h.csum_start + 20u > whole)
		return false;
	data = h.csum_start + (frame[h.csum_start + 12] >> 4) * 4u;
	n = len > data ? len - data : 0;
	if (n == 0 || n > h.gso_size || n > whole - data - next_data ||
	    (n < h.gso_size && n != whole - data - next_data) ||
	    memcmp(got + data, frame + data + next_data, n))
		return false;
	next_data += n;
	if (next_data == whole - data) {
		next_data = 0;
		next_frame++;
	}
	return true;
}

/* A frame that was fed, after the last one that came. A checksum may have been made in it. */
static void check_frame(const uint8_t *got, size_t len)
{
	for (; next_frame < nr_frames; next_frame++, next_data = 0) {
		unsigned differ = 0;

		if (is_segment(got, len))
			return;
		if (frames[next_frame].len != len)
			continue;
		for (size_t i = 0; i < len; i++)
			differ += got[i] != fed[frames[next_frame].at + i];
		if (differ > (config.kind == NET_PEER ? 2u : 0u))
			continue;
		next_frame++;
		return;
	}
	broken("a frame that was not sent", __FILE__, __LINE__);
}

static void take_used(void)
{
	static uint8_t got[FRAME_MAX + 5000];
	const volatile uint16_t *area = device_area(RX);
	const uint32_t *elements = (const uint32_t *)(area + 2);
	size_t at = 0;
	unsigned left = 0;

	for (; seen[RX] != area[1]; seen[RX]++) {
		const uint32_t head = elements[seen[RX] % RING * 2];
		const uint32_t len = elements[seen[RX] % RING * 2 + 1];
		struct frame_header h;

		promise(head < RING && is_posted[head] && len <= buf_size && len > 0);
		is_posted[head] = false;
		memcpy(got + at, mem_at(&mem, BUFS_GPA + head * 2048u, len), len);
		at += len;
		memcpy(&h, got, sizeof(h));
		if (left == 0) {
			promise(len >= sizeof(h) && h.num_buffers >= 1 && h.num_buffers <= RING);
			left = h.num_buffers;
		}
		if (--left > 0)
			continue;
		check_header(&h, at - sizeof(h));
		check_frame(got + sizeof(h), at - sizeof(h));
		at = 0;
	}
	promise(left == 0);
	area = device_area(TX);
	elements = (const uint32_t *)(area + 2);
	for (; seen[TX] != area[1]; seen[TX]++) {
		const uint32_t head = elements[seen[TX] % RING * 2];

		promise(head < RING && is_sent[head]);
		is_sent[head] = false;
	}
}

static void complete_kind(uint8_t opcode, int res)
{
	struct slot *s = find_slot(opcode);

	if (s)
		complete(s, res);
	complete_cancelled();
}

static void complete_send(uint8_t how)
{
	struct slot *s = find_slot(IORING_OP_SENDMSG);

	if (!s)
		return;
	complete(s, how < 200 ? (int)room_of(s) : how < 220 ? (int)how : -(int)(how - 200));
	complete_cancelled();
}

/* Nothing of the device is in flight then. */
static void stop(void)
{
	reset_driver();
	while (find_slot(IORING_OP_SENDMSG))
		complete(find_slot(IORING_OP_SENDMSG), -ECANCELED);
	promise(net.nr_in_flight == 0);
	promise(status() == 0);
}

static void restart(const struct head *head)
{
	stop();
	memset(is_posted, 0, sizeof(is_posted));
	memset(is_sent, 0, sizeof(is_sent));
	start_driver(((uint64_t)head->features << 8 | (head->features & 2)) & net.dev.offered);
	for (unsigned i = 0; i < RING / 2; i++)
		post(i);
	kick(RX);
}

static void make_link(void)
{
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0)
		close(fd);
	memset(slots, 0, sizeof(slots));
	memset(&net, 0, sizeof(net));
	turns = NULL;
	nr_cancelled = 0;
	promise(net_open(&net, &config, 1) == 0);
	make_device();
}

static void drop_link(void)
{
	net_close(&net);
	close(net.dev.irq_fd);
	close(net.dev.wake_fd);
}

/* To rest, where a few frames may go out yet, and on: the same device, or one in its place. */
static void rest(uint8_t much)
{
	static struct virtio_state saved;
	struct slot *s;

	virtio_rest(&net.dev);
	for (unsigned i = 0; i < much % 8u && (s = find_slot(IORING_OP_SENDMSG)); i++)
		complete(s, (int)room_of(s));
	complete_cancelled();
	while ((s = find_slot(IORING_OP_SENDMSG)))
		complete(s, -ECANCELED);
	end_turn();
	promise(virtio_is_at_rest(&net.dev) && net.nr_in_flight == 0);
	wake();
	promise(!find_slot(IORING_OP_SENDMSG) && !find_slot(IORING_OP_RECVMSG));
	if (much & 8) {
		net_save(&net, &saved);
		drop_link();
		make_link();
		promise(net_load(&net, &saved) == 0);
		stream_at = nr_fed;
	}
	virtio_go_on(&net.dev);
	end_turn();
}

/* One step: what, how much; bytes that follow are for the link. How many of those it took. */
static size_t step(const struct head *head, uint8_t what, uint8_t much, const uint8_t *data,
		   size_t size)
{
	size_t n = much < 200 ? much : (much - 199u) * 60u;

	n = n < size ? n : size;
	switch (what % 12) {
	default:
		if (config.kind == NET_STREAM)
			feed_stream(data, n);
		else
			feed_peer(data, n);
		return n;
	case 4:
		for (unsigned i = 0; i < much % 32u; i++)
			post(much + i);
		kick(RX);
		break;
	case 5:
		send_frame(much, 26 + much * 5u);
		break;
	case 6:
		complete_send(much);
		break;
	case 7:
		complete_kind(IORING_OP_TIMEOUT, -ETIME);
		break;
	case 8: /* the link fails, or ends, or has nothing */
		if (config.kind == NET_STREAM && much % 4 < 3) {
			stream_at = nr_fed; /* half a frame is lost with it */
			complete_kind(IORING_OP_RECVMSG, much % 4 ? 0 : -ECONNRESET);
		} else if (config.kind == NET_PEER) {
			complete_kind(IORING_OP_RECVMSG, much % 4 ? -EAGAIN : -EIO);
		}
		break;
	case 9:
		restart(head);
		break;
	case 10:
		complete_kind(IORING_OP_NOP, 0);
		break;
	case 11:
		rest(much);
		break;
	}
	return 0;
}

static void open_device(const struct head *head)
{
	config = (struct net_config){
		.id = "fuzzed",
		.kind = head->kind % 2 ? NET_STREAM : NET_PEER,
		.path = head->kind % 2 ? socket_path : peers_path,
	};
	nr_fed = next_frame = next_data = nr_frames = stream_at = 0;
	buf_size = 32u << head->buf_shift % 7;
	make_memory();
	make_link();
	start_driver(0);
	restart(head);
}

static void close_device(void)
{
	drop_link();
	free(mem.regions[0].host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head head;

	if (size < sizeof(head))
		return 0;
	if (listener < 0)
		make_links();
	memcpy(&head, data, sizeof(head));
	data += sizeof(head);
	size -= sizeof(head);
	open_device(&head);
	while (size >= 2) {
		const uint8_t what = data[0], much = data[1];
		size_t taken;

		data += 2;
		size -= 2;
		taken = step(&head, what, much, data, size);
		data += taken;
		size -= taken;
		take_used();
	}
	stop();
	close_device();
	return 0;
}
