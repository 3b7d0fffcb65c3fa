# SPDX-License-Identifier: Apache-2.0
# Linux guests that go on in clones: their clocks, processors, disks and processes. tests/run calls this in
# a host.
. tests/stories/api_lib.sh

STATE=$T/state MEMORY=$T/memory

# linux KERNEL CPUS SCRIPT: started, with a disk
linux() {
	truncate -s 4M "$T/disk"
	serve
	ask PUT /machine-config "{\"vcpu_count\":$2,\"mem_size_mib\":192}"
	is_done
	ask PUT /boot-source "{\"kernel_image_path\":\"$1\",\"initrd_path\":\"$MAYFLY_INITRD\",\"boot_args\":\"console=ttyS0 loglevel=1 panic=-1 pci=off rdinit=/bin/sh -- -c \\\"$3\\\"\"}"
	is_done
	ask PUT /drives/d "{\"drive_id\":\"d\",\"is_root_device\":false,\"path_on_host\":\"$T/disk\"}"
	is_done
	starts
}

# The guest counts: a line with its uptime each time, and a block of the disk, where the kernel has its
# driver built in. What is looked for in the log is in it as a part of the command line, too: hence the brackets.
COUNT='mount -t proc p /proc; mount -t devtmpfs d /dev; mount -t sysfs s /sys; i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo count $i $(cut -d . -f 1 /proc/uptime); [ ! -b /dev/vda ] || echo $i | dd of=/dev/vda bs=512 seek=$i conv=sync,fsync 2>/dev/null; sleep 0.1; done; echo processors $(nproc); echo forks $(dmesg | grep -c machine.for[k]); poweroff -f'

waits_for() { # LINE
	n=0
	until grep -q "^$1" "$T/serial" || [ $n -gt 600 ]; do
		n=$((n + 1))
		sleep 0.2
	done
	holds grep -q "^$1" "$T/serial"
}

# counts FILE FROM: each number once from there on, and an uptime that never goes back
counts() {
	tr -d '\r' < "$1" | awk -v next_is="$2" '$1 == "count" { if ($2 != next_is || $3 < last) exit 1; next_is++; last = $3 }
		END { exit next_is != 31 }' || is_wrong "the numbers or the clock went wrong"
}

# The stock kernel has no driver for the generation, which tells of a fork.
for kernel in tuned stock; do
	[ $kernel = tuned ] && file=$MAYFLY_TUNED/vmlinux cpus=2 forks=1 || { file=$MAYFLY_STOCK/vmlinux cpus=1 forks=0; }
	story "$kernel kernel: a guest goes on, and a clone of it too, on a disk of its own, and no clock goes back"
	linux "$file" $cpus "$COUNT"
	waits_for 'count 10'
	ask PATCH /vm '{"state":"Paused"}'
	is_done
	"$MAYFLY" snapshot "$SOCKET" "$STATE" "$MEMORY" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	cp "$T/disk" "$T/copy"
	seen=$(grep -c '^count' "$T/serial")
	ask PATCH /vm '{"state":"Resumed"}'
	is_done
	ended
	ends_with 0
	counts "$T/serial" 1
	holds grep -q "^forks 0" "$T/serial"
	serve
	ask PUT /snapshot/load "{\"snapshot_path\":\"$STATE\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$MEMORY\"},\"resume_vm\":true,\"drive_overrides\":[{\"drive_id\":\"d\",\"path_on_host\":\"$T/copy\"}]}"
	is_done
	ended
	ends_with 0
	counts "$T/serial" $((seen + 1))
	holds grep -q "^processors $cpus" "$T/serial"
	holds grep -q "^forks $forks" "$T/serial"
	holds cmp -s "$T/disk" "$T/copy"
	[ $kernel = stock ] || holds [ "$(tr -d '\0' < "$T/copy" | wc -l)" -eq 30 ]
done

# In the tuned kernel there is none. With a second for its threshold it bites after two, where the clock
# goes on: an idle kernel's does not at once.
story "stock kernel: its watchdog does not take a pause for a lockup"
linux "$MAYFLY_STOCK/vmlinux" 1 'mount -t proc p /proc; mount -t devtmpfs d /dev; echo 1 > /proc/sys/kernel/watchdog_thresh; while :; do :; done & sleep 1; echo watched; sleep 4; echo lockups $(dmesg | grep -c soft.locku[p]); poweroff -f'
waits_for watched
ask PATCH /vm '{"state":"Paused"}'
is_done
sleep 5
ask PATCH /vm '{"state":"Resumed"}'
is_done
ended
ends_with 0
holds grep -q "^lockups 0" "$T/serial"
the_end
