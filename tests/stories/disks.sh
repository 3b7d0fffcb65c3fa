# SPDX-License-Identifier: Apache-2.0
# Disks, with the small guests of tests/guest on whatever /dev/kvm there is: what a driver may do and
# what it must not, layers and their commands, locks, and a monitor that is killed while it writes.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
SANITIZED=${SANITIZED:-build/tests/mayfly-san}
export ASAN_OPTIONS=detect_leaks=0 # which wants /proc at the end; the unit tests look for leaks
BAD_SECTORS=${BAD_SECTORS-build/tests/mayfly-badsectors}

# blk WORDS OPTION...: the driver, with WORDS on its command line
blk() {
	words=$1
	shift
	mayfly run --timeout 180s --kernel "$GUESTS/blk.elf" --cmdline "$words" "$@"
}
passes() {
	ends_with 0
	holds [ "$(grep -c FAILED "$T/out")" -eq 0 ]
	says_nothing
}
# image NAME SIZE: a sparse file of zeros
image() {
	rm -f "$T/$1"
	truncate -s "$2" "$T/$1"
}

story "a raw image: requests of every kind, shape and number"
image disk 8M
blk sectors=16384 --disk "$T/disk"
passes

story "a disk is named by its file's device and inode"
blk "do=id id=$(stat -c %d "$T/disk")0$(stat -c %i "$T/disk")" --disk "$T/disk"
passes

story "four processors: as many queues"
image disk 8M
blk queues=4 --cpus 4 --disk "$T/disk"
passes

story "an image whose last cluster is short, under a layer"
image disk 8388096
blk sectors=16383 --disk "$T/disk,overlay=$T/odd"
passes

for words in overlay=tmp direct cache=unsafe "overlay=$T/layer,direct" "overlay=$T/layer2,cache=unsafe" \
	bytes=100M+50M/500ms,ops=20000; do
	name_of=$(echo "$words" | sed "s|$T/||")
	story "the same with $name_of"
	image disk 8M
	blk "" --disk "$T/disk,$words"
	if grep -q "cannot do direct I/O" "$T/err"; then
		name=''
		skipped "the same with $name_of" "this file system has no O_DIRECT"
	else
		passes
	fi
done

image disk 8M
if [ "$(id -u)" -eq 0 ] && device=$(losetup -f 2> /dev/null) && losetup "$device" "$T/disk" 2> /dev/null; then
	story "a block device: requests of every kind, also direct ones, and as the base of a layer"
	blk sectors=16384 --disk "$device"
	passes
	blk "" --disk "$device,direct"
	passes
	blk "fill key=1" --disk "$device"
	passes
	blk "fill key=2 to=4096" --disk "$device,overlay=$T/onblock"
	passes
	blk "verify key=1" --disk "$device,ro"
	passes
	blk "verify key=2 to=4096" --disk "$device,overlay=$T/onblock"
	passes
	losetup -d "$device"
else
	skipped "a block device" "needs root and a loop device"
fi

story "a read-only disk is read, and every write refused"
image disk 8M
cp "$T/disk" "$T/before"
chmod 400 "$T/disk"
blk ro --disk "$T/disk,ro"
passes
holds cmp -s "$T/disk" "$T/before"

# In an emulated host the image is there; the mount is gone with its namespace.
squashfs=build/tests/squashfs/image
[ "$(id -u)" -ne 0 ] || modprobe -a loop squashfs 2> /dev/null
image disk 1M
if [ ! -e $squashfs ]; then
	squashfs=$T/squashfs
	mksquashfs "$T/disk" "$squashfs" -quiet -no-progress > /dev/null 2>&1
fi
mkdir "$T/squash"
# shellcheck disable=SC2016
if [ "$(id -u)" -eq 0 ] && unshare -m sh -c 'mount -o loop,ro -t squashfs "$1" "$2"' sh "$squashfs" "$T/squash" 2> /dev/null; then
	story "a read-only disk on a file system without fsync(2) is flushed: there is nothing to sync"
	unshare -m sh -c 'mount -o loop,ro -t squashfs "$1" "$2" &&
		"$3" run --timeout 180s --kernel "$4" --cmdline ro --disk "$2/disk,ro"' \
		sh "$squashfs" "$T/squash" "$MAYFLY" "$GUESTS/blk.elf" > "$T/out" 2> "$T/err"
	status=$?
	passes
	shows "blk: flush ok"
else
	skipped "a read-only disk on a file system without fsync(2)" "needs root, mksquashfs and a loop device"
fi

story "what a driver must not do breaks its own device and nothing else"
image disk 8M
image other 1M
mayfly run --timeout 180s --kernel "$GUESTS/blkbad.elf" --disk "$T/disk" --disk "$T/other"
ends_with 0
shows "25 cases, 0 failed"
says "disk0: the guest's driver broke the protocol"
says_one_line

