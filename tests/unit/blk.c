// SPDX-License-Identifier: Apache-2.0
/*
 * The block device whole, on the stand-in loop of tests/fuzz/blk.c: rings with plausible requests
 * in them, bent at random, any order of kicks, completions and register writes. What a request does
 * is tested by tests/guest/blk.c, on the real thing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct input {
	uint8_t features, shift, has_layer, unused;
	uint16_t desc[3], more[3];
	uint8_t steps[64][4];
	/* Guest memory, from address 0. */
	struct desc ring[2][16];
	uint16_t driver[2][32];
	uint8_t device[2][256];
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} headers[16];
	struct {
		uint64_t sector;
		uint32_t nr, flags;
	} ranges[4];
} in;

static uint32_t seed = 2463534242u;

static uint32_t dice(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return (seed >> 3) % below;
}

static uint64_t gpa_of(const void *at)
{
	return (uint64_t)((const uint8_t *)at - (const uint8_t *)in.ring);
}

static void make_request(unsigned q, unsigned slot)
{
	static const uint32_t types[] = { 0, 0, 1, 1, 1, 4, 8, 11, 13, 99 };
	const unsigned h = dice(16), at = slot * 3;
	const uint32_t type = types[dice(10)];
	const bool is_range = type == 11 || type == 13, is_in = type == 0 || type == 8;
	struct desc *d = &in.ring[q][at];

	in.headers[h].type = type;
	in.headers[h].sector = dice(130);
	d[0] = (struct desc){ gpa_of(&in.headers[h]), 16, 1, (uint16_t)(at + 1) };
	d[1] = (struct desc){ is_range ? gpa_of(&in.ranges[dice(4)]) : 4096 + dice(8) * 512,
			      is_range ? 16 : 512 * (1 + dice(12)), is_in ? 3 : 1,
			      (uint16_t)(at + 2) };
	d[2] = (struct desc){ 3000 + dice(100), 1, 2, 0 };
	in.driver[q][2 + slot] = (uint16_t)at;
}

static void make_input(void)
{
	memset(&in, 0, sizeof(in));
	in.features = (uint8_t)dice(256);
	in.shift = 4;
	in.has_layer = (uint8_t)dice(2);
	for (unsigned i = 0; i < 4; i++) {
		in.ranges[i].sector = dice(130);
		in.ranges[i].nr = dice(20);
		in.ranges[i].flags = dice(3) / 2;
	}
	for (unsigned q = 0; q < 2; q++) {
		uint16_t *const place = q ? in.more : in.desc;

		place[0] = (uint16_t)gpa_of(in.ring[q]);
		place[1] = (uint16_t)gpa_of(in.driver[q]);
		place[2] = (uint16_t)gpa_of(in.device[q]);
		for (unsigned slot = 0; slot < 5; slot++)
			make_request(q, slot);
		in.driver[q][1] = (uint16_t)(1 + dice(5));
	}
	for (unsigned i = 0; i < 64; i++)
		for (unsigned j = 0; j < 4; j++)
			in.steps[i][j] = (uint8_t)dice(256);
}

/* One in three as it should be, the others with some bytes changed. */
static void bend(void)
{
	for (uint32_t n = dice(3) * dice(20); n > 0; n--)
		((uint8_t *)in.ring)[dice(sizeof(in) - offsetof(struct input, ring))] =
			(uint8_t)dice(256);
}

static void random_devices(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4000; i++) {
		make_input();
		bend();
		LLVMFuzzerTestOneInput((const uint8_t *)&in, sizeof(in));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "whatever a guest does, requests end and a reset ends them all", random_devices,
		  NULL, NULL, NULL },
	};

	return cmocka_run_group_tests_name("blk", tests, NULL, NULL);
}
