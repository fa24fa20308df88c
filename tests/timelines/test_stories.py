"""Every policy follows all of its stories: those in this folder and those in docstrings."""

from pathlib import Path

import pytest

from shaper import Policy
from shaper.spec.load import builtin_names, find
from shaper.timeline import Story, check, draw, parse, stories_of, write
from shaper.timeline.run import run

HERE = Path(__file__).parent
FILES = {file.stem: parse(file.read_text()) for file in sorted(HERE.glob("*.txt"))}
STORIES = [
    *((name, story) for name, stories in FILES.items() for story in stories),
    *((name, story) for name in builtin_names() for story in stories_of(find(name))),
]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a story names are in this folder."""
    monkeypatch.chdir(HERE)


def label(value: object) -> str | None:
    return f"{value.title}, line {value.line}" if isinstance(value, Story) else None


@pytest.mark.parametrize(("name", "story"), STORIES, ids=label)
def test_the_policy_follows_its_story(name: str, story: Story) -> None:
    wrong = check(story)
    assert wrong is None, f"{name}.txt or docstring, line {story.line}:\n{wrong}"


@pytest.mark.parametrize(("name", "story"), STORIES, ids=label)
def test_it_is_about_its_policy(name: str, story: Story) -> None:
    assert any(policy.name == name for policy in story.pipeline)


@pytest.mark.parametrize(("name", "story"), STORIES, ids=label)
def test_a_story_written_from_its_outcome_runs_again(name: str, story: Story) -> None:
    outcome = run(story)
    written = write(story.specs, outcome.packets, outcome.verdicts, seed=story.seed, max_hold=story.max_hold)
    [again] = parse(str(written))
    assert str(again) == str(written)
    assert check(again) is None


@pytest.mark.parametrize(("name", "story"), STORIES, ids=label)
def test_its_picture_fits_80_columns(name: str, story: Story) -> None:
    picture = draw(story).splitlines()
    assert max(len(line) for line in picture) <= 80
    packets = {mention.name for event in story.events for mention in event.mentions}
    drawn = set(" ".join(picture).split())
    assert packets <= drawn


@pytest.mark.parametrize("name", builtin_names())
def test_every_policy_has_stories(name: str) -> None:
    assert FILES.get(name), f"write tests/timelines/{name}.txt"
    assert stories_of(find(name)), f"{name}: its class's docstring has no story"


@pytest.mark.parametrize("name", builtin_names())
def test_every_option_is_in_a_story(name: str) -> None:
    policy = find(name)
    own = [option for option in policy.option_names() if option not in Policy.__annotations__]
    text = " ".join(story.title for other, story in STORIES if other == name)
    missing = [option for option in own if f"{option}=" not in text and option != policy.shorthand]
    assert not missing, f"no story sets {', '.join(missing)}"
