# SPDX-License-Identifier: Apache-2.0
# Disks under Linux, the tuned kernel; tests/run calls this in a host, with an ext4 image made before.
. tests/stories/api_lib.sh

IMAGE=build/tests/disks/ext4

# job SCRIPT OPTION...: runs SCRIPT in a guest with these options
job() {
	script=$1
	shift
	mayfly run --timeout 200s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" "$@" -- sh -c "$script"
}
MOUNT='set -e; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt 2> /dev/null || mount -t ext4 -o ro /dev/vda /mnt;'

story "Linux: ext4 on a raw image, on two queues: mounted, written, trimmed, read again"
cp "$IMAGE" "$T/disk"
job "$MOUNT cat /mnt/hello; ls /sys/block/vda/mq | wc -l; seq 1 300000 > /mnt/numbers; mkdir /mnt/many
	for i in \$(seq 1 200); do echo \$i > /mnt/many/\$i; done; rm /mnt/many/1*; fstrim /mnt; umount /mnt
	mount -t ext4 /dev/vda /mnt; seq 1 300000 | cmp - /mnt/numbers; cat /mnt/many/* | wc -l; umount /mnt" --cpus 2 --disk "$T/disk"
ends_with 0
prints "from the host
2
89"
says_nothing

story "Linux: what it wrote is there for the next one, on a disk that is read-only"
job "$MOUNT seq 1 300000 | cmp - /mnt/numbers; cat /sys/block/vda/ro" --disk "$T/disk,ro"
ends_with 0
prints 1

# Of the list that init finds them in, which is long, the last, by an escaped name, and covered.
story "Linux: disks that a job leaves mounted, wherever, are left clean: the next one has them read-only"
cp "$IMAGE" "$T/second"
long=$(printf '%0200d' 0)
job "$MOUNT
	deep=/tmp/$long/$long/$long/$long; mkdir -p \$deep; i=0
	while [ \$i -lt 100 ]; do i=\$((i + 1)); mkdir \$deep/\$i; mount --bind /tmp \$deep/\$i; done
	mkdir '/a blank'; mount -t ext4 /dev/vdb '/a blank'; echo two > '/a blank/two'; mount -t tmpfs none '/a blank'
	echo one > /mnt/one; mount -t tmpfs none /mnt/lost+found; echo left" --disk "$T/disk" --disk "$T/second"
ends_with 0
prints left
job "mount -t ext4 -o ro /dev/vda /mnt && cat /mnt/one; mount -t ext4 -o ro /dev/vdb /mnt && cat /mnt/two" \
	--disk "$T/disk,ro" --disk "$T/second,ro"
prints "one
two"
says_nothing

story "Linux: a job that has unmounted /proc has no more in its output than what it wrote"
job "umount /proc && echo unmounted"
ends_with 0
prints unmounted
job "mount -t tmpfs none /proc && echo covered"
ends_with 0
prints covered

story "Linux: a layer takes the writes, the base is the same to the byte, and the next guest sees them"
cp "$IMAGE" "$T/base"
job "$MOUNT seq 1 200000 > /mnt/numbers; rm /mnt/hello; umount /mnt" --disk "$T/base,overlay=$T/layer"
ends_with 0
holds cmp -s "$T/base" "$IMAGE"
job "$MOUNT ls /mnt; seq 1 200000 | cmp - /mnt/numbers" --disk "$T/base,overlay=$T/layer"
ends_with 0
prints "lost+found
numbers"
holds cmp -s "$T/base" "$IMAGE"

story "Linux: killed in the middle of writing to a layer, ext4 and every synced file are there"
"$MAYFLY" run --timeout 200s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" --disk "$T/base,overlay=$T/layer" -- \
	sh -c "$MOUNT i=0; while :; do i=\$((i + 1)); seq \$i \$((i + 500)) > /mnt/f\$i; sync; echo \$i; done" > "$T/out" 2> "$T/err" &
pid=$!
while [ "$(grep -c . "$T/out")" -lt 12 ]; do sleep 0.2; done
kill -KILL $pid
wait $pid 2> /dev/null
safe=$(sed -n '$!p' "$T/out" | tail -n 1 | tr -d '\r')
job "$MOUNT i=0; while [ \$i -lt $safe ]; do i=\$((i + 1)); seq \$i \$((i + 500)) | cmp - /mnt/f\$i; done; echo \$i" \
	--disk "$T/base,overlay=$T/layer"
ends_with 0
prints "$safe"
holds cmp -s "$T/base" "$IMAGE"

story "Linux: bad sectors of the host's disk are errors there, and nothing else is"
truncate -s 8M "$T/rotten"
MAYFLY_BAD_SECTORS=4194304-4259840 build/tests/mayfly-badsectors run --timeout 200s --kernel "$MAYFLY_TUNED/vmlinux" \
	--initrd "$MAYFLY_INITRD" --disk "$T/rotten" -- sh -c '
	at() { dd if=/dev/vda of=/dev/null bs=4k count=1 skip=$1 2> /dev/null && echo "read $1" || echo "lost $1"; }
	at 0; at 1023; at 1024; at 1039; at 1040; at 2047
	dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=1030 conv=fsync 2> /dev/null || echo "not written"
	dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=100 conv=fsync 2> /dev/null && echo written' > "$T/out" 2> "$T/err"
status=$?
ends_with 0
prints "read 0
read 1023
lost 1024
lost 1039
read 1040
read 2047
not written
written"
says "$T/rotten: reading failed, which the guest is told; this is said once: I/O error"
says_one_line

story "Linux: the root file system on --root"
mayfly run --timeout 200s --kernel "$MAYFLY_TUNED/vmlinux" --disk "$IMAGE,overlay=tmp" --root "$T/base,ro,id=system" --cmdline "loglevel=7"
ends_with 121 # it has no init
shows "root=/dev/vda ro"
shows "VFS: Mounted root (ext4 filesystem) readonly on device 254:0"

story "Linux: Debian's stock kernel finds two disks, whose driver mayfly's init loads, writes one and reads it again past its cache"
truncate -s 16M "$T/raw"
# shellcheck disable=SC2016
mayfly run --timeout 200s --kernel "$MAYFLY_STOCK/vmlinux" --initrd "$MAYFLY_INITRD" --cpus 2 --disk "$T/raw" --disk "$IMAGE,ro" \
	-- sh -c 'set -e
	cat /sys/block/vda/size /sys/block/vdb/ro
	seq 1 1000000 | dd of=/dev/vda bs=64k conv=fsync 2> /dev/null
	echo 3 > /proc/sys/vm/drop_caches
	seq 1 1000000 | cmp -n 6888896 - /dev/vda && echo same'
ends_with 0
prints "32768
1
same"
seq 1 1000000 | cmp -s -n 6888896 - "$T/raw" || is_wrong "the image holds something else"

# A file system that is frozen holds a request as long as the story needs it, which no signal ends.
story "a pause that waits for a request ends with the process, when a signal ends that"
cp "$IMAGE" "$T/image"
mkdir "$T/mounted"
modprobe loop
loop=$(losetup -f)
losetup "$loop" "$T/image"
mount -t ext4 "$loop" "$T/mounted"
truncate -s 4M "$T/mounted/disk"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/blk.elf\",\"boot_args\":\"fill\"}"
is_done
ask PUT /drives/d "{\"drive_id\":\"d\",\"is_root_device\":false,\"path_on_host\":\"$T/mounted/disk\"}"
is_done
holds fsfreeze --freeze "$T/mounted"
starts
until ask GET /metrics && grep -q 'queue_depth.* [1-9]' "$T/out" || ! kill -0 "$pid"; do sleep 0.05; done
request PATCH /vm '{"state":"Paused"}' | timeout 60 socat -t 50 - "UNIX-CONNECT:$SOCKET" > "$T/answer" &
until grep -q 'a Patch request on "/vm"' "$T/log" || ! kill -0 "$pid"; do sleep 0.05; done
kill -TERM "$pid"
n=0
while grep -qsx 'vcpu 0' "/proc/$pid/task/"*/comm && [ $n -lt 600 ]; do
	n=$((n + 1))
	sleep 0.05
done
holds fsfreeze --unfreeze "$T/mounted"
n=0
while grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$pid/status" && [ $n -lt 600 ]; do
	n=$((n + 1))
	sleep 0.05
done
[ $n -lt 600 ] || kill -KILL "$pid"
ended
ends_with 143
umount "$T/mounted"
losetup -d "$loop"

the_end
