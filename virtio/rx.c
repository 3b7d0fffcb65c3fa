// SPDX-License-Identifier: Apache-2.0
/*
 * Receiving: rx_run() points a burst of reads at the guest's buffers, the link fills them,
 * deliver() publishes, in the order in which they came; what cannot go to the guest as it came is
 * copied to a parcel and handed out frame by frame. Section numbers are virtio 1.2's. The other
 * direction: tx.c.
 */
#include "rx.h"

#include <errno.h>
#include <string.h>

#define RETRY_NS   100000000u
#define WAITS_MOST 10u /* retries that a frame has until the driver gives more room */

static bool is_going(const struct net_pair *p)
{
	const struct net *n = p->net;

	return n->dev.is_running && !n->dev.is_broken && p->index < n->nr_active;
}

static void on_received(struct link_in *link_in, int res);

static struct iovec *segments(struct net_pair *p, uint16_t head)
{
	struct net_buffer *b = &p->buffers[head];

	return b->nr == 1 ? &b->one : &p->many[(size_t)head * QUEUE_MAX];
}

/* One more buffer among the spare ones. 5.1.6.3.1: it has room for the header at least. */
static bool pop_buffer(struct net_pair *p)
{
	struct net *n = p->net;
	struct queue_chain *c = &n->chain;
	struct net_buffer *b;

	if (!virtio_pop(&n->dev, 2 * p->index, c))
		return false;
	if (c->writable < (n->dev.features & NET_F_MRG_RXBUF ? FRAME_HEADER : FRAME_HEAD)) {
		virtio_break(&n->dev, "a receive buffer with no room for a header");
		return false;
	}
	b = &p->buffers[c->head];
	b->len = c->writable;
	b->nr = (uint16_t)c->nr_writable;
	memcpy(segments(p, c->head), c->iov + c->nr_readable, b->nr * sizeof(struct iovec));
	p->spare[p->nr_spare++] = c->head;
	return true;
}

static void give_back(struct net_pair *p, struct net_in *in)
{
	while (in->nr_heads > 0)
		p->spare[p->nr_spare++] = in->heads[--in->nr_heads];
}

/* The bytes that a frame with its header may have. */
static uint32_t frame_room(const struct net *n)
{
	const bool is_cut = n->dev.features & NET_F_GUEST_GSO; /* by the guest */

	return FRAME_HEADER + (is_cut && n->link->has_header ? FRAME_MAX : n->link->frame_max);
}

/* Adds spare buffers, behind a place for the head, until there is `room`; one only where the driver
 * merges none. */
static void gather(struct net_pair *p, struct net_in *in, uint32_t room)
{
	const unsigned most = p->net->dev.features & NET_F_MRG_RXBUF ? QUEUE_MAX : 1;
	struct link_in *l = &in->link;

	l->nr = 1;
	l->room = 0;
	in->nr_heads = 0;
	while (l->room < room && in->nr_heads < most && (p->nr_spare > 0 || pop_buffer(p))) {
		const uint16_t head = p->spare[p->nr_spare - 1];
		const struct net_buffer *b = &p->buffers[head];

		if (l->nr + b->nr >= LINK_IOV) /* one is kept for the link's own use */
			break;
		p->nr_spare--;
		in->heads[in->nr_heads++] = head;
		if (b->nr == 1)
			l->iov[l->nr] = b->one;
		else
			memcpy(l->iov + l->nr, segments(p, head), b->nr * sizeof(struct iovec));
		l->nr += b->nr;
		l->room += b->len;
	}
}

/* Whether gathering again may find more; else the driver says when there is. Where one is left that
 * did not go with the others, it does not lack buffers; where all that a queue can hold are here,
 * an index that promises more is a lie, and would be for ever. */
static bool can_have_more(struct net_pair *p, const struct net_in *in)
{
	struct net *n = p->net;

	return in->nr_heads < QUEUE_MAX && p->nr_spare == 0 && !n->dev.is_broken &&
	       queue_enable_notifications(&n->dev.queues[2 * p->index]);
}

/* The monitor's own memory comes first, instead of the buffers' first bytes. */
static void put_head_first(struct net *n, struct net_in *in)
{
	struct link_in *l = &in->link;

	l->head.header = (struct frame_header){ 0 };
	l->nr = 1 + frame_split(l->iov + 1, l->nr - 1, FRAME_HEAD, in->front, &in->nr_front);
	l->iov[0] = (struct iovec){ &l->head, FRAME_HEAD };
	l->room -= FRAME_HEADER;
	if (!n->link->has_header)
		l->iov[0] = (struct iovec){ l->head.eth, FRAME_ETH };
}

/*
 * Readies one read. With more than one under way each has room for any frame, or is not there. A
 * first one that waits with less is better than none: it may be all that the driver ever gives, and
 * a frame that is larger goes by the parcel.
 */
