// SPDX-License-Identifier: Apache-2.0
/*
 * Frames over a stream. The bytes may come cut anywhere, and the other end may lie: a length out of
 * bounds, or a frame half sent, ends the connection, which a timer makes anew. Each read goes as
 * far as the next length, so that a stream that flows takes one read a frame.
 */
#include "stream.h"
#include "../seccomp/sealed.h"
#include "../vmm/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MS  500
#define SAID_MOST 10 /* times that it is said: the other end may do this for ever */
#define STALL_NS  5000000000u

static void stream_receive(struct link *link, unsigned queue, struct link_in *in, bool is_waiting);
static int stream_send(struct link *link, unsigned queue, struct link_out *out);
static void stream_close(struct link *link);

static const struct link_ops ops = {
	.receive = stream_receive,
	.send = stream_send,
	.close = stream_close,
};

static int connect_to(const struct sockaddr_un *to)
{
	int fd, err;

	if (!to)
		return -ENAMETOOLONG;
	/* A listener with a full backlog would let us wait. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0 &&
	    fcntl(fd, F_SETFL, 0) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static void retry_later(struct stream *s)
{
	if (s->is_timing)
		return;
	s->is_timing = true;
	loop_timeout(s->link.loop, &s->retry_op, &s->retry, RETRY_MS);
}

/* What is under way ends by itself: shutdown(2) wakes it. */
static void lose(struct stream *s, int err, const char *why)
{
	if (s->fd < 0)
		return;
	if (s->nr_lost++ < SAID_MOST)
		fail(err, "%s: %s: %s; frames are dropped until it is back", s->link.name, s->path,
		     why);
	s->link.is_up = false;
	shutdown(s->fd, SHUT_RDWR);
	loop_file_replace(s->link.loop, s->file, -1);
	close(s->fd);
	s->fd = -1;
	retry_later(s);
	s->link.changed(s->link.owner);
}

static void on_retry(struct op *op, int res)
{
	struct stream *s = container_of(op, struct stream, retry_op);

	(void)res; /* -ETIME */
	s->is_timing = false;
	if (s->nr_ops == 0)
		s->fd = connect_to(s->to);
	if (s->fd >= 0 && loop_file_replace(s->link.loop, s->file, s->fd)) {
		close(s->fd);
		s->fd = -1;
	}
	if (s->fd < 0) {
		s->fd = -1;
		retry_later(s);
		return;
	}
	s->left = s->skip = s->nr_length = 0;
	s->link.is_up = true;
	if (s->nr_lost <= SAID_MOST)
		note("%s: %s: is back", s->link.name, s->path);
	s->link.changed(s->link.owner);
}

static void finish(struct stream *s, int res)
{
	struct link_in *in = s->in;

	s->in = NULL;
	in->done(in, res);
}

/* Cuts the segments down to `bytes`. */
static void trim(struct link_in *in, uint32_t bytes)
{
	unsigned nr = 0;

	while (bytes > 0) {
		struct iovec *v = &in->iov[nr++];

		if (v->iov_len > bytes)
			v->iov_len = bytes;
		bytes -= (uint32_t)v->iov_len;
	}
	in->nr = nr;
}

/* The first `bytes` of the segments are full. */
static void advance(struct link_in *in, uint32_t bytes)
{
	unsigned whole = 0;

	while (bytes > 0) {
		struct iovec *v = &in->iov[whole];
		const size_t n = bytes < v->iov_len ? bytes : v->iov_len;

		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
		bytes -= (uint32_t)n;
		if (v->iov_len == 0)
			whole++;
	}
	memmove(in->iov, in->iov + whole, (in->nr - whole) * sizeof(*in->iov));
	in->nr -= whole;
}

static void on_read(struct op *op, int res);

static void read_into(struct stream *s, struct iovec *iov, unsigned nr)
{
	struct link_in *in = s->in;
	struct io_uring_sqe *sqe = loop_sqe(s->link.loop);

	in->op.done = on_read;
	in->msg = (struct msghdr){ .msg_iov = iov, .msg_iovlen = (int)nr };
	io_uring_prep_recvmsg(sqe, s->file, &in->msg, 0);
	s->nr_ops++;
	loop_prepared(sqe, &in->op);
}

/* The next bytes are one of three things: of a frame that nobody takes, of a length, of a frame. */
static void read_more(struct stream *s)
{
	struct link_in *in = s->in;

	if (s->skip > 0) {
		const uint32_t n = s->skip < sizeof(s->waste) ? s->skip : sizeof(s->waste);

		s->iov = (struct iovec){ s->waste, n };
		read_into(s, &s->iov, 1);
	} else if (s->left == 0) {
		s->iov = (struct iovec){ s->length + s->nr_length, 4 - s->nr_length };
		read_into(s, &s->iov, 1);
	} else {
		in->iov[in->nr] = (struct iovec){ s->length, sizeof(s->length) };
		read_into(s, in->iov, in->nr + 1);
	}
}

/* A whole length has come; whether it is one. */
static bool begin_frame(struct stream *s)
{
	struct link_in *in = s->in;
	uint32_t length;

	memcpy(&length, s->length, sizeof(length));
	length = ntohl(length);
	s->nr_length = 0;
	if (length < FRAME_ETH || length > FRAME_MAX)
		return false;
	if (length > in->room) {
		in->iov[1] = (struct iovec){ in->tail, PARCEL_MAX };
		in->nr = 2;
	}
	s->left = length;
	s->got = 0;
	trim(in, length);
	return true;
}

static void go_on(struct stream *s)
{
	if (s->nr_length < 4 || s->skip > 0 || begin_frame(s)) {
		read_more(s);
		return;
	}
	lose(s, 0, "a frame of an impossible length came");
	finish(s, -EPROTO);
}

/* `n` bytes have come, of what read_more() asked for. Whether a frame is whole. */
static bool take(struct stream *s, uint32_t n)
{
	uint32_t of_frame;

	if (s->skip > 0) {
		s->skip -= n;
		return false;
	}
	of_frame = n < s->left ? n : s->left;
	s->nr_length += n - of_frame;
	if (of_frame == 0)
		return false;
	advance(s->in, of_frame);
	s->got += of_frame;
	s->left -= of_frame;
	return s->left == 0;
}

/* Who waited does so no more: the rest of a frame is nobody's. */
static void give_up(struct stream *s)
{
	s->skip += s->left;
	s->left = 0;
	finish(s, -ECANCELED);
}

static void on_read(struct op *op, int res)
{
	struct link_in *in = container_of(op, struct link_in, op);
	struct stream *s = container_of(in->link, struct stream, link);

	s->nr_ops--;
	if (res > 0 && take(s, (uint32_t)res)) {
		finish(s, (int)s->got);
	} else if (in->is_unwanted && (res > 0 || res == -ECANCELED)) {
		give_up(s);
	} else if (res > 0) {
		go_on(s);
	} else {
		lose(s, res, res ? "reading" : "the other end closed the connection");
		finish(s, -ENOTCONN);
	}
}

static void stream_receive(struct link *link, unsigned queue, struct link_in *in, bool is_waiting)
{
	struct stream *s = container_of(link, struct stream, link);

	(void)queue;
	(void)is_waiting; /* one at a time, and it waits */
	s->in = in;
	go_on(s);
}

/* Half a frame cannot be taken back. Where the send was cancelled nothing of it went out. */
static void on_sent(struct op *op, int res)
{
	struct link_send *send = container_of(op, struct link_send, op);
	struct stream *s = container_of(send->out->link, struct stream, link);

	s->nr_ops--;
	if (res >= 0 && (size_t)res < send->out->bytes) {
		lose(s, 0, "half a frame went out");
		res = -EPIPE;
	} else if (res < 0 && res != -ECANCELED) {
		lose(s, res, "sending");
	}
	link_sent(send, res < 0 ? res : 0);
}

static int stream_send(struct link *link, unsigned queue, struct link_out *out)
{
	struct stream *s = container_of(link, struct stream, link);
	struct io_uring_sqe *sqe;

	(void)queue;
	if (!link->is_up)
		return -ENOTCONN;
	out->head.length = htonl((uint32_t)(out->bytes - sizeof(out->head.length)));
	out->msg = (struct msghdr){ .msg_iov = out->iov, .msg_iovlen = (int)out->nr };
	sqe = loop_sqe(link->loop);
	io_uring_prep_sendmsg(sqe, s->file, &out->msg, MSG_NOSIGNAL | MSG_WAITALL);
	link_in_order(link, sqe, IOSQE_IO_LINK); /* nothing goes behind half a frame */
	s->nr_ops++;
	loop_prepared(sqe, link_sending(out, 0, on_sent));
	return 0;
}

static void stream_close(struct link *link)
{
	struct stream *s = container_of(link, struct stream, link);

	if (s->fd < 0)
		return;
	/*
	 * The ring may hold the descriptor for a while yet, and the other end waits for this end.
	 */
	shutdown(s->fd, SHUT_RDWR);
	close(s->fd);
}

int stream_open(struct stream *s, const struct net_config *config)
{
	*s = (struct stream){
		.link = { .ops = &ops,
			  .name = config->id,
			  .nr_queues = 1,
			  .burst_max = 1,
			  .frame_max = FRAME_MAX,
			  .stall_ns = STALL_NS,
			  .is_up = true },
		.path = config->path,
		.retry_op.done = on_retry,
	};
	s->to = sealed_address(config->path);
	s->fd = connect_to(s->to);
	if (s->fd >= 0)
		return 0;
	if (s->fd != -ENOENT && s->fd != -ECONNREFUSED)
		return fail(s->fd, "%s", config->path);
	return fail(0, "%s: nobody listens there; start 'passt --socket %s' before", config->path,
		    config->path);
}

int stream_attach(struct stream *s, struct loop *loop)
{
	s->link.loop = loop;
	s->file = loop_file(loop, s->fd);
	return s->file < 0 ? fail(s->file, "%s: registering its socket", s->link.name) : 0;
}
