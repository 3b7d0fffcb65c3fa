# SPDX-License-Identifier: Apache-2.0
# Unit tests and fuzzers, which the top-level Makefile includes this for. Every test is built twice,
# plain and with sanitizers: build/tests/unit/NAME and build/tests/unit-san/NAME. With
# CMOCKA_MESSAGE_OUTPUT=TAP they print TAP. `make fuzz` runs each fuzzer for FUZZ_SECONDS.
# Needs: libcmocka-dev; for the fuzzers clang and libclang-rt-14-dev.
BUILD ?= build
FUZZ_SECONDS ?= 60
UNIT_CC ?= gcc
FUZZ_CC ?= clang
UNIT_CFLAGS := -std=c11 -O1 -g -D_GNU_SOURCE -Wall -Wextra -Werror -Wshadow -Wvla \
	-Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith -MMD -MP
UNIT_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# The archive: Debian's shared one lacks the calls for restrictions.
LIBURING := /usr/lib/x86_64-linux-gnu/liburing.a

UNIT_TESTS :=
FUZZERS :=

# cJSON's header comes with its library: what includes it is compiled after api/cjson.
API_SOURCES := $(addprefix api/,routes.c call.c answers.c setup.c devices.c start.c snapshot.c bodies.c json.c metrics.c config.c http.c utf8.c) vmm/log.c
API_TESTS := api apimachine apidevices apifiles apisnapshot metrics server tick
API_OBJECTS := $(foreach o,tests/obj tests/obj-san fuzz/obj,$(API_SOURCES:%.c=$(BUILD)/$(o)/%.o) \
	$(addprefix $(BUILD)/$(o)/,$(API_TESTS:%=tests/unit/%.o) tests/fuzz/api.o api/server.o))
$(API_OBJECTS): UNIT_CFLAGS += -isystem $(BUILD)/cjson
$(API_OBJECTS): | $(BUILD)/cjson.made

# unit,NAME,SOURCES,LIBRARIES: tests/unit/NAME.c with the sources under test
define unit
UNIT_TESTS += $(1)
$(BUILD)/tests/unit/$(1) $(BUILD)/tests/unit-san/$(1): UNIT_LIBS := $(3)
$(BUILD)/tests/unit/$(1): $(patsubst %.c,$(BUILD)/tests/obj/%.o,tests/unit/$(1).c $(2))
$(BUILD)/tests/unit-san/$(1): $(patsubst %.c,$(BUILD)/tests/obj-san/%.o,tests/unit/$(1).c $(2))
endef

# fuzz,NAME,SOURCES,LIBRARIES: tests/fuzz/NAME.c, with the dictionary tests/fuzz/NAME.dict
define fuzz
FUZZERS += $(1)
$(BUILD)/fuzz/$(1): FUZZ_LIBS := $(3)
$(BUILD)/fuzz/$(1): $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,tests/fuzz/$(1).c $(2))
endef

