#!/bin/sh
# bulk.sh PYTHON STREAM HOLD FILE: inside the guest, one TCP flow over lo through each subject of FILE (lines: name, tab, command).
#
# The command `netem` stands for the kernel's own qdisc, `none` for nothing in the way. Prints one JSON object
# a line: the subject, what STREAM's receiver printed. HOLD is in milliseconds.
python=$1 stream=$2 hold=$3 file=$4 rule="INPUT -i lo -p tcp -j NFQUEUE --queue-num 0"
ip link set lo up mtu 1500
modprobe nfnetlink_queue
modprobe sch_netem

bound() { grep -q '^ *0 ' /proc/net/netfilter/nfnetlink_queue; }

measure() { # measure NAME WARM_UP SECONDS
    "$python" "$stream" receive 127.0.0.1 9999 "$2" "$3" >/tmp/received &
    receiver=$!
    until grep -q listening /tmp/received; do sleep 0.01; done
    "$python" "$stream" send 127.0.0.1 9999 "$2" "$3" || { kill "$receiver"; cat /tmp/out >&2; }
    wait "$receiver" && printf '{"subject": "%s", "stream": %s}\n' "$1" "$(grep '^{' /tmp/received)"
}

while IFS='	' read -r name command; do
    consumer=
    case $command in
        none) ;;
        netem) tc qdisc add dev lo root netem delay "${hold}ms" limit 100000 ;;
        *)
            iptables -A $rule
            $command >/tmp/out 2>&1 </dev/null &
            consumer=$!
            for _ in $(seq 600); do bound && break; sleep 0.1; done
            ;;
    esac
    # Everything runs once before it counts: the first read of a file makes the clock leap (guest.sh).
    measure warm-up 0 0.05 >/dev/null
    measure "$name" 0.4 0.3
    [ "$command" = netem ] && tc qdisc del dev lo root
    if [ -n "$consumer" ]; then
        kill -KILL "$consumer"
        wait "$consumer" 2>/dev/null
        iptables -D $rule
        # shaper's guardian lets go of the queue a little later than shaper.
        for _ in $(seq 600); do bound || break; sleep 0.1; done
    fi
done <"$file"
