# SPDX-License-Identifier: Apache-2.0
# What the benchmarks' scripts have in common; they source it in the top folder. A script says its
# options and what its program is told; the program measures where nothing else is needed, on this
# machine or in an emulated host, and prints lines of which build/bench/report makes a table and
# verdicts, here.
#
#   options VALUED FLAGS ARG...  takes from ARG... --VALUED VALUE, which is one more of it where that is
#                                an array, and --FLAG, into variables of these names with _ for -.
#                                VALUED=LOW-HIGH is a number of this range. Every script has --on,
#                                --runs, --json, --check, and --help by its usage
#   from_caller VARIABLE...      paths in these are the caller's, whose folder is not the top one
#   hosts                        where it runs
#   choose_host                  one of them in `on`, if nobody said which; `machine`: what that is
#   by_host NAME VALUE...        what NAME is on each of hosts where nobody said it
#   copies, programs, host       what an emulated host is given, and more words for tests/host/run
#   take_peer NAME PROGRAM       one more --monitor NAME=PROGRAM in the array plan
#   take_qemu                    the same for QEMU, where it is installed
#   measure COMMAND...           runs it there, and reports
# shellcheck shell=bash disable=SC2034,SC2178

script=bench/${0##*/} caller=$OLDPWD
hosts=(native svm vtx)
on='' runs='' machine='' copies=() programs=() host=() plan=() report=() measuring='' lines=''

fail() {
	echo "$script: $*" >&2
	exit 2
}

options() {
	local numbers=() valued=' ' flags=" $2 " word
	for word in on runs=1-10000 $1; do
		valued+="${word%%=*} "
		[[ $word != *=* ]] || numbers+=("$word")
	done
	shift 2
	while [ $# -gt 0 ]; do
		word=${1#--}
		case $1 in
		--json | --check) report+=("$1") ;;
		--help) usage && exit ;;
		*)
			[[ $1 =~ ^--[a-z-]+$ && $flags$valued == *" $word "* ]] || fail "$1: unknown option (see --help)"
			local -n to=${word//-/_}
			if [[ $flags == *" $word "* ]]; then
				to=1
			else
				[ $# -ge 2 ] || fail "$1 needs a value"
				if [[ $(declare -p "${!to}") == "declare -a "* ]]; then to+=("$2"); else to=$2; fi
				shift
			fi
			;;
		esac
		shift
	done
	for word in "${numbers[@]}"; do check_number "${word%=*}" "${word#*=}"; done
}

# check_number NAME LOW-HIGH; what was not given is no matter
check_number() {
	local -n value=${1//-/_}
	[[ -z $value || $value =~ ^(0|[1-9][0-9]{0,6})$ && $value -ge ${2%-*} && $value -le ${2#*-} ]] ||
		fail "--$1 $value: not a number from ${2%-*} to ${2#*-}"
}

from_caller() {
	local name
	for name; do
		local -n path=$name
		[[ -z $path || $path == /* ]] || path=$(realpath -sm "$caller/$path")
	done
}

# A test guest runs wherever there is a /dev/kvm, even one that no stock kernel boots on.
choose_host() {
	[ -n "$on" ] || { { : <> /dev/kvm; } 2> /dev/null && on=native; } || on=svm
	[[ " ${hosts[*]} " == *" $on "* ]] || fail "--on $on: not one of ${hosts[*]}"
	machine=$(sed -n '/^model name/{s/[^:]*: //p;q}' /proc/cpuinfo)
	[ "$on" = native ] || machine="emulated by $machine"
	[ -z "${stand_in:-}" ] || machine+=", without a hypervisor"
}

by_host() {
	local -n to=$1
	local i
	for i in "${!hosts[@]}"; do
		shift
		[ "$on" != "${hosts[$i]}" ] || to=${to:-$1}
	done
}

# In an emulated host programs lie in /usr/bin, with their libraries beside them.
take_peer() {
	local program=$2
	[[ $program != */* ]] || from_caller program
	type -P "$program" > /dev/null || fail "$program: no such program"
	if [ "$on" != native ]; then
		programs+=("$program")
		program=/usr/bin/${program##*/}
	fi
	plan+=(--monitor "$1=$program")
	[ "$1" != qemu ] || copies+=(/usr/share/qemu/qboot.rom)
}

take_qemu() {
	if type -P qemu-system-x86_64 > /dev/null; then
		take_peer qemu qemu-system-x86_64
	else
		echo "$script: no qemu-system-x86_64 to compare with: apt-get install qemu-system-x86" >&2
	fi
}

# Whoever ends us ends the host, too, and all is cleared away before we are gone.
end_measuring() {
	trap '' INT TERM HUP
	if [ -n "$measuring" ]; then
		kill "$measuring" 2> /dev/null || :
		wait "$measuring" || :
	fi
	rm -f "$lines"
}

measure() {
	local file status=0
	host+=(--on "$on" --timeout $((600 * runs)))
	for file in "${copies[@]}" build/bench/report; do
		[ -e "$file" ] || fail "$file: not built; run 'make all bench-tools'"
	done
	for file in "${copies[@]}"; do host+=(--copy "$file"); done
	for file in "${programs[@]}"; do host+=(--program "$file"); done
	trap end_measuring EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	lines=$(mktemp "${TMPDIR:-/tmp}/mayfly-bench.XXXXXX")
	tests/host/run "${host[@]}" -- "$@" > "$lines" &
	measuring=$!
	wait $measuring || status=$?
	measuring=''
	[ $status = 0 ] || fail "measuring ended with status $status"
	build/bench/report "${report[@]}" < "$lines"
}
