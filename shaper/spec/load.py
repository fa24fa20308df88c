"""A policy by its SPEC: a built-in's name, a file, module:Class, or an entry point.

    SPEC = HEAD[:option=value,option="quoted, value"...]

The HEAD ends at the first colon, or for module:Class at the second one. A policy may name
one option that needs no `option=`: `delay:100ms` is `delay:time=100ms`. SPECs with bars
between them are a pipeline: `delay:20ms | loss:1%`. `netem:"LINE"` stands for the SPECs of
the policies that do the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from shaper.core.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.policy.base import Policy
from shaper.policy.options import options_of
from shaper.spec.lint import lint
from shaper.spec.netem import translate
from shaper.verbose import detail

GROUP = "shaper.policies"
FILE_MODULES = "shaper_policy_file."
"""The prefix of policy files' module names, so that a file may have the name of any module."""


class LoadError(UsageError):
    """A SPEC can't be used; the message says what is wrong and what to do."""


def load(spec: str) -> Policy:
    """The policy of a SPEC, as a prototype with its options set.

    Raises:
        LoadError: there is no such policy, option or value, or its file is at fault.
    """
    head, options = split_spec(spec)
    policy = find(head)
    values = _parse(policy, split_options(options, policy.shorthand, head), head)
    try:
        return policy(**values)
    except (TypeError, ValueError) as error:
        raise LoadError(f"{head}: {error}") from None


def parse_options(policy: Policy, options: Mapping[str, str], max_hold: int = MAX_HOLD) -> dict[str, Any]:
    """The values of options as `Core.change` takes them.

    Args:
        policy: a prototype.
        options: as on the command line, such as `{"time": "50ms"}`.
        max_hold: the longest that a packet may be held, in ns.

    Raises:
        LoadError: there is no such option or value; or one that is a duration is above `max_hold`.
    """
    values = _parse(type(policy), options.items(), policy.name)
    _check_durations(policy.name, type(policy), values, max_hold)
    return values


def format_options(policy: Policy) -> dict[str, str]:
    """All options of a policy, as on the command line, with the values that they have."""
    return {option.name: option.format(getattr(policy, option.name)) for option in options_of(type(policy)).values()}


def _parse(policy: type[Policy], options: Iterable[tuple[str, str]], head: str) -> dict[str, Any]:
    known = options_of(policy)
    values: dict[str, Any] = {}
    for name, text in options:
        if name not in known:
            raise LoadError(f"{head} has no option '{name}'{suggest(name, known)}; it has {', '.join(known)}")
        if name in values:
            raise LoadError(f"{head}: option {name} is given twice; the second time as '{text}'")
        try:
            values[name] = known[name].parse(text)
        except ValueError as error:
            raise LoadError(f"{head}: option {name}: {error}") from None
    return values


def _check_durations(head: str, policy: type[Policy], values: Mapping[str, Any], max_hold: int) -> None:
    for name, option in options_of(policy).items():
        if option.kind == "duration" and values.get(name, 0) > max_hold:
            raise LoadError(
                f"{head}: {name}={option.format(values[name])} is longer than any packet may be held; "
                f"lower it, or raise --max-hold above {option.format(max_hold)}"
            )


def load_pipeline(specs: Iterable[str], max_hold: int = MAX_HOLD) -> tuple[Policy, ...]:
    """The policies of SPECs, as prototypes.

    Args:
        specs: in the order of the pipeline; see `expand`.
        max_hold: the longest that a packet may be held, in ns.

    Raises:
        LoadError: see `load`; or an option that is a duration is above `max_hold`.
        NetemError: a SPEC `netem:"…"` can't be read.
    """
    pipeline = tuple(load(spec) for spec in expand(specs))
    for policy in pipeline:
        values = {name: getattr(policy, name) for name in options_of(type(policy))}
        _check_durations(policy.name, type(policy), values, max_hold)
    return pipeline


def expand(specs: Iterable[str]) -> list[str]:
    """The SPECs, those between bars one by one, with each `netem:"…"` replaced by the SPECs of its policies.

    Raises:
        NetemError: a netem line can't be read.
    """
    expanded: list[str] = []
    for spec in specs:
        for one in split_at_bars(spec):
            head, colon, line = one.partition(":")
            expanded += translate(line) if head == "netem" and colon else [one]
    return expanded


def split_at_bars(text: str) -> list[str]:
    """The SPECs between bars; a bar in double quotes separates nothing."""
    return [part.strip() for part in re.split(r'\|(?=(?:[^"]*"[^"]*")*[^"]*$)', text)]


def find(head: str) -> type[Policy]:
    """The policy class of the HEAD of a SPEC.

    Raises:
        LoadError: there is no such policy, or its file is at fault.
    """
    if head.endswith(".py"):
        return policy_in(load_file(Path(head)), head)
    if head in builtin_names():
        return policy_in(importlib.import_module(f"shaper.policies.{head}"), head)
    if ":" in head and not head.startswith(":"):
        return load_class(*head.split(":"))
    for point in entry_points(group=GROUP):
        if point.name == head:
            return load_class(*point.value.partition(":")[::2])
    raise LoadError(
        f"there is no policy '{head}'{suggest(head, builtin_names())}; "
        "see `shaper policies`, or give a file that ends in .py"
    )


