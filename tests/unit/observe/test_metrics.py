import json

from prometheus_client import CollectorRegistry, generate_latest

from submitd.observe.metrics import Metrics, Snapshot, Summed


def as_sent(metrics: Metrics) -> Snapshot:
    """A snapshot after its way through the pipe, which is JSON."""
    sent: Snapshot = json.loads(json.dumps(metrics.snapshot()))
    return sent


def shown(summed: Summed) -> dict[str, float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(summed)
    return {
        name: float(value)
        for line in generate_latest(registry).decode().splitlines()
        if not line.startswith("#")
        for name, _, value in [line.rpartition(" ")]
    }


def test_figures_of_several_processes_are_one_sum() -> None:
    one, two, summed = Metrics(), Metrics(), Summed()
    one.messages.labels(result="accepted").inc(3)
    two.messages.labels(result="accepted").inc(4)
    two.messages.labels(result="refused").inc()
    one.sessions_open.set(5)
    two.sessions_open.set(6)
    one.commit_seconds.observe(0.003)
    two.commit_seconds.observe(0.5)

    summed.put("w1", as_sent(one))
    summed.put("w2", as_sent(two))

    figures = shown(summed)
    assert figures['submitd_messages_total{result="accepted"}'] == 7
    assert figures['submitd_messages_total{result="refused"}'] == 1
    assert figures["submitd_sessions_open"] == 11
    assert figures["submitd_spool_commit_seconds_count"] == 2
    assert figures["submitd_spool_commit_seconds_sum"] == 0.503
    assert figures['submitd_spool_commit_seconds_bucket{le="0.005"}'] == 1
    assert figures['submitd_spool_commit_seconds_bucket{le="+Inf"}'] == 2


def test_newer_figures_of_a_process_take_the_place_of_its_older_ones() -> None:
    metrics, summed = Metrics(), Summed()
    metrics.reports.labels(kind="failure").inc()
    summed.put("w1", as_sent(metrics))
    metrics.reports.labels(kind="failure").inc()
    summed.put("w1", as_sent(metrics))

    assert shown(summed)['submitd_reports_total{kind="failure"}'] == 2


def test_what_a_process_counted_outlives_it_and_its_gauges_do_not() -> None:
    metrics, summed = Metrics(), Summed()
    metrics.outcomes.labels(outcome="relayed").inc(2)
    metrics.sessions_open.set(9)
    summed.put("w1", as_sent(metrics))

    summed.end("w1")
    summed.put("w2", as_sent(metrics))
    summed.end("unknown")

    figures = shown(summed)
    assert figures['submitd_outcomes_total{outcome="relayed"}'] == 4
    assert figures["submitd_sessions_open"] == 9
    summed.end("w2")
    assert "submitd_sessions_open" not in shown(summed)


def test_moments_of_creation_are_not_sent() -> None:
    metrics = Metrics()
    metrics.message_octets.inc()

    assert not [
        name
        for *_, samples in metrics.snapshot()
        for name, _, _ in samples
        if name.endswith("_created")
    ]
