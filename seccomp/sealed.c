/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One area of places of PLACE bytes, aligned to its size: so a filter tells by a mask whether an
 * address is the beginning of one (FILTER_SEALED_MASK). Called before the filters close by whoever
 * will need a path then, and by vm.c to seal it.
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

#define PLACE 128ul
#define AREA  (128ul << 10) /* 19 peer links of 33 names each, and two sockets of our own */

_Static_assert(sizeof(struct sockaddr_un) <= PLACE, "an address fits its place");
_Static_assert((uint64_t) ~(AREA - PLACE) == FILTER_SEALED_MASK, "the filters' view of it");
_Static_assert(offsetof(struct sockaddr_un, sun_path) == (FILTER_PLACE_PATH & (PLACE - 1)),
	       "a path within its place");

static char *area;
static unsigned used;
static bool is_closed;

static void make_area(void)
{
	char *all = mmap(NULL, 2 * AREA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at;

	if (all == MAP_FAILED)
		return;
	at = all + (-(uintptr_t)all & (AREA - 1));
	if (mprotect(at, AREA, PROT_READ | PROT_WRITE) == 0)
		area = at;
}

const struct sockaddr_un *sealed_address(const char *path)
{
	struct sockaddr_un *address;

	if (!area)
		make_area();
	if (!area || strlen(path) >= sizeof(address->sun_path) || is_closed || used == AREA / PLACE)
		return NULL;
	address = (struct sockaddr_un *)(void *)(area + used++ * PLACE);
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return address;
}

int sealed_close(void)
{
	is_closed = true;
	return area && mprotect(area, AREA, PROT_READ) ? fail(-errno, "sealing memory") : 0;
}

uint64_t sealed_base(void)
{
	return (uintptr_t)area;
}
