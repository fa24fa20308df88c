"""Whether a packet costs more as more are held, as flows and as stages of the pipeline become more."""

from rich.table import Table

from bench.plan import Figures, Plan, interleave
from bench.programs import BenchError
from bench.subjects import MS, Subject, shaper, shaper_delay
from bench.trial import Trial

RATE = 20_000


def measure(plan: Plan) -> Figures:
    held = {5: 100, 50: 1_000, 500: 10_000, 3000: 60_000}
    stages = [1, 2, 4, 8]
    flows = [1, 1_000, 100_000]
    figures: Figures = {}
    figures["held"] = interleave(
        plan.rounds, list(held), lambda hold: cost(shaper_delay(hold * MS)), lambda hold: f"{held[hold]} packets"
    )
    figures["flows"] = interleave(
        plan.rounds, flows, lambda many: cost(shaper_delay(20 * MS), many), lambda many: f"{many} flows"
    )
    figures["stages"] = interleave(
        plan.rounds, stages, lambda many: cost(pipeline(many)), lambda many: f"{many} delays in a row"
    )
    return figures


def pipeline(stages: int) -> Subject:
    return Subject(f"shaper, {stages} delays", shaper(*["delay:time=5ms"] * stages), stages * 5 * MS)


def cost(subject: Subject, flows: int = 1) -> dict[str, float]:
    """CPU time per packet while as many are held as the hold and the rate make, and the memory that came with it.

    Raises:
        BenchError: packets were lost.
    """
    fill = subject.hold / 1e9
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        before = trial.resident()
        result, cost = trial.load_and_cost(rate=RATE, seconds=max(2 * fill, 2, flows / RATE * 1.2), flows=flows)
        if result.received < result.sent:
            raise BenchError(f"{result.sent - result.received} packets lost")
        grown = trial.resident() - before
        return {"cpu_us": cost, "bytes_per_held": grown / (RATE * fill), "bytes_per_flow": grown / flows}


def tables(figures: Figures) -> list[Table]:
    made = []
    titles = {"held": "packets held", "flows": "flows", "stages": "stages"}
    for kind, found in figures.items():
        table = Table(title=f"Cost per packet as {titles[kind]} grow, {RATE} packets/s", title_justify="left")
        table.add_column(kind)
        table.add_column("CPU µs/packet", justify="right")
        if kind != "stages":
            table.add_column("memory, bytes each", justify="right")
        for name, each in found.items():
            memory = {"held": "bytes_per_held", "flows": "bytes_per_flow"}.get(kind)
            table.add_row(name, f"{each['cpu_us']:.1f}", *([f"{each[memory]:,.0f}"] if memory else []))
        made.append(table)
    return made
