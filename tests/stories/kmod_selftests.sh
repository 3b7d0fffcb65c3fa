# SPDX-License-Identifier: Apache-2.0
# KVM's selftests on /dev/mayfly, those that tests/kmod/selftests.list says pass; on_mayfly.sh tells this
# in the VT-x host. MAYFLY_SELFTESTS is the folder that tests/kmod/selftests prints.
. tests/stories/lib.sh

sed -n '/^#/!s/ | passes:\{0,1\}//p' tests/kmod/selftests.list > "$T/list"
while read -r program arguments; do
	story "KVM's selftest $program"
	# shellcheck disable=SC2086 # several words
	timeout 300 "$MAYFLY_SELFTESTS/$program" $arguments > "$T/out" 2> "$T/err" < /dev/null
	status=$?
	ends_with 0
done < "$T/list"

the_end
