# SPDX-License-Identifier: Apache-2.0
# The benchmarks as programs: what they are asked for they print, whatever the figures are. Told
# without a hypervisor, which any machine can.
. tests/stories/lib.sh

# boot OPTION...
boot() {
	bench/boot --stand-in --runs 2 "$@" > "$T/out" 2> "$T/err"
	status=$?
}

# boot_with PATH OPTION...
boot_with() {
	path=$PATH PATH=$1
	shift
	boot "$@"
	PATH=$path
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

story "a peer that ends before its guest has spoken, or by a signal, is not fast but failed"
cat > "$T/crashes" <<'CRASHES'
#!/bin/sh
echo Segmentation fault
CRASHES
cat > "$T/killed" <<'KILLED'
#!/bin/sh
echo Hello from ring 3
kill -KILL $$
KILLED
chmod +x "$T/crashes" "$T/killed"
boot --peer firecracker="$T/crashes"
ends_with 2
says "firecracker ended without 'Hello from ring'"
boot --peer firecracker="$T/killed"
ends_with 2
says "$T/killed ended with 137"

story "bench/clone refuses peers whose clones it does not know, before anything is measured"
clone_with() {
	bench/clone --on native --guest test --no-qemu --peer "$1" > "$T/out" 2> "$T/err"
	status=$?
}
clone_with firecracker
ends_with 2
says "bench/clone: --peer firecracker: give NAME=PROGRAM"
clone_with firecracker="$T/nowhere"
ends_with 2
says "$T/nowhere: no such program"
clone_with lkvm="$T/firecracker"
ends_with 2
says "bench: clone: no clones by lkvm are known here"

story "--plot draws the times of all who took part, as SVG"
boot --peer firecracker="$T/firecracker" --plot "$T/plot.svg"
ends_with 0
holds grep -q '<svg' "$T/plot.svg"
holds grep -q 'firecracker' "$T/plot.svg"

story "a plot that cannot be drawn is refused before anything is measured"
boot --plot "$T/nowhere/plot.svg"
ends_with 2
says "--plot $T/nowhere/plot.svg: cannot be written"
boot --plot "$T"
ends_with 2
says "--plot $T: cannot be written"
mkdir "$T/bin"
for program in bash dirname realpath; do ln -s "$(command -v $program)" "$T/bin"; done
boot_with "$T/bin" --plot "$T/plot.svg"
ends_with 2
says "--plot: no gnuplot here"

story "a gnuplot that fails takes no table with it"
printf '#!/bin/sh\nexit 3\n' > "$T/bin/gnuplot"
chmod +x "$T/bin/gnuplot"
boot_with "$T/bin:$PATH" --plot "$T/plot.svg"
ends_with 1
says "gnuplot failed"
shows "| process ended, wall, µs "

# reports LINE...: what build/bench/report makes of figure "a" and these lines
reports() {
	printf '%s\n' '{"bench":"x","title":"x"}' '{"figure":"a","label":"a","unit":"us","plot":false}' "$@" > "$T/lines"
	build/bench/report --json < "$T/lines" > "$T/json"
	build/bench/report --check < "$T/lines" > "$T/out" 2> "$T/err"
	status=$?
}

story "what is no finite number was not measured"
reports '{"target":"a","who":"p","over":"q","at_least":2}' '{"who":"p","run":0,"a":1e999}' '{"who":"q","run":0,"a":0}' \
	'{"who":"p","run":1,"a":5}' '{"who":"q","run":1,"a":0}'
ends_with 1
holds grep -Eq '^\| a, µs +\| +5.00 \| .* - \|$' "$T/out"
shows "worst: MISSED: a of p over q: median -,"
holds grep -q '"reached":false,"median":null' "$T/json"
holds [ -z "$(grep -i 'inf' "$T/out" "$T/json")" ]

story "the median of an even number of runs is between the two in the middle"
reports '{"who":"p","run":0,"a":1}' '{"who":"p","run":1,"a":2}' '{"who":"p","run":2,"a":4}' '{"who":"p","run":3,"a":8}'
ends_with 0
holds grep -Eq '^\| a, µs +\| +3.00 \| +8.00 \|' "$T/out"
[ "$(tail -n 1 "$T/out")" = "no bounds here" ] || is_wrong "nothing is said of bounds that are not there"

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

# begins COMMAND...: in the background, as leader of a process group that a terminal could interrupt, or hang up
begins() {
	TMPDIR=$T setsid env --default-signal=INT,HUP "$@" > "$T/out" 2> "$T/err" &
}

# leaves_nothing: no process and no file of the benchmark that was there, now that it has ended
leaves_nothing() {
	holds [ -z "$(pgrep -f "$T/mayfly-bench")" ]
	holds [ -z "$(find "$T" -name 'mayfly-bench*')" ]
}

for end in TERM:143 INT:130 HUP:129; do
	for to in '' -; do
		story "whoever ends a benchmark${to:+ and its group} by SIG${end%:*} ends all that it has started, and its files"
		begins bench/boot --stand-in --runs 10000 --peer firecracker="$T/firecracker"
		until pgrep -f "$T/mayfly-bench" > "$T/pid" || has_ended; do sleep 0.05; done
		holds [ -s "$T/pid" ]
		kill "-${end%:*}" "$to$!"
		wait $!
		status=$?
		ends_with "${end#*:}"
		leaves_nothing
	done
done

story "an image of a disk that is interrupted goes with the benchmark"
begins bench/blk --stand-in
until [ -e "$(echo "$T"/mayfly-bench.*/disk)" ] || has_ended; do sleep 0.05; done
kill -INT "-$!"
wait $!
status=$?
ends_with 130
leaves_nothing

story "a benchmark that fails leaves nothing"
begins bench/boot --stand-in --kernel /etc/passwd --runs 1
wait $!
status=$?
ends_with 2
says "measuring ended with status 1"
leaves_nothing

story "who interrupts bench/all sees no other benchmark begin"
begins bench/all
awaits "$T/err" "host: "
kill -INT "-$!"
until has_ended || [ "$(grep -c '^host: ' "$T/err")" -gt 1 ]; do sleep 0.05; done
kill -KILL "-$!" 2> "$T/kill"
wait $!
status=$?
ends_with 130
leaves_nothing

# many_processors COMMAND...: where /proc/cpuinfo is longer than a pipe takes
many_processors() {
	seq 10000 | sed 's/.*/processor : &\nmodel name : many/' > "$T/cpuinfo"
	unshare -rm sh -c 'mount --bind "$0" /proc/cpuinfo && exec "$@"' "$T/cpuinfo" "$@"
}

if many_processors true 2> "$T/err"; then
	story "a machine of many processors is named once"
	many_processors bash -euo pipefail -c 'cd .; . bench/lib.sh; choose_host; echo "$machine"' \
		> "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	holds grep -q 'many$' "$T/out"
else
	skipped "a machine of many processors is named once" "no mount namespace to be had"
fi

if unshare --map-user=1000 true 2> "$T/err"; then
	story "memory that its user may not look at is not measured, and its bound is missed"
	unshare --map-user=1000 bench/api --stand-in --runs 1 --json > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	holds [ -z "$(grep '"run"' "$T/out" | grep '"memory')" ]
	shows '{"verdict":"memory_added","who":"mayfly","over":"","reached":false,"median":null'
else
	skipped "memory that its user may not look at is not measured" "no user namespace to be had"
fi

story "a benchmark that is held up while a load begins and ends measures it anew"
window=$((300 + $$ % 100)) # which tells it from another's; the oldest one waits for it
bench/net --stand-in --runs 1 --window-ms $window --no-qemu --json > "$T/out" 2> "$T/err" &
until measuring=$(pgrep -n -f "^build/bench/net .*window-ms $window") &&
	pgrep -P "$measuring" -f 'standin-netload .*do=ask ' > /dev/null || has_ended; do sleep 0.01; done
kill -STOP "$measuring"
sleep 1
kill -CONT "$measuring"
wait $!
status=$?
ends_with 0
shows '"peer_rtt_p50"'

story "a benchmark without a hypervisor says so in its title"
for script in "boot --memory-runs 0" api "jail --starts 1" "blk --percent 1 --file-mib 8" "net --window-ms 100 --no-qemu"; do
	# shellcheck disable=SC2086
	TMPDIR=$T bench/$script --stand-in --runs 1 > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	holds grep -q '^[^|]*, without a hypervisor' "$T/out"
done

# late N: bench/blk with a monitor whose first N guests say that a load has ended as soon as it begins
late() {
	cat > "$T/late" <<-LATE
		#!/bin/sh
		echo >> "$T/starts"
		[ \$(wc -l < "$T/starts") -gt $1 ] && exec build/bench/standin-blkload "\$@"
		printf 'random: begin\nrandom: end\n'
		exec sleep 60
	LATE
	chmod +x "$T/late"
	: > "$T/starts"
	TMPDIR=$T build/bench/blk --stand-in --runs 1 --percent 1 --file-mib 8 --monitor mayfly="$T/late" > "$T/out" 2> "$T/err"
	status=$?
}

story "a disk's load that begins and ends unseen is measured anew, and ten times at most"
late 2
ends_with 0
holds [ "$(wc -l < "$T/starts")" -eq 3 ]
shows '"write_wall"'
late 10
ends_with 1
says "this machine is too busy"
leaves_nothing

# refuses SCRIPT OPTION VALUE RANGE
refuses() {
	"bench/$1" --stand-in "$2" "$3" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 2
	says "bench/$1: $2 $3: not a number from $4"
	holds [ ! -s "$T/out" ]
}

story "a number that is none, too small or too large is refused before anything is measured"
refuses boot --runs 0 "1 to 10000"
refuses boot --runs 10001 "1 to 10000"
refuses boot --memory-runs -1 "0 to 10000"
refuses boot --mem 08 "1 to 1000000"
refuses net --window-ms 0 "1 to 60000"
refuses net --window-ms abc "1 to 60000"
refuses jail --starts 5x "1 to 10000"
refuses jail --starts 18446744073709551617 "1 to 10000"
refuses blk --percent 0 "1 to 1000"

story "paths are those of the caller's folder"
bench=$PWD/bench
echo "no kernel" > "$T/image"
(cd "$T" && "$bench/boot" --stand-in --runs 1 --kernel ./image > out 2> err)
status=$?
ends_with 2
says "mayfly: $T/image: not a kernel"
(cd "$T" && "$bench/boot" --stand-in --runs 1 --peer firecracker=./firecracker --plot drawn.svg > out 2> err)
status=$?
ends_with 0
holds grep -q '<svg' "$T/drawn.svg"

# modules LOADED COMMAND: bench/modules where LOADED is loaded, what is done in $T/done, with COMMAND to measure
modules() {
	echo "$1 1 0" > "$T/loaded"
	: > "$T/done"
	PATH=$T/tools:$PATH sh bench/modules k/mayfly.ko "$2" 3 > "$T/out" 2> "$T/err" &
}
mkdir "$T/tools"
cat > "$T/tools/insmod" <<-TOOL
	#!/bin/sh
	[ \$# -eq 0 ] || echo "\${0##*/} \$*" >> "$T/done"
	name=\${1##*/}
	case \${0##*/} in
	insmod | modprobe) echo "\${name%.ko} 1 0" >> "$T/loaded" ;;
	rmmod) grep -q "^\$1 " "$T/loaded" && sed -i "/^\$1 /d" "$T/loaded" ;;
	lsmod) cat "$T/loaded" ;;
	esac
TOOL
chmod +x "$T/tools/insmod"
for tool in rmmod modprobe lsmod; do ln -s insmod "$T/tools/$tool"; done
cat > "$T/measures" <<-MEASURES
	#!/bin/sh
	echo "measure \$*" >> "$T/done"
MEASURES
cat > "$T/holds" <<-HOLDS
	#!/bin/sh
	echo "measure \$*" >> "$T/done"
	exec sleep 1000
HOLDS
chmod +x "$T/measures" "$T/holds"

# did WORDS...: that was done, in this order
did() {
	printf '%s\n' "$@" | cmp -s - "$T/done" || is_wrong "done: $(tr '\n' ';' < "$T/done")"
}

story "exits on one module and the other leave those loaded that were"
modules kvm_intel "$T/measures"
wait $!
status=$?
ends_with 0
did "rmmod kvm_intel" "insmod k/mayfly.ko" "measure mayfly 3" "rmmod mayfly" "modprobe kvm_intel" "measure kvm_intel 3" \
	"modprobe kvm_intel"
modules other "$T/measures"
wait $!
status=$?
ends_with 0
did "insmod k/mayfly.ko" "measure mayfly 3" "rmmod mayfly" "modprobe kvm_intel" "measure kvm_intel 3" "rmmod kvm_intel"
modules kvm_intel false
wait $!
status=$?
ends_with 1
did "rmmod kvm_intel" "insmod k/mayfly.ko" "rmmod mayfly" "modprobe kvm_intel"
modules kvm_intel "$T/holds"
awaits "$T/done" "measure mayfly"
kill -TERM $!
wait $!
status=$?
ends_with 143
did "rmmod kvm_intel" "insmod k/mayfly.ko" "measure mayfly 3" "rmmod mayfly" "modprobe kvm_intel"

story "an option that no benchmark has is refused, and --help names those that it has"
for script in boot api clone jail blk net exits; do
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
