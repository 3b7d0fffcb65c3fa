# SPDX-License-Identifier: GPL-2.0-only
# `make kmod`: build/kmod/mayfly.ko for the kernel of rootfs/stock, or for the one whose headers KDIR
# names. Kbuild builds where the sources lie, so they are linked into build/kmod.
HEADERS_PACKAGE = $(shell apt-cache depends linux-image-cloud-amd64 2> /dev/null | \
	sed -n 's/^ *Depends: linux-image-/linux-headers-/p' | head -n 1)
KDIR ?= /usr/src/linux-headers-$(shell cat $$(rootfs/stock)/release)

# Type information for BPF would need the kernel's own vmlinux, and pahole.
NO_BTF := CONFIG_DEBUG_INFO_BTF_MODULES=

KMOD_SOURCES := $(wildcard kmod/*.c kmod/*.h kmod/*.S) kmod/Kbuild

.PHONY: kmod install-kmod
kmod: ## build the kernel module build/kmod/mayfly.ko (KDIR=kernel headers)
	@dir='$(KDIR)'; [ -e "$$dir/Makefile" ] || { \
		echo "no kernel headers in $$dir: install $(HEADERS_PACKAGE), or name others with KDIR="; exit 1; }
	@mkdir -p $(BUILD)/kmod
	@for f in $(KMOD_SOURCES); do ln -sfn "$$PWD/$$f" $(BUILD)/kmod/; done
	@$(MAKE) --no-print-directory -s -C '$(KDIR)' M="$$PWD/$(BUILD)/kmod" $(NO_BTF) modules

install-kmod: kmod ## install the module for the kernel of KDIR, as root
	$(MAKE) --no-print-directory -C '$(KDIR)' M="$$PWD/$(BUILD)/kmod" $(NO_BTF) modules_install
	depmod $$(cat '$(KDIR)/include/config/kernel.release')
