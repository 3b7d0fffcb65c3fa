# SPDX-License-Identifier: Apache-2.0
# mayfly.ko where the host starts another kernel, sleeps or panics under running guests, in the VT-x host
# with 2 CPUs: VMX must be off by then. A CPU that is left in it takes no INIT, and so never comes up in
# the next kernel, nor may that one clear CR4.VMXE. Told in three boots, of which each starts the next with
# the same RAM disk: /host/after says which one this is.
. tests/stories/lib.sh

MODULE=build/tests/kmod/mayfly.ko
last='' after=$(cat /host/after 2> /dev/null)

load() {
	rmmod kvm_intel && insmod "$MODULE" slice=200000
}

# A guest that spins on each CPU, in the background.
spin_everywhere() {
	spinning=''
	for cpu in 0 1; do
		taskset -c $cpu "$MAYFLY" run --hv mayfly --kernel build/guest/exits.elf --cmdline spin > /dev/null 2>&1 &
		spinning="$spinning $!"
		awaits_guest
	done
	usleep 100000
}

# prepare NEXT OPTION: the kernel to come, with all that it needs of this RAM disk
prepare() {
	echo "$1" > /host/after
	[ "$1" = kexec ] || last=vmlinuz # of several megabytes, each of which takes kexec a second
	(cd / && find . -xdev ! -path './host/[12]' ! -name "$last" | cpio -o -H newc) > /dev/shm/next 2> "$T/err" &&
		kexec -c "$2" "$MAYFLY_STOCK/vmlinuz" --initrd=/dev/shm/next --reuse-cmdline --no-checks 2>> "$T/err" ||
		is_wrong "no kernel is loaded"
}

# What is true of a kernel that was started so.
is_whole() {
	holds [ "$(nproc)" -eq 2 ]
	holds load
	mayfly run --hv mayfly --timeout 120s --kernel build/guest/smp.elf --cmdline cpus=2 --cpus 2
	ends_with 0
}

# leaves COMMAND...: this kernel, once what has been told is on its way
leaves() {
	conclude
	sleep 2
	"$@"
	sleep 5
	story "this kernel ends by $*"
	is_wrong "it is still there"
	the_end
	exit
}

case $after in
'')
	story "mayfly.ko loads, and another kernel beside it"
	holds load
	prepare kexec --load
	spin_everywhere
	while :; do # new ones, too, for as long as they may
		taskset -c 0 "$MAYFLY" run --hv mayfly --kernel build/guest/hello.elf
	done > /dev/null 2>&1 &
	leaves kexec --exec
	;;
kexec)
	story "kexec under running guests: the next kernel has all CPUs, and runs guests"
	is_whole

	story "the host sleeps under running guests, which go on, and their clocks with them"
	prepare panic --load-panic # before: a CPU that has slept copies slowly here
	spin_everywhere
	"$MAYFLY" run --hv mayfly --kernel build/guest/tick.elf --cmdline n=100 > "$T/out" 2> "$T/err" &
	awaits_guest
	for _ in 1 2; do
		echo mem > /sys/power/state || is_wrong "it does not sleep"
	done
	holds [ "$(dmesg | grep -c 'PM: suspend exit')" -eq 2 ]
	wait $!
	status=$?
	ends_with 0
	for pid in $spinning; do
		holds kill -0 "$pid"
	done

	leaves taskset -c 0 sh -c 'echo c > /proc/sysrq-trigger'
	;;
panic)
	story "a panic under running guests: the next kernel has all CPUs, and runs guests"
	is_whole
	the_end
	;;
esac
