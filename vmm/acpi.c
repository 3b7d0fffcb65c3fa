// SPDX-License-Identifier: Apache-2.0
/*
 * Tells the guest what layout.h says, in ACPI's words: no fixed hardware but the sleep and reset
 * registers, one local APIC per processor, one I/O APIC, a serial port, and the virtio windows as
 * the LNRO0005 devices that stock kernels look for. boot.c calls it once, before the guest runs.
 * Section numbers are ACPI 6.5's. The DSDT is written by the few AML encoders below.
 */
#include "acpi.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "layout.h"

#define PACKED __attribute__((packed))

#define OEM_ID	     "MAYFLY"
#define OEM_TABLE_ID "MAYFLYVM"

/* 5.2.6: the head of every table but the RSDP. */
struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

/* 5.2.5.3 */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} PACKED;

/* 5.2.3.2: generic address structure */
struct gas {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} PACKED;

#define GAS_SYSTEM_IO	1u
#define GAS_BYTE_ACCESS 1u

/* 5.2.9; what a hardware-reduced platform leaves zero is not named one by one. */
struct fadt {
	struct header header;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved;
	uint8_t preferred_pm_profile;
	uint8_t pm_fixed_hardware[63]; /* SCI_INT to CENTURY */
	uint16_t iapc_boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct gas x_pm_fixed_hardware[8]; /* X_PM1a_EVT_BLK to X_GPE1_BLK */
	struct gas sleep_control_reg;
	struct gas sleep_status_reg;
	char hypervisor_vendor[8];
} PACKED;

_Static_assert(sizeof(struct header) == 36, "5.2.6");
_Static_assert(sizeof(struct rsdp) == 36, "5.2.5.3");
_Static_assert(sizeof(struct fadt) == 276, "5.2.9");

/* 5.2.9.3 */
#define IAPC_VGA_NOT_PRESENT	  (1u << 2)
#define IAPC_CMOS_RTC_NOT_PRESENT (1u << 5)

/* 5.2.9, table 5.10. A set button flag means: not a fixed-hardware button. */
#define FADT_WBINVD	     (1u << 0)
#define FADT_PROC_C1	     (1u << 2)
#define FADT_PWR_BUTTON	     (1u << 4)
#define FADT_SLP_BUTTON	     (1u << 5)
#define FADT_FIX_RTC	     (1u << 6)
#define FADT_RESET_REG_SUP   (1u << 10)
#define FADT_HEADLESS	     (1u << 12)
#define FADT_HW_REDUCED_ACPI (1u << 20)

/* 5.2.12 */
struct madt {
	struct header header;
	uint32_t lapic_address;
	uint32_t flags; /* PCAT_COMPAT clear: no PIC */
} PACKED;

struct madt_lapic {
	uint8_t type; /* 0 */
	uint8_t length;
	uint8_t processor_uid;
	uint8_t apic_id;
	uint32_t flags;
} PACKED;

struct madt_ioapic {
	uint8_t type; /* 1 */
	uint8_t length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} PACKED;

#define MADT_LAPIC_ENABLED 1u

/*
 * Where tables are written. `used` runs on past `size`, so that nothing but the end need ask
 * whether there was room; the bytes that have none are dropped.
 */
struct out {
	uint8_t *buf;
	size_t size;
	size_t used;
};

static void put(struct out *out, const void *bytes, size_t length)
{
	if (out->used + length <= out->size)
		memcpy(out->buf + out->used, bytes, length);
	out->used += length;
}

/* Writes over what was put at `offset`, and only there. */
static void patch(struct out *out, size_t offset, const void *bytes, size_t length)
{
	if (offset + length <= out->size)
		memcpy(out->buf + offset, bytes, length);
}

static void put8(struct out *out, uint8_t value)
{
	put(out, &value, sizeof(value));
}

static void put32(struct out *out, uint32_t value)
{
	put(out, &value, sizeof(value));
}

/* Tables begin at multiples of 16 bytes. */
static size_t table_begin(struct out *out)
{
	while (out->used % 16)
		put8(out, 0);
	return out->used;
}

static struct header table_header(const char signature[4], uint8_t revision)
{
	struct header h = { .revision = revision, .oem_revision = 1, .creator_revision = 1 };

