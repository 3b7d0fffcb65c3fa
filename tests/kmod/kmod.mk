# SPDX-License-Identifier: Apache-2.0
# Programs that call a hypervisor's device directly, without the monitor: build/tests/kmod/NAME,
# static, for the emulated host. The top-level Makefile includes this.
KMOD_TESTS := calls misuse
KMOD_PROGRAMS := $(KMOD_TESTS:%=$(BUILD)/tests/kmod/%)

$(BUILD)/tests/kmod/%: tests/kmod/%.c tests/kmod/machine.c tests/kmod/machine.h $(BUILD)/include/.made
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(CC) -std=c11 -O1 -g -D_GNU_SOURCE $(WARN) -static -I$(BUILD)/include -o $@ $< tests/kmod/machine.c
