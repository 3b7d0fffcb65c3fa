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

story "the program is one static file of 400 KiB at most, at no fixed address, with no memory to write and run"
holds [ "$(stat -c %s build/mayfly)" -le 409600 ]
readelf -hlWd build/mayfly > "$T/out"
holds grep -q 'Type: *DYN' "$T/out"
holds eval '! grep -qE "INTERP|NEEDED" "$T/out"'
holds grep -qE 'GNU_STACK .* RW +0x' "$T/out"
holds grep -q GNU_RELRO "$T/out"
holds grep -q BIND_NOW "$T/out"
holds eval '! grep -qE "^ *LOAD .* (RWE|R?WE) " "$T/out"'

story "the man page is well-formed"
holds eval 'command -v mandoc > /dev/null || command -v groff > /dev/null'
plain() { sed "s/.$(printf '\b')//g"; } # without what a printer would strike twice
if command -v mandoc > /dev/null; then
	mandoc -T lint -W warning vmm/mayfly.1 > "$T/out" 2>&1 || is_wrong "mandoc finds fault"
	mandoc -T ascii vmm/mayfly.1 | plain > "$T/page"
else
	groff -man -Tascii -ww vmm/mayfly.1 2> "$T/err" | plain > "$T/page"
	says_nothing
fi

story "rate limits are written alike in the man page, the summary and the README"
for limit in 'bytes=SIZE[+BURST][/TIME]' 'ops=N[+BURST][/TIME]'; do
	for text in "$T/page" "$T/help" README.md; do
		grep -qF "$limit" "$text" || is_wrong "$limit is not in ${text##*/}"
	done
done

story "that a time without a unit is in seconds, too"
for text in vmm/mayfly.1 "$T/help" README.md; do
	grep -qF "500ms, 30 or 30s, 5m, 2h" "$text" || is_wrong "it is not in ${text##*/}"
done

story "the man page has the name of each program of filters"
for name in $(grep -oE '\[FILTER_[A-Z]+\] = "[a-z]+"' seccomp/generate.c | cut -d'"' -f2); do
	grep -q "^\.Pq .*\b$name\b" vmm/mayfly.1 || is_wrong "$name is not in vmm/mayfly.1"
done

story "every file that the README's tour names is there"
for file in $(sed -n '/^## Tour/,/^## [^T]/p' README.md | grep -oE '`[a-z]+/[a-z._/]+`' | tr -d '`'); do
	[ -e "$file" ] || is_wrong "$file is not there"
done

story "a folder includes only what it may see of other folders"
holds tests/includes

# Both lists, sorted, are the same; what only one of them has is said.
same() {
	sort -u "$1" > "$T/a"
	sort -u "$2" > "$T/b"
	holds [ "$(wc -l < "$T/a")" -gt 20 ]
	only=$(comm -3 "$T/a" "$T/b" | head -n 3 | tr -d '\t')
	[ -z "$only" ] || is_wrong "only in one of $3: $only"
}

story "api/openapi.yaml has the requests of api/routes.c, and no others"
grep -oE '\{ HTTP_[A-Z]+, "[^"]+"' api/routes.c | sed -E 's/\{ HTTP_([A-Z]+), "(.*)"/\1 \2/' > "$T/routes"
awk '/^  \// { path = $1; sub(/:$/, "", path) }
	/^    (get|put|patch|delete):$/ { sub(/:/, "", $1); print toupper($1) " " path }' api/openapi.yaml > "$T/paths"
same "$T/routes" "$T/paths" "api/routes.c and api/openapi.yaml"

story "api/openapi.yaml has the fields of api/bodies.c, and no others"
grep -oE '^\{ "[a-z_]+"|^	\{ "[a-z_]+"' api/bodies.c | grep -oE '[a-z_]+' > "$T/fields"
awk '/^    [A-Z]/ { asked = $1 !~ /^(InstanceInfo|Version|VmConfig|Id|AnyId):/ }
	/^  schemas:/ { inside = 1 }
	inside && asked && /^        [a-z_]+: / { sub(/:$/, "", $1); print $1 }' api/openapi.yaml > "$T/named"
same "$T/fields" "$T/named" "api/bodies.c and api/openapi.yaml"

story "every row of seccomp/policy.c stands in rows.sh, for each thread that has it"
sed -n '/^const struct policy_row policy\[\]/,/^};/p' seccomp/policy.c | grep -c SYS_ > "$T/number"
policy_rows > "$T/rows"
holds [ "$(wc -l < "$T/rows")" -eq "$(cat "$T/number")" ]
awk '{ vcpu = /^(ALL|VCPU) /; loop = !/^VCPU /; if (vcpu) print "vcpu " $0; if (loop) print "loop " $0 }' "$T/rows" > "$T/needed"
sed -nE "s/^(fatal_|either_)?row [a-z_]+ (vcpu|loop) '(.*)'$/\2 \3/p" tests/stories/rows.sh > "$T/told"
same "$T/needed" "$T/told" "seccomp/policy.c and tests/stories/rows.sh"

calls() { grep -oE 'KVM_(GET|SET|CREATE|CHECK|ENABLE|RUN|IRQFD|IOEVENTFD|KVMCLOCK)[A-Z0-9_]*' "$@" | grep -v _FLAG_ | sort -u; }

story "kmod/README.md promises all calls that the module has, no others, and those that vmm/hv.c makes are among them"
calls vmm/hv.c | grep -v 'KVM_[GS]ET_CLOCK' > "$T/used" # which the monitor goes on without
sed -n '/^| call/,/^$/p' kmod/README.md | cut -d'|' -f2 > "$T/column"
calls "$T/column" > "$T/out"
{
	sed -n 's/^[[:space:]]*case \(KVM_[A-Z0-9_]*\):.*/\1/p' kmod/main.c kmod/vm.c kmod/vcpu.c
	calls kmod/calls.c # has them in a table
} | sort -u > "$T/have"
holds [ "$(wc -l < "$T/used")" -gt 15 ]
holds cmp -s "$T/have" "$T/out"
holds [ -z "$(comm -23 "$T/used" "$T/have")" ]

story "kmod/README.md says how many lines the module has"
cat kmod/*.[chS] | wc -l > "$T/lines"
holds grep -q "^.wc -l kmod/\*.\[chS\]. says $(cat "$T/lines")," kmod/README.md
# Its table's rows are all of them.
sed -n 's/^| [^|]* | \([0-9]*\) |$/\1/p' kmod/README.md | awk '{ sum += $1 } END { print sum }' > "$T/sum"
holds cmp -s "$T/lines" "$T/sum"

if ! git rev-parse --git-dir > /dev/null 2>&1; then
	skipped "paths and licences in all files" "this tree is no git repository"
	the_end
	exit
fi

story "no file names a path of one machine"
git grep -nIE '(^|[^a-zA-Z])/(root|home)/' -- . ':!tests/stories/docs.sh' ':!rootfs/initrd' > "$T/out"
holds [ ! -s "$T/out" ]

story "every source has its licence in its first line"
for file in $(git ls-files '*.c' '*.h' '*.S' 'Makefile' '*.mk' '*.sh' '*.py' tests/api/run); do
	head -n 2 "$file" | grep -q SPDX-License-Identifier || is_wrong "$file has none"
done

the_end
