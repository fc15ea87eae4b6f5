"""What a message wishes for, from a client to the next host and back."""

import base64
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Final

import pytest
from twisted.internet import reactor

from submitd.mail.envelope import TlsDemand
from submitd.spool.sqlite import SqliteStore
from submitd.spool.store import Wanted
from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread
from tests.support.receiver import Received

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

TEXT: Final = "From: alice@example.org\r\nSubject: wish\r\n\r\ntext\r\n"
PRIORITIES: Final = "[extensions]\nhighest_priority = 5"
ONE_AT_A_TIME: Final = "[delivery]\nconnections_per_destination = 1"


async def send(
    server: OneProcess,
    *to: str,
    mail: tuple[str, ...] = (),
    rcpt: tuple[str, ...] = (),
    text: str = TEXT,
) -> bytes:
    """As `OneProcess.submit`."""
    return await server.submit(text, *to, mail=mail, rcpt=rcpt)


async def ehlo(server: OneProcess) -> dict[str, str]:
    """What a client is offered once it has logged in."""

    def hello() -> dict[str, str]:
        with server.logged_in() as client:
            client.ehlo()
            return client.esmtp_features

    return await in_thread(hello)


def status_of(received: Received) -> str:
    """The machine-readable part of a report, as text."""
    assert received.reverse_path == ""
    report = message_from_bytes(received.content, policy=policy.default)
    (status,) = [
        part
        for part in report.walk()
        if part.get_content_type() == "message/delivery-status"
    ]
    return "\n".join(str(block) for block in status.iter_parts())


@in_reactor
async def test_what_is_offered_follows_the_configuration(tmp_path: Path) -> None:
    more = "[extensions]\nfuture_release = '2h'\n[limits]\nrecipients = 77"
    async with OneProcess(reactor, tmp_path, more) as server:
        offered = await ehlo(server)
        seconds, latest = offered["futurerelease"].split()
        assert seconds == "7200"
        moment = datetime.fromisoformat(latest)
        assert timedelta(0) <= datetime.now(UTC) + timedelta(hours=2) - moment
        assert offered["deliverby"] == "10"
        assert offered["limits"] == "RCPTMAX=77"
        assert offered["mt-priority"] == ""
        assert "requiretls" not in offered


@in_reactor
async def test_what_is_switched_off_is_not_offered(tmp_path: Path) -> None:
    more = (
        '[extensions]\nfuture_release = "off"\ndeliver_by = "off"\n'
        '[limits]\nrecipients = "off"'
    )
    async with OneProcess(reactor, tmp_path, more) as server:
        assert not {"futurerelease", "deliverby", "limits"} & set(await ehlo(server))


@pytest.mark.rfc("5321", "3.5.3")
@in_reactor
async def test_small_talk_tells_a_client_nothing_of_who_is_here(tmp_path: Path) -> None:
    def talk() -> list[int]:
        with server.logged_in() as client:
            commands = ("NOOP", "HELP", "HELP VRFY", "VRFY bob", "VRFY nobody")
            return [client.docmd(one)[0] for one in commands]

    async with OneProcess(reactor, tmp_path) as server:
        assert await in_thread(talk) == [250, 214, 214, 252, 252]


# TLS-Required


