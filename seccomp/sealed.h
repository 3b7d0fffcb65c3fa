/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths that a confined process still names: sockets that it connects to or removes. A filter sees
 * no more of a path than its address, so they lie in memory that is sealed before the filters close
 * and that nothing can make writable again; the filters let through addresses in there only.
 */
#ifndef SECCOMP_SEALED_H
#define SECCOMP_SEALED_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

/*
 * The address of somebody else's socket at `path`, which may be connected to, or of our own, whose
 * sun_path may be removed: what stands among the one may not be done to the other. It stays. NULL
 * where the path is too long, there is no room for more, or all is sealed already.
 */
const struct sockaddr_un *sealed_address(const char *path);
const struct sockaddr_un *sealed_own(const char *path);

/*
 * A Unix socket of ours at a path. sealed_bind() returns 0 or -errno, -ENAMETOOLONG also where
 * there is no place for the path. sealed_remove() removes its file, unless another's has its place
 * by now; the socket must still be open, so that no other file can have become the same. Harmless
 * where nothing was bound, or a second time.
 */
struct sealed_socket {
	const struct sockaddr_un *address; /* NULL: not bound, or removed */
	dev_t dev;
	ino_t ino;
};
int sealed_bind(struct sealed_socket *own, int fd, const char *path);
void sealed_remove(struct sealed_socket *own);

/* No more of them, and none changes. 0 or -errno, logged. */
int sealed_close(void);

/* Where they lie; 0 where there are none. */
uint64_t sealed_base(void);

#endif
