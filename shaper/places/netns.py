"""A network namespace, as `ip netns` names it, or the path of its file."""

from __future__ import annotations

from shaper.errors import UsageError
from shaper.linux import netns
from shaper.places.place import Found


class NamedNamespace:
    """Fulfils `Place`.

    Args:
        name: what `ip netns` calls it, or a path.
    """

    ends = False

    def __init__(self, name: str) -> None:
        self.name, self.label = f"network namespace {name}", name
        self._path = netns.path_of(name)

    def find(self) -> Found | None:
        """See `Place`."""
        found = Found.at(self._path)
        if found is None:
            if self._path.exists():
                raise UsageError(f"'{self.label}' is not a network namespace")
            raise netns.no_namespace(self.label)
        return found
