# SPDX-License-Identifier: Apache-2.0
# Networks, with the small guests of tests/guest on whatever /dev/kvm there is: microVMs that ping each
# other over a peer link, peers that die, stop and lie, drivers that break every rule.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
SANITIZED=${SANITIZED:-build/tests/mayfly-san}
export ASAN_OPTIONS=detect_leaks=0 # which wants /proc at the end; the unit tests look for leaks
PEERS=$T/peers

# net WORDS OPTION...: the driver, with WORDS on its command line
net() {
	words=$1
	shift
	mayfly run --timeout 180s --kernel "$GUESTS/net.elf" --cmdline "$words" "$@"
}
# beside NAME WORDS OPTION...: the same as another microVM, whose output is in $T/NAME and its pid in $pid
beside() {
	file=$T/$1 words=$2
	shift 2
	"$MAYFLY" run --timeout 180s --kernel "$GUESTS/net.elf" --cmdline "$words" --report "$@" > "$file" 2>&1 &
	pid=$!
}
# nth NAME N: in the report of a microVM beside, its first interface's Nth number
nth() {
	grep 'net0: received' "$T/$1" | sed 's/net0//' | grep -o '[0-9]*' | sed -n "$2p"
}
is_up() {
	while [ ! -S "$PEERS/$1" ]; do sleep 0.05; done
}
passes() {
	ends_with 0
	holds [ "$(grep -c FAILED "$T/out")" -eq 0 ]
}
# answers WORDS...: the microVM beside has done so, and ended well
answers() {
	wait "$pid" || is_wrong "the one that answers ended with $?: $(tail -n 3 "$T/beside")"
	grep -q "net: $1 answered" "$T/beside" || is_wrong "not $1 answered"
}

for how in "" plain merge sum "merge sum"; do
	story "two microVMs over a peer link: frames of all lengths${how:+, with $how}"
	beside beside "do=answer station=2 $how" --net "peer=$PEERS"
	is_up 0
	net "do=ping n=300 $how" --net "peer=$PEERS"
	passes
	prints "net: 300 sent, 0 lost"
	says_nothing
	answers 300
	holds [ ! -e "$PEERS/0" -a ! -e "$PEERS/1" ]
done

story "frames larger than a buffer, laid over many"
beside beside "do=answer station=2 merge" --net "peer=$PEERS"
is_up 0
net "do=ping n=100 size=30000 merge" --net "peer=$PEERS"
passes
answers 100

for how in "" plain merge sum "merge sum"; do
	story "many frames at once go together, and come one by one${how:+, with $how}"
	beside beside "do=answer station=2 $how" --net "peer=$PEERS"
	is_up 0
	net "do=volleys n=50 of=24 $how" --net "peer=$PEERS"
	passes
	prints "net: 1200 sent, 0 lost"
	says_nothing
	answers 1200
done

story "without offloads as well"
beside beside "do=answer station=2" --net "peer=$PEERS,offload=off,mtu=1400"
is_up 0
net "do=ping n=100" --net "peer=$PEERS,offload=off"
passes
answers 100

story "headers that no guest may see are dropped and counted, and cost nothing else"
beside beside "do=answer station=2" --net "peer=$PEERS"
is_up 0
net "do=ping n=60 bad" --net "peer=$PEERS"
passes
answers 60
holds [ "$(nth beside 3)" -eq 60 ]

story "a station that is known gets its frames alone"
beside third "do=silent" --net "peer=$PEERS" --serial "file=$T/serial"
third=$pid
is_up 0
beside beside "do=answer station=2" --net "peer=$PEERS"
is_up 1
net "do=ping n=100" --net "peer=$PEERS"
passes
answers 100
wait $third || is_wrong "the third ended with $?"
holds [ "$(nth third 1)" -lt 20 ]

story "a peer that has stopped holds nobody up"
beside third "do=answer station=3" --net "peer=$PEERS"
third=$pid
is_up 0
kill -STOP $third
beside beside "do=answer station=2" --net "peer=$PEERS"
is_up 1
net "do=send n=2000" --net "peer=$PEERS"
ends_with 0
net "do=ping n=100" --net "peer=$PEERS"
passes
answers 100
kill -KILL $third
kill -CONT $third
wait $third 2> /dev/null

