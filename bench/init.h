/* SPDX-License-Identifier: Apache-2.0 */
/* What the measuring programs agree on with their guests: init.c, and tests/guest. */
#ifndef BENCH_INIT_H
#define BENCH_INIT_H

#define MARKER "bench-init"
#define HOLD   "hold"
#define GO_ON  "go-on"
#define LATER  "bench-later"

#endif
