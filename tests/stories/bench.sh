# SPDX-License-Identifier: Apache-2.0
# The benchmarks as programs: what they are asked for they print, whatever the figures are. Told
# without a hypervisor, which any machine can.
. tests/stories/lib.sh

# boot OPTION...
boot() {
	bench/boot --stand-in --runs 2 "$@" > "$T/out" 2> "$T/err"
	status=$?
}

story "bench/boot compares with the program that --peer names, as with Firecracker"
ln -s "$PWD/build/bench/standin-hello" "$T/firecracker"
boot --peer firecracker="$T/firecracker"
ends_with 0
shows "| firecracker p50 |"
shows "| mayfly / firecracker (p10-p90) |"
holds grep -Eq '^\| process ended, CPU, µs +\|( +[0-9]+ \|){6} +[0-9.]+ \(' "$T/out"

story "a peer that is not there, or has no form that is known, is refused by name"
boot --peer firecracker="$T/nowhere"
ends_with 2
says "$T/nowhere: no such program"
boot --peer firecracker
ends_with 2
says "--peer firecracker: give NAME=PROGRAM"
boot --peer toaster="$T/firecracker"
holds [ $status -ne 0 ]
says "toaster"

story "--plot draws the times of all who took part, as SVG"
boot --peer firecracker="$T/firecracker" --plot "$T/plot.svg"
ends_with 0
holds grep -q '<svg' "$T/plot.svg"
holds grep -q 'firecracker' "$T/plot.svg"

story "--json prints one object a line, the title first and each boot with its figures"
boot --json
ends_with 0
holds /usr/bin/python3 -c '
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines[0]["bench"] == "boot", lines[0]
boots = [line for line in lines if "run" in line]
assert len(boots) == 2 and all(line["who"] == "mayfly" for line in boots), boots' "$T/out"

story "--check says which figure was worst, and its status whether a bound was missed"
boot --check
last=$(tail -n 1 "$T/out")
case $last in
"worst: reached: "*) ends_with 0 ;;
"worst: MISSED: "*) ends_with 1 ;;
*) is_wrong "the last line is: $last" ;;
esac

story "whoever ends a benchmark ends all that it has started"
TMPDIR=$T bench/boot --stand-in --runs 100000 --peer firecracker="$T/firecracker" > "$T/out" 2> "$T/err" &
until pgrep -o -f "^build/bench/boot .*$T/firecracker" > "$T/pid" || has_ended; do sleep 0.05; done
holds [ -s "$T/pid" ]
kill -TERM $!
wait $!
status=$?
ends_with 143
for try in 1 2 3 4 5 6 7 8 9 10; do
	kill -0 "$(cat "$T/pid")" 2> /dev/null || break
	sleep 0.2
done
holds [ "$try" -lt 10 ]
holds [ -z "$(find "$T" -name 'mayfly-bench*')" ]

story "a benchmark that is held up while a load begins and ends measures it anew"
window=$((300 + $$ % 100)) # which tells it from another's
bench/net --stand-in --runs 1 --window-ms $window --no-qemu --json > "$T/out" 2> "$T/err" &
until measuring=$(pgrep -o -f "^build/bench/net .*window-ms $window") &&
	pgrep -P "$measuring" -f 'standin-netload .*do=ask ' > /dev/null || has_ended; do sleep 0.01; done
kill -STOP "$measuring"
sleep 1
kill -CONT "$measuring"
wait $!
status=$?
ends_with 0
shows '"peer_rtt_p50"'

story "an option that no benchmark has is refused, and --help names those that it has"
for script in boot api jail blk net exits; do
	"bench/$script" --fast > "$T/out" 2> "$T/err"
	status=$?
	ends_with 2
	says "bench/$script: --fast: unknown option (see --help)"
	"bench/$script" --help > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	shows "usage: bench/$script [OPTION]..."
	shows "--check"
done

the_end
