/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `mayfly run`: options into a struct vm_config, each value checked. */
#ifndef VMM_ARGS_H
#define VMM_ARGS_H

#include "../api/config.h"

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

/* "auto", "mayfly", "kvm". 0 or -EINVAL, logged. */
int args_hv(const char *text, enum hv_provider *hv);

/* "30s" -> milliseconds; suffixes ms, s, m, h, or none for seconds. 0 or -EINVAL. */
int args_duration(const char *text, uint64_t *ms);

#endif
