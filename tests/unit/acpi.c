// SPDX-License-Identifier: Apache-2.0
/*
 * acpi_build() as a guest reads it: from the RSDP along the pointers, every sum and bound checked,
 * fields taken by their offsets in the ACPI specification and not by acpi.c's structures. Then as
 * Intel's compiler reads it, where iasl (package acpica-tools) is installed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../vmm/acpi.h"
#include "../../vmm/layout.h"

#define GPA	   ACPI_GPA
#define MAX_VIRTIO (DEVICE_MAX - 1)

/* Tables on a heap block of exactly `size` bytes, so that the sanitized build sees any step out. */
struct guest {
	uint8_t *mem;
	size_t size;
	uint64_t gpa;
};

struct table {
	const uint8_t *at;
	uint32_t length;
};

static struct guest build(uint64_t gpa, unsigned cpus, unsigned nr_virtio)
{
	struct guest g = { .gpa = gpa };
	uint8_t *room = malloc(ACPI_SIZE);
	int used;

	assert_non_null(room);
	used = acpi_build(room, ACPI_SIZE, gpa, cpus, nr_virtio, true);
	free(room);
	assert_in_range(used, 1, ACPI_SIZE);
	g.size = used;
	g.mem = malloc(g.size);
	assert_non_null(g.mem);
	assert_int_equal(acpi_build(g.mem, g.size, gpa, cpus, nr_virtio, true), used);
	return g;
}

static uint64_t word(const uint8_t *at, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	return value;
}

static uint8_t sum(const uint8_t *at, size_t length)
{
	uint8_t s = 0;

	while (length--)
		s += *at++;
	return s;
}

static const uint8_t *at_gpa(const struct guest *g, uint64_t gpa, uint64_t length)
{
	assert_true(gpa >= g->gpa && gpa - g->gpa <= g->size);
	assert_true(length <= g->size - (gpa - g->gpa));
	return g->mem + (gpa - g->gpa);
}

static struct table table(const struct guest *g, uint64_t gpa, const char *signature)
{
	struct table t = { .at = at_gpa(g, gpa, 36) };

	assert_int_equal(gpa % 16, 0);
	assert_memory_equal(t.at, signature, 4);
	t.length = word(t.at + 4, 4);
	assert_true(t.length >= 36);
	at_gpa(g, gpa, t.length);
	assert_int_equal(sum(t.at, t.length), 0);
	assert_memory_equal(t.at + 10, "MAYFLY", 6);
	return t;
}

static struct table xsdt(const struct guest *g)
{
	const uint8_t *rsdp = at_gpa(g, g->gpa, 36);

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(word(rsdp + 20, 4), 36);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	return table(g, word(rsdp + 24, 8), "XSDT");
}

static struct table fadt(const struct guest *g)
{
	const struct table x = xsdt(g);

	assert_int_equal(x.length, 36 + 2 * 8);
	return table(g, word(x.at + 36, 8), "FACP");
}

static struct table madt(const struct guest *g)
{
	return table(g, word(xsdt(g).at + 44, 8), "APIC");
}

static struct table dsdt(const struct guest *g)
{
	return table(g, word(fadt(g).at + 140, 8), "DSDT");
}

static void check_apart(const struct table *a, const struct table *b)
{
	assert_true(a->at + a->length <= b->at || b->at + b->length <= a->at);
}

static void every_size(void **state)
{
	(void)state;
	for (unsigned cpus = 1; cpus <= MAX_VCPUS; cpus++) {
		for (unsigned virtio = 0; virtio <= MAX_VIRTIO; virtio++) {
			struct guest g = build(GPA, cpus, virtio);
			const struct table t[] = { xsdt(&g), fadt(&g), madt(&g), dsdt(&g) };

			for (size_t i = 0; i < 4; i++) {
				/* above RSDP and generation */
				assert_true(t[i].at >= g.mem + 0x40);
				for (size_t j = 0; j < i; j++)
					check_apart(&t[i], &t[j]);
			}
			free(g.mem);
		}
	}
}

