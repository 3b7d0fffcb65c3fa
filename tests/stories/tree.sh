# SPDX-License-Identifier: Apache-2.0
# The tree as its users have it: what its scripts keep in the cache, and what make does in a folder that
# is no git repository. Here, without a host.
. tests/stories/lib.sh

# status and output of a command, as `mayfly` keeps them
run() {
	"$@" > "$T/out" 2> "$T/err" < /dev/null
	status=$?
}

# making SCRIPT: has the cache make a thing by SCRIPT, which finds $tmp
making() {
	run env MAYFLY_CACHE="$T/a cache" T="$T" script="$1" bash -euc '. rootfs/cache
		make() { eval "$script"; }
		cached "$cache/thing-1" make'
}

# waits for a command to succeed, not for ever
until_it() {
	for _ in $(seq 100); do
		! "$@" || return 0
		sleep 0.1
	done
	is_wrong "does not come: $*"
}

story "what cannot be made whole is not in the cache, and nothing is left of it"
making 'echo half > "$tmp/out"; false'
holds [ $status -ne 0 ]
holds [ "$(ls "$T/a cache")" = thing.lock ]

story "of what a killed run had half, the next one makes a whole, and takes the half away"
making 'echo half > "$tmp/out"; kill -9 $$'
ends_with 137
holds [ "$(ls "$T/a cache" | wc -l)" -eq 2 ]
making 'echo whole > "$tmp/out"'
ends_with 0
holds [ "$(cat "$T/a cache/thing-1")" = whole ]
holds [ "$(ls "$T/a cache" | wc -l)" -eq 2 ]

story "two that want the same: one makes it, the other waits for it"
rm "$T/a cache/thing-1"
(making 'until [ -e "$T/second" ]; do sleep 0.1; done; sleep 1; mkdir "$tmp/out"; echo >> "$T/made"'
echo $status > "$T/first") &
until_it eval '[ "$(ls "$T/a cache" | wc -l)" -eq 2 ]' # its lock and its folder
: > "$T/second"
making 'mkdir "$tmp/out"; echo >> "$T/made"'
ends_with 0
wait
holds [ "$(cat "$T/first")" = 0 ]
holds [ "$(wc -l < "$T/made")" -eq 1 ]
holds [ -z "$(ls "$T/a cache/thing-1")" ]

story "a cache that cannot be made is told with what to do"
: > "$T/file"
run env MAYFLY_CACHE="$T/file/cache" rootfs/stock
ends_with 1
says "name another folder with MAYFLY_CACHE"

the_end
