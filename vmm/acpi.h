/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of the platform in layout.h: RSDP, XSDT, hardware-reduced FADT, MADT, DSDT
 * (ACPI 6.5, chapter 5). Pure: fills a buffer; boot.c places it in the guest.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Builds the tables for `cpus` processors (1 to MAX_VCPUS, APIC IDs from 0) and `nr_virtio`
 * virtio-mmio windows (0 to DEVICE_MAX - 1; window i at DEVICE_GPA + (i + 1) * DEVICE_SIZE, GSI
 * VIRTIO_GSI + i), with a generation or without, into buf, which the guest will see at `gpa`
 * (16-byte aligned); the RSDP comes first, and then GENERATION_SIZE bytes of zeros for the
 * generation. Returns the bytes used, or -ENOSPC where `size` is too small.
 */
int acpi_build(void *buf, size_t size, uint64_t gpa, unsigned cpus, unsigned nr_virtio,
	       bool has_generation);

#endif
