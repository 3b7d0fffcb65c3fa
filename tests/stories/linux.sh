# SPDX-License-Identifier: Apache-2.0
# Linux guests, run in a host where a stock kernel can boot. KERNEL names the kernel, KERNEL_NAME says
# which it is, INITRD brings a shell; DEPTH=full tells all stories, else only the first few.
. tests/stories/lib.sh

boot() { mayfly run --timeout 200s --kernel "$KERNEL" --initrd "$INITRD" "$@"; }
job() { boot -- sh -c "$1"; }

story "$KERNEL_NAME: a job's output is the command's and nothing else"
job 'echo to stdout; echo to stderr >&2'
ends_with 0
prints "to stdout
to stderr"
says_nothing

story "$KERNEL_NAME: a job's exit status is mayfly's, and --report says when init came"
boot --report -- sh -c 'exit 42'
ends_with 42
says "init after"

story "$KERNEL_NAME: 2 CPUs and 4 GiB are seen by the guest"
boot --cpus 2 --mem 4G -- sh -c 'nproc; awk "/MemTotal/ { print (\$2 > 3900000) }" /proc/meminfo'
ends_with 0
prints "2
1"

story "$KERNEL_NAME: 8 CPUs"
boot --cpus 8 -- nproc
prints 8

story "$KERNEL_NAME: the bzImage boots as the vmlinux does"
mayfly run --timeout 200s --kernel "$BZIMAGE" --initrd "$INITRD" -- sh -c 'exit 9'
ends_with 9

story "$KERNEL_NAME: a reboot is 120 also where the command line says nothing about it"
echo "{\"boot-source\": {\"kernel_image_path\": \"$KERNEL\", \"initrd_path\": \"$INITRD\", \"boot_args\": \"console=ttyS0 quiet rdinit=/bin/sh -- -c \\\"reboot -f\\\"\"}, \"drives\": []}" > "$T/config"
timeout 200 "$MAYFLY" serve --no-api --config-file "$T/config" > "$T/out" 2> "$T/err"
status=$?
ends_with 120

if [ "${DEPTH:-}" != full ]; then
	the_end
	exit
fi

# Its program headers are 56 bytes each and begin at 64; PT_NOTE is 4, PT_NULL 0.
story "$KERNEL_NAME: a vmlinux without a PVH note boots by its 64-bit entry"
cp "$KERNEL" "$T/vmlinux"
for at in 64 120 176 232 288 344 400; do
	[ "$(od -An -tu4 -j $at -N 4 "$T/vmlinux" | tr -d ' ')" -ne 4 ] ||
		printf '\0' | dd of="$T/vmlinux" bs=1 seek=$at conv=notrunc 2> /dev/null
done
holds eval '! cmp -s "$KERNEL" "$T/vmlinux"'
mayfly run --timeout 200s --kernel "$T/vmlinux" --initrd "$INITRD" -- sh -c 'exit 8'
ends_with 8
rm "$T/vmlinux"

if command -v curl > /dev/null; then
	story "$KERNEL_NAME: the README's curl session, as it is written there"
	sed -n '/^## A microVM over the API/,/^## /p' README.md | sed -n '/^```/,/^```/p' | grep -v '^```' > "$T/session"
	holds [ "$(grep -c '^api P' "$T/session")" -eq 5 ]
	here=$PWD
	(cd "$T" && mkdir -p build && ln -sf "$here/$MAYFLY" build/mayfly && kernel=$KERNEL initrd=$INITRD && . ./session) \
		> "$T/out" 2> "$T/err"
	shows '"boot-source":{"kernel_image_path":"'
	shows '"state":"Paused"'
	shows "hello"
	holds [ "$(tail -n 1 "$T/out")" = 0 ]
	says_nothing
fi

story "$KERNEL_NAME: the README's script, as it is written there, but for two jobs instead of a thousand"
sed -n '/^## From a script/,/^## /p' README.md | sed -n '/^```/,/^```/p' | grep -v '^```' > "$T/written"
sed 's/^seq 1000/seq 2/' "$T/written" > "$T/script"
holds [ "$(grep -c "^seq 2 " "$T/script")" -eq 1 ]
here=$PWD
(cd "$T" && mkdir -p build && ln -sf "$here/$MAYFLY" build/mayfly && kernel=$KERNEL initrd=$INITRD && . ./script) \
	> "$T/out" 2> "$T/err" < /dev/null
