/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a figure's values, by the same rules everywhere. */
#ifndef BENCH_VALUES_H
#define BENCH_VALUES_H

/* From the least; what follows takes values that are sorted, one at least. */
void values_sort(double *values, unsigned nr);

/* The middle one; of an even number the mean of the two in the middle. */
double values_median(const double *sorted, unsigned nr);

/* Nearest rank: the least value that `percent`, 1 to 100, of all values do not exceed. */
double values_percentile(const double *sorted, unsigned nr, unsigned percent);

#endif
