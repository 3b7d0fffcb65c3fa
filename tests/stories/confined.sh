# SPDX-License-Identifier: Apache-2.0
# What a thread can do that a guest has taken over: a build whose threads, once confined, do what they
# are told (tests/seam/seam.c), beside a neighbour that nothing happens to; and filters from a file.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
SEAM=${SEAM:-build/tests/mayfly-seam}
FILTERS=${FILTERS:-build/tests/filters}
SOCKET=$T/socket

truncate -s 1M "$T/held"
"$SEAM" run --kernel "$GUESTS/hello.elf" --cmdline hold --disk "$T/held" > "$T/neighbour" 2>&1 < /dev/null &
neighbour=$!
trap 'kill -KILL $neighbour 2> /dev/null; rm -rf "$T"' EXIT

# seam THREAD ATTEMPT OPTION...
seam() {
	what="$1 $2"
	shift 2
	MAYFLY_SEAM=$what "$SEAM" run --timeout 60s --kernel "$GUESTS/hello.elf" "$@" > "$T/out" 2> "$T/err" < /dev/null
	status=$?
}

calls=$(sed -n 's/^	{ "\([a-z0-9_]*\)", SYS_.*/\1/p' "${SEAM_SOURCE:-tests/seam/seam.c}")
operations=$(sed -n 's/^	{ "\(ring-[a-z0-9-]*\)", .*/\1/p' "${SEAM_SOURCE:-tests/seam/seam.c}")

for thread in vcpu loop; do
	story "a compromised thread ($thread) gets no system call that it does not need"
	holds [ "$(echo "$calls" | wc -l)" -gt 30 ]
	for call in $calls; do
		seam $thread "$call"
		ends_with 148
		[ $thread = vcpu ] && says "a forbidden system call: $call (" && says ", by the thread vcpu 0"
		[ $thread = loop ] && says "a forbidden system call: $call (" && says ", by the thread mayfly"
		holds [ ! -s "$T/out" ] # the guest has not begun
	done
done

# More calls are open there, each for what it is needed for alone.
printf '{"boot-source":{"kernel_image_path":"%s/hello.elf"},"drives":[]}\n' "$GUESTS" > "$T/config"
for how in "run --kernel $GUESTS/hello.elf --net peer=$T/lan" "serve --api-sock $T/api --config-file $T/config" \
	"serve --no-jail --api-sock $T/api --config-file $T/config"; do
	story "nor in a loop with peers or an API: mayfly $(echo "$how" | sed 's/ [^ ]*\/[^ ]*//g; s/ --kernel//; s/ --config-file//')"
	for call in $calls; do
		rm -f "$T/api" # of the last one, which ended where it stood
		# shellcheck disable=SC2086
		MAYFLY_SEAM="loop $call" "$SEAM" $how > "$T/out" 2> "$T/err" < /dev/null
		status=$?
		ends_with 148
		says "a forbidden system call: $call (" && says ", by the thread mayfly"
	done
done

story "a folder that the caller has left open is no way out: it is closed, and nothing could be opened in it"
for thread in vcpu loop; do
	seam $thread openat-kept 7< /
	ends_with 148
	says "a forbidden system call: openat (257)"
	seam $thread openat-kept --no-seccomp 7< /
	says "seam: openat-kept: Bad file descriptor"
done

story "no guest begins before the last of its threads is confined"
seam last kill --cpus 2
ends_with 148
says "a forbidden system call: kill (62), by the thread vcpu 1"
holds [ ! -s "$T/out" ]

story "nor, before any file is parsed, what no start needs: programs, processes, code, networks, the kernel's machinery"
never="execve execveat fork vfork clone clone3 ptrace process_vm_writev kill tkill tgkill pidfd_open pidfd_send_signal
	socket io_uring_setup unshare setns bpf perf_event_open userfaultfd keyctl mmap mprotect pkey_mprotect shmat
	prctl prlimit64 fcntl ioctl"
for call in $never; do
	seam start "$call"
	ends_with 148
	says "a forbidden system call: $call (" && says ", by the thread mayfly"
	holds [ ! -s "$T/out" ]
done

story "a start that takes longer than --timeout runs no guest"
seam start sleep --timeout 100ms
ends_with 124
says "seam: sleep: SUCCEEDED"
holds [ ! -s "$T/out" ]