static void no_room(void **state)
{
	struct guest g = build(GPA, MAX_VCPUS, MAX_VIRTIO);

	(void)state;
	for (size_t size = 0; size < g.size; size++) {
		uint8_t *small = malloc(size ? size : 1);

		assert_non_null(small);
		assert_int_equal(acpi_build(small, size, GPA, MAX_VCPUS, MAX_VIRTIO, true),
				 -ENOSPC);
		free(small);
	}
	free(g.mem);
}

static void elsewhere(void **state)
{
	struct guest g = build(0xf0000, 3, 2);

	(void)state;
	dsdt(&g);
	madt(&g);
	free(g.mem);
}

/* The FADT's fields by their offsets in ACPI 6.5, table 5.9; every other byte is zero. */
static const struct {
	uint16_t offset;
	uint8_t size;
	uint64_t value;
} fadt_fields[] = {
	{ 109, 2, 1 << 2 | 1 << 5 }, /* no VGA, no CMOS clock; no 8042, no legacy devices */
	{ 112, 4, 0x101475 },	     /* see the_platform_is_hardware_reduced */
	{ 116, 4, 0x01000801 },	     /* RESET_REG: system I/O, 8 bits, byte access */
	{ 120, 8, RESET_PORT },	     /* its address */
	{ 128, 1, RESET_VALUE },     /* RESET_VALUE */
	{ 131, 1, 5 },		     /* minor version */
	{ 244, 4, 0x01000801 },	     /* SLEEP_CONTROL_REG */
	{ 248, 8, SLEEP_CONTROL_PORT },
	{ 256, 4, 0x01000801 }, /* SLEEP_STATUS_REG */
	{ 260, 8, SLEEP_STATUS_PORT },
	{ 268, 8, 0x594c4659414d }, /* hypervisor vendor: MAYFLY */
};

static void fadt_by_offsets(void **state)
{
	struct guest g = build(GPA, 1, 0);
	const struct table t = fadt(&g);
	uint8_t want[276] = { 0 };

	(void)state;
	assert_int_equal(t.length, sizeof(want));
	assert_int_equal(t.at[8], 6);
	memcpy(want, t.at, 36);
	memcpy(want + 140, t.at + 140, 8); /* X_DSDT, which dsdt() follows */
	for (size_t i = 0; i < sizeof(fadt_fields) / sizeof(fadt_fields[0]); i++)
		memcpy(want + fadt_fields[i].offset, &fadt_fields[i].value, fadt_fields[i].size);
	assert_memory_equal(t.at, want, sizeof(want));
	free(g.mem);
}

static void the_platform_is_hardware_reduced(void **state)
{
	struct guest g = build(GPA, 1, 0);
	const uint32_t flags = word(fadt(&g).at + 112, 4);

	(void)state;
	assert_true(flags & 1u << 20); /* HW_REDUCED_ACPI */
	assert_true(flags & 1u << 10); /* RESET_REG_SUP */
	assert_true(flags & 1u << 4);  /* no fixed power button */
	assert_true(flags & 1u << 5);  /* no fixed sleep button */
	assert_true(flags & 1u << 6);  /* no fixed RTC wake */
	assert_true(flags & 1u << 0);  /* WBINVD works */
	free(g.mem);
}

static void one_local_apic_a_processor(void **state)
{
	(void)state;
	for (unsigned cpus = 1; cpus <= MAX_VCPUS; cpus++) {
		struct guest g = build(GPA, cpus, 0);
		const struct table t = madt(&g);
		const uint8_t *entry = t.at + 44;

		assert_int_equal(word(t.at + 36, 4), LAPIC_GPA);
		assert_int_equal(word(t.at + 40, 4), 0); /* no PIC */
		assert_int_equal(t.length, 44 + cpus * 8 + 12);
		for (unsigned i = 0; i < cpus; i++, entry += 8) {
			assert_int_equal(word(entry, 2), 0x0800); /* local APIC, 8 bytes */
			assert_int_equal(entry[3], i);
			assert_int_equal(word(entry + 4, 4), 1); /* enabled */
		}
		assert_int_equal(word(entry, 2), 0x0c01); /* I/O APIC, 12 bytes */
		assert_int_equal(word(entry + 4, 4), IOAPIC_GPA);
		assert_int_equal(word(entry + 8, 4), 0); /* its first GSI */
		free(g.mem);
	}
}