$(eval $(call unit,image,vmm/image.c))
$(eval $(call unit,boot,vmm/boot.c vmm/image.c vmm/mem.c vmm/acpi.c vmm/log.c api/config.c))
$(eval $(call unit,acpi,vmm/acpi.c))
$(eval $(call unit,cpio,vmm/cpio.c))
$(eval $(call unit,serial,vmm/serial.c vmm/log.c tests/fuzz/serial.c))
$(eval $(call unit,console,vmm/console.c seccomp/sealed.c vmm/serial.c vmm/term.c vmm/timeline.c vmm/log.c api/config.c))
$(eval $(call unit,term,vmm/term.c))
$(eval $(call unit,bus,vmm/bus.c vmm/log.c))
$(eval $(call unit,mem,vmm/mem.c vmm/log.c))
$(eval $(call unit,args,vmm/args.c vmm/args_disk.c vmm/args_net.c vmm/args_jail.c vmm/log.c api/config.c seccomp/filters.c seccomp/sealed.c $(BUILD)/programs.o))
$(eval $(call unit,ioapic,vmm/ioapic.c vmm/log.c))
$(eval $(call unit,cpu,vmm/cpu.c vmm/mem.c vmm/log.c))
$(eval $(call unit,end,vmm/end.c vmm/log.c))
$(eval $(call unit,halt,vmm/halt.c vmm/log.c))
$(eval $(call unit,vcpu,vmm/vcpu.c vmm/end.c,-lpthread))
$(eval $(call unit,power,vmm/power.c vmm/end.c vmm/mem.c vmm/timeline.c))
$(eval $(call unit,log,vmm/log.c))
$(eval $(call unit,signals,vmm/signals.c vmm/end.c vmm/term.c vmm/loop.c seccomp/ring.c vmm/log.c,$(LIBURING)))
$(eval $(call unit,loop,vmm/loop.c seccomp/ring.c vmm/log.c,$(LIBURING)))
$(eval $(call unit,filters,seccomp/filters.c seccomp/sealed.c seccomp/policy.c vmm/log.c $(BUILD)/programs.o))
$(eval $(call unit,landlock,seccomp/landlock.c vmm/log.c))
$(eval $(call unit,init,))
$(eval $(call unit,job,vmm/job.c vmm/cpio.c))
$(eval $(call unit,queue,virtio/queue.c vmm/mem.c vmm/log.c tests/fuzz/queue.c))
$(eval $(call unit,mmio,virtio/mmio.c virtio/queue.c vmm/loop.c seccomp/ring.c vmm/mem.c vmm/log.c,$(LIBURING) -lpthread))
$(eval $(call unit,rest,virtio/mmio.c virtio/queue.c vmm/mem.c vmm/log.c))
$(eval $(call unit,snapshot,vmm/snapshot.c vmm/mem.c vmm/ioapic.c vmm/serial.c virtio/mmio.c virtio/queue.c vmm/log.c))
DISK_SOURCES := virtio/disk.c virtio/disk_io.c virtio/overlay.c api/config.c vmm/log.c
$(eval $(call unit,disk,$(DISK_SOURCES)))
$(eval $(call unit,disklayer,$(DISK_SOURCES)))
$(eval $(call unit,diskreplace,$(DISK_SOURCES)))
$(eval $(call unit,commit,virtio/commit.c $(DISK_SOURCES) vmm/loop.c seccomp/ring.c,$(LIBURING)))
$(eval $(call unit,limit,virtio/limit.c))
NET_SOURCES := virtio/net.c virtio/rx.c virtio/tx.c virtio/frame.c virtio/parcel.c virtio/stream.c virtio/peer.c seccomp/sealed.c virtio/tap.c virtio/mmio.c virtio/queue.c \
	virtio/limit.c vmm/mem.c
BLK_SOURCES := virtio/blk.c virtio/mmio.c virtio/queue.c $(DISK_SOURCES) virtio/limit.c vmm/mem.c
$(eval $(call unit,blk,$(BLK_SOURCES) tests/fuzz/blk.c))
$(eval $(call unit,turns,$(BLK_SOURCES) vmm/loop.c seccomp/ring.c,$(LIBURING) -lpthread))
$(eval $(call unit,writethrough,$(BLK_SOURCES) vmm/loop.c seccomp/ring.c,$(LIBURING) -lpthread))
$(eval $(call unit,frame,virtio/frame.c))
$(eval $(call unit,parcel,virtio/parcel.c virtio/frame.c))
$(eval $(call unit,tap,virtio/tap.c vmm/loop.c seccomp/ring.c vmm/log.c,$(LIBURING)))
$(eval $(call unit,peer,virtio/peer.c virtio/parcel.c virtio/frame.c seccomp/sealed.c vmm/loop.c seccomp/ring.c vmm/log.c,$(LIBURING)))
$(eval $(call unit,net,$(NET_SOURCES) vmm/log.c))
$(eval $(call unit,netpeer,$(NET_SOURCES) vmm/log.c))
$(eval $(call unit,netstream,$(NET_SOURCES) vmm/log.c))
$(eval $(call unit,http,api/http.c api/utf8.c vmm/log.c tests/fuzz/http.c))
$(eval $(call unit,api,$(API_SOURCES) tests/fuzz/api.c,$(BUILD)/cjson/libcjson.a -lm))
$(eval $(call unit,apimachine,$(API_SOURCES) tests/fuzz/api.c,$(BUILD)/cjson/libcjson.a -lm))
$(eval $(call unit,apidevices,$(API_SOURCES) tests/fuzz/api.c,$(BUILD)/cjson/libcjson.a -lm))
$(eval $(call unit,apifiles,$(API_SOURCES) tests/fuzz/api.c,$(BUILD)/cjson/libcjson.a -lm))
$(eval $(call unit,apisnapshot,$(API_SOURCES),$(BUILD)/cjson/libcjson.a -lm))
$(eval $(call unit,metrics,$(API_SOURCES) tests/fuzz/api.c,$(BUILD)/cjson/libcjson.a -lm))
$(eval $(call unit,server,api/server.c seccomp/sealed.c vmm/loop.c seccomp/ring.c $(API_SOURCES),$(BUILD)/cjson/libcjson.a -lm $(LIBURING)))
$(eval $(call unit,tick,api/server.c seccomp/sealed.c $(API_SOURCES),$(BUILD)/cjson/libcjson.a -lm))
$(eval $(call fuzz,image,vmm/image.c))
$(eval $(call fuzz,serial,vmm/serial.c vmm/log.c))
$(eval $(call fuzz,net,$(filter-out seccomp/%,$(NET_SOURCES))))
$(eval $(call fuzz,netbad,$(filter-out seccomp/%,$(NET_SOURCES))))
$(eval $(call fuzz,queue,virtio/queue.c vmm/mem.c vmm/log.c))
$(eval $(call fuzz,blk,$(BLK_SOURCES)))
$(eval $(call fuzz,http,api/http.c api/utf8.c vmm/log.c))
$(eval $(call fuzz,api,$(API_SOURCES),$(BUILD)/cjson/libcjson.a -lm))

