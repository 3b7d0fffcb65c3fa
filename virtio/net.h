/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2, 5.1): frames between the guest's queues and a link (link.h), one
 * pair of queues or, on a tap made for several, one for each vCPU. Payload goes straight between
 * guest memory and the link's descriptor, but for what comes in a parcel (parcel.h); headers pass
 * through the monitor, which checks them. Nothing is allocated while the guest runs. net_open()
 * comes before anything is created in the kernel, net_init() before the vCPUs, virtio_open() and
 * net_attach() with the loop.
 */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "../api/counters.h"
#include "limit.h"
#include "link.h"
#include "mmio.h"
#include "peer.h"
#include "stream.h"
#include "tap.h"

/* Since the start; names as in the API's metrics where they have one. */
struct net_counters {
	uint64_t rx_queue_event_count, rx_event_rate_limiter_count, rx_rate_limiter_throttled;
	uint64_t rx_bytes_count, rx_packets_count, rx_count, rx_fails;
	uint64_t rx_tap_event_count, no_rx_avail_buffer, tap_read_fails;
	uint64_t tx_queue_event_count, tx_rate_limiter_event_count, tx_rate_limiter_throttled;
	uint64_t tx_bytes_count, tx_packets_count, tx_count, tx_fails;
	uint64_t tx_malformed_frames, tx_spoofed_mac_count, no_tx_avail_buffer, tap_write_fails;
	uint64_t rx_bad_frames;	  /* no frames, or with a header that makes no sense */
	uint64_t rx_long_frames;  /* larger than the guest's buffers */
	struct latency tap_write; /* of frames that went out */
};

/* A popped receive buffer: its writable segments, as the driver laid them out. */
struct net_buffer {
	uint32_t len;
	uint16_t nr;
	struct iovec one; /* where there is just one; else in net_pair.many */
};

struct net_in {
	struct link_in link;
	struct net_pair *pair;
	struct net_in *next; /* of those that are not handed out yet */
	uint32_t len;	     /* bytes behind the header */
	bool is_parcel;	     /* it goes to the guest by net_pair.parcel */
	bool is_to_be_cut;
	unsigned nr_heads, nr_front;
	uint16_t heads[QUEUE_MAX];
	struct iovec front[sizeof(struct frame_header) + FRAME_ETH]; /* where link.head goes */
};

struct net_out {
	struct link_out link;
	struct net_pair *pair;
	uint16_t head;
	uint32_t len; /* the frame's bytes */
	uint64_t begun_ns;
};

struct net_pair {
	struct net *net;
	unsigned index; /* queues 2 * index and 2 * index + 1 */
	/* Receiving, a burst at a time */
	struct net_in *in; /* [LINK_BURST] */
	unsigned burst, nr_reading, nr_read;
	bool is_failing;       /* a read failed: the timer comes before the next */
	struct net_in *ready;  /* received, but not yet handed out, for the limit or for buffers */
	struct parcel *parcel; /* what the first of those was opened to */
	bool is_open;	       /* ...and there is something left in it */
	uint8_t *tails;	       /* [LINK_BURST * PARCEL_MAX] */
	unsigned nr_waits;     /* retry timers that its next frame has waited for room, from 1 */
	struct net_buffer *buffers; /* [QUEUE_MAX], by head */
	struct iovec *many;	    /* [QUEUE_MAX * QUEUE_MAX] */
	uint16_t spare[QUEUE_MAX];  /* heads of buffers that were popped and not used */
	unsigned nr_spare;
	/* Sending, a batch at a time */
	struct net_out *out; /* [LINK_BURST] */
	unsigned next_out, nr_sending;
	struct net_out *held; /* popped, but not yet allowed */
};

struct net_timer {
	struct op op;
	struct __kernel_timespec ts;
	bool is_set;
};

struct net {
	struct virtio_device dev;
	const struct net_config *config;
	struct link *link; /* one of these */
	union {
		struct tap tap;
		struct peer peer;
		struct stream stream;
	};
	struct net_counters counters;
	struct limit rx_limit, tx_limit;
	struct net_timer rx_timer, tx_timer, retry_timer, stall_timer;
	unsigned rx_first, tx_first;   /* the pair that a limit's timer begins with, in turn */
	uint64_t batches, stall_batch; /* sent; the one that the stall timer watches */
	struct net_pair *pairs;	       /* [link->nr_queues] */
	unsigned nr_active;	       /* of those */
	unsigned nr_in_flight;
	bool is_stopping;	  /* a reset waits for those */
	struct queue_chain chain; /* the one just popped */
};

/* Opens the link; `queues` (1 to MAX_VCPUS) at most. 0 or -errno, logged. `config` is borrowed. */
int net_open(struct net *net, const struct net_config *config, unsigned queues);

/* Makes the device. 0 or -errno, logged. */
int net_init(struct net *net, const struct mem *mem);

/* Hands the link's descriptors to the loop that virtio_open() is given. 0 or -errno, logged. */
int net_attach(struct net *net, struct loop *loop);

/* virtio_save() and virtio_load(). */
void net_save(const struct net *net, struct virtio_state *state);
int net_load(struct net *net, const struct virtio_state *state);

/* Begins to hear driver and link. Once nothing can be refused any more. */
void net_listen(struct net *net);

/* While it runs, on the loop's thread: other limits, where they are given. */
void net_update(struct net *net, const struct net_update *update);

/* What was counted since the start, by the metrics' names, and the frames being sent. */
void net_count(const struct net *net, struct device_counters *counters);

/* At the end, when the loop runs no more; not opened: nothing. */
void net_close(struct net *net);

/* For rx.c and tx.c: a timer, unless it is set already; one request less is in flight. */
void net_set_timer(struct net *net, struct net_timer *timer, uint64_t ns);
void net_landed(struct net *net);

#endif
