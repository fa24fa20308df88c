"""The C programs of bench/c. They are compiled into the user's cache when their source has changed."""

import os
import subprocess
from hashlib import sha256
from pathlib import Path

SOURCES = Path(__file__).parent / "c"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shaper-bench"


class BenchError(Exception):
    """Something can't be measured here; the message says why, or what to do."""


def program(name: str) -> str:
    """The path of the compiled program.

    Raises:
        BenchError: it doesn't compile; the compiler's messages are on stderr.
    """
    text = b"".join(path.read_bytes() for path in (SOURCES / f"{name}.c", SOURCES / "queue.h"))
    built = CACHE / f"{name}-{sha256(text).hexdigest()[:16]}"
    if not built.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        libraries = [] if name in ("load", "secret") else ["-lnetfilter_queue"]
        half_built = built.with_suffix(f".{os.getpid()}")  # another process may compile it at the same time
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(half_built), str(SOURCES / f"{name}.c"), *libraries]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BenchError(
                f"can't compile {name}.c ({error}): needs gcc, libc6-dev, libnetfilter-queue-dev"
            ) from error
        half_built.rename(built)
    return str(built)
