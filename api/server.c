// SPDX-License-Identifier: Apache-2.0
/*
 * Connections of the API. Reading order: on_accepted(), receive(), serve(), send_rest(). What is
 * small and may be lost (events, the refusal of an eleventh client) is sent on the spot and never
 * waited for.
 */
#include "server.h"
#include "../vmm/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG	    64
#define MINUTE_MS   60000u
#define RETRY_MS    1000u
#define REFUSED_MS  100
#define LINGER_MS   1000u
#define OUT_SIZE    (HTTP_HEAD_MAX + API_BODY_MAX)
/*
 * What a socket of systemd's may pass beside what is sent: credentials, a label and, as a
 * descriptor, the sender's process. Switched off on that, it would still come from who connected
 * before (Linux 6.16), such as the client for which mayfly was started.
 */
#define SCM_PROCESS 4 /* SCM_PIDFD */
#define PASSED_MAX  (CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(256) + CMSG_SPACE(sizeof(int)))

static void serve(struct connection *c);

static void drop_descriptors(struct connection *c)
{
	for (unsigned i = 0; i < c->fds.nr; i++)
		if (c->fds.fd[i] >= 0)
			close(c->fds.fd[i]);
	c->fds.nr = 0;
}

/* After a request; where more has come already, what it did not take may be the next one's. */
static void leave_descriptors(struct connection *c)
{
	unsigned nr = 0;

	if (http_is_empty(&c->http)) {
		drop_descriptors(c);
		return;
	}
	for (unsigned i = 0; i < c->fds.nr; i++)
		if (c->fds.fd[i] >= 0)
			c->fds.fd[nr++] = c->fds.fd[i];
	c->fds.nr = nr;
}

static void close_connection(struct connection *c)
{
	drop_descriptors(c);
	close(c->fd);
	c->is_open = false;
}

/* Nothing more comes from it. Of this and the end of its lingering the second closes. */
static void end_connection(struct connection *c)
{
	if (c->is_lingering)
		loop_cancel(c->server->loop, &c->linger_op);
	else
		close_connection(c);
	c->is_lingering = false;
}

/* Until it says something more. */
static void receive(struct connection *c)
{
	if (loop_wait_ready(c->server->loop, &c->receive_op, c->fd, EPOLLIN))
		end_connection(c); /* no memory for it */
}

/*
 * A file, a device or a FIFO. No socket, which might be the connection's own other end: kept with a
 * request that is never finished, it would keep the connection from ever ending.
 */
static bool is_useful(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ||
				       S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode));
}

/*
 * Descriptors go with the request whose bytes came last; more than it may have are closed, and what
 * is of no use leaves its place empty.
 */
static void take_descriptors(struct connection *c, struct msghdr *message)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(message); m; m = CMSG_NXTHDR(message, m)) {
		const int *fds = (const int *)(const void *)CMSG_DATA(m);

		if (m->cmsg_level != SOL_SOCKET ||
		    (m->cmsg_type != SCM_RIGHTS && m->cmsg_type != SCM_PROCESS))
			continue;
		for (size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(*fds); n; n--, fds++) {
			const bool has_place =
				m->cmsg_type == SCM_RIGHTS && c->fds.nr < API_FDS_MAX;
			const bool is_taken = has_place && is_useful(*fds);

			if (has_place)
				c->fds.fd[c->fds.nr++] = is_taken ? *fds : -1;
			if (!is_taken)
				close(*fds);
		}
	}
}

/* What is there, with its descriptors. Bytes, or -errno. */
static ssize_t take_bytes(struct connection *c)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(API_FDS_MAX * sizeof(int)) + PASSED_MAX];
	struct iovec piece;
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	ssize_t n;

	piece.iov_base = http_room(&c->http, &piece.iov_len);
	if (c->is_events || c->is_last) /* what it says is not listened to */
		piece = (struct iovec){ c->in, HTTP_BUFFER(c->server->config.body_max) };
	n = recvmsg(c->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n > 0)
		take_descriptors(c, &message);
	return n < 0 ? -errno : n;
}

static bool is_passing(ssize_t n)
{
	return n == -EINTR || n == -EAGAIN;
}

/*
 * The last answer is out, and its end told. Closed with bytes unread, and more to come, the client
 * would see its own write fail and never read why: a lingering close.
 */
