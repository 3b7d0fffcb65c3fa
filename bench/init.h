/* SPDX-License-Identifier: Apache-2.0 */
/* What boot.c and the guest's init.c agree on. */
#ifndef BENCH_INIT_H
#define BENCH_INIT_H

#define MARKER "bench-init"
#define HOLD   "bench_hold"

#endif
