"""Options: what the public annotated attributes of a policy say."""

from typing import Any, ClassVar, Literal

import pytest

from shaper import Duration, Limit, Policy, Rate, Share, Size, ms
from shaper.policy.base import format_classes, parse_classes
from shaper.policy.options import options_of
from shaper.spec.load import builtin_names, find
from shaper.wire.segment import CLASSES


class Base(Policy):
    gap: Duration = 20 * ms
    """The least time between two departures.

    A second paragraph.
    """
    share: Share = 0.05


class Example(Base):
    """All kinds of options."""

    mode: Literal["delay", "batch"] = "delay"
    """How."""
    rate: Rate = 10_000_000
    size: Size = 65536
    count: int = 3
    factor: float = 1.5
    text: str = "x"
    strict: bool = False
    gap = 10 * ms
    scope = "connection"
    title: ClassVar[str] = "none of the options"
    _state: int = 0
    loose = 5


KINDS = {
    "gap": ("duration", "10ms", "7ms", 7 * ms),
    "share": ("share", "5%", "50%", 0.5),
    "mode": ("delay|batch", "delay", "batch", "batch"),
    "rate": ("rate", "10mbit", "1gbit", 10**9),
    "size": ("size", "64kb", "1500", 1500),
    "factor": ("number", "1.5", "2", 2.0),
    "text": ("text", "x", "any, thing", "any, thing"),
    "strict": ("yes|no", "no", "yes", True),
    "limit": ("packets or bytes", "none", "64kb", Limit(bytes=65536)),
    "direction": ("original|reply|both", "both", "reply", "reply"),
    "only": ("segment classes", "all", "syn+fin", frozenset({"syn", "fin"})),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_a_spelling(name: str) -> None:
    option = options_of(Example)[name]
    kind, default, text, value = KINDS[name]
    assert (option.kind, option.format(option.default)) == (kind, default)
    assert option.parse(text) == value


def test_own_options_come_first_and_nothing_else_is_one() -> None:
    names = list(options_of(Example))
    assert names[:9] == ["mode", "rate", "size", "count", "factor", "text", "strict", "gap", "share"]
    assert names[9:] == ["only", "direction", "scope", "connections", "limit"]
    common = [name for name, option in options_of(Example).items() if option.common]
    assert common == names[9:]


def test_the_strings_below_are_the_documentation() -> None:
    options = options_of(Example)
    assert options["gap"].doc == "The least time between two departures.\n\nA second paragraph."
    assert options["mode"].doc == "How."
    assert options["share"].doc == ""
    assert options["limit"].doc.startswith("The most one object may hold")


def test_a_default_may_be_changed_without_a_new_annotation() -> None:
    options = options_of(Example)
    assert (options["gap"].default, options["scope"].default) == (10 * ms, "connection")


def test_a_policy_that_keeps_no_packets_has_no_limit() -> None:
    class Light(Policy):
        can_hold: ClassVar[bool] = False

    assert "limit" not in options_of(Light)
    with pytest.raises(TypeError, match="Light has no option 'limit' \\(it has only, direction, scope, connections\\)"):
        Light(limit=Limit(3))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("count", "1.5", "'1.5' is not a whole number"),
        ("factor", "x", "'x'"),
        ("strict", "maybe", "'maybe' is none of yes, no"),
        ("mode", "thin", "'thin' is none of delay, batch"),
        ("only", "syn+ack", "'ack' is no segment class"),
        ("only", "", "'' is no segment class"),
    ],
)
def test_bad_values_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("+", "\\+")):
        options_of(Example)[name].parse(text)


@pytest.mark.parametrize("names", [{"syn"}, {"data", "fin", "rst"}, set(CLASSES)])
def test_classes_come_back(names: set[str]) -> None:
    assert parse_classes(format_classes(frozenset(names))) == names


@pytest.mark.parametrize("name", builtin_names())
def test_every_option_of_a_builtin_is_documented_and_its_default_can_be_written(name: str) -> None:
    policy = find(name)
    assert policy.__doc__
    for option in options_of(policy).values():
        assert option.doc, f"{name}: {option.name} has no string below it"
        # A default that comes with shaper, or is nothing at all, may have no spelling.
        if option.kind in ("duration", "share", "rate", "size", "number", "count", "packets or bytes"):
            assert option.parse(option.format(option.default)) == option.default


def test_a_policy_takes_its_options_as_values() -> None:
    policy: Any = Example(gap=5 * ms, limit=Limit(2))
    assert (policy.gap, policy.limit, policy.count) == (5 * ms, Limit(2), 3)


def test_a_switch_and_a_number_are_written_as_they_are_read() -> None:
    class Two(Policy):
        on: bool = True
        count: int = 3

    options = options_of(Two)
    assert [options["on"].format(value) for value in (True, False)] == ["yes", "no"]
    assert [options["on"].parse(text) for text in ("yes", "no")] == [True, False]
    assert (options["on"].kind, options["count"].kind) == ("yes|no", "number")
    assert options["count"].format(options["count"].parse("-12")) == "-12"
