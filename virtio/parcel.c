// SPDX-License-Identifier: Apache-2.0
/*
 * Frames out of one datagram. All of it lies in memory that nobody else sees, so what was checked
 * once stays so; a batch is walked to its end before its first frame goes anywhere. Segments are
 * cut as a network card would: each has the frame's headers, written before its data over what has
 * been handed out already.
 */
#include "parcel.h"

#include <errno.h>
#include <string.h>

/* RFC 9293, RFC 791, RFC 8200 */
#define TCP_SEQ	  4u
#define TCP_FLAGS 13u
#define TCP_SUM	  16u
#define TCP_LEAST 20u
enum { FIN = 0x01, PSH = 0x08, CWR = 0x80 };
enum { IP4_LENGTH = 2, IP4_ID = 4, IP4_PROTOCOL = 9, IP4_SUM = 10, IP4_FROM = 12, IP4_LEAST = 20 };
enum { IP6_LENGTH = 4, IP6_FROM = 8, IP6_LEAST = 40 };
#define PROTOCOL_TCP 6u

#define ETH_TYPE 12u
#define VLAN_TAG 4u
enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_VLAN = 0x8100, TYPE_QINQ = 0x88a8 };

/* As small as Linux lets a connection's be (tcp_min_snd_mss): the more frames a peer can make of
 * one. */
#define DATA_LEAST 48u

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

/* The bytes of the frame whose header is at `at`, or 0 where there is none as a whole. */
static uint32_t entry_at(const struct parcel *p, uint32_t at)
{
	struct frame_header h;

	if (p->len - at < FRAME_HEAD)
		return 0;
	memcpy(&h, p->bytes + at, sizeof(h));
	if (h.num_buffers < FRAME_ETH || h.num_buffers > p->len - at - FRAME_HEADER)
		return 0;
	return h.num_buffers;
}

int parcel_open_batch(struct parcel *p, uint32_t len)
{
	uint32_t at = 0;

	p->len = len;
	do {
		const uint32_t size = entry_at(p, at);

		if (size == 0)
			return -EPROTO;
		at += FRAME_HEADER + size;
	} while (at < len);
	p->kind = PARCEL_BATCH;
	p->at = 0;
	return 0;
}

/* Where the IP header begins: behind two VLAN tags at most. */
static uint32_t ip_at(const uint8_t *frame)
{
	uint32_t at = ETH_TYPE;

	for (unsigned i = 0; i < 2; i++)
		if (get16(frame + at) == TYPE_VLAN || get16(frame + at) == TYPE_QINQ)
			at += VLAN_TAG;
	return at + 2;
}

/* Finds the headers of a TCP segment of `len` bytes; its checksum is where frame_check() let it. */
static int find_headers(struct parcel *p, uint32_t len)
{
	const uint8_t *frame = p->bytes + FRAME_HEADER;
	unsigned type;

	p->tcp = p->header.csum_start;
	if (len < FRAME_ETH + IP4_LEAST + TCP_LEAST || p->tcp > PARCEL_HEADERS ||
	    p->tcp + TCP_LEAST > len || p->header.csum_offset != TCP_SUM)
		return -EPROTO;
	p->ip = ip_at(frame);
	p->data = p->tcp + (frame[p->tcp + 12] >> 4) * 4u;
	if (p->data < p->tcp + TCP_LEAST || p->data > PARCEL_HEADERS || p->data >= len)
		return -EPROTO;
	type = get16(frame + p->ip - 2);
	if (type == TYPE_IPV4) {
		const uint32_t ip_len = (frame[p->ip] & 15) * 4u;

		return ip_len >= IP4_LEAST && p->ip + ip_len == p->tcp &&
				       frame[p->ip + IP4_PROTOCOL] == PROTOCOL_TCP
			       ? 0
			       : -EPROTO;
	}
	return type == TYPE_IPV6 && p->ip + IP6_LEAST <= p->tcp ? 0 : -EPROTO;
}

int parcel_open_frame(struct parcel *p, uint32_t len, bool is_to_be_cut)
{
	memcpy(&p->header, p->bytes, sizeof(p->header));
	p->len = len;
	p->at = 0;
	p->kind = is_to_be_cut ? PARCEL_SEGMENTS : PARCEL_FRAME;
	if (!is_to_be_cut)
		return 0;
	if (p->header.gso_size < DATA_LEAST || find_headers(p, len - FRAME_HEADER))
		return -EPROTO;
	memcpy(p->headers, p->bytes + FRAME_HEADER, p->data);
	return 0;
}

/* RFC 9293, 3.1: what the addresses, the protocol and the length add to a checksum. */
static uint32_t pseudo_sum(const uint8_t *addresses, uint32_t len, uint32_t tcp_len)
{
	uint32_t sum = PROTOCOL_TCP + tcp_len;

	for (uint32_t i = 0; i < len; i += 2)
		sum += get16(addresses + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The headers of the segment whose `size` bytes of data begin at p->at; they are behind `frame`. */
static void write_headers(const struct parcel *p, uint8_t *frame, uint32_t size)
{
	const uint32_t len = p->data + size, tcp_len = len - p->tcp;
	const struct iovec iov = { frame, len };
	uint8_t *ip = frame + p->ip, *tcp = frame + p->tcp;

	memcpy(frame, p->headers, p->data);
	put32(tcp + TCP_SEQ, get32(tcp + TCP_SEQ) + p->at);
	if (p->at > 0)
		tcp[TCP_FLAGS] &= (uint8_t)~CWR;
	if (FRAME_HEADER + p->at + len < p->len)
		tcp[TCP_FLAGS] &= (uint8_t) ~(FIN | PSH);
	if (get16(ip - 2) == TYPE_IPV4) {
		put16(ip + IP4_LENGTH, len - p->ip);
		put16(ip + IP4_ID, get16(ip + IP4_ID) + p->at / p->header.gso_size);
		put16(ip + IP4_SUM, 0);
		frame_checksum(&iov, 1, p->ip, p->tcp - p->ip, IP4_SUM);
		put16(tcp + TCP_SUM, pseudo_sum(ip + IP4_FROM, 8, tcp_len));
	} else {
		put16(ip + IP6_LENGTH, len - p->ip - IP6_LEAST);
		put16(tcp + TCP_SUM, pseudo_sum(ip + IP6_FROM, 32, tcp_len));
	}
	frame_checksum(&iov, 1, p->tcp, tcp_len, TCP_SUM);
}

/* Its headers lie where the data of those before was. */
static uint8_t *next_segment(struct parcel *p, struct frame_header *header, uint32_t *len)
{
	const uint32_t left = p->len - FRAME_HEADER - p->data - p->at;
	uint8_t *frame = p->bytes + FRAME_HEADER + p->at;

	p->size = left < p->header.gso_size ? left : p->header.gso_size;
	if (p->size == 0)
		return NULL;
	write_headers(p, frame, p->size);
	*header = (struct frame_header){ 0 };
	*len = p->data + p->size;
	return frame;
}

uint8_t *parcel_next(struct parcel *p, struct frame_header *header, uint32_t *len)
{
	if (p->kind == PARCEL_SEGMENTS)
		return next_segment(p, header, len);
	if (p->at >= p->len)
		return NULL;
	memcpy(header, p->bytes + p->at, sizeof(*header));
	*len = p->kind == PARCEL_BATCH ? entry_at(p, p->at) : p->len - FRAME_HEADER;
	p->size = FRAME_HEADER + *len;
	return p->bytes + p->at + FRAME_HEADER;
}

void parcel_pass(struct parcel *p)
{
	p->at += p->size;
}
