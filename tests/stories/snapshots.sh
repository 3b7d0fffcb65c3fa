# SPDX-License-Identifier: Apache-2.0
# Snapshots: a microVM in two files, and others that go on from them.
. tests/stories/api_lib.sh

STATE=$T/state MEMORY=$T/memory
clones=''
trap '[ -z "$pid$clones" ] || kill -KILL $pid $clones 2> /dev/null; rm -rf "$T"' EXIT

# guest NAME WORDS [DRIVE]: configured, and not started
guest() {
	serve
	ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/$1.elf\",\"boot_args\":\"$2\"}"
	is_done
	[ $# -lt 3 ] || ask PUT /drives/d "$3"
}

snapshot() {
	"$MAYFLY" snapshot "$SOCKET" "$STATE" "$MEMORY" > "$T/out" 2> "$T/err"
	status=$?
}

# loads FIELDS: in the process that serves
loads() {
	ask PUT /snapshot/load "{\"snapshot_path\":\"$STATE\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$MEMORY\"}$1}"
}

# clone NUMBER FIELDS: another process that goes on from there
clone() {
	number=$1
	mkfifo "$T/ready.$number"
	"$MAYFLY" serve --api-sock "$SOCKET.$number" --ready-fd 3 3> "$T/ready.$number" > "$T/serial.$number" 2> "$T/log.$number" < /dev/null &
	clones="$clones $!"
	read -r _ < "$T/ready.$number"
	original=$SOCKET SOCKET=$SOCKET.$number
	loads "$2"
	SOCKET=$original
}

# They come to the same end as the guest that they were taken of.
clones_end_with() { # STATUS
	number=0
	for clone in $clones; do
		number=$((number + 1))
		[ -z "$wrong" ] || kill -TERM "$clone"
		wait "$clone"
		status=$?
		ends_with "$1"
	done
	clones=''
	rm -f "$T"/ready.*
}

TICK='tick: 300 of 300 interrupts, 0 early'

story "a guest goes on in another process where it stood, and so it does itself"
guest tick n=300
starts_paused
snapshot
ends_with 0
says_nothing
clone 1 ',"resume_vm":true'
is_done
ask PATCH /vm '{"state":"Resumed"}'
ended
ends_with 0
clones_end_with 0
holds grep -q "$TICK" "$T/serial"
holds grep -q "$TICK" "$T/serial.1"

story "many go on from one snapshot, whose files stay as they are"
cp "$STATE" "$T/state0" && cp "$MEMORY" "$T/memory0"
for n in 1 2 3 4 5; do
	clone $n ',"resume_vm":true'
	is_done
done
clones_end_with 0
holds [ "$(grep -l "$TICK" "$T"/serial.[1-5] | wc -l)" -eq 5 ]
holds cmp -s "$STATE" "$T/state0"
holds cmp -s "$MEMORY" "$T/memory0"
rm "$T/state0" "$T/memory0"

story "mayfly clone is one that nobody serves, with its output, and its options, as run has them"
mayfly clone "$STATE" "$MEMORY"
ends_with 0
shows "$TICK"
says_nothing
mayfly clone --report --serial file="$T/serial.1" "$STATE" "$MEMORY"
ends_with 0
holds [ ! -s "$T/out" ]
says "powered off; exit code 0"
holds grep -q "$TICK" "$T/serial.1"

story "each clone is told that it is one, and has a generation of its own"
guest generation n=1000
starts
until grep -q '^generation: .*-' "$T/serial" || ! kill -0 "$pid"; do sleep 0.02; done
ask PATCH /vm '{"state":"Paused"}'
is_done
"$MAYFLY" snapshot "$SOCKET" "$STATE.told" "$MEMORY.told" > "$T/out" 2> "$T/err"
status=$?
ends_with 0
ask PATCH /vm '{"state":"Resumed"}'
is_done
ended
ends_with 0
holds grep -q "told 0 times, the first now" "$T/serial"
tick_state=$STATE tick_memory=$MEMORY STATE=$STATE.told MEMORY=$MEMORY.told
for n in 1 2; do
	clone $n ',"resume_vm":true'
	is_done
done
clones_end_with 0
for n in 1 2; do
	holds grep -q "told 1 times, another now" "$T/serial.$n"
done
holds [ "$(cat "$T/serial" "$T"/serial.[12] | grep '^generation: .*-' | sort -u | wc -l)" -eq 3 ]
STATE=$tick_state MEMORY=$tick_memory
rm "$STATE.told" "$MEMORY.told"

story "one that is not asked to go on is paused"
serve
loads ''
is_done
ask GET /
shows '"state":"Paused"'
ask PATCH /vm '{"state":"Resumed"}'
is_done
ended
ends_with 0
holds grep -q "$TICK" "$T/serial"

story "what is zero in guest memory takes no room in its file"
holds [ "$(wc -c < "$MEMORY")" -eq 134217728 ]
holds [ "$(du -k "$MEMORY" | cut -f1)" -lt 4096 ]

story "a running guest is paused for its snapshot, and goes on; a paused one stays so"
guest exits spin
starts
snapshot
ends_with 0
ask GET /
shows '"state":"Running"'
ask PATCH /vm '{"state":"Paused"}'
snapshot
ends_with 0
ask GET /
shows '"state":"Paused"'
stop

story "mayfly clone has input, and ends as its guest does, or when its time is over"
guest exits do=echo
starts_paused
snapshot
ends_with 0
stop
printf 'typed\004' > "$T/in"
mayfly clone --timeout 180s "$STATE" "$MEMORY" < "$T/in"
ends_with 5
holds [ "$(cat "$T/out")" = typed ]
mayfly clone --timeout 300ms "$STATE" "$MEMORY" < /dev/null
ends_with 124

story "a clone can be snapshotted in its turn, but not into the memory that it runs on"
serve
loads ''
is_done
cp "$MEMORY" "$T/before"
snapshot
ends_with 125
says "Create snapshot error: the guest's memory is mapped from that file."
holds cmp -s "$MEMORY" "$T/before"
"$MAYFLY" snapshot "$SOCKET" "$T/state2" "$T/memory2" > "$T/out" 2> "$T/err"
status=$?
ends_with 0
# But for its generation, at 0xe0030
holds [ "$(cmp -l "$MEMORY" "$T/memory2" | awk '$1 <= 917552 || $1 > 917568' | wc -l)" -eq 0 ]
stop
rm "$T/before" "$T/state2" "$T/memory2"

story "nor over a disk in use, one's own or another's, nor beyond the limit of a file's size"
truncate -s 1M "$T/used"
guest exits spin "{\"drive_id\":\"d\",\"is_root_device\":false,\"path_on_host\":\"$T/used\"}"
starts_paused
"$MAYFLY" snapshot "$SOCKET" "$T/used" "$T/memory2" > "$T/out" 2> "$T/err"
status=$?
ends_with 125
says "Create snapshot error: a file is in use by a microVM, as a disk or as its memory."
holds [ "$(wc -c < "$T/used")" -eq 1048576 ]
clone 1 ''
is_done
"$MAYFLY" snapshot "$SOCKET" "$T/state2" "$MEMORY" > "$T/out" 2> "$T/err"
status=$?
ends_with 125
says "a file is in use by a microVM"
kill -TERM $clones
clones_end_with 143
stop
(ulimit -f 2048 && guest exits spin && starts_paused && echo "$pid" > "$T/limited")
pid=$(cat "$T/limited")
snapshot
ends_with 125
says "the limit of a file's size (RLIMIT_FSIZE) is lower"
ask GET /
shows '"state":"Paused"'
kill -TERM "$pid"
while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
pid=''

story "a start after a load that was refused runs"
head -c 60000 "$STATE" > "$T/cut"
serve
whole=$STATE STATE=$T/cut
loads ''
STATE=$whole
grep -q '^HTTP/1.1 400 ' "$T/out" || is_wrong "a cut was not seen"
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/hello.elf\"}"
is_done
starts
ended
ends_with 0
holds grep -q "Hello" "$T/serial"

story "several processors go on together"
guest smp 'rounds=400'
ask PUT /machine-config '{"vcpu_count":4,"mem_size_mib":64}'
is_done
starts_paused
snapshot
ends_with 0
clone 1 ',"resume_vm":true'
is_done
ask PATCH /vm '{"state":"Resumed"}'
ended
ends_with 0
clones_end_with 0
holds grep -q "4 of 4 processors" "$T/serial.1"

story "a request in flight is done by whoever goes on, each on a disk of its own"
truncate -s 4M "$T/disk"
guest blk fill "{\"drive_id\":\"d\",\"is_root_device\":false,\"path_on_host\":\"$T/disk\",\"cache_type\":\"Writeback\",\"rate_limiter\":{\"bandwidth\":{\"size\":1048576,\"refill_time\":400}}}"
is_done
starts
until [ "$(tr -d '\0' < "$T/disk" | head -c 1 | wc -c)" -eq 1 ] || ! kill -0 "$pid"; do sleep 0.02; done
ask PATCH /vm '{"state":"Paused"}'
is_done
snapshot
ends_with 0
cp "$T/disk" "$T/copy"
cp "$T/disk" "$T/paused"
cp "$T/disk" "$T/paused0"
clone 1 ",\"resume_vm\":true,\"drive_overrides\":[{\"drive_id\":\"d\",\"path_on_host\":\"$T/copy\"}]"
is_done
clones_end_with 0
holds cmp -s "$T/disk" "$T/paused" # a paused guest's disk does not change
ask PATCH /vm '{"state":"Resumed"}'
is_done
ended
ends_with 0
holds cmp -s "$T/disk" "$T/copy"
guest blk verify "{\"cache_type\":\"Writeback\",\"drive_id\":\"d\",\"is_root_device\":false,\"path_on_host\":\"$T/copy\"}"
starts
ended
ends_with 0

story "clones write to layers of their own over one disk, which may be nobody's to write to"
chmod 444 "$T/paused"
for n in 1 2; do
	mayfly clone --disk "$T/paused,id=d,overlay=$T/layer.$n,bytes=100M" "$STATE" "$MEMORY"
	ends_with 0
	mayfly run --kernel "$GUESTS/blk.elf" --cmdline verify --disk "$T/paused,overlay=$T/layer.$n"
	ends_with 0
done
mayfly clone --disk "$T/paused,id=d,overlay=tmp,bytes=100M" "$STATE" "$MEMORY"
ends_with 0
holds cmp -s "$T/paused" "$T/paused0"

story "a clone's disk has the limits that it is given"
mayfly clone --timeout 5s --disk "$T/paused,id=d,overlay=tmp,bytes=100M,ops=1/1h" "$STATE" "$MEMORY"
ends_with 124

if [ "$(id -u)" -eq 0 ]; then
	story "a clone's files may lie in its own root, whose user it becomes"
	root=$T/jails/mayfly/one/root
	mkdir -p "$root"
	chmod 755 "$T"
	cp "$STATE" "$T/paused0" "$root"
	ln "$MEMORY" "$root"
	chmod 644 "$root"/*
	mayfly clone --id one --chroot-base-dir "$T/jails" --uid 65534 --gid 65534 --disk paused0,id=d,overlay=tmp,bytes=100M state memory
	ends_with 0
	holds cmp -s "$T/paused0" "$root/paused0"
	rm -r "$T/jails"
else
	skipped "a clone's files may lie in its own root" "needs root"
fi

story "of what a clone has, its options name what there is, and what can be another"
for option in "--disk=$T/paused" "--net=tap=tap0" "--net=peer=$T,id=n" "--net=tap=tap0,id=n,mtu=1500" "--disk=$T/paused,id=d,cache=unsafe" "--mem=64M" --root="$T/paused"; do
	mayfly clone "$option" "$STATE" "$MEMORY"
	ends_with 125
	says_one_line
	says "mayfly: clone: "
done
mayfly clone --disk "$T/paused,id=d" --disk "$T/paused,id=d,overlay=tmp" "$STATE" "$MEMORY"
ends_with 125
says "two are called d"
for option in "--disk=$T/paused,id=e,overlay=tmp" "--net=tap=tap0,id=n"; do
	mayfly clone "$option" "$STATE" "$MEMORY"
	ends_with 125
	says_one_line
	says "the snapshot has no device"
done
mayfly clone --disk "$T/paused,id=d,ro" "$STATE" "$MEMORY"
ends_with 125
says_one_line
says "disk d is not what it was (its size, whether it is read only)"
mayfly clone "$STATE"
ends_with 125
says "clone: give '[OPTIONS] STATE MEMORY'"
rm -f "$T/paused"

story "a disk that is not what it was is refused, and nothing is left of the attempt"
truncate -s 5M "$T/copy"
serve
loads ",\"drive_overrides\":[{\"drive_id\":\"d\",\"path_on_host\":\"$T/copy\"}]"
refused "Load snapshot error: disk d is not what it was (its size, whether it is read only), or the state is damaged"
ask GET /vm/config
shows '"drives":[]'
truncate -s 4M "$T/copy"
loads ",\"drive_overrides\":[{\"drive_id\":\"d\",\"path_on_host\":\"$T/copy\"}]"
is_done
stop

story "after something of the machine was configured no snapshot is loaded"
serve
ask PUT /machine-config '{"vcpu_count":1,"mem_size_mib":64}'
loads ''
refused "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."
stop

story "a damaged snapshot is refused, wherever the damage is, and another one can be loaded after it"
guest tick n=300
starts_paused
snapshot
ends_with 0
stop
cp "$STATE" "$T/whole"
size=$(wc -c < "$STATE")
serve
for at in 0 17 20 24 60 300 $((size / 3)) $((size / 2)) $((size - 200)) $((size - 1)); do
	cp "$T/whole" "$STATE"
	printf '\377' | dd of="$STATE" bs=1 seek=$at conv=notrunc 2> /dev/null
	cmp -s "$STATE" "$T/whole" && printf '\125' | dd of="$STATE" bs=1 seek=$at conv=notrunc 2> /dev/null
	loads ''
	grep -q '^HTTP/1.1 400 ' "$T/out" || is_wrong "damage at $at was not seen"
done
for cut in 0 20 25 400 $((size / 2)) $((size - 1)); do
	head -c $cut "$T/whole" > "$STATE"
	loads ''
	grep -q '^HTTP/1.1 400 ' "$T/out" || is_wrong "a cut at $cut was not seen"
done
cp "$T/whole" "$STATE"
truncate -s 1M "$T/short"
ask PUT /snapshot/load "{\"snapshot_path\":\"$STATE\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$T/short\"}}"
refused "Load snapshot error: the memory file is smaller than the guest's memory"
loads ',"resume_vm":true'
is_done
ended
ends_with 0

story "what is not a snapshot, or cannot be one's file, is refused in a line that says why"
serve
for file in "$T" /dev/null "$T/none" "$GUESTS/tick.elf"; do
	ask PUT /snapshot/load "{\"snapshot_path\":\"$file\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$MEMORY\"}}"
	grep -q '^HTTP/1.1 400 ' "$T/out" || is_wrong "$file was taken"
done
rm -f "$STATE"
snapshot
ends_with 125
holds [ "$(cat "$T/err")" = "mayfly: $SOCKET: The requested operation is not supported before starting the microVM." ]
holds [ ! -e "$STATE" -a -s "$MEMORY" ] # what was there is still there
stop
rm -f "$STATE" "$MEMORY"
snapshot
ends_with 125
says "$SOCKET: No such file or directory"
holds [ ! -e "$STATE" -a ! -e "$MEMORY" ]
if [ "$(id -u)" -ne 0 ]; then
	guest exits spin
	starts_paused
	mkdir -m 555 "$T/theirs"
	mayfly snapshot "$SOCKET" "$T/theirs/state" "$MEMORY"
	ends_with 125
	says "$T/theirs/state: Permission denied"
	stop
fi
mayfly snapshot "$SOCKET" "$STATE"
ends_with 125
says "snapshot: give 'SOCKET STATE MEMORY'"
the_end
