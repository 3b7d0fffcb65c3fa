# SPDX-License-Identifier: Apache-2.0
# What `mayfly check` says of a host, as one thing after the other is taken from it. For an emulated
# host with SVM, where nobody else needs them; what a story takes is given back, by it or by the next.
. tests/stories/lib.sh

WITHOUT=${WITHOUT:-build/tests/without}
IO_URING_SETUP=425 EINVAL=22 ENOSYS=38 EPERM=1

# row TEXT CURE: the row is there, however wide, and below it the line that tells what to do.
row() {
	awk -v row="$1" -v cure="    -> $2" '
		{ gsub(/ +/, " ") } { sub(/^ +->/, "    ->") }
		was && $0 == cure { found = 1 } { was = $0 == row } END { exit !found }' "$T/out" ||
		is_wrong "not on standard output: $1 -> $2"
}

story "a host with all of it: every row but /dev/mayfly's says yes, and the status is 0"
modprobe -a tun
mayfly check
ends_with 0
says_nothing
shows "yes CPU virtualization   AMD SVM (svm)"
shows "yes /dev/kvm             usable, by hardware"
shows "yes stock kernels boot   on /dev/kvm"
shows "yes io_uring             with deferred task work"
shows "yes tun                  usable"
shows "yes cgroup v2            /sys/fs/cgroup: "
shows "yes user namespaces      usable"
row "no /dev/mayfly No such file or directory" \
	"make kmod && insmod build/kmod/mayfly.ko (Intel only); as a user: join its group"
holds [ "$(grep -c '^yes' "$T/out")" -eq 8 ]

for words in check "check --json"; do
	story "$words into a disk that is full"
	# shellcheck disable=SC2086
	"$MAYFLY" $words > /dev/full 2> "$T/err"
	status=$?
	ends_with 125
	says "standard output could not be written"
done

story "without /dev/kvm no stock kernel boots, and the status is 1"
mv /dev/kvm /dev/away
mayfly check
ends_with 1
row "no /dev/kvm No such file or directory" \
	"modprobe kvm_intel (or kvm_amd); as a user: usermod -aG kvm \$USER, and log in anew"
row "NO stock kernels boot no hypervisor here runs one" "use the emulated host: tests/host/run --on svm -- COMMAND"
mayfly check --json
ends_with 1
shows '"/dev/kvm":{"ok":false,"needed":false,"detail":"No such file or directory","cure":"modprobe'
shows '"stock kernels boot":{"ok":false,"needed":true,'
shows '"can_boot":false'
mayfly check --quiet
ends_with 1
holds [ ! -s "$T/out" ]

story "a /dev/kvm that is something else is not taken for one"
ln -s /dev/null /dev/kvm
mayfly check
ends_with 1
row "no /dev/kvm there, but lacks capabilities that mayfly needs" \
	"modprobe kvm_intel (or kvm_amd); as a user: usermod -aG kvm \$USER, and log in anew"
rm /dev/kvm
mv /dev/away /dev/kvm

story "a user who may not use /dev/kvm reads which group to join"
chmod 600 /dev/kvm
"$(which setpriv)" --reuid 65534 --regid 65534 --clear-groups "$MAYFLY" check > "$T/out" 2> "$T/err"
status=$?
chmod 666 /dev/kvm
ends_with 1
row "no /dev/kvm Permission denied" \
	"modprobe kvm_intel (or kvm_amd); as a user: usermod -aG kvm \$USER, and log in anew"

story "io_uring: a kernel that is too old, one without it, and a host that forbids it"
while read -r errno said; do
	"$WITHOUT" $IO_URING_SETUP "$errno" "$MAYFLY" check > "$T/out" 2> "$T/err"
	status=$?
	ends_with 1
	row "NO io_uring $said" "sysctl kernel.io_uring_disabled=0; needs Linux 6.1 or newer"
done <<-END
	$EINVAL older than Linux 6.1
	$ENOSYS Function not implemented
	$EPERM Operation not permitted
END

story "what a stock kernel does not need changes nothing of the verdict: tun, huge pages, limits, namespaces"
mv /dev/net/tun /dev/away
echo never > /sys/kernel/mm/transparent_hugepage/enabled
umount /sys/fs/cgroup
echo 0 > /proc/sys/user/max_user_namespaces
mayfly check
ends_with 0
row "no tun No such file or directory" "modprobe tun (for tap networks); as a user: access to /dev/net/tun"
row "no huge pages 0 reserved; transparent: always madvise [never]" \
	"echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
row "no cgroup v2 not mounted at /sys/fs/cgroup" "systemd.unified_cgroup_hierarchy=1 for the host's kernel (for limits)"
row "no user namespaces may not be made by this user" "sysctl user.max_user_namespaces=10000 (Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)"
mv /dev/away /dev/net/tun
echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
mount -t cgroup2 none /sys/fs/cgroup
echo 10000 > /proc/sys/user/max_user_namespaces

story "what was given back is there again"
mayfly check --json
ends_with 0
holds [ "$(grep -o '"ok":false' "$T/out" | wc -l)" -eq 1 ] # /dev/mayfly

the_end
