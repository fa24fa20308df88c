"""The workloads, one per file; the file's name is the workload's name."""

from pkgutil import iter_modules


def names() -> list[str]:
    """All of them."""
    return sorted(module.name for module in iter_modules(__path__))
