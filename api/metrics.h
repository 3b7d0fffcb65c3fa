/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters as Firecracker writes them, one JSON object a line with deltas since the last one, and
 * as Prometheus reads them, totals. The file may be a FIFO; what it does not take at once is lost
 * and counted.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "counters.h"

#include <stdbool.h>
#include <stddef.h>

struct metrics {
	int fd;			/* -1: none */
	bool is_cut;		/* the file ends in a part of a line */
	const char *id;		/* written into each line, or NULL */
	const char *properties; /* JSON text likewise, or NULL */
	struct counters last;
	unsigned nr_disks, nr_nets;	      /* that `devices_last` knows */
	struct devices_counters devices_last; /* touched only where there are devices */
};

/* The devices that a line is about. */
struct metrics_devices {
	const struct devices_counters *counters;
	const char *disks[DEVICES_MAX], *nets[DEVICES_MAX]; /* their names */
	unsigned nr_disks, nr_nets;
};

/* No file yet. */
void metrics_init(struct metrics *metrics);

/* Opens the file, which is made if it is missing. 0 or -errno. */
int metrics_open(struct metrics *metrics, const char *path);

/* Writes a line and takes `now` for the last. 0 or -errno; counts a failure in now. */
int metrics_flush(struct metrics *metrics, struct counters *now,
		  const struct metrics_devices *devices);

/* Prometheus's text format, version 0.0.4; the bytes, or 0 where they do not fit. */
size_t metrics_text(const struct counters *now, const struct metrics_devices *devices, char *buf,
		    size_t size);

#endif
