"""SPECs, policy files, and the messages about those at fault."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from shaper import Limit, Policy, ms
from shaper.errors import UsageError
from shaper.spec.load import (
    LoadError,
    builtin_names,
    find,
    load,
    load_pipeline,
    split_at_bars,
    split_options,
    split_spec,
)

DROP_THIRD = """
from shaper import Drop, Policy

class DropThird(Policy):
    def start(self):
        self._seen = 0

    def on_packet(self, packet, now):
        self._seen += 1
        if self._seen % 3 == 0:
            return Drop(packet)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to write policy files to; modules are imported from it, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).write_text(dedent(text))
    return name


def error_of(spec: str) -> str:
    """The error that this SPEC gives: for the user, in one line."""
    with pytest.raises(LoadError) as caught:
        load(spec)
    assert isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "head", "rest"),
    [
        ("delay", "delay", ""),
        ("delay:100ms", "delay", "100ms"),
        ("delay:time=100ms,jitter=5ms", "delay", "time=100ms,jitter=5ms"),
        # A built-in's name wins over module:Class, even when an identifier follows.
        ("delay:free", "delay", "free"),
        ("./drop_third.py", "./drop_third.py", ""),
        ("./drop_third.py:only=udp", "./drop_third.py", "only=udp"),
        ("./drop_third.py:udp", "./drop_third.py", "udp"),
        ("my.module:Drop", "my.module:Drop", ""),
        ("my.module:Drop:every=3,only=udp", "my.module:Drop", "every=3,only=udp"),
        ("mine", "mine", ""),
        ("mine:every=3", "mine", "every=3"),
        ("mine:100ms", "mine", "100ms"),
        ('netem:"delay 1ms: odd"', "netem", '"delay 1ms: odd"'),
    ],
)
def test_the_head_ends_at_the_first_colon_but_for_module_and_class(spec: str, head: str, rest: str) -> None:
    assert split_spec(spec) == (head, rest)


@pytest.mark.parametrize(
    ("text", "shorthand", "options"),
    [
        ("", None, []),
        ("gap=10ms", None, [("gap", "10ms")]),
        (" gap = 10ms , only = data ", None, [("gap", "10ms"), ("only", "data")]),
        ('line="delay 100ms, loss 1%",limit=5', None, [("line", "delay 100ms, loss 1%"), ("limit", "5")]),
        ("100ms", "time", [("time", "100ms")]),
        ("100ms,jitter=5ms", "time", [("time", "100ms"), ("jitter", "5ms")]),
        ('"delay 100ms 10ms"', "line", [("line", "delay 100ms 10ms")]),
        ('"rate=1mbit delay"', "line", [("line", "rate=1mbit delay")]),
        ("a==b", None, [("a", "=b")]),
    ],
)
def test_options_are_split_at_commas_outside_quotes(
    text: str, shorthand: str | None, options: list[tuple[str, str]]
) -> None:
    assert split_options(text, shorthand, "x") == options


def test_a_builtin_with_options() -> None:
    policy = load("delay:time=100ms,limit=64kb,only=data+fin,direction=reply,scope=queue")
    assert policy.name == "delay"
    assert (vars(policy)["time"], policy.limit) == (100 * ms, Limit(bytes=65536))
    assert (policy.only, policy.direction, policy.scope) == (frozenset({"data", "fin"}), "reply", "queue")
    assert vars(load("delay:100ms"))["time"] == 100 * ms


@pytest.mark.parametrize("name", builtin_names())
def test_every_builtin_works_without_options(name: str) -> None:
    assert load(name).name == name


def test_a_file_of_one_class_is_a_policy() -> None:
    policy = load("./" + write("drop_third.py", DROP_THIRD))
    assert (type(policy).__name__, policy.name) == ("DropThird", "drop_third")


def test_imported_private_and_aliased_classes_do_not_count() -> None:
    write("base_of_mine.py", DROP_THIRD)
    text = """
    from base_of_mine import DropThird
    from shaper.policies.delay import Delay
    class _Shared(DropThird):
        pass
    class Mine(_Shared):
        pass
    Alias = Mine
    """
    sys.path.insert(0, "")
    assert type(load(write("mine.py", text))).__name__ == "Mine"


