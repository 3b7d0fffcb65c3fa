// SPDX-License-Identifier: Apache-2.0
/*
 * `seeds NAME DIRECTORY` writes first inputs for the fuzzer NAME into an existing directory. Beside
 * the specimens come the heads of the stock kernel's files where MAYFLY_STOCK names their
 * directory: real headers, a few KiB instead of 60 MB.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/specimen.h"

#define STOCK_HEAD 4096u

static const char *directory;

static _Noreturn void die(const char *path)
{
	fprintf(stderr, "seeds: %s: %s\n", path, strerror(errno));
	exit(1);
}

static void seed(const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
		die(path);
}

static void seed_stock(const char *name)
{
	const char *stock = getenv("MAYFLY_STOCK");
	char path[4096], head[STOCK_HEAD];
	FILE *f;

	if (stock == NULL)
		return;
	snprintf(path, sizeof(path), "%s/%s", stock, name);
	f = fopen(path, "rb");
	if (f == NULL || fread(head, 1, sizeof(head), f) != sizeof(head))
		die(path);
	fclose(f);
	seed(name, head, sizeof(head));
}

/* Text in pages, told by a section: what elf_text() cuts. */
static void seed_sections(void)
{
	static struct {
		Elf64_Ehdr eh;
		Elf64_Phdr text;
		Elf64_Shdr sh[3];
		_Alignas(4096) uint8_t pages[4][4096];
	} file;

	file.eh = elf.eh;
	file.eh.e_phoff = offsetof(__typeof__(file), text);
	file.eh.e_phnum = 1;
	file.eh.e_shoff = offsetof(__typeof__(file), sh);
	file.eh.e_shentsize = sizeof(Elf64_Shdr);
	file.eh.e_shnum = 3;
	file.text = elf.text;
	file.text.p_offset = offsetof(__typeof__(file), pages);
	file.text.p_filesz = file.text.p_memsz = sizeof(file.pages);
	file.sh[1] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
				   .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
				   .sh_offset = offsetof(__typeof__(file), pages),
				   .sh_size = 2 * 4096 };
	file.sh[2] = (Elf64_Shdr){ .sh_type = SHT_PROGBITS,
				   .sh_flags = SHF_ALLOC,
				   .sh_offset = offsetof(__typeof__(file), pages[3]) };
	memset(file.pages[0], 0x90, 100);
	seed("elf-sections", &file, sizeof(file));
}

static void seed_image(void)
{
	uint8_t bzimage[BZ_SIZE];
	struct elf file = elf;

	seed("elf-pvh", &file, sizeof(file));
	file.pvh.nh.n_descsz = 4;
	file.notes.p_filesz -= 4;
	seed("elf-pvh-short", &file, sizeof(file));
	file.notes.p_type = PT_NULL;
	seed("elf-entry", &file, sizeof(file));
	seed_sections();
	bzimage_fill(bzimage);
	seed("bzimage", bzimage, sizeof(bzimage));
	seed_stock("vmlinux");
	seed_stock("vmlinuz");
}

/* What a driver does, in steps of tests/fuzz/serial.c: what, register, value. */
static void seed_serial(void)
{
	static const uint8_t probe[] = { 0,    1, 0, 0, 4, 0x1a, 2, 6, 0, 0,	4,
					 0x0b, 0, 2, 1, 2, 2,	 0, 0, 3, 0x80, 0,
					 0,    1, 0, 1, 0, 0,	 3, 3, 0, 2,	0xc7 };
	static const uint8_t print[] = { 0, 1,	2, 2, 2, 0, 5, 8,   'a', 6, 100, 0, 0, 0, 'b',
					 6, 50, 0, 2, 5, 0, 6, 100, 0,	 2, 2,	 0, 0, 1, 0 };
	static const uint8_t full[] = { 5, 255, 1,   5, 255, 2, 5, 255, 3, 5, 255,
					4, 5,	255, 5, 2,   5, 0, 6,	1, 0, 2,
					5, 0,	0,   0, 'x', 9, 1, 0,	9, 0, 0 };
	static const uint8_t input[] = { 0, 4, 2, 0, 1, 5, 7, 3, 'a', 7, 3, 'a', 2, 5, 0, 2, 0,
					 0, 2, 0, 0, 8, 0, 0, 2, 5,   0, 2, 0,	 0, 2, 2, 0 };
	static const uint8_t loopback[] = { 0,	 4, 2, 7, 0, 0, 0, 4, 0x12, 5, 1, 'l', 7, 255,
					    'i', 2, 0, 0, 2, 5, 0, 0, 2,    3, 0, 4,   2 };

	seed("probe", probe, sizeof(probe));
	seed("print", print, sizeof(print));
	seed("full", full, sizeof(full));
	seed("input", input, sizeof(input));
	seed("loopback", loopback, sizeof(loopback));
}

