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
#include <stdint.h>

enum serial_kind {
	SERIAL_STDIO,
	SERIAL_FILE, /* output only, to a file */
	SERIAL_UNIX, /* a Unix stream socket that mayfly listens on, one client at a time */
	SERIAL_PTY,  /* a new pseudo-terminal, whose name is logged */
	SERIAL_NONE,
};

struct serial_config {
	enum serial_kind kind;
	const char *path;  /* of the file or socket */
	uint64_t max_size; /* bytes the file may grow to; 0: no limit */
};

/* What runs in the guest instead of its own init; argc 0: nothing, the guest boots as it likes. */
struct job_config {
	char *const *argv;
	unsigned argc;
	const char *const *env; /* NAME=VALUE */
	unsigned nr_env;
};

struct vm_config {
	const char *kernel;
	const char *initrd; /* or NULL */
	char cmdline[CMDLINE_SIZE];
	uint64_t mem_size; /* bytes, a multiple of 4096, MEM_MIN to MEM_MAX */
	unsigned cpus;	   /* 1 to MAX_VCPUS */
	enum hv_provider hv;
	struct serial_config serial;
	struct job_config job;
	uint64_t timeout_ms;  /* 0: none */
	const char *timeline; /* file for the phases' time stamps, or NULL */
	bool report;	      /* say at the end how long it took */
};

#endif
