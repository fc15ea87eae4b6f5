"""What a sender says of a message's wishes, and the limits it keeps to."""

import pytest

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Body, ByMode, ForwardPath, SubmittedBy
from submitd.smtp.client import (
    ClientSession,
    ContentWanted,
    HostLimits,
    Outgoing,
    Ready,
    StartTls,
    TimeLeft,
    TlsWish,
)

ALICE = parse_mailbox("alice+x@example.org")


def outgoing(*to: str, **changes: object) -> Outgoing:
    facts: dict[str, object] = {
        "reverse_path": parse_mailbox("a@example.org"),
        "forward_paths": tuple(ForwardPath(parse_mailbox(one)) for one in to),
        "size": 42,
        "body": Body.SEVEN_BIT,
        "smtputf8": False,
        "ret": None,
        "envid": None,
    }
    return Outgoing(**(facts | changes))  # type: ignore[arg-type]


def ready(*offers: str, log_in: bool = False) -> ClientSession:
    session = ClientSession(
        "me.example",
        tls=TlsWish.NEVER,
        credentials=("u", "p") if log_in else None,
        under_tls=True,
    )
    lines = ("mx.example", "PIPELINING", *offers)
    hello = "".join(f"250-{one}\r\n" for one in lines[:-1]) + f"250 {lines[-1]}\r\n"
    session.receive_data(b"220 hello\r\n" + hello.encode())
    if log_in:
        session.receive_data(b"235 2.7.0 welcome\r\n")
    assert session.next_event() == Ready()
    session.data_to_send()
    return session


def mail(session: ClientSession, **wishes: object) -> str:
    session.begin(outgoing("bob@example.net", **wishes))
    return session.data_to_send().decode().partition("\r\n")[0]


@pytest.mark.rfc("2852", "4.1.4")
@pytest.mark.parametrize(
    ("left", "said"),
    [
        (TimeLeft(98, ByMode.RETURN, trace=False), "BY=98;R"),
        (TimeLeft(-5, ByMode.NOTIFY, trace=True), "BY=-5;NT"),
        (TimeLeft(-1_000_000_000, ByMode.NOTIFY, trace=False), "BY=-999999999;N"),
        (TimeLeft(1_000_000_000, ByMode.NOTIFY, trace=False), "BY=999999999;N"),
    ],
)
def test_the_time_that_is_left_is_passed_on(left: TimeLeft, said: str) -> None:
    assert mail(ready("DELIVERBY 30"), by=left) == f"MAIL FROM:<a@example.org> {said}"
    assert mail(ready(), by=left) == "MAIL FROM:<a@example.org>"


@pytest.mark.rfc("6710", "4.2")
@pytest.mark.rfc("6710", "4.3")
def test_the_priority_is_told_to_who_asks_for_it() -> None:
    """That of a message that has none given, too: it is 0."""
    offered = ready("MT-PRIORITY MIXER")
    assert mail(offered, priority=-4) == "MAIL FROM:<a@example.org> MT-PRIORITY=-4"
    assert mail(ready("MT-PRIORITY")) == "MAIL FROM:<a@example.org> MT-PRIORITY=0"
    assert mail(ready(), priority=4) == "MAIL FROM:<a@example.org>"


@pytest.mark.rfc("4954", "5")
def test_who_submitted_the_message_is_told_where_we_are_known() -> None:
    known = ready("AUTH PLAIN", log_in=True)
    said = mail(known, submitted_by=SubmittedBy(ALICE))
    assert said == "MAIL FROM:<a@example.org> AUTH=alice+2Bx@example.org"
    stranger = ready("AUTH PLAIN")
    assert "AUTH" not in mail(stranger, submitted_by=SubmittedBy(ALICE))
    assert "AUTH" not in mail(ready("AUTH PLAIN", log_in=True))


@pytest.mark.rfc("4954", "5")
@pytest.mark.parametrize("mailbox", [None, parse_mailbox("jürgen@example.org")])
def test_who_cannot_be_named_is_nobody(mailbox: object) -> None:
    """xtext is ASCII alone."""
    wish = SubmittedBy(mailbox)  # type: ignore[arg-type]
    said = mail(ready("AUTH PLAIN", log_in=True), submitted_by=wish)
    assert said == "MAIL FROM:<a@example.org> AUTH=<>"


# RFC 9422


@pytest.mark.rfc("9422", "3.7")
@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ("", HostLimits()),
        ("MAILMAX=5 rcptmax=20 RCPTDOMAINMAX=1", HostLimits(5, 20, 1)),
        ("RCPTMAX=999999 OTHER FUTURE=a:b", HostLimits(None, 999999)),
        # A value in bad form is as none; a word in bad form spoils all of them.
        ("RCPTMAX=0 MAILMAX=5", HostLimits(5)),
        ("RCPTMAX=1000000 MAILMAX=", HostLimits()),
        ("RCPTMAX=020", HostLimits()),
        ("RCPTMAX=20 MAILMAX=5;", HostLimits()),
    ],
)
def test_limits_are_read_as_far_as_they_are_in_good_form(
    words: str, limits: HostLimits
) -> None:
    assert HostLimits.parse(words) == limits


def accepted(session: ClientSession, *to: str) -> int:
    """How many recipients a transaction took."""
    session.begin(outgoing(*to))
    said = session.data_to_send().count(b"RCPT TO:")
    session.receive_data(b"250 ok\r\n" * (said + 1) + b"354 go\r\n")
    assert session.next_event() == ContentWanted(tuple(range(said)))
    session.end_content()
    session.receive_data(b"250 ok\r\n")
    session.next_event()
    session.data_to_send()
    return said


@pytest.mark.rfc("9422", "4.2")
def test_a_transaction_has_no_more_recipients_than_the_server_takes() -> None:
    names = [f"u{number}@example.net" for number in range(150)]
    assert accepted(ready("LIMITS RCPTMAX=3"), *names) == 3
    assert accepted(ready("LIMITS RCPTMAX=1000"), *names) == 100
    assert accepted(ready(), *names) == 100


@pytest.mark.rfc("9422", "4.1")
def test_a_session_has_no_more_transactions_than_the_server_takes() -> None:
    """Those that it refuses count, too."""
    session = ready("LIMITS MAILMAX=2")
    assert session.takes("example.net")
    accepted(session, "bob@example.net")
    session.begin(outgoing("carol@example.net"))
    session.receive_data(b"550 no\r\n503 no\r\n503 no\r\n")
    assert not session.takes("example.net")


@pytest.mark.rfc("9422", "4.3")
def test_a_session_has_no_more_domains_than_the_server_takes() -> None:
    session = ready("LIMITS RCPTDOMAINMAX=2")
    assert accepted(session, "b@a.example", "c@b.example", "d@a.example") == 3
    assert session.takes("b.example")
    assert not session.takes("c.example")
    assert accepted(session, "b@b.example", "c@c.example", "d@a.example") == 1
    assert session.takes("a.example")


@pytest.mark.rfc("9422", "3.6")
def test_limits_from_before_tls_are_void() -> None:
    session = ClientSession("me.example", tls=TlsWish.IF_OFFERED)
    session.receive_data(
        b"220 hi\r\n250-mx\r\n250-STARTTLS\r\n250 LIMITS RCPTMAX=1\r\n"
    )
    session.receive_data(b"220 go\r\n")
    session.tls_started()
    session.receive_data(b"250-mx\r\n250 PIPELINING\r\n")
    session.data_to_send()
    assert [session.next_event(), session.next_event()] == [StartTls(), Ready()]
    assert accepted(session, "b@a.example", "c@a.example") == 2