/*
 * A ring of four with a direct chain, then an indirect one; see struct head in tests/fuzz/queue.c.
 */
static void seed_queue(void)
{
	static const struct {
		uint8_t features, shift;
		uint16_t desc, driver, device;
		uint8_t steps[48];
		struct {
			uint64_t addr;
			uint32_t len;
			uint16_t flags, next;
		} ring[4], table[2];
		uint16_t driver_area[8];
	} rings = {
		.features = 0x30, /* INDIRECT_DESC and EVENT_IDX, from bit 24 */
		.shift = 2,
		.driver = 96,
		.device = 128,
		.steps = { 0, 0, 2, 2, 3, 4, 11, 0, 2, 3, 4 },
		.ring = { { 512, 16, 1, 1 },
			  { 1024, 512, 3, 2 },
			  { 2048, 1, 2, 0 },
			  { 64, 32, 4, 0 } },
		.table = { { 512, 16, 1, 1 }, { 4096, 4096, 2, 0 } },
		.driver_area = { 0, 2, 0, 3 },
	};

	_Static_assert(offsetof(__typeof__(rings), ring) == 56, "as in tests/fuzz/queue.c");
	seed("rings", &rings, sizeof(rings));
}

/* On a disk, with and without a layer: one read and one write; zeros and a discard. See struct head
 * in tests/fuzz/blk.c. */
static void seed_blk(void)
{
	struct {
		uint8_t features, shift, has_layer, unused;
		uint16_t desc, driver, device, more[3];
		uint8_t steps[64][4];
		struct {
			uint64_t addr;
			uint32_t len;
			uint16_t flags, next;
		} ring[8];
		uint16_t driver_area[32];
		struct {
			uint32_t type, reserved;
			uint64_t sector;
		} headers[2];
		struct {
			uint64_t sector;
			uint32_t nr, flags;
		} ranges[2];
	} d = {
		.features = 0x30,
		.shift = 3,
		.driver = 128,
		.device = 1024,
		.more = { 2048, 2304, 2560 },
		/* A write to a layer has three: the copy's read and write, and its own. */
		.steps = { { 1 },
			   { 3, 1 },
			   { 5 },
			   { 3, 2 },
			   { 5 },
			   { 3, 1 },
			   { 3, 1 },
			   { 5 },
			   { 3, 1 },
			   { 3, 1 },
			   { 3, 1 },
			   { 5 },
			   { 7, 8 } },
		.ring = { { 192, 16, 1, 1 },
			  { 4096, 512, 3, 2 },
			  { 700, 1, 2, 0 },
			  { 208, 16, 1, 4 },
			  { 4096, 1024, 1, 5 },
			  { 701, 1, 2, 0 } },
		.driver_area = { 0, 2, 0, 3 },
		.headers = { { 0, 0, 5 }, { 1, 0, 9 } },
		.ranges = { { 3, 20, 1 }, { 8, 16, 0 } },
	};

	seed("plain", &d, sizeof(d));
	d.has_layer = 1;
	seed("layer", &d, sizeof(d));
	d.headers[0].type = 13;
	d.headers[1].type = 11;
	for (unsigned i = 0; i < 2; i++) {
		d.ring[3 * i + 1].addr = 224 + 16 * i;
		d.ring[3 * i + 1].len = 16;
		d.ring[3 * i + 1].flags = 1;
	}
	seed("layer-ranges", &d, sizeof(d));
	d.has_layer = 0;
	seed("plain-ranges", &d, sizeof(d));
}

/* The first byte cuts: see tests/fuzz/http.c. */
static void seed_http(void)
{
	static const char get[] = "\x11GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static const char put[] = "\x2fPUT /vm HTTP/1.1\r\nExpect: 100-continue\r\n"
				  "Content-Length: 2\r\n\r\n{}GET http://a/b HTTP/1.0\r\n\r\n";

	seed("get", get, sizeof(get) - 1);
	seed("put", put, sizeof(put) - 1);
}

