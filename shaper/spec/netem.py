"""Translates a tc-netem line into a pipeline of policies.

    delay 100ms 10ms 25% distribution normal loss 1%
    -> loss:probability=1%  delay:time=100ms,jitter=10ms,correlation=25%,…

Sources: tc-netem(8); tc/q_netem.c of iproute2 for the spellings and defaults;
netem_enqueue() in the kernel's net/sched/sch_netem.c for the order of the stages.

The pipeline differs from the qdisc in three ways. Each policy has its own queue, so `limit`
applies to each stage that holds packets. A duplicate is lost or corrupted independently of
its original. All distributions keep the correlation (see `Distribution.draw`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from difflib import get_close_matches

from shaper.errors import UsageError
from shaper.units import format_duration, format_share, parse_duration, parse_rate, parse_share, parse_size, split

LIMIT = 1000
"""Packets that netem holds at most if the line has no limit."""


class NetemError(UsageError):
    """A netem line can't be read; the message says what is wrong."""


def expand(specs: Iterable[str]) -> list[str]:
    """The SPECs, with each `netem:"…"` replaced by the SPECs of its policies.

    Raises:
        NetemError: a netem line can't be read.
    """
    expanded: list[str] = []
    for spec in specs:
        head, colon, line = spec.partition(":")
        expanded += translate(line.strip().strip('"')) if head == "netem" and colon else [spec]
    return expanded


def translate(line: str) -> list[str]:
    """The SPECs of the policies that do what netem does with these options.

    Args:
        line: the options of a `tc qdisc … netem` command, or all of it.

    Raises:
        NetemError: netem doesn't have such an option, or the option can't have this value.
    """
    words = line.split()
    if "netem" in words:
        words = words[words.index("netem") + 1 :]
    reader = LineReader(words)
    while reader.words:
        reader.option()
    return reader.specs()


