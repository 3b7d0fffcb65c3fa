// SPDX-License-Identifier: Apache-2.0
/*
 * One function for each monitor's command line. The options of the peers were chosen by measuring,
 * for the least time and memory: what is left out costs them nothing, what is put in is needed.
 */
#include "peers.h"

#include "../vmm/args.h"
#include "../vmm/layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void arg(struct command *c, const char *word)
{
	if (c->argc == PEER_ARGS - 1)
		abort();
	c->argv[c->argc++] = word;
}

static void args(struct command *c, const char *option, const char *value)
{
	arg(c, option);
	arg(c, value);
}

__attribute__((format(printf, 2, 3))) static const char *text(struct command *c, const char *format,
							      ...)
{
	char *to = c->text[c->texts++];
	va_list list;

	va_start(list, format);
	if (vsnprintf(to, sizeof(c->text[0]), format, list) >= (int)sizeof(c->text[0]))
		abort();
	va_end(list);
	return to;
}

static const char *full_cmdline(struct command *c, const struct guest *guest)
{
	return text(c, CMDLINE_DEFAULT " %s", guest->cmdline); /* the peers' guests hear the same */
}

static void mayfly(struct command *c, const struct guest *guest, const char *dir)
{
	arg(c, "run");
	args(c, "--kernel", guest->kernel);
	if (guest->initrd)
		args(c, "--initrd", guest->initrd);
	args(c, "--mem", text(c, "%uM", guest->mem_mib));
	args(c, "--cmdline", guest->cmdline);
	if (guest->disk)
		args(c, "--disk", guest->disk);
	if (guest->net)
		args(c, "--net", text(c, "peer=%s", guest->net));
	args(c, "--timeline", text(c, "%s/timeline", dir));
}

/*
 * The page cache and flushes as mayfly's default has them. The iothread gives QEMU 4 % more small
 * reads for each CPU-second. The network leads nowhere.
 */
static void qemu_devices(struct command *c, const struct guest *guest)
{
	args(c, "-global", "virtio-mmio.force-legacy=false");
	if (guest->disk) {
		args(c, "-drive",
		     text(c,
			  "file=%s,if=none,id=disk,format=raw,aio=io_uring,cache=writeback,"
			  "file.locking=off",
			  guest->disk));
		args(c, "-object", "iothread,id=io");
		args(c, "-device", "virtio-blk-device,drive=disk,iothread=io");
	}
	if (guest->net) {
		args(c, "-netdev", "hubport,id=net,hubid=0");
		args(c, "-device", "virtio-net-device,netdev=net");
	}
}

static void qemu_kernel(struct command *c, const struct guest *guest)
{
	if (!guest->kernel)
		return;
	args(c, "-kernel", guest->kernel);
	if (guest->initrd)
		args(c, "-initrd", guest->initrd);
	args(c, "-append", full_cmdline(c, guest));
}

/*
 * No ACPI, PIC, PIT, RTC, option ROM or automatic command line, and qboot for firmware: for a Linux
 * guest, too, which boots 8 % faster so than with ACPI, though it cannot power off. A test guest's
 * power-off goes to the debug-exit port: there QEMU ends by itself, as mayfly does.
 */
static void qemu(struct command *c, const struct guest *guest, const char *dir)
{
	(void)dir;
	args(c, "-machine",
	     "microvm,acpi=off,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on,"
	     "auto-kernel-cmdline=off,usb=off,graphics=off,mem-merge=off");
	args(c, "-bios", "qboot.rom");
	args(c, "-accel", guest->is_translated ? "tcg" : "kvm");
	/* Without a register that a software provider of KVM lets QEMU see but not set. */
	args(c, "-cpu", guest->is_translated ? "max" : "host,arch-capabilities=off");
	args(c, "-smp", "1");
	args(c, "-m", text(c, "%u", guest->mem_mib));
	arg(c, "-no-user-config");
	arg(c, "-nodefaults");
	arg(c, "-no-reboot");
	args(c, "-display", "none");
	args(c, "-name", "guest,debug-threads=on"); /* vCPUs are told by their names (threads.c) */
	args(c, "-serial", "stdio");
	qemu_kernel(c, guest);
	qemu_devices(c, guest);
	if (!guest->is_linux)
		args(c, "-device",
		     text(c, "isa-debug-exit,iobase=%#x,iosize=4", SLEEP_CONTROL_PORT));
}

