"""Mail on its way out: odd hosts, many recipients, what senders wished to hear."""

import sqlite3
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import pytest
from twisted.internet import reactor

from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread
from tests.support.receiver import Received

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

SMALL: Final = "From: alice@example.org\r\nSubject: small\r\n\r\ntext\r\n"
BIG: Final = SMALL + ("x" * 70 + "\r\n") * 40_000
DSN: Final = ("PIPELINING", "8BITMIME", "DSN", "SMTPUTF8")


async def send(
    server: OneProcess,
    *to: str,
    text: str | bytes = SMALL,
    mail: tuple[str, ...] = (),
    rcpt: tuple[str, ...] = (),
    sender: str = "alice@example.org",
) -> None:
    """Submit one message as alice; each recipient must be taken."""

    def submit() -> None:
        with server.logged_in() as client:
            assert client.sendmail(sender, list(to), text, mail, rcpt) == {}

    await in_thread(submit)


def report_of(received: Received) -> tuple[EmailMessage, str]:
    """A report, and its machine-readable part as text."""
    assert received.reverse_path == ""
    report = message_from_bytes(received.content, policy=policy.default)
    status = next(
        part
        for part in report.walk()
        if part.get_content_type() == "message/delivery-status"
    )
    return report, "\n".join(str(block) for block in status.iter_parts())


# Odd hosts