$(BUILD)/tests/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(UNIT_CC) $(UNIT_CFLAGS) -c -o $@ $<

$(BUILD)/tests/obj-san/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(UNIT_CC) $(UNIT_CFLAGS) $(UNIT_SAN) -c -o $@ $<

# clang's sanitizers do not look at what is volatile, and all that a guest shares with us is: here, in
# one thread, nothing has to be.
$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(FUZZ_CC) $(UNIT_CFLAGS) -Wno-gnu-variable-sized-type-not-at-end -Dvolatile= $(UNIT_SAN) \
		-fsanitize=fuzzer-no-link -c -o $@ $<

$(UNIT_TESTS:%=$(BUILD)/tests/unit/%):
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(UNIT_CC) -o $@ $^ -lcmocka $(UNIT_LIBS)

$(UNIT_TESTS:%=$(BUILD)/tests/unit-san/%):
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(UNIT_CC) $(UNIT_SAN) -o $@ $^ -lcmocka $(UNIT_LIBS)

# All of mayfly with sanitizers, for hostile guests: where it touches what it must not, it dies.
SAN_OBJECTS = $(SOURCES:%.c=$(BUILD)/tests/obj-san/%.o)
$(BUILD)/tests/obj-san/vmm/%.o: UNIT_CFLAGS += -DMAYFLY_VERSION='"$(VERSION)"' -I$(BUILD)/cjson
$(SAN_OBJECTS): $(BUILD)/cjson.made
$(BUILD)/tests/mayfly-san: $(SAN_OBJECTS) $(BUILD)/tests/obj-san/tests/seam/unfiltered.o $(BUILD)/programs.o $(BUILD)/init.o
	@echo "  LD      $@"
	@$(UNIT_CC) $(UNIT_SAN) -Wl,--wrap=filter_enter -o $@ $^ $(BUILD)/cjson/libcjson.a $(LIBURING) -lpthread

# What stories need beside the shell; static, for the emulated hosts.
TOOLS := $(addprefix $(BUILD)/tests/,ask hold activate uncover without meddle lingers)
$(TOOLS): $(BUILD)/tests/%: tests/tool/%.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(UNIT_CC) $(UNIT_CFLAGS) -static -o $@ $< -luring

# mayfly on a host whose disks have bad sectors, static as mayfly is, for emulated hosts too.
BAD_SECTORS := $(BUILD)/tests/mayfly-badsectors
$(BAD_SECTORS): $(OBJECTS) $(BUILD)/tests/badsectors.o
	@echo "  LD      $@"
	@$(CC) -static -s -Wl,--wrap=loop_readv,--wrap=loop_writev $^ \
		/usr/lib/x86_64-linux-gnu/liburing.a $(BUILD)/cjson/libcjson.a -lpthread -o $@

$(FUZZERS:%=$(BUILD)/fuzz/%):
	@echo "  LD      $@"
	@$(FUZZ_CC) $(UNIT_SAN) -fsanitize=fuzzer -o $@ $^ $(FUZZ_LIBS)

# The first inputs are made, not kept: specimens, and the heads of the stock kernel's files where
# MAYFLY_STOCK names its directory. What a run finds worth keeping stays in the corpus.
$(BUILD)/fuzz/seeds: $(BUILD)/tests/obj/tests/fuzz/seeds.o
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(UNIT_CC) -o $@ $^

fuzz: $(FUZZERS:%=fuzz-%) ## run each fuzzer for FUZZ_SECONDS (60)
$(FUZZERS:%=fuzz-%): fuzz-%: $(BUILD)/fuzz/% $(BUILD)/fuzz/seeds
	@mkdir -p $(BUILD)/fuzz/corpus/$*
	$(BUILD)/fuzz/seeds $* $(BUILD)/fuzz/corpus/$*
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=5 -print_final_stats=1 \
		-artifact_prefix=$(BUILD)/fuzz/$*- -dict=tests/fuzz/$*.dict $(BUILD)/fuzz/corpus/$*
.PHONY: fuzz $(FUZZERS:%=fuzz-%)

-include $(shell find $(BUILD)/tests/obj $(BUILD)/tests/obj-san $(BUILD)/fuzz/obj -name '*.d' 2> /dev/null)
