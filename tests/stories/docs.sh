# SPDX-License-Identifier: Apache-2.0
# What the documents promise is what the program has.
. tests/stories/lib.sh

story "every option of --help is in the man page and in the README"
mayfly --help
options=$(grep -o '^  --[a-z-]*' "$T/out" | sort -u)
holds [ "$(echo "$options" | wc -l)" -gt 8 ]
for option in $options; do
	grep -qF -- "Fl \\-${option#--}" vmm/mayfly.1 || is_wrong "$option is not in vmm/mayfly.1"
	grep -qF -- "\`$option" README.md || is_wrong "$option is not in README.md"
done

cp "$T/out" "$T/help"
story "every exit code of end.h is in --help, the man page and the README"
for code in $(sed -n 's/^#define EXIT_[A-Z_]*[[:space:]]*\([0-9]*\).*/\1/p' vmm/end.h); do
	grep -q "\b$code\b" "$T/help" || is_wrong "$code is not in --help"
	grep -q "\b$code\b" vmm/mayfly.1 || is_wrong "$code is not in vmm/mayfly.1"
	grep -q "\b$code\b" README.md || is_wrong "$code is not in README.md"
done

story "every target that the README names is in the Makefile, and described by make help"
make -s help > "$T/out"
for target in $(grep -oE '\bmake [a-z][a-z-]+' README.md | cut -d' ' -f2 | sort -u); do
	grep -qE "^  $target " "$T/out" || is_wrong "make $target is not in make help"
done

story "the man page is well-formed"
holds eval 'command -v mandoc > /dev/null || command -v groff > /dev/null'
if command -v mandoc > /dev/null; then
	mandoc -T lint -W warning vmm/mayfly.1 > "$T/out" 2>&1 || is_wrong "mandoc finds fault"
else
	groff -man -Tutf8 -ww vmm/mayfly.1 > /dev/null 2> "$T/err"
	says_nothing
fi

story "every file that the README's tour names is there"
for file in $(sed -n '/^## Tour/,/^## [^T]/p' README.md | grep -oE '`[a-z]+/[a-z._/]+`' | tr -d '`'); do
	[ -e "$file" ] || is_wrong "$file is not there"
done

story "virtio/, api/ and kmod/ include only what they may see of vmm/"
grep -rhoE '#include "\.\./vmm/[a-z_]+\.h"' virtio api 2> /dev/null | sort -u > "$T/out"
while read -r _ header; do
	case $header in
	*/mem.h\" | */loop.h\" | */log.h\" | */hv.h\" | */layout.h\") ;;
	*) is_wrong "$header is included from virtio/ or api/" ;;
	esac
done < "$T/out"

calls() { grep -oE 'KVM_(GET|SET|CREATE|CHECK|ENABLE|RUN|IRQFD|IOEVENTFD)[A-Z0-9_]*' "$@" | grep -v _FLAG_ | sort -u; }

story "kmod/README.md promises the calls that vmm/hv.c makes, no more, and the module has them"
calls vmm/hv.c > "$T/used"
sed -n '/^| call/,/^$/p' kmod/README.md | cut -d'|' -f2 > "$T/column"
calls "$T/column" > "$T/out"
sed -n 's/^[[:space:]]*case \(KVM_[A-Z0-9_]*\):.*/\1/p' kmod/main.c kmod/vm.c kmod/vcpu.c | sort -u > "$T/have"
holds [ "$(wc -l < "$T/used")" -gt 15 ]
holds cmp -s "$T/used" "$T/out"
holds cmp -s "$T/used" "$T/have"

story "no file names a path of one machine"
git grep -nIE '(^|[^a-zA-Z])/(root|home)/' -- . ':!tests/stories/docs.sh' ':!rootfs/initrd' > "$T/out"
holds [ ! -s "$T/out" ]

story "every source has its licence in its first line"
for file in $(git ls-files '*.c' '*.h' '*.S' 'Makefile' '*.mk' '*.sh'); do
	head -n 2 "$file" | grep -q SPDX-License-Identifier || is_wrong "$file has none"
done

the_end