def test_files_may_be_called_like_one_another_or_like_any_module() -> None:
    Path("other").mkdir()
    first = load(write("socket.py", DROP_THIRD))
    second = load(write("other/socket.py", DROP_THIRD.replace("Third", "Other")))
    assert (type(first).__name__, type(second).__name__) == ("DropThird", "DropOther")
    assert sys.modules[type(first).__module__].__file__ != sys.modules[type(second).__module__].__file__
    assert not hasattr(sys.modules.get("socket"), "DropThird")


def test_a_class_of_a_module_in_the_current_directory() -> None:
    write("my_policies.py", DROP_THIRD + "    every: int = 3\n\nclass Another(Policy):\n    pass\n")
    policy = load("my_policies:DropThird:every=5")
    assert (type(policy).__name__, vars(policy)["every"]) == ("DropThird", 5)


def test_an_entry_point(here: Path) -> None:
    info = here / "thirds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirds\nVersion: 1.0\n")
    points = "[shaper.policies]\nthird = thirds_for_test:DropThird\nbroken = broken_for_test:Nothing\n"
    (info / "entry_points.txt").write_text(points)
    write("thirds_for_test.py", DROP_THIRD)
    write("broken_for_test.py", "1 / 0")
    sys.path.insert(0, str(here))
    assert type(load("third:only=udp")).__name__ == "DropThird"
    assert "broken_for_test: ZeroDivisionError" in error_of("broken")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dealy", "there is no policy 'dealy' (did you mean 'delay'?)"),
        ("dealy:time=1ms", "there is no policy 'dealy' (did you mean 'delay'?)"),
        ("spread_brust:gap", "(did you mean 'spread_burst'?)"),
        ("delay:tiem=1ms", "delay has no option 'tiem' (did you mean 'time'?); it has time, "),
        ("delay:time=100", "delay: option time: '100' needs a unit of time, such as 100ms"),
        ("delay:jitter=abc", "delay: option jitter: 'abc' does not start with a number"),
        ("delay:scope=flows", "delay: option scope: 'flows' is none of flow, connection, queue"),
        ("delay:only=ack", "delay: option only: 'ack' is no segment class (syn, synack, "),
        ("pass_through:20ms", "pass_through: '20ms' is not option=value"),
        ("delay:20ms,30ms", "delay: option time is given twice; the second time as '30ms'"),
        (
            "delay:20ms,jitter=5ms,loss:1%,model=random",
            "delay: 'loss:1%' is another policy; write --policy delay:20ms,jitter=5ms --policy loss:1%,model=random, "
            "or 'delay:20ms,jitter=5ms | loss:1%,model=random'",
        ),
        ("delay:20ms,spread_burst", "delay: 'spread_burst' is another policy; write --policy delay:20ms --policy sp"),
        ("delay:20ms,./mine.py:a=1", "delay: './mine.py:a=1' is another policy"),
        ('delay:20ms,netem:"loss 1%"', "is another policy; write --policy delay:20ms --policy netem:"),
        ("pass_through:limit=5", "pass_through has no option 'limit'"),
        ('delay:time="100ms', "a quote is not closed"),
        ("./missing.py", "there is no file missing.py"),
        ("no_such_module:Nothing", "there is no policy or module 'no_such_module'"),
        ("json:NoSuchPolicy", "module json has no policy 'NoSuchPolicy'"),
        ("json:dumps", "json:dumps is not a subclass of shaper.Policy"),
        ("", "there is no policy ''"),
    ],
)
def test_a_bad_spec_is_reported_in_one_line(spec: str, message: str) -> None:
    assert message in error_of(spec)


