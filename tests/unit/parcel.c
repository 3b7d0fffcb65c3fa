// SPDX-License-Identifier: Apache-2.0
/*
 * Batches taken apart and segments cut, beside a model of both: batches of random frames, cut off
 * and lied about at every place; TCP over IPv4 and IPv6, with tags, options and every size of
 * segment, whose checksums are made anew by other means.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../virtio/parcel.h"

static struct parcel parcel;
static uint8_t packet[PARCEL_MAX];
static uint64_t seed = 1;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
	return at[0] * 256u + at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* RFC 1071, as one walks through the bytes: 0xffff where a checksum is among them and right. */
static uint32_t sum(uint32_t before, const uint8_t *at, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		before += i % 2 ? at[i] : at[i] * 256u;
	while (before > 0xffff)
		before = before / 65536 + before % 65536;
	return before;
}

/* A batch of `nr` random frames; where each begins in at[], and the end. */
static void make_batch(unsigned nr, uint32_t *at)
{
	at[0] = 0;
	for (unsigned i = 0; i < nr; i++) {
		const uint32_t len = FRAME_ETH + rnd(i % 5 ? 100 : 2000);
		struct frame_header h = { (uint8_t)rnd(256), (uint8_t)rnd(256), 1, 2, 3, 4,
					  (uint16_t)len };

		memcpy(packet + at[i], &h, sizeof(h));
		for (uint32_t j = 0; j < len; j++)
			packet[at[i] + sizeof(h) + j] = (uint8_t)rnd(256);
		at[i + 1] = at[i] + FRAME_HEADER + len;
	}
}

static void batch(void **state)
{
	uint32_t at[31];

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		const unsigned nr = 1 + rnd(30);
		struct frame_header h;
		uint8_t *frame;
		uint32_t len;

		make_batch(nr, at);
		memcpy(parcel.bytes, packet, at[nr]);
		assert_int_equal(parcel_open_batch(&parcel, at[nr]), 0);
		for (unsigned i = 0; i < nr; i++) {
			for (unsigned again = 0; again < 2; again++) {
				frame = parcel_next(&parcel, &h, &len);
				assert_ptr_equal(frame, parcel.bytes + at[i] + FRAME_HEADER);
				assert_int_equal(len, at[i + 1] - at[i] - FRAME_HEADER);
				assert_memory_equal(&h, packet + at[i], sizeof(h));
				assert_memory_equal(frame, packet + at[i] + FRAME_HEADER, len);
			}
			memset(frame - FRAME_HEADER, 0xee, FRAME_HEADER); /* as who hands it out */
			parcel_pass(&parcel);
		}
		assert_null(parcel_next(&parcel, &h, &len));
	}
}

/* Where it ends elsewhere than a frame does, or a length says so, it is none. */
static void bad_batch(void **state)
{
	uint32_t at[9];

	(void)state;
	make_batch(8, at);
	for (uint32_t len = 0, next = 1; len <= at[8]; len++) {
		const bool is_whole = len == at[next];

		next += is_whole;
		memset(parcel.bytes, 0, sizeof(parcel.bytes));
		memcpy(parcel.bytes, packet, at[8]); /* behind its end nobody looks */
		assert_int_equal(parcel_open_batch(&parcel, len), is_whole ? 0 : -EPROTO);
		if (next > 8)
			break;
	}
	for (unsigned i = 0; i < 8; i++) {
		const uint16_t right = (uint16_t)(at[i + 1] - at[i] - FRAME_HEADER);
		const uint16_t wrong[] = { 0,
					   1,
					   FRAME_ETH - 1,
					   (uint16_t)(right - 1),
					   (uint16_t)(right + 1),
					   (uint16_t)(at[8] - at[i] - FRAME_HEADER + 1),
					   65535 };

		for (unsigned j = 0; j < sizeof(wrong) / sizeof(wrong[0]); j++) {
			memcpy(parcel.bytes, packet, at[8]);
			memset(parcel.bytes + at[8], 0xff, 100);
			memcpy(parcel.bytes + at[i] + 10, &wrong[j], 2);
			if (j == 3 || j == 4) /* the next header is not one then, or by chance */
				memset(parcel.bytes + at[i] + FRAME_HEADER + right - 1, 0xff, 14);
			assert_int_equal(parcel_open_batch(&parcel, at[8]), -EPROTO);
		}
	}
}

