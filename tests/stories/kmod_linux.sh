# SPDX-License-Identifier: Apache-2.0
# Linux on /dev/mayfly: on 1 and on 4 CPUs, the tuned kernel and Debian's, with a disk, with a network.
# on_mayfly.sh tells this in the VT-x host; `make soak` all that the other host is told of Linux.
. tests/stories/lib.sh

for kernel in tuned stock; do
	[ $kernel = tuned ] && image=$MAYFLY_TUNED/vmlinux || image=$MAYFLY_STOCK/vmlinux
	for cpus in 1 4; do
		story "$kernel kernel, $cpus CPUs: a job runs, knows the year, and its status is mayfly's"
		mayfly run --hv mayfly --timeout 300s --cpus $cpus --kernel "$image" --initrd "$MAYFLY_INITRD" -- \
			sh -c 'nproc; date +%Y; seq 1 20000 | sha256sum; exit 7'
		ends_with 7
		prints "$cpus
$(date +%Y)
$(seq 1 20000 | sha256sum)"
		says_nothing
	done
done

# tuned OPTION... -- SCRIPT: in the tuned kernel
tuned() {
	mayfly run --hv mayfly --timeout 300s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" "$@"
}

story "a disk: what its base holds is read, a layer takes the writes, and the next guest finds them"
head -c 400384 /dev/urandom > "$T/base"
cp "$T/base" "$T/copy"
tuned --disk "$T/base,overlay=$T/layer" -- sh -c "sha256sum < /dev/vda
	seq 1 20000 | dd of=/dev/vda bs=64k conv=fsync 2> /dev/null && sync && echo 3 > /proc/sys/vm/drop_caches
	seq 1 20000 | cmp -n 108894 - /dev/vda && echo written"
ends_with 0
prints "$(sha256sum < "$T/base")
written"
says_nothing
holds cmp -s "$T/base" "$T/copy"
{ seq 1 20000 && tail -c +108895 "$T/base"; } > "$T/expected"
tuned --cpus 4 --disk "$T/base,overlay=$T/layer" -- sh -c "sha256sum < /dev/vda"
ends_with 0
prints "$(sha256sum < "$T/expected")"

story "a network: a file from guest to guest over a peer link"
seq 1 20000 > "$T/expected"
"$MAYFLY" run --hv mayfly --timeout 300s --kernel "$MAYFLY_TUNED/vmlinux" --initrd "$MAYFLY_INITRD" --net "peer=$T/peers" -- \
	sh -c 'ip link set eth0 up; ip addr add 10.8.0.1/24 dev eth0; mkdir /tmp/www; seq 1 20000 > /tmp/www/file
	httpd -p 80 -h /tmp/www; nc -l -p 9 > /dev/null' > "$T/server" 2>&1 &
server=$!
tuned --net "peer=$T/peers" -- sh -c "ip link set eth0 up; ip addr add 10.8.0.2/24 dev eth0
	until wget -q -O /tmp/file http://10.8.0.1/file 2> /dev/null; do sleep 0.2; done
	sha256sum < /tmp/file; until echo | nc 10.8.0.1 9; do sleep 0.2; done"
ends_with 0
prints "$(sha256sum < "$T/expected")"
wait $server
status=$?
ends_with 0

the_end