# The start-up phase comes before /dev/kvm, which need not be his.
setpriv=$(which setpriv) # not busybox's
if [ "$(id -u)" -eq 0 ] && "$setpriv" --help 2>&1 | grep -q reuid; then
	story "nor for an unprivileged user new code by his own memory's file; his descriptors are there as before"
	mkdir "$T/user"
	cp "$SEAM" "$T/user/mayfly-seam"
	cp "$GUESTS/hello.elf" "$T/user"
	chmod 755 "$T" "$T/user"
	for attempt in "open-mem: Permission denied" "open-fd: SUCCEEDED"; do
		MAYFLY_SEAM="start ${attempt%%:*}" "$setpriv" --reuid 65534 --regid 65534 --clear-groups \
			"$T/user/mayfly-seam" run --kernel "$T/user/hello.elf" > "$T/out" 2> "$T/err" < /dev/null
		says "seam: $attempt"
	done
else
	skipped "nor for an unprivileged user new code by his own memory's file" "needs root, and setpriv of util-linux"
fi

story "nor by the ring: no file, no socket, no descriptor that is not registered"
holds [ "$(echo "$operations" | wc -l)" -gt 8 ]
for operation in $operations; do
	seam loop "$operation"
	ends_with 0
	says "seam: $operation: Permission denied"
	says_one_line
	prints "Hello from ring 3"
done

story "memory that is allocated after the filters close is seen by this test, and ends the process"
seam loop malloc
ends_with 148
says "a forbidden system call: "
holds [ "$(grep -c "seam: memory was allocated" "$T/err")" -eq 1 ]

story "none is: a guest with disks, a network and a time line"
truncate -s 1M "$T/disk" "$T/base"
"$SEAM" run --timeout 60s --kernel "$GUESTS/hello.elf" --disk "$T/disk" --disk "$T/base,overlay=$T/layer" \
	--net "peer=$T/lan" --report --timeline "$T/phases" > "$T/out" 2> "$T/err"
status=$?
ends_with 0
shows "Hello from ring 3"
says "powered off"
holds [ "$(grep -c "seam:" "$T/err")" -eq 0 ]