static bool ready_in(struct net_pair *p, struct net_in *in, bool is_first)
{
	struct net *n = p->net;
	const bool merges = n->dev.features & NET_F_MRG_RXBUF;
	const uint32_t room = frame_room(n);

	do {
		give_back(p, in);
		gather(p, in, room);
	} while (is_first && in->link.room < FRAME_HEAD && can_have_more(p, in));
	if (n->dev.is_broken || in->link.room < FRAME_HEAD ||
	    (!is_first && merges && in->link.room < room)) {
		give_back(p, in);
		return false;
	}
	in->link.link = n->link;
	in->link.done = on_received;
	in->link.is_batch = in->link.is_unwanted = false;
	in->link.tail = p->tails + (size_t)(in - p->in) * PARCEL_MAX;
	put_head_first(n, in);
	return true;
}

void rx_run(struct net_pair *p)
{
	struct net *n = p->net;
	struct queue *q = &n->dev.queues[2 * p->index];
	unsigned nr = 0;

	if (!is_going(p) || p->nr_reading > 0 || p->ready || p->is_failing || !n->link->is_up)
		return;
	queue_disable_notifications(q);
	while (nr < p->burst && ready_in(p, &p->in[nr], nr == 0))
		p->in[nr++].pair = p;
	if (nr == 0)
		n->counters.no_rx_avail_buffer++;
	p->nr_read = 0;
	p->nr_reading = nr;
	n->nr_in_flight += nr;
	/* The first waits for a frame; the others look whether there are more. */
	for (unsigned i = 0; i < nr; i++)
		n->link->ops->receive(n->link, p->index, &p->in[i].link, i == 0);
}

/* How many of its buffers `len` bytes take. One may have 4 GiB less a byte: their sum is wider. */
static unsigned count_buffers(const struct net_pair *p, const struct net_in *in, uint32_t len)
{
	unsigned nr = 0;

	for (uint64_t room = 0; room < len; nr++)
		room += p->buffers[in->heads[nr]].len;
	return nr;
}

/* The first `nr` buffers hold a frame, with its header `left` bytes. */
static void publish(struct net_pair *p, struct net_in *in, unsigned nr, uint32_t left)
{
	struct net *n = p->net;
	struct queue *q = &n->dev.queues[2 * p->index];

	n->counters.rx_count++;
	n->counters.rx_packets_count++;
	n->counters.rx_bytes_count += left - FRAME_HEADER;
	for (unsigned i = 0; i < nr; i++) {
		const uint32_t room = p->buffers[in->heads[i]].len;
		const uint32_t used = left < room ? left : room;

		queue_put(q, in->heads[i], used);
		left -= used;
	}
	queue_publish(q); /* the driver sees all of a frame or nothing */
	virtio_notify(&n->dev, 2 * p->index);
	memmove(in->heads, in->heads + nr, (in->nr_heads - nr) * sizeof(in->heads[0]));
	in->nr_heads -= nr;
}

static bool is_in_time(struct net *n, uint32_t len)
{
	const uint64_t wait = limit_is_off(&n->rx_limit)
				      ? 0
				      : limit_take(&n->rx_limit, len, loop_now_ns(CLOCK_MONOTONIC));

	if (wait == 0)
		return true;
	n->counters.rx_rate_limiter_throttled++;
	net_set_timer(n, &n->rx_timer, wait);
	return false;
}

/* Guest memory holds the frame but for what `front` is for. Whether it was allowed. */
static bool hand_over(struct net_pair *p, struct net_in *in)
{
	struct link_in *l = &in->link;
	const unsigned nr = count_buffers(p, in, FRAME_HEADER + in->len);
	uint8_t head[FRAME_HEAD];

	if (!is_in_time(p->net, in->len))
		return false;
	l->head.header.num_buffers = (uint16_t)nr; /* 5.1.6.4.1: 1 where none are merged */
	memcpy(head, &l->head.header, FRAME_HEADER);
	memcpy(head + FRAME_HEADER, l->head.eth, FRAME_ETH);
	frame_put(in->front, in->nr_front, head, FRAME_HEAD);
	publish(p, in, nr, FRAME_HEADER + in->len);
	return true;
}

/* Of what comes, uncut, from a link that may carry more than the driver was told (5.1.4.1). */
static bool is_beyond_mtu(const struct net *n, const struct frame_header *h, uint32_t len)
{
	return n->dev.features & NET_F_MTU && !h->gso_type &&
	       len > n->config->mtu + FRAME_ETH + FRAME_TAG;
}

static void count_bad(struct net *n)
{
	n->counters.rx_fails++;
	n->counters.rx_bad_frames++;
}

