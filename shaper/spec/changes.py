"""The changes of another run, made ready to be made again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from shaper.core.change import Change, ChangeError
from shaper.core.instances import stage_names
from shaper.core.virtual import Given, Prepared
from shaper.policy.base import Policy
from shaper.policy.signal import SignalRecord
from shaper.spec.load import load_pipeline, parse_options


def prepare(given: Iterable[SignalRecord | Change], pipeline: Sequence[Policy], max_hold: int) -> Iterator[Given]:
    """What `play` gives to a core, in order: all policies are loaded, and all options parsed.

    Args:
        given: what the core of the other run was given, in order.
        pipeline: the policies that it began with.
        max_hold: the longest that a packet may be held, in ns.

    Raises:
        ChangeError: a signal or a change is for a stage that there isn't at that time.
        LoadError, NetemError: see `load_pipeline`, `parse_options`.
    """
    policies, names = tuple(pipeline), stage_names(pipeline)
    for one in given:
        stage = one.policy if isinstance(one, SignalRecord) else one.stage
        if stage and stage not in names:
            what = "signal" if isinstance(one, SignalRecord) else "change"
            raise ChangeError(f"there is a {what} for {stage}, but the policies are {', '.join(names) or 'none'}")
        if isinstance(one, SignalRecord):
            yield one
        elif one.what == "replace":
            policies = load_pipeline(one.specs, max_hold)
            names = stage_names(policies)
            yield Prepared(one, policies)
        elif one.what == "change":
            yield Prepared(one, (), parse_options(policies[names.index(stage)], one.options, max_hold))
        else:
            yield Prepared(one)
