// SPDX-License-Identifier: Apache-2.0
/* Called by the measuring programs, for a run's own values, and by report.c, for those of all runs.
 */
#include "values.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void values_sort(double *values, unsigned nr)
{
	qsort(values, nr, sizeof(*values), by_size);
}

double values_median(const double *sorted, unsigned nr)
{
	return (sorted[(nr - 1) / 2] + sorted[nr / 2]) / 2;
}

double values_percentile(const double *sorted, unsigned nr, unsigned percent)
{
	return sorted[(nr * percent + 99) / 100 - 1];
}