static void count_long(struct net *n)
{
	n->counters.rx_fails++;
	n->counters.rx_long_frames++;
}

static bool is_late(const struct net_pair *p)
{
	return p->nr_waits > WAITS_MOST;
}

/*
 * Buffers for a frame of a parcel. Where there are none, the driver is to say when there are; where
 * they are too small, it has a second to give more, and then it is_late().
 */
static bool has_room(struct net_pair *p, struct net_in *in, uint32_t len)
{
	struct net *n = p->net;
	const bool merges = n->dev.features & NET_F_MRG_RXBUF;
	const unsigned most = merges ? n->dev.queues[2 * p->index].size : 1;

	do {
		give_back(p, in);
		gather(p, in, len);
		if (in->link.room >= len)
			return true;
		if (in->nr_heads >= most) /* that is all there will be */
			p->nr_waits = WAITS_MOST + 1;
	} while (!is_late(p) && can_have_more(p, in));
	if (in->nr_heads == 0) {
		n->counters.no_rx_avail_buffer++;
	} else if (!is_late(p)) {
		p->nr_waits += p->nr_waits == 0;
		net_set_timer(n, &n->retry_timer, RETRY_NS);
	}
	return false;
}

/* Whether this frame of the parcel is done with: the guest has it, or nobody. */
static bool pass_on(struct net_pair *p, struct net_in *in, struct frame_header *h, uint8_t *frame,
		    uint32_t len)
{
	struct net *n = p->net;
	const int got = frame_check(h, frame, len, n->dev.features, n->link->is_trusted);
	unsigned nr;

	if (got < 0) {
		count_bad(n);
		return true;
	}
	if (is_beyond_mtu(n, h, len)) {
		count_long(n);
		return true;
	}
	if (!has_room(p, in, FRAME_HEADER + len)) {
		const bool is_long = in->nr_heads > 0 && is_late(p);

		give_back(p, in);
		if (is_long)
			count_long(n);
		return is_long;
	}
	if (!is_in_time(n, len)) {
		give_back(p, in);
		return false;
	}
	if (got == FRAME_CHECKSUM)
		frame_make_checksum(h, &(struct iovec){ frame, len }, 1, 0, len);
	nr = count_buffers(p, in, FRAME_HEADER + len);
	h->num_buffers = (uint16_t)nr;
	memcpy(frame - FRAME_HEADER, h, FRAME_HEADER);
	frame_put(in->link.iov + 1, in->link.nr - 1, frame - FRAME_HEADER, FRAME_HEADER + len);
	publish(p, in, nr, FRAME_HEADER + len);
	return true;
}

/* Its buffers are free then for what is in it. 0 or -EPROTO. */
static int open_parcel(struct net_pair *p, struct net_in *in)
{
	struct link_in *l = &in->link;
	const unsigned before = l->is_batch ? 1 : 0;
	const uint32_t len = l->is_batch ? in->len - FRAME_ETH : FRAME_HEADER + in->len;

	if (!p->net->link->has_header) { /* it lies in two pieces */
		l->iov[0] = (struct iovec){ &l->head, FRAME_HEAD };
		l->iov[1] = (struct iovec){ l->tail, PARCEL_MAX };
		l->nr = 1;
	}
	frame_get(l->iov + before, l->nr + 1 - before, p->parcel->bytes, len);
	give_back(p, in);
	return l->is_batch ? parcel_open_batch(p->parcel, len)
			   : parcel_open_frame(p->parcel, len, in->is_to_be_cut);
}

/* Whether all that is in it has been handed out. */
static bool hand_out(struct net_pair *p, struct net_in *in)
{
	struct frame_header h;
	uint8_t *frame;
	uint32_t len;

	if (!p->is_open && open_parcel(p, in)) {
		count_bad(p->net);
		return true;
	}
	p->is_open = true;
	while ((frame = parcel_next(p->parcel, &h, &len))) {
		if (!pass_on(p, in, &h, frame, len))
			return false;
		p->nr_waits = 0;
		give_back(p, in);
		parcel_pass(p->parcel);
	}
	p->is_open = false;
	return true;
}

/* In the order in which they came, as far as the rate limit, and buffers, let them. */
static void deliver(struct net_pair *p)
{
	while (p->ready && is_going(p)) {
		struct net_in *in = p->ready;

		if (!(in->is_parcel ? hand_out(p, in) : hand_over(p, in)))
			return;
		p->ready = in->next;
		give_back(p, in);
	}
}

/*
 * 0: the guest is to have it. A batch has its frames looked at one by one; the driver's checksum is
 * made where it makes none, and what it does not take, or has no room for, goes by the parcel.
 */
