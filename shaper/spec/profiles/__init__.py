"""Profiles: a pipeline, what it shapes and its seed, in a TOML file under a name.

    about = "Mobile, third generation"
    source = "where the numbers come from"
    date = "2026-11"                        # of the source
    pipeline = ["rate:rate=768kbit,direction=original,limit=50", "delay:150ms"]
    seed = 0

    [match]
    port = [80, 443]

All but `pipeline` may be left out. Those that come with shaper stand beside this file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from shaper.spec.load import suggest
from shaper.spec.profiles.profile import Profile
from shaper.spec.profiles.toml import ProfileError, read

__all__ = ["Profile", "ProfileError", "find", "names", "read"]

SUFFIX = ".toml"


def names() -> list[str]:
    """The profiles that come with shaper."""
    entries = (entry.name for entry in files("shaper.spec.profiles").iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in entries if name.endswith(SUFFIX))


def find(name: str) -> Profile:
    """One of those that come with shaper, or the one in a file that ends in .toml.

    Raises:
        ProfileError: there is none, or it is at fault.
    """
    if name.endswith(SUFFIX):
        path = Path(name)
        if not path.is_file():
            raise ProfileError(f"there is no file {path}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ProfileError(f"{name} is not a text in UTF-8, as TOML has to be") from None
        return read(text, name)
    if name not in names():
        raise ProfileError(
            f"there is no profile '{name}'{suggest(name, names())}; see `shaper profiles`, or give a file that ends "
            f"in {SUFFIX}"
        )
    return read((files("shaper.spec.profiles") / f"{name}{SUFFIX}").read_text(encoding="utf-8"), f"{name}{SUFFIX}")
