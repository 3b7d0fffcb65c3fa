# SPDX-License-Identifier: Apache-2.0
# The few stories for the VT-x host, which is slow: that Intel's way into the guest works too.
. tests/stories/lib.sh

story "VT-x: a small guest runs, and its status is mayfly's"
mayfly run --timeout 120s --kernel build/guest/hello.elf --cmdline exit=42
ends_with 42
prints "Hello from ring 3"

story "VT-x: every exit reason is answered"
mayfly run --timeout 120s --kernel build/guest/exits.elf
ends_with 0
holds [ "$(grep -c FAILED "$T/out")" -eq 0 ]

story "VT-x: two processors start"
mayfly run --timeout 120s --kernel build/guest/smp.elf --cmdline cpus=2 --cpus 2
ends_with 0

story "VT-x: a triple fault ends with 122"
mayfly run --timeout 120s --kernel build/guest/exits.elf --cmdline triple
ends_with 122

story "VT-x: the tuned kernel runs a job"
mayfly run --timeout 600s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" -- sh -c 'echo from Linux; exit 7'
ends_with 7
prints "from Linux"

the_end