static void linger(struct connection *c)
{
	shutdown(c->fd, SHUT_WR);
	c->is_lingering = true;
	loop_timeout(c->server->loop, &c->linger_op, &c->linger, LINGER_MS);
	receive(c);
}

static void on_linger_over(struct op *op, int res)
{
	struct connection *c = container_of(op, struct connection, linger_op);

	(void)res; /* -ETIME, or -ECANCELED */
	if (c->is_lingering)
		shutdown(c->fd, SHUT_RDWR); /* its end shows in the receive */
	else
		close_connection(c);
	c->is_lingering = false;
}

static void on_received(struct op *op, int events)
{
	struct connection *c = container_of(op, struct connection, receive_op);
	const ssize_t n = take_bytes(c);

	(void)events; /* an error or the end shows in the receive */
	if (n <= 0 && !is_passing(n)) {
		end_connection(c);
		return;
	}
	if (c->is_events || c->is_last) {
		drop_descriptors(c);
		receive(c);
		return;
	}
	if (n > 0)
		http_received(&c->http, (size_t)n);
	serve(c);
}

/* The answer is out. What has come already waits for the others' turn. */
static void go_on(struct connection *c)
{
	if (c->is_last)
		linger(c);
	else if (http_is_empty(&c->http))
		receive(c);
	else
		loop_yield(c->server->loop, &c->next_op);
}

static void on_next(struct op *op, int res)
{
	(void)res; /* 0 */
	serve(container_of(op, struct connection, next_op));
}

static void send_rest(struct connection *c)
{
	const ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent,
			       MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EINTR && errno != EAGAIN) {
		close_connection(c);
		return;
	}
	c->out_sent += n > 0 ? (size_t)n : 0;
	if (c->out_sent == c->out_size)
		go_on(c);
	else if (loop_wait_ready(c->server->loop, &c->send_op, c->fd, EPOLLOUT))
		close_connection(c);
}

static void on_sendable(struct op *op, int events)
{
	(void)events; /* an error shows in the send */
	send_rest(container_of(op, struct connection, send_op));
}

static void send_answer(struct connection *c, const struct http_answer *head)
{
	/* The body was written where the longest head would end: the head goes right before it. */
	char text[HTTP_HEAD_MAX];
	const size_t n = http_head(text, sizeof(text), head);

	memcpy(c->out + HTTP_HEAD_MAX - n, text, n);
	c->out_sent = HTTP_HEAD_MAX - n;
	c->out_size = HTTP_HEAD_MAX + head->body_len;
	c->is_last = head->is_last;
	send_rest(c);
}

/* Sends at once what fits into the socket's buffer; false where that is not all of it. */
static bool send_now(int fd, const char *data, size_t len)
{
	return send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

static void send_continue(struct connection *c)
{
	c->out_size = (size_t)snprintf(
		c->out, OUT_SIZE, "HTTP/1.1 100 \r\nServer: %s\r\nConnection: keep-alive\r\n\r\n",
		c->server->api->names.server);
	c->out_sent = 0;
	c->is_last = false;
	send_rest(c);
}

/* Where the next request begins is not known any more: the connection ends with this. */
static void send_broken(struct connection *c)
{
	struct http_answer head = { .status = 400,
				    .server = c->server->api->names.server,
				    .is_last = true };
	const int n = snprintf(c->out + HTTP_HEAD_MAX, API_BODY_MAX,
			       "{ \"error\": \"%s\nAll previous unanswered requests will be "
			       "dropped.\" }",
			       c->http.error);

	head.body_len = (size_t)n;
	send_answer(c, &head);
}

static void begin_events(struct connection *c, const struct http_answer *head)
{
	const struct api *api = c->server->api;
	char text[HTTP_HEAD_MAX + 2 * API_EVENT_MAX], line[API_EVENT_MAX];
	size_t n = http_head(text, sizeof(text), head);

	api_state_event(api, line);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\n", line);
	if (api->exit_reason) {
		api_exit_event(api, line);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\n", line);
	}
	drop_descriptors(c);
	c->is_events = true;
	if (!send_now(c->fd, text, n))
		shutdown(c->fd, SHUT_RDWR); /* its end shows in the receive */
	receive(c);
}

/* A turn for each that waited, beginning behind this one: no two clients shut out a third. */
static void wake_others(struct connection *c)
{
	struct server *s = c->server;
	const unsigned next = (unsigned)(c - s->connections) + 1;

	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++) {
		struct connection *other = &s->connections[(next + i) % SERVER_CONNECTIONS];

		if (!other->is_waiting)
			continue;
		other->is_waiting = false;
		loop_yield(s->loop, &other->next_op);
	}
}

