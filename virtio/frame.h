/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet frames with the header that virtio-net puts before them (virtio 1.2, 5.1.6). Pure: what
 * a header may say, and bytes laid over segments. A header that came from outside goes through
 * frame_check() before a guest sees it; rx.c calls it.
 */
#ifndef VIRTIO_FRAME_H
#define VIRTIO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* 5.1.3 */
#define NET_F_CSUM	 (1ull << 0)
#define NET_F_GUEST_CSUM (1ull << 1)
#define NET_F_MTU	 (1ull << 3)
#define NET_F_MAC	 (1ull << 5)
#define NET_F_GUEST_TSO4 (1ull << 7)
#define NET_F_GUEST_TSO6 (1ull << 8)
#define NET_F_GUEST_ECN	 (1ull << 9)
#define NET_F_GUEST_UFO	 (1ull << 10)
#define NET_F_HOST_TSO4	 (1ull << 11)
#define NET_F_HOST_TSO6	 (1ull << 12)
#define NET_F_HOST_ECN	 (1ull << 13)
#define NET_F_HOST_UFO	 (1ull << 14)
#define NET_F_MRG_RXBUF	 (1ull << 15)
#define NET_F_STATUS	 (1ull << 16)
#define NET_F_CTRL_VQ	 (1ull << 17)
#define NET_F_MQ	 (1ull << 22)
#define NET_F_GUEST_GSO	 (NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_UFO)

/* 5.1.6: struct virtio_net_hdr; little endian, as this machine is. */
struct frame_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
	uint16_t num_buffers;
};
_Static_assert(sizeof(struct frame_header) == 12, "5.1.6");

#define FRAME_HEADER ((uint32_t)sizeof(struct frame_header))
#define FRAME_ETH    14u			      /* destination, source, type */
#define FRAME_HEAD   (FRAME_HEADER + FRAME_ETH)	      /* what passes through the monitor's memory */
#define FRAME_TAG    4u				      /* of a VLAN */
#define FRAME_MAX    (65535u + FRAME_ETH + FRAME_TAG) /* an IP packet */

/*
 * Checks a header that did not come from this guest against its frame of `len` bytes, whose first
 * FRAME_ETH are `eth`, and against the features that the driver took. `is_trusted`: the kernel's.
 * What means nothing to the driver is cleared. 0; FRAME_CHECKSUM where the checksum is still to be
 * made and the driver does not do that; -EPROTO for nonsense, -EOPNOTSUPP for what it did not take.
 */
#define FRAME_CHECKSUM 1
int frame_check(struct frame_header *header, const uint8_t *eth, size_t len, uint64_t features,
		bool is_trusted);

/*
 * Completes an Internet checksum (RFC 1071): of bytes [start, start + len) of the segments, into
 * the two at start + at. The caller has checked that all of that is there.
 */
void frame_checksum(const struct iovec *iov, unsigned nr, size_t start, size_t len, size_t at);

/* The same as the header of a frame of `len` bytes says, of which iov holds those from `from` on;
 * the header asks for no checksum then. */
void frame_make_checksum(struct frame_header *header, const struct iovec *iov, unsigned nr,
			 size_t from, size_t len);

/* Splits a frame's front off its segments: the bytes [0, len) of iov become front[], at most one
 * element a byte, the rest stays in iov. The new number of elements of iov is returned, of front
 * in *nr_front. */
unsigned frame_split(struct iovec *iov, unsigned nr, size_t len, struct iovec *front,
		     unsigned *nr_front);

/* Copies as many of `len` bytes as there is room for to, or from, the segments' beginning. */
void frame_put(const struct iovec *iov, unsigned nr, const void *from, size_t len);
void frame_get(const struct iovec *iov, unsigned nr, void *to, size_t len);

#endif
