"""Wishes survive the wire and the spool, and none that is odd raises anything."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import assume, given
from hypothesis import strategies as st

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import (
    Body,
    ByMode,
    DeliverBy,
    Envelope,
    ForwardPath,
    Ret,
    SubmittedBy,
    TlsDemand,
)
from submitd.smtp import extension
from submitd.smtp.client import HostLimits, TimeLeft
from submitd.smtp.event import SenderOffered
from submitd.smtp.extension import parameters_of
from submitd.smtp.grammar import read_mail
from submitd.spool.rows import envelope_text, read_envelope

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
KNOWN: Final = parameters_of(
    (
        extension.future_release(timedelta(days=366), lambda: NOW),
        extension.deliver_by(timedelta(seconds=1), lambda: NOW),
        extension.MT_PRIORITY,
        extension.REQUIRETLS,
    )
)
BOB: Final = ForwardPath(parse_mailbox("bob@example.net"))
MOMENTS: Final = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def offered(parameters: str) -> SenderOffered:
    read = read_mail(f"FROM:<> {parameters}".encode(), KNOWN.mail)
    assert isinstance(read, SenderOffered)
    return read


@given(
    st.sampled_from(sorted(KNOWN.mail)),
    st.binary(max_size=30).filter(lambda value: not value.split()[1:])
    | st.from_regex(rb"[0-9TtZz:;.+NRnr-]{0,30}", fullmatch=True),
)
def test_no_value_raises(name: bytes, value: bytes) -> None:
    read_mail(b"FROM:<> " + name + b"=" + value, KNOWN.mail)


@given(
    st.integers(1, 999_999_999) | st.integers(-999_999_999, 0),
    st.sampled_from(ByMode),
    st.booleans(),
)
def test_the_time_that_a_sender_says_is_read_as_it_was_meant(
    seconds: int, mode: ByMode, trace: bool
) -> None:
    assume(seconds > 0 or mode is ByMode.NOTIFY)
    left = TimeLeft(seconds, mode, trace)
    at = NOW + timedelta(seconds=seconds)
    assert offered(left.parameter).deliver_by == DeliverBy(
        at, mode, trace, was_over=seconds <= 0
    )


@given(st.integers(-9, 9))
def test_a_priority_is_read_as_it_was_written(priority: int) -> None:
    assert offered(f"MT-PRIORITY={priority}").priority == priority


@given(st.integers(1, 366 * 86400 - 60))
def test_both_ways_to_say_when_are_one(seconds: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    for_so_long = offered(f"HOLDFOR={seconds}")
    until_then = offered(f"HOLDUNTIL={at:%Y-%m-%dT%H:%M:%SZ}")
    assert for_so_long.release_at == until_then.release_at == at


@given(st.text(max_size=40))
def test_no_limits_raise(words: str) -> None:
    limits = HostLimits.parse(words)
    for limit in (limits.transactions, limits.recipients, limits.domains):
        assert limit is None or 0 < limit < 1_000_000


@given(
    st.fixed_dictionaries(
        {
            "body": st.sampled_from(Body),
            "smtputf8": st.booleans(),
            "ret": st.none() | st.sampled_from(Ret),
            "envid": st.none() | st.just("a b"),
            "release_request": st.just("") | st.just("for;60"),
            "deliver_by": st.none()
            | st.builds(DeliverBy, MOMENTS, st.sampled_from(ByMode), st.booleans()),
            "priority": st.integers(-9, 9),
            "tls_demand": st.none() | st.sampled_from(TlsDemand),
            "submitted_by": st.none()
            | st.builds(SubmittedBy, st.none() | st.just(BOB.mailbox)),
        }
    )
)
def test_an_envelope_is_read_as_it_was_written(wishes: dict[str, Any]) -> None:
    envelope = Envelope(
        reverse_path=None, forward_paths=(BOB,), accepted_at=NOW, **wishes
    )
    text = envelope_text(envelope)
    read = read_envelope(
        text,
        reverse_path=None,
        forward_paths=(BOB,),
        accepted_at=NOW.timestamp(),
        release_at=None,
    )
    assert read == envelope
