# SPDX-License-Identifier: Apache-2.0
# That each row of seccomp/policy.c is needed, by every thread that has it: a scene in which the thread
# makes the call is played with all rows, and then once for each of its rows with filters that lack
# just this one. mayfly has to end with 148 then, and name call and thread. Told in the svm host; the story in
# docs.sh sees to it that every row of the table stands here.
. tests/stories/api_lib.sh
ASK=${ASK:-build/tests/ask} SEAM=${SEAM:-build/tests/mayfly-seam} GENERATE=${GENERATE:-build/generate}
filters=''
ip=$(which ip) script=$(which script) # not busybox's
modprobe -a tun loop
policy_rows > "$T/rows"

# scene FUNCTION STATUS: with all rows it comes to its end
scene() {
	story "$(echo "$1" | tr _ ' '): with all rows"
	filters=''
	$1
	ends_with "$2"
}

# What a filter without this row of that thread's comes to: $status, and what mayfly said.
without() { # FUNCTION THREAD ROW
	story "$(echo "$1" | tr _ ' '): not without, in the thread $2, $3"
	row=$(grep -nxF -e "$3" "$T/rows" | cut -d: -f1)
	"$GENERATE" --file "$2" $((row - 1)) > "$T/filters" 2> "$T/err" || is_wrong "there is no such row"
	filters="--seccomp-filter $T/filters"
	$1
}

is_told() { # THREAD ROW
	ends_with 148
	thread=mayfly
	[ "$1" = loop ] || thread="vcpu [0-9]"
	call=$(echo "$2" | sed 's/^[A-Z |]* //; s/ .*//')
	grep -q "a forbidden system call: $call ([0-9]*), by the thread $thread\$" "$T/err" ||
		is_wrong "no line that names $call and the thread"
}

row() { # FUNCTION THREAD ROW
	without "$@"
	is_told "$2" "$3"
}

# The same for a call by which the violation itself would be told, or that is made with all signals held
# back: there the kernel ends the process, with SIGSYS.
fatal_row() { # FUNCTION THREAD ROW
	without "$@"
	ends_with 159
}

# Either: a thread wakes who waits for it, and where nobody does yet, only at its end, with all signals
# held back.
either_row() { # FUNCTION THREAD ROW
	without "$@"
	[ "$status" -eq 159 ] || is_told "$2" "$3"
}

# Whatever happens, a scene is over in time.
run() {
	timeout -s KILL 100 "$MAYFLY" run $filters --timeout 60s "$@" > "$T/out" 2> "$T/err" < /dev/null
	status=$?
}
# A process that serves is stopped, unless it has ended; what it has said is what counts.
served() {
	stop 2> /dev/null
	cat "$T/log" >> "$T/err"
}
start() { # GUEST WORDS CPUS
	rm -f "$SOCKET"
	serve $filters --no-jail
	ask PUT /machine-config "{\"vcpu_count\":$3,\"mem_size_mib\":64}"
	ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/$1.elf\",\"boot_args\":\"$2\"}"
}
go() { ask PUT /actions '{"action_type":"InstanceStart"}'; }

a_guest_that_ends() {
	run --report --kernel "$GUESTS/hello.elf" --cmdline exit=3
}
scene a_guest_that_ends 3
row a_guest_that_ends vcpu 'VCPU ioctl { IS(1, KVM_RUN) }'
row a_guest_that_ends vcpu 'ALL clock_gettime ANY'
fatal_row a_guest_that_ends vcpu 'ALL rt_sigprocmask ANY'
row a_guest_that_ends vcpu 'ALL futex { { 1, FUTEX_CALL, FUTEX_WAIT } }'
either_row a_guest_that_ends vcpu 'ALL futex { { 1, FUTEX_CALL, FUTEX_WAKE } }'
fatal_row a_guest_that_ends vcpu 'VCPU exit ANY'
row a_guest_that_ends loop 'ALL clock_gettime ANY'
row a_guest_that_ends loop 'LOOP io_uring_enter ANY'
row a_guest_that_ends loop 'LOOP munmap ANY'
fatal_row a_guest_that_ends vcpu 'ALL write ANY'
fatal_row a_guest_that_ends loop 'ALL write ANY'
fatal_row a_guest_that_ends loop 'ALL exit_group ANY'

