"""The whole server under the test's reactor: from a client's bytes to reports."""

import json
import smtplib
import socket
import urllib.request
from email import message_from_bytes
from pathlib import Path

import pytest
from twisted.internet import reactor

from submitd.control.socket import request
from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread

pytestmark = pytest.mark.integration

MESSAGE = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\n"
    b"Bcc: secret@example.net\r\nSubject: one\r\n\r\nText.\r\n.dot\r\n"
)


def send(
    server: OneProcess,
    *to: str,
    message: bytes = MESSAGE,
    options: tuple[str, ...] = (),
) -> dict[str, tuple[int, bytes]]:
    with server.logged_in() as client:
        return client.sendmail("alice@example.org", list(to), message, options)


@in_reactor
async def test_a_message_arrives_repaired_and_otherwise_as_it_was(
    tmp_path: Path,
) -> None:
    """RFC 6409 section 8: Date and Message-ID come, Bcc goes, the rest stays."""
    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(lambda: send(server, "bob@example.net", "carol@example.net"))
        await server.receiver.has(1)
        (message,) = server.receiver.received
        header, _, body = message.content.partition(b"\r\n\r\n")
        assert message.reverse_path == "alice@example.org"
        assert message.forward_paths == ["bob@example.net", "carol@example.net"]
        assert body == b"Text.\r\n.dot\r\n"
        fields = message_from_bytes(header)
        assert "with ESMTPSA" in fields["Received"]
        assert "127.0.0.1" not in fields["Received"]
        assert fields["Date"]
        assert fields["Message-ID"].endswith("@submit.example.org>")
        assert fields["Bcc"] is None
        await server.until(lambda: "message-relayed" in server.log)


@in_reactor
async def test_the_client_is_named_where_that_is_wanted(tmp_path: Path) -> None:
    """It is hidden by default: a home address is nobody's business."""
    more = '[message]\nreceived_client = "show"'
    async with OneProcess(reactor, tmp_path, more) as server:
        await in_thread(lambda: send(server, "bob@example.net"))
        await server.receiver.has(1)
        fields = message_from_bytes(server.receiver.received[0].content)
        assert "[127.0.0.1]" in fields["Received"]
        assert "(version=TLSv1.3 cipher=" in fields["Received"]


@in_reactor
async def test_what_a_remote_host_refuses_comes_back_explained(
    tmp_path: Path,
) -> None:
    """RFC 3464: a report to the reverse-path, from nobody, about the recipient."""
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals["nobody"] = "550 5.1.1 No such mailbox"
        await in_thread(lambda: send(server, "nobody@example.net", "bob@example.net"))
        await server.receiver.has(2)
        report = next(one for one in server.receiver.received if not one.reverse_path)
        assert report.forward_paths == ["alice@example.org"]
        parts = message_from_bytes(report.content)
        assert parts.get_content_type() == "multipart/report"
        said = report.content.decode()
        assert "550 5.1.1 No such mailbox" in said
        assert "Final-Recipient: rfc822; nobody@example.net" in said
        assert "Status: 5.1.1" in said


