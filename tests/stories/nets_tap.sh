# SPDX-License-Identifier: Apache-2.0
# Taps and passt, with the small guests of tests/guest, in a network namespace of its own: ARP and ICMP
# with this machine's kernel. Needs root, /dev/net/tun, unshare and ip; passt where it is installed.
if [ -z "${IN_NAMESPACE:-}" ]; then
	if [ "$(id -u)" -ne 0 ] || ! unshare -n ip tuntap add dev tap0 mode tap 2> /dev/null; then
		echo "ok 1 - taps and passt # SKIP needs root, /dev/net/tun, unshare and ip"
		echo "1..1"
		exit 0
	fi
	IN_NAMESPACE=1 exec unshare -n sh "$0"
fi
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
SANITIZED=${SANITIZED:-build/tests/mayfly-san}
export ASAN_OPTIONS=detect_leaks=0 # which wants /proc at the end; the unit tests look for leaks
net() {
	words=$1
	shift
	mayfly run --timeout 180s --kernel "$GUESTS/net.elf" --cmdline "$words" "$@"
}
pings() {
	ends_with 0
	shows "echoes, 0 lost"
}
tap() {
	ip tuntap add dev "$1" mode tap $2
	ip addr add "$3" dev "$1"
	ip link set "$1" up
}

ip link set lo up
tap tap0 "" 10.9.0.1/24
tap many multi_queue 10.9.1.1/24
ip tuntap add dev tun0 mode tun

for how in "" plain merge; do
	story "this machine's kernel answers over a tap${how:+, with $how}"
	net "do=icmp ip=10.9.0.1 from=10.9.0.2 n=200 $how" --net tap=tap0
	pings
	says_nothing
done

story "a tap by an open descriptor, which somebody else had the right to open"
if command -v python3 > /dev/null; then
	# IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
	python3 -c 'import fcntl, os, struct, sys
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack("16sH22x", b"tap0", 0x2 | 0x1000 | 0x4000)) # TUNSETIFF
os.dup2(tap, 9)
os.execv(sys.argv[1], sys.argv[1:])' "$MAYFLY" run --timeout 180s --kernel "$GUESTS/net.elf" \
		--cmdline "do=icmp ip=10.9.0.1 from=10.9.0.2 n=50" --net fd=9 > "$T/out" 2> "$T/err"
	status=$?
	pings
	says_nothing
else
	name=''
	skipped "a tap by an open descriptor" "python3 is not installed"
fi

story "packets larger than a frame come in pieces, and all of them"
net "do=icmp ip=10.9.0.1 from=10.9.0.2 n=50 size=1472 merge" --net tap=tap0
pings

story "a tap of several queues gives a pair to each CPU"
net do=config --net tap=many --cpus 4
shows "pairs 4"
net "do=icmp ip=10.9.1.1 from=10.9.1.2 n=100" --net tap=many --cpus 4
pings
net "do=pairs ip=10.9.1.1 from=10.9.1.2 n=100" --net tap=many --cpus 4
pings

story "one that was made for one queue gives one"
net do=config --net tap=tap0 --cpus 4
shows "pairs 1"

story "a tap that goes down loses frames and counts them, and comes back"
ip link set tap0 down
net "do=send n=10" --net tap=tap0 --report
ends_with 0
says "sent 0, 0 bytes, 10 lost"
"$MAYFLY" run --timeout 60s --kernel "$GUESTS/net.elf" --cmdline "do=icmp ip=10.9.0.1 from=10.9.0.2 n=20" \
	--net tap=tap0 --report > "$T/out" 2> "$T/err" &
awaits "$T/out" "no answer yet"
ip link set tap0 up
wait $!
status=$?
pings
holds [ "$(sed -n 's/.*sent [0-9]*, [0-9]* bytes, \([0-9]*\) lost.*/\1/p' "$T/err")" -gt 0 ]

story "a tap that is in use already is refused"
"$MAYFLY" run --timeout 30s --kernel "$GUESTS/net.elf" --cmdline do=silent --net tap=tap0 > "$T/beside" 2>&1 &
awaits_guest
net do=config --net tap=tap0
ends_with 125
says_one_line
says "tap0: another process has this tap"
kill -KILL $!
wait $! 2> /dev/null

story "what is not a tap is refused, with what to do"
net do=config --net tap=nowhere
ends_with 125
says_one_line
says "nowhere: no such interface; make it with 'ip tuntap add dev nowhere mode tap'"
net do=config --net tap=lo
ends_with 125
says "lo: is not a tap"
net do=config --net tap=tun0
ends_with 125
says "tun0: is not a tap"

story "a driver that breaks every rule breaks its own device: on a tap"
for how in plain merge; do
	net "do=hostile second $how" --net tap=tap0 --net tap=many
	ends_with 0
	holds [ "$(grep -c FAILED "$T/out")" -eq 0 ]
done
if [ -x "$SANITIZED" ]; then
	story "nor does the monitor touch what it must not, say the sanitizers"
	for how in plain merge; do
		"$SANITIZED" run --timeout 180s --kernel "$GUESTS/net.elf" --cmdline "do=hostile second $how" --cpus 2 \
			--net tap=many --net tap=tap0 > "$T/out" 2> "$T/err"
		status=$?
		ends_with 0
		holds [ "$(grep -c FAILED "$T/out")" -eq 0 ]
	done
fi

if ! command -v passt > /dev/null; then
	skipped "passt" "it is not installed"
	the_end
	exit
fi

# passt copies the interface that has the default route.
echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
ip addr add 10.7.0.1/32 dev lo
ip route add default via 10.9.0.254 dev tap0
ip link set tap0 up
start_passt() {
	passt -f --runas 0 -l "$T/passt.log" --socket "$T/socket" > "$T/passt" 2>&1 &
	passt=$!
	waited=0
	while [ ! -S "$T/socket" ] && [ $waited -lt 100 ]; do sleep 0.1; waited=$((waited + 1)); done
}
start_passt

for how in "" plain merge; do
	story "this machine's kernel answers over passt${how:+, with $how}"
	net "do=icmp ip=10.7.0.1 from=10.9.0.1 n=100 $how" --net "passt=$T/socket"
	pings
	says_nothing
done

story "a driver that breaks every rule breaks its own device: over passt"
net "do=hostile second merge" --net "passt=$T/socket" --net tap=many
ends_with 0
holds [ "$(grep -c FAILED "$T/out")" -eq 0 ]

story "passt that dies is missed, and found again when it is back"
"$MAYFLY" run --timeout 60s --kernel "$GUESTS/net.elf" --cmdline "do=again ip=10.7.0.1 from=10.9.0.1 n=20" \
	--net "passt=$T/socket" > "$T/out" 2> "$T/err" &
pid=$!
while ! grep -q "20 echoes, 0 lost" "$T/out"; do sleep 0.1; done
kill -KILL $passt
wait $passt 2> /dev/null
while ! grep -q "frames are dropped until it is back" "$T/err"; do sleep 0.1; done
rm -f "$T/socket"
start_passt
wait $pid
status=$?
ends_with 0
says "is back"
kill $passt
wait $passt 2> /dev/null

story "nobody listens at the socket: refused, with what to do"
rm -f "$T/socket"
net do=config --net "passt=$T/socket"
ends_with 125
says_one_line
says "nobody listens there; start 'passt --socket"

the_end
