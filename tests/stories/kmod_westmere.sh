# SPDX-License-Identifier: Apache-2.0
# mayfly.ko in a VT-x host whose CPU is a Westmere.
. tests/stories/lib.sh

story "mayfly.ko does not load where exits may switch the host's performance counters off, and says so"
rmmod kvm_intel
insmod build/tests/kmod/mayfly.ko 2> "$T/err"
holds [ $? -ne 0 ]
holds eval 'dmesg | tail -n 3 | grep -q "this CPU lacks exits that leave performance counters on"'

the_end
