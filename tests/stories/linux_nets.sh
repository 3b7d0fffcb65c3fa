# SPDX-License-Identifier: Apache-2.0
# Networks under Linux, the tuned kernel: downloads with a checksum over a tap, over a tap of several
# queues, from guest to guest, and over passt; tests/run calls this in a host. Needs root, and works in a
# network namespace of its own.
if [ -z "${IN_NAMESPACE:-}" ]; then
	if [ "$(id -u)" -ne 0 ] || ! unshare -n true; then
		echo "ok 1 - networks under Linux # SKIP needs root"
		echo "1..1"
		exit 0
	fi
	modprobe tun
	IN_NAMESPACE=1 exec unshare -n sh "$0"
fi
. tests/stories/lib.sh

# The guests' initrd, and behind it an archive with iperf3 and what it is linked with.
with_iperf3() {
	iperf3=$(command -v iperf3)
	mkdir -p "$T/iperf3$(dirname "$iperf3")"
	cp "$iperf3" "$T/iperf3$iperf3"
	for library in $(/lib64/ld-linux-x86-64.so.2 --list "$iperf3" | grep -o '/[^ ]*') /lib64/ld-linux-x86-64.so.2; do
		mkdir -p "$T/iperf3$(dirname "$library")"
		cp -L "$library" "$T/iperf3$library"
	done
	cp "$MAYFLY_INITRD" "$T/initrd"
	(cd "$T/iperf3" && find . | cpio -o -H newc 2> /dev/null) >> "$T/initrd"
}
# guest_of INITRD SCRIPT OPTION...: runs SCRIPT in a guest with these options
guest_of() {
	initrd=$1 script=$2
	shift 2
	mayfly run --timeout 150s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$initrd" "$@" -- sh -c "$script"
}
guest() { guest_of "$MAYFLY_INITRD" "$@"; }
# The shell of an emulated host has an ip of its own, which cannot make taps.
ip() { /bin/ip "$@"; }
# Waits for WORD on the guest's output, but not for ever.
shows_soon() {
	for i in $(seq 1 300); do
		grep -q "$1" "$T/out" && break
		sleep 0.2
	done
}
SUM="sha256sum | cut -d' ' -f1"

ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add 10.9.0.1/24 dev tap0
ip link set tap0 up
ip tuntap add dev tap1 mode tap multi_queue
ip addr add 10.9.1.1/24 dev tap1
ip link set tap1 up
ip route add default via 10.9.0.254 dev tap0
mkdir "$T/www"
head -c 4000000 /dev/urandom > "$T/www/file"
sum=$(eval "$SUM" < "$T/www/file")
busybox httpd -f -p 8080 -h "$T/www" &
httpd=$!
with_iperf3
# What iperf3 sends to and gets from the server at $1, and how often it says that it arrived. A server
# that serves once is not there yet, or not yet again.
IPERF3='until iperf3 -n 2M -c $1 > /tmp/report 2>&1; do sleep 0.2; done
	until iperf3 -R -n 2M -c $1 >> /tmp/report 2>&1; do sleep 0.2; done; grep -c "MBytes.*receiver" /tmp/report'
serve_iperf3() {
	{ iperf3 -s -1 && iperf3 -s -1; } > "$T/iperf3.log" 2>&1 &
	server=$!
}
says_iperf3() {
	ends_with 0
	prints 2
	[ "$status" -eq 0 ] || kill $server 2> /dev/null
	wait $server
}

story "Linux: a file from the host's web server over a tap"
guest "ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; wget -q -O - http://10.9.0.1:8080/file | $SUM
	cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu" --net tap=tap0,mac=02:00:00:00:00:07,mtu=1400
ends_with 0
prints "$sum
02:00:00:00:00:07
1400"
says_nothing

story "Linux: and one to the host"
mkfifo "$T/open"
busybox nc -l -p 9000 > "$T/came" <> "$T/open" & # an input that ends would end the whole of it
listener=$!
guest "ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; seq 1 300000 | nc 10.9.0.1 9000" --net tap=tap0
ends_with 0
wait $listener
seq 1 300000 > "$T/expected"
holds cmp -s "$T/expected" "$T/came"