status=$?
ends_with 0
says_nothing
holds [ "$(grep -v '^job [12]$' "$T/out")" = '{"answer": 20}
built' ]
holds [ "$(grep -c '^job [12]$' "$T/out")" -eq 2 ]
holds [ "$(tr -d '\0' < "$T/disk" | wc -c)" -eq 0 ]

if command -v lz4 > /dev/null; then
	story "$KERNEL_NAME: a job beside an initrd of lz4's, whose end nothing marks"
	lz4 -l -q "$INITRD" "$T/initrd.lz4"
	mayfly run --timeout 200s --kernel "$KERNEL" --initrd "$T/initrd.lz4" -- sh -c 'echo unpacked'
	ends_with 0
	prints unpacked
	rm -f "$T/initrd.lz4"
fi

story "$KERNEL_NAME: exit status 1"
job 'exit 1'
ends_with 1

story "$KERNEL_NAME: a command that is not there is 127, with its name"
boot -- no-such-command
ends_with 127
shows "no-such-command"

story "$KERNEL_NAME: a file that cannot be run is 126"
boot -- /etc/passwd
ends_with 126

story "$KERNEL_NAME: a job ended by a signal is 128+n"
job 'kill -SEGV $$'
ends_with 139

story "$KERNEL_NAME: arguments and variables arrive as they are"
boot --env GREETING=none --env 'GREETING=good  morning' --env GREETING_=2 -- \
	sh -c 'printf "%s|" "$GREETING" "$@"; echo; env | grep -c ^GREETING' sh 'a b' '' '"c"' "it's"
prints "good  morning|a b||\"c\"|it's|
2"

story "$KERNEL_NAME: standard input goes to the job, up to its end"
printf 'one\ntwo\n' > "$T/in"
boot -- wc -l < "$T/in"
prints 2

story "$KERNEL_NAME: bytes of any value pass unchanged both ways"
head -c 8000 /dev/urandom > "$T/in"
boot -- cat < "$T/in"
ends_with 0
holds cmp -s "$T/in" "$T/out"

story "$KERNEL_NAME: 90 KB of output, more than the queue holds, arrive whole"
job 'seq 1 16000'
ends_with 0
seq 1 16000 > "$T/expected"
holds cmp -s "$T/expected" "$T/out"

story "$KERNEL_NAME: nor is any lost of a job that opens the serial port by itself"
job 'exec 3<> /dev/ttyS0; seq 1 3000; echo last'
ends_with 0
{ seq 1 3000 && echo last; } > "$T/expected"
holds cmp -s "$T/expected" "$T/out"

story "$KERNEL_NAME: a job's input ends where it has none: its serial port is a file, or none"
boot --serial "file=$T/port" -- sh -c 'cat; echo over'
ends_with 0
holds [ "$(cat "$T/port")" = over ]
boot --serial none -- sh -c 'cat; exit 6'
ends_with 6

story "$KERNEL_NAME: nothing of ours is left in the root of an initrd"
job 'ls -a / | grep mayfly; echo "$?"'
prints 1

story "$KERNEL_NAME: the timeout ends a job with 124"
mayfly run --timeout 8s --kernel "$KERNEL" --initrd "$INITRD" -- sleep 1000
ends_with 124

story "$KERNEL_NAME: a panic is 121, and the kernel's last words come out"
job 'echo c > /proc/sysrq-trigger'
ends_with 121
shows "Kernel panic - not syncing"
says "the guest kernel panicked; exit code 121"

story "$KERNEL_NAME: a reboot is 120"
boot -- reboot -f
ends_with 120

story "$KERNEL_NAME: a power-off behind the job's back is 119"
boot -- poweroff -f
ends_with 119

story "$KERNEL_NAME: a halt is 123"
boot -- halt -f
ends_with 123

story "$KERNEL_NAME: without a command the guest's own init runs, and its power-off is 0"
printf 'echo I am the shell\npoweroff -f\n' > "$T/in"
boot < "$T/in"
ends_with 0
shows "I am the shell"

story "$KERNEL_NAME: without an initrd a job's own init runs alone"
mayfly run --timeout 200s --kernel "$KERNEL" -- /nothing-here
ends_with 127

story "$KERNEL_NAME: the serial port on a pseudo-terminal, both ways"
"$MAYFLY" run --timeout 200s --kernel "$KERNEL" --initrd "$INITRD" --serial pty -- \
	sh -c 'read -r line; echo "got $line"' 2> "$T/err" < /dev/null &
while ! grep -q 'serial port on' "$T/err"; do sleep 0.1; done
pty=$(sed -n 's/.*serial port on //p' "$T/err")
cat "$pty" > "$T/out" &
cat=$!
echo "typed" > "$pty"
wait %1
status=$?
wait $cat # which the end of the other side ends
ends_with 0
shows "got typed"

the_end
