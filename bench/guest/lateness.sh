#!/bin/sh
# lateness.sh LOAD HOLD RATES WARM_UP FILE: inside the guest, the lateness of each subject of FILE (lines: name, tab, command).
#
# The command `netem` stands for the kernel's own qdisc, `none` for nothing in the way. Prints one
# JSON object a line: the subject, its CPU time (ns), what LOAD printed. HOLD is in milliseconds; RATES are
# words RATE:SECONDS; WARM_UP is how many packets are sent before them.
load=$1 hold=$2 rates=$3 warm_up=$4 file=$5
. "${0%/*}/subjects.sh"

# CPU time of a process in ns, its threads included.
spent() { [ -z "$1" ] && echo 0 || cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d", sum }'; }

measure() { # measure NAME RATE SECONDS
    before=$(spent "$consumer")
    # With real-time priority the receiver runs as soon as it is woken. So it sees when the packet leaves, and not
    # how long the subject goes on working on this one CPU.
    result=$(chrt -f 10 "$load" -s -r "$2" -t "$3")
    sleep 0.1 # the scheduler books CPU time when the consumer goes to sleep
    printf '{"subject": "%s", "rate": %s, "cpu_ns": %s, "load": %s}\n' "$1" "$2" "$(($(spent "$consumer") - before))" "$result"
}

# The first read of a file makes the clock jump (guest.sh), so everything runs once before it counts.
through() {
    measure warm-up "$warm_up" 1 >/dev/null
    for rate in $rates; do
        measure "$1" "${rate%:*}" "${rate#*:}"
    done
}

through_each "$file" udp "$hold"
