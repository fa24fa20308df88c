#!/bin/sh
# lateness.sh LOAD HOLD RATES WARM_UP FILE: inside the guest, the lateness of each subject of FILE (lines: name, tab, command).
#
# The command `netem` stands for the kernel's own qdisc, `none` for nothing in the way. Prints one
# JSON object a line: the subject, its CPU time (ns), what LOAD printed. HOLD is in milliseconds; RATES are
# words RATE:SECONDS; WARM_UP is how many packets come before them.
load=$1 hold=$2 rates=$3 warm_up=$4 file=$5 rule="INPUT -i lo -p udp -j NFQUEUE --queue-num 0"
ip link set lo up mtu 1500
modprobe nfnetlink_queue
modprobe sch_netem

bound() { grep -q '^ *0 ' /proc/net/netfilter/nfnetlink_queue; }

# CPU time of a process in ns, its threads included.
spent() { [ -z "$1" ] && echo 0 || cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d", sum }'; }

measure() { # measure NAME RATE SECONDS
    before=$(spent "$consumer")
    # With real-time priority the receiver runs as soon as it is woken: what is seen is the packet's departure, not
    # how long the subject, on this one CPU, works on after it.
    result=$(chrt -f 10 "$load" -s -r "$2" -t "$3")
    sleep 0.1 # the scheduler books CPU time when the consumer goes to sleep
    printf '{"subject": "%s", "rate": %s, "cpu_ns": %s, "load": %s}\n' "$1" "$2" "$(($(spent "$consumer") - before))" "$result"
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
    # The first read of a file makes the clock leap (guest.sh), so everything runs once before it counts.
    measure warm-up "$warm_up" 1 >/dev/null
    for rate in $rates; do
        measure "$name" "${rate%:*}" "${rate#*:}"
    done
    [ "$command" = netem ] && tc qdisc del dev lo root
    if [ -n "$consumer" ]; then
        kill -KILL "$consumer"
        wait "$consumer" 2>/dev/null
        iptables -D $rule
        # shaper's guardian lets go of the queue a little later than shaper.
        for _ in $(seq 600); do bound || break; sleep 0.1; done
    fi
done <"$file"
