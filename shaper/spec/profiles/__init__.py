"""Profiles: a pipeline for a kind of network, in a TOML file.

    about = "Mobile, third generation"
    source = "where the numbers come from"
    date = "2026-11"                        # of the source
    pipeline = ["rate:rate=768kbit,direction=original,limit=50", "delay:150ms"]
    seed = 0

    [match]
    port = [80, 443]

All but `pipeline` may be left out. In its place there may be phases, pipelines that follow each other:

    repeat = true                           # after the last one the first one again

    [[phase]]
    for = "2min"
    policies = ["delay:35ms"]

    [[phase]]
    for = "20s"
    policies = ["loss:100%"]

The built-in profiles are beside this file.
"""

from __future__ import annotations

from importlib.resources import files

from shaper.spec.load import suggest
from shaper.spec.profiles.profile import Profile, ProfileError, ProfileReader, read

__all__ = ["Profile", "ProfileError", "find", "names", "read"]

SUFFIX = ".toml"


def names() -> list[str]:
    """The names of the built-in profiles."""
    entries = (entry.name for entry in files("shaper.spec.profiles").iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in entries if name.endswith(SUFFIX))


def find(name: str) -> Profile:
    """The profile of this name: a built-in one, or a file that ends in .toml.

    Raises:
        ProfileError: there is no such profile, or it can't be used.
        OSError: the file can't be read.
    """
    if name.endswith(SUFFIX):
        return ProfileReader.of_file(name).profile()
    if name not in names():
        raise ProfileError(
            f"there is no profile '{name}'{suggest(name, names())}; see `shaper profiles`, or give a file that ends "
            f"in {SUFFIX}"
        )
    return read((files("shaper.spec.profiles") / f"{name}{SUFFIX}").read_text(encoding="utf-8"), f"{name}{SUFFIX}")
