// SPDX-License-Identifier: Apache-2.0
/*
 * Sending: tx_run() takes a batch of chains, the link sends them, on_sent() gives them back, and
 * the next batch is taken. A frame that cannot go is lost and counted; one that is stuck is given
 * up. Section numbers are virtio 1.2's. The other direction: rx.c.
 */
#include "tx.h"

#include <errno.h>
#include <string.h>

#define NEXT_NS 1000000u /* the rest of a batch that is stuck gets that long each */

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
	struct iovec front[FRAME_HEAD];
	uint8_t head[FRAME_HEAD];
	unsigned nr_front, nr;

	out->pair = p;
	out->head = c->head;
	l->link = n->link;
	l->done = on_sent;
	if (c->readable < FRAME_HEAD || c->readable - FRAME_HEADER > FRAME_MAX) {
		n->counters.tx_malformed_frames++;
		return false;
	}
	out->len = c->readable - FRAME_HEADER;
	nr = frame_split(c->iov, c->nr_readable, FRAME_HEAD, front, &nr_front);
	frame_get(front, nr_front, head, FRAME_HEAD);
	memcpy(&l->head.header, head, FRAME_HEADER);
	memcpy(l->head.eth, head + FRAME_HEADER, FRAME_ETH);
	if (is_spoofed(n, l->head.eth + 6)) {
		n->counters.tx_spoofed_mac_count++;
		if (n->config->is_spoof_refused)
			return false;
	}
	l->iov[0] = n->link->has_header ? (struct iovec){ &l->head, FRAME_HEAD }
					: (struct iovec){ &l->head.length, 4 + FRAME_ETH };
	memcpy(l->iov + 1, c->iov, nr * sizeof(*c->iov));
	l->nr = 1 + nr;
	l->bytes = l->iov[0].iov_len - FRAME_ETH + out->len;
	l->next = NULL;
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

/* How long the frame has to wait, in nanoseconds; where at all, it is held. */
static uint64_t hold(struct net_pair *p, struct net_out *out)
{
	struct net *n = p->net;
	const uint64_t wait = limit_is_off(&n->tx_limit) ? 0
							 : limit_take(&n->tx_limit, out->len,
								      loop_now_ns(CLOCK_MONOTONIC));

	if (wait == 0)
		return 0;
	n->counters.tx_rate_limiter_throttled++;
	p->held = out;
	return wait;
}

static void send_out(struct net_pair *p, struct net_out *out)
{
	struct net *n = p->net;

	out->begun_ns = loop_turn_ns(n->dev.loop);
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
	uint64_t wait = 0;

	if (!p->held)
		p->next_out = 0;	    /* few frames make use of few pages */
	loop_room(n->dev.loop, LINK_BURST); /* a stream's frames must be one chain */
	n->link->last = NULL;
	while (wait == 0) {
		struct net_out *out = p->held ? p->held : next_out(p, &budget);

		p->held = NULL;
		if (!out)
			break;
		wait = hold(p, out);
		if (wait == 0)
			send_out(p, out);
	}
	if (n->link->ops->flush)
		n->link->ops->flush(n->link);
	n->link->last = NULL;
	if (wait > 0) /* not before the chain is whole, which it would be a part of */
		net_set_timer(n, &n->tx_timer, wait);
	n->batches++;
	if (p->nr_sending > 0 && n->link->stall_ns) {
		if (!n->stall_timer.is_set)
			n->stall_batch = n->batches;
		net_set_timer(n, &n->stall_timer, n->link->stall_ns);
	}
}

/* Goes on until the queue is empty, batch by batch; each in a turn of its own. */
void tx_run(struct net_pair *p)
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
		if (!err) /* in a rest; the guest would send it twice */
			give_out_back(p, out);
		net_landed(n);
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
			    (loop_turn_ns(n->dev.loop) - out->begun_ns) / 1000);
		give_out_back(p, out);
	}
	if (p->nr_sending == 0)
		tx_run(p);
}

void tx_cancel(struct net_pair *p)
{
	for (unsigned i = 0; i < LINK_BURST; i++) {
		struct link_out *l = &p->out[i].link;

		for (unsigned j = 0; j < PEERS_MAX && l->nr_sends > 0; j++)
			if (l->sends[j].is_under_way)
				loop_cancel(p->net->dev.loop, &l->sends[j].op);
	}
}

/* A batch that the timer finds again is stuck. In a reset it comes for those that were not under
 * way yet when the others were cancelled. */
static void on_stall(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, stall_timer.op);
	const bool is_stuck = n->stall_batch == n->batches || n->is_stopping;

	(void)res; /* -ETIME */
	n->stall_timer.is_set = false;
	if (n->pairs[0].nr_sending == 0)
		return;
	if (is_stuck)
		tx_cancel(&n->pairs[0]);
	n->stall_batch = n->batches;
	net_set_timer(n, &n->stall_timer, is_stuck ? NEXT_NS : n->link->stall_ns);
}

static void on_tx_timer(struct op *op, int res)
{
	struct net *n = container_of(op, struct net, tx_timer.op);

	(void)res; /* -ETIME */
	n->tx_timer.is_set = false;
	n->counters.tx_rate_limiter_event_count++;
	n->tx_first++;
	for (unsigned i = 0; i < n->link->nr_queues && n->dev.is_running; i++)
		tx_run(&n->pairs[(n->tx_first + i) % n->link->nr_queues]);
}

void tx_start(struct net_pair *p)
{
	p->held = NULL;
}

void tx_init(struct net *n)
{
	n->tx_timer.op.done = on_tx_timer;
	n->stall_timer.op.done = on_stall;
}
