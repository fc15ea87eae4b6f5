"""The certificate's end is told in time, once a day, and as a figure."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from submitd.process.expiry import Expiry
from submitd.tls.server import TlsFiles
from tests.support.recorded_events import RecordedEvents

HOUR = 3600.0
DAY = 24 * HOUR
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def certificate(folder: Path, begins: datetime, ends: datetime) -> TlsFiles:
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return TlsFiles(certificate=file, key=file)


def at_once(work: Callable[[], object]) -> Deferred[object]:
    return maybeDeferred(work)


def expiry(clock: Clock, events: RecordedEvents) -> Expiry:
    return Expiry(
        clock, events, lambda: NOW.timestamp() + clock.seconds(), in_thread=at_once
    )


@pytest.mark.parametrize(
    ("life", "left", "told"),
    [
        (timedelta(days=90), timedelta(days=14, hours=1), 0),
        (timedelta(days=90), timedelta(days=14), 1),
        (timedelta(days=6), timedelta(days=1, hours=1), 0),
        (timedelta(days=6), timedelta(days=1), 1),
        (timedelta(days=90), timedelta(days=-1), 1),
    ],
)
def test_it_is_told_when_little_is_left(
    tmp_path: Path, life: timedelta, left: timedelta, told: int
) -> None:
    clock, events = Clock(), RecordedEvents()
    looks = expiry(clock, events)
    looks.use(certificate(tmp_path, NOW + left - life, NOW + left))

    looks.startService()

    assert events.names.count("certificate-ends") == told
    (figure,) = looks.collect()
    assert figure.samples[0].value == (NOW + left).timestamp()
    looks.stopService()
    assert not clock.getDelayedCalls()


def test_it_is_told_once_a_day_and_no_more_when_it_was_renewed(tmp_path: Path) -> None:
    clock, events = Clock(), RecordedEvents()
    looks = expiry(clock, events)
    looks.use(certificate(tmp_path, NOW - timedelta(days=80), NOW + timedelta(days=10)))
    looks.startService()

    clock.pump([HOUR] * 23)
    assert events.names.count("certificate-ends") == 1
    clock.pump([HOUR] * 24)
    assert events.names.count("certificate-ends") == 2
    certificate(tmp_path, NOW, NOW + timedelta(days=90))
    clock.pump([HOUR] * 30)
    assert events.names.count("certificate-ends") == 2
    (figure,) = looks.collect()
    assert figure.samples[0].value == (NOW + timedelta(days=90)).timestamp()


def test_a_file_that_is_gone_is_told_and_the_last_figure_stays(tmp_path: Path) -> None:
    clock, events = Clock(), RecordedEvents()
    looks = expiry(clock, events)
    files = certificate(tmp_path, NOW, NOW + timedelta(days=90))
    looks.use(files)
    looks.startService()
    files.certificate.unlink()

    clock.advance(HOUR)

    assert events.names == ["certificate-refused"]
    assert looks.collect()


def test_without_a_certificate_there_is_no_figure() -> None:
    clock, events = Clock(), RecordedEvents()
    looks = expiry(clock, events)
    looks.use(None)
    looks.startService()

    assert looks.collect() == []
    assert events.names == []
