/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does not go to the guest as it came, in the monitor's own memory: a peer's batch of frames;
 * segments that the driver wants cut; a frame for which there was no room. Pure: rx.c copies it
 * here, checks each frame's header by frame.h, and hands it out when there is room.
 *
 *   frame   frame_header, in num_buffers the sender's slot | frame
 *   batch   frame_header, in num_buffers the sender's slot, in gso_type PARCEL_TYPE, in flags
 *           PARCEL_VERSION | Ethernet header of its first frame | two or more of:
 *           frame_header, in num_buffers the bytes of the frame | frame
 */
#ifndef VIRTIO_PARCEL_H
#define VIRTIO_PARCEL_H

#include "frame.h"

#define PARCEL_TYPE    0x7fu /* no gso_type of virtio's */
#define PARCEL_VERSION 1u
#define PARCEL_MAX     (FRAME_HEADER + FRAME_MAX) /* bytes of either */
#define PARCEL_SMALL   4096u			  /* frames up to that go in batches */
#define PARCEL_HEADERS 256u			  /* bytes of a segment before its data, at most */

enum parcel_kind { PARCEL_BATCH, PARCEL_SEGMENTS, PARCEL_FRAME };

struct parcel {
	enum parcel_kind kind;
	uint32_t len, at; /* bytes; where the next header is or, of segments, the next data */
	uint32_t size;	  /* bytes to pass on by */
	/* Of segments: what came before the data, and where in the frame each begins */
	struct frame_header header;
	uint32_t ip, tcp, data;
	uint8_t headers[PARCEL_HEADERS];
	uint8_t bytes[PARCEL_MAX];
};

/*
 * Opens what lies in bytes[0, len): a batch behind its head; or a frame behind its header, at least
 * FRAME_HEAD bytes, which frame_check() has seen. 0, or -EPROTO: it is none.
 */
int parcel_open_batch(struct parcel *parcel, uint32_t len);
int parcel_open_frame(struct parcel *parcel, uint32_t len, bool is_to_be_cut);

/*
 * The next frame, with room for FRAME_HEADER bytes before it, or NULL: there are no more. *header
 * came from outside, unless it is of a segment that was cut. The same until parcel_pass().
 */
uint8_t *parcel_next(struct parcel *parcel, struct frame_header *header, uint32_t *len);
void parcel_pass(struct parcel *parcel);

#endif
