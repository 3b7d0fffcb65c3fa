/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `mayfly run`: options into a struct vm_config, each value checked. */
#ifndef VMM_ARGS_H
#define VMM_ARGS_H

#include "../api/config.h"

/*
 * What every Linux guest is told, before the user's own words:
 *   console=ttyS0        there is one serial port
 *   reboot=panic_warm    lets the monitor tell a panic from a reboot (power.c)
 *   panic=-1             a panic resets at once, which ends the process
 *   pci=off              there is no PCI bus to look for
 *   8250.nr_uarts=1      nor a second serial port
 */
#define CMDLINE_DEFAULT "console=ttyS0 reboot=panic_warm panic=-1 pci=off 8250.nr_uarts=1"

/*
 * Fills *config from argv[1..argc), argv[0] being "run". 0; 1 where help was asked for and printed;
 * -EINVAL with one line logged. The config borrows from argv.
 */
int args_run(int argc, char **argv, struct vm_config *config);

/* The options of `run`, for --help. */
void args_help(void);

/*
 * PATH[,WORD...] as given to --disk or --root (`option`, without the dashes), cut up where it
 * stands. 0 or -EINVAL with one line logged.
 */
int args_disk(const char *option, char *value, struct disk_config *disk);

/* The same for --net: tap=NAME, fd=N, peer=PATH or passt=PATH, and words. */
int args_net(char *value, struct net_config *net);

/*
 * SIZE[+BURST][/TIME], cut up where it stands: a bucket of SIZE that fills once in TIME, a second
 * where not said. 0 or -EINVAL; nothing is logged.
 */
int args_bucket(char *text, struct token_bucket *bucket);

/* "128M" -> bytes; suffixes K, M, G, T or none. 0 or -EINVAL; nothing is logged. */
int args_size(const char *text, uint64_t *bytes);

/* "30s" -> milliseconds; suffixes ms, s, m, h, or none for seconds. 0 or -EINVAL. */
int args_duration(const char *text, uint64_t *ms);

#endif
