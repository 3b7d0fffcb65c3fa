# SPDX-License-Identifier: Apache-2.0
# The jail, looked at from outside through /proc while a small guest runs in it: as root, and, where
# setpriv(1) of util-linux is there, as a user without any privilege. Needs root; GUESTS as guests.sh.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
ASK=${ASK:-build/tests/ask}
HOLD=${HOLD:-build/tests/hold} UNCOVER=${UNCOVER:-build/tests/uncover}
WITHOUT=${WITHOUT:-build/tests/without} MEDDLE=${MEDDLE:-build/tests/meddle}
ACTIVATE=${ACTIVATE:-build/tests/activate}
# Not busybox's.
ip=$(which ip) unshare=$(which unshare) setpriv=$(which setpriv) prlimit=$(which prlimit) script=$(which script)
modprobe -a tun loop 2> /dev/null
pids=''
trap 'for p in $pids; do kill -KILL $p 2> /dev/null; done; umount "$T/kvm" 2> /dev/null; rm -rf "$T"' EXIT

if [ "$(id -u)" -ne 0 ]; then
	skipped "the jail, seen from outside" "needs root"
	the_end
	exit
fi

# A mayfly whose guest runs already is in the jail: its vCPU's thread was born there.
has_vcpu() {
	grep -qs '^vcpu 0' "/proc/$1"/task/*/comm
}
until_jailed() {
	for _ in $(seq 300); do
		has_vcpu "$1" && return
		sleep 0.1
	done
	is_wrong "no guest runs"
}
# stays OPTION...: a guest that stays, in the jail; $pid
stays() {
	"$MAYFLY" run --kernel "$GUESTS/hello.elf" --cmdline hold "$@" > "$T/out" 2> "$T/err" &
	pid=$!
	pids="$pids $pid"
	until_jailed $pid
}
gone() {
	for _ in $(seq 100); do
		[ -e "/proc/$1" ] || return 0
		sleep 0.1
	done
	return 1
}
stop() {
	kill -TERM $pid
	wait $pid
	status=$?
	ends_with 143
}
field() { # PID NAME: of /proc/PID/status
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}
is_field() { # NAME VALUE
	[ "$(field $pid "$1")" = "$2" ] || is_wrong "$1 is $(field $pid "$1"), not $2"
}
namespace() { readlink "/proc/$1/ns/$2"; }
is_apart() { # NAMESPACE...: not ours
	for ns in "$@"; do
		[ "$(namespace $pid $ns)" != "$(namespace self $ns)" ] || is_wrong "the $ns namespace is ours"
	done
}
# What is true of every jail without files of its own.
is_empty_jail() {
	holds [ -z "$(ls -A "/proc/$pid/root/")" ]
	holds [ "$(wc -l < "/proc/$pid/mountinfo")" -eq 1 ]
	holds grep -q '^[0-9]* [0-9]* [0-9:]* / / ro,' "/proc/$pid/mountinfo"
	holds [ "$(readlink "/proc/$pid/cwd")" = / ]
}
has_nothing() {
	is_apart user mnt net ipc uts
	for task in "/proc/$pid"/task/*; do
		[ "$(grep -cE '^Cap(Inh|Prm|Eff|Amb):[[:space:]]*0*$' "$task/status")" -eq 4 ] || is_wrong "a thread has capabilities"
		grep -q '^NoNewPrivs:[[:space:]]*1$' "$task/status" || is_wrong "a thread may gain privileges"
	done
	holds grep -q '^Max core file size *0 *0 ' "/proc/$pid/limits"
	for fd in "/proc/$pid/fd"/*; do
		[ ! -d "$fd" ] || is_wrong "a folder is open: $(readlink "$fd")"
		case $(stat -L -c %t:%T "$fd") in
		1:3 | 1:7) ;; # null, standard input of a background job; full, the network's lock
		*) [ ! -c "$fd" ] || is_wrong "a device is open: $(readlink "$fd")" ;;
		esac
	done
	# Not dumpable, so that nobody of the same user looks into it or at its memory.
	holds [ "$(stat -c %u "/proc/$pid/status")" -eq 0 ]
}

story "a microVM runs in an empty root, in namespaces of its own, with no capability"
stays
is_empty_jail
has_nothing
holds grep -q '^Max open files *2048 *2048 ' "/proc/$pid/limits"
kill -USR1 $pid # by which the monitor kicks its vCPUs: no reason to end
stop
says "stopped by a signal"
says_one_line

# Who has all capabilities over the jail finds nothing behind its root.
leads_nowhere() {
	"$UNCOVER" $pid 2> "$T/err"
	status=$?
	ends_with 1
}
if grep -q ' / / .* - rootfs ' /proc/self/mountinfo; then
	can_pivot=
	skipped "from an empty root no capability leads back" "the kernel's first root cannot be pivoted away"
else
	can_pivot=yes
	story "from its empty root no capability leads back to the host's"
	stays
	leads_nowhere
	stop
fi

story "what the caller left open is closed, but not what was asked for"
exec 9< README.md 8< README.md
stays --kernel /proc/self/fd/8 --kernel "$GUESTS/hello.elf"
holds eval '! ls -l "/proc/$pid/fd" | grep -q README.md'
stop
exec 9<&- 8<&-
"$MAYFLY" run --kernel /proc/self/fd/7 --cmdline exit=4 7< "$GUESTS/hello.elf" > "$T/out" 2> "$T/err"
status=$?
ends_with 4

story "what the caller's environment holds is forgotten, but for where layers go"
export SECRET=of-the-caller TMPDIR=/tmp
stays
holds grep -q TMPDIR=/tmp "/proc/$pid/environ"
holds eval '! grep -q of-the-caller "/proc/$pid/environ"'
stop
unset SECRET TMPDIR

story "a word that speaks of standard output does not close it"
"$MAYFLY" run --kernel "$GUESTS/hello.elf" --cmdline "exit=4 /dev/fd/1" 2> "$T/err" | cat > "$T/out"
prints "Hello from ring 3"
says_nothing

story "a word that speaks of a descriptor which nobody has open closes none of ours"
told=0
for fd in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	[ ! -e /proc/self/fd/$fd ] || continue
	mayfly run --timeout 20s --kernel "$GUESTS/hello.elf" --cmdline "exit=4 /dev/fd/$fd"
	ends_with 4
	told=$((told + 1))
done
holds [ $told -gt 10 ]

story "the network namespace is empty, and microVMs of one host share it"
stays
first=$pid
holds [ "$(grep -c : "/proc/$pid/net/dev")" -eq 1 ]
stays
second=$pid
holds [ "$(namespace $second net)" = "$(namespace $first net)" ]
kill -KILL $first
wait $first
stays
is_apart net
kill -KILL $second $pid
wait $second $pid # their end would interrupt the shell where it opens a FIFO

story "and they share it still where one has its serial port on /dev/null, which it closes"
cat > "$T/config" << END
{"boot-source":{"kernel_image_path":"$GUESTS/hello.elf","boot_args":"hold"},"drives":[],
 "serial":{"serial_out_path":"/dev/null"}}
END
"$MAYFLY" serve --no-api --config-file "$T/config" > "$T/out" 2> "$T/err" &
pid=$!
pids="$pids $pid"
until_jailed $pid
first=$pid
stays
holds [ "$(namespace $pid net)" = "$(namespace $first net)" ]
kill -KILL $first $pid
wait $first $pid

# Who holds the lock by which the shared one is found, in a network namespace of his own or in ours.
hold() { # COMMAND...: that starts it
	[ -p "$T/held" ] || mkfifo "$T/held"
	"$@" "$HOLD" /dev/full 0x6d6179666c79 > "$T/held" &
	holder=$!
	pids="$pids $holder"
	read -r line < "$T/held"
	[ "$line" = held ] || is_wrong "somebody else holds the lock"
}

story "a lock of somebody else's leads nowhere: not into our own namespace"
hold env
stays
is_apart net
holds [ "$(grep -c : "/proc/$pid/net/dev")" -eq 1 ]
stop
kill $holder
wait $holder

if unshare -n "$ip" tuntap add dev t0 mode tap 2> /dev/null; then
	story "nor into one that has a network"
	hold unshare -n sh -c '"$0" tuntap add dev t0 mode tap && exec "$@"' "$ip"
	stays
	is_apart net
	holds [ "$(grep -c : "/proc/$pid/net/dev")" -eq 1 ]
	stop
	kill $holder
	wait $holder
else
	skipped "nor into one that has a network" "no ip of iproute2, or no tun, here"
fi

story "--no-jail gives nothing up, and says so"
stays --no-jail
says "jail: none (--no-jail)"
for ns in mnt net ipc uts user pid; do
	holds [ "$(namespace $pid $ns)" = "$(namespace self $ns)" ]
done
stop

if "$setpriv" --help 2>&1 | grep -q reuid; then
	for capabilities in -all -all,+sys_admin; do
		story "root with the capabilities $capabilities has what can be had, and it says so"
		"$setpriv" "--bounding-set=$capabilities" --inh-caps=-all "$MAYFLY" run --kernel "$GUESTS/hello.elf" \
			--cmdline hold > "$T/out" 2> "$T/err" &
		pid=$!
		pids="$pids $pid"
		until_jailed $pid
		says "jail: this host gives no namespaces (Operation not permitted): "
		is_field CapEff 0000000000000000
		is_field NoNewPrivs 1
		stop
	done
else
	skipped "root with few capabilities" "no setpriv of util-linux here"
fi

# unshare(2) by a kernel that lacks one kind, a security module, a filter; mount(2) by the last two.
for refusal in "272 22 Invalid argument" "272 13 Permission denied" "272 38 Function not implemented" \
	"165 1 Operation not permitted" "165 13 Permission denied"; do
	number=${refusal%% *} errno=${refusal#* }
	story "where a host refuses system call $number (${errno#* }) there are no namespaces, and it says so"
	"$WITHOUT" "$number" "${errno%% *}" "$MAYFLY" run --kernel "$GUESTS/hello.elf" --cmdline hold > "$T/out" 2> "$T/err" &
	pid=$!
	pids="$pids $pid"
	until_jailed $pid
	says "jail: this host gives no namespaces (${errno#* }): "
	is_field CapEff 0000000000000000
	is_field NoNewPrivs 1
	stop
done
story "but what was asked for is not left out"
for refusal in "272 22 Invalid argument" "165 1 Operation not permitted"; do
	number=${refusal%% *} errno=${refusal#* }
	"$WITHOUT" "$number" "${errno%% *}" "$MAYFLY" run --new-pid-ns --kernel "$GUESTS/hello.elf" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 125
	says "--new-pid-ns: this host gives no namespaces: ${errno#* }"
done

story "where only pivot_root(2) is refused, as by a container's filter, the root is covered"
for errno in 1 13; do
	"$WITHOUT" 155 $errno "$MAYFLY" run --kernel "$GUESTS/hello.elf" --cmdline hold > "$T/out" 2> "$T/err" &
	pid=$!
	pids="$pids $pid"
	until_jailed $pid
	says_nothing
	holds [ -z "$(ls -A "/proc/$pid/root/")" ]
	has_nothing
	stop
done

story "a folder that cannot be kept without devices and programs is not kept"
"$WITHOUT" 442 38 "$MAYFLY" run --kernel "$GUESTS/hello.elf" --serial "unix=$T/port" > "$T/out" 2> "$T/err" # mount_setattr(2): ENOSYS
status=$?
ends_with 125
says "jail: keeping $T: Function not implemented"
holds [ ! -e "$T/port" ]

# A command as root of a user namespace of his own, where nobody changes groups.
root_of_his_own() {
	exec "$unshare" -U -r "$@"
}
without_networks() {
	root_of_his_own sh -c 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$0" "$@"' "$@"
}
if (root_of_his_own true 2> /dev/null); then
	story "a network namespace that is not to be had is said, and all the rest of the jail is there"
	(without_networks "$MAYFLY" run --kernel "$GUESTS/hello.elf" --cmdline hold > "$T/out" 2> "$T/err") &
	pid=$!
	pids="$pids $pid"
	until_jailed $pid
	says "jail: this host gives no network namespace (No space left on device): it stays in its caller's"
	says_one_line
	is_empty_jail
	is_apart mnt ipc uts
	is_field CapEff 0000000000000000
	stop

	story "but with --chroot-base-dir it is not done without"
	mkdir -p "$T/base/mayfly/n/root"
	cp "$GUESTS/hello.elf" "$T/base/mayfly/n/root"
	(without_networks "$MAYFLY" run --id n --chroot-base-dir "$T/base" --kernel /hello.elf > "$T/out" 2> "$T/err")
	status=$?
	ends_with 125
	says "--chroot-base-dir: this host gives no network namespace: No space left on device"

	story "nor is a user namespace of root's"
	(root_of_his_own sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"' \
		"$MAYFLY" run --kernel "$GUESTS/hello.elf" --cmdline hold > "$T/out" 2> "$T/err") &
	pid=$!
	pids="$pids $pid"
	until_jailed $pid
	says "jail: this host gives no user namespace (No space left on device): it stays in its caller's"
	says_one_line
	is_empty_jail
	is_apart net mnt ipc uts
	is_field CapEff 0000000000000000
	stop

	story "root of a user namespace may ask for himself, and for nobody else"
	(root_of_his_own "$MAYFLY" run --uid 0 --gid 0 --kernel "$GUESTS/hello.elf" --cmdline exit=3 > "$T/out" 2> "$T/err")
	status=$?
	ends_with 3
	says_nothing
	(root_of_his_own "$MAYFLY" run --uid 1 --gid 0 --kernel "$GUESTS/hello.elf" > "$T/out" 2> "$T/err")
	status=$?
	ends_with 125
	says "--uid 1, --gid 0: Operation not permitted"
else
	skipped "a network namespace that is not to be had" "no unshare of util-linux, or no user namespaces, here"
fi

story "a folder that is needed by path is there, and nothing else"
stays --net "peer=$T/lan" --serial "unix=$T/port"
holds [ "$(find "/proc/$pid/root/" -name 0 | wc -l)" -eq 1 ]
holds [ -S "$T/lan/0" ]
holds [ -S "/proc/$pid/root$T/lan/0" ]
holds [ ! -e "/proc/$pid/root/etc" ]
has_nothing
stop
holds [ ! -e "$T/port" ]
holds [ ! -e "$T/lan/0" ]

if [ "$(id -u)" -eq 0 ] && unshare -m true 2> /dev/null; then
	story "a folder that is a mount below another one's is seen, too"
	mkdir -p "$T/run/lan"
	unshare -m sh -c 'mount -t tmpfs none "$0/run/lan" && exec "$1" run --kernel "$2" --cmdline hold --net "peer=$0/run/lan" --serial "unix=$0/run/port"' \
		"$T" "$MAYFLY" "$GUESTS/hello.elf" > "$T/out" 2> "$T/err" &
	pid=$!
	pids="$pids $pid"
	until_jailed $pid
	holds [ -S "/proc/$pid/root$T/run/lan/0" ]
	holds [ -S "/proc/$pid/root$T/run/port" ]
	stop
	holds [ ! -e "$T/run/port" ]
fi

story "with a socket that systemd has opened no folder is needed"
cat > "$T/config" << END
{"boot-source":{"kernel_image_path":"$PWD/$GUESTS/hello.elf","boot_args":"hold"},"drives":[]}
END
"$ACTIVATE" "$T/systemd" "$MAYFLY" serve --api-sock "$T/other" --config-file "$T/config" > "$T/out" 2> "$T/err" &
pid=$!
pids="$pids $pid"
until_jailed $pid
is_empty_jail
has_nothing
stop

story "relative paths mean the same in the jail as outside"
here=$PWD program=$(realpath "$MAYFLY") guests=$(realpath "$GUESTS")
(cd "$T" && exec "$program" run --kernel "$guests/hello.elf" --cmdline hold --serial unix=port > out 2> err) &
pid=$!
until_jailed $pid
holds [ -S "$T/port" ]
stop
holds [ ! -e "$T/port" ]
cd "$here" || exit

story "a current folder that is gone is no matter where no path begins in it"
mkdir "$T/gone"
(cd "$T/gone" && rmdir "$T/gone" && exec "$program" run --kernel "$guests/hello.elf" --cmdline exit=3 --net "peer=$T/lan" \
	> "$T/out" 2> "$T/err")
status=$?
ends_with 3
says_nothing

for port in ./mayfly-test-port /./mayfly-test-port "$T/../$(echo "$T" | sed 's,[^/]*/*,../,g')mayfly-test-port"; do
	story "the host's root is kept under no name: a socket in it, as ${port#"$T"/}, with / as the current folder"
	(cd / && exec "$program" run --kernel "$guests/hello.elf" --cmdline hold --serial "unix=$port" > "$T/out" 2> "$T/err") &
	pid=$!
	until_jailed $pid
	holds [ -S /mayfly-test-port ]
	is_empty_jail
	stop
	rm -f /mayfly-test-port
done

story "--uid and --gid: whom it runs as, also in its folder"
base=$T/base
mkdir -p "$base/mayfly/a/root"
cp "$GUESTS/hello.elf" "$base/mayfly/a/root"
chmod 755 "$T"
"$MAYFLY" run --id a --uid 4321 --gid 1234 --chroot-base-dir "$base" --kernel /hello.elf --cmdline hold \
	--serial file=/log > "$T/out" 2> "$T/err" &
pid=$!
until_jailed $pid
has_nothing
is_field Uid "4321	4321	4321	4321"
is_field Gid "1234	1234	1234	1234"
is_field Groups ""
holds [ "$(ls "/proc/$pid/root/" | tr '\n' ' ')" = "hello.elf log run " ]
holds [ "$(stat -c %u:%g "$base/mayfly/a/root/log")" = 4321:1234 ]
holds [ "$(stat -c %u:%g "$base/mayfly/a/root")" = 4321:1234 ]
stop

story "a file that the user may not read is not read for him"
chmod 600 "$base/mayfly/a/root/hello.elf"
mayfly run --id a --uid 4321 --gid 1234 --chroot-base-dir "$base" --kernel /hello.elf
ends_with 125
says "Permission denied"
mayfly run --id a --chroot-base-dir "$base" --kernel /hello.elf --cmdline exit=3
ends_with 3

story "a hard link that the user has put in the place of run gives him nothing"
mkdir -p "$T/race/mayfly/a/root"
: > "$T/race/others"
ln "$T/race/others" "$T/race/mayfly/a/root/run"
mayfly run --id a --uid 4321 --gid 1234 --chroot-base-dir "$T/race" --kernel /none
ends_with 125
says "/none: No such file or directory"
holds [ "$(stat -c %u:%g "$T/race/others")" = 0:0 ]
rm -r "$T/race"

story "where nobody makes nodes, as with a container's list of devices, the host's are there"
"$WITHOUT" 259 1 "$MAYFLY" run --id a --chroot-base-dir "$base" --kernel /hello.elf --cmdline exit=3 > "$T/out" 2> "$T/err" # mknodat(2): EPERM
status=$?
ends_with 3
says_nothing

# The folder is that user's, who may exchange what lies in it for a link, at each moment of the start.
for places in mayfly/a "mayfly/a/root/dev mayfly/a/root/run mayfly/a/root"; do
	story "links in the places of $places, put there at whatever moment, lead root nowhere"
	mkdir -p "$T/race" "$T/others/root" "$T/others/net"
	chmod 700 "$T/others/root" "$T/others/net"
	others=$(find "$T/others" | xargs stat -c '%n %u %a')
	exchange=:
	for place in $places; do
		exchange="$exchange; mv $T/race/$place $T/race/$place.old; ln -s $T/others $T/race/$place"
	done
	n=0 status=0
	until [ $status -eq 99 ] || [ -n "$wrong" ]; do
		n=$((n + 1))
		mkdir -p "$T/race/mayfly/a/root/dev" "$T/race/mayfly/a/root/run"
		"$MEDDLE" $n "$exchange" "$MAYFLY" run --id a --uid 4321 --gid 1234 --chroot-base-dir "$T/race" --kernel /none \
			> "$T/out" 2> "$T/err"
		status=$?
		[ $status -eq 99 ] || [ $status -eq 125 ] || is_wrong "exit status $status"
		[ "$(find "$T/others" | xargs stat -c '%n %u %a')" = "$others" ] || is_wrong "others' folders are changed, by call $n"
		rm -rf "$T/race/mayfly"
	done
	holds [ $n -gt 10 ]
	rm -rf "$T/race" "$T/others"
done

story "an API process in its folder takes paths in there, also for a drive of a running microVM"
truncate -s 1M "$base/mayfly/a/root/one" "$base/mayfly/a/root/two"
chown 4321 "$base/mayfly/a/root/one" "$base/mayfly/a/root/two" "$base/mayfly/a/root/hello.elf"
send() { # SOCKET FILE METHOD PATH BODY: with FILE's descriptor
	printf '%s %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s' "$3" "$4" ${#5} "$5" | "$ASK" "$1" "$2" > "$T/out"
}
patch() { # PATH
	send "$base/mayfly/a/root/run/api" /dev/null PATCH /drives/d "{\"drive_id\":\"d\",\"path_on_host\":\"$1\"}"
}
cat > "$base/mayfly/a/root/config" << END
{"boot-source":{"kernel_image_path":"/hello.elf","boot_args":"hold"},
 "drives":[{"drive_id":"d","is_root_device":false,"path_on_host":"/one"}]}
END
"$MAYFLY" serve --id a --uid 4321 --gid 1234 --chroot-base-dir "$base" --api-sock /run/api --config-file /config \
	> "$T/out" 2> "$T/err" &
pid=$!
until_jailed $pid
holds [ "$(stat -c %u "$base/mayfly/a/root/run/api")" -eq 4321 ]
patch /two
shows "204"
patch /../../../../../../etc/passwd
shows "No such file or directory"
patch /dev/kvm
shows "No such file or directory"
stop
holds [ ! -e "$base/mayfly/a/root/run/api" ]

if [ -e /host/job ] && truncate -s 1M "$T/disk" && losetup /dev/loop6 "$T/disk"; then
	story "a block device for a drive of a running microVM: the same once more, and as a descriptor"
	cat > "$T/config" <<- END
		{"boot-source":{"kernel_image_path":"$PWD/$GUESTS/hello.elf","boot_args":"hold"},
		 "drives":[{"drive_id":"d","is_root_device":false,"path_on_host":"/dev/loop6"}]}
	END
	"$MAYFLY" serve --api-sock "$T/api" --config-file "$T/config" > "$T/serial" 2> "$T/err" &
	pid=$!
	until_jailed $pid
	send "$T/api" /dev/null PATCH /drives/d '{"drive_id":"d","path_on_host":"/dev/loop6"}'
	shows "204"
	send "$T/api" /dev/loop6 PATCH /drives/d '{"drive_id":"d","path_on_host":"fd:0"}'
	shows "204"
	stop
	losetup -d /dev/loop6
else
	skipped "a block device for a drive of a running microVM" "only in the emulated host, whose loop devices nobody else uses"
fi

# api OPTION...: a process that serves on $T/api; $pid
api() {
	[ -p "$T/ready" ] || mkfifo "$T/ready"
	"$@" --ready-fd 3 3> "$T/ready" > "$T/serial" 2> "$T/err" &
	pid=$!
	pids="$pids $pid"
	read -r _ < "$T/ready"
}

story "a kernel that lies outside of the folder comes as a descriptor"
api "$MAYFLY" serve --id a --chroot-base-dir "$base" --api-sock /run/api
send "$base/mayfly/a/root/run/api" "$GUESTS/hello.elf" PUT /boot-source '{"kernel_image_path":"fd:0","boot_args":"exit=7"}'
shows "204"
send "$base/mayfly/a/root/run/api" /dev/null PUT /actions '{"action_type":"InstanceStart"}'
shows "204"
wait $pid
status=$?
ends_with 7

story "under the name of jailer it takes the command line of Firecracker's"
ln -sf "$(realpath "$MAYFLY")" "$T/jailer"
ln -sf "$(realpath "$MAYFLY")" "$T/firecracker"
mkdir -p "$base/firecracker/b/root"
cp "$GUESTS/hello.elf" "$base/firecracker/b/root"
echo '{"boot-source":{"kernel_image_path":"/hello.elf","boot_args":"exit=6"},"drives":[]}' > "$base/firecracker/b/root/config"
"$T/jailer" --id b --exec-file "$T/firecracker" --uid 4321 --gid 1234 --chroot-base-dir "$base" --new-pid-ns \
	--resource-limit no-file=512 -- --no-api --config-file /config > "$T/out" 2> "$T/err"
status=$?
ends_with 6
shows "Hello from ring 3"
holds [ "$(cat "$base/firecracker/b/root/firecracker.pid")" -gt 1 ]
"$T/jailer" --id b --exec-file /bin/sh --uid 1 --gid 1 > "$T/out" 2> "$T/err"
status=$?
ends_with 153
says "give mayfly itself"
"$T/jailer" --id b --uid 1 --gid 1 -- --no-api > "$T/out" 2> "$T/err"
status=$?
ends_with 153
says "--id, --exec-file, --uid and --gid are required"

if [ -n "$script" ]; then
	guest="$MAYFLY run --kernel $GUESTS/hello.elf --cmdline"
	until_is='until_is() { until [ "$(stty -g)" "$@" ]; do sleep 0.1; done; }'
	initial='initial=$(stty -g); echo $initial'
	# COMMAND [MEANWHILE]: in one of its own, with the terminal's settings before and after. MEANWHILE is done
	# beside it from when it is raw, with its process's number.
	at_terminal() {
		printf "%s\n" "$initial" "$until_is" \
			"${2:+(until_is != \$initial; raw=\$(stty -g); echo \$raw; pid=\$(cat $T/typed.pid); $2) < /dev/tty &}" \
			"sh -c 'echo \$\$ > $T/typed.pid; exec $1'" "echo code \$?" "stty -g" > "$T/typed"
		timeout -s KILL 100 "$script" -qfec "sh $T/typed" /dev/null > "$T/out" 2> "$T/err"
		grep -oE '[0-9a-f]+(:[0-9a-f]+){10,}' "$T/out" > "$T/settings"
	}
	is_restored() {
		[ "$(sed -n 1p "$T/settings")" = "$(tail -n 1 "$T/settings")" ] || is_wrong "the terminal is not as it was"
	}

	story "the operator's terminal is raw while a guest runs, and as it was after a job's end, a timeout and a signal"
	at_terminal "$guest exit=5" < /dev/null
	shows "code 5"
	is_restored
	at_terminal "$guest hold --timeout 500ms" < /dev/null
	shows "code 124"
	is_restored
	at_terminal "$guest hold" "kill \$pid" < /dev/null
	shows "code 143"
	holds [ "$(wc -l < "$T/settings")" -eq 3 ]
	holds [ "$(sed -n 1p "$T/settings")" != "$(sed -n 2p "$T/settings")" ]
	is_restored

	# Waits until the terminal is raw, shows its settings, and sends all of the microVM's group SIGNAL.
	when_raw() { # SIGNAL
		echo "(until_is != \$initial; stty -g; kill -$1 -\$(cat $T/typed.pid)) < /dev/tty &"
	}
	at_shell() { # LINE...: typed at one that controls jobs, after a microVM $how has been stopped by Ctrl-Z
		printf "%s\n" "set -m" "$initial" "$until_is" "$(when_raw TSTP)" \
			"sh -c 'echo \$\$ > $T/typed.pid; exec $guest hold $how'" "until_is = \$initial; stty -g" "$@" > "$T/typed"
		timeout -s KILL 100 "$script" -qfec "sh $T/typed" /dev/null < /dev/null > "$T/out" 2> "$T/err"
		grep -oE '[0-9a-f]+(:[0-9a-f]+){10,}' "$T/out" > "$T/settings"
	}
	is_setting() { # N M: the Nth that was shown is the Mth
		[ "$(sed -n "$1p" "$T/settings")" = "$(sed -n "$2p" "$T/settings")" ] || is_wrong "settings $1 are not settings $2"
	}

	story "and while it is stopped, after which it is raw again"
	how=
	at_shell "$(when_raw TERM)" fg "echo code \$?" "stty -g"
	shows "code 143"
	holds [ "$(wc -l < "$T/settings")" -eq 5 ]
	is_setting 4 2
	is_restored
	at_terminal "$guest hold" "kill -STOP \$pid; stty \$initial; stty -g
		kill -CONT \$pid; until_is = \$raw; stty -g; kill \$pid" < /dev/null
	shows "code 143"
	holds [ "$(wc -l < "$T/settings")" -eq 5 ]
	is_setting 4 2
	is_restored

	story "in the background it leaves the terminal alone"
	for how in "" --new-pid-ns; do
		at_shell bg "sleep 0.5" "stty -g" "kill \$(cat $T/typed.pid)" "wait \$(cat $T/typed.pid)" "echo code \$?"
		shows "code 143"
		holds [ "$(wc -l < "$T/settings")" -eq 4 ]
		is_restored
	done

	story "Ctrl-Z where nobody could continue it does not stop it"
	at_terminal "$guest hold" "kill -TSTP \$pid; sleep 0.5; kill -INT \$pid" < /dev/null
	shows "code 130"
	is_restored

	story "Ctrl-A x at a terminal ends the microVM with 143, and leaves it as it was"
	until grep -q code "$T/out"; do
		printf '\001x'
		sleep 1
	done | at_terminal "$guest hold"
	shows "code 143"
	holds [ "$(wc -l < "$T/settings")" -eq 2 ]
	is_restored
else
	skipped "the operator's terminal" "no script(1) of util-linux here"
fi

story "--new-pid-ns: process 1 of its own, with the caller's signals and exit status"
"$MAYFLY" run --new-pid-ns --kernel "$GUESTS/hello.elf" --cmdline exit=7 > "$T/out" 2> "$T/err"
status=$?
ends_with 7
prints "Hello from ring 3"
if [ -n "$script" ]; then
	echo "$MAYFLY run --new-pid-ns --timeout 300ms --kernel $GUESTS/hello.elf --cmdline hold & wait \$!; echo code \$?" > "$T/typed"
	timeout -s KILL 60 "$script" -qec "sh -m $T/typed" /dev/null < /dev/null > "$T/out" 2>&1
	shows "code 124" # also in the background of a terminal, which is left alone
fi
child() {
	for p in /proc/[0-9]*; do
		[ "$(field "${p#/proc/}" PPid 2> /dev/null)" != "$1" ] || echo "${p#/proc/}"
	done
}
inside() { # starts it: $outer, and $pid in its namespace
	"$MAYFLY" run --new-pid-ns --kernel "$GUESTS/hello.elf" --cmdline hold > "$T/out" 2> "$T/err" &
	outer=$!
	pids="$pids $outer"
	for _ in $(seq 100); do
		pid=$(child $outer)
		[ -z "$pid" ] || break
		sleep 0.1
	done
	until_jailed "$pid"
}
inside
has_nothing
is_apart pid
is_field NSpid "$pid	1"
kill -TERM $outer
wait $outer
status=$?
ends_with 143
says "stopped by a signal"
inside
kill -KILL $outer
holds gone "$pid"
inside
kill -KILL "$pid"
wait $outer
status=$?
ends_with 137

story "--new-pid-ns: a caller that ignores SIGCHLD gets the status, too"
(trap '' CHLD && exec "$MAYFLY" run --new-pid-ns --kernel "$GUESTS/hello.elf" --cmdline exit=3) > "$T/out" 2> "$T/err" &
for _ in $(seq 100); do
	has_ended && break
	sleep 0.1
done
has_ended || kill -KILL $!
wait $!
status=$?
ends_with 3

# A start that waits, for the writer of a FIFO, and so has not come to where it takes signals.
mkfifo "$T/unwritten"
first_inside() { # OPTION...: starts it: $outer, and $pid in its namespace
	"$MAYFLY" serve --new-pid-ns --no-api --config-file "$T/unwritten" "$@" > "$T/out" 2> "$T/err" &
	outer=$!
	pids="$pids $outer"
	for _ in $(seq 100); do
		pid=$(child $outer)
		! grep -qs wait_for_partner "/proc/${pid:-none}/wchan" || break
		sleep 0.1
	done
	pids="$pids $pid"
}
story "--new-pid-ns: a signal ends a start, too"
for signal in 1 15; do
	first_inside
	kill -$signal $outer
	holds gone $pid
	[ -z "$wrong" ] || kill -KILL $outer
	wait $outer
	status=$?
	ends_with $((128 + signal))
done
story "--new-pid-ns: so it does where the caller is not to wait for more"
first_inside --daemonize
kill -TERM $pid
holds gone $pid
[ -z "$wrong" ] || kill -KILL $pid
wait $outer
status=$?
ends_with 143

# The process with a word in its command line, which its last letter in brackets hides in ours; $pid
is_daemon() {
	pid=$(grep -ls "$1" /proc/[0-9]*/cmdline | cut -d/ -f3)
	pids="$pids $pid"
}
story "--daemonize: the caller goes on once the guest runs, and the microVM in a session of its own"
"$MAYFLY" run --daemonize --kernel "$GUESTS/hello.elf" --cmdline hold --serial "unix=$T/daemon" > "$T/out" 2> "$T/err"
status=$?
ends_with 0
is_daemon "$T/daemo[n]"
until_jailed "$pid"
has_nothing
for _ in $(seq 100); do # it lets go of standard error when it has told the caller, not before
	[ "$(readlink "/proc/$pid/fd/1")" != "$(readlink "/proc/$pid/fd/2")" ] || break
	sleep 0.1
done
holds [ "$(readlink "/proc/$pid/fd/1")" = "$(readlink "/proc/$pid/fd/2")" ]
kill -TERM "$pid"
holds gone "$pid"

story "--daemonize: the API listens when the caller goes on"
"$MAYFLY" serve --daemonize --api-sock "$T/api" --log-path "$T/log" > "$T/out" 2> "$T/err"
status=$?
ends_with 0
says_nothing
send "$T/api" /dev/null GET / ""
shows "HTTP/1.1 200"
is_daemon "$T/ap[i]"
kill -TERM "$pid"
holds gone "$pid"

for start in "run" "run --new-pid-ns" "serve --no-api --config-file /none" "serve --api-sock /none/api" \
	"serve --log-path $T/daemon.log --level Off --no-api --config-file /none" "serve --log-path $T/daemon.log --api-sock /none/api"; do
	story "--daemonize: what fails at the start of '$start' is the caller's, message and status"
	kernel=
	[ "${start#run}" = "$start" ] || kernel="--kernel /none"
	(trap '' CHLD && exec "$MAYFLY" $start --daemonize $kernel) > "$T/out" 2> "$T/err"
	status=$?
	holds [ $status -ne 0 ]
	holds grep -q /none "$T/err"
done

story "an API process is configured in namespaces of its own already"
api "$MAYFLY" serve --api-sock "$T/api"
is_apart mnt ipc uts
stop
[ ! -S "$T/api" ] || is_wrong "the socket is still there"

story "--netns: the namespace that was made for it"
if unshare -n true 2> /dev/null; then
	unshare -n sleep 300 &
	holder=$!
	pids="$pids $holder"
	for _ in $(seq 100); do
		[ "$(namespace $holder net)" = "$(namespace self net)" ] || break
		sleep 0.1
	done
	stays --netns "/proc/$holder/ns/net"
	holds [ "$(namespace $pid net)" = "$(namespace $holder net)" ]
	has_nothing
	stop
	kill $holder
fi
mayfly run --netns "$T/none" --kernel "$GUESTS/hello.elf"
ends_with 125
says "--netns $T/none: No such file or directory"

story "--resource-limit: a file no larger, no more descriptors"
stays --resource-limit no-file=100 --resource-limit fsize=64K
holds grep -q '^Max open files *100 *100 ' "/proc/$pid/limits"
holds grep -q '^Max file size *65536 *65536 ' "/proc/$pid/limits"
stop
mayfly run --timeout 60s --kernel "$GUESTS/exits.elf" --cmdline flood=16 --serial "file=$T/whole"
mayfly run --timeout 60s --resource-limit fsize=10000 --kernel "$GUESTS/exits.elf" --cmdline flood=16 --serial "file=$T/flood"
ends_with 0
says "serial output; it is dropped from here on"
says_one_line
holds [ "$(wc -c < "$T/flood")" -eq 10000 ]
head -c 10000 "$T/whole" > "$T/begin"
holds cmp -s "$T/begin" "$T/flood"
mayfly run --resource-limit no-file=4 --kernel "$GUESTS/hello.elf"
ends_with 125
says "--resource-limit no-file=4: this microVM has as many open"
says_one_line

# Files of a cgroup that need no controller.
cgroups=''
for place in /sys/fs/cgroup /sys/fs/cgroup/unified; do
	[ ! -w "$place/cgroup.procs" ] || cgroups=$place
done
# Its keeper has some moments for that.
is_removed() { # FOLDER
	for _ in $(seq 100); do
		[ -e "$1" ] || return 0
		sleep 0.1
	done
	return 1
}
if [ -n "$cgroups" ]; then
	id=limited-$$
	limited="run --id $id --cgroup cgroup.max.depth=5 --kernel"

	story "a start that gets no second process leaves no cgroup"
	"$WITHOUT" 57 11 "$MAYFLY" $limited /none > "$T/out" 2> "$T/err" # fork(2): EAGAIN
	status=$?
	ends_with 125
	says "starting the cgroup's keeper: Resource temporarily unavailable"
	holds is_removed "$cgroups/mayfly/$id"

	story "nor does one that is killed, at whatever moment"
	for n in $(seq 12); do
		"$MEDDLE" $n 'kill -KILL $PID' "$MAYFLY" $limited /none > "$T/out" 2> "$T/err"
		status=$?
		ends_with 137
		holds is_removed "$cgroups/mayfly/$id"
	done

	story "one with another's --id is refused, and leaves that one's"
	stays --id $id --cgroup cgroup.max.depth=5
	"$MAYFLY" $limited /none > "$T/out" 2> "$T/err"
	status=$?
	ends_with 125
	says "mayfly: --cgroup: $cgroups/mayfly/$id (give another --id): File exists"
	holds grep -qx $pid "$cgroups/mayfly/$id/cgroup.procs"
	stop
	holds is_removed "$cgroups/mayfly/$id"
else
	skipped "a start that gets no second process leaves no cgroup" "no cgroup v2 here"
fi

# Where there is a cgroup v2 hierarchy with controllers that can be given on.
cgroups=''
for place in /sys/fs/cgroup /sys/fs/cgroup/unified; do
	if grep -qs memory "$place/cgroup.controllers" && [ -w "$place/cgroup.subtree_control" ]; then
		cgroups=$place
	fi
done
if [ -n "$cgroups" ]; then
	story "--cgroup: limits that hold, in a cgroup that goes with the microVM"
	truncate -s 1M "$T/disk"
	mayfly run --id limited --cgroup memory.max=24M --cgroup memory.swap.max=0 --cgroup pids.max=40 \
		--timeout 180s --kernel "$GUESTS/memmap.elf" --cmdline "mem=$((128 << 20))" --mem 128M
	ends_with 137
	stays --id limited --cgroup memory.max=64M --cgroup "cpu.max=50000 100000" --cgroup pids.max=40 --parent-cgroup vms
	holds [ "$(cat "$cgroups/vms/limited/memory.max")" -eq $((64 << 20)) ]
	holds [ "$(cat "$cgroups/vms/limited/cpu.max")" = "50000 100000" ]
	holds [ "$(cat "$cgroups/vms/limited/pids.max")" -eq 40 ]
	holds grep -qx $pid "$cgroups/vms/limited/cgroup.procs"
	kill -KILL $pid
	wait $pid
	for _ in $(seq 100); do
		[ -e "$cgroups/vms/limited" ] || break
		sleep 0.1
	done
	holds [ ! -e "$cgroups/vms/limited" ]
	# How fast it may write to a disk of the host: one that is there, and that nobody needs.
	if grep -qs io "$cgroups/cgroup.controllers" && [ -e /host/job ] && losetup /dev/loop7 "$T/disk"; then
		stays --id limited --cgroup "io.max=7:7 wbps=1048576" --parent-cgroup vms --disk /dev/loop7
		holds grep -q '^7:7 rbps=max wbps=1048576 riops=max wiops=max' "$cgroups/vms/limited/io.max"
		stop
		for _ in $(seq 100); do
			[ -e "$cgroups/vms/limited" ] || break
			sleep 0.1
		done
		losetup -d /dev/loop7
	fi
	# As when a service ends: all its processes get the signal, the cgroup's keeper among them.
	stays --id limited --cgroup memory.max=64M --parent-cgroup vms
	killed=''
	for p in /proc/[0-9]*; do
		if [ "$(cat "$p/comm" 2> /dev/null)" = "mayfly cgroup" ]; then
			kill -TERM "${p#/proc/}" && killed=yes
		fi
	done
	holds [ -n "$killed" ]
	stop
	for _ in $(seq 100); do
		[ -e "$cgroups/vms/limited" ] || break
		sleep 0.1
	done
	holds [ ! -e "$cgroups/vms/limited" ]
	stays --id limited --cgroup memory.max=64M --parent-cgroup vms/of/one
	holds [ "$(cat "$cgroups/vms/of/one/limited/memory.max")" -eq $((64 << 20)) ]
	stop
	for _ in $(seq 100); do
		[ -e "$cgroups/vms/of/one/limited" ] || break
		sleep 0.1
	done
	rmdir "$cgroups/vms/of/one" "$cgroups/vms/of" "$cgroups/vms"
	holds [ ! -e "$cgroups/mayfly" ]
	mayfly run --cgroup none.such=1 --kernel "$GUESTS/hello.elf"
	ends_with 125
	says "has no controller none"
	mayfly run --parent-cgroup none/such --kernel "$GUESTS/hello.elf"
	ends_with 125
	says "--parent-cgroup: make $cgroups/none/such before, or give --cgroup"

	story "--cgroup: a microVM that may have no thread more takes signals"
	stays --id limited --cgroup pids.max=3
	kill -TERM $pid
	gone $pid || kill -KILL $pid
	wait $pid
	status=$?
	ends_with 143
else
	skipped "--cgroup" "no cgroup v2 with a memory controller that can be given on; told in the emulated host"
	story "--cgroup without a hierarchy for it is refused, and says why"
	mayfly run --cgroup memory.max=24M --kernel "$GUESTS/hello.elf"
	ends_with 125
	says "--cgroup"
fi

# A command as nobody, in place of the (sub)shell, with a node of his own for /dev/kvm where the machine's is root's.
if ! "$setpriv" --help 2>&1 | grep -q reuid || ! "$unshare" -m true 2> /dev/null; then
	skipped "the jail of a user without privileges" "no setpriv or unshare of util-linux here"
	the_end
	exit
fi
mkdir "$T/user"
cp "$MAYFLY" "$T/user/mayfly"
cp "$GUESTS"/*.elf "$T/user"
chown -R 65534:65534 "$T/user"
if [ -e /dev/kvm ] && mknod -m 666 "$T/kvm" c $((0x$(stat -c %t /dev/kvm))) $((0x$(stat -c %T /dev/kvm))); then
	nobody() {
		exec "$unshare" -m sh -c 'mount --bind "$0" /dev/kvm && cd "$1" && shift && exec "$@"' \
			"$T/kvm" "$T/user" "$setpriv" --reuid 65534 --regid 65534 --clear-groups "$@"
	}
else
	nobody() {
		cd "$T/user" && exec "$setpriv" --reuid 65534 --regid 65534 --clear-groups "$@"
	}
fi

story "the caller's umask shuts the user that it becomes out of nothing"
mkdir -p "$T/user/deep/er"
chown 4321 "$T/user/deep/er"
with_node() { # COMMAND...: as nobody() has it
	[ -e "$T/kvm" ] || exec "$@"
	exec "$unshare" -m sh -c 'mount --bind "$0" /dev/kvm && exec "$@"' "$T/kvm" "$@"
}
(umask 077 && with_node "$MAYFLY" run --uid 4321 --gid 1234 --kernel "$T/user/hello.elf" --cmdline exit=3 \
	--serial unix="$T/user/deep/er/port" > "$T/out" 2> "$T/err")
status=$?
ends_with 3
holds [ ! -e "$T/user/deep/er/port" ]

story "root of a container, who may not make namespaces, becomes somebody else all the same"
(with_node "$setpriv" --bounding-set=-sys_admin --inh-caps=-all "$MAYFLY" run --uid 4321 --gid 1234 --kernel "$T/user/hello.elf" \
	--cmdline hold > "$T/out" 2> "$T/err") &
pid=$!
pids="$pids $pid"
until_jailed $pid
says "jail: this host gives no namespaces (Operation not permitted): "
is_field Uid "4321	4321	4321	4321"
is_field CapEff 0000000000000000
stop

as_nobody() { # OPTION...: as stays
	nobody ./mayfly run --kernel hello.elf --cmdline hold "$@" > "$T/out" 2> "$T/err" &
	pid=$!
	pids="$pids $pid"
	until_jailed $pid
}

if [ -n "${cgroups:-}" ] && grep -qs memory "$cgroups/cgroup.subtree_control"; then
	story "a user's limit in a cgroup that was given to him, where the controllers are on"
	mkdir -p "$cgroups/his/shell"
	echo +memory > "$cgroups/his/cgroup.subtree_control"
	chown -R 65534 "$cgroups/his"
	# shellcheck disable=SC2016 # of the inner shell, whose parent is the subshell
	(sh -c 'echo $PPID > "$0/his/shell/cgroup.procs"' "$cgroups" && nobody ./mayfly run --id u --kernel hello.elf --cmdline exit=4 \
		--parent-cgroup his --cgroup memory.max=64M > "$T/out" 2> "$T/err")
	status=$?
	says_nothing
	ends_with 4
	for _ in $(seq 100); do
		[ -e "$cgroups/his/u" ] || break
		sleep 0.1
	done
	rmdir "$cgroups/his/shell" "$cgroups/his"
fi

if (nobody "$unshare" -U true 2> /dev/null); then
	story "a user without privileges has the same jail, in a user namespace"
	as_nobody
	is_empty_jail
	has_nothing
	is_field Uid "65534	65534	65534	65534"
	stop
	as_nobody --serial unix=port --net peer=lan
	has_nothing
	holds [ -S "$T/user/lan/0" ]
	stop
	holds [ ! -e "$T/user/lan/0" ]
	holds [ ! -e "$T/user/port" ]

	if [ -n "$can_pivot" ]; then
		story "and from its empty root no capability leads back to the host's"
		as_nobody
		leads_nowhere
		stop
	fi

	if [ -e "$T/kvm" ]; then
		story "where AppArmor restricts them, whether his is of use is tried before he is in it"
		restricted() { # COMMAND...: as nobody, on such a host
			exec "$unshare" -m sh -c 'mount --bind "$0" /dev/kvm && mount -t tmpfs none /proc/sys/kernel &&
				echo 1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns && cd "$1" && shift && exec "$@"' \
				"$T/kvm" "$T/user" "$setpriv" --reuid 65534 --regid 65534 --clear-groups "$@"
		}
		cp "$WITHOUT" "$T/user/without"
		(restricted ./mayfly run --kernel hello.elf --cmdline exit=3 > "$T/out" 2> "$T/err")
		status=$?
		ends_with 3
		says_nothing
		(restricted ./without 272 13 ./mayfly run --kernel hello.elf --cmdline exit=3 > "$T/out" 2> "$T/err")
		status=$?
		ends_with 3
		says "jail: this host gives no namespaces (/proc/sys/kernel/apparmor_restrict_unprivileged_userns): Landlock stands in"
	fi

	story "and may have a root and a PID namespace, but become nobody else"
	mkdir -p "$T/user/base/mayfly/u/root"
	cp "$GUESTS/hello.elf" "$T/user/base/mayfly/u/root"
	chown -R 65534:65534 "$T/user"
	(nobody ./mayfly run --id u --chroot-base-dir "$T/user/base" --new-pid-ns --kernel /hello.elf --cmdline exit=5 \
		> "$T/out" 2> "$T/err")
	status=$?
	ends_with 5
	prints "Hello from ring 3"
	(nobody ./mayfly run --uid 1 --gid 1 --kernel hello.elf > "$T/out" 2> "$T/err")
	status=$?
	ends_with 125
	says "only root may become somebody else"

	story "behind the jail there is no way back: a start that fails there ends the process"
	(nobody "$prlimit" --nproc=1:1 ./mayfly run --kernel hello.elf > "$T/out" 2> "$T/err")
	status=$?
	ends_with 125
	says "starting the thread of vCPU 0"
	api nobody "$prlimit" --nproc=1:1 ./mayfly serve --api-sock api
	send "$T/user/api" "$GUESTS/hello.elf" PUT /boot-source '{"kernel_image_path":"fd:0"}'
	shows "204"
	send "$T/user/api" /dev/null PUT /actions '{"action_type":"InstanceStart"}'
	shows "Start microvm error: starting the thread of vCPU 0"
	wait $pid
	status=$?
	ends_with 125
	holds [ ! -e "$T/user/api" ]

	story "without a jail there is one: the start may be tried again"
	api nobody "$prlimit" --nproc=1:1 ./mayfly serve --no-jail --api-sock api
	send "$T/user/api" "$GUESTS/hello.elf" PUT /boot-source '{"kernel_image_path":"fd:0"}'
	shows "204"
	for _ in 1 2 3; do
		send "$T/user/api" /dev/null PUT /actions '{"action_type":"InstanceStart"}'
		shows "Start microvm error: starting the thread of vCPU 0"
	done
	kill -KILL $pid # Linux 6.1 reads signals by a thread of the ring's, for which there is no room
	wait $pid

	if [ -n "$script" ]; then
		# A start that fails in the jail, on a terminal: ./mayfly ARG...
		leaves_terminal() {
			echo "stty -g; $prlimit --nproc=1:1 ./mayfly $*; echo code \$?; stty -g" > "$T/user/typed"
			(nobody "$script" -qec "sh typed" /dev/null < /dev/null > "$T/out" 2>&1)
			shows "starting the thread of vCPU 0"
			shows "code 125"
			holds [ "$(grep -cE '^[0-9a-f]+(:[0-9a-f]+){10,}' "$T/out")" -eq 2 ]
			holds [ "$(grep -E '^[0-9a-f]+(:[0-9a-f]+){10,}' "$T/out" | sort -u | wc -l)" -eq 1 ]
		}
		story "a start that fails leaves the terminal as it was"
		leaves_terminal run --kernel hello.elf

		story "as does a clone whose start fails"
		api "$MAYFLY" serve --api-sock "$T/original"
		send "$T/original" "$GUESTS/hello.elf" PUT /boot-source '{"kernel_image_path":"fd:0","boot_args":"hold"}'
		send "$T/original" /dev/null PUT /actions '{"action_type":"InstanceStart"}'
		shows "204"
		holds "$MAYFLY" snapshot "$T/original" "$T/user/state" "$T/user/memory"
		stop
		chmod 644 "$T/user/state" "$T/user/memory"
		leaves_terminal clone state memory
	fi
else
	skipped "a user without privileges has the same jail" "user namespaces are forbidden here"
fi

story "where there are no user namespaces, Landlock stands in, and mayfly says so"
# In a user namespace that allows no further ones, without a capability in it.
nobody "$unshare" -U -r sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$0" --bounding-set=-all --inh-caps=-all --securebits=+noroot,+noroot_locked --no-new-privs ./mayfly run --kernel hello.elf --cmdline hold' "$setpriv" \
	> "$T/out" 2> "$T/err" &
pid=$!
pids="$pids $pid"
until_jailed $pid
says "jail: this host gives no namespaces"
is_field CapEff 0000000000000000
is_field NoNewPrivs 1
stop

the_end