/* Where `bytes` first stand in a table from `from` on, or NULL. */
static const uint8_t *find(const struct table *t, const uint8_t *from, const void *bytes,
			   size_t length)
{
	for (; from + length <= t->at + t->length; from++)
		if (memcmp(from, bytes, length) == 0)
			return from;
	return NULL;
}

/* What cannot be cloned is spared the time that its kernel takes to find that out. */
static void a_generation_on_demand(void **state)
{
	struct guest g = build(GPA, 1, 0);
	struct table t = dsdt(&g);

	(void)state;
	assert_non_null(find(&t, t.at, "VGEN", 4));
	assert_non_null(find(&t, t.at, "ACPI0013", 8));
	assert_true(acpi_build(g.mem, g.size, GPA, 1, 0, false) > 0);
	t = dsdt(&g);
	assert_null(find(&t, t.at, "VGEN", 4));
	assert_null(find(&t, t.at, "ACPI0013", 8));
	assert_non_null(find(&t, t.at, "COM1", 4));
	free(g.mem);
}

static void one_device_a_window(void **state)
{
	(void)state;
	for (unsigned virtio = 0; virtio <= MAX_VIRTIO; virtio++) {
		struct guest g = build(GPA, 1, virtio);
		const struct table t = dsdt(&g);
		const uint8_t *at = t.at;

		for (unsigned i = 0; i < virtio; i++) {
			const uint32_t base = DEVICE_GPA + (i + 1) * DEVICE_SIZE;
			const uint32_t gsi = VIRTIO_GSI + i;

			at = find(&t, at, "LNRO0005", 9);
			assert_non_null(at);
			at = find(&t, at, &base, sizeof(base));
			assert_non_null(at);
			at = find(&t, at, &gsi, sizeof(gsi));
			assert_non_null(at);
		}
		assert_null(find(&t, at, "LNRO0005", 9));
		free(g.mem);
	}
}

/* Runs a shell command in `dir`; its output, cut to the buffer, and its success. */
static bool run(const char *dir, const char *command, char *output, size_t size)
{
	char line[1024];
	size_t used;
	FILE *p;

	snprintf(line, sizeof(line), "cd '%s' && { %s; } 2>&1", dir, command);
	p = popen(line, "r");
	assert_non_null(p);
	used = fread(output, 1, size - 1, p);
	output[used] = '\0';
	return pclose(p) == 0;
}

static void expect(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("without \"%s\":\n%s", part, text);
}

static void save(const char *dir, const char *name, const struct table *t)
{
	char path[1024];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(t->at, 1, t->length, f), t->length);
	assert_int_equal(fclose(f), 0);
}

/* A new directory with the tables of the largest guest in it, disassembled; skips without iasl. */
static int disassemble(void **state)
{
	static char dir[64], output[65536];
	struct guest g = build(GPA, MAX_VCPUS, MAX_VIRTIO);
	const struct table x = xsdt(&g), f = fadt(&g), m = madt(&g), d = dsdt(&g);

	strcpy(dir, "/tmp/mayfly-acpi.XXXXXX");
	assert_non_null(mkdtemp(dir));
	save(dir, "xsdt", &x);
	save(dir, "facp", &f);
	save(dir, "apic", &m);
	save(dir, "dsdt", &d);
	free(g.mem);
	*state = run(dir, "command -v iasl", output, sizeof(output)) ? dir : NULL;
	if (*state && !run(dir, "iasl -d *.aml", output, sizeof(output)))
		fail_msg("iasl -d: %s", output);
	return 0;
}

static int discard(void **state)
{
	char output[256];

	if (*state)
		run(*state, "rm -r \"$PWD\"", output, sizeof(output));
	return 0;
}

static const char *disassembly(void **state)
{
	if (*state == NULL) {
		print_message("# iasl is not installed: apt-get install acpica-tools\n");
		skip();
	}
	return *state;
}

