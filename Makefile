# SPDX-License-Identifier: Apache-2.0
# mayfly: `make help` lists the targets. Everything made here lies under build/; what takes long to
# make (kernels, images, cJSON) lies in a cache folder keyed by what it is made of.

VERSION := 0.1.0
BUILD   := build
PREFIX  ?= /usr/local
CACHE   := $(or $(MAYFLY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mayfly)

SOURCES := $(wildcard vmm/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/init.o

# musl, statically linked at a random address. musl-gcc knows no static-pie, so the start files are named.
CC      := musl-gcc
MUSL    := /usr/lib/x86_64-linux-musl
GCCFILE  = $(shell gcc -print-file-name=$(1))
WARN    := -Wall -Wextra -Werror -Wshadow -Wvla -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith
CFLAGS  := -std=c11 -O2 -g -fPIE -D_GNU_SOURCE -DMAYFLY_VERSION='"$(VERSION)"' $(WARN) \
	-fstack-protector-strong -fstack-clash-protection -fcf-protection -ffunction-sections -fdata-sections
CPPFLAGS = -I$(BUILD)/include -I$(BUILD)/cjson
LDFLAGS := -static -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text,-z,relro,-z,now,-z,noexecstack,--gc-sections \
	-Wl,--fatal-warnings

.PHONY: all
all: $(BUILD)/mayfly ## build build/mayfly

# Kernel headers for musl: a folder of links to the three that Linux gives to user space.
$(BUILD)/include/.made:
	@mkdir -p $(BUILD)/include
	@ln -sfn /usr/include/linux $(BUILD)/include/linux
	@ln -sfn /usr/include/asm-generic $(BUILD)/include/asm-generic
	@ln -sfn /usr/include/video $(BUILD)/include/video
	@ln -sfn /usr/include/x86_64-linux-gnu/asm $(BUILD)/include/asm
	@ln -sfn /usr/include/liburing $(BUILD)/include/liburing
	@ln -sfn /usr/include/liburing.h $(BUILD)/include/liburing.h
	@touch $@

$(BUILD)/cjson: api/cjson
	@mkdir -p $(BUILD)
	@ln -sfn $$(api/cjson) $@
	@touch -h $@

$(BUILD)/%.o: %.c $(BUILD)/include/.made $(BUILD)/cjson Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# The guest's init, linked in as bytes: _binary_init_start .. _binary_init_end.
$(BUILD)/init: rootfs/init.c vmm/layout.h $(BUILD)/include/.made Makefile
	@echo "  CC      $@"
	@$(CC) -std=c11 -Os $(WARN) -static -fno-pie -no-pie -fno-asynchronous-unwind-tables \
		-ffunction-sections -fdata-sections -I$(BUILD)/include $< -o $@ -Wl,--gc-sections,--build-id=none,-s

$(BUILD)/init.o: $(BUILD)/init
	@cd $(BUILD) && ld -r -b binary -z noexecstack -o init.o init

$(BUILD)/mayfly: $(OBJECTS)
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(MUSL)/rcrt1.o $(MUSL)/crti.o $(call GCCFILE,crtbeginS.o) $(OBJECTS) \
		/usr/lib/x86_64-linux-gnu/liburing.a $(BUILD)/cjson/libcjson.a -lpthread \
		$(call GCCFILE,crtendS.o) $(MUSL)/crtn.o -o $@.debug
	@strip -o $@ $@.debug

-include $(OBJECTS:.o=.d)
