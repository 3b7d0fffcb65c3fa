// SPDX-License-Identifier: Apache-2.0
/*
 * Makes of a benchmark's JSON lines, on standard input, what people read: a table (Markdown), a
 * plot (SVG by gnuplot), a verdict on each bound. All programs in bench/ print the same lines:
 *
 *   {"bench":NAME,"title":TEXT}
 *   {"figure":ID,"label":TEXT,"unit":TEXT,"plot":BOOL}   the rows of the table, in its order
 *   {"target":ID,"who":NAME,"at_most":N}                 a bound on the median; or "at_least"
 *   {"target":ID,"who":NAME,"over":NAME,"at_most":N}     the same on the ratio of paired runs
 *   {"who":NAME,"run":N,ID:NUMBER,...}                   one measured run
 *
 * With --json they are passed on, followed by "summary", "ratio" and "verdict" lines.
 */
#include "values.h"

#include <cJSON.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIGURES_MAX 96u
#define WHO_MAX	    8u
#define TARGETS_MAX 32u
#define RUNS_MAX    10000u
#define LINE_SIZE   65536u

struct series {
	double *by_run; /* not finite: not measured in that run */
};

struct figure {
	char id[64], label[128], unit[16];
	bool plot;
	struct series of[WHO_MAX];
};

struct target {
	char figure[64], who[32], over[32]; /* over "": the value itself */
	double bound;
	bool is_least;
};

struct spread {
	double low, p50, p90, p99; /* low: the 10th percentile */
	unsigned nr;
};

struct report {
	char bench[64], title[512];
	struct figure figures[FIGURES_MAX];
	unsigned nr_figures;
	char who[WHO_MAX][32];
	unsigned nr_who;
	struct target targets[TARGETS_MAX];
	unsigned nr_targets;
	unsigned runs; /* one above the highest run */
};

static struct report report;

static _Noreturn void die(const char *what, const char *line)
{
	fprintf(stderr, "bench/report: %s: %s\n", what, line);
	exit(EXIT_FAILURE);
}

/* Reading. */

static void take_text(char *to, size_t size, const cJSON *line, const char *key)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(line, key));

	snprintf(to, size, "%s", text ? text : "");
}

static unsigned who_index(struct report *r, const char *name)
{
	unsigned i = 0;

	while (i < r->nr_who && strcmp(r->who[i], name))
		i++;
	if (i == r->nr_who) {
		if (i == WHO_MAX)
			die("more than it has room for", name);
		snprintf(r->who[r->nr_who++], sizeof(r->who[0]), "%s", name);
	}
	return i;
}

static struct figure *find_figure(struct report *r, const char *id)
{
	for (unsigned i = 0; i < r->nr_figures; i++)
		if (!strcmp(r->figures[i].id, id))
			return &r->figures[i];
	return NULL;
}

static void take_figure(struct report *r, const cJSON *line)
{
	struct figure *f = &r->figures[r->nr_figures];

	if (r->nr_figures++ == FIGURES_MAX)
		die("too many figures", "");
	take_text(f->id, sizeof(f->id), line, "figure");
	take_text(f->label, sizeof(f->label), line, "label");
	take_text(f->unit, sizeof(f->unit), line, "unit");
	f->plot = cJSON_IsTrue(cJSON_GetObjectItem(line, "plot"));
}

static void take_target(struct report *r, const cJSON *line)
{
	struct target *t = &r->targets[r->nr_targets];
	const cJSON *least = cJSON_GetObjectItem(line, "at_least");

	if (r->nr_targets++ == TARGETS_MAX)
		die("too many targets", "");
	take_text(t->figure, sizeof(t->figure), line, "target");
	take_text(t->who, sizeof(t->who), line, "who");
	take_text(t->over, sizeof(t->over), line, "over");
	t->is_least = least != NULL;
	t->bound = cJSON_GetNumberValue(least ? least : cJSON_GetObjectItem(line, "at_most"));
}

static double *series_of(struct series *s)
{
	if (!s->by_run) {
		s->by_run = malloc(RUNS_MAX * sizeof(double));
		for (unsigned i = 0; s->by_run && i < RUNS_MAX; i++)
			s->by_run[i] = NAN;
	}
	if (!s->by_run)
		die("no memory", "");
	return s->by_run;
}

static void take_run(struct report *r, const cJSON *line)
{
	const double run = cJSON_GetNumberValue(cJSON_GetObjectItem(line, "run"));
	char who[32];
	unsigned index;

	take_text(who, sizeof(who), line, "who");
	index = who_index(r, who);
	if (!(run >= 0 && run < RUNS_MAX))
		die("a run without a number below 10000", who);
	if (run + 1 > r->runs)
		r->runs = (unsigned)run + 1;
	for (unsigned i = 0; i < r->nr_figures; i++) {
		const cJSON *value = cJSON_GetObjectItem(line, r->figures[i].id);

		if (cJSON_IsNumber(value))
			series_of(&r->figures[i].of[index])[(unsigned)run] = value->valuedouble;
	}
}

