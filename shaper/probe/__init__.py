"""The blocking probe: a real client and a real server over a shaped path, and which of their calls waited."""

from shaper.probe.ends.workload import Workload

__all__ = ["Workload"]
