# SPDX-License-Identifier: Apache-2.0
# The first stories of Linux guests on Debian's stock kernel, and that its bzImage boots too.
export INITRD="$MAYFLY_INITRD" KERNEL="$MAYFLY_STOCK/vmlinux" BZIMAGE="$MAYFLY_STOCK/vmlinuz"
KERNEL_NAME="stock kernel" exec sh tests/stories/linux.sh
