#!/bin/sh
# netem.sh LOAD SHAPER LINE: inside the guest, the same packets through real netem and through shaper.
#
# LINE are netem's options; SHAPER is the command to which `--policy netem:LINE` is added. Prints one
# JSON object for each of the two: its name and what LOAD printed.
load=$1 shaper=$2 line=$3 rule="INPUT -i lo -p udp -j NFQUEUE --queue-num 0"
ip link set lo up mtu 1500
modprobe nfnetlink_queue
modprobe sch_netem

bound() { grep -q '^ *0 ' /proc/net/netfilter/nfnetlink_queue; }

measure() { # measure NAME RATE SECONDS
    printf '{"subject": "%s", "load": %s}\n' "$1" "$(chrt -f 10 "$load" -s -r "$2" -t "$3")"
}

tc qdisc add dev lo root netem $line limit 100000
# Everything runs once before it counts: the first read of a file makes the clock jump (guest.sh).
measure warm-up 500 0.2 >/dev/null
measure netem 970 4
tc qdisc del dev lo root

iptables -A $rule
$shaper --policy "netem:$line" >/tmp/out 2>&1 </dev/null &
consumer=$!
for _ in $(seq 600); do bound && break; sleep 0.1; done
measure warm-up 500 0.2 >/dev/null
measure shaper 970 4
kill -KILL "$consumer" || cat /tmp/out >&2
