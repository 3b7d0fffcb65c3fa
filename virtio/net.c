// SPDX-License-Identifier: Apache-2.0
/*
 * The network device. Receiving: run_in() points a burst of reads at the guest's buffers, the link
 * fills them, deliver() checks and publishes. Sending: run_out() takes a batch of chains, the link
 * sends them, on_sent() gives them back. Every chain is given back once, or forgotten by a reset;
 * frames that cannot be moved are dropped and counted. Section numbers are virtio 1.2's.
 */
#include "net.h"
#include "../vmm/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* 5.1.4 */
struct config {
	uint8_t mac[6];
	uint16_t status, max_virtqueue_pairs, mtu;
};
_Static_assert(sizeof(struct config) == 12, "5.1.4");

/* 5.1.6.5 */
enum { CTRL_OK, CTRL_ERR };
enum { CTRL_MQ = 4, CTRL_MQ_VQ_PAIRS_SET = 0 };

#define HEADER	 ((uint32_t)sizeof(struct frame_header))
#define HEAD	 (HEADER + FRAME_ETH) /* what passes through the monitor's memory */
#define RETRY_NS 100000000u
#define NEXT_NS	 1000000u /* the rest of a batch that is stuck gets that long each */

static void set_timer(struct net *n, struct net_timer *timer, uint64_t ns)
{
	if (timer->is_set)
		return;
	timer->is_set = true;
	loop_timeout_ns(n->dev.loop, &timer->op, &timer->ts, ns);
}

static void landed(struct net *n)
{
	if (--n->nr_in_flight > 0 || !n->is_stopping)
		return;
	n->is_stopping = false;
	virtio_reset_done(&n->dev);
}

static bool is_going(const struct net_pair *p)
{
	const struct net *n = p->net;

	return n->dev.is_running && !n->dev.is_broken && p->index < n->nr_active;
}

/* Receiving. */

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
	if (c->writable < (n->dev.features & NET_F_MRG_RXBUF ? HEADER : HEAD)) {
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

	return HEADER + (is_cut && n->link->has_header ? FRAME_MAX : n->link->frame_max);
}

/* Adds spare buffers, behind LINK_HEAD places, until there is `room`; one only where the driver
 * merges none. */
