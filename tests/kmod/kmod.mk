# SPDX-License-Identifier: Apache-2.0
# Programs that call a hypervisor's device directly, without the monitor: build/tests/kmod/NAME,
# static, for the emulated host. The top-level Makefile includes this.
KMOD_TESTS := calls misuse
KMOD_PROGRAMS := $(KMOD_TESTS:%=$(BUILD)/tests/kmod/%)

$(BUILD)/tests/kmod/%: tests/kmod/%.c tests/kmod/machine.c tests/kmod/machine.h $(BUILD)/include/.made
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(CC) -std=c11 -O1 -g -D_GNU_SOURCE $(WARN) -static -I$(BUILD)/include -o $@ $(filter %.c,$^)

$(BUILD)/tests/kmod/calls: tests/kmod/memory.c tests/kmod/modes.c tests/kmod/state.c tests/kmod/calls.h

# The module as the emulated host takes it: without debug information and the list of places to
# trace, which cost it seconds to load.
.PHONY: kmod-test
kmod-test: kmod
	@mkdir -p $(BUILD)/tests/kmod
	@strip --strip-unneeded --remove-section=.BTF --remove-section=__mcount_loc \
		-o $(BUILD)/tests/kmod/mayfly.ko $(BUILD)/kmod/mayfly.ko
