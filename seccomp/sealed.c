// SPDX-License-Identifier: Apache-2.0
/*
 * One area of places of PLACE bytes, aligned to its size: so a filter tells by a mask whether an
 * address is the beginning of one (FILTER_SEALED_MASK). Others' sockets are the first half, our own
 * are the page behind it (FILTER_OWN_MASK). Called before the filters close by whoever will need a
 * path then, and by vm.c to seal it.
 */
#include "sealed.h"
#include "../vmm/log.h"
#include "filters.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE  128ul
#define OTHERS (128ul << 10) /* 1024 places: 19 peer links of 32 names each take 608 */
#define OWN    4096ul	     /* a socket of each link, and two more */
#define AREA   (2 * OTHERS)

_Static_assert(sizeof(struct sockaddr_un) <= PLACE, "an address fits its place");
_Static_assert((uint64_t) ~(OTHERS - PLACE) == FILTER_SEALED_MASK, "the filters' view of it");
_Static_assert((uint64_t) ~(OWN - PLACE) == FILTER_OWN_MASK, "the filters' view of the page");
_Static_assert((FILTER_PLACE_ADDRESS & (AREA - 1)) == 0, "the area's beginning");
_Static_assert((FILTER_PLACE_PATH ^ FILTER_PLACE_ADDRESS) ==
		       OTHERS + offsetof(struct sockaddr_un, sun_path),
	       "a path within its place");

static char *area;
static unsigned used, used_own;
static bool is_closed;

static void make_area(void)
{
	char *all = mmap(NULL, 2 * AREA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at;

	if (all == MAP_FAILED)
		return;
	at = all + (-(uintptr_t)all & (AREA - 1));
	if (mprotect(at, OTHERS + OWN, PROT_READ | PROT_WRITE) == 0)
		area = at;
}

static const struct sockaddr_un *seal(const char *path, size_t first, unsigned *nr, size_t size)
{
	struct sockaddr_un *address;

	if (!area)
		make_area();
	if (!area || strlen(path) >= sizeof(address->sun_path) || is_closed || *nr == size / PLACE)
		return NULL;
	address = (struct sockaddr_un *)(void *)(area + first + (*nr)++ * PLACE);
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return address;
}

const struct sockaddr_un *sealed_address(const char *path)
{
	return seal(path, 0, &used, OTHERS);
}

const struct sockaddr_un *sealed_own(const char *path)
{
	return seal(path, OTHERS, &used_own, OWN);
}

int sealed_bind(struct sealed_socket *own, int fd, const char *path)
{
	const struct sockaddr_un *address = sealed_own(path);
	struct stat st;

	if (!address)
		return -ENAMETOOLONG;
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) ||
	    lstat(address->sun_path, &st))
		return -errno;
	*own = (struct sealed_socket){ address, st.st_dev, st.st_ino };
	return 0;
}

void sealed_remove(struct sealed_socket *own)
{
	struct stat st;

	if (own->address && lstat(own->address->sun_path, &st) == 0 && st.st_dev == own->dev &&
	    st.st_ino == own->ino)
		unlink(own->address->sun_path);
	own->address = NULL;
}

int sealed_close(void)
{
	is_closed = true;
	return area && mprotect(area, OTHERS + OWN, PROT_READ) ? fail(-errno, "sealing memory") : 0;
}

uint64_t sealed_base(void)
{
	return (uintptr_t)area;
}