static void gather(struct net_pair *p, struct net_in *in, uint32_t room)
{
	const unsigned most = p->net->dev.features & NET_F_MRG_RXBUF ? QUEUE_MAX : 1;
	struct link_in *l = &in->link;

	l->nr = LINK_HEAD;
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

/* The monitor's own memory comes first, instead of the buffers' first bytes. */
static void put_head_first(struct net *n, struct net_in *in)
{
	struct link_in *l = &in->link;

	l->head.header = (struct frame_header){ 0 };
	l->nr = LINK_HEAD +
		frame_split(l->iov + LINK_HEAD, l->nr - LINK_HEAD, HEAD, in->front, &in->nr_front);
	l->iov[0] = (struct iovec){ &l->head.header, HEADER };
	l->iov[1] = (struct iovec){ l->head.eth, FRAME_ETH };
	if (n->link->has_header)
		return;
	l->room -= HEADER;
	l->nr--;
	memmove(l->iov, l->iov + 1, l->nr * sizeof(*l->iov));
}

/*
 * Readies one read. With more than one under way each has room for any frame, or is not there. A
 * first one that waits with less is better than none: it may be all that the driver ever gives
 * (is_short, and the driver is to say when there is more).
 */
static bool ready_in(struct net_pair *p, struct net_in *in, bool is_first)
{
	struct net *n = p->net;
	struct queue *q = &n->dev.queues[2 * p->index];
	const bool merges = n->dev.features & NET_F_MRG_RXBUF;
	const uint32_t room = frame_room(n);

	do {
		give_back(p, in);
		gather(p, in, room);
		if (in->link.room >= room || (!merges && in->nr_heads > 0))
			break;
	} while (is_first && !n->dev.is_broken && queue_enable_notifications(q));
	if (n->dev.is_broken || in->link.room < HEAD ||
	    (!is_first && merges && in->link.room < room)) {
		give_back(p, in);
		return false;
	}
	p->is_short |= is_first && merges && in->link.room < room;
	in->link.link = n->link;
	in->link.done = on_received;
	put_head_first(n, in);
	return true;
}

static void run_in(struct net_pair *p)
{
	struct net *n = p->net;
	struct queue *q = &n->dev.queues[2 * p->index];
	unsigned nr = 0;

	if (!is_going(p) || p->nr_reading > 0 || p->ready || p->is_failing || !n->link->is_up)
		return;
	p->is_short = false;
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

/* Guest memory holds the frame but for what `front` is for. */
static void publish(struct net_pair *p, struct net_in *in)
{
	struct net *n = p->net;
	struct queue *q = &n->dev.queues[2 * p->index];
	struct link_in *l = &in->link;
	uint32_t left = HEADER + in->len;
	unsigned nr = 0;
	uint8_t head[HEAD];

	for (uint32_t room = 0; room < left; nr++)
		room += p->buffers[in->heads[nr]].len;
	l->head.header.num_buffers = (uint16_t)nr; /* 5.1.6.4.1: 1 where none are merged */
	memcpy(head, &l->head.header, HEADER);
	memcpy(head + HEADER, l->head.eth, FRAME_ETH);
	frame_put(in->front, in->nr_front, head, HEAD);
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
	n->counters.rx_count++;
	n->counters.rx_packets_count++;
	n->counters.rx_bytes_count += in->len;
}

/* Whether the frame may be shown to the guest; its checksum is made where the driver wants that. */
static bool is_presentable(struct net_pair *p, struct net_in *in)
{
	struct net *n = p->net;
	struct link_in *l = &in->link;
	struct frame_header *h = &l->head.header;
	int got;

	if (in->len < FRAME_ETH)
		return false;
	got = frame_check(h, l->head.eth, in->len, n->dev.features, n->link->is_trusted);
	if (got < 0)
		return false;
	if (got == FRAME_CHECKSUM) { /* iov[0] and [1] are header and Ethernet header */
		frame_checksum(l->iov + 2, l->nr - 2, h->csum_start - FRAME_ETH,
			       in->len - h->csum_start, h->csum_offset);
		h->flags = 0;
		h->csum_start = h->csum_offset = 0;
	}
	return true;
}

/* In the order in which they came, as far as the rate limit lets them. */
static void deliver(struct net_pair *p)
{
	struct net *n = p->net;

	while (p->ready) {
		struct net_in *in = p->ready;
		const uint64_t wait =
			limit_is_off(&n->rx_limit)
				? 0
				: limit_take(&n->rx_limit, in->len, loop_now_ns(CLOCK_MONOTONIC));

		if (wait > 0) {
			n->counters.rx_rate_limiter_throttled++;
			set_timer(n, &n->rx_timer, wait);
			return;
		}
		p->ready = in->next;
		publish(p, in);
		give_back(p, in);
	}
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
	n->counters.rx_fails++;
	if (res == -EMSGSIZE) {
		n->counters.rx_long_frames++;
	} else if (res >= 0 || res == -EPROTO) {
		n->counters.rx_bad_frames++;
	} else if (res != -ENOTCONN) { /* a link that is down says when it is up */
		n->counters.tap_read_fails++;
		p->is_failing = true;
		set_timer(n, &n->retry_timer, RETRY_NS);
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
	run_in(p);
}

static void on_received(struct link_in *link_in, int res)
{
	struct net_in *in = container_of(link_in, struct net_in, link);
	struct net_pair *p = in->pair;
	struct net *n = p->net;

	p->nr_reading--;
	if (n->is_stopping || !is_going(p)) {
		give_back(p, in);
		landed(n);
		return;
	}
	n->nr_in_flight--;
	n->counters.rx_tap_event_count++;
	in->len = res > 0 ? (uint32_t)res : 0;
	if (res >= 0)
		p->nr_read++;
	if (res >= 0 && is_presentable(p, in))
		append_ready(p, in);
	else
		drop_in(p, in, res);
	deliver(p);
	if (p->nr_reading == 0)
		end_burst(p);
}

/* There are buffers: perhaps the read that waits can have more of them. */
static void kick_in(struct net_pair *p)
{
	struct net *n = p->net;

	n->counters.rx_queue_event_count++;
	if (p->is_short && p->nr_reading == 1) {
		p->is_short = false;
		loop_cancel(n->dev.loop, &p->in[0].link.op);
	}
	run_in(p);
}

/* Sending. */

static void on_sent(struct link_out *link_out, int err);

static void give_out_back(struct net_pair *p, const struct net_out *out)
{
	virtio_push(&p->net->dev, 2 * p->index + 1, out->head, 0);
	virtio_notify(&p->net->dev, 2 * p->index + 1);
}

static bool is_spoofed(const struct net *n, const uint8_t *source)
{
	return n->config->has_mac && memcmp(source, n->config->mac, 6) != 0;
}

/* Fills `out` from the chain just popped. Whether it is a frame that may go. */
static bool take_chain(struct net_pair *p, struct net_out *out)
{
	struct net *n = p->net;
	struct queue_chain *c = &n->chain;
	struct link_out *l = &out->link;
	struct iovec front[HEAD];
	uint8_t head[HEAD];
	unsigned nr_front, nr;

	out->pair = p;
	out->head = c->head;
	l->link = n->link;
	l->done = on_sent;
	if (c->readable < HEAD || c->readable - HEADER > FRAME_MAX) {
		n->counters.tx_malformed_frames++;
		return false;
	}
	out->len = c->readable - HEADER;
	nr = frame_split(c->iov, c->nr_readable, HEAD, front, &nr_front);
	frame_get(front, nr_front, head, HEAD);
	memcpy(&l->head.header, head, HEADER);
	memcpy(l->head.eth, head + HEADER, FRAME_ETH);
	if (is_spoofed(n, l->head.eth + 6)) {
		n->counters.tx_spoofed_mac_count++;
		if (n->config->is_spoof_refused)
			return false;
	}
	l->iov[0] = n->link->has_header ? (struct iovec){ &l->head.header, HEADER }
					: (struct iovec){ &l->head.length, sizeof(l->head.length) };
	l->iov[1] = (struct iovec){ l->head.eth, FRAME_ETH };
	memcpy(l->iov + LINK_HEAD, c->iov, nr * sizeof(*c->iov));
	l->nr = LINK_HEAD + nr;
	l->bytes = l->iov[0].iov_len + out->len;
	l->nr_sends = 0;
	l->err = -ENOTCONN;
	return true;
}

/* The next frame to send, or NULL; what is no frame costs the batch as much as one. */
static struct net_out *next_out(struct net_pair *p, unsigned *budget)
{
	struct net *n = p->net;

	while (*budget > 0 && virtio_pop(&n->dev, 2 * p->index + 1, &n->chain)) {
		struct net_out *out = &p->out[p->next_out];

		--*budget;
		if (take_chain(p, out)) {
			p->next_out = (p->next_out + 1) % LINK_BURST;
			return out;
		}
		n->counters.tx_fails++;
		give_out_back(p, out);
	}
	return NULL;
}

static void lose_out(struct net_pair *p, struct net_out *out)
{
	p->net->counters.tx_fails++;
	p->net->counters.tap_write_fails++;
	give_out_back(p, out);
}

/* Whether the frame may go now; else it is held, and the timer set. */
static bool is_allowed(struct net_pair *p, struct net_out *out)
{
	struct net *n = p->net;
	const uint64_t wait = limit_is_off(&n->tx_limit) ? 0
							 : limit_take(&n->tx_limit, out->len,
								      loop_now_ns(CLOCK_MONOTONIC));

	if (wait == 0)
		return true;
	n->counters.tx_rate_limiter_throttled++;
	p->held = out;
	set_timer(n, &n->tx_timer, wait);
	return false;
}

static void send_out(struct net_pair *p, struct net_out *out)
{
	struct net *n = p->net;

	out->begun_ns = loop_now_ns(CLOCK_MONOTONIC);
	if (n->link->ops->send(n->link, p->index, &out->link)) {
		lose_out(p, out);
		return;
	}
	p->nr_sending++;
	n->nr_in_flight++;
}

/* As many as the batch holds: the held one, and those that the ring of outs has room for. */
static void send_batch(struct net_pair *p)
{
	struct net *n = p->net;
	unsigned budget = LINK_BURST - 1;

	if (!p->held)
		p->next_out = 0; /* few frames make use of few pages */
	n->link->last = NULL;
	for (;;) {
		struct net_out *out = p->held ? p->held : next_out(p, &budget);

		p->held = NULL;
		if (!out || !is_allowed(p, out))
			break;
		send_out(p, out);
	}
	n->link->last = NULL;
	n->batches++;
	if (p->nr_sending > 0 && n->link->stall_ns) {
		if (!n->stall_timer.is_set)
			n->stall_batch = n->batches;
		set_timer(n, &n->stall_timer, n->link->stall_ns);
	}
}

/* Goes on until the queue is empty, batch by batch; each in a turn of its own. */
static void run_out(struct net_pair *p)
{
	struct net *n = p->net;
	struct queue *q = &n->dev.queues[2 * p->index + 1];

	if (!n->dev.is_running || n->dev.is_broken || p->nr_sending > 0 ||
	    (p->held && n->tx_timer.is_set))
		return;
	queue_disable_notifications(q);
	send_batch(p);
	if (p->nr_sending > 0 || p->held || n->dev.is_broken)
		return;
	if (queue_enable_notifications(q))
		virtio_kick_again(&n->dev, 2 * p->index + 1);
}

static void on_sent(struct link_out *link_out, int err)
{
	struct net_out *out = container_of(link_out, struct net_out, link);
	struct net_pair *p = out->pair;
	struct net *n = p->net;

	p->nr_sending--;
	if (n->is_stopping) {
		landed(n);
		return;
	}
	n->nr_in_flight--;
	if (err) {
		lose_out(p, out);
	} else {
		n->counters.tx_count++;
		n->counters.tx_packets_count++;
		n->counters.tx_bytes_count += out->len;
		latency_add(&n->counters.tap_write,
			    (loop_now_ns(CLOCK_MONOTONIC) - out->begun_ns) / 1000);
		give_out_back(p, out);
	}
	if (p->nr_sending == 0)
		run_out(p);
}

static void cancel_out(struct net_pair *p)
{
	for (unsigned i = 0; i < LINK_BURST; i++) {
		struct link_out *l = &p->out[i].link;

		for (unsigned j = 0; j < PEERS_MAX && l->nr_sends > 0; j++)
			if (l->sends[j].is_under_way)
				loop_cancel(p->net->dev.loop, &l->sends[j].op);
	}
}

/* A batch that the timer finds again is stuck. */
static void on_stall(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, stall_timer.op);
	const bool is_stuck = n->stall_batch == n->batches;

	(void)res; /* -ETIME */
	n->stall_timer.is_set = false;
	if (!n->dev.is_running || n->pairs[0].nr_sending == 0)
		return;
	if (is_stuck)
		cancel_out(&n->pairs[0]);
	n->stall_batch = n->batches;
	set_timer(n, &n->stall_timer, is_stuck ? NEXT_NS : n->link->stall_ns);
}

/* The control queue: how many pairs are in use. */

static int set_pairs(struct net *n, unsigned nr)
{
	if (!(n->dev.features & NET_F_MQ) || nr < 1 || nr > n->link->nr_queues ||
	    n->link->ops->set_queues(n->link, nr))
		return CTRL_ERR;
	n->nr_active = nr;
	for (unsigned i = 0; i < nr; i++)
		run_in(&n->pairs[i]);
	return CTRL_OK;
}

/* 5.1.6.5.6.1: class, command, and the number of pairs. What else there may be we did not offer. */
static int obey(struct net *n, const struct queue_chain *c)
{
	struct {
		uint8_t class, command, pairs[2];
	} order;

	if (c->readable != sizeof(order))
		return CTRL_ERR;
	frame_get(c->iov, c->nr_readable, &order, sizeof(order));
	if (order.class != CTRL_MQ || order.command != CTRL_MQ_VQ_PAIRS_SET)
		return CTRL_ERR;
	return set_pairs(n, order.pairs[0] | (unsigned)order.pairs[1] << 8);
}

static void run_control(struct net *n, unsigned queue)
{
	struct queue_chain *c = &n->chain;
	unsigned budget = QUEUE_MAX;

	while (budget-- > 0 && virtio_pop(&n->dev, queue, c)) {
		const uint16_t head = c->head;
		const struct iovec answer = c->iov[c->nr_readable];
		uint8_t ack;

		if (c->nr_writable == 0) {
			virtio_break(&n->dev, "a command without room for its answer");
			return;
		}
		ack = (uint8_t)obey(n, c); /* may pop others into the same chain */
		frame_put(&answer, 1, &ack, 1);
		virtio_push(&n->dev, queue, head, 1);
		virtio_notify(&n->dev, queue);
	}
	if (queue_enable_notifications(&n->dev.queues[queue]))
		virtio_kick_again(&n->dev, queue);
}

/* 5.1.2: behind the pairs that there are, or behind the first where only that is used. */
static unsigned control_queue(const struct net *n)
{
	return n->dev.features & NET_F_MQ ? 2 * n->link->nr_queues : 2;
}

static void net_kick(struct virtio_device *dev, unsigned queue)
{
	struct net *n = container_of(dev, struct net, dev);

	if (dev->features & NET_F_CTRL_VQ && queue == control_queue(n)) {
		run_control(n, queue);
	} else if (queue / 2 >= n->link->nr_queues) {
		return;
	} else if (queue % 2 == 0) {
		kick_in(&n->pairs[queue / 2]);
	} else {
		n->counters.tx_queue_event_count++;
		run_out(&n->pairs[queue / 2]);
	}
}

static void net_activate(struct virtio_device *dev)
{
	struct net *n = container_of(dev, struct net, dev);

	n->nr_active = 1; /* 5.1.6.5.6.1: until told otherwise */
	for (unsigned i = 0; i < n->link->nr_queues; i++) {
		struct net_pair *p = &n->pairs[i];

		p->ready = NULL;
		p->held = NULL;
		p->nr_spare = 0;
		p->is_failing = false;
	}
	if (n->link->ops->negotiated)
		n->link->ops->negotiated(n->link, dev->features);
}

/* 2.4: stop taking, cancel, wait, forget. One more in flight until all have been told. */
static void net_reset(struct virtio_device *dev)
{
	struct net *n = container_of(dev, struct net, dev);

	n->is_stopping = true;
	n->nr_in_flight++;
	if (n->link->ops->set_queues && n->link->nr_queues > 1)
		n->link->ops->set_queues(n->link, 1);
	for (unsigned i = 0; i < n->link->nr_queues; i++) {
		struct net_pair *p = &n->pairs[i];

		for (unsigned j = 0; j < LINK_BURST && p->nr_reading > 0; j++)
			loop_cancel(dev->loop, &p->in[j].link.op);
		cancel_out(p);
	}
	landed(n);
}

static void on_rx_timer(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, rx_timer.op);

	(void)res; /* -ETIME */
	n->rx_timer.is_set = false;
	n->counters.rx_event_rate_limiter_count++;
	for (unsigned i = 0; i < n->nr_active && n->dev.is_running; i++) {
		deliver(&n->pairs[i]);
		run_in(&n->pairs[i]);
	}
}

static void on_tx_timer(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, tx_timer.op);

	(void)res; /* -ETIME */
	n->tx_timer.is_set = false;
	n->counters.tx_rate_limiter_event_count++;
	for (unsigned i = 0; i < n->link->nr_queues && n->dev.is_running; i++)
		run_out(&n->pairs[i]);
}

