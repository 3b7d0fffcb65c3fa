# SPDX-License-Identifier: Apache-2.0
# What mayfly refuses before it creates anything: one line that names the thing and the reason, exit
# code 125. Needs no hypervisor.
. tests/stories/lib.sh

refused() {
	ends_with 125
	says_one_line
	says "$1"
	holds [ ! -s "$T/out" ]
}

HELLO=${GUESTS:-build/guest}/hello.elf

story "no kernel given"
mayfly run
refused "--kernel FILE is required"

story "a kernel that does not exist is named with the reason"
mayfly run --kernel "$T/nowhere"
refused "$T/nowhere: No such file or directory"

story "an empty kernel"
: > "$T/empty"
mayfly run --kernel "$T/empty"
refused "$T/empty: is empty"

story "a directory as kernel"
mayfly run --kernel "$T"
refused "$T: is a directory"

story "a FIFO as kernel does not hang"
mkfifo "$T/fifo"
mayfly run --kernel "$T/fifo"
refused "$T/fifo: is a FIFO"

story "a text file as kernel"
echo "#!/bin/sh" > "$T/script"
mayfly run --kernel "$T/script"
refused "$T/script: not a kernel"

story "an ELF cut in half"
head -c 100 "$HELLO" > "$T/half"
mayfly run --kernel "$T/half"
refused "$T/half: "

story "an ELF whose segments claim more than the file holds"
head -c 4200 "$HELLO" > "$T/short"
mayfly run --kernel "$T/short"
refused "$T/short: "

story "a kernel nobody may read"
cp "$HELLO" "$T/secret"
chmod 0 "$T/secret"
if [ "$(id -u)" -ne 0 ]; then
	mayfly run --kernel "$T/secret"
	refused "$T/secret: Permission denied"
else # root may read anything; as nobody, with a program and a folder that it can reach
	chmod 755 "$T"
	cp "$MAYFLY" "$T/mayfly"
	if command -v setpriv > /dev/null; then
		setpriv --reuid=65534 --clear-groups "$T/mayfly" run --kernel "$T/secret" > "$T/out" 2> "$T/err"
	else
		su -s /bin/sh nobody -c "$T/mayfly run --kernel $T/secret" > "$T/out" 2> "$T/err"
	fi
	status=$?
	refused "$T/secret: Permission denied"
fi

story "an initrd that does not exist"
mayfly run --kernel "$HELLO" --initrd "$T/nowhere"
refused "$T/nowhere: No such file or directory"

story "an empty initrd"
mayfly run --kernel "$HELLO" --initrd "$T/empty"
refused "$T/empty: is empty"

story "an initrd that is a directory, or a FIFO, which does not hang"
mayfly run --kernel "$HELLO" --initrd "$T"
refused "$T: is a directory"
mayfly run --kernel "$HELLO" --initrd "$T/fifo"
refused "$T/fifo: is a FIFO"

story "a host that forbids io_uring, or has none, is told with what to do"
for errno in 1:"io_uring is forbidden here; allow it with" 38:"mayfly needs Linux 6.1 or newer" 22:"mayfly needs Linux 6.1 or newer"; do
	build/tests/without 425 "${errno%%:*}" tests/standin run --kernel "$HELLO" > "$T/out" 2> "$T/err" # io_uring_setup
	status=$?
	refused "${errno#*:}"
done

story "an initrd that is none, beside a command"
mayfly run --kernel "$HELLO" --initrd "$T/script" -- true
refused "$T/script: not an initrd that a command can be added to"

story "an initrd larger than the guest's memory"
truncate -s 64M "$T/large"
mayfly run --kernel "$HELLO" --initrd "$T/large" --mem 32M
refused "$T/large: 64 MiB do not fit"

story "an initrd that leaves no room for the job: refused before a layer is made"
truncate -s 33090000 "$T/large" # to some KiB below the end of memory
truncate -s 1M "$T/under"
mayfly run --kernel "$HELLO" --initrd "$T/large" --mem 33M --disk "$T/under,overlay=$T/layer" -- true
refused "initrd and job: 31 MiB do not fit"
holds [ ! -e "$T/layer" ]

