#!/bin/sh
# netem.sh LOAD SHAPER FILE: inside the guest, the same packets through real netem and through shaper.
#
# FILE has a line of netem's options each; SHAPER is the command to which `--policy netem:LINE` is added. Prints
# one JSON object for each subject and line: what LOAD printed.
load=$1 shaper=$2 file=$3 rule="INPUT -i lo -p udp -j NFQUEUE --queue-num 0"
ip link set lo up mtu 1500
modprobe nfnetlink_queue
modprobe sch_netem

bound() { grep -q '^ *0 ' /proc/net/netfilter/nfnetlink_queue; }

measure() { # measure NAME LINE RATE SECONDS
    result=$(chrt -f 10 "$load" -s -r "$3" -t "$4")
    printf '{"subject": "%s", "line": "%s", "load": %s}\n' "$1" "$2" "$result"
}

while read -r line; do
    # shellcheck disable=SC2086 # tc takes words
    tc qdisc add dev lo root netem $line limit 100000
    # Everything runs once before it counts: the first read of a file makes the clock leap (guest.sh).
    measure warm-up "$line" 500 0.2 >/dev/null
    measure netem "$line" 970 10
    tc qdisc del dev lo root
    iptables -A $rule
    $shaper --policy "netem:$line" >/tmp/out 2>&1 </dev/null &
    consumer=$!
    for _ in $(seq 600); do bound && break; sleep 0.1; done
    measure warm-up "$line" 500 0.2 >/dev/null
    measure shaper "$line" 970 10
    kill -KILL "$consumer"
    wait "$consumer" 2>/dev/null
    iptables -D $rule
done <"$file"
