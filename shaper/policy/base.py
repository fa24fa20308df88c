"""Policy: the base class of all policies, with the options that every policy has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from copy import copy
from functools import lru_cache
from inspect import get_annotations
from random import Random
from typing import Annotated, Any, ClassVar, Literal, Self

from shaper.policy.action import Action
from shaper.policy.signal import Kind, Signal
from shaper.units import Bound, Limit, Share, Unit
from shaper.wire.packet import Packet
from shaper.wire.segment import CLASSES

Answer = Action | Iterable[Action] | None


def parse_classes(text: str) -> frozenset[str]:
    """The segment classes in "syn+synack"; "all" means every class.

    Raises:
        ValueError: a name that is not a class.
    """
    if text == "all":
        return frozenset(CLASSES)
    names = text.split("+")
    for name in names:
        if name not in CLASSES:
            raise ValueError(f"'{name}' is no segment class ({', '.join(CLASSES)})")
    return frozenset(names)


def format_classes(classes: frozenset[str]) -> str:
    """Segment classes as `parse_classes` reads them."""
    return "all" if len(classes) == len(CLASSES) else "+".join(name for name in CLASSES if name in classes)


Classes = Annotated[frozenset[str], Unit("segment classes", parse_classes, format_classes)]


@lru_cache(256)
def _seed(seed: str, direction: str) -> tuple[str, str]:
    """Both together, the same object for all flows."""
    return seed, direction


class Policy:
    """Turns packets and time into actions; does no I/O and reads no clock.

    A packet that its answer doesn't mention goes on at once. An object given to the core is
    a prototype: the core makes a `fresh` one for each flow (or as `scope` says).

    Raises:
        TypeError: an option that this policy doesn't have.
    """

    needs: ClassVar[Literal["headers", "packet"]] = "packet"
    """How much of each packet the kernel copies: the headers, or all of it."""
    shorthand: ClassVar[str | None] = None
    """The option that can be given without its name and `=`."""
    can_hold: ClassVar[bool] = True
    """Whether it holds packets; a policy that doesn't has no `limit`."""

    only: Classes = frozenset(CLASSES)
    """Shape only these segment classes; other packets pass untouched."""
    direction: Literal["original", "reply", "both"] = "both"
    """Shape only packets from the connection's opener, only packets to it, or both."""
    scope: Literal["flow", "connection", "queue"] = "flow"
    """One object per direction of a connection, per connection, or for all packets, like a link."""
    connections: Share = 1.0
    """Shape only this share of the connections, chosen at random; others pass untouched."""
    limit: Bound = Limit()
    """The most one object may hold; packets beyond it are dropped."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "on_packet" in vars(cls) and "constant_hold" not in vars(cls):
            # What a class above says about its `on_packet` doesn't hold for this one.
            type.__setattr__(cls, "constant_hold", None)

    def __init__(self, **options: Any) -> None:
        known = self.option_names()
        for name, value in options.items():
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no option '{name}' (it has {', '.join(known)})")
            setattr(self, name, value)
        self.__counters: Counter[str] = Counter()

    def start(self) -> None:
        """Called once for each new object, before its first packet: set up its state."""

    def on_packet(self, packet: Packet, now: int) -> Answer:
        """Called for each packet; `now` is its arrival, or when the policy before this one sent it (ns)."""
        return None

    def on_wake(self, now: int) -> Answer:
        """Called at the time of a Wake; `now` is that time (ns)."""
        return None

    def on_change(self, changed: Collection[str]) -> None:
        """Called when options have been changed while packets flow, before the object's next packet or wake.

        The new values are set already. State that `start` has made of them has to be made anew here. What the policy
        holds keeps its plan. The question whether it can be changed is put to a started object that gets no packets.

        Args:
            changed: the names of the options.

        Raises:
            ValueError: they can't be changed while packets flow; the message says why, and nothing has changed.
        """

    @property
    def takes_uncut(self) -> bool:
        """Whether it may get TCP segments before they are cut: many as one packet, of up to 64 kB.

        Only if nothing that it does depends on how many packets there are, how long they are, or what is in them. A
        `limit` and `only` need them cut, whatever this says.
        """
        return False

    @property
    def constant_hold(self) -> int | None:
        """How long (ns) it holds every packet, whatever that is; None if it has to be asked, by `on_packet`.

        If it is so, `on_packet` isn't called, which saves CPU time. A class with an `on_packet` of its own is asked, as
        long as it doesn't have this, too.
        """
        return None

    @property
    def signals(self) -> Collection[Kind]:
        """The kinds of signals that it asks for; most policies ask for none."""
        return ()

    def on_signal(self, signal: Signal, now: int) -> Answer:
        """Called when something has happened, apart from packets, that `signals` asks for; `now` is when (ns)."""
        return None

    @property
    def name(self) -> str:
        """The name of its file, by which users choose it: "spread_burst"."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def random(self) -> Random:
        """This object's own generator: the same seed and the same connections give the same numbers."""
        try:
            return self.__random
        except AttributeError:
            # A string is hashed with SHA-512, so it gives the same seed on every platform and in every run.
            seed, direction = self.__seed
            identity = filter(None, (seed, str(self.__whose), direction))
            self.__random: Random = Random("|".join(identity))
            return self.__random

    def tally(self, name: str, number: int = 1) -> None:
        """Add to a counter that all objects of this policy share; the summary shows the counters."""
        self.__counters[name] += number

    @property
    def counters(self) -> dict[str, int]:
        """What `tally` has counted so far, in all objects made from the same prototype."""
        return dict(self.__counters)

    def prototype(self, before: Policy | None = None) -> Self:
        """Another prototype with the same options; its counters go on from those of `before`, or start at zero."""
        new = copy(self)
        new.__counters = before.__counters if before is not None else Counter()
        return new

    def fresh(self, seed: str = "", whose: object = "", direction: str = "") -> Self:
        """A new object with this one's options, started.

        Args:
            seed: seeds its `random`, together with what follows: the run's seed and the stage.
            whose: whose packets it gets. As text, the identity of a connection; empty for the whole queue.
            direction: of the flow; empty for both.
        """
        new = self.__copy()
        new.__seed, new.__whose = _seed(seed, direction), whose
        new.start()
        return new

    def __copy(self) -> Self:
        """As `copy`, but without a dict of its own, which takes 64 bytes a flow."""
        state = self.__getstate__()
        if not isinstance(state, dict) or hasattr(self, "__copy__"):
            return copy(self)  # it has slots, or its own way
        new = object.__new__(type(self))
        for name, value in state.items():
            object.__setattr__(new, name, value)
        return new

    # What seeds its `random`, in parts, since these are there anyway, and the whole text would be anew for each flow.
    __seed = ("", "")
    __whose: object = ""

    @classmethod
    def option_names(cls) -> list[str]:
        """The names of its options: its own first, then those that every policy has."""
        names: dict[str, None] = {}
        for base in cls.__mro__:
            for name, hint in get_annotations(base).items():
                if not name.startswith("_") and "ClassVar" not in str(hint):
                    names[name] = None
        if not cls.can_hold:
            names.pop("limit", None)
        return list(names)
