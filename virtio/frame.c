// SPDX-License-Identifier: Apache-2.0
/*
 * Headers and bytes of frames. Section numbers are virtio 1.2's. Segments are guest memory, which
 * the guest may change at any time: nothing here depends on what is read from them.
 */
#include "frame.h"

#include <errno.h>
#include <string.h>

/* 5.1.6: flags and gso_type */
#define NEEDS_CSUM 0x01u
#define DATA_VALID 0x02u
#define GSO_ECN	   0x80u
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_UDP = 3, GSO_TCPV6 = 4 };

/* Where an Ethernet frame says what is in it. */
#define ETH_TYPE 12u
enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_VLAN = 0x8100, TYPE_QINQ = 0x88a8 };

/* Each kind of segmentation, and what it is done to. */
static const struct {
	uint8_t type;
	uint64_t feature;
	bool is_ipv4, is_ipv6;
} kinds[] = {
	{ GSO_TCPV4, NET_F_GUEST_TSO4, true, false },
	{ GSO_TCPV6, NET_F_GUEST_TSO6, false, true },
	{ GSO_UDP, NET_F_GUEST_UFO, true, true },
};

/* What is behind a VLAN tag is not looked at here: drivers look themselves. */
static bool fits_type(unsigned kind, const uint8_t *eth)
{
	const unsigned type = (unsigned)eth[ETH_TYPE] << 8 | eth[ETH_TYPE + 1];

	return type == TYPE_VLAN || type == TYPE_QINQ ||
	       (kinds[kind].is_ipv4 && type == TYPE_IPV4) ||
	       (kinds[kind].is_ipv6 && type == TYPE_IPV6);
}

/* 5.1.6.4.1: segments to be made come with a size, with headers, and with a checksum to make. */
static int check_gso(const struct frame_header *h, const uint8_t *eth, size_t len,
		     uint64_t features, bool is_trusted)
{
	const uint8_t type = h->gso_type & (uint8_t)~GSO_ECN;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].type != type)
			continue;
		if (h->gso_size == 0 || h->hdr_len > len || !fits_type(i, eth) ||
		    (!is_trusted && !(h->flags & NEEDS_CSUM)))
			return -EPROTO;
		if (!(features & kinds[i].feature))
			return -EOPNOTSUPP;
		return h->gso_type & GSO_ECN && !(features & NET_F_GUEST_ECN) ? -EOPNOTSUPP : 0;
	}
	return -EPROTO;
}

/* Both parts of the checksum lie in the frame, and behind its Ethernet header. */
static bool is_checksum_inside(const struct frame_header *h, size_t len)
{
	return h->csum_start >= FRAME_ETH && (size_t)h->csum_start + h->csum_offset + 2 <= len;
}

int frame_check(struct frame_header *h, const uint8_t *eth, size_t len, uint64_t features,
		bool is_trusted)
{
	int err;

	h->num_buffers = 1;
	h->flags &=
		is_trusted && features & NET_F_GUEST_CSUM ? NEEDS_CSUM | DATA_VALID : NEEDS_CSUM;
	if (h->flags & NEEDS_CSUM && !is_checksum_inside(h, len))
		return -EPROTO;
	if (!(h->flags & NEEDS_CSUM))
		h->csum_start = h->csum_offset = 0;
	if (h->gso_type != GSO_NONE) {
		err = check_gso(h, eth, len, features, is_trusted);
		if (err)
			return err;
	} else {
		h->hdr_len = h->gso_size = 0;
	}
	if (!(h->flags & NEEDS_CSUM) || features & NET_F_GUEST_CSUM)
		return 0;
	if (h->gso_type != GSO_NONE) /* 5.1.3.1: no driver takes segments without checksums */
		return -EOPNOTSUPP;
	return FRAME_CHECKSUM;
}

static void put_byte(const struct iovec *iov, unsigned nr, size_t at, uint8_t byte)
{
	for (unsigned i = 0; i < nr; i++) {
		if (at < iov[i].iov_len) {
			((uint8_t *)iov[i].iov_base)[at] = byte;
			return;
		}
		at -= iov[i].iov_len;
	}
}

void frame_checksum(const struct iovec *iov, unsigned nr, size_t start, size_t len, size_t at)
{
	const size_t end = start + len;
	uint64_t sum = 0;
	size_t where = 0; /* of the segment */

	for (unsigned i = 0; i < nr && where < end; where += iov[i++].iov_len) {
		const uint8_t *bytes = iov[i].iov_base;
		const size_t from = start > where ? start - where : 0;
		const size_t to = end - where < iov[i].iov_len ? end - where : iov[i].iov_len;

		for (size_t j = from; j < to; j++)
			sum += (where + j - start) % 2 ? bytes[j] : (uint64_t)bytes[j] << 8;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	if (sum == 0) /* RFC 768: in UDP 0 says that there is none; the two mean the same */
		sum = 0xffff;
	put_byte(iov, nr, start + at, (uint8_t)(sum >> 8));
	put_byte(iov, nr, start + at + 1, (uint8_t)sum);
}

void frame_make_checksum(struct frame_header *h, const struct iovec *iov, unsigned nr, size_t from,
			 size_t len)
{
	frame_checksum(iov, nr, h->csum_start - from, len - h->csum_start, h->csum_offset);
	h->flags = 0;
	h->csum_start = h->csum_offset = 0;
}

unsigned frame_split(struct iovec *iov, unsigned nr, size_t len, struct iovec *front,
		     unsigned *nr_front)
{
	unsigned whole = 0;

	*nr_front = 0;
	while (len > 0 && whole < nr) {
		struct iovec *v = &iov[whole];
		const size_t n = len < v->iov_len ? len : v->iov_len;

		front[(*nr_front)++] = (struct iovec){ v->iov_base, n };
		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
		len -= n;
		if (v->iov_len == 0)
			whole++;
	}
	if (whole > 0)
		memmove(iov, iov + whole, (nr - whole) * sizeof(*iov));
	return nr - whole;
}

void frame_put(const struct iovec *iov, unsigned nr, const void *from, size_t len)
{
	const uint8_t *at = from;

	for (unsigned i = 0; i < nr && len > 0; i++) {
		const size_t n = len < iov[i].iov_len ? len : iov[i].iov_len;

		memcpy(iov[i].iov_base, at, n);
		at += n;
		len -= n;
	}
}

void frame_get(const struct iovec *iov, unsigned nr, void *to, size_t len)
{
	uint8_t *at = to;

	for (unsigned i = 0; i < nr && len > 0; i++) {
		const size_t n = len < iov[i].iov_len ? len : iov[i].iov_len;

		memcpy(at, iov[i].iov_base, n);
		at += n;
		len -= n;
	}
}
