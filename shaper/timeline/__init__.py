"""Timelines: what happens to packets, as text that is documentation, test and example in one.

    # spread_burst gap=10ms
    +0     < a b c          three packets arrive together
    +0     > a
    +.010  > b
    +.010  > c

The notation is described in docs/timelines.md; its offsets are packetdrill's.

    parse(text)             the stories in a text
    stories_of(policy)      the stories in a policy's docstring
    check(story)            what differs from the story, or None
    write(…)                what happened to any packets, as a story
    StoryWriter(…)          the same, while it happens
    draw(story)             a picture for a terminal
"""

from shaper.timeline.draw import draw
from shaper.timeline.notation import parse, stories_of
from shaper.timeline.run import Outcome, check, run
from shaper.timeline.story import Event, Mention, Story, StoryError
from shaper.timeline.write import StoryWriter, write

__all__ = [
    "Event",
    "Mention",
    "Outcome",
    "Story",
    "StoryError",
    "StoryWriter",
    "check",
    "draw",
    "parse",
    "run",
    "stories_of",
    "write",
]
