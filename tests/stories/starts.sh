# SPDX-License-Identifier: Apache-2.0
# Many jailed microVMs that start at once, and what they leave behind. Needs root; GUESTS as guests.sh.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
# As many at once as a machine can take: an emulated one is slow.
STARTS=${STARTS:-$([ -e /host/job ] && echo 30 || echo 500)}
all=''
trap 'for p in $all; do kill -KILL $p 2> /dev/null; done; rm -rf "$T"' EXIT

if [ "$(id -u)" -ne 0 ]; then
	skipped "many jailed starts at once" "needs root"
	the_end
	exit
fi

# stays OPTION...: a guest that stays; $!
stays() {
	"$MAYFLY" run --kernel "$GUESTS/hello.elf" --cmdline hold "$@" > /dev/null 2>> "$T/err" &
	all="$all $!"
}
program=$(stat -L -c %d:%i "$MAYFLY")
# What a start could leave: mounts, processes and their namespaces, cgroups, files. Other programs come and go.
left() {
	wc -l < /proc/self/mountinfo
	for p in /proc/[0-9]*; do
		[ "$(stat -L -c %d:%i "$p/exe")" != "$program" ] ||
			readlink "$p/ns/net" "$p/ns/mnt" "$p/ns/user" "$p/ns/ipc" "$p/ns/uts"
	done 2> /dev/null | sort -u | wc -l
	find /sys/fs/cgroup -type d -name '*mayfly*' | wc -l
	ls -A "$T" "$T/many" | wc -l
	ls /dev/shm | wc -l
	grep -c "$T" /proc/net/unix
}
leaves_nothing() { # the kernel takes namespaces down in its own time
	for _ in $(seq 100); do
		left > "$T/after"
		cmp -s "$T/before" "$T/after" && return
		sleep 0.1
	done
	is_wrong "before, and after: $(paste -sd' ' "$T/before"), $(paste -sd' ' "$T/after")"
}
are_killed() { # PID...: and it has no more to do with us
	for pid; do
		wait "$pid" 2> /dev/null
		holds [ $? -eq 137 ]
	done
}
mkdir "$T/many" "$T/status"
: > "$T/before"
: > "$T/after"

story "$STARTS jailed starts at once end as they should, and leave nothing behind"
stays --serial "unix=$T/neighbour"
awaits_guest
neighbour=$!
left > "$T/before"
starts=''
n=0
while [ $n -lt "$STARTS" ]; do
	n=$((n + 1))
	{
		"$MAYFLY" run --timeout 180s --kernel "$GUESTS/hello.elf" --cmdline exit=9 > /dev/null 2>> "$T/err"
		echo $? > "$T/status/$n"
	} &
	starts="$starts $!"
done
wait $starts
holds [ "$(cat "$T"/status/* | sort | uniq -c | tr -s ' ')" = " $STARTS 9" ]
says_nothing
leaves_nothing

story "$STARTS that are killed in the middle of it leave nothing behind"
n=0
while [ $n -lt "$STARTS" ]; do
	victims=''
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		stays
		victims="$victims $!"
	done
	n=$((n + 10))
	sleep "0.0$((n / 10 % 10))" # from not begun to their guests running
	kill -KILL $victims
	are_killed $victims
done
says_nothing
leaves_nothing

story "of those that had sockets only these are left, and are no hindrance"
victims=''
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	stays --net "peer=$T/many"
	victims="$victims $!"
done
awaits_guest
kill -KILL $victims
are_killed $victims
says_nothing
stays --net "peer=$T/many"
awaits_guest
kill -TERM $!
wait $!
holds [ $? -eq 143 ]

story "a neighbour has noticed nothing"
kill -TERM "$neighbour"
wait "$neighbour"
holds [ $? -eq 143 ]
says "stopped by a signal"

the_end
