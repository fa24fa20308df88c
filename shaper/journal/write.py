"""Writes a journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TextIO

from shaper.core.change import Change
from shaper.core.verdict import Verdict
from shaper.journal.line import FLOWS_REMEMBERED, VERSION, Clocks
from shaper.policy.signal import SignalRecord
from shaper.wire.header import plain_key
from shaper.wire.packet import Packet


class Journal:
    """Writes a journal.

    Args:
        file: the caller closes it.
        policies: the SPECs, as given.
        seed: of all chance.
        paired: each verdict is written by itself, so a wakeup inside the write belongs to its packet.
        clocks: see `Header`; this moment, if not given.
        forwarded: see `Header`.
    """

    def __init__(
        self,
        file: TextIO,
        *,
        policies: Sequence[str],
        seed: int | str,
        paired: bool = False,
        clocks: Clocks | None = None,
        forwarded: bool = False,
    ) -> None:
        self._write, self.flush = file.write, file.flush
        self._flows: dict[bytes, str] = {}
        self._names: dict[str, str] = {}
        clocks = clocks or Clocks.now()
        header = {
            "v": VERSION,
            "policies": list(policies),
            "seed": str(seed),
            "paired": paired,
            "clock": {"monotonic_ns": clocks.monotonic, "realtime_ns": clocks.realtime},
            **({"forwarded": True} if forwarded else {}),
        }
        self._write(json.dumps(header) + "\n")
        self.flush()  # a journal is known by it, while it is written, too

    def record(self, verdict: Verdict, *, begin: int = 0, end: int = 0, tid: int = 0, shift: int = 0) -> None:
        """Write down a verdict.

        Args:
            begin, end: the times before and after the verdict's write, in ns; 0 if there was no write: then both
                are when it was planned.
            tid: the thread that wrote it.
            shift: ns to add to all times: how far the packet's own clock is ahead of the core's.
        """
        root = verdict.packet.root
        tcp = root.tcp
        if tcp is not None:
            header = f'"flags":"{tcp.flag_names}","seq":{tcp.seq},"ack":{tcp.ack}'
        else:
            header = '"flags":"","seq":null,"ack":null'
        held = ",".join([f'{{"policy":{self._name(policy)},"ns":{ns}}}' for policy, ns in root.hold_times])
        planned = verdict.planned + shift
        # Formatted here: json.dumps would take three times as long, and this runs for every packet.
        self._write(
            f'{{"v":{VERSION},"id":{root.id},"flow":{self._flow(root)},"class":"{root.kind}",{header},'
            f'"len":{root.length},"arrived_ns":{root.arrived + shift},'
            f'"taken_ns":{(root.taken or root.arrived) + shift},'
            f'"fate":"{verdict.fate}","planned_ns":{planned},"verdict_begin_ns":{begin or planned},'
            f'"verdict_end_ns":{end or planned},"tid":{tid},"held":[{held}],'
            f'"by":{self._name(root.by)}}}\n'
        )

    def signalled(self, given: SignalRecord) -> None:
        """Write down a signal that the core was given."""
        line = {
            "v": VERSION,
            "signal": given.signal.kind,
            "policy": given.policy,
            "flow": str(given.signal.flow),
            "at_ns": given.at,
            "taken": given.taken,
        }
        self._write(json.dumps(line) + "\n")

    def changed(self, change: Change) -> None:
        """Write down a change of the core."""
        line: dict[str, Any] = {"v": VERSION, "change": change.what, "at_ns": change.at, "taken": change.taken}
        if change.what == "replace":
            line["policies"] = list(change.specs)
        elif change.what == "change":
            line |= {"stage": change.stage, "options": dict(change.options)}
        self._write(json.dumps(line) + "\n")

    def _flow(self, packet: Packet) -> str:
        key = plain_key(packet.raw)
        flow = self._flows.get(key)
        if flow is None:
            if not key:
                return json.dumps(str(packet.flow))
            if len(self._flows) >= FLOWS_REMEMBERED:
                self._flows.clear()
            flow = self._flows[key] = json.dumps(str(packet.flow))
        return flow

    def _name(self, policy: str) -> str:
        name = self._names.get(policy)
        if name is None:
            name = self._names[policy] = json.dumps(policy)
        return name
