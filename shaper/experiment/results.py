"""Results: what was measured in the trials of a plan, and the Parquet file that keeps it.

The file has one row for each trial and measure. docs/experiments.md has its columns.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.errors import ShaperError, UsageError
from shaper.experiment.measures import Measure, flags
from shaper.experiment.trial import Outcome, Trial

if TYPE_CHECKING:
    import pyarrow
    from rich.console import Console

VERSION = 1
METADATA = b"shaper.experiment"
"""The key of the file's metadata that holds `Results.about`."""
Level = str | float
"""A factor's value: a number in the factor's unit, or a word."""


class Result(NamedTuple):
    """What was measured in one trial.

    Attributes:
        key: the trial's.
        levels: the value of each factor, by its name.
        block: in which block, from 0, the trial was.
        started: when it ended its wait for its turn, in seconds since 1970.
        status: of the command; see `Outcome`.
        wanted_ms, actual_ms, late_ms: the median hold as planned and as it was, and the lateness of the last packet in
            a hundred.
        flags: what makes it doubtful, each with its number.
        host, kernel: where it ran.
    """

    key: str
    levels: Mapping[str, Level]
    block: int
    seed: str
    policies: tuple[str, ...]
    started: float
    status: int | None
    wanted_ms: float
    actual_ms: float
    late_ms: float
    flags: Mapping[str, float]
    measures: Mapping[str, Measure]
    host: str = os.uname().nodename
    kernel: str = os.uname().release


def result_of(
    trial: Trial, outcome: Outcome, levels: Mapping[str, Level], block: int, measures: Mapping[str, Measure]
) -> Result:
    """The result of a trial that has just ended."""
    summary = outcome.summary
    return Result(
        trial.key,
        levels,
        block,
        trial.seed,
        trial.policies,
        time.time() - outcome.duration / 1e9,
        outcome.status,
        summary["wanted_hold"]["p50_ms"],
        summary["actual_hold"]["p50_ms"],
        summary["lateness"]["p99_ms"],
        flags(outcome),
        measures,
        outcome.host,
        outcome.kernel,
    )


@dataclass
class Results:
    """The results of the trials so far.

    Attributes:
        about: what was run: the kind of the plan, the command or the workload, the factors with their units.
    """

    about: dict[str, Any]
    of: list[Result] = field(default_factory=list)

    @property
    def keys(self) -> set[str]:
        """The trials that need not be run again."""
        return {result.key for result in self.of}

    def doubtful(self) -> dict[str, int]:
        """How many trials have each flag."""
        names = sorted({flag for result in self.of for flag in result.flags})
        return {name: sum(name in result.flags for result in self.of) for name in names}

    def show_doubts(self, out: Console) -> None:
        """Print how many trials have each flag."""
        for name, count in self.doubtful().items():
            out.print(f"{count} of {len(self.of)} trials: {name}")

    def write(self, path: Path) -> None:
        """Write them into a Parquet file. What was there before stays until the new one is whole.

        Raises:
            OSError: it can't be written.
        """
        import pyarrow.parquet

        table = self._table().replace_schema_metadata({METADATA: json.dumps({"v": VERSION, **self.about}).encode()})
        new = path.with_name(f".{path.name}.new")
        pyarrow.parquet.write_table(table, new)
        os.replace(new, path)

    def _table(self) -> pyarrow.Table:
        import pyarrow as pa

        units: dict[str, str] = self.about["factors"]
        columns: list[tuple[str, pyarrow.DataType]] = [
            ("key", pa.string()), ("block", pa.int32()), ("seed", pa.string()), ("policies", pa.list_(pa.string())),
            ("started", pa.timestamp("ms", tz="UTC")), ("host", pa.string()), ("kernel", pa.string()),
            ("status", pa.int32()), ("wanted_ms", pa.float64()), ("actual_ms", pa.float64()), ("late_ms", pa.float64()),
            ("flags", pa.map_(pa.string(), pa.float64())), ("measure", pa.string()), ("unit", pa.string()),
            ("value", pa.float64()),
        ]  # fmt: skip
        columns += [(name, pa.string() if unit == "text" else pa.float64()) for name, unit in units.items()]
        return pa.Table.from_pylist(list(self._rows()), schema=pa.schema(columns))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for result in self.of:
            for name, measure in result.measures.items():
                yield {
                    "key": result.key, "block": result.block, "seed": result.seed, "policies": list(result.policies),
                    "started": round(result.started * 1000), "host": result.host, "kernel": result.kernel,
                    "status": result.status, "wanted_ms": result.wanted_ms, "actual_ms": result.actual_ms,
                    "late_ms": result.late_ms, "flags": list(result.flags.items()), "measure": name,
                    "unit": measure.unit, "value": measure.value, **result.levels,
                }  # fmt: skip

    def resume(self, path: Path) -> None:
        """Take what a file already has, if there is one.

        Raises:
            UsageError: it holds the results of another plan.
            ShaperError: it is no file of results.
        """
        if path.exists():
            before = read(path)
            if before.about != self.about:
                raise UsageError(f"{path} has the results of something else; give another file, or remove it")
            self.of = before.of


def check(path: Path) -> None:
    """Check that results can be written to this file, before the trials are run.

    Raises:
        UsageError: they can't; the message says what to do.
    """
    _check_kind(path)
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"{path}: there is no such folder, or nothing can be written there")


def _check_kind(path: Path) -> None:
    if path.suffix != ".parquet":
        raise UsageError(f"{path}: results are written as .parquet")
    if find_spec("pyarrow") is None:
        raise UsageError("files of results need pyarrow: pip install 'nfq-shaper[experiment]'")


def read(path: Path, plan: str | None = None) -> Results:
    """Read a file of results.

    Args:
        plan: "sweep" or "causal", if they have to be of this plan.

    Raises:
        ShaperError: it is none, or of another version.
        UsageError: there is no such file, it has the results of another plan, or pyarrow is missing.
        OSError: it can't be read.
    """
    _check_kind(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        about = json.loads((table.schema.metadata or {})[METADATA])
        if (version := about.pop("v")) != VERSION:
            raise ShaperError(f"{path}: version {version} of the results; this shaper reads {VERSION}")
        if plan not in (None, about["plan"]):
            raise UsageError(f"{path} is of `shaper {about['plan']}`; see `shaper {about['plan']} show {path}`")
        return Results(about, _results(table.to_pylist(), list(about["factors"])))
    except (pyarrow.ArrowInvalid, KeyError, ValueError, TypeError) as error:
        raise ShaperError(f"{path}: not the results of shaper's experiments ({error})") from None


def _results(rows: Iterable[Mapping[str, Any]], factors: Sequence[str]) -> list[Result]:
    found: dict[str, Result] = {}
    measures: dict[str, dict[str, Measure]] = {}
    for row in rows:
        key = row["key"]
        measures.setdefault(key, {})[row["measure"]] = Measure(row["value"], row["unit"])
        if key not in found:
            found[key] = Result(
                key, {name: row[name] for name in factors}, row["block"], row["seed"], tuple(row["policies"]),
                row["started"].timestamp(), row["status"], row["wanted_ms"], row["actual_ms"], row["late_ms"],
                dict(row["flags"]), measures[key], row["host"], row["kernel"],
            )  # fmt: skip
    return list(found.values())