a_guest_that_is_stopped() {
	run --timeout 300ms --kernel "$GUESTS/exits.elf" --cmdline spin
}
scene a_guest_that_is_stopped 124
row a_guest_that_is_stopped vcpu 'VCPU rt_sigreturn ANY'
row a_guest_that_is_stopped loop 'LOOP tgkill { IS(0, FILTER_PLACE_PID) }'

a_guest_that_halts_for_good() {
	run --kernel "$GUESTS/exits.elf" --cmdline halt
}
scene a_guest_that_halts_for_good 123
row a_guest_that_halts_for_good loop 'LOOP ioctl { IS(1, KVM_GET_MP_STATE) }'
row a_guest_that_halts_for_good loop 'LOOP ioctl { IS(1, KVM_GET_REGS) }'
row a_guest_that_halts_for_good loop 'LOOP ioctl { IS(1, KVM_GET_VCPU_EVENTS) }'

interrupts() {
	run --kernel "$GUESTS/exits.elf" --cmdline "flood=1 irq"
}
scene interrupts 0
row interrupts vcpu 'VCPU ioctl { IS(1, KVM_SET_GSI_ROUTING) }'

an_error_in_the_log() {
	cat > "$T/config" <<- END
		{ "boot-source": { "kernel_image_path": "$GUESTS/exits.elf", "boot_args": "badinsn" }, "drives": [] }
	END
	timeout -s KILL 100 "$MAYFLY" serve $filters --config-file "$T/config" --no-api > "$T/out" 2> "$T/err"
	status=$?
}
scene an_error_in_the_log 125
fatal_row an_error_in_the_log vcpu 'ALL poll { IS(1, 1), IS(2, 0) }'
row an_error_in_the_log vcpu 'ALL prctl { IS(0, PR_GET_NAME) }'
row an_error_in_the_log vcpu 'VCPU ioctl { IS(1, KVM_GET_REGS) }'
row an_error_in_the_log vcpu 'VCPU ioctl { IS(1, KVM_GET_SREGS) }'
fatal_row an_error_in_the_log loop 'ALL poll { IS(1, 1), IS(2, 0) }'
row an_error_in_the_log loop 'ALL prctl { IS(0, PR_GET_NAME) }'

a_pause() {
	start exits spin 2
	go
	ask PATCH /vm '{"state":"Paused"}'
	ask PATCH /vm '{"state":"Resumed"}'
	served
}
scene a_pause 143
row a_pause vcpu 'VCPU futex { { 1, FUTEX_CALL, FUTEX_REQUEUE } }'
row a_pause loop 'ALL futex { { 1, FUTEX_CALL, FUTEX_WAIT } }'
row a_pause loop 'ALL futex { { 1, FUTEX_CALL, FUTEX_WAKE } }'
row a_pause loop 'LOOP epoll_ctl ANY'
row a_pause loop 'LOOP epoll_pwait { IS(3, 0) }'
row a_pause loop 'LOOP close ANY'
row a_pause loop 'LOOP unlink { OWN_PATH(0) }'
row a_pause loop 'LOOP lstat { OWN_PATH(0) }'
row a_pause loop 'SERVE recvmsg { IS(2, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) }'
row a_pause loop 'SERVE sendto { IS(3, MSG_NOSIGNAL | MSG_DONTWAIT), { 4, UINT64_MAX, 0 } }'

