/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API on a Unix socket: up to ten connections at once, carried by the loop, each with at most
 * one operation in flight, and a timeout at its end. A request is answered before the next one of
 * its connection is read; a slow or vanished client holds its own connection and nothing else.
 *
 * Connections are not registered with the loop: they come and go (loop_wait_ready() says why that
 * matters). The ring knows when there is something to do, and plain calls that never wait do it.
 * But for close(2): of a descriptor that a hostile client sent, and holds no more itself, the last
 * one may wait (SO_LINGER, FUSE), and with it all that the loop does.
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api.h"
#include "../seccomp/sealed.h"
#include "../vmm/loop.h"

#include <sys/socket.h>

#define SERVER_CONNECTIONS 10u

struct server_config {
	const char *path;  /* of the socket, which must not exist */
	int listen_fd;	   /* a socket that listens already, or -1 */
	uint64_t body_max; /* bytes of a request's body */
	/* Gets a newline once clients may connect, and is closed, but for 0 to 2; -1: none. */
	int ready_fd;
};

struct connection {
	struct server *server;
	bool is_open; /* else it is free, and nothing of it holds */
	int fd;
	struct http http;
	struct op receive_op, send_op, next_op, linger_op;
	struct __kernel_timespec linger;
	struct api_fds fds; /* came with the request that is being received */
	char *in, *out;
	size_t out_size, out_sent; /* bytes of the answer */
	bool is_last;		   /* the answer ends it: nothing more is listened to */
	bool is_lingering;	   /* and that has a moment to say what it will and to go */
	bool is_waiting;	   /* with its request, for that of another one to be done */
	bool is_events;		   /* gets events, and is listened to only for its end */
};

struct server {
	struct loop *loop;
	struct api *api;
	struct server_config config;
	int fd, file;
	struct sealed_socket own; /* where it is at a path */
	bool is_busy;		  /* a request is being done; its handler may let the loop go on */
	struct op accept_op, retry_op, refused_op, moment_op, metrics_op;
	struct __kernel_timespec retry, moment, minute;
	int refused_fd; /* of the client that found no room */
	char *buffers;	/* of all connections, in a row */
	struct connection connections[SERVER_CONNECTIONS];
};

/* Listens, once, on a server that was all zeros. 0 or -errno, logged. The config's strings stay. */
int server_open(struct server *server, struct loop *loop, struct api *api,
		const struct server_config *config);

/* Metrics each minute, also without a socket. */
void server_tick(struct server *server, struct loop *loop, struct api *api);

/* One line of JSON, without its newline, to all who asked for events. */
void server_event(struct server *server, const char *line);

/* Removes the socket's file if it is ours. Harmless where none was opened. */
void server_close(struct server *server);

#endif