if [ -x "$SANITIZED" ]; then
	story "nor does the monitor touch what it must not, say the sanitizers"
	image disk 8M
	"$SANITIZED" run --timeout 180s --kernel "$GUESTS/blkbad.elf" --disk "$T/disk,overlay=tmp" --disk "$T/other" \
		> "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	says_one_line
	"$SANITIZED" run --timeout 180s --kernel "$GUESTS/blk.elf" --disk "$T/disk,overlay=$T/san" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	says_nothing
fi

story "19 disks, each with what was written to it"
disks=''
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do
	image "many$i" 1M
	disks="$disks --disk $T/many$i"
done
image disk 1M
# shellcheck disable=SC2086
blk fill --root "$T/disk" $disks
passes
blk verify --disk "$T/disk"
passes

story "a layer takes the writes, its base stays as it was, and both are read as one"
image base 4M
blk "fill key=1" --disk "$T/base"
cp -p "$T/base" "$T/before"
rm -f "$T/layer"
blk "fill key=2 to=4096" --disk "$T/base,overlay=$T/layer"
passes
holds cmp -s "$T/base" "$T/before"
blk "verify key=2 to=4096" --disk "$T/base,overlay=$T/layer"
passes
blk "verify key=1 from=4096" --disk "$T/base,overlay=$T/layer"
passes
blk "verify key=1" --disk "$T/base,ro"
passes

story "the layer is as large as what was written"
holds [ "$(du -k "$T/layer" | cut -f1)" -lt 2200 ]

story "two microVMs on one base, each with a layer of its own"
rm -f "$T/layer2"
"$MAYFLY" run --timeout 180s --kernel "$GUESTS/blk.elf" --cmdline "count" --disk "$T/base,overlay=tmp" > /dev/null 2>&1 &
pid=$!
blk "fill key=5" --disk "$T/base,overlay=$T/layer2"
passes
kill $pid
wait $pid
blk "verify key=5" --disk "$T/base,overlay=$T/layer2"
passes
holds cmp -s "$T/base" "$T/before"

story "a tmp layer is gone with its microVM"
blk "fill key=9" --disk "$T/base,overlay=tmp"
passes
blk "verify key=1" --disk "$T/base,overlay=tmp"
passes

story "disk commit writes the layer into its base, and the layer is empty and usable"
mayfly disk commit "$T/layer" "$T/base"
passes
blk "verify key=2 to=4096" --disk "$T/base,ro"
passes
blk "verify key=1 from=4096" --disk "$T/base,ro"
passes
blk "verify key=2 to=4096" --disk "$T/base,overlay=$T/layer"
passes
holds [ "$(du -k "$T/layer" | cut -f1)" -lt 100 ]

story "disk reset throws a layer's data away"
blk "fill key=3" --disk "$T/base,overlay=$T/layer"
passes
mayfly disk reset "$T/layer"
passes
blk "verify key=2 to=4096" --disk "$T/base,overlay=$T/layer"
passes

story "a layer whose base was written since is refused"
blk "fill key=4" --disk "$T/base"
blk verify --disk "$T/base,overlay=$T/layer2"
ends_with 125
says "$T/layer2: its base was written since the layer was made"
mayfly disk commit "$T/layer2" "$T/base"
ends_with 125

# While one microVM has the image `used` open with these words, another one asks for it.
occupied() {
	image used 1M
	: > "$T/count"
	"$MAYFLY" run --timeout 180s --kernel "$GUESTS/blk.elf" --cmdline count --disk "$T/used$1" > "$T/count" 2>&1 &
	pid=$!
	while [ ! -s "$T/count" ]; do sleep 0.05; done
	blk "do=id${3:+ $3}" --disk "$T/used$2"
	kill $pid
	wait $pid
}

story "two writers of one image: the second is refused"
occupied "" ""
ends_with 125
says "$T/used: is in use by another microVM"
says_one_line

story "a reader of an image that is written: refused"
occupied "" ",ro"
ends_with 125
says "$T/used: is in use by another microVM or disk, which may write to it"

story "a writer of a base that is under a running layer: refused"
occupied ",overlay=tmp" ""
ends_with 125

story "readers of one base, as many as like"
occupied ",overlay=tmp" ",ro" ro
ends_with 0

story "the same image twice in one microVM: refused"
image disk 1M
blk do=id --disk "$T/disk" --disk "$T/disk"
ends_with 125
says "$T/disk: is in use"