# By a path, which is a block device's, and by a descriptor.
truncate -s 1M "$T/one" "$T/two"
losetup /dev/loop6 "$T/two"
another_image() {
	start exits spin 1
	ask PUT /drives/a "{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"$T/one\"}"
	go
	ask PATCH /drives/a '{"drive_id":"a","path_on_host":"/dev/loop6"}'
	request PATCH /drives/a '{"drive_id":"a","path_on_host":"fd:0"}' | "$ASK" "$SOCKET" "$T/one" > "$T/out"
	[ -n "$filters" ] || is_done
	served
}
scene another_image 143
row another_image loop 'LOOP io_uring_register { IS(1, IORING_REGISTER_FILES_UPDATE) }'
row another_image loop 'LOOP fcntl { IS(1, F_OFD_SETLK) }'
row another_image loop 'FILES open { WITHIN(1, OPEN_FLAGS), WITHIN(2, 0600) }'
row another_image loop 'SERVE fcntl { IS(1, F_DUPFD_CLOEXEC) }'
row another_image loop 'SERVE fcntl { IS(1, F_SETFD) }'
row another_image loop 'SERVE fcntl { IS(1, F_GETFL) }'
row another_image loop 'SERVE fcntl { IS(1, F_SETFL) }'
row another_image loop 'SERVE fcntl { IS(1, F_GETLK) }'
row another_image loop 'SERVE fstat ANY'
row another_image loop 'SERVE ioctl { IS(1, BLKGETSIZE64) }'

# By paths, and so that the files are made.
a_snapshot() {
	start exits spin 1
	go
	ask PATCH /vm '{"state":"Paused"}'
	rm -f "$T/state" "$T/memory"
	ask PUT /snapshot/create "{\"snapshot_path\":\"$T/state\",\"mem_file_path\":\"$T/memory\"}"
	[ -n "$filters" ] || is_done
	served
}
scene a_snapshot 143
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_KVMCLOCK_CTRL) }'
row a_snapshot loop 'SERVE ftruncate ANY'
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_GET_SREGS) }'
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_GET_XCRS) }'
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_GET_XSAVE) }'
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_GET_DEBUGREGS) }'
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_GET_LAPIC) }'
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_GET_MSRS) }'
row a_snapshot loop 'SERVE ioctl { IS(1, KVM_GET_CLOCK) }'

a_layer_that_is_kept() {
	truncate -s 1M "$T/base"
	rm -f "$T/layer"
	run --kernel "$GUESTS/blk.elf" --cmdline "fill noflush" --disk "$T/base,overlay=$T/layer"
}
scene a_layer_that_is_kept 0
row a_layer_that_is_kept loop 'LOOP fdatasync ANY'
row a_layer_that_is_kept loop 'LOOP pwrite64 ANY'

output_into_a_pipe() {
	{
		timeout -s KILL 100 "$MAYFLY" run $filters --kernel "$GUESTS/hello.elf" 2> "$T/err" < /dev/null
		echo $? > "$T/status"
	} | cat > "$T/out"
	status=$(cat "$T/status")
}
scene output_into_a_pipe 0
row output_into_a_pipe loop 'LOOP splice { IS(2, STDOUT_FILENO), IS(5, SPLICE_F_NONBLOCK) }'

# in_a COMMAND...: runs a mayfly with what stands in $T/job as COMMAND's, which gives it another standard output.
in_a() {
	: > "$T/status"
	timeout -s KILL 100 "$@" > "$T/out" 2>&1 < /dev/null
	status=$(cat "$T/status")
}

output_into_a_socket() {
	echo "$MAYFLY run $filters --kernel $GUESTS/hello.elf 2> $T/err < /dev/null; echo \$? > $T/status" > "$T/job"
	in_a socat -u "EXEC:sh $T/job" -
}
scene output_into_a_socket 0
row output_into_a_socket loop 'RUN | LINKS sendto { IS(0, STDOUT_FILENO), IS(3, MSG_NOSIGNAL | MSG_DONTWAIT), { 4, UINT64_MAX, 0 } }'

a_terminal() {
	echo "$MAYFLY run $filters --kernel $GUESTS/hello.elf 2> $T/err; echo \$? > $T/status" > "$T/job"
	in_a "$script" -qec "sh $T/job" /dev/null
}
scene a_terminal 0
row a_terminal loop 'ALL ioctl { IS(1, TCSETS) }'
fatal_row a_terminal loop 'ALL rt_sigprocmask ANY'

