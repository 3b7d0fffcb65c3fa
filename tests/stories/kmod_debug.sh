# SPDX-License-Identifier: Apache-2.0
# mayfly.ko on the kernel of tests/kmod/debug, which looks for mistakes: what kmod.sh tells of any
# kernel, whose log then holds what this one finds. lockdep stops at whatever it finds first, and so has
# to be at work before and after.
. tests/stories/lib.sh
failed=0

mount -t debugfs none /sys/kernel/debug
dmesg > "$T/boot"

story "KASAN, kmemleak and lockdep are at work"
holds grep -q "KernelAddressSanitizer initialized" "$T/boot"
holds eval "echo clear > /sys/kernel/debug/kmemleak" # what the boot has left; a scan takes minutes here
holds grep -q "debug_locks: *1$" /proc/lockdep_stats
conclude

sh tests/stories/kmod.sh || failed=1

story "lockdep is still at work"
holds grep -q "debug_locks: *1$" /proc/lockdep_stats

the_end && [ $failed -eq 0 ]
