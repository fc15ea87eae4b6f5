from datetime import UTC, datetime

import pytest
from attrs import evolve

from submitd.mail.message import HeaderSection
from submitd.mail.trace import Origin, TlsFacts, count_received, received_field

AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
HIDDEN = Origin(
    client_name=None,
    client_address=None,
    esmtp=True,
    authenticated=True,
    smtputf8=False,
    tls=TlsFacts(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384"),
)


def made(origin: Origin) -> bytes:
    return received_field(
        origin, hostname="submit.example.org", queue_id="4F0C1B", at=AT
    )


@pytest.mark.rfc("5321", "4.4")
def test_by_default_it_says_nothing_of_where_the_client_is() -> None:
    assert made(HIDDEN) == (
        b"Received: by submit.example.org with ESMTPSA\r\n"
        b"\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384)\r\n"
        b"\tid 4F0C1B; Sat, 31 Jan 2026 12:00:00 +0000\r\n"
    )


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.parametrize(
    ("name", "address", "clause"),
    [
        ("laptop.example.org", "192.0.2.1", b"laptop.example.org ([192.0.2.1])"),
        ("[192.0.2.1]", "2001:db8::1", b"[192.0.2.1] ([IPv6:2001:db8::1])"),
        (None, "192.0.2.1", b"unknown ([192.0.2.1])"),
        ("", "192.0.2.1", b"unknown ([192.0.2.1])"),
        ("laptop", None, b"laptop ([unknown])"),
        ("a) by b (x;\r\n", "192.0.2.1", b"a??by?b??x??? ([192.0.2.1])"),
        ("z\u00f6e", "192.0.2.1", b"z?e ([192.0.2.1])"),
        ("x" * 300, "192.0.2.1", b"x" * 255 + b" ([192.0.2.1])"),
    ],
)
def test_a_client_that_is_shown_says_nothing_in_our_name(
    name: str | None, address: str | None, clause: bytes
) -> None:
    origin = evolve(HIDDEN, client_name=name, client_address=address, tls=None)

    assert made(origin) == (
        b"Received: from " + clause + b"\r\n"
        b"\tby submit.example.org with ESMTPA\r\n"
        b"\tid 4F0C1B; Sat, 31 Jan 2026 12:00:00 +0000\r\n"
    )


@pytest.mark.rfc("3848", "2")
@pytest.mark.rfc("6531", "4.3")
@pytest.mark.parametrize(
    ("utf8", "esmtp", "tls", "authenticated", "protocol"),
    [
        (False, False, False, False, "SMTP"),
        (False, False, True, True, "SMTP"),
        (False, True, False, False, "ESMTP"),
        (False, True, False, True, "ESMTPA"),
        (False, True, True, False, "ESMTPS"),
        (False, True, True, True, "ESMTPSA"),
        (True, True, False, False, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_the_protocol_has_its_registered_name(
    *, utf8: bool, esmtp: bool, tls: bool, authenticated: bool, protocol: str
) -> None:
    origin = Origin(
        client_name=None,
        client_address=None,
        esmtp=esmtp,
        authenticated=authenticated,
        smtputf8=utf8,
        tls=HIDDEN.tls if tls else None,
    )

    assert origin.protocol == protocol


@pytest.mark.rfc("5321", "6.3")
def test_each_received_field_counts_as_a_host_passed() -> None:
    section = HeaderSection.parse(
        b"Received: by a;\r\n x\r\nX-Received: no\r\nRECEIVED : by b; x\r\n"
    )

    assert count_received(section) == 2


@pytest.mark.rfc("6710", "4.1")
def test_a_priority_is_a_clause_of_its_own() -> None:
    assert b"\tid 4F0C1B PRIORITY -3; Sat" in made(evolve(HIDDEN, priority=-3))
