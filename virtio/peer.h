/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link between microVMs, without a privilege and without a switch: a folder in which each of them
 * has a datagram socket, and sends to the others'.
 *
 *   PATH/lock    byte N is locked by the microVM of slot N, as long as it lives
 *   PATH/N       its socket; each datagram is a frame, or a batch of frames (parcel.h)
 *   PATH/N.new   the same before it has its name: who watches the folder sees it come
 */
#ifndef VIRTIO_PEER_H
#define VIRTIO_PEER_H

#include "link.h"
#include "parcel.h"

#include <sys/un.h>

#define PEER_MACS 64u

struct peer {
	struct link link;
	const char *path;
	const struct sockaddr_un *addresses[PEERS_MAX]; /* of all slots, in sealed memory */
	const struct sockaddr_un *own;			/* that of ours, to be removed */
	unsigned slot;
	int lock_fd, fd, watch_fd; /* fd: frames come in by it */
	int file, watch_file;
	struct link_out *first, *last; /* to go out together; NULL: none */
	int to;			       /* ...to that slot, or -1: to all */
	size_t bytes;
	uint64_t since_ns; /* what goes out now goes since then */
	struct op watch_op;
	char events[4096] __attribute__((aligned(8)));
	struct peer_slot {
		int fd, file;	    /* frames go out by it; -1: nobody is there */
		bool is_stalled;    /* it is not waited for */
		uint64_t waited_ns; /* it was; prompt ones make that less */
		unsigned nr_prompt; /* in a row, since it is stalled */
	} slots[PEERS_MAX];
	struct {
		uint8_t mac[6], slot;
		bool is_known;
	} macs[PEER_MACS]; /* at which slot a station was last heard, by a hash of its address */
};

/* Makes the folder where there is none, and takes a slot. 0 or -errno, logged. */
int peer_open(struct peer *peer, const struct net_config *config);

/* Hands its descriptors to the loop. 0 or -errno, logged. */
int peer_attach(struct peer *peer, struct loop *loop);

#endif
