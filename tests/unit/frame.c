// SPDX-License-Identifier: Apache-2.0
/*
 * Headers of frames from outside, by what virtio 1.2, 5.1.6, lets a device tell its driver, and
 * bytes laid over segments, against plain copies.
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

#include "../../virtio/frame.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ALL	 (NET_F_GUEST_CSUM | NET_F_GUEST_GSO | NET_F_GUEST_ECN)
#define PLAIN	 0ull

enum { NONE, TCPV4, UDP = 3, TCPV6 };
enum { IPV4 = 0x0800, IPV6 = 0x86dd, VLAN = 0x8100, ARP = 0x0806 };

static const struct {
	const char *name;
	struct frame_header in;
	uint16_t type;
	size_t len;
	uint64_t features;
	bool is_trusted;
	int want;
	struct frame_header out; /* where want is not an error */
} rows[] = {
	{ "nothing asked for", { 0 }, IPV4, 60, PLAIN, false, 0, { .num_buffers = 1 } },
	{ "the sender's number of buffers",
	  { .num_buffers = 0xffff },
	  IPV4,
	  60,
	  ALL,
	  false,
	  0,
	  { .num_buffers = 1 } },
	{ "fields that mean nothing",
	  { 0xf8, 0, 9, 9, 9, 9, 9 },
	  IPV4,
	  60,
	  ALL,
	  false,
	  0,
	  { .num_buffers = 1 } },
	{ "a checksum that a peer calls good",
	  { .flags = 2 },
	  IPV4,
	  60,
	  ALL,
	  false,
	  0,
	  { .num_buffers = 1 } },
	{ "one that the kernel calls good",
	  { .flags = 2 },
	  IPV4,
	  60,
	  ALL,
	  true,
	  0,
	  { .flags = 2, .num_buffers = 1 } },
	{ "the same for a driver that did not ask",
	  { .flags = 2 },
	  IPV4,
	  60,
	  PLAIN,
	  true,
	  0,
	  { .num_buffers = 1 } },
	{ "a checksum to make",
	  { 1, 0, 0, 0, 34, 16, 0 },
	  IPV4,
	  60,
	  ALL,
	  false,
	  0,
	  { 1, 0, 0, 0, 34, 16, 1 } },
	{ "one that the driver does not make",
	  { 1, 0, 0, 0, 34, 16, 0 },
	  IPV4,
	  60,
	  PLAIN,
	  false,
	  FRAME_CHECKSUM,
	  { 1, 0, 0, 0, 34, 16, 1 } },
	{ "one whose place is the last",
	  { 1, 0, 0, 0, 34, 24, 0 },
	  IPV4,
	  60,
	  ALL,
	  false,
	  0,
	  { 1, 0, 0, 0, 34, 24, 1 } },
	{ "one beyond the end by a byte",
	  { 1, 0, 0, 0, 34, 25, 0 },
	  IPV4,
	  60,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "one that wraps",
	  { 1, 0, 0, 0, 0xfff0, 0xffff, 0 },
	  IPV4,
	  60,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "one in the Ethernet header",
	  { 1, 0, 0, 0, 13, 20, 0 },
	  IPV4,
	  60,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "segments of TCP",
	  { 1, TCPV4, 54, 1448, 34, 16, 7 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  0,
	  { 1, TCPV4, 54, 1448, 34, 16, 1 } },
	{ "the same behind a VLAN tag",
	  { 1, TCPV4, 58, 1448, 38, 16, 0 },
	  VLAN,
	  9000,
	  ALL,
	  false,
	  0,
	  { 1, TCPV4, 58, 1448, 38, 16, 1 } },
	{ "of TCP over IPv6",
	  { 1, TCPV6, 74, 1448, 54, 16, 0 },
	  IPV6,
	  9000,
	  ALL,
	  false,
	  0,
	  { 1, TCPV6, 74, 1448, 54, 16, 1 } },
	{ "of UDP",
	  { 1, UDP, 42, 1448, 34, 6, 0 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  0,
	  { 1, UDP, 42, 1448, 34, 6, 1 } },
	{ "with congestion marked",
	  { 1, TCPV4 | 0x80, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  0,
	  { 1, TCPV4 | 0x80, 54, 1448, 34, 16, 1 } },
	{ "congestion that the driver does not know",
	  { 1, TCPV4 | 0x80, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL & ~NET_F_GUEST_ECN,
	  false,
	  -EOPNOTSUPP,
	  { 0 } },
	{ "congestion of nothing",
	  { 1, 0x80, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "segments that the driver does not take",
	  { 1, TCPV4, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL & ~NET_F_GUEST_TSO4,
	  false,
	  -EOPNOTSUPP,
	  { 0 } },
	{ "nor without checksums",
	  { 1, TCPV4, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  NET_F_GUEST_TSO4,
	  false,
	  -EOPNOTSUPP,
	  { 0 } },
	{ "IPv4 that says it is IPv6",
	  { 1, TCPV6, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "segments of ARP",
	  { 1, TCPV4, 54, 1448, 34, 16, 0 },
	  ARP,
	  9000,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "of no size", { 1, TCPV4, 54, 0, 34, 16, 0 }, IPV4, 9000, ALL, false, -EPROTO, { 0 } },
	{ "without a checksum to make",
	  { 0, TCPV4, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "the same from the kernel",
	  { 0, TCPV4, 54, 1448, 0, 0, 0 },
	  IPV4,
	  9000,
	  ALL,
	  true,
	  0,
	  { 0, TCPV4, 54, 1448, 0, 0, 1 } },
	{ "headers longer than the frame",
	  { 1, TCPV4, 9001, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "of a kind there is not",
	  { 1, 2, 54, 1448, 34, 16, 0 },
	  IPV4,
	  9000,
	  ALL,
	  false,
	  -EPROTO,
	  { 0 } },
	{ "of another", { 1, 0x7f, 54, 1448, 34, 16, 0 }, IPV4, 9000, ALL, true, -EPROTO, { 0 } },
};

static void headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct frame_header h = rows[i].in;
		uint8_t eth[FRAME_ETH] = { 0 };
		int got;

		eth[12] = (uint8_t)(rows[i].type >> 8);
		eth[13] = (uint8_t)rows[i].type;
		got = frame_check(&h, eth, rows[i].len, rows[i].features, rows[i].is_trusted);
		if (got != rows[i].want || (got >= 0 && memcmp(&h, &rows[i].out, sizeof(h))))
			fail_msg("%s: %d, flags %u, gso %u", rows[i].name, got, h.flags,
				 h.gso_type);
	}
}

/* Whatever comes in, what goes out makes sense. */
static void any_header(void **state)
{
	(void)state;
	srandom(5);
	for (unsigned i = 0; i < 2000000; i++) {
		const size_t len = FRAME_ETH + (size_t)random() % (i % 2 ? 100 : 65000);
		const uint64_t features = (uint64_t)random() & ALL;
		uint8_t eth[FRAME_ETH] = { [12] = 8, [13] = (uint8_t)(random() % 2) };
		struct frame_header h;
		uint8_t bytes[sizeof(h)];
		int got;

		for (size_t j = 0; j < sizeof(bytes); j++)
			bytes[j] = (uint8_t)(random() % 4 ? random() % 6 : random());
		memcpy(&h, bytes, sizeof(h));
		got = frame_check(&h, eth, len, features, false);
		if (got < 0)
			continue;
		assert_int_equal(h.num_buffers, 1);
		assert_int_equal(h.flags & ~1, 0);
		if (h.flags)
			assert_true(h.csum_start >= FRAME_ETH &&
				    h.csum_start + h.csum_offset + 2u <= len);
		assert_true(got == FRAME_CHECKSUM ||
			    (h.flags & 1) <= (features & NET_F_GUEST_CSUM ? 1 : 0));
		if (h.gso_type)
			assert_true(got == 0 && h.gso_size && h.flags && h.hdr_len <= len &&
				    features & NET_F_GUEST_GSO);
	}
}

/* Bytes cut into segments at random, the same bytes as one piece, and both again. */
#define BYTES 3000u
static uint8_t whole[BYTES], cut[BYTES];
static struct iovec iov[BYTES];

static unsigned cut_up(size_t most)
{
	unsigned nr = 0;

	for (size_t at = 0; at < BYTES; nr++) {
		size_t n = 1 + (size_t)random() % most;

		if (n > BYTES - at)
			n = BYTES - at;
		iov[nr] = (struct iovec){ cut + at, n };
		at += n;
	}
	return nr;
}

static void split(void **state)
{
	(void)state;
	srandom(6);
	for (unsigned round = 0; round < 3000; round++) {
		const unsigned nr = cut_up(1 + round % 50);
		const size_t len = (size_t)random() % 100;
		struct iovec front[100];
		unsigned nr_front, left;
		size_t at = 0;

		left = frame_split(iov, nr, len, front, &nr_front);
		for (unsigned i = 0; i < nr_front; at += front[i++].iov_len)
			assert_ptr_equal(front[i].iov_base, cut + at);
		assert_int_equal(at, len);
		for (unsigned i = 0; i < left; at += iov[i++].iov_len) {
			assert_ptr_equal(iov[i].iov_base, cut + at);
			assert_true(iov[i].iov_len > 0);
		}
		assert_int_equal(at, BYTES);
	}
	assert_int_equal(frame_split(iov, 0, 5, iov, &(unsigned){ 0 }), 0);
}

static void put_and_get(void **state)
{
	uint8_t back[BYTES + 10];

	(void)state;
	srandom(7);
	for (unsigned round = 0; round < 1000; round++) {
		const unsigned nr = cut_up(1 + round % 200);
		const size_t len = (size_t)random() % (BYTES + 10);
		const size_t there = len < BYTES ? len : BYTES;
		uint8_t from[BYTES + 10];

		for (size_t i = 0; i < sizeof(from); i++)
			from[i] = (uint8_t)random();
		memset(cut, 0xee, sizeof(cut));
		memset(back, 0xdd, sizeof(back));
		frame_put(iov, nr, from, len);
		assert_memory_equal(cut, from, there);
		assert_true(there == BYTES || cut[there] == 0xee);
		frame_get(iov, nr, back, len);
		assert_memory_equal(back, from, there);
		assert_int_equal(back[there], 0xdd);
	}
}

static uint16_t plain_sum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* Summed again, what carries its checksum is all ones (RFC 1071). */
static void checksum(void **state)
{
	(void)state;
	srandom(8);
	for (unsigned round = 0; round < 3000; round++) {
		const unsigned nr = cut_up(1 + round % 70);
		const size_t start = (size_t)random() % 100, len = 2 + (size_t)random() % 2000;
		const size_t at = (size_t)random() % (len - 1) & ~(size_t)1;

		for (size_t i = 0; i < BYTES; i++)
			cut[i] = (uint8_t)random();
		if (round % 10 == 0)
			memset(cut, round % 20 ? 0xff : 0, BYTES);
		cut[start + at] = cut[start + at + 1] = 0;
		memcpy(whole, cut, BYTES);
		frame_checksum(iov, nr, start, len, at);
		assert_int_equal(plain_sum(cut + start, len), 0xffff);
		assert_true(cut[start + at] || cut[start + at + 1]);
		whole[start + at] = cut[start + at];
		whole[start + at + 1] = cut[start + at + 1];
		assert_memory_equal(cut, whole, BYTES); /* and nothing else has changed */
	}
}

#define TEST(name, function)                     \
	{                                        \
		name, function, NULL, NULL, NULL \
	}

static const struct CMUnitTest tests[] = {
	TEST("headers: what passes, what is cleared, what is refused", headers),
	TEST("headers of any bytes: what passes makes sense", any_header),
	TEST("a front split off segments, wherever they are cut", split),
	TEST("bytes laid over segments and read from them", put_and_get),
	TEST("a checksum completed over segments of any length", checksum),
};

int main(void)
{
	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