/* Requests to tests/fuzz/api.c: a byte for the method, the path, a blank, the body. */
static void seed_api(void)
{
	static const char start[] =
		"\x01/machine-config {\"vcpu_count\":2,\"mem_size_mib\":64,\"smt\":true}\n"
		"\x02/machine-config {\"huge_pages\":\"Transparent\",\"track_dirty_pages\":false}\n"
		"\x01/boot-source {\"kernel_image_path\":\"/dev/null\",\"boot_args\":\"a\"}\n"
		"\x01/actions {\"action_type\":\"InstanceStart\"}\n\x02/vm {\"state\":\"Paused\"}\n";
	static const char net[] =
		"\x01/network-interfaces/n {\"iface_id\":\"n\",\"host_dev_name\":\"t\",\"mtu\":1500,"
		"\"guest_mac\":\"02:00:00:00:00:01\",\"rx_rate_limiter\":{\"ops\":{\"size\":5,"
		"\"one_time_burst\":6,\"refill_time\":7}}}\n\x01/serial {\"serial_out_path\":\"o\"}\n"
		"\x01/drives/d {\"drive_id\":\"d\",\"is_root_device\":true}\n\x00/x \n";

	seed("start", start, sizeof(start) - 1);
	seed("net", net, sizeof(net) - 1);
}

/* A stream of a frame and a half, and one that is lost; datagrams: a frame, a batch of two,
 * segments; see struct head and step() in tests/fuzz/net.c.
 */
static void seed_net(void)
{
	static const uint8_t stream[] = { 1, 0x82, 3, 0, 0, 30, 0, 0, 0, 20, 2, 0, 0, 0, 0, 1,
					  2, 0,	   0, 0, 0, 2,	8, 0, 1, 2,  3, 4, 5, 6, 0, 0,
					  0, 60,   9, 9, 5, 3,	6, 9, 7, 0,  4, 9, 9, 0 };
	static const uint8_t peer[] = { 0,  0x82, 6,  0,  0, 40, 1, 0, 0, 0, 0, 0, 14, 0,
					6,  0,	  3,  0,  2, 0,	 0, 0, 0, 1, 2, 0, 0,  0,
					0,  2,	  8,  0,  1, 2,	 3, 4, 5, 6, 7, 8, 9,  10,
					11, 12,	  13, 14, 8, 0,	 5, 9, 7, 0, 9, 0 };
	/* A length that is none, the timer that connects anew, and a frame. */
	static const uint8_t lost[] = { 1,  0x82, 3, 0, 0,  4, 9, 5, 3, 6, 7, 0, 0,
					24, 0,	  0, 0, 20, 2, 0, 0, 0, 0, 1, 2, 0,
					0,  0,	  0, 2, 8,  0, 1, 2, 3, 4, 5, 6 };

	seed("stream", stream, sizeof(stream));
	seed("lost", lost, sizeof(lost));
	/* A step that feeds 86 or 166 bytes */
	static const uint8_t batch[4 + 2 + 86] = { 0,
						   0x82,
						   6,
						   0,
						   0,
						   86,
						   1,
						   0x7f,
						   [4 + 2 + 26 + 10] = 20,
						   [4 + 2 + 26 + 12 + 20 + 10] = 16 };
	static const uint8_t segments[4 + 2 + 166] = {
		0,
		0x82,
		6,
		0,
		0,
		166,
		1,
		1,
		54,
		0,
		48,
		0,
		34,
		0,
		16,
		[4 + 2 + 24] = 8,
		[4 + 2 + 26] = 0x45,
		[4 + 2 + 35] = 6,
		[4 + 2 + 58] = 0x50,
	};

	seed("peer", peer, sizeof(peer));
	seed("batch", batch, sizeof(batch));
	seed("segments", segments, sizeof(segments));
}

/* As many small buffers as a queue can have, and one more than that. */
static void seed_full_queues(void)
{
	static struct {
		uint8_t kind, shift;
		uint16_t limits;
		uint32_t features;
		uint16_t places[5][3], unused;
		uint8_t steps[64][4];
		struct {
			uint64_t addr;
			uint32_t len;
			uint16_t flags, next;
		} ring[256];
		uint16_t driver_area[512];
		uint8_t device_area[4096];
	} d = {
		.shift = 8,
		.features = 0x30408883,
		.places = { { 0, 4096, 5120 } },
		.steps = { { 9, 0, 2 }, { 3, 0, 0, 20 }, { 3, 0, 8, 80 }, { 7 }, { 3, 0, 4, 5 } },
		.driver_area = { 0, 255 },
	};
	const char *const names[] = { "full-peer", "full-stream", "full-pairs" };

	for (unsigned q = 1; q < 5; q++) /* in memory that is zeros */
		memcpy(d.places[q], (uint16_t[]){ 0x4000, 0x5000, (uint16_t)(0x5000 + q * 0x1000) },
		       6);
	for (uint16_t i = 0; i < 256; i++) {
		d.ring[i].addr = 0x20000 + 64u * i;
		d.ring[i].len = 64;
		d.ring[i].flags = 2;
		d.driver_area[2 + i] = i;
	}
	for (uint8_t i = 0; i < 3; i++) {
		d.kind = i;
		seed(names[i], &d, sizeof(d));
	}
}

