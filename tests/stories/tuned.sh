# SPDX-License-Identifier: Apache-2.0
# All stories of Linux guests on the tuned kernel; tests/run calls this in a host.
export INITRD="$MAYFLY_INITRD" KERNEL="$MAYFLY_TUNED/vmlinux" BZIMAGE="$MAYFLY_TUNED/bzImage"
DEPTH=full KERNEL_NAME="tuned kernel" exec sh tests/stories/linux.sh