FAULTS = {
    "none": ("x = 1", "must define one subclass of shaper.Policy, but it defines none"),
    "two": (
        "from shaper import Policy\nclass A(Policy): pass\nclass B(Policy): pass",
        "must define one subclass of shaper.Policy, but it defines 2: A, B",
    ),
    "syntax": ("x = 1\ndef f(:\n", "fault.py:2: invalid syntax"),
    "raises": ("x = 1\n1 / 0", "fault.py: ZeroDivisionError: division by zero"),
    "hook": (
        "from shaper import Policy\nclass A(Policy):\n    def on_pakcet(self, packet, now): pass",
        "A has no hook 'on_pakcet' (did you mean 'on_packet'?); the hooks are start, on_packet, on_wake",
    ),
    "unknown hook": (
        "from shaper import Policy\nclass A(Policy):\n    def on_close(self): pass",
        "A has no hook 'on_close'; the hooks are start, on_packet, on_wake",
    ),
    "former name": (
        "from shaper import Policy\nclass A(Policy):\n    holds = False",
        "A.holds is called can_hold now; rename it",
    ),
    "list": (
        "from shaper import Policy\nclass A(Policy):\n    held = []",
        "A.held is a list that all flows would share; set self.held in start() instead",
    ),
    "private dict": ("from shaper import Policy\nclass A(Policy):\n    _held = {}", "A._held is a dict that all"),
    "deque": (
        "from collections import deque\nfrom shaper import Policy\nclass A(Policy):\n    _held = deque()",
        "A._held is a deque that all flows would share",
    ),
    "no annotation": (
        "from shaper import Policy, ms\nclass A(Policy):\n    wait = 20 * ms",
        "A.wait has no annotation, so it is no option: write wait: Duration = 20 * ms, or call it _wait",
    ),
    "number": (
        "from shaper import Policy\nclass A(Policy):\n    nth = 3",
        "option: write nth: int = 3, or call it _nth",
    ),
    "share": (
        "from shaper import Policy\nclass A(Policy):\n    p = 0.5",
        "option: write p: Share = 0.5, or call it _p",
    ),
    "text": ("from shaper import Policy\nclass A(Policy):\n    what = 'x'", "option: write what: str = 'x', or"),
    "switch": (
        "from shaper import Policy\nclass A(Policy):\n    is_on = False",
        "option: write is_on: bool = False, or",
    ),
    "classes": (
        "from shaper import Policy\nclass A(Policy):\n    which = frozenset({'fin'})",
        "option: write which: Classes = frozenset({'fin'}), or call it _which",
    ),
    "in a base class": (
        "from shaper import Policy, s\nclass _Base(Policy):\n    wait = 2 * s\nclass A(_Base): pass",
        "A.wait has no annotation, so it is no option: write wait: Duration = 2 * s, or",
    ),
    "of no type": (
        "from shaper import Policy\nclass A(Policy):\n    first = None",
        "A.first has no annotation, so it is no option: call it _first, or set self._first in start()",
    ),
    "no default": (
        "from shaper import Duration, Policy\nclass A(Policy):\n    gap: Duration",
        "option 'gap' of A has no default; write gap: … = …",
    ),
    "odd type": (
        "from shaper import Policy\nclass A(Policy):\n    gap: complex = 1j",
        "option 'gap' of A: <class 'complex'> can't be read from a command line",
    ),
    "bad annotation": (
        "from __future__ import annotations\nfrom shaper import Policy\nclass A(Policy):\n    gap: Nothing = 1",
        "an annotation in A can't be read: name 'Nothing' is not defined",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_at_fault_is_reported_in_one_line(fault: str) -> None:
    text, message = FAULTS[fault]
    error = error_of(write("fault.py", text))
    assert message in error
    assert error.startswith(("fault.py", str(Path("fault.py").resolve())))


def test_what_is_no_option_needs_no_annotation() -> None:
    text = """\
        from typing import ClassVar
        from shaper import Duration, Policy, ms

        class _Base(Policy):
            gap: Duration = 20 * ms

        class A(_Base):
            gap = 10 * ms
            scope = "queue"
            needs = "headers"
            title: ClassVar[str] = "none of the options"
            MOST = 5
            _first = None
            Kind = int

            @property
            def half(self): return self.gap // 2

            @staticmethod
            def twice(value): return 2 * value

            @classmethod
            def make(cls): return cls()
        """
    assert load(f"{write('fine.py', text)}:gap=5ms").option_names()[0] == "gap"


def test_find_gives_the_class_itself() -> None:
    assert issubclass(find("delay"), Policy)


def test_bars_between_specs_make_a_pipeline() -> None:
    pipeline = load_pipeline(['delay:20ms | netem:"loss 1%" |./' + write("third.py", DROP_THIRD), "loss:2%"])
    assert [policy.name for policy in pipeline] == ["delay", "loss", "third", "loss"]
    assert split_at_bars('./a.py:text="x | y" | b') == ['./a.py:text="x | y"', "b"]
    assert "there is no policy ''" in told_of_pipeline("delay:20ms |")
    assert "a quote is not closed" in told_of_pipeline('delay:"20ms | loss:1%')


def told_of_pipeline(spec: str) -> str:
    with pytest.raises(LoadError) as error:
        load_pipeline([spec])
    return str(error.value)
