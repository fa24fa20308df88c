"""Factors: what a sweep varies, and over which values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shaper.errors import UsageError
from shaper.experiment.results import Level
from shaper.policy.options import Option, options_of
from shaper.probe.ends import workload
from shaper.spec.load import find, load, split_spec, suggest
from shaper.units import ms

WORKLOAD = "workload"
"""What a factor that varies an option of the workload begins with."""
RANGE = re.compile(r"(?P<low>.+?)\.\.(?P<high>.+?)/(?P<count>\d+)(?P<log>log)?")
SCALES = {"duration": (ms, "ms"), "share": (0.01, "%")}
"""By the kind of an option: its unit in tables, and how much that is."""
MOST = 1000
"""Values of one range."""


@dataclass(frozen=True)
class Factor:
    """An option that takes several values.

    Attributes:
        name: the text before the values, without its equals sign: "delay:time".
        unit: of its levels: "ms", "%", another word for the kind of number, or "text" if they are none.
        values: as they are written in a SPEC.
        levels: the same as numbers, or as words.
    """

    name: str
    unit: str
    values: tuple[str, ...]
    levels: tuple[Level, ...]

    @property
    def is_number(self) -> bool:
        """Whether a line can be drawn over it."""
        return self.unit != "text"

    @property
    def of_workload(self) -> bool:
        """It is an option of the workload, and not of a policy."""
        return self.name.startswith(f"{WORKLOAD}:")

    def spec(self, value: str) -> str:
        """The SPEC, or the option of the workload, with this value."""
        return f"{self.name.removeprefix(f'{WORKLOAD}:')}={value}"


def parse(text: str, workload_name: str = "") -> Factor:
    """The factor of --vary HEAD:[OPTION=VALUE,…]OPTION=VALUES, such as `delay:only=syn,time=0..200ms/9`.

    VALUES are `a,b,c`; or `a..b/n`, n of them from a to b at equal distances; or `a..b/nlog`, at equal ratios.

    Raises:
        UsageError: it can't be read, or there is no such policy or option.
    """
    name, equals, values = text.rpartition("=")
    first, colon, after = name.partition(":")
    head, options = (first, after) if first == WORKLOAD else split_spec(name)
    if equals and colon and not options:
        find(first)  # no policy; the error says so
    fixed, _, option_name = options.rpartition(",")
    if not equals or not option_name or not values:
        raise UsageError(f"--vary '{text}' is not POLICY:OPTION=VALUES, such as delay:time=0..200ms/9")
    if head == WORKLOAD:
        if not workload_name:
            raise UsageError(f"--vary '{text}' varies a workload; name it with --workload")
        known = options_of(type(workload.load(workload_name)))
    else:
        known = options_of(find(head))
        load(f"{head}:{fixed}" if fixed else head)
    if option_name not in known:
        raise UsageError(
            f"{head} has no option '{option_name}'{suggest(option_name, known)}; it has {', '.join(known)}"
        )
    option = known[option_name]
    try:
        written = _values(values, option)
        numbers = [option.parse(value) for value in written]
    except ValueError as error:
        raise UsageError(f"--vary '{text}': {error}") from None
    if len(set(written)) < len(written) or len(written) < 2:
        raise UsageError(f"--vary '{text}': two different values are needed at least, and none twice")
    if all(type(each) in (int, float) for each in numbers):
        scale, unit = SCALES.get(option.kind, (1, option.kind))
        return Factor(name, unit, tuple(written), tuple(each / scale for each in numbers))
    return Factor(name, "text", tuple(written), tuple(written))


def _values(text: str, option: Option) -> list[str]:
    if (found := RANGE.fullmatch(text)) is None:
        return [each.strip() for each in text.split(",")]
    low, high, count = _number(found["low"], option), _number(found["high"], option), int(found["count"])
    if not 2 <= count <= MOST:
        raise ValueError(f"a range has 2 to {MOST} values, not {count}")
    if found["log"] and min(low, high) <= 0:
        raise ValueError("a range with equal ratios has no 0 in it")
    return [option.format(_between(low, high, place / (count - 1), bool(found["log"]))) for place in range(count)]


def _number(text: str, option: Option) -> Any:
    value = option.parse(text)
    if type(value) not in (int, float):
        raise ValueError(f"{option.name} has no ranges; give its values with commas")
    return value


def _between(low: Any, high: Any, share: float, log: bool) -> Any:
    value = low * (high / low) ** share if log else low + (high - low) * share
    kind: Callable[[Any], Any] = round if type(low) is int and type(high) is int else float
    return kind(value)
