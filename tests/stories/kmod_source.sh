# SPDX-License-Identifier: Apache-2.0
# The module's sources under the kernel's own tools, its packaging, and the list of KVM's selftests
# against those that there are. Here, without a host.
. tests/stories/lib.sh

KMOD=$PWD/build/kmod
STOCK=/usr/src/linux-headers-$(cat "$(rootfs/stock)/release")
sources=$(tests/kmod/sources) || exit

# What checkpatch finds and the house does otherwise, or what it takes for something else.
ignored=UNSPECIFIED_INT                                # `unsigned` is said so
ignored=$ignored,LINUX_VERSION_CODE,CONSTANT_COMPARISON # of a module in the kernel's tree: compat.h
ignored=$ignored,USE_NEGATIVE_ERRNO                    # EXIT and RESUME are none
ignored=$ignored,EMBEDDED_FUNCTION_NAME                # VMXON is an instruction
ignored=$ignored,COMPLEX_MACRO,UNNECESSARY_ELSE        # rows of tables; the end of a chain
ignored=$ignored,SPLIT_STRING,BLOCK_COMMENT_STYLE,OPEN_BRACE # clang-format's
ignored=$ignored,YIELD                                 # for PAUSE

# status and output of a command, as `mayfly` keeps them
run() {
	"$@" > "$T/out" 2> "$T/err" < /dev/null
	status=$?
}
prints_nothing() {
	[ ! -s "$T/out" ] || is_wrong "standard output is not empty"
}

story "checkpatch finds nothing in kmod/"
run perl "$sources/scripts/checkpatch.pl" --no-tree --terse --no-summary --show-types --ignore "$ignored" \
	-f kmod/*.c kmod/*.h kmod/*.S kmod/Kbuild
ends_with 0
prints_nothing

story "sparse finds nothing in kmod/, and would say so"
run make -s -C "$STOCK" M="$KMOD" CONFIG_DEBUG_INFO_BTF_MODULES= C=2 CF=-Wsparse-error modules
ends_with 0
says_nothing
cp -rL kmod "$T/wrong"
echo 'int sparse_finds_this(int __user *p); int sparse_finds_this(int __user *p) { return *p; }' >> "$T/wrong/clock.c"
run make -s -C "$STOCK" M="$T/wrong" CONFIG_DEBUG_INFO_BTF_MODULES= C=2 CF=-Wsparse-error clock.o
holds [ $status -ne 0 ]
says "dereference of noderef expression"

# The fifth number of an alternative's 12 bytes is the feature with which it takes the place of a jump.
story "an entry clears the CPU's buffers where Linux does, by the feature of Intel's CPUs"
feature=$(sed -n 's/^#define X86_FEATURE_CLEAR_CPU_BUF[[:space:]]*(\([0-9* ]*32+ *[0-9]*\)).*/\1/p' \
	"${STOCK%-*-*}-common/arch/x86/include/asm/cpufeatures.h")
holds [ -n "$feature" ]
objcopy -O binary -j .altinstructions "$KMOD/mayfly.ko" "$T/alternatives"
holds eval 'od -An -v -t u2 -w12 "$T/alternatives" | awk "{ print \$5 }" | grep -qx $(($feature))'

story "make install-kmod puts the module, the rule, the group and the sources below DESTDIR"
run make -s install-kmod DESTDIR="$T/dest"
ends_with 0
says_nothing
release=${STOCK#*headers-}
holds [ "$(modinfo -F vermagic "$T/dest/lib/modules/$release/updates/mayfly.ko" | cut -d' ' -f1)" = "$release" ]
holds grep -qx 'KERNEL=="mayfly", SUBSYSTEM=="misc", OWNER="root", GROUP="mayfly", MODE="0660"' "$T/dest/usr/lib/udev/rules.d/60-mayfly.rules"
if command -v systemd-sysusers > /dev/null; then
	mkdir -p "$T/dest/etc"
	run systemd-sysusers --root="$T/dest"
	ends_with 0
	holds grep -q '^mayfly:' "$T/dest/etc/group"
fi

# DKMS wants to be root, and makes a key in /var/lib/dkms to sign with: both in namespaces of its own.
story "DKMS builds the module from there, for the kernel that is asked for"
holds [ -e "$T/dest/usr/src/mayfly-$(sed -n 's/^VERSION := //p' Makefile)/dkms.conf" ]
mkdir "$T/dkms"
# shellcheck disable=SC2016 # the inner shell's
run unshare -rm sh -c 'mount -t tmpfs none /var/lib/dkms && exec dkms build --dkmstree "$1/dkms" --sourcetree "$1/dest/usr/src" \
	-k "$2" --kernelsourcedir "$3" "mayfly/$(sed -n "s/^VERSION := //p" Makefile)"' sh "$T" "$release" "$STOCK"
ends_with 0
holds [ "$(modinfo -F vermagic "$T"/dkms/mayfly/*/"$release"/x86_64/module/mayfly.ko* | cut -d' ' -f1)" = "$release" ]

story "the module builds for Debian's 6.12 without a warning"
newer=$(tests/kmod/newer) || exit
cp -rL kmod "$T/newer"
run make -s -C "$newer/headers" M="$T/newer" CONFIG_DEBUG_INFO_BTF_MODULES= modules
ends_with 0
says_nothing
prints_nothing
holds [ "$(modinfo -F vermagic "$T/newer/mayfly.ko" | cut -d' ' -f1)" = "$(cat "$newer/release")" ]

story "tests/kmod/selftests.list has every one of KVM's selftests, once, and says of each what comes of it"
tests/kmod/selftests --names > "$T/names"
grep -v '^#' tests/kmod/selftests.list | sed 's/ | .*//' | LC_ALL=C sort > "$T/listed"
holds [ "$(wc -l < "$T/names")" -gt 60 ]
diff "$T/names" "$T/listed" > "$T/out" || is_wrong "not the same names"
holds eval '! grep -vE "^#|^[a-z0-9_/.]+ \| (passes(: .+)?|not (applicable|run): .+)$" tests/kmod/selftests.list'

the_end
