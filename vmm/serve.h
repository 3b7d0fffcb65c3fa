/* SPDX-License-Identifier: Apache-2.0 */
/* `mayfly serve`: a microVM that is configured, started and paused over the API. */
#ifndef VMM_SERVE_H
#define VMM_SERVE_H

#include <stdbool.h>

/*
 * Serves until the microVM ends, and returns the process's exit code. argv[0] is skipped.
 * `is_firecracker`: under that name, and with its names in all that is said.
 */
int serve(int argc, char **argv, bool is_firecracker);

/* The same under the name of jailer, with the command line of Firecracker's. */
int serve_jailer(int argc, char **argv);

/* The options, for --help. */
void serve_help(void);

#endif
