# SPDX-License-Identifier: Apache-2.0
# What the stories of the API are told with, beside lib.sh: one `mayfly serve`, and its clients.
. tests/stories/lib.sh

GUESTS=${GUESTS:-build/guest}
SOCKET=$T/socket
pid=''

# Starts `mayfly serve` and returns when clients may connect.
serve() {
	[ -p "$T/ready" ] || mkfifo "$T/ready"
	"$MAYFLY" serve --api-sock "$SOCKET" --ready-fd 3 "$@" 3> "$T/ready" > "$T/serial" 2> "$T/log" < /dev/null &
	pid=$!
	read -r _ < "$T/ready"
}

# Waits for its end: $status. In a story that has gone wrong, by a start that was refused say, it might never
# come: there it is told to end.
ended() {
	[ -z "$wrong" ] || kill -TERM "$pid"
	wait "$pid"
	status=$?
	pid=''
}

stop() {
	kill -TERM "$pid"
	ended
}
trap '[ -z "$pid" ] || kill -KILL "$pid"; rm -rf "$T"' EXIT

# Sends $T/in and takes what comes until the server closes, which it does.
converse() {
	timeout 60 socat -t 100 - "UNIX-CONNECT:$SOCKET" < "$T/in" > "$T/out" 2>> "$T/err" ||
		[ $? -ne 124 ] || is_wrong "the server did not close the connection"
}

# Bytes, printf's way.
raw() {
	printf "$1" > "$T/in"
	converse
}

request() {
	if [ $# -gt 2 ]; then
		printf '%s %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s' "$1" "$2" ${#3} "$3"
	else
		printf '%s %s HTTP/1.1\r\n\r\n' "$1" "$2"
	fi
}

# ask METHOD PATH [BODY]
ask() {
	request "$@" > "$T/in"
	converse
}

# The answer, byte for byte.
answers() {
	printf "$1" | cmp -s - "$T/out" || is_wrong "the answer is not: $1"
}

HEAD='\r\nServer: mayfly API\r\nConnection: keep-alive\r\n'

# gives CODE BODY: the whole answer, with its length.
gives() {
	printf "HTTP/1.1 %s ${HEAD}Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" \
		"$1" ${#2} "$2" > "$T/wanted"
	cmp -s "$T/wanted" "$T/out" || is_wrong "the answer is not $1 $2"
}

is_done() {
	answers "HTTP/1.1 204 $HEAD\r\n"
}

refused() {
	gives 400 "{\"fault_message\":\"$1\"}"
}

# Starts the guest.
starts() {
	ask PUT /actions '{"action_type":"InstanceStart"}'
	grep -q '^HTTP/1.1 204 ' "$T/out" || is_wrong "the start was refused: $(tail -n 1 "$T/out")"
}

# The same, and pauses it at once.
starts_paused() {
	{ request PUT /actions '{"action_type":"InstanceStart"}'; request PATCH /vm '{"state":"Paused"}'; } > "$T/in"
	socat -t 10 - "UNIX-CONNECT:$SOCKET" < "$T/in" > "$T/out" # in one piece: nothing runs between the two
	[ "$(grep -c '^HTTP/1.1 204 ' "$T/out")" -eq 2 ] || is_wrong "the start or the pause was refused: $(tail -n 1 "$T/out")"
}