static void answer(struct connection *c, const struct http_request *request)
{
	struct api_reply reply = { .body = c->out + HTTP_HEAD_MAX,
				   .size = API_BODY_MAX,
				   .fds = &c->fds };

	c->server->is_busy = true;
	api_request(c->server->api, request, &reply);
	c->server->is_busy = false;
	reply.head.is_last = c->http.is_last;
	http_done(&c->http);
	leave_descriptors(c);
	wake_others(c); /* before what this one may have sent already */
	if (reply.is_events)
		begin_events(c, &reply.head);
	else
		send_answer(c, &reply.head);
}

/* Goes on with a connection that has no operation in flight. */
static void serve(struct connection *c)
{
	struct http_request request;

	if (c->server->is_busy) {
		c->is_waiting = true;
		return;
	}
	switch (http_next(&c->http, &request)) {
	case HTTP_MORE:
		receive(c);
		break;
	case HTTP_CONTINUE:
		send_continue(c);
		break;
	case HTTP_REQUEST:
		answer(c, &request);
		break;
	case HTTP_BROKEN:
		send_broken(c);
		break;
	}
}

/* Accepting. */

static void accept_next(struct server *s)
{
	struct io_uring_sqe *sqe = loop_sqe(s->loop);

	io_uring_prep_accept(sqe, s->file, NULL, NULL, SOCK_CLOEXEC);
	loop_prepared(sqe, &s->accept_op);
}

/*
 * It is told at once, and then given a moment to say what it came for, and to go: closed under its
 * hands, it would see its own write fail and never read why. The next client is taken after that.
 */
static void refuse(struct server *s, int fd)
{
	static const char body[] = "{ \"error\": \"Too many open connections\" }";
	char text[256];
	const int n = snprintf(text, sizeof(text),
			       "HTTP/1.1 503\r\nServer: %s\r\nConnection: close\r\n"
			       "Content-Length: %zu\r\n\r\n%s",
			       s->api->names.server, sizeof(body) - 1, body);

	send_now(fd, text, (size_t)n);
	shutdown(fd, SHUT_WR);
	s->refused_fd = fd;
	loop_timeout(s->loop, &s->moment_op, &s->moment, REFUSED_MS);
	if (loop_wait_ready(s->loop, &s->refused_op, fd, EPOLLIN))
		loop_cancel(s->loop, &s->moment_op);
}

/*
 * What it says is not listened to; unread, it would cost the client our answer (ECONNRESET).
 * Descriptors that come along are not taken. Whether there may be more.
 */
static bool hear_out(const struct server *s)
{
	char said[4096];
	struct iovec piece = { said, sizeof(said) };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };

	return recvmsg(s->refused_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) > 0;
}

static void on_refused(struct op *op, int events)
{
	struct server *s = container_of(op, struct server, refused_op);

	(void)events; /* an error or the end shows in the receive */
	if (!hear_out(s) || loop_wait_ready(s->loop, op, s->refused_fd, EPOLLIN))
		loop_cancel(s->loop, &s->moment_op);
}

static void on_moment_over(struct op *op, int res)
{
	struct server *s = container_of(op, struct server, moment_op);

	(void)res; /* -ETIME, or -ECANCELED */
	hear_out(s);
	close(s->refused_fd);
	accept_next(s);
}

/* Bytes of a connection's room for what comes in, and for that and what goes out. */
static size_t in_size(const struct server *s)
{
	return (HTTP_BUFFER(s->config.body_max) + 4095) & ~(size_t)4095;
}

static size_t buffers_size(const struct server *s)
{
	return in_size(s) + ((OUT_SIZE + 4095) & ~4095u);
}

/* A connection is touched once it has a client: most of them never are. */
static void connect_client(struct server *s, unsigned i, int fd)
{
	struct connection *c = &s->connections[i];

	c->server = s;
	c->is_open = true;
	c->fd = fd;
	c->in = s->buffers + i * buffers_size(s);
	c->out = c->in + in_size(s);
	c->receive_op.done = on_received;
	c->send_op.done = on_sendable;
	c->next_op.done = on_next;
	c->linger_op.done = on_linger_over;
	c->is_events = c->is_last = c->is_waiting = false;
	http_init(&c->http, c->in, HTTP_BUFFER(s->config.body_max), s->config.body_max);
	receive(c);
}