/* A driver as it should be, on each kind of link, and one whose buffers are the largest there are
 * behind small ones; see struct head in tests/fuzz/netbad.c. */
static void seed_netbad(void)
{
	static struct {
		uint8_t kind, shift;
		uint16_t limits;
		uint32_t features;
		uint16_t places[5][3], unused;
		uint8_t steps[64][4];
		struct {
			struct {
				uint64_t addr;
				uint32_t len;
				uint16_t flags, next;
			} ring[16];
			uint16_t driver_area[128];
			uint8_t device_area[512];
		} queue[5];
		uint8_t buffers[3072], order[8];
		struct {
			uint64_t addr;
			uint32_t len;
			uint16_t flags, next;
		} table[256];
	} d = {
		.shift = 4,
		.features = 0x30408883, /* indirect, event indexes, MRG_RXBUF, TSO4, CSUM, MQ */
		.steps = { { 3, 0, 0, 20 },
			   { 3, 0, 8, 3 },
			   { 3, 0, 2, 9 },
			   { 3, 0, 4, 5 },
			   { 6, 0, 0 },
			   { 6, 0, 210 },
			   { 9, 0, 2 },
			   { 3, 0, 1, 30 },
			   { 7 },
			   { 8 },
			   { 9, 1, 2 },
			   { 9, 4, 1 },
			   { 6 },
			   { 0 },
			   { 3, 0, 9, 9 } },
		.order = { 4, 0, 2, 0 },
	};
	const char *const names[] = { "peer", "stream", "pairs" };
	const char *const limited[] = { "peer-limited", "stream-limited", "pairs-limited" };
	const size_t memory = offsetof(__typeof__(d), queue);

	for (unsigned q = 0; q < 5; q++) {
		const uint16_t at = (uint16_t)(q * sizeof(d.queue[0]));

		memcpy(d.places[q], (uint16_t[]){ at, at + 256, at + 512 }, 6);
		d.queue[q].driver_area[1] = 8;
		for (uint16_t i = 0; i < 8; i++) {
			d.queue[q].driver_area[2 + i] = i;
			d.queue[q].ring[i].addr = 5120 + 384 * i;
			d.queue[q].ring[i].len = q % 2 ? 74 : 384;
			d.queue[q].ring[i].flags = q % 2 ? 0 : 2;
		}
	}
	d.queue[4].ring[0].addr = offsetof(__typeof__(d), order) - memory;
	d.queue[4].ring[0].len = 4;
	d.queue[4].ring[0].flags = d.queue[4].ring[0].next = 1;
	d.queue[4].driver_area[1] = 1;
	for (uint8_t i = 0; i < 3; i++) {
		d.kind = i;
		d.limits = 0;
		seed(names[i], &d, sizeof(d));
		d.limits = 3;
		seed(limited[i], &d, sizeof(d));
	}
	d.kind = 0;
	d.features &= ~0x8083u; /* one buffer each; segments are cut for it, and checksums made */
	seed("simple", &d, sizeof(d));
	d.limits = 0;
	d.features |= 0x8083u;
	for (unsigned i = 0; i < 256; i++) {
		d.table[i].len = (16u << 20) - (i == 255);
		d.table[i].flags = i == 255 ? 2 : 3;
		d.table[i].next = (uint16_t)(i + 1);
	}
	d.queue[0].ring[0].len = 50;
	d.queue[0].ring[1].addr = offsetof(__typeof__(d), table) - memory;
	d.queue[0].ring[1].len = sizeof(d.table);
	d.queue[0].ring[1].flags = 4;
	d.queue[0].driver_area[1] = 2;
	seed("huge", &d, sizeof(d));
	seed_full_queues();
}

static const struct {
	const char *name;
	void (*write)(void);
} fuzzers[] = {
	{ "image", seed_image }, { "serial", seed_serial }, { "queue", seed_queue },
	{ "blk", seed_blk },	 { "http", seed_http },	    { "api", seed_api },
	{ "net", seed_net },	 { "netbad", seed_netbad },
};

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: seeds FUZZER DIRECTORY\n");
		return 2;
	}
	directory = argv[2];
	for (size_t i = 0; i < sizeof(fuzzers) / sizeof(fuzzers[0]); i++) {
		if (strcmp(argv[1], fuzzers[i].name) == 0) {
			fuzzers[i].write();
			return 0;
		}
	}
	fprintf(stderr, "seeds: there is no fuzzer %s\n", argv[1]);
	return 2;
}