static void take_line(struct report *r, const char *text)
{
	cJSON *line = cJSON_Parse(text);

	if (!line)
		die("not JSON", text);
	if (cJSON_HasObjectItem(line, "bench")) {
		take_text(r->bench, sizeof(r->bench), line, "bench");
		take_text(r->title, sizeof(r->title), line, "title");
	} else if (cJSON_HasObjectItem(line, "figure")) {
		take_figure(r, line);
	} else if (cJSON_HasObjectItem(line, "target")) {
		take_target(r, line);
	} else if (cJSON_HasObjectItem(line, "who")) {
		take_run(r, line);
	} else {
		die("a line of no kind that it knows", text);
	}
	cJSON_Delete(line);
}

/* Statistics. */

static struct spread spread_of(const double *values, unsigned nr)
{
	static double sorted[RUNS_MAX];
	struct spread s = { NAN, NAN, NAN, NAN, 0 };

	for (unsigned i = 0; i < nr; i++)
		if (isfinite(values[i]))
			sorted[s.nr++] = values[i];
	if (s.nr == 0)
		return s;
	values_sort(sorted, s.nr);
	s.low = values_percentile(sorted, s.nr, 10);
	s.p50 = values_median(sorted, s.nr);
	s.p90 = values_percentile(sorted, s.nr, 90);
	s.p99 = values_percentile(sorted, s.nr, 99);
	return s;
}

static struct spread value_spread(const struct report *r, const struct figure *f, unsigned who)
{
	return spread_of(f->of[who].by_run, f->of[who].by_run ? r->runs : 0);
}

/* Runs of one number lay next to each other in time: what slowed both cancels out. */
static struct spread ratio_spread(const struct report *r, const struct figure *f, unsigned who,
				  unsigned over)
{
	static double ratios[RUNS_MAX];

	if (!f->of[who].by_run || !f->of[over].by_run)
		return spread_of(NULL, 0);
	for (unsigned i = 0; i < r->runs; i++)
		ratios[i] = f->of[who].by_run[i] / f->of[over].by_run[i];
	return spread_of(ratios, r->runs);
}

/* The table. */

/* Three digits that matter, none after the point where there are more. */
static const char *short_number(double value)
{
	static char text[8][32];
	static unsigned next;
	char *to = text[next++ % 8];
	const double size = fabs(value);
	double limit = 1;
	int digits = 3;

	if (isnan(value))
		return "-";
	while (digits > 0 && size >= limit) {
		digits--;
		limit *= 10;
	}
	snprintf(to, sizeof(text[0]), "%.*f", digits, value);
	return to;
}

/* One string of columns for each row, so that they can be laid out in equal widths. */
#define COLUMNS_MAX (2u + 4u * WHO_MAX)
static char cells[FIGURES_MAX + 1][COLUMNS_MAX][160];

static unsigned head_cells(const struct report *r)
{
	unsigned n = 0;

	snprintf(cells[0][n++], sizeof(cells[0][0]), "%s", r->bench);
	for (unsigned w = 0; w < r->nr_who; w++) {
		snprintf(cells[0][n++], sizeof(cells[0][0]), "%s p50", r->who[w]);
		snprintf(cells[0][n++], sizeof(cells[0][0]), "p90");
		snprintf(cells[0][n++], sizeof(cells[0][0]), "p99");
	}
	for (unsigned w = 1; w < r->nr_who; w++)
		snprintf(cells[0][n++], sizeof(cells[0][0]), "%s / %s (p10-p90)", r->who[0],
			 r->who[w]);
	return n;
}

static const char *unit_name(const struct figure *f)
{
	return !strcmp(f->unit, "us") ? "µs" : f->unit;
}

/* False where nobody has measured the figure: its row is left out. */
static bool row_cells(const struct report *r, const struct figure *f, unsigned row)
{
	const size_t size = sizeof(cells[0][0]);
	bool measured = false;
	unsigned n = 0;

	snprintf(cells[row][n++], size, "%s%s%s", f->label, f->unit[0] ? ", " : "", unit_name(f));
	for (unsigned w = 0; w < r->nr_who; w++) {
		const struct spread s = value_spread(r, f, w);

		measured |= s.nr > 0;
		snprintf(cells[row][n++], size, "%s", short_number(s.p50));
		snprintf(cells[row][n++], size, "%s", short_number(s.p90));
		snprintf(cells[row][n++], size, "%s", short_number(s.p99));
	}
	for (unsigned w = 1; w < r->nr_who; w++) {
		const struct spread s = ratio_spread(r, f, 0, w);

		if (s.nr)
			snprintf(cells[row][n++], size, "%s (%s-%s)", short_number(s.p50),
				 short_number(s.low), short_number(s.p90));
		else
			snprintf(cells[row][n++], size, "-");
	}
	return measured;
}

