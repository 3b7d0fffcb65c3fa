# SPDX-License-Identifier: Apache-2.0
# The small guests of tests/guest on whatever /dev/kvm there is, hardware or not: every exit reason,
# memory, processors, timer, serial port, and every way a microVM ends.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}

# guest NAME WORDS OPTION...: runs it with WORDS on its command line
guest() {
	program=$1 words=$2
	shift 2
	mayfly run --timeout 180s --kernel "$GUESTS/$program.elf" --cmdline "$words" "$@"
}

story "a guest says hello from ring 3 and powers off"
guest hello ""
ends_with 0
prints "Hello from ring 3"
says_nothing

story "the status a guest reports is mayfly's exit code"
guest hello exit=42
ends_with 42

story "--report says how it ended and how long it took"
guest hello exit=7 --report
ends_with 7
says "powered off; exit code 7"
says "first instruction after"

story "--timeline writes the boot's phases as JSON"
guest hello boot --timeline "$T/phases"
ends_with 0
holds grep -q '"first_entry":{"wall_us":[0-9.]*,"cpu_us":[0-9.]*}' "$T/phases"
holds grep -q '"init":{"wall_us":[0-9.]*,"cpu_us":[0-9.]*}' "$T/phases"
holds grep -q '"end":{"wall_us":[0-9.]*,"cpu_us":[0-9.]*}' "$T/phases"

story "every exit reason is answered"
guest exits ""
ends_with 0
shows "cpuid"
holds [ "$(grep -c FAILED "$T/out")" -eq 0 ]

story "power-off ends with 0"
guest exits poweroff
ends_with 0

story "a reset ends with 120"
guest exits reset
ends_with 120
says "rebooted; exit code 120"

story "so does the keyboard controller's reset pulse"
guest exits i8042
ends_with 120

story "a triple fault ends with 122"
guest exits triple
ends_with 122
says "triple fault; exit code 122"
says_one_line

story "what a kernel's first instructions write comes out, also where it halts for good behind them"
guest first ""
ends_with 123
prints ""

story "a last processor halted with interrupts off ends with 123"
guest exits halt
ends_with 123
says "halted with interrupts off"

story "so do four processors"
guest smp "cpus=4 halt" --cpus 4
ends_with 123

story "a guest that spins is ended by the timeout with 124"
mayfly run --timeout 300ms --kernel "$GUESTS/exits.elf" --cmdline spin
ends_with 124
says "timed out; exit code 124"

story "what the hypervisor cannot emulate ends with 125, registers and the place"
guest exits badinsn
ends_with 125
says "hypervisor error"
says "rip 00000000c0001000"

story "SIGTERM ends a microVM with 143"
"$MAYFLY" run --kernel "$GUESTS/exits.elf" --cmdline spin > "$T/out" 2> "$T/err" &
awaits_guest
kill -TERM $!
wait $!
status=$?
ends_with 143
says "stopped by a signal"

for mem in 16M 128M 1G; do
	story "every page of $mem of memory is there, and the hole is a hole"
	bytes=$((${mem%[MG]} << 20))
	[ "$mem" = 1G ] && bytes=$((1 << 30))
	guest memmap "mem=$bytes" --mem $mem --timeout 600s
	ends_with 0
done

story "every word of 16M of memory is there"
guest memmap "mem=$((16 << 20)) full" --mem 16M --timeout 600s
ends_with 0

story "memory goes on above the hole: 4 GiB, sparsely touched"
guest memmap "mem=$((4 << 30)) stride=4194304" --mem 4G
ends_with 0

for cpus in 1 2 8 32; do
	story "$cpus processors start, each with its own APIC ID, and interrupt each other"
	guest smp "cpus=$cpus" --cpus $cpus
	ends_with 0
done

story "the APIC timer fires at its deadlines"
guest tick n=10
ends_with 0

# What `flood` sends: $1 * 16 numbered lines, of 64 bytes or $2.
flood() {
	awk -v n=$(($1 * 16)) -v line="%0$((${2:-64} - 1))d" 'BEGIN { for (i = 0; i < n; i++) printf line "\n", i }'
}
arrives_whole() {
	flood "$@" | cmp -s - "$T/out" || is_wrong "the output is not whole"
}

story "16 KiB of output by polling arrive whole"
guest exits flood=16
ends_with 0
arrives_whole 16

story "16 KiB of output by interrupts arrive whole"
guest exits "flood=16 irq"
ends_with 0
arrives_whole 16

story "output to a file is cut at its cap, and mayfly says so"
guest exits flood=16 --serial "file=$T/log,max=1000"
ends_with 0
holds [ "$(wc -c < "$T/log")" -eq 1000 ]
says "has reached its 1000 bytes"
says_one_line

story "a reader that goes away does not stop the guest"
{ "$MAYFLY" run --timeout 180s --kernel "$GUESTS/exits.elf" --cmdline flood=16 2> "$T/err"; echo $? > "$T/status"; } |
	head -n 1 > "$T/out"
status=$(cat "$T/status")
ends_with 0

for line in 64 61; do # of which one divides the queue, and the other does not
	story "a slow reader gets every byte, in lines of $line"
	{
		"$MAYFLY" run --timeout 180s --kernel "$GUESTS/exits.elf" --cmdline "flood=128 line=$line" 2> "$T/err"
		echo $? > "$T/status"
	} | { sleep 8; cat; } > "$T/out"
	status=$(cat "$T/status")
	ends_with 0
	says_nothing
	arrives_whole 128 $line
