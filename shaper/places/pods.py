"""The pods of this node that have some labels, as the node's CRI knows them."""

from __future__ import annotations

from typing import NamedTuple

from shaper.errors import UsageError
from shaper.places.container import CRI, asked


class Pod(NamedTuple):
    """A pod that runs.

    Attributes:
        identity: of its sandbox. A pod that is made anew has another one.
        namespace: of Kubernetes.
        name: in it.
        pid: a process in its network namespace; 0 if that is the node's own.
    """

    identity: str
    namespace: str
    name: str
    pid: int


class Pods:
    """All pods with these labels.

    Args:
        labels: "app=shop,tier=web": those that have all of them.
        namespace: only those in this namespace of Kubernetes.
    """

    def __init__(self, labels: str, namespace: str | None = None) -> None:
        self.labels, self.namespace = labels_of(labels), namespace
        self._known: dict[str, Pod] = {}

    def find(self) -> list[Pod]:
        """Those that run on this node now.

        Raises:
            ShaperError: the CRI doesn't answer.
        """
        listed = asked(CRI, "pods", "--state", "ready", "--output", "json")["items"]
        found = [one for one in listed if self._is_meant(one["metadata"]["namespace"], one.get("labels") or {})]
        self._known = {
            one["id"]: self._known.get(one["id"])
            or Pod(one["id"], one["metadata"]["namespace"], one["metadata"]["name"], _pid(one["id"]))
            for one in found
        }
        return list(self._known.values())

    def _is_meant(self, namespace: str, labels: dict[str, str]) -> bool:
        return self.namespace in (None, namespace) and self.labels.items() <= labels.items()


def labels_of(text: str) -> dict[str, str]:
    """Labels as `kubectl --selector` takes them.

    Raises:
        UsageError: they are none.
    """
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(equals and key.strip() for key, equals, _ in pairs):
        raise UsageError(f"'{text}' are no labels, such as app=shop,tier=web")
    return {key.strip(): value.removeprefix("=").strip() for key, _, value in pairs}


def _pid(identity: str) -> int:
    found = asked(CRI, "inspectp", "--output", "json", identity)
    options = found["status"].get("linux", {}).get("namespaces", {}).get("options", {})
    # NamespaceMode of the CRI's api.proto: with hostNetwork, what is shaped would be the node's traffic.
    return 0 if options.get("network") in ("NODE", 2) else int(found["info"]["pid"])
