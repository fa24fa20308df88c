"""One TCP flow through a hold, and through the real netem, in the guest with virtual time."""

import sys

from rich.table import Table

from bench import bulk
from bench.bulk import HOLD, megabits
from bench.compiled import BenchError
from bench.in_guest import BOOT, subjects_in_guest
from bench.plan import Figures, Plan, say
from bench.subjects import HERE, MS, Subject

ROUNDS = 1
GUEST = "lo of the guest, virtual time"


def measure(plan: Plan) -> Figures:
    """Mbit/s of payload. netem holds data and ACKs, as all do over lo, and gets TCP packets uncut."""
    arguments = [sys.executable, str(HERE / "stream.py"), str(HOLD // MS)]
    try:
        lines = subjects_in_guest("bulk.sh", *arguments, subjects=subjects())
    except BenchError as error:
        say(f"not measured: {error}")
        return {}
    return {GUEST: {line["subject"]: {"mbit": megabits(line["stream"])} for line in lines}}


def expected(plan: Plan) -> float:
    return BOOT + len(subjects()) * 30


def subjects() -> list[Subject]:
    """No queue, netem, and the subjects of `bulk`."""
    return [Subject("no queue", ["none"]), Subject("netem", ["netem"], HOLD), *bulk.subjects()]


def tables(figures: Figures) -> list[Table]:
    return bulk.tables(figures)