static int examine(struct net_pair *p, struct net_in *in)
{
	struct net *n = p->net;
	struct link_in *l = &in->link;
	struct frame_header *h = &l->head.header;
	int got;

	in->is_parcel = l->is_batch;
	if (l->is_batch)
		return 0;
	if (in->len < FRAME_ETH)
		return -EPROTO;
	got = frame_check(h, l->head.eth, in->len, n->dev.features, n->link->is_trusted);
	in->is_to_be_cut = got == -EOPNOTSUPP;
	if (got < 0 && !in->is_to_be_cut)
		return -EPROTO;
	if (is_beyond_mtu(n, h, in->len))
		return -EMSGSIZE;
	in->is_parcel = in->is_to_be_cut || in->len > l->room;
	if (!in->is_parcel && got == FRAME_CHECKSUM) /* behind header and Ethernet header */
		frame_make_checksum(h, l->iov + 1, l->nr - 1, FRAME_ETH, in->len);
	return 0;
}

static void append_ready(struct net_pair *p, struct net_in *in)
{
	struct net_in **last = &p->ready;

	while (*last)
		last = &(*last)->next;
	in->next = NULL;
	*last = in;
}

/* What was read goes nowhere, and why is counted. */
static void drop_in(struct net_pair *p, struct net_in *in, int res)
{
	struct net *n = p->net;

	give_back(p, in);
	if (res == -EAGAIN || res == -ECANCELED)
		return;
	if (res == -ENOTCONN) /* a link that is down says when it is up */
		return;
	n->counters.rx_fails++;
	if (res == -EMSGSIZE) {
		n->counters.rx_long_frames++;
	} else if (res == -EPROTO) {
		n->counters.rx_bad_frames++;
	} else {
		n->counters.tap_read_fails++;
		p->is_failing = true;
		net_set_timer(n, &n->retry_timer, RETRY_NS);
	}
}

/* A burst is over: the next is larger where all of it found frames. */
static void end_burst(struct net_pair *p)
{
	const unsigned most = p->net->link->burst_max;

	if (p->nr_read >= p->burst)
		p->burst = p->burst * 2 < most ? p->burst * 2 : most;
	else
		p->burst = p->nr_read > 1 ? p->nr_read : 1;
	rx_run(p);
}

static void on_received(struct link_in *link_in, int res)
{
	struct net_in *in = container_of(link_in, struct net_in, link);
	struct net_pair *p = in->pair;
	struct net *n = p->net;
	int err;

	p->nr_reading--;
	if (n->is_stopping || !is_going(p)) {
		n->counters.rx_fails += res > 0 && n->dev.is_landing;
		give_back(p, in);
		net_landed(n);
		return;
	}
	n->nr_in_flight--;
	n->counters.rx_tap_event_count++;
	in->len = res > 0 ? (uint32_t)res : 0;
	if (res >= 0)
		p->nr_read++;
	err = res < 0 ? res : examine(p, in);
	if (err)
		drop_in(p, in, err);
	else
		append_ready(p, in);
	deliver(p);
	if (p->nr_reading == 0)
		end_burst(p);
}

void rx_kick(struct net_pair *p)
{
	struct net *n = p->net;

	n->counters.rx_queue_event_count++;
	deliver(p);
	rx_run(p);
}

void rx_cancel(struct net_pair *p)
{
	for (unsigned i = 0; i < LINK_BURST && p->nr_reading > 0; i++) {
		p->in[i].link.is_unwanted = true;
		loop_cancel(p->net->dev.loop, &p->in[i].link.op);
	}
}

/* What has waited goes on, and what was out of use or failed begins anew. */
void rx_run_all(struct net *n)
{
	for (unsigned i = 0; i < n->nr_active && n->dev.is_running; i++) {
		struct net_pair *p = &n->pairs[(n->rx_first + i) % n->nr_active];

		p->is_failing = false;
		deliver(p);
		rx_run(p);
	}
}

static void on_rx_timer(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, rx_timer.op);

	(void)res; /* -ETIME */
	n->rx_timer.is_set = false;
	n->counters.rx_event_rate_limiter_count++;
	n->rx_first++;
	rx_run_all(n);
}

static void on_retry(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, retry_timer.op);

	(void)res; /* -ETIME */
	n->retry_timer.is_set = false;
	for (unsigned i = 0; i < n->nr_active; i++)
		n->pairs[i].nr_waits += n->pairs[i].nr_waits > 0;
	rx_run_all(n);
}

void rx_start(struct net_pair *p)
{
	for (; p->ready; p->ready = p->ready->next) {
		p->net->counters.rx_fails += p->net->dev.is_resting;
		p->ready->nr_heads = 0; /* they were the driver's before */
	}
	p->nr_spare = p->nr_waits = 0;
	p->is_failing = p->is_open = false;
}

void rx_init(struct net *n)
{
	n->rx_timer.op.done = on_rx_timer;
	n->retry_timer.op.done = on_retry;
}
