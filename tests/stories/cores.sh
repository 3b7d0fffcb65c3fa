# SPDX-License-Identifier: Apache-2.0
# Two microVMs on the hyperthreads of one core, as root on a host that has some. GUESTS as guests.sh.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
COOKIE=${COOKIE:-build/tests/cookie}
pids=''
trap 'for p in $pids; do kill -KILL $p 2> /dev/null; done; rm -rf "$T"' EXIT

spin() { # OPTION...: $pid
	"$MAYFLY" run --kernel "$GUESTS/exits.elf" --cmdline spin "$@" > "$T/out" 2> "$T/err" &
	pid=$!
	pids="$pids $pid"
	for _ in $(seq 300); do
		grep -qs '^vcpu 0' "/proc/$pid"/task/*/comm && return
		sleep 0.1
	done
	is_wrong "no guest runs"
}

story "this host has core scheduling"
"$COOKIE" $$ > "$T/out"
status=$?
ends_with 0
prints 0

story "a microVM has a cookie, the same for all of its threads, and another one another"
spin --cpus 2
first=$pid
cookies=$(for task in "/proc/$first"/task/*; do "$COOKIE" "${task##*/}"; done)
holds [ "$(echo "$cookies" | wc -l)" -ge 3 ]
holds [ "$(echo "$cookies" | sort -u | wc -l)" -eq 1 ]
holds [ "$(echo "$cookies" | head -n 1)" != 0 ]
spin
holds [ -n "$("$COOKIE" $pid)" ]
holds [ "$("$COOKIE" $pid)" != 0 ]
holds [ "$("$COOKIE" $pid)" != "$("$COOKIE" $first)" ]

story "both go on: neither waits for the other's core for good"
sleep 1
for p in $pids; do
	before=$(cut -d' ' -f14-15 "/proc/$p/stat")
	sleep 1
	holds [ "$(cut -d' ' -f14-15 "/proc/$p/stat")" != "$before" ]
	kill -TERM $p
done
for p in $pids; do
	wait $p
	status=$?
	ends_with 143
done

story "without the jail there is none"
spin --no-jail
holds [ "$("$COOKIE" $pid)" = 0 ]

the_end
