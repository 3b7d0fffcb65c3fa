// SPDX-License-Identifier: Apache-2.0
/*
 * Runs on the machine that builds: the policy's table into programs, by libseccomp, printed as C
 * for filters.c, or with --file as what --seccomp-filter takes. Once for each kind of thread.
 * `--file vcpu|loop N` leaves out row N of `policy` for that thread: tests/stories/rows.sh.
 */
#include "policy.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INSNS_MAX FILTER_INSNS_MAX
#define CALLS_MAX 512

static const char *const names[FILTERS] = {
	[FILTER_VCPU] = "vcpu",	  [FILTER_RUN] = "run",	    [FILTER_LINKS] = "links",
	[FILTER_SERVE] = "serve", [FILTER_FILES] = "files", [FILTER_START] = "start",
};

/* A row that some programs are to lack. */
static size_t lacking_row;
static unsigned lacking_filters; /* a set of bits: 1 << enum filter */

static void need(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "generate: %s: %s\n", what, strerror(-result));
	exit(1);
}

static void add_row(scmp_filter_ctx filter, uint32_t action, const struct policy_row *row)
{
	struct scmp_arg_cmp args[3];
	unsigned nr = 0;

	for (; nr < 3 && row->args[nr].mask; nr++) {
		const struct policy_arg *a = &row->args[nr];

		if (a->index & POLICY_NOT)
			args[nr] = (struct scmp_arg_cmp){ a->index & ~POLICY_NOT, SCMP_CMP_NE,
							  a->value, 0 };
		else
			args[nr] = (struct scmp_arg_cmp){ a->index, SCMP_CMP_MASKED_EQ, a->mask,
							  a->value };
	}
	need(seccomp_rule_add_exact_array(filter, action, row->call, nr, args), row->why);
}

static void add_rows(scmp_filter_ctx filter, enum filter which)
{
	if (which == FILTER_START) {
		for (size_t i = 0; i < policy_never_rows; i++)
			add_row(filter, SCMP_ACT_TRAP, &policy_never[i]);
		return;
	}
	for (size_t i = 0; i < policy_rows; i++) {
		const unsigned lacking = i == lacking_row ? lacking_filters : 0;

		if (policy[i].filters & ~lacking & 1u << which)
			add_row(filter, SCMP_ACT_ALLOW, &policy[i]);
	}
}

/* A tree of system calls; what is not x86-64's own (32 bits, x32) ends the process on the spot. */
static unsigned make(enum filter which, struct sock_filter insns[INSNS_MAX])
{
	scmp_filter_ctx filter =
		seccomp_init(which == FILTER_START ? SCMP_ACT_ALLOW : SCMP_ACT_TRAP);
	FILE *file = tmpfile();
	size_t nr;

	need(filter && file ? 0 : -1, "memory");
	need(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "BADARCH");
	need(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2), "OPTIMIZE");
	add_rows(filter, which);
	need(seccomp_export_bpf(filter, fileno(file)), "exporting");
	rewind(file);
	nr = fread(insns, sizeof(insns[0]), INSNS_MAX, file);
	need(nr > 0 && nr < INSNS_MAX ? 0 : -1, "the program's size");
	fclose(file);
	seccomp_release(filter);
	return (unsigned)nr;
}

static const char *has_places(const struct sock_filter *insns, unsigned nr)
{
	static const uint32_t places[] = { FILTER_PLACE_PID, FILTER_PLACE_HIGH,
					   FILTER_PLACE_ADDRESS, FILTER_PLACE_PATH };

	for (unsigned i = 0; i < nr; i++)
		for (size_t j = 0; j < sizeof(places) / sizeof(places[0]); j++)
			if (insns[i].k == places[j])
				return "true";
	return "false";
}

static void print_program(enum filter which, const struct sock_filter *insns, unsigned nr)
{
	printf("static const struct sock_filter %s[] = {\n", names[which]);
	for (unsigned i = 0; i < nr; i++)
		printf("\t{ %#x, %u, %u, %#x },\n", insns[i].code, insns[i].jt, insns[i].jf,
		       insns[i].k);
	printf("};\n");
}

static void write_program(enum filter which, const struct sock_filter *insns, unsigned nr)
{
	char name[16] = "";

	strcpy(name, names[which]);
	need(fwrite(name, sizeof(name), 1, stdout) == 1 &&
			     fwrite(&nr, sizeof(nr), 1, stdout) == 1 &&
			     fwrite(insns, sizeof(insns[0]), nr, stdout) == nr
		     ? 0
		     : -1,
	     "writing");
}

/* The strings end in a NUL each, and so does the last one by itself. */
static void print_calls(void)
{
	unsigned nr = 0;

	for (int call = 0; call < CALLS_MAX; call++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, call);

		if (name)
			nr = (unsigned)call + 1;
		free(name);
	}
	printf("const unsigned filter_nr_calls = %u;\nconst char filter_calls[] =\n", nr);
	for (unsigned call = 0; call < nr; call++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, (int)call);

		printf("\t\"%s\\0\"\n", name ? name : "");
		free(name);
	}
	printf(";\n");
}

static void leave_out(const char *thread, const char *row)
{
	const unsigned vcpu = 1u << FILTER_VCPU, start = 1u << FILTER_START;

	lacking_filters = !strcmp(thread, "vcpu") ? vcpu : ~(vcpu | start);
	lacking_row = strtoul(row, NULL, 10);
	need(lacking_row < policy_rows && policy[lacking_row].filters & lacking_filters ? 0
											: -EINVAL,
	     "a row of that thread");
}

int main(int argc, char **argv)
{
	const int is_file = argc > 1 && !strcmp(argv[1], "--file");
	static struct sock_filter insns[FILTERS][INSNS_MAX];
	unsigned nr[FILTERS];

	if (argc > 3)
		leave_out(argv[2], argv[3]);
	if (!is_file)
		printf("/* Made by seccomp/generate.c of seccomp/policy.c. */\n"
		       "#include \"seccomp/filters.h\"\n\n");
	for (int i = 0; i < FILTERS; i++) {
		nr[i] = make(i, insns[i]);
		if (is_file)
			write_program(i, insns[i], nr[i]);
		else
			print_program(i, insns[i], nr[i]);
	}
	if (is_file)
		return 0;
	printf("const struct filter_program filter_programs[FILTERS] = {\n");
	for (int i = 0; i < FILTERS; i++)
		printf("\t{ \"%s\", %s, %u, %s },\n", names[i], names[i], nr[i],
		       has_places(insns[i], nr[i]));
	printf("};\n");
	print_calls();
	return 0;
}