static void iasl_takes_all_tables(void **state)
{
	static const char *const tables[] = { "xsdt", "facp", "apic", "dsdt" };
	const char *dir = disassembly(state);
	char command[64], output[8192];

	for (size_t i = 0; i < 4; i++) {
		snprintf(command, sizeof(command), "iasl -we -p again %s.dsl", tables[i]);
		if (!run(dir, command, output, sizeof(output)))
			fail_msg("%s: %s", command, output);
		expect(output, "0 Errors, 0 Warnings, 0 Remarks");
	}
}

static void iasl_sees_the_devices(void **state)
{
	static char text[65536];
	const char *dir = disassembly(state);
	char generation[512];

	/* one line, single spaces, no comments */
	assert_true(run(dir, "sed -e 's,/\\*.*\\*/,,' -e 's,//.*,,' dsdt.dsl | tr -s ' \\n' ' '",
			text, sizeof(text)));
	expect(text, "DefinitionBlock (\"\", \"DSDT\", 2, \"MAYFLY\", \"MAYFLYVM\", 0x00000001)");
	expect(text, "Name (_S5, Package (0x01) { 0x05 })");
	expect(text, "Device (COM1) { Name (_HID, EisaId (\"PNP0501\") ) Name (_UID, 0x01) "
		     "Name (_CRS, ResourceTemplate () { "
		     "IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08, ) "
		     "IRQ (Edge, ActiveHigh, Exclusive, ) {4} }) }");
	snprintf(generation, sizeof(generation),
		 "Device (VGEN) { Name (_HID, \"MAYF0001\") Name (_CID, \"VMGENCTR\") "
		 "Name (_DDN, \"VM_Gen_Counter\") Name (ADDR, Package (0x02) { 0x%08lX, Zero }) } "
		 "Device (GED) { Name (_HID, \"ACPI0013\" ) Name (_UID, 0x00) "
		 "Name (_CRS, ResourceTemplate () { "
		 "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x%08X, } }) "
		 "Method (_EVT, 1, NotSerialized) { Notify (VGEN, 0x80) } }",
		 GENERATION_GPA, GENERATION_GSI);
	expect(text, generation);
	for (unsigned i = 0; i < MAX_VIRTIO; i++) {
		char device[512];

		snprintf(device, sizeof(device),
			 "Device (V%03u) { Name (_HID, \"LNRO0005\") Name (_UID, 0x%02X) "
			 "Name (_CCA, 0x01) Name (_CRS, ResourceTemplate () { "
			 "Memory32Fixed (ReadWrite, 0x%08lX, 0x00001000, ) "
			 "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) "
			 "{ 0x%08X, } }) }",
			 i, i, DEVICE_GPA + (i + 1) * DEVICE_SIZE, VIRTIO_GSI + i);
		expect(text, device);
	}
}

static const struct CMUnitTest tests[] = {
	{ .name = "for every number of processors and devices all sums are right",
	  .test_func = every_size },
	{ .name = "a buffer a byte too small is left alone beyond its end", .test_func = no_room },
	{ .name = "pointers follow the address of the tables", .test_func = elsewhere },
	{ .name = "the FADT has each field in its place", .test_func = fadt_by_offsets },
	{ .name = "the platform is hardware-reduced",
	  .test_func = the_platform_is_hardware_reduced },
	{ .name = "each processor has a local APIC, and there is an I/O APIC",
	  .test_func = one_local_apic_a_processor },
	{ .name = "each virtio window has a device", .test_func = one_device_a_window },
	{ .name = "a generation is there where it is asked for",
	  .test_func = a_generation_on_demand },
	{ .name = "iasl recompiles every table without a remark",
	  .test_func = iasl_takes_all_tables,
	  .setup_func = disassemble,
	  .teardown_func = discard },
	{ .name = "iasl sees the serial port, the generation and the virtio devices",
	  .test_func = iasl_sees_the_devices,
	  .setup_func = disassemble,
	  .teardown_func = discard },
};

int main(void)
{
	return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