/* Characters, not bytes. */
static int width_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static void print_row(unsigned row, unsigned columns, const int *widths)
{
	for (unsigned i = 0; i < columns; i++) {
		const int room = widths[i] - width_of(cells[row][i]);

		if (i == 0)
			printf("| %s%*s ", cells[row][i], room, "");
		else
			printf("| %*s%s ", room, "", cells[row][i]);
	}
	printf("|\n");
}

static void print_rule(unsigned columns, const int *widths)
{
	for (unsigned i = 0; i < columns; i++) {
		putchar('|');
		for (int n = 0; n < widths[i] + 1; n++)
			putchar('-');
		putchar(i == 0 ? '-' : ':');
	}
	printf("|\n");
}

static void print_table(const struct report *r)
{
	const unsigned columns = head_cells(r);
	int widths[COLUMNS_MAX] = { 0 };
	unsigned rows = 1;

	for (unsigned i = 0; i < r->nr_figures; i++)
		rows += row_cells(r, &r->figures[i], rows);
	for (unsigned row = 0; row < rows; row++)
		for (unsigned i = 0; i < columns; i++)
			if (width_of(cells[row][i]) > widths[i])
				widths[i] = width_of(cells[row][i]);
	printf("%s\n\n", r->title);
	print_row(0, columns, widths);
	print_rule(columns, widths);
	for (unsigned row = 1; row < rows; row++)
		print_row(row, columns, widths);
	printf("\n");
}

/* JSON. */

static void print_json_number(const char *key, double value)
{
	if (isnan(value))
		printf(",\"%s\":null", key);
	else
		printf(",\"%s\":%.6g", key, value);
}

static void print_json(const struct report *r)
{
	for (unsigned i = 0; i < r->nr_figures; i++) {
		const struct figure *f = &r->figures[i];

		for (unsigned w = 0; w < r->nr_who; w++) {
			const struct spread s = value_spread(r, f, w);

			if (!s.nr)
				continue;
			printf("{\"summary\":\"%s\",\"who\":\"%s\",\"runs\":%u", f->id, r->who[w],
			       s.nr);
			print_json_number("p50", s.p50);
			print_json_number("p90", s.p90);
			print_json_number("p99", s.p99);
			printf("}\n");
		}
		for (unsigned w = 1; w < r->nr_who; w++) {
			const struct spread s = ratio_spread(r, f, 0, w);

			if (!s.nr)
				continue;
			printf("{\"ratio\":\"%s\",\"who\":\"%s\",\"over\":\"%s\"", f->id, r->who[0],
			       r->who[w]);
			print_json_number("p50", s.p50);
			print_json_number("p10", s.low);
			print_json_number("p90", s.p90);
			printf("}\n");
		}
	}
}

/* Verdicts. */

struct verdict {
	double value; /* NAN: not measured */
	double share; /* of the bound: above 1 is a miss */
	bool is_missed;
	char text[512];
};

static struct verdict judge(struct report *r, const struct target *t)
{
	const struct figure *f = find_figure(r, t->figure);
	const unsigned who = who_index(r, t->who);
	struct verdict v = { .value = NAN };
	char unit[20] = "";

	if (f && t->over[0])
		v.value = ratio_spread(r, f, who, who_index(r, t->over)).p50;
	else if (f)
		v.value = value_spread(r, f, who).p50;
	if (f && !t->over[0] && f->unit[0])
		snprintf(unit, sizeof(unit), " %s", unit_name(f));
	v.share = t->is_least	? t->bound / v.value
		  : v.value > 0 ? v.value / t->bound
				: v.value; /* a bound of 0 is reached by 0 alone */
	if (v.value <= 0 && t->is_least)
		v.share = INFINITY;
	v.is_missed = !(v.share <= 1); /* what was not measured is missed */
	if (isnan(v.share))
		v.share = INFINITY;
	snprintf(v.text, sizeof(v.text), "%s: %s of %s%s%s: median %s%s, bound at %s %s%s",
		 v.is_missed ? "MISSED" : "reached", f ? f->label : t->figure, t->who,
		 t->over[0] ? " over " : "", t->over, short_number(v.value), unit,
		 t->is_least ? "least" : "most", short_number(t->bound), unit);
	return v;
}

