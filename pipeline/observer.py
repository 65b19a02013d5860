"""What a metric is, and who is told of what happens. `pipeline.metrics` declares them all."""

from dataclasses import dataclass
from typing import Literal

MetricKind = Literal["counter", "gauge", "histogram"]

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that operators can read.

    Attributes:
        name: with its unit; a counter's name is exposed with `_total` appended.
        meaning: one or two sentences for an operator, label values among them.
        kind: a counter only grows, a gauge is set, a histogram collects values.
        labels: names of the labels that tell its series apart.
        buckets: upper bounds of a histogram's buckets.
    """

    name: str
    meaning: str
    kind: MetricKind
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS


class Observer:
    """An observer is told what happens. This class does nothing; a subclass overrides methods.

    Any thread may call any method, often under a lock of its own: a method must return at once, and
    call nobody back.
    """

    def count(self, metric: Metric, number: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Note the present value of a gauge."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Note one value of a histogram."""

    def forget(self, **labels: str) -> None:
        """Drop the gauges with just these labels: what they are of is here no more."""


UNOBSERVED = Observer()