/* What is to be cut. */
struct segments {
	bool is_ipv6;
	unsigned tags, options; /* bytes behind TCP's header */
	uint32_t data, per_frame;
};

static uint32_t ip_of(const struct segments *s)
{
	return FRAME_ETH + s->tags * 4;
}

static uint32_t tcp_of(const struct segments *s)
{
	return ip_of(s) + (s->is_ipv6 ? 40 : 20);
}

static uint32_t data_of(const struct segments *s)
{
	return tcp_of(s) + 20 + s->options;
}

/* All flags, and numbers that run over. */
static uint32_t make_segments(const struct segments *s)
{
	uint8_t *frame = packet + FRAME_HEADER, *ip = frame + ip_of(s), *tcp = frame + tcp_of(s);
	const uint32_t len = data_of(s) + s->data;
	struct frame_header h = { 1,
				  s->is_ipv6 ? 4 : 1,
				  (uint16_t)data_of(s),
				  (uint16_t)s->per_frame,
				  (uint16_t)tcp_of(s),
				  16,
				  5 };

	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)rnd(256);
	memcpy(packet, &h, sizeof(h));
	for (unsigned i = 0; i < s->tags; i++)
		put16(frame + 12 + 4 * i, i ? 0x8100 : 0x88a8);
	put16(ip - 2, s->is_ipv6 ? 0x86dd : 0x0800);
	ip[0] = s->is_ipv6 ? 0x60 : 0x45;
	ip[s->is_ipv6 ? 6 : 9] = 6;
	put16(ip + (s->is_ipv6 ? 4 : 2), len - ip_of(s) - (s->is_ipv6 ? 40 : 0));
	if (!s->is_ipv6)
		put16(ip + 4, 0xfffe);
	put16(tcp + 4, 0xffff);
	put16(tcp + 6, 0xff00);
	tcp[12] = (uint8_t)((20 + s->options) / 4 << 4);
	tcp[13] = 0xff;
	return FRAME_HEADER + len;
}

static void check_segment(const struct segments *s, const uint8_t *frame, uint32_t len,
			  uint32_t done)
{
	const uint8_t *was = packet + FRAME_HEADER, *ip = frame + ip_of(s),
		      *tcp = frame + tcp_of(s);
	const uint32_t data = len - data_of(s), tcp_len = len - tcp_of(s);
	const bool is_last = done + data == s->data;

	assert_int_equal(data, is_last ? (s->data - 1) % s->per_frame + 1 : s->per_frame);
	assert_memory_equal(frame + data_of(s), was + data_of(s) + done, data);
	assert_memory_equal(frame, was, ip_of(s));
	if (s->is_ipv6) {
		assert_int_equal(get16(ip + 4), tcp_len);
		assert_memory_equal(ip, was + ip_of(s), 4);
		assert_memory_equal(ip + 6, was + ip_of(s) + 6, 34);
		assert_int_equal(sum(sum(6 + tcp_len, ip + 8, 32), tcp, tcp_len), 0xffff);
	} else {
		assert_int_equal(get16(ip + 2), 20 + tcp_len);
		assert_int_equal(get16(ip + 4), (0xfffe + done / s->per_frame) % 65536);
		assert_int_equal(sum(0, ip, 20), 0xffff);
		assert_memory_equal(ip + 6, was + ip_of(s) + 6, 4);
		assert_memory_equal(ip + 12, was + ip_of(s) + 12, 8);
		assert_int_equal(sum(sum(6 + tcp_len, ip + 12, 8), tcp, tcp_len), 0xffff);
	}
	assert_memory_equal(tcp, was + tcp_of(s), 4);
	assert_true(get32(tcp + 4) == 0xffffff00u + done);
	assert_memory_equal(tcp + 8, was + tcp_of(s) + 8, 5);
	assert_int_equal(tcp[13], 0xff & ~(done ? 0x80 : 0) & ~(is_last ? 0 : 0x09));
	assert_memory_equal(tcp + 14, was + tcp_of(s) + 14, 2);
	assert_memory_equal(tcp + 18, was + tcp_of(s) + 18, 2 + s->options);
}

