# SPDX-License-Identifier: Apache-2.0
# The API's interfaces on real taps, with the small guests of tests/guest, in a network namespace of its
# own. Needs /dev/net/tun, unshare, ip and socat, and root or user namespaces.
ip=$(which ip) # not busybox's
if [ -z "${IN_NAMESPACE:-}" ]; then
	modprobe tun 2> /dev/null
	as_root=$([ "$(id -u)" -eq 0 ] || echo r)
	if ! unshare "-${as_root}n" "$ip" tuntap add dev tap0 mode tap 2> /dev/null; then
		echo "ok 1 - the API's interfaces on taps # SKIP needs /dev/net/tun, unshare and ip"
		echo "1..1"
		exit 0
	fi
	IN_NAMESPACE=1 exec unshare "-${as_root}n" sh "$0"
fi
. tests/stories/api_lib.sh

"$ip" link set lo up
"$ip" tuntap add dev tap0 mode tap
"$ip" addr add 10.9.0.1/24 dev tap0
"$ip" link set tap0 up
truncate -s 1M "$T/disk"

story "Firecracker's Go client: its order of requests, its log and metrics in FIFOs"
mkfifo "$T/go-log" "$T/go-metrics"
cat "$T/go-log" > "$T/go-log.out" &
go_log=$!
cat "$T/go-metrics" > "$T/go-metrics.out" &
go_metrics=$!
serve --id go
ask GET /machine-config # it asks until somebody answers
shows '"vcpu_count":1,"mem_size_mib":128'
ask PUT /logger "{\"level\":\"Debug\",\"log_path\":\"$T/go-log\",\"show_level\":true,\"show_log_origin\":false}"
is_done
ask PUT /metrics "{\"metrics_path\":\"$T/go-metrics\"}"
is_done
ask PUT /machine-config '{"cpu_template":null,"mem_size_mib":64,"smt":true,"vcpu_count":2}'
is_done
ask GET /machine-config
shows '"vcpu_count":2,"mem_size_mib":64,"smt":true'
ask PUT /boot-source "{\"boot_args\":\"do=icmp ip=10.9.0.1 from=10.9.0.2 n=20 device=1\",\"kernel_image_path\":\"$GUESTS/net.elf\"}"
is_done
ask PUT /drives/1 "{\"drive_id\":\"1\",\"is_read_only\":true,\"is_root_device\":true,\"path_on_host\":\"$T/disk\"}"
is_done
ask PUT /network-interfaces/1 '{"guest_mac":"AA:FC:00:00:00:01","host_dev_name":"tap0","iface_id":"1"}'
is_done
ask PUT /actions '{"action_type":"InstanceStart"}'
is_done
ended
ends_with 0
wait $go_log $go_metrics
holds grep -q ':INFO\] The API server received a Put request on "/metrics"' "$T/go-log.out"
holds grep -q 'echoes, 0 lost' "$T/serial"
holds [ "$(grep -c '^{"utc_timestamp_ms":' "$T/go-metrics.out")" -eq 2 ]
holds grep -qE '"net_1":\{.*"tx_packets_count":[1-9].*"tap_write_agg":\{"min_us":[0-9]+,"max_us":[1-9]' "$T/go-metrics.out"

# A guest with these words, on tap0, paused.
starts_on_tap() {
	ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/net.elf\",\"boot_args\":\"$1\"}"
	ask PUT /network-interfaces/n '{"iface_id":"n","host_dev_name":"tap0"}'
	is_done
	starts_paused
}

# throttled KEY: how often, by all lines of the metrics
throttled() {
	grep -o "\"net\":{.*" "$T/metrics" | grep -o "\"net_n\":.*" | grep -o "\"$1\":[0-9]*" |
		awk -F: '{ sum += $2 } END { print sum + 0 }'
}

story "rate limits of an interface can be set while its guest runs"
for way in rx tx; do
	rm -f "$T/metrics"
	serve --metrics-path "$T/metrics"
	starts_on_tap "do=icmp ip=10.9.0.1 from=10.9.0.2 n=30"
	ask PATCH /network-interfaces/n "{\"iface_id\":\"n\",\"${way}_rate_limiter\":{\"ops\":{\"size\":10,\"refill_time\":100}}}"
	is_done
	ask GET /vm/config
	shows "\"${way}_rate_limiter\":{\"bandwidth\":null,\"ops\":{\"size\":10,\"one_time_burst\":null,\"refill_time\":100}}"
	ask PATCH /vm '{"state":"Resumed"}'
	is_done
	ended
	ends_with 0
	holds grep -q 'echoes, 0 lost' "$T/serial"
	holds [ "$(throttled ${way}_rate_limiter_throttled)" -gt 0 ]
done

story "and lifted"
rm -f "$T/metrics"
serve --metrics-path "$T/metrics"
ask PUT /network-interfaces/n '{"iface_id":"n","host_dev_name":"tap0","tx_rate_limiter":{"ops":{"size":1,"refill_time":3600000}}}'
is_done
ask PUT /boot-source "{\"kernel_image_path\":\"$GUESTS/net.elf\",\"boot_args\":\"do=icmp ip=10.9.0.1 from=10.9.0.2 n=30\"}"
starts_paused
ask PATCH /network-interfaces/n '{"iface_id":"n","tx_rate_limiter":{"ops":{"size":0,"refill_time":0}}}'
is_done
ask PATCH /vm '{"state":"Resumed"}'
ended
ends_with 0
holds grep -q 'echoes, 0 lost' "$T/serial"

story "a clone is on the tap that it is told, with its limits"
"$ip" tuntap add dev tap1 mode tap
serve
starts_on_tap "do=icmp ip=10.9.0.1 from=10.9.0.2 n=30"
"$MAYFLY" snapshot "$SOCKET" "$T/state" "$T/memory"
stop
"$ip" addr del 10.9.0.1/24 dev tap0
"$ip" addr add 10.9.0.1/24 dev tap1
"$ip" link set tap1 up
mayfly clone --report --net tap=tap1,id=n,tx-ops=1000 "$T/state" "$T/memory"
ends_with 0
shows 'echoes, 0 lost'
says 'n: received 3'
mayfly clone --timeout 30s --net tap=tap1,id=n,tx-ops=1/1h "$T/state" "$T/memory"
holds [ "$status" -ne 0 ]
mayfly clone --net tap=tap1,id=n,spoof=refuse "$T/state" "$T/memory"
ends_with 125
says "the snapshot's n has no MAC to compare with"
load="{\"snapshot_path\":\"$T/state\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$T/memory\"},\"resume_vm\":true,\"network_overrides\":[{\"iface_id\":\"n\",\"host_dev_name\":\"tap1\"}]}"
serve
ask PUT /snapshot/load "$load"
is_done
ended
ends_with 0
holds grep -q 'echoes, 0 lost' "$T/serial"

story "a tap is the guest's until its end, and nobody else's while it is only configured"
serve
ask PUT /network-interfaces/n '{"iface_id":"n","host_dev_name":"tap0"}'
is_done
mayfly run --timeout 30s --kernel "$GUESTS/net.elf" --cmdline do=config --net tap=tap0
ends_with 125
says "tap0: another process has this tap"
stop
mayfly run --timeout 30s --kernel "$GUESTS/net.elf" --cmdline do=config --net tap=tap0
ends_with 0

the_end