story "Linux: two queues on a tap that was made for several"
guest "ip link set eth0 up; ip addr add 10.9.1.2/24 dev eth0; ls /sys/class/net/eth0/queues | wc -l
	for i in 1 2; do wget -q -O - http://10.9.1.1:8080/file | $SUM & done; wait" --cpus 2 --net tap=tap1
ends_with 0
prints "4
$sum
$sum"

story "Linux: iperf3 over a tap, there and back"
serve_iperf3
guest_of "$T/initrd" "ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; set -- 10.9.0.1; $IPERF3" --net tap=tap0
says_iperf3

story "Linux: both ways went in segments larger than a frame"
# Of what was received, then sent: bytes in field 1 and 9, packets behind each.
holds awk '/tap0:/ { sub(".*:", ""); exit !($1 / $2 > 1514 && $9 / $10 > 1514) }' /proc/net/dev

story "Linux: four downloads at once over a tap, and no frame is lost for want of buffers"
guest "ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0
	for i in 1 2 3 4; do wget -q -O /tmp/\$i http://10.9.0.1:8080/file & done; wait
	for i in 1 2 3 4; do cat /tmp/\$i | $SUM; done" --report --net tap=tap0
ends_with 0
prints "$sum
$sum
$sum
$sum"
holds grep -q "received [0-9]* frames, [0-9]* bytes, 0 lost" "$T/err"

story "Linux: the rate limit holds a download to its bytes, and loses none"
guest "ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; wget -q -O - http://10.9.0.1:8080/file | $SUM" \
	--report --net tap=tap0,rx-bytes=4M/1s,tx-ops=2000/1s
ends_with 0
prints "$sum"
holds grep -q "received [0-9]* frames, [0-9]* bytes, 0 lost" "$T/err"

story "Linux: a tap that goes down loses frames, and comes back, and the guest sees that"
mkfifo "$T/in"
guest "ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; wget -q -O /dev/null http://10.9.0.1:8080/file && echo first
	carrier=/sys/class/net/eth0/carrier; cat \$carrier
	read -r line; ping -c 2 -W 1 -q 10.9.0.1 > /dev/null || echo lost
	cat \$carrier; echo down; read -r line; until [ \$(cat \$carrier) = 1 ]; do sleep 0.1; done
	until wget -q -O /tmp/file http://10.9.0.1:8080/file 2> /dev/null; do :; done; cat /tmp/file | $SUM" \
	--net tap=tap0 --report < "$T/in" &
pid=$!
exec 3> "$T/in"
shows_soon first
ip link set tap0 down
echo >&3
shows_soon down
ip link set tap0 up
ip route add default via 10.9.0.254 dev tap0
echo >&3
exec 3>&-
wait $pid
prints "first
1
lost
0
down
$sum"
holds [ "$(sed -n 's/.*sent [0-9]*, [0-9]* bytes, \([0-9]*\) lost.*/\1/p' "$T/err")" -gt 0 ]

# A guest that makes a file, serves it, and ends when somebody calls
SERVE='mkdir /tmp/www; seq 1 400000 > /tmp/www/file; httpd -p 80 -h /tmp/www; nc -l -p 9 > /dev/null'
seq 1 400000 > "$T/expected"
for words in "" ,offload=off; do # one that takes no segments gets them cut
	story "Linux: from guest to guest over a peer link${words:+, of which one says ${words#,}}"
	"$MAYFLY" run --timeout 150s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" --net "peer=$T/peers" -- \
		sh -c "ip link set eth0 up; ip addr add 10.8.0.1/24 dev eth0; $SERVE" > "$T/server" 2>&1 <> "$T/open" &
	server=$!
	guest "ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0
		until wget -q -O /tmp/file http://10.8.0.1/file 2> /dev/null; do sleep 0.2; done; cat /tmp/file | $SUM; echo | nc 10.8.0.1 9" \
		--report --net "peer=$T/peers$words"
	ends_with 0
	holds grep -q "received [0-9]* frames, [0-9]* bytes, 0 lost" "$T/err"
	prints "$(eval "$SUM" < "$T/expected")"
	wait $server
	status=$?
	ends_with 0
