/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two taps on a bridge, in a network namespace of this process and its children alone, which is
 * gone with them.
 */
#ifndef BENCH_LAN_H
#define BENCH_LAN_H

#include <stdbool.h>

#define LAN_TAP "tap%u" /* 0 and 1 */

/* False where this user may not, or this machine has no taps; why is on standard error. */
bool lan_open(void);

#endif
