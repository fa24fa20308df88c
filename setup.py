"""Compiles what each packet runs through, where a wheel is built; SHAPER_COMPILED=0 leaves all of it Python.

An editable install, as developers have it, is Python, too. The source is the same: see docs/performance.md,
"The compiled core". Man pages are installed where man/ has them, as in the sdist. All else about the package is said in
pyproject.toml.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from glob import glob

from setuptools import Extension, setup

MODULES = (
    "wire/flow", "wire/header", "wire/packet", "wire/segment", "wire/tcp_options",
    "core/agenda", "core/connections", "core/core", "core/counts", "core/datagrams", "core/instances", "core/pipeline",
    "core/stages", "core/train", "core/turns", "core/verdict",
    "live/engine", "live/exchange", "live/lateness", "live/nfqueue/verdict_batches", "live/nfqueue/layout",
    "live/nfqueue/netlink", "live/nfqueue/output", "live/nfqueue/queue", "live/nfqueue/row", "live/waiting",
    "linux/recvmmsg", "linux/timerfd",
)  # fmt: skip
# pip runs this several times; what it asks for before the build has no modules in it.
IS_WANTED = "bdist_wheel" in sys.argv and os.environ.get("SHAPER_COMPILED") != "0"


def extensions() -> list[Extension]:
    if not IS_WANTED:
        return []
    if lacking := lacks():
        sys.exit(
            f"shaper's core can't be compiled: there is no {lacking}; install it with `apt install gcc python3-dev`, "
            "or leave the core in Python: set SHAPER_COMPILED=0"
        )
    from mypyc.build import mypycify

    sources = [f"shaper/{module}.py" for module in MODULES]
    # What shaper depends on isn't there while it is built.
    return mypycify(["--ignore-missing-imports", *sources], opt_level="2", debug_level="0", group_name="shaper")


def lacks() -> str | None:
    """What a compiler needs that this machine doesn't have."""
    compiler, *_ = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler) is None:
        return f"C compiler ({compiler})"
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    return None if os.path.exists(header) else header


setup(ext_modules=extensions(), data_files=[("share/man/man1", sorted(glob("man/*.1")))])
