# SPDX-License-Identifier: Apache-2.0
# mayfly: `make help` lists the targets. Everything made here lies under build/, or with BUILD=FOLDER in
# another folder, where tests and benchmarks do not look; what takes long to make (kernels, images, cJSON)
# lies in a cache folder, $MAYFLY_CACHE or ~/.cache/mayfly, keyed by what it is made of. `make run` and
# `make test` install what is missing; the other targets say what is.

VERSION := 0.1.0
BUILD   := build
PREFIX  ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := all
.DELETE_ON_ERROR: # what a killed compiler has half written is newer than its source
POLICY  := seccomp/policy.c seccomp/generate.c # for the machine that builds
SOURCES := $(filter-out $(POLICY),$(wildcard vmm/*.c api/*.c virtio/*.c seccomp/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/programs.o $(BUILD)/init.o
# What only some microVMs run; the rest is linked together, libraries included, so that a start touches
# fewer pages: each is a fault. The API comes first of them, beside what is there already: Linux maps 64 KiB a fault.
NOT_ALL := $(filter-out %/config.o,$(filter $(BUILD)/api/% $(BUILD)/virtio/% %/serve.o %/clone.o,$(OBJECTS)))

# musl, statically linked at a random address. musl-gcc knows no static-pie, so the start files are named.
CC      := musl-gcc
MUSL    := /usr/lib/x86_64-linux-musl
GCCFILE  = $(shell gcc -print-file-name=$(1))
WARN    := -Wall -Wextra -Werror -Wshadow -Wvla -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith
CFLAGS  := -std=c11 -O2 -g -fPIE -D_GNU_SOURCE -DMAYFLY_VERSION='"$(VERSION)"' $(WARN) \
	-fstack-protector-strong -fstack-clash-protection -fcf-protection -ffunction-sections -fdata-sections \
	-fno-asynchronous-unwind-tables # nothing unwinds; the debugger has its own
# What is called now and then.
SMALL   := args args_disk args_jail args_net acpi boot check clone console cpio cpu end hv image ioapic job log main \
	power serve signals snapshot term vm
$(BUILD)/api/%.o $(BUILD)/seccomp/%.o $(SMALL:%=$(BUILD)/vmm/%.o) $(BUILD)/virtio/commit.o: CFLAGS += -Os
CPPFLAGS = -I$(BUILD)/include -I$(BUILD)/cjson
LDFLAGS := -static -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text,-z,relro,-z,now,-z,noexecstack,--gc-sections \
	-Wl,--fatal-warnings

include tests/unit/unit.mk
include tests/guest/guest.mk
include bench/bench.mk
include kmod/kmod.mk
include tests/kmod/kmod.mk

.PHONY: all run test soak tests-built bench kernel rootfs check format install clean clean-cache help deps run-deps dangling
all: $(BUILD)/mayfly ## build build/mayfly

# Debian packages, and what for. `make run` needs the first group only.
RUN_DEPS := gcc binutils make git
RUN_DEPS += musl-tools liburing-dev linux-libc-dev dpkg-dev # build/mayfly; cJSON from its source package
RUN_DEPS += libc6-dev libseccomp-dev                        # its filters of system calls, made when it is built
RUN_DEPS += cpio lz4 xz-utils                               # guest images
RUN_DEPS += qemu-system-x86 busybox-static kmod             # the svm host
DEPS := $(RUN_DEPS)
DEPS += flex bison bc libelf-dev patch                      # make kernel
DEPS += bochs bochs-term bochsbios vgabios isolinux syslinux-common genisoimage # the vtx host
DEPS += libcmocka-dev acpica-tools mandoc socat curl procps iproute2 iperf3 passt # tests
DEPS += python3 python3-yaml python3-jsonschema             # tests of the API
DEPS += clang libclang-rt-14-dev                            # make fuzz
DEPS += clang-format clang-tidy cppcheck                    # make check
DEPS += sparse dkms                                         # tests of the kernel module's sources
DEPS += kexec-tools                                         # tests of it where the host's kernel ends
DEPS += mmdebstrap uidmap fakeroot squashfs-tools e2fsprogs # make rootfs
DEPS += gnuplot-nox                                         # plots of the benchmarks
# make kmod: headers of the very kernel that rootfs/stock fetches. Asked for only when needed.
KMOD_DEPS = $(or $(HEADERS_PACKAGE),linux-headers-cloud-amd64)

# install,PACKAGES: those of them that are not there; and cJSON, of which Debian has no static library.
define install
	@there=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(1) 2> /dev/null | sed -n 's/ installed$$//p'); \
	missing=$$(for p in $(1); do echo "$$there" | grep -qx "$$p" || echo $$p; done); \
	sudo=$$([ $$(id -u) -eq 0 ] || echo sudo); \
	if [ -n "$$missing" ]; then \
		echo "installing:" $$missing; \
		$$sudo apt-get -qq update && $$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get -qq install -y --no-install-recommends $$missing > /dev/null || \
			{ echo "this did not work; as root: apt-get install" $$missing; exit 1; }; \
	fi; \
	apt-cache show linux-image-cloud-amd64 > /dev/null 2>&1 || $$sudo apt-get -qq update
	@api/cjson > /dev/null
endef

deps: ## install the Debian packages that are missing
	$(call install,$(DEPS) $(KMOD_DEPS))

run-deps:
	$(call install,$(RUN_DEPS))

run: run-deps ## install what is missing, build, and run a job in a microVM
	@$(MAKE) --no-print-directory all
	@MAYFLY='$(BUILD)/mayfly' rootfs/demo

test: deps ## install what is missing, build, and run all tests
	@$(MAKE) --no-print-directory tests-built
	@rootfs/kernel > /dev/null
	@tests/run

soak: tests-built ## the long tests: a disk's monitor killed 50 times, mayfly.ko on Linux 6.12, on a kernel with KASAN and lockdep, and under all stories of Linux
	@tests/run soak

tests-built: all guests bench-tools $(BUILD)/tests/mayfly-san $(STANDINS_SAN) $(BUILD)/tests/mayfly-seam $(BUILD)/tests/standin-seam $(BUILD)/tests/filters $(TOOLS) $(BAD_SECTORS) $(KMOD_PROGRAMS) $(UNIT_TESTS:%=$(BUILD)/tests/unit/%) $(UNIT_TESTS:%=$(BUILD)/tests/unit-san/%) ## build mayfly, its tests and benchmarks
	@[ ! -e '$(KDIR)/Makefile' ] || $(MAKE) --no-print-directory kmod-test

kernel: ## build the tuned guest kernel (5 minutes on two cores, once)
	@rootfs/kernel

rootfs: ## build a Debian root file system as ext4 and squashfs
	@rootfs/rootfs

CPPCHECK := cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,performance,portability \
	--suppress=missingIncludeSystem --std=c11
CHECKED = $(or $(shell git ls-files '*.c' '*.h' 2> /dev/null),$(shell find [a-z]* -path build -prune -o -name '*.[ch]' -print))
TIDY_FLAGS = -std=c11 -D_GNU_SOURCE -DMAYFLY_VERSION='"$(VERSION)"' $(CPPFLAGS) -Wno-gnu-variable-sized-type-not-at-end
# What measures and tests reads what we wrote ourselves, and starts programs.
TIDY_OUR_OWN_INPUT := -cert-err34-c,-cert-env33-c,-clang-analyzer-unix.Vfork,-clang-analyzer-security.insecureAPI.vfork
check: $(BUILD)/mayfly ## format, include rules, lint, static analysis
	@clang-format --dry-run -Werror $(CHECKED)
	@tests/includes
	@$(CPPCHECK) vmm virtio api seccomp
	@$(CPPCHECK) --suppress=arithOperationsOnVoidPointer --library=kmod/cppcheck.cfg kmod # GNU C
	@clang-tidy --quiet $(SOURCES) -- $(TIDY_FLAGS) 2> /dev/null
	@clang-tidy --quiet --checks=$(TIDY_OUR_OWN_INPUT) $(wildcard bench/*.c tests/tool/*.c tests/seam/*.c) -- $(TIDY_FLAGS) 2> /dev/null
	@clang-tidy --quiet rootfs/init.c -- -std=c11 -nostdinc -isystem /usr/include/$(shell uname -m)-linux-musl \
		-I$(BUILD)/include 2> /dev/null
	@echo "check: clean"

format: ## format the sources in place
	@clang-format -i $(CHECKED)

install: $(BUILD)/mayfly ## install mayfly and its man page (DESTDIR, PREFIX)
	install -D -m 755 $(BUILD)/mayfly '$(DESTDIR)$(PREFIX)/bin/mayfly'
	install -D -m 644 vmm/mayfly.1 '$(DESTDIR)$(PREFIX)/share/man/man1/mayfly.1'

clean: ## remove build/ (the cache stays)
	rm -rf $(BUILD)

clean-cache: ## remove the cache: kernels, images and sources, also those of older versions
	@bash -c '. rootfs/cache && cd "$$cache" 2> /dev/null || exit 0; \
		echo "removing what mayfly keeps in $$cache" && \
		discard {cjson,debug,host,initrd,kernel,newer,rootfs,selftests,sources,stock}[-.]*'

help: ## list the targets
	@echo "make run and make test are all you need. All targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1 \2/p' $(MAKEFILE_LIST) | awk '{ t = $$1; $$1 = ""; printf "  %-12s%s\n", t, $$0 }'

# Kernel headers for musl: a folder of links to the three that Linux gives to user space. Everything is
# compiled after this, so what is missing is told here.
$(BUILD)/include/.made:
	@command -v $(CC) > /dev/null && [ -e $(LIBURING) ] && [ -e /usr/include/seccomp.h ] || { \
		echo "$(CC), liburing or libseccomp is missing: 'make deps' installs what is" >&2; exit 1; }
	@mkdir -p $(BUILD)/include
	@ln -sfn /usr/include/linux $(BUILD)/include/linux
	@ln -sfn /usr/include/asm-generic $(BUILD)/include/asm-generic
	@ln -sfn /usr/include/video $(BUILD)/include/video
	@ln -sfn /usr/include/x86_64-linux-gnu/asm $(BUILD)/include/asm
	@ln -sfn /usr/include/liburing $(BUILD)/include/liburing
	@ln -sfn /usr/include/liburing.h $(BUILD)/include/liburing.h
	@touch $@

# A link into the cache, whose folder may be older than this tree: a file says that it is there. It is made
# again where it leads nowhere, as after `make clean-cache`.
$(BUILD)/cjson.made: api/cjson $(if $(wildcard $(BUILD)/cjson/libcjson.a),,dangling)
	@mkdir -p $(BUILD)
	@dir=$$(api/cjson) && ln -sfn "$$dir" $(BUILD)/cjson
	@touch $@

dangling:

$(BUILD)/%.o: %.c $(BUILD)/include/.made $(BUILD)/cjson.made Makefile
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# The guest's init, linked in as bytes: _binary_init_start .. _binary_init_end.
$(BUILD)/init: rootfs/init.c vmm/layout.h $(BUILD)/include/.made Makefile
	@echo "  CC      $@"
	@$(CC) -std=c11 -Os $(WARN) -static -fno-pie -no-pie -fno-asynchronous-unwind-tables \
		-ffunction-sections -fdata-sections -I$(BUILD)/include $< -o $@ -Wl,--gc-sections,--build-id=none,-s

$(BUILD)/init.o: $(BUILD)/init
	@cd $(BUILD) && ld -r -b binary -z noexecstack -o init.o init && \
		objcopy --rename-section .data=.rodata,alloc,load,readonly,data,contents init.o

# The filters of system calls: a table into programs, by a program of the building machine's own, static for
# emulated hosts.
$(BUILD)/generate: $(POLICY) seccomp/policy.h seccomp/filters.h Makefile
	@mkdir -p $(BUILD)
	@echo "  HOSTCC  $@"
	@gcc -std=c11 -O1 -D_GNU_SOURCE $(WARN) -static -o $@ $(POLICY) -lseccomp

$(BUILD)/programs.c: $(BUILD)/generate
	@$< > $@.new && mv $@.new $@

# The same programs as --seccomp-filter takes them.
$(BUILD)/tests/filters: $(BUILD)/generate
	@mkdir -p $(@D)
	@$< --file > $@

$(BUILD)/programs.o: $(BUILD)/programs.c $(BUILD)/include/.made
	@echo "  CC      $<"
	@$(CC) -iquote . $(CPPFLAGS) $(CFLAGS) -c $< -o $@

LINK = $(CC) $(LDFLAGS) $(MUSL)/rcrt1.o $(MUSL)/crti.o $(call GCCFILE,crtbeginS.o) \
		$(filter-out $(NOT_ALL),$(filter %.o,$^)) $(LIBURING) -lc $(filter $(NOT_ALL),$^) \
		$(BUILD)/cjson/libcjson.a $(LIBURING) $(call GCCFILE,crtendS.o) $(MUSL)/crtn.o

$(BUILD)/mayfly: $(OBJECTS)
	@echo "  LD      $@"
	@$(LINK) -o $@.debug
	@strip -o $@ $@.debug

# The same, but that its threads do once they are confined what a test says.
SEAM := filter_enter loop_init malloc calloc realloc
$(BUILD)/tests/mayfly-seam: $(OBJECTS) $(BUILD)/tests/seam/seam.o
	@echo "  LD      $@"
	@$(LINK) $(SEAM:%=-Wl,--wrap=%) -o $@

-include $(OBJECTS:.o=.d)
