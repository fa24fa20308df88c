"""Makes the recording of README.md, docs/recording.svg, from a real run on the kernel's own netem: ./dev recording."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from docs.guest import ROOT, on_netem

PICTURE = Path(__file__).parent / "recording.svg"
COMPARE = (
    "shaper compare --condition 'netem:\"delay 100ms\"' \\\n    --condition 'spread=delay:100ms | spread_burst:100ms'"
)
SESSION = ("# The same delay twice: by netem, and with the packets of a burst spread.", COMPARE)
"""What is typed, and then really run."""
TYPING = 0.04
"""Seconds between two keys."""
GEOMETRY = "80x35"
LONGEST, SHORTEST, LOOP = 400, 40, 8000
"""Milliseconds of a frame, and of the last one. In the guest, the clock jumps when a file is first read."""
# All is run once before, so that most files have been read. termtosvg ends with its standard input, so that is a pipe
# which never does.
SCRIPT = f"""
export TERM=xterm-256color PATH={ROOT}/.venv/bin:$PATH
{COMPARE} --repeat 1 --timeout 60s >/dev/null 2>&1
pipe=$(mktemp -u) && mkfifo "$pipe"
termtosvg "$PICTURE" -c 'python -m docs.recording session' -g {GEOMETRY} -m {SHORTEST} -M {LONGEST} -D {LOOP} \
    -t window_frame 0<>"$pipe" >/dev/null
"""


def session() -> None:
    """What is recorded. No other process is started for the typing: this would take its time, too."""
    for line in SESSION:
        sys.stdout.write("\033[32m$\033[0m ")
        for key in line:
            sys.stdout.write(key)
            sys.stdout.flush()
            time.sleep(TYPING)
        print(flush=True)
        subprocess.run(line, shell=True, check=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["session"]:
        session()
    else:
        on_netem(SCRIPT, PICTURE)
        print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB")