@pytest.mark.rfc("8689", "4.1")
@in_reactor
async def test_that_tls_is_no_must_is_kept_with_the_message(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        text = f"TLS-Required: No\r\n{TEXT}"
        await send(server, "bob@example.net", mail=("HOLDFOR=7200",), text=text)
        store = SqliteStore(tmp_path / "state")
        (entry,) = store.search(Wanted())
        assert entry.tls_demand is TlsDemand.OPTIONAL
        assert store.release_early([entry.queue_id], datetime.now(UTC)) == 1
        store.close()
        await server.receiver.has(1)
        assert b"\r\nTLS-Required: No\r\n" in server.receiver.received[0].content


# FUTURERELEASE


@pytest.mark.rfc("4865", "4.2")
@in_reactor
async def test_a_message_for_later_is_sent_then(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        begun = time.monotonic()
        await send(server, "bob@example.net", mail=("HOLDFOR=2",))
        await send(server, "carol@example.net")
        await server.receiver.has(2)
        first, second = server.receiver.received
        assert (first.forward_paths, second.forward_paths) == (
            ["carol@example.net"],
            ["bob@example.net"],
        )
        assert second.at - begun >= 2
        await server.logs("release_at=")


@in_reactor
async def test_a_message_for_later_outlives_a_restart_and_an_early_retry(
    tmp_path: Path,
) -> None:
    until = (datetime.now(UTC) + timedelta(seconds=4)).replace(microsecond=0)
    async with OneProcess(reactor, tmp_path) as server:
        hold = f"HOLDUNTIL={until:%Y-%m-%dT%H:%M:%SZ}"
        await send(server, "bob@example.net", mail=(hold,))
        store = SqliteStore(tmp_path / "state")
        (entry,) = store.search(Wanted())
        assert entry.release_at == until
        assert store.retry([entry.queue_id], datetime.now(UTC)) == 1
        store.close()
        await server.stop()
        await server.start()
        await server.receiver.has(1)
        assert datetime.now(UTC) >= until


@pytest.mark.rfc("4865", "5.1.2")
@in_reactor
async def test_an_operator_lets_it_go_and_a_report_tells_of_the_wish(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals["bob"] = "550 5.1.1 No"
        await send(server, "bob@example.net", mail=("HOLDFOR=7200",))
        store = SqliteStore(tmp_path / "state")
        (entry,) = store.search(Wanted())
        assert store.release_early([entry.queue_id], datetime.now(UTC)) == 1
        store.close()
        await server.receiver.has(1)
        status = status_of(server.receiver.received[0])
        assert "Future-Release-Request: for;7200" in status
        assert "Arrival-Date: " in status


# DELIVERBY


@pytest.mark.rfc("2852", "4.1.4")
@in_reactor
async def test_a_host_hears_how_much_time_is_left(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = ("DELIVERBY 20", "DSN")
        server.receiver.greeting = "220 hi"
        await send(server, "bob@example.net", mail=("BY=100;R",))
        await server.receiver.has(1)
        (received,) = server.receiver.received
        left, _, mode = received.wishes.removeprefix("BY=").partition(";")
        assert 90 <= int(left) <= 100
        assert mode == "R"
        assert received.rcpt_wishes == [""]
        await server.logs("message-relayed")
        assert "report-made" not in server.log


@pytest.mark.rfc("2852", "4.1.4.1")
@in_reactor
async def test_what_is_to_come_back_is_not_given_to_a_host_without_it(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await send(server, "bob@example.net", mail=("BY=100;R",))
        await server.receiver.has(1)
        status = status_of(server.receiver.received[0])
        assert "Action: failed" in status
        assert "Status: 5.3.3" in status
        assert "Deliver-By-Date: " in status
        assert "RCPT TO:<bob@example.net>" not in server.receiver.commands


@pytest.mark.rfc("2852", "4.1.4.2")
@in_reactor
async def test_a_host_without_it_takes_the_rest_and_the_sender_hears_of_it(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = ("PIPELINING", "DSN")
        await send(server, "bob@example.net", mail=("BY=100;N",))
        await server.receiver.has(2)
        message, report = server.receiver.received
        assert message.wishes == ""
        assert message.rcpt_wishes == ["NOTIFY=FAILURE,DELAY"]
        status = status_of(report)
        assert "Action: relayed" in status
        assert "Status: 2." in status


@pytest.mark.rfc("2852", "4.1.4")
@in_reactor
async def test_a_trace_is_told_although_the_next_host_promises_all(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = ("DELIVERBY", "DSN")
        await send(server, "bob@example.net", mail=("BY=100;RT",))
        await server.receiver.has(2)
        message, report = server.receiver.received
        assert message.wishes.endswith(";RT")
        assert "Action: relayed" in status_of(report)


@pytest.mark.rfc("2852", "4.1.3")
@in_reactor
async def test_a_message_comes_back_when_its_time_is_up(tmp_path: Path) -> None:
    more = "[extensions]\ndeliver_by = 1"
    async with OneProcess(reactor, tmp_path, more) as server:
        server.receiver.keywords = ("DELIVERBY",)
        server.receiver.refusals["bob"] = "450 4.2.1 Busy"
        begun = time.monotonic()
        await send(server, "bob@example.net", mail=("BY=3;R",))
        await server.receiver.has(1)
        (report,) = server.receiver.received
        assert 2 <= report.at - begun <= 8
        status = status_of(report)
        assert "Status: 5.4.7" in status
        assert "Busy" in status


@pytest.mark.rfc("2852", "4.1.3")
@in_reactor
async def test_a_sender_hears_when_the_time_is_up_and_it_is_tried_on(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals["bob"] = "450 4.2.1 Busy"
        await send(server, "bob@example.net", mail=("BY=2;N",))
        await server.receiver.has(1)
        status = status_of(server.receiver.received[0])
        assert "Action: delayed" in status
        assert "Status: 4.4.7" in status
        assert "Will-Retry-Until: " in status
        server.receiver.refusals.clear()
        await server.receiver.has(2)
        assert server.receiver.received[1].forward_paths == ["bob@example.net"]


# MT-PRIORITY


@pytest.mark.rfc("6710", "4.1")
@pytest.mark.rfc("6710", "4.2")
@in_reactor
async def test_a_priority_is_assigned_traced_logged_and_passed_on(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path, PRIORITIES) as server:
        server.receiver.keywords = ("MT-PRIORITY",)
        said = await send(server, "bob@example.net", mail=("MT-PRIORITY=9",))
        assert said == b"2.3.6 5 is the priority of this message"
        await server.receiver.has(1)
        (received,) = server.receiver.received
        assert received.wishes == "MT-PRIORITY=5"
        assert b" PRIORITY 5; " in received.content
        await server.logs("priority=5 priority_asked=9")


@pytest.mark.rfc("6710", "4.1")
@pytest.mark.parametrize(("login", "assigned"), [("alice", 5), ("alarms", 0)])
@in_reactor
async def test_only_who_is_authorised_goes_before_others(
    tmp_path: Path, login: str, assigned: int
) -> None:
    more = f'[extensions.priority.urgent]\nlogins = ["{login}"]\nhighest = 5'
    async with OneProcess(reactor, tmp_path, more) as server:
        said = await send(server, "bob@example.net", mail=("MT-PRIORITY=7",))
        assert said == b"2.3.6 %d is the priority of this message" % assigned
        await server.receiver.has(1)
        (received,) = server.receiver.received
        assert (b" PRIORITY 5; " in received.content) is (assigned == 5)


@in_reactor
async def test_a_deadline_is_logged_when_the_message_is_accepted(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await send(server, "bob@example.net", mail=("BY=3600;N",))
        await server.logs("deliver_by=")


@pytest.mark.rfc("6710", "5.1")
@in_reactor
async def test_what_is_urgent_goes_first_when_the_host_is_back(
    tmp_path: Path,
) -> None:
    more = f"{PRIORITIES}\n{ONE_AT_A_TIME}"
    async with OneProcess(reactor, tmp_path, more) as server:
        server.receiver.refusals |= dict.fromkeys("abcd", "451 4.3.2 Not now")
        store = SqliteStore(tmp_path / "state")
        for name, priority in (("a", 0), ("b", -2), ("c", 5), ("d", 2)):
            await send(server, f"{name}@example.net", mail=(f"MT-PRIORITY={priority}",))
        await server.until(lambda: server.log.count("[message-delayed]") >= 4)
        ids = [entry.queue_id for entry in store.search(Wanted())]
        store.hold(ids)
        server.receiver.refusals.clear()
        store.release_held(ids, datetime.now(UTC))
        store.close()
        await server.receiver.has(4)
        order = [one.forward_paths[0][0] for one in server.receiver.received]
        assert order == ["c", "d", "a", "b"]


@in_reactor
async def test_urgent_recipients_of_a_waiting_destination_go_first(
    tmp_path: Path,
) -> None:
    """In memory, too, where the spool is not asked."""
    more = f"{PRIORITIES}\n{ONE_AT_A_TIME}"
    async with OneProcess(reactor, tmp_path, more) as server:
        server.receiver.greeting = ""
        for name, priority in (("a", 0), ("b", -2), ("c", 5)):
            await send(server, f"{name}@example.net", mail=(f"MT-PRIORITY={priority}",))
        await server.until(lambda: server.receiver.open == 1)
        server.receiver.greet_all("220 sorry, I was asleep")
        await server.receiver.has(3)
        order = [one.forward_paths[0][0] for one in server.receiver.received]
        assert order == ["c", "a", "b"]


# LIMITS


@pytest.mark.rfc("9422", "4.1")
@pytest.mark.rfc("9422", "4.2")
@pytest.mark.rfc("9422", "4.3")
@pytest.mark.parametrize(
    ("limits", "transactions"),
    [("RCPTMAX=2", 3), ("MAILMAX=1 RCPTMAX=3", 2), ("RCPTDOMAINMAX=1", 2)],
)
@in_reactor
async def test_nobody_is_lost_to_the_limits_of_a_host(
    tmp_path: Path, limits: str, transactions: int
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = ("PIPELINING", f"LIMITS {limits}")
        names = [
            *(f"u{number}@a.example" for number in range(3)),
            *(f"u{number}@b.example" for number in range(3)),
        ]
        await send(server, *names)
        await server.until(lambda: server.log.count("[message-relayed]") == 6)
        taken = [path for one in server.receiver.received for path in one.forward_paths]
        assert sorted(taken) == sorted(names)
        assert len(server.receiver.received) == transactions
        assert "message-delayed" not in server.log
        assert "Beyond the limits" not in server.log


# SMTPUTF8


@pytest.mark.rfc("6531", "3.7.1")
@pytest.mark.rfc("6533", "3")
@in_reactor
async def test_a_name_beyond_ascii_logs_in_writes_and_hears_of_a_failure(
    tmp_path: Path,
) -> None:
    one_process = OneProcess(reactor, tmp_path)
    (tmp_path / "passwords").write_text("jürgen:{PLAIN}schlüssel\n")
    async with one_process as server:
        server.receiver.keywords = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN")
        server.receiver.refusals["björn"] = "550 5.1.1 Gibt es nicht: björn"
        log_in = base64.b64encode("\0jürgen\0schlüssel".encode()).decode()

        def submit() -> None:
            with server.implicit() as client:
                client.ehlo()
                client.command_encoding = "utf-8"
                assert client.docmd("AUTH", f"PLAIN {log_in}")[0] == 235
                path = "jürgen@example.org"
                assert client.mail(path, ("SMTPUTF8", "BODY=8BITMIME"))[0] == 250
                wishes = ("ORCPT=utf-8;björn@bücher.example",)
                assert client.rcpt("björn@bücher.example", wishes)[0] == 250
                text = f"From: {path}\r\nSubject: Grüße\r\n\r\nSchön.\r\n"
                assert client.data(text.encode())[0] == 250

        await in_thread(submit)
        await server.receiver.has(1)
        (report,) = server.receiver.received
        assert report.forward_paths == ["jürgen@example.org"]
        assert report.wishes.endswith("SMTPUTF8")
        text = report.content.decode()
        assert "Content-Type: message/global-delivery-status" in text
        assert "Original-Recipient: utf-8; björn@bücher.example" in text
        assert "Final-Recipient: utf-8; björn@xn--bcher-kva.example" in text
        assert "Gibt es nicht: björn" in text
        assert "Content-Type: message/global\r\n" in text
        # The domain of a command is in ASCII; ORCPT is in its form of seven bits.
        assert any(
            one.startswith(
                "RCPT TO:<björn@xn--bcher-kva.example> ORCPT=utf-8;bj\\x{F6}"
            )
            for one in server.receiver.commands
        )


# Between two of us: AUTH=, and all the rest


def hop(server: OneProcess) -> str:
    """A route to this server, with bob's log-in there."""
    port = server.port("submissions")
    return (
        f'[route."example.net"]\nhost = "localhost"\nport = {port}\n'
        f'tls = "implicit"\nca_file = "{server.ca}"\n'
        'user = "bob"\npassword_file = "bob"'
    )


@pytest.mark.rfc("4954", "5")
@pytest.mark.rfc("2852", "4.1.4")
@pytest.mark.rfc("6710", "4.2")
@pytest.mark.parametrize(
    ("said", "kept"), [("alice@example.org", "alice@example.org"), ("eve@x.org", "")]
)
@in_reactor
async def test_a_second_submitd_takes_over_what_the_first_was_told(
    tmp_path: Path, said: str, kept: str
) -> None:
    """Whose mailbox it is only the first can tell; the second takes bob's word."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    everything = (
        f'{PRIORITIES}\n[senders.rule.smarthost]\nany = true\nlogins = ["bob"]\n'
    )
    async with OneProcess(reactor, tmp_path / "two", everything) as two:
        two.receiver.refusals["carol"] = "450 4.2.1 Busy"
        two.receiver.keywords = ("DELIVERBY",)
        (tmp_path / "one" / "bob").write_text("buildings\n")
        async with OneProcess(
            reactor, tmp_path / "one", f"{PRIORITIES}\n{hop(two)}"
        ) as one:
            wishes = ("BY=120;R", "MT-PRIORITY=-1", f"AUTH={said}", "ENVID=x+2By")
            await send(one, "carol@example.net", mail=wishes, rcpt=("NOTIFY=NEVER",))
            await one.logs("message-relayed")
            await two.logs("message-delayed")
            spool = SqliteStore(tmp_path / "two" / "state")
            (text,) = spool._connection.execute(
                "SELECT envelope FROM message"
            ).fetchone()
            spool.close()
            assert f'"submitted_by": ["{kept}"]' in text
            assert '"priority": -1' in text
            assert '"envid": "x+y"' in text
            assert '"R", false, false]' in text
