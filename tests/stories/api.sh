# SPDX-License-Identifier: Apache-2.0
# The API over its socket, byte for byte, as a client sees it. What each field and state comes to is
# in tests/unit/api*.c and metrics.c; here are the transport, the process around it, and real guests where this
# machine has a usable /dev/kvm. Needs socat.
. tests/stories/api_lib.sh
ASK=${ASK:-build/tests/ask} ACTIVATE=${ACTIVATE:-build/tests/activate}

story "a process that serves answers, and its socket goes with it"
serve --id some-id
ask GET /
gives 200 '{"id":"some-id","state":"Not started","vmm_version":"0.1.0","app_name":"mayfly"}'
stop
ends_with 143
holds [ ! -e "$SOCKET" ]
for line in "Running mayfly v0.1.0" "Listening on API socket (\"$SOCKET\")." "API server started." \
	"The API server received a Get request on \"/\"." \
	"The request was executed successfully. Status code: 200 OK." \
	"mayfly exiting with error. exit_code=143"; do
	grep -qF "] $line" "$T/log" || is_wrong "not in the log: $line"
done

story "of the caller's environment nothing is there for who takes the monitor over"
export MAYFLY_TEST_KEY=hunter2
serve
holds eval '! grep -q hunter2 "/proc/$pid/environ"'
stop
unset MAYFLY_TEST_KEY

serve
story "an answer without a body has no length"
ask PUT /machine-config '{"vcpu_count":1,"mem_size_mib":64}'
is_done

story "HTTP/1.0, and a host before the path"
raw 'GET http://localhost/version HTTP/1.0\r\n\r\n'
gives 200 '{"firecracker_version":"0.1.0"}'

story "requests that come together are answered in order"
raw 'PATCH /machine-config HTTP/1.1\r\nContent-Length: 16\r\n\r\n{"vcpu_count":2}GET /version HTTP/1.1\r\n\r\n'
answers "HTTP/1.1 204 $HEAD\r\nHTTP/1.1 200 ${HEAD}Content-Type: application/json\r\nContent-Length: 31\r\n\r\n{\"firecracker_version\":\"0.1.0\"}"

story "who expects 100-continue is told to go on"
raw 'PATCH /machine-config HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n{"vcpu_count":2}'
answers "HTTP/1.1 100 $HEAD\r\nHTTP/1.1 204 $HEAD\r\n"

