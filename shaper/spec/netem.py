"""Translates a tc-netem line into a pipeline of policies.

    delay 100ms 10ms 25% distribution normal loss 1%
    -> loss:probability=1%  delay:time=100ms,jitter=10ms,correlation=25%,…

Sources: tc-netem(8); netem_parse_opt() in tc/q_netem.c of iproute2 for the spellings, the
defaults and what is refused; netem_enqueue() in the kernel's net/sched/sch_netem.c for what
the options do and in which order, in stable kernels before 7.1.

The pipeline differs from the qdisc in three ways. Slots have a queue of their own, behind that
of the delay, so `limit` applies to each of the two. A duplicate is lost or corrupted independently
of its original. All distributions keep the correlation (see `Distribution.draw`).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from typing import NamedTuple

from shaper.errors import UsageError
from shaper.spec import tc
from shaper.units import exact, format_duration, format_rate, us

LIMIT = 1000
"""Packets that netem holds at most if the line has no limit."""

HEADER = 14
"""Bytes of the Ethernet header (ETH_HLEN in linux/if_ether.h), which qdiscs count; packets on lo have one, too."""


class NetemError(UsageError):
    """A netem line can't be read; the message says what is wrong."""


class Reading(NamedTuple):
    """How one word of a line was understood.

    Attributes:
        option: the option, in full.
        word: as in the line; empty for what the line leaves out.
        meaning: what it means, with its unit.
    """

    option: str
    word: str
    meaning: str


class Line(NamedTuple):
    """What a netem line means.

    Attributes:
        specs: the SPECs of the policies that do what netem does, in netem's order.
        readings: how its words were understood.
    """

    specs: list[str]
    readings: list[Reading]


def translate(line: str) -> list[str]:
    """The SPECs of the policies that do what netem does with these options; see `read`."""
    return read(line).specs


def read(line: str) -> Line:
    """What a netem line means.

    Args:
        line: the options of a `tc qdisc … netem` command, or all of it; see `tc.words_of`.

    Raises:
        NetemError: netem doesn't have such an option, the option can't have this value, or tc
            refuses the line for another reason.
    """
    words, is_shown = options_in(line)
    reader = LineReader(words, is_shown)
    while reader.words:
        reader.option()
    return Line(reader.specs(), reader.readings)


def options_in(line: str) -> tuple[list[str], bool]:
    """The words of netem's options in a line, and whether `tc qdisc show` wrote them; see `tc.words_of`.

    Raises:
        NetemError: there isn't one netem command.
    """
    try:
        return tc.words_of(line)
    except ValueError as error:
        raise NetemError(f"netem: {error}") from None


