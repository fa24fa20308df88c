"""A profile: what it says, and how its file is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args

from shaper.errors import UsageError
from shaper.spec.load import expand, load
from shaper.spec.match import Protocol, parse_hooks, parse_interfaces, parse_ports
from shaper.spec.scenario import Phase, Scenario
from shaper.spec.toml import TomlReader
from shaper.units import format_duration, ms, parse_duration

PROTOCOLS = get_args(Protocol)
LISTS: dict[str, Callable[[str], Sequence[int | str]]] = {
    "interface": parse_interfaces,
    "hook": parse_hooks,
    "port": parse_ports,
}
"""The keys of a match that may be a list, each with what reads one item."""
SHORTEST = 1 * ms
"""The shortest phase, in ns."""
DATE = re.compile(r"\d{4}(-\d\d){0,2}")


@dataclass(frozen=True)
class Profile:
    """What a profile says.

    Attributes:
        name: the file's, without its ending.
        pipeline: SPECs, the first policy first.
        about: what the network is like, in a line.
        source: where its numbers come from.
        date: when the source was published, or if it has no date, read: YYYY, YYYY-MM or YYYY-MM-DD.
        match: those of interface, hook, port (these are lists), protocol, source, destination, host and filter that it
            has.
        seed: decides all chance; None if the file has none.
        scenario: pipelines that follow each other, the first of which is `pipeline`; None if nothing changes.
    """

    name: str
    pipeline: tuple[str, ...]
    about: str = ""
    source: str = ""
    date: str = ""
    match: Mapping[str, Any] = field(default_factory=dict)
    seed: str | None = None
    scenario: Scenario | None = None

    def followed_by(self, policies: Sequence[str]) -> tuple[tuple[str, ...], Scenario | None]:
        """The pipeline, or that of the first phase, and the scenario; with these SPECs at the end of each pipeline."""
        specs, scenario = (*self.pipeline, *policies), self.scenario
        if scenario is not None:
            phases = [phase._replace(specs=(*phase.specs, *policies)) for phase in scenario.phases]
            scenario = replace(scenario, phases=tuple(phases))
        return specs, scenario

    def expression(self, filter: str | None = None) -> str | None:
        """Its match as a tcpdump expression, without interface and hook, which a capture doesn't have.

        Args:
            filter: used instead of the profile's own filter.
        """
        parts = []
        if self.match.get("protocol", "all") != "all":
            parts.append("icmp or icmp6" if self.match["protocol"] == "icmp" else self.match["protocol"])
        if "port" in self.match:
            parts.append(" or ".join(f"port {port}" for port in self.match["port"]))
        for key, word in (("source", "src net"), ("destination", "dst net"), ("host", "net")):
            if key in self.match:
                parts.append(f"{word} {ip_network(self.match[key], strict=False)}")
        parts += [part for part in (filter or self.match.get("filter"),) if part]
        return " and ".join(f"({part})" for part in parts) or None


class ProfileError(UsageError):
    """A profile can't be used; the message says what is wrong, with the file and the line."""


def read(text: str, file: str) -> Profile:
    """The profile in a text.

    Args:
        text: TOML.
        file: the name of its file, for the profile's name and for errors.

    Raises:
        ProfileError: the text is not a profile.
    """
    return ProfileReader(text, file).profile()