	memcpy(h.signature, signature, sizeof(h.signature));
	memcpy(h.oem_id, OEM_ID, sizeof(h.oem_id));
	memcpy(h.oem_table_id, OEM_TABLE_ID, sizeof(h.oem_table_id));
	memcpy(h.creator_id, OEM_ID, sizeof(h.creator_id));
	return h;
}

/* The byte that makes the sum of data[0..length), where it now is zero, zero. */
static uint8_t checksum(const uint8_t *data, size_t length)
{
	uint8_t sum = 0;

	while (length--)
		sum += *data++;
	return -sum;
}

/* Fills in the length and the checksum of the table begun at `begin`. */
static void table_end(struct out *out, size_t begin)
{
	uint32_t length = out->used - begin;
	uint8_t sum;

	if (out->used > out->size)
		return;
	patch(out, begin + offsetof(struct header, length), &length, sizeof(length));
	sum = checksum(out->buf + begin, length);
	patch(out, begin + offsetof(struct header, checksum), &sum, sizeof(sum));
}

/* AML, chapter 20.2: the encodings used. */
#define AML_ZERO    0x00
#define AML_NAME    0x08
#define AML_BYTE    0x0a
#define AML_DWORD   0x0c
#define AML_STRING  0x0d
#define AML_SCOPE   0x10
#define AML_BUFFER  0x11
#define AML_PACKAGE 0x12
#define AML_METHOD  0x14
#define AML_EXT	    0x5b /* the next byte is an extended opcode */
#define AML_DEVICE  0x82
#define AML_NOTIFY  0x86

/*
 * A package's length stands before its contents and counts itself. The three-byte form (20.2.4)
 * holds any length below 1 MiB, more than the tables have room for.
 */
#define PKG_LENGTH_SIZE 3u
_Static_assert(ACPI_SIZE <= 1u << 20, "the package length has 20 bits");

static size_t pkg_begin(struct out *out)
{
	static const uint8_t unknown[PKG_LENGTH_SIZE];
	size_t begin = out->used;

	put(out, unknown, sizeof(unknown));
	return begin;
}

static void pkg_end(struct out *out, size_t begin)
{
	size_t length = out->used - begin;
	uint8_t bytes[PKG_LENGTH_SIZE] = { 2 << 6 | (length & 0xf), length >> 4, length >> 12 };

	patch(out, begin, bytes, sizeof(bytes));
}

static void aml_name(struct out *out, const char name[4])
{
	put8(out, AML_NAME);
	put(out, name, 4);
}

static void aml_name_byte(struct out *out, const char name[4], uint8_t value)
{
	aml_name(out, name);
	put8(out, AML_BYTE);
	put8(out, value);
}

static void aml_name_string(struct out *out, const char name[4], const char *value)
{
	aml_name(out, name);
	put8(out, AML_STRING);
	put(out, value, strlen(value) + 1);
}

static size_t aml_device_begin(struct out *out, const char name[4])
{
	size_t begin;

	put8(out, AML_EXT);
	put8(out, AML_DEVICE);
	begin = pkg_begin(out);
	put(out, name, 4);
	return begin;
}

/*
 * Name (_CRS, ResourceTemplate () {resources}): a buffer, its end marked by an end tag (6.4.2.9).
 */
static void aml_crs(struct out *out, const void *resources, uint8_t length)
{
	static const uint8_t end_tag[] = { 0x79, 0 };
	size_t begin;

	aml_name(out, "_CRS");
	put8(out, AML_BUFFER);
	begin = pkg_begin(out);
	put8(out, AML_BYTE);
	put8(out, length + sizeof(end_tag));
	put(out, resources, length);
	put(out, end_tag, sizeof(end_tag));
	pkg_end(out, begin);
}

/* The serial port: PNP0501, a 16550A, at the ports and on the interrupt of a PC's COM1. */
static void aml_com1(struct out *out)
{
	static const struct {
		uint8_t io_tag, io_decode; /* 6.4.2.5, 16-bit addresses */
		uint16_t io_min, io_max;
		uint8_t io_align, io_length;
		uint8_t irq_tag; /* 6.4.2.1, three bytes follow */
		uint16_t irq_mask;
		uint8_t irq_flags; /* edge, active high, exclusive */
	} PACKED crs = {
		.io_tag = 0x47,
		.io_decode = 1,
		.io_min = COM1_PORT,
		.io_max = COM1_PORT,
		.io_align = 1,
		.io_length = 8,
		.irq_tag = 0x23,
		.irq_mask = 1u << COM1_GSI,
		.irq_flags = 1,
	};
	size_t begin = aml_device_begin(out, "COM1");

	aml_name(out, "_HID");
	put8(out, AML_DWORD);
	put32(out, 0x0105d041); /* EISAID ("PNP0501") */
	aml_name_byte(out, "_UID", 1);
	aml_crs(out, &crs, sizeof(crs));
	pkg_end(out, begin);
}

