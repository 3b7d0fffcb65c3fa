# SPDX-License-Identifier: Apache-2.0
# MAYFLY_CUTS times (50) a Linux guest's monitor is killed with writes in flight, on an image and on a
# layer in turns. Each time e2fsck finds the file system clean once its journal is replayed, and the
# next guest finds every record that was synced. tests/run calls this in a host, with an ext4 image
# made before: a few times, and for `make soak` all.
. tests/stories/lib.sh

IMAGE=build/tests/disks/ext4
CUTS=${MAYFLY_CUTS:-50}

# What the guest does: looks for all records up to $1, then writes more, each printed once synced.
writer='set -e; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; i=0
while [ $i -lt $0 ]; do i=$((i + 1)); seq $i $((i + 300)) | cmp - /mnt/$i; done
echo verified
while :; do i=$((i + 1)); seq $i $((i + 300)) | dd of=/mnt/$i conv=fsync 2> /dev/null; echo $i; done'

# cut DISK SAFE COUNT: runs the writer and kills it after COUNT records; $safe is the last one printed.
cut() {
	: > "$T/out"
	"$MAYFLY" run --timeout 200s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" --disk "$1" -- \
		sh -c "$writer" "$2" > "$T/out" 2> "$T/err" &
	pid=$!
	while [ "$(grep -c . "$T/out")" -le "$3" ] && kill -0 $pid 2> /dev/null; do sleep 0.05; done
	kill -KILL $pid 2> /dev/null
	wait $pid 2> /dev/null
	grep -q verified "$T/out" || is_wrong "not every record of $2 is there"
	safe=$(grep -x '[0-9]*' "$T/out" | sed '$d' | tail -n 1)
	safe=${safe:-$2}
}

# is_clean FILE: after the journal's replay, and nothing else, there is nothing to mend
is_clean() {
	e2fsck -E journal_only "$1" > /dev/null 2>&1
	e2fsck -fn "$1" > "$T/fsck" 2>&1 && return
	is_wrong "e2fsck finds fault: $(tail -n 3 "$T/fsck" | tr '\n' ' ')"
}

story "$CUTS times killed: an image and a layer keep a clean ext4 with every synced record"
cp "$IMAGE" "$T/disk"
cp "$IMAGE" "$T/base"
disk_safe=0 layer_safe=0 n=0
while [ $n -lt "$CUTS" ] && [ -z "$wrong" ]; do
	n=$((n + 2))
	cut "$T/disk" $disk_safe $((2 + n % 7))
	disk_safe=$safe
	cp "$T/disk" "$T/look"
	is_clean "$T/look"
	cut "$T/base,overlay=$T/layer" $layer_safe $((2 + n % 5))
	layer_safe=$safe
	# Every other time the layer goes on; else it is merged, and the next one begins empty.
	if [ $((n % 4)) -eq 0 ]; then
		"$MAYFLY" disk commit "$T/layer" "$T/base" 2> "$T/err" || is_wrong "the layer cannot be committed"
		cp "$T/base" "$T/look"
		is_clean "$T/look"
	fi
	echo "# $n cuts; records on the image $disk_safe, on the layer $layer_safe"
done
[ "$disk_safe" -gt "$CUTS" ] || is_wrong "only $disk_safe records in $n cuts"

the_end