/* Says how each bound stands, the worst last. Returns the number of those missed. */
static unsigned print_verdicts(struct report *r, bool json)
{
	unsigned missed = 0, worst = 0;
	struct verdict verdicts[TARGETS_MAX];

	for (unsigned i = 0; i < r->nr_targets; i++) {
		verdicts[i] = judge(r, &r->targets[i]);
		missed += verdicts[i].is_missed;
		if (verdicts[i].share > verdicts[worst].share)
			worst = i;
	}
	for (unsigned i = 0; i < r->nr_targets; i++) {
		const struct target *t = &r->targets[i];

		if (!json) {
			printf("%s\n", verdicts[i].text);
			continue;
		}
		printf("{\"verdict\":\"%s\",\"who\":\"%s\",\"over\":\"%s\",\"reached\":%s",
		       t->figure, t->who, t->over, verdicts[i].is_missed ? "false" : "true");
		print_json_number("median", verdicts[i].value);
		print_json_number(t->is_least ? "at_least" : "at_most", t->bound);
		printf("}\n");
	}
	if (r->nr_targets && json)
		printf("{\"worst\":\"%s\",\"missed\":%u,\"text\":\"%s\"}\n",
		       r->targets[worst].figure, missed, verdicts[worst].text);
	else if (r->nr_targets)
		printf("worst: %s\n", verdicts[worst].text);
	else if (!json)
		printf("no bounds here\n");
	return missed;
}

/* The plot: for each figure that asks for it, the share of runs that took at most so long. */

static void plot_series(FILE *gnuplot, const struct report *r, const struct figure *f, unsigned who)
{
	static double sorted[RUNS_MAX];
	unsigned nr = 0;

	for (unsigned i = 0; f->of[who].by_run && i < r->runs; i++)
		if (isfinite(f->of[who].by_run[i]))
			sorted[nr++] = f->of[who].by_run[i];
	values_sort(sorted, nr);
	fprintf(gnuplot, "$%s_%u << EOD\n", f->id, who);
	for (unsigned i = 0; i < nr; i++)
		fprintf(gnuplot, "%g %g\n", sorted[i] / 1e3, 100.0 * (i + 1) / nr);
	fprintf(gnuplot, "EOD\n");
}

static void plot_figure(FILE *gnuplot, const struct report *r, const struct figure *f)
{
	const char *comma = "";

	for (unsigned w = 0; w < r->nr_who; w++)
		if (value_spread(r, f, w).nr)
			plot_series(gnuplot, r, f, w);
	fprintf(gnuplot, "set xlabel \"%s (ms)\"\nplot ", f->label);
	for (unsigned w = 0; w < r->nr_who; w++) {
		if (!value_spread(r, f, w).nr)
			continue;
		fprintf(gnuplot, "%s$%s_%u using 1:2 with steps lw 2 title '%s'", comma, f->id, w,
			r->who[w]);
		comma = ", ";
	}
	fprintf(gnuplot, "\n");
}

/* A gnuplot that ends early shows in its status. */
static void plot(const struct report *r, const char *path)
{
	FILE *gnuplot;
	unsigned panels = 0;

	signal(SIGPIPE, SIG_IGN);
	gnuplot = popen("gnuplot", "w");
	if (!gnuplot)
		die("gnuplot", "cannot be started");
	for (unsigned i = 0; i < r->nr_figures; i++)
		panels += r->figures[i].plot;
	fprintf(gnuplot,
		"set terminal svg size %u,420 background 'white' font 'sans,12'\nset output \"%s\"\n"
		"set multiplot layout 1,%u title \"%s\" font ',11'\nset logscale x\nset grid\n"
		"set key bottom right\nset ylabel 'runs, %%'\nset yrange [0:100]\n",
		460 * (panels ? panels : 1), path, panels ? panels : 1, r->title);
	for (unsigned i = 0; i < r->nr_figures; i++)
		if (r->figures[i].plot)
			plot_figure(gnuplot, r, &r->figures[i]);
	fprintf(gnuplot, "unset multiplot\n");
	if (pclose(gnuplot))
		die("gnuplot failed (Debian package gnuplot-nox)", path);
}

int main(int argc, char **argv)
{
	static char line[LINE_SIZE];
	const char *plot_path = NULL;
	bool json = false, check = false;
	unsigned missed;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--check"))
			check = true;
		else if (!strcmp(argv[i], "--plot") && i + 1 < argc)
			plot_path = argv[++i];
		else
			die("takes --json, --check and --plot FILE, not", argv[i]);
	}
	while (fgets(line, sizeof(line), stdin)) {
		take_line(&report, line);
		if (json)
			fputs(line, stdout);
	}
	if (!report.runs)
		die("no runs on standard input", "nothing to report");
	if (json)
		print_json(&report);
	else
		print_table(&report);
	missed = print_verdicts(&report, json);
	fflush(stdout);
	if (plot_path)
		plot(&report, plot_path);
	return check && missed ? EXIT_FAILURE : EXIT_SUCCESS;
}
