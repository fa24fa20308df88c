"""Compiles what each packet runs through, if SHAPER_COMPILED=1 asks for it. All else is said in pyproject.toml.

The source is the same, and complete without: see docs/performance.md, "The compiled core".
"""

import os

from setuptools import Extension, setup

MODULES = (
    "agenda", "connections", "core", "header", "packet", "pipeline", "seat", "segment", "verdict",
    "live/answers", "live/lateness", "live/layout", "live/netlink", "live/queue",
)  # fmt: skip
IS_WANTED = os.environ.get("SHAPER_COMPILED") == "1"


def extensions() -> list[Extension]:
    if not IS_WANTED:
        return []
    try:
        from mypyc.build import mypycify
    except ModuleNotFoundError:
        return []  # this once, when pip asks for `setup_requires`
    return mypycify([f"shaper/{module}.py" for module in MODULES], opt_level="2", debug_level="0")


setup(ext_modules=extensions(), setup_requires=["mypy>=1.15"] if IS_WANTED else [])
