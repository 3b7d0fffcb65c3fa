# SPDX-License-Identifier: Apache-2.0
# What the stories are told with: POSIX sh, also busybox's in an emulated host. A story begins with
# `story NAME`, runs mayfly, and says what must be true of it; the first thing that is not makes it
# fail, with what was seen. Output is TAP. `the_end` closes the file.
#
#   mayfly ARG...     runs the program under test: $status, $T/out and $T/err are what came of it
#   ends_with N       ...and its exit status was N
#   prints TEXT       ...and its standard output was exactly TEXT and a newline
#   shows TEXT        ...and TEXT is in its standard output
#   says TEXT         ...and TEXT is in its standard error
#   says_one_line     ...and its standard error is one line
#   holds COMMAND     COMMAND succeeds
#   awaits FILE TEXT  waits until TEXT is in FILE, or the mayfly started last, $!, has ended
#   awaits_guest      waits until that one's guest runs, or it has ended
#   policy_rows       prints the rows of seccomp/policy.c as they stand there, but for their reasons

umask 022 # of many stories another user is one
MAYFLY=${MAYFLY:-build/mayfly}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
stories=0 failures=0 name='' wrong=''

conclude() {
	[ -n "$name" ] || return 0
	stories=$((stories + 1))
	if [ -z "$wrong" ]; then
		echo "ok $stories - $name"
	else
		failures=$((failures + 1))
		echo "not ok $stories - $name"
		echo "# $wrong"
		awk '{ print "# stdout: " $0 }' "$T/out" | tail -n 12
		awk '{ print "# stderr: " $0 }' "$T/err" | tail -n 12
	fi
	name=''
}

story() {
	conclude
	name=$1 wrong=''
	: > "$T/out"
	: > "$T/err"
}

# A story that this machine cannot tell; the reason is named.
skipped() {
	conclude
	stories=$((stories + 1))
	echo "ok $stories - $1 # SKIP $2"
}

the_end() {
	conclude
	echo "1..$stories"
	[ $failures -eq 0 ]
}

is_wrong() {
	[ -n "$wrong" ] || wrong=$1
}

mayfly() {
	"$MAYFLY" "$@" > "$T/out" 2> "$T/err"
	status=$?
}

ends_with() {
	[ "$status" -eq "$1" ] || is_wrong "exit status $status, not $1"
}

prints() {
	echo "$1" | cmp -s - "$T/out" || is_wrong "standard output is not: $1"
}

shows() {
	grep -qF -e "$1" "$T/out" || is_wrong "not on standard output: $1"
}

says() {
	grep -qF -e "$1" "$T/err" || is_wrong "not on standard error: $1"
}

says_nothing() {
	[ ! -s "$T/err" ] || is_wrong "standard error is not empty"
}

says_one_line() {
	[ "$(wc -l < "$T/err")" -eq 1 ] || is_wrong "standard error is not one line"
}

holds() {
	"$@" || is_wrong "does not hold: $*"
}

has_ended() {
	! grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$!/status"
}

awaits() {
	until grep -qsF -e "$2" "$1" || has_ended; do sleep 0.05; done
}

awaits_guest() {
	until grep -qsx 'vcpu 0' "/proc/$!/task/"*/comm || has_ended; do sleep 0.05; done
}

policy_rows() {
	sed -n '/^const struct policy_row policy\[\]/,/^};/s/^	{ \([A-Z |]*\), SYS_\([a-z0-9_]*\), "[^"]*", \(.*\) },$/\1 \2 \3/p' \
		seccomp/policy.c
}
