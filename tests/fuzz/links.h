/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzzers of the network device share: the folder with the sockets of its links, gone at
 * the end, and what the device asks of the rest of the monitor. Each fuzzer includes it once.
 */
#ifndef TESTS_FUZZ_LINKS_H
#define TESTS_FUZZ_LINKS_H

#include <stdlib.h>
#include <sys/un.h>

#include "../../seccomp/sealed.h"
#include "../../vmm/log.h"
#include "../unit/netdev.h"

#define promise(x) ((x) ? (void)0 : broken(#x, __FILE__, __LINE__))

static char folder[] = "/tmp/mayfly-fuzz.XXXXXX";
static char socket_path[64], peers_path[64], peer_path[72];
static int listener = -1; /* passt's socket */

static _Noreturn void broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: broken: %s\n", file, line, what);
	abort();
}

/* What is said about a lost connection, or a guest that misbehaves, is not for here. */
int fail(int err, const char *fmt, ...)
{
	(void)fmt;
	return err ? err : -EINVAL;
}

void note(const char *fmt, ...)
{
	(void)fmt;
}

_Noreturn void must_failed(const char *what, const char *file, int line)
{
	broken(what, file, line);
}

/* Sealed memory is for what is opened once; here each input opens a link. */
const struct sockaddr_un *sealed_address(const char *path)
{
	static struct sockaddr_un places[2 * PEERS_MAX];
	static unsigned next;
	struct sockaddr_un *place = &places[next++ % (2 * PEERS_MAX)];

	place->sun_family = AF_UNIX;
	strcpy(place->sun_path, path);
	return place;
}

const struct sockaddr_un *sealed_own(const char *path)
{
	return sealed_address(path);
}

static inline void remove_links(void)
{
	unlink(socket_path);
	unlink(peer_path);
	unlink(strcat(peers_path, "/lock"));
	*strrchr(peers_path, '/') = '\0';
	rmdir(peers_path);
	rmdir(folder);
}

static inline int bind_at(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, path);
	promise(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

/* The peers' folder is made by whoever comes first. */
static inline void make_links(void)
{
	promise(mkdtemp(folder));
	snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
	snprintf(peers_path, sizeof(peers_path), "%s/peers", folder);
	snprintf(peer_path, sizeof(peer_path), "%s/7", peers_path);
	atexit(remove_links);
	listener = bind_at(socket_path, SOCK_STREAM);
	promise(listen(listener, 50) == 0);
}

#endif
