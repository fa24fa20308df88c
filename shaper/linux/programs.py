"""Where the system's own programs are."""

import os
import shutil


def find(name: str) -> str | None:
    """The path of a program; also where an ordinary user's PATH doesn't look, since `shaper run` needs no root."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
