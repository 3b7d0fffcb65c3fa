/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One microVM as its user asked for it: plain data, the only contract between those who fill it
 * (the command line; the API and its config file) and vmm/, which acts on it. Strings and arrays
 * are borrowed from whoever filled it and outlive the microVM.
 */
#ifndef API_CONFIG_H
#define API_CONFIG_H

#include "../vmm/hv.h"
#include "../vmm/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What every Linux guest is told, before the user's own words:
 *   console=ttyS0        there is one serial port
 *   reboot=panic_warm    lets the monitor tell a panic from a reboot (power.c)
 *   panic=-1             a panic resets at once, which ends the process
 *   pci=off              there is no PCI bus to look for
 *   8250.nr_uarts=1      nor a second serial port
 */
#define CMDLINE_DEFAULT "console=ttyS0 reboot=panic_warm panic=-1 pci=off 8250.nr_uarts=1"

/* A token bucket: `size` tokens at most, as many again each `refill_ms`; 0 in either: no limit. */
struct token_bucket {
	uint64_t size;
	uint64_t one_time_burst; /* spent first and never refilled */
	uint64_t refill_ms;
};

enum serial_kind {
	SERIAL_STDIO,
	SERIAL_FILE, /* output only, to a file */
	SERIAL_UNIX, /* a Unix stream socket that mayfly listens on, one client at a time */
	SERIAL_PTY,  /* a new pseudo-terminal, whose name is logged */
	SERIAL_NONE,
};

struct serial_config {
	enum serial_kind kind;
	const char *path;	   /* of the file or socket */
	int fd;			   /* of the file, where it is open already */
	uint64_t max_size;	   /* bytes the file may grow to; 0: no limit */
	struct token_bucket limit; /* on its output, of bytes: what is beyond is dropped */
	bool is_tty_only; /* SERIAL_STDIO: standard input is read only where it is a terminal */
};

/* What runs in the guest instead of its own init; argc 0: nothing, the guest boots as it likes. */
struct job_config {
	char *const *argv;
	unsigned argc;
	const char *const *env; /* NAME=VALUE */
	unsigned nr_env;
};

struct rate_limit {
	struct token_bucket bytes, ops;
};

/* Both kinds of device share the windows and interrupts of layout.h: DEVICES_MAX in all. */
#define DEVICES_MAX (DEVICE_MAX - 1)

enum disk_cache {
	DISK_CACHE_WRITEBACK, /* the guest is offered FLUSH, which is fdatasync */
	DISK_CACHE_UNSAFE, /* FLUSH is not offered; what the host has not written a crash loses */
};

struct disk_config {
	const char *id;	     /* the API's drive_id; of the command line's disks "disk0", ... */
	const char *path;    /* a raw image or a block device */
	int fd;		     /* of it, where it is open already */
	bool is_sent;	     /* fd is a client's, and so may be its lock */
	const char *overlay; /* the copy-on-write layer's file, or NULL */
	bool is_overlay_tmp; /* a layer without a name, gone with the process; overlay is NULL */
	bool is_root, is_read_only, is_direct; /* direct: O_DIRECT */
	const char *partuuid;		       /* of the root partition, or NULL */
	enum disk_cache cache;
	struct rate_limit limit;
};

enum net_kind {
	NET_TAP,    /* by its name */
	NET_TAP_FD, /* an open descriptor of a tap */
	NET_PEER,   /* frames between microVMs, by sockets in a folder that they share */
	NET_STREAM, /* a Unix stream socket with 4-byte lengths: passt, QEMU */
};

struct net_config {
	const char *id; /* the API's iface_id; of the command line's interfaces "net0", ... */
	enum net_kind kind;
	const char *path; /* the tap's name, the folder's or the socket's path */
	int fd;		  /* NET_TAP_FD */
	uint8_t mac[6];
	bool has_mac;	       /* else the guest makes one up */
	bool is_plain;	       /* no checksum and segmentation offloads are offered */
	bool is_spoof_refused; /* frames from another MAC are dropped, not only counted */
	uint16_t mtu;	       /* 68 to 65535, or 0: not told */
	struct rate_limit rx, tx;
};

/* What a microVM goes on from instead of booting: vmm/snapshot.h; state_fd 0: it boots. */
struct restore_config {
	int state_fd, mem_fd;
	uint64_t at; /* of the state, in its file */
	bool is_paused;
};

struct vm_config {
	struct restore_config restore; /* then there is no kernel */
	const char *kernel;
	const char *initrd;	  /* or NULL */
	int kernel_fd, initrd_fd; /* of these, where they are open already */
	char cmdline[CMDLINE_SIZE];
	uint64_t mem_size; /* bytes, a multiple of 4096, MEM_MIN to MEM_MAX */
	unsigned cpus;	   /* 1 to MAX_VCPUS */
	bool huge_pages;   /* the host is asked for transparent huge pages */
	enum hv_provider hv;
	struct serial_config serial;
	unsigned nr_disks, nr_nets; /* together DEVICES_MAX at most */
	struct job_config job;
	uint64_t timeout_ms;  /* 0: none */
	const char *timeline; /* file for the phases' time stamps, or NULL */
	bool report;	      /* say at the end how long it took */
	bool is_fileless;     /* once it runs, a path reaches no file: the jail's root is empty */
	bool has_api;	      /* clients may ask for changes while it runs */
	/* Large and mostly unused, hence behind the rest, which is touched by every start. */
	struct disk_config disks[DEVICES_MAX]; /* the root disk first, so that it is vda */
	struct net_config nets[DEVICES_MAX];
};

/* The checks that all who fill it share. */
bool config_mem_is_ok(uint64_t bytes);
bool config_cpus_is_ok(uint64_t cpus);

/*
 * The kernel's command line: these words (those that are NULL or "" left out) with blanks between
 * them. Returns the bytes that all of them take; where that is CMDLINE_SIZE or more, they did not
 * fit.
 */
size_t config_cmdline(struct vm_config *config, const char *const *words, unsigned nr);

/*
 * What is to change of a device while the microVM runs; NULL: stays as it is. A path of "" means
 * the file that the disk has, whose size is looked at again; `fd` is the file's at any other path.
 */
struct disk_update {
	const char *id, *path;
	int fd;
	const struct token_bucket *bytes, *ops;
};
struct net_update {
	const char *id;
	const struct token_bucket *rx_bytes, *rx_ops, *tx_bytes, *tx_ops;
};

/*
 * open(2) for what a configuration names; a new file has mode 0600. Where it is open already, as
 * `fd` (0: it is not), it is that descriptor once more, if it may do what is asked for; it shares
 * its position, its flags and its locks with whoever opened it. So is "/proc/self/fd/N", which is
 * for the command line only: in a jail there may be no /proc. -1 with errno set.
 */
#define CONFIG_OWN_FD "/proc/self/fd/"
int config_open(const char *path, int fd, int flags);

/*
 * Whether a lock lies on a file, also one that came with this descriptor, which nothing else would
 * tell: asked as a process, one sees the locks of open files (F_OFD_SETLK), one's own too.
 */
bool config_is_locked(int fd);

/* The words that name the root disk to the kernel, or "". */
#define CONFIG_ROOT_SIZE 128u
void config_root(const struct vm_config *config, char words[CONFIG_ROOT_SIZE]);

/* "02:fc:00:00:00:05" to its six bytes; false where it is none. */
bool config_mac(const char *text, uint8_t mac[6]);

#endif
