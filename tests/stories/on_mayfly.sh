# SPDX-License-Identifier: Apache-2.0
# Tells the stories that MAYFLY_STORIES names, files beside this one, on /dev/mayfly: mayfly.ko takes
# kvm_intel's place first, and they ask for what they ask for on KVM. At the end the kernel's log must
# hold no complaint, and the module must go. kmod.sh says what `slice` is for.
rmmod kvm_intel && dmesg -c > /dev/null && insmod build/tests/kmod/mayfly.ko slice=200000 || exit
failed=0
for script in $MAYFLY_STORIES; do
	sh "tests/stories/$script" || failed=1
done

name="after $MAYFLY_STORIES on /dev/mayfly the kernel has no complaint, and the module goes"
if [ ! -e /dev/kvm ] && ! dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|INFO:|scheduling while' && rmmod mayfly; then
	echo "ok 1 - $name"
else
	echo "not ok 1 - $name"
	failed=1
fi
exit $failed