story "a command line that is too long"
mayfly run --kernel "$HELLO" --cmdline "$(printf '%2100s' x)"
refused "command line: "

for mem in 0 15M 2T 100 128X -1 17000001 99999999999999999999; do
	story "--mem '$mem'"
	mayfly run --kernel "$HELLO" --mem "$mem"
	refused "--mem $mem: give 16M to 1T"
done

story "--mem without a unit, with what that means"
mayfly run --kernel "$HELLO" --mem 128
refused "--mem 128: give 16M to 1T, in whole pages of 4K (without K, M, G or T it is bytes)"

for cpus in 0 33 -1 1x; do
	story "--cpus '$cpus'"
	mayfly run --kernel "$HELLO" --cpus "$cpus"
	refused "--cpus $cpus: give 1 to 32"
done

for time in 0 5x -3 99999999999h; do
	story "--timeout '$time'"
	mayfly run --kernel "$HELLO" --timeout "$time"
	refused "--timeout $time: give a time"
done

story "a serial port to nowhere known"
mayfly run --kernel "$HELLO" --serial floppy
refused "--serial floppy: give stdio"

story "a serial file in a folder that does not exist"
mayfly run --kernel "$HELLO" --serial "file=$T/no/folder"
[ -e /dev/kvm ] && refused "$T/no/folder: No such file or directory"

truncate -s 1M "$T/disk"
truncate -s 10G "$T/other"

story "a disk that does not exist is named with the reason"
mayfly run --kernel "$HELLO" --disk "$T/nowhere"
refused "$T/nowhere: No such file or directory"

story "an empty disk"
mayfly run --kernel "$HELLO" --disk "$T/empty"
refused "$T/empty: is empty"

story "a directory as disk"
mayfly run --kernel "$HELLO" --disk "$T"
refused "$T: "

story "a FIFO as disk does not hang"
mayfly run --kernel "$HELLO" --disk "$T/fifo"
refused "$T/fifo: is a FIFO"

story "a character device as disk"
mayfly run --kernel "$HELLO" --disk /dev/null
refused "/dev/null: is neither a regular file nor a block device"

story "no path"
mayfly run --kernel "$HELLO" --disk ,ro
refused "--disk: give a PATH"

for word in floppy overlay= cache=fast cache= id= id=a-b bytes=0 bytes=10X bytes=1M/0 bytes=1M+/1s ops= ops=5/ ro=yes ''; do
	story "--disk PATH,$word"
	mayfly run --kernel "$HELLO" --disk "$T/disk,$word"
	refused "--disk $T/disk,$word: "
done

story "a read-only disk with an overlay"
mayfly run --kernel "$HELLO" --disk "$T/disk,ro,overlay=tmp"
refused "a read-only disk needs no overlay"

story "two disks of one name"
mayfly run --kernel "$HELLO" --disk "$T/disk,ro,id=a" --disk "$T/disk,ro,id=a"
refused "--disk: two are called a"

story "two roots"
mayfly run --kernel "$HELLO" --root "$T/disk,ro" --root "$T/disk,ro"
refused "--root: only one disk can be the root"

story "20 disks"
many=
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do many="$many --disk $T/disk,ro"; done
# shellcheck disable=SC2086
mayfly run --kernel "$HELLO" $many
refused "at most 19"

story "a layer that is none"
mayfly run --kernel "$HELLO" --disk "$T/disk,overlay=$T/script"
refused "$T/script: is not a layer of mayfly's"

story "a layer in a folder that does not exist"
mayfly run --kernel "$HELLO" --disk "$T/disk,overlay=$T/no/layer"
refused "$T/no/layer: No such file or directory"

