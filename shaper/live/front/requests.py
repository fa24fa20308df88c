"""What a front asks of an engine while packets flow, and the engine's answers.

A change has two steps, so that several engines change or none does: first each gets ready for it, which may fail, and
then all carry it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from shaper.core.change import check
from shaper.errors import ShaperError, UsageError
from shaper.live.front.results import result_of
from shaper.live.meter import Meter
from shaper.live.progress import Progress
from shaper.live.run import Run
from shaper.policy.base import Policy
from shaper.spec.load import expand, format_options, load_pipeline, parse_options

SAMPLES = 128
"""Holds that one look gets, at most: to write them takes time in which no packet goes on."""

MAX_FLOWS, MAX_SAMPLES = 300, 200
"""Flows and sampled packets in one answer, which must fit into one message."""


async def loaded(specs: Sequence[str], max_hold: int) -> tuple[Policy, ...]:
    """The policies of SPECs, loaded in another thread, which is left behind if it never ends.

    Raises:
        UsageError: see `load_pipeline`; or a policy's file ends the program.
        OSError: a policy's file can't be read.
    """
    try:
        return await trio.to_thread.run_sync(load_pipeline, specs, max_hold, abandon_on_cancel=True)
    except SystemExit:
        raise UsageError("a policy's file ends the program when it is loaded") from None


class Requests:
    """Answers the requests about one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ready: dict[int, Callable[[int], None]] = {}  # changes that can be carried out
        self._options: tuple[int, list[dict[str, str]]] = (-1, [])  # as text, after how many changes
        self._is_replaced = False

    async def answer(self, what: str, arguments: Mapping[str, Any]) -> Any:
        """The answer to one request.

        Raises:
            ShaperError: it can't be carried out, and nothing has changed.
            OSError: a policy's file can't be read.
        """
        match what:
            case "count" | "count_alive":
                return await self._count(is_sure=what == "count_alive")
            case "look":
                return self._look()
            case "meter":
                return self._meter.to_json()
            case "flows":
                return self._meter.flows(min(int(arguments["limit"]), MAX_FLOWS))
            case "samples":
                return self._meter.samples(min(int(arguments["room"]), MAX_SAMPLES))
            case "prepare":
                number = int(arguments["number"])
                self._ready[number] = await self._prepared(**arguments["change"])
                return None
            case "commit":
                change = self._ready.pop(int(arguments["number"]))
                self._run.engine.at_once(change)
                if self._run.engine.connmark is not None:
                    self._run.engine.connmark.renew(int(arguments["mark"]))
                return None
            case "give_up":
                self._ready.pop(int(arguments["number"]), None)
                return None
        raise ShaperError(f"an engine does not know what '{what}' is")

    def progress(self) -> Progress:
        """The state now, see `Run.progress`."""
        return self._run.progress()

    async def _count(self, *, is_sure: bool) -> int | None:
        """How many packets the queue received; None if more wait than can be taken at once."""
        run = self._run
        if is_sure and run.guardian is not None:
            # Its answer shows that it hasn't taken this process for dead; else there must be no count.
            await trio.to_thread.run_sync(run.guardian.look)
            while run.engine.work():
                await trio.lowlevel.checkpoint()
        return None if run.engine.work() else run.packets_received()

    async def _prepared(
        self, what: str, specs: Sequence[str] = (), stage: str = "", options: Mapping[str, str] | None = None
    ) -> Callable[[int], None]:
        core, max_hold = self._run.core, self._run.settings.max_hold
        if what == "replace":
            # Other people's files may take long to load; packets don't wait for that.
            pipeline = await loaded(specs, max_hold)
            self._run.prepare(pipeline)

            def replace(now: int) -> None:
                core.replace(pipeline, now, tuple(specs))
                self._is_replaced = True

            return replace
        if what == "change":
            given = dict(options or {})
            if stage not in core.names:
                raise UsageError(f"there is no stage '{stage}'; there is {', '.join(core.names) or 'none'}")
            prototype = core.prototypes[core.names.index(stage)]
            values = await trio.to_thread.run_sync(parse_options, prototype, given, max_hold, abandon_on_cancel=True)
            check(stage, prototype, values)
            changed = prototype.prototype()
            for name, value in values.items():
                setattr(changed, name, value)
            self._run.prepare([changed if each is prototype else each for each in core.prototypes])
            return partial(self._change, stage, values, given)
        simple: dict[str, Callable[[int], None]] = {
            "pause": core.pause,
            "resume": core.resume,
            "release": core.release,
        }
        return simple[what]

    def _change(self, stage: str, values: Mapping[str, Any], options: Mapping[str, str], now: int) -> None:
        self._run.core.change(stage, values, now, options)

    @property
    def _meter(self) -> Meter:
        """The engine's meter, which counts from the first look on."""
        engine = self._run.engine
        if engine.meter is None:
            engine.meter = Meter()
        return engine.meter

    def _look(self) -> dict[str, Any]:
        run, core = self._run, self._run.core
        run.engine.take_changes()
        return {
            "result": result_of(run.summary(is_over=False), run.engine.holds, samples=SAMPLES),
            "held": core.counts.held,
            "late": run.engine.holds.latenesses(SAMPLES),
            "is_paused": core.is_paused,
            "specs": self._specs(),
            "phase": self._phase(),
            "stages": self._stages(),
        }

    def _specs(self) -> Sequence[str]:
        """The SPECs in force."""
        return self._run.engine.specs or self._run.settings.specs

    def _phase(self) -> int:
        """Which phase of the scenario is in force, from 1; 0 without one, or once the pipeline was replaced by hand."""
        scenario = self._run.settings.scenario
        if scenario is None or self._is_replaced:
            return 0
        return self._run.engine.replaced % len(scenario.phases) + 1

    def _stages(self) -> list[dict[str, Any]]:
        core = self._run.core
        changed = self._run.engine.changed
        if self._options[0] != changed:
            self._options = (changed, [format_options(policy) for policy in core.prototypes])
        specs, used = expand(self._specs()), core.stages
        return [
            {
                "name": name,
                "spec": spec,
                "options": options,
                "held": used[name].held if name in used else 0,
                "dropped": used[name].dropped if name in used else 0,
                "injected": used[name].injected if name in used else 0,
                "counters": policy.counters,
            }
            for name, policy, spec, options in zip(core.names, core.prototypes, specs, self._options[1], strict=True)
        ]
