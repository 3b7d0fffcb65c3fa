/* SPDX-License-Identifier: Apache-2.0 */
/* The one thing that other programs are bad clients of the API for: sending files along. */
#ifndef API_CLIENT_H
#define API_CLIENT_H

/*
 * Takes a snapshot of the microVM that serves at `socket` into two files, which are made or
 * overwritten; one that ran goes on afterwards. 0 or -errno, logged.
 */
int client_snapshot(const char *socket, const char *state, const char *memory);

#endif