static bool welcome(struct server *s, int fd)
{
	for (unsigned i = 0; i < SERVER_CONNECTIONS; i++)
		if (!s->connections[i].is_open) {
			connect_client(s, i, fd);
			return true;
		}
	return false;
}

static void on_accepted(struct op *op, int res)
{
	struct server *s = container_of(op, struct server, accept_op);

	if (res >= 0 && !welcome(s, res)) {
		refuse(s, res);
		return;
	}
	if (res >= 0 || res == -EINTR || res == -EAGAIN || res == -ECONNABORTED) {
		accept_next(s);
		return;
	}
	/* Such as no descriptor left: the next try would fail at once, too. */
	fail(res, "API socket: taking a client; again in a second");
	loop_timeout(s->loop, &s->retry_op, &s->retry, RETRY_MS);
}

static void on_retry(struct op *op, int res)
{
	(void)res; /* -ETIME */
	accept_next(container_of(op, struct server, retry_op));
}

/* Opening. */

static int listen_at(struct server *s)
{
	int err;

	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	err = sealed_bind(&s->own, s->fd, s->config.path);
	if (err)
		return err;
	return listen(s->fd, BACKLOG) ? -errno : 0;
}

/* Buffers of all connections in one reservation: pages come with their first use. */
static int make_buffers(struct server *s)
{
	s->buffers = mmap(NULL, buffers_size(s) * SERVER_CONNECTIONS, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return s->buffers == MAP_FAILED ? -errno : 0;
}

static int open_server(struct server *s)
{
	int err = 0;

	s->fd = s->config.listen_fd;
	if (s->fd < 0)
		err = listen_at(s);
	if (err)
		return err;
	s->file = loop_file(s->loop, s->fd);
	return s->file < 0 ? s->file : make_buffers(s);
}

static void say_ready(const struct server *s)
{
	if (s->config.ready_fd < 0)
		return;
	if (write(s->config.ready_fd, "\n", 1) != 1)
		fail(-errno, "--ready-fd %d", s->config.ready_fd);
	if (s->config.ready_fd > STDERR_FILENO) /* whose place the next client or file would take */
		close(s->config.ready_fd);
}

int server_open(struct server *s, struct loop *loop, struct api *api,
		const struct server_config *config)
{
	int err;

	s->loop = loop;
	s->api = api;
	s->config = *config;
	s->accept_op.done = on_accepted;
	s->retry_op.done = on_retry;
	s->refused_op.done = on_refused;
	s->moment_op.done = on_moment_over;
	err = open_server(s);
	if (err) {
		server_close(s);
		return fail(err,
			    "Failed to open the API socket at: %s. Check that it is not "
			    "already used; where nobody serves, remove it",
			    config->path);
	}
	log_line(LOG_INFO, "Listening on API socket (\"%s\").", config->path);
	accept_next(s);
	log_line(LOG_INFO, "API server started.");
	say_ready(s);
	return 0;
}

static void on_minute(struct op *op, int res)
{
	struct server *s = container_of(op, struct server, metrics_op);
	struct metrics_devices devices;

	(void)res; /* -ETIME */
	if (s->api->state == API_RUNNING && s->api->metrics.fd < 0)
		api_count(s->api, &devices); /* what the monitor counts in 32 bits wraps */
	else if (s->api->state == API_RUNNING)
		api_flush_metrics(s->api);
	loop_timeout(s->loop, &s->metrics_op, &s->minute, MINUTE_MS);
}

void server_tick(struct server *s, struct loop *loop, struct api *api)
{
	s->loop = loop;
	s->api = api;
	s->metrics_op.done = on_minute;
	loop_timeout(loop, &s->metrics_op, &s->minute, MINUTE_MS);
}

void server_event(struct server *s, const char *line)
{
	char text[256];
	const int n = snprintf(text, sizeof(text), "%s\n", line);

	for (unsigned i = 0; i < SERVER_CONNECTIONS && s->fd > 0; i++) {
		struct connection *c = &s->connections[i];

		if (c->is_open && c->is_events && !send_now(c->fd, text, (size_t)n))
			shutdown(c->fd, SHUT_RDWR); /* it does not read: it is let go */
	}
}

void server_close(struct server *s)
{
	sealed_remove(&s->own);
}
