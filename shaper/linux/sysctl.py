"""Settings of the kernel, see sysctl(8)."""

from pathlib import Path

from shaper.verbose import detail

FOLDER = Path("/proc/sys")


def path_of(name: str) -> Path:
    """The file of a setting, such as "net/ipv4/ip_forward"."""
    return FOLDER / name


def set_sysctl(name: str, value: object) -> None:
    """Give a setting this value.

    Raises:
        OSError: there is no such setting, or it can't be changed here.
    """
    path_of(name).write_text(str(value))
    detail(f"sysctl {name.replace('/', '.')}={value}")
