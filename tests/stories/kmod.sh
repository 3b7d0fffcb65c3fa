# SPDX-License-Identifier: Apache-2.0
# mayfly.ko in the VT-x host: the calls it promises, beside KVM's answers to the same ones; bad calls;
# guests and Linux on /dev/mayfly; microVMs killed at any moment; CPUs that go and come. At the end
# the kernel's log must hold no complaint and the module no reference; kmod_debug.sh tells the same where
# the kernel looks for more.
#
# The emulator holds back interrupts while a guest has them off, hence `slice`: see kmod/README.md.
. tests/stories/lib.sh

MODULE=${MODULE:-build/tests/kmod/mayfly.ko}
SPIN="--kernel build/guest/exits.elf --cmdline spin"
failed=0

references() { cat /sys/module/mayfly/refcnt; }
on_mayfly() { mayfly run --hv mayfly --timeout 300s "$@"; }

# What kmemleak has found where there is one: it says nothing of what is younger than 5 s, nor of what it
# sees for the first time. What loading KVM has left is none of ours: the names of slab caches, which
# this host, without slab_sysfs_init (tests/host/cmdline), never frees.
unreferenced() {
	local file=/sys/kernel/debug/kmemleak
	[ -e $file ] || return 0
	sleep 10 && echo scan > $file && sleep 10 && echo scan > $file &&
		awk 'BEGIN { RS = "unreferenced object" } NR > 1 && !/comm "modprobe"/ { print RS $0 }' $file
}

# program NAME ARG...: a program that prints TAP of its own
program() {
	conclude
	"build/tests/kmod/$@" || failed=1
}

# Without flexpriority: the emulator takes the page for memory where the CPU is to answer for it.
rmmod kvm_intel && modprobe kvm_intel flexpriority=0
program calls /dev/kvm

story "mayfly.ko does not load beside kvm_intel, and says what to do"
insmod "$MODULE" slice=200000 2> "$T/err"
holds [ $? -ne 0 ]
holds eval 'dmesg | tail -n 3 | grep -q "rmmod kvm_intel"'

story "it loads when kvm_intel is gone"
rmmod kvm_intel
dmesg -c > /dev/null
insmod "$MODULE" slice=200000 2> "$T/err"
status=$?
ends_with 0
holds [ -c /dev/mayfly ]
holds [ ! -e /dev/kvm ]

program calls /dev/mayfly
program misuse /dev/mayfly
program misuse /dev/mayfly fuzz 3000 1

story "a microVM takes /dev/mayfly where it is there"
mayfly run --timeout 120s --kernel build/guest/hello.elf --cmdline exit=42
ends_with 42
prints "Hello from ring 3"

story "every exit reason is answered"
on_mayfly --kernel build/guest/exits.elf
ends_with 0
shows "11 checks, 0 failed"

story "what cannot be emulated is an error with registers and the place"
on_mayfly --kernel build/guest/exits.elf --cmdline badinsn
ends_with 125
says "hypervisor error 1"
says "rip 00000000c0001000"

for end in triple=122 reset=120 i8042=120 halt=123 fault=99; do
	story "a guest's end: ${end%=*} is ${end#*=}"
	on_mayfly --kernel build/guest/exits.elf --cmdline "${end%=*}"
	ends_with "${end#*=}"
done

story "every page of memory is there, and the hole is a hole"
on_mayfly --kernel build/guest/memmap.elf --cmdline "mem=134217728" --mem 128M
ends_with 0

for cpus in 1 2 8; do
	story "$cpus processors start and interrupt each other, halted and running"
	on_mayfly --kernel build/guest/smp.elf --cmdline "cpus=$cpus" --cpus $cpus
	ends_with 0
	on_mayfly --kernel build/guest/smp.elf --cmdline "cpus=$cpus spin" --cpus $cpus
	ends_with 0
done

story "the timer fires at its deadlines, never before"
on_mayfly --kernel build/guest/tick.elf --cmdline n=10
ends_with 0
on_mayfly --kernel build/guest/tick.elf --cmdline "n=10 spin"
ends_with 0

story "x87, SSE, AVX and AVX-512 registers are one guest's alone, beside others with more and fewer of them"
all=0xe7 fewer=0x7
grep -qw xsave /proc/cpuinfo || all=0x0 fewer=0x0
"$MAYFLY" run --hv mayfly --kernel build/guest/fpu.elf --cmdline "seed=2 rounds=100000" > /dev/null 2>&1 &
pid=$!
for words in seed=3 "seed=4 xcr0=3" "seed=5 xcr0=7"; do
	on_mayfly --kernel build/guest/fpu.elf --cmdline "$words"
	ends_with 0
done
shows "components $fewer,"
on_mayfly --kernel build/guest/fpu.elf --cmdline seed=6
ends_with 0
shows "components $all,"
holds kill -0 $pid
kill $pid
wait $pid 2> /dev/null

story "the module cannot go while a microVM runs, nor does another one disturb it"
"$MAYFLY" run --hv mayfly $SPIN > /dev/null 2>&1 &
pid=$!
while [ "$(references)" -eq 0 ]; do usleep 1000; done
holds eval '! rmmod mayfly 2> /dev/null'
on_mayfly --kernel build/guest/smp.elf --cmdline "cpus=4 spin rounds=100" --cpus 4
ends_with 0
holds kill -0 $pid
kill -9 $pid
wait $pid 2> /dev/null

go_and_come="CPUs of the host go and come under a running guest"
if [ -e /sys/devices/system/cpu/cpu1 ]; then
	story "$go_and_come"
	"$MAYFLY" run --hv mayfly --cpus 2 --kernel build/guest/smp.elf --cmdline "cpus=2 spin rounds=5000" \
		> "$T/out" 2> "$T/err" &
	pid=$!
	for i in 1 2 3; do
		echo 0 > /sys/devices/system/cpu/cpu1/online || is_wrong "CPU 1 does not go"
		usleep 10000
		echo 1 > /sys/devices/system/cpu/cpu1/online || is_wrong "CPU 1 does not come"
		usleep 10000
	done
	wait $pid
	status=$?
	ends_with 0
else
	skipped "$go_and_come" "this host has one CPU"
fi

story "120 microVMs killed at any moment leave nothing behind"
i=0
while [ $i -lt 120 ]; do
	"$MAYFLY" run --hv mayfly --cpus $((i % 3 + 1)) $SPIN > /dev/null 2>&1 &
	pid=$!
	usleep $((i * 200))
	kill -9 $pid
	wait $pid
	i=$((i + 1))
done 2> /dev/null
i=0
while [ "$(references)" -ne 0 ] && [ $i -lt 100 ]; do
	usleep 10000
	i=$((i + 1))
done
holds [ "$(references)" -eq 0 ]

story "the tuned kernel runs a job on 2 CPUs of a host that has 2"
on_mayfly --cpus 2 --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" -- sh -c 'nproc; exit 7'
ends_with 7
prints 2

story "after all that the kernel has no complaint, and the module goes"
dmesg > "$T/out"
holds eval 'unreferenced >> "$T/out"'
holds eval '! grep -E "WARNING|BUG|Oops|Call Trace|INFO:|scheduling while|unreferenced object" "$T/out"'
[ -z "$wrong" ] || sed 's/^/# /' "$T/out"
holds rmmod mayfly

the_end && [ $failed -eq 0 ]
