/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where everything lies in guest-physical memory and in the port space. One drawing, one place:
 * the loader, the tables, the buses and the test guests all take their addresses from here.
 *
 *   0x0000_6000  PVH start info               0x0000_9000  page tables, 6 pages
 *   0x0000_6400  GDT                          0x0009_fc00  end of conventional RAM
 *   0x0000_6800  command line                 0x000e_0000  ACPI, RSDP first
 *   0x0000_7000  zero page (boot_params)      0x0010_0000  kernel, initrd behind it
 *   0x000f_fff0  reset vector                 0xc000_0000  device windows, 4 KiB each
 *   0xfec0_0000  I/O APIC                     0xfee0_0000  local APIC
 * 0x1_0000_0000  RAM above the hole
 */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#define START_INFO_GPA 0x6000ul /* to the command line all in one page, which is one fault */
#define GDT_GPA	       0x6400ul
#define CMDLINE_GPA    0x6800ul
#define ZERO_PAGE_GPA  0x7000ul
#define PAGE_TABLE_GPA 0x9000ul
#define CMDLINE_SIZE   2048u /* bytes, final NUL included: Linux's COMMAND_LINE_SIZE on x86 */
#define EBDA_GPA       0x9fc00ul
#define ACPI_GPA       0xe0000ul
#define ACPI_SIZE      0x20000ul
#define GENERATION_GPA 0xe0030ul /* behind the RSDP */
#define RESET_CODE_GPA 0xffff0ul /* F000:FFF0, in what is ACPI_SIZE for the guest */
#define HIGH_MEM_GPA   0x100000ul

#define DEVICE_GPA   0xc0000000ul /* RAM below ends here at the latest */
#define DEVICE_SIZE  0x1000ul
#define DEVICE_MAX   20u /* the control page and one window per interrupt 5..23 */
#define IOAPIC_GPA   0xfec00000ul
#define IOAPIC_SIZE  0x1000ul
#define IOAPIC_PINS  24u /* at most; a microVM has as many as it has interrupts */
#define LAPIC_GPA    0xfee00000ul
#define HIGH_RAM_GPA 0x100000000ul

/*
 * The control page, device window 0. Byte 0 is Firecracker's boot timer: writing BOOT_TIMER_VALUE
 * says that init runs. The 32-bit word at CONTROL_STATUS takes the exit status of the guest's job
 * (0 to 255), which becomes mayfly's when the guest powers off.
 */
#define CONTROL_GPA	   DEVICE_GPA
#define CONTROL_BOOT_TIMER 0x0u
#define BOOT_TIMER_VALUE   123u
#define CONTROL_STATUS	   0x4u

/*
 * The generation: 16 random bytes that are others in a clone, which is told by this interrupt
 * (Microsoft, Virtual Machine Generation ID).
 */
#define GENERATION_SIZE 16u
#define GENERATION_GSI	3u

#define COM1_PORT     0x3f8u
#define COM1_GSI      4u
#define VIRTIO_GSI    5u    /* the first; one each, to pin 23 */
#define I8042_PORT    0x60u /* 0x60 to 0x64; only the reset pulse (0xfe to 0x64) does anything */
#define I8042_COMMAND 0x64u
#define I8042_RESET   0xfeu

/* ACPI 6.5, 4.8.3.7: the sleep registers of a hardware-reduced platform; 4.8.3.6: reset. */
#define SLEEP_CONTROL_PORT 0x600u
#define SLEEP_STATUS_PORT  0x601u
#define RESET_PORT	   0x602u
#define RESET_VALUE	   0x1u
#define SLEEP_ENABLE	   0x20u
#define SLEEP_TYPE_SHIFT   2u
#define SLEEP_TYPE_S5	   5u

#define MAX_VCPUS 32u
#define MEM_MIN	  (16ul << 20)
#define MEM_MAX	  (1ul << 40)

/* BIOS data area: Linux notes there whether a reboot is warm; see boot.c on `reboot=panic_warm`. */
#define WARM_BOOT_GPA	0x472ul
#define WARM_BOOT_VALUE 0x1234u

#endif
