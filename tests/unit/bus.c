// SPDX-License-Identifier: Apache-2.0
/*
 * The address maps: windows added in any order, and what an access finds: a device as a whole, or
 * nothing.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vmm/bus.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What the devices below, which are all alike, were last asked. */
static struct {
	void *device;
	uint64_t offset;
	uint8_t data[8];
	unsigned len, calls;
	bool write;
} seen;

static void device_access(void *device, uint64_t offset, uint8_t *data, unsigned len, bool write)
{
	seen.device = device;
	seen.offset = offset;
	seen.len = len;
	seen.write = write;
	seen.calls++;
	if (write)
		memcpy(seen.data, data, len);
	else
		memset(data, 0x42, len);
}

static void add(struct bus *bus, uint64_t base, uint64_t size, void *device)
{
	bus_add(bus, (struct window){ base, size, device_access, device });
}

/* Neighbours with and without a gap, both ends of the address space. */
static const struct {
	uint64_t base, size;
} map[] = {
	{ 0x3f8, 8 },
	{ 0x60, 5 },
	{ 0x600, 3 },
	{ 0x400, 0x10 },
	{ 0xc0000000, 0x1000 },
	{ 0xc0001000, 0x1000 },
	{ 0xfec00000, 32 },
	{ 0, 1 },
	{ UINT64_MAX - 15, 15 },
};

static void *device(unsigned i)
{
	return (void *)(uintptr_t)(i + 1);
}

static void fill(struct bus *bus)
{
	memset(bus, 0, sizeof(*bus));
	for (unsigned i = 0; i < COUNT(map); i++)
		add(bus, map[i].base, map[i].size, device(i));
}

static void sorted(void **state)
{
	struct bus bus;

	(void)state;
	fill(&bus);
	assert_int_equal(bus.nr_windows, COUNT(map));
	for (unsigned i = 1; i < bus.nr_windows; i++)
		assert_true(bus.windows[i - 1].base < bus.windows[i].base);
}

/* A read of `len` bytes at addr reaches this device at this offset. */
static void hits(const struct bus *bus, uint64_t addr, unsigned len, unsigned i, uint64_t offset)
{
	uint8_t data[8] = { 0 };

	for (unsigned write = 0; write < 2; write++) {
		memset(&seen, 0, sizeof(seen));
		bus_access(bus, addr, data, len, write);
		assert_int_equal(seen.calls, 1);
		assert_ptr_equal(seen.device, device(i));
		assert_int_equal(seen.offset, offset);
		assert_int_equal(seen.len, len);
		assert_int_equal(seen.write, write);
		for (unsigned n = 0; n < 8; n++)
			assert_int_equal(data[n], n < len ? 0x42 : 0);
	}
	assert_memory_equal(seen.data, data, len);
}

/* Nothing is there: reads give ones, as many as asked for, and writes call nobody. */
static void misses(const struct bus *bus, uint64_t addr, unsigned len)
{
	uint8_t data[9];

	memset(&seen, 0, sizeof(seen));
	memset(data, 0, sizeof(data));
	bus_access(bus, addr, data, len, true);
	for (unsigned n = 0; n < sizeof(data); n++)
		assert_int_equal(data[n], 0);
	bus_access(bus, addr, data, len, false);
	for (unsigned n = 0; n < sizeof(data); n++)
		assert_int_equal(data[n], n < len ? 0xff : 0);
	assert_int_equal(seen.calls, 0);
}

static void every_window(void **state)
{
	struct bus bus;

	(void)state;
	fill(&bus);
	for (unsigned i = 0; i < COUNT(map); i++) {
		for (unsigned len = 1; len <= 8; len *= 2) {
			if (len > map[i].size)
				continue;
			hits(&bus, map[i].base, len, i, 0);
			hits(&bus, map[i].base + map[i].size - len, len, i, map[i].size - len);
		}
	}
}

static void beside_the_windows(void **state)
{
	static const uint64_t nowhere[] = { 1,		0x5f,	    0x65,	0x3f7,
					    0x410,	0x5ff,	    0x603,	0xbfffffff,
					    0xc0002000, 0xfec00020, 1ull << 32, 1ull << 63,
					    UINT64_MAX };
	struct bus bus;

	(void)state;
	fill(&bus);
	for (unsigned i = 0; i < COUNT(nowhere); i++)
		for (unsigned len = 1; len <= 8; len *= 2)
			misses(&bus, nowhere[i], len);
}

/* Across a window's end, also into the next window: no device sees the half of an access. */
static void across_an_end(void **state)
{
	struct bus bus;

	(void)state;
	fill(&bus);
	for (unsigned i = 0; i < COUNT(map); i++)
		for (unsigned len = 2; len <= 8; len *= 2)
			for (unsigned inside = 1; inside < len && inside <= map[i].size; inside++)
				misses(&bus, map[i].base + map[i].size - inside, len);
	misses(&bus, 0x3f7, 2); /* nor from below */
}

static void empty(void **state)
{
	struct bus bus = { .nr_windows = 0 };

	(void)state;
	misses(&bus, 0, 1);
	misses(&bus, UINT64_MAX, 8);
}

/* The status of a child that adds one more window to the map. */
static int add_in_child(uint64_t base, uint64_t size, unsigned times)
{
	struct bus bus;
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGILL, SIG_DFL); /* must() ends so; cmocka would go on */
		close(STDERR_FILENO);
		fill(&bus);
		while (times--)
			add(&bus, base + times * size, size, device(0));
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void overlaps(void **state)
{
	static const struct {
		uint64_t base, size;
	} wrong[] = {
		{ 0x3f8, 8 }, { 0x3f8, 1 }, { 0x3f7, 2 }, { 0x3ff, 1 },
		{ 0x61, 2 },  { 0x50, 32 }, { 0x700, 0 }, { 0xc0000fff, 1 },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(wrong); i++) {
		const int status = add_in_child(wrong[i].base, wrong[i].size, 1);

		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL);
	}
	assert_int_equal(add_in_child(0x3f6, 2, 1), 0);
}

static void full(void **state)
{
	const unsigned room = BUS_WINDOWS - COUNT(map);
	int status;

	(void)state;
	assert_int_equal(add_in_child(0x1000, 0x100, room), 0);
	status = add_in_child(0x1000, 0x100, room + 1);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL);
}

static const struct CMUnitTest tests[] = {
	{ .name = "windows added in any order lie sorted", .test_func = sorted },
	{ .name = "first and last bytes of every window reach it", .test_func = every_window },
	{ .name = "beside the windows reads give all ones", .test_func = beside_the_windows },
	{ .name = "an access across a window's end reaches nothing", .test_func = across_an_end },
	{ .name = "an empty bus answers too", .test_func = empty },
	{ .name = "overlapping windows end the process", .test_func = overlaps },
	{ .name = "a window too many ends the process", .test_func = full },
};

int main(void)
{
	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
