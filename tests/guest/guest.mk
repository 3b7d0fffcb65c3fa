# SPDX-License-Identifier: Apache-2.0
# Guest programs for the tests: build/guest/NAME.elf for each NAME in GUESTS, which the top-level
# Makefile includes this for. Freestanding: the host's compiler, none of its libraries.
BUILD ?= build
GUESTS := hello exits memmap smp tick fpu generation exitloop blk blkbad net
GUEST_ELFS := $(GUESTS:%=$(BUILD)/guest/%.elf) $(BUILD)/guest/first.elf

GUEST_CC ?= gcc
GUEST_CFLAGS := -std=c11 -O2 -g0 -ffreestanding -fno-pie -mgeneral-regs-only -mno-red-zone \
	-fcf-protection=none -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fno-delete-null-pointer-checks -Wall -Wextra -Werror -Wshadow -Wvla -Wmissing-prototypes
GUEST_LDFLAGS := -nostdlib -static -no-pie -Wl,-z,max-page-size=4096,--build-id=none,-T

guests: $(GUEST_ELFS)
.PHONY: guests

$(BUILD)/guest/%.o: tests/guest/%.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(GUEST_CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/guest/%.o: tests/guest/%.S
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(GUEST_CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/guest/%.elf: tests/guest/guest.ld $(BUILD)/guest/note.o $(BUILD)/guest/start.o \
		$(BUILD)/guest/rt.o $(BUILD)/guest/%.o
	@echo "  CC      $@"
	@$(GUEST_CC) $(GUEST_LDFLAGS) $^ -o $@

$(BUILD)/guest/first.elf: tests/guest/guest.ld $(BUILD)/guest/note.o $(BUILD)/guest/first.o
	@echo "  CC      $@"
	@$(GUEST_CC) $(GUEST_LDFLAGS) $^ -o $@

$(BUILD)/guest/exits.elf: $(BUILD)/guest/serial.o
$(BUILD)/guest/net.elf $(BUILD)/guest/blk.elf $(BUILD)/guest/blkbad.elf: $(BUILD)/guest/virtio.o

.SECONDARY: $(GUEST_ELFS:.elf=.o)
-include $(wildcard $(BUILD)/guest/*.d)
