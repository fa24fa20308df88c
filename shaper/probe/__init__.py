"""The blocking probe: a real client and a real server process over a shaped path."""

from shaper.probe.ends.workload import Workload

__all__ = ["Workload"]