done

story "Linux: iperf3 from guest to guest over a peer link"
"$MAYFLY" run --timeout 150s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$T/initrd" --net "peer=$T/peers" -- \
	sh -c "ip link set eth0 up; ip addr add 10.8.0.1/24 dev eth0; iperf3 -s -1; iperf3 -s -1" > "$T/server" 2>&1 < /dev/null &
server=$!
guest_of "$T/initrd" "ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0; set -- 10.8.0.1; $IPERF3" --net "peer=$T/peers"
says_iperf3

# passt gives itself another root, which a process cannot whose root is the RAM disk of an emulated
# host: there it gets one on a tmpfs first. It copies the interface that has the default route, and the
# gateway's address is the host itself.
start_passt() {
	if [ ! -e /host/job ]; then
		passt -f --runas 0 -t 2222:80,2223:9 -l "$T/root/log" --socket "$T/root/socket" > "$T/passt" 2>&1 &
	else
		mount -t tmpfs none "$T/root"
		mkdir -p "$T/root/tmp" "$T/root/proc" "$T/root/dev" "$T/root/etc"
		cp -a /usr /lib /lib64 /bin "$T/root"
		touch "$T/root/dev/null"
		unshare -m sh -c "mount --bind /dev/null $T/root/dev/null && mount -t proc none $T/root/proc &&
			cd $T/root && mount --move . / && exec chroot . /usr/bin/passt -f --runas 0 -t 2222:80,2223:9 -l /log --socket /socket" \
			> "$T/passt" 2>&1 &
	fi
	passt=$!
	waited=0
	while [ ! -S "$T/root/socket" ] && [ $waited -lt 100 ]; do
		sleep 0.2
		waited=$((waited + 1))
	done
}

story "Linux: over passt, a file through the gateway"
mkdir "$T/root"
start_passt
guest "ip link set eth0 up; ip addr add 10.9.0.1/24 dev eth0; ip route add default via 10.9.0.254
	wget -q -O - http://10.9.0.254:8080/file | $SUM" --net "passt=$T/root/socket"
[ "$status" -eq 0 ] || cat "$T/passt" "$T/root/log" >> "$T/err"
ends_with 0
prints "$sum"
says_nothing

story "Linux: iperf3 over passt"
serve_iperf3
guest_of "$T/initrd" "ip link set eth0 up; ip addr add 10.9.0.1/24 dev eth0; ip route add default via 10.9.0.254
	set -- 10.9.0.254; $IPERF3" --net "passt=$T/root/socket"
says_iperf3

story "Linux: a file from the guest's web server, by a port that passt forwards"
"$MAYFLY" run --timeout 150s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" --net "passt=$T/root/socket" -- \
	sh -c "ip link set eth0 up; ip addr add 10.9.0.1/24 dev eth0; ip route add default via 10.9.0.254; $SERVE" \
	> "$T/served" 2> "$T/err" < /dev/null &
server=$!
for i in $(seq 100); do # until it serves
	timeout 20 wget -q -O "$T/got" http://127.0.0.1:2222/file 2> /dev/null && break
	sleep 0.5
done
holds [ "$(eval "$SUM" < "$T/got")" = "$(seq 1 400000 | eval "$SUM")" ]
nc 127.0.0.1 2223 < /dev/null > /dev/null # it may end
wait $server
status=$?
ends_with 0
says_nothing

story "Linux: and an address by DHCP from passt"
guest "printf '%s\n' '#!/bin/sh' '[ \$1 != bound ] || ip addr add \$ip/\$mask dev eth0' > /tmp/bound; chmod +x /tmp/bound
	ip link set eth0 up; udhcpc -q -n -t 5 -i eth0 -s /tmp/bound > /dev/null 2>&1 && ip -4 -o addr show dev eth0 | awk '{ print \$4 }'" \
	--net "passt=$T/root/socket"
ends_with 0
prints 10.9.0.1/24
kill $passt
wait $passt 2> /dev/null
[ ! -e /host/job ] || umount "$T/root"
kill $httpd

the_end
