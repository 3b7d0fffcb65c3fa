/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of mayfly's API, for the measuring programs: one connection that stays, one request at a
 * time. What goes wrong ends the program with one line.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stddef.h>

/* Tries until somebody listens, at most 10 s. The connection's descriptor. */
int client_connect(const char *path);

/* Sends a whole request and reads its answer, which begins with `status`. It is the next one's. */
const char *client_ask(int fd, const char *request, const char *status);

/* `what` is a method and a path. */
void client_form(char *request, size_t size, const char *what, const char *body);

/* The same, asked and answered with 204. */
void client_tell(int fd, const char *what, const char *body);

#endif