class LineReader:
    """Reads a line, option by option.

    Args:
        words: of the line.
        is_shown: whether they are as `tc qdisc show` writes them, with names that tc doesn't read.

    Attributes:
        words: those not read yet.
        readings: how those before were understood.
    """

    def __init__(self, words: list[str], is_shown: bool = False) -> None:
        self.words = words
        self.readings: list[Reading] = []
        self._is_shown = is_shown
        self._name = ""
        self._limit = LIMIT
        self._stages: dict[str, dict[str, str]] = {}
        # In the order in which tc tries them: an abbreviation is the first that it fits.
        self._options: dict[str, Callable[[], None]] = {
            "limit": self._read_limit,
            "latency": self._read_delay,
            "delay": self._read_delay,
            "loss": self._read_loss,
            "drop": self._read_loss,
            "seed": self._read_seed,
            "ecn": self._read_ecn,
            "reorder": self._read_reorder,
            "corrupt": lambda: self._read_chance("corrupt"),
            "gap": self._read_gap,
            "duplicate": lambda: self._read_chance("duplicate"),
            "distribution": self._read_distribution,
            "rate": self._read_rate,
            "slot": self._read_slot,
        }

    def option(self) -> None:
        """Read one option with its values.

        Raises:
            NetemError: see `read`.
        """
        word = self.words.pop(0)
        name = next((name for name in self._options if name.startswith(word)), None)
        if name is None:
            if "$" in word or "<" in word:
                raise NetemError(f"netem: '{word}' stands for a value; write the value itself")
            close = get_close_matches(word.lower(), self._options, n=1)
            meant = f" (did you mean '{close[0]}'?)" if close else ""
            raise NetemError(f"netem has no option '{word}'{meant}; it has {', '.join(self._options)}")
        self._name = name
        try:
            self._options[name]()
        except ValueError as error:
            raise NetemError(f"netem: {name}: {error}") from None
        except IndexError:
            raise NetemError(f"netem: {name} needs a value") from None

    def specs(self) -> list[str]:
        """The SPECs of the policies, in the order in which netem applies them.

        Raises:
            NetemError: tc refuses this combination of options.
        """
        self._check()
        stages = dict(self._stages)
        if "delay" in stages and "rate" in stages:
            # One stage, as netem has one queue for both, and what it reorders skips both.
            stages["delay"] = {**stages["delay"], **stages.pop("rate")}
        specs = []
        for name in ("duplicate", "loss", "corrupt", "delay", "rate", "slot"):
            if name not in stages:
                continue
            options = {**stages[name], "scope": "queue"}
            if name == "delay" and "rate" not in options:
                # With a rate, netem delays from the last packet in the queue, so order is kept.
                options["order"] = "free"
            if name in ("delay", "rate", "slot"):
                options["limit"] = str(self._limit)
            specs.append(f"{name}:{','.join(f'{key}={value}' for key, value in options.items())}")
        return specs

    def _check(self) -> None:
        """The last part of netem_parse_opt() in tc/q_netem.c."""
        delay, loss = self._stages.get("delay", {}), self._stages.get("loss", {})
        is_delayed = delay.get("time", "0") != "0"
        if delay.get("reorder", "0%") != "0%":
            if not is_delayed:
                raise NetemError("netem: reorder needs a delay for the packets that are not reordered")
        elif delay.get("reorder_gap", "0") != "0":
            raise NetemError(
                "netem: tc refuses gap without reorder; for every nth packet, write reorder 100% gap "
                f"{delay['reorder_gap']}"
            )
        if "ecn" in loss and "model" not in loss and loss.get("probability", "0%") == "0%":
            raise NetemError("netem: ecn needs a loss model")
        if "distribution" in delay and not (is_delayed and delay.get("jitter", "0") != "0"):
            raise NetemError("netem: distribution needs a delay and a jitter: delay 100ms 10ms distribution …")

    # One method for each option.

    def _read_limit(self) -> None:
        word = self._next()
        self._limit = tc.read_size(word)
        if self._limit == 0:
            raise ValueError("no packet may be held, so all are lost; write loss 100%")
        self._note(word, f"at most {self._limit} packets are held")

    def _read_delay(self) -> None:
        self._time("delay", "time")
        if self._is_number():
            self._time("delay", "jitter")
            if self._is_shown:
                self._note("", "tc does not show a distribution; add the one that the qdisc has")
        if self._is_number():
            self._share("delay", "correlation")

    def _read_distribution(self) -> None:
        self._distribution("delay")

    def _read_loss(self) -> None:
        stage = self._stages.get("loss", {})
        if "model" in stage or stage.get("probability", "0%") != "0%":
            raise ValueError("tc takes one loss model a line")
        if not self._is_number():
            model = self._next()
            if model[0] in ".+-":
                raise ValueError(f"'{model}' must begin with a digit, such as 0.5%")
            if model not in ("random", "state", "gemodel"):
                raise ValueError(f"'{model}' is none of random, state, gemodel")
            if model != "random":
                self._stage("loss")["model"] = model
                self._read_chain(*CHAINS[model])
                return
        self._share("loss", "probability")
        if self._is_number():
            self._share("loss", "correlation")

    def _read_chain(self, shown: tuple[str, ...], names: tuple[str, ...], defaults: tuple[int | None, ...]) -> None:
        """The probabilities of a Markov chain: the first, and those of the rest that the line has."""
        first = Decimal(0)
        for shown_as, name, default in zip(shown, names, defaults, strict=True):
            if self._is_shown and self.words[:1] == [shown_as]:
                self.words.pop(0)
            if name == names[0]:
                first = self._share("loss", name)
            elif self._is_number():
                self._share("loss", name)
            else:
                # None: what is missing to 100 %.
                share = 100 - first if default is None else Decimal(default)
                self._stage("loss")[name] = f"{exact(share)}%"
                self._note("", f"{name} {exact(share)}%, by default")

    def _read_seed(self) -> None:
        word = self._next()
        if not (word.isascii() and word.isdigit()):
            raise ValueError(f"'{word}' is not a whole number, 0 or more")
        self._note(word, f"not used: here, --seed {word} decides all chance")

    def _read_ecn(self) -> None:
        self._stage("loss")["ecn"] = "yes"

    def _read_chance(self, name: str) -> None:
        self._share(name, "probability")
        if self._is_number():
            self._share(name, "correlation")

    def _read_reorder(self) -> None:
        self._share("delay", "reorder")
        if self._is_number():
            self._share("delay", "reorder_correlation")

    def _read_gap(self) -> None:
        self._whole("delay", "reorder_gap")

    def _read_rate(self) -> None:
        word = self._next()
        rate = tc.read_rate(word)
        stage = self._stage("rate")
        stage["rate"] = f"{rate}bit"
        self._note(
            word, f"rate {format_rate(rate)}" + ("" if tc.has_unit(word) else ", since without a unit it is in bit/s")
        )
        overhead = int(stage.get("overhead", HEADER)) - HEADER
        if self._shows("packetoverhead") or (not self._is_shown and self._is_number(signed=True)):
            overhead = self._whole("rate", "overhead", signed=True)
        stage["overhead"] = str(HEADER + overhead)
        self._note("", f"{HEADER} bytes more for each packet: netem counts the Ethernet header")
        if self._shows("cellsize") or (not self._is_shown and self._is_number()):
            self._whole("rate", "cell")
        if self._shows("celloverhead") or (not self._is_shown and self._is_number(signed=True)):
            self._whole("rate", "cell_overhead", signed=True)

    def _read_slot(self) -> None:
        stage = self._stage("slot")
        if self._is_number():
            least = most = self._time("slot", "min_delay", without_unit=1)
            if self._is_number():
                most = self._time("slot", "max_delay", without_unit=1)
            if most < least:
                raise ValueError(f"max_delay {stage['max_delay']} is below min_delay {stage['min_delay']}")
        elif self.words[0] == "distribution":
            self.words.pop(0)
            if self._is_shown:
                raise ValueError("tc doesn't show which distribution it is; write slot distribution NAME DELAY JITTER")
            self._distribution("slot")
            self._time("slot", "delay", without_unit=1)
            if self._time("slot", "jitter", without_unit=1) == 0:
                raise ValueError("the jitter of a distribution must be above 0")
        else:
            raise ValueError(f"'{self.words[0]}' is neither a time nor distribution")
        if self.words and "packets".startswith(self.words[0]):
            self.words.pop(0)
            self._whole("slot", "packets")
        if self.words and "bytes".startswith(self.words[0]):
            self.words.pop(0)
            word = self._next()
            stage.update(bytes=str(tc.read_size(word)), overhead=str(HEADER))
            self._note(word, f"bytes {stage['bytes']}, with the Ethernet header of each packet ({HEADER})")

    # Words.

    def _stage(self, name: str) -> dict[str, str]:
        return self._stages.setdefault(name, {})

    def _note(self, word: str, meaning: str) -> None:
        self.readings.append(Reading(self._name, word, meaning))

    def _next(self) -> str:
        word = self.words.pop(0)
        if "$" in word or "<" in word:
            raise ValueError(f"'{word}' stands for a value; write the value itself")
        return word

    def _is_number(self, *, signed: bool = False) -> bool:
        """NEXT_IS_NUMBER and NEXT_IS_SIGNED_NUMBER in tc/q_netem.c."""
        first = self.words[0][:1] if self.words else ""
        return first.isascii() and (first.isdigit() or (signed and first == "-"))

    def _shows(self, name: str) -> bool:
        """Whether this name comes next, as `tc qdisc show` writes it; if so, it is taken."""
        if not self._is_shown or self.words[:1] != [name]:
            return False
        self.words.pop(0)
        return True

    def _time(self, stage: str, name: str, *, without_unit: int = us) -> int:
        """A duration; in tc a number without a unit is in microseconds, or for slots in nanoseconds."""
        word = self._next()
        value = tc.read_time(word, without_unit)
        if stage == "delay" and value > tc.LARGEST_DELAY:
            raise ValueError(f"'{word}' is out of range; tc takes up to {format_duration(tc.LARGEST_DELAY)}")
        self._stage(stage)[name] = format_duration(value)
        unit = "" if tc.has_unit(word) else f", since without a unit it is in {'us' if without_unit == us else 'ns'}"
        self._note(word, f"{name} {format_duration(value)}{unit}")
        return value

    def _share(self, stage: str, name: str) -> Decimal:
        """A share; in tc a number without a unit is in percent."""
        word = self._next()
        value = tc.read_percent(word)
        self._stage(stage)[name] = f"{exact(value)}%"
        self._note(word, f"{name.removeprefix('reorder_')} {exact(value)}%")
        return value

    def _whole(self, stage: str, name: str, *, signed: bool = False) -> int:
        word = self._next()
        value = tc.read_integer(word, signed=signed)
        self._stage(stage)[name] = str(value)
        self._note(word, f"{name.removeprefix('reorder_')} {value}")
        return value

    def _distribution(self, stage: str) -> None:
        word = self._next()
        self._stage(stage)["distribution"] = table = tc.table_of(word)
        self._note(word, f"distribution {table}")


CHAINS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[int | None, ...]]] = {
    "state": (("p13", "p31", "p32", "p23", "p14"), ("p13", "p31", "p32", "p23", "p14"), (None, None, 0, 100, 0)),
    "gemodel": (("p", "r", "1-h", "1-k"), ("p", "r", "bad_loss", "good_loss"), (None, None, 100, 0)),
}
"""For each Markov chain the names of its probabilities in tc's output, those of our options, and the defaults."""