@in_reactor
async def test_a_delayed_recipient_is_tried_again(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.refusals["grey"] = "451 4.7.1 Come back"
        await in_thread(lambda: send(server, "grey@example.net"))
        await server.until(lambda: "message-delayed" in server.log)
        server.receiver.refusals.clear()
        await server.receiver.has(1)


@in_reactor
async def test_a_big_message_passes_in_chunks(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        body = b"x" * 70 + b"\r\n"
        big = b"From: alice@example.org\r\n\r\n" + body * 20_000
        await in_thread(lambda: send(server, "bob@example.net", message=big))
        await server.receiver.has(1)
        content = server.receiver.received[0].content
        assert content.partition(b"\r\n\r\n")[2] == body * 20_000


@in_reactor
async def test_nobody_sends_as_somebody_else(tmp_path: Path) -> None:
    """The reverse-path (RFC 6409 section 6.1) and the From field both count."""
    foreign = MESSAGE.replace(b"alice@", b"bob@")

    def attempts(server: OneProcess) -> list[tuple[int, bytes]]:
        answers = []
        with server.logged_in() as client:
            answers.append(client.mail("bob@example.org"))
            client.mail("alice@example.org")
            client.rcpt("bob@example.net")
            answers.append(client.data(foreign))
        return answers

    async with OneProcess(reactor, tmp_path) as server:
        envelope, content = await in_thread(lambda: attempts(server))
        assert envelope[0] == 553
        assert b"<bob@example.org> is not yours" in envelope[1]
        assert b"alice@example.org" in envelope[1]
        assert content[0] == 550
        assert b"<bob@example.org> is not yours" in content[1]
        assert server.receiver.received == []


@in_reactor
async def test_a_foreign_from_is_rewritten_where_that_is_wanted(
    tmp_path: Path,
) -> None:
    foreign = MESSAGE.replace(b"alice@", b"bob@")

    def attempt(server: OneProcess) -> None:
        with server.logged_in() as client:
            client.sendmail("bob@example.org", ["bob@example.net"], foreign)

    more = '[senders]\non_foreign_from = "rewrite"\n'
    async with OneProcess(reactor, tmp_path, more) as server:
        await in_thread(lambda: attempt(server))
        await server.receiver.has(1)
        (message,) = server.receiver.received
        fields = message_from_bytes(message.content)
        assert message.reverse_path == "alice@example.org"
        assert fields["From"] == "alice@example.org"
        assert fields["X-Original-From"] == "Alice <bob@example.org>"


@in_reactor
async def test_log_ins_are_told_apart_as_far_as_is_safe(tmp_path: Path) -> None:
    """RFC 4954 section 6: a wrong password, an unknown user and a lock look alike."""

    def attempts(server: OneProcess) -> list[int]:
        codes = []
        for user, password in (
            ("alice", "wrong"),
            ("nobody", "wrong"),
            ("late", "x"),
            ("alice", "wonderland"),
        ):
            try:
                server.logged_in(user, password).quit()
                codes.append(235)
            except smtplib.SMTPAuthenticationError as refusal:
                codes.append(refusal.smtp_code)
        return codes

    async with OneProcess(reactor, tmp_path) as server:
        codes = await in_thread(lambda: attempts(server))
        assert codes == [535, 535, 535, 235]
        assert "wonderland" not in server.log
        await server.until(lambda: "login-failed" in server.log)


@in_reactor
async def test_a_password_file_that_is_gone_is_no_wrong_password(
    tmp_path: Path,
) -> None:
    server = OneProcess(reactor, tmp_path)
    (tmp_path / "passwords").unlink()
    async with server:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            await in_thread(server.logged_in)
        assert refusal.value.smtp_code == 454


@in_reactor
async def test_a_trusted_listener_needs_no_log_in(tmp_path: Path) -> None:
    def attempt(server: OneProcess) -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", server.port("local"), timeout=20) as client:
            client.sendmail(
                "root@example.com",
                ["bob@example.net"],
                b"From: root@example.com\r\n\r\nx\r\n",
            )
            return client.mail("alice@example.org")

    async with OneProcess(reactor, tmp_path) as server:
        refused = await in_thread(lambda: attempt(server))
        await server.receiver.has(1)
        assert "with ESMTP\r\n" in server.receiver.received[0].content.decode()
        assert refused[0] == 553


@in_reactor
async def test_tls_from_the_first_octet(tmp_path: Path) -> None:
    """RFC 8314 section 3.3."""

    def attempt(server: OneProcess) -> tuple[int, bytes]:
        with server.implicit() as client:
            client.login("bob", "buildings")
            return client.mail("bob@example.org")

    async with OneProcess(reactor, tmp_path) as server:
        assert (await in_thread(lambda: attempt(server)))[0] == 250


@in_reactor
async def test_octets_behind_starttls_are_not_obeyed(tmp_path: Path) -> None:
    """CVE-2011-0411 and its family: RFC 3207 section 4.2."""

    def attempt(server: OneProcess) -> bytes:
        with socket.create_connection(
            ("127.0.0.1", server.port("submission")), timeout=20
        ) as raw:
            raw.sendall(b"EHLO x\r\nSTARTTLS\r\nEHLO injected\r\n")
            received = b""
            while more := raw.recv(4096):
                received += more
            return received

    async with OneProcess(reactor, tmp_path) as server:
        received = await in_thread(lambda: attempt(server))
        assert b"220 2.0.0" not in received
        assert b"421 " in received


@in_reactor
async def test_too_many_connections_from_one_address_are_turned_away(
    tmp_path: Path,
) -> None:
    def attempt(server: OneProcess) -> tuple[int, bytes]:
        first, second = server.connect(), server.connect()
        try:
            server.connect().close()
        except smtplib.SMTPConnectError as refusal:
            return refusal.smtp_code, refusal.smtp_error  # type: ignore[return-value]
        finally:
            first.close()
            second.close()
        return 220, b""

    more = "[limits]\nconnections_per_address = 2\n"
    async with OneProcess(reactor, tmp_path, more) as server:
        code, text = await in_thread(lambda: attempt(server))
        assert code == 421
        assert b"Too many connections" in text


@in_reactor
async def test_an_idle_client_is_told_and_let_go(tmp_path: Path) -> None:
    def attempt(server: OneProcess) -> bytes:
        with socket.create_connection(
            ("127.0.0.1", server.port("submission")), timeout=20
        ) as raw:
            received = b""
            while more := raw.recv(4096):
                received += more
            return received

    more = '[limits]\nidle = "1s"\n'
    async with OneProcess(reactor, tmp_path, more) as server:
        received = await in_thread(lambda: attempt(server))
        assert b"421 4.4.2" in received
        await server.until(lambda: "session-timed-out" in server.log)


@in_reactor
async def test_the_header_section_has_a_limit(tmp_path: Path) -> None:
    more = '[limits]\nheader_size = "1KiB"\n'
    long = MESSAGE.replace(b"Subject: one", b"X-Long: " + b"x" * 900 + b"\r\n y" * 99)
    async with OneProcess(reactor, tmp_path, more) as server:
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            await in_thread(lambda: send(server, "bob@example.net", message=long))
        assert refusal.value.smtp_code == 552


@in_reactor
async def test_success_is_reported_where_it_was_asked_for(tmp_path: Path) -> None:
    """RFC 3461 section 5.2.2: relayed to a host that does not report by itself."""

    def attempt(server: OneProcess) -> None:
        with server.logged_in() as client:
            client.ehlo()
            client.mail("alice@example.org", ["RET=HDRS", "ENVID=abc"])
            client.rcpt("bob@example.net", ["NOTIFY=SUCCESS", "ORCPT=rfc822;b@x.org"])
            client.data(MESSAGE)

    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(lambda: attempt(server))
        await server.receiver.has(2)
        report = next(one for one in server.receiver.received if not one.reverse_path)
        said = report.content.decode()
        assert "Action: relayed" in said
        assert "Original-Envelope-Id: abc" in said
        assert "Original-Recipient: rfc822; b@x.org" in said


@in_reactor
async def test_status_metrics_and_health_tell_of_it(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(lambda: send(server, "bob@example.net"))
        await server.receiver.has(1)
        status = await in_thread(
            lambda: request(tmp_path / "control.sock", {"do": "status"}, 10)
        )
        assert status["ready"] is True
        assert [one["name"] for one in status["listeners"]] == [
            "submission",
            "submissions",
            "local",
        ]
        host, port = server.supervisor._config.metrics.listen or ("", 0)

        def get(path: str) -> str:
            with urllib.request.urlopen(f"http://{host}:{port}{path}") as page:
                return str(page.read().decode())

        metrics = await in_thread(lambda: get("/metrics"))
        assert 'submitd_messages_total{result="accepted"} 1.0' in metrics
        assert '\nsubmitd_logins_braked{kind="account"} 0.0\n' in metrics
        for name in ("queue_messages", "queue_oldest_seconds", "worker_deaths_total"):
            assert f"\nsubmitd_{name} " in metrics, name
        assert await in_thread(lambda: get("/healthz")) == "ok\n"
        assert await in_thread(lambda: get("/readyz")) == "ok\n"


@in_reactor
async def test_a_reload_takes_up_the_new_and_refuses_the_faulty(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        good = (tmp_path / "submitd.toml").read_text()
        (tmp_path / "submitd.toml").write_text(good + "[limits]\nidel = 1\n")
        problems = await server.supervisor.reload()
        assert len(problems) == 1
        assert 'did you mean "idle"' in problems[0]
        (tmp_path / "submitd.toml").write_text(good + "[limits]\nrecipients = 1\n")
        answer = await in_thread(
            lambda: request(tmp_path / "control.sock", {"do": "reload"}, 60)
        )
        assert answer == {"ok": True, "problems": []}
        refused = await in_thread(
            lambda: send(server, "bob@example.net", "carol@example.net")
        )
        assert refused["carol@example.net"][0] == 452
        await server.receiver.has(1)


@pytest.mark.timeout(60)
@in_reactor
async def test_workers_of_their_own_take_mail_and_are_replaced(
    tmp_path: Path,
) -> None:
    """Two processes on shared sockets; a killed one is missed by nobody for long."""
    async with OneProcess(reactor, tmp_path, workers=2) as server:
        await server.until(lambda: "submitd is ready" in server.log)
        await in_thread(lambda: send(server, "bob@example.net"))
        await server.receiver.has(1)
        children = list(server.supervisor._children.values())
        assert len(children) == 2
        children[0].kill()
        await server.until(lambda: "worker-died" in server.log)
        await server.until(
            lambda: sum(one.ready for one in server.supervisor._children.values()) == 2
        )
        await in_thread(lambda: send(server, "bob@example.net"))
        await server.receiver.has(2)
        assert await server.supervisor.reload() == []
        await in_thread(lambda: send(server, "bob@example.net"))
        await server.receiver.has(3)
        figures = server.supervisor.status()
        assert json.dumps(figures)
