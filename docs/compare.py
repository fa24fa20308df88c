"""Makes the picture of the comparison, docs/compare.svg, on the kernel's own netem: python -m docs.compare, as root."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from docs.guest import on_netem

PICTURE = Path(__file__).parent / "compare.svg"
CONDITIONS = ('netem:"delay 100ms"', "spread=delay:time=100ms | spread_burst:gap=100ms")
# In the guest, the first read of a file makes the clock jump. So all is run once before it counts.
SCRIPT = '{compare} --repeat 1 --timeout 60s >/dev/null 2>&1; {compare} --figure "$PICTURE"'

if __name__ == "__main__":
    here = [sys.executable, "-m", "shaper", "compare"]
    given = [word for condition in CONDITIONS for word in ("--condition", condition)]
    on_netem(SCRIPT.format(compare=shlex.join([*here, *given])), PICTURE)
