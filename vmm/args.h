/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command lines of `mayfly run` and `mayfly clone`: options into a struct vm_config, each value
 * checked.
 */
#ifndef VMM_ARGS_H
#define VMM_ARGS_H

#include "../api/config.h"
#include "../seccomp/jail.h"

/*
 * Fills *config and *jail, which are zeros before, from argv[1..argc), argv[0] being "run". 0; 1
 * where help was asked for; -EINVAL with one line logged. Both borrow from argv.
 */
int args_run(int argc, char **argv, struct vm_config *config, struct jail_config *jail);

/*
 * The same for "clone", whose disks and interfaces are those that it has instead of the snapshot's;
 * the last two of argv are the snapshot's files.
 */
int args_clone(int argc, char **argv, struct vm_config *config, struct jail_config *jail);

/* The options of `run`, for --help. */
void args_help(void);

/*
 * Options one by one, all of them long and by their whole names: --NAME VALUE or --NAME=VALUE, up
 * to a word that is none or to "--". `rows` ends with one without a name.
 */
struct args_row {
	const char *name;
	const char *value; /* what it is called; NULL: there is none. A TEXT may be empty */
};
struct args_reader {
	const char *command,
		*hint; /* what lines begin with; of what is not an option, where to look */
	const struct args_row *rows;
	int argc, next; /* the word that comes next: 1 at first */
	char **argv;
	bool is_over; /* "--" has come */
};
#define ARGS_END (-1)
/* The next one's place in `rows`, ARGS_END, or -EINVAL, logged; *value, NULL where it has none. */
int args_next(struct args_reader *reader, const char **value);

/* Its line of --help. */
void args_help_row(unsigned width, const char *name, const char *value, const char *help);

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

/* A decimal number of at most `most`. 0 or -EINVAL; only the second logs it, for --option. */
int args_number(const char *text, uint64_t most, uint64_t *number);
int args_take_number(const char *option, const char *value, uint64_t most, uint64_t *number);

/* The name of a microVM: 1 to 64 letters, digits and hyphens. 0 or -EINVAL, logged. */
int args_id(const char *value, const char **id);

/* "auto", "mayfly", "kvm". 0 or -EINVAL, logged. */
int args_hv(const char *text, enum hv_provider *hv);

/* "30s" -> milliseconds; suffixes ms, s, m, h, or none for seconds. 0 or -EINVAL. */
int args_duration(const char *text, uint64_t *ms);

/* The options of the jail, ARGS_JAIL of them: for --help, for args_next(), one taken by its
 * place among them, and what is between them once all are taken; before that, which descriptors
 * the words name as /dev/fd/N. 0 or -EINVAL, logged. */
#define ARGS_JAIL 11u
void args_jail_help(unsigned width, bool has_id);
void args_jail_rows(struct args_row *rows);
void args_jail_named(struct jail_config *config, int argc, char **argv);
int args_jail_take(struct jail_config *config, unsigned index, const char *value);
int args_jail_finish(struct jail_config *config);

#endif