class LineReader:
    """Reads a line, option by option.

    Args:
        words: of the line.

    Attributes:
        words: those not read yet.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self._limit = LIMIT
        self._stages: dict[str, dict[str, str]] = {}
        self._options: dict[str, Callable[[], None]] = {
            "limit": self._read_limit,
            "delay": self._read_delay,
            "latency": self._read_delay,
            "distribution": self._read_distribution,
            "loss": self._read_loss,
            "drop": self._read_loss,
            "ecn": self._read_ecn,
            "corrupt": lambda: self._read_chance("corrupt"),
            "duplicate": lambda: self._read_chance("duplicate"),
            "reorder": self._read_reorder,
            "gap": self._read_gap,
            "rate": self._read_rate,
            "slot": self._read_slot,
        }

    def option(self) -> None:
        """Read one option with its values.

        Raises:
            NetemError: see `translate`.
        """
        name = self.words.pop(0)
        if name not in self._options:
            close = get_close_matches(name, self._options, n=1)
            meant = f" (did you mean '{close[0]}'?)" if close else ""
            raise NetemError(f"netem has no option '{name}'{meant}; it has {', '.join(self._options)}")
        try:
            self._options[name]()
        except ValueError as error:
            raise NetemError(f"netem: {name}: {error}") from None
        except IndexError:
            raise NetemError(f"netem: {name} needs a value") from None

    def specs(self) -> list[str]:
        """The SPECs of the policies, in the order in which netem applies them.

        Raises:
            NetemError: an option lacks another one that it needs.
        """
        delay = self._stages.get("delay", {})
        if "reorder" in delay and "time" not in delay:
            raise NetemError("netem: reorder needs a delay for the packets that are not reordered")
        if "ecn" in self._stages.get("loss", {}) and len(self._stages["loss"]) == 1:
            raise NetemError("netem: ecn needs a loss model")
        specs = []
        for name in ("duplicate", "loss", "corrupt", "delay", "rate", "slot"):
            if name not in self._stages:
                continue
            options = {**self._stages[name], "scope": "queue"}
            if name == "delay" and "rate" not in self._stages:
                # With a rate, netem delays from the last packet in the queue, so order is kept.
                options["order"] = "free"
            if name in ("delay", "rate", "slot"):
                options["limit"] = str(self._limit)
            specs.append(f"{name}:{','.join(f'{key}={value}' for key, value in options.items())}")
        return specs

    # One method for each option.

    def _read_limit(self) -> None:
        self._limit = int(self.words.pop(0))

    def _read_delay(self) -> None:
        stage = self._stage("delay")
        stage["time"] = self._time()
        if self._is_number():
            stage["jitter"] = self._time()
        if self._is_number():
            stage["correlation"] = self._share()

    def _read_distribution(self) -> None:
        self._stage("delay")["distribution"] = self._distribution()

    def _read_loss(self) -> None:
        stage = self._stage("loss")
        model = self.words.pop(0) if not self._is_number() else "random"
        if model == "random":
            stage["probability"] = self._share()
            if self._is_number():
                stage["correlation"] = self._share()
        elif model == "state":
            first = self._share()
            rest = {"p31": _one_minus(first), "p32": "0%", "p23": "100%", "p14": "0%"}
            stage.update({"model": "state", "p13": first, **self._in_turn(rest)})
        elif model == "gemodel":
            first = self._share()
            rest = {"r": _one_minus(first), "bad_loss": "100%", "good_loss": "0%"}
            stage.update({"model": "gemodel", "p": first, **self._in_turn(rest)})
        else:
            raise ValueError(f"'{model}' is none of random, state, gemodel")

    def _read_ecn(self) -> None:
        self._stage("loss")["ecn"] = "yes"

    def _read_chance(self, name: str) -> None:
        stage = self._stage(name)
        stage["probability"] = self._share()
        if self._is_number():
            stage["correlation"] = self._share()

    def _read_reorder(self) -> None:
        stage = self._stage("delay")
        stage["reorder"] = self._share()
        if self._is_number():
            stage["reorder_correlation"] = self._share()

    def _read_gap(self) -> None:
        stage = self._stage("delay")
        stage["reorder_gap"] = str(int(self.words.pop(0)))
        # Without a share, every gap-th packet is reordered: netem_change() in the kernel.
        stage.setdefault("reorder", "100%")

    def _read_rate(self) -> None:
        stage = self._stage("rate")
        stage["rate"] = f"{parse_rate(self.words.pop(0))}bit"
        for name, is_signed in (("overhead", True), ("cell", False), ("cell_overhead", True)):
            if self._is_number():
                word = self.words.pop(0)
                stage[name] = str(int(word) if is_signed else parse_size(word))

    def _read_slot(self) -> None:
        stage = self._stage("slot")
        if self.words[0] == "distribution":
            self.words.pop(0)
            stage["distribution"] = self._distribution()
            stage["delay"] = self._time()
            stage["jitter"] = self._time()
        else:
            stage["min_delay"] = self._time()
            if self._is_number():
                stage["max_delay"] = self._time()
        while self.words and self.words[0] in ("packets", "bytes"):
            name = self.words.pop(0)
            word = self.words.pop(0)
            stage[name] = str(int(word) if name == "packets" else parse_size(word))

    # Words.

    def _stage(self, name: str) -> dict[str, str]:
        return self._stages.setdefault(name, {})

    def _is_number(self) -> bool:
        return bool(self.words) and self.words[0].lstrip("+-")[:1].isdigit()

    def _in_turn(self, rest: dict[str, str]) -> dict[str, str]:
        """The values of these options, in order; the default for each that the line doesn't have."""
        return {name: self._share() if self._is_number() else default for name, default in rest.items()}

    def _time(self) -> str:
        """A duration; in tc a number without a unit is in microseconds."""
        word = self.words.pop(0)
        _, unit = split(word)
        return format_duration(parse_duration(word if unit else f"{word}us"))

    def _share(self) -> str:
        """A share; in tc a number without a unit is in percent."""
        word = self.words.pop(0)
        _, unit = split(word)
        return format_share(parse_share(word if unit else f"{word}%"))

    def _distribution(self) -> str:
        """One of tc's distributions; any other name is a file NAME.dist in the current directory."""
        word = self.words.pop(0)
        return word if word in ("uniform", "normal", "pareto", "paretonormal") else f"{word.removesuffix('.dist')}.dist"


def _one_minus(share: str) -> str:
    return f"{100 - Decimal(share.removesuffix('%'))}%"