a_terminal_and_a_stop() {
	: > "$T/err"
	echo "until [ -s $T/err ]; do sleep 0.5; kill -CONT \$(cat $T/pid); done 2> /dev/null &
		sh -c 'echo \$\$ > $T/pid; exec $MAYFLY run $filters --timeout 8s --kernel $GUESTS/hello.elf --cmdline hold' 2> $T/err
		echo \$? > $T/status" > "$T/job"
	in_a "$script" -qec "sh $T/job" /dev/null
}
scene a_terminal_and_a_stop 124
row a_terminal_and_a_stop loop 'LOOP ioctl { IS(1, TIOCGPGRP) }'

# The violation is that of the thread that is taken over; it takes the terminal back.
a_terminal_of_who_is_taken_over() {
	echo "MAYFLY_SEAM='vcpu kill' $SEAM run $filters --kernel $GUESTS/hello.elf 2> $T/err; echo \$? > $T/status" > "$T/job"
	in_a "$script" -qec "sh $T/job" /dev/null
}
scene a_terminal_of_who_is_taken_over 148
fatal_row a_terminal_of_who_is_taken_over vcpu 'ALL ioctl { IS(1, TCSETS) }'
fatal_row a_terminal_of_who_is_taken_over vcpu 'ALL exit_group ANY'

# beside OPTION...: a mayfly that goes on, $pid; it is confined when this returns, or gone.
beside() {
	"$MAYFLY" run $filters --timeout 60s "$@" > "$T/out" 2> "$T/err" < /dev/null &
	pid=$!
	until_it grep -q '^Seccomp_filters:.*2$' "/proc/$pid/status"
}
# until_it COMMAND...: waits for that, while the mayfly beside is there
until_it() {
	until "$@" 2> /dev/null || ! [ -e "/proc/$pid/exe" ]; do usleep 20000; done
}

clients_of_the_serial_port() {
	beside --kernel "$GUESTS/exits.elf" --cmdline do=echo --serial "unix=$T/port"
	printf first | socat -t 1 - "UNIX-CONNECT:$T/port" > /dev/null 2>&1
	printf '\004' | socat -t 10 - "UNIX-CONNECT:$T/port" > /dev/null 2>&1
	ended
	rm -f "$T/port"
}
scene clients_of_the_serial_port 5
row clients_of_the_serial_port loop 'LOOP shutdown ANY'

a_peer_that_comes() {
	rm -rf "$T/peers"
	beside --kernel "$GUESTS/net.elf" --cmdline do=silent --net "peer=$T/peers"
	"$MAYFLY" run --timeout 60s --kernel "$GUESTS/net.elf" --cmdline do=config --net "peer=$T/peers" > /dev/null 2>&1
	stop 2> /dev/null
}
scene a_peer_that_comes 143
row a_peer_that_comes loop 'LINKS socket { IS(0, AF_UNIX), IS(1, SOCK_DGRAM | SOCK_CLOEXEC) }'
row a_peer_that_comes loop 'LINKS connect { ADDRESS(1), IS(2, sizeof(struct sockaddr_un)) }'
row a_peer_that_comes loop 'LINKS setsockopt { IS(1, SOL_SOCKET), IS(2, SO_SNDBUF) }'

# In passt's place whoever listens: the connection is all that counts.
listen() {
	rm -f "$T/passt"
	socat -u "UNIX-LISTEN:$T/passt" /dev/null &
	listener=$!
	until [ -S "$T/passt" ]; do sleep 0.1; done
}
passt_that_comes_back() {
	listen
	beside --kernel "$GUESTS/net.elf" --cmdline do=silent --net "passt=$T/passt"
	kill $listener
	wait $listener # which removes the socket under its name, also the next one's
	until_it grep -q "frames are dropped" "$T/err"
	listen
	until_it grep -q ": is back" "$T/err"
	stop
	kill $listener
} 2> /dev/null
scene passt_that_comes_back 143
row passt_that_comes_back loop 'LINKS socket { IS(0, AF_UNIX), IS(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK) }'
row passt_that_comes_back loop 'LINKS fcntl { IS(1, F_SETFL) }'

