/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is at the other end of an interface's cable: a tap (tap.c), other microVMs (peer.c), a
 * stream socket (stream.c). A link moves one frame at a time between segments, which net.c points
 * at guest memory, and its descriptor, by the loop's ring; it copies nothing and never blocks. All
 * on the loop's thread. A link that is lost says so by is_up and comes back by itself.
 */
#ifndef VIRTIO_LINK_H
#define VIRTIO_LINK_H

#include "../api/config.h"
#include "../vmm/loop.h"
#include "parcel.h"
#include "queue.h"

#include <stdbool.h>
#include <sys/socket.h>

#define LINK_QUEUES  MAX_VCPUS
#define PEERS_MAX    32u   /* microVMs on one peer link */
#define LINK_BURST   16u   /* frames at once, in each direction */
#define LINK_IOV     1024u /* segments that one system call takes */
#define LINK_OUT_IOV (QUEUE_MAX + 2u)

/* What stands before a frame in the monitor's own memory, as one segment: checked there, then
 * copied. */
struct link_head {
	union {
		struct frame_header header; /* with links that have headers */
		struct {
			uint32_t unused[2];
			uint32_t length; /* big endian; with streams */
		};
	};
	uint8_t eth[FRAME_ETH];
};
_Static_assert(offsetof(struct link_head, eth) == FRAME_HEADER, "header and frame are together");
_Static_assert(offsetof(struct link_head, length) + 4 == FRAME_HEADER, "so are length and frame");

/* A frame to be received. */
struct link_in {
	struct op op;
	struct link *link;
	/* Called once: bytes of the frame without header, -EAGAIN for none there, -EMSGSIZE for one
	 * that is larger than any may be and is lost, else -errno. */
	void (*done)(struct link_in *in, int res);
	struct link_head head;
	struct msghdr msg;
	bool is_batch;	  /* what came is the head of a parcel.h */
	bool is_unwanted; /* the device is being reset: no step may follow */
	uint8_t *tail;	  /* [PARCEL_MAX]: where a frame ends for which there is no room */
	size_t room;	  /* bytes of a frame that the segments can hold */
	unsigned nr;	  /* of segments */
	struct iovec iov[LINK_IOV]; /* the first is of head; the link may change them */
};

/* One destination of a frame. */
struct link_send {
	struct op op;
	struct link_out *out;
	bool is_under_way;
};

/* A frame to be sent, to one or, by a peer link, to several. */
struct link_out {
	struct link *link;
	void (*done)(struct link_out *out, int err); /* called once: 0, or -errno: it is lost */
	struct link_out *next;			     /* goes out with it */
	struct link_send sends[PEERS_MAX];
	unsigned nr_sends; /* under way */
	int err;	   /* until one has succeeded */
	struct link_head head, batch_head;
	struct msghdr msg;
	size_t bytes; /* of all segments */
	unsigned nr;
	struct iovec iov[LINK_OUT_IOV];
};

struct link_ops {
	/*
	 * Receives into in->iov; where there is nothing yet, waits or says -EAGAIN. Of a frame with
	 * more than in->room bytes the end goes to in->tail, or, where links have no headers, all
	 * that is behind in->head.
	 */
	void (*receive)(struct link *link, unsigned queue, struct link_in *in, bool is_waiting);
	/* Sends out->iov, now or with flush(); 0, or -errno where that failed at once: done() is
	 * not called then. out->nr_sends is 0, out->next NULL, and out->err is set before. */
	int (*send)(struct link *link, unsigned queue, struct link_out *out);
	/* All of a batch has been sent: what was kept to go out together goes. May be NULL. */
	void (*flush)(struct link *link);
	/* The driver took these features, or none. May be NULL. */
	void (*negotiated)(struct link *link, uint64_t features);
	/* Frames are to come on this many queues. 0 or -errno. NULL: there is one. */
	int (*set_queues)(struct link *link, unsigned nr);
	/* Nothing can be refused any more: what it waits for by itself begins here. May be NULL. */
	void (*listen)(struct link *link);
	void (*close)(struct link *link);
};

struct link {
	const struct link_ops *ops;
	const char *name; /* the interface's, for the log */
	struct loop *loop;
	uint64_t features;  /* offloads that it can do, as a device offers them */
	unsigned nr_queues; /* pairs, 1 to LINK_QUEUES */
	unsigned burst_max; /* receive() may be called so often before done() is */
	uint32_t frame_max; /* bytes of a frame that is not to be cut into segments */
	uint64_t stall_ns;  /* a frame that cannot go out for so long is given up; 0: never */
	bool has_header;    /* frames come with a struct frame_header */
	bool is_trusted;    /* what it says there is the kernel's word */
	bool is_up;	    /* else receive() is not to be called */
	/* is_up is another: the link is lost, or back. */
	void (*changed)(void *owner);
	void *owner;
	/* Frames of one batch go out in order: each waits for the one before. */
	struct io_uring_sqe *last;
};

/* The operation for one more destination of `out`, which link_sent() ends. */
static inline struct op *link_sending(struct link_out *out, unsigned which,
				      void (*done)(struct op *op, int res))
{
	struct link_send *send = &out->sends[which];

	*send = (struct link_send){ .op.done = done, .out = out, .is_under_way = true };
	out->nr_sends++;
	return &send->op;
}

/*
 * One destination is done with, well or not; with the last one the frame is, and what went with it.
 */
static inline void link_sent(struct link_send *send, int err)
{
	struct link_out *out = send->out;

	send->is_under_way = false;
	if (!err || out->err)
		out->err = err;
	if (--out->nr_sends > 0)
		return;
	err = out->err;
	while (out) { /* the last done() may begin the next batch */
		struct link_out *next = out->next;

		out->done(out, err);
		out = next;
	}
}

/*
 * Puts `sqe` behind the one before it in its batch, whose flag IOSQE_IO_LINK or IOSQE_IO_HARDLINK
 * becomes; link->last is NULL where a batch begins. A batch to so many peers that the ring has no
 * room for all of it (16 frames to 17 that are all wanted everywhere) is two chains side by side:
 * then frames may overtake each other, as on any wire.
 */
static inline void link_in_order(struct link *link, struct io_uring_sqe *sqe, uint8_t flag)
{
	if (link->last)
		link->last->flags |= flag;
	link->last = sqe;
}

#endif
