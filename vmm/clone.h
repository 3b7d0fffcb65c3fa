/* SPDX-License-Identifier: Apache-2.0 */
/* `mayfly clone`: a microVM that goes on from a snapshot, as one of `mayfly run` boots. */
#ifndef VMM_CLONE_H
#define VMM_CLONE_H

/* argv[0] is "clone". The process's exit code (end.h), or -1 where help was asked for. */
int clone_run(int argc, char **argv);

#endif