# A timed wait that SIGSTOP interrupts goes on, after SIGCONT, by a call of the kernel's own. Of a thread
# that sleeps the kernel says in which call: a futex's with a time limit.
waits_with_a_limit() { # THREAD
	read -r call _ _ _ limit _ < "/proc/$pid/task/$1/syscall"
	[ "$call" = 202 ] && [ "$limit" != 0x0 ]
} 2> /dev/null
stop_and_continue() {
	kill -STOP "$pid"
	usleep 10000
	kill -CONT "$pid"
} 2> /dev/null

# A vCPU waits 100 ms for room in the serial port's queue, 64 KiB that an emulated guest takes half a
# minute to fill; its reader takes nothing.
vcpu_0() {
	thread=$(grep -ls '^vcpu 0' "/proc/$pid"/task/*/comm | cut -d/ -f5)
	[ -n "$thread" ]
}
a_stop_before_a_full_queue() {
	rm -f "$T/pid"
	: > "$T/status"
	cat > "$T/job" <<- END
		$MAYFLY run $filters --timeout 300s --kernel $GUESTS/exits.elf --cmdline "flood=72 blind" 2> $T/err < /dev/null &
		echo \$! > $T/pid
		wait \$!
		echo \$? > $T/status
	END
	socat -u "EXEC:sh $T/job" - > "$T/out" 2> /dev/null &
	reader=$!
	until [ -s "$T/pid" ]; do sleep 0.1; done
	pid=$(cat "$T/pid")
	until_it vcpu_0
	kill -STOP $reader
	until waits_with_a_limit "$thread" || ! [ -e "/proc/$pid/exe" ]; do :; done # it is over in 100 ms
	stop_and_continue
	kill -CONT $reader
	wait $reader
	pid=''
	status=$(cat "$T/status")
}
default=$(cat /proc/sys/net/core/wmem_default)
echo 4608 > /proc/sys/net/core/wmem_default
scene a_stop_before_a_full_queue 0
row a_stop_before_a_full_queue vcpu 'ALL restart_syscall ANY'
conclude
echo "$default" > /proc/sys/net/core/wmem_default

# The loop has something to say, and waits a second for who does not read: its pipe is full. It waits by
# pieces of 10 ms, between which a stop interrupts no call: once more then.
a_stop_before_a_full_log() {
	for _ in 1 2 3 4 5; do
		before_a_full_log
		[ -n "$filters" ] && [ "$status" -eq 124 ] || break
	done
}
before_a_full_log() {
	rm -f "$T/fifo"
	mkfifo "$T/fifo"
	exec 3<> "$T/fifo"
	head -c 65536 /dev/zero | tr '\0' '\n' >&3
	"$MAYFLY" run $filters --timeout 300ms --kernel "$GUESTS/exits.elf" --cmdline spin 2> "$T/fifo" < /dev/null > "$T/out" &
	pid=$!
	until waits_with_a_limit "$pid" || ! [ -e "/proc/$pid/exe" ]; do :; done
	stop_and_continue
	cat <&3 > "$T/err" &
	reader=$!
	ended
	echo "that is all" >&3
	until grep -q "that is all" "$T/err"; do usleep 10000; done
	kill $reader
	exec 3>&-
}
scene a_stop_before_a_full_log 124
row a_stop_before_a_full_log loop 'ALL restart_syscall ANY'

"$ip" tuntap add dev many mode tap multi_queue
a_tap() {
	run --kernel "$GUESTS/net.elf" --cmdline do=config --net tap=many --cpus 2
}
scene a_tap 0
row a_tap loop 'LOOP ioctl { IS(1, TUNSETOFFLOAD) }'
row a_tap loop 'LOOP ioctl { IS(1, TUNSETQUEUE) }'

the_end
