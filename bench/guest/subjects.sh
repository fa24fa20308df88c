# subjects.sh: for the scripts beside it; puts one subject after another in the way of lo's packets.
ip link set lo up mtu 1500
modprobe nfnetlink_queue
modprobe sch_netem

bound() { grep -q '^ *0 ' /proc/net/netfilter/nfnetlink_queue; }

# through_each FILE PROTOCOL HOLD: call `through NAME` with each subject of FILE (lines: name, tab, command) in the way.
#
# The command `netem` stands for the kernel's own qdisc, with HOLD milliseconds, `none` for nothing.
# $consumer is the subject's process, empty where there is none.
through_each() {
    rule="INPUT -i lo -p $2 -j NFQUEUE --queue-num 0"
    while IFS='	' read -r name command; do
        consumer=
        case $command in
            none) ;;
            netem) tc qdisc add dev lo root netem delay "${3}ms" limit 100000 ;;
            *)
                iptables -A $rule
                $command >/tmp/out 2>&1 </dev/null &
                consumer=$!
                for _ in $(seq 600); do bound && break; sleep 0.1; done
                ;;
        esac
        through "$name"
        [ "$command" = netem ] && tc qdisc del dev lo root
        if [ -n "$consumer" ]; then
            kill -KILL "$consumer"
            wait "$consumer" 2>/dev/null
            iptables -D $rule
            # shaper's guardian releases the queue a little later than shaper.
            for _ in $(seq 600); do bound || break; sleep 0.1; done
        fi
    done <"$1"
}
