// SPDX-License-Identifier: Apache-2.0
/*
 * The two address maps, filled by vm.c, searched by vcpu.c at every access that leaves the kernel.
 */
#include "bus.h"
#include "log.h"

#include <string.h>

void bus_add(struct bus *bus, struct window window)
{
	unsigned at = bus->nr_windows;

	must(at < BUS_WINDOWS && window.size > 0);
	while (at > 0 && bus->windows[at - 1].base > window.base) {
		bus->windows[at] = bus->windows[at - 1];
		at--;
	}
	must(at == 0 || window.base - bus->windows[at - 1].base >= bus->windows[at - 1].size);
	must(at == bus->nr_windows || bus->windows[at + 1].base - window.base >= window.size);
	bus->windows[at] = window;
	bus->nr_windows++;
}

/* The last window that begins at or below addr, or NULL. */
static const struct window *find(const struct bus *bus, uint64_t addr)
{
	unsigned low = 0, high = bus->nr_windows;

	while (low < high) {
		const unsigned middle = (low + high) / 2;

		if (bus->windows[middle].base <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &bus->windows[low - 1] : NULL;
}

void bus_access(const struct bus *bus, uint64_t addr, uint8_t *data, unsigned len, bool write)
{
	const struct window *w = find(bus, addr);

	if (w && addr - w->base < w->size && len <= w->size - (addr - w->base))
		w->access(w->device, addr - w->base, data, len, write);
	else if (!write)
		memset(data, 0xff, len);
}
