/* SPDX-License-Identifier: Apache-2.0 */
/* `mayfly check`: what this host offers a microVM, and the line that brings what is missing. */
#ifndef VMM_CHECK_H
#define VMM_CHECK_H

#include <stdbool.h>

/*
 * Looks and, unless quiet, prints a table, or one JSON object. Returns 0 where a stock kernel can
 * boot here, else 1. Changes nothing.
 */
int check_host(bool is_quiet, bool is_json);

#endif