/* A configuration file and no API, as its own documentation does for boot times. */
static void firecracker(struct command *c, const struct guest *guest, const char *dir)
{
	const char *path = text(c, "%s/firecracker.json", dir);
	FILE *f = fopen(path, "w");

	if (!f) {
		perror(path);
		exit(1);
	}
	fprintf(f, "{\"boot-source\":{\"kernel_image_path\":\"%s\",\"boot_args\":\"%s\"",
		guest->kernel, full_cmdline(c, guest));
	if (guest->initrd)
		fprintf(f, ",\"initrd_path\":\"%s\"", guest->initrd);
	fprintf(f, "},\"drives\":[],\"machine-config\":{\"vcpu_count\":1,\"mem_size_mib\":%u}}\n",
		guest->mem_mib);
	fclose(f);
	arg(c, "--no-api");
	args(c, "--config-file", path);
	args(c, "--level", "Error");
}

static void cloud_hypervisor(struct command *c, const struct guest *guest, const char *dir)
{
	(void)dir;
	args(c, "--kernel", guest->kernel);
	if (guest->initrd)
		args(c, "--initramfs", guest->initrd);
	args(c, "--cmdline", full_cmdline(c, guest));
	args(c, "--cpus", "boot=1");
	args(c, "--memory", text(c, "size=%uM", guest->mem_mib));
	args(c, "--console", "off");
	args(c, "--serial", "tty");
}

/* It boots a bzImage only, which all others boot as well: give one with --kernel. */
static void lkvm(struct command *c, const struct guest *guest, const char *dir)
{
	(void)dir;
	arg(c, "run");
	args(c, "--kernel", guest->kernel);
	if (guest->initrd)
		args(c, "--initrd", guest->initrd);
	args(c, "--params", full_cmdline(c, guest));
	args(c, "--cpus", "1");
	args(c, "--mem", text(c, "%u", guest->mem_mib));
	args(c, "--console", "serial");
	args(c, "--network", "mode=none");
}

static const struct peer peers[] = {
	{ "mayfly", mayfly, .is_mayfly = true, .powers_off = true },
	{ "qemu", qemu, .powers_off = false },
	{ "firecracker", firecracker, .powers_off = false },
	{ "cloud-hypervisor", cloud_hypervisor, .powers_off = true },
	{ "lkvm", lkvm, .powers_off = false },
};

void peer_take(struct monitor *monitors, unsigned *nr, unsigned max, const char *text)
{
	const char *program = strchr(text, '=');

	for (unsigned i = 0; program && *nr < max && i < sizeof(peers) / sizeof(peers[0]); i++) {
		if (strlen(peers[i].name) != (size_t)(program - text) ||
		    strncmp(peers[i].name, text, (size_t)(program - text)))
			continue;
		monitors[(*nr)++] = (struct monitor){ &peers[i], program + 1 };
		return;
	}
	fprintf(stderr,
		"bench: --monitor %s: not NAME=PROGRAM, no monitor that is known here, or one too many\n",
		text);
	exit(EXIT_FAILURE);
}

void peer_command(struct command *c, const struct peer *peer, const char *program,
		  const struct guest *guest, const char *dir)
{
	memset(c, 0, sizeof(*c));
	arg(c, program);
	peer->command(c, guest, dir);
	for (unsigned i = 0; guest->options && guest->options[i]; i++)
		arg(c, guest->options[i]);
}
