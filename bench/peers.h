/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitors that a benchmark compares, and how each is told to boot the same guest: kernel,
 * initrd, command line, memory and one CPU, with its serial port on standard output. Every peer
 * gets the leanest configuration that was found for it; the reasons stand in peers.c.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include <stdbool.h>

#define PEER_ARGS 48

struct guest {
	const char *kernel, *initrd; /* initrd NULL: none; kernel, too, for a clone by QEMU */
	const char *cmdline;	     /* beyond what mayfly puts there by itself */
	unsigned mem_mib;
	const char *disk, *net;	    /* an image and a folder for a peer link; NULL: none */
	const char *const *options; /* more words for this monitor, up to a NULL; NULL: none */
	bool is_linux;	    /* else a program of tests/guest, which ends by a write to port 0x600 */
	bool is_translated; /* by QEMU itself, where there is no hypervisor */
};

/* An argument vector and the text that had to be made for it. */
struct command {
	const char *argv[PEER_ARGS];
	unsigned argc;
	char text[8][4096];
	unsigned texts;
};

struct peer {
	const char *name;
	void (*command)(struct command *c, const struct guest *guest, const char *dir);
	bool is_mayfly;	 /* has a timeline: DIR/timeline */
	bool powers_off; /* ends with a Linux guest; else it is killed after init */
};

struct monitor {
	const struct peer *peer;
	const char *program; /* a path, or a name to be found on PATH */
};

/*
 * Adds `text`, NAME=PROGRAM, to the `nr` monitors of at most `max`, which refer to it. Ends the
 * process where it cannot.
 */
void peer_take(struct monitor *monitors, unsigned *nr, unsigned max, const char *text);

/* Fills `c` for `program` to boot `guest`. Files that the peer needs or writes go to `dir`. */
void peer_command(struct command *c, const struct peer *peer, const char *program,
		  const struct guest *guest, const char *dir);

#endif