story "a peer that is killed and comes back is found again"
beside beside "do=answer station=2" --net "peer=$PEERS"
answerer=$pid
while [ ! -S "$PEERS/0" ] && [ ! -S "$PEERS/1" ]; do sleep 0.05; done
beside killed "do=ping n=1000000" --net "peer=$PEERS"
sleep 1
kill -KILL $pid
wait $pid 2> /dev/null
net "do=ping n=100" --net "peer=$PEERS"
passes
pid=$answerer
wait $pid || is_wrong "the one that answers ended with $?"

story "what others leave in the folder does no harm"
mkdir -p "$PEERS/5" "$PEERS/31.new" && echo junk > "$PEERS/7" && echo junk > "$PEERS/notes"
beside beside "do=answer station=2" --net "peer=$PEERS"
is_up 0
mv "$PEERS/notes" "$PEERS/9"
mv "$PEERS/7" "$PEERS/99"
net "do=ping n=10" --net "peer=$PEERS"
passes
answers 10
rm -rf "$PEERS"

story "frames from another MAC are counted"
net "do=send n=10 station=9" --net "peer=$PEERS,mac=02:00:00:00:00:01" --report
ends_with 0
says "10 from another MAC"

story "and dropped with spoof=refuse, where the right ones go out"
beside beside "do=silent" --net "peer=$PEERS"
is_up 0
net "do=send n=10 station=9" --net "peer=$PEERS,mac=02:00:00:00:00:01,spoof=refuse" --report
says "sent 0, 0 bytes, 10 lost; 10 from another MAC"
net "do=send n=10" --net "peer=$PEERS,mac=02:00:00:00:00:01,spoof=refuse" --report
says "sent 10, "
says "0 from another MAC"
wait $pid

story "a rate limit delays frames in both directions, and loses none"
beside beside "do=answer station=2" --net "peer=$PEERS,rx-ops=100/50ms,tx-bytes=100K/100ms"
is_up 0
net "do=ping n=300" --net "peer=$PEERS,tx-ops=100+10/50ms,rx-bytes=100K/50ms"
passes
answers 300

story "the device says what it was told"
net do=config --net "peer=$PEERS,mac=02:11:22:33:44:55,mtu=9000" --cpus 2
shows "mac 33221102 5544, pairs 1, mtu 9000"

# Ten turns a second are those of who watches for a halt while the guest runs; on a busy machine each look
# waits some times for the vCPU. A link that turned the loop by itself would leave no second quiet.
story "an idle link adds no turn to the monitor's loop"
beside beside "do=silent" --net "peer=$PEERS"
is_up 0
turns() { sed -n 's/^voluntary_ctxt_switches:[[:space:]]*//p' "/proc/$pid/task/$pid/status"; }
is_quiet() {
	for _ in $(seq 20); do
		before=$(turns)
		sleep 1
		now=$(turns)
		[ -n "$now" ] || return 1 # it has ended
		[ $((now - before)) -ge 15 ] || return 0
	done
	return 1
}
holds is_quiet
kill -KILL $pid
wait $pid 2> /dev/null

story "a driver that offers a buffer more than its queue holds is ended by a timeout like any other"
timeout -s KILL 60 "$MAYFLY" run --timeout 10s --kernel "$GUESTS/net.elf" --cmdline do=surplus --net "peer=$PEERS" \
	> "$T/out" 2> "$T/err"
status=$?
ends_with 124
prints "net: one more"

# hostile LINK: each rule broken, with another interface that has to go on
hostile() {
	for how in plain merge; do
		net "do=hostile second $how" --net "$1" --net "peer=$T/others"
		passes
	done
	if [ -x "$SANITIZED" ]; then
		for how in plain merge; do
			"$SANITIZED" run --timeout 180s --kernel "$GUESTS/net.elf" --cmdline "do=hostile second $how" \
				--net "$1" --net "peer=$T/others" > "$T/out" 2> "$T/err"
			status=$?
			passes
			holds [ "$(grep -c 'ERROR: AddressSanitizer\|runtime error' "$T/err")" -eq 0 ]
		done
	fi
}

story "a driver that breaks every rule breaks its own device: on a peer link"
beside beside "do=silent" --net "peer=$PEERS"
is_up 0
hostile "peer=$PEERS"
kill -KILL $pid
wait $pid 2> /dev/null
rm -rf "$PEERS" "$T/others"

the_end
