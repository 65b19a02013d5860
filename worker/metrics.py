"""Every declared metric in Prometheus' form."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from pipeline.metrics import BUILD_INFO, METRICS
from pipeline.observer import Metric, Observer

Collector = TypeVar("Collector", Counter, Gauge, Histogram)


class Metrics(Observer):
    """The worker's metrics, in a registry of their own.

    A metric that was not declared, one of another kind and labels other than its own are refused,
    with a KeyError or ValueError: each is a mistake in the code.
    """

    def __init__(self, declared: Iterable[Metric] = METRICS) -> None:
        """Register what is declared: it is served from the start, at 0 where it has no labels."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one
        self._registry = CollectorRegistry()
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for one in declared:
            told = (one.name, one.meaning, one.labels)
            match one.kind:
                case "counter":
                    self._counters[one] = Counter(*told, registry=self._registry)
                case "gauge":
                    self._gauges[one] = Gauge(*told, registry=self._registry)
                case "histogram":
                    self._histograms[one] = Histogram(
                        *told, buckets=one.buckets, registry=self._registry
                    )

    def count(self, metric: Metric, number: float = 1, **labels: str) -> None:
        _series(self._counters[metric], labels).inc(number)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        _series(self._gauges[metric], labels).set(value)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        _series(self._histograms[metric], labels).observe(value)

    def forget(self, **labels: str) -> None:
        for metric, gauge in self._gauges.items():
            if metric.labels == tuple(labels):
                with suppress(KeyError):  # an older driver's, where it was never set
                    gauge.remove(*labels.values())

    def read(self, metric: Metric, value: Callable[[], float], **labels: str) -> None:
        """Read a gauge from `value` whenever the metrics are asked for."""
        _series(self._gauges[metric], labels).set_function(value)

    def describe(self, labels: Mapping[str, str]) -> None:
        """Say what runs, as vigil_build_info."""
        self.set(BUILD_INFO, 1, **labels)

    def exposition(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)


def _series(collector: Collector, labels: Mapping[str, str]) -> Collector:
    """Return the series with these labels.

    A metric with labels that is given none refuses what is done to it, as the driver does.
    """
    return collector.labels(**labels) if labels else collector
