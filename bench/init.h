/* SPDX-License-Identifier: Apache-2.0 */
/* What boot.c and api.c agree on with their guests: init.c, and tests/guest/hello.c. */
#ifndef BENCH_INIT_H
#define BENCH_INIT_H

#define MARKER "bench-init"
#define HOLD   "hold"

#endif