story "another disk's layer"
mayfly run --kernel "$T/nowhere" --disk "$T/disk" # the kernel comes first: nothing is made
holds [ ! -e "$T/layer" ]
mayfly run --kernel "$HELLO" --disk "$T/disk,overlay=$T/layer" --disk "$T/nowhere"
refused "$T/nowhere: No such file or directory"
holds [ ! -e "$T/layer" ] # made by a start that came to nothing
: > "$T/layer"
mayfly run --kernel "$HELLO" --disk "$T/disk,overlay=$T/layer" --disk "$T/nowhere"
holds [ -s "$T/layer" ]
mayfly run --kernel "$HELLO" --disk "$T/other,overlay=$T/layer"
refused "$T/layer: is the layer of a disk of 1048576 bytes"

story "a layer whose base was written since, with what to do"
touch "$T/disk"
mayfly run --kernel "$HELLO" --disk "$T/disk,overlay=$T/layer"
refused "$T/layer: its base was written since the layer was made: they do not fit any more; delete the layer"

story "disk commit and reset without a layer"
mayfly disk commit "$T/nowhere" "$T/disk"
refused "$T/nowhere: No such file or directory"
mayfly disk reset "$T/script"
refused "$T/script: is not a layer of mayfly's"

story "disk commit into another base"
mayfly disk commit "$T/layer" "$T/other"
refused "$T/layer: is the layer of a disk of"

story "mayfly disk with other words"
mayfly disk format
refused "disk: give 'commit LAYER BASE' or 'reset LAYER'"

for link in tap tap= tap=a_name_that_is_too_long tap=a/b fd= fd=2 fd=x fd=99999999999 peer= passt= bridge=br0; do
	story "--net '$link'"
	mayfly run --kernel "$HELLO" --net "$link"
	refused "--net $link: give "
done

for word in mac=1 mac=02:00:00:00:00 mac=02:00:00:00:00:0g mac=01:00:00:00:00:01 mac=00:00:00:00:00:00 mac=02:00:00:00:00:01:02 \
	mtu=67 mtu=65536 mtu= id= id=a-b spoof=maybe offload=some rx-bytes=0 rx-ops=x tx-bytes=1M/0 tx-ops=1/x; do
	story "--net with $word"
	mayfly run --kernel "$HELLO" --net "peer=$T/peers,$word"
	refused "--net peer=$T/peers,$word: give "
done

story "--net with a word that is none"
mayfly run --kernel "$HELLO" --net "peer=$T/peers,vlan=3"
refused "--net peer=$T/peers,vlan=3: the words are"

story "spoof=refuse without a MAC to compare with"
mayfly run --kernel "$HELLO" --net "peer=$T/peers,spoof=refuse"
refused "--net: spoof=refuse needs mac= to compare with"

story "two interfaces of one name"
mayfly run --kernel "$HELLO" --net "peer=$T/peers,id=net1" --net "peer=$T/peers,id=net1"
refused "--net: two are called net1"

story "more disks and interfaces than there are windows"
set --
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do set -- "$@" --net "peer=$T/peers"; done
mayfly run --kernel "$HELLO" "$@"
refused "--net: at most 19 disks and interfaces"

story "a tap that does not exist, with what to do"
mayfly run --kernel "$HELLO" --net tap=nowhere
refused "nowhere: no such interface; make it with 'ip tuntap add dev nowhere mode tap'"

story "an interface that is not a tap"
mayfly run --kernel "$HELLO" --net tap=lo
[ "$(id -u)" -ne 0 ] || [ ! -c /dev/net/tun ] || refused "lo: is not a tap"

story "a descriptor that is not open"
mayfly run --kernel "$HELLO" --net fd=77
refused "fd=77: the descriptor is not open"

story "a descriptor that is not a tap"
mayfly run --kernel "$HELLO" --net fd=5 5< /dev/null
refused "fd=5: is not a tap"

story "a file where the peers' folder is to be"
: > "$T/file"
mayfly run --kernel "$HELLO" --net "peer=$T/file"
refused "peer=$T/file: give a folder that all its microVMs share"

story "a folder for peers in a folder that does not exist"
mayfly run --kernel "$HELLO" --net "peer=$T/no/folder"
refused "peer=$T/no/folder: making the folder: No such file or directory"