/* 6.4.3.6: extended interrupt */
struct interrupt {
	uint8_t tag;
	uint16_t rest;
	uint8_t flags; /* consumer, edge, active high, exclusive */
	uint8_t count;
	uint32_t gsi;
} PACKED;

static struct interrupt interrupt(uint32_t gsi)
{
	return (struct interrupt){
		.tag = 0x89, .rest = 6, .flags = 1u << 0 | 1u << 1, .count = 1, .gsi = gsi
	};
}

/*
 * Where the generation lies, and the event device (5.6.9) whose interrupt says that it is another:
 *
 *   Device (VGEN) { Name (ADDR, Package () {low, high}) }
 *   Device (GED_) { Method (_EVT, 1) { Notify (VGEN, 0x80) } }
 */
static void aml_generation(struct out *out)
{
	static const uint8_t notify[] = { '_',	      'E', 'V', 'T', 1, /* of one argument */
					  AML_NOTIFY, 'V', 'G', 'E', 'N', AML_BYTE, 0x80 };
	const struct interrupt crs = interrupt(GENERATION_GSI);
	size_t begin = aml_device_begin(out, "VGEN"), inner;

	aml_name_string(out, "_HID", "MAYF0001");
	aml_name_string(out, "_CID", "VMGENCTR");
	aml_name_string(out, "_DDN", "VM_Gen_Counter");
	aml_name(out, "ADDR");
	put8(out, AML_PACKAGE);
	inner = pkg_begin(out);
	put8(out, 2);
	put8(out, AML_DWORD);
	put32(out, GENERATION_GPA);
	put8(out, AML_ZERO);
	pkg_end(out, inner);
	pkg_end(out, begin);

	begin = aml_device_begin(out, "GED_");
	aml_name_string(out, "_HID", "ACPI0013");
	aml_name_byte(out, "_UID", 0);
	aml_crs(out, &crs, sizeof(crs));
	put8(out, AML_METHOD);
	inner = pkg_begin(out);
	put(out, notify, sizeof(notify));
	pkg_end(out, inner);
	pkg_end(out, begin);
}

_Static_assert(DEVICE_MAX <= 100, "a device's name has two digits");

/* Virtio window i, as device V000 to V099. */
static void aml_virtio(struct out *out, unsigned i)
{
	const char name[4] = { 'V', '0', '0' + i / 10, '0' + i % 10 };
	const struct {
		uint8_t mem_tag; /* 6.4.3.4: Memory32Fixed */
		uint16_t mem_rest;
		uint8_t mem_writable;
		uint32_t mem_base, mem_length;
		struct interrupt irq;
	} PACKED crs = {
		.mem_tag = 0x86,
		.mem_rest = 9,
		.mem_writable = 1,
		.mem_base = DEVICE_GPA + (i + 1) * DEVICE_SIZE,
		.mem_length = DEVICE_SIZE,
		.irq = interrupt(VIRTIO_GSI + i),
	};
	size_t begin = aml_device_begin(out, name);

	aml_name_string(out, "_HID", "LNRO0005");
	aml_name_byte(out, "_UID", i);
	aml_name_byte(out, "_CCA", 1); /* its DMA is coherent */
	aml_crs(out, &crs, sizeof(crs));
	pkg_end(out, begin);
}

static uint64_t dsdt(struct out *out, uint64_t gpa, unsigned nr_virtio, bool has_generation)
{
	const struct header h = table_header("DSDT", 2);
	size_t begin = table_begin(out), pkg;

	put(out, &h, sizeof(h));

	/* Name (\_S5, Package () {SLEEP_TYPE_S5}): what to write to the sleep control register */
	aml_name(out, "_S5_");
	put8(out, AML_PACKAGE);
	pkg = pkg_begin(out);
	put8(out, 1);
	put8(out, AML_BYTE);
	put8(out, SLEEP_TYPE_S5);
	pkg_end(out, pkg);

	put8(out, AML_SCOPE);
	pkg = pkg_begin(out);
	put(out, "_SB_", 4);
	aml_com1(out);
	if (has_generation)
		aml_generation(out);
	for (unsigned i = 0; i < nr_virtio; i++)
		aml_virtio(out, i);
	pkg_end(out, pkg);

	table_end(out, begin);
	return gpa + begin;
}