static void cut(const struct segments *s)
{
	const uint32_t len = make_segments(s);
	uint32_t done = 0, got;
	struct frame_header h;
	uint8_t *frame;

	memcpy(parcel.bytes, packet, len);
	assert_int_equal(parcel_open_frame(&parcel, len, true), 0);
	while ((frame = parcel_next(&parcel, &h, &got))) {
		static const struct frame_header plain;

		assert_ptr_equal(frame, parcel_next(&parcel, &h, &got)); /* the same once more */
		assert_memory_equal(&h, &plain, sizeof(h));
		check_segment(s, frame, got, done);
		done += got - data_of(s);
		memset(frame - FRAME_HEADER, 0xee, FRAME_HEADER);
		parcel_pass(&parcel);
	}
	assert_int_equal(done, s->data);
}

static void segments(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		struct segments s = { .is_ipv6 = i & 1,
				      .tags = i / 2 % 3,
				      .options = i / 6 % 11 * 4,
				      .data = 1 + rnd(i % 7 ? 5000 : 65000),
				      .per_frame = 48 + rnd(i % 3 ? 1500 : 3000) };

		if (data_of(&s) + s.data <= FRAME_MAX)
			cut(&s);
	}
	cut(&(struct segments){ .data = 1448, .per_frame = 1448 });
	cut(&(struct segments){ .data = 1449, .per_frame = 1448 });
	cut(&(struct segments){ .data = 1, .per_frame = 65535 });
}

/* Headers that are not where they are said to be, or are none. */
static void bad_segments(void **state)
{
	static const struct segments s = { .data = 3000, .per_frame = 1000 };
	static const struct {
		uint32_t at; /* in the datagram */
		uint16_t value;
	} row[] = {
		{ 4, 0x2f00 },		  /* gso_size, little endian: 47 */
		{ 6, 0x2300 },		  /* csum_start: a byte too far */
		{ 6, 0x0000 },		  /* ...at the frame's beginning */
		{ 6, 0xffff },		  /* ...far outside */
		{ 6, 0x0101 },		  /* ...257 */
		{ 8, 0x1100 },		  /* csum_offset */
		{ 12 + 12, 0x0806 },	  /* the type: ARP */
		{ 12 + 12, 0x86dd },	  /* IPv6, whose header is longer */
		{ 12 + 12, 0x8100 },	  /* a tag that is none */
		{ 12 + 14, 0x4400 },	  /* IPv4's header shorter than one */
		{ 12 + 14, 0x4600 },	  /* ...longer than it is */
		{ 12 + 14 + 8, 0x4011 },  /* UDP */
		{ 12 + 34 + 12, 0x4010 }, /* TCP's header shorter than one */
	};
	const uint32_t len = make_segments(&s);

	(void)state;
	memcpy(parcel.bytes, packet, len);
	assert_int_equal(parcel_open_frame(&parcel, len, true), 0);
	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		memcpy(parcel.bytes, packet, len);
		put16(parcel.bytes + row[i].at, row[i].value);
		assert_int_equal(parcel_open_frame(&parcel, len, true), -EPROTO);
	}
	for (uint32_t cut_off = FRAME_HEAD; cut_off <= FRAME_HEADER + data_of(&s); cut_off++) {
		memset(parcel.bytes, 0xff, sizeof(parcel.bytes));
		memcpy(parcel.bytes, packet, cut_off);
		assert_int_equal(parcel_open_frame(&parcel, cut_off, true), -EPROTO);
	}
}

static const struct CMUnitTest tests[] = {
	{ "a batch of frames, one by one", batch, NULL, NULL, NULL },
	{ "a batch that is cut off, or lies", bad_batch, NULL, NULL, NULL },
	{ "segments are cut as a network card would", segments, NULL, NULL, NULL },
	{ "segments whose headers are none", bad_segments, NULL, NULL, NULL },
};

int main(void)
{
	return cmocka_run_group_tests_name("parcel", tests, NULL, NULL);
}