story "a folder whose path is longer than a socket's can be"
mayfly run --kernel "$HELLO" --net "peer=$T/$(printf '%0100d' 0)"
refused "the path is too long for sockets in it"

story "nobody listens at passt's socket"
mayfly run --kernel "$HELLO" --net "passt=$T/nowhere"
refused "$T/nowhere: nobody listens there; start 'passt --socket $T/nowhere' before"

ln -s "$(realpath "$MAYFLY")" "$T/jailer"
ln -s "$(realpath "$MAYFLY")" "$T/firecracker"
jailer() {
	timeout 20 "$T/jailer" "$@" > "$T/out" 2> "$T/err"
	status=$?
}

story "the jailer says what it takes, and its version"
for option in --help '--id a --version'; do
	jailer $option
	ends_with 0
	says_nothing
done
prints "Jailer v1.17.0"
jailer --help
for option in --exec-file --uid --new-pid-ns --cgroup-version; do shows "  $option "; done
shows "FOLDER is /srv/jailer by default; in paths, read FILE's name for"

story "of what the jailer does not know the word itself is named"
jailer -x --id a
ends_with 153
says "jailer: -x is not an option ('jailer --help' lists them)"

story "an option is its whole name, also to those that serve"
for options in "--net tap=tap0" "--log $T/file" "--seccomp $T/file"; do
	mayfly serve --no-api $options
	ends_with 153
	says_one_line
	says "serve: ${options%% *} is not an option ('mayfly --help' lists them; those of a microVM go with 'mayfly run')"
done
jailer --exec "$T/firecracker" --id a
ends_with 153
says "jailer: --exec is not an option"

story "an empty value, as of a variable that is not set, is none"
for option in config-file metrics-path log-path api-sock; do
	mayfly serve --no-api --$option ''
	ends_with 153
	says_one_line
	says "serve: --$option needs a value"
done

story "mayfly serve takes no command for the guest"
mayfly serve --no-api --config-file "$T/none" -- sh -c x
ends_with 153
says "serve: 'sh': a command for the guest goes with 'mayfly run'"

story "the jail is the jailer's: behind its -- none of it is undone"
for option in '--uid 0' --gid=0 '--id b' --no-jail '--chroot-base-dir /' '--new-pid-ns'; do
	jailer --id a --exec-file "$T/firecracker" --uid 4321 --gid 4321 --chroot-base-dir "$T/base" -- $option
	ends_with 153
	says_one_line
	says "serve: ${option%%[ =]*} is the jailer's: give it before the --"
done

if [ "$(id -u)" -eq 0 ] && unshare -m true 2> /dev/null; then
	story "what the jail's user has left in his folder, root does not follow: links, a FIFO for the PID"
	root=$T/base/firecracker/a/root
	mkdir -p "$root" "$T/ours"
	ln -s "$T/ours" "$root/run"
	mkfifo "$root/firecracker.pid"
	chown -h 4321:4321 "$root" "$root/run" "$root/firecracker.pid"
	jailer --id a --exec-file "$T/firecracker" --uid 4321 --gid 4321 --chroot-base-dir "$T/base" \
		-- --no-api --config-file /none
	ends_with 152
	holds [ "$(stat -c %u "$T/ours")" -eq 0 ]
	holds [ -f "$root/firecracker.pid" ]
else
	skipped "what the jail's user has left in his folder" "needs root and mount namespaces"
fi

story "a FIFO for the timeline that nobody reads"
mkfifo "$T/partner"
mayfly run --kernel "$HELLO" --timeline "$T/partner"
refused "$T/partner (a FIFO without a reader): No such device or address"

waits_for_a_writer() { # WHERE: in the kernel
	"$MAYFLY" serve --no-api --config-file "$T/partner" 2> "$T/err" &
	pid=$!
	for _ in $(seq 100); do
		grep -q "$1" "/proc/$pid/wchan" && break
		sleep 0.1
	done
	kill "$pid"
	wait "$pid"
	status=$?
	ends_with 143
}
story "a FIFO for the configuration that nobody writes may be given up"
waits_for_a_writer wait_for_partner
exec 3<> "$T/partner"
waits_for_a_writer pipe_read
exec 3>&-