# Kills the monitor at some moment, a few times; what the guest was told is safe has to be there.
survives_kills() {
	for pause in 0.2 0.35 0.6; do
		: > "$T/count"
		"$MAYFLY" run --timeout 180s --kernel "$GUESTS/blk.elf" --cmdline count --disk "$1" > "$T/count" 2>&1 &
		pid=$!
		while [ ! -s "$T/count" ]; do sleep 0.02; done
		sleep $pause
		kill -KILL $pid
		wait $pid 2> /dev/null
		safe=$(grep -x '[0-9]*' "$T/count" | tail -n 2 | head -n 1)
		blk "atleast=$safe" --disk "$1"
		passes
	done
}

story "a killed monitor: what was flushed to an image is there"
image base 1M
survives_kills "$T/base"

story "a killed monitor: what was flushed to a layer is there, and the base as it was"
image base 1M
rm -f "$T/layer"
survives_kills "$T/base,overlay=$T/layer"
holds [ "$(tr -d '\0' < "$T/base" | wc -c)" -eq 0 ]

story "an image that shrinks under its guest: what is gone is an error, the rest is read, and what comes back too"
image disk 1M
"$MAYFLY" run --timeout 180s --kernel "$GUESTS/blk.elf" --cmdline "watch" --disk "$T/disk" > "$T/out" 2> "$T/err" &
pid=$!
while ! grep -q "reading" "$T/out"; do sleep 0.05; done
truncate -s 512K "$T/disk"
while ! grep -q "an error" "$T/out"; do sleep 0.05; done
truncate -s 1M "$T/disk"
wait $pid
status=$?
ends_with 0
shows "blk: reads again"
says "$T/disk: reading failed, which the guest is told; this is said once"
says_one_line

# A mayfly whose ring fails what touches some bytes of a disk (tests/badsectors.c).
if [ -x "$BAD_SECTORS" ]; then
	story "bad sectors: the requests that touch them fail, and no others"
	image disk 1M
	MAYFLY_BAD_SECTORS=100000-200000 "$BAD_SECTORS" run --timeout 180s --kernel "$GUESTS/blk.elf" \
		--cmdline "badfrom=100000 badto=200000" --disk "$T/disk" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	shows "blk: bad sectors ok"
	says "$T/disk: writing failed, which the guest is told; this is said once: I/O error"
	says_one_line

	story "so do those for which the kernel may start no thread, which it says by ECANCELED"
	image disk 1M
	MAYFLY_BAD_SECTORS=100000-200000=125 "$BAD_SECTORS" run --timeout 180s --kernel "$GUESTS/blk.elf" \
		--cmdline "badfrom=100000 badto=200000" --disk "$T/disk" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	shows "blk: bad sectors ok"
	says "$T/disk: writing failed (may the kernel start no thread for it? pids.max of the cgroup, RLIMIT_NPROC)"
	says_one_line
fi

if [ "$(id -u)" -eq 0 ] && unshare -m true 2> /dev/null; then
	story "a full file system: the guest gets errors, mayfly says so once, and what there is stays readable"
	mkdir -p "$T/full"
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount -t tmpfs -o size=2M none "$1" && truncate -s 8M "$1/disk" &&
		"$2" run --timeout 180s --kernel "$3" --cmdline fill --disk "$1/disk" &&
		echo "it was not full" || "$2" run --timeout 180s --kernel "$3" --cmdline "ro" --disk "$1/disk,ro"' \
		sh "$T/full" "$MAYFLY" "$GUESTS/blk.elf" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	shows "7 checks, 0 failed"
	says "$T/full/disk: writing failed, which the guest is told; this is said once: No space left on device"
	says_one_line

	story "...and once there is room again, the same guest writes on"
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount -t tmpfs -o size=2M none "$1" && truncate -s 8M "$1/disk" && head -c 1000000 /dev/zero > "$1/other"
		"$2" run --timeout 180s --kernel "$3" --cmdline outgrow --disk "$1/disk" > "$1/../out" &
		while ! grep -q "an error" "$1/../out"; do sleep 0.05; done
		rm "$1/other"
		wait $!' sh "$T/full" "$MAYFLY" "$GUESTS/blk.elf" 2> "$T/err"
	status=$?
	ends_with 0
	shows "blk: writes again"
else
	skipped "a full file system" "needs root and mount namespaces"
fi

story "a process that may open few files"
image disk 1M
(ulimit -n 100 && exec "$MAYFLY" run --timeout 180s --kernel "$GUESTS/blk.elf" --cmdline do=id --disk "$T/disk") \
	> "$T/out" 2> "$T/err"
status=$?
passes

story "a reset while requests wait for their rate limit"
image disk 1M
blk do=reset --disk "$T/disk,ops=500"
passes

story "what a guest never flushed is kept by an orderly end"
image base 4M
rm -f "$T/layer"
blk "fill key=7 noflush" --disk "$T/base,overlay=$T/layer"
blk "verify key=7" --disk "$T/base,overlay=$T/layer"
passes

the_end