done

# Reads nothing until mayfly has ended.
stops_reading() {
	for _ in $(seq 300); do
		[ -s "$T/status" ] && break
		sleep 0.1
	done
	cat > "$T/out"
}
unread() { # TIMEOUT CMDLINE: into a pipe that is full from the start
	rm -f "$T/status"
	{ head -c 65536 /dev/zero; "$MAYFLY" run --timeout "$1" --kernel "$GUESTS/exits.elf" --cmdline "$2" 2> "$T/err"; echo $? > "$T/status"; } | stops_reading
	status=$(cat "$T/status")
}
story "a reader that has stopped reading does not outlive the timeout"
unread 4s flood=1024
ends_with 124

story "nor where the guest has ended before that"
unread 10s flood=1
ends_with 0
says "bytes of serial output had no reader"

if script=$(command -v script); then
	story "nor does a terminal that takes nothing any more"
	rm "$T/status"
	"$script" -qefc "$MAYFLY run --timeout 4s --kernel $GUESTS/exits.elf --cmdline flood=1024 2> $T/err; echo \$? > $T/status" \
		/dev/null < /dev/null | stops_reading
	status=$(cat "$T/status")
	ends_with 124
else
	skipped "a terminal that takes nothing any more" "no script of util-linux here"
fi

story "microVMs that share a file as their standard output lose nothing of it"
for _ in 1 2 3 4; do
	"$MAYFLY" run --timeout 180s --kernel "$GUESTS/exits.elf" --cmdline flood=16 2>> "$T/err" &
done > "$T/out"
wait
holds [ "$(wc -c < "$T/out")" -eq $((4 * 16384)) ]

story "a pseudo-terminal that nobody reads does not stop the guest"
guest exits flood=128 --serial pty
ends_with 0
says "bytes of serial output had no reader"

story "a microVM that is stopped goes on when it is continued"
"$MAYFLY" run --timeout 180s --kernel "$GUESTS/exits.elf" --cmdline flood=16 > "$T/out" 2> "$T/err" &
for _ in 1 2 3; do
	sleep 0.2
	kill -STOP $!
	sleep 0.2
	kill -CONT $!
done 2> /dev/null
wait $!
status=$?
ends_with 0
arrives_whole 16

story "a signal that was ignored from the start, as nohup does, stays ignored"
(trap '' HUP && exec "$MAYFLY" run --timeout 2s --kernel "$GUESTS/exits.elf" --cmdline spin) 2> "$T/err" &
awaits_guest
kill -HUP $!
wait $!
status=$?
ends_with 124

for how in "" irq; do
	story "input arrives and comes back${how:+, by interrupts}"
	printf 'typed\004' > "$T/in"
	mayfly run --timeout 180s --kernel "$GUESTS/exits.elf" --cmdline "do=echo ${how:+echo=$how}" < "$T/in"
	ends_with 5
	holds [ "$(cat "$T/out")" = typed ]
done

story "3000 bytes of input arrive in order"
seq 2000 | tr -d '\n' | head -c 3000 > "$T/in"
printf '\004' | cat "$T/in" - > "$T/in4"
mayfly run --timeout 180s --kernel "$GUESTS/exits.elf" --cmdline "do=echo echo=irq" < "$T/in4"
ends_with $((3000 % 256))
holds cmp -s "$T/in" "$T/out"

if command -v socat > /dev/null; then
	story "the serial port on a Unix socket: one client after another, and the socket goes in the end"
	"$MAYFLY" run --timeout 180s --kernel "$GUESTS/exits.elf" --cmdline do=echo --serial "unix=$T/socket" \
		> "$T/out" 2> "$T/err" &
	pid=$!
	while [ ! -S "$T/socket" ]; do sleep 0.1; done
	: > "$T/first"
	{
		printf first
		until grep -q first "$T/first" || [ ! -S "$T/socket" ]; do sleep 0.1; done
	} | socat -t 1 - "UNIX:$T/socket" > "$T/first"
	holds [ "$(cat "$T/first")" = first ]
	holds [ "$(printf 'second\004' | socat -t 100 - "UNIX:$T/socket")" = second ]
	wait $pid
	status=$?
	ends_with 11
	holds [ ! -e "$T/socket" ]

	story "standard output that is a socket"
	socat -u "EXEC:$MAYFLY run --timeout 180s --kernel $GUESTS/exits.elf --cmdline flood=16" - > "$T/out" 2> "$T/err"
	arrives_whole 16
else
	skipped "the serial port and standard output as a socket" "no socat here"
fi

story "closed standard descriptors do no harm"
"$MAYFLY" run --timeout 180s --kernel "$GUESTS/hello.elf" --cmdline exit=3 <&- >&- 2>&-
status=$?
ends_with 3

story "a microVM without a serial port runs"
guest hello exit=5 --serial none
ends_with 5
says_nothing
holds [ ! -s "$T/out" ]

story "eight microVMs run side by side"
for i in 1 2 3 4 5 6 7 8; do
	"$MAYFLY" run --timeout 180s --kernel "$GUESTS/hello.elf" --cmdline exit=$i > "$T/out.$i" 2>> "$T/err" &
	eval "pid$i=$!"
done
for i in 1 2 3 4 5 6 7 8; do
	eval "wait \$pid$i"
	status=$?
	ends_with $i
	holds [ "$(cat "$T/out.$i")" = "Hello from ring 3" ]
done

the_end