if command -v socat > /dev/null; then
	# Without the jail, in which no path leads to another image.
	story "none is: by the API, while a guest runs and at its end; and every mapping is as it should be"
	mkfifo "$T/ready"
	"$SEAM" serve --no-jail --api-sock "$SOCKET" --ready-fd 3 --metrics-path "$T/metrics" 3> "$T/ready" > "$T/serial" 2> "$T/err" < /dev/null &
	pid=$!
	read -r _ < "$T/ready"
	ask() {
		printf '%s %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s' "$1" "$2" ${#3} "$3" |
			timeout 20 socat -t 20 - "UNIX-CONNECT:$SOCKET" >> "$T/out" 2>&1
	}
	ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/hello.elf\",\"boot_args\":\"hold\"}"
	ask PUT /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/disk\",\"is_root_device\":false}"
	ask PUT /actions '{"action_type":"InstanceStart"}'
	holds [ "$(grep -c "HTTP/1.1 204" "$T/out")" -eq 3 ]
	printf 'GET /vm/config HTTP/1.1\r\n\r\n' | timeout 20 socat -t 20 - "UNIX-CONNECT:$SOCKET" >> "$T/out"
	ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/base\"}"
	ask PATCH /drives/a '{"drive_id":"a","path_on_host":"/nowhere/at/all"}'
	ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/held\"}"
	shows "$T/held: is in use by another microVM"
	ask PATCH /vm '{"state":"Paused"}'
	ask PATCH /vm '{"state":"Resumed"}'
	ask PUT /actions '{"action_type":"FlushMetrics"}'
	shows '"boot_args":"hold"'
	holds [ "$(grep -c "HTTP/1.1 204" "$T/out")" -eq 7 ]
	holds [ "$(grep -c "HTTP/1.1 400" "$T/out")" -eq 2 ]
	cp "/proc/$pid/maps" "$T/maps"
	grep -q Seccomp: "/proc/$pid/task/$pid/status" && for task in "/proc/$pid/task"/*; do
		holds grep -qx 'Seccomp:	2' "$task/status"
		holds grep -qx 'NoNewPrivs:	1' "$task/status"
	done
	kill -TERM $pid
	wait $pid
	status=$?
	ends_with 143
	holds [ "$(grep -c "seam:" "$T/err")" -eq 0 ]
	# Guest memory is 128 MiB between its guards; the vCPU's stack has its own below it.
	holds [ "$(grep -cE '^[0-9a-f-]+ .w.?x' "$T/maps")" -eq 0 ]
	awk '{ split($1, a, "-"); at = a[1]; end = a[2]
		if ($2 == "rw-p" && before ~ /^---/ && at == last) guarded++
		before = $2; last = end } END { exit guarded >= 2 ? 0 : 1 }' "$T/maps" || is_wrong "no guards"
	holds [ ! -e "$SOCKET" ]
else
	skipped "none is: by the API" "needs socat"
fi

if command -v script > /dev/null; then
	for thread in "loop mayfly" "vcpu vcpu 0"; do
		story "the operator's terminal is as it was, whatever the thread that is taken over tried (${thread%% *})"
		echo "stty -g; MAYFLY_SEAM='${thread%% *} kill' $SEAM run --kernel $GUESTS/hello.elf; echo code \$?; stty -g" > "$T/typed"
		timeout 60 script -qec "sh $T/typed" /dev/null < /dev/null > "$T/out" 2>&1
		shows "a forbidden system call: kill (62), by the thread ${thread#* }"
		shows "code 148"
		holds [ "$(grep -cE '^[0-9a-f]+(:[0-9a-f]+){10,}' "$T/out")" -eq 2 ]
		holds [ "$(grep -E '^[0-9a-f]+(:[0-9a-f]+){10,}' "$T/out" | sort -u | wc -l)" -eq 1 ]
	done
else
	skipped "the operator's terminal is as it was" "no script(1) here"
fi

story "a file of filters takes the place of those built in"
mayfly run --seccomp-filter "$FILTERS" --kernel "$GUESTS/hello.elf"
ends_with 0
prints "Hello from ring 3"

# A program for the vCPUs that traps everything: BPF_RET | BPF_K, SECCOMP_RET_TRAP.
story "and is what counts"
printf 'vcpu\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\6\0\0\0\0\0\3\0' > "$T/trap"
mayfly run --timeout 60s --seccomp-filter "$T/trap" --kernel "$GUESTS/hello.elf"
holds [ "$status" -eq 148 -o "$status" -eq 159 ]
holds [ ! -s "$T/out" ]

story "a file that is none is refused"
mayfly run --seccomp-filter "$GUESTS/hello.elf" --kernel "$GUESTS/hello.elf"
ends_with 125
says "is not a file of mayfly's filters"
mayfly run --seccomp-filter /dev/null --kernel "$GUESTS/hello.elf"
ends_with 125
says "is not a file of mayfly's filters"
mayfly serve --seccomp-filter "$T/nowhere"
ends_with 153
says "$T/nowhere: No such file or directory"

story "without filters there are none"
MAYFLY_SEAM="loop kill" "$SEAM" run --no-seccomp --timeout 60s --kernel "$GUESTS/hello.elf" > "$T/out" 2> "$T/err"
status=$?
ends_with 0
says "seam: kill: "

if [ "$(id -u)" -eq 0 ]; then
	story "nor is there a capability to be had then: the jail has taken them by itself"
	for call in capset prctl-securebits prctl-ambient; do
		for thread in loop vcpu; do
			seam $thread $call --no-seccomp
			ends_with 0
			says "seam: $call: Operation not permitted"
		done
	done
fi

cgroups=/sys/fs/cgroup
if [ "$(id -u)" -eq 0 ] && grep -qs pids $cgroups/cgroup.controllers && [ -w $cgroups/cgroup.subtree_control ]; then
	story "a cgroup's limits hold for who is not held by filters: processes, and memory"
	seam loop fill-pids --no-seccomp --cgroup pids.max=40
	ends_with 0
	says "seam: fill-pids: Resource temporarily unavailable"
	prints "Hello from ring 3"
	seam loop fill-memory --no-seccomp --cgroup memory.max=64M --cgroup memory.swap.max=0
	ends_with 137
	seam vcpu fill-memory --no-seccomp --cgroup memory.max=64M --cgroup memory.swap.max=0
	ends_with 137
else
	skipped "a cgroup's limits hold for who is not held by filters" "no cgroup v2 with a controller of processes; told in the emulated host"
fi

# Why the API's connections are no files of the ring, as they would be from a later kernel on.
lingers="on Linux 6.1 a file that leaves the ring's table stays open while an older request waits"
case $(uname -r) in
6.1.*)
	story "$lingers"
	"${LINGERS:-build/tests/lingers}" > "$T/out" 2> "$T/err"
	status=$?
	ends_with 0
	prints "open until the older request has ended"
	;;
*) skipped "$lingers" "another kernel; told in the emulated host" ;;
esac

story "the neighbour has not noticed"
holds kill -0 $neighbour
kill -TERM $neighbour
wait $neighbour
status=$?
ends_with 143

the_end
