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

story "what is made for guests can be read by all of them, whatever the umask of who makes it"
rm -r "$T/a cache/thing-1"
(umask 077 && making 'echo whole > "$tmp/out"')
holds [ "$(stat -c %a "$T/a cache/thing-1")" = 644 ]

story "where apt knows no packages it is said what to do"
mkdir -p "$T/lists"
echo "Dir::State::lists \"$T/lists\"; Dir::Cache \"$T\"; Dir::State::status \"/dev/null\";" > "$T/apt.conf"
for script in rootfs/kernel rootfs/initrd rootfs/stock tests/kmod/sources tests/kmod/newer; do
	run env APT_CONFIG="$T/apt.conf" MAYFLY_CACHE="$T/a cache" $script
	holds [ $status -ne 0 ]
	says "is unknown here: run apt-get update"
done

story "tests/run takes the name of no set for a failure, and says which there are"
run tests/run no-such-set
ends_with 1
shows "FAILED  no-such-set: is none of the sets, which are unit "
shows "0 passed, 1 failed, 0 skipped"

# A set that never ends: what tests/run calls for it is this sh.
story "tests/run that is interrupted ends what it runs, emulated hosts too"
mkdir "$T/bin"
printf '#!/bin/bash\nsleep 1000 & echo $! > "%s/sleeps"; wait\n' "$T" > "$T/bin/sh"
chmod 755 "$T/bin/sh"
PATH=$T/bin:$PATH setsid env --default-signal=INT tests/run refusals > "$T/out" 2> "$T/err" &
until_it test -s "$T/sleeps"
kill -INT $!
wait $!
status=$?
ends_with 130
until_it eval '! kill -0 "$(cat "$T/sleeps")" 2> /dev/null'
! kill "$(cat "$T/sleeps")" 2> /dev/null || echo "ended by this story" > "$T/err"

story "a cache that cannot be made is told with what to do"
: > "$T/file"
run env MAYFLY_CACHE="$T/file/cache" rootfs/stock
ends_with 1
says "name another folder with MAYFLY_CACHE"

copied=$(git ls-files 2> /dev/null)
if [ -n "$copied" ]; then
	mkdir "$T/a tree"
	echo "$copied" | cpio -pdm --quiet "$T/a tree"
	top=$PWD
	cd "$T/a tree" || exit

	story "without git and in a folder with a space in its name it builds elsewhere, and is installed"
	run make -s BUILD="$T/elsewhere" all
	ends_with 0
	says_nothing
	holds [ ! -e build ]
	run make -s install BUILD="$T/elsewhere" DESTDIR="$T/a dest" PREFIX=/usr
	ends_with 0
	run "$T/a dest/usr/bin/mayfly" --version
	shows "mayfly $(sed -n 's/^VERSION := //p' Makefile)"
	holds [ -s "$T/a dest/usr/share/man/man1/mayfly.1" ]

	story "it builds after make clean-cache, which leaves its link to cJSON leading nowhere"
	ln -sfn "$T/gone" "$T/elsewhere/cjson"
	rm "$T/elsewhere/api/json.o"
	run make -s BUILD="$T/elsewhere" "$T/elsewhere/api/json.o"
	ends_with 0
	holds [ -e "$T/elsewhere/cjson/cJSON.h" ]

	story "what a compiler that fails has half written is not there"
	printf 'for at; do :; done\necho half > "$at"\nexit 1\n' > "$T/half"
	rm "$T/elsewhere/api/json.o"
	run make -s BUILD="$T/elsewhere" CC="sh $T/half" "$T/elsewhere/api/json.o"
	ends_with 2
	holds [ ! -e "$T/elsewhere/api/json.o" ]

	story "without git the same sources are checked"
	run make -n check
	sed -n 's/^clang-format .*-Werror //p' "$T/out" | tr ' ' '\n' | sort > "$T/checked"
	echo "$copied" | grep "\.[ch]\$" | sort | cmp -s - "$T/checked" || is_wrong "not the same"
	cd "$top" || exit
else
	skipped "a tree without git" "this one is"
fi

story "benchmarks leave no file, also where they fail, and say what failed"
mkdir "$T/tmp"
run env TMPDIR="$T/tmp" bench/api --on native --runs 1
holds [ -z "$(ls "$T/tmp")" ]
run env TMPDIR="$T/tmp" bench/clone --on native --guest test --runs 1 --at-once 2
holds [ -z "$(ls "$T/tmp")" ]
run env TMPDIR="$T/tmp" bench/jail --on native --runs 1 --starts 1
[ $status -eq 0 ] || says "a microVM ended with 125; see 'build/mayfly run --kernel build/guest/hello.elf'"
holds [ -z "$(ls "$T/tmp")" ]
for benchmark in boot api clone jail blk net exits; do
	run bench/$benchmark --runs
	ends_with 2
	says "bench/$benchmark: --runs needs a value"
done

if build/mayfly run --timeout 20s --kernel build/guest/hello.elf > /dev/null 2>&1; then
	story "clones are measured beside boots and, by the same requests, beside a peer's clones"
	mkdir "$T/peer"
	printf '#!/bin/sh\nexec "%s" serve --no-jail "$@"\n' "$PWD/build/mayfly" > "$T/peer/firecracker"
	chmod +x "$T/peer/firecracker"
	run bench/clone --on native --guest test --runs 1 --at-once 2 --peer firecracker="$T/peer/firecracker" --json
	ends_with 0
	for who in clone boot firecracker; do
		shows "\"who\":\"$who\",\"run\":0,\"said_wall\""
		shows "\"who\":\"$who\",\"run\":0,\"each\""
	done
else
	skipped "clones measured" "no usable /dev/kvm or /dev/mayfly here"
fi

story "without a hypervisor the whole monitor is measured all the same: its start, a disk, a link"
run bench/boot --stand-in --runs 1 --json
ends_with 0
shows '"summary":"own_first_entry_cpu"'
run bench/blk --stand-in --runs 1 --percent 1 --file-mib 16 --json
ends_with 0
shows '"who":"mayfly","run":0,"random_cpu"'
run bench/net --stand-in --runs 1 --window-ms 300 --no-qemu --json
ends_with 0
shows '"peer_most_cpu"'

story "a compiler that is not there is told with what to do"
run make -s BUILD="$T/nothing" CC=no-such-gcc all
holds [ $status -ne 0 ]
says "no-such-gcc, liburing or libseccomp is missing: 'make deps' installs what is"

story "make clean-cache removes what we keep there, and nothing else"
mkdir -p "$T/a cache/rootfs-1/root" "$T/a cache/kernel.XXXXXX"
: > "$T/a cache/somebody's"
chmod 500 "$T/a cache/rootfs-1"
run env MAYFLY_CACHE="$T/a cache" make -s clean-cache
ends_with 0
holds [ "$(LC_ALL=C ls "$T/a cache")" = "somebody's
thing-1
thing.lock" ]

the_end
