# SPDX-License-Identifier: Apache-2.0
# A Debian root file system on a disk, with the stock and the tuned kernel, and fio's word on the
# data; tests/run calls this in a host. DEBIAN names the folder of the images.
. tests/stories/lib.sh

SQUASHFS=$MAYFLY_DEBIAN/root.squashfs EXT4=$MAYFLY_DEBIAN/root.ext4

# debian SCRIPT OPTION...: runs SCRIPT with the tuned kernel, the squashfs as its root
debian() {
	script=$1
	shift
	mayfly run --timeout 300s --mem 512M --kernel "$MAYFLY_TUNED/vmlinux" --root "$SQUASHFS,ro" "$@" -- sh -c "$script"
}

story "Debian: a job in a root file system on squashfs, the tuned kernel"
debian '. /etc/os-release; echo "$ID $VERSION_ID"; exit 12'
ends_with 12
prints "debian 12"

story "Debian: the same with Debian's own kernel, its drivers as modules"
mayfly run --timeout 300s --kernel "$MAYFLY_STOCK/vmlinuz" --initrd "$MAYFLY_INITRD" --root "$SQUASHFS,ro" -- \
	sh -c '. /etc/os-release; echo "$ID $VERSION_ID, $(uname -r)"; exit 12'
ends_with 12
prints "debian 12, $MAYFLY_RELEASE"

story "Debian: ext4 under a layer: packages can be touched, and the image stays as it is"
sum=$(sha256sum < "$EXT4")
mayfly run --timeout 300s --kernel "$MAYFLY_TUNED/vmlinux" --root "$EXT4,overlay=$T/layer" -- \
	sh -c 'dpkg --remove netbase > /dev/null && echo removed > /etc/state && dpkg --get-selections | grep -c netbase'
holds [ "$(sha256sum < "$EXT4")" = "$sum" ]
mayfly run --timeout 300s --kernel "$MAYFLY_TUNED/vmlinux" --root "$EXT4,overlay=$T/layer" -- cat /etc/state
ends_with 0
prints removed

# ext4 SCRIPT OPTION...: the same in a copy of the ext4 image
cp "$EXT4" "$T/ext4"
ext4() {
	script=$1
	shift
	mayfly run --timeout 300s --kernel "$MAYFLY_TUNED/vmlinux" --root "$T/ext4$ro" "$@" -- sh -c "$script"
}

story "Debian: what a job leaves running does not keep its root from being left clean"
ro=
ext4 '(while :; do echo x; sleep 0.1; done > /log) & sleep 1; echo done'
ends_with 0
ro=,ro
ext4 'head -n 1 /log'
ends_with 0
prints x

story "Debian: files in /tmp are not hidden, nor what a link there leads to; a read-only root has a /tmp to write"
ro=
ext4 'mount -o bind / /mnt && echo kept > /mnt/tmp/file'
ext4 'cat /tmp/file && rm -r /tmp && ln -s var/tmp /tmp && echo linked > /var/tmp/file'
ends_with 0
prints kept
ext4 'cat /var/tmp/file'
prints linked
debian 'echo new > /tmp/file && echo new > /run/file && cat /tmp/file; stat -c %a /'
prints "new
755"

story "Debian: nor are a /tmp and a /run that are links to where it is read-only"
mayfly run --timeout 300s --kernel "$MAYFLY_TUNED/vmlinux" --root "$MAYFLY_DEBIAN/links.squashfs,ro" -- \
	/bin/busybox touch /tmp/file /run/file
ends_with 0

story "Debian: the types of a root may be a list, and the reason is that of the one that knew it"
ext4 'echo mounted' --cmdline rootfstype=squashfs,ext4
ends_with 0
prints mounted
ro=,ro
ext4 : --cmdline "rootfstype=ext4,squashfs rootflags=no-such-option"
ends_with 125
shows "mayfly-init: /dev/vda: Invalid argument"
rm "$T/ext4"

if [ "$(id -u)" -eq 0 ] && unshare -n true 2> /dev/null; then
	story "Debian: a job downloads from the host's web server, over a tap"
	mkdir -p "$T/www"
	head -c 3000000 /dev/urandom > "$T/www/file"
	modprobe -q tun
	# An emulated host's shell has an ip of its own, which makes no taps.
	# shellcheck disable=SC2016
	unshare -n sh -c '
		/bin/ip tuntap add dev tap0 mode tap && /bin/ip addr add 10.9.0.1/24 dev tap0 && /bin/ip link set tap0 up &&
			{ busybox httpd -f -p 10.9.0.1:8080 -h "$1/www" & } && "$2" run --timeout 300s --mem 512M --kernel "$3" --root "$4,ro" --net tap=tap0 -- sh -c "
				ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0
				busybox wget -q -O - http://10.9.0.1:8080/file | sha256sum"
		status=$?
		kill $!
		exit $status' \
		sh "$T" "$MAYFLY" "$MAYFLY_TUNED/vmlinux" "$SQUASHFS" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	prints "$(sha256sum < "$T/www/file")"
	says_nothing
else
	skipped "Debian: a download" "needs root and network namespaces"
fi

# fio OPTIONS: on vdb, with a checksum in every block, all of which are read again
FIO="fio --name=v --filename=/dev/vdb --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --minimal"
# Beside such a job, another one of fio's that discards what lies elsewhere, block by block.
TRIM="--name=t --filename=/dev/vdb --ioengine=libaio --direct=1 --rw=randtrim --bs=4k --iodepth=8 --size=2M --offset=40M"
mkdir -p "$T/disks"
for cpus in 1 4; do
	for layer in "" ",overlay=$T/disks/layer$cpus"; do
		story "Debian: fio finds every block, $cpus queues${layer:+, in a layer}"
		truncate -s 64M "$T/disks/raw"
		debian "set -e
			$FIO --rw=randwrite --bsrange=512-64k --iodepth=32 --size=12M > /dev/null
			$FIO --rw=randrw --bs=4k --iodepth=1 --size=2M --offset=16M > /dev/null
			$FIO --rw=write --bs=256k --iodepth=4 --size=8M --offset=24M --numjobs=$cpus --offset_increment=8M > /dev/null
			blkdiscard -o 4096 -l 16m /dev/vdb
			$FIO --rw=write --bs=256k --iodepth=4 --size=2M --offset=40M > /dev/null
			$FIO --rw=randwrite --bs=4k --iodepth=16 --size=4M $TRIM > /dev/null
			cmp -n 2097152 -i 41943040:0 /dev/vdb /dev/zero
			ls /sys/block/vdb/mq | wc -l" --cpus $cpus --disk "$T/disks/raw$layer"
		ends_with 0
		prints $cpus
		[ -z "$layer" ] || holds [ "$(od -An -tx1 "$T/disks/raw" | tr -d ' 0\n*')" = "" ]
		rm -f "$T/disks/raw"
	done
done

the_end
