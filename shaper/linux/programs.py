"""Where the system's programs are."""

import os
import shutil


def find(name: str) -> str | None:
    """The path of a program, or None. Also looks in /sbin, which an ordinary user's PATH may lack."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
