"""Plan: the options of a sweep, in a TOML file.

    command = ["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8000/"]
    server = "python3 -m http.server"
    vary = ["delay:time=0..100ms/5", "loss:probability=0,1%"]
    policy = ["rate:10mbit"]
    repeat = 10

The keys are named like the options of `shaper sweep`; all may be left out. Texts may stand for lists of one.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from shaper.errors import UsageError
from shaper.experiment.factors import WORKLOAD, parse
from shaper.experiment.measures import sources
from shaper.probe.ends import workload
from shaper.spec.load import expand, load
from shaper.spec.toml import TomlReader
from shaper.units import parse_duration

SUFFIX = ".toml"
COMMANDS = ("command", "server")
LISTS = ("vary", "policy", "measure")
TEXTS = ("workload", "timeout", "dask", "output", "figure")
NUMBERS = ("repeat", "mtu", "at-once")


def read(file: str) -> dict[str, Any]:
    """The values of the options, as they would be given, by their names with underscores.

    Raises:
        UsageError: the file is not a plan; the message names the line and the key.
        OSError: it can't be read.
    """
    return PlanReader.of_file(file).plan()


class PlanReader(TomlReader):
    """Reads a plan."""

    kind = "a plan"

    def plan(self) -> dict[str, Any]:
        """See `read`."""
        content = self.content
        self._check_keys(content, (*COMMANDS, *LISTS, *TEXTS, *NUMBERS, "seed"))
        if "command" in content and "workload" in content:
            self._fail("workload", "a plan has a command or a workload, not both")
        found: dict[str, Any] = {key: self._command(key) for key in COMMANDS if key in content}
        found |= {key: self._list(key) for key in LISTS if key in content}
        found |= {key: self._text(content, key) for key in TEXTS if key in content}
        found |= {key.replace("-", "_"): self._number(key) for key in NUMBERS if key in content}
        if "seed" in content:
            found["seed"] = self._seed()
        if "workload" in found:
            self._check("workload", [found["workload"]], workload.load)
        if "timeout" in found:
            self._check("timeout", [found["timeout"]], parse_duration)
        self._check("policy", found.get("policy", ()), lambda spec: [load(one) for one in expand([spec])])
        self._check("measure", found.get("measure", ()), lambda text: sources([text]))
        # What varies an option of a workload that is named on the command line can't be checked here.
        known = [text for text in found.get("vary", ()) if "workload" in found or not text.startswith(f"{WORKLOAD}:")]
        self._check("vary", known, lambda text: parse(text, found.get("workload", "")))
        return found

    def _check(self, key: str, texts: list[str], use: Callable[[str], object]) -> None:
        for text in texts:
            try:
                use(text)
            except (UsageError, ValueError) as error:
                self._fail(key, f"{key}: {str(error).removeprefix(f'--{key} ')}", value=text)

    def _command(self, key: str) -> list[str]:
        value = self.content[key]
        if isinstance(value, str):
            try:
                value = shlex.split(value)
            except ValueError as error:
                self._fail(key, f"{key}: {error}")
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            self._fail(key, f"{key} is a text, or a list of words in quotes")
        return value

    def _list(self, key: str) -> list[str]:
        value = self.content[key]
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            self._fail(key, f"{key} is a text in quotes, or a list of these")
        return texts

    def _number(self, key: str) -> int:
        value = self.content[key]
        if type(value) is not int or value < 1:
            self._fail(key, f"{key} is a whole number from 1 on")
        return value
