"""Counters and gauges, in one process and summed over all of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_DELIVERY_SECONDS: Final = (0.01, 0.1, 0.5, 1, 5, 30, 60, 300, 3600, 14400, 86400)

Snapshot: TypeAlias = list[
    tuple[str, str, str, list[tuple[str, list[tuple[str, str]], float]]]
]
"""Families as (name, type, help, samples); a sample is (name, labels, value)."""


class Metrics:
    """What one process counts. Names follow Prometheus' customs."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self.sessions = Counter(
            "submitd_sessions", "Connections by end.", ["end"], registry=registry
        )
        self.sessions_open = Gauge(
            "submitd_sessions_open", "Connections open now.", registry=registry
        )
        self.logins = Counter(
            "submitd_logins",
            "Log-in attempts by result.",
            ["result"],
            registry=registry,
        )
        self.messages = Counter(
            "submitd_messages",
            "Messages offered to us, by result.",
            ["result"],
            registry=registry,
        )
        self.over_quota = Counter(
            "submitd_over_quota",
            "Messages over a submitter's limits, by what was done.",
            ["action"],
            registry=registry,
        )
        self.message_octets = Counter(
            "submitd_message_octets", "Octets of accepted messages.", registry=registry
        )
        self.outcomes = Counter(
            "submitd_outcomes",
            "Outcomes of delivery attempts, by recipient.",
            ["outcome"],
            registry=registry,
        )
        self.reports = Counter(
            "submitd_reports", "Reports made, by kind.", ["kind"], registry=registry
        )
        self.delivery_seconds = Histogram(
            "submitd_delivery_seconds",
            "From acceptance to the next host's acceptance.",
            buckets=_DELIVERY_SECONDS,
            registry=registry,
        )
        self.accept_seconds = Histogram(
            "submitd_accept_seconds",
            "From the end of the content to its reply.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "submitd_spool_commit_seconds",
            "Time of one commit of the spool.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.commit_batch = Histogram(
            "submitd_spool_commit_batch",
            "Items in one commit of the spool.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
            registry=registry,
        )
        self.deliveries_open = Gauge(
            "submitd_delivery_connections_open",
            "Connections to next hops open now.",
            registry=registry,
        )

    def snapshot(self) -> Snapshot:
        """All figures as plain values, to be sent through a pipe."""
        return [
            (
                family.name,
                family.type,
                family.documentation,
                [
                    (sample.name, sorted(sample.labels.items()), sample.value)
                    for sample in family.samples
                    if not sample.name.endswith("_created")
                ],
            )
            for family in self.registry.collect()
        ]


class Summed(Collector):
    """The figures of several processes as one, those that ended included."""

    def __init__(self) -> None:
        self._living: dict[str, Snapshot] = {}
        self._ended: Snapshot = []

    def put(self, process: str, snapshot: Snapshot) -> None:
        """The newest figures of one process."""
        self._living[process] = snapshot

    def end(self, process: str) -> None:
        """A process is gone: its counters stay in the sum, its gauges do not."""
        last = self._living.pop(process, [])
        counted = [family for family in last if family[1] != "gauge"]
        self._ended = list(_as_snapshot(_sum([self._ended, counted])))

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client's registries ask for it."""
        for name, (kind, text, samples) in _sum(
            [self._ended, *self._living.values()]
        ).items():
            metric = Metric(name, text, kind)
            for (sample, labels), value in samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


_Samples: TypeAlias = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _sum(snapshots: Sequence[Snapshot]) -> Mapping[str, tuple[str, str, _Samples]]:
    families: dict[str, tuple[str, str, _Samples]] = {}
    for snapshot in snapshots:
        for name, kind, text, samples in snapshot:
            _, _, sums = families.setdefault(name, (kind, text, {}))
            for sample, labels, value in samples:
                key = sample, tuple((label, text) for label, text in labels)
                sums[key] = sums.get(key, 0.0) + value
    return families


def _as_snapshot(
    families: Mapping[str, tuple[str, str, _Samples]],
) -> Iterable[tuple[str, str, str, list[tuple[str, list[tuple[str, str]], float]]]]:
    for name, (kind, text, samples) in families.items():
        yield (
            name,
            kind,
            text,
            [
                (sample, list(labels), value)
                for (sample, labels), value in samples.items()
            ],
        )