@in_reactor
async def test_a_host_that_hangs_up_at_mail_is_not_hammered(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.replies["MAIL"] = None
        await send(server, "bob@example.net")
        await server.logs("message-delayed")
        assert "status=4.4.2" in server.log
        await server.until(lambda: server.log.count("message-delayed") == 3)
        assert server.receiver.connections <= 4
        server.receiver.replies.clear()
        await server.receiver.has(1)


@in_reactor
async def test_an_idle_connection_that_was_closed_costs_no_attempt(
    tmp_path: Path,
) -> None:
    """And no delay: a new connection is made at once."""
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.replies["RSET"] = None
        server.receiver.refusals["nobody"] = "550 5.1.1 No"
        await send(server, "nobody@example.net", mail=("RET=HDRS",))
        await server.logs("message-failed")
        await send(server, "bob@example.net")
        await server.until(
            lambda: (
                ["bob@example.net"]
                in [one.forward_paths for one in server.receiver.received]
            )
        )
        assert "message-delayed" not in server.log


@in_reactor
async def test_the_last_words_of_a_host_reach_the_log(tmp_path: Path) -> None:
    """RFC 5321 section 3.8: 421 may come at any time."""
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.replies["MAIL"] = "421 4.3.2 Down for an hour"
        await send(server, "bob@example.net")
        await server.logs('reply="421 4.3.2 Down for an hour"')


@in_reactor
async def test_content_that_is_refused_before_its_end_fails_with_that_reply(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.most_lines = 100
        await send(server, "bob@example.net", text=BIG)
        await server.logs('reply="552 5.3.4 Too much for us"')
        server.receiver.most_lines = None
        await server.receiver.has(1)
        _, status = report_of(server.receiver.received[0])
        assert "Status: 5.3.4" in status


@pytest.mark.rfc("5321", "4.5.3.1.10")
@in_reactor
async def test_552_to_a_recipient_is_no_final_no(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals["bob"] = "552 Too many recipients"
        await send(server, "bob@example.net", "carol@example.net")
        await server.logs("message-delayed")
        server.receiver.refusals.clear()
        await server.receiver.has(2)
        assert [one.forward_paths for one in server.receiver.received] == [
            ["carol@example.net"],
            ["bob@example.net"],
        ]


@pytest.mark.rfc("5321", "4.5.3.1.8")
@in_reactor
async def test_more_recipients_than_a_host_must_take_go_in_turns(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        names = [f"u{number}@example.net" for number in range(230)]
        await send(server, *names)
        await server.receiver.has(3)
        counts = [len(one.forward_paths) for one in server.receiver.received]
        assert counts == [100, 100, 30]
        told = [path for one in server.receiver.received for path in one.forward_paths]
        assert told == names


@in_reactor
async def test_each_recipient_has_an_outcome_of_their_own(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals |= {
            "gone": "550 5.1.1 No such person",
            "full": "452 4.2.2 Mailbox full",
        }
        await send(server, "gone@example.net", "bob@example.net", "full@example.net")
        await server.receiver.has(2)
        await server.logs("recipient=full@example.net")
        outcomes = {
            line.partition("recipient=")[2].split()[0]: line.partition("[message-")[
                2
            ].partition("]")[0]
            for line in server.log.splitlines()
            if "attempts=1" in line and "reply=" in line
        }
        assert outcomes["gone@example.net"] == "failed"
        assert outcomes["bob@example.net"] == "relayed"
        assert outcomes["full@example.net"] == "delayed"
        _, status = report_of(
            next(one for one in server.receiver.received if not one.reverse_path)
        )
        assert "gone@example.net" in status
        assert "full@example.net" not in status


# Connections


@in_reactor
async def test_messages_of_one_destination_share_few_connections(
    tmp_path: Path,
) -> None:
    more = "[delivery]\nconnections_per_destination = 2"
    async with OneProcess(reactor, tmp_path, more) as server:

        def burst() -> None:
            with server.logged_in() as client:
                for number in range(40):
                    client.sendmail(
                        "alice@example.org", [f"u{number}@example.net"], SMALL
                    )

        await in_thread(burst)
        await server.receiver.has(40)
        assert server.receiver.connections <= 4
        assert server.receiver.most_open <= 2


@in_reactor
async def test_a_connection_carries_so_many_messages(tmp_path: Path) -> None:
    more = "[delivery]\nconnections_per_destination = 1\nmessages_per_connection = 5"
    async with OneProcess(reactor, tmp_path, more) as server:

        def burst() -> None:
            with server.logged_in() as client:
                for number in range(20):
                    client.sendmail(
                        "alice@example.org", [f"u{number}@example.net"], SMALL
                    )

        await in_thread(burst)
        await server.receiver.has(20)
        assert server.receiver.connections == 4


# What a host can do


@pytest.mark.rfc("6152", "3")
@in_reactor
async def test_8_bit_content_is_said_to_be_so_where_that_is_understood(
    tmp_path: Path,
) -> None:
    """What becomes of it elsewhere is in test_renditions."""
    async with OneProcess(reactor, tmp_path) as server:
        text = SMALL.encode() + "ä\r\n".encode()
        await send(server, "bob@example.net", text=text, mail=("BODY=8BITMIME",))
        await server.receiver.has(1)
        assert server.receiver.commands[1].endswith("BODY=8BITMIME")
        server.receiver.keywords = ("PIPELINING",)
        server.receiver.replies["RSET"] = None
        await server.until(lambda: server.receiver.open == 0)
        # ASCII alone needs nothing, whatever the client declared.
        await send(server, "dora@example.net", mail=("BODY=8BITMIME",))
        await server.receiver.has(2)
        assert "BODY" not in server.receiver.commands[-4]
        assert "rendition-made" not in server.log


@pytest.mark.rfc("6531", "3.1")
@in_reactor
async def test_international_addresses_need_a_host_that_takes_them(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = DSN

        def submit(recipient: str) -> None:
            with server.logged_in() as client:
                client.ehlo()
                client.command_encoding = "utf-8"
                client.mail("alice@example.org", ("SMTPUTF8", "BODY=8BITMIME"))
                code, said = client.rcpt(recipient)
                assert code == 250, said
                assert client.data(SMALL.encode())[0] == 250

        await in_thread(lambda: submit("jürgen@example.net"))
        await server.receiver.has(1)
        assert server.receiver.received[0].forward_paths == ["jürgen@example.net"]
        server.receiver.keywords = ("PIPELINING", "8BITMIME")
        await server.until(lambda: server.receiver.open == 0)
        await in_thread(lambda: submit("björn@example.net"))
        await server.logs("5.6.7")
        await server.receiver.has(2)


# What senders wished to hear (RFC 3461)


@pytest.mark.rfc("3461", "5.2.1")
@in_reactor
async def test_wishes_travel_to_a_host_that_knows_them(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = DSN
        await send(
            server,
            "bob@example.net",
            mail=("RET=HDRS", "ENVID=one+2Btwo"),
            rcpt=("NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;bob+2Bx@example.net"),
        )
        await server.receiver.has(1)
        _, mail, rcpt, *_ = server.receiver.commands
        assert mail == "MAIL FROM:<alice@example.org> RET=HDRS ENVID=one+2Btwo"
        assert rcpt == (
            "RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY"
            " ORCPT=rfc822;bob+2Bx@example.net"
        )
        # The other host reports success now, not we.
        await server.logs("message-relayed")
        assert "report-made" not in server.log


@pytest.mark.rfc("3461", "5.2.2")
@in_reactor
async def test_success_is_told_as_relayed_where_the_host_does_not_know_wishes(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await send(
            server,
            "bob@example.net",
            mail=("RET=HDRS", "ENVID=one+2Btwo"),
            rcpt=("NOTIFY=SUCCESS", "ORCPT=rfc822;bobby@example.com"),
        )
        await server.receiver.has(2)
        report, status = report_of(server.receiver.received[1])
        assert "Action: relayed" in status
        assert "Original-Envelope-Id: one+two" in status
        assert "Original-Recipient: rfc822; bobby@example.com" in status
        assert [part.get_content_type() for part in report.iter_parts()] == [
            "text/plain",
            "message/delivery-status",
            "text/rfc822-headers",
        ]


@pytest.mark.rfc("3461", "4.1")
@in_reactor
async def test_never_means_never(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals["gone"] = "550 5.1.1 No such person"
        await send(server, "gone@example.net", rcpt=("NOTIFY=NEVER",))
        await server.logs("message-failed")
        await send(server, "bob@example.net")
        await server.receiver.has(1)
        assert "report-made" not in server.log


@pytest.mark.rfc("5321", "6.1")
@in_reactor
async def test_no_report_is_made_about_a_report(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals |= {
            "gone": "550 5.1.1 No such person",
            "alice": "550 5.1.1 Nor she",
        }
        await send(server, "gone@example.net")
        await server.logs("report-dropped")
        assert server.log.count("report-made") == 1
        assert server.receiver.received == []


@pytest.mark.rfc("3461", "6.2")
@pytest.mark.parametrize(
    ("ret", "text", "kind"),
    [
        ("RET=FULL", SMALL, "message/rfc822"),
        ("RET=HDRS", SMALL, "text/rfc822-headers"),
        ("RET=FULL", BIG, "text/rfc822-headers"),
    ],
)
@in_reactor
async def test_a_report_returns_what_was_wished_for_within_bounds(
    tmp_path: Path, ret: str, text: str, kind: str
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals["gone"] = "550 5.1.1 No such person"
        await send(server, "gone@example.net", text=text, mail=(ret,))
        await server.receiver.has(1)
        report, _ = report_of(server.receiver.received[0])
        *_, returned = report.iter_parts()
        assert returned.get_content_type() == kind
        assert b"Subject: small" in server.receiver.received[0].content


@in_reactor
async def test_a_delay_is_told_once_and_the_end_with_the_last_words(
    tmp_path: Path,
) -> None:
    """RFC 5321 section 4.5.4.1, RFC 3461 section 4.1: DELAY is told by default."""
    async with OneProcess(
        reactor, tmp_path, retry='report_delay_after = "1s"\ngive_up = "60s"'
    ) as server:
        server.receiver.refusals["slow"] = "451 4.3.0 Not today"
        await send(server, "slow@example.net")
        await server.receiver.has(1)
        _, status = report_of(server.receiver.received[0])
        assert "Action: delayed" in status
        assert "Will-Retry-Until: " in status
        attempts = server.log.count("message-delayed")
        await server.until(lambda: server.log.count("message-delayed") > attempts + 1)
        assert len(server.receiver.received) == 1
        # An hour passes.
        with sqlite3.connect(tmp_path / "state" / "spool.sqlite", timeout=10) as db:
            db.execute("UPDATE message SET accepted_at = accepted_at - 3600")
        db.close()
        await server.receiver.has(2)
        report, status = report_of(server.receiver.received[1])
        assert "Status: 5.4.7" in status
        assert "Action: failed" in status
        assert "451 4.3.0 Not today" in report.as_string()


# Routes


@in_reactor
async def test_a_smart_host_is_told_who_we_are_under_verified_tls(
    tmp_path: Path,
) -> None:
    """The smart host is a second server of ours."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with OneProcess(reactor, tmp_path / "two") as smart:
        (tmp_path / "one" / "relay-password").write_text("buildings\n")
        route = f"""
[route."example.edu"]
host = "localhost"
port = {smart.port("submission")}
tls = "verify"
ca_file = "{smart.ca}"
user = "bob"
password_file = "relay-password"
"""
        async with OneProcess(reactor, tmp_path / "one", route) as server:
            text = SMALL.replace("alice@", "bob@")

            def submit() -> None:
                with server.logged_in("bob", "buildings") as client:
                    client.sendmail("bob@example.org", ["x@example.edu"], text)

            await in_thread(submit)
            await smart.receiver.has(1)
            assert smart.receiver.received[0].forward_paths == ["x@example.edu"]
            assert server.receiver.received == []
