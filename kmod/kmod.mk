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
	@$(MAKE) --no-print-directory -s -C '$(KDIR)' M="$$(realpath $(BUILD)/kmod)" $(NO_BTF) modules

# With DESTDIR everything is put below it, and nothing of this machine changes. No modules_install: it
# signs with a key that Debian's headers do not have.
install-kmod: RELEASE = $(firstword $(shell modinfo -F vermagic $(BUILD)/kmod/mayfly.ko))
install-kmod: kmod ## install the module for the kernel of KDIR, its udev rule and group, its sources for DKMS (DESTDIR)
	install -D -m 644 $(BUILD)/kmod/mayfly.ko '$(DESTDIR)/lib/modules/$(RELEASE)/updates/mayfly.ko'
	install -D -m 644 kmod/60-mayfly.rules '$(DESTDIR)/usr/lib/udev/rules.d/60-mayfly.rules'
	install -D -m 644 kmod/mayfly.sysusers '$(DESTDIR)/usr/lib/sysusers.d/mayfly.conf'
	install -D -m 644 -t '$(DESTDIR)/usr/src/mayfly-$(VERSION)' $(KMOD_SOURCES) kmod/dkms.conf
	@[ -n '$(DESTDIR)' ] || { depmod '$(RELEASE)' && \
		{ getent group mayfly > /dev/null || groupadd --system mayfly; } && \
		{ ! command -v udevadm > /dev/null || udevadm control --reload; }; }
