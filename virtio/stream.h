/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link over a Unix stream socket, each frame behind its length in 4 bytes, big endian: what passt
 * listens for, and QEMU's `-netdev stream`.
 */
#ifndef VIRTIO_STREAM_H
#define VIRTIO_STREAM_H

#include "link.h"

#include <sys/un.h>

struct stream {
	struct link link;
	const char *path;
	const struct sockaddr_un *to; /* the same, in sealed memory */
	int fd, file;		      /* fd -1: not connected */
	unsigned nr_ops;	      /* under way */
	unsigned nr_lost;	      /* connections */
	bool is_timing;
	struct op retry_op;
	struct __kernel_timespec retry;

	/* What comes in: */
	struct link_in *in; /* or NULL: nobody waits for a frame */
	uint32_t left;	    /* bytes of the frame that are still to come */
	uint32_t got;	    /* ...and that have */
	uint32_t skip;	    /* bytes of a frame that nobody takes */
	uint8_t length[4];
	unsigned nr_length; /* bytes of the next length that have come */
	struct iovec iov;
	uint8_t waste[4096];
};

/* Connects. 0 or -errno, logged with what to do about it. */
int stream_open(struct stream *stream, const struct net_config *config);

/* Hands its descriptor to the loop. 0 or -errno, logged. */
int stream_attach(struct stream *stream, struct loop *loop);

#endif
