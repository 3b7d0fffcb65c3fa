# SPDX-License-Identifier: Apache-2.0
# Everything that is told in a host where a stock kernel can boot. tests/run calls it there.
status=0
sh tests/stories/guests.sh || status=1
export INITRD="$MAYFLY_INITRD"
DEPTH=full KERNEL_NAME="tuned kernel" KERNEL="$MAYFLY_TUNED/vmlinux" BZIMAGE="$MAYFLY_TUNED/bzImage" \
	sh tests/stories/linux.sh || status=1
KERNEL_NAME="stock kernel" KERNEL="$MAYFLY_STOCK/vmlinux" BZIMAGE="$MAYFLY_STOCK/vmlinuz" \
	sh tests/stories/linux.sh || status=1
exit $status