class ProfileReader(TomlReader):
    """Reads a profile."""

    kind = "a profile"
    error = ProfileError

    def profile(self) -> Profile:
        """The profile with this content.

        Raises:
            ProfileError: the content is not a profile's.
        """
        content = self.content
        self._check_keys(content, ("about", "source", "date", "pipeline", "phase", "repeat", "seed", "match"))
        if "pipeline" in content and "phase" in content:
            self._fail("pipeline", "a profile has a pipeline or phases, not both")
        if "pipeline" not in content and "phase" not in content:
            raise ProfileError(f'{self.file}:1: there is no pipeline; write pipeline = ["delay:20ms"]')
        scenario = self._scenario(content) if "phase" in content else None
        if "repeat" in content and scenario is None:
            self._fail("repeat", "only phases repeat; write a [[phase]] for each pipeline")
        texts = {key: self._text(content, key) for key in ("about", "source", "date")}
        if texts["date"] and not DATE.fullmatch(texts["date"]):
            self._fail("date", f"'{texts['date']}' is not a date, such as 2024-05-31, 2024-05 or 2024")
        return Profile(
            name=Path(self.file).stem,
            pipeline=scenario.phases[0].specs if scenario else self._pipeline(content["pipeline"]),
            **texts,
            match=self._match(content.get("match", {})),
            seed=self._seed(),
            scenario=scenario,
        )

    def _pipeline(self, specs: object, key: str = "pipeline", section: str = "", nth: int = 1) -> tuple[str, ...]:
        if not isinstance(specs, list) or not specs or not all(isinstance(spec, str) for spec in specs):
            self._fail(key, 'a pipeline is a list of policies, such as ["delay:20ms", "loss:1%"]', section, nth)
        for spec in specs:
            try:
                for one in expand([spec]):
                    load(one)
            except UsageError as error:
                self._fail(key, str(error), section, nth, value=spec)
        return tuple(specs)

    def _scenario(self, content: dict[str, Any]) -> Scenario:
        tables, repeat = content["phase"], content.get("repeat", False)
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._fail("phase", "each phase is a table: [[phase]]")
        if not isinstance(repeat, bool):
            self._fail("repeat", "repeat is true or false")
        phases = []
        for nth, table in enumerate(tables, 1):
            stays = nth == len(tables) and not repeat
            phases.append(self._phase(table, nth, stays=stays))
        return Scenario(tuple(phases), repeat)

    def _phase(self, table: dict[str, Any], nth: int, *, stays: bool) -> Phase:
        self._check_keys(table, ("for", "policies"), "phase", nth)
        if "policies" not in table:
            self._fail("", f'phase {nth} has no policies; write policies = ["delay:20ms"]', "phase", nth)
        if stays and "for" in table:
            self._fail("for", "the last phase stays; leave out its `for`, or write repeat = true", "phase", nth)
        if not stays and "for" not in table:
            self._fail("", f'phase {nth} does not say how long it lasts; write for = "10s"', "phase", nth)
        try:
            lasts = 0 if stays else parse_duration(self._text(table, "for", "phase"))
        except ValueError as error:
            self._fail("for", str(error), "phase", nth)
        if not stays and lasts < SHORTEST:
            self._fail("for", f"a phase lasts at least {format_duration(SHORTEST)}", "phase", nth)
        return Phase(self._pipeline(table["policies"], "policies", "phase", nth), lasts)

    def _match(self, match: object) -> dict[str, Any]:
        if not isinstance(match, dict):
            self._fail("match", "match is a table: [match]")
        known = ("interface", "hook", "protocol", "port", "source", "destination", "host", "filter")
        self._check_keys(match, known, "match")
        checked: dict[str, Any] = {key: self._text(match, key, "match") for key in match if key not in LISTS}
        if checked.get("protocol", "all") not in PROTOCOLS:
            self._fail("protocol", f"'{checked['protocol']}' is none of {', '.join(PROTOCOLS)}", "match")
        for key in ("source", "destination", "host"):
            if key in checked:
                try:
                    ip_network(checked[key], strict=False)
                except ValueError:
                    self._fail(key, f"'{checked[key]}' is not an IP address or network", "match")
        return {**checked, **{key: self._list(match[key], key) for key in match if key in LISTS}}

    def _list(self, value: object, key: str) -> list[int | str]:
        """The items of one of `LISTS`, which may also be written without brackets."""
        given = value if isinstance(value, list) else [value]
        kinds = (int, str) if key == "port" else (str,)
        if not given or not all(type(each) in kinds for each in given):
            what = "a number or a name" if key == "port" else "a text, in quotes"
            self._fail(key, f"{'an' if key == 'interface' else 'a'} {key} is {what}, or a list of these", "match")
        try:
            return [item for each in given for item in LISTS[key](str(each))]
        except ValueError as error:
            self._fail(key, str(error), "match")

    def _text(self, table: dict[str, Any], key: str, section: str = "") -> str:
        value = table.get(key)
        if key == "date" and isinstance(value, date):  # TOML has dates without quotes
            return value.isoformat()
        return super()._text(table, key, section)
