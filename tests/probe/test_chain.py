"""Chains of causes: whatever the journal says, their parts add up to the wait."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from shaper.journal import Record
from shaper.probe.explain.chain import By, Cause, explain
from shaper.report.blocking import PARTS
from tests.probe.stories import Story, at

TIMES = st.floats(0, 1000, allow_nan=False)


@given(st.data())
def test_parts_add_up_and_are_never_negative(data: st.DataObject) -> None:
    story, causes = Story(), dict[int, Cause]()
    before: Record | None = None
    now = 0.0
    for _ in range(data.draw(st.integers(1, 6))):
        now += data.draw(TIMES)
        hold = data.draw(TIMES)
        split = data.draw(st.floats(0, 1))
        held = [("delay", hold * split), ("spread_burst", hold * (1 - split))]
        fate = data.draw(st.sampled_from(["sent", "dropped"]))
        record = story.packet("client", "data", now, now + hold, byte=0, held=held, fate=fate)
        by: By = data.draw(st.sampled_from(list(get_args(By))))
        causes[record.id] = Cause(by, before, repeats=before is not None and before.fate == "dropped")
        now += hold
        before = record
    assert before is not None
    start, end = sorted((at(data.draw(TIMES)), before.begin + data.draw(st.integers(0, 10**6))))
    explained = explain(start, end, before, lambda record: causes[record.id])
    amounts = [amount for part, amount in explained._asdict().items() if part in PARTS]
    parts = [*(held.duration for held in explained.held), *amounts]
    assert sum(parts) == end - start
    assert all(part >= 0 for part in parts)