static struct gas io_register(uint16_t port)
{
	return (struct gas){ .space = GAS_SYSTEM_IO,
			     .bit_width = 8,
			     .access_size = GAS_BYTE_ACCESS,
			     .address = port };
}

static uint64_t fadt(struct out *out, uint64_t gpa, uint64_t dsdt_gpa)
{
	const struct fadt table = {
		.header = table_header("FACP", 6),
		.iapc_boot_arch = IAPC_VGA_NOT_PRESENT | IAPC_CMOS_RTC_NOT_PRESENT,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
			 FADT_FIX_RTC | FADT_RESET_REG_SUP | FADT_HEADLESS | FADT_HW_REDUCED_ACPI,
		.reset_reg = io_register(RESET_PORT),
		.reset_value = RESET_VALUE,
		.minor_version = 5,
		.x_dsdt = dsdt_gpa,
		.sleep_control_reg = io_register(SLEEP_CONTROL_PORT),
		.sleep_status_reg = io_register(SLEEP_STATUS_PORT),
		.hypervisor_vendor = OEM_ID,
	};
	size_t begin = table_begin(out);

	put(out, &table, sizeof(table));
	table_end(out, begin);
	return gpa + begin;
}

static uint64_t madt(struct out *out, uint64_t gpa, unsigned cpus)
{
	const struct madt table = { .header = table_header("APIC", 5), .lapic_address = LAPIC_GPA };
	const struct madt_ioapic ioapic = { .type = 1,
					    .length = sizeof(ioapic),
					    .address = IOAPIC_GPA };
	size_t begin = table_begin(out);

	put(out, &table, sizeof(table));
	for (unsigned i = 0; i < cpus; i++) {
		const struct madt_lapic lapic = { .type = 0,
						  .length = sizeof(lapic),
						  .processor_uid = i,
						  .apic_id = i,
						  .flags = MADT_LAPIC_ENABLED };

		put(out, &lapic, sizeof(lapic));
	}
	put(out, &ioapic, sizeof(ioapic));
	table_end(out, begin);
	return gpa + begin;
}

static uint64_t xsdt(struct out *out, uint64_t gpa, uint64_t fadt_gpa, uint64_t madt_gpa)
{
	const struct header h = table_header("XSDT", 1);
	size_t begin = table_begin(out);

	put(out, &h, sizeof(h));
	put(out, &fadt_gpa, sizeof(fadt_gpa));
	put(out, &madt_gpa, sizeof(madt_gpa));
	table_end(out, begin);
	return gpa + begin;
}

_Static_assert((sizeof(struct rsdp) + 15) / 16 * 16 == GENERATION_GPA - ACPI_GPA,
	       "the generation is behind the RSDP");

int acpi_build(void *buf, size_t size, uint64_t gpa, unsigned cpus, unsigned nr_virtio,
	       bool has_generation)
{
	struct rsdp rsdp = {
		.signature = "RSD PTR ", .oem_id = OEM_ID, .revision = 2, .length = sizeof(rsdp)
	};
	struct out out = { .buf = buf, .size = size };
	static const uint8_t generation[GENERATION_SIZE];
	uint64_t dsdt_gpa, fadt_gpa, madt_gpa;

	put(&out, &rsdp, sizeof(rsdp));
	table_begin(&out);
	put(&out, generation, sizeof(generation));
	dsdt_gpa = dsdt(&out, gpa, nr_virtio, has_generation);
	fadt_gpa = fadt(&out, gpa, dsdt_gpa);
	madt_gpa = madt(&out, gpa, cpus);
	rsdp.xsdt = xsdt(&out, gpa, fadt_gpa, madt_gpa);
	if (out.used > out.size)
		return -ENOSPC;
	rsdp.checksum = checksum((const uint8_t *)&rsdp, offsetof(struct rsdp, length));
	rsdp.extended_checksum = checksum((const uint8_t *)&rsdp, sizeof(rsdp));
	patch(&out, 0, &rsdp, sizeof(rsdp));
	return out.used;
}
