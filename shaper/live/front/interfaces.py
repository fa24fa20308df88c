"""Whether the interfaces that are shaped are there: rules go by names, so what comes back is shaped again."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Collection, Mapping

from shaper.spec.match import ANY


class Interfaces:
    """The interfaces of a run. One that is deleted and made again has another index.

    Args:
        names: their names.
        there: the indices of those that are there now, by name; see `indices`.

    Attributes:
        gone: how often each of them went away.
    """

    def __init__(self, names: Collection[str], there: Mapping[str, int]) -> None:
        self.gone: Counter[str] = Counter()
        self._indices = {name: there.get(name) for name in names if name != ANY}

    @property
    def missing(self) -> list[str]:
        """Those that are not there now."""
        return [name for name, index in self._indices.items() if index is None]

    def look(self, there: Mapping[str, int]) -> list[str]:
        """What has changed since the last look, one line each.

        Args:
            there: the indices of those that are there now, by name.
        """
        said = []
        for name, before in self._indices.items():
            now = self._indices[name] = there.get(name)
            if now == before:
                continue
            self.gone[name] += before is not None
            if now is None:
                said.append(f"the interface {name} is gone; its packets are shaped again when it is back")
            elif before is None:
                said.append(f"the interface {name} is {'back' if self.gone[name] else 'there now'}")
            else:
                said.append(f"the interface {name} was gone, and is back")
        return said


def indices() -> dict[str, int]:
    """The indices of all interfaces of this network namespace, by name."""
    return {name: index for index, name in socket.if_nameindex()}
