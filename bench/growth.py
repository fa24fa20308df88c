"""Whether a packet costs more when more packets are held, with more flows, and with more stages in the pipeline."""

from rich.table import Table

from bench import idle
from bench.compiled import BenchError
from bench.plan import Figures, Plan, interleave
from bench.subjects import MS, Subject, shaper, shaper_delay
from bench.trial import Trial

RATE = 20_000
HELD = {5: 100, 50: 1_000, 500: 10_000, 3000: 60_000}
"""Hold in ms -> packets held at RATE."""
FLOWS = [1, 1_000, 100_000]
STAGES = [1, 2, 4, 8]
IDLE = f"flows, of which the newest {idle.FLOWS:,} are in use"


def measure(plan: Plan) -> Figures:
    """What grows -> how many there are -> CPU time per packet and memory."""
    figures: Figures = {}
    figures["packets held"] = interleave(
        plan.rounds, list(HELD), lambda hold: cost(shaper_delay(hold * MS)), lambda hold: str(HELD[hold])
    )
    figures["flows"] = interleave(plan.rounds, FLOWS, lambda many: cost(shaper_delay(20 * MS), many), str)
    figures["stages"] = interleave(plan.rounds, STAGES, lambda many: cost(pipeline(many)), str)
    figures[IDLE] = idle.waves()
    return figures


def expected(plan: Plan) -> float:
    held = sum(length(hold * MS) + 2 * hold / 1000 for hold in HELD)
    others = sum(length(20 * MS, many) for many in FLOWS) + sum(length(many * 5 * MS) for many in STAGES)
    return plan.rounds * (held + others + 2 * len([*HELD, *FLOWS, *STAGES])) + 15


def pipeline(stages: int) -> Subject:
    """shaper with this many delays of 5 ms."""
    return Subject(f"shaper, {stages} delays", shaper(*["delay:time=5ms"] * stages), stages * 5 * MS)


def cost(subject: Subject, flows: int = 1) -> dict[str, float]:
    """CPU time per packet, and the memory gained, while RATE times the hold packets are held.

    Raises:
        BenchError: packets were lost.
    """
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        before = trial.resident()
        result, cost = trial.load_and_cost(rate=RATE, seconds=length(subject.hold, flows), flows=flows)
        if result.received < result.sent:
            raise BenchError(f"{result.sent - result.received} packets lost")
        return {"cpu_us": cost, "grown": trial.resident() - before}


def length(hold: int, flows: int = 1) -> float:
    """Seconds to send for: long enough that all holds are full for half of the time, and that each flow is seen."""
    return max(2 * hold / 1e9, 2, flows / RATE * 1.2)


def tables(figures: Figures) -> list[Table]:
    return [idle_table(kind, found) if kind == IDLE else table(kind, found) for kind, found in figures.items()]


def table(kind: str, found: dict[str, dict[str, float]]) -> Table:
    table = Table(title=f"Cost per packet as {kind} grow, delay, {RATE} packets/s", title_justify="left")
    table.add_column(kind, justify="right")
    table.add_column("CPU µs/packet", justify="right")
    table.add_column("memory beyond the first row's, bytes each", justify="right")
    least = min(found, key=int)
    for name, each in found.items():
        more = int(name) - int(least)
        memory = f"{(each['grown'] - found[least]['grown']) / more:,.0f}" if more and kind != "stages" else "-"
        table.add_row(name, f"{each['cpu_us']:.1f}", memory)
    return table


def idle_table(kind: str, found: dict[str, dict[str, float]]) -> Table:
    """The memory after each wave of flows."""
    table = Table(title="Memory as flows come and are left, virtual time", title_justify="left")
    table.add_column(kind, justify="right")
    table.add_column("MB", justify="right")
    for name, each in found.items():
        table.add_row(name, f"{each['bytes'] / 1e6:.1f}")
    return table
