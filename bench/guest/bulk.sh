#!/bin/sh
# bulk.sh PYTHON STREAM HOLD FILE: inside the guest, one TCP flow over lo through each subject of FILE (lines: name, tab, command).
#
# The command `netem` stands for the kernel's own qdisc, `none` for nothing in the way. Prints one JSON object
# a line: the subject, what STREAM's receiver printed. HOLD is in milliseconds.
python=$1 stream=$2 hold=$3 file=$4
. "${0%/*}/subjects.sh"

measure() { # measure NAME WARM_UP SECONDS
    "$python" "$stream" receive 127.0.0.1 9999 "$2" "$3" >/tmp/received &
    receiver=$!
    until grep -q listening /tmp/received; do sleep 0.01; done
    "$python" "$stream" send 127.0.0.1 9999 "$2" "$3" || { kill "$receiver"; cat /tmp/out >&2; }
    wait "$receiver" && printf '{"subject": "%s", "stream": %s}\n' "$1" "$(grep '^{' /tmp/received)"
}

# Everything runs once before it counts: the first read of a file makes the clock jump (guest.sh).
through() {
    measure warm-up 0 0.05 >/dev/null
    measure "$1" 0.4 0.3
}

through_each "$file" tcp "$hold"