story "a message that nobody reads ends nobody, but help that nobody reads does"
mkfifo "$T/unread"
exec 3<> "$T/unread"
exec 4> "$T/unread"
exec 3>&-
"$MAYFLY" run 2>&4
status=$?
ends_with 125
"$MAYFLY" run --help >&4
status=$?
ends_with 141
exec 4>&-

story "an unknown hypervisor"
mayfly run --kernel "$HELLO" --hv xen
refused "--hv xen: give auto, mayfly or kvm"

story "an unknown option"
mayfly run --kernel "$HELLO" --cores 3
refused "--cores is not an option"

story "an option without its value"
mayfly run --kernel
refused "--kernel needs a value"

story "a command that is not set off by --"
mayfly run --kernel "$HELLO" true
refused "'true' is not an option; a command for the guest comes after --"

story "no command after --, as an empty variable leaves it"
mayfly run --kernel "$HELLO" -- < /dev/null
refused "run: no command after --"

story "a microVM's option without run"
mayfly --kernel "$HELLO"
ends_with 153
says_one_line
says "serve: --kernel is not an option ('mayfly --help' lists them; those of a microVM go with 'mayfly run')"

story "an unknown command of mayfly's"
mayfly walk
refused "'walk' is not a command"

story "-- is not a command of mayfly's"
timeout 20 "$MAYFLY" -- > "$T/out" 2> "$T/err"
status=$?
refused "'--' is not a command"

story "--help goes to standard output and ends with 0"
mayfly --help
ends_with 0
shows "mayfly run --kernel FILE"
says_nothing

story "a command's --help is of that command"
for command in run clone snapshot check disk; do
	mayfly $command --help
	ends_with 0
	shows "mayfly $command "
	holds [ "$(grep -c '^mayfly [a-z]* ' "$T/out")" -le 2 ]
	says_nothing
done
mayfly nosuch --help
ends_with 125
says "'nosuch' is not a command"

story "--version names the version"
mayfly --version
ends_with 0
shows "mayfly 0."

for command in run serve; do
	story "$command --help goes to standard output and ends with 0, and has the jail's options"
	mayfly $command --help
	ends_with 0
	shows "--no-jail"
	says_nothing
done

# forbidden DEVICE: a machine where it is a file that nobody may open, and there is no other hypervisor
forbidden() {
	unshare -m sh -c 'mount -t tmpfs none /dev && : > "$2" && chmod 0 "$2" &&
		exec setpriv --reuid=65534 --clear-groups "$0" run --kernel "$1"' \
		"$T/mayfly" "$T/hello" "$1" > "$T/out" 2> "$T/err"
	status=$?
}

if [ "$(id -u)" -eq 0 ] && unshare -m true && command -v setpriv > /dev/null; then
	cp "$HELLO" "$T/hello"
	chmod 755 "$T" "$T/hello"
	for device in kvm mayfly; do
		story "/dev/$device may not be used: what to do is told, of that device"
		forbidden /dev/$device
		refused "/dev/$device: Permission denied: join the group that owns it"
	done
else
	skipped "/dev/kvm or /dev/mayfly may not be used" "needs root and a mount namespace"
fi

for word in --help --version; do
	story "$word into a disk that is full"
	"$MAYFLY" $word > /dev/full 2> "$T/err"
	status=$?
	refused "standard output could not be written"
done

story "check explains what is missing, and its status is its verdict"
mayfly check
shows "stock kernels boot"
grep -q '^yes /dev/mayfly' "$T/out" || shows "insmod build/kmod/mayfly.ko" # where make kmod puts it
if grep -q '^yes stock' "$T/out"; then ends_with 0; else ends_with 1; fi

story "check --json is one object with the same verdict"
verdict=$("$MAYFLY" check --quiet && echo true || echo false)
mayfly check --json
shows "\"can_boot\":$verdict"

the_end