# broken ERROR: what is no HTTP ends the connection.
broken() {
	body=$(printf '{ "error": "%s\nAll previous unanswered requests will be dropped." }' "$1")
	printf 'HTTP/1.1 400 \r\nServer: mayfly API\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
		${#body} "$body" > "$T/wanted"
	cmp -s "$T/wanted" "$T/out" || is_wrong "the answer is not: $1"
}

story "what is no HTTP is refused and ends the connection"
raw 'POST / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n'
broken "Invalid HTTP Method: Unsupported HTTP method."
raw 'GET / HTTP/3\r\n\r\n'
broken "Invalid HTTP Version: Unsupported HTTP version."
raw 'PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n'
broken "Invalid header. Reason: Invalid value. Key:Content-Length; Value: many"
raw 'PUT / HTTP/1.1\r\nContent-Length: 51201\r\n\r\n'
broken "Request payload with size 51201 is larger than the limit of 51200 allowed by server."

story "the texts of requests that are none"
ask GET /nowhere
refused "Invalid request method and/or path: GET nowhere."
ask PUT /actions
refused "Empty PUT request."
ask GET / '{}'
refused "GET request cannot have a body."
ask PUT /drives/a-b '{}'
refused "API Resource IDs can only contain alphanumeric characters and underscores."
ask PUT /actions '{"action_type":"Jump"}'
refused 'An error occurred when deserializing the json body of a request: unknown variant `Jump`, expected one of `InstanceStart`, `FlushMetrics`, `SendCtrlAltDel`.'
ask PATCH /vm '{"state":"Paused"}'
refused "The requested operation is not supported before starting the microVM."
ask PUT /vsock '{}'
refused "mayfly has no vsock device."

story "a deprecated field is answered with a header that says so"
ask PATCH /machine-config '{"cpu_template":"None"}'
answers "HTTP/1.1 204 ${HEAD}Deprecation: true\r\n\r\n"

story "a client that sends byte by byte holds nobody up"
request GET /version > "$T/bytes"
{ for i in $(seq "$(wc -c < "$T/bytes")"); do
	dd if="$T/bytes" bs=1 skip=$((i - 1)) count=1 2> /dev/null
	[ "$i" -ne 3 ] || while [ ! -e "$T/served" ]; do sleep 0.1; done
done; } | socat -t 10 - "UNIX-CONNECT:$SOCKET" > "$T/slow" &
slow=$!
ask GET /
shows '"state":"Not started"'
: > "$T/served"
wait $slow
cp "$T/slow" "$T/out"
gives 200 '{"firecracker_version":"0.1.0"}'

story "clients that vanish in the middle leave nothing behind"
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	printf 'PUT /actions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"act' | socat -u - "UNIX-CONNECT:$SOCKET"
done
ask GET /version
gives 200 '{"firecracker_version":"0.1.0"}'

# Asks until the answer's status is $1: clients come and go in their own time.
until_status() {
	for i in $(seq 100); do
		ask GET /version
		[ "$(head -c 12 "$T/out")" = "HTTP/1.1 $1" ] && return
		sleep 0.1
	done
}

story "of eleven clients the last is refused; when one leaves there is room again"
held=''
mkfifo "$T/hold"
sleep 1000 > "$T/hold" &
holder=$!
for i in 1 2 3 4 5 6 7 8 9 10; do
	{ request GET /version; cat "$T/hold"; } | socat -t 10 - "UNIX-CONNECT:$SOCKET" > "$T/held.$i" 2>&1 &
	held="$held $!"
	until grep -qs firecracker_version "$T/held.$i"; do sleep 0.1; done
done
ask GET /version
answers 'HTTP/1.1 503\r\nServer: mayfly API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n{ "error": "Too many open connections" }'
kill $holder
until_status 200
gives 200 '{"firecracker_version":"0.1.0"}'
for i in $held; do wait "$i"; done

story "ten thousand requests from nine clients are all answered"
for i in 1 2 3 4 5 6 7 8 9; do
	awk 'BEGIN { for (i = 0; i < 1112; i++) printf "GET /version HTTP/1.1\r\n\r\n" }' |
		socat -t 60 - "UNIX-CONNECT:$SOCKET" > "$T/many.$i" &
	eval "many$i=$!"
done
for i in 1 2 3 4 5 6 7 8 9; do
	eval "wait \$many$i"
	holds [ "$(grep -o 'HTTP/1.1 200 ' "$T/many.$i" | wc -l)" -eq 1112 ]
done

story "a socket that is there already is left alone"
mayfly serve --api-sock "$SOCKET"
ends_with 125
says "Failed to open the API socket at: $SOCKET. Check that it is not already used; where nobody serves, remove it: Address in use"
holds [ -S "$SOCKET" ]
stop

story "the limit of a request's body is the operator's to set"
serve --http-api-max-payload-size 250
raw 'PUT /actions HTTP/1.1\r\nContent-Length: 260\r\n\r\n'
broken "Request payload with size 260 is larger than the limit of 250 allowed by server."
stop

story "what a start needs is said when it is missing, and can be given then"
serve
ask PUT /actions '{"action_type":"InstanceStart"}'
refused "Start microvm error: Cannot start microvm without kernel configuration."
echo "no kernel" > "$T/text"
ask PUT /boot-source "{\"kernel_image_path\":\"$T/text\"}"
is_done
ask PUT /actions '{"action_type":"InstanceStart"}'
shows "{\"fault_message\":\"Start microvm error: $T/text: not a kernel"
ask GET /
shows '"state":"Not started"'
stop

story "PUT /logger sends the log to a file, from then on"
serve --id log-id
ask PUT /logger "{\"log_path\":\"$T/logger\",\"level\":\"Info\",\"show_level\":true,\"show_log_origin\":true}"
ask PUT /vsock '{}'
holds grep -qE '^[0-9T:.-]{29} \[log-id:mayfly:INFO:api/routes.c:[0-9]+\] The API server received a Put request on "/vsock" with body "\{\}"\.$' "$T/logger"
holds grep -qE 'mayfly:ERROR:api/routes.c:[0-9]+\] Received Error. Status code: 400 Bad Request. Message: mayfly has no vsock device\.$' "$T/logger"
stop

config() {
	cat > "$T/config" << END
{ "boot-source": { "kernel_image_path": "$GUESTS/hello.elf", "boot_args": "exit=3" },
  "drives": [], "machine-config": { "vcpu_count": 1, "mem_size_mib": 32 } }
END
}

story "all of Firecracker's options are taken"
mkfifo "$T/log-fifo"
serve --id 4cc0-xyz --log-path "$T/log-fifo" --level Debug --module api --show-level --show-log-origin \
	--metrics-path "$T/options-metrics" --boot-timer --start-time-us 1 --start-time-cpu-us 1 \
	--parent-cpu-time-us 1 --no-seccomp --mmds-size-limit 100 \
	--http-api-max-payload-size 1000 --hv auto --
ask GET /
shows '"id":"4cc0-xyz"'
exec 5< "$T/log-fifo" # before there is no writer any more, for which opening it would wait
cat <&5 > "$T/from-fifo" &
reader=$!
exec 5<&-
ask GET /version
stop
wait $reader
holds grep -q '"process_startup_time_us":[1-9][0-9]*,"process_startup_time_cpu_us":[1-9]' "$T/options-metrics"
holds grep -q ':DEBUG:api/routes.c:[0-9]*\] Total previous API call duration: [0-9]* us\.$' "$T/from-fifo"

story "a start that lies in the future counts as none"
serve --metrics-path "$T/future" --start-time-us 9000000000000000 --start-time-cpu-us 9000000000000000
stop
holds grep -q '"process_startup_time_us":0,"process_startup_time_cpu_us":0}' "$T/future"

story "--ready-fd 1: standard output is still there, and no client or file in its place"
"$MAYFLY" serve --api-sock "$SOCKET" --ready-fd 1 > "$T/serial" 2> "$T/log" < /dev/null &
pid=$!
until [ -s "$T/serial" ]; do sleep 0.1; done
ask GET /version
[ "$(id -u)" -ne 0 ] || holds [ "$(readlink "/proc/$pid/fd/1")" = "$T/serial" ] # nobody else may look
stop

story "a socket that systemd has opened is served"
[ -p "$T/ready" ] || mkfifo "$T/ready"
"$ACTIVATE" "$SOCKET" "$MAYFLY" serve --api-sock "$T/other" --ready-fd 4 \
	4> "$T/ready" > "$T/serial" 2> "$T/log" < /dev/null &
pid=$!
read -r _ < "$T/ready"
ask GET /version
gives 200 '{"firecracker_version":"0.1.0"}'
holds [ ! -e "$T/other" ]
holds grep -qF 'Listening on API socket ("fd:3").' "$T/log"
stop
holds [ -S "$SOCKET" ]
rm "$SOCKET"

story "the end of one process leaves the socket of the next, which has its path by now, to that"
serve
first=$pid
rm "$SOCKET"
serve
kill -TERM "$first"
wait "$first"
ask GET /version
gives 200 '{"firecracker_version":"0.1.0"}'
stop
holds [ ! -e "$SOCKET" ]

# Starts `GET /events`, and returns once something has been told.
follow_events() {
	rm -f "$T/events"
	request GET /events | socat -t 30 - "UNIX-CONNECT:$SOCKET,shut-none" > "$T/events" &
	events=$!
	until grep -qs "Not started" "$T/events"; do sleep 0.1; done
}

# What was told, in $T/out.
take_events() {
	wait $events
	sed '1,/^.$/d' "$T/events" > "$T/out"
}

story "events tell the end also where two signals come at once"
serve
follow_events
kill -STOP "$pid"
kill -HUP "$pid"
kill -TERM "$pid"
kill -CONT "$pid"
ended
take_events
prints '{"event":"state","state":"Not started"}
{"event":"exit","reason":"stopped by a signal","exit_code":'"$status}"

story "bad arguments end with 153, a bad config file with 152"
mayfly serve --no-such-option
ends_with 153
says "--no-such-option is not an option"
mayfly serve --no-api
ends_with 153
says "--no-api needs --config-file"
mayfly serve --no-api --config-file /none --ready-fd 1
ends_with 153
says "--ready-fd: with --no-api there is nothing that gets ready"
mayfly serve --id 'a b'
ends_with 153
says "--id a b: give 1 to 64 letters, digits and hyphens"
mayfly serve --ready-fd x
ends_with 153
says_one_line
says "--ready-fd x: give an open descriptor"
timeout 20 "$MAYFLY" serve --api-sock "$SOCKET" --metrics-path -- stray > "$T/out" 2> "$T/err"
status=$?
ends_with 153
says "'stray' is not an option"
timeout 20 "$ACTIVATE" "$SOCKET" "$MAYFLY" serve --ready-fd 3 > "$T/out" 2> "$T/err"
status=$?
ends_with 153
says "--ready-fd 3: is the socket to serve (LISTEN_FDS)"
rm "$SOCKET"
timeout 20 "$ACTIVATE" -n "$SOCKET" "$MAYFLY" serve > "$T/out" 2> "$T/err"
status=$?
ends_with 153
says "LISTEN_FDS: descriptor 3 does not listen"
rm "$SOCKET"
mayfly --api-sock "$SOCKET" --enable-pci
ends_with 153
says "mayfly has no PCI bus"
echo '{ "drives": [] }' > "$T/config"
mayfly --config-file "$T/config" --no-api
ends_with 152
says 'Configuration for VMM from one single json failed: missing field `boot-source`'
mayfly serve --config-file "$T/nowhere" --no-api
ends_with 152
says "$T/nowhere: No such file or directory"

story "what ends it by a fault of its own says which signal, and has Firecracker's exit codes"
for fault in BUS:7:149 SEGV:11:150 XFSZ:25:151 XCPU:24:154 ILL:4:157; do
	IFS=: read -r name_of number code << END
$fault
END
	serve --log-path "$T/log.file"
	kill -"$name_of" "$pid"
	ended
	ends_with "$code"
	for log in "$T/log" "$T/log.file"; do
		holds grep -qF "Shutting down VM after intercepting signal $number, code 0." "$log"
	done
	rm -f "$SOCKET" "$T/log.file"
done
case $(sed -n 's/^SigIgn:.*\(.\)$/\1/p' /proc/self/status) in
[02468ace]) # not where this runs under nohup, which mayfly then obeys
	serve --log-path "$T/log.file" --metrics-path "$T/metrics.hangup"
	kill -HUP "$pid"
	ended
	ends_with 156
	for log in "$T/log" "$T/log.file"; do
		holds grep -qxF "Shutting down VM after intercepting signal 1, code 0." "$log"
	done
	holds grep -q '] stopped by a signal$' "$T/log.file"
	holds grep -q '] mayfly exiting with error. exit_code=156$' "$T/log.file"
	holds grep -q '"sighup":1,' "$T/metrics.hangup"
	;;
esac

story "under the name firecracker it takes Firecracker's names"
ln -s "$(realpath "$MAYFLY")" "$T/firecracker"
"$T/firecracker" --version > "$T/out"
shows "Firecracker v1."
serving=$MAYFLY
MAYFLY=$T/firecracker
serve_as_firecracker() {
	"$T/firecracker" --api-sock "$SOCKET" --ready-fd 3 --no-seccomp --level Debug 3> "$T/ready" > "$T/serial" 2> "$T/log" &
	pid=$!
	read -r _ < "$T/ready"
}
serve_as_firecracker
ask GET /
shows 'Server: Firecracker API'
shows '"app_name":"Firecracker"'
stop
MAYFLY=$serving
holds grep -q "Running Firecracker v1\." "$T/log"

if ! "$MAYFLY" run --timeout 20s --kernel "$GUESTS/hello.elf" > /dev/null 2>&1; then
	skipped "guests over the API" "no usable /dev/kvm or /dev/mayfly here"
	the_end
	exit
fi

story "a guest is configured, started, and ends: its status is the exit code"
serve --metrics-path "$T/metrics"
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/hello.elf\",\"boot_args\":\"exit=42\"}"
is_done
starts
ended
ends_with 42
holds grep -q "^Hello from ring 3" "$T/serial"
holds [ ! -e "$SOCKET" ]
holds [ "$(grep -c '^{"utc_timestamp_ms":' "$T/metrics")" -eq 2 ]
holds grep -q '"actions_count":1,"actions_fails":0,"boot_source_count":1,' "$T/metrics"

story "the files are those that their requests have opened, whatever the names mean at the start"
cp "$GUESTS/hello.elf" "$T/kernel"
truncate -s 1M "$T/disk"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$T/kernel\",\"boot_args\":\"exit=5\"}"
ask PUT /drives/a "{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"$T/disk\"}"
ask PUT /serial "{\"serial_out_path\":\"$T/serial_out\"}"
is_done
mv "$T/serial_out" "$T/moved"
rm "$T/kernel" "$T/disk"
starts
ended
ends_with 5
holds grep -q "^Hello from ring 3" "$T/moved"
holds [ ! -e "$T/serial_out" ]

story "the serial port into a FIFO, whose reader comes after the request"
mkfifo "$T/port-fifo"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/hello.elf\",\"boot_args\":\"exit=5\"}"
ask PUT /serial "{\"serial_out_path\":\"$T/port-fifo\"}"
is_done
cat "$T/port-fifo" > "$T/from-port" &
reader=$!
starts
ended
ends_with 5
wait $reader
holds grep -q "^Hello from ring 3" "$T/from-port"

story "a config file starts the guest, without a socket"
config
mayfly serve --config-file "$T/config" --no-api
ends_with 3
shows "Hello from ring 3"
says "Successfully started microvm that was configured from one single json"
holds eval '! grep -q "is not known" "$T/err"'

story "what mayfly does not know in a config file is overlooked, and named in the log"
echo "{\"logger\": {\"log_path\": \"$T/own-log\"}, \"boot-source\": {\"kernel_image_path\": \"$GUESTS/hello.elf\"}, \"drives\": [], \"network-interface\": []}" > "$T/config"
mayfly serve --config-file "$T/config" --no-api
ends_with 0
holds grep -qF "The config file's \`network-interface\` is not known." "$T/own-log"

story "drives are the guest's disks, and the metrics count what it does with them"
truncate -s 8M "$T/disk"
serve --metrics-path "$T/metrics.disk"
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/blk.elf\",\"boot_args\":\"sectors=16384\"}"
ask PUT /drives/a "{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"$T/disk\",\"cache_type\":\"Writeback\"}"
is_done
starts
ended
ends_with 0
holds [ "$(grep -c FAILED "$T/serial")" -eq 0 ]
holds grep -qE '"block_a":\{.*"flush_count":[1-9].*"read_count":[1-9].*"write_count":[1-9]' "$T/metrics.disk"

story "a drive of a running microVM gets another image, and gives the old one back"
truncate -s 1M "$T/one" "$T/two" "$T/three"
is_free() {
	"$MAYFLY" run --kernel "$GUESTS/hello.elf" --disk "$1" > /dev/null 2>&1
}
with_drive_one() {
	ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"spin\"}"
	ask PUT /drives/a "{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"$T/one\"}"
	starts
	holds eval '! is_free "$T/one"'
}
serve --no-jail
ask PUT /drives/b "{\"drive_id\":\"b\",\"is_root_device\":false,\"path_on_host\":\"$T/three\"}"
with_drive_one
ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/three\"}"
refused "Drive config error: $T/three: disk b has it, too, and one of the two may write to it: give each a file of its own, or make both read-only"
ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/nowhere\"}"
refused "Drive config error: $T/nowhere: No such file or directory (os error 2)"
ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/two\",\"rate_limiter\":{\"ops\":{\"size\":10,\"refill_time\":100}}}"
is_done
holds is_free "$T/one"
holds eval '! is_free "$T/two"'
truncate -s 2M "$T/two"
ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/two\"}"
is_done
ask GET /vm/config
shows "\"path_on_host\":\"$T/two\""
shows '"ops":{"size":10,'
stop

story "an image that has grown is a larger disk to its guest, once the drive is patched"
truncate -s 1M "$T/one"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/blk.elf\",\"boot_args\":\"grow\"}"
ask PUT /drives/a "{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"$T/one\"}"
ask PUT /serial "{\"serial_out_path\":\"$T/port\"}"
: > "$T/port"
starts
while ! grep -q "2048 sectors, waiting" "$T/port"; do sleep 0.05; done
truncate -s 2M "$T/one"
ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/one\"}"
is_done
ended
ends_with 0
holds grep -q "now 4096 sectors" "$T/port"

story "in the jail a drive gets another image by a descriptor, and by a path only what it has"
truncate -s 1M "$T/one" "$T/two"
serve
with_drive_one
ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/two\"}"
refused "Drive config error: $T/two: the jail of a running microVM holds no files; send the file's descriptor with the request, and \`fd:0\` as its path."
truncate -s 2M "$T/one"
ask PATCH /drives/a "{\"drive_id\":\"a\",\"path_on_host\":\"$T/one\"}"
is_done
request PATCH /drives/a '{"drive_id":"a","path_on_host":"fd:0"}' | "$ASK" "$SOCKET" "$T/two" > "$T/out"
is_done
holds is_free "$T/one"
holds eval '! is_free "$T/two"'
stop

story "a start that failed leaves nothing behind: the next one succeeds"
root_drive() {
	ask PUT /drives/a "{\"drive_id\":\"a\",\"is_root_device\":true,\"path_on_host\":\"$1\"}"
	is_done
}
: > "$T/empty"
serve
for i in 1 2 3 4 5 6 7 8; do
	root_drive "$T/empty"
	ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/hello.elf\",\"boot_args\":\"exit=9\"}"
	is_done
	ask PUT /actions '{"action_type":"InstanceStart"}'
	refused "Start microvm error: $T/empty: is empty"
	root_drive "$T/one"
	ask PUT /boot-source "{\"kernel_image_path\":\"$T/text\"}"
	ask PUT /actions '{"action_type":"InstanceStart"}'
	shows "not a kernel"
done
holds [ "$(ls "/proc/$pid/fd" | wc -l)" -lt 16 ]
holds [ "$(ls "/proc/$pid/task" | wc -l)" -eq 1 ]
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/hello.elf\",\"boot_args\":\"exit=9\"}"
ask PUT /serial "{\"serial_out_path\":\"$T/port\"}"
starts
ended
ends_with 9
holds grep -q "^Hello from ring 3" "$T/port"

story "a start that failed late is in no phase"
limit=$(ulimit -S -v)
ulimit -S -v 16777216 # KiB
serve
ulimit -S -v "$limit"
ask PUT /machine-config '{"vcpu_count":1,"mem_size_mib":32768}'
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"spin\"}"
ask PUT /actions '{"action_type":"InstanceStart"}'
refused "Start microvm error: no address space for 32768 MiB of guest memory: Out of memory"
ask GET /metrics
holds eval '! grep -q "phase=" "$T/out"'
ask PUT /machine-config '{"vcpu_count":1,"mem_size_mib":128}'
starts
ask GET /metrics
shows 'mayfly_phase_microseconds{phase="configured"}'
stop

# CPU time of the vCPU thread, in ticks.
vcpu_ticks() {
	for task in "/proc/$pid/task/"*; do
		[ "$(cat "$task/comm")" != "vcpu 0" ] || sed 's/^.*) //' "$task/stat" | awk '{ print $12 + $13 }'
	done
}

story "a paused guest gets no CPU time, and goes on when it is resumed"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"spin\"}"
starts
ask PATCH /vm '{"state":"Paused"}'
is_done
ask PATCH /vm '{"state":"Paused"}'
is_done
ask GET /
shows '"state":"Paused"'
before=$(vcpu_ticks)
sleep 0.5
holds [ "$(vcpu_ticks)" -eq "$before" ]
ask PATCH /vm '{"state":"Resumed"}'
is_done
for i in $(seq 100); do
	[ "$(vcpu_ticks)" -eq "$before" ] || break
	sleep 0.1
done
holds [ "$(vcpu_ticks)" -gt "$before" ]

story "what may not be done while a guest runs"
ask PUT /machine-config '{"vcpu_count":1,"mem_size_mib":64}'
refused "The requested operation is not supported after starting the microVM."
ask PUT /drives/late '{"drive_id":"late","is_root_device":false,"path_on_host":"/dev/null"}'
refused "PCI is not enabled"
ask PUT /actions '{"action_type":"InstanceStart"}'
refused "The requested operation is not supported after starting the microVM."
ask DELETE /drives/late
refused "PCI is not enabled"

story "Prometheus reads how the guest leaves"
ask GET /metrics
shows "Content-Type: text/plain; version=0.0.4"
shows 'mayfly_phase_microseconds{phase="first_entry"}'
stop
ends_with 143

story "a rate limit of the serial port drops what is beyond it, and counts that"
serve --metrics-path "$T/metrics.serial"
ask PUT /serial '{"rate_limiter":{"size":100,"one_time_burst":28,"refill_time":3600000}}'
is_done
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"flood=1\"}"
starts
ended
ends_with 0
awk 'BEGIN { for (i = 0; i < 2; i++) printf "%063d\n", i }' | cmp -s - "$T/serial" || is_wrong "not the first 128 bytes"
holds [ "$(grep -o '"rate_limiter_dropped_bytes":[0-9]*' "$T/metrics.serial" | awk -F: '{ sum += $2 } END { print sum }')" -eq 896 ]

# Nine clients, 1112 requests each: what came is in $T/many.N.
nine_clients() {
	for i in 1 2 3 4 5 6 7 8 9; do
		awk 'BEGIN { for (i = 0; i < 1112; i++) printf "GET / HTTP/1.1\r\n\r\n" }' |
			socat -t 60 - "UNIX-CONNECT:$SOCKET" > "$T/many.$i" 2> /dev/null &
		eval "many$i=$!"
	done
	for i in 1 2 3 4 5 6 7 8 9; do eval "wait \$many$i"; done
}

story "ten thousand requests do not cost the guest a byte of its output"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"flood=64\"}"
starts
nine_clients
ended
ends_with 0
awk 'BEGIN { for (i = 0; i < 64 * 16; i++) printf "%063d\n", i }' | cmp -s - "$T/serial" || is_wrong "the output is not whole"

# The guest has 32 writes under way at any time and ends when all have come back. Where it was faster
# than the clients it gets more to do.
story "ten thousand requests while a guest does disk I/O: no error, and no completion is lost"
truncate -s 16M "$T/busy"
outlasted=''
for writes in 50000 200000 800000 3200000; do
	rm -f "$T/metrics.busy"
	serve --metrics-path "$T/metrics.busy" --level Off
	ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/blk.elf\",\"boot_args\":\"speed write qd=32 n=$writes\"}"
	ask PUT /drives/a "{\"drive_id\":\"a\",\"is_root_device\":false,\"path_on_host\":\"$T/busy\"}"
	starts
	nine_clients
	ask GET /
	grep -q '"state":"Running","vmm_version":"0.1.0","app_name":"mayfly"}' "$T/out" && outlasted=yes
	ended
	ends_with 0
	holds grep -q "blk: $writes requests in " "$T/serial"
	holds [ "$(grep -o '"block_a":{.*' "$T/metrics.busy" | grep -o '"write_count":[0-9]*' | awk -F: '{ sum += $2 } END { print sum }')" -eq "$writes" ]
	[ -z "$outlasted" ] || break
done
holds [ -n "$outlasted" ]
for i in 1 2 3 4 5 6 7 8 9; do
	holds [ "$(grep -o 'HTTP/1.1 200 ' "$T/many.$i" | wc -l)" -eq 1112 ]
done

story "connections that are closed are gone, also while a guest runs"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"spin\"}"
starts
for i in $(seq 30); do
	ask GET /version
done
holds [ "$(grep -c "$SOCKET" /proc/net/unix)" -lt 10 ]
stop

story "events tell each state, the reason and the exit code, until the end"
serve
follow_events
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"spin\"}"
starts
ask PATCH /vm '{"state":"Paused"}'
stop
take_events
prints '{"event":"state","state":"Not started"}
{"event":"state","state":"Running"}
{"event":"state","state":"Paused"}
{"event":"exit","reason":"stopped by a signal","exit_code":143}'

story "a guest that halts for good is noticed once it is resumed, not while it is paused"
serve
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/exits.elf\",\"boot_args\":\"halt\"}"
starts_paused
sleep 0.5
ask GET /
shows '"state":"Paused"'
ask PATCH /vm '{"state":"Resumed"}'
ended
ends_with 123

story "under the name firecracker a reboot is a success"
config
sed -i "s|hello.elf|exits.elf|; s|exit=3|i8042|" "$T/config"
"$T/firecracker" --config-file "$T/config" --no-api > "$T/out" 2> "$T/err"
status=$?
ends_with 0
says "Firecracker exiting successfully. exit_code=0"
holds grep -q '] rebooted$' "$T/err"
mayfly serve --config-file "$T/config" --no-api
ends_with 120

story "--boot-timer says how long the guest took to its init"
config
sed -i "s|exit=3|boot|" "$T/config"
mayfly serve --config-file "$T/config" --no-api --boot-timer
holds grep -qE 'Guest-boot-time = +[0-9]+ us [0-9]+ ms, +[0-9]+ CPU us [0-9]+ CPU ms$' "$T/err"

the_end