def builtin_names() -> list[str]:
    """The names of the policies that come with shaper."""
    names = (entry.name for entry in files("shaper.policies").iterdir())
    return sorted(name[:-3] for name in names if name.endswith(".py") and not name.startswith("_"))


def split_spec(spec: str) -> tuple[str, str]:
    """The HEAD of a SPEC and its options: ("module:Class", "gap=10ms")."""
    head, _, rest = spec.partition(":")
    if head.endswith(".py") or head in builtin_names():
        return head, rest
    name, _, options = rest.partition(":")
    return (f"{head}:{name}", options) if name.isidentifier() else (head, rest)


def split_options(text: str, shorthand: str | None, head: str) -> list[tuple[str, str]]:
    """The options of a SPEC as (name, value), in their order.

    Args:
        text: what comes after the HEAD and its colon.
        shorthand: the option that needs no name; None if there is none.
        head: the HEAD, for the error.

    Raises:
        LoadError: a quote is not closed, a value has no name, or another policy follows.
    """
    options = []
    parts = split_at_commas(text, head)
    for index, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if not (equals and name.strip().isidentifier()):
            if index and is_spec(part):
                chain = [f"{head}:{','.join(parts[:index])}", ",".join(parts[index:])]
                raise LoadError(
                    f"{head}: '{part}' is another policy; write {' '.join(f'--policy {spec}' for spec in chain)}, "
                    f"or '{' | '.join(chain)}'"
                )
            if shorthand is None:
                raise LoadError(f"{head}: '{part}' is not option=value")
            name, value = shorthand, part
        options.append((name.strip(), value.strip().strip('"')))
    return options


def is_spec(text: str) -> bool:
    """Whether this looks like the SPEC of a policy, and not like the value of an option."""
    head, colon, _ = text.strip().partition(":")
    return head in builtin_names() or (bool(colon) and (head == "netem" or head.endswith(".py")))


def split_at_commas(text: str, head: str) -> list[str]:
    """The parts of a text between commas; a comma in double quotes separates nothing.

    Raises:
        LoadError: a quote is not closed.
    """
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    if quoted:
        raise LoadError(f"{head}: a quote is not closed in '{text}'")
    return [part for part in parts if part.strip()]


def load_file(path: Path) -> ModuleType:
    """The module in a policy file.

    Raises:
        LoadError: the file is missing or fails to run.
    """
    if not path.is_file():
        raise LoadError(f"there is no file {path}")
    if os.geteuid() == 0 and (changeable := _writable_by_all(path)) is not None:
        raise LoadError(
            f"everybody can write to {changeable}, so root runs no policy from there; run `chmod o-w "
            f"{shlex.quote(str(changeable))}`, or copy the file to a directory that only its owner can write to"
        )
    name = f"{FILE_MODULES}{path.resolve().parent}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        detail(f"reading {path}")
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise LoadError(f"{error.filename}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        raise LoadError(f"{path}: {type(error).__name__}: {error}") from error
    return module


def _writable_by_all(path: Path) -> Path | None:
    """This file if anybody could change it, its directory if anybody could put another one in its place, else None."""
    folder = path.resolve().parent
    if path.stat().st_mode & stat.S_IWOTH:
        return path
    return folder if folder.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH else None


def load_class(module: str, name: str) -> type[Policy]:
    """The policy class module:name; modules are looked for in the current directory, too.

    Raises:
        LoadError: there is no such class, it is not a policy, or the module fails to run.
    """
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = f" ({error})" if error.name != module else ""
        raise LoadError(
            f"there is no policy or module '{module}'{missing}{suggest(module, builtin_names())}"
        ) from error
    except SyntaxError as error:
        raise LoadError(f"{error.filename}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        raise LoadError(f"module {module}: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        raise LoadError(f"module {module} has no policy '{name}'{suggest(name, vars(found))}")
    return check(getattr(found, name), f"{module}:{name}")


def policy_in(module: ModuleType, head: str) -> type[Policy]:
    """The one policy class that a module defines itself.

    Args:
        module: imported already.
        head: the HEAD of the SPEC, for the error.

    Raises:
        LoadError: it defines none or several.
    """
    own = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Policy)
        and value.__module__ == module.__name__
        and value.__name__ == name
        and not name.startswith("_")
    ]
    if len(own) != 1:
        names = f"{len(own)}: {', '.join(value.__name__ for value in own)}" if own else "none"
        raise LoadError(f"{head} must define one subclass of shaper.Policy, but it defines {names}")
    return check(own[0], head)


def check(policy: object, head: str) -> type[Policy]:
    """Check that this is a policy class without mistakes that can be found before it runs.

    Raises:
        LoadError: it is not; the message begins with `head`.
    """
    if not (isinstance(policy, type) and issubclass(policy, Policy)):
        raise LoadError(f"{head} is not a subclass of shaper.Policy")
    mistake = lint(policy)
    if mistake:
        raise LoadError(f"{head}: {mistake}")
    return policy


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: " (did you mean 'delay'?)", or "" if nothing is similar."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
