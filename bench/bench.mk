# SPDX-License-Identifier: Apache-2.0
# Benchmarks, which the top-level Makefile includes this for, after it has set CC and the guests.
# build/bench/NAME is a static measuring program, run by bench/NAME here or in an emulated host;
# build/bench/report makes tables of its JSON lines. `make bench` runs them all, against their bounds.
# Needs: gnuplot-nox for --plot, qemu-system-x86 for the peer.
BUILD ?= build
BENCH_CFLAGS := -std=c11 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Werror -Wshadow -Wvla \
	-Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith
BENCH_CC ?= musl-gcc
STANDINS := hello blk blkbad net blkload netload
BENCH_TOOLS := $(addprefix $(BUILD)/bench/,boot api clone jail blk net exits report $(STANDINS:%=standin-%) initrd beat.elf blkload.elf netload.elf)

.PHONY: bench bench-tools
bench: $(BUILD)/mayfly guests bench-tools ## run the benchmarks; fail where a bound is missed
	@[ ! -e '$(KDIR)/Makefile' ] || $(MAKE) --no-print-directory kmod-test
	@bench/all

bench-tools: $(BENCH_TOOLS)

$(BUILD)/bench/%.o: bench/%.c $(BUILD)/include/.made $(BUILD)/cjson.made
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(BENCH_CC) -I$(BUILD)/include -I$(BUILD)/cjson $(BENCH_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/bench/boot: $(addprefix $(BUILD)/bench/,boot.o child.o folder.o kernel.o peers.o)
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ -o $@

$(BUILD)/bench/api: $(addprefix $(BUILD)/bench/,api.o child.o client.o folder.o values.o)
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ -o $@

$(BUILD)/bench/clone: $(addprefix $(BUILD)/bench/,clone.o child.o client.o folder.o peers.o qemu.o)
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ -o $@

$(BUILD)/bench/jail: $(addprefix $(BUILD)/bench/,jail.o values.o)
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ -o $@

$(BUILD)/bench/blk: $(addprefix $(BUILD)/bench/,blk.o bare.o child.o folder.o peers.o threads.o)
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ /usr/lib/x86_64-linux-gnu/liburing.a -o $@

$(BUILD)/bench/net: $(addprefix $(BUILD)/bench/,net.o child.o folder.o lan.o peers.o threads.o)
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ -o $@

# mayfly without a hypervisor, for machines that have none: one for each guest program, which is
# linked with it. Its memcpy() is no monitor's.
STANDIN_CFLAGS := $(BENCH_CFLAGS) -DGUEST_STANDIN -Dmemcpy=guest_memcpy -Dmemset=guest_memset
STANDIN_WRAP := -Wl,--wrap=sigaction,--wrap=loop_signal
STANDIN_GUEST = $(addprefix $(BUILD)/bench/standin/,%.o rt.o virtio.o)
$(BUILD)/bench/standin/%.o: tests/guest/%.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(BENCH_CC) -I$(BUILD)/include $(STANDIN_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/bench/standin/%.o: bench/%.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(BENCH_CC) -I$(BUILD)/include $(STANDIN_CFLAGS) -MMD -MP -c $< -o $@

$(STANDINS:%=$(BUILD)/bench/standin-%): $(BUILD)/bench/standin-%: $(filter-out %/hv.o,$(OBJECTS)) \
		$(BUILD)/bench/standin.o $(BUILD)/bench/standguest.o $(STANDIN_GUEST)
	@echo "  LD      $@"
	@$(LINK) $(STANDIN_WRAP) -o $@

# As the top-level Makefile makes mayfly-seam.
$(BUILD)/tests/standin-seam: $(filter-out %/hv.o,$(OBJECTS)) $(BUILD)/tests/seam/seam.o $(BUILD)/bench/standin.o \
		$(BUILD)/bench/standguest.o $(addprefix $(BUILD)/bench/standin/,hello.o rt.o virtio.o)
	@echo "  LD      $@"
	@$(LINK) $(STANDIN_WRAP) $(SEAM:%=-Wl,--wrap=%) -o $@

# The same with sanitizers, as tests/unit/unit.mk makes mayfly-san: for tests/standin.
STANDINS_SAN := $(addprefix $(BUILD)/tests/standin-san-,blk blkbad net)
$(STANDINS_SAN): $(BUILD)/tests/standin-san-%: $(filter-out %/hv.o,$(SAN_OBJECTS)) \
		$(patsubst %,$(BUILD)/tests/obj-san/%.o,tests/seam/unfiltered bench/standin bench/standguest) \
		$(BUILD)/programs.o $(BUILD)/init.o $(STANDIN_GUEST)
	@echo "  LD      $@"
	@$(UNIT_CC) $(UNIT_SAN) -Wl,--wrap=filter_enter $(STANDIN_WRAP) -o $@ $^ $(BUILD)/cjson/libcjson.a $(LIBURING) -lpthread

# By the monitor's own calls.
$(BUILD)/bench/exits: $(addprefix $(BUILD)/bench/,exits.o child.o threads.o) $(BUILD)/vmm/hv.o $(BUILD)/vmm/log.o
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ -o $@

$(BUILD)/bench/report: $(addprefix $(BUILD)/bench/,report.o values.o)
	@echo "  LD      $@"
	@$(BENCH_CC) -static $^ $(BUILD)/cjson/libcjson.a -o $@

# The one file of the measured Linux guests' initrd.
$(BUILD)/bench/root/init: bench/init.c bench/init.h vmm/layout.h $(BUILD)/include/.made
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(BENCH_CC) -I$(BUILD)/include $(BENCH_CFLAGS) -Os -static -s $< -o $@

$(BUILD)/bench/initrd: $(BUILD)/bench/root/init
	@cd $(<D) && echo init | cpio --quiet --reproducible -o -H newc -R +0:+0 > ../initrd

# The measured guests that are programs.
BENCH_GUESTS := beat blkload netload
$(BENCH_GUESTS:%=$(BUILD)/bench/%.o): $(BUILD)/bench/%.o: bench/%.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(GUEST_CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(BENCH_GUESTS:%=$(BUILD)/bench/%.elf): $(BUILD)/bench/%.elf: tests/guest/guest.ld \
		$(BUILD)/guest/note.o $(BUILD)/guest/start.o $(BUILD)/guest/rt.o $(BUILD)/bench/%.o
	@$(GUEST_CC) $(GUEST_LDFLAGS) $^ -o $@
$(BUILD)/bench/blkload.elf $(BUILD)/bench/netload.elf: $(BUILD)/guest/virtio.o

-include $(wildcard $(BUILD)/bench/*.d $(BUILD)/bench/standin/*.d)