static void start_reading(struct net *n)
{
	for (unsigned i = 0; i < n->nr_active; i++) {
		n->pairs[i].is_failing = false;
		run_in(&n->pairs[i]);
	}
}

static void on_retry(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, retry_timer.op);

	(void)res; /* -ETIME */
	n->retry_timer.is_set = false;
	start_reading(n);
}

static const struct virtio_ops ops = {
	.activate = net_activate,
	.kick = net_kick,
	.reset = net_reset,
};

static uint64_t features_of(const struct net *n)
{
	uint64_t features = NET_F_MRG_RXBUF | (n->config->is_plain ? 0 : n->link->features);

	if (n->config->has_mac)
		features |= NET_F_MAC;
	if (n->config->mtu)
		features |= NET_F_MTU;
	if (n->link->nr_queues > 1)
		features |= NET_F_CTRL_VQ | NET_F_MQ;
	return features;
}

static void fill_config(struct net *n)
{
	struct config config = {
		.max_virtqueue_pairs = (uint16_t)n->link->nr_queues,
		.mtu = n->config->mtu,
	};

	memcpy(config.mac, n->config->mac, sizeof(config.mac));
	memcpy(n->dev.config, &config, sizeof(config));
	n->dev.config_size = sizeof(config);
}

/* Touched, and so paid for, only as far as the guest makes use of it. */
static void *reserve(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static bool init_pair(struct net *n, unsigned index)
{
	struct net_pair *p = &n->pairs[index];

	*p = (struct net_pair){
		.net = n,
		.index = index,
		.burst = 1,
		.in = reserve(LINK_BURST * sizeof(*p->in)),
		.out = reserve(LINK_BURST * sizeof(*p->out)),
		.buffers = reserve(QUEUE_MAX * sizeof(*p->buffers)),
		.many = reserve(sizeof(struct iovec) * QUEUE_MAX * QUEUE_MAX),
	};
	return p->in && p->out && p->buffers && p->many;
}

static void on_up(void *net)
{
	start_reading(net);
}

int net_open(struct net *n, const struct net_config *config, unsigned queues)
{
	int err = 0;

	n->config = config;
	switch (config->kind) {
	case NET_TAP:
	case NET_TAP_FD:
		err = tap_open(&n->tap, config, queues);
		n->link = &n->tap.link;
		break;
	case NET_PEER:
		err = peer_open(&n->peer, config);
		n->link = &n->peer.link;
		break;
	case NET_STREAM:
		err = stream_open(&n->stream, config);
		n->link = &n->stream.link;
		break;
	}
	if (err) {
		n->link = NULL;
		return err;
	}
	n->link->up = on_up;
	n->link->owner = n;
	return 0;
}

int net_init(struct net *n, const struct mem *mem)
{
	const unsigned nr = n->link->nr_queues;
	bool has_memory;

	n->pairs = reserve(nr * sizeof(*n->pairs));
	has_memory = n->pairs;
	for (unsigned i = 0; i < nr && has_memory; i++)
		has_memory = init_pair(n, i);
	if (!has_memory)
		return fail(-ENOMEM, "%s: memory for its frames", n->config->id);
	virtio_init(&n->dev, &ops, n->config->id, VIRTIO_ID_NET, features_of(n),
		    nr > 1 ? 2 * nr + 1 : 2, mem);
	fill_config(n);
	limit_init(&n->rx_limit, &n->config->rx, loop_now_ns(CLOCK_MONOTONIC));
	limit_init(&n->tx_limit, &n->config->tx, loop_now_ns(CLOCK_MONOTONIC));
	n->rx_timer.op.done = on_rx_timer;
	n->tx_timer.op.done = on_tx_timer;
	n->retry_timer.op.done = on_retry;
	n->stall_timer.op.done = on_stall;
	return 0;
}

int net_attach(struct net *n, struct loop *loop)
{
	switch (n->config->kind) {
	case NET_TAP:
	case NET_TAP_FD:
		return tap_attach(&n->tap, loop);
	case NET_PEER:
		return peer_attach(&n->peer, loop);
	default:
		return stream_attach(&n->stream, loop);
	}
}

void net_listen(struct net *n)
{
	virtio_listen(&n->dev);
	if (n->link->ops->listen)
		n->link->ops->listen(n->link);
}

void net_update(struct net *n, const struct net_update *u)
{
	limit_set(&n->rx_limit, u->rx_bytes, u->rx_ops, loop_now_ns(CLOCK_MONOTONIC));
	limit_set(&n->tx_limit, u->tx_bytes, u->tx_ops, loop_now_ns(CLOCK_MONOTONIC));
}

void net_count(const struct net *n, struct device_counters *to)
{
	const struct net_counters *c = &n->counters;

	memset(to, 0, sizeof(*to));
	to->counts[NET_NO_RX_AVAIL_BUFFER] = c->no_rx_avail_buffer;
	to->counts[NET_NO_TX_AVAIL_BUFFER] = c->no_tx_avail_buffer;
	to->counts[NET_RX_QUEUE_EVENT_COUNT] = c->rx_queue_event_count;
	to->counts[NET_RX_EVENT_RATE_LIMITER_COUNT] = c->rx_event_rate_limiter_count;
	to->counts[NET_RX_RATE_LIMITER_THROTTLED] = c->rx_rate_limiter_throttled;
	to->counts[NET_RX_TAP_EVENT_COUNT] = c->rx_tap_event_count;
	to->counts[NET_RX_BYTES_COUNT] = c->rx_bytes_count;
	to->counts[NET_RX_PACKETS_COUNT] = c->rx_packets_count;
	to->counts[NET_RX_FAILS] = c->rx_fails;
	to->counts[NET_RX_COUNT] = c->rx_count;
	to->counts[NET_TAP_READ_FAILS] = c->tap_read_fails;
	to->counts[NET_TAP_WRITE_FAILS] = c->tap_write_fails;
	to->counts[NET_TX_BYTES_COUNT] = c->tx_bytes_count;
	to->counts[NET_TX_MALFORMED_FRAMES] = c->tx_malformed_frames;
	to->counts[NET_TX_FAILS] = c->tx_fails;
	to->counts[NET_TX_COUNT] = c->tx_count;
	to->counts[NET_TX_PACKETS_COUNT] = c->tx_packets_count;
	to->counts[NET_TX_QUEUE_EVENT_COUNT] = c->tx_queue_event_count;
	to->counts[NET_TX_RATE_LIMITER_EVENT_COUNT] = c->tx_rate_limiter_event_count;
	to->counts[NET_TX_RATE_LIMITER_THROTTLED] = c->tx_rate_limiter_throttled;
	to->counts[NET_TX_SPOOFED_MAC_COUNT] = c->tx_spoofed_mac_count;
	for (unsigned i = 0; n->link && i < n->link->nr_queues; i++)
		to->queue_depth += n->pairs[i].nr_sending + (n->pairs[i].held ? 1 : 0);
	to->latency[NET_TAP_WRITE] = c->tap_write;
}

void net_close(struct net *n)
{
	if (n->link)
		n->link->ops->close(n->link);
	n->link = NULL;
}
