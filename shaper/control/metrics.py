"""What Prometheus is given, named by its conventions: https://prometheus.io/docs/practices/naming/."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from platform import python_version

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from shaper.live.state import Histogram, Meters


class MetersCollector(Collector):
    """The metrics of one look at a running shaper."""

    def __init__(self, meters: Meters, version: str) -> None:
        self._meters, self._version = meters, version

    def collect(self) -> Iterator[Metric]:
        """All metrics, for prometheus_client."""
        meters = self._meters
        packets = CounterMetricFamily(
            "shaper_packets",
            "Packets that were decided on, by what became of them; policy is the stage that decided, or empty.",
            labels=("fate", "policy", "direction", "kind"),
        )
        for one in meters.packets:
            packets.add_metric([one.fate, one.policy, one.direction, one.kind], one.count)
        yield packets
        yield GaugeMetricFamily("shaper_held_packets", "Packets that are held now.", meters.held)
        yield _histogram("shaper_hold_seconds", "How long packets were held before they went on.", meters.hold)
        yield _histogram(
            "shaper_lateness_seconds", "How long after their time packets that were held went on.", meters.lateness
        )
        yield CounterMetricFamily(
            "shaper_bypassed_packets", "Packets that passed unshaped, as shaper was too slow.", meters.bypassed
        )
        lost = CounterMetricFamily("shaper_lost_packets", "Packets that were lost, and why.", labels=("reason",))
        for reason, count in meters.lost.items():
            lost.add_metric([reason], count)
        yield lost
        yield CounterMetricFamily("shaper_policy_failures", "Failures of policies.", meters.failures)
        build = {"version": self._version, "python": python_version()}
        yield InfoMetricFamily("shaper_build", "Which shaper this is.", build)


def _histogram(name: str, documentation: str, histogram: Histogram) -> HistogramMetricFamily:
    bounds = [*(f"{bound:g}" for bound in histogram.bounds_s), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=histogram.sum_s)


def exposition(meters: Meters, version: str, accept: str) -> tuple[bytes, str]:
    """The metrics as text, and its media type.

    Args:
        meters: the state.
        version: shaper's.
        accept: the formats that the client wants, as an Accept header.
    """
    registry = CollectorRegistry()
    registry.register(MetersCollector(meters, version))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type
